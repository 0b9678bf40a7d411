package files

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/parquet-go/parquet-go"
	"github.com/zeebo/xxh3"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/rawjson"
)

func hash(b []byte) uint64 { return xxh3.Hash(b) }

func hexSum(n uint64) string { return fmt.Sprintf("%016x", n) }

// newest gathers the newest row of each record, as a reader has to.
type newest struct {
	rows map[uint64]seen // by a hash of the id
	live bool            // leave out what has ended
}

type seen struct {
	seq, print uint64
	state      string
}

func (n *newest) add(id []byte, x seen) {
	key := hash(id)
	if was, ok := n.rows[key]; !ok || x.seq >= was.seq {
		x.state = string(stateOf(x.state))
		n.rows[key] = x
	}
}

// stateOf gives each state one text, so that a million rows do not have one each.
func stateOf(s string) stream.State {
	for _, x := range []stream.State{stream.Live, stream.Archived, stream.Purged, stream.Merged} {
		if s == string(x) {
			return x
		}
	}
	return stream.State(s)
}

func (n *newest) digest(at uint64) destination.Digest {
	out := destination.Digest{Position: at, Rows: map[string]uint64{}}
	var sum uint64
	for _, x := range n.rows {
		if n.live && x.state != string(stream.Live) {
			continue
		}
		out.Rows[x.state]++
		sum += x.print
	}
	out.Digest = hexSum(sum)
	return out
}

// printer makes a number of a row, whatever the order of its columns.
type printer struct {
	sum uint64
	b   []byte
}

func (p *printer) add(name uint64, v parquet.Value) {
	b := binary.LittleEndian.AppendUint64(p.b[:0], name)
	switch v.Kind() {
	case parquet.ByteArray:
		b = append(b, v.ByteArray()...)
	default:
		b = binary.LittleEndian.AppendUint64(b, v.Uint64())
		b = append(b, byte(v.Kind()))
	}
	p.b = b
	p.sum += hash(b)
}

// element adds one of a list.
func (p *printer) element(name uint64, i int, v parquet.Value) {
	p.add(name+uint64(i+1)*0x9e3779b97f4a7c15, v) //nolint:gosec // as a hash is made
}

// Digest reads all files that are valid.
func (s *session) Digest(ctx context.Context, name string) (destination.Digest, error) {
	t := s.of(name)
	n := &newest{rows: map[uint64]seen{}, live: s.e.o.Delete}
	for _, f := range t.m.Files {
		if err := s.digestFile(ctx, f, t.m.Schemas[f.Schema], n); err != nil {
			return destination.Digest{}, s.fail(nil, "read "+f.Path, err)
		}
	}
	return n.digest(t.m.Position), nil
}

func (s *session) digestFile(ctx context.Context, f File, types map[string]kind, n *newest) error {
	if strings.HasSuffix(f.Path, ".gz") {
		r, err := s.bucket.open(ctx, f.Path)
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }() // it was only read
		return digestLines(r, types, n)
	}
	file, done, err := s.openAt(ctx, f)
	if err != nil {
		return err
	}
	defer done()
	return digestParquet(ctx, file, f.Bytes, n)
}

// openAt opens a file to be read here and there, as Parquet is; done ends that.
func (s *session) openAt(ctx context.Context, f File) (file *os.File, done func(), err error) {
	r, err := s.bucket.open(ctx, f.Path)
	if err != nil {
		return nil, nil, err
	}
	closed := func() { _ = r.Close() } // it was only read
	if file, ok := r.(*os.File); ok {
		return file, closed, nil
	}
	defer closed()
	if file, err = os.CreateTemp("", "hubpipe-read-"); err != nil {
		return nil, nil, err
	}
	done = func() { _, _ = file.Close(), os.Remove(file.Name()) } // it is of no use any more
	if _, err := io.Copy(file, r); err != nil {
		done()
		return nil, nil, err
	}
	return file, done, nil
}

