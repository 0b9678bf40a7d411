package worker

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// bench drives a Core by hand.
type bench struct {
	t   *testing.T
	c   *Core
	now time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	c := NewCore(CoreOptions{Worker: "w", Process: "p", Portals: []string{"main"}, Capacity: 2,
		RepeatMin: time.Second, RepeatMax: 4 * time.Second})
	return &bench{t: t, c: c, now: time.Unix(1000, 0)}
}

func fetchOf(attempt uint64, run string, ranges ...protocol.Range) protocol.Command {
	return protocol.Command{Type: protocol.FetchCommand, Store: "s", Epoch: 1, Process: "p", Attempt: attempt,
		Fetch: &protocol.Fetch{Run: run, Portal: "main", Ranges: ranges}}
}

func cancelOf(attempt uint64) protocol.Command {
	return protocol.Command{Type: protocol.CancelCommand, Store: "s", Epoch: 1, Process: "p", Attempt: attempt}
}

func answerOf(kind protocol.AnswerType, attempt uint64, rangeID uint32, seq uint64) protocol.Answer {
	return protocol.Answer{Type: kind, Store: "s", Epoch: 1, Process: "p", Attempt: attempt, Range: rangeID, Seq: seq}
}

func (b *bench) send(attempt uint64, rangeID uint32) error {
	head, ok := b.c.Head(attempt, rangeID)
	if !ok {
		return ErrNotRunning
	}
	return b.c.Send(b.now, &head, []byte{byte(attempt), byte(rangeID), byte(head.Seq)})
}

func (b *bench) due() []Outgoing {
	out, _ := b.c.Due(b.now)
	return out
}

func (b *bench) want(got []Event, want ...Event) {
	b.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Fatalf("events (-want +got):\n%s", diff)
	}
}

func TestCoreStartsOnce(t *testing.T) {
	t.Parallel()
	start := fetchOf(7, "r1", protocol.Range{ID: 0, Kind: "list", Seq: 3, Cursor: "c"})
	for name, end := range map[string]func(b *bench){
		"finished":  func(b *bench) { b.c.Finished(7) },
		"failed":    func(b *bench) { b.c.Failed(7, protocol.Problem{Type: "x"}) },
		"declined":  func(b *bench) { b.c.Declined(7) },
		"cancelled": func(b *bench) { b.want(b.c.Command(b.now, cancelOf(7)), Cancel{7, "cancelled by the daemon"}) },
		"confirmed": func(b *bench) {
			b.c.Failed(7, protocol.Problem{Type: "x"})
			b.want(b.c.Command(b.now, cancelOf(7)))
		},
		"fenced": func(b *bench) {
			b.want(b.c.Answer(b.now, answerOf(protocol.Fenced, 7, 0, 99)), Cancel{7, "fenced: "})
		},
		"run ended": func(b *bench) {
			if err := b.send(7, 0); err != nil {
				b.t.Fatal(err)
			}
			a := answerOf(protocol.Committed, 7, 0, 3)
			a.RangeEnded, a.RunEnded = true, true
			b.want(b.c.Answer(b.now, a), Answered{7, 0, a})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.want(b.c.Command(b.now, start), Start{7, start.Fetch})
			b.want(b.c.Command(b.now, start)) // a repeat brings nothing new
			end(b)
			b.want(b.c.Command(b.now, start))
			if b.c.attempts[7] != nil || len(b.c.Heartbeat(b.now).Attempts) != 0 {
				t.Fatal("an attempt that is over is listed as running")
			}
			if err := b.send(7, 0); !errors.Is(err, ErrNotRunning) {
				t.Fatalf("a page of it left: %v", err)
			}
			if got := b.due(); got != nil {
				t.Fatalf("pages of it are due: %v", got)
			}
		})
	}
}

