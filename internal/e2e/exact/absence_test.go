package exact

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// answering changes what HubSpot says to some requests, as JSON.
func answering(which func(*http.Request) bool, change func(q *http.Request, reply map[string]any)) front {
	return func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if !which(q) {
			next.ServeHTTP(w, q)
			return
		}
		q.Header.Del("Accept-Encoding")
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, q)
		var reply map[string]any
		if rec.Code != http.StatusOK || json.Unmarshal(rec.Body.Bytes(), &reply) != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		change(q, reply)
		for k, v := range rec.Header() {
			if k != "Content-Length" {
				w.Header()[k] = v
			}
		}
		_ = json.NewEncoder(w).Encode(reply) // the connection's end
	}
}

func empty(_ *http.Request, reply map[string]any) {
	reply["results"] = []any{}
	delete(reply, "paging")
	if _, ok := reply["total"]; ok {
		reply["total"] = 0
	}
}

// HubSpot shows less than it has, of everything or of a part. No record ends,
// and where much is absent the stream says so.
func TestAbsenceProvesNothing(t *testing.T) {
	t.Parallel()
	list := func(q *http.Request) bool { return kind(q) == "list" }
	live := func(q *http.Request) bool { return list(q) && q.URL.Query().Get("archived") != "true" }
	for _, c := range []struct {
		name    string
		which   func(*http.Request) bool
		change  func(*http.Request, map[string]any)
		blocked bool
	}{
		{"an empty list", list, empty, true},
		{"an empty list of what is live", live, empty, true},
		{"an empty bin", func(q *http.Request) bool { return list(q) && !live(q) }, empty, false},
		{"an empty search", func(q *http.Request) bool { return kind(q) == "search" }, empty, false},
		{"half a list", live, func(q *http.Request, reply map[string]any) {
			if after := q.URL.Query().Get("after"); after != "" {
				delete(reply, "paging")
			}
		}, true},
		{"a list without its last page", live, func(q *http.Request, reply map[string]any) {
			if rows, ok := reply["results"].([]any); ok && len(rows) < 100 || reply["paging"] == nil {
				empty(q, reply)
			}
		}, false},
		{"every other record", live, func(_ *http.Request, reply map[string]any) {
			rows, _ := reply["results"].([]any)
			half := []any{}
			for i := 0; i < len(rows); i += 2 {
				half = append(half, rows[i])
			}
			reply["results"] = half
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.name != "half a list" {
				ordinarily(t)
			}
			r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 660}}, pace+"stream \"contacts\" {}\n")
			r.change("contacts", simulator.Change{Archive: r.live("contacts")[:20]})
			r.start()
			r.becomesEqual("contacts")
			position := r.position("contacts")
			r.between(answering(c.which, c.change))
			_, rep := r.reconcile("contacts")
			if rep.Gone != 0 {
				t.Errorf("%+v", rep)
			}
			st := r.status("contacts")
			if st.Records != 640 || st.Tombstones != 20 {
				t.Errorf("%d are left, and %d that ended", st.Records, st.Tombstones)
			}
			if blocked := st.State == client.StateBlocked; blocked != c.blocked {
				t.Errorf("the state is %s: %v", st.State, st.Error)
			}
			if c.blocked && (st.Error == nil || !strings.Contains(st.Error.Hint, "--accept-deletes")) {
				t.Errorf("it does not say why: %+v", st.Error)
			}
			if got := r.position("contacts"); got != position {
				t.Errorf("%d records changed", got-position)
			}
			r.between(nil)
			r.change("contacts", simulator.Change{Change: 10})
			r.becomesEqual("contacts")
			r.reconcile("contacts")
			until(t, "no brake", func() error {
				if st := r.status("contacts"); st.Error != nil {
					return fmt.Errorf("it is braked: %w", st.Error)
				}
				return nil
			})
		})
	}
}

// The token turns out to be another account's, which has other records: nothing
// of it is taken, nothing ends, and the status has both accounts' numbers.
func TestAnotherAccount(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 300}}, pace+"stream \"contacts\" {}\n").start()
	r.becomesEqual("contacts")
	other := simulator.New(simulator.Options{Token: token, Seed: 99, PortalID: 990099, Properties: 16, Sizes: map[string]int{"contacts": 40}})
	var reads atomic.Int64
	r.between(func(w http.ResponseWriter, q *http.Request, _ http.Handler) {
		if kind(q) == "batch" {
			reads.Add(1)
		}
		other.ServeHTTP(w, q)
	})
	if _, err := other.Change("contacts", simulator.Change{Change: 40}); err != nil {
		t.Fatal(err)
	}
	r.stopWorker() // it learns whose the token is when it begins
	r.startWorker()
	until(t, "blocked", func() error {
		st := r.status("contacts")
		if st.State != client.StateBlocked || st.Error == nil {
			return fmt.Errorf("it is %s", st.State)
		}
		if says := st.Error.Detail + st.Error.Hint; !strings.Contains(says, "990099") || !strings.Contains(says, "4711001") {
			return fmt.Errorf("it does not name both: %s", says)
		}
		return nil
	})
	if err := r.equal("contacts"); err != nil {
		t.Error(err)
	}
	if n := reads.Load(); n > 0 {
		t.Errorf("%d reads of another account's records", n)
	}
	r.between(nil)
	r.change("contacts", simulator.Change{Change: 20})
	if _, err := r.api.Start(t.Context(), "contacts", ""); err != nil {
		t.Fatal(err)
	}
	r.becomesEqual("contacts")
}

