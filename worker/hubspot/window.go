package hubspot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Window is a half-open span of modification times in ms, and of ids within
// it. Hi 0 is open; IDLo and IDHi 0 are unbounded. Where Has names properties,
// up to catalogue.HasAtOnce, it is of the records that have a value of one of
// them.
type Window struct {
	Lo, Hi     int64
	IDLo, IDHi uint64
	Has        []string
}

// Split is where a window has to be divided, strictly inside of it: by time
// where At is set, else by ID. The parts have been measured and add up.
type Split struct {
	At int64
	ID uint64
}

const (
	// tries of reading a window, or of adding up its parts.
	tries = 3
	// splitAt is the place of the result at which a large window is divided:
	// far enough from maxResults for what changes meanwhile.
	splitAt = 5000
)

// ProveWindow lists the records that changed in a window, completely, and emits
// them by and by, or says where to divide it; what was emitted until then stands.
// It returns ErrDoesNotAddUp where search contradicts itself; the caller reads
// the list instead. An error of emit ends it and is returned.
//
// A window is read in slices of time, each as much as one reply holds. Offsets
// shift when a record leaves a window while it is read, as each does that is
// edited, and a long window of a busy portal would never hold still; a slice
// begins at a time instead. It is proved when it and what the next reply counts
// above it reach what its own reply counted, or else by a reply of its own.
func (c *Client) ProveWindow(ctx context.Context, obj catalogue.Object, w Window, emit func([]Hit) error) (*Split, error) {
	p, err := c.Search(ctx, obj, SearchRequest{Groups: w.groups(obj), Sort: obj.Cursor})
	if err != nil {
		return nil, err
	}
	slices, inside := 0, map[string]bool{}
	split, err := c.slices(ctx, obj, w, p, func(hits []Hit) error {
		slices++
		for _, h := range hits {
			if h.Version >= w.Lo && (w.Hi == 0 || h.Version < w.Hi) {
				inside[h.ID] = true
			}
		}
		return emit(hits)
	}, 0)
	if split != nil || err != nil || slices < 2 {
		return split, err
	}
	// What the index names late may lie in a slice that was read before.
	n, err := c.CountIn(ctx, obj, w)
	if err != nil || n <= len(inside) {
		return nil, err
	}
	c.log.Debug("a window has grown while it was read, it is read once more", "object", obj.Name, "read", len(inside), "counted", n)
	return c.whole(ctx, obj, w, nil, emit)
}

// deepest bounds how far slices are divided before the offsets of HubSpot serve.
const deepest = 6

// slices reads a window of which p is the first page.
func (c *Client) slices(ctx context.Context, obj catalogue.Object, w Window, p SearchPage, emit func([]Hit) error, depth int) (*Split, error) {
	for {
		if p.Total >= maxResults {
			return c.splitWindow(ctx, obj, w, p.Total)
		}
		hits := distinct(nil, p.Hits)
		if p.Next < 0 && len(hits) >= p.Total {
			return nil, emit(hits)
		}
		top := w.cut(hits)
		if p.Next < 0 || top == 0 || depth == deepest || w.IDLo != 0 || w.IDHi != 0 || w.Hi != 0 && w.Hi-w.from() <= 1 {
			return c.whole(ctx, obj, w, &p, emit)
		}
		full := top == w.from() // its first millisecond has more than a page holds
		if full {
			split, err := c.moment(ctx, obj, w, p.Total, emit)
			if split != nil || err != nil {
				return split, err
			}
			top++
		}
		lower, upper := w, w
		lower.Hi, upper.Lo = top, top
		next, err := c.Search(ctx, obj, SearchRequest{Groups: upper.groups(obj), Sort: obj.Cursor})
		if err != nil {
			return nil, err
		}
		if !full {
			if split, err := c.slice(ctx, obj, lower, hits, p.Total-next.Total, emit, depth); split != nil || err != nil {
				return split, err
			}
		}
		w, p = upper, next
	}
}

// slice emits those of the hits that lie in a slice, where they are as many as
// there have to be, or reads it by itself.
func (c *Client) slice(ctx context.Context, obj catalogue.Object, w Window, hits []Hit, least int, emit func([]Hit) error, depth int) (*Split, error) {
	inside := 0
	var own []Hit
	for _, h := range hits {
		if h.Version >= w.Lo && h.Version < w.Hi {
			inside++
		}
		if h.Version < w.Hi {
			own = append(own, h)
		}
	}
	if inside >= least {
		return nil, emit(own)
	}
	p, err := c.Search(ctx, obj, SearchRequest{Groups: w.groups(obj), Sort: obj.Cursor})
	if err != nil {
		return nil, err
	}
	if err := emit(own); err != nil {
		return nil, err
	}
	return c.slices(ctx, obj, w, p, emit, depth+1)
}