// TestCoreNumbersOfTwoStores: what ends late was ended with its store, and says
// nothing about the attempt of that number in the next one.
func TestCoreNumbersOfTwoStores(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first, second := fetchOf(5, "r1"), fetchOf(5, "r1")
	second.Store = "other"
	b.want(b.c.Command(b.now, first), Start{5, first.Fetch})
	seen := answerOf(protocol.Seen, 0, 0, 0)
	seen.Store = "other"
	b.want(b.c.Answer(b.now, seen), Cancel{5, "the daemon has another store"})
	b.c.Finished(5)
	b.want(b.c.Command(b.now, second), Start{5, second.Fetch})
}

func TestCoreWhoSpeaks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other := fetchOf(1, "r1")
	other.Process = "q"
	b.want(b.c.Command(b.now, other))
	if b.c.MayFetch(b.now) {
		t.Fatal("a word to another process counts as heard")
	}
	one := fetchOf(5, "r1", protocol.Range{})
	b.want(b.c.Command(b.now, one), Start{5, one.Fetch})

	t.Log("an older attempt of the run is late, a newer one replaces")
	b.want(b.c.Command(b.now, fetchOf(4, "r1")))
	newer := fetchOf(6, "r1", protocol.Range{})
	b.want(b.c.Command(b.now, newer), Cancel{5, "the run goes on as attempt 6"}, Start{6, newer.Fetch})

	t.Log("a newer epoch replaces, an older one is ignored")
	repaired := fetchOf(100, "r1", protocol.Range{})
	repaired.Epoch = 2
	b.want(b.c.Command(b.now, repaired), Cancel{6, "the store was repaired"}, Start{100, repaired.Fetch})
	b.want(b.c.Command(b.now, fetchOf(101, "r9")))

	t.Log("another store ends what ran, and the one before is not believed for a lease")
	fresh := answerOf(protocol.Seen, 0, 0, 0)
	fresh.Store = "s2"
	b.want(b.c.Answer(b.now, fresh), Cancel{100, "the daemon has another store"})
	late := fetchOf(102, "r1", protocol.Range{})
	late.Epoch = 2
	b.want(b.c.Command(b.now, late))
	if got := b.c.Heartbeat(b.now).Store; got != "s2" {
		t.Fatalf("store %q", got)
	}
	b.now = b.now.Add(15 * time.Second)
	b.want(b.c.Command(b.now, late), Start{102, late.Fetch})

	t.Log("numbers are a store's own")
	low := fetchOf(5, "r1", protocol.Range{})
	low.Store = "s3"
	b.want(b.c.Command(b.now, low), Cancel{102, "the daemon has another store"}, Start{5, low.Fetch})
}

func TestCoreDeclines(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	strange := fetchOf(1, "r1")
	strange.Fetch.Portal = "other"
	b.want(b.c.Command(b.now, strange))
	b.want(b.c.Command(b.now, cancelOf(2))) // overtook its fetch
	b.want(b.c.Command(b.now, fetchOf(2, "r2")))
	for n := uint64(3); n < 7; n++ {
		b.c.Command(b.now, fetchOf(n, string(rune('a'+n))))
	}
	b.want(b.c.Command(b.now, fetchOf(7, "r7")))
	hb := b.c.Heartbeat(b.now)
	if diff := cmp.Diff([]uint64{1, 2, 7}, hb.Declined); diff != "" {
		t.Fatal(diff)
	}
	if len(hb.Attempts) != 4 {
		t.Fatalf("%d attempts", len(hb.Attempts))
	}
	b.want(b.c.Command(b.now, cancelOf(2)))
	if diff := cmp.Diff([]uint64{1, 7}, b.c.Heartbeat(b.now).Declined); diff != "" {
		t.Fatal(diff)
	}
}

