//go:build iceberg

package iceberg

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/parquet-go/parquet-go"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Digest reads the table as it is now.
func (s *session) Digest(ctx context.Context, name string) (destination.Digest, error) {
	t := s.of(name)
	sum := files.NewSum(s.e.o.Delete, s.e.o.Mode == Upsert && t.st.Mode == Upsert)
	scan := t.tbl.Scan()
	defer func() { _ = scan.Close() }() // it was only read
	_, records, err := scan.ToArrowRecords(ctx)
	if err != nil {
		return destination.Digest{}, s.fail(nil, "read "+name, err)
	}
	own := map[string]bool{}
	for _, c := range t.columns {
		own[c.Name] = true
	}
	for rec, err := range records {
		if err == nil {
			err = digest(sum, rec, own)
			rec.Release()
		}
		if err != nil {
			return destination.Digest{}, s.fail(nil, "read "+name, err)
		}
	}
	return sum.Digest(t.st.Position), nil
}

func digest(sum *files.Sum, rec arrow.RecordBatch, own map[string]bool) error {
	names := rec.Schema().Fields()
	for row := range int(rec.NumRows()) {
		var id []byte
		var seq uint64
		var state string
		for i, col := range rec.Columns() {
			name := names[i].Name
			if !own[name] || col.IsNull(row) {
				continue
			}
			if list, ok := col.(*array.List); ok {
				texts, ok := list.ListValues().(*array.String)
				if !ok {
					return fmt.Errorf("column %s is a list of something else", name)
				}
				from, to := list.ValueOffsets(row)
				for j := from; j < to; j++ {
					sum.Element(name, int(j-from), parquet.ByteArrayValue([]byte(texts.Value(int(j)))))
				}
				continue
			}
			v, err := valueOf(col, row)
			if err != nil {
				return fmt.Errorf("column %s: %w", name, err)
			}
			sum.Add(name, v)
			switch name {
			case colID:
				id = v.ByteArray()
			case colSeq:
				seq = v.Uint64()
			case colState:
				state = string(v.ByteArray())
			}
		}
		sum.End(id, seq, state)
	}
	return nil
}

// valueOf is a value as rows have it.
func valueOf(col arrow.Array, row int) (parquet.Value, error) {
	switch c := col.(type) {
	case *array.String:
		return parquet.ByteArrayValue([]byte(c.Value(row))), nil
	case *array.LargeString:
		return parquet.ByteArrayValue([]byte(c.Value(row))), nil
	case *array.Float64:
		return parquet.DoubleValue(c.Value(row)), nil
	case *array.Int64:
		return parquet.Int64Value(c.Value(row)), nil
	case *array.Boolean:
		return parquet.BooleanValue(c.Value(row)), nil
	case *array.Date32:
		return parquet.Int32Value(int32(c.Value(row))), nil
	case *array.Timestamp:
		return parquet.Int64Value(int64(c.Value(row)) / micros), nil
	}
	return parquet.Value{}, fmt.Errorf("there is no way to read %T", col)
}

var errMoved = errors.New("the columns have changed")

// chunk is how many records are packed at once to be digested.
const chunk = 200

// Expect is the Digest of records as they should stand in the table.
func (s *session) Expect(name string, each func(func(*stream.Record) error) error) (destination.Digest, error) {
	s.mu.Lock()
	sheet := s.streams[name].sheet
	s.mu.Unlock()
	sum := files.NewSum(s.e.o.Delete, true)
	var records []*stream.Record
	some := func() error {
		rows := sheet.Pack(records)
		if !rows.Fits() {
			return errMoved
		}
		sum.Rows(rows)
		records = records[:0]
		return nil
	}
	err := each(func(r *stream.Record) error {
		if records = append(records, r); len(records) < chunk {
			return nil
		}
		return some()
	})
	if err == nil {
		err = some()
	}
	return sum.Digest(0), err
}
