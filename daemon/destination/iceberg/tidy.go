//go:build iceberg

package iceberg

import (
	"context"
	"errors"
	"time"

	"github.com/apache/iceberg-go/table"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

const (
	// manyCommits is after how many commits with rows everything is written again.
	manyCommits = 1000
	// tidyEvery is how often it is looked for files that nobody has named, as a
	// process leaves them that ended in the middle, and for old snapshots.
	tidyEvery = time.Hour
	// clocks is how much the clock of an object store, and of what else writes there,
	// may be ahead.
	clocks = 10 * time.Minute
)

// gcKey is the property of a table that says whether files of it may be taken away.
const gcKey = "gc.enabled"

// notTidy is why what nobody needs stays where it is. It hinders no writing.
func notTidy(detail, hint string) *stream.Problem {
	return &stream.Problem{Type: typeFailed, Title: "what nobody needs of the table is not taken away", Detail: detail, Hint: hint}
}

// looksEvery is how often a table is read again whose owner wants its files to stay.
const looksEvery = time.Minute

// upkeep is when a table was last tidied, snapshots of it last expired, and it was
// last looked whether its files still have to stay.
type upkeep struct {
	tidied, expired, looked time.Time
	// refused is why the last tidying came to nothing. Guarded by the engine's mu.
	refused *stream.Problem
}

// upkeepOf is that of a stream. Only the session that there is changes it.
func (e *Engine) upkeepOf(name string) *upkeep {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.upkeeps[name] == nil {
		e.upkeeps[name] = &upkeep{}
	}
	return e.upkeeps[name]
}

// refusal is why the last tidying of a stream's table came to nothing.
func (e *Engine) refusal(name string) *stream.Problem {
	e.mu.Lock()
	defer e.mu.Unlock()
	if u := e.upkeeps[name]; u != nil {
		return u.refused
	}
	return nil
}

func (e *Engine) refuse(name string, p *stream.Problem) {
	u := e.upkeepOf(name)
	e.mu.Lock()
	defer e.mu.Unlock()
	u.refused = p
}

// Tend begins to write everything again where that is due, and takes away what
// nobody needs.
func (s *session) Tend(ctx context.Context, name string, _ uint64) (destination.Place, error) {
	t := s.of(name)
	st := t.st
	if st.Number == 0 || st.Reread != nil {
		return s.place(t), nil
	}
	reason := ""
	switch {
	case st.Erase:
		reason = destination.ReasonErasure
	case t.v != nil && t.v.st.Unfilled && !t.info.Look:
		reason = destination.ReasonColumns // it reads what versions begin with
	case st.Since > manyCommits, st.Since > 0 && time.Since(st.Whole) >= s.e.o.Compact:
		reason = destination.ReasonSnapshot
	}
	err := s.tendVersions(ctx, t)
	switch {
	case err != nil:
	case reason != "":
		err = s.beginAgain(ctx, t, reason, "")
	default:
		if err = s.tidyOr(ctx, t); err == nil && t.v != nil {
			err = s.tidyOr(ctx, t.v)
		}
	}
	if err != nil {
		return destination.Place{}, s.fail(t, "look after table "+name, err)
	}
	return s.place(t), nil
}

// tidyOr tidies, or notes why that is refused.
func (s *session) tidyOr(ctx context.Context, t *tableState) error {
	err := s.e.explain("look after table "+t.info.Name, s.tidy(ctx, t))
	if p, ok := errors.AsType[*stream.Problem](err); ok && p.Type == typeRefused {
		s.e.refuse(t.info.Name, notTidy(p.Detail, "let the key list and delete objects below the table's location, too (s3:ListBucket, s3:DeleteObject); in a folder, the user that hubpipe runs as"))
		return nil // it is tried again in an hour
	}
	return err
}

// tidy takes away snapshots that were replaced a while ago, and files that none
// names.
func (s *session) tidy(ctx context.Context, t *tableState) error {
	now := time.Now()
	every := min(tidyEvery, s.e.o.Keep)
	last := s.e.upkeepOf(t.info.Name)
	if t.stays() {
		if now.Sub(last.looked) < min(every, looksEvery) {
			return nil
		}
		last.looked = now
		if err := s.reload(ctx, t); err != nil || t.stays() {
			return err
		}
	}
	if owed := t.st.Owed; owed != nil && t.st.Clean == nil && !t.st.Erase {
		// What is valid now has nothing of it: everything was written again since.
		st := s.next(t)
		st.Clean = &clean{st.Position, t.tbl.Metadata().LastSequenceNumber(), st.Committed}
		return s.commit(ctx, t, st, nil)
	}
	_, due := t.expirable(now, s.e.o.Keep)
	due = due && now.Sub(last.expired) >= every
	if c := t.st.Clean; c != nil { // which may be done at once then
		gone := c.gone(s.e.o.Keep)
		due = due || last.tidied.Before(gone) && !now.Before(gone)
	}
	if !due && !last.tidied.IsZero() && now.Sub(last.tidied) < tidyEvery {
		return nil
	}
	last.expired, last.tidied = now, now
	// What somebody else has committed since is named by the newest metadata alone.
	if err := s.reload(ctx, t); err != nil {
		return err
	}
	if t.stays() {
		return nil
	}
	if retain, due := t.expirable(now, s.e.o.Keep); due {
		err := s.commit(ctx, t, s.next(t), func(tx *table.Transaction) error {
			return tx.ExpireSnapshots(table.WithOlderThan(s.e.o.Keep), table.WithRetainLast(retain), table.WithPostCommit(false))
		})
		if err != nil {
			return err
		}
	}
	if _, err := t.tbl.DeleteOrphanFiles(ctx, table.WithFilesOlderThan(s.e.o.Keep)); err != nil {
		return err
	}
	s.e.refuse(t.info.Name, nil)
	if c := t.st.Clean; c != nil && t.st.Outside == "" && t.oldest() >= c.Sequence && !now.Before(c.gone(s.e.o.Keep)) {
		st := s.next(t)
		st.Owed, st.Clean = nil, nil
		if t.st.Erased > c.Position { // of that later writing is waited for
			st.Owed = &c.Position
		}
		return s.commit(ctx, t, st, nil)
	}
	return nil
}

// gone is from when on a tidying takes away all files from before: what none names
// stays for as long as keep, by the time that its store gave it.
func (c *clean) gone(keep time.Duration) time.Time { return c.At.Add(keep + min(keep, clocks)) }

// stays tells whether nothing of the table may be taken away.
func (t *tableState) stays() bool { return !t.tbl.Properties().GetBool(gcKey, true) }

// hinders is why what was erased is not gone one day by itself.
func (t *tableState) hinders() *stream.Problem {
	switch {
	case t.st.Owed == nil:
		return nil
	case t.stays():
		return notTidy("the table's property "+gcKey+" is false, and what was erased stays in its files of before", "set it to true")
	case t.st.Outside != "":
		return notTidy("files of before lie outside the table's location, and may have what was erased: "+t.st.Outside,
			"remove the property write.data.path and resync the stream; take away the files of the table that lie there, and resync it again")
	}
	return nil
}

// reload reads the table anew, which has to be where it was left.
func (s *session) reload(ctx context.Context, t *tableState) error {
	tbl, err := s.catalog.LoadTable(ctx, s.ident(t.info.Name))
	if err != nil {
		return err
	}
	st, err := s.readState(t.info.Name, t.st.Of, tbl.Properties())
	if err != nil {
		return err
	}
	if st.Number != t.st.Number || st.Writer != t.st.Writer {
		return othersWrote("look after table " + t.info.Name)
	}
	t.tbl = tbl
	return nil
}

// expirable tells how many snapshots have to stay, and whether there are more. A
// snapshot stays until the one behind it is old enough: as long it was the newest.
func (t *tableState) expirable(now time.Time, keep time.Duration) (retain int, due bool) {
	meta := t.tbl.Metadata()
	for snap := t.tbl.CurrentSnapshot(); snap != nil; {
		retain++
		old := now.Sub(time.UnixMilli(snap.TimestampMs)) > keep
		if snap.ParentSnapshotID == nil {
			return retain, false
		}
		if snap = meta.SnapshotByID(*snap.ParentSnapshotID); old {
			return retain, snap != nil
		}
	}
	return max(retain, 1), false
}

// oldest is the lowest sequence number of the snapshots that there are.
func (t *tableState) oldest() int64 {
	lowest := t.tbl.Metadata().LastSequenceNumber()
	for _, snap := range t.tbl.Metadata().Snapshots() {
		lowest = min(lowest, snap.SequenceNumber)
	}
	return lowest
}
