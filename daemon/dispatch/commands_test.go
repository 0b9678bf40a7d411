package dispatch

import (
	"errors"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// bench is a dispatcher with one stream, driven by hand.
type bench struct {
	t     *testing.T
	now   time.Time
	store *memStore
	d     *Dispatcher
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, now: epochStart, store: newMemStore()}
	b.restart()
	return b
}

// restart loses all that is not in the store.
func (b *bench) restart() {
	b.t.Helper()
	b.d = New(b.now, b.store, b.store.load(), modelConfig(), Options{ParseInterval: func(s string) (Schedule, string, error) {
		d, err := time.ParseDuration(s)
		return everySchedule(d), d.String(), err
	}})
	b.must(b.d.Reload(b.now, modelConfig()))
}

func (b *bench) must(outs []Out, err error) []Out {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	return outs
}

// beat is a heartbeat of the worker, and what it is told to do.
func (b *bench) beat(hb protocol.Heartbeat) []Out {
	b.t.Helper()
	hb.Worker, hb.Process, hb.Portals, hb.Capacity = "w", "p1", []string{"main"}, 4
	outs := b.must(b.d.Heartbeat(b.now, &hb))
	return append(outs, b.must(b.d.Tick(b.now))...)
}

// fetches are the attempts that messages hand out, by kind.
func fetches(outs []Out) map[string]uint64 {
	got := map[string]uint64{}
	for _, o := range outs {
		if o.Command != nil && o.Command.Type == protocol.FetchCommand {
			got[o.Command.Fetch.Kind] = o.Command.Attempt
		}
	}
	return got
}

// page sends a page of the first range and returns its answer.
func (b *bench) page(p protocol.Page) protocol.Answer {
	b.t.Helper()
	p.Store, p.Epoch, p.Process, p.List = "store", 1, "p1", "list"
	if p.Began == 0 {
		p.Began = b.now.UnixMilli()
	}
	outs, _, err := b.d.Pages(b.now, []Incoming{{Worker: "w", Page: &p, Digest: jsonDigest(p)}})
	for _, o := range outs {
		if o.Answer != nil {
			return *o.Answer
		}
	}
	b.t.Fatalf("no answer: %v %v", outs, err)
	return protocol.Answer{}
}

func (b *bench) view() View {
	b.t.Helper()
	v, err := b.d.View(b.now, modelStream)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// backfilled is a bench whose first walk has ended.
func backfilled(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	b.walked(attempt)
	return b
}

// walked sends the pages of a backfill of nothing: the list, then the archived.
func (b *bench) walked(attempt uint64) {
	b.t.Helper()
	a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, Last: true})
	if a.Type != protocol.Committed || a.RunEnded || len(a.Ranges) != 1 || a.Ranges[0].Kind != "archived" {
		b.t.Fatalf("the archived do not follow the list: %+v", a)
	}
	if a := b.page(protocol.Page{Attempt: attempt, Range: 1, Kind: protocol.ListingPage, Last: true}); a.Type != protocol.Committed || !a.RunEnded {
		b.t.Fatalf("the walk did not end: %+v", a)
	}
}

func TestStatesAsTheyAreShown(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(b.d.Tick(b.now))
	if v := b.view(); v.State != StateRunning || v.Walk == nil {
		t.Fatalf("a stream with a run is %s", v.State)
	}
	b.now = b.now.Add(time.Minute)
	if v := b.view(); v.State != StateFailing || v.Error.Type != "no-worker" {
		t.Fatalf("a run that nobody takes is %s: %v", v.State, v.Error)
	}
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	wait := func(kind string) {
		b.beat(protocol.Heartbeat{Attempts: []protocol.AttemptReport{{Attempt: attempt, Wait: &protocol.Wait{Kind: kind, Reason: "r"},
			Ranges: []protocol.RangeReport{{ID: 0}}}}})
	}
	wait(StateThrottled)
	if v := b.view(); v.State != StateThrottled {
		t.Errorf("a throttled run is shown as %s", v.State)
	}
	wait(StateFailing)
	if v := b.view(); v.State != StateFailing {
		t.Errorf("a run that HubSpot fails is shown as %s", v.State)
	}
	b.beat(protocol.Heartbeat{Failed: []protocol.AttemptFailure{{Attempt: attempt, Problem: protocol.Problem{Type: "token", Title: "t", Blocked: true}}}})
	v := b.view()
	if v.State != StateBlocked || v.Next.Sub(b.now) != 15*time.Minute {
		t.Errorf("a refused token: %s, next in %s", v.State, v.Next.Sub(b.now))
	}
	b.must(b.d.Stop(b.now, modelStream, "api"))
	if v := b.view(); v.State != StateStopped || v.Error == nil {
		t.Errorf("a stopped stream is %s and has lost its reason: %v", v.State, v.Error)
	}
	if got := b.d.Workers(); len(got) != 1 || !got[0].Live {
		t.Errorf("workers: %+v", got)
	}
}