// still is a configuration in which nothing runs by itself after the first load.
const still = `defaults {
  interval = "1h"
  tail     = "3s"
  settle   = ["1s"]
  archived_interval  = "24h"
  reconcile_interval = "24h"
}
stream "contacts" { associations = ["companies"] }
stream "companies" {}
`

// Everything read anew is what was there, and takes no place in the feed.
func TestReadTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 700, "companies": 100}, Associations: map[string]float64{"contacts-companies": 1}}, still).start()
	r.becomesEqual("contacts", "companies")
	until(t, "associations", func() error { return r.linked("contacts", "companies") })
	before, err := r.stored("contacts")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		id, err := r.api.Resync(t.Context(), "contacts")
		if err != nil {
			t.Fatal(err)
		}
		if run := r.ended(id); run.State != client.RunDone {
			t.Fatalf("%+v", run)
		}
		after, err := r.stored("contacts")
		if err != nil {
			t.Fatal(err)
		}
		for id, was := range before {
			is := after[id]
			if is.Seq != was.Seq || is.State != was.State || string(is.Properties) != string(was.Properties) || string(is.Associations) != string(was.Associations) {
				t.Fatalf("%s was %+v and is %+v", id, was, is)
			}
		}
		if len(after) != len(before) {
			t.Fatalf("%d records, %d before", len(after), len(before))
		}
	}
}

// A run in which nothing has changed asks HubSpot once.
func TestNothingChanged(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 700, "companies": 100}}, still)
	r.schemaEvery = time.Hour
	r.start()
	r.becomesEqual("contacts", "companies")
	for _, o := range []string{"contacts", "companies"} {
		r.change(o, simulator.Change{Change: 5})
		until(t, "what has changed", func() error { r.sync(o); return r.equal(o) })
		// What is associated with the five is read again when they settle, one
		// pass after the other; what comes after the last has nothing to do.
		until(t, "three runs of one request each", func() error {
			position := r.position(o)
			for range 3 {
				before := r.sim.Stats()
				r.sync(o)
				after := r.sim.Stats()
				if n := after.Total - before.Total; n != 1 || after.Requests["search"]-before.Requests["search"] != 1 {
					return fmt.Errorf("%s: %d requests: %v, before %v", o, n, after.Requests, before.Requests)
				}
			}
			if got := r.position(o); got != position {
				return fmt.Errorf("%s: %d records changed", o, got-position)
			}
			return nil
		})
	}
}

// A record was modified in the year 2999, as far as it says: the others go on,
// it is there, and it goes on itself when it has come back to its senses.
func TestTheYear2999(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 300}}, pace+"stream \"contacts\" {}\n").start()
	r.becomesEqual("contacts")
	far := time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	id := r.live("contacts")[7:8]
	r.change("contacts", simulator.Change{IDs: id, At: far})
	r.settles("contacts")
	r.change("contacts", simulator.Change{Change: 30, Create: 5})
	r.settles("contacts")
	st := r.status("contacts")
	if st.CompleteUntil.After(time.Now()) || st.LagSeconds == nil || *st.LagSeconds > 30 {
		t.Errorf("%+v", st)
	}
	position := r.position("contacts")
	r.sync("contacts")
	r.sync("contacts")
	if got := r.position("contacts"); got != position {
		t.Errorf("it was written %d times without a change", got-position)
	}
	now := time.Now().UnixMilli()
	r.change("contacts", simulator.Change{IDs: id, At: now})
	r.becomesEqual("contacts")
}

// Where HubSpot has fewer live records than it had, the archived ones are read
// before their time, which nobody here would wait for.
func TestArchivedSweepComesEarly(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 300}}, strings.Replace(pace, `archived_interval  = "1s"`, `archived_interval  = "5m"`, 1)+"stream \"contacts\" {}\n")
	var counts atomic.Int64
	r.between(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		all := kind(q) == "search" && strings.Contains(body(q), `"operator":"GTE","value":"1"}]`)
		next.ServeHTTP(w, q)
		if all {
			counts.Add(1)
		}
	})
	r.start()
	r.becomesEqual("contacts")
	until(t, "a count", func() error {
		if counts.Load() == 0 {
			return problem("nothing was counted")
		}
		return nil
	})
	r.change("contacts", simulator.Change{Archive: r.live("contacts")[:20]})
	r.becomesEqual("contacts")
	if runs := r.runs("archived"); len(runs) != 1 {
		t.Errorf("%d archived sweeps", len(runs))
	}
}
