package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// atOnce bounds how many windows one search may hold: HubSpot's filter groups.
const atOnce = 5

// windows are the ranges that a search can begin with, the newest first.
func (a *attempt) windows() []*ranger {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*ranger
	for _, r := range a.waiting {
		if r.g.Kind != windowRange || len(r.g.Want) > 0 {
			continue
		}
		if out = append(out, r); r.g.Newest && !out[0].g.Newest {
			out[0], out[len(out)-1] = out[len(out)-1], out[0]
		}
	}
	return out
}

// search asks for the newest window and those that settle in one request: an
// idle run costs no more. What it proves is every window's listing; otherwise
// each is read by itself. The first reply of an incremental run is its
// beginning.
func (a *attempt) search(windows []*ranger) error {
	if a.fetch.Kind == fillRun {
		return nil // not of stretches of time
	}
	// What was divided by ids has more filters than five such windows may have in
	// one search, and more records than one page.
	windows = slices.DeleteFunc(slices.Clone(windows), func(r *ranger) bool { return r.g.IDLo != 0 || r.g.IDHi != 0 })
	needed := a.fetch.Began == 0 && len(windows) > 0 && windows[0].g.Newest
	if !needed && (len(windows) < 2 || len(windows) > atOnce) {
		return nil
	}
	windows = windows[:min(len(windows), atOnce)]
	asked := make([]Window, len(windows))
	for i, r := range windows {
		asked[i] = r.asked(r.g.Hi)
	}
	n, err := ask(a.ctx, a, func(ctx context.Context) (Newest, error) { return a.source.SearchNewest(ctx, a.fetch.Object, asked) })
	if err != nil {
		return fmt.Errorf("search %s: %w", a.fetch.Object, err)
	}
	if needed {
		a.began(n.Began)
	}
	if !n.Proved {
		a.total = n.Total
		return nil
	}
	a.found = make(map[uint32][]protocol.Listed, len(windows))
	for _, r := range windows {
		a.found[r.g.ID] = []protocol.Listed{}
	}
	for _, h := range n.Hits {
		placed := false
		for i, r := range windows {
			if asked[i].holds(h) {
				a.found[r.g.ID] = append(a.found[r.g.ID], h)
				placed = true
			}
		}
		if !placed {
			// It moved while it was found; whichever listing has it will do.
			a.found[windows[0].g.ID] = append(a.found[windows[0].g.ID], h)
		}
	}
	return nil
}

// asked is the range as a window that ends at hi.
func (r *ranger) asked(hi int64) Window {
	return Window{Lo: r.g.Lo, Hi: hi, IDLo: r.g.IDLo, IDHi: r.g.IDHi, Has: r.g.Has}
}

func (w Window) holds(l protocol.Listed) bool {
	if l.Version < w.Lo || w.Hi != 0 && l.Version >= w.Hi {
		return false
	}
	if w.IDLo == 0 && w.IDHi == 0 {
		return true
	}
	id, err := strconv.ParseUint(l.ID, 10, 64)
	return err == nil && id >= w.IDLo && (w.IDHi == 0 || id < w.IDHi)
}

// window lists a search window, proved, and brings what is wanted of it. One
// that is too full is split; one that contradicts itself is walked.
func (r *ranger) window() error {
	for {
		split, err := r.prove()
		switch {
		case errors.Is(err, ErrDoesNotAddUp) || len(r.g.Has) > 0 && refusedBy(err):
			r.a.log.Warn("search does not serve, the window is read by list", "lo", r.g.Lo, "hi", r.g.Hi, "error", err)
			if _, err := r.send(protocol.Page{Kind: protocol.SweepPage, Reason: err.Error()}, false); err != nil {
				return err
			}
			if r.a.fetch.Kind == fillRun {
				return r.a.superseded() // by one that reads the whole list
			}
			return r.sweep()
		case err != nil || r.ended:
			return err
		case split == nil:
			return fmt.Errorf("the window from %d did not end with its last page", r.g.Lo)
		}
		if _, err := r.send(protocol.Page{Kind: protocol.SplitPage, SplitAt: split.At, SplitID: split.ID}, false); err != nil {
			return err
		}
	}
}

// upper is the window's end: its own, or the run's beginning.
func (r *ranger) upper() int64 {
	if r.g.Hi != 0 {
		return r.g.Hi
	}
	return max(r.g.Lo, r.a.began(0))
}

// sent is how many ids of a window are listed before they are sent: what is
// wanted of them is read while search goes on.
const sent = 1000