func digestParquet(ctx context.Context, r io.ReaderAt, size int64, n *newest) error {
	f, err := parquet.OpenFile(r, size)
	if err != nil {
		return err
	}
	paths := f.Schema().Columns()
	names := make([]uint64, len(paths))
	var id, seq, state int
	for i, p := range paths {
		names[i] = hash([]byte(p[0]))
		switch p[0] {
		case colID:
			id = i
		case colSeq:
			seq = i
		case colState:
			state = i
		}
	}
	buf := make([]parquet.Row, 64)
	var p printer
	one := func(row parquet.Row) {
		p.sum = 0
		var x seen
		var key []byte
		for i, at := 0, 0; i < len(row); i++ {
			v := row[i]
			c := v.Column()
			if at = at + 1; v.RepetitionLevel() == 0 {
				at = 0
			}
			switch c {
			case id:
				key = v.ByteArray()
			case seq:
				x.seq = v.Uint64()
			case state:
				x.state = string(v.ByteArray())
			}
			switch {
			case v.IsNull():
			case len(paths[c]) > 1:
				p.element(names[c], at, v)
			default:
				p.add(names[c], v)
			}
		}
		x.print = p.sum
		n.add(key, x)
	}
	for _, g := range f.RowGroups() {
		rows := g.Rows()
		for {
			if err := ctx.Err(); err != nil {
				_ = rows.Close()
				return err
			}
			k, err := rows.ReadRows(buf)
			for _, row := range buf[:k] {
				one(row)
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				_ = rows.Close()
				return err
			}
		}
		if err := rows.Close(); err != nil {
			return err
		}
	}
	return nil
}

func digestLines(r io.Reader, types map[string]kind, n *newest) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(z, 1<<20)
	var p printer
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		p.sum = 0
		var x seen
		var id []byte
		s := rawjson.Scan(line)
		if !s.Open('{') {
			return errors.New("a line is no object")
		}
		for i := 0; s.Next(i, '}'); i++ {
			name, raw := s.Name(), s.Value()
			if s.Broken() {
				return errors.New("a line is no JSON")
			}
			column := unquote(name)
			k := types[string(column)]
			if k == texts {
				list := rawjson.Scan(raw)
				list.Open('[')
				for j := 0; list.Next(j, ']'); j++ {
					p.element(hash(column), j, parquet.ByteArrayValue(unquote(list.Value())))
				}
				continue
			}
			v, ok := parseOwn(k, raw)
			if !ok {
				return fmt.Errorf("a value of column %s is none of its type", column)
			}
			p.add(hash(column), v)
			switch string(column) {
			case colID:
				id = v.ByteArray()
			case colSeq:
				x.seq = v.Uint64()
			case colState:
				x.state = string(v.ByteArray())
			}
		}
		x.print = p.sum
		n.add(id, x)
	}
}

// parseOwn reads a value as we wrote it.
func parseOwn(k kind, raw []byte) (parquet.Value, bool) {
	if k == integer {
		i, err := strconv.ParseInt(string(raw), 10, 64)
		return parquet.Int64Value(i), err == nil
	}
	return parse(k, raw)
}

var errMoved = errors.New("the columns have changed")

// chunk is how many records are packed at once to be digested.
const chunk = 200

// Expect is the Digest of records as they should stand in the files.
func (s *session) Expect(name string, each func(func(*stream.Record) error) error) (destination.Digest, error) {
	l := s.layoutOf(name)
	n := &newest{rows: map[uint64]seen{}, live: s.e.o.Delete}
	var records []*stream.Record
	var room []parquet.Value
	var p printer
	some := func() error {
		x := pack(l, records, room)
		room = x.room
		if !x.fits() {
			return errMoved
		}
		for row, r := range records {
			p.sum = 0
			for i, values := range x.values {
				if list := x.lists[i]; list != nil {
					for j, v := range list.of(row) {
						if !v.IsNull() {
							p.element(l.prints[i], j, v)
						}
					}
					continue
				}
				if v := values[row]; !v.IsNull() {
					p.add(l.prints[i], v)
				}
			}
			n.add([]byte(r.ID), seen{seq: r.Seq, print: p.sum, state: string(r.State)})
		}
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
	return n.digest(0), err
}
