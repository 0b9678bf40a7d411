package worker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot"
)

// nobody is a bus that reaches nobody.
type nobody struct{}

func (nobody) Publish(context.Context, string, []byte, []byte, byte, bool, time.Duration) error {
	return nil
}
func (nobody) MaxPacket() int  { return 0 }
func (nobody) Connected() bool { return true }

// script answers for a journal, by place.
type script func(place string) (hubspot.JournalEntry, error)

func (s script) Next(_ context.Context, place string, _ int64) (hubspot.JournalEntry, error) {
	return s(place)
}

// reader is a worker that reads a scripted journal, step by step.
func reader(t *testing.T, s script) (*Worker, *journaling) {
	t.Helper()
	w, err := New(Options{Name: "one", Codec: new(protocol.Codec), Bus: nobody{}, Journals: map[string]Journal{"main": s}})
	if err != nil {
		t.Fatal(err)
	}
	w.ctx = t.Context()
	w.gate.set(true)
	t.Cleanup(w.gate.stop)
	j := w.pulls["main"]
	w.places([]protocol.JournalPlace{{Portal: "main", Pull: true, Account: 7}, {Portal: "other", Pull: true}})
	return w, j
}

// What an entry names is said until the daemon has it, and the next one is asked
// for only then.
func TestAJournalWaitsForItsAnswer(t *testing.T) {
	t.Parallel()
	w, j := reader(t, func(place string) (hubspot.JournalEntry, error) {
		if place != "" {
			return hubspot.JournalEntry{}, nil
		}
		return hubspot.JournalEntry{Place: "a", Many: []string{"0-2"}, Hints: []hubspot.JournalHint{{Object: "0-1", Record: "1"}, {Object: "0-1", Record: "2", Associations: true}}}, nil
	})
	w.pullOnce(j, j.place, j.account)
	want := []protocol.PortalJournal{{Portal: "main", Asked: 1, To: "a", Many: []string{"0-2"},
		Hints: []protocol.JournalHints{{Object: "0-1", IDs: []string{"1"}, Linked: []string{"2"}}}}}
	place := func(at protocol.JournalPlace) {
		at.Portal = "main"
		w.places([]protocol.JournalPlace{at})
	}
	for range 2 {
		if d := cmp.Diff(want, w.pulling()); d != "" {
			t.Fatal(d)
		}
		place(protocol.JournalPlace{Pull: true, Account: 7}) // of before the daemon heard it
	}
	place(protocol.JournalPlace{Pull: true, Account: 7, Place: "a"})
	if j.report != nil || j.place != "a" {
		t.Errorf("%+v at %s", j.report, j.place)
	}
	w.pullOnce(j, "a", 7)
	if d := cmp.Diff([]protocol.PortalJournal{{Portal: "main", Asked: 2}}, w.pulling()); d != "" {
		t.Error(d)
	}
	// Another's place, another process: what was read for this one is of no use.
	for _, at := range []protocol.JournalPlace{{Pull: true, Place: "z"}, {Place: "a"}} {
		j.place, j.report = "a", &protocol.PortalJournal{Portal: "main", From: "a", To: "b"}
		if place(at); j.report != nil || j.pull != at.Pull || j.place != at.Place {
			t.Errorf("%+v left %+v", at, j.report)
		}
	}
}

