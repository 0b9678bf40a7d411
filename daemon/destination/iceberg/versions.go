//go:build iceberg

package iceberg

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Where versions are wanted, a table beside the stream's has a row for each. It has a
// place of its own, moved by the commits that add its rows; it is committed first, so
// that it is never behind, and what it has already is not added again. Rows go where
// their record has lost its content, and else stay.

// versionsOf is the table of a stream's versions.
func versionsOf(name string) string { return name + "__versions" }

// prepareVersions reads where the table of versions is, and makes it fit. Where none
// are wanted any more it is emptied, and stays so.
func (s *session) prepareVersions(ctx context.Context, t *tableState) error {
	wanted := t.info.Versions > 0
	if !wanted && !t.st.Versions {
		return nil
	}
	v := &tableState{info: t.info}
	v.info.Name = versionsOf(t.info.Name)
	var err error
	v.tbl, err = s.catalog.LoadTable(ctx, s.ident(v.info.Name))
	switch {
	case errors.Is(err, catalog.ErrNoSuchTable):
		if !wanted || t.info.Look {
			return nil
		}
		err = s.createVersions(ctx, t, v)
	case err == nil:
		v.st, err = s.readState(v.info.Name, t.info.Name, v.tbl.Properties())
	}
	if err != nil {
		return err
	}
	t.v, v.columns = v, v.st.Columns
	if t.info.Look {
		return nil
	}
	// What others chose, and what a restored store has not, are no versions of what is
	// written now.
	otherwise := v.st.Choice != t.info.Rules.Key() || v.st.Epoch < s.origin.Epoch || len(files.HandledAlike(v.st.Columns, t.info.Rules)) < len(v.st.Columns)
	if wanted == v.st.Idle || wanted && otherwise {
		if err := s.emptyVersions(ctx, t, !wanted); err != nil {
			return err
		}
	}
	if err := s.shapeVersions(ctx, t); err != nil {
		return err
	}
	if !v.st.Unfilled || t.fillable() || t.st.Position < v.st.Base {
		return nil // it is begun when the table is as far, where that was dropped
	}
	// Not by and by: what is superseded from now on is put aside only for who is said to
	// read what is before.
	return s.beginAgain(ctx, t, destination.ReasonColumns, "")
}

// createVersions makes the table of versions, which begins where the stream's is.
func (s *session) createVersions(ctx context.Context, t, v *tableState) error {
	if !t.st.Versions { // whoever wants none one day looks for it then
		st := s.next(t)
		st.Versions = true
		if err := s.commit(ctx, t, st, func(tx *table.Transaction) error { return s.empty(ctx, t, tx, st) }); err != nil {
			return err
		}
	}
	v.st = s.first(&v.info)
	v.st.Of = t.info.Name
	v.st.begin(t.st.Position)
	v.st.Columns = t.columns
	text, err := json.Marshal(v.st)
	if err != nil {
		return err
	}
	v.tbl, err = s.catalog.CreateTable(ctx, s.ident(v.info.Name), schemaOf(v.st.Columns, colID, colSeq), catalog.WithProperties(s.tableProperties(string(text))))
	return err
}

// begin makes versions begin behind a place, with the records as they are there.
func (st *state) begin(at uint64) {
	st.Position, st.Base, st.Unfilled = at, at, at > 0
}

// emptyVersions takes all rows away. With idle none come any more, else it begins
// with the records as they are now.
func (s *session) emptyVersions(ctx context.Context, t *tableState, idle bool) error {
	v := t.v
	if err := s.unboundedly(ctx, v); err != nil {
		return err
	}
	had, _, err := v.liveFiles(ctx, math.MaxInt64, nil)
	if err != nil {
		return err
	}
	st := s.next(v)
	st.begin(t.st.Position)
	st.Idle, st.Unfilled = idle, st.Unfilled && !idle
	st.Bare, st.Erase, st.Since, st.Whole = false, false, 0, st.Committed
	if len(had.data) > 0 {
		if st.Owed == nil { // what is erased from now on may be in its files of before
			owed := max(t.st.Position, 1)
			st.Owed = &owed
		}
		st.Clean = &clean{t.st.Position, v.sequence(), st.Committed}
		st.Outside = cmp.Or(v.outside(had.data), st.Outside)
	}
	return s.commit(ctx, v, st, func(tx *table.Transaction) error {
		if len(had.data)+len(had.deletes) == 0 {
			return s.empty(ctx, v, tx, st)
		}
		r := tx.NewRewrite(st.summary())
		for _, f := range slices.Concat(had.data, had.deletes) {
			r.DeleteFile(f)
		}
		return r.Commit(ctx)
	})
}

