package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// A long list is read by several walkers at once. HubSpot does not say that a
// place in a list is an id, nor that ids grow along it; so both are looked at
// before a list is shared and on every page while it is, and at the first
// surprise one walker goes on from the last place that is proved.

// worthSharing is how many pages there have to be left for a second walker to
// pay for finding its place.
const worthSharing = 6

// errSurprise says that a shared list is not in the order of its ids.
var errSurprise = errors.New("the list is not in the order of its ids")

// walk sends the list from the range's cursor to its end.
func (r *ranger) walk() error {
	a := r.a
	cursor := r.g.Cursor
	passed := uint64(0) // the last id that was sent
	err := r.ahead(func(ctx context.Context, emit func(context.Context, batch) error) error {
		for round := new(circle); ; {
			page, err := a.listPage(ctx, round, a.fetch.Object, cursor, a.names, false)
			if err != nil {
				return err
			}
			last := page.Next == ""
			b := batch{records: page.Records, open: page.Open, next: page.Next, last: last, release: page.Release}
			if err := emit(ctx, r.pack(b)); err != nil || last {
				return err
			}
			cursor = page.Next
		}
	}, func(b batch) error {
		first, err := r.bound(&b, &passed)
		if err != nil {
			return err
		}
		if _, err := r.records(b, true); err != nil {
			return err
		}
		// All of it is encoded and committed.
		if b.release != nil {
			b.release()
		}
		if r.ended {
			return nil
		}
		return r.share(first, passed, len(b.records))
	})
	if !errors.Is(err, errSurprise) {
		return err
	}
	a.log.Warn("the list does not keep the order of its ids, one walker goes on", "object", a.fetch.Object, "error", err)
	if _, err = r.send(protocol.Page{Kind: protocol.JoinPage, Reason: err.Error()}, false); err != nil {
		return err
	}
	// The run goes on under another attempt; this one is told to end.
	return a.superseded()
}

// listPage reads one page of an object's list. Places that lead round would never
// end.
func (a *attempt) listPage(ctx context.Context, round *circle, object, cursor string, names []string, archived bool) (ListPage, error) {
	page, err := ask(ctx, a, func(ctx context.Context) (ListPage, error) {
		return a.source.List(ctx, object, cursor, names, archived)
	})
	switch {
	case err != nil:
		return page, fmt.Errorf("list %s after %q: %w", object, cursor, err)
	case round.closes(page.Next):
		return page, fmt.Errorf("list %s: HubSpot's cursor %q leads back", object, page.Next)
	}
	return page, nil
}

// circle finds out that places lead round, however many there are before one comes
// again: it looks out for one of them, and for a later one whenever twice as many
// have passed as before.
type circle struct {
	place         string
	passed, until int
}

// closes tells whether a place, "" for the end, shows that they do.
func (c *circle) closes(place string) bool {
	if c.passed++; place == "" || c.passed <= c.until {
		return place != "" && place == c.place
	}
	again := place == c.place
	c.place, c.passed, c.until = strings.Clone(place), 0, 2*c.until+1
	return again
}

// decimal reads an id that is a number.
func decimal(text string) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil
}

// shared tells whether the range is a part of a list.
func (r *ranger) shared() bool { return r.g.IDLo != 0 || r.g.IDHi != 0 }

// bound checks the order of a page of a shared list, and cuts it at the range's
// end. It returns the first id, 0 where there is none that counts.
func (r *ranger) bound(b *batch, passed *uint64) (first uint64, err error) {
	low := uint64(0)
	if r.g.IDLo > 0 {
		low = r.g.IDLo - 1
	}
	end := len(b.records)
	for i := range b.records {
		id, ok := decimal(b.records[i].ID)
		switch {
		case !ok && !r.shared():
			*passed = 0
			return 0, nil
		case !ok || id <= *passed || id < low:
			if r.shared() {
				return 0, fmt.Errorf("id %q after %d: %w", b.records[i].ID, *passed, errSurprise)
			}
			*passed = 0
			return 0, nil
		case r.g.IDHi != 0 && id >= r.g.IDHi && end == len(b.records):
			end = i // what stands beyond is looked at, and left to its own walker
		}
		if *passed = id; i == 0 {
			first = id
		}
	}
	if end < len(b.records) {
		b.records, b.next, b.last = b.records[:end], "", true
	}
	if r.shared() && !b.last {
		next, ok := decimal(b.next)
		switch {
		case !ok || next < *passed:
			return 0, fmt.Errorf("the place %q after id %d: %w", b.next, *passed, errSurprise)
		case r.g.IDHi != 0 && next >= r.g.IDHi:
			b.next, b.last = "", true
		}
	}
	return first, nil
}

// share gives the upper part of what is left of a list to another walker, where
// there is one to spare and enough is left. first and passed are the ends of the
// page that was sent last, n its records.
func (r *ranger) share(first, passed uint64, n int) error {
	a := r.a
	a.mu.Lock()
	a.walked++
	a.mu.Unlock()
	if r.top == 0 {
		r.top = a.top
	}
	if r.g.IDHi != 0 {
		r.top = min(r.top, r.g.IDHi)
	}
	if a.fetch.Whole || first == 0 || n < 2 || r.top <= passed || (r.top-passed)/max(1, (passed-first)/uint64(n-1)) < worthSharing*uint64(n) || !a.idle() {
		return nil
	}
	defer a.sharing.Unlock()
	next, ok := decimal(r.g.Cursor)
	if !ok {
		a.alone() // its places are no ids
		return nil
	}
	low := max(passed, next) // the ledger's place is the next id or the last
	at, err := r.probe(low)
	if err != nil || at == 0 {
		return err
	}
	_, err = r.send(protocol.Page{Kind: protocol.SplitPage, SplitID: at}, false)
	return err
}

// between is a place between two ids: the middle, or, where they are far apart,
// one that is as many times greater than the one as it is less than the other.
// Old portals have their first ids below a million and their last ones above a
// hundred milliards, with nothing between.
func between(low, top uint64) uint64 {
	if top/(low+1) > 64 {
		return uint64(math.Sqrt(float64(low+1) * float64(top)))
	}
	return low + (top-low)/2
}

// probe looks for an id near the middle of what is left, at which another walker
// can begin; 0 where there is none, or where the list does not lend itself to
// that. It notes what turns out to be empty.
func (r *ranger) probe(low uint64) (uint64, error) {
	a := r.a
	for {
		middle := between(low, r.top)
		a.mu.Lock()
		may := a.mayProbe()
		a.probed++
		a.mu.Unlock()
		if middle <= low+1 || !may {
			return 0, nil
		}
		page, err := a.listPage(a.ctx, new(circle), a.fetch.Object, strconv.FormatUint(middle, 10), nil, false)
		if err != nil {
			// It may be what HubSpot says to a place in the middle.
			if p, ok := errors.AsType[*ProblemError](err); ok && !p.Blocked {
				a.alone()
				return 0, nil
			}
			return 0, err
		}
		before := middle - 1
		for i := range page.Records {
			id, ok := decimal(page.Records[i].ID)
			if !ok || id <= before {
				a.alone()
				return 0, nil
			}
			before = id
		}
		if next, ok := decimal(page.Next); page.Next != "" && (!ok || next < before) {
			a.alone()
			return 0, nil
		}
		if len(page.Records) > 0 {
			if at, _ := decimal(page.Records[0].ID); at <= r.top && at > low+1 && (r.g.IDHi == 0 || at < r.g.IDHi) {
				r.top = middle
				return at, nil
			}
		}
		r.top = middle // nothing lies between the middle and the top
	}
}