// A failed run is tried again when its wait is over, long before the schedule
// would have it, and at once on a start.
func TestFailuresAreTriedAgain(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	b.now = b.now.Add(30 * time.Second)
	fail := func() {
		attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
		if attempt == 0 {
			t.Fatal("no incremental run was made")
		}
		b.beat(protocol.Heartbeat{Failed: []protocol.AttemptFailure{{Attempt: attempt, Problem: protocol.Problem{Type: "x", Title: "x"}}}})
	}
	fail()
	if got := fetches(b.beat(protocol.Heartbeat{})); len(got) != 0 {
		t.Fatalf("tried before its wait was over: %v", got)
	}
	b.now = b.now.Add(6 * time.Second) // the interval is 20 s
	fail()
	b.must(b.d.Start(b.now, modelStream, "", "api"))
	if got := fetches(b.beat(protocol.Heartbeat{})); got["incremental"] == 0 {
		t.Fatal("a start does not try at once")
	}
}

func TestStopAndStartGoOnWhereTheyWere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, To: "17"})
	b.must(b.d.Stop(b.now, modelStream, "api"))
	late := b.page(protocol.Page{Attempt: attempt, Seq: 1, From: "17", To: "18", Kind: protocol.RecordsPage})
	if late.Type != protocol.Fenced {
		t.Fatalf("a page after the stop is %s", late.Type)
	}
	b.restart()
	if v := b.view(); v.State != StateStopped {
		t.Fatalf("after a restart the stream is %s", v.State)
	}
	outs := b.must(b.d.Start(b.now, modelStream, "90s", "api"))
	outs = append(outs, b.beat(protocol.Heartbeat{})...)
	for _, o := range outs {
		if o.Command != nil && o.Command.Fetch != nil && o.Command.Fetch.Kind == "backfill" {
			if g := o.Command.Fetch.Ranges[0]; g.Cursor != "17" || g.Seq != 0 {
				t.Fatalf("the walk goes on at %q", g.Cursor)
			}
		}
	}
	if fetches(outs)["backfill"] == 0 {
		t.Fatal("the walk does not go on")
	}
	if v := b.view(); v.Stream.Interval != "1m30s" || v.Stream.SetBy != "api" {
		t.Errorf("the interval is %q, set by %s", v.Stream.Interval, v.Stream.SetBy)
	}
	// What someone set stays on a reload that changes something else.
	b.must(b.d.Reload(b.now, modelConfig()))
	if v := b.view(); v.Stream.Interval != "1m30s" {
		t.Error("a reload forgot what someone set")
	}
	changed := modelConfig()
	changed[0].Interval = "3m"
	b.must(b.d.Reload(b.now, changed))
	if v := b.view(); v.Stream.Interval != "" || v.Stream.SetBy != "file" {
		t.Error("a reload that changes the interval does not count")
	}
	// A cron expression is as an interval.
	cron := func(expression string) []StreamConfig {
		changed := modelConfig()
		changed[0].Interval, changed[0].Cron = "", expression
		return changed
	}
	b.must(b.d.Reload(b.now, cron("*/5 * * * *")))
	b.must(b.d.Start(b.now, modelStream, "90s", "api"))
	b.must(b.d.Reload(b.now, cron("*/5 * * * *")))
	if v := b.view(); v.Stream.Interval != "1m30s" {
		t.Error("a reload forgot what someone set instead of cron")
	}
	b.must(b.d.Reload(b.now, cron("0 * * * *")))
	if v := b.view(); v.Stream.Interval != "" || v.Stream.SetBy != "file" {
		t.Error("a reload that changes cron does not count")
	}
}

