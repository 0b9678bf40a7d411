package store

import (
	"bytes"
	"slices"
)

// The records of a stream repeat the names of their properties, in one order.
// So a body is taken apart into its shape, which is all that stands around the
// values, and its values; a block holds each shape once and the values by
// column. That halves what the compressor sees and puts alike beside alike.
//
// Nothing depends on the JSON being understood: shape and values together are
// the body, byte for byte, wherever it was cut.

// shape is what bodies have in common: pieces[0], a value, pieces[1], a value,
// … and the last piece.
type shape struct {
	pieces [][]byte
	around int // bytes of pieces
	part   part
	cells  int   // bodies of this shape, while they are written or read
	next   int32 // the first span of the next of them, while they are read
}

func (s *shape) width() int { return len(s.pieces) - 1 }

// whole tells whether a body of this shape is one value.
func (s *shape) whole() bool { return s.width() == 1 && s.around == 0 }

// wholeShape is that of a body which is one value.
func wholeShape(p part) shape { return shape{pieces: [][]byte{nil, nil}, part: p} }

// span is a value: where it stands in the data of its block.
type span struct{ at, end uint32 }

// What bounds shapes: more of them in one block, or names without end, are a
// sign that nothing repeats.
const (
	maxShapes = 8
	maxWidth  = 4096
)

// match cuts a body by a shape; ok is false, and nothing added, where it has
// another.
func (s *shape) match(body []byte, base uint32, spans []span) (_ []span, ok bool) {
	n, at := len(spans), 0
	for i, piece := range s.pieces {
		if !bytes.HasPrefix(body[at:], piece) {
			return spans[:n], false
		}
		if at += len(piece); i == s.width() {
			break
		}
		end := valueEnd(body, at)
		if end < 0 {
			return spans[:n], false
		}
		spans = append(spans, span{base + uint32(at), base + uint32(end)})
		at = end
	}
	if at != len(body) {
		return spans[:n], false
	}
	return spans, true
}

// learn makes the shape of a JSON object without white space whose values are
// strings, numbers and words; ok is false for anything else.
func learn(body []byte, p part) (s shape, ok bool) {
	at := 0
	for mark := byte('{'); ; mark = ',' {
		from := at
		if at+1 >= len(body) || body[at] != mark || body[at+1] != '"' || len(s.pieces) == maxWidth {
			return s, false
		}
		end := valueEnd(body, at+1)
		if end < 0 || end == len(body) || body[end] != ':' {
			return s, false
		}
		at = end + 1
		s.pieces, s.around = append(s.pieces, slices.Clone(body[from:at])), s.around+at-from
		if at = valueEnd(body, at); at < 0 || at == len(body) {
			return s, false
		}
		if body[at] == '}' {
			s.pieces, s.around, s.part = append(s.pieces, []byte("}")), s.around+1, p
			return s, at+1 == len(body)
		}
	}
}

// valueEnd is where the value that begins at from ends, -1 where it is none of
// the simple ones.
func valueEnd(b []byte, from int) int {
	if from >= len(b) {
		return -1
	}
	if b[from] != '"' {
		for i := from; i < len(b); i++ {
			switch b[i] {
			case ',', '}':
				return i
			case '"', '{', '[':
				return -1
			}
		}
		return -1
	}
	for at := from + 1; ; {
		n := bytes.IndexByte(b[at:], '"')
		if n < 0 {
			return -1
		}
		end, escapes := at+n, 0
		for b[end-1-escapes] == '\\' {
			escapes++
		}
		if at = end + 1; escapes%2 == 0 {
			return at
		}
	}
}
