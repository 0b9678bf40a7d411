package dispatch

import (
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// A settle pass counts by HubSpot's clock. Ours may have been set forward, and
// the window is as young as it was.
func TestSettlePassesGoByHubSpotsClock(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	hubspot := b.now.Add(-3 * time.Minute).UnixMilli()
	run := func(ours, theirs time.Duration) *stream.Stream {
		t.Helper()
		b.now, hubspot = b.now.Add(ours), hubspot+theirs.Milliseconds()
		attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
		if attempt == 0 {
			t.Fatal("no run is due")
		}
		for _, g := range sortedRanges(b.d.ranges[b.d.attempts[attempt]]) {
			b.page(protocol.Page{Attempt: attempt, Range: g.ID, Kind: protocol.ListingPage, To: "x", Last: true, Began: hubspot})
		}
		return b.d.streams[modelStream]
	}
	run(10*time.Minute, 10*time.Minute)
	until := run(20*time.Second, 20*time.Second).CompleteUntil()
	if s := run(2*time.Hour, 10*time.Second); s.CompleteUntil() != until || s.Windows[1].Level != 0 {
		t.Fatalf("a window of 10 s counts as settled: %+v, complete until %d after %d", s.Windows, s.CompleteUntil(), until)
	}
	for range 8 {
		run(20*time.Second, 20*time.Second)
	}
	s := b.d.streams[modelStream]
	if age := hubspot - s.CompleteUntil(); s.CompleteUntil() <= until || age < 60_000 || age > 90_000 {
		t.Fatalf("complete until %d ms ago: %+v", age, s.Windows)
	}
}

// A wait that was written before the clock was set back holds nobody up.
func TestClockSetBackStallsNoRun(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range 3 { // attempts that end without a page: the third waits
		attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
		if attempt == 0 {
			t.Fatal("no attempt")
		}
		b.beat(protocol.Heartbeat{Declined: []uint64{attempt}})
		b.now = b.now.Add(1500 * time.Millisecond)
	}
	if run := b.d.runOf(modelStream, true); !run.NotBefore.After(b.now) {
		t.Fatalf("the run waits for nothing: %s", run.NotBefore.Sub(b.now))
	}
	if got := fetches(b.beat(protocol.Heartbeat{})); len(got) != 0 {
		t.Fatalf("an attempt begins before its time: %v", got)
	}
	b.now = b.now.Add(-5 * time.Hour)
	b.restart()
	hb := protocol.Heartbeat{Worker: "w", Process: "p2", Portals: []string{"main"}, Capacity: 4}
	b.must(b.d.Heartbeat(b.now, &hb))
	if got := fetches(b.must(b.d.Tick(b.now))); got["backfill"] == 0 {
		t.Fatal("the run waits for five hours")
	}
}
