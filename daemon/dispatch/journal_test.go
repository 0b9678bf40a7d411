package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// journaled is a settled bench whose portal's account is known.
func journaled(t *testing.T) *bench {
	t.Helper()
	b := settled(t)
	b.store.portals["main"] = &stream.Portal{Name: "main", Account: 4711}
	b.restart()
	return b
}

// pulls says how a journal stands, and gives what the worker is told of it and the
// rest of what it is told.
func (b *bench) pulls(r protocol.PortalJournal) (protocol.JournalPlace, []Out) {
	b.t.Helper()
	r.Portal = "main"
	outs := b.beat(protocol.Heartbeat{Store: "store", Journals: []protocol.PortalJournal{r}})
	return b.placeOf(outs), outs
}

func (b *bench) placeOf(outs []Out) protocol.JournalPlace {
	b.t.Helper()
	for _, o := range outs {
		if o.Answer != nil && o.Answer.Type == protocol.Seen && len(o.Answer.Journals) == 1 {
			return o.Answer.Journals[0]
		}
	}
	b.t.Fatalf("nothing is said of the journal: %+v", outs)
	return protocol.JournalPlace{}
}

func entry(from, to string, ids ...string) protocol.PortalJournal {
	return protocol.PortalJournal{From: from, To: to, Asked: 1, Hints: []protocol.JournalHints{{Object: "0-1", IDs: ids}}}
}

// What stands behind a place is in the ledger with the place that it leads to, and
// is taken once, however often it is said.
func TestJournal(t *testing.T) {
	t.Parallel()
	b := journaled(t)
	if at, _ := b.pulls(protocol.PortalJournal{}); at != (protocol.JournalPlace{Portal: "main", Pull: true, Account: 4711}) {
		t.Fatalf("%+v", at)
	}
	at, outs := b.pulls(entry("", "a", "7", "9"))
	attempt, want := hintedBy(outs)
	if at.Place != "a" || attempt == 0 || !slices.Equal(want, []string{"7", "9"}) {
		t.Fatalf("%+v, attempt %d reads %v", at, attempt, want)
	}
	for _, again := range []protocol.PortalJournal{entry("", "a", "7"), entry("x", "b", "7"), entry("a", "a", "7"), entry("a", "", "7"), entry("a", strings.Repeat("b", maxPlace+1), "7")} {
		if at, _ := b.pulls(again); at.Place != "a" || len(b.view().Stream.Hints) != 0 {
			t.Fatalf("%+v was taken: %+v", again, at)
		}
	}
	b.restart()
	if at, _ := b.pulls(entry("a", "c", "11")); at.Place != "c" {
		t.Fatalf("%+v", at)
	}
	if got := b.view().Stream.Hints; len(got) != 1 || got[0].ID != "11" {
		t.Errorf("wait: %v", got)
	}
	if j := b.d.Portals(b.now)[0].Journal; j == nil || j.Gap != "" || !j.Live || !j.PulledAt.Equal(b.now.Truncate(time.Minute)) {
		t.Errorf("%+v", j)
	}
}

// Neither is ever without the other: where the commit fails there is neither, and
// nobody is told.
func TestAJournalThatIsNotCommitted(t *testing.T) {
	t.Parallel()
	b := journaled(t)
	b.pulls(entry("", "a", "7"))
	b.page(reading(b.attemptOf("hint"), "7"))
	failing := true
	b.store.failCommit = func() bool { return failing }
	hb := protocol.Heartbeat{Worker: "w", Process: "p1", Portals: []string{"main"}, Capacity: 4, Journals: []protocol.PortalJournal{entry("a", "b", "9")}}
	hb.Journals[0].Portal = "main"
	if outs, err := b.d.Heartbeat(b.now, &hb); err == nil || len(outs) != 0 {
		t.Fatalf("%v, %v", outs, err)
	}
	failing = false
	b.restart()
	if p := b.d.portals["main"]; p.Journal.Place != "a" || len(b.view().Stream.Hints) != 0 {
		t.Fatalf("%+v, %v", p.Journal, b.view().Stream.Hints)
	}
	if at, outs := b.pulls(entry("a", "b", "9")); at.Place != "b" {
		t.Errorf("%+v", at)
	} else if _, want := hintedBy(outs); !slices.Equal(want, []string{"9"}) {
		t.Errorf("%v are read", want)
	}
}

func (b *bench) attemptOf(kind stream.Kind) uint64 {
	for _, run := range b.d.openRuns() {
		if run.Kind == kind {
			return run.Attempt
		}
	}
	b.t.Fatalf("no %s runs", kind)
	return 0
}

