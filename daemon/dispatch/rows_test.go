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

// rowBench is a bench whose stream copies another object, and has been read.
func rowBench(t *testing.T, object string, parents []string, ids ...string) *bench {
	t.Helper()
	b := &bench{t: t, now: epochStart, store: newMemStore()}
	b.configured(object, parents)
	attempt, g := b.rowRun("backfill")
	if g.Kind != "whole" {
		t.Fatalf("a backfill reads %+v", g)
	}
	w := b.walk(attempt)
	w.rows(true, "", nil, ids...)
	w.bring(ids...)
	return b
}

func (b *bench) configured(object string, parents []string) {
	b.t.Helper()
	cfg := modelConfig()
	cfg[0].Object, cfg[0].Parents = object, parents
	b.d = New(b.now, b.store, b.store.load(), cfg, Options{})
	b.must(b.d.Reload(b.now, cfg))
}

// rowRun waits for a run of a kind, and gives its attempt and its one range.
func (b *bench) rowRun(kind string) (uint64, protocol.Range) {
	b.t.Helper()
	b.now = b.now.Add(time.Minute)
	for _, o := range b.beat(protocol.Heartbeat{}) {
		if o.Command != nil && o.Command.Fetch != nil && o.Command.Fetch.Kind == kind && len(o.Command.Fetch.Ranges) == 1 {
			return o.Command.Attempt, o.Command.Fetch.Ranges[0]
		}
	}
	b.t.Fatalf("no %s is handed out", kind)
	return 0, protocol.Range{}
}

// digestOf is that of a row's first content.
func digestOf(id string) (d [16]byte) {
	copy(d[:], fmt.Sprintf("%-16s", id))
	return d
}

// rows sends a listing of rows in their first content.
func (w *walk) rows(last bool, to string, except []string, ids ...string) protocol.Answer {
	w.b.t.Helper()
	p := protocol.Page{Kind: protocol.ListingPage, Last: last, To: to, Except: except}
	for _, id := range ids {
		p.Listing = append(p.Listing, protocol.Listed{ID: id, Version: 5, Digest: digestOf(id)})
	}
	return w.send(0, p)
}

// bring sends rows.
func (w *walk) bring(ids ...string) protocol.Answer {
	w.b.t.Helper()
	var a protocol.Answer
	for part := range slices.Chunk(ids, protocol.MaxPageRecords) {
		p := protocol.Page{Kind: protocol.RecordsPage}
		for _, id := range part {
			p.Records = append(p.Records, protocol.Record{ID: id, State: "live", Version: 5, AsOf: w.b.now.UnixMilli(), Digest: digestOf(id), Confirmed: true})
		}
		a = w.send(0, p)
	}
	return a
}

func (b *bench) stateOf(id string) stream.State {
	return b.store.records[recordKey(modelStream, id)].State
}

// A run in which nothing changed is one listing, and takes no place in the feed.
func TestRowsThatDidNotChange(t *testing.T) {
	t.Parallel()
	ids := span(1, 150)
	b := rowBench(t, "owners", nil, ids...)
	if s := b.store.streams[modelStream]; !s.Backfilled || s.Cursor == 0 || s.CompleteUntil() != s.Cursor {
		t.Fatalf("%+v", s)
	}
	seq := b.store.seq
	attempt, g := b.rowRun("incremental")
	if g.Kind != "whole" || g.Cursor != "" {
		t.Fatalf("%+v", g)
	}
	if a := b.walk(attempt).rows(true, "", nil, ids...); !a.RunEnded || len(a.Want) != 0 {
		t.Fatalf("%+v", a)
	}
	if b.store.seq != seq {
		t.Errorf("%d places in the feed were taken", b.store.seq-seq)
	}
	if v := b.view(); v.State != StateWaiting || len(v.Stream.Windows) != 0 {
		t.Errorf("%s, windows %v", v.State, v.Stream.Windows)
	}
}

