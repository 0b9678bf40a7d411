//go:build iceberg

package iceberg

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

const (
	// maxShapes is how often the columns are made to fit one batch.
	maxShapes = 4
	// packing is about how much of properties makes one byte of a file.
	packing = 6
	// maxTaken bounds the records of a commit: their ids are held.
	maxTaken = 1_000_000
)

// Pack makes of records what Write takes.
func (s *session) Pack(name string, records []*stream.Record) destination.Packed {
	s.mu.Lock()
	x := s.streams[name].sheet
	s.mu.Unlock()
	return x.Pack(records)
}

// Write takes a batch in, and commits what was taken in when it makes a file.
func (s *session) Write(ctx context.Context, name string, b *destination.Batch) (destination.Place, error) {
	t := s.of(name)
	rows, ok := b.Packed.(*files.Rows)
	if !ok {
		return destination.Place{}, s.fail(t, "write "+name, errForeign)
	}
	if t.taken && t.overlaps(rows) {
		// Rows that come in one commit do not replace one another.
		if _, err := s.Flush(ctx, name); err != nil {
			return destination.Place{}, err
		}
	}
	if err := s.take(ctx, t, b, rows); err != nil {
		return destination.Place{}, s.fail(t, "write "+name, err)
	}
	if !b.Reread && (t.bytes >= packing*s.e.o.FileSize || t.rows >= maxTaken) {
		return s.Flush(ctx, name)
	}
	return s.place(t), nil
}

// overlaps tells whether one of the records was taken in already.
func (t *tableState) overlaps(rows *files.Rows) bool {
	for _, r := range rows.Records() {
		if t.has[r.ID] {
			return true
		}
	}
	return false
}

func (s *session) take(ctx context.Context, t *tableState, b *destination.Batch, rows *files.Rows) error {
	if t.taken && t.again != b.Reread {
		return errors.New("two readings of one stream at once")
	}
	if b.Reread && t.st.Reread == nil {
		return errors.New("a rereading goes on that has not begun")
	}
	every, more := b.Every.(*files.Rows)
	if !more {
		every = rows
	}
	for tries := 0; ; tries++ {
		if !every.Of(t.sheet) {
			every = t.sheet.Pack(every.Records())
		}
		if every.Fits() {
			break
		}
		if tries == maxShapes {
			return fmt.Errorf("the columns of %s do not come to fit its records", t.info.Name)
		}
		d := s.drift(t, t.ignored, false)
		columns := plain(every.Wants(t.columns, t.info.Rules, d))
		if err := d.Waiting(t.info.Name); err != nil {
			return err
		}
		began := uint64(0)
		if t.st.Reread != nil {
			began = t.st.Reread.Began
		}
		// What was taken in has the columns as they were.
		if err := s.flush(ctx, t); err != nil {
			return err
		}
		s.setSheet(t, columns, slices.Concat(t.ignored, d.Ignored()))
		if err := s.reshape(ctx, t, ""); err != nil {
			return err
		}
		if err := s.shapeVersions(ctx, t); err != nil {
			return err
		}
		if b.Reread && (t.st.Reread == nil || t.st.Reread.Began != began) {
			return nil // it begins anew, and this is not its beginning
		}
	}
	if !more {
		rows = every
	} else if !rows.Of(t.sheet) {
		rows = t.sheet.Pack(rows.Records())
	}
	if err := s.takeVersions(ctx, t, b, every, rows); err != nil {
		return err
	}
	records := rows.Records()
	keep := rows
	if s.e.o.Mode == Upsert {
		if records = newest(records); len(records) < len(rows.Records()) {
			keep = t.sheet.Pack(records)
		}
	}
	if s.e.o.Delete && (b.Reread || s.e.o.Mode == Upsert) {
		keep = t.sheet.Pack(live(records))
	}
	if len(keep.Records()) > 0 {
		if err := s.add(ctx, t, t.sheet, keep); err != nil {
			return err
		}
	}
	if s.e.o.Mode == Upsert && !b.Reread {
		if t.has == nil {
			t.has = map[string]bool{}
		}
		for _, r := range records {
			t.ids = append(t.ids, r.ID)
			t.has[r.ID] = true
		}
	}
	// Where nothing was written yet, nothing has to be written again. What was taken
	// in before is written: it is in the file that is open.
	t.erased = t.erased || rows.Erased() && !b.Reread && (t.taken || t.st.Position > 0)
	t.taken, t.again, t.held = true, b.Reread, b.To
	for _, r := range records {
		t.bytes += int64(len(r.Properties) + len(r.Associations) + len(r.History))
	}
	if t.unread == nil {
		t.unread = map[string]unparsed{}
	}
	rows.Unparsed(func(name string, n uint64, example string) { t.unread[name] = unparsed{t.unread[name].n + n, example} })
	return nil
}

