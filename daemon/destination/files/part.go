package files

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/parquet-go/parquet-go"
)

// Bounds of what is gathered of a Parquet file: a group of rows is held packed, a
// page of each column as it is.
const (
	groupBytes = 16 << 20
	groupRows  = 200_000
	pageBuffer = 64 << 10
)

// part is a file that is being written.
type part struct {
	of     *layout
	file   File
	out    *counting
	format format
}

// format writes rows as one.
type format interface {
	rows(p *packed) error
	// held is about how much was taken in that is not written yet.
	held() int64
	close() error
}

// counting counts what passes.
type counting struct {
	output
	n int64
}

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.output.Write(b)
	c.n += int64(n)
	return n, err
}

// begin begins a file.
func (s *session) begin(ctx context.Context, key string, l *layout) (*part, error) {
	o, err := s.bucket.create(ctx, key, false)
	if err != nil {
		return nil, err
	}
	p := &part{of: l, file: File{Path: key}, out: &counting{output: o}}
	if s.e.o.Format == NDJSON {
		p.format = newLines(p.out, l)
	} else {
		p.format = newGrid(p.out, l)
	}
	return p, nil
}

// add writes rows.
func (p *part) add(x *packed) error {
	if err := p.format.rows(x); err != nil {
		return err
	}
	seq := x.values[x.of.own.seq]
	from, to := seq[0].Uint64(), seq[len(seq)-1].Uint64() // the feed is in order
	if p.file.Rows == 0 {
		p.file.From = from
	}
	p.file.To = max(p.file.To, to)
	p.file.Rows += uint64(x.rows) //nolint:gosec // far below
	return nil
}

func (p *part) size() int64 { return p.out.n + p.format.held() }

// finish ends the file; it is there then.
func (p *part) finish() (File, error) {
	if err := p.format.close(); err != nil {
		return File{}, err
	}
	if err := p.out.commit(); err != nil {
		return File{}, err
	}
	p.file.Bytes = p.out.n
	return p.file, nil
}

// grid is a Parquet file.
type grid struct {
	// The generic writer that is to be used instead costs another 2 MB of the
	// binary, for types that nobody writes here.
	w       *parquet.Writer //nolint:staticcheck // see above
	columns []*parquet.ColumnWriter
	rowsIn  int
	out     *counting
}

func newGrid(out *counting, l *layout) *grid {
	w := parquet.NewWriter(out, l.schema, parquet.PageBufferSize(pageBuffer), parquet.CreatedBy("hubpipe", "", ""))
	return &grid{w: w, columns: w.ColumnWriters(), out: out}
}

func (t *grid) rows(p *packed) error {
	for i, c := range t.columns {
		values := p.values[i]
		if x := p.lists[i]; x != nil {
			values = x.values
		}
		if _, err := c.WriteRowValues(values); err != nil {
			return fmt.Errorf("column %s: %w", p.of.columns[i].Name, err)
		}
	}
	if t.rowsIn += p.rows; t.rowsIn < groupRows && t.held() < groupBytes {
		return nil
	}
	t.rowsIn = 0
	return t.w.Flush()
}

func (t *grid) held() int64 { return max(0, t.w.Size()-t.out.n) }

func (t *grid) close() error { return t.w.Close() }

// lines is a file of NDJSON.
type lines struct {
	of  *layout
	zip *gzip.Writer
	w   *bufio.Writer
	// names are those of the columns as members of an object begin.
	names []string
	line  []byte
}

func newLines(out *counting, l *layout) *lines {
	z, _ := gzip.NewWriterLevel(out, gzip.BestSpeed) // the level is one
	x := &lines{of: l, zip: z, w: bufio.NewWriterSize(z, pageBuffer)}
	for _, c := range l.columns {
		b, _ := json.Marshal(c.Name) // a text always has a form
		x.names = append(x.names, string(b)+":")
	}
	return x
}

func (x *lines) rows(p *packed) error {
	for row := range p.rows {
		b := append(x.line[:0], '{')
		for i := range p.of.columns {
			if l := p.lists[i]; l != nil {
				if values := l.of(row); !values[0].IsNull() {
					b = append(append(b, x.names[i]...), '[')
					for _, v := range values {
						b = append(appendText(b, v.ByteArray()), ',')
					}
					b[len(b)-1] = ']'
					b = append(b, ',')
				}
				continue
			}
			if v := p.values[i][row]; !v.IsNull() {
				b = append(appendJSON(append(b, x.names[i]...), p.of.columns[i].Type, v), ',')
			}
		}
		b[len(b)-1] = '}' // of the comma: a row has an id
		x.line = append(b, '\n')
		if _, err := x.w.Write(x.line); err != nil {
			return err
		}
	}
	return nil
}

func (x *lines) held() int64 { return int64(x.w.Buffered()) }

func (x *lines) close() error {
	if err := x.w.Flush(); err != nil {
		return err
	}
	return x.zip.Close()
}

// of are the values of a row: one that is null where there is no list.
func (l *list) of(row int) []parquet.Value {
	begin := 0
	if row > 0 {
		begin = l.ends[row-1]
	}
	return l.values[begin:l.ends[row]]
}

func appendJSON(b []byte, k kind, v parquet.Value) []byte {
	switch k {
	case nested:
		return append(b, v.ByteArray()...)
	case number:
		f := v.Double()
		if f == math.Trunc(f) && math.Abs(f) < 1e15 {
			return strconv.AppendInt(b, int64(f), 10)
		}
		return strconv.AppendFloat(b, f, 'g', -1, 64)
	case integer:
		return strconv.AppendInt(b, v.Int64(), 10)
	case boolean:
		return strconv.AppendBool(b, v.Boolean())
	case date:
		t := time.Unix(int64(v.Int32())*24*60*60, 0).UTC()
		return append(t.AppendFormat(append(b, '"'), time.DateOnly), '"')
	case timestamp:
		t := time.UnixMilli(v.Int64()).UTC()
		return append(t.AppendFormat(append(b, '"'), "2006-01-02T15:04:05.000Z"), '"')
	}
	return appendText(b, v.ByteArray())
}

// appendText appends text as JSON.
func appendText(b, v []byte) []byte {
	b = append(b, '"')
	for _, c := range v {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