// What the journal cannot tell is asked for: after a gap that the worker names,
// after more than three days of silence, and where an entry names too many.
func TestJournalGaps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		silent time.Duration
		say    protocol.PortalJournal
		place  string
		gap    string
		syncs  bool
	}{
		"a place that is lost":    {0, protocol.PortalJournal{From: "a", To: "z", Asked: 2, Gap: "it is gone"}, "z", "it is gone", true},
		"too many of it":          {0, protocol.PortalJournal{From: "a", To: "z", Asked: 2, Many: []string{"0-1"}}, "z", "", true},
		"too many of another":     {0, protocol.PortalJournal{From: "a", To: "z", Asked: 2, Many: []string{"0-2"}}, "z", "", false},
		"nothing for four days":   {4 * 24 * time.Hour, protocol.PortalJournal{From: "a", To: "z", Asked: 2}, "z", "4.0 days", true},
		"and nothing new":         {4 * 24 * time.Hour, protocol.PortalJournal{Asked: 2}, "a", "4.0 days", true},
		"and no answer of theirs": {4 * 24 * time.Hour, protocol.PortalJournal{Asked: 1}, "a", "", false},
		"nothing for a day":       {24 * time.Hour, protocol.PortalJournal{Asked: 2}, "a", "", false},
		"a long story":            {0, protocol.PortalJournal{From: "a", To: "z", Asked: 2, Gap: "it is gone." + strings.Repeat("é", maxGap)}, "z", "it is gone", true},
		"a gap of another place":  {0, protocol.PortalJournal{From: "x", To: "z", Asked: 2, Gap: "it is gone"}, "a", "", false},
	} {
		b := journaled(t)
		b.pulls(protocol.PortalJournal{From: "", To: "a", Asked: 1})
		// The stream itself has just looked, however long the journal was silent.
		b.now = b.now.Add(c.silent)
		s := b.d.streams[modelStream].Clone()
		s.LastStarted, s.CursorAt, s.ArchivedAt, s.ReconciledAt = b.now, b.now, b.now, b.now
		b.d.streams[modelStream], b.store.streams[modelStream] = s, s
		at, outs := b.pulls(c.say)
		p := b.d.portals["main"].Journal
		if !utf8.ValidString(p.Gap) || len(p.Gap) > maxGap {
			t.Errorf("%s: the gap is kept as %q", name, p.Gap)
		}
		if at.Place != c.place || (c.gap == "") != (p.Gap == "") || !strings.Contains(p.Gap, c.gap) || p.Gap != "" && !p.GapAt.Equal(b.now) {
			t.Errorf("%s: %+v, %+v", name, at, p)
		}
		if got := fetches(outs); got["incremental"] != 0 {
			t.Errorf("%s: what has just changed is searched for before search says it: %v", name, got)
		}
		b.restart() // it is durable
		b.now = b.now.Add(catchUpAfter)
		if got := fetches(b.beat(protocol.Heartbeat{})); (got["incremental"] != 0) != c.syncs || !b.view().Stream.DueAt.IsZero() {
			t.Errorf("%s: handed out %v, due %v", name, got, b.view().Stream.DueAt)
		}
	}
}

// Associations change without their records, so that after a gap they are read
// again, all of them: once an hour at most, however many gaps there are, and never
// before one of them.
func TestAssociationsAfterAGap(t *testing.T) {
	t.Parallel()
	b := journaled(t)
	b.pulls(protocol.PortalJournal{To: "a", Asked: 1})
	cfg := modelConfig()
	cfg[0].Associations, cfg[0].AssociateEvery, cfg[0].ArchivedEvery, cfg[0].ReconcileEvery = []string{"deals"}, 24*time.Hour, 0, 100*time.Hour
	s := b.d.streams[modelStream].Clone()
	s.Linked, s.AssociatedAt, s.ReconciledAt, s.ArchivedAt = cfg[0].Associations, b.now, b.now, b.now
	b.d.streams[modelStream], b.store.streams[modelStream] = s, s
	b.must(b.d.Reload(b.now, cfg))
	due := func() stream.Kind { return b.d.walkDue(b.d.streams[modelStream], b.now) }
	b.now = b.now.Add(2 * time.Hour)
	b.pulls(protocol.PortalJournal{From: "a", To: "b", Asked: 2})
	if b.now = b.now.Add(missingRetry); due() != "" {
		t.Fatalf("without a gap %q is due", due())
	}
	b.pulls(protocol.PortalJournal{From: "b", To: "c", Asked: 3, Gap: "it is gone"})
	b.now = b.now.Add(missingRetry / 2)
	b.pulls(protocol.PortalJournal{From: "c", To: "d", Asked: 4, Many: []string{"0-1"}})
	if due() != "" {
		t.Errorf("%q is due at once", due())
	}
	if b.now = b.now.Add(missingRetry / 2); due() != stream.Associations {
		t.Errorf("%q is due an hour after the gap", due())
	}
}

