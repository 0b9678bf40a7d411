package exact

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// found is what a run says besides its figures.
type found struct {
	ByList     string `json:"by_list"`
	Properties []string
	Settled    int
	Late       int
}

func (r *rig) runs(kind string) (out []client.Run) {
	r.t.Helper()
	runs, err := r.api.Runs(r.t.Context(), client.RunQuery{})
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(runs, func(x client.Run) bool { return x.Kind != kind })
}

func (r *rig) says(run client.Run) (f found) {
	r.t.Helper()
	if len(run.Report) == 0 {
		return f
	}
	if err := json.Unmarshal(run.Report, &f); err != nil {
		r.t.Fatal(err)
	}
	return f
}

// requested counts the requests of an object by kind from now on, and calls then
// for each when it has been answered.
func (r *rig) requested(object string, then func(kind string, n int64)) map[string]*atomic.Int64 {
	n := map[string]*atomic.Int64{}
	for _, k := range []string{"search", "associations", "batch", "list"} {
		n[k] = new(atomic.Int64)
	}
	r.between(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		k := kind(q)
		next.ServeHTTP(w, q)
		if c := n[k]; c != nil && (strings.Contains(q.URL.Path, "/"+object) || strings.Contains(q.URL.Path, "/0-1")) {
			if v := c.Add(1); then != nil {
				then(k, v)
			}
		}
	})
	return n
}

// After a standstill in which most has changed the list is read instead of search.
// Records change while it is read, before and behind its place; the worker ends in
// the middle, and another goes on from there. Nothing is missing then, with
// associations, and no sweep or reconcile has helped.
func TestCatchingUpByList(t *testing.T) {
	t.Parallel()
	const size = 6000
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": size, "companies": 50}, Properties: 8,
		Associations: map[string]float64{"contacts-companies": 0.5}},
		strings.Replace(alone, `stream "contacts" {}`, `stream "contacts" { associations = ["companies"] }`, 1)).start()
	r.becomesEqual("contacts")
	until(t, "associations", func() error { return r.linked("contacts", "companies") })
	until(t, "the end of the first load", func() error {
		if run := r.status("contacts").Run; run != nil {
			return problem("%s %s goes on", run.Kind, run.ID)
		}
		return nil
	})
	r.stopWorker()
	before := r.position("contacts")
	// In one moment: else a window may end in the middle, and the next one has
	// enough for the list, too.
	r.change("contacts", simulator.Change{Change: 5000, Create: 30, At: time.Now().UnixMilli()})
	live := r.live("contacts")
	companies := r.live("companies")
	var links []simulator.Link
	changed := r.change("contacts", simulator.Change{IDs: live[100:140]})
	for i, id := range changed {
		links = append(links, simulator.Link{From: id, To: companies[i%len(companies)]})
	}
	if _, _, err := r.sim.ChangeAssociations("contacts", "companies", simulator.AssociationChange{Associate: links}); err != nil {
		t.Fatal(err)
	}
	half := make(chan struct{})
	n := r.requested("contacts", func(k string, n int64) {
		if k == "list" && n%10 == 0 {
			_, _ = r.sim.Change("contacts", simulator.Change{Change: 25, Create: 1}) // of an object that there is
		}
		if k == "list" && n == 30 {
			close(half)
		}
	})
	r.startWorker()
	<-half
	r.stopWorker()
	r.startWorker()
	r.becomesEqual("contacts")
	until(t, "associations", func() error { return r.linked("contacts", "companies") })
	var byList []client.Run
	for _, run := range r.runs("incremental") {
		if r.says(run).ByList != "" {
			byList = append(byList, run)
		}
	}
	if len(byList) != 1 || byList[0].State != client.RunDone {
		t.Fatalf("runs by list: %+v", byList)
	}
	// The pages, what looking for places costs, and what was in flight when the
	// worker ended.
	if lists := n["list"].Load(); lists > size/100*2 {
		t.Errorf("%d requests of the list for %d pages", lists, size/100)
	}
	if batch := n["batch"].Load(); batch > 30 {
		t.Errorf("%d reads by name beside the list", batch)
	}
	t.Logf("%d positions, %d lists, %d searches, %d batch reads", r.position("contacts")-before, n["list"].Load(), n["search"].Load(), n["batch"].Load())
}

// A new property is brought by search to the records that have it, by a run of its
// own that another worker goes on with: more of them than a search has results,
// and without a page of the list. Those that search never shows, and what is
// archived, the next reconcile brings.
func TestANewPropertyIsFilledBySearch(t *testing.T) {
	t.Parallel()
	ordinarily(t)
	const size = 10_800
	// With a start date: nobody knows how much of the list is wanted.
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": size}, Properties: 5},
		strings.Replace(alone, `"contacts" {}`, `"contacts" { start_date = "2000-01-01" }`, 1))
	r.schemaEvery = time.Second
	live := r.live("contacts")
	r.change("contacts", simulator.Change{Archive: live[:40], Hide: live[50:60]})
	r.start()
	r.becomesEqual("contacts")
	half := make(chan struct{})
	n := r.requested("contacts", func(k string, n int64) {
		if k == "batch" && n == 20 {
			close(half)
		}
	})
	if err := r.sim.ChangeProperties("contacts", simulator.PropertyChange{Add: []simulator.NewProperty{{Name: "new_segment", Kind: "enum", Fill: 98}}}); err != nil {
		t.Fatal(err)
	}
	<-half
	r.stopWorker()
	r.startWorker()
	var fill []client.Run
	until(t, "the end of the fill", func() error {
		if fill = r.runs("fill"); len(fill) != 1 || fill[0].Running() {
			return problem("%+v", fill)
		}
		return nil
	})
	if f := r.says(fill[0]); fill[0].State != client.RunDone || !slices.Equal(f.Properties, []string{"new_segment"}) || f.ByList != "" {
		t.Errorf("%+v: %+v", fill[0], f)
	}
	if fill[0].Records < 10_000 {
		t.Errorf("%d records were filled", fill[0].Records)
	}
	if lists := n["list"].Load(); lists != 0 {
		t.Errorf("%d pages of the list were read", lists)
	}
	if err := r.equal("contacts", append(slices.Clone(live[:40]), live[50:60]...)...); err != nil {
		t.Error(err)
	}
	if _, rep := r.reconcile("contacts"); rep.Candidates != 0 {
		t.Errorf("%+v", rep)
	}
	if err := r.equal("contacts"); err != nil {
		t.Error(err)
	}
}

// One that most records have is brought by the list, and those of a small stream
// too; a property that search shows late is found all the same.
func TestANewPropertyIsFilledByList(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 3000}, Properties: 8}, alone)
	r.schemaEvery = time.Second
	r.start()
	r.becomesEqual("contacts")
	position := r.position("contacts")
	if err := r.sim.ChangeProperties("contacts", simulator.PropertyChange{Add: []simulator.NewProperty{{Name: "of_most", Kind: "text", Fill: 90}}}); err != nil {
		t.Fatal(err)
	}
	r.becomesEqual("contacts")
	until(t, "the end of the fill", func() error {
		if runs := r.runs("fill"); len(runs) != 1 || runs[0].Running() || r.says(runs[0]).ByList == "" {
			return problem("%+v", runs)
		}
		return nil
	})
	if got := r.position("contacts") - position; got > 2900 {
		t.Errorf("%d records were written, of whom about 2,700 have the property", got)
	}
}
