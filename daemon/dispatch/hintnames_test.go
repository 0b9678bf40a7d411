package dispatch

import (
	"slices"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// custom is a journaled bench with a stream of an object that the portal has
// defined, by its name, and one of the definitions.
func custom(t *testing.T) *bench {
	t.Helper()
	b := journaled(t)
	b.pulls(protocol.PortalJournal{To: "a", Asked: 1})
	cfg := modelConfig()
	for name, object := range map[string]string{"cars": "p_cars", "schemas": schemasObject} {
		one := cfg[0]
		one.Name, one.Object = name, object
		cfg = append(cfg, one)
	}
	key := recordKey("schemas", "2-7")
	b.store.records[key] = stream.Head{ID: "2-7", State: stream.Live}
	b.store.bodies[key] = []byte(`{"name":"cars","fullyQualifiedName":"p4711_cars"}`)
	b.must(b.d.Reload(b.now, cfg))
	s := b.d.streams["cars"].Clone()
	s.Cursor, s.CursorAt, s.Backfilled, s.LastStarted = 7, b.now, true, b.now
	b.d.streams["cars"], b.store.streams["cars"] = s, s
	return b
}

// HubSpot names an object of the portal's own by its number, whichever way it says
// that a record has changed; the definitions that are copied say which stream it is.
func TestHintsOfThePortalsOwnObjects(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]func(*bench){
		"a webhook": func(b *bench) {
			taken, outs, err := b.d.Hint(b.now, "main", []Hint{{Object: "2-7", Record: "5"}, {Object: "2-8", Record: "6"}})
			if b.must(outs, err); taken != 1 {
				b.t.Errorf("%d were taken", taken)
			}
		},
		"the journal": func(b *bench) {
			b.pulls(protocol.PortalJournal{From: "a", To: "b", Asked: 2, Hints: []protocol.JournalHints{{Object: "2-7", IDs: []string{"5"}}, {Object: "2-8", IDs: []string{"6"}}}})
		},
	} {
		b := custom(t)
		say(b)
		var waiting []string
		for _, l := range b.d.streams["cars"].Hints {
			waiting = append(waiting, l.ID)
		}
		for _, r := range b.d.openRuns() {
			if r.Stream == "cars" && r.Kind == stream.Hinted {
				waiting = append(waiting, b.d.ranges[r.ID][0].Want[0].ID)
			}
		}
		if !slices.Equal(waiting, []string{"5"}) {
			t.Errorf("%s: %q are to be read", name, waiting)
		}
	}
	b := custom(t)
	b.pulls(protocol.PortalJournal{From: "a", To: "b", Asked: 2, Many: []string{"2-7"}})
	if b.d.streams["cars"].DueAt.IsZero() || !b.view().Stream.DueAt.IsZero() {
		t.Error("too many of it: its stream is not due, or another is")
	}
}

// Causes that follow each other more closely than search can tell do not put off
// what is due: it comes when the first of them can be found, and once more for
// what came since.
func TestCausesThatFollowEachOther(t *testing.T) {
	t.Parallel()
	b := journaled(t)
	b.pulls(protocol.PortalJournal{To: "a", Asked: 1})
	s := b.d.streams[modelStream].Clone()
	s.LastStarted, s.CursorAt, s.ArchivedAt, s.ReconciledAt = b.now, b.now, b.now, b.now
	b.d.streams[modelStream], b.store.streams[modelStream] = s, s
	first := b.now.Add(catchUpAfter)
	attempt := uint64(0)
	last := b.now
	for i := 0; attempt == 0; i++ {
		if b.now.After(first) {
			t.Fatal("it is put off")
		}
		_, outs := b.pulls(protocol.PortalJournal{From: string(rune('a' + i)), To: string(rune('b' + i)), Asked: uint64(i + 2), Many: []string{"0-1"}})
		attempt, last = fetches(outs)["incremental"], b.now
		b.now = b.now.Add(time.Second)
	}
	b.restart()
	if due := b.view().Stream.DueAt; !due.Equal(last.Add(catchUpAfter)) {
		t.Fatalf("it is due again at %v, and the last cause was at %v", due, last)
	}
	if a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, Last: true}); !a.RunEnded {
		t.Fatalf("%+v", a)
	}
	b.now = last.Add(catchUpAfter)
	if fetches(b.beat(protocol.Heartbeat{}))["incremental"] == 0 || !b.view().Stream.DueAt.IsZero() {
		t.Errorf("what came last is not asked for: due %v", b.view().Stream.DueAt)
	}
}
