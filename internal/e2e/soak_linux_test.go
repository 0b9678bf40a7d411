package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/hubpipe/hubpipe/internal/e2e/weather"
)

// soakVar is how long the soak of docs/RELIABILITY.md lasts, such as 20m. With
// the other tests it lasts some seconds, which say nothing about levels.
const soakVar = "HUBPIPE_SOAK"

// sample is what the processes had at one moment.
type sample struct {
	at     time.Duration
	values []float64
}

// soakColumns are what is read, with how much more the last part of the soak
// may have than the one before its middle: a share, and a number besides.
var soakColumns = []struct {
	name  string
	share float64
	more  float64
}{
	{"up: memory MiB", 0.15, 12}, {"up: heap MiB", 0.15, 10}, {"up: goroutines", 0, 12}, {"up: descriptors", 0, 12}, {"up: threads", 0, 4},
	{"worker: memory MiB", 0.15, 12}, {"worker: descriptors", 0, 4}, {"worker: threads", 0, 4},
	// What is superseded goes when half of a value log of 64 MiB is.
	{"store MiB", 0.2, 80}, {"records", 0.5, 1e6},
}

// status reads a number of /proc/PID/status, such as "RssAnon".
func (p *process) status(t testing.TB, field string) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("/proc has no %s", field)
	return 0
}

func (p *process) descriptors(t testing.TB) float64 {
	t.Helper()
	l, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return float64(len(l))
}

// reads all columns.
func (v *victim) reads(up, worker *process) []float64 {
	v.t.Helper()
	m, _ := v.scrape()
	const mib, kib = 1 << 20, 1 << 10
	disk := 0.0
	for key, n := range m {
		if strings.HasPrefix(key, "hubpipe_store_disk_bytes") {
			disk += n
		}
	}
	records := float64(v.status("contacts").Records + v.status("deals").Records)
	return []float64{
		up.status(v.t, "RssAnon") / kib, m["go_memstats_heap_inuse_bytes"] / mib, m["go_goroutines"], up.descriptors(v.t), up.status(v.t, "Threads"),
		worker.status(v.t, "RssAnon") / kib, worker.descriptors(v.t), worker.status(v.t, "Threads"),
		disk / mib, records,
	}
}

// follows reads the feed and the events, and begins anew every few seconds, as
// people and programs do that come and go.
func (v *victim) follows(ctx context.Context, token, path string) {
	for ctx.Err() == nil {
		some, cancel := context.WithTimeout(ctx, 7*time.Second)
		req, err := http.NewRequestWithContext(some, http.MethodGet, v.http+path, nil)
		if err == nil {
			req.Header.Set("Authorization", "Bearer "+token)
			var resp *http.Response
			if resp, err = http.DefaultClient.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body) // until it is broken off
				_ = resp.Body.Close()
			}
		}
		<-some.Done()
		cancel()
	}
}

