package store

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
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

// row is a record in a block: its position, the bytes that its head and id are
// read from, and its bodies.
type row struct {
	seq   uint64
	text  span
	cells [parts]cell
	by    uint16 // which of the block's origins
	gone  bool   // replaced before the block was written, or superseded since
}

// block is some records of one stream in the order of their positions, being
// gathered, or read, or read and gone on with. first names it: no record in it has a lower
// position, and none of another block lies between two of its own.
type block struct {
	first  uint64
	base   stream.Head // what numbers of its heads are relative to
	idBase uint64      // likewise of ids
	rows   []row
	by     []origins // of the rows, as they follow one another
	texts  []byte
	shapes []shape
	spans  []span
	data   []byte // what the spans point into
	used   [parts]int32

	// buf is what was read, where anything was: then texts and data lie in it,
	// and this is the memory that they had.
	buf               []byte
	read              bool
	ownTexts, ownData []byte
}

// A block ends with the record that brings it to one of these: enough for the
// compressor, and little enough to read whole for one record.
const (
	blockRecords = 100
	blockBytes   = 256 << 10
)

// reset makes an empty block of b, and keeps its memory.
func (b *block) reset(first uint64) {
	if !b.read {
		b.ownTexts, b.ownData = b.texts, b.data
	}
	*b = block{first: first, base: stream.Head{Seq: first}, rows: b.rows[:0], by: b.by[:0], texts: b.ownTexts[:0], shapes: b.shapes[:0],
		spans: b.spans[:0], data: b.ownData[:0], used: [parts]int32{-1, -1, -1}, buf: b.buf, ownTexts: b.ownTexts, ownData: b.ownData}
}

func (b *block) full() bool { return len(b.rows) >= blockRecords || len(b.data) >= blockBytes }

// add appends a record; its bytes are copied.
func (b *block) add(h *stream.Head, content [parts][]byte) error {
	if len(b.rows) == 0 {
		b.base.Version, b.base.AsOf, b.base.Synced = h.Version, h.AsOf, h.Synced
		b.idBase, _ = numberOf(h.ID)
	}
	at := uint32(len(b.texts))
	var err error
	if b.texts, err = b.appendText(b.texts, h); err != nil {
		return err
	}
	by := origins{h.By, h.ReadBy}
	if n := len(b.by); n == 0 || b.by[n-1] != by {
		if !by.known() || n > math.MaxUint16 {
			return fmt.Errorf("a record that came on no known road: %s, %s", h.By.Road, h.ReadBy.Road)
		}
		b.by = append(b.by, by)
	}
	r := row{seq: h.Seq, text: span{at, uint32(len(b.texts))}, by: uint16(len(b.by) - 1)}
	for p, body := range content {
		r.cells[p] = cell{shape: -1}
		if body != nil {
			r.cells[p] = b.place(part(p), body)
		}
	}
	b.rows = append(b.rows, r)
	return nil
}

// appendText writes what a row's head and id are read from.
func (b *block) appendText(dst []byte, h *stream.Head) ([]byte, error) {
	if n, ok := numberOf(h.ID); ok {
		dst = binary.AppendVarint(append(dst, numberTag), int64(n-b.idBase))
	} else {
		dst = appendText(append(dst, textTag), h.ID)
	}
	return appendHead(dst, h, &b.base)
}

