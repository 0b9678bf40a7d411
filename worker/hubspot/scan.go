package hubspot

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// valid says whether b is one JSON value. Names that stand twice and halves of
// surrogate pairs are let through: both are HubSpot's to send, and nothing
// stops for them.
func valid(b []byte) bool {
	return jsontext.Value(b).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// scanner walks over JSON that is known to be valid, without copying it.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) && s.b[s.i] <= ' ' {
		s.i++
	}
}

// peek returns the first byte of what comes, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i >= len(s.b) {
		return 0
	}
	return s.b[s.i]
}

// next goes to the next element of an object or an array, and says whether
// there is one. It is called first on the opening bracket.
func (s *scanner) next() bool {
	switch s.peek() {
	case '{', '[', ',':
		s.i++
	}
	switch s.peek() {
	case '}', ']', 0:
		s.i++
		return false
	}
	return true
}

// name returns the name of an object's member, raw, and goes to its value.
func (s *scanner) name() []byte {
	s.space()
	raw := s.text()
	if s.peek() == ':' {
		s.i++
	}
	return raw
}

// value returns the value that comes, raw.
func (s *scanner) value() []byte {
	c := s.peek()
	begin := s.i
	switch c {
	case '"':
		return s.text()
	case '{', '[':
		s.nested()
	default:
		for s.i < len(s.b) {
			if c := s.b[s.i]; c <= ' ' || c == ',' || c == '}' || c == ']' {
				break
			}
			s.i++
		}
	}
	return s.b[min(begin, len(s.b)):min(s.i, len(s.b))]
}

// text returns a string with its quotes.
func (s *scanner) text() []byte {
	begin := s.i
	s.i++
	for s.i < len(s.b) {
		quote := bytes.IndexByte(s.b[s.i:], '"')
		if quote < 0 {
			s.i = len(s.b)
			break
		}
		s.i += quote + 1
		slashes := 0
		for j := s.i - 2; j > begin && s.b[j] == '\\'; j-- {
			slashes++
		}
		if slashes%2 == 0 {
			break
		}
	}
	return s.b[begin:min(s.i, len(s.b))]
}

func (s *scanner) nested() {
	depth := 0
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			s.text()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.i++
		if depth == 0 {
			return
		}
	}
}

// is says whether a raw name or text has these characters.
func is(raw []byte, text string) bool {
	if len(raw) == len(text)+2 && string(raw[1:len(raw)-1]) == text {
		return true
	}
	return bytes.IndexByte(raw, '\\') >= 0 && unquote(raw) == text
}

// unquote returns the characters of a raw text; "" for any other value.
func unquote(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	// Half a surrogate pair becomes U+FFFD, with an error that says so.
	text, _ := jsontext.AppendUnquote(nil, raw)
	return string(text)
}
