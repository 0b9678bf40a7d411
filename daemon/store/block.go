package store

import (
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"strconv"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// part is one of the contents of a record.
type part int

const (
	properties part = iota
	associations
	history
	parts
)

// contentOf returns the parts of a record in their order.
func contentOf(r *stream.Record) [parts][]byte {
	return [...][]byte{r.Properties, r.Associations, r.History}
}

// cell is the place of one body: its values are each stride-th span from at
// on. shape is -1 where there is no body.
type cell struct{ shape, at, stride int32 }

type row struct {
	head  stream.Head
	cells [parts]cell
	gone  bool // replaced before the block was written, or superseded since
}

// block is some records of one stream in the order of their positions, either
// being gathered or read. first names it: no record in it has a lower
// position, and none of another block lies between two of its own.
type block struct {
	first  uint64
	rows   []row
	shapes []shape
	spans  []span
	data   []byte // what the spans point into
	buf    []byte // all that was read
	used   [parts]int32
}

// A block ends with the record that brings it to one of these: enough for the
// compressor, and little enough to read whole for one record.
const (
	blockRecords = 100
	blockBytes   = 256 << 10
)

func (b *block) reset(first uint64) {
	*b = block{first: first, rows: b.rows[:0], shapes: b.shapes[:0], spans: b.spans[:0], data: b.data[:0], buf: b.buf}
	for i := range b.used {
		b.used[i] = -1
	}
}

func (b *block) full() bool { return len(b.rows) >= blockRecords || len(b.data) >= blockBytes }

// add appends a record; its bytes are copied.
func (b *block) add(h *stream.Head, content [parts][]byte) {
	b.rows = append(b.rows, row{head: *h})
	r := &b.rows[len(b.rows)-1]
	for p, body := range content {
		r.cells[p] = cell{shape: -1}
		if body != nil {
			r.cells[p] = b.place(part(p), body)
		}
	}
}

// place appends a body, cut by the shape of the one before, by another, by one
// that is made for it, or not at all.
func (b *block) place(p part, body []byte) cell {
	base, c := uint32(len(b.data)), cell{at: int32(len(b.spans)), stride: 1}
	b.data = append(b.data, body...)
	fits := func(i int32) (ok bool) {
		b.spans, ok = b.shapes[i].match(body, base, b.spans)
		c.shape = i
		return ok
	}
	last := b.used[p]
	if last >= 0 && !b.shapes[last].whole() && fits(last) {
		return c
	}
	known, whole := 0, int32(-1)
	for i := range b.shapes {
		switch s := &b.shapes[i]; {
		case s.part != p:
		case s.whole():
			whole = int32(i)
		default:
			known++
			if int32(i) != last && fits(int32(i)) {
				b.used[p] = c.shape
				return c
			}
		}
	}
	if p == properties && known < maxShapes {
		if s, ok := learn(body, p); ok {
			b.shapes = append(b.shapes, s)
			b.used[p] = int32(len(b.shapes) - 1)
			if fits(b.used[p]) {
				return c
			}
		}
	}
	if whole < 0 {
		whole = int32(len(b.shapes))
		b.shapes = append(b.shapes, wholeShape(p))
	}
	b.spans = append(b.spans, span{base, base + uint32(len(body))})
	c.shape = whole
	return c
}

// addWhole appends the records of another block that are not gone, each body as
// one value.
func (b *block) addWhole(from *block) {
	for p := range parts {
		b.shapes = append(b.shapes, wholeShape(p))
	}
	for i := range from.rows {
		if from.rows[i].gone {
			continue
		}
		r := row{head: from.rows[i].head}
		for p, c := range from.rows[i].cells {
			r.cells[p].shape = -1
			if c.shape < 0 {
				continue
			}
			at := uint32(len(b.data))
			b.data = from.body(b.data, c)
			r.cells[p] = cell{int32(p), int32(len(b.spans)), 1}
			b.spans = append(b.spans, span{at, uint32(len(b.data))})
		}
		b.rows = append(b.rows, r)
	}
}

// live counts the records that are not gone, and says how far above the first
// position the last of them stands.
func (b *block) live() (n int, last uint64) {
	for i := range b.rows {
		if r := &b.rows[i]; !r.gone {
			n, last = n+1, r.head.Seq-b.first
		}
	}
	return n, last
}

// find returns the record at a position, nil where the block has none there.
func (b *block) find(seq uint64) *row {
	i := sort.Search(len(b.rows), func(i int) bool { return b.rows[i].head.Seq >= seq })
	if i == len(b.rows) || b.rows[i].head.Seq != seq || b.rows[i].gone {
		return nil
	}
	return &b.rows[i]
}

// size is how long a body is.
func (b *block) size(c cell) (n int) {
	s := &b.shapes[c.shape]
	n = s.around
	for i, at := 0, c.at; i < s.width(); i, at = i+1, at+c.stride {
		n += int(b.spans[at].end - b.spans[at].at)
	}
	return n
}

// body appends a body.
func (b *block) body(dst []byte, c cell) []byte {
	s := &b.shapes[c.shape]
	for i, at := 0, c.at; i < s.width(); i, at = i+1, at+c.stride {
		dst = append(dst, s.pieces[i]...)
		dst = append(dst, b.data[b.spans[at].at:b.spans[at].end]...)
	}
	return append(dst, s.pieces[s.width()]...)
}

// record makes a record that shares nothing with the block. Its bytes are
// taken from free, of which the rest is returned; where that is too little, at
// least chunk more are made.
func (b *block) record(r *row, free []byte, chunk int) (*stream.Record, []byte) {
	out := &stream.Record{Head: r.head}
	for p, to := range [...]*[]byte{&out.Properties, &out.Associations, &out.History} {
		c := r.cells[p]
		if c.shape < 0 {
			continue
		}
		n := b.size(c)
		if cap(free) < n {
			free = make([]byte, 0, max(n, chunk))
		}
		body := b.body(free[:0], c)
		*to, free = body[:n:n], body[n:n]
	}
	return out, free
}

// arena is how much memory the bodies of records that are read together share:
// who keeps one of them keeps no more than that.
const arena = 32 << 10

// append writes the records that are not gone.
func (b *block) append(dst []byte) ([]byte, error) {
	n, _ := b.live()
	dst = binary.AppendUvarint(dst, uint64(n))
	for i := range b.shapes {
		b.shapes[i].cells = 0
	}
	prev, number := &stream.Head{Seq: b.first}, uint64(0)
	var err error
	for i := range b.rows {
		r := &b.rows[i]
		if r.gone {
			continue
		}
		if dst, err = appendHead(dst, &r.head, prev); err != nil {
			return nil, err
		}
		prev = &r.head
		if id, ok := numberOf(r.head.ID); ok {
			dst = binary.AppendVarint(append(dst, numberTag), int64(id-number))
			number = id
		} else {
			dst = appendText(append(dst, textTag), r.head.ID)
		}
		for _, c := range r.cells {
			dst = binary.AppendUvarint(dst, uint64(c.shape+1))
			if c.shape >= 0 {
				b.shapes[c.shape].cells++
			}
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.shapes)))
	for i := range b.shapes {
		s := &b.shapes[i]
		if s.cells == 0 { // keeps its number, and that is all
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(s.pieces)))
		for _, p := range s.pieces {
			dst = append(binary.AppendUvarint(dst, uint64(len(p))), p...)
		}
	}
	cells := make([]cell, 0, len(b.rows))
	for _, values := range []bool{false, true} { // the lengths of all, then all
		for i := range b.shapes {
			cells = b.cellsOf(int32(i), cells[:0])
			dst = b.appendColumns(dst, cells, b.shapes[i].width(), values)
		}
	}
	return dst, nil
}