// moment reads the first millisecond of a window, which has more than one page.
// One that is too large for a search is divided from the rest, so that it can be
// divided by ids.
func (c *Client) moment(ctx context.Context, obj catalogue.Object, w Window, total int, emit func([]Hit) error) (*Split, error) {
	first := w
	first.Hi = w.from() + 1
	n, err := c.CountIn(ctx, obj, first)
	if err != nil {
		return nil, err
	}
	if n < maxResults {
		return c.whole(ctx, obj, first, nil, emit)
	}
	split := Split{At: first.Hi}
	ok, _, err := c.addsUp(ctx, obj, w, split, total)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, ErrDoesNotAddUp
	}
	return &split, nil
}

// whole reads a window by HubSpot's offsets, from its first page on where that
// is at hand, again where it does not add up, and after that says where to
// divide it.
//
// It is proved when the distinct ids that were read reach the totals of its
// first and of its last page: a single pass may skip records without a sign.
func (c *Client) whole(ctx context.Context, obj catalogue.Object, w Window, first *SearchPage, emit func([]Hit) error) (*Split, error) {
	total := 0
	for range tries {
		hits, measured, proved, err := c.readWindow(ctx, obj, w, first)
		first = nil
		if err != nil {
			return nil, err
		}
		if proved {
			return nil, emit(hits)
		}
		if total = measured; total >= maxResults {
			break
		}
	}
	return c.splitWindow(ctx, obj, w, total)
}

// margin is the part of a page, one in so many, that is left to the next one.
const margin = 12

// cut is where a slice ends that a page begins, 0 where none of its hits lies in
// the window. Search does not keep its order: what it gives a few places too late
// is on the next page, and belongs between the newest of this one. So a slice ends
// a little before them where it can, and need not be read again for one record.
func (w Window) cut(hits []Hit) int64 {
	var inside []int64
	for _, h := range hits {
		if h.Version >= w.from() && (w.Hi == 0 || h.Version < w.Hi) {
			inside = append(inside, h.Version)
		}
	}
	if len(inside) == 0 {
		return 0
	}
	slices.Sort(inside)
	newest := len(inside) - 1
	if at := inside[newest-newest/margin]; at > w.from() {
		return at
	}
	return inside[newest]
}

// distinct adds hits to those that are known, each id once with the newest
// version that was named.
func distinct(known, hits []Hit) []Hit {
	at := make(map[string]int, len(known)+len(hits))
	for i, h := range known {
		at[h.ID] = i
	}
	for _, h := range hits {
		if i, ok := at[h.ID]; ok {
			known[i].Version = max(known[i].Version, h.Version)
			continue
		}
		at[h.ID] = len(known)
		known = append(known, h)
	}
	return known
}

// readWindow reads a window once. Without a proof it returns the larger total.
func (c *Client) readWindow(ctx context.Context, obj catalogue.Object, w Window, first *SearchPage) ([]Hit, int, bool, error) {
	var hits []Hit
	total := 0
	for after := 0; ; {
		var p SearchPage
		if first != nil {
			p, first = *first, nil
		} else {
			var err error
			if p, err = c.Search(ctx, obj, SearchRequest{Groups: w.groups(obj), Sort: obj.Cursor, After: after}); err != nil {
				return nil, 0, false, err
			}
		}
		hits = distinct(hits, p.Hits)
		if after == 0 {
			total = p.Total
		}
		// The last page's total counts beside the first's; those between do
		// not, for what came and left meanwhile.
		if p.Next < 0 {
			total = max(total, p.Total)
			return hits, total, len(hits) >= total && total < maxResults, nil
		}
		if p.Total >= maxResults || p.Next >= maxResults {
			return nil, max(total, p.Total), false, nil
		}
		after = p.Next
	}
}

// splitWindow finds where to divide a window, and proves that the halves hold
// no less than the whole.
func (c *Client) splitWindow(ctx context.Context, obj catalogue.Object, w Window, total int) (*Split, error) {
	for try := range tries {
		split, err := c.splitPoint(ctx, obj, w, min(splitAt, total/2))
		if err != nil {
			return nil, err
		}
		var ok bool
		if ok, total, err = c.addsUp(ctx, obj, w, split, total); err != nil {
			return nil, err
		}
		if ok {
			return &split, nil
		}
		c.log.Debug("halves of a search window do not add up", "object", obj.Name, "whole", total, "try", try+1)
	}
	return nil, ErrDoesNotAddUp
}

// addsUp tells whether the halves of a window hold no less than the whole, and
// how much that was when it was measured last.
func (c *Client) addsUp(ctx context.Context, obj catalogue.Object, w Window, split Split, total int) (bool, int, error) {
	lo, hi := w.divide(split)
	left, err := c.CountIn(ctx, obj, lo)
	if err != nil {
		return false, 0, err
	}
	right, err := c.CountIn(ctx, obj, hi)
	if err != nil || left+right >= total {
		return err == nil, total, err
	}
	// Records leave a closed window by being changed. Measured after its
	// halves, the whole lacks them too.
	total, err = c.CountIn(ctx, obj, w)
	return err == nil && left+right >= total, total, err
}

