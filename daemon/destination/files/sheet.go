package files

import (
	"github.com/parquet-go/parquet-go"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Sheet is a stream's columns, for engines that have the same ones and write them
// by another library. It is never changed, and may be used by several goroutines.
type Sheet struct{ l *layout }

// NewSheet makes one of columns; defined says that the stream has definitions. What
// of ignored has no column is not met again.
func NewSheet(columns []Column, ignored []Ignored, defined bool) *Sheet {
	return &Sheet{newLayout(columns, skipped(ignored), defined)}
}

// Columns are those that a stream needs, by those that it has; raw adds one with all
// properties.
func (d *Drift) Columns(has []Column, t destination.Table, raw bool) []Column {
	return columnsFor(has, t, raw, d)
}

// Columns are its columns, by their names.
func (s *Sheet) Columns() []Column { return s.l.columns }

// Pack makes rows of records, as they are to be written.
func (s *Sheet) Pack(records []*stream.Record) *Rows { return &Rows{pack(s.l, records, nil)} }

// Rows are records as values of a sheet's columns.
type Rows struct{ p *packed }

// Of tells whether they are those of a sheet.
func (r *Rows) Of(s *Sheet) bool { return r.p.of == s.l }

// Records are what they were made of, a row each.
func (r *Rows) Records() []*stream.Record { return r.p.records }

// Fits tells whether the columns have all that is in the records; where they do
// not, Wants are columns that have.
func (r *Rows) Fits() bool { return r.p.fits() }

// Wants are columns with those that the records want besides, as far as d follows
// them, and wider ones.
func (r *Rows) Wants(has []Column, rules *destination.Rules, d *Drift) []Column {
	return with(has, d.unknown(r.p.unknown), r.p.wide, rules)
}

// Erased tells whether one of the records was erased.
func (r *Rows) Erased() bool { return r.p.erased }

// Unparsed counts, by the columns' names, what was none of their type.
func (r *Rows) Unparsed(fn func(column string, n uint64, example string)) {
	for name, u := range r.p.unread {
		fn(name, u.n, u.example)
	}
}

// Value is that of a row of a column, null where there is none. Times are in
// milliseconds.
func (r *Rows) Value(column, row int) parquet.Value { return r.p.values[column][row] }

// List are the values of a row of a column of lists, nil where there is none.
func (r *Rows) List(column, row int) []parquet.Value {
	values := r.p.lists[column].of(row)
	if values[0].IsNull() {
		return nil
	}
	return values
}

// IsList tells whether a column is one of lists.
func (r *Rows) IsList(column int) bool { return r.p.lists[column] != nil }

// Sum digests rows, in whatever order they and their columns come.
type Sum struct {
	n    newest
	once bool
	rows destination.Digest
	sum  uint64
	p    printer
}

// NewSum begins one. With live what has ended is left out; with once there has to
// be one row a record, else the newest counts.
func NewSum(live, once bool) *Sum {
	return &Sum{n: newest{rows: map[uint64]seen{}, live: live}, once: once, rows: destination.Digest{Rows: map[string]uint64{}}}
}

// Add adds a value of the row that is summed, which is not null.
func (s *Sum) Add(column string, v parquet.Value) { s.p.add(hash([]byte(column)), v) }

// Element adds one of a list, the i-th.
func (s *Sum) Element(column string, i int, v parquet.Value) {
	s.p.element(hash([]byte(column)), i, v)
}

// End ends a row.
func (s *Sum) End(id []byte, seq uint64, state string) {
	row := s.p.sum
	s.p.sum = 0
	switch {
	case !s.once:
		s.n.add(id, seen{seq: seq, print: row, state: state})
	case !s.n.live || state == string(stream.Live):
		s.rows.Rows[string(stateOf(state))]++
		s.sum += row
	}
}

// Digest is what the rows come to.
func (s *Sum) Digest(at uint64) destination.Digest {
	if !s.once {
		return s.n.digest(at)
	}
	out := s.rows
	out.Position, out.Digest = at, hexSum(s.sum)
	return out
}

// Rows adds rows as they should stand somewhere.
func (s *Sum) Rows(r *Rows) {
	for row, rec := range r.p.records {
		for i, c := range r.p.of.columns {
			if r.IsList(i) {
				for j, v := range r.List(i, row) {
					s.Element(c.Name, j, v)
				}
			} else if v := r.Value(i, row); !v.IsNull() {
				s.Add(c.Name, v)
			}
		}
		s.End([]byte(rec.ID), rec.Seq, string(rec.State))
	}
}
