package dispatch

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// fetched is what an attempt was told, of a kind of run.
func fetched(outs []Out, kind stream.Kind) *protocol.Command {
	for _, o := range outs {
		if o.Command != nil && o.Command.Type == protocol.FetchCommand && o.Command.Fetch.Kind == string(kind) {
			return o.Command
		}
	}
	return nil
}

// A newest window becomes a walk of the whole list; what the list changed has its
// associations and its history read then, and nothing else has.
func TestAWindowBecomesAList(t *testing.T) {
	t.Parallel()
	b := filled(t, 600)
	cfg := b.d.config[modelStream]
	cfg.Associations, cfg.History = []string{"deals"}, []string{"*"}
	s := b.d.streams[modelStream]
	s.Linked, s.AssociatedAt, s.History, s.HistoryRead = cfg.Associations, b.now, cfg.history(), true
	b.now = b.now.Add(30 * time.Second)
	cmd := fetched(b.beat(protocol.Heartbeat{}), stream.Incremental)
	if cmd == nil || cmd.Fetch.ByList != 201 { // two searches count as eight requests, the list has six
		t.Fatalf("%+v", cmd)
	}
	run := b.d.runOf(modelStream, false).ID
	w := b.walk(cmd.Attempt)
	a := w.send(0, protocol.Page{Kind: protocol.WalkPage, Reason: "many"})
	if len(a.Ranges) != 1 || a.Ranges[0].Kind != "list" || a.Ranges[0].Lo != 0 {
		t.Fatalf("%+v", a.Ranges)
	}
	bring := func(last bool, version int64, ids ...string) protocol.Answer {
		p := protocol.Page{Kind: protocol.RecordsPage, To: "9", Last: last}
		for _, id := range ids {
			p.Records = append(p.Records, protocol.Record{ID: id, State: "live", Version: version, AsOf: b.now.UnixMilli(), Digest: [16]byte{byte(version - 5)}})
		}
		p.Attempt, p.Range, p.Seq, p.From = cmd.Attempt, 0, w.seq[0], w.cursor[0]
		a := b.page(p)
		w.seq[0]++
		w.cursor[0] = a.Cursor
		return a
	}
	bring(false, 5, span(1, 50)...)
	a = bring(true, 70, span(51, 60)...)
	if a.RunEnded {
		t.Fatal("the run ended without the associations")
	}
	var linked, past []string
	for _, g := range a.Ranges {
		for _, l := range g.Want {
			if l.Parts {
				linked = append(linked, l.ID)
			} else if l.Past {
				past = append(past, l.ID)
			}
		}
	}
	if want := span(51, 60); !slices.Equal(linked, want) || !slices.Equal(past, want) {
		t.Errorf("associations of %v, history of %v", linked, past)
	}
	if got := b.d.runs[run]; got.ByList != "many" || got.Records != 10 {
		t.Errorf("%+v", got)
	}
	// Its place is kept over an attempt that ends: the windows are not searched.
	if g := b.store.ranges[run][0]; g.Kind != stream.ListRange || !g.Ended {
		t.Errorf("%+v", g)
	}
}

// Only what is read for the first time becomes a walk: a window that settles says
// what a list may have lacked.
func TestWhatDoesNotBecomeAList(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		run *stream.Run
		g   *stream.Range
		ok  bool
	}{
		"newest":             {&stream.Run{Kind: stream.Incremental, Began: 5}, &stream.Range{Kind: stream.SpanRange, Newest: true}, true},
		"settling":           {&stream.Run{Kind: stream.Incremental, Began: 5}, &stream.Range{Kind: stream.SpanRange}, false},
		"a new property":     {&stream.Run{Kind: stream.Fill, Began: 5}, &stream.Range{Kind: stream.SpanRange, Has: []string{"a"}}, true},
		"a list":             {&stream.Run{Kind: stream.Fill, Began: 5}, &stream.Range{Kind: stream.ListRange}, false},
		"what is archived":   {&stream.Run{Kind: stream.Reconcile, Began: 5}, &stream.Range{Kind: stream.ArchivedRange}, false},
		"what was asked for": {&stream.Run{Kind: stream.OneRecord, Began: 5}, &stream.Range{Kind: stream.IdsRange}, false},
	} {
		b := newBench(t)
		says := b.d.begin(b.now).unfit(&protocol.Page{Kind: protocol.WalkPage}, c.run, c.g)
		if (says == "") != c.ok {
			t.Errorf("%s: %q", name, says)
		}
	}
	b := backfilled(t)
	b.d.config[modelStream].StartDate = 1
	if n := b.d.listFrom(&stream.Run{Stream: modelStream, Kind: stream.Incremental}, b.d.streams[modelStream]); n != 0 {
		t.Errorf("with a start date the list is read from %d changes on", n)
	}
}