// What a whole reading lacks is read once more, and what is missing twice ends.
func TestRowsThatAreGone(t *testing.T) {
	t.Parallel()
	b := rowBench(t, "owners", nil, span(1, 150)...)
	// One of them is archived, which is a reading of its own digest.
	attempt, _ := b.rowRun("incremental")
	w := b.walk(attempt)
	w.rows(false, "70", nil, span(1, 60)...)
	a := w.rows(true, "", nil, span(71, 149)...)
	g, ids := asked(a)
	if want := append(span(61, 70), "150"); a.RunEnded || !slices.Equal(ids, want) {
		t.Fatalf("asked for %v, want %v", ids, want)
	}
	a = w.send(g, protocol.Page{Kind: protocol.RecordsPage, AsOf: 9, Gone: append(span(62, 70), "150"),
		Records: []protocol.Record{{ID: "61", State: "live", Version: 5, AsOf: b.now.UnixMilli(), Digest: digestOf("61"), Confirmed: true}}})
	if !a.RunEnded {
		t.Fatalf("%+v", a)
	}
	for id, want := range map[string]stream.State{"1": stream.Live, "61": stream.Live, "62": stream.Purged, "70": stream.Purged, "71": stream.Live, "150": stream.Purged} {
		if got := b.stateOf(id); got != want {
			t.Errorf("row %s is %s, want %s", id, got, want)
		}
	}
	runs := 0
	for _, r := range b.store.runs {
		if r.Kind == stream.Incremental && r.Report != nil && r.Report.Gone == 10 && r.Report.Candidates == 11 {
			runs++
		}
	}
	if runs != 1 {
		t.Errorf("no run tells of it: %+v", b.store.runs)
	}
}

// Where a reading is cut short, in parts or as a whole, nothing ends.
func TestRowsOfWhichNothingIsSaid(t *testing.T) {
	t.Parallel()
	ids := []string{"a-b/1", "a/1", "a/2", "b/1", "b/2", "c/1", "d/1"}
	for name, c := range map[string]struct {
		except []string
		gone   []string
	}{
		"all is said":           {nil, []string{"a/2", "b/1", "b/2", "c/1", "d/1"}},
		"one parent failed":     {[]string{"b/"}, []string{"a/2", "c/1", "d/1"}},
		"two parents failed":    {[]string{"a/", "d/"}, []string{"b/1", "b/2", "c/1"}},
		"nothing is handed out": {[]string{""}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := rowBench(t, "list_memberships", nil, ids...)
			attempt, _ := b.rowRun("incremental")
			a := b.walk(attempt).rows(true, "", c.except, "a-b/1", "a/1")
			if _, got := asked(a); !slices.Equal(got, c.gone) || a.RunEnded != (c.gone == nil) {
				t.Errorf("asked for %v, want %v: %+v", got, c.gone, a)
			}
		})
	}
}

// What belongs to an object that is not read any more stays as it is.
func TestRowsOfObjectsThatAreNotRead(t *testing.T) {
	t.Parallel()
	b := rowBench(t, "pipelines", []string{"contacts", "deals"}, "contacts/1", "contacts/2", "deals/1", "deals/2")
	b.configured("pipelines", []string{"deals"})
	attempt, _ := b.rowRun("incremental")
	if _, got := asked(b.walk(attempt).rows(true, "", nil, "deals/2")); !slices.Equal(got, []string{"deals/1"}) {
		t.Errorf("asked for %v", got)
	}
}

// Ids out of their order prove no absence.
func TestRowsOutOfOrder(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]func(w *walk) protocol.Answer{
		"in a page":      func(w *walk) protocol.Answer { return w.rows(true, "", nil, "1", "3", "2") },
		"between pages":  func(w *walk) protocol.Answer { w.rows(false, "5", nil, "1", "5"); return w.rows(true, "", nil, "4") },
		"twice":          func(w *walk) protocol.Answer { return w.rows(true, "", nil, "1", "1") },
		"beyond the end": func(w *walk) protocol.Answer { w.rows(false, "2", nil, "1", "3"); return w.rows(true, "", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := rowBench(t, "owners", nil, span(1, 9)...)
			attempt, _ := b.rowRun("incremental")
			if a := list(b.walk(attempt)); !a.RunEnded {
				_, ids := asked(a)
				t.Errorf("asked for %v", ids)
			}
		})
	}
}

// Too many absent rows, or a reading without any, end none: the stream says
// what to type. The next reading that has them lifts it.
func TestRowsAreBraked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rows, listed int
		brakes       bool
	}{{300, 199, true}, {300, 200, false}, {30, 0, true}, {30, 1, false}, {10, 0, false}} {
		t.Run(fmt.Sprintf("%d of %d", c.listed, c.rows), func(t *testing.T) {
			t.Parallel()
			b := rowBench(t, "owners", nil, span(1, c.rows)...)
			attempt, _ := b.rowRun("incremental")
			a := b.walk(attempt).rows(true, "", nil, span(1, c.listed)...)
			if a.RunEnded != c.brakes {
				t.Fatalf("%+v", a.Ranges)
			}
			if !c.brakes {
				return
			}
			if v := b.view(); v.State != StateBlocked || v.Error.Type != "too-many-deletes" {
				t.Fatalf("%s %v", v.State, v.Error)
			}
			// Typed, it does, in parts that a message holds.
			_, attempt = b.reconcile(true)
			_, ids := asked(b.walk(attempt).rows(true, "", nil, span(1, c.listed)...))
			if len(ids) != c.rows-c.listed {
				t.Errorf("%d are asked for", len(ids))
			}
		})
	}
}

