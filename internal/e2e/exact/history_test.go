package exact

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// past is what properties have been, each newest first, as HubSpot gives it.
type past map[string][]map[string]any

// stable leaves out the times of what was calculated, which is always just now,
// and what has no history: that may be said, or not.
func (p past) stable() past {
	out := past{}
	for name, values := range p {
		if len(values) > 0 {
			out[name] = values
		}
		for _, v := range values {
			if v["sourceType"] == "CALCULATED" {
				delete(v, "timestamp")
			}
		}
	}
	return out
}

// pasts is the truth of what properties of an object have been.
func (r *rig) pasts(object string, names []string) (map[string]past, error) {
	w := httptest.NewRecorder()
	r.sim.ServeHTTP(w, httptest.NewRequestWithContext(r.t.Context(), http.MethodGet, "/_simulator/truth/history/"+object+"?properties="+strings.Join(names, ","), nil))
	out := map[string]past{}
	for line := range strings.Lines(w.Body.String()) {
		var one struct {
			ID   string
			Past past `json:"propertiesWithHistory"`
		}
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			return nil, fmt.Errorf("%d: %.100s: %w", w.Code, line, err)
		}
		out[one.ID] = one.Past.stable()
	}
	return out, nil
}

// lasting are the properties of a stream whose values do not drift.
func (r *rig) lasting(stream string) (names []string) {
	r.t.Helper()
	all, err := r.api.Schema(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	calculated, volatile := r.sim.Drifting(stream)
	for _, p := range all {
		if !slices.Contains(calculated, p.Name) && !slices.Contains(volatile, p.Name) {
			names = append(names, p.Name)
		}
	}
	return names
}

// remembered holds the history of a stream's live records against the truth of
// its object: of these properties, and of no others but those that drift and
// those that are drawn, which may have vanished.
func (r *rig) remembered(stream, object string, names ...string) error {
	truth, err := r.pasts(object, names)
	if err != nil {
		return err
	}
	stored, err := r.stored(stream)
	if err != nil {
		return err
	}
	calculated, volatile := r.sim.Drifting(object)
	for _, id := range slices.Sorted(maps.Keys(stored)) {
		rec := stored[id]
		if rec.State == "purged" || rec.State == "merged" {
			if rec.History != nil {
				return fmt.Errorf("%s %s is %s and has a history: %.100s", stream, id, rec.State, rec.History)
			}
			continue
		}
		if rec.State != "live" {
			continue
		}
		var got past
		if err := json.Unmarshal(rec.History, &got); err != nil {
			return fmt.Errorf("history of %s %s: %.100q: %w", stream, id, rec.History, err)
		}
		for _, n := range append(calculated, volatile...) {
			delete(got, n)
		}
		for n := range got {
			if strings.HasPrefix(n, "drawn_") && !slices.Contains(names, n) {
				delete(got, n)
			}
		}
		if diff := cmp.Diff(truth[id], got.stable()); diff != "" {
			return fmt.Errorf("history of %s %s differs (-truth +stored):\n%.1500s", stream, id, diff)
		}
	}
	return nil
}

func (r *rig) remembers(stream, object string, names ...string) {
	r.t.Helper()
	until(r.t, "the history of "+stream, func() error { return r.remembered(stream, object, names...) })
}

// runsOf are the runs of a kind that have ended, the newest first.
func (r *rig) runsOf(stream, kind string) []client.Run {
	r.t.Helper()
	all, err := r.api.Runs(r.t.Context(), client.RunQuery{Stream: stream, Limit: 1000})
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(run client.Run) bool { return run.Kind != kind || run.Running() })
}

