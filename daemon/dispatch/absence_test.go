package dispatch

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// filled is a bench with a backfilled stream that holds live records with the
// ids from 1 to n, of version 5.
func filled(t *testing.T, n int) *bench {
	t.Helper()
	b := backfilled(t)
	for i := range n {
		b.store.seq++
		id := strconv.Itoa(i + 1)
		b.store.records[recordKey(modelStream, id)] = stream.Head{ID: id, Seq: b.store.seq, State: stream.Live, Version: 5, AsOf: 5}
	}
	return b
}

// reconcile begins a reconcile and returns its run and attempt.
func (b *bench) reconcile(accept bool) (run string, attempt uint64) {
	b.t.Helper()
	b.now = b.now.Add(time.Second)
	id, outs, err := b.d.Reconcile(b.now, modelStream, accept)
	if attempt = fetches(b.must(outs, err))["reconcile"]; attempt == 0 {
		b.t.Fatal("no reconcile is handed out")
	}
	return id, attempt
}

// walk is a script of the pages of a reconcile: a live range (1), an archived
// one (0), each with its next seq.
type walk struct {
	b       *bench
	attempt uint64
	seq     map[uint32]uint64
	cursor  map[uint32]string
}

func (b *bench) walk(attempt uint64) *walk {
	return &walk{b: b, attempt: attempt, seq: map[uint32]uint64{}, cursor: map[uint32]string{}}
}

func (w *walk) send(g uint32, p protocol.Page) protocol.Answer {
	w.b.t.Helper()
	p.Attempt, p.Range, p.Seq, p.From = w.attempt, g, w.seq[g], w.cursor[g]
	if p.Kind == protocol.RecordsPage {
		p.To = p.From
	}
	a := w.b.page(p)
	if a.Type != protocol.Committed {
		w.b.t.Fatalf("range %d: %+v", g, a)
	}
	w.seq[g]++
	w.cursor[g] = a.Cursor
	return a
}

func listed(ids []string) (out []protocol.Listed) {
	for _, id := range ids {
		out = append(out, protocol.Listed{ID: id, Version: 5})
	}
	return out
}

// list sends a listing of ids in version 5.
func (w *walk) list(g uint32, last bool, ids ...string) protocol.Answer {
	w.b.t.Helper()
	p := protocol.Page{Kind: protocol.ListingPage, Last: last, Listing: listed(ids)}
	if !last {
		p.To = ids[len(ids)-1]
	}
	return w.send(g, p)
}

func (b *bench) state(id int) stream.State {
	return b.store.records[recordKey(modelStream, strconv.Itoa(id))].State
}

const (
	archivedOf, liveOf = 0, 1 // the ranges of a reconcile
)

func span(lo, hi int) (ids []string) {
	for i := lo; i <= hi; i++ {
		ids = append(ids, strconv.Itoa(i))
	}
	return ids
}

func asked(a protocol.Answer) (id uint32, ids []string) {
	for _, g := range a.Ranges {
		if g.Ask {
			id = g.ID
			for _, w := range g.Want {
				ids = append(ids, w.ID)
			}
		}
	}
	return id, ids
}

