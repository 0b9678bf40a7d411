package protocol

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/zeebo/xxh3"
)

// A message that is larger than the broker takes, and that cannot be cut where
// its content allows it, travels in pieces: a command with all that an attempt
// needs, an answer with all that is wanted, a listing, definitions. A piece
// names the whole by its digest, so that pieces of repeats, which are the same
// bytes, fit together, and one that is lost comes with the next.
const (
	pieceMagic  = "\x01hp" // begins neither JSON nor zstd
	pieceHeader = len(pieceMagic) + 8 + 2 + 2
	// maxPieces bounds one message, heldBytes and heldWholes what a Joiner keeps.
	maxPieces  = 4096
	heldBytes  = 8 << 20
	heldWholes = 16
)

// Cut gives a payload as it is where it has at most so many bytes, else in
// pieces of at most so many. It returns nil where it cannot.
func Cut(payload []byte, most int) [][]byte {
	if len(payload) <= most {
		return [][]byte{payload}
	}
	room := most - pieceHeader
	if room <= 0 || len(payload) > heldBytes || (len(payload)+room-1)/room > maxPieces {
		return nil
	}
	n := (len(payload) + room - 1) / room
	out := make([][]byte, 0, n)
	sum := xxh3.Hash(payload)
	for part := range slices.Chunk(payload, room) {
		b := append(make([]byte, 0, pieceHeader+len(part)), pieceMagic...)
		b = binary.BigEndian.AppendUint64(b, sum)
		b = binary.BigEndian.AppendUint16(b, uint16(len(out))) //nolint:gosec // below maxPieces
		b = binary.BigEndian.AppendUint16(b, uint16(n))        //nolint:gosec // the same
		out = append(out, append(b, part...))
	}
	return out
}

// Joiner makes whole messages of pieces, of one sender and one topic. What it
// keeps is bounded: the message that was begun first gives way. Its zero value
// is ready; it is for one goroutine at a time.
type Joiner struct {
	begun uint64
	held  int // bytes
	parts map[uint64]*partly
}

// partly is a message of which some pieces have come.
type partly struct {
	begun  uint64
	pieces [][]byte
	bytes  int
	left   int
}

// Add takes a payload and returns a whole one: the same, where it is no piece,
// or what its pieces make where this was the last of them; else nil.
func (j *Joiner) Add(payload []byte) []byte {
	if len(payload) < len(pieceMagic) || string(payload[:len(pieceMagic)]) != pieceMagic {
		return payload
	}
	if len(payload) <= pieceHeader {
		return nil
	}
	rest := payload[len(pieceMagic):]
	sum, at, n := binary.BigEndian.Uint64(rest), int(binary.BigEndian.Uint16(rest[8:])), int(binary.BigEndian.Uint16(rest[10:]))
	if n < 2 || n > maxPieces || at >= n {
		return nil
	}
	m := j.parts[sum]
	if m == nil || len(m.pieces) != n {
		// Cut otherwise, since the broker's limit is another one: it begins anew.
		j.drop(sum)
		if j.parts == nil {
			j.parts = map[uint64]*partly{}
		}
		j.begun++
		m = &partly{begun: j.begun, pieces: make([][]byte, n), left: n}
		j.parts[sum] = m
	}
	if m.pieces[at] != nil {
		return nil
	}
	m.pieces[at] = rest[12:]
	m.bytes, m.left, j.held = m.bytes+len(rest)-12, m.left-1, j.held+len(rest)-12
	if m.left == 0 {
		whole := slices.Concat(m.pieces...)
		j.drop(sum)
		if xxh3.Hash(whole) != sum {
			return nil
		}
		return whole
	}
	for j.held > heldBytes || len(j.parts) > heldWholes {
		j.drop(j.oldest())
	}
	return nil
}

// Empty tells whether nothing waits for its other pieces.
func (j *Joiner) Empty() bool { return len(j.parts) == 0 }

func (j *Joiner) drop(sum uint64) {
	if m := j.parts[sum]; m != nil {
		j.held -= m.bytes
		delete(j.parts, sum)
	}
}

func (j *Joiner) oldest() uint64 {
	return slices.MinFunc(slices.Collect(maps.Keys(j.parts)), func(a, b uint64) int {
		return int(j.parts[a].begun) - int(j.parts[b].begun) //nolint:gosec // counts what came
	})
}
