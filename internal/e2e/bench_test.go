//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// benchTable collects the lines that the benchmark prints.
type benchTable struct{ rows [][3]string }

func (t *benchTable) add(what, reach, format string, args ...any) {
	t.rows = append(t.rows, [3]string{what, reach, fmt.Sprintf(format, args...)})
}

func (t *benchTable) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "\nwhat\tto reach\there")
	for _, r := range t.rows {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", r[0], r[1], r[2])
	}
	_ = tw.Flush() // to the terminal
}

// BenchmarkEndToEnd measures the real program in processes of its own, and a
// bare client beside it. HUBPIPE_BENCH_RECORDS is how many records each of the
// eight streams has before the pre-rendered simulator.
func BenchmarkEndToEnd(b *testing.B) {
	records := 25_000
	if text := os.Getenv("HUBPIPE_BENCH_RECORDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1000 {
			b.Fatalf("HUBPIPE_BENCH_RECORDS is a number from 1000 on, not %q", text)
		}
		records = n
	}
	bin := filepath.Join(b.TempDir(), "hubpipe")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", bin, "../..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	var t benchTable
	for b.Loop() {
		t = benchTable{}
		benchLimited(b, bin, &t, records)
		strict := newBenchRig(b, bin, 2, min(records, 10_000), "--limits=false")
		w, d, _ := strict.backfill(&t, "strict", "≥ 20,000")
		w.end(syscall.SIGTERM)
		d.end(syscall.SIGTERM)
		strict.floor(&t, "strict")
		strict.sim.end(syscall.SIGTERM)
		r := newBenchRig(b, bin, 2, records, "--limits=false", "--prerendered")
		w, d, rate := r.backfill(&t, "pre-rendered", "≥ 60,000")
		b.ReportMetric(rate, "records/s")
		r.floor(&t, "pre-rendered")
		r.unchanged(&t)
		r.startStop(&t)
		w.end(syscall.SIGTERM)
		r.readers(&t, d)
	}
	t.print(os.Stdout)
}

// benchLimited runs a paced worker under HubSpot's limits, over as many records as
// make what a stream asks besides them small.
func benchLimited(b *testing.B, bin string, t *benchTable, records int) {
	b.Helper()
	r := newBenchRig(b, bin, 1, records, "--latency", "100ms")
	d, _ := r.daemon()
	t.add("resident memory, idle daemon", "≤ 20 MiB", "%.0f MiB (%.0f anonymous)", d.memory("VmRSS"), d.memory("RssAnon"))
	begun := time.Now()
	w := r.process("worker")
	r.await("the backfill under limits", 5*time.Minute, r.synced)
	took := time.Since(begun).Seconds()
	s := r.stats()
	refused := int64(0)
	for _, n := range s.Refused {
		refused += n
	}
	rate := float64(r.total()) / took
	t.add("backfill under HubSpot's limit, from the worker's start", "≥ 95 % of 1,900 records/s, no 429", "%.0f records/s (%.0f %%), %d requests, %d of them 429",
		rate, rate/19, s.Total, refused)
	for _, p := range []*benchProcess{w, d, r.sim} {
		p.end(syscall.SIGTERM)
	}
}