// What a walk lacks is asked for by name, and ends only where HubSpot says that
// it has it neither live nor archived.
func TestAbsenceIsAskedFor(t *testing.T) {
	t.Parallel()
	b := filled(t, 12)
	run, attempt := b.reconcile(false)
	w := b.walk(attempt)
	w.list(liveOf, false, "1", "2", "5") // not 3, 4
	a := w.list(liveOf, true, "6", "7", "9")
	if a.RunEnded || len(a.Ranges) != 1 || a.Ranges[0].Kind != "archived" {
		t.Fatalf("the archived do not follow: %+v", a)
	}
	// 4 has been archived, 3, 8, 10 to 12 are nowhere. 12 changed meanwhile.
	head := b.store.records[recordKey(modelStream, "12")]
	b.store.seq++
	head.Seq = b.store.seq
	b.store.records[recordKey(modelStream, "12")] = head
	if a = w.list(archivedOf, true, "4"); len(a.Want) != 1 || a.Want[0].ID != "4" {
		t.Fatalf("what is archived now is wanted: %+v", a)
	}
	a = w.send(archivedOf, protocol.Page{Kind: protocol.RecordsPage, Records: []protocol.Record{{ID: "4", State: "archived", Version: 5, AsOf: 9}}})
	g, ids := asked(a)
	if want := []string{"3", "8", "10", "11"}; !slices.Equal(ids, want) {
		t.Fatalf("asked for %v, want %v", ids, want)
	}
	a = w.send(g, protocol.Page{Kind: protocol.RecordsPage, AsOf: 9, Gone: []string{"3", "11"},
		Records: []protocol.Record{{ID: "8", State: "live", Version: 5, AsOf: 9}, {ID: "10", State: "merged", MergedInto: "9", Version: 6, AsOf: 9}}})
	if !a.RunEnded {
		t.Fatalf("the run goes on: %+v", a)
	}
	for id, want := range map[int]stream.State{1: stream.Live, 3: stream.Purged, 4: stream.Archived, 8: stream.Live, 10: stream.Merged, 11: stream.Purged, 12: stream.Live} {
		if got := b.state(id); got != want {
			t.Errorf("record %d is %s, want %s", id, got, want)
		}
	}
	r := b.store.runs[run].Report
	if r.Checked != 7 || r.Candidates != 6 || r.Gone != 2 || r.Archived != 1 || r.Merged != 1 || r.Stale != 1 || r.Missing != 0 {
		t.Errorf("report: %+v", r)
	}
}

// A list that is far too short ends nobody; the stream says what to type, and
// its incremental runs go on.
func TestBrake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		records int
		listed  int
		brakes  bool
	}{
		{"an empty list", 150, 0, true},
		{"half a list", 300, 150, true},
		{"a hundred are always allowed", 150, 50, false},
		{"two per cent of many", 10_000, 9_800, false},
		{"more than two per cent of many", 10_000, 9_799, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := filled(t, c.records)
			run, attempt := b.reconcile(false)
			w := b.walk(attempt)
			for i := 0; i < c.listed; i += 1000 {
				w.list(liveOf, false, span(i+1, min(i+1000, c.listed))...)
			}
			w.list(liveOf, true)
			a := w.list(archivedOf, true)
			if a.RunEnded != c.brakes {
				t.Fatalf("ended %v: %+v", a.RunEnded, b.store.runs[run].Report)
			}
			if !c.brakes {
				if _, ids := asked(a); len(ids) != c.records-c.listed {
					t.Errorf("%d are asked for", len(ids))
				}
				return
			}
			v := b.view()
			if v.State != StateBlocked || v.Error.Type != "too-many-deletes" || v.Error.Hint == "" {
				t.Fatalf("the stream is %s: %v", v.State, v.Error)
			}
			b.now = b.now.Add(time.Minute)
			if fetches(b.beat(protocol.Heartbeat{}))["incremental"] == 0 {
				t.Error("new data does not go on")
			}
			for i := range c.records {
				if b.state(i+1) != stream.Live {
					t.Fatalf("record %d was ended", i+1)
				}
			}
		})
	}
}

// The brake counts on past what one message asks for: a portal that allows many
// deletes is braked where there are more.
func TestBrakePastOneMessage(t *testing.T) {
	t.Parallel()
	for share, brakes := range map[float64]bool{0.5: true, 0.9: false} {
		b := filled(t, 10_000)
		b.d.config[modelStream].MaxDeletes = share
		run, attempt := b.reconcile(false)
		w := b.walk(attempt)
		for i := 0; i < 1500; i += 500 {
			w.list(liveOf, false, span(i+1, i+500)...)
		}
		w.list(liveOf, true)
		w.list(archivedOf, true)
		if got := b.d.streams[modelStream].Brake != nil; got != brakes {
			t.Errorf("share %v of 8,500 in 10,000: braked %v: %+v", share, got, b.store.runs[run].Report)
		}
	}
}

// However many merged records a page of a walk leads on, its commit holds them: the
// next walk goes on with the rest.
func TestMergedRecordsThatAreLedOnHaveRoom(t *testing.T) {
	t.Parallel()
	const merged = 700
	b := filled(t, merged+2)
	into := func(id, other string) {
		h := b.store.records[recordKey(modelStream, id)]
		h.State, h.MergedInto = stream.Merged, other
		b.store.records[recordKey(modelStream, id)] = h
	}
	into("2", "1")
	for _, id := range span(3, merged+2) {
		into(id, "2")
	}
	ledOn := func() (n int) {
		for _, h := range b.store.records {
			if h.State == stream.Merged && h.MergedInto == "1" && h.ID != "2" {
				n++
			}
		}
		return n
	}
	for _, want := range []func(int) bool{func(n int) bool { return n > 0 && n < 500 }, func(n int) bool { return n == merged }} {
		_, attempt := b.reconcile(false)
		w := b.walk(attempt)
		w.list(liveOf, true, "1")
		w.list(archivedOf, true)
		if n := ledOn(); !want(n) {
			t.Fatalf("%d of %d are led on", n, merged)
		}
	}
}