// cellsOf are the cells of one shape, record by record.
func (b *block) cellsOf(shape int32, cells []cell) []cell {
	if b.shapes[shape].cells == 0 {
		return cells
	}
	for i := range b.rows {
		for _, c := range b.rows[i].cells {
			if c.shape == shape && !b.rows[i].gone {
				cells = append(cells, c)
			}
		}
	}
	return cells
}

// appendColumns writes the lengths of values, or the values, by column.
func (b *block) appendColumns(dst []byte, cells []cell, width int, values bool) []byte {
	for i := range int32(width) {
		for _, c := range cells {
			s := b.spans[c.at+i*c.stride]
			if values {
				dst = append(dst, b.data[s.at:s.end]...)
			} else {
				dst = binary.AppendUvarint(dst, uint64(s.end-s.at))
			}
		}
	}
	return dst
}

// read is the inverse of append; the block keeps the bytes.
func (b *block) read(first uint64, in []byte) error {
	b.reset(first)
	if uint64(len(in)) > math.MaxInt32 {
		return errBlock
	}
	r := reader{b: in}
	n := r.uvarint()
	if n > uint64(len(r.b))/minRow {
		return errBlock
	}
	b.rows = slices.Grow(b.rows, int(n))[:n]
	prev, number := &stream.Head{Seq: first}, uint64(0)
	for i := range b.rows {
		w := &b.rows[i]
		*w = row{}
		r.head(&w.head, prev)
		if r.bad || i > 0 && w.head.Seq <= prev.Seq || w.head.Seq < first {
			return errBlock
		}
		prev = &w.head
		switch tag := r.take(1); {
		case r.bad:
		case tag[0] == numberTag:
			number += uint64(r.varint())
			w.head.ID = strconv.FormatUint(number, 10)
		case tag[0] == textTag:
			w.head.ID = r.text()
		default:
			return errBlock
		}
		for p := range w.cells {
			s := r.uvarint()
			if s > 3*(maxShapes+1) {
				return errBlock
			}
			w.cells[p].shape = int32(s) - 1
		}
	}
	if r.bad {
		return errBlock
	}
	return b.readBodies(&r)
}

