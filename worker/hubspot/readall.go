package hubspot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// OpenID is an id that search or list named and that could not be read, with
// the version that was named and the reason.
type OpenID struct {
	ID      string
	Version int64
	Reason  string
	// Gone says that HubSpot was asked for it live, archived and live again,
	// and has it not.
	Gone bool
	// Old is the newest reading where each was older than Version, else nil.
	Old *Record
}

// ReadRequest says what to read of records.
type ReadRequest struct {
	// Properties are the names to read; the object's cursor property is read in
	// any case. History are those whose earlier values are read as well.
	Properties, History []string
	// Archived says that the records are looked for among the archived first.
	Archived bool
}

// ReadAll reads records by their ids and emits them as they come, in no order.
// Every id ends up as emitted or as open: one that is missing, or older than
// search named it, is read again after the delays of Options.Reread, then
// among the archived (the live, where archived ones were looked for), then
// singly. A record that was merged is emitted with
// the id that was wanted and MergedInto. One that stays older than its hit is
// open, with its reading, and not emitted: who emits it has nothing more to say
// of it.
//
// emit is not called twice at once; its error ends the reading and is
// returned.
func (c *Client) ReadAll(ctx context.Context, obj catalogue.Object, want []Hit, r ReadRequest, emit func([]Record) error) ([]OpenID, error) {
	open, err := c.readAll(ctx, obj, want, selection{withCursor(r.Properties, obj), r.History}, r.Archived, emit)
	if err != nil {
		return nil, fmt.Errorf("read %d %s: %w", len(want), obj.Name, final(err))
	}
	return open, nil
}

// straggler is an id that the last read did not bring in the version wanted.
type straggler struct {
	Hit
	old *Record // the best that was read
}

// readAll is ReadAll for live or for archived records.
func (c *Client) readAll(ctx context.Context, obj catalogue.Object, want []Hit, f selection, archived bool, emit func([]Record) error) ([]OpenID, error) {
	var mu sync.Mutex
	emitted := func(recs []Record) error {
		if len(recs) == 0 {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		return emit(recs)
	}
	left := make([]straggler, len(want))
	for i, h := range want {
		left[i].Hit = h
	}
	left, err := c.readOnce(ctx, obj, left, f, archived, emitted)
	for _, delay := range c.reread {
		if err != nil || len(left) == 0 {
			return nil, err
		}
		if !slices.ContainsFunc(left, func(s straggler) bool { return s.Version != 0 }) {
			break // nobody has just named them: they are not late
		}
		c.log.Debug("batch read lacks records or has them old, reading again", "object", obj.Name, "ids", len(left), "in", delay)
		if err = sleep(ctx, delay); err == nil {
			left, err = c.readOnce(ctx, obj, left, f, archived, emitted)
		}
	}
	if err != nil || len(left) == 0 {
		return nil, err
	}
	if left, err = c.readOnce(ctx, obj, left, f, !archived, emitted); err != nil || len(left) == 0 {
		return nil, err
	}
	return c.readSingly(ctx, obj, left, f, emitted)
}

// readOnce reads all of want by batch, several batches at a time, and returns
// what is still to be had.
func (c *Client) readOnce(ctx context.Context, obj catalogue.Object, want []straggler, f selection, archived bool, emit func([]Record) error) ([]straggler, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.concurrency)
	var mu sync.Mutex
	var left []straggler
	for part := range slices.Chunk(want, f.atOnce(obj)) {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err //nolint:wrapcheck // the first error of the group says why
			}
			recs, missing, err := c.readPart(ctx, obj, part, f, archived)
			if err != nil {
				return err
			}
			mu.Lock()
			left = append(left, missing...)
			mu.Unlock()
			return emit(recs)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err //nolint:wrapcheck // wrapped by the exported callers
	}
	return left, nil
}

func (c *Client) readPart(ctx context.Context, obj catalogue.Object, part []straggler, f selection, archived bool) ([]Record, []straggler, error) {
	ids := make([]string, len(part))
	for i, w := range part {
		ids[i] = w.ID
	}
	got := make(map[string]Record, len(part))
	_, err := c.batch(ctx, obj, ids, f, archived, got)
	if failing, ok := errors.AsType[*Failing](err); ok && failing.Status == http.StatusBadRequest {
		c.log.Debug("HubSpot refuses a batch, its ids are read singly", "object", obj.Name, "ids", len(ids), "error", err)
		return nil, part, nil
	}
	if err != nil {
		return nil, nil, err
	}
	recs := make([]Record, 0, len(part))
	var left []straggler
	for _, w := range part {
		rec, ok := got[w.ID]
		switch {
		case ok && rec.Version >= w.Version:
			recs = append(recs, rec)
		case ok && (w.old == nil || rec.Version >= w.old.Version):
			w.old = &rec
			left = append(left, w)
		default:
			left = append(left, w)
		}
	}
	return recs, left, nil
}

// readSingly is the last try: a record that was merged answers with another
// id. What cannot be read even so is open.
func (c *Client) readSingly(ctx context.Context, obj catalogue.Object, want []straggler, f selection, emit func([]Record) error) ([]OpenID, error) {
	var open []OpenID
	for _, w := range want {
		reason, gone := "", false
		if w.old != nil {
			reason = fmt.Sprintf("HubSpot gives the version of %s, search named %s", moments(w.old.Version), moments(w.Version))
		}
		rec, err := c.get(ctx, obj, w.ID, f, false)
		var failing *Failing
		switch {
		case errors.Is(err, ErrNotFound) && w.old == nil:
			reason, gone = "HubSpot has it neither live nor archived", true
		case errors.Is(err, ErrNotFound):
		case errors.As(err, &failing):
			reason = failing.Detail
		case err != nil:
			return nil, err
		case rec.ID != w.ID:
			merged := Record{ID: w.ID, Version: max(rec.Version, w.Version), AsOf: rec.AsOf, MergedInto: rec.ID}
			if err := emit([]Record{merged}); err != nil {
				return nil, err
			}
			continue
		case len(f.names)+len(f.history) > 1 && !c.fitsSingly(obj, w.ID, f):
			reason = cmp.Or(reason, "it answers singly only, and its properties are too many for that")
		case rec.Version >= w.Version:
			if err := emit([]Record{rec}); err != nil {
				return nil, err
			}
			continue
		case w.old == nil || rec.Version > w.old.Version:
			w.old = &rec
			reason = fmt.Sprintf("HubSpot gives the version of %s, search named %s", moments(rec.Version), moments(w.Version))
		}
		open = append(open, OpenID{ID: w.ID, Version: w.Version, Reason: reason, Gone: gone, Old: w.old})
	}
	return open, nil
}

// moments is a time as HubSpot writes it.
func moments(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }
