package tui

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// list is the table's order, selection and marks. The selection is a name, so
// that it stays with its stream whatever moves.
type list struct {
	names    []string // shown, in order
	selected string
	place    int // of the selected one; where it stood when it went
	top      int
	marks    map[string]bool
	filter   string
	by       sorting
	reversed bool
	stale    bool
	longest  int // of the names
}

// sorting is a column that the table can be sorted by; the number is the key.
type sorting int

const (
	byTrouble sorting = iota
	byName
	byState
	byRecords
	byRate
	byLag
	byEvery
	byNext
	byCalls
	byPortal
)

func (s sorting) String() string {
	return [...]string{"trouble", "name", "state", "records", "rec/s", "lag", "every", "next", "calls", "portal"}[s]
}

// matcher makes a test of a filter: words that must all hold, each text, !text,
// state:…, portal:… or object:….
func matcher(filter string) func(*row) bool {
	type test struct {
		not  bool
		f    func(r *row) string
		text string
	}
	var tests []test
	for word := range strings.FieldsSeq(strings.ToLower(filter)) {
		t := test{text: word, f: func(r *row) string { return r.search }}
		if rest, ok := strings.CutPrefix(t.text, "!"); ok {
			t.not, t.text = true, rest
		}
		if field, rest, ok := strings.Cut(t.text, ":"); ok {
			t.text = rest
			switch field {
			case "state":
				t.f = func(r *row) string { return r.State }
			case "portal":
				t.f = func(r *row) string { return r.Portal }
			case "object":
				t.f = func(r *row) string { return r.Object }
			default:
				t.text = field + ":" + rest
			}
		}
		if t.text != "" {
			tests = append(tests, t)
		}
	}
	return func(r *row) bool {
		for _, t := range tests {
			if strings.Contains(t.f(r), t.text) == t.not {
				return false
			}
		}
		return true
	}
}

// arrange filters and sorts anew.
func (l *list) arrange(p *picture, now time.Time) {
	l.stale = false
	match := matcher(l.filter)
	rows := make([]*row, 0, len(p.streams))
	l.longest = 0
	for _, r := range p.streams {
		if match(r) {
			rows = append(rows, r)
			l.longest = max(l.longest, len(r.Name))
		}
	}
	var order func(a, b *row) int
	switch l.by {
	case byName:
	case byRecords:
		order = func(a, b *row) int { return cmp.Compare(b.Records, a.Records) }
	case byRate:
		order = func(a, b *row) int { return cmp.Compare(b.rates.current(now), a.rates.current(now)) }
	case byLag:
		order = func(a, b *row) int {
			x, _ := a.lag(now)
			y, _ := b.lag(now)
			return cmp.Compare(y, x)
		}
	case byEvery:
		order = func(a, b *row) int { return cmp.Compare(a.every, b.every) }
	case byNext:
		order = func(a, b *row) int { return cmp.Compare(nextOrder(a), nextOrder(b)) }
	case byCalls:
		order = func(a, b *row) int { return cmp.Compare(p.callsToday(b), p.callsToday(a)) }
	case byPortal:
		order = func(a, b *row) int { return strings.Compare(a.Portal, b.Portal) }
	default: // by state; running and waiting take turns, and are one for trouble
		order = func(a, b *row) int {
			x, y := rank(a.State), rank(b.State)
			if l.by == byTrouble {
				x, y = min(x, 3), min(y, 3)
			}
			return cmp.Compare(x, y)
		}
	}
	slices.SortFunc(rows, func(a, b *row) int {
		if order != nil {
			if c := order(a, b); c != 0 {
				if l.reversed {
					return -c
				}
				return c
			}
		}
		c := strings.Compare(a.Name, b.Name)
		if l.reversed && order == nil {
			return -c
		}
		return c
	})
	l.names = l.names[:0]
	for _, r := range rows {
		l.names = append(l.names, r.Name)
	}
	for name := range l.marks {
		if p.streams[name] == nil {
			delete(l.marks, name)
		}
	}
	l.find()
}

func nextOrder(r *row) int64 {
	if r.NextRun == nil {
		return 1 << 62
	}
	return r.NextRun.UnixNano()
}

// find looks where the selected one is; one that has gone leaves its place to
// its neighbour.
func (l *list) find() {
	if i := slices.Index(l.names, l.selected); i >= 0 {
		l.place = i
		return
	}
	l.selected = ""
	l.place = max(min(l.place, len(l.names)-1), 0)
	if len(l.names) > 0 {
		l.selected = l.names[l.place]
	}
}

// move changes the selection by n rows.
func (l *list) move(n int) {
	if len(l.names) == 0 {
		return
	}
	l.place = max(0, min(len(l.names)-1, l.place+n))
	l.selected = l.names[l.place]
}

// keep scrolls so that the selection is in sight of a number of rows.
func (l *list) keep(rows int) {
	if l.place < l.top {
		l.top = l.place
	}
	if l.place >= l.top+rows {
		l.top = l.place - rows + 1
	}
	l.top = max(0, min(l.top, len(l.names)-rows))
}