// shapeVersions makes the table of versions have the stream's columns. One whose type
// is another now keeps its values under another name.
func (s *session) shapeVersions(ctx context.Context, t *tableState) error {
	v := t.v
	if v == nil || v.st.Idle {
		return nil
	}
	var add, gone []files.Column
	old := map[string]string{}
	schema := v.tbl.Schema()
	for _, c := range v.st.Columns {
		// It was emptied when that came.
		if _, there := schema.FindFieldByName(c.Name); there && c.Property != "" && t.info.Rules.Mark(c.Property) != c.Handling {
			gone = append(gone, c)
		}
	}
	for _, c := range t.columns {
		f, ok := schema.FindFieldByName(c.Name)
		switch {
		case !ok || named(gone, c.Name):
			add = append(add, c)
		case c.Property != "" && !named(v.st.Columns, c.Name):
			return yours(&c, v.info.Name)
		case !sameType(f.Type, &c):
			old[c.Name] = unused(schema, c.Name)
			add = append(add, c)
		}
	}
	v.columns = t.columns
	if len(old) > 0 {
		st := s.next(v)
		if err := s.commit(ctx, v, st, func(tx *table.Transaction) error {
			u := tx.UpdateSchema(true, true)
			for from, to := range old {
				u.RenameColumn([]string{from}, to)
			}
			return errors.Join(u.Commit(), s.empty(ctx, v, tx, st))
		}); err != nil {
			return err
		}
	}
	if len(add)+len(gone) == 0 {
		return nil
	}
	st := s.next(v)
	return s.commit(ctx, v, st, func(tx *table.Transaction) error {
		u := tx.UpdateSchema(true, true)
		for _, c := range gone {
			u.DeleteColumn([]string{c.Name})
		}
		for _, c := range add {
			u.AddColumn([]string{c.Name}, typeOf(&c), c.Label, false, nil)
		}
		return errors.Join(u.Commit(), s.empty(ctx, v, tx, st))
	})
}

// unused is a name for what a column had before.
func unused(schema *iceberg.Schema, name string) string {
	for n := 1; ; n++ {
		mark := "__before_" + strconv.Itoa(n)
		x := name[:min(len(name), maxName-len(mark))] + mark
		if _, taken := schema.FindFieldByName(x); !taken {
			return x
		}
	}
}

// takeVersions takes in what the table of versions has not. rows are all that were
// read, newest those that are not superseded.
func (s *session) takeVersions(ctx context.Context, t *tableState, b *destination.Batch, rows, newest *files.Rows) error {
	v := t.v
	if v == nil || v.st.Idle {
		return nil
	}
	var keep []*stream.Record
	switch {
	case !b.Reread:
		for _, r := range rows.Records() {
			if r.Seq > v.st.Position {
				keep = append(keep, r)
				v.bare = v.bare || r.State.Bare()
			}
		}
	case s.filling(t):
		keep = s.e.building(t).asOf(v.st.Base, rows.Records(), newest.Records())
	}
	switch len(keep) {
	case 0:
		return nil
	case len(rows.Records()):
	default:
		rows = t.sheet.Pack(keep)
	}
	v.erased = v.erased || !b.Reread && rows.Erased() && (v.rows > 0 || v.st.Position > 0)
	return s.add(ctx, v, t.sheet, rows)
}

// maxLate is how many bytes of records wait for what comes of them.
const maxLate = 64 << 20

