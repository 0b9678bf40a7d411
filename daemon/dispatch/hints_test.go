package dispatch

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// settled is a bench whose stream has been read and has nothing to do for a
// while.
func settled(t *testing.T) *bench {
	t.Helper()
	b := backfilled(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	if a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, Last: true}); !a.RunEnded {
		t.Fatalf("%+v", a)
	}
	return b
}

// hint tells the dispatcher of records, and gives the attempt that reads them, 0
// for none, and what it reads.
func (b *bench) hint(ids ...string) (attempt uint64, want []string) {
	b.t.Helper()
	hints := make([]Hint, len(ids))
	for i, id := range ids {
		hints[i] = Hint{Object: "0-1", Record: id}
	}
	taken, outs, err := b.d.Hint(b.now, "main", hints)
	b.must(outs, err)
	if taken != len(ids) {
		b.t.Errorf("%d of %d hints were taken", taken, len(ids))
	}
	return hintedBy(outs)
}

func hintedBy(outs []Out) (attempt uint64, want []string) {
	for _, o := range outs {
		if o.Command != nil && o.Command.Type == protocol.FetchCommand && o.Command.Fetch.Kind == "hint" {
			for _, l := range o.Command.Fetch.Ranges[0].Want {
				want = append(want, l.ID)
			}
			return o.Command.Attempt, want
		}
	}
	return 0, nil
}

func reading(attempt uint64, ids ...string) protocol.Page {
	p := protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage}
	for _, id := range ids {
		p.Records = append(p.Records, protocol.Record{ID: id, State: "live", Version: 5, AsOf: 9})
	}
	return p
}

// What is hinted at is in the ledger when the call returns, read at once, and
// what comes while it is read is read after it, the same record too.
func TestHints(t *testing.T) {
	t.Parallel()
	b := settled(t)
	attempt, want := b.hint("7", "9", "7")
	if attempt == 0 || !slices.Equal(want, []string{"7", "9"}) {
		t.Fatalf("attempt %d reads %v", attempt, want)
	}
	if again, _ := b.hint("7", "11"); again != 0 {
		t.Fatal("two runs at a time")
	}
	b.restart() // both are durable
	if a := b.page(reading(attempt, "7", "9")); !a.RunEnded {
		t.Fatalf("%+v", a)
	}
	if h, ok := b.store.records[recordKey(modelStream, "9")]; !ok || h.By.Road != stream.HintRoad || b.store.runs[h.By.Run] == nil {
		t.Fatalf("9 is stored: %t, and came by %+v", ok, h.By)
	}
	second, want := hintedBy(b.beat(protocol.Heartbeat{}))
	if second == 0 || !slices.Equal(want, []string{"7", "11"}) {
		t.Fatalf("attempt %d reads %v", second, want)
	}
	if a := b.page(reading(second, "7", "11")); !a.RunEnded {
		t.Fatalf("%+v", a)
	}
	if s := b.view().Stream; len(s.Hints) != 0 || len(s.Open) != 0 || s.Error != nil {
		t.Errorf("%+v", s)
	}
}

// A run that ends before it has read them gives its hints back, and the next one
// has them, an incremental one too.
func TestHintsOutliveTheirRun(t *testing.T) {
	t.Parallel()
	b := settled(t)
	attempt, _ := b.hint("7", "9")
	b.beat(protocol.Heartbeat{Failed: []protocol.AttemptFailure{{Attempt: attempt, Problem: protocol.Problem{Type: "x", Title: "x"}}}})
	if got := b.view().Stream.Hints; len(got) != 2 {
		t.Fatalf("left: %v", got)
	}
	if again, _ := b.hint("11"); again != 0 {
		t.Error("a stream that waits after a failure is read at once")
	}
	b.now = b.now.Add(time.Minute)
	outs := b.beat(protocol.Heartbeat{})
	attempt = fetches(outs)["incremental"]
	if attempt == 0 {
		t.Fatalf("no incremental run: %v", fetches(outs))
	}
	run := b.view().Incremental.ID
	p := reading(attempt, "7", "9", "11")
	for _, g := range b.d.ranges[run] {
		if g.Hinted {
			p.Range = g.ID
		}
	}
	b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, Last: true})
	if a := b.page(p); a.Type != protocol.Committed || !a.RangeEnded {
		t.Fatalf("%+v", a)
	}
	if got := b.view().Stream.Hints; len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

// A hint of which every run fails does not keep its stream from running.
func TestAHintThatFails(t *testing.T) {
	t.Parallel()
	b := settled(t)
	attempt, _ := b.hint("7")
	for _, left := range []int{1, 0} {
		b.beat(protocol.Heartbeat{Failed: []protocol.AttemptFailure{{Attempt: attempt, Problem: protocol.Problem{Type: "x", Title: "x"}}}})
		if got := b.view().Stream.Hints; len(got) != left {
			t.Fatalf("left: %v", got)
		}
		b.now = b.now.Add(time.Minute)
		attempt = fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	}
	if attempt == 0 {
		t.Error("the stream does not go on")
	}
}