// backfill fetches everything, as fast as it comes.
func (r *benchRig) backfill(t *benchTable, kind, reach string) (w, d *benchProcess, rate float64) {
	d, _ = r.daemon()
	cpuD, cpuS := d.cpu(), r.sim.cpu()
	begun := time.Now()
	w = r.process("worker", "--unpaced")
	anon := 0.0
	// Seldom: asking costs the daemon something.
	r.poll("the backfill", 20*time.Millisecond, 5*time.Minute, func() bool {
		anon = max(anon, d.memory("RssAnon"))
		return r.synced()
	})
	took, n := time.Since(begun), float64(r.total())
	rate = n / took.Seconds()
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / n }
	t.add("end to end, 8 ranges, "+kind+" simulator", reach+" records/s", "%.0f records/s (%d in %.1f s)", rate, r.total(), took.Seconds())
	ofD, ofW := each(d.cpu()-cpuD), each(w.cpu())
	t.add("  CPU of daemon and worker a record", "≤ 30 µs", "%.1f µs (daemon %.1f, worker %.1f); the simulator's own %.1f", ofD+ofW, ofD, ofW, each(r.sim.cpu()-cpuS))
	t.add("  memory at most, worker", "≤ 40 MiB", "%.0f MiB (%.0f anonymous)", w.memory("VmHWM"), w.memory("RssAnon"))
	t.add("  memory at most, daemon", "≤ 100 MiB anonymous", "%.0f MiB anonymous; %.0f with mapped files", anon, d.memory("VmHWM"))
	raw := len(bytes.TrimSpace(r.get("/crm/objects/2026-09/contacts?limit=100&properties="+r.properties("contacts")))) / 100
	t.add("  disk a record", "≤ 600 bytes of 1.8 KB", "%.0f bytes of %d", float64(r.disk())/n, raw)
	return w, d, rate
}

// properties are an object's names, as a list request has them.
func (r *benchRig) properties(object string) string {
	r.b.Helper()
	var list struct{ Results []struct{ Name string } }
	if err := json.Unmarshal(r.get("/crm/properties/2026-09/"+object), &list); err != nil {
		r.b.Fatal(err)
	}
	var names []string
	for _, p := range list.Results {
		names = append(names, p.Name)
	}
	return url.QueryEscape(strings.Join(names, ","))
}

// floor fetches the same pages, as many at a time, and drops them.
func (r *benchRig) floor(t *benchTable, kind string) {
	own := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			r.b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	begun, cpu := time.Now(), own()
	var wg sync.WaitGroup
	for range r.portals {
		for _, o := range benchObjects() {
			address := "/crm/objects/2026-09/" + o + "?limit=100&properties=" + r.properties(o)
			wg.Go(func() {
				for after := ""; ; {
					body, err := r.fetch(address + after)
					if err != nil {
						r.b.Error(err)
						return
					}
					i := bytes.LastIndex(body, []byte(`"after":"`))
					if i < 0 {
						return
					}
					next, _, _ := bytes.Cut(body[i+len(`"after":"`):], []byte(`"`))
					after = "&after=" + string(next)
				}
			})
		}
	}
	wg.Wait()
	took, used := time.Since(begun), own()-cpu
	t.add("  floor: a bare client drops the same pages", "-", "%.0f records/s, %.1f µs a record", float64(r.total())/took.Seconds(),
		float64(used.Microseconds())/float64(r.total()))
}

// unchanged runs each stream again, twice: the first of the two may still read
// what came while the backfill went on.
func (r *benchRig) unchanged(t *benchTable) {
	var requests int64
	var records uint64
	positions := 0
	for range 2 {
		before := r.stats().Total
		records, positions = 0, 0
		for _, name := range r.streams() {
			last := r.position(name)
			run, err := r.api.SyncWait(r.b.Context(), name, "", 30*time.Second)
			if err != nil || run.State != client.RunDone {
				r.b.Fatalf("a run of %s is %q: %v", name, run.State, err)
			}
			records += run.Records
			if r.position(name) != last {
				positions++
			}
		}
		requests = r.stats().Total - before
	}
	t.add("a run with nothing changed", "1 request a stream; no record, no position", "%.2f requests a stream, %d records, %d positions",
		float64(requests)/float64(len(r.streams())), records, positions)
}

// position is the greatest in a stream's feed.
func (r *benchRig) position(name string) uint64 {
	r.b.Helper()
	page, err := r.api.Records(r.b.Context(), name, client.RecordQuery{Limit: 1000})
	if err != nil {
		r.b.Fatal(err)
	}
	last := uint64(0)
	for _, rec := range page.Records {
		last = max(last, rec.Seq)
	}
	for rec, err := range r.api.Changes(r.b.Context(), name, client.ChangeQuery{Since: strconv.FormatUint(last, 10)}) {
		if err != nil {
			r.b.Fatal(err)
		}
		last = rec.Seq
	}
	return last
}

