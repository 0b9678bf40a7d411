package worker

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// backfilled reads a hub to its end and checks that nothing is missing.
func backfilled(t *testing.T, h *hub) *ledger {
	t.Helper()
	l := newLedger(t)
	l.start(h)
	l.run(backfill())
	l.done()
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, version := range h.records {
		if r, ok := l.records[strconv.Itoa(id)]; !ok || r.Version != version {
			t.Errorf("record %d is missing or old: %+v", id, r)
			break
		}
	}
	if len(l.records) != len(h.records) {
		t.Errorf("%d records of %d", len(l.records), len(h.records))
	}
	return l
}

// clustered has ids as HubSpot's: dense, with gaps, and far apart.
func clustered(n int) *hub {
	h := newHub(0)
	for i := range n {
		id := 51 + 3*i
		switch {
		case i > n/2:
			id += 12_000_000_000
		case i > n/4:
			id += 400_000
		}
		h.records[id] = int64(1000 + i)
	}
	return h
}

// A long list is shared, whatever a place in it means, and costs little more
// than its pages.
func TestListIsShared(t *testing.T) {
	t.Parallel()
	for name, habit := range map[string]func(*hub){
		"a place is the next id": func(*hub) {},
		"a place is the last id": func(h *hub) { h.exclusive = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := clustered(6000)
			h.page = 100
			habit(h)
			l := backfilled(t, h)
			t.Logf("%d requests, %d splits", h.called("list"), l.kinds[protocol.SplitPage])
			if l.kinds[protocol.SplitPage] == 0 {
				t.Error("it was not divided")
			}
			if calls := h.called("list"); calls > 60+40 {
				t.Errorf("%d requests for 60 pages", calls)
			}
		})
	}
}

// What is not in the order of its ids is read by one walker, also where that
// shows only while several read it.
func TestListThatCannotBeShared(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		habit func(*hub)
		joins int
	}{
		"places that are no ids":  {func(h *hub) { h.opaque = true }, 0},
		"a limit that is used up": {func(h *hub) { h.crowded = true }, 0},
		"ids that go down":        {func(h *hub) { h.shuffled = 1 }, 0},
		"that go down later":      {func(h *hub) { h.shuffled = 12 }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := clustered(4000)
			h.page = 100
			c.habit(h)
			l := backfilled(t, h)
			if got := l.kinds[protocol.JoinPage]; got != c.joins {
				t.Errorf("%d joins: %v", got, l.kinds)
			}
			if c.joins == 0 && l.kinds[protocol.SplitPage] > 0 {
				t.Errorf("it was divided all the same: %v", l.kinds)
			}
		})
	}
}

// Whatever the ids, the parts of a list make the whole.
func TestPartsOfAList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		h := newHub(0)
		for _, id := range rapid.SliceOfNDistinct(rapid.OneOf(rapid.IntRange(1, 5000), rapid.IntRange(900_000, 990_000),
			rapid.IntRange(1<<40, 1<<40+2000)), 0, 1500, rapid.ID[int]).Draw(rt, "ids") {
			h.records[id] = int64(1000 + id)
		}
		h.page = rapid.IntRange(2, 30).Draw(rt, "page")
		h.exclusive = rapid.Bool().Draw(rt, "exclusive")
		backfilled(t, h)
		if t.Failed() {
			rt.Fatal("see above")
		}
	})
}

func TestBound(t *testing.T) {
	t.Parallel()
	page := func(next string, ids ...string) batch {
		b := batch{next: next, last: next == ""}
		for _, id := range ids {
			b.records = append(b.records, protocol.Record{ID: id})
		}
		return b
	}
	for name, c := range map[string]struct {
		lo, hi, passed uint64
		in             batch
		want           []string
		last, wrong    bool
	}{
		"whole":                    {0, 0, 0, page("9", "1", "5"), []string{"1", "5"}, false, false},
		"whole, out of order":      {0, 0, 0, page("9", "5", "1"), []string{"5", "1"}, false, false},
		"whole, text":              {0, 0, 0, page("x", "a", "b"), []string{"a", "b"}, false, false},
		"cut at the end":           {0, 6, 0, page("9", "1", "5", "6"), []string{"1", "5"}, true, false},
		"nothing of it is ours":    {0, 6, 0, page("9", "7", "8"), nil, true, false},
		"the next is not ours":     {0, 6, 0, page("6", "1", "5"), []string{"1", "5"}, true, false},
		"the last id before":       {6, 0, 0, page("9", "5", "6"), []string{"5", "6"}, false, false},
		"before that":              {6, 0, 0, page("9", "4", "6"), nil, false, true},
		"out of order":             {6, 0, 0, page("9", "8", "7"), nil, false, true},
		"goes back":                {6, 0, 9, page("12", "8", "11"), nil, false, true},
		"text in a part":           {6, 0, 0, page("9", "x"), nil, false, true},
		"a place that is none":     {6, 0, 0, page("x", "7"), nil, false, true},
		"a place that lies behind": {6, 0, 0, page("6", "7", "8"), nil, false, true},
	} {
		r := &ranger{g: protocol.Range{IDLo: c.lo, IDHi: c.hi}}
		passed := c.passed
		_, err := r.bound(&c.in, &passed)
		var got []string
		for _, rec := range c.in.records {
			got = append(got, rec.ID)
		}
		if (err != nil) != c.wrong || err == nil && (!slices.Equal(got, c.want) || c.in.last != c.last) {
			t.Errorf("%s: %v, last %v, %v", name, got, c.in.last, err)
		}
	}
}