// head reads the head of a row.
func (b *block) head(r *row, h *stream.Head) error {
	*h = stream.Head{}
	rd := reader{b: b.texts[r.text.at:r.text.end]}
	switch tag := rd.take(1); {
	case rd.bad:
	case tag[0] == numberTag:
		h.ID = strconv.FormatUint(b.idBase+uint64(rd.varint()), 10)
	case tag[0] == textTag:
		h.ID = rd.text()
	default:
		rd.bad = true
	}
	rd.head(h, &b.base)
	if rd.bad || len(rd.b) > 0 || h.Seq != r.seq {
		return errBlock
	}
	h.By, h.ReadBy = b.by[r.by].by, b.by[r.by].read
	return nil
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

// live counts the records that are not gone, and says how far above the first
// position the last of them stands.
func (b *block) live() (n int, last uint64) {
	for i := range b.rows {
		if r := &b.rows[i]; !r.gone {
			n, last = n+1, r.seq-b.first
		}
	}
	return n, last
}

// find returns the record at a position, nil where the block has none there.
func (b *block) find(seq uint64) *row {
	i, ok := slices.BinarySearchFunc(b.rows, seq, func(r row, seq uint64) int { return cmp.Compare(r.seq, seq) })
	if !ok || b.rows[i].gone {
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
func (b *block) record(r *row, free []byte, chunk int) (*stream.Record, []byte, error) {
	out := new(stream.Record)
	if err := b.head(r, &out.Head); err != nil {
		return nil, nil, err
	}
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
		if *to, free = body[:n:n], body[n:]; n == 0 {
			*to = []byte{} // not nil, which is none
		}
	}
	return out, free, nil
}

// arena is how much memory the bodies of records that are read together share:
// who keeps one of them keeps no more than that.
const arena = 32 << 10

// append writes the records that are not gone.
func (b *block) append(dst []byte) []byte {
	dst = binary.AppendVarint(dst, b.base.Version)
	dst = binary.AppendVarint(dst, b.base.AsOf)
	dst = binary.AppendVarint(dst, b.base.Synced)
	dst = binary.AppendUvarint(dst, b.idBase)
	n, _ := b.live()
	dst = binary.AppendUvarint(dst, uint64(n))
	numbers := b.number()
	for i := range b.rows {
		r := &b.rows[i]
		if r.gone {
			continue
		}
		dst = binary.AppendUvarint(dst, r.seq-b.first)
		for _, c := range r.cells {
			dst = append(dst, numbers[c.shape+1])
		}
		dst = binary.AppendUvarint(dst, uint64(r.text.end-r.text.at))
		dst = append(dst, b.texts[r.text.at:r.text.end]...)
	}
	dst = b.appendOrigins(dst)
	at := len(dst)
	dst = append(dst, 0)
	for i := range b.shapes {
		s := &b.shapes[i]
		if s.cells == 0 {
			continue
		}
		dst[at]++
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
	return dst
}

// number counts the bodies of each shape, and numbers from 1 the shapes that
// have any; the first of the numbers, 0, is for no body.
func (b *block) number() (numbers [1 + 2*maxShapeCount]byte) {
	for i := range b.shapes {
		b.shapes[i].cells = 0
	}
	for i := range b.rows {
		for _, c := range b.rows[i].cells {
			if c.shape >= 0 && !b.rows[i].gone {
				b.shapes[c.shape].cells++
			}
		}
	}
	n := byte(0)
	for i := range b.shapes {
		if b.shapes[i].cells > 0 {
			n++
			numbers[i+1] = n
		}
	}
	return numbers
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

// parse is the inverse of append; the block keeps the bytes. One without origins
// is of an older hubpipe.
func (b *block) parse(first uint64, in []byte, told bool) error {
	b.reset(first)
	if uint64(len(in)) > math.MaxInt32 {
		return errBlock
	}
	b.read, b.texts, b.data = true, slices.Clip(in), nil
	r := reader{b: in}
	b.base.Version, b.base.AsOf, b.base.Synced = r.varint(), r.varint(), r.varint()
	b.idBase = r.uvarint()
	n := r.uvarint()
	if n > uint64(len(r.b))/minRow {
		return errBlock
	}
	b.rows = slices.Grow(b.rows, int(n))
	before := first
	for i := range int(n) {
		w := row{seq: first + r.uvarint()}
		if w.seq < before || i > 0 && w.seq == before {
			return errBlock
		}
		before = w.seq
		for p, s := range r.take(uint64(parts)) {
			w.cells[p].shape = int32(s) - 1
		}
		length := r.uvarint()
		w.text.at = uint32(len(in) - len(r.b))
		w.text.end = w.text.at + uint32(len(r.take(length)))
		if r.bad {
			return errBlock
		}
		b.rows = append(b.rows, w)
	}
	switch {
	case told:
		b.readOrigins(&r)
	default:
		b.by = append(b.by, origins{}) // of all rows
	}
	if r.bad {
		return errBlock
	}
	return b.readBodies(&r)
}

// maxShapeCount is how many shapes a block has at most: one is whole in each
// part.
const maxShapeCount = int(parts) * (maxShapes + 1)

// minRow is less than the shortest record takes.
const minRow = 16

func (b *block) readBodies(r *reader) error {
	n := r.uvarint()
	if n > uint64(maxShapeCount) {
		return errBlock
	}
	for range n {
		s := shape{}
		pieces := r.uvarint()
		if pieces > uint64(len(r.b)) || pieces < 2 {
			return errBlock
		}
		s.pieces = make([][]byte, 0, pieces)
		for range pieces {
			piece := r.take(r.uvarint())
			s.around += len(piece)
			s.pieces = append(s.pieces, piece)
		}
		b.shapes = append(b.shapes, s)
	}
	for i := range b.rows {
		for p, c := range b.rows[i].cells {
			if c.shape >= int32(len(b.shapes)) {
				return errBlock
			}
			if c.shape >= 0 {
				b.shapes[c.shape].cells++
				b.shapes[c.shape].part = part(p)
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
		values := s.cells * s.width()
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
	b.data = slices.Clip(r.b)
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