// What HubSpot lets go of 90 days after it was archived counts for no brake.
func TestExpiredCountsForNoBrake(t *testing.T) {
	t.Parallel()
	for age, brakes := range map[time.Duration]bool{91 * 24 * time.Hour: false, 24 * time.Hour: true} {
		b := filled(t, 500)
		for i := range 400 {
			key := recordKey(modelStream, strconv.Itoa(i+1))
			h := b.store.records[key]
			h.State, h.ArchivedAt = stream.Archived, b.now.Add(-age).UTC().Format(time.RFC3339)
			b.store.records[key] = h
		}
		_, attempt := b.reconcile(false)
		w := b.walk(attempt)
		w.send(liveOf, protocol.Page{Kind: protocol.ListingPage, Last: true, Began: b.now.UnixMilli(), Listing: listed(span(401, 500))})
		w.list(archivedOf, true)
		if got := b.d.streams[modelStream].Brake != nil; got != brakes {
			t.Errorf("archived %v ago: braked %v", age, got)
		}
	}
}

// A reconcile that did not end is owed, with what was accepted, and made again
// after a while and not at once.
func TestReconcileIsOwed(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	b.reconcile(true)
	b.must(b.d.Stop(b.now, modelStream, "api"))
	b.must(b.d.Start(b.now, modelStream, "", "api"))
	s := b.d.streams[modelStream]
	if !s.ReconcileOwed || !s.AcceptNext {
		t.Fatalf("owed %v, accepted %v", s.ReconcileOwed, s.AcceptNext)
	}
	b.d.config[modelStream].ReconcileEvery = 1000 * time.Hour
	b.now = b.now.Add(time.Minute)
	if fetches(b.beat(protocol.Heartbeat{}))["reconcile"] != 0 {
		t.Error("it is made again at once")
	}
	b.now = b.now.Add(missingRetry)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["reconcile"]
	if attempt == 0 || !b.d.runs[b.d.attempts[attempt]].Accept {
		t.Fatal("it is not made again as it was asked for")
	}
}