func TestCoreRefusedAndBusy(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.c.Command(b.now, fetchOf(1, "r", protocol.Range{ID: 4, Seq: 2}))
	if err := b.send(1, 4); err != nil {
		t.Fatal(err)
	}
	if err := b.send(1, 4); !errors.Is(err, ErrInFlight) {
		t.Fatalf("a second page in flight: %v", err)
	}
	if got := b.due(); len(got) != 1 || got[0].Seq != 2 {
		t.Fatalf("due %v", got)
	}
	b.now = b.now.Add(900 * time.Millisecond)
	b.want(b.c.Answer(b.now, answerOf(protocol.Busy, 1, 4, 2)))
	b.now = b.now.Add(time.Second)
	if got := b.due(); got != nil {
		t.Fatalf("repeated %v after busy at once", got)
	}
	b.want(b.c.Answer(b.now, answerOf(protocol.Refused, 1, 4, 1))) // of no page in flight
	refused := answerOf(protocol.Refused, 1, 4, 2)
	refused.Reason = "bad"
	b.want(b.c.Answer(b.now, refused), Answered{1, 4, refused}, Cancel{1, "refused: bad"})
	hb := b.c.Heartbeat(b.now)
	if len(hb.Failed) != 1 || hb.Failed[0].Problem.Detail != "bad" || len(hb.Attempts) != 0 {
		t.Fatalf("heartbeat %+v", hb)
	}
}

func TestCoreRepeats(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.c.Command(b.now, fetchOf(1, "r", protocol.Range{}, protocol.Range{ID: 1}))
	for id := range uint32(2) {
		if err := b.send(1, id); err != nil {
			t.Fatal(err)
		}
	}
	first, next := b.c.Due(b.now)
	if len(first) != 2 || next != b.now.Add(time.Second) {
		t.Fatalf("%v, next in %v", first, next.Sub(b.now))
	}
	b.now = b.now.Add(time.Second)
	again, next := b.c.Due(b.now)
	if diff := cmp.Diff(first, again); diff != "" || next != b.now.Add(2*time.Second) {
		t.Fatalf("next in %v, a repeat differs: %s", next.Sub(b.now), diff)
	}
	b.c.Reconnected(b.now)
	if got := b.due(); len(got) != 2 {
		t.Fatalf("%d pages after a new connection", len(got))
	}
	t.Log("a silent daemon gets nothing more, and HubSpot is left alone")
	b.now = b.now.Add(7 * time.Second)
	if out, next := b.c.Due(b.now); out != nil || !next.IsZero() || b.c.MayFetch(b.now) {
		t.Fatalf("%v, next %v, may fetch %v", out, next, b.c.MayFetch(b.now))
	}
	b.want(b.c.Answer(b.now, answerOf(protocol.Seen, 0, 0, 0)))
	if got := b.due(); len(got) != 2 || !b.c.MayFetch(b.now) {
		t.Fatalf("%d pages once it is heard again", len(got))
	}
}

// Repeats come later each time, up to a bound, and those of many workers not at
// the same moment.
func TestCoreBacksOff(t *testing.T) {
	t.Parallel()
	for jitter, want := range map[float64][]time.Duration{
		0:   {750 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second, 6 * time.Second, 7500 * time.Millisecond},
		0.5: {time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second},
		1:   {1250 * time.Millisecond, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 12500 * time.Millisecond},
	} {
		c := NewCore(CoreOptions{Worker: "w", Process: "p", Jitter: func() float64 { return jitter }})
		for sent, d := range append(want, want[4]) {
			if got := c.backoff(sent); got != d {
				t.Errorf("jitter %g, repeat %d: after %s, want %s", jitter, sent, got, d)
			}
		}
		if got := c.backoff(1000); got != want[4] {
			t.Errorf("jitter %g, much later: after %s", jitter, got)
		}
	}
}

