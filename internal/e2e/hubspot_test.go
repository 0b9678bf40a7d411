package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// More records than a search gives are changed in one millisecond, under limits
// and faults, with search late and out of order: all arrive, and no request is
// over a limit. HubSpot's five searches a second make it the longest test.
func TestManyChangedInOneMillisecond(t *testing.T) {
	t.Parallel()
	const contacts = 12000
	s := newSystem(t, "--contacts", fmt.Sprint(contacts), "--properties", "10", "--search-lateness", "5s", "--fault-rate", "0.05")
	s.configure(settings{streams: []string{"contacts"}})
	s.daemon()
	s.worker()
	began := time.Now()
	until(t, "the backfill", func() error { return s.equal("contacts") })
	t.Logf("backfill of %d in %s", contacts, time.Since(began).Round(time.Second))
	began = time.Now()
	if ids := s.change("contacts", fmt.Sprintf(`{"change":%d,"at":%d}`, contacts, began.UnixMilli())); len(ids) != contacts {
		t.Fatalf("%d changed", len(ids))
	}
	until(t, "what changed", func() error { return s.equal("contacts") })
	st := s.stats()
	t.Logf("%d changes in one millisecond in %s; requests %v, faults %v", contacts, time.Since(began).Round(time.Second), st.Requests, st.Faults)
	if r := st.Refused; r.Burst+r.Search+r.Daily > 0 {
		t.Errorf("over a limit: %+v", r)
	}
	made := int64(0)
	for _, n := range st.Faults {
		made += n
	}
	if made == 0 {
		t.Error("no faults were made")
	}
}

// Records are edited again and again while windows of several pages are read.
func TestEditedWhileAWindowIsRead(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "3000", "--limits=false", "--latency", "60ms", "--search-lateness", "1s")
	s.configure(settings{streams: []string{"contacts"}})
	s.daemon()
	s.worker()
	s.becomesEqual("contacts")
	seen := map[string]bool{}
	for range 5 {
		ids := s.change("contacts", `{"change":1500}`)
		until(t, "a run that reads the window", func() error {
			r := s.status("contacts").Run
			if r == nil || r.Requests < 4 {
				return fmt.Errorf("%+v", r)
			}
			seen[r.ID] = true
			return nil
		})
		// The same again, and others, while its pages are read.
		b, err := json.Marshal(map[string]any{"ids": ids[:500], "properties": map[string]string{"firstname": fmt.Sprint("edited ", len(seen))}})
		if err != nil {
			t.Fatal(err)
		}
		s.change("contacts", string(b))
		s.change("contacts", `{"change":300,"create":20}`)
	}
	s.becomesEqual("contacts")
	if s.status("contacts").OpenIDs != 0 {
		t.Errorf("%+v", s.status("contacts"))
	}
}