// With --accept-deletes absence counts however much it is, in chunks that a
// message holds; a walk that is in order then lifts the brake.
func TestAcceptedDeletes(t *testing.T) {
	t.Parallel()
	const records = 7300
	b := filled(t, records)
	b.store.streams[modelStream].Brake = &stream.Problem{Title: "x", Blocked: true}
	b.restart()
	hello := b.beat(protocol.Heartbeat{})
	_ = hello
	_, attempt := b.reconcile(true)
	w := b.walk(attempt)
	w.list(liveOf, true, "5000")
	a := w.list(archivedOf, true)
	gone := 0
	for n := 0; !a.RunEnded; n++ {
		if n > 50 {
			t.Fatal("it does not end")
		}
		if len(a.Ranges) == 0 && len(a.Want) == 0 {
			t.Fatalf("nothing to do and not ended: %+v", a)
		}
		ranges := a.Ranges
		if len(ranges) == 0 {
			ranges = []protocol.Range{{ID: a.Range, Want: a.Want}}
		}
		for _, g := range ranges {
			for want := g.Want; len(want) > 0; want = a.Want {
				if len(want) > protocol.MaxListed {
					t.Fatalf("%d ids are wanted at once", len(want))
				}
				p := protocol.Page{Kind: protocol.RecordsPage, AsOf: 9}
				for _, l := range want {
					if l.ID == "5000" { // inside of what is asked for, and there
						p.Records = append(p.Records, protocol.Record{ID: l.ID, State: "live", Version: 5, AsOf: 9})
						continue
					}
					p.Gone = append(p.Gone, l.ID)
				}
				gone += len(p.Gone)
				w.cursor[g.ID] = cmpOr(w.cursor[g.ID], g.Cursor)
				for len(p.Gone) > protocol.MaxGone {
					w.send(g.ID, protocol.Page{Kind: protocol.RecordsPage, AsOf: 9, Gone: p.Gone[:protocol.MaxGone]})
					p.Gone = p.Gone[protocol.MaxGone:]
				}
				a = w.send(g.ID, p)
			}
		}
	}
	if gone != records-1 {
		t.Errorf("%d were asked for and gone", gone)
	}
	for i := range records {
		want := stream.Purged
		if i+1 == 5000 {
			want = stream.Live
		}
		if got := b.state(i + 1); got != want {
			t.Fatalf("record %d is %s", i+1, got)
		}
	}
	if v := b.view(); v.Stream.Brake != nil {
		t.Error("the brake holds on")
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// A list whose ids go back proves nothing.
func TestDisorderProvesNothing(t *testing.T) {
	t.Parallel()
	for name, pages := range map[string][][]string{
		"within a page":  {{"1", "3", "2"}, {}},
		"between pages":  {{"1", "5"}, {"4", "8"}},
		"an id repeated": {{"1", "5"}, {"5", "6"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := filled(t, 12)
			run, attempt := b.reconcile(false)
			w := b.walk(attempt)
			w.list(liveOf, false, pages[0]...)
			w.list(liveOf, true, pages[1]...)
			if a := w.list(archivedOf, true); !a.RunEnded {
				t.Fatalf("something is asked for: %+v", a)
			}
			if !b.store.runs[run].Report.Disorder {
				t.Error("nobody is told")
			}
		})
	}
}

// The candidates of a page stay those of the ledger when the daemon restarts
// and another attempt goes on.
func TestCandidatesOutliveTheAttempt(t *testing.T) {
	t.Parallel()
	b := filled(t, 12)
	run, attempt := b.reconcile(false)
	w := b.walk(attempt)
	w.list(liveOf, false, "1", "5")
	b.restart()
	b.now = b.now.Add(time.Second)
	hb := protocol.Heartbeat{Worker: "w", Process: "p2", Portals: []string{"main"}, Capacity: 4}
	b.must(b.d.Heartbeat(b.now, &hb))
	outs := b.must(b.d.Tick(b.now))
	next := fetches(outs)["reconcile"]
	if next == 0 || next == attempt {
		t.Fatalf("no other attempt: %v", outs)
	}
	for _, o := range outs {
		if o.Command != nil && o.Command.Attempt == next {
			if n := len(o.Command.Fetch.Ranges); n != 1 || o.Command.Fetch.Ranges[0].ID != liveOf || o.Command.Fetch.Ranges[0].Cursor != "5" {
				t.Fatalf("ranges of the next attempt: %+v", o.Command.Fetch.Ranges)
			}
		}
	}
	if g := b.store.ranges[run][2]; g == nil || len(g.Want) != 3 {
		t.Fatalf("the candidates are lost: %+v", g)
	}
}

// Who was merged ends with the record that took it in, to the end of a chain,
// also where it was never read.
func TestMerges(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	b.store.bodies[recordKey(modelStream, "2")] = []byte(`{"hs_merged_object_ids":"1;77","hs_calculated_merged_vids":"78:1577836800000"}`)
	b.now = b.now.Add(time.Minute)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	v := b.now.UnixMilli()
	a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, To: "x", Last: true, Listing: []protocol.Listed{{ID: "9", Version: v}}})
	if len(a.Want) != 1 {
		t.Fatal("nothing is wanted")
	}
	b.page(protocol.Page{Attempt: attempt, Seq: 1, Kind: protocol.RecordsPage, Merges: []protocol.Merge{{Into: "9", From: []string{"2", "9"}}},
		Records: []protocol.Record{{ID: "9", State: "live", Version: v, AsOf: v}}})
	for _, id := range []string{"1", "2", "77", "78"} {
		h := b.store.records[recordKey(modelStream, id)]
		if h.State != stream.Merged || h.MergedInto != "9" || h.Version != v {
			t.Errorf("record %s: %+v", id, h)
		}
	}
	for _, id := range []string{"3", "9"} {
		if h := b.store.records[recordKey(modelStream, id)]; h.State != stream.Live {
			t.Errorf("record %s: %+v", id, h)
		}
	}
	position := b.store.seq
	b.now = b.now.Add(time.Minute)
	attempt = fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, To: "y", Last: true, Listing: []protocol.Listed{{ID: "9", Version: v + 1}}})
	b.page(protocol.Page{Attempt: attempt, Seq: 1, Kind: protocol.RecordsPage, Merges: []protocol.Merge{{Into: "9", From: []string{"2", "1"}}},
		Records: []protocol.Record{{ID: "9", State: "live", Version: v + 1, AsOf: v}}})
	if b.store.seq != position+1 {
		t.Errorf("a merge that is known takes %d places in the feed", b.store.seq-position)
	}
}

