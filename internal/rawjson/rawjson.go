// Package rawjson looks over JSON without copying or decoding it: it finds the
// members of objects as they stand in the text, and checks on the way that all
// of it is JSON, so that a page is gone over once. It takes and refuses what
// encoding/json's Valid does, and its tests hold it to that.
package rawjson

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth is how deep values may nest, as in encoding/json.
const maxDepth = 10_000

// Valid says whether b is one JSON value. Bytes that are no UTF-8, names that
// stand twice and halves of surrogate pairs are let through.
func Valid(b []byte) bool {
	s := Scan(b)
	s.Value()
	return s.End()
}

// Scanner walks over one JSON text. What it returns shares the text's memory
// and is to be used only once End has said that the text is JSON. Behind a
// mistake it finds nothing more, so that its callers need not look for one at
// each step.
type Scanner struct {
	b     []byte
	i     int
	depth int
	high  uint64 // all of the bytes of texts, or'ed
	lines int    // ends of lines, which stand between values alone
	bad   bool
}

// Scan returns a scanner before the text's value.
func Scan(b []byte) Scanner { return Scanner{b: b} }

// End says whether nothing but white space is left, and all before was JSON.
func (s *Scanner) End() bool {
	s.space()
	return !s.bad && s.i == len(s.b)
}

// Broken says whether something was met that is no JSON.
func (s *Scanner) Broken() bool { return s.bad }

// ASCII says whether all texts so far are of ASCII alone; false also where
// they are not UTF-8.
func (s *Scanner) ASCII() bool { return s.high&highBits == 0 }

// Lines is how many ends of lines were passed so far.
func (s *Scanner) Lines() int { return s.lines }

// Offset is the place in the text that is looked at next.
func (s *Scanner) Offset() int { return s.i }

// Since returns the text from a place on to what is looked at next.
func (s *Scanner) Since(begin int) []byte { return s.b[begin:s.i:s.i] }

// Peek goes to what comes next and returns its first byte, 0 where there is
// nothing.
func (s *Scanner) Peek() byte {
	s.space()
	if s.i >= len(s.b) {
		return 0
	}
	return s.b[s.i]
}

// Open enters an object, open is '{', or an array, open is '['. False, and
// nothing has happened, where the next value is another one.
func (s *Scanner) Open(open byte) bool {
	if s.Peek() != open {
		return false
	}
	s.i++
	if s.depth++; s.depth > maxDepth {
		s.fail()
	}
	return true
}

// Next goes to the next element of what was opened, n is how many there were,
// and says whether there is one; behind the last it goes on past closing, the
// bracket that ends it.
func (s *Scanner) Next(n int, closing byte) bool {
	switch c := s.Peek(); {
	case c == closing:
		s.i++
		s.depth--
		return false
	case n == 0 && c != 0:
		return true
	case c == ',':
		s.i++
		// What follows has to be a name or a value, which a bracket is not.
		return true
	}
	s.fail()
	return false
}

// Name returns the name of an object's member, raw, and goes to its value. nil
// where there is none.
func (s *Scanner) Name() []byte {
	if s.Peek() != '"' {
		s.fail()
		return nil
	}
	begin := s.i
	s.text()
	name := s.Since(begin)
	if s.Peek() != ':' {
		s.fail()
		return nil
	}
	s.i++
	s.space()
	return name
}

// Take goes past the given bytes and says whether they come next, as they are:
// a shorter way past what was seen before.
func (s *Scanner) Take(text []byte) bool {
	if end := s.i + len(text); end <= len(s.b) && string(s.b[s.i:end]) == string(text) {
		s.i = end
		return true
	}
	return false
}

// Value returns the value that comes, raw. nil where there is none.
func (s *Scanner) Value() []byte {
	c := s.Peek()
	begin := s.i
	switch c {
	case '"':
		s.text()
	case '{', '[':
		s.nested()
	default:
		s.plain(c)
	}
	if s.bad {
		return nil
	}
	return s.Since(begin)
}

func (s *Scanner) fail() { s.bad, s.i = true, len(s.b) }

func (s *Scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '\n', '\r':
			s.lines++
		case ' ', '\t':
		default:
			return
		}
		s.i++
	}
}

// plain goes past a number, true, false or null.
func (s *Scanner) plain(c byte) {
	switch {
	case c == 'n' && s.Take([]byte("null")):
	case c == 't' && s.Take([]byte("true")):
	case c == 'f' && s.Take([]byte("false")):
	case c == '-' || c >= '0' && c <= '9':
		s.number()
	default:
		s.fail()
	}
}

func (s *Scanner) number() {
	if s.is('-') {
		s.i++
	}
	// Behind a leading zero there is no other digit.
	if s.is('0') {
		s.i++
	} else {
		s.digits()
	}
	if s.is('.') {
		s.i++
		s.digits()
	}
	if s.is('e') || s.is('E') {
		s.i++
		if s.is('+') || s.is('-') {
			s.i++
		}
		s.digits()
	}
}

func (s *Scanner) is(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

// digits goes past one or more.
func (s *Scanner) digits() {
	begin := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	if s.i == begin {
		s.fail()
	}
}

// nested goes past an object or an array. It calls itself for each level, of
// which there is a bound.
func (s *Scanner) nested() {
	if s.Open('{') {
		for n := 0; s.Next(n, '}'); n++ {
			s.Name()
			s.Value()
		}
		return
	}
	s.Open('[')
	for n := 0; s.Next(n, ']'); n++ {
		s.Value()
	}
}

const (
	ones     = 0x0101010101010101
	highBits = 0x8080808080808080
)

// text goes past a string, eight bytes at a time.
func (s *Scanner) text() {
	b, i, high := s.b, s.i+1, s.high
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		// The high bit of each byte that is a quote, a backslash or below ' '.
		// A borrow may mark bytes behind such a one too, never before it.
		m := (((w ^ '"'*ones) - ones) | ((w ^ '\\'*ones) - ones) | (w - ' '*ones)) &^ w & highBits
		if m == 0 {
			high |= w
			i += 8
			continue
		}
		n := bits.TrailingZeros64(m) / 8
		high |= w & (1<<(8*n) - 1)
		i += n
		if b[i] == '"' {
			s.i, s.high = i+1, high
			return
		}
		if i = escape(b, i); i < 0 {
			s.fail()
			return
		}
	}
	for i < len(b) {
		switch c := b[i]; {
		case c == '"':
			s.i, s.high = i+1, high
			return
		case c == '\\':
			if i = escape(b, i); i < 0 {
				s.fail()
				return
			}
		case c < ' ':
			s.fail()
			return
		default:
			high |= uint64(c)
			i++
		}
	}
	s.fail()
}

// escape returns the place behind an escape; -1 where there is none at i.
func escape(b []byte, i int) int {
	if b[i] != '\\' || i+1 >= len(b) {
		return -1
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		if i+6 > len(b) {
			return -1
		}
		for _, c := range b[i+2 : i+6] {
			if lower := c | 0x20; (c < '0' || c > '9') && (lower < 'a' || lower > 'f') {
				return -1
			}
		}
		return i + 6
	}
	return -1
}