// splitPoint asks for the time, or in a single millisecond the id, of the
// result at a place.
func (c *Client) splitPoint(ctx context.Context, obj catalogue.Object, w Window, place int) (Split, error) {
	byID := w.Hi != 0 && w.Hi-w.from() <= 1
	r := SearchRequest{Groups: w.groups(obj), Sort: obj.Cursor, After: place, Limit: 1}
	if byID {
		r.Sort = "hs_object_id"
	}
	p, err := c.Search(ctx, obj, r)
	if err != nil {
		return Split{}, err
	}
	if len(p.Hits) == 0 {
		// It shrank meanwhile; the first of it divides as well as any.
		r.After = 0
		if p, err = c.Search(ctx, obj, r); err != nil {
			return Split{}, err
		}
	}
	var hit Hit
	if len(p.Hits) > 0 {
		hit = p.Hits[0]
	}
	if !byID {
		return Split{At: w.clamp(hit.Version)}, nil
	}
	id, err := strconv.ParseUint(hit.ID, 10, 64)
	if err != nil {
		return Split{}, fmt.Errorf("divide %d ms of %s by id %q: %w", w.Lo, obj.Name, hit.ID, ErrDoesNotAddUp)
	}
	lo, hi := w.IDLo, w.IDHi
	if hi == 0 {
		hi = 1 << 63
	}
	if hi-lo < 2 {
		return Split{}, fmt.Errorf("divide a single id of %s: %w", obj.Name, ErrDoesNotAddUp)
	}
	return Split{ID: min(max(id, lo+1), hi-1)}, nil
}

// CountIn tells how many records search has in a window, with one request.
func (c *Client) CountIn(ctx context.Context, obj catalogue.Object, w Window) (int, error) {
	p, err := c.Search(ctx, obj, SearchRequest{Groups: w.groups(obj), Limit: 1})
	return p.Total, err
}

// from is the beginning; HubSpot fails at the time 0.
func (w Window) from() int64 { return max(w.Lo, 1) }

// clamp brings a time strictly inside.
func (w Window) clamp(at int64) int64 {
	at = max(at, w.from()+1)
	if w.Hi != 0 {
		at = min(at, w.Hi-1)
	}
	return at
}

func (w Window) divide(s Split) (lo, hi Window) {
	lo, hi = w, w
	if s.At != 0 {
		lo.Hi, hi.Lo = s.At, s.At
	} else {
		lo.IDHi, hi.IDLo = s.ID, s.ID
	}
	return lo, hi
}

func (w Window) filters(obj catalogue.Object) []Filter {
	f := []Filter{{obj.Cursor, "GTE", strconv.FormatInt(w.from(), 10)}}
	if w.Hi != 0 {
		f = append(f, Filter{obj.Cursor, "LT", strconv.FormatInt(w.Hi, 10)})
	}
	if w.IDLo != 0 {
		f = append(f, Filter{"hs_object_id", "GTE", strconv.FormatUint(w.IDLo, 10)})
	}
	if w.IDHi != 0 {
		f = append(f, Filter{"hs_object_id", "LT", strconv.FormatUint(w.IDHi, 10)})
	}
	return f
}

// groups are the filters of the window, a group for each of the properties that
// it names.
func (w Window) groups(obj catalogue.Object) [][]Filter {
	f := w.filters(obj)
	if len(w.Has) == 0 {
		return [][]Filter{f}
	}
	out := make([][]Filter, len(w.Has))
	for i, name := range w.Has {
		out[i] = append(slices.Clone(f), Filter{Property: name, Operator: "HAS_PROPERTY"})
	}
	return out
}

// Newest is what one search said of several windows: each id once.
type Newest struct {
	Hits  []Hit
	Total int
	// Date is HubSpot's time when the request began, in ms; less 2 s it is
	// when the run began.
	Date int64
	// Proved says that this one page has all of it. Where it does not, each
	// window has to be proved by itself.
	Proved bool
}

// MaxSettle is how many windows one SearchNewest takes beside the newest.
const MaxSettle = maxGroups - 1

// SearchNewest asks in one request for what changed since newest.Lo, without
// an end, and for up to MaxSettle older windows, so that an idle stream costs
// one search.
func (c *Client) SearchNewest(ctx context.Context, obj catalogue.Object, newest Window, settle []Window) (Newest, error) {
	if len(settle) > MaxSettle {
		return Newest{}, errors.New("search the newest: too many windows for one request")
	}
	groups := [][]Filter{newest.filters(obj)}
	for _, w := range settle {
		groups = append(groups, w.filters(obj))
	}
	p, err := c.Search(ctx, obj, SearchRequest{Groups: groups, Sort: obj.Cursor})
	if err != nil {
		return Newest{}, err
	}
	out := Newest{Hits: distinct(nil, p.Hits), Total: p.Total, Date: p.Date}
	out.Proved = p.Next < 0 && len(out.Hits) >= p.Total
	return out, nil
}
