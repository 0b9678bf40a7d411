package dispatch

import (
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/budget"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Only what is reconciled, swept or has associations pays for it: a portal's
// millions of events stretch nobody's daily reconcile.
func TestBudgetOfStreamsThatAreNotReconciled(t *testing.T) {
	t.Parallel()
	b := &bench{t: t, now: epochStart, store: newMemStore()}
	cfg := modelConfig()
	events := cfg[0]
	events.Name, events.Object = "email_events", "email_events"
	events.ReconcileEvery, events.ArchivedEvery, events.Associations, events.History = 24*time.Hour, 6*time.Hour, []string{"deals"}, []string{"*"}
	cfg = append(cfg, events)
	b.d = New(b.now, b.store, b.store.load(), cfg, Options{})
	b.must(b.d.Reload(b.now, cfg))
	found := false
	for _, s := range b.d.purse(cfg[0].Portal, b.now).plan.Streams {
		if s.Name == "email_events" {
			found = true
			if s.ReconcileEvery != 0 || s.ArchivedEvery != 0 || s.Archived != 0 || s.Pairs != 0 || s.History {
				t.Errorf("%+v", s)
			}
		} else if cost := budget.ReconcileWalk(s); s.Name == modelStream && cost == 0 {
			t.Errorf("a stream of the CRM is reconciled for nothing: %+v", s)
		}
	}
	if !found {
		t.Error("events cost nothing at all")
	}
}

// A stream that was new with a history has read it once: neither a plan nor a
// restart has anything to do.
func TestHistoryOfANewStreamIsReadOnce(t *testing.T) {
	t.Parallel()
	b := &bench{t: t, now: epochStart, store: newMemStore()}
	cfg := modelConfig()
	cfg[0].History = []string{"a*"}
	b.d = New(b.now, b.store, b.store.load(), cfg, Options{})
	b.must(b.d.Reload(b.now, cfg))
	b.walked(fetches(b.beat(protocol.Heartbeat{}))["backfill"])
	b.now = b.now.Add(time.Minute)
	b.beat(protocol.Heartbeat{}) // there is nothing to read the history of
	if s := b.store.streams[modelStream]; !s.HistoryRead {
		t.Fatalf("%+v", s)
	}
	for _, c := range b.d.Plan(cfg) {
		if len(c.Works) > 0 {
			t.Errorf("the same configuration makes %+v", c.Works)
		}
	}
	b.must(b.d.Reload(b.now, cfg))
	if s := b.store.streams[modelStream]; !s.HistoryRead {
		t.Error("a reload reads the history again")
	}
}

// A sweep of associations that fails is made again soon, and not a day later.
func TestFailedSweepOfAssociationsIsOwed(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	b.must(b.d.Reload(b.now, linkedConfig()))
	attempt := fetches(b.beat(protocol.Heartbeat{}))["associations"]
	links := make([]protocol.Part, 0, 3)
	for _, id := range span(1, 3) {
		links = append(links, protocol.Part{ID: id, AsOf: b.now.UnixMilli(), Digest: [16]byte{1}, Body: []byte(`{}`)})
	}
	if a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.PartsPage, Parts: links}); !a.RunEnded {
		t.Fatalf("%+v", a)
	}
	b.now = b.now.Add(25 * time.Hour)
	attempt = fetches(b.beat(protocol.Heartbeat{}))["associations"]
	if attempt == 0 {
		t.Fatal("no daily sweep")
	}
	b.beat(protocol.Heartbeat{Failed: []protocol.AttemptFailure{{Attempt: attempt, Problem: protocol.Problem{Type: "fetch-failed", Title: "no"}}}})
	for range 120 {
		b.now = b.now.Add(time.Minute)
		if fetches(b.beat(protocol.Heartbeat{}))["associations"] != 0 {
			return
		}
	}
	t.Error("two hours later nothing has been read again")
}

// Where search contradicts itself and a settle pass walks the list, those of its
// window have their associations read all the same.
func TestSettleByListReadsAssociations(t *testing.T) {
	t.Parallel()
	run := &stream.Run{Kind: stream.Incremental}
	g := &stream.Range{Kind: stream.SweepRange, Lo: 100, Hi: 200}
	for version, want := range map[int64]bool{99: false, 100: true, 199: true, 200: false} {
		if got := inWindow(run, g, protocol.Listed{ID: "1", Version: version}); got != want {
			t.Errorf("version %d: %t", version, got)
		}
	}
	if inWindow(&stream.Run{Kind: stream.Reconcile}, g, protocol.Listed{Version: 150}) {
		t.Error("a reconcile has no window")
	}
}

// A record that came without what is too large of it was handed out.
func TestRecordByHandWithoutItsHistory(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	id := b.asks("2")
	w := b.walk(fetches(b.beat(protocol.Heartbeat{}))["record"])
	a := w.send(0, protocol.Page{Kind: protocol.RecordsPage, Records: []protocol.Record{{ID: "2", State: "live", Version: 9, AsOf: 9, Properties: []byte(`{}`)}},
		Open: []protocol.OpenID{{ID: "2", Version: 9, TooLarge: true, Reason: "its history is too large"}}})
	if r := b.store.runs[id]; !a.RunEnded || r == nil || r.State != stream.Done || r.Error != nil {
		t.Errorf("%+v: %+v", a, r)
	}
}

// What is read whole is not read a second time beside its first load.
func TestFirstLoadOfRowsIsAlone(t *testing.T) {
	t.Parallel()
	b := &bench{t: t, now: epochStart, store: newMemStore()}
	b.configured("owners", nil)
	attempt, _ := b.rowRun("backfill")
	w := b.walk(attempt)
	w.rows(false, "x", nil, "1")
	w.bring("1")
	for range 10 {
		b.now = b.now.Add(time.Minute)
		if got := fetches(b.beat(protocol.Heartbeat{Attempts: []protocol.AttemptReport{{Attempt: attempt, Progress: uint64(b.now.Unix()), Ranges: []protocol.RangeReport{{}}}}})); got["incremental"] != 0 {
			t.Fatal("an incremental run reads it as well")
		}
	}
}