// A stream that the file has lost while the daemon was down stops as one does that
// a reload takes away, and goes on from there when it comes back.
func TestAStreamThatWasTakenAwayMeanwhileStops(t *testing.T) {
	t.Parallel()
	b := &bench{t: t, now: epochStart, store: newMemStore()}
	b.configured("owners", nil)
	attempt, _ := b.rowRun("backfill")
	other := modelConfig()
	other[0].Name = "others"
	b.d = New(b.now, b.store, b.store.load(), other, Options{})
	b.must(b.d.Reload(b.now, other))
	if a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, Last: true}); a.Type != protocol.Fenced {
		t.Errorf("a page of it is %s", a.Type)
	}
	for id, r := range b.store.runs {
		if r.Stream == modelStream && r.State != stream.Stopped {
			t.Errorf("run %s is %s", id, r.State)
		}
	}
	b.configured("owners", nil)
	if attempt, _ := b.rowRun("backfill"); attempt == 0 || b.store.streams[modelStream].Unfinished != "" {
		t.Error("it does not go on when it is back")
	}
}

// A daemon starts where the disk is too full to take anything in: a configuration
// that changes nothing writes nothing.
func TestStartOnAFullDisk(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	b.store.full = true
	b.restart()
	if _, err := b.d.Tick(b.now.Add(time.Minute)); !errors.Is(err, errDisk) {
		t.Errorf("a run is made on it: %v", err)
	}
	changed := modelConfig()
	changed[0].Interval = "3m"
	if _, err := b.d.Reload(b.now, changed); !errors.Is(err, errDisk) || b.d.config[modelStream].Interval == "3m" {
		t.Errorf("what changes the ledger is taken over: %v", err)
	}
	b.store.full = false
	b.now = b.now.Add(time.Minute)
	if fetches(b.beat(protocol.Heartbeat{}))["incremental"] == 0 {
		t.Error("it does not go on by itself")
	}
}

func TestARecordByHand(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	id, outs, err := b.d.Sync(b.now, modelStream, "999")
	attempt := fetches(b.must(outs, err))["record"]
	a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, Open: []protocol.OpenID{{ID: "999", Reason: "gone"}}})
	if !a.RunEnded || b.store.runs[id].State != stream.Failed || b.store.runs[id].Error.Type != "unknown-record" {
		t.Fatalf("a record that is not there: %+v", b.store.runs[id])
	}
	if v := b.view(); len(v.Stream.Open) != 0 || v.Error != nil {
		t.Errorf("a mistyped id troubles the stream: %v %v", v.Stream.Open, v.Error)
	}
	b.now = b.now.Add(time.Second)
	id, outs, err = b.d.Sync(b.now, modelStream, "7")
	attempt = fetches(b.must(outs, err))["record"]
	b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, Records: []protocol.Record{{ID: "7", State: "live", Version: 5, AsOf: 9}}})
	if b.store.runs[id].State != stream.Done || b.store.records[recordKey(modelStream, "7")].Version != 5 {
		t.Fatalf("the record was not read: %+v", b.store.runs[id])
	}
	if by := b.store.records[recordKey(modelStream, "7")].By; by != (stream.Origin{Run: id, Road: stream.RecordRoad}) {
		t.Errorf("the record came by %+v", by)
	}
}