func TestCoreSplit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.c.Command(b.now, fetchOf(1, "r", protocol.Range{ID: 0, Kind: "window", Lo: 1, Hi: 100}))
	if err := b.send(1, 0); err != nil {
		t.Fatal(err)
	}
	upper := protocol.Range{ID: 1, Kind: "window", Lo: 50, Hi: 100}
	a := answerOf(protocol.Committed, 1, 0, 0)
	a.Ranges = []protocol.Range{{ID: 0, Kind: "window", Lo: 1, Hi: 50, Seq: 1}, upper}
	b.want(b.c.Answer(b.now, a), Answered{1, 0, a}, AddRanges{1, []protocol.Range{upper}})
	b.want(b.c.Answer(b.now, a)) // the repeat's answer
	if err := b.send(1, 1); err != nil {
		t.Fatal(err)
	}
	ended := answerOf(protocol.Committed, 1, 1, 0)
	ended.RangeEnded = true
	b.want(b.c.Answer(b.now, ended), Answered{1, 1, ended})
	t.Log("a fetch made before the range ended does not bring it back")
	b.want(b.c.Command(b.now, fetchOf(1, "r", a.Ranges...)))
	want := []protocol.RangeReport{{ID: 0, Seq: 1}}
	if diff := cmp.Diff(want, b.c.Heartbeat(b.now).Attempts[0].Ranges); diff != "" {
		t.Fatal(diff)
	}
}

func TestCoreReports(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.c.Command(b.now, fetchOf(1, "r", protocol.Range{}))
	b.c.Account(1, protocol.Account{ID: 9})
	if got := b.c.Began(1, 500); got != 500 {
		t.Fatal(got)
	}
	if got := b.c.Began(1, 600); got != 500 {
		t.Fatalf("the beginning was replaced by %d", got)
	}
	b.c.Progress(1)
	b.c.Requests(1, 3)
	b.c.Wait(1, &protocol.Wait{Kind: "throttled"})
	want := []protocol.AttemptReport{{Attempt: 1, Began: 500, Account: &protocol.Account{ID: 9}, Progress: 1,
		Requests: 3, Wait: &protocol.Wait{Kind: "throttled"}, Ranges: []protocol.RangeReport{{}}}}
	if diff := cmp.Diff(want, b.c.Heartbeat(b.now).Attempts); diff != "" {
		t.Fatal(diff)
	}
	head, _ := b.c.Head(1, 0)
	if head.Began != 500 || head.Account.ID != 9 || head.Requests != 3 || head.Process != "p" {
		t.Fatalf("head %+v", head)
	}
	b.c.Leave()
	if hb := b.c.Heartbeat(b.now); !hb.Leaving || hb.Attempts != nil || b.c.MayFetch(b.now) {
		t.Fatalf("leaving: %+v", hb)
	}
	b.want(b.c.Command(b.now, fetchOf(2, "r2")))
}

func TestCoreDisplaced(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.c.Command(b.now, fetchOf(1, "r", protocol.Range{}))
	a := answerOf(protocol.Displaced, 0, 0, 0)
	a.Reason = "gone"
	b.want(b.c.Answer(b.now, a), Cancel{1, "another process has the worker's name"}, Displaced{"gone"})
	b.want(b.c.Command(b.now, fetchOf(2, "r2")))
	if b.c.MayFetch(b.now) {
		t.Fatal("a displaced process fetches")
	}
}

// What waited in a process that stood still is no sign that the daemon counts
// on it now.
func TestCoreHearsByItsHeartbeats(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hb := b.c.Heartbeat(b.now)
	late := answerOf(protocol.Seen, 0, 0, 0)
	late.Beat = hb.Beat
	b.now = b.now.Add(20 * time.Second)
	b.want(b.c.Answer(b.now, late))
	if b.c.MayFetch(b.now) {
		t.Fatal("an answer to a heartbeat of 20 s ago opens the way to HubSpot")
	}
	late.Beat = b.c.Heartbeat(b.now).Beat
	b.want(b.c.Answer(b.now.Add(time.Second), late))
	if !b.c.MayFetch(b.now.Add(7*time.Second)) || b.c.MayFetch(b.now.Add(8*time.Second)) {
		t.Fatal("half a lease is not counted from when the heartbeat was sent")
	}
}
