//go:build iceberg

package iceberg

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// small is of how many parts of a file's size one is that is worth to be written
// together with others.
const small = 4

// cleanVersions writes files again that have versions of what has lost its content
// since, without these, and with them files that are small. The rows that say so are
// in the table.
func (s *session) cleanVersions(ctx context.Context, v *tableState) error {
	tasks, err := s.plan(ctx, v)
	if err != nil {
		return err
	}
	bare := map[string]uint64{} // and where they have lost it
	if err := s.eachKey(ctx, v, tasks, func(id string, seq uint64, state stream.State) {
		if state.Bare() {
			bare[id] = max(bare[id], seq)
		}
	}); err != nil {
		return err
	}
	bounds, err := v.outlasting(ctx)
	if err != nil {
		return err
	}
	var again []table.FileScanTask
	var old []iceberg.DataFile
	for _, task := range tasks {
		has := task.File.FileSizeBytes() < s.e.o.FileSize/small && v.st.Since >= manyFiles
		if len(bare) > 0 && !has {
			if err := s.eachKey(ctx, v, []table.FileScanTask{task}, func(id string, seq uint64, _ stream.State) { has = has || seq < bare[id] }); err != nil {
				return err
			}
		}
		if has {
			again, old = append(again, task), append(old, task.File)
		}
	}
	shown := v.bounded(old)
	if bounds && len(old) == 0 && len(tasks) > 0 { // any other commit takes these manifests over
		i := smallest(tasks)
		again, old = tasks[i:i+1], []iceberg.DataFile{tasks[i].File}
	}
	st := s.next(v)
	st.Bare, st.Erase, st.Whole = false, false, st.Committed
	if v.st.Since >= manyFiles {
		st.Since = 0
	}
	if at := v.outside(old); at != "" {
		st.Outside = at
	}
	switch {
	case st.Owed == nil:
	case shown:
		st.Erase = true // what replaces them says their values, and the next is without it
	case st.Clean == nil:
		st.Clean = &clean{st.Position, v.sequence(), st.Committed}
	}
	add, err := s.without(ctx, v, again, bare)
	if err != nil {
		return err
	}
	return s.replace(ctx, v, st, old, add)
}

// replace commits files in the place of others.
func (s *session) replace(ctx context.Context, v *tableState, st *state, old, add []iceberg.DataFile) error {
	return s.commit(ctx, v, st, func(tx *table.Transaction) error {
		if len(old) == 0 {
			return s.empty(ctx, v, tx, st)
		}
		r := tx.NewRewrite(st.summary())
		for _, f := range old {
			r.DeleteFile(f)
		}
		for _, f := range add {
			r.AddDataFile(f)
		}
		return r.Commit(ctx)
	})
}

func smallest(tasks []table.FileScanTask) (at int) {
	for i, task := range tasks {
		if task.File.FileSizeBytes() < tasks[at].File.FileSizeBytes() {
			at = i
		}
	}
	return at
}

// outlasting tells whether a manifest has values that may be personal, of a file that
// was replaced. A commit that adds rows takes it over as it is.
func (t *tableState) outlasting(ctx context.Context) (bool, error) {
	snap := t.tbl.CurrentSnapshot()
	if snap == nil {
		return false, nil
	}
	fs, err := t.tbl.FS(ctx)
	if err != nil {
		return false, err
	}
	manifests, err := snap.Manifests(fs)
	if err != nil {
		return false, err
	}
	for _, m := range manifests {
		for entry, err := range m.Entries(fs, false) {
			if err != nil {
				return false, err
			}
			if entry.Status() == iceberg.EntryStatusDELETED && t.bounded([]iceberg.DataFile{entry.DataFile()}) {
				return true, nil
			}
		}
	}
	return false, nil
}