// What does not fit is asked for, also where a stream waits to be read.
func TestManyHintsOfAStreamThatWaits(t *testing.T) {
	t.Parallel()
	b := journaled(t)
	b.pulls(protocol.PortalJournal{To: "a", Asked: 1})
	s := b.d.streams[modelStream].Clone()
	s.Error, s.Fails, s.RetryAt = &stream.Problem{Type: "x", Blocked: true}, 1, b.now.Add(time.Minute)
	b.d.streams[modelStream], b.store.streams[modelStream] = s, s
	for i := range 3 {
		ids := make([]string, maxHints/2)
		for n := range ids {
			ids[n] = fmt.Sprint(i*maxHints + n + 1)
		}
		from := string(rune('a' + i))
		b.pulls(entry(from, string(rune('b'+i)), ids...))
		if s := b.view().Stream; s.DueAt.IsZero() == (i == 2) || len(s.Hints) != min(i+1, 2)*maxHints/2 {
			t.Fatalf("after %d entries %d wait, and it is due at %v", i+1, len(s.Hints), s.DueAt)
		}
	}
}

// Replies of before the daemon knew the process are none of now: HubSpot may have
// been silent since.
func TestRepliesAreCountedFromTheFirstReport(t *testing.T) {
	t.Parallel()
	b := journaled(t)
	b.pulls(protocol.PortalJournal{To: "a", Asked: 5})
	first := b.d.portals["main"].Journal.PulledAt
	b.restart()
	b.now = b.now.Add(4 * 24 * time.Hour)
	for range 2 {
		b.pulls(protocol.PortalJournal{Asked: 5, Problem: &protocol.Problem{Type: "journal"}})
		v := b.d.Portals(b.now)[0].Journal
		if j := b.d.portals["main"].Journal; !j.PulledAt.Equal(first) || j.Gap != "" || !v.PulledAt.Equal(first.Truncate(time.Minute)) {
			t.Fatalf("HubSpot has not answered: %+v, %+v", j, v)
		}
	}
	b.pulls(protocol.PortalJournal{Asked: 6})
	if j := b.d.portals["main"].Journal; !j.PulledAt.Equal(b.now) || !strings.Contains(j.Gap, "4.0 days") {
		t.Errorf("HubSpot has answered: %+v", j)
	}
}

// One process reads a journal, for as long as it lives; what it cannot read of it
// is shown, and holds nothing else up.
func TestWhoReadsAJournal(t *testing.T) {
	t.Parallel()
	b := journaled(t)
	problem := &protocol.Problem{Type: "journal", Title: "no", Hint: "mend it", Blocked: true}
	b.pulls(protocol.PortalJournal{Problem: problem})
	if v := b.d.Portals(b.now)[0]; v.Journal == nil || v.Journal.Problem == nil || v.Journal.Problem.Hint != "mend it" || v.Problem != nil {
		t.Errorf("%+v", v)
	}
	b.pulls(protocol.PortalJournal{Asked: 1})
	if v := b.d.Portals(b.now)[0]; v.Journal.Problem != nil || v.Journal.PulledAt.IsZero() {
		t.Errorf("%+v", v.Journal)
	}
	other := func() protocol.JournalPlace {
		r := entry("", "b", "7")
		r.Portal = "main"
		return b.placeOf(b.must(b.d.Heartbeat(b.now, &protocol.Heartbeat{Worker: "v", Process: "q", Portals: []string{"main"}, Journals: []protocol.PortalJournal{r}})))
	}
	if at := other(); at.Pull || at.Place != "" {
		t.Errorf("another process is told %+v", at)
	}
	for range 20 { // the first has gone
		b.now = b.now.Add(time.Second)
		b.must(b.d.Tick(b.now))
	}
	if at := other(); !at.Pull || at.Place != "b" {
		t.Errorf("it is told %+v when the first has gone", at)
	}
	// A worker that speaks of another store has read for that one.
	r := entry("b", "c", "9")
	r.Portal = "main"
	outs := b.must(b.d.Heartbeat(b.now, &protocol.Heartbeat{Worker: "v", Process: "q", Store: "another", Portals: []string{"main"}, Journals: []protocol.PortalJournal{r}}))
	if got := b.d.portals["main"].Journal.Place; got != "b" {
		t.Errorf("%v took %s", outs, got)
	}
}
