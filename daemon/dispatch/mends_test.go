package dispatch

import (
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// meetingConfig is three streams of two portals.
func meetingConfig() []StreamConfig {
	config := []StreamConfig{}
	for _, s := range [][2]string{{"contacts", "main"}, {"companies", "main"}, {"deals", "second"}} {
		config = append(config, StreamConfig{Name: s[0], Portal: s[1], Object: s[0], Interval: "20s",
			Schedule: everySchedule(20 * time.Second), Autostart: true, Properties: []string{"*"},
			Tail: 4 * time.Second, Settle: []time.Duration{30 * time.Second, 60 * time.Second},
			ArchivedEvery: 25 * time.Second, ReconcileEvery: 50 * time.Second, MaxDeletes: 0.02})
		if s[0] != "companies" {
			config[len(config)-1].Associations, config[len(config)-1].AssociateEvery = []string{"companies"}, 40*time.Second
		}
	}
	return config
}

// desk is a dispatcher with streams that nobody has started, driven by hand.
func desk(t *testing.T) (*Dispatcher, *memStore) {
	t.Helper()
	config := meetingConfig()
	for i := range config {
		config[i].Autostart = false
	}
	st := newMemStore()
	d := New(epochStart, st, Ledger{}, config, Options{})
	if _, err := d.Reload(epochStart, config); err != nil {
		t.Fatal(err)
	}
	return d, st
}

func hello(t *testing.T, d *Dispatcher, now time.Time, worker string) {
	t.Helper()
	hb := &protocol.Heartbeat{Worker: worker, Process: "process of " + worker, Portals: []string{"main", "second"}, Capacity: 4}
	if _, err := d.Heartbeat(now, hb); err != nil {
		t.Fatal(err)
	}
}

// A run that waited for a worker begins long after it was made; its window is
// no older for that. The meeting lost a record by it with seed 44.
func TestWindowsSettleByWhatIsKnownOfTheClock(t *testing.T) {
	t.Parallel()
	known := epochStart
	s := &stream.Stream{Cursor: 100_000, CursorAt: known, LastStarted: known.Add(-70 * time.Second),
		Windows: []stream.Window{{Lo: 50_000, Hi: 100_000}}}
	settle := []time.Duration{30 * time.Second}
	if got := dueWindows(s, settle, known.Add(29*time.Second)); len(got) != 0 {
		t.Fatalf("a window of 29 s settles after 30: %v", got)
	}
	if got := dueWindows(s, settle, known.Add(30*time.Second)); len(got) != 1 {
		t.Fatalf("a window of 30 s does not settle after 30: %v", got)
	}
	s.Windows = []stream.Window{{Lo: 50_000, Hi: 70_000}}
	if got := dueWindows(s, settle, known.Add(-5*time.Hour)); len(got) != 1 {
		t.Fatalf("a window of 30 s does not settle after our clock was set back: %v", got)
	}
}

// Between the end of a lease and the tick that sees it, a command gave the
// portal to a second process. The meeting found it with seed 200.
func TestPortalStaysWhileItsAttemptsAreOpen(t *testing.T) {
	t.Parallel()
	d, _ := desk(t)
	hello(t, d, epochStart, "w1")
	if _, err := d.Start(epochStart, "contacts", "", "api"); err != nil {
		t.Fatal(err)
	}
	for s := range 15 {
		if _, err := d.Tick(epochStart.Add(time.Duration(s+1) * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	late := epochStart.Add(15500 * time.Millisecond)
	hello(t, d, late, "w2")
	outs, err := d.Start(late, "companies", "", "api")
	if err != nil || len(outs) != 0 {
		t.Fatalf("the portal is given on before its attempts are closed: %v, %v", outs, err)
	}
	if outs, err = d.Tick(late); err != nil || d.runOf("contacts", true).Worker != "w2" || d.runOf("companies", true).Worker != "w2" {
		t.Fatalf("the tick does not give the portal on: %v, %v", outs, err)
	}
}

// A sync of a stream that has no backfill yet began one beside the reading of a
// single record. The meeting found it with seed 225.
func TestSyncBesideARecord(t *testing.T) {
	t.Parallel()
	d, st := desk(t)
	one, _, err := d.Sync(epochStart, "contacts", "7")
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := d.Sync(epochStart, "contacts", "")
	if err != nil {
		t.Fatal(err)
	}
	if st.runs[one].State != stream.Stopped || st.runs[all].Kind != stream.Backfill || st.runs[all].State != stream.Running {
		t.Fatalf("%+v beside %+v", st.runs[one], st.runs[all])
	}
	eight, _, err := d.Sync(epochStart, "contacts", "8")
	if err != nil || len(d.ranges[all]) != 4 {
		t.Fatalf("a record does not join the walk: %v, %v", eight, err)
	}
	if again, _, err := d.Sync(epochStart, "contacts", "8"); err != nil || again != eight || len(d.ranges[all]) != 4 {
		t.Fatalf("a record that is asked for already is asked for again: %v, %v", again, err)
	}
}

// A backfill that was stopped or failed has nobody: after a restart the worker
// that had it is not taken for alive, and its portal is free.
func TestUnfinishedWalkHoldsNobody(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(b *bench, attempt uint64){
		"stopped": func(b *bench, _ uint64) { b.must(b.d.Stop(b.now, modelStream, "api")) },
		"failed": func(b *bench, attempt uint64) {
			b.beat(protocol.Heartbeat{Failed: []protocol.AttemptFailure{{Attempt: attempt, Problem: protocol.Problem{Type: "x", Title: "x", Blocked: true}}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
			b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, To: "17"})
			end(b, attempt)
			run := b.store.runs[b.store.streams[modelStream].Unfinished]
			if run == nil || run.Attempt != 0 || run.Worker != "" {
				t.Fatalf("the walk that ended belongs to %+v", run)
			}
			run.Attempt, run.Worker, run.Process = attempt, "w", "p1" // as older versions left it
			b.restart()
			if got := b.d.Workers(); len(got) != 0 {
				t.Fatalf("a worker that nobody heard of: %+v", got)
			}
			hb := protocol.Heartbeat{Worker: "other", Process: "p9", Portals: []string{"main"}, Capacity: 4}
			b.must(b.d.Heartbeat(b.now, &hb))
			outs := b.must(b.d.Start(b.now, modelStream, "", "api"))
			if fetches(outs)["backfill"] == 0 || outs[0].Worker != "other" {
				t.Fatalf("nobody gets the walk: %+v", outs)
			}
		})
	}
}

// What the store has lost is remembered with the commit that lets it go, until
// a reconcile has ended: whatever the portal, the run or the daemon does.
func TestWhatTheStoreLostIsBroughtBack(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	b.store.missing = map[string]uint64{modelStream: 2, "unknown": 1}
	b.now = b.now.Add(time.Second)
	blocked := modelConfig()
	blocked[0].Problem = &stream.Problem{Title: "x", Status: 409}
	b.must(b.d.Reload(b.now, blocked))
	if runs, _, err := b.d.Mend(b.now); err != nil || runs[modelStream] != "" || len(runs) != 1 {
		t.Fatalf("runs of a blocked portal: %v, %v", runs, err)
	}
	b.must(b.d.Stop(b.now, modelStream, "api"))
	b.store.missing = nil
	b.restart()
	if s := b.d.streams[modelStream]; s.Missing != 2 || s.Active {
		t.Fatalf("a restart forgets: %+v", s)
	}
	runs, outs, err := b.d.Mend(b.now)
	b.must(outs, err)
	b.beat(protocol.Heartbeat{})
	run := b.d.runOf(modelStream, true)
	if run == nil || run.Kind != stream.Reconcile || runs[modelStream] != run.ID {
		t.Fatalf("a stream that is stopped: %v, %+v", runs, run)
	}
	b.must(b.d.Start(b.now, modelStream, "", "api"))
	b.beat(protocol.Heartbeat{Failed: []protocol.AttemptFailure{{Attempt: run.Attempt, Problem: protocol.Problem{Type: "x", Title: "x"}}}})
	b.now = b.now.Add(30 * time.Minute)
	if b.beat(protocol.Heartbeat{}); b.d.runOf(modelStream, true) != nil {
		t.Fatal("a walk that failed is made again too soon")
	}
	b.now = b.now.Add(40 * time.Minute)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["reconcile"]
	if attempt == 0 {
		t.Fatal("a walk that failed is not made again")
	}
	w := b.walk(attempt)
	w.list(liveOf, true, "1", "2", "3")
	w.list(archivedOf, true)
	if s := b.d.streams[modelStream]; s.Missing != 0 || s.ReconcileNow {
		t.Fatalf("%+v", s)
	}
}

// What is found lost by Mend itself is counted once, and reconciled once.
func TestLostRecordsAreNotedOnce(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	b.store.missing = map[string]uint64{modelStream: 2}
	runs, outs, err := b.d.Mend(b.now)
	b.must(outs, err)
	if s := b.store.streams[modelStream]; s.Missing != 2 || s.ReconcileNow || b.store.runs[runs[modelStream]] == nil {
		t.Errorf("%d are missing, another reconcile %v", s.Missing, s.ReconcileNow)
	}
}

// Any commit notes what was lost, also the one that comes before Mend.
func TestLostRecordsAreNotedByAnyCommit(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	b.store.missing = map[string]uint64{modelStream: 2}
	for range 2 {
		b.must(b.d.Stop(b.now, modelStream, "api"))
		b.must(b.d.Start(b.now, modelStream, "", "api"))
	}
	if s := b.store.streams[modelStream]; s.Missing != 2 || !s.ReconcileNow {
		t.Fatalf("%d are missing, reconcile %v", s.Missing, s.ReconcileNow)
	}
}

// All open ids have their turn, however many there are.
func TestOpenIDsHaveTheirTurn(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	s := b.store.streams[modelStream]
	const open = 2*neverBraked + 50
	for i := range open {
		s.Open = append(s.Open, stream.OpenID{ID: strconv.Itoa(i), Version: 5})
	}
	b.restart()
	asked := map[string]bool{}
	for range 3 {
		b.now = b.now.Add(5 * time.Minute)
		attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
		for _, g := range b.d.ranges[b.d.attempts[attempt]] {
			if len(g.Want) > 0 && !g.Ask || len(g.Want) > neverBraked {
				t.Errorf("%d are wanted, whom absence may end: %v", len(g.Want), g.Ask)
			}
			for _, w := range g.Want {
				asked[w.ID] = true
			}
		}
		b.beat(protocol.Heartbeat{Failed: []protocol.AttemptFailure{{Attempt: attempt, Problem: protocol.Problem{Type: "x", Title: "x"}}}})
	}
	if n := len(b.d.streams[modelStream].Open); len(asked) != n || n != open {
		t.Errorf("%d of %d were asked for", len(asked), n)
	}
}

// linkedConfig is modelConfig with associations.
func linkedConfig() []StreamConfig {
	config := modelConfig()
	config[0].Associations, config[0].AssociateEvery = []string{"companies"}, 24*time.Hour
	return config
}

// A backfill that was stopped before its associations came goes on without them
// when nobody wants them any more, and ends.
func TestBackfillGoesOnWithoutItsAssociations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before  int      // so many pages of list and archived are read before the stop
		resumed []string // the kinds of range that go on
	}{
		"in the list":               {0, []string{"list", "archived"}},
		"in the archived":           {1, []string{"archived"}},
		"with nothing else to read": {2, []string{"archived"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.must(b.d.Stop(b.now, modelStream, "api"))
			b.must(b.d.Reload(b.now, linkedConfig()))
			b.must(b.d.Start(b.now, modelStream, "", "api"))
			attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
			pages := []protocol.Page{
				{Attempt: attempt, Kind: protocol.RecordsPage, Last: true, Records: []protocol.Record{{ID: "7", State: "live", Version: 5, AsOf: 9}}},
				{Attempt: attempt, Range: 1, Kind: protocol.ListingPage, Last: true},
			}
			for _, p := range pages[:c.before] {
				if a := b.page(p); a.Type != protocol.Committed || a.RunEnded {
					t.Fatalf("%+v", a)
				}
			}
			b.must(b.d.Stop(b.now, modelStream, "api"))
			b.must(b.d.Reload(b.now, modelConfig()))
			outs := b.must(b.d.Start(b.now, modelStream, "", "api"))
			attempt = fetches(outs)["backfill"]
			own := b.d.ranges[b.d.attempts[attempt]]
			var kinds []string
			for _, id := range slices.Sorted(maps.Keys(own)) {
				kinds = append(kinds, string(own[id].Kind))
				if own[id].Parts {
					t.Error("associations that nobody wants are read")
				}
			}
			if !slices.Equal(kinds, c.resumed) {
				t.Fatalf("%v go on, expected %v", kinds, c.resumed)
			}
			for i, kind := range c.resumed {
				p := protocol.Page{Attempt: attempt, Range: uint32(i), Kind: protocol.ListingPage, Last: true}
				if kind == "list" {
					p.Kind = protocol.RecordsPage
				}
				if a := b.page(p); a.Type != protocol.Committed || a.RunEnded != (i == len(c.resumed)-1) {
					t.Fatalf("the %s: %+v", kind, a)
				}
			}
			if s := b.d.streams[modelStream]; !s.Backfilled || len(s.Linked) > 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Associations come of a record that was erased while they were read: nothing
// is wanted any more, nothing is stored, and the range stays where it is.
func TestAssociationsOfWhatWasErased(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	b.must(b.d.Reload(b.now, linkedConfig()))
	b.now = b.now.Add(time.Minute)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	v := b.now.UnixMilli()
	if a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, Listing: []protocol.Listed{{ID: "2", Version: v}}}); len(a.Want) != 1 || !a.Want[0].Parts {
		t.Fatalf("%+v", a)
	}
	b.must(b.d.Erase(b.now, modelStream, "2"))
	records := []protocol.Record{{ID: "2", State: "live", Version: v, AsOf: v, Properties: []byte(`{}`)}}
	if a := b.page(protocol.Page{Attempt: attempt, Seq: 1, Kind: protocol.RecordsPage, Records: records}); a.Type != protocol.Committed {
		t.Fatalf("%+v", a)
	}
	links := []protocol.Part{{ID: "2", AsOf: v, Digest: [16]byte{1}, Body: []byte(`{"companies":[{"id":"9"}]}`)}}
	if a := b.page(protocol.Page{Attempt: attempt, Seq: 2, Kind: protocol.PartsPage, Parts: links}); a.Type != protocol.Committed || a.RangeEnded {
		t.Fatalf("%+v", a)
	}
	if h := b.store.records[recordKey(modelStream, "2")]; h.State != stream.Purged || h.AssociationsPart.AsOf != 0 {
		t.Errorf("%+v", h)
	}
	if a := b.page(protocol.Page{Attempt: attempt, Seq: 3, Kind: protocol.ListingPage, To: "x", Last: true}); !a.RunEnded {
		t.Errorf("%+v", a)
	}
}

// Parts where none are wanted leave a range where it is, whatever came before.
func TestPartsThatNobodyWants(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, To: "17"})
	links := []protocol.Part{{ID: "2", AsOf: 9, Body: []byte(`{}`)}}
	a := b.page(protocol.Page{Attempt: attempt, Seq: 1, From: "17", To: "17", Kind: protocol.PartsPage, Parts: links})
	if a.Type != protocol.Committed || a.Cursor != "17" || a.RangeEnded {
		t.Errorf("%+v", a)
	}
}

// A record is asked for while a walk goes on, which has heard of it itself since
// it began: that is no reason to keep it when HubSpot has it nowhere by then.
func TestARecordThatWasReadSinceTheWalkBegan(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	_, attempt := b.reconcile(false)
	w := b.walk(attempt)
	if a := w.send(liveOf, protocol.Page{Kind: protocol.ListingPage, To: "2", Listing: []protocol.Listed{{ID: "1", Version: 5}, {ID: "2", Version: 6}}}); len(a.Want) != 1 {
		t.Fatalf("%+v", a)
	}
	w.send(liveOf, protocol.Page{Kind: protocol.RecordsPage, Records: []protocol.Record{{ID: "2", State: "live", Version: 6, AsOf: 9}}})
	id := b.asks("2")
	w.send(2, protocol.Page{Kind: protocol.RecordsPage, Gone: []string{"2"}, AsOf: 12})
	if r := b.store.runs[id]; b.state(2) != stream.Purged || r == nil || r.State != stream.Done {
		t.Errorf("record 2 is %s, the run %+v", b.state(2), r)
	}
}

// Associations that were wanted, then not, and then again are all read anew:
// meanwhile nobody has followed them.
func TestAssociationsAreWantedAgain(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	sweep := func() uint64 { return fetches(b.beat(protocol.Heartbeat{}))["associations"] }
	for _, again := range []bool{false, true} {
		b.must(b.d.Reload(b.now, linkedConfig()))
		attempt := sweep()
		if attempt == 0 {
			t.Fatalf("no associations are read, again: %v", again)
		}
		links := make([]protocol.Part, 0, 3)
		for _, id := range span(1, 3) {
			links = append(links, protocol.Part{ID: id, AsOf: b.now.UnixMilli(), Digest: [16]byte{1}, Body: []byte(`{}`)})
		}
		if a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.PartsPage, Parts: links}); !a.RunEnded {
			t.Fatalf("%+v", a)
		}
		if sweep() != 0 {
			t.Fatal("associations are read twice")
		}
		b.must(b.d.Reload(b.now, modelConfig()))
	}
}