// unboundedly writes files again whose values manifests say. Where all go no commit
// may come that is without those manifests, so that files go that have nothing said.
func (s *session) unboundedly(ctx context.Context, v *tableState) error {
	for range 2 { // files are written by the properties that the last commit has set
		had, _, err := v.liveFiles(ctx, math.MaxInt64, nil)
		if err != nil || !v.bounded(had.data) {
			return err
		}
		tasks, err := s.plan(ctx, v)
		if err != nil {
			return err
		}
		add, err := s.without(ctx, v, tasks, nil)
		if err != nil {
			return err
		}
		st := s.next(v)
		st.Outside = cmp.Or(v.outside(had.data), st.Outside)
		st.Choice, st.Epoch = v.st.Choice, v.st.Epoch // by which it is seen that they have to go
		if err := s.replace(ctx, v, st, had.data, add); err != nil {
			return err
		}
	}
	return nil
}

// plan are the files of a table.
func (s *session) plan(ctx context.Context, v *tableState) ([]table.FileScanTask, error) {
	scan := v.tbl.Scan()
	defer func() { _ = scan.Close() }() // it was only read
	return scan.PlanFiles(ctx)
}

// eachKey reads of some files which versions of what they have.
func (s *session) eachKey(ctx context.Context, v *tableState, tasks []table.FileScanTask, fn func(id string, seq uint64, state stream.State)) error {
	if len(tasks) == 0 {
		return nil
	}
	scan := v.tbl.Scan(table.WithSelectedFields(colID, colSeq, colState))
	defer func() { _ = scan.Close() }() // it was only read
	_, records, err := scan.ReadTasks(ctx, tasks)
	if err != nil {
		return err
	}
	for rec, err := range records {
		if err != nil {
			return err
		}
		err = keys(rec, fn)
		rec.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

func keys(rec arrow.RecordBatch, fn func(id string, seq uint64, state stream.State)) error {
	var ids, states array.StringLike
	var seqs *array.Int64
	for i, f := range rec.Schema().Fields() {
		switch f.Name {
		case colID:
			ids, _ = rec.Column(i).(array.StringLike)
		case colSeq:
			seqs, _ = rec.Column(i).(*array.Int64)
		case colState:
			states, _ = rec.Column(i).(array.StringLike)
		}
	}
	if ids == nil || seqs == nil || states == nil {
		return errors.New("the table of versions has lost a column of its own")
	}
	for i := range int(rec.NumRows()) {
		fn(ids.Value(i), uint64(seqs.Value(i)), stream.State(states.Value(i))) //nolint:gosec // a place is none below 0
	}
	return nil
}

// without writes the rows of some files again, but for versions of before a record
// has lost its content.
func (s *session) without(ctx context.Context, v *tableState, tasks []table.FileScanTask, bare map[string]uint64) (out []iceberg.DataFile, err error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	scan := v.tbl.Scan(table.WithMaxConcurrency(1)) // each file is held while it waits for the one before
	defer func() { _ = scan.Close() }()             // it was only read
	schema, records, err := scan.ReadTasks(ctx, tasks)
	if err != nil {
		return nil, err
	}
	stays := func(yield func(arrow.RecordBatch, error) bool) {
		for rec, err := range records {
			if err == nil {
				rec, err = staying(ctx, rec, bare)
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
	for f, err := range table.WriteRecords(ctx, v.tbl, schema, iter.Seq2[arrow.RecordBatch, error](stays), table.WithTargetFileSize(s.e.o.FileSize), table.WithRecordBatchBufferSize(1)) {
		if err != nil {
			return nil, err
		}
		if f.Count() > 0 { // a scan passes by what is empty, so that it would stay
			out = append(out, f)
		}
	}
	return out, nil
}

// staying are the rows of a batch that stay; the batch is let go.
func staying(ctx context.Context, rec arrow.RecordBatch, bare map[string]uint64) (arrow.RecordBatch, error) {
	defer rec.Release()
	mask := array.NewBooleanBuilder(memory.DefaultAllocator)
	defer mask.Release()
	if err := keys(rec, func(id string, seq uint64, _ stream.State) { mask.Append(seq >= bare[id]) }); err != nil {
		return nil, err
	}
	m := mask.NewBooleanArray()
	defer m.Release()
	return compute.FilterRecordBatch(ctx, rec, m, compute.DefaultFilterOptions())
}