// prove sends the listing of a window in parts, each followed by what is wanted
// of it; the cursor moves with the last. Search is HubSpot's scarcest thing: one
// window of an attempt has it at a time, so that its records come soon, instead
// of those of all windows late.
func (r *ranger) prove() (split *Split, err error) {
	a := r.a
	w := r.asked(r.upper())
	end := strconv.FormatInt(w.Hi, 10)
	err = r.ahead(func(ctx context.Context, emit func(context.Context, batch) error) error {
		found, known := a.found[r.g.ID]
		if known || w.Hi <= w.Lo {
			return parts(found, true, func(b batch) error { return emit(ctx, b) })
		}
		select {
		case a.searching <- struct{}{}:
			defer func() { <-a.searching }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var held []protocol.Listed
		var err error
		split, err = ask(ctx, a, func(inside context.Context) (*Split, error) {
			held = nil // where the call was broken off it begins anew
			return r.source().ProveWindow(inside, a.fetch.Object, w, func(hits []protocol.Listed) error {
				if held = append(held, hits...); len(held) < sent {
					return nil
				}
				out := held
				held = nil
				return parts(out, false, func(b batch) error { return emit(inside, b) })
			})
		})
		if err != nil && !errors.Is(err, ErrDoesNotAddUp) {
			return fmt.Errorf("search %s from %d to %d: %w", a.fetch.Object, w.Lo, w.Hi, err)
		}
		if err != nil || split != nil && len(held) == 0 {
			return err
		}
		return parts(held, split == nil, func(b batch) error { return emit(ctx, b) })
	}, func(b batch) error {
		p := protocol.Page{Kind: protocol.ListingPage, Listing: b.listing}
		if b.last {
			if p.To, p.Last = end, true; r.g.Newest {
				p.Live = a.live
			}
		}
		return r.list(p, p.Last)
	})
	return split, err
}

// parts hands on a listing in pages within bounds, at least one. What search named
// several times stands in it once: it would be read as often.
func parts(hits []protocol.Listed, last bool, emit func(batch) error) error {
	for hits = once(hits); ; {
		n := min(len(hits), protocol.MaxListed)
		b := batch{listing: hits[:n:n]}
		hits = hits[n:]
		b.last = last && len(hits) == 0
		if err := emit(b); err != nil || len(hits) == 0 {
			return err
		}
	}
}

// once are hits in their order, each id once with the newest version.
func once(hits []protocol.Listed) []protocol.Listed {
	at, out := make(map[string]int, len(hits)), hits[:0]
	for _, h := range hits {
		if i, ok := at[h.ID]; ok {
			out[i].Version = max(out[i].Version, h.Version)
			continue
		}
		at[h.ID] = len(out)
		out = append(out, h)
	}
	return out
}

// list sends a listing and brings what is wanted of it.
func (r *ranger) list(p protocol.Page, moves bool) error {
	an, err := r.send(p, moves)
	if err != nil || r.ended || len(an.Want) == 0 {
		return err
	}
	return r.bring(an.Want)
}

// sweep walks a list for ids and versions, as many a listing as it holds, and
// brings what is wanted of each. A reconcile reads whole records for it, so that
// a value that changed without a new time of modification, as calculated ones
// do, shows by the digest.
func (r *ranger) sweep() error {
	a := r.a
	cursor := r.g.Cursor
	archived := r.g.Kind == archivedRange
	whole := !archived && a.fetch.Kind == reconcileRun
	var names []string
	if whole {
		names = a.names
	}
	return r.ahead(func(ctx context.Context, emit func(context.Context, batch) error) error {
		held := batch{untyped: map[string]uint64{}}
		for round := new(circle); ; {
			page, err := a.listPage(ctx, round, a.fetch.Object, cursor, names, archived)
			if err != nil {
				return err
			}
			for i := range page.Records {
				l := protocol.Listed{ID: page.Records[i].ID, Version: page.Records[i].Version}
				if whole {
					l.Digest = page.Records[i].Digest
					a.types.count(page.Records[i].Properties, held.untyped)
				}
				if at, err := time.Parse(time.RFC3339, page.Records[i].ArchivedAt); archived && err == nil {
					l.ArchivedAt = at.UnixMilli()
				}
				held.listing = append(held.listing, l)
			}
			if len(page.Open) > 0 {
				held.listing = among(held.listing, page.Open)
			}
			held.next, held.last = page.Next, page.Next == ""
			if held.last || len(held.listing)+100 > protocol.MaxListed {
				if err := emit(ctx, held); err != nil || held.last {
					return err
				}
				held = batch{untyped: map[string]uint64{}}
			}
			cursor = page.Next
		}
	}, func(b batch) error {
		return r.list(protocol.Page{Kind: protocol.ListingPage, To: b.next, Last: b.last, Listing: b.listing, Untyped: few(b.untyped)}, true)
	})
}

// among puts ids that were listed and could not be read at their place in a
// listing: out of it they would look like a list without order.
func among(listing []protocol.Listed, open []protocol.OpenID) []protocol.Listed {
	for _, o := range open {
		listing = append(listing, protocol.Listed{ID: o.ID, Version: o.Version})
	}
	slices.SortStableFunc(listing, func(a, b protocol.Listed) int { return protocol.CompareIDs(a.ID, b.ID) })
	return slices.CompactFunc(listing, func(a, b protocol.Listed) bool { return a.ID == b.ID })
}