// defines sends definitions as a worker does: with the hash of the names that the
// configuration chooses of them.
func (b *bench) defines(attempt, seq uint64, definitions string) {
	b.t.Helper()
	names := chosenNames(b.d.config[modelStream], definedNames([]byte(definitions)))
	b.schema(attempt, seq, protocol.ListHash(names), definitions)
}

// filling is a bench of so many records whose definitions have had a property more
// since, with the fill that it makes.
func filling(t *testing.T, records int) (*bench, *protocol.Command) {
	t.Helper()
	b := filled(t, records)
	b.now = b.now.Add(30 * time.Second)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	b.defines(attempt, 0, `[{"name":"a"},{"name":"b"}]`)
	b.page(protocol.Page{Attempt: attempt, Seq: 1, Kind: protocol.ListingPage, To: "x", Last: true})
	b.now = b.now.Add(30 * time.Second)
	attempt = fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	b.defines(attempt, 0, `[{"name":"a"},{"name":"b"},{"name":"n"}]`)
	b.page(protocol.Page{Attempt: attempt, Seq: 1, Kind: protocol.ListingPage, To: "x", Last: true})
	s := b.store.streams[modelStream]
	if !slices.Equal(s.Fill, []string{"n"}) || s.ReconcileNow {
		t.Fatalf("to fill: %v, reconcile now: %v", s.Fill, s.ReconcileNow)
	}
	return b, fetched(b.beat(protocol.Heartbeat{}), stream.Fill)
}

// A new property is looked for by search: records that have it are read, though
// their version is the stored one; no associations are; and it is done with.
func TestANewPropertyIsFilled(t *testing.T) {
	t.Parallel()
	b, cmd := filling(t, 600)
	if cmd == nil || len(cmd.Fetch.Ranges) != 1 || !slices.Equal(cmd.Fetch.Ranges[0].Has, []string{"n"}) || cmd.Fetch.ByList == 0 {
		t.Fatalf("%+v", cmd)
	}
	w := b.walk(cmd.Attempt)
	a := w.list(0, true, "7", "9")
	if len(a.Want) != 2 || a.Want[0].Parts {
		t.Fatalf("wanted %+v", a.Want)
	}
	p := protocol.Page{Kind: protocol.RecordsPage, Attempt: cmd.Attempt, Seq: 1, Began: b.now.UnixMilli()}
	p.Store, p.Epoch, p.Process, p.List = "store", 1, "p1", b.store.streams[modelStream].CurrentList()
	for _, id := range []string{"7", "9"} {
		p.Records = append(p.Records, protocol.Record{ID: id, State: "live", Version: 5, AsOf: b.now.UnixMilli(), Digest: [16]byte{9}, Properties: []byte(`{"n":"1"}`)})
	}
	if _, _, err := b.d.Pages(b.now, []Incoming{{Worker: "w", Page: &p, Digest: jsonDigest(p)}}); err != nil {
		t.Fatal(err)
	}
	if got := string(b.store.bodies[recordKey(modelStream, "7")]); got != `{"n":"1"}` {
		t.Errorf("record 7 is %s", got)
	}
	s := b.store.streams[modelStream]
	if len(s.Fill) != 0 || b.d.runOf(modelStream, true) != nil {
		t.Errorf("still to fill: %v", s.Fill)
	}
	// What search never showed, the next reconcile has to find.
	if generation, _ := s.Generation(s.CurrentList()); s.Fresh >= generation {
		t.Error("records that nobody has compared count as compared")
	}
}

// Where most records have the property, one walk of the list takes the place of
// all searches; a stop and a start begin it anew.
func TestANewPropertyByList(t *testing.T) {
	t.Parallel()
	b, cmd := filling(t, 600)
	w := b.walk(cmd.Attempt)
	if a := w.send(0, protocol.Page{Kind: protocol.WalkPage, Reason: "most"}); a.Type != protocol.Committed {
		t.Fatalf("%+v", a)
	}
	cmd = fetched(b.beat(protocol.Heartbeat{Attempts: []protocol.AttemptReport{{Attempt: cmd.Attempt}}}), stream.Fill)
	if cmd == nil || len(cmd.Fetch.Ranges) != 1 || cmd.Fetch.Ranges[0].Kind != "list" {
		t.Fatalf("not under another attempt: %+v", cmd)
	}
	b.must(b.d.Stop(b.now, modelStream, "api"))
	b.must(b.d.Start(b.now, modelStream, "", "api"))
	if cmd = fetched(b.beat(protocol.Heartbeat{}), stream.Fill); cmd == nil || !slices.Equal(cmd.Fetch.Ranges[0].Has, []string{"n"}) {
		t.Fatalf("not filled after a stop: %+v", cmd)
	}
}