// A reading goes on under another attempt where it had come to, and counts
// nothing twice.
func TestRowsUnderAnotherAttempt(t *testing.T) {
	t.Parallel()
	b := rowBench(t, "owners", nil, span(1, 20)...)
	attempt, _ := b.rowRun("incremental")
	w := b.walk(attempt)
	w.rows(false, "5", nil, "1", "2", "4", "5")
	p := protocol.Page{Kind: protocol.ListingPage, To: "10", Listing: []protocol.Listed{{ID: "7", Version: 6}}}
	if a := w.send(0, p); len(a.Want) != 1 || a.Cursor != "5" {
		t.Fatalf("%+v", a)
	}
	b.beat(protocol.Heartbeat{Declined: []uint64{attempt}})
	next, g := b.rowRun("incremental")
	if g.Cursor != "5" || len(g.Want) != 0 || next == attempt {
		t.Fatalf("%+v", g)
	}
	w2 := b.walk(next)
	w2.seq[0], w2.cursor[0] = g.Seq, g.Cursor
	a := w2.rows(true, "", nil, append([]string{"7"}, span(11, 20)...)...)
	if _, ids := asked(a); !slices.Equal(ids, []string{"3", "6", "8", "9", "10"}) {
		t.Fatalf("asked for %v", ids)
	}
}

// What a run leaves to the next is there when it has ended, and not before.
func TestNotes(t *testing.T) {
	t.Parallel()
	b := rowBench(t, "list_memberships", nil, "a/1", "a/2")
	attempt, _ := b.rowRun("incremental")
	w := b.walk(attempt)
	a := w.send(0, protocol.Page{Kind: protocol.ListingPage, Last: true, Notes: `{"marks":{"a":"1"}}`, Listing: []protocol.Listed{{ID: "a/1", Version: 5, Digest: digestOf("a/1")}}})
	if b.d.streams[modelStream].Notes != "" {
		t.Fatal("noted before the run has ended")
	}
	g, _ := asked(a)
	w.send(g, protocol.Page{Kind: protocol.RecordsPage, AsOf: 9, Gone: []string{"a/2"}})
	if b.store.streams[modelStream].Notes != `{"marks":{"a":"1"}}` {
		t.Fatal("nothing is noted")
	}
	b.now = b.now.Add(time.Minute)
	for _, o := range b.beat(protocol.Heartbeat{}) {
		if o.Command != nil && o.Command.Fetch != nil && o.Command.Fetch.Notes != `{"marks":{"a":"1"}}` {
			t.Errorf("the next run hears %q", o.Command.Fetch.Notes)
		}
	}
}

// Very many rows end in parts, each of which a transaction holds.
func TestManyRowsAreGone(t *testing.T) {
	t.Parallel()
	b := rowBench(t, "owners", nil, span(1, 3)...)
	const rows = 9000
	for i := range rows {
		id := strconv.Itoa(i + 1)
		b.store.seq++
		b.store.records[recordKey(modelStream, id)] = stream.Head{ID: id, Seq: b.store.seq, State: stream.Live, Version: 5, Digest: digestOf(id)}
	}
	_, attempt := b.reconcile(true)
	w := b.walk(attempt)
	a := w.rows(true, "", nil, "5000")
	for n := 0; !a.RunEnded; n++ {
		if n > 60 {
			t.Fatal("it does not end")
		}
		ranges := a.Ranges
		if len(ranges) == 0 {
			ranges = []protocol.Range{{ID: a.Range, Want: a.Want}}
		}
		for _, g := range ranges {
			if w.seq[g.ID] == 0 {
				w.cursor[g.ID] = g.Cursor
			}
			p := protocol.Page{Kind: protocol.RecordsPage, AsOf: 9}
			for _, l := range g.Want {
				if l.ID == "5000" {
					p.Records = append(p.Records, protocol.Record{ID: l.ID, State: "live", Version: 5, AsOf: 9, Digest: digestOf("5000"), Confirmed: true})
					continue
				}
				p.Gone = append(p.Gone, l.ID)
			}
			if len(p.Gone) > protocol.MaxListed {
				t.Fatalf("%d end at once", len(p.Gone))
			}
			a = w.send(g.ID, p)
		}
	}
	live := 0
	for _, h := range b.store.records {
		if h.State == stream.Live {
			live++
		}
	}
	if live != 1 || b.stateOf("5000") != stream.Live {
		t.Errorf("%d rows are live", live)
	}
}

