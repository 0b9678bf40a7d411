package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// row is the row of a stream in hubpipe_streams.
type row struct {
	destination.Place

	store string
	epoch uint64
}

const placeColumns = `table_name, store, epoch, position, reread_reason, reread_position, reread_until, reread_sweep,
	rows_written, unparsed, last_commit_at`

// lock reads a stream's row and keeps others from it until the transaction
// ends. Whoever writes begins with it. What somebody else has locked for long, and
// forgotten, is waited for no longer than lockWait: other streams wait, too.
func (s *session) lock(ctx context.Context, tx pgx.Tx, name string) (*row, error) {
	r := &row{}
	var reason *string
	var at, until *int64
	var sweep *bool
	var last *time.Time
	var epoch, position, rows, unread int64
	var wait string
	err := tx.QueryRow(ctx, "SELECT "+placeColumns+", set_config('lock_timeout', '"+lockWait+"', true) FROM "+s.in("hubpipe_streams")+" WHERE stream = $1 FOR UPDATE", name).
		Scan(&r.Table, &r.store, &epoch, &position, &reason, &at, &until, &sweep, &rows, &unread, &last, &wait)
	if err != nil {
		return nil, err
	}
	r.epoch, r.Position, r.Rows, r.Unparsed = uint64(epoch), uint64(position), uint64(rows), uint64(unread)
	if last != nil {
		r.LastCommit = *last
	}
	if reason != nil && at != nil && until != nil {
		r.Reread = &destination.Reread{Reason: *reason, Position: uint64(*at), Until: uint64(*until), Sweep: sweep != nil && *sweep}
	}
	if r.store != s.origin.Store {
		return nil, s.foreign(r.store)
	}
	if r.epoch > s.origin.Epoch {
		return nil, &stream.Problem{Type: typeForeign, Title: "a later life of this data folder writes here", Blocked: true,
			Detail: fmt.Sprintf("the schema was written in epoch %d of the store, and this is epoch %d", r.epoch, s.origin.Epoch),
			Hint:   "of two copies of a data folder only one may write to a schema: stop one, or name another schema"}
	}
	return r, nil
}

// expect checks that a row says what the batch was made for: else somebody else
// has written.
func (r *row) expect(s *session, p destination.Place) error {
	same := r.epoch == s.origin.Epoch && r.Position == p.Position && (r.Reread == nil) == (p.Reread == nil)
	if same && r.Reread != nil {
		same = *r.Reread == *p.Reread
	}
	if same {
		return nil
	}
	return &stream.Problem{Type: typeForeign, Title: "somebody else has written to the table", Detail: fmt.Sprintf("the place of its stream is %d, and not %d as it was left", r.Position, p.Position),
		Hint: "it is read again by itself; if it stays, two daemons write to one schema"}
}

// move writes a row's place as it now is.
func (s *session) move(ctx context.Context, tx pgx.Tx, name string, r *row) error {
	var reason *string
	var at, until *int64
	var sweep *bool
	if x := r.Reread; x != nil {
		a, u := int64(x.Position), int64(x.Until)
		reason, at, until, sweep = &x.Reason, &a, &u, &x.Sweep
	}
	return tx.QueryRow(ctx, "UPDATE "+s.in("hubpipe_streams")+` SET epoch = $2, position = $3, reread_reason = $4, reread_position = $5, reread_until = $6,
		reread_sweep = $7, rows_written = $8, unparsed = $9, last_commit_at = now() WHERE stream = $1 RETURNING last_commit_at`,
		name, int64(s.origin.Epoch), int64(r.Position), reason, at, until, sweep, int64(r.Rows), int64(r.Unparsed)).Scan(&r.LastCommit)
}

// again begins a rereading, or widens the one that goes on.
func (r *row) again(x destination.Reread) {
	if was := r.Reread; was != nil {
		weight := []string{destination.ReasonColumns, destination.ReasonResync, destination.ReasonEpoch}
		if slices.Index(weight, was.Reason) > slices.Index(weight, x.Reason) {
			x.Reason = was.Reason
		}
		x.Sweep = x.Sweep || was.Sweep
		x.Until = max(x.Until, was.Until)
	}
	x.Position = 0
	r.Reread = &x
}

// inLife has everything read again, and swept, where a row is of an earlier life
// of the store. Whoever moves the row does so first: it is of this life then.
func (r *row) inLife(o destination.Origin, head uint64) {
	if r.epoch < o.Epoch {
		r.again(destination.Reread{Reason: destination.ReasonEpoch, Until: head, Sweep: true})
	}
}

// Reread begins a reading of the feed from its beginning.
func (s *session) Reread(ctx context.Context, name string, x destination.Reread) (place destination.Place, err error) {
	err = s.inTx(ctx, "begin to read "+name+" again", func(tx pgx.Tx) error {
		r, err := s.lock(ctx, tx, name)
		if err != nil {
			return err
		}
		r.again(x)
		place = r.Place
		return s.move(ctx, tx, name, r)
	})
	return place, err
}

// Swept ends a rereading.
func (s *session) Swept(ctx context.Context, name string) (place destination.Place, err error) {
	err = s.inTx(ctx, "end the rereading of "+name, func(tx pgx.Tx) error {
		r, err := s.lock(ctx, tx, name)
		if err != nil {
			return err
		}
		r.Reread = nil
		err = s.move(ctx, tx, name, r)
		place = r.Place
		return err
	})
	return place, err
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