// Whoever asks for a run while hints are read gets one that looks at all that
// has changed, and what was to be read is read with it.
func TestASyncBesideHints(t *testing.T) {
	t.Parallel()
	b := settled(t)
	attempt, _ := b.hint("7")
	run, outs, err := b.d.Sync(b.now, modelStream, "")
	b.must(outs, err)
	v := b.view()
	if v.Incremental == nil || v.Incremental.ID != run || v.Incremental.Kind != stream.Incremental {
		t.Fatalf("asked for: %s, runs: %+v", run, v.Incremental)
	}
	if !slices.ContainsFunc(outs, func(o Out) bool {
		return o.Command != nil && o.Command.Type == protocol.CancelCommand && o.Command.Attempt == attempt
	}) {
		t.Error("the hints' attempt goes on")
	}
	found := false
	for _, g := range b.d.ranges[run] {
		found = found || g.Hinted && len(g.Want) == 1 && g.Want[0].ID == "7"
	}
	if !found {
		t.Error("what was to be read is forgotten")
	}
}

// A stop drops what waits; hints for a stopped stream, another portal or an
// object that nobody copies are nothing.
func TestHintsForNobody(t *testing.T) {
	t.Parallel()
	b := settled(t)
	for name, h := range map[string]Hint{"another object": {Object: "0-2", Record: "1"}, "no id": {Object: "0-1", Record: " "}, "no object": {Record: "1"}} {
		if taken, outs, err := b.d.Hint(b.now, "main", []Hint{h}); taken != 0 || outs != nil || err != nil {
			t.Errorf("%s: %d %v %v", name, taken, outs, err)
		}
	}
	if taken, _, err := b.d.Hint(b.now, "other", []Hint{{Object: "0-1", Record: "1"}}); taken != 0 || err != nil {
		t.Errorf("another portal: %d %v", taken, err)
	}
	b.hint("7")
	b.hint("8")
	b.must(b.d.Stop(b.now, modelStream, "api"))
	if v := b.view(); len(v.Stream.Hints) != 0 || v.Incremental != nil {
		t.Errorf("after the stop: %v, %+v", v.Stream.Hints, v.Incremental)
	}
	if taken, outs, err := b.d.Hint(b.now, "main", []Hint{{Object: "0-1", Record: "1"}}); taken != 0 || outs != nil || err != nil {
		t.Errorf("a stopped stream: %d %v %v", taken, outs, err)
	}
}

// More than are worth reading by name are not kept, and one run takes as many as
// one request.
func TestManyHints(t *testing.T) {
	t.Parallel()
	b := settled(t)
	ids := make([]string, 5000)
	for i := range ids {
		ids[i] = fmt.Sprint(i + 1)
	}
	attempt, want := b.hint(ids...)
	if attempt == 0 || len(want) != hintsAtOnce {
		t.Fatalf("attempt %d reads %d", attempt, len(want))
	}
	if got := b.view().Stream.Hints; len(got) != maxHints-hintsAtOnce {
		t.Errorf("%d wait", len(got))
	}
	if due := b.view().Stream.DueAt; !due.Equal(b.now.Add(catchUpAfter)) {
		t.Errorf("what did not fit is asked for at %v", due)
	}
}

// Long walks fill a worker, and hints are read all the same; hints fill it, and a
// walk begins all the same. The worker takes both.
func TestHintsBesideFullWorkers(t *testing.T) {
	t.Parallel()
	for capacity := 1; capacity < 10; capacity++ {
		b := settled(t)
		w := b.d.workers["w"]
		w.capacity = capacity
		c := b.d.begin(b.now)
		load := map[place]int{}
		runs := []*stream.Run{{Portal: "main", Kind: stream.Backfill}, {Portal: "main", Kind: stream.Hinted}}
		for _, first := range []int{0, 1} {
			clear(load)
			for _, run := range []*stream.Run{runs[first], runs[1-first]} {
				n := 0
				for ; c.pick(run, map[string]string{}, load) != nil; n++ {
					load[place{w.id, run.Kind == stream.Hinted}]++
				}
				if n == 0 {
					t.Errorf("of %d, no place for a run of kind %s", capacity, run.Kind)
				}
			}
			if all := load[place{w.id, false}] + load[place{w.id, true}]; all > 2*capacity {
				t.Errorf("%d attempts for a worker that takes %d", all, 2*capacity)
			}
		}
	}
}

// What HubSpot says is gone ends, where it is gone.
func TestAHintOfWhatIsGone(t *testing.T) {
	t.Parallel()
	b := settled(t)
	attempt, _ := b.hint("7")
	b.page(reading(attempt, "7"))
	b.now = b.now.Add(time.Second)
	attempt, _ = b.hint("7", "404")
	if a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, Gone: []string{"7", "404"}, AsOf: 20}); !a.RunEnded {
		t.Fatalf("%+v", a)
	}
	if got := b.store.records[recordKey(modelStream, "7")]; got.State != stream.Purged {
		t.Errorf("7 is %+v", got)
	}
	if v := b.view(); len(v.Stream.Open) != 0 || v.Error != nil {
		t.Errorf("%v %v", v.Stream.Open, v.Error)
	}
}