// asOf are of what a rereading has read the records as they are at a place. Of what
// was superseded only the end of it tells whether that was before, so that it waits,
// while it is not too much: versions of before the place do no harm.
func (b *build) asOf(place uint64, read, newest []*stream.Record) (out []*stream.Record) {
	is := make(map[uint64]bool, len(newest))
	for _, r := range newest {
		is[r.Seq] = true
	}
	for _, r := range read {
		if r.Seq > place {
			continue
		}
		if was := b.late[r.ID]; was != nil {
			b.lateBytes -= len(was.Properties) + len(was.Associations) + len(was.History)
			delete(b.late, r.ID)
		}
		if is[r.Seq] {
			out = append(out, r)
			continue
		}
		b.late[r.ID] = r
		b.lateBytes += len(r.Properties) + len(r.Associations) + len(r.History)
	}
	if b.lateBytes > maxLate {
		out = slices.AppendSeq(out, maps.Values(b.late))
		clear(b.late)
		b.lateBytes = 0
	}
	return out
}

// beginning tells beginnings of versions apart.
func (t *tableState) beginning() string {
	return fmt.Sprint(t.v.tbl.Metadata().TableUUID(), " ", t.v.st.Base, " ", t.v.st.Choice)
}

// fillable tells whether there is a rereading that comes as far as what the table of
// versions begins with. One that had begun before need not.
func (t *tableState) fillable() bool {
	return t.v != nil && t.v.st.Unfilled && t.st.Reread != nil && t.st.Reread.Until >= t.v.st.Base
}

// filling tells whether a rereading reads what the table of versions begins with. One
// that had read something before it was wanted does not: it lacks some of it.
func (s *session) filling(t *tableState) bool {
	if !t.fillable() {
		return false
	}
	b := s.e.building(t)
	if b.position == 0 {
		b.fills = t.beginning()
	}
	return b.fills == t.beginning()
}

// flushVersions commits what was taken in.
func (s *session) flushVersions(ctx context.Context, t *tableState) error {
	v := t.v
	if v == nil || len(v.done) == 0 {
		return nil // it had everything
	}
	st := s.next(v)
	st.Position, st.Rows = t.held, st.Rows+v.rows
	st.Since++
	st.Bare = st.Bare || v.bare
	if v.erased {
		st.owe(v.st.Position, t.held)
	}
	return s.addVersions(ctx, v, st, v.done)
}

// fillVersions commits what a rereading has read for the table of versions.
func (s *session) fillVersions(ctx context.Context, t *tableState, b *build) error {
	if t.v == nil || !t.v.st.Unfilled || b.fills != t.beginning() {
		return nil
	}
	v := t.v
	if len(b.late) > 0 {
		if err := s.add(ctx, v, t.sheet, t.sheet.Pack(slices.Collect(maps.Values(b.late)))); err != nil {
			return err
		}
	}
	if err := v.finish(); err != nil {
		return err
	}
	st := s.next(v)
	st.Unfilled, st.Rows = false, st.Rows+b.versionRows+v.rows
	if err := s.addVersions(ctx, v, st, slices.Concat(b.versions, v.done)); err != nil {
		return err
	}
	v.drop()
	return nil
}

func (s *session) addVersions(ctx context.Context, v *tableState, st *state, add []iceberg.DataFile) error {
	return s.commit(ctx, v, st, func(tx *table.Transaction) error {
		if len(add) == 0 {
			return s.empty(ctx, v, tx, st)
		}
		return tx.NewRowDelta(st.summary()).AddRows(add...).Commit(ctx)
	})
}

// manyFiles is how many files of changes are written together.
const manyFiles = 20

// tendVersions takes the versions away of what has lost its content, at once where it
// was erased, and writes small files together.
func (s *session) tendVersions(ctx context.Context, t *tableState) error {
	v := t.v
	if v == nil || v.st.Idle {
		return nil
	}
	due := time.Since(v.st.Whole) >= s.e.o.Compact && (v.st.Bare || v.st.Since >= manyFiles)
	if !due && !v.st.Erase {
		return nil
	}
	return s.cleanVersions(ctx, v)
}