// Ids that search named and nobody can read stay on the list until they come
// in the version that was named; one that is too large is said.
func TestOpenIDs(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	b.now = b.now.Add(30 * time.Second)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	v := b.now.UnixMilli()
	if a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, To: "x", Last: true,
		Listing: []protocol.Listed{{ID: "1", Version: v}, {ID: "2", Version: v}}}); len(a.Want) != 2 {
		t.Fatalf("wanted: %v", a.Want)
	}
	b.page(protocol.Page{Attempt: attempt, Seq: 1, Kind: protocol.RecordsPage, Open: []protocol.OpenID{
		{ID: "1", Version: v, Reason: "gone"}, {ID: "2", Version: v, Reason: "2 MB", TooLarge: true}}})
	if view := b.view(); len(view.Stream.Open) != 2 || view.State != StateFailing || view.Error.Type != "record-too-large" {
		t.Fatalf("open: %v, %s", view.Stream.Open, view.State)
	}
	b.now = b.now.Add(30 * time.Second)
	outs := b.beat(protocol.Heartbeat{})
	attempt = fetches(outs)["incremental"]
	var ids *protocol.Range
	for _, o := range outs {
		if o.Command != nil && o.Command.Attempt == attempt {
			for _, g := range o.Command.Fetch.Ranges {
				if g.Kind == "ids" {
					ids = &g
				}
			}
		}
	}
	if ids == nil || len(ids.Want) != 2 {
		t.Fatal("open ids are not asked for in the next run")
	}
	b.page(protocol.Page{Attempt: attempt, Range: ids.ID, Kind: protocol.RecordsPage, Records: []protocol.Record{
		{ID: "1", State: "live", Version: v - 1, AsOf: v}, {ID: "2", State: "live", Version: v, AsOf: v}}})
	if view := b.view(); len(view.Stream.Open) != 1 || view.Stream.Open[0].ID != "1" {
		t.Fatalf("left open: %v", view.Stream.Open)
	}
}

func TestCommandsThatChangeNothing(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	for name, f := range map[string]func() error{
		"start":    func() error { _, err := b.d.Start(b.now, "nope", "", "api"); return err },
		"stop":     func() error { _, err := b.d.Stop(b.now, "nope", "api"); return err },
		"sync":     func() error { _, _, err := b.d.Sync(b.now, "nope", ""); return err },
		"resync":   func() error { _, _, err := b.d.Resync(b.now, "nope"); return err },
		"view":     func() error { _, err := b.d.View(b.now, "nope"); return err },
		"interval": func() error { _, err := b.d.Start(b.now, modelStream, "soon", "api"); return err },
	} {
		p, ok := errors.AsType[*stream.Problem](f())
		if !ok || p.Status < 400 || p.Hint == "" {
			t.Errorf("%s: %v", name, p)
		}
	}
	if outs := b.must(b.d.Start(b.now, modelStream, "", "api")); len(outs) != 0 {
		t.Errorf("starting what has started does something: %v", outs)
	}
	old := modelConfig()
	old[0].Object = "deals"
	if _, err := b.d.Reload(b.now, old); err == nil {
		t.Error("a stream changes its object under its records")
	}
}

func TestResyncReadsAgainAndJoins(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	id, outs, err := b.d.Resync(b.now, modelStream)
	if fetches(b.must(outs, err))["backfill"] == 0 {
		t.Fatal("a resync walks nothing")
	}
	again, outs, err := b.d.Sync(b.now, modelStream, "")
	b.must(outs, err)
	if run, ok := b.d.Run(id); !ok || run.Kind != stream.Backfill || again != id {
		t.Errorf("a sync beside the walk is %s", again)
	}
	if v := b.view(); !v.Stream.Backfilled {
		t.Error("a resync forgets that everything was there")
	}
	b.d.Closing()
	for name, f := range map[string]func() error{
		"start":     func() error { _, err := b.d.Start(b.now, modelStream, "", "api"); return err },
		"sync":      func() error { _, _, err := b.d.Sync(b.now, modelStream, ""); return err },
		"resync":    func() error { _, _, err := b.d.Resync(b.now, modelStream); return err },
		"reconcile": func() error { _, _, err := b.d.Reconcile(b.now, modelStream, false); return err },
		"reload":    func() error { _, err := b.d.Reload(b.now, modelConfig()); return err },
		"mend":      func() error { _, _, err := b.d.Mend(b.now); return err },
	} {
		if err := f(); !errors.Is(err, ErrStopped) {
			t.Errorf("%s in a daemon that closes: %v", name, err)
		}
	}
	b.now = b.now.Add(time.Minute)
	if got := fetches(b.must(b.d.Tick(b.now))); len(got) != 0 {
		t.Errorf("a daemon that closes hands out %v", got)
	}
}

