package store

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

var errHead = errors.New("a record's head does not decode")

// headFormat is the first byte of every entry of the index.
const headFormat = 2

// stateAt numbers the states on disk; numbers are never used again.
func stateAt() [4]stream.State {
	return [...]stream.State{stream.Live, stream.Archived, stream.Purged, stream.Merged}
}

// The first byte of a head: its state, and what of the seldom there is.
const (
	stateBits       = 7
	hasArchivedAt   = 1 << 3
	hasMergedInto   = 1 << 4
	hasAssociations = 1 << 5
	hasHistory      = 1 << 6
)

// appendHead writes a head without its id. Numbers that change little from
// record to record are written as their distance from those of prev: in a
// block the record before, in the index nothing.
func appendHead(b []byte, h, prev *stream.Head) ([]byte, error) {
	states := stateAt()
	state := slices.Index(states[:], h.State)
	if state < 0 {
		return nil, errors.New("a record in no known state: " + string(h.State))
	}
	first := byte(state)
	for bit, there := range seldom(h) {
		if there {
			first |= hasArchivedAt << bit
		}
	}
	b = append(b, first)
	b = binary.AppendUvarint(b, h.Seq-prev.Seq)
	b = binary.AppendVarint(b, h.Version-prev.Version)
	b = binary.AppendVarint(b, h.AsOf-prev.AsOf)
	b = append(b, h.Digest[:]...)
	b = binary.AppendUvarint(b, uint64(h.List))
	b = binary.AppendVarint(b, h.Synced-prev.Synced)
	b = appendTime(b, h.CreatedAt, h.Version)
	b = appendTime(b, h.UpdatedAt, h.Version)
	if first&hasArchivedAt != 0 {
		b = appendTime(b, h.ArchivedAt, h.Version)
	}
	if first&hasMergedInto != 0 {
		b = appendText(b, h.MergedInto)
	}
	if first&hasAssociations != 0 {
		b = appendPart(b, &h.AssociationsPart, h.AsOf)
	}
	if first&hasHistory != 0 {
		b = appendPart(b, &h.HistoryPart, h.AsOf)
	}
	return b, nil
}

// seldom says what a head has of that which few have, in the order of the bits.
func seldom(h *stream.Head) [4]bool {
	return [...]bool{h.ArchivedAt != "", h.MergedInto != "", h.AssociationsPart != stream.Part{}, h.HistoryPart != stream.Part{}}
}

func appendPart(b []byte, p *stream.Part, asOf int64) []byte {
	return append(binary.AppendVarint(b, p.AsOf-asOf), p.Digest[:]...)
}

// head reads a head.
func (r *reader) head(h, prev *stream.Head) {
	states := stateAt()
	tag := r.take(1)
	if r.bad || int(tag[0]&stateBits) >= len(states) || tag[0]&0x80 != 0 {
		r.bad = true
		return
	}
	first := tag[0]
	h.State = states[first&stateBits]
	h.Seq = r.uvarint() + prev.Seq
	h.Version = r.varint() + prev.Version
	h.AsOf = r.varint() + prev.AsOf
	copy(h.Digest[:], r.take(uint64(len(h.Digest))))
	list := r.uvarint()
	if list > math.MaxUint32 {
		r.bad = true
	}
	h.List = uint32(list)
	h.Synced = r.varint() + prev.Synced
	h.CreatedAt = r.time(h.Version)
	h.UpdatedAt = r.time(h.Version)
	if first&hasArchivedAt != 0 {
		h.ArchivedAt = r.time(h.Version)
	}
	if first&hasMergedInto != 0 {
		h.MergedInto = r.text()
	}
	if first&hasAssociations != 0 {
		r.part(&h.AssociationsPart, h.AsOf)
	}
	if first&hasHistory != 0 {
		r.part(&h.HistoryPart, h.AsOf)
	}
}

func (r *reader) part(p *stream.Part, asOf int64) {
	p.AsOf = r.varint() + asOf
	copy(p.Digest[:], r.take(uint64(len(p.Digest))))
}

// copyAt is where a copy of a record lies: its position, and that of its
// block.
type copyAt struct{ seq, block uint64 }

// entry is what the index holds of a record: its head, the block that it lies
// in, and where superseded copies of it may still lie, oldest first. They are
// found there when the record has to lose its content.
type entry struct {
	head  stream.Head
	block uint64
	old   []copyAt
}

func appendEntry(b []byte, e *entry) ([]byte, error) {
	b, err := appendHead(append(b, headFormat), &e.head, &stream.Head{})
	if err != nil {
		return nil, err
	}
	b = binary.AppendUvarint(b, e.head.Seq-e.block)
	for _, c := range e.old {
		b = binary.AppendUvarint(b, e.head.Seq-c.seq)
		b = binary.AppendUvarint(b, c.seq-c.block)
	}
	return b, nil
}

// readEntry reads an entry of the index, whose id the key knows.
func readEntry(b []byte, e *entry) error {
	if len(b) < 1 || b[0] != headFormat {
		return errHead
	}
	r := reader{b: b[1:]}
	r.head(&e.head, &stream.Head{})
	e.block = e.head.Seq - r.uvarint()
	for !r.bad && len(r.b) > 0 {
		c := copyAt{seq: e.head.Seq - r.uvarint()}
		c.block = c.seq - r.uvarint()
		e.old = append(e.old, c)
	}
	if r.bad {
		return errHead
	}
	return nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes values off a slice; after the first that does not decode it is
// bad, and gives zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // most are one byte
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) text() string { return string(r.take(r.uvarint())) }
