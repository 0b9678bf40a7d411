package dispatch

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What is committed is counted, once; what fails to be, and what is looked at
// again, is not.
func TestCounts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	page := protocol.Page{Store: "store", Epoch: 1, Process: "p1", Attempt: attempt, Kind: protocol.RecordsPage, Began: 5, List: "list", Last: true, Requests: 4,
		Records: []protocol.Record{{ID: "1", State: "live", Version: 5, AsOf: 9}, {ID: "2", State: "live", Version: 5, AsOf: 9}}}
	in := []Incoming{{Worker: "w", Page: &page, Digest: "first"}}
	broken := true
	b.store.failCommit = func() bool { return broken }
	if _, _, err := b.d.Pages(b.now, in); err == nil {
		t.Fatal("the commit did not fail")
	}
	if n := b.d.Counts(); n.Pages[PageCommitted] != 0 || len(n.Readings) != 0 {
		t.Errorf("what was not committed is counted: %+v", n)
	}
	broken = false
	for range 3 { // twice more than it is needed
		b.must(first(b.d.Pages(b.now, in)))
	}
	b.now = b.now.Add(7 * time.Second)
	b.page(protocol.Page{Attempt: attempt, Range: 1, Kind: protocol.ListingPage, Last: true})
	n := b.d.Counts()
	if diff := cmp.Diff(map[string]uint64{PageCommitted: 2, PageRepeated: 2}, n.Pages); diff != "" {
		t.Errorf("pages:\n%s", diff)
	}
	if diff := cmp.Diff(map[Reading]uint64{{modelStream, stream.Insert}: 2}, n.Readings); diff != "" {
		t.Errorf("readings:\n%s", diff)
	}
	e := n.Runs[RunKind{modelStream, stream.Backfill}]
	if e.By[stream.Done] != 1 || e.Records != 2 || e.Seconds != 7 || e.Requests != 4 || e.Last == nil || e.Last.State != stream.Done {
		t.Errorf("runs: %+v, the last %+v", e, e.Last)
	}
	n.Pages[PageCommitted], n.Runs[RunKind{modelStream, stream.Backfill}] = 99, Ended{}
	if again := b.d.Counts(); again.Pages[PageCommitted] != 2 || again.Runs[RunKind{modelStream, stream.Backfill}].Records != 2 {
		t.Error("what was handed out is the dispatcher's own")
	}
}

// A lease that ends and an attempt that gets nowhere are told apart.
func TestLapsesAreCounted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	if attempt == 0 || b.d.Leases() == 0 {
		t.Fatal("nothing is handed out")
	}
	for range 150 { // the lease goes on, the attempt does not
		b.now = b.now.Add(time.Second)
		b.beat(protocol.Heartbeat{Attempts: []protocol.AttemptReport{{Attempt: attempt, Ranges: []protocol.RangeReport{{ID: 0}}}}})
		if b.d.Counts().Lapsed[LapseProgress] > 0 {
			break
		}
	}
	if n := b.d.Counts(); n.Lapsed[LapseProgress] != 1 || n.Lapsed[LapseLease] != 0 || n.Attempts < 2 {
		t.Errorf("without progress: %+v", n)
	}
	b.beat(protocol.Heartbeat{})
	open := b.d.Leases()
	for range 60 {
		b.now = b.now.Add(time.Second)
		b.must(b.d.Tick(b.now))
	}
	if n := b.d.Counts(); open == 0 || n.Lapsed[LapseLease] == 0 || b.d.Leases() != 0 {
		t.Errorf("without a lease: %+v, %d of %d are held", n, b.d.Leases(), open)
	}
}

// What a reconcile found outlives it: runs are not kept for ever.
func TestTheLastReportIsKept(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	id, attempt := b.reconcile(false)
	w := b.walk(attempt)
	w.send(liveOf, protocol.Page{Kind: protocol.ListingPage, Last: true})
	w.send(archivedOf, protocol.Page{Kind: protocol.ListingPage, Last: true})
	run := b.store.runs[id]
	if run == nil || run.State != stream.Done {
		t.Fatalf("the reconcile: %+v", run)
	}
	b.restart()
	s := b.view().Stream
	if diff := cmp.Diff(run.Report, s.LastReport); diff != "" || !s.ReportedAt.Equal(run.Ended) {
		t.Errorf("%s at %s:\n%s", id, s.ReportedAt, diff)
	}
}