// What a resync reads again is held against HubSpot behind it, of a stopped stream
// too, unless it is stopped once more or fails; a reconcile that joins it comes then.
func TestResyncOfAStoppedStream(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		between func(*bench)
		want    bool // a reconcile
		accept  bool
	}{
		"to its end": {func(*bench) {}, true, false},
		"restarted":  {func(b *bench) { b.restart(); b.beat(protocol.Heartbeat{}) }, true, false},
		"asked for a reconcile, too": {func(b *bench) {
			_, outs, err := b.d.Reconcile(b.now, modelStream, true)
			b.must(outs, err)
		}, true, true},
		"stopped": {func(b *bench) { b.must(b.d.Stop(b.now, modelStream, "api")) }, false, false},
		"failing": {func(b *bench) {
			b.beat(protocol.Heartbeat{Failed: []protocol.AttemptFailure{{Attempt: b.view().Walk.Attempt, Problem: protocol.Problem{Type: "failing"}}}})
			b.now = b.now.Add(time.Hour)
			b.beat(protocol.Heartbeat{})
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := backfilled(t)
			b.must(b.d.Stop(b.now, modelStream, "api"))
			b.now = b.now.Add(time.Second)
			_, outs, err := b.d.Resync(b.now, modelStream)
			attempt := fetches(b.must(outs, err))["backfill"]
			c.between(b)
			if c.want {
				b.walked(attempt)
			}
			for range 2 { // once, and no more
				b.must(b.d.Tick(b.now))
			}
			v := b.view()
			made := v.Walk != nil && v.Walk.Kind == stream.Reconcile && v.Walk.Accept == c.accept
			if made {
				b.reconciled(v.Walk.Attempt)
			}
			for range 2 {
				b.now = b.now.Add(time.Minute)
				if more := fetches(b.beat(protocol.Heartbeat{})); len(more) > 0 {
					t.Errorf("beyond what was asked for: %v", more)
				}
			}
			if made != c.want || v.Stream.Active {
				t.Errorf("a reconcile: %t, want %t; active: %t", made, c.want, v.Stream.Active)
			}
		})
	}
}

// reconciled sends the pages of a reconcile of nothing.
func (b *bench) reconciled(attempt uint64) {
	b.t.Helper()
	a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, Last: true})
	for _, g := range a.Ranges {
		a = b.page(protocol.Page{Attempt: attempt, Range: g.ID, Kind: protocol.ListingPage, Last: true})
	}
	if !a.RunEnded {
		b.t.Fatalf("the reconcile did not end: %+v", a)
	}
}

// Each attempt counts its requests from nothing; a run's are those of all.
func TestRequestsOfAllAttempts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	b.page(protocol.Page{Attempt: first, Kind: protocol.RecordsPage, To: "17", Requests: 10})
	report := func(attempt, requests uint64) {
		b.beat(protocol.Heartbeat{Attempts: []protocol.AttemptReport{{Attempt: attempt, Requests: requests, Ranges: []protocol.RangeReport{{ID: 0}}}}})
	}
	report(first, 12)
	outs := b.beat(protocol.Heartbeat{Declined: []uint64{first}})
	outs = append(outs, b.must(b.d.Tick(b.now))...)
	second := fetches(outs)["backfill"]
	b.page(protocol.Page{Attempt: second, Seq: 1, From: "17", To: "18", Kind: protocol.RecordsPage, Requests: 3})
	if got := b.view().Walk.Requests; got != 15 {
		t.Errorf("%d requests after 12 and 3", got)
	}
	report(second, 5)
	if got := b.view().Walk.Requests; got != 17 {
		t.Errorf("%d requests after 12 and 5", got)
	}
	id := b.view().Walk.ID
	b.must(b.d.Stop(b.now, modelStream, "api"))
	if got := b.store.runs[id].Requests; got != 17 {
		t.Errorf("a run that was stopped had %d requests", got)
	}
}