// A record that somebody asks for while a property is filled is read all the same
// where the fill becomes a walk of the list.
func TestAGuestOfAFillByList(t *testing.T) {
	t.Parallel()
	b, cmd := filling(t, 600)
	guest, outs, err := b.d.Sync(b.now, modelStream, "7")
	b.must(outs, err)
	if a := b.walk(cmd.Attempt).send(0, protocol.Page{Kind: protocol.WalkPage, Reason: "most"}); a.Type != protocol.Committed {
		t.Fatalf("%+v", a)
	}
	cmd = fetched(b.beat(protocol.Heartbeat{Attempts: []protocol.AttemptReport{{Attempt: cmd.Attempt}}}), stream.Fill)
	if cmd == nil || len(cmd.Fetch.Ranges) != 2 || len(cmd.Fetch.Ranges[1].Want) != 1 || cmd.Fetch.Ranges[1].Want[0].ID != "7" {
		t.Fatalf("%+v", cmd)
	}
	if r := b.d.guest(guest); r == nil || r.State != stream.Running {
		t.Errorf("the guest: %+v", r)
	}
}

// A run that has read the list and ends before the history of what that changed
// has not read it: the records are no longer different the next time.
func TestAListThatEndsBeforeTheHistory(t *testing.T) {
	t.Parallel()
	b := filled(t, 600)
	cfg := b.d.config[modelStream]
	cfg.History = []string{"*"}
	s := b.d.streams[modelStream]
	s.History, s.HistoryRead = cfg.history(), true
	b.now = b.now.Add(30 * time.Second)
	cmd := fetched(b.beat(protocol.Heartbeat{}), stream.Incremental)
	b.walk(cmd.Attempt).send(0, protocol.Page{Kind: protocol.WalkPage, Reason: "many"})
	b.must(b.d.Stop(b.now, modelStream, "api"))
	if b.d.streams[modelStream].HistoryRead {
		t.Error("the history counts as read")
	}
	// Nor has it when a history run ends that had passed the records before.
	for _, from := range []string{"59", ""} {
		c := b.d.begin(b.now)
		s := c.stream(modelStream)
		s.HistoryFrom = from
		run, err := c.sweepHistory(s)
		if err != nil {
			t.Fatal(err)
		}
		c.finish(run)
		b.must(c.commit())
		if got := b.d.streams[modelStream].HistoryRead; got != (from == "") {
			t.Errorf("after a history run from %q it counts as read: %v", from, got)
		}
	}
}

// A stream of a few pages is read as a list at once.
func TestASmallStreamIsFilledByList(t *testing.T) {
	t.Parallel()
	_, cmd := filling(t, 90)
	if cmd == nil || cmd.Fetch.Ranges[0].Kind != "list" {
		t.Fatalf("%+v", cmd)
	}
}

// Whether a list has but more properties than the one before is known, or
// everything is held against HubSpot.
func TestWhatIsFilled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after *stream.Choice
		old, defined  string
		forget        bool
		fill          string
		reconcile     bool
	}{
		"one more":                       {old: "a b", defined: "a b n", fill: "n"},
		"more and one gone":              {old: "a b", defined: "a n", fill: "n"},
		"one gone":                       {old: "a b", defined: "a", reconcile: true},
		"one more asked for":             {before: &stream.Choice{Properties: []string{"a"}}, after: &stream.Choice{Properties: []string{"a", "b"}}, old: "a b", defined: "a b", fill: "b"},
		"another instead":                {before: &stream.Choice{Properties: []string{"a"}}, after: &stream.Choice{Properties: []string{"b"}}, old: "a b", defined: "a b", reconcile: true},
		"one left out":                   {after: &stream.Choice{Exclude: []string{"b"}}, old: "a b", defined: "a b", reconcile: true},
		"one more, and nobody knows how": {old: "a b", defined: "a b n", forget: true, reconcile: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := filled(t, 10)
			cfg := b.d.config[modelStream]
			set := func(c *stream.Choice) {
				cfg.Properties, cfg.Exclude = nil, nil
				if c != nil {
					cfg.Properties, cfg.Exclude = c.Properties, c.Exclude
				}
			}
			text := func(names string) string {
				return `[{"name":"` + strings.Join(strings.Fields(names), `"},{"name":"`) + `"}]`
			}
			set(c.before)
			b.now = b.now.Add(30 * time.Second)
			attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
			b.defines(attempt, 0, text(c.old))
			if c.forget {
				b.d.streams[modelStream].Choice = nil
			}
			set(c.after)
			b.defines(attempt, 1, text(c.defined))
			s := b.d.streams[modelStream]
			if strings.Join(s.Fill, " ") != c.fill || s.ReconcileNow != c.reconcile {
				t.Errorf("to fill: %v, reconcile: %v", s.Fill, s.ReconcileNow)
			}
			if s.Choice == nil {
				t.Error("by which patterns was not noted")
			}
		})
	}
}