// What is gone comes back in pages within bounds, however many are asked for.
func TestManyAreGone(t *testing.T) {
	t.Parallel()
	l, h := newLedger(t), newHub(3)
	h.asks = true
	var want []protocol.Listed
	for i := range 3*protocol.MaxGone + 7 {
		want = append(want, protocol.Listed{ID: strconv.Itoa(i + 1)})
	}
	l.run(protocol.Fetch{Kind: "reconcile"}, protocol.Range{Kind: "ids", Want: want, Last: true, Ask: true})
	l.start(h)
	l.done()
	if got := len(l.gone); got != len(want)-3 {
		t.Errorf("%d of %d are gone", got, len(want)-3)
	}
}

// What HubSpot has nowhere a moment after it has said that it changed is asked for
// once more before it is gone.
func TestGoneAMomentAgo(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"hint", "incremental"} {
		l, h := newLedger(t), newHub(3)
		h.asks, h.missing = true, map[int]bool{2: true}
		h.enter = func(_ context.Context, call string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if call == "read" && h.calls["read"] > 1 {
				delete(h.missing, 2)
			}
		}
		l.run(protocol.Fetch{Kind: kind}, protocol.Range{Kind: "ids", Last: true, Ask: true,
			Want: []protocol.Listed{{ID: "1"}, {ID: "2"}, {ID: "404"}}})
		l.start(h)
		l.done()
		if !slices.Equal(l.gone, []string{"404"}) || h.called("read") != 2 {
			t.Errorf("%s: gone are %v after %d readings", kind, l.gone, h.called("read"))
		}
	}
}

// Records name so many as merged into them that they do not fit in one page
// with it: the page is cut, and every one of them is told.
func TestManyAreMerged(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(l *ledger){
		"read by list": func(l *ledger) { l.run(backfill()) },
		"wanted":       func(l *ledger) { l.run(protocol.Fetch{Kind: "incremental"}, newest(900)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, h := newLedger(t), newHub(10)
			h.took = map[int]int{1: 3, 2: 240, 3: 240, 4: 240, 5: protocol.MaxMerged, 6: 1, 10: protocol.MaxMerged + 7}
			run(l)
			l.start(h)
			l.done()
			l.exact(h)
			told := map[string]int{}
			for _, into := range l.merged {
				told[into]++
			}
			for id, n := range h.took {
				// More than HubSpot takes into one is told by their absence.
				if n = min(n, protocol.MaxMerged); told[strconv.Itoa(id)] != n {
					t.Errorf("record %d took in %d, and %d are told", id, n, told[strconv.Itoa(id)])
				}
			}
		})
	}
}

// What a list names and does not hand out stands at its place in the listing: a
// listing out of order would prove nothing.
func TestUnreadableAmongTheListed(t *testing.T) {
	t.Parallel()
	l, h := newLedger(t), newHub(120)
	h.missing = map[int]bool{1: true, 7: true, 50: true, 119: true, 120: true}
	l.run(protocol.Fetch{Kind: "reconcile"}, protocol.Range{Kind: "sweep"})
	l.start(h)
	l.done()
	l.exact(h)
	if !slices.Equal(l.listed, span(1, 120)) {
		t.Errorf("listed: %v", l.listed)
	}
	for id := range h.missing {
		if l.open[strconv.Itoa(id)] == "" {
			t.Errorf("%d is not open", id)
		}
	}
	twice := among([]protocol.Listed{{ID: "9"}, {ID: "10"}}, []protocol.OpenID{{ID: "10"}, {ID: "100"}, {ID: "x"}, {ID: "2"}})
	var ids []string
	for _, l := range twice {
		ids = append(ids, l.ID)
	}
	if want := []string{"2", "9", "10", "100", "x"}; !slices.Equal(ids, want) {
		t.Errorf("%v, expected %v", ids, want)
	}
}

func span(lo, hi int) (ids []string) {
	for i := lo; i <= hi; i++ {
		ids = append(ids, strconv.Itoa(i))
	}
	return ids
}

// A list whose places lead round ends with that, however many there are before
// one comes again.
func TestPlacesThatLeadRound(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{listRange, sweepRange} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h, l := newHub(95), newLedger(t)
			h.opaque, h.round = true, 31
			l.run(protocol.Fetch{Kind: backfillRun}, protocol.Range{Kind: kind})
			l.start(h)
			l.await("the end of the round", func() bool { return l.problem != nil })
			if !strings.Contains(l.problem.Detail, "leads back") || h.called("list") > 40 {
				t.Errorf("%+v after %d pages", l.problem, h.called("list"))
			}
		})
	}
}

func TestCircle(t *testing.T) {
	t.Parallel()
	for tail := range 20 {
		for round := 1; round < 40; round++ {
			var c circle
			place := func(n int) string {
				if n >= tail {
					n = tail + (n-tail)%round
				}
				return strconv.Itoa(n)
			}
			n := 0
			for n < 10*(tail+round) && !c.closes(place(n)) {
				n++
			}
			if n > 4*(tail+round) {
				t.Errorf("a round of %d behind %d is found after %d", round, tail, n)
			}
		}
	}
	var c circle
	for n := range 10_000 {
		if c.closes(strconv.Itoa(n)) {
			t.Fatalf("%d comes for the first time", n)
		}
	}
	if end := c.closes(""); end {
		t.Error("the end is no place")
	}
}
