package worker

import (
	"slices"
	"strconv"
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
