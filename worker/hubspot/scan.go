package hubspot

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

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

// compacted is JSON without the white space between its values.
func compacted(value []byte) []byte {
	compact := jsontext.Value(bytes.Clone(value))
	// Valid JSON always compacts; were it not so, the value stays as sent.
	if compact.Compact(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) != nil {
		return value
	}
	return compact
}
