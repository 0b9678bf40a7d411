package worker

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot"
)

// rangeOf fetches one range to its end.
func (a *attempt) rangeOf(r *rangeRun) error {
	var err error
	switch {
	case r.Kind == "list":
		err = a.walk(r)
	case len(r.Want) > 0:
		var ended bool
		if ended, err = a.wanted(r, r.Want); err == nil && !ended {
			err = a.span(r)
		}
	case r.Kind == "sweep":
		err = a.sweep(r)
	default:
		err = a.span(r)
	}
	if errors.Is(err, errEnded) || err == nil {
		return err
	}
	return fmt.Errorf("%s: %w", a.fetch.Stream, err)
}

// deliver sends a page, again while the daemon is busy.
func (a *attempt) deliver(r *rangeRun, p *protocol.Page) (protocol.Answer, error) {
	for {
		got, err := a.send(r, p)
		if !errors.Is(err, errBusy) {
			return got, err
		}
	}
}

// fetched is a page of a list on its way to the sender.
type fetched struct {
	page hubspot.Page
	err  error
}

// walk reads the list from the range's cursor. While a page is in flight the
// next one is fetched, and waits.
func (a *attempt) walk(r *rangeRun) error {
	next := make(chan fetched)
	a.wg.Go(func() {
		defer close(next)
		after := r.Cursor
		for {
			if err := a.ready(); err != nil {
				return
			}
			p, err := a.client.List(a.ctx, a.object, after, a.props, false)
			select {
			case next <- fetched{p, err}:
			case <-a.ctx.Done():
				return
			}
			if err != nil || p.Next == "" {
				return
			}
			after = p.Next
		}
	})
	for f := range next {
		if f.err != nil {
			return f.err
		}
		ended, err := a.listPage(r, f.page)
		if err != nil || ended {
			return err
		}
	}
	return a.ctx.Err()
}

// listPage sends a page of the list, cut where it is out of bounds: the cursor
// moves with the last cut.
func (a *attempt) listPage(r *rangeRun, p hubspot.Page) (bool, error) {
	cuts, open := a.cut(p.Records)
	for i, records := range cuts {
		page := &protocol.Page{Kind: protocol.RecordsPage, To: r.Cursor, Records: records}
		if i == len(cuts)-1 {
			page.To, page.Last, page.Open = p.Next, p.Next == "", open
		}
		got, err := a.deliver(r, page)
		if err != nil || got.RangeEnded {
			return true, err
		}
	}
	return false, nil
}

// cut divides records into pages within bounds; there is always one. A record
// that the broker cannot carry stays out, and is said to be open.
func (a *attempt) cut(records []hubspot.Record) ([][]protocol.Record, []protocol.OpenID) {
	var cuts [][]protocol.Record
	var open []protocol.OpenID
	var page []protocol.Record
	size := 0
	limit := a.w.o.Bus.MaxPacket()
	for i := range records {
		rec := wire(&records[i])
		n := len(rec.Properties) + 200
		if limit > 0 && n > limit-4096 {
			open = append(open, protocol.OpenID{ID: rec.ID, Version: rec.Version,
				Reason: fmt.Sprintf("the record has %d bytes and the broker takes %d: raise broker { max_packet }", n, limit)})
			continue
		}
		if len(page) > 0 && (size+n > protocol.MaxPageBytes || len(page) == protocol.MaxPageRecords) {
			cuts, page, size = append(cuts, page), nil, 0
		}
		page, size = append(page, rec), size+n
	}
	return append(cuts, page), open
}

func wire(r *hubspot.Record) protocol.Record {
	out := protocol.Record{ID: r.ID, State: "live", Version: r.Version, AsOf: r.AsOf, Digest: r.Digest,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, ArchivedAt: r.ArchivedAt, MergedInto: r.MergedInto, Properties: r.Properties}
	switch {
	case r.MergedInto != "":
		out.State, out.Properties = "merged", nil
	case r.Archived:
		out.State = "archived"
	}
	return out
}

// searchAll asks for the run's windows in one request: an idle run costs no
// more. Where they do not come on one page, each is read by itself.
func (a *attempt) searchAll(ranges []*rangeRun) error {
	var spans []*rangeRun
	for _, r := range ranges {
		if r.Kind == "window" && len(r.Want) == 0 && r.Seq <= 1 && r.IDLo == 0 && r.IDHi == 0 {
			spans = append(spans, r)
		}
	}
	if len(spans) == 0 || len(spans) > 5 || !spans[0].Newest {
		return nil
	}
	if err := a.ready(); err != nil {
		return err
	}
	windows := make([]hubspot.Window, len(spans))
	for i, r := range spans {
		windows[i] = window(r)
	}
	if a.fetch.Began == 0 {
		windows[0].Hi = 0
	}
	n, err := a.client.SearchNewest(a.ctx, a.object, windows)
	if err != nil {
		return err
	}
	a.mu.Lock()
	if a.began == 0 {
		a.began = n.Began
	}
	a.mu.Unlock()
	if !n.Proved {
		return nil
	}
	for i, r := range spans {
		r.found = true
		hi := r.Hi
		if i == 0 && a.fetch.Began == 0 {
			// What is newer than the run's beginning came along; it may be
			// stored early, and its window will list it again.
			hi = 0
		}
		for _, h := range n.Hits {
			if h.Version >= r.Lo && (hi == 0 || h.Version < hi) {
				r.listed = append(r.listed, h)
			}
		}
	}
	return nil
}

func window(r *rangeRun) hubspot.Window {
	return hubspot.Window{Lo: r.Lo, Hi: r.Hi, IDLo: r.IDLo, IDHi: r.IDHi}
}