// minRow is less than the shortest record takes.
const minRow = 16

func (b *block) readBodies(r *reader) error {
	n := r.uvarint()
	if n > 3*(maxShapes+1) {
		return errBlock
	}
	for range n {
		s := shape{}
		width := r.uvarint()
		if width > uint64(len(r.b)) || width == 1 {
			return errBlock
		}
		s.pieces = make([][]byte, 0, width)
		for range width {
			piece := r.take(r.uvarint())
			s.around += len(piece)
			s.pieces = append(s.pieces, piece)
		}
		b.shapes = append(b.shapes, s)
	}
	for i := range b.rows {
		for _, c := range b.rows[i].cells {
			if c.shape >= int32(len(b.shapes)) || c.shape >= 0 && len(b.shapes[c.shape].pieces) == 0 {
				return errBlock
			}
			if c.shape >= 0 {
				b.shapes[c.shape].cells++
			}
		}
	}
	if r.bad {
		return errBlock
	}
	return b.readColumns(r)
}

// readColumns finds the values: their lengths come first, by shape and column.
func (b *block) readColumns(r *reader) error {
	at := uint64(0)
	for i := range b.shapes {
		s := &b.shapes[i]
		values := s.cells * max(s.width(), 0)
		if values > len(r.b) {
			return errBlock
		}
		s.next = int32(len(b.spans))
		b.spans = slices.Grow(b.spans, values)
		for range values {
			n := r.uvarint()
			if n > uint64(len(r.b)) {
				return errBlock
			}
			b.spans = append(b.spans, span{uint32(at), uint32(at + n)})
			at += n
		}
	}
	if r.bad || at != uint64(len(r.b)) {
		return errBlock
	}
	b.data = r.b
	for i := range b.rows {
		for p := range b.rows[i].cells {
			if c := &b.rows[i].cells[p]; c.shape >= 0 {
				s := &b.shapes[c.shape]
				c.at, c.stride = s.next, int32(s.cells)
				s.next++
			}
		}
	}
	return nil
}