// A worker that nobody has heard of for a day is forgotten.
func TestWorkersAreForgotten(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {23 * time.Hour, 1}, {time.Hour, 0}} {
		b.now = b.now.Add(c.after)
		for range 20 { // a lease and more
			b.now = b.now.Add(time.Second)
			b.must(b.d.Tick(b.now))
		}
		if got := b.d.Workers(); len(got) != c.want || c.want == 1 && got[0].Live {
			t.Fatalf("%s later: %+v", c.after, got)
		}
	}
	b.beat(protocol.Heartbeat{})
	if got := b.d.Workers(); len(got) != 1 || !got[0].Live {
		t.Fatalf("one that comes back: %+v", got)
	}
}

// However an interval is typed it is kept in one form, and a start without one
// goes back to the configured one.
// Who starts a stream that was stopped sees it fetched at once, however long the
// interval is and however short ago the last run was; who starts one that is
// started, when it is due.
func TestFirstRunAtOnce(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	// Until nothing is due any more.
	b.page(protocol.Page{Attempt: fetches(b.beat(protocol.Heartbeat{}))["incremental"], Kind: protocol.ListingPage, To: "x", Last: true})
	b.now = b.now.Add(time.Second)
	if got := fetches(b.must(b.d.Start(b.now, modelStream, "1h", "api"))); len(got) != 0 {
		t.Errorf("a stream that was started: %v", got)
	}
	b.must(b.d.Stop(b.now, modelStream, "api"))
	if got := fetches(b.must(b.d.Start(b.now, modelStream, "1h", "api"))); got["incremental"] == 0 || len(got) != 1 {
		t.Errorf("a stream that was stopped: %v", got)
	}
}

func TestIntervals(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	commits := 0
	b.store.committed = func() { commits++ }
	start := func(interval, want, setBy string, changes int) {
		t.Helper()
		before := commits
		b.must(b.d.Start(b.now, modelStream, interval, "api"))
		v := b.view()
		if v.Stream.Interval != want || v.Stream.SetBy != setBy || !v.Stream.Active || commits-before != changes {
			t.Fatalf("start %q: %q, set by %s, %d commits", interval, v.Stream.Interval, v.Stream.SetBy, commits-before)
		}
	}
	start("", "", "file", 0)
	start("300s", "5m0s", "api", 1)
	start("5m", "5m0s", "api", 0)
	start("5m0s", "5m0s", "api", 0)
	if next := b.view().Next; next.Sub(b.now) > 5*time.Minute || next.Sub(b.now) < 0 {
		t.Errorf("the next run is in %s", next.Sub(b.now))
	}
	b.store.streams[modelStream].Interval = "300s" // as it was once kept
	b.restart()
	start("5m", "5m0s", "api", 0)
	start("", "", "api", 1)
	start("", "", "api", 0)
	b.must(b.d.Stop(b.now, modelStream, "api"))
	start("", "", "api", 1)
}

// Definitions that a worker has kept from before those that are known make no
// older list the current one.
func TestOlderDefinitions(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	for seq, c := range []struct {
		list string
		asOf int64
		want string
		at   int64
	}{{"a", 100, "a", 100}, {"b", 300, "b", 300}, {"a", 200, "b", 300}, {"a", 300, "a", 300}, {"a", 400, "a", 400}} {
		p := protocol.Page{Store: "store", Epoch: 1, Process: "p1", Attempt: attempt, Seq: uint64(seq), Kind: protocol.SchemaPage,
			Began: 5, List: c.list, AsOf: c.asOf, Schema: []byte("[]")}
		outs, _, err := b.d.Pages(b.now, []Incoming{{Worker: "w", Page: &p, Digest: jsonDigest(p)}})
		if b.must(outs, err); outs[0].Answer.Type != protocol.Committed {
			t.Fatalf("%+v", outs[0].Answer)
		}
		if s := b.d.streams[modelStream]; s.CurrentList() != c.want || s.SchemaAsOf != c.at {
			t.Fatalf("after list %s of %d: %s of %d", c.list, c.asOf, s.CurrentList(), s.SchemaAsOf)
		}
	}
}
