package dispatch

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// asks syncs one record and returns its run.
func (b *bench) asks(id string) string {
	b.t.Helper()
	run, outs, err := b.d.Sync(b.now, modelStream, id)
	b.must(outs, err)
	return run
}

// hosted is a bench with a backfill that goes on, a record that is asked for
// beside it, its run, and the attempt.
func hosted(t *testing.T, id string) (b *bench, run string, attempt uint64) {
	t.Helper()
	b = newBench(t)
	attempt = fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, To: "17"})
	return b, b.asks(id), attempt
}

// Whoever asks for a record while a walk goes on learns what became of the
// record, and the stream does not look for an id that a person mistyped.
func TestARecordBesideAWalk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		page  protocol.Page
		state stream.RunState
		says  string
	}{
		"gone": {protocol.Page{Gone: []string{"999"}, AsOf: 9}, stream.Failed, "neither live nor archived"},
		"open": {protocol.Page{Open: []protocol.OpenID{{ID: "999", Reason: "no right to it"}}}, stream.Failed, "no right to it"},
		"read": {protocol.Page{Records: []protocol.Record{{ID: "999", State: "live", Version: 5, AsOf: 9}}}, stream.Done, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, id, attempt := hosted(t, "999")
			walk := b.view().Walk
			if walk.ID == id {
				t.Fatal("the record's run is the walk's")
			}
			b.restart()
			if r, ok := b.d.Run(id); !ok || r.Kind != stream.OneRecord || r.State != stream.Running {
				t.Fatalf("the record's run: %+v", r)
			}
			c.page.Attempt, c.page.Range, c.page.Kind = attempt, 2, protocol.RecordsPage
			if a := b.page(c.page); a.Type != protocol.Committed || !a.RangeEnded || a.RunEnded {
				t.Fatalf("answer: %+v", a)
			}
			r := b.store.runs[id]
			if r == nil || r.State != c.state || r.Ended.IsZero() || r.Pages != 1 {
				t.Fatalf("the record's run: %+v", r)
			}
			if c.says != "" && (r.Error == nil || r.Error.Type != "unknown-record" || !strings.Contains(r.Error.Detail, c.says)) {
				t.Errorf("it says %v", r.Error)
			}
			if h, ok := b.store.records[recordKey(modelStream, "999")]; ok && h.By != (stream.Origin{Run: id, Road: stream.RecordRoad}) {
				t.Errorf("the record came by %+v", h.By)
			}
			if _, ok := b.d.Run(id); ok {
				t.Error("it goes on")
			}
			v := b.view()
			if len(v.Stream.Open) != 0 || v.Error != nil || v.Walk == nil || v.Walk.ID != walk.ID {
				t.Errorf("the stream is troubled: %v, %v, walk %v", v.Stream.Open, v.Error, v.Walk)
			}
		})
	}
}

// A record that is asked for in a walk's later part is read there; its range
// was of a part that was over.
func TestARecordBesideTheArchived(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, Last: true})
	id := b.asks("7")
	if a := b.page(protocol.Page{Attempt: attempt, Range: 1, Kind: protocol.ListingPage, Last: true}); a.RunEnded {
		t.Fatal("the walk ends without the record")
	}
	a := b.page(protocol.Page{Attempt: attempt, Range: 2, Kind: protocol.RecordsPage, Records: []protocol.Record{{ID: "7", State: "live", Version: 5, AsOf: 9}}})
	if !a.RunEnded || b.store.runs[id].State != stream.Done || !b.d.streams[modelStream].Backfilled {
		t.Fatalf("%+v, the record's run %+v", a, b.store.runs[id])
	}
}

// What becomes of a record's run when the walk ends before it.
func TestGuestsWhenTheWalkEnds(t *testing.T) {
	t.Parallel()
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		b, id, _ := hosted(t, "999")
		b.must(b.d.Stop(b.now, modelStream, "api"))
		if r := b.store.runs[id]; r == nil || r.State != stream.Stopped {
			t.Fatalf("the record's run: %+v", r)
		}
		b.must(b.d.Start(b.now, modelStream, "", "api"))
		for _, g := range b.d.ranges[b.d.runOf(modelStream, true).ID] {
			if g.Kind == stream.IdsRange {
				t.Errorf("the next walk reads it: %+v", g)
			}
		}
	})
	t.Run("failed", func(t *testing.T) {
		t.Parallel()
		b, id, attempt := hosted(t, "999")
		b.beat(protocol.Heartbeat{Failed: []protocol.AttemptFailure{{Attempt: attempt, Problem: protocol.Problem{Type: "x", Title: "x"}}}})
		if r := b.store.runs[id]; r == nil || r.State != stream.Failed || r.Error.Type != "x" {
			t.Fatalf("the record's run: %+v", r)
		}
	})
	t.Run("made way", func(t *testing.T) {
		t.Parallel()
		b, id, _ := hosted(t, "999")
		_, outs, err := b.d.Resync(b.now, modelStream)
		attempt := fetches(b.must(outs, err))["backfill"]
		if r, ok := b.d.Run(id); !ok || r.State != stream.Running {
			t.Fatalf("the record's run: %+v, %+v", r, b.store.runs[id])
		}
		b.page(protocol.Page{Attempt: attempt, Range: 2, Kind: protocol.RecordsPage, Records: []protocol.Record{{ID: "999", State: "live", Version: 5, AsOf: 9}}})
		if r := b.store.runs[id]; r == nil || r.State != stream.Done {
			t.Fatalf("the record's run: %+v", r)
		}
	})
}

// Of two records that are read together each has its own end.
func TestTwoRecords(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	first := b.asks("1")
	second := b.asks("2")
	if again := b.asks("1"); again != first || second == first {
		t.Fatalf("runs %s, %s, and %s for the first again", first, second, again)
	}
	attempt := b.d.runs[first].Attempt
	if a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, Gone: []string{"1"}, AsOf: 9}); a.RunEnded {
		t.Fatal("the second ends with the first")
	}
	a := b.page(protocol.Page{Attempt: attempt, Range: 1, Kind: protocol.RecordsPage, Records: []protocol.Record{{ID: "2", State: "live", Version: 5, AsOf: 9}}})
	if !a.RunEnded || b.store.runs[first].State != stream.Failed || b.store.runs[second].State != stream.Done {
		t.Fatalf("%+v: %+v, %+v", a, b.store.runs[first], b.store.runs[second])
	}
}

// A record that HubSpot has not any more, live or archived, ends when somebody
// asks for it.
func TestARecordThatIsGone(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	b.now = b.now.Add(time.Second)
	id := b.asks("2")
	b.page(protocol.Page{Attempt: b.d.runs[id].Attempt, Kind: protocol.RecordsPage, Gone: []string{"2"}, AsOf: 9})
	if b.state(2) != stream.Purged || b.state(1) != stream.Live || b.store.runs[id].State != stream.Done {
		t.Errorf("record 2 is %s, the run %+v", b.state(2), b.store.runs[id])
	}
}

func TestWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	for _, id := range []string{"x y", "1\n", "\x00", "\xff", " 1", strings.Repeat("1", 201), "a\u2028b"} {
		_, _, err := b.d.Sync(b.now, modelStream, id)
		if p, ok := errors.AsType[*stream.Problem](err); !ok || p.Status != 400 {
			t.Errorf("%q: %v", id, err)
		}
	}
	if stream.CheckID("abc-DEF:1/2,ü") != "" || stream.CheckID("") == "" {
		t.Error("what may be an id")
	}
}