// The walks come when they are due, one at a time, a reconcile before a sweep.
func TestWalksFallDue(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	s := b.store.streams[modelStream]
	if s.ArchivedAt.IsZero() || s.ReconciledAt.IsZero() {
		t.Fatal("a backfill counts for no walk")
	}
	cfg := b.d.config[modelStream]
	cfg.ArchivedEvery, cfg.ReconcileEvery = time.Hour, 3*time.Hour
	seen := []string{}
	for range 8 {
		b.now = b.now.Add(30 * time.Minute)
		for kind, attempt := range fetches(b.beat(protocol.Heartbeat{})) {
			if kind == "incremental" {
				b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, To: "x", Last: true})
				continue
			}
			seen = append(seen, fmt.Sprint(kind, " ", b.now.Sub(epochStart)))
			w := b.walk(attempt)
			if kind == "reconcile" {
				w.list(liveOf, true)
			}
			w.list(archivedOf, true)
		}
	}
	want := []string{"archived 1h0m0s", "archived 2h0m0s", "reconcile 3h0m0s", "archived 4h0m0s"}
	if !slices.Equal(seen, want) {
		t.Errorf("walks: %v, want %v", seen, want)
	}
}

// An older version in a list is read again at the end of the walk, and believed
// when a second reading says the same; one that was read before what is stored
// is only late.
func TestOlderVersionsInAListAreReadAgain(t *testing.T) {
	t.Parallel()
	b := filled(t, 4)
	b.now = b.now.Add(time.Second)
	id, outs, err := b.d.Resync(b.now, modelStream)
	attempt := fetches(b.must(outs, err))["backfill"]
	record := func(id string, version, asOf int64, confirmed bool) protocol.Record {
		return protocol.Record{ID: id, State: "live", Version: version, AsOf: asOf, Confirmed: confirmed}
	}
	w := b.walk(attempt)
	p := protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, Last: true, Records: []protocol.Record{
		record("1", 5, 9, false), record("2", 3, 9, false), record("3", 4, 4, false), record("4", 3, 9, false)}}
	if a := b.page(p); a.Type != protocol.Committed || !a.RangeEnded {
		t.Fatalf("%+v", a)
	}
	if got := b.store.records[recordKey(modelStream, "2")].Version; got != 5 {
		t.Fatalf("a single reading is believed: version %d", got)
	}
	a := w.list(1, true)
	if len(a.Ranges) != 1 || a.Ranges[0].Kind != "ids" || a.Ranges[0].Ask || len(a.Ranges[0].Want) != 2 || a.Ranges[0].Want[0].ID != "2" || a.Ranges[0].Want[1].ID != "4" {
		t.Fatalf("what is read again: %+v", a.Ranges)
	}
	g := a.Ranges[0].ID
	if a = w.send(g, protocol.Page{Kind: protocol.RecordsPage, Records: []protocol.Record{record("2", 3, 19, false), record("4", 6, 19, false)}}); !slices.Equal(a.Again, []string{"2"}) {
		t.Fatalf("what is not believed: %+v", a)
	}
	if a = w.send(g, protocol.Page{Kind: protocol.RecordsPage, Records: []protocol.Record{record("2", 3, 29, true)}}); !a.RunEnded {
		t.Fatalf("the walk goes on: %+v", a)
	}
	for id, want := range map[string]int64{"1": 5, "2": 3, "3": 5, "4": 6} {
		if got := b.store.records[recordKey(modelStream, id)].Version; got != want {
			t.Errorf("record %s has version %d, want %d", id, got, want)
		}
	}
	if s := b.store.streams[modelStream]; s.Regressed != 1 || b.store.runs[id].State != stream.Done {
		t.Errorf("%d went back, the run %+v", s.Regressed, b.store.runs[id])
	}
}