// A gap leads on to a place that there is; a file that cannot be used is one after
// some tries, and what passes is none.
func TestAJournalWithGaps(t *testing.T) {
	t.Parallel()
	bad := &hubspot.JournalFileError{Place: "b", Reason: "it is none"}
	for name, c := range map[string]struct {
		at    string
		s     script
		tries int // of which the last one says it
		to    string
		gap   string
	}{
		"a lost place": {"a", func(place string) (hubspot.JournalEntry, error) {
			if place == "a" {
				return hubspot.JournalEntry{}, hubspot.ErrPlaceLost
			}
			return hubspot.JournalEntry{Place: "z"}, nil
		}, 2, "z", "does not know the place"},
		"and nothing else": {"a", func(place string) (hubspot.JournalEntry, error) {
			if place == "a" {
				return hubspot.JournalEntry{}, hubspot.ErrPlaceLost
			}
			return hubspot.JournalEntry{}, nil
		}, 2, hubspot.JournalEarliest, "does not know the place"},
		"which is the newest": {"a", func(place string) (hubspot.JournalEntry, error) {
			if place == "a" {
				return hubspot.JournalEntry{}, hubspot.ErrPlaceLost
			}
			return hubspot.JournalEntry{Place: "a"}, nil
		}, 4, "", ""},
		"which is the newest, its file bad": {"b", func(place string) (hubspot.JournalEntry, error) {
			if place == "b" {
				return hubspot.JournalEntry{}, hubspot.ErrPlaceLost
			}
			return hubspot.JournalEntry{}, bad
		}, 2 * badFiles, "", ""},
		"lost once": {"a", func() script {
			asked := 0
			return func(place string) (hubspot.JournalEntry, error) {
				if asked++; place == "a" && asked%2 == 1 {
					return hubspot.JournalEntry{}, hubspot.ErrPlaceLost
				}
				return hubspot.JournalEntry{}, nil
			}
		}(), 6, "", ""},
		"an empty journal": {"", func(string) (hubspot.JournalEntry, error) { return hubspot.JournalEntry{}, nil }, 1, hubspot.JournalEarliest, ""},
		"a bad file":       {"a", func(string) (hubspot.JournalEntry, error) { return hubspot.JournalEntry{}, bad }, badFiles, "b", "it is none"},
		"failing storage": {"a", func(string) (hubspot.JournalEntry, error) {
			return hubspot.JournalEntry{}, &hubspot.JournalFileError{Place: "b", Reason: "status 503", Passing: true}
		}, failingFiles, "b", "status 503"},
		"what passes": {"a", func(string) (hubspot.JournalEntry, error) { return hubspot.JournalEntry{}, errors.New("no") }, 2 * failingFiles, "", ""},
	} {
		w, j := reader(t, c.s)
		j.place = c.at
		for try := range c.tries {
			if j.report != nil {
				t.Errorf("%s: after %d tries it says %+v", name, try, j.report)
			}
			w.pullOnce(j, j.place, 7)
		}
		got := w.pulling()[0]
		if got.To != c.to || (c.gap == "") != (got.Gap == "") || !strings.Contains(got.Gap, c.gap) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Large entries of several portals share no heartbeat, and each has its turn;
// small ones travel together.
func TestLargeEntriesTakeTurns(t *testing.T) {
	t.Parallel()
	none := script(func(string) (hubspot.JournalEntry, error) { return hubspot.JournalEntry{}, nil })
	w, err := New(Options{Name: "one", Codec: new(protocol.Codec), Bus: nobody{}, Journals: map[string]Journal{"a": none, "b": none, "c": none}})
	if err != nil {
		t.Fatal(err)
	}
	for records, together := range map[int]int{3: 3, journalBeat/2 + 1: 1} {
		for portal, j := range w.pulls {
			j.report = &protocol.PortalJournal{Portal: portal, To: "x", Hints: []protocol.JournalHints{{Object: "0-1", IDs: make([]string, records)}}}
		}
		said := map[string]int{}
		for range 3 {
			all, full := w.pulling(), 0
			for _, r := range all {
				if r.To != "" {
					said[r.Portal]++
					full++
				}
			}
			if len(all) != 3 || full != together {
				t.Errorf("of %d records each, %d of %d are said", records, full, len(all))
			}
		}
		if d := cmp.Diff(map[string]int{"a": together, "b": together, "c": together}, said); d != "" {
			t.Errorf("of %d records each: %s", records, d)
		}
	}
}

// Events that are not understood are said, once an entry.
func TestUnreadEventsAreSaid(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	w, j := reader(t, func(place string) (hubspot.JournalEntry, error) {
		return map[string]hubspot.JournalEntry{"a": {Place: "b", Events: 3, Unread: 2}, "b": {Place: "c", Events: 3}}[place], nil
	})
	w.log = hclog.New(&hclog.LoggerOptions{Output: &log})
	for _, place := range []string{"a", "b", "c"} {
		j.place, j.report = place, nil
		w.pullOnce(j, place, 7)
	}
	if said := log.String(); strings.Count(said, "[WARN]") != 1 || !strings.Contains(said, "unread=2") {
		t.Errorf("it says %q", said)
	}
}

// Credentials that are refused are said at once, one failure among successes is
// not, and neither when it goes on.
func TestAJournalThatIsRefused(t *testing.T) {
	t.Parallel()
	var err error
	w, j := reader(t, func(string) (hubspot.JournalEntry, error) { return hubspot.JournalEntry{Place: "a"}, err })
	j.place = "a"
	says := func() *protocol.Problem {
		w.pullOnce(j, "a", 7)
		return w.pulling()[0].Problem
	}
	err = &hubspot.Blocked{Type: "journal", Detail: "no", Hint: "mend it"}
	if p := says(); p == nil || p.Hint != "mend it" || !p.Blocked {
		t.Errorf("%+v", p)
	}
	if err = nil; says() != nil {
		t.Error("it goes on, and the refusal is still said")
	}
	err = errors.New("a fault")
	for range 2 {
		if p := says(); p != nil {
			t.Errorf("%+v", p)
		}
	}
	if p := says(); p == nil || p.Blocked || p.Hint == "" {
		t.Errorf("%+v", p)
	}
}