// The history of chosen properties comes after the first load by a run of its
// own and then with what changes, of each stream as it chooses; what is chosen
// later is read of all, and what is chosen no more is not shown.
func TestHistory(t *testing.T) {
	t.Parallel()
	text := func(contacts string) string {
		// With a start date no list is read where much has changed: from a list the
		// history comes apart, in a place of its own.
		return strings.Replace(pace, "defaults {", "defaults {\n  start_date = \"2000-01-01\"", 1) + `stream "contacts" { ` + contacts + ` }
stream "people" {
  object  = "contacts"
  history = ["phone"]
}
stream "deals" {}
`
	}
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 330, "deals": 40}, StaleReads: 0.1, StaleFor: 300 * time.Millisecond},
		text(`history = ["city", "life*"]`)).start()
	r.remembers("contacts", "contacts", "city", "lifecyclestage")
	r.remembers("people", "contacts", "phone")
	until(t, "the first run", func() error {
		if runs := r.runsOf("contacts", "history"); len(runs) != 1 || runs[0].State != "done" || runs[0].Records != 330 {
			return fmt.Errorf("the history runs are %+v", runs)
		}
		return nil
	})

	// It changes with its records, in one place of the feed. Streams share the
	// places: what people and deals were read for before does not count.
	before := max(r.position("contacts"), r.position("people"), r.position("deals"))
	ids := r.live("contacts")
	v, w := "Köln", "Mainz"
	r.change("contacts", simulator.Change{IDs: ids[10:70], Properties: map[string]*string{"city": &v, "phone": &v}})
	r.change("contacts", simulator.Change{IDs: ids[40:90], Properties: map[string]*string{"city": &w}})
	r.change("contacts", simulator.Change{Create: 7, Archive: ids[100:105], Merge: []simulator.Merge{{Into: ids[0], From: ids[1:2]}}})
	until(t, "the changes", func() error {
		return errorsOf(r.equal("contacts"), r.remembered("contacts", "contacts", "city", "lifecyclestage"),
			r.same("people", "contacts"), r.remembered("people", "contacts", "phone"))
	})
	if moved := r.position("contacts") - before; moved > 3*(80+7+5+2) {
		t.Errorf("%d places in the feed", moved)
	}
	kept, err := r.api.Record(t.Context(), "contacts", ids[100])
	if err != nil || kept.State != "archived" || !strings.Contains(string(kept.History), `"city"`) {
		t.Errorf("archived: %v %+v", err, kept)
	}
	r.change("contacts", simulator.Change{Restore: ids[100:105]})
	r.change("contacts", simulator.Change{IDs: ids[100:101], Properties: map[string]*string{"city": &w}})
	until(t, "the restored", func() error {
		return errorsOf(r.equal("contacts"), r.remembered("contacts", "contacts", "city", "lifecyclestage"))
	})

	// What is read again and is the same is no change.
	r.complete("contacts")
	before = r.position("contacts")
	r.reconcile("contacts")
	if _, err := r.api.SyncWait(t.Context(), "contacts", ids[5], patience()); err != nil {
		t.Fatal(err)
	}
	if now := r.position("contacts"); now != before {
		t.Errorf("the feed goes from %d to %d for nothing", before, now)
	}

	// Less needs no reading, more does, and nothing is nothing.
	r.reload(text(`history = ["city"]`))
	if err := r.remembered("contacts", "contacts", "city"); err != nil {
		t.Error(err)
	}
	r.reload(text(`history = ["*"]`))
	r.remembers("contacts", "contacts", r.lasting("contacts")...)
	until(t, "the second run", func() error {
		if runs := r.runsOf("contacts", "history"); len(runs) != 2 || runs[0].State != "done" {
			return fmt.Errorf("the history runs are %+v", runs)
		}
		return nil
	})
	r.reload(text(``))
	for _, stream := range []string{"contacts", "deals"} {
		stored, err := r.stored(stream)
		if err != nil {
			t.Fatal(err)
		}
		for id, rec := range stored {
			if rec.History != nil {
				t.Fatalf("%s %s has a history that nobody chose: %.100s", stream, id, rec.History)
			}
		}
	}
	if err := r.api.Erase(t.Context(), "people", ids[20]); err != nil {
		t.Fatal(err)
	}
	if rec, err := r.api.Record(t.Context(), "people", ids[20]); err != nil || rec.History != nil {
		t.Errorf("erased: %v %+v", err, rec)
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// toll lets so many records pass, and holds what comes then until there is more.
type toll struct {
	mu            sync.Mutex
	passed, limit int
	more          chan struct{}
}

// pay takes records through, or returns what says that there is more.
func (x *toll) pay(n int) <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.passed >= x.limit {
		return x.more
	}
	x.passed += n
	return nil
}

// raise sets how many may pass, and returns how many have.
func (x *toll) raise(limit int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.limit = limit
	close(x.more)
	x.more = make(chan struct{})
	return x.passed
}

// A history run goes on where it stood: when the worker begins anew, and when
// the choice grows narrower while it runs. What is chosen besides begins it anew.
func TestHistoryGoesOn(t *testing.T) {
	t.Parallel()
	const contacts = 1700
	text := func(history string) string {
		return strings.Replace(pace, `archived_interval  = "1s"`, `archived_interval  = "1h"`, 1) + `stream "contacts" { history = [` + history + `] }
`
	}
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": contacts}}, text(`"city", "phone"`))
	past := &toll{limit: 500, more: make(chan struct{})}
	stuck := make(chan struct{}, 1000)
	r.between(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if kind(q) != "batch" {
			next.ServeHTTP(w, q)
			return
		}
		var in struct {
			Inputs  []struct{ ID string }
			History []string `json:"propertiesWithHistory"`
		}
		if err := json.Unmarshal([]byte(body(q)), &in); err != nil {
			t.Errorf("a batch read: %v", err)
		}
		if len(in.History) == 0 {
			in.Inputs = nil // not of what is counted
		}
		for more := past.pay(len(in.Inputs)); more != nil && len(in.Inputs) > 0; more = past.pay(len(in.Inputs)) {
			stuck <- struct{}{}
			select {
			case <-more:
			case <-q.Context().Done():
				return
			}
		}
		next.ServeHTTP(w, q)
	})
	r.start()
	<-stuck
	r.stopWorker()
	past.raise(900)
	r.startWorker()
	<-stuck
	r.reload(text(`"city"`))
	past.raise(1 << 40)
	until(t, "the runs", func() error {
		if runs := r.runsOf("contacts", "history"); len(runs) != 2 || runs[0].State != "done" || runs[1].State != "stopped" {
			return fmt.Errorf("the history runs are %+v", runs)
		}
		return nil
	})
	if err := r.remembered("contacts", "contacts", "city"); err != nil {
		t.Error(err)
	}
	// What was under way when it stopped is asked for twice; the run that was
	// made for the other choice begins with the thousand that the one before had.
	if n := past.raise(1 << 40); n > contacts+1000+8*50 {
		t.Errorf("%d were asked for, for %d records", n, contacts)
	}
	for len(stuck) > 0 {
		<-stuck
	}
	past.raise(past.raise(0) + 600)
	r.reload(text(`"city", "zip"`))
	<-stuck
	r.stopDaemon()
	past.raise(1 << 40)
	r.startDaemon()
	r.remembers("contacts", "contacts", "city", "zip")
	if runs := r.runsOf("contacts", "history"); len(runs) != 3 {
		t.Errorf("the history runs are %+v", runs)
	}
}