// startStop measures from the command to the first and the last request.
func (r *benchRig) startStop(t *benchTable) {
	ctx := r.b.Context()
	if _, err := r.api.StopAll(ctx); err != nil {
		r.b.Fatal(err)
	}
	before, begun := r.stats().Total, time.Now()
	if _, err := r.api.Start(ctx, r.streams()[0], "1h"); err != nil {
		r.b.Fatal(err)
	}
	r.await("a first request", 10*time.Second, func() bool { return r.stats().Total > before })
	first := time.Since(begun)
	if _, err := r.api.ResyncAll(ctx); err != nil {
		r.b.Fatal(err)
	}
	busy := r.stats().Total
	r.await("requests of the walks", 10*time.Second, func() bool { return r.stats().Total > busy+50 })
	begun = time.Now()
	if _, err := r.api.StopAll(ctx); err != nil {
		r.b.Fatal(err)
	}
	// What was asked while the command was on its way is not told apart: the
	// answer's time stands for it.
	seen, last := r.stats().Total, time.Now()
	r.await("the last request", time.Minute, func() bool {
		if n := r.stats().Total; n != seen {
			last, seen = time.Now(), n
		}
		return time.Since(last) > 2*time.Second
	})
	t.add("start → first request", "≤ 0.2 s", "%.3f s", first.Seconds())
	t.add("stop → last request, in full flight", "≤ 1 s", "%.3f s", last.Sub(begun).Seconds())
}

// benchLines counts lines and drops them.
type benchLines struct {
	n int
	w io.Writer
}

func (l *benchLines) Write(p []byte) (int, error) {
	l.n += bytes.Count(p, []byte{'\n'})
	return l.w.Write(p)
}

// readers measures a clean stop, the next start, and reading.
func (r *benchRig) readers(t *benchTable, d *benchProcess) {
	d.end(syscall.SIGTERM)
	d, ready := r.daemon()
	t.add("ready after a clean stop", "≤ 0.5 s", "%.3f s with %d records", ready.Seconds(), r.total())
	t.add("resident memory, daemon with so many records", "≤ 100 MiB", "%.0f MiB (%.0f anonymous)", d.memory("VmRSS"), d.memory("RssAnon"))
	read := func(w io.Writer, f func(name string, w io.Writer) error) float64 {
		lines, begun := &benchLines{w: w}, time.Now()
		for _, name := range r.streams() {
			if err := f(name, lines); err != nil {
				r.b.Fatal(err)
			}
		}
		if lines.n < r.total() {
			r.b.Fatalf("%d lines of %d records", lines.n, r.total())
		}
		return float64(r.total()) / time.Since(begun).Seconds()
	}
	feed := read(io.Discard, func(name string, w io.Writer) error {
		return r.api.CopyChanges(r.b.Context(), name, client.ChangeQuery{}, w)
	})
	t.add("change feed, to a reader that discards", "≥ 150,000 records/s", "%.0f records/s", feed)
	file, err := os.Create(filepath.Join(r.dir, "export.ndjson"))
	if err != nil {
		r.b.Fatal(err)
	}
	defer func() { _ = file.Close() }() // of the benchmark's folder
	export := read(file, func(name string, w io.Writer) error {
		return r.api.Export(r.b.Context(), name, "ndjson", client.RecordQuery{}, w)
	})
	t.add("NDJSON export, to a file", "≥ 100,000 records/s", "%.0f records/s", export)
	t.add("  memory at most, daemon with readers", "-", "%.0f MiB (%.0f anonymous)", d.memory("VmHWM"), d.memory("RssAnon"))
	d.end(syscall.SIGTERM)
}
