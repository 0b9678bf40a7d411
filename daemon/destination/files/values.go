package files

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/parquet-go/parquet-go"

	"github.com/hubpipe/hubpipe/daemon/destination"
)

// kind is the type of a column, as manifests have it. Numbers are doubles, as
// HubSpot's own are: a decimal would want one scale for all of them, and what does
// not fit would be lost.
type kind string

const (
	text      kind = destination.TypeText
	number    kind = destination.TypeNumber
	integer   kind = destination.TypeInteger
	boolean   kind = destination.TypeBoolean
	date      kind = destination.TypeDate
	timestamp kind = destination.TypeTimestamp
	texts     kind = destination.TypeTexts
	nested    kind = destination.TypeJSON
)

// wider is the type that a column needs for values of another, too. Text holds
// everything, and nothing becomes narrower.
func wider(has, wants kind) kind {
	switch {
	case has == wants || has == text:
		return has
	case has == date && wants == timestamp:
		return timestamp
	}
	return text
}

// parse reads a value, which is JSON, as one of a column's type. Null is the
// zero value; false is what is none of the type. An empty text is no number,
// date or switch, and is null there.
func parse(k kind, raw []byte) (v parquet.Value, ok bool) {
	if raw[0] == 'n' {
		return v, true
	}
	if k == nested {
		return parquet.ByteArrayValue(oneLine(raw)), true
	}
	b := raw
	if raw[0] == '"' {
		b = unquote(raw)
	} else if k == text {
		b = oneLine(raw)
	}
	if k == text {
		return parquet.ByteArrayValue(b), true
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return v, true
	}
	switch k {
	case number:
		if !isDecimal(b) {
			return v, false
		}
		f, err := strconv.ParseFloat(string(b), 64)
		return parquet.DoubleValue(f + 0), err == nil && !math.IsInf(f, 0)
	case boolean:
		switch string(b) {
		case "true", "TRUE", "True":
			return parquet.BooleanValue(true), true
		case "false", "FALSE", "False":
			return parquet.BooleanValue(false), true
		}
	case date:
		if t, ok := destination.Moment(b); ok && t.Equal(t.Truncate(24*time.Hour)) {
			return parquet.Int32Value(days(t)), true
		}
	case timestamp:
		if t, ok := destination.Moment(b); ok {
			return parquet.Int64Value(t.UnixMilli()), true
		}
	}
	return v, false
}

func days(t time.Time) int32 {
	const day = 24 * 60 * 60
	s := t.Unix()
	return int32((s - (s%day+day)%day) / day) //nolint:gosec // four digits of a year
}

// isDecimal keeps out what strconv takes besides: words, underscores, other bases.
func isDecimal(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return false
		}
	}
	return true
}

// parts are the values of a list, which HubSpot parts with semicolons.
func parts(raw []byte) [][]byte {
	b := raw
	if raw[0] == '"' {
		b = unquote(raw)
	}
	var out [][]byte
	for part := range bytes.SplitSeq(b, []byte(";")) {
		if part = bytes.TrimSpace(part); len(part) > 0 {
			out = append(out, part)
		}
	}
	return out
}

// unquote is the text that a JSON text stands for. What is no text becomes
// U+FFFD.
func unquote(raw []byte) []byte {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return inner
	}
	b, _ := jsontext.AppendUnquote(nil, raw) // it goes on behind what it replaces
	return b
}

// oneLine is JSON without line breaks, and of nothing but UTF-8.
func oneLine(raw []byte) []byte {
	if !utf8.Valid(raw) {
		raw = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
	}
	if !bytes.ContainsAny(raw, "\r\n") {
		return raw
	}
	out := slices.Clone(raw)
	for i, c := range out { // outside of texts, where they are escaped, it is white space
		if c == '\n' || c == '\r' {
			out[i] = ' '
		}
	}
	return out
}
