package hubspot

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Window is a half-open span of modification times in ms, and of ids within
// it. Hi 0 is open; IDLo and IDHi 0 are unbounded.
type Window struct {
	Lo, Hi     int64
	IDLo, IDHi uint64
}

// Listing is a window that is complete: each id once, with the newest version
// that search gave. A version outside of the window is one that changed while
// the window was read; its id is not left out, because the total counted it.
type Listing struct {
	Hits  []Hit
	Total int
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

// ProveWindow lists the records that changed in a window, completely, or says
// where to divide it. It returns ErrDoesNotAddUp where search contradicts
// itself; the caller reads the list instead.
//
// A window is proved when the distinct ids that were read reach the totals of
// its first and of its last page: offsets shift when a record leaves a window
// while it is read, so that a single pass may skip records without a sign.
func (c *Client) ProveWindow(ctx context.Context, obj catalogue.Object, w Window) (Listing, *Split, error) {
	total := 0
	for range tries {
		listing, measured, proved, err := c.readWindow(ctx, obj, w)
		if err != nil {
			return Listing{}, nil, err
		}
		if proved {
			return listing, nil, nil
		}
		if total = measured; total >= maxResults {
			break
		}
	}
	split, err := c.splitWindow(ctx, obj, w, total)
	if err != nil {
		return Listing{}, nil, err
	}
	return Listing{}, split, nil
}

// readWindow reads a window once. Without a proof it returns the larger total.
func (c *Client) readWindow(ctx context.Context, obj catalogue.Object, w Window) (Listing, int, bool, error) {
	seen := map[string]int{}
	var hits []Hit
	total := 0
	for after := 0; ; {
		p, err := c.Search(ctx, obj, SearchRequest{Groups: [][]Filter{w.filters(obj)}, Sort: obj.Cursor, After: after})
		if err != nil {
			return Listing{}, 0, false, err
		}
		for _, h := range p.Hits {
			if i, ok := seen[h.ID]; ok {
				hits[i].Version = max(hits[i].Version, h.Version)
				continue
			}
			seen[h.ID] = len(hits)
			hits = append(hits, h)
		}
		if after == 0 {
			total = p.Total
		}
		// The last page's total counts beside the first's; those between do
		// not, for what came and left meanwhile.
		if p.Next < 0 {
			total = max(total, p.Total)
			return Listing{Hits: hits, Total: total}, total, len(hits) >= total && total < maxResults, nil
		}
		if p.Total >= maxResults || p.Next >= maxResults {
			return Listing{}, max(total, p.Total), false, nil
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
		lo, hi := w.divide(split)
		left, err := c.measure(ctx, obj, lo)
		if err != nil {
			return nil, err
		}
		right, err := c.measure(ctx, obj, hi)
		if err != nil {
			return nil, err
		}
		if left+right >= total {
			return &split, nil
		}
		c.log.Debug("halves of a search window do not add up", "object", obj.Name, "left", left, "right", right, "whole", total, "try", try+1)
		// Records leave a closed window by being changed. Measured after its
		// halves, the whole lacks them too.
		if total, err = c.measure(ctx, obj, w); err != nil {
			return nil, err
		}
		if left+right >= total {
			return &split, nil
		}
	}
	return nil, ErrDoesNotAddUp
}

// splitPoint asks for the time, or in a single millisecond the id, of the
// result at a place.
func (c *Client) splitPoint(ctx context.Context, obj catalogue.Object, w Window, place int) (Split, error) {
	byID := w.Hi != 0 && w.Hi-w.from() <= 1
	r := SearchRequest{Groups: [][]Filter{w.filters(obj)}, Sort: obj.Cursor, After: place, Limit: 1}
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

func (c *Client) measure(ctx context.Context, obj catalogue.Object, w Window) (int, error) {
	p, err := c.Search(ctx, obj, SearchRequest{Groups: [][]Filter{w.filters(obj)}, Limit: 1})
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
	out := Newest{Total: p.Total, Date: p.Date}
	seen := map[string]int{}
	for _, h := range p.Hits {
		if i, ok := seen[h.ID]; ok {
			out.Hits[i].Version = max(out.Hits[i].Version, h.Version)
			continue
		}
		seen[h.ID] = len(out.Hits)
		out.Hits = append(out.Hits, h)
	}
	out.Proved = p.Next < 0 && len(out.Hits) >= p.Total
	return out, nil
}
