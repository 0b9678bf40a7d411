//go:build iceberg

package iceberg

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/parquet-go/parquet-go"

	"github.com/hubpipe/hubpipe/daemon/destination/files"
)

// writing is files that are being written, one after the other.
type writing struct {
	schema *arrow.Schema
	// from are the columns of a sheet that the fields of the schema are filled from,
	// -1 for those of somebody else.
	from []int
	in   chan arrow.RecordBatch
	end  context.CancelFunc
	// Behind gone nothing is read any more, and done and err are what came of it.
	gone chan struct{}
	done []iceberg.DataFile
	err  error
}

var errAborted = errors.New("the files are not wanted any more")

// newWriting begins files of a table as it is now.
func newWriting(ctx context.Context, tbl *table.Table, columns []files.Column, size int64) (*writing, error) {
	schema, err := table.SchemaToArrowSchema(tbl.Schema(), nil, true, false)
	if err != nil {
		return nil, err
	}
	at := map[string]int{}
	for i, c := range columns {
		at[c.Name] = i
	}
	w := &writing{schema: schema, in: make(chan arrow.RecordBatch), gone: make(chan struct{})}
	for _, f := range schema.Fields() {
		i, ok := at[f.Name]
		if !ok {
			i = -1
		}
		w.from = append(w.from, i)
	}
	ctx, w.end = context.WithCancel(ctx)
	go w.run(ctx, tbl, size)
	return w, nil
}

func (w *writing) run(ctx context.Context, tbl *table.Table, size int64) {
	defer close(w.gone)
	records := func(yield func(arrow.RecordBatch, error) bool) {
		for {
			select {
			case rec, ok := <-w.in:
				if !ok || !yield(rec, nil) {
					return
				}
			case <-ctx.Done():
				yield(nil, errAborted)
				return
			}
		}
	}
	for f, err := range table.WriteRecords(ctx, tbl, w.schema, records, table.WithTargetFileSize(size), table.WithRecordBatchBufferSize(1)) {
		if err != nil {
			w.err = err
			continue
		}
		w.done = append(w.done, f)
	}
}

// write gives rows to the files.
func (w *writing) write(rows *files.Rows) error {
	rec, err := w.batch(rows)
	if err != nil {
		return err
	}
	select {
	case w.in <- rec:
		return nil
	case <-w.gone:
		rec.Release()
		return cmp.Or(w.err, errAborted)
	}
}

// finish ends the files; they are there then.
func (w *writing) finish() ([]iceberg.DataFile, error) {
	close(w.in)
	<-w.gone
	w.end()
	return w.done, w.err
}

func (w *writing) abort() {
	w.end()
	<-w.gone
}

// batch makes rows a batch of Arrow's.
func (w *writing) batch(rows *files.Rows) (arrow.RecordBatch, error) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, w.schema)
	defer b.Release()
	n := len(rows.Records())
	b.Reserve(n)
	for i, from := range w.from {
		f := b.Field(i)
		switch {
		case from < 0:
			for range n {
				f.AppendNull()
			}
		case rows.IsList(from):
			if err := fillList(f, rows, from, n); err != nil {
				return nil, err
			}
		default:
			if err := fill(f, rows, from, n); err != nil {
				return nil, fmt.Errorf("column %s: %w", w.schema.Field(i).Name, err)
			}
		}
	}
	return b.NewRecordBatch(), nil
}

func fillList(f array.Builder, rows *files.Rows, from, n int) error {
	list, ok := f.(*array.ListBuilder)
	if !ok {
		return errors.New("a column of lists is none")
	}
	values, ok := list.ValueBuilder().(*array.StringBuilder)
	if !ok {
		return errors.New("a list is none of texts")
	}
	for row := range n {
		all := rows.List(from, row)
		list.Append(all != nil)
		for _, v := range all {
			values.Append(string(v.ByteArray()))
		}
	}
	return nil
}

// micros are in a millisecond.
const micros = 1000

func fill(f array.Builder, rows *files.Rows, from, n int) error {
	var set func(v parquet.Value)
	switch f := f.(type) {
	case *array.StringBuilder:
		set = func(v parquet.Value) { f.BinaryBuilder.Append(v.ByteArray()) }
	case *array.Float64Builder:
		set = func(v parquet.Value) { f.Append(v.Double()) }
	case *array.Int64Builder:
		set = func(v parquet.Value) { f.Append(v.Int64()) }
	case *array.BooleanBuilder:
		set = func(v parquet.Value) { f.Append(v.Boolean()) }
	case *array.Date32Builder:
		set = func(v parquet.Value) { f.Append(arrow.Date32(v.Int32())) }
	case *array.TimestampBuilder:
		set = func(v parquet.Value) { f.Append(arrow.Timestamp(v.Int64() * micros)) }
	default:
		return fmt.Errorf("there is no way to fill %T", f)
	}
	for row := range n {
		if v := rows.Value(from, row); v.IsNull() {
			f.AppendNull()
		} else {
			set(v)
		}
	}
	return nil
}
