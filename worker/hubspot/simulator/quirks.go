package simulator

import (
	"cmp"
	"math"
	"slices"
	"strconv"
)

// never is a time at which search sees nothing.
const never = math.MaxInt64

// short draws a page's size where replies are to be short: at least one
// record, and none at all only where the next place is another one.
func (c *call) short(n int, first bool) int {
	if c.sw.shortPages <= 0 || c.chance(0x51) >= c.sw.shortPages {
		return n
	}
	if first && c.draw%3 == 0 {
		return 0
	}
	return 1 + int(mix(c.draw)%uint64(n))
}

// repeats says whether a reply is to name the place that it was asked for.
func (c *call) repeats() bool {
	return c.sw.repeatCursor > 0 && c.chance(0x52) < c.sw.repeatCursor
}

// unordered gives the rows of a page in any order, where that is to be: the
// order along the pages is as ever.
func (c *call) unordered(page []setRow) []setRow {
	if c.sw.unordered <= 0 || c.chance(0x53) >= c.sw.unordered {
		return page
	}
	page = slices.Clone(page)
	slices.SortFunc(page, func(a, b setRow) int { return cmp.Compare(mix(a.seq^c.draw), mix(b.seq^c.draw)) })
	return page
}

// chance is a number from 0 to 1, the same for a request and a matter.
func (c *call) chance(matter uint64) float64 {
	return float64(mix(c.draw^matter)>>11) / (1 << 53)
}

// hide takes a record out of search's sight, for ever.
func (st *store) hide(r *record) error {
	st.unseen[r.id] = true
	v := *r.cur
	v.visible, v.prev = never, nil
	r.cur = &v
	return nil
}

// unseeable says whether search never shows a record. The store is locked.
func (st *store) unseeable(r *record) bool {
	return st.unseen[r.id] || st.neverShare > 0 && float64(mix(r.seed^st.sc.salt^r.id)>>11)/(1<<53) < st.neverShare
}

// Unsearched returns the ids of an object's live records that search never
// shows.
func (s *Simulator) Unsearched(object string) []string {
	st, ok := s.stores[object]
	if !ok {
		return nil
	}
	st.mu.RLock()
	defer st.mu.RUnlock()
	var ids []string
	for _, r := range st.order {
		if r.state == live && st.unseeable(r) {
			ids = append(ids, strconv.FormatUint(r.id, 10))
		}
	}
	return ids
}