// Events are read from the beginning, then from a little before where the last
// run came to, and once more when a window has settled; none ends.
func TestEventsAreReadByTime(t *testing.T) {
	t.Parallel()
	b := &bench{t: t, now: epochStart, store: newMemStore()}
	b.configured("email_events", nil)
	attempt, g := b.rowRun("backfill")
	if g.Kind != "events" || g.Lo != eventsBegin().UnixMilli() {
		t.Fatalf("%+v", g)
	}
	w := b.walk(attempt)
	began := b.now.UnixMilli()
	w.rows(false, "1000000000000", nil, "z/1", "a/2")
	w.bring("a/2", "z/1")
	b.beat(protocol.Heartbeat{Declined: []uint64{attempt}})
	attempt, g = b.rowRun("backfill")
	if g.Cursor != "1000000000000" || g.Hi != began {
		t.Fatalf("another attempt begins at %+v", g)
	}
	w = b.walk(attempt)
	w.seq[0], w.cursor[0] = g.Seq, g.Cursor
	if a := w.rows(true, strconv.FormatInt(began, 10), nil); !a.RunEnded {
		t.Fatalf("%+v", a)
	}
	// HubSpot may be late with the newest of the first load, too.
	last := b.d.config[modelStream].Settle
	if s := b.store.streams[modelStream]; s.CompleteUntil() != began-last[len(last)-1].Milliseconds() {
		t.Errorf("complete until %d ms before the load: %+v", began-s.CompleteUntil(), s.Windows)
	}
	seen, again := map[int]int{}, 0
	for range 12 {
		b.now = b.now.Add(20 * time.Second)
		for _, o := range b.beat(protocol.Heartbeat{}) {
			if o.Command == nil || o.Command.Fetch == nil {
				continue
			}
			f := o.Command.Fetch
			if f.Kind != "incremental" || f.Ranges[0].Lo < began-4000 || !f.Ranges[0].Newest {
				t.Fatalf("%+v", f)
			}
			if len(f.Ranges) > 1 && f.Ranges[1].Lo <= began-last[len(last)-1].Milliseconds() {
				again++
			}
			seen[len(f.Ranges)]++
			for _, g := range f.Ranges {
				b.page(protocol.Page{Attempt: o.Command.Attempt, Range: g.ID, Kind: protocol.ListingPage, To: "x", Last: true})
			}
		}
	}
	if seen[1] == 0 || seen[2]+seen[3] == 0 || b.stateOf("a/2") != stream.Live {
		t.Errorf("runs by their ranges: %v", seen)
	}
	if again != len(last) {
		t.Errorf("the newest of the first load was read again %d times, it settles at %v", again, last)
	}
	if s := b.store.streams[modelStream]; len(s.Windows) == 0 || s.CompleteUntil() < began {
		t.Errorf("%+v", s)
	}
}

// Which streams have walks of their own besides their runs.
func TestWalksOfRows(t *testing.T) {
	t.Parallel()
	for object, want := range map[string]stream.Kind{"owners": "", "pipelines": "", "list_memberships": stream.Reconcile,
		"conversation_messages": stream.Reconcile, "email_events": "", "form_submissions": "", "contacts": stream.Reconcile} {
		b := &bench{t: t, now: epochStart, store: newMemStore()}
		b.configured(object, nil)
		b.d.config[modelStream].ArchivedEvery, b.d.config[modelStream].ReconcileEvery = time.Hour, 24*time.Hour
		s := b.d.streams[modelStream].Clone()
		s.Backfilled, s.ArchivedAt, s.ReconciledAt = true, b.now, b.now
		if got := b.d.walkDue(s, b.now.Add(2*time.Hour)); got == stream.ArchivedSweep != (object == "contacts") {
			t.Errorf("%s: %q after two hours", object, got)
		}
		if got := b.d.walkDue(s, b.now.Add(25*time.Hour)); got != want {
			t.Errorf("%s: %q after a day, want %q", object, got, want)
		}
	}
}

// A brake is lifted by a run that has read everything, and by no other.
func TestBrakeOfRowsThatAreReadInPart(t *testing.T) {
	t.Parallel()
	for object, lifted := range map[string]bool{"owners": true, "list_memberships": false} {
		b := rowBench(t, object, nil, "1", "2", "3")
		b.store.streams[modelStream].Brake = &stream.Problem{Title: "x", Blocked: true}
		b.configured(object, nil)
		attempt, _ := b.rowRun("incremental")
		if a := b.walk(attempt).rows(true, "", nil, "1", "2", "3"); !a.RunEnded {
			t.Fatalf("%s: %+v", object, a)
		}
		if got := b.d.streams[modelStream].Brake == nil; got != lifted {
			t.Errorf("%s: lifted by a run %v", object, got)
		}
		_, attempt = b.reconcile(false)
		if b.walk(attempt).rows(true, "", nil, "1", "2", "3"); b.d.streams[modelStream].Brake != nil {
			t.Errorf("%s: not lifted by a reconcile", object)
		}
	}
}