// All of it for a while: live traffic, readers that come and go, a worker whose
// connection is cut, backups, reconciles. What the processes hold stays level,
// and in the end the store is what HubSpot has.
func TestSoak(t *testing.T) {
	t.Parallel()
	long, err := time.ParseDuration(os.Getenv(soakVar))
	judged := err == nil
	if !judged {
		long = 8 * time.Second
	}
	v := victimised(t, "--latency", "5ms")
	second := v.beside() // another portal
	up := run(t, v.dir, v.bin, "up")
	up.says(t, "ready: http=")
	v.http, v.mqtt = "http://"+up.field(t, "http"), up.field(t, "mqtt")
	// Another worker, for that portal, by a way that is cut.
	way := weather.New(t, v.mqtt, v.seed, true)
	far := v.another()
	far.configure(settings{broker: fmt.Sprintf("url = \"mqtt://%s\"\n  username = \"hubpipe-worker-far\"\n  password = file(\"token\")", way.Addr())})
	far.edit(func(was string) string {
		return strings.Replace(strings.Replace(was, `portal "main"`, `portal "second"`, 1), v.sim, second.sim, 1)
	})
	if err := os.WriteFile(filepath.Join(far.dir, "token"), []byte(v.token()), 0o600); err != nil {
		t.Fatal(err)
	}
	worker := far.worker("--name", "far")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	token := v.token()
	paths := []string{"/v1/streams/contacts/changes?since=0&follow=true", "/v1/events", "/v1/streams/deals/changes?follow=true"}
	for _, path := range paths {
		go func() {
			defer func() { done <- struct{}{} }()
			v.follows(ctx, token, path)
		}()
	}
	var samples []sample
	began := time.Now()
	every, next := long/40, long/40
	for n := 0; time.Since(began) < long; n++ {
		v.happens()
		v.pause(300 * time.Millisecond)
		if n%6 == 0 { // so much that value logs are filled, and collected
			v.change("contacts", `{"change":300}`)
		}
		if n%30 == 0 {
			v.faults += way.Cut()
			second.change("contacts", `{"change":30,"create":2}`)
		}
		switch n % 1000 {
		case 500:
			if out, err := v.hubpipe("reconcile", "deals"); err != nil {
				t.Errorf("reconcile: %v %s", err, out)
			}
		case 900:
			if out, err := v.hubpipe("backup", filepath.Join(v.dir, "soak.backup")); err != nil {
				t.Errorf("backup: %v %s", err, out)
			}
		}
		if passed := time.Since(began); passed >= next {
			next = passed + every
			samples = append(samples, sample{passed, v.reads(up, worker)})
		}
	}
	stop()
	for range paths {
		<-done
	}
	v.exact(1, 1500)
	until(t, "the second HubSpot's contacts", func() error { return second.sameAs(v.system, "contacts", "second_contacts") })
	t.Log("\n" + table(samples))
	for _, p := range []*process{worker, up} {
		p.kill(syscall.SIGTERM)
		if code := p.exit(t); code != 0 {
			t.Errorf("exit %d:\n%s", code, tail(p.log.String()))
		}
	}
	if judged {
		level(t, samples)
	}
}

// beside starts a second HubSpot, whose contacts are a stream of the first
// system from now on.
func (v *victim) beside() *system {
	v.t.Helper()
	second := newSystem(v.t, "--limits=false", "--contacts", "400", "--deals", "10", "--seed", strconv.FormatUint(v.seed+1, 10))
	for _, name := range []string{"contacts", "deals"} {
		v.replace(fmt.Sprintf("stream %q {}", name), fmt.Sprintf("stream %q { portal = \"main\" }", name))
	}
	v.more(fmt.Sprintf("portal \"second\" {\n  token    = env(\"TEST_TOKEN\")\n  base_url = %q\n}\nstream \"second_contacts\" {\n  portal = \"second\"\n  object = \"contacts\"\n}\n", second.sim))
	return second
}

// sameAs holds a stream of another system against this one's HubSpot.
func (s *system) sameAs(store *system, object, stream string) error {
	stored, err := store.stored(stream)
	if err != nil {
		return err
	}
	truth, err := s.truth(object)
	if err != nil {
		return err
	}
	for id, want := range truth {
		if got, ok := stored[id]; !ok || got.State != want.State {
			return fmt.Errorf("record %s of %d is missing or %q", id, len(stored), got.State)
		}
	}
	return nil
}

func table(samples []sample) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprint(w, "after\t")
	for _, c := range soakColumns {
		_, _ = fmt.Fprint(w, c.name, "\t")
	}
	for _, s := range samples {
		_, _ = fmt.Fprintf(w, "\n%s\t", s.at.Round(time.Second))
		for _, n := range s.values {
			_, _ = fmt.Fprintf(w, "%.0f\t", n)
		}
	}
	_, _ = fmt.Fprintln(w)
	_ = w.Flush()
	return b.String()
}

// level holds the last quarter against the second one, by their medians: what
// leaks grows for as long as it is let.
func level(t *testing.T, samples []sample) {
	t.Helper()
	if len(samples) < 16 {
		t.Fatalf("%d readings are too few", len(samples))
	}
	quarter := len(samples) / 4
	median := func(of []sample, column int) float64 {
		var l []float64
		for _, s := range of {
			l = append(l, s.values[column])
		}
		slices.Sort(l)
		return l[len(l)/2]
	}
	for i, c := range soakColumns {
		was, is := median(samples[quarter:2*quarter], i), median(samples[len(samples)-quarter:], i)
		verdict := "level"
		if is > was*(1+c.share)+c.more {
			verdict = "GROWS"
			t.Errorf("%s grows", c.name)
		}
		t.Logf("%-20s %7.0f → %7.0f  %s", c.name, was, is, verdict)
	}
}
