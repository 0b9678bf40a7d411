package exact

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// rows are the live ones of a stream outside the CRM's contract, in order.
func (r *rig) rows(stream string) []string {
	r.t.Helper()
	stored, err := r.stored(stream)
	if err != nil {
		r.t.Fatal(err)
	}
	var ids []string
	for id, rec := range stored {
		if rec.State == "live" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// trueRows are those of the truth.
func (r *rig) trueRows(set string) []string {
	var ids []string
	for _, o := range r.sim.TruthSet(set) {
		if o.State == "live" {
			ids = append(ids, o.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// endedRows are a stream's rows that have ended.
func (r *rig) endedRows(stream string) (n int) {
	r.t.Helper()
	stored, err := r.stored(stream)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, rec := range stored {
		if rec.State != "live" {
			n++
		}
	}
	return n
}

// HubSpot works a list out anew. Its counters say at once what they will say in
// the end, and its members are there by and by: those that are not there yet
// have not gone, and the list is read again when it is complete.
func missedProcessing(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 50}}, pace+"stream \"list_memberships\" { interval = \"24h\" }\n").start()
	both := func() error {
		if got, want := r.rows("list_memberships"), r.trueRows("list_memberships"); !slices.Equal(got, want) {
			return problem("%d members, in truth %d", len(got), len(want))
		}
		return nil
	}
	until(t, "the members", both)
	list := r.trueRows("lists")[3]
	set := func(name string, c simulator.SetChange) {
		if _, err := r.sim.ChangeSet(name, c); err != nil {
			t.Fatal(err)
		}
	}
	set("lists", simulator.SetChange{IDs: []string{list}, Fields: map[string]any{"processingStatus": "PROCESSING"}})
	set("list_memberships", simulator.SetChange{Create: 6, Parent: list})
	var read atomic.Int64
	r.between(answering(func(q *http.Request) bool {
		return strings.Contains(q.URL.Path, "/lists/") && strings.Contains(q.URL.Path, "/"+list+"/memberships")
	},
		func(_ *http.Request, reply map[string]any) {
			read.Add(1)
			if rows, ok := reply["results"].([]any); ok {
				reply["results"] = rows[:min(5, len(rows))]
			}
			delete(reply, "paging")
		}))
	before := len(r.rows("list_memberships"))
	for range 3 {
		if run := r.sync("list_memberships"); run.State != client.RunDone {
			t.Fatalf("%+v", run)
		}
	}
	if n, gone := len(r.rows("list_memberships")), r.endedRows("list_memberships"); n < before || gone > 0 {
		t.Errorf("%d members of %d, %d have ended", n, before, gone)
	}
	if read.Load() < 3 {
		t.Errorf("the list was read %d times in three runs", read.Load())
	}
	r.between(nil)
	set("lists", simulator.SetChange{IDs: []string{list}, Fields: map[string]any{"processingStatus": "COMPLETE"}})
	r.sync("list_memberships")
	if err := both(); err != nil {
		t.Error(err)
	}
	// Complete, it is not read again until its counters change.
	before = int(r.sim.Stats().Total)
	r.sync("list_memberships")
	if n := int(r.sim.Stats().Total) - before; n > 5 {
		t.Errorf("%d requests for lists that have not changed", n)
	}
}

// Each pass over the emails with their statistics shows a quarter of them. What
// a pass lacks has not gone; after some passes all are there, and stay.
func missedStatistics(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 10}}, pace+"stream \"marketing_email_statistics\" { interval = \"24h\" }\n")
	var pass atomic.Int64
	r.between(answering(func(q *http.Request) bool { return q.URL.Query().Get("includeStats") == "true" }, func(q *http.Request, reply map[string]any) {
		if q.URL.Query().Get("after") == "" && q.URL.Query().Get("archived") != "true" {
			pass.Add(1)
		}
		rows, _ := reply["results"].([]any)
		reply["results"] = slices.DeleteFunc(rows, func(row any) bool {
			email, _ := row.(map[string]any)
			id, _ := strconv.ParseInt(text(idOf(email)), 10, 64)
			return (id+pass.Load())%4 != 0
		})
	}))
	r.start()
	var want []string
	for _, o := range r.sim.TruthSet("marketing_email_statistics") {
		if o.State == "live" && o.Properties["state"] != "DRAFT" { // of which HubSpot has none
			want = append(want, o.ID)
		}
	}
	slices.Sort(want)
	until(t, "all statistics", func() error {
		r.sync("marketing_email_statistics")
		if got := r.rows("marketing_email_statistics"); !slices.Equal(got, want) {
			return problem("%d of %d after %d passes", len(got), len(want), pass.Load())
		}
		return nil
	})
	position := r.position("marketing_email_statistics")
	for range 5 {
		r.sync("marketing_email_statistics")
	}
	if got := r.position("marketing_email_statistics"); got != position || r.endedRows("marketing_email_statistics") > 0 || len(want) < 20 {
		t.Errorf("%d of %d rows were written again in %d passes, %d have ended", got-position, len(want), pass.Load(), r.endedRows("marketing_email_statistics"))
	}
}

func idOf(row map[string]any) *string {
	id, _ := row["id"].(string)
	return &id
}

// Everything has changed while nobody looked, and reading takes longer than
// search: the worker stops searching until what it has found is read, however
// much there is.
func missedMemory(t scene) {
	const changed = 12000
	// With a start date it is search that catches up, and never the list.
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": changed}, Properties: 8},
		strings.Replace(alone, `"contacts" {}`, `"contacts" { start_date = "2000-01-01" }`, 1)).start()
	r.becomesEqual("contacts")
	r.stopWorker()
	at := time.Now().UnixMilli()
	ids := r.live("contacts")
	value := "changed"
	for n, i := 600, 0; i*n < changed; i++ { // over twenty milliseconds
		r.change("contacts", simulator.Change{IDs: ids[i*n : (i+1)*n], At: at + int64(i), Properties: map[string]*string{"firstname": &value}})
	}
	var mu sync.Mutex
	named, searches := map[string]bool{}, 0
	free := make(chan struct{})
	count := answering(func(q *http.Request) bool { return kind(q) == "search" }, func(_ *http.Request, reply map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		searches++
		rows, _ := reply["results"].([]any)
		for _, row := range rows {
			hit, _ := row.(map[string]any)
			named[text(idOf(hit))] = true
		}
	})
	r.between(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if kind(q) == "batch" {
			select {
			case <-free:
			case <-q.Context().Done():
			}
		}
		count(w, q, next)
	})
	r.startWorker()
	// Search has stood still for a while: a worker that is slow is not caught by
	// that, and none that does what it should is.
	before, still := 0, 0
	until(t, "search to stand still", func() error {
		mu.Lock()
		defer mu.Unlock()
		if still++; searches != before || searches == 0 {
			before, still = searches, 0
		}
		if still < 40 {
			return problem("%d searches have named %d", searches, len(named))
		}
		return nil
	})
	mu.Lock()
	held := len(named)
	mu.Unlock()
	t.Logf("%d searches named %d of %d", before, held, changed)
	if held > changed/2 {
		t.Errorf("the worker holds %d of %d ids that it has not read", held, changed)
	}
	close(free)
	r.becomesEqual("contacts")
}