// newest are the records without versions that another of them supersedes.
func newest(records []*stream.Record) []*stream.Record {
	last := make(map[string]int, len(records))
	for i, r := range records {
		last[r.ID] = i
	}
	if len(last) == len(records) {
		return records
	}
	out := make([]*stream.Record, 0, len(last))
	for i, r := range records {
		if last[r.ID] == i {
			out = append(out, r)
		}
	}
	return out
}

// live are the records that have not ended.
func live(records []*stream.Record) (out []*stream.Record) {
	for _, r := range records {
		if r.State == stream.Live {
			out = append(out, r)
		}
	}
	return out
}

// add writes rows of a sheet into the file that is open, or begins one.
func (s *session) add(ctx context.Context, t *tableState, x *files.Sheet, rows *files.Rows) error {
	if t.open == nil {
		w, err := newWriting(ctx, t.tbl, x.Columns(), s.e.o.FileSize)
		if err != nil {
			return err
		}
		t.open = w
	}
	t.rows += uint64(len(rows.Records()))
	return t.open.write(rows)
}

// finish ends the files that are open.
func (t *tableState) finish() error {
	if t.v != nil {
		if err := t.v.finish(); err != nil {
			return err
		}
	}
	if t.open == nil {
		return nil
	}
	done, err := t.open.finish()
	t.open = nil
	t.done = append(t.done, done...)
	return err
}

// Flush commits what was taken in.
func (s *session) Flush(ctx context.Context, name string) (destination.Place, error) {
	t := s.of(name)
	if err := s.flush(ctx, t); err != nil {
		return destination.Place{}, s.fail(t, "write "+name, err)
	}
	return s.place(t), nil
}

func (s *session) flush(ctx context.Context, t *tableState) error {
	if !t.taken {
		return nil
	}
	if err := t.finish(); err != nil {
		return err
	}
	if t.again {
		s.e.built(t)
		t.drop()
		return nil
	}
	if err := s.flushVersions(ctx, t); err != nil {
		return err
	}
	st := s.next(t)
	st.count(t.unread)
	st.Rows += t.rows
	st.Position = t.held
	st.Since++
	if t.erased {
		st.owe(t.st.Position, t.held)
		if st.Reread != nil { // what it has read so far may have what was erased
			st.again(destination.ReasonErasure, t.sequence())
		}
	}
	err := s.commit(ctx, t, st, func(tx *table.Transaction) error { return s.stage(ctx, t, tx, st) })
	if err != nil {
		return err
	}
	t.drop()
	return nil
}

// stage stages what was taken in: rows, and before them that those of the same ids
// are none any more.
func (s *session) stage(ctx context.Context, t *tableState, tx *table.Transaction, st *state) error {
	delta := tx.NewRowDelta(st.summary())
	none := len(t.done) == 0
	if len(t.done) > 0 {
		delta.AddRows(t.done...)
	}
	if s.e.o.Mode == Upsert && len(t.ids) > 0 && t.filled() {
		deletes, err := s.deletes(ctx, t, tx)
		if err != nil {
			return err
		}
		delta.AddDeletes(deletes...)
		none = none && len(deletes) == 0
	}
	if none {
		return s.empty(ctx, t, tx, st)
	}
	return delta.Commit(ctx)
}

// filled tells whether the table may have rows. The totals of a summary may be left
// out, and are wrong then in those behind it.
func (t *tableState) filled() bool { return t.tbl.CurrentSnapshot() != nil }

// deletes writes which ids are none any more.
func (s *session) deletes(ctx context.Context, t *tableState, tx *table.Transaction) ([]iceberg.DataFile, error) {
	f, ok := t.tbl.Schema().FindFieldByName(colID)
	if !ok {
		return nil, errors.New("the table has lost its column id")
	}
	one, err := t.tbl.Schema().Select(true, colID)
	if err != nil {
		return nil, err
	}
	schema, err := table.SchemaToArrowSchema(one, nil, true, false)
	if err != nil {
		return nil, err
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	ids, ok := b.Field(0).(*array.StringBuilder)
	if !ok {
		return nil, errors.New("the table's column id is no text")
	}
	for _, id := range t.ids {
		ids.Append(id)
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	return tx.WriteEqualityDeletes(ctx, []int{f.ID}, single(rec))
}

func single(rec arrow.RecordBatch) iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		rec.Retain()
		yield(rec, nil)
	}
}

// count adds what was none of its column's type.
func (st *state) count(unread map[string]unparsed) {
	for i := range st.Columns {
		c := &st.Columns[i]
		if u, ok := unread[c.Name]; ok {
			c.Unparsed, c.Example = c.Unparsed+u.n, u.example
			st.Unparsed += u.n
		}
	}
}
