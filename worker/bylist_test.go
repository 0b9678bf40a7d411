package worker

import (
	"strconv"
	"testing"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// Where search names so many records that the list costs less, the list is read,
// by several walkers; and where it names fewer, or nobody says from how many on,
// search goes on.
func TestCatchingUpByList(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		n, from int
		lossy   bool
		walks   int
		settles bool
		seen    int64 // up to where it was read before
	}{
		"most of it":             {n: 6000, from: 3000, walks: 1},
		"most of it, lossy":      {n: 6000, from: 3000, lossy: true, walks: 1},
		"beside what settles":    {n: 6000, from: 3000, walks: 1, settles: true},
		"not enough":             {n: 6000, from: 6001},
		"not worth the counting": {n: 1900, from: 100},
		"nobody says":            {n: 6000},
		"read before":            {n: 6000, from: 3000, seen: 5000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, h := newLedger(t), newHub(c.n)
			l.lossy, h.page = c.lossy, 100
			ranges := []protocol.Range{newest(900)}
			if c.settles {
				ranges = append(ranges, protocol.Range{Kind: "window", Lo: 100, Hi: 950})
			}
			l.run(protocol.Fetch{Kind: "incremental", ByList: int64(c.from), From: c.seen}, ranges...)
			l.start(h)
			l.done()
			l.exact(h)
			if got := l.kinds[protocol.WalkPage]; got != c.walks {
				t.Errorf("%d walks: %v", got, l.kinds)
			}
			if c.walks > 0 && (h.called("read") > 0 || l.kinds[protocol.SplitPage] == 0) {
				t.Errorf("read by name, or by one walker: %v, %v", h.calls, l.kinds)
			}
			if c.walks == 0 && h.called("list") > 0 {
				t.Errorf("the list was read: %v", h.calls)
			}
		})
	}
}

// Whoever has a value of a new property is searched for and read, or the list is,
// where that costs less; a property that has gone meanwhile is not searched for.
func TestFill(t *testing.T) {
	t.Parallel()
	even := func(id int) bool { return id%2 == 0 }
	for name, c := range map[string]struct {
		names []string
		from  int
		walks int
		reads bool
		fails bool // whoever searches by a property is refused
	}{
		"few have it":            {names: []string{"a", "b"}, from: 5001, reads: true},
		"most have it":           {names: []string{"a"}, from: 2500, walks: 1},
		"two that most have":     {names: []string{"a", "b"}, from: 4500, walks: 1},
		"not to be searched by":  {names: []string{"a"}, from: 5000, fails: true, walks: 1},
		"gone again":             {names: []string{"gone"}, from: 2500},
		"gone again beside some": {names: []string{"gone", "a"}, from: 5000, reads: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, h := newLedger(t), newHub(6000)
			h.page, h.split = 100, 1000
			h.has = map[string]func(int) bool{"a": even, "b": func(id int) bool { return id%3 == 0 }}
			h.fail = func(call string) error {
				if c.fails && (call == "prove" || call == "count") {
					return &ProblemError{protocol.Problem{Type: refusedProblem, Title: "no"}}
				}
				return nil
			}
			var ranges []protocol.Range
			for _, name := range c.names {
				ranges = append(ranges, protocol.Range{Kind: "window", Lo: 1, Has: []string{name}})
			}
			l.run(protocol.Fetch{Kind: "fill", ByList: int64(c.from)}, ranges...)
			l.start(h)
			l.done()
			for id := range h.records {
				want := c.walks > 0
				for _, name := range c.names {
					want = want || h.has[name] != nil && h.has[name](id)
				}
				if _, got := l.records[strconv.Itoa(id)]; got != want {
					t.Fatalf("record %d: read is %v", id, got)
				}
			}
			if l.kinds[protocol.WalkPage]+l.kinds[protocol.SweepPage] != c.walks || (h.called("read") > 0) != c.reads {
				t.Errorf("%v, %v", l.kinds, h.calls)
			}
		})
	}
}