// Records around every limit of size: what fits arrives, what the broker cannot
// carry is named with what to do, and the rest goes on.
func TestRecordsOverTheLimits(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "300", "--properties", "40", "--limits=false")
	s.configure(settings{streams: []string{"contacts"}, broker: "listen = \"127.0.0.1:0\"\n  max_packet = \"320KiB\""})
	daemon := s.daemon()
	worker := s.worker()
	s.becomesEqual("contacts")
	truth, err := s.truth("contacts")
	if err != nil {
		t.Fatal(err)
	}
	var ids, names []string
	for id, r := range truth {
		ids = append(ids, id)
		for p := range r.Properties {
			if len(names) < 30 && !strings.HasPrefix(p, "hs_") && !strings.Contains(p, "date") && p != "email" && !slices.Contains(names, p) {
				names = append(names, p)
			}
		}
	}
	slices.Sort(ids)
	// Of random digits, which hardly pack: a page's 256 KiB in ten records and
	// in one, just over it, and on both sides of the broker's 320 KiB.
	sizes := []int{26 << 10, 26 << 10, 26 << 10, 26 << 10, 26 << 10, 26 << 10, 26 << 10, 26 << 10, 26 << 10, 26 << 10,
		255 << 10, 256 << 10, 257 << 10, 300 << 10, 321 << 10}
	for i, size := range sizes {
		s.change("contacts", large(t, ids[i], names, size))
	}
	tooLarge := ids[len(sizes)-1]
	until(t, "all that fits", func() error { return s.equal("contacts", tooLarge) })
	until(t, "a word about the one that does not", func() error {
		st := s.status("contacts")
		if st.OpenIDs != 1 || st.State != client.StateFailing || st.Error == nil {
			return errors.New(s.get("/v1/streams/contacts"))
		}
		if text := st.Error.Detail + st.Error.Hint; !strings.Contains(text, tooLarge) || !strings.Contains(text, "max_packet") {
			return errors.New(s.get("/v1/streams/contacts"))
		}
		return nil
	})
	// The rest goes on meanwhile.
	s.change("contacts", fmt.Sprintf(`{"ids":[%q],"properties":{%q:"small"}}`, ids[50], names[0]))
	until(t, "the rest", func() error { return s.equal("contacts", tooLarge) })
	// What the hint says helps.
	worker.kill(syscall.SIGTERM)
	daemon.kill(syscall.SIGTERM)
	s.configure(settings{streams: []string{"contacts"}, broker: "listen = \"127.0.0.1:0\"\n  max_packet = \"4MiB\""})
	s.daemon()
	s.worker()
	s.becomesEqual("contacts")
	until(t, "nothing open", func() error {
		if st := s.status("contacts"); st.OpenIDs != 0 || st.Error != nil {
			return errors.New(s.get("/v1/streams/contacts"))
		}
		return nil
	})
}

// large is a change that gives a record so many bytes over its properties.
func large(t testing.TB, id string, names []string, size int) string {
	t.Helper()
	props := map[string]string{}
	rnd := rand.New(rand.NewPCG(uint64(size), uint64(len(id))))
	for _, name := range names {
		n := min(size, 60000) // HubSpot's own bound of a value is 65,536
		var b strings.Builder
		for b.Len() < n {
			fmt.Fprintf(&b, "%016x", rnd.Uint64())
		}
		props[name] = b.String()
		if size -= n; size <= 0 {
			break
		}
	}
	if size > 0 {
		t.Fatalf("%d bytes too many for %d properties", size, len(names))
	}
	b, err := json.Marshal(map[string]any{"ids": []string{id}, "properties": props})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A stream whose portal lacks its token is blocked and says so; the daemon runs.
func TestTokenIsMissing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "10")
	config, err := os.ReadFile(s.dir + "/hubpipe.hcl")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "TEST_TOKEN", "HUBPIPE_TEST_NOT_SET", 1)
	if err := os.WriteFile(s.dir+"/hubpipe.hcl", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, run(t, s.dir, s.bin, "check"), 3, "HUBPIPE_TEST_NOT_SET", "hubpipe.hcl:")
	daemon := s.daemon()
	daemon.says(t, "HUBPIPE_TEST_NOT_SET", "blocked")
	s.worker().says(t, "HUBPIPE_TEST_NOT_SET")
	st := s.status("contacts")
	if st.State != client.StateBlocked || st.Error == nil || !strings.Contains(st.Error.Detail, "HUBPIPE_TEST_NOT_SET") || st.Error.Hint == "" {
		t.Errorf("%+v %+v", st, st.Error)
	}
	if code, body := s.curl(http.MethodPost, "/v1/streams/contacts/sync", ""); code != http.StatusConflict || !strings.Contains(body, "HUBPIPE_TEST_NOT_SET") {
		t.Errorf("sync: %d %s", code, body)
	}
	// A verb that only talks to a daemon needs no token.
	if out, err := s.hubpipe("status"); err != nil || !strings.Contains(out, "blocked") {
		t.Errorf("status: %v %s", err, out)
	}
}