// span reads a search window: a proved listing, then what is wanted of it.
func (a *attempt) span(r *rangeRun) error {
	for {
		hits, split, err := a.listing(r)
		if errors.Is(err, hubspot.ErrDoesNotAddUp) {
			a.w.log.Warn("search contradicts itself; the window is read by list", "stream", a.fetch.Stream)
			if _, err := a.deliver(r, &protocol.Page{Kind: protocol.SweepPage, To: r.Cursor, Reason: err.Error()}); err != nil {
				return err
			}
			r.Kind = "sweep"
			return a.sweep(r)
		}
		if err != nil {
			return err
		}
		if split == nil {
			return a.listed(r, hits)
		}
		got, err := a.deliver(r, &protocol.Page{Kind: protocol.SplitPage, To: r.Cursor, SplitAt: split.At, SplitID: split.ID})
		if err != nil {
			return err
		}
		for _, g := range got.Ranges {
			if g.ID == r.ID {
				r.Lo, r.Hi, r.IDLo, r.IDHi = g.Lo, g.Hi, g.IDLo, g.IDHi
			}
		}
	}
}

func (a *attempt) listing(r *rangeRun) ([]hubspot.Hit, *hubspot.Split, error) {
	if r.found {
		r.found = false
		return r.listed, nil, nil
	}
	if err := a.ready(); err != nil {
		return nil, nil, err
	}
	a.mu.Lock()
	if r.Hi == 0 {
		r.Hi = max(a.began, r.Lo)
	}
	a.mu.Unlock()
	if r.Hi <= r.Lo {
		return nil, nil, nil
	}
	return a.client.ProveWindow(a.ctx, a.object, window(r))
}

// listed sends a window's listing in parts; the cursor moves with the last.
func (a *attempt) listed(r *rangeRun, hits []hubspot.Hit) error {
	to := strconv.FormatInt(max(r.Hi, 1), 10)
	for {
		n := min(len(hits), protocol.MaxListed)
		page := &protocol.Page{Kind: protocol.ListingPage, To: r.Cursor}
		for _, h := range hits[:n] {
			page.Listing = append(page.Listing, protocol.Listed{ID: h.ID, Version: h.Version})
		}
		if hits = hits[n:]; len(hits) == 0 {
			page.To, page.Last = to, true
		}
		got, err := a.deliver(r, page)
		if err != nil || got.RangeEnded {
			return err
		}
		if len(got.Want) > 0 {
			if ended, err := a.wanted(r, got.Want); err != nil || ended {
				return err
			}
		}
		if len(hits) == 0 {
			return nil
		}
	}
}

// sweep walks the list for ids and versions and fetches what differs.
func (a *attempt) sweep(r *rangeRun) error {
	for {
		if err := a.ready(); err != nil {
			return err
		}
		p, err := a.client.List(a.ctx, a.object, r.Cursor, []string{a.object.Cursor}, false)
		if err != nil {
			return err
		}
		page := &protocol.Page{Kind: protocol.ListingPage, To: p.Next, Last: p.Next == ""}
		for _, rec := range p.Records {
			page.Listing = append(page.Listing, protocol.Listed{ID: rec.ID, Version: rec.Version})
		}
		got, err := a.deliver(r, page)
		if err != nil || got.RangeEnded {
			return err
		}
		if len(got.Want) > 0 {
			if ended, err := a.wanted(r, got.Want); err != nil || ended {
				return err
			}
		}
	}
}

// wanted brings what a listing left to fetch, until nothing is wanted. What
// the daemon will not believe at once is read again, and sent as confirmed
// when it reads the same.
func (a *attempt) wanted(r *rangeRun, want []protocol.Listed) (ended bool, err error) {
	hits := make([]hubspot.Hit, len(want))
	for i, l := range want {
		hits[i] = hubspot.Hit{ID: l.ID, Version: l.Version}
	}
	var again []string
	emit := func(confirmed bool) func([]hubspot.Record) error {
		return func(records []hubspot.Record) error {
			cuts, open := a.cut(records)
			for i, c := range cuts {
				for j := range c {
					c[j].Confirmed = confirmed
				}
				page := &protocol.Page{Kind: protocol.RecordsPage, To: r.Cursor, Records: c}
				if i == len(cuts)-1 {
					page.Open = open
				}
				got, err := a.deliver(r, page)
				if err != nil {
					return err
				}
				again = append(again, got.Again...)
				ended = ended || got.RangeEnded
			}
			return nil
		}
	}
	if err := a.ready(); err != nil {
		return false, err
	}
	open, err := a.client.ReadAll(a.ctx, a.object, hits, a.props, emit(false))
	if err != nil {
		return ended, err
	}
	if len(again) > 0 {
		if err := pause(a.ctx, 5*time.Second); err != nil {
			return ended, err
		}
		var olds []hubspot.Hit
		for _, id := range slices.Compact(again) {
			olds = append(olds, hubspot.Hit{ID: id})
		}
		more, err := a.client.ReadAll(a.ctx, a.object, olds, a.props, emit(true))
		if err != nil {
			return ended, err
		}
		open = append(open, more...)
	}
	if len(open) == 0 {
		return ended, nil
	}
	page := &protocol.Page{Kind: protocol.RecordsPage, To: r.Cursor}
	for _, o := range open {
		page.Open = append(page.Open, protocol.OpenID{ID: o.ID, Version: o.Version, Reason: o.Reason})
	}
	got, err := a.deliver(r, page)
	return ended || got.RangeEnded, err
}
