package worker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// Widths of the windows in which events are read. HubSpot gives a window's
// events newest first, and a window is what a reading can go on behind: so it
// is to be a few pages.
const (
	firstWindow    = 365 * 24 * time.Hour
	widestWindow   = 8 * firstWindow
	smallestWindow = time.Hour
	manyPages      = 20
	fewPages       = 3
)

// events reads a span of time, window by window. What happened in it before is
// listed and not wanted.
func (r *ranger) events() error {
	return r.ahead(func(ctx context.Context, emit func(context.Context, batch) error) error {
		lo, hi, width := r.g.Lo, r.upper(), firstWindow.Milliseconds()
		if at, err := strconv.ParseInt(r.g.Cursor, 10, 64); err == nil {
			lo = max(lo, at)
		}
		for {
			end := min(lo+width, hi)
			pages, all, err := r.eventWindow(ctx, lo, end, emit)
			switch {
			case err != nil:
				return err
			case !all:
				width = max(width/4, smallestWindow.Milliseconds())
				continue
			case end >= hi:
				return nil
			case pages <= fewPages:
				width = min(2*width, widestWindow.Milliseconds())
			}
			lo = end
		}
	}, func(b batch) error { return r.listRows(b.rows) })
}

// eventWindow lists the events of a window; the last page moves the range's
// cursor to its end. all is false where there are too many: what was listed of
// them is none the worse for it.
func (r *ranger) eventWindow(ctx context.Context, lo, end int64, emit func(context.Context, batch) error) (pages int, all bool, err error) {
	a := r.a
	to := rows{to: strconv.FormatInt(end, 10), last: end >= r.upper()}
	if end <= lo {
		return 0, true, emit(ctx, batch{rows: &to})
	}
	// Whether bounds are included differs by endpoint: so both are.
	req := RowsRequest{From: max(1, lo-1), To: end + 1}
	for seen := map[string]bool{}; ; pages++ {
		page, err := ask(ctx, a, func(ctx context.Context) (RowsPage, error) { return a.source.Rows(ctx, a.row.Name, req) })
		if err != nil {
			return pages, false, err
		}
		for len(page.Records) > protocol.MaxListed {
			n := protocol.MaxListed
			if err := emit(ctx, batch{rows: &rows{records: page.Records[:n:n], stays: true}}); err != nil {
				return pages, false, err
			}
			page.Records = page.Records[n:]
		}
		p := rows{records: page.Records, stays: true}
		if page.Next == "" {
			p.stays, p.to, p.last = false, to.to, to.last
		}
		if err := emit(ctx, batch{rows: &p}); err != nil || !p.stays {
			return pages + 1, err == nil, err
		}
		switch {
		case seen[page.Next]:
			return pages, false, fmt.Errorf("read %s: HubSpot's cursor %q leads back", a.row.Name, page.Next)
		case pages+1 >= manyPages && end-lo > smallestWindow.Milliseconds():
			return pages + 1, false, nil
		}
		seen[page.Next], req.Place = true, page.Next
	}
}
