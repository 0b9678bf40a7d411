package postgres

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// kind is the type of a property's column.
type kind int

const (
	text kind = iota
	numeric
	boolean
	date
	timestamp
	texts // text[]
	object
	foreign // what somebody else has made of a column
)

// sql is the type as PostgreSQL writes it.
func (k kind) sql() string {
	return [...]string{"text", "numeric", "boolean", "date", "timestamptz", "text[]", "jsonb", ""}[k]
}

// kindOf reads a type from information_schema.
func kindOf(dataType, udt string) kind {
	switch dataType {
	case "text":
		return text
	case "numeric":
		return numeric
	case "boolean":
		return boolean
	case "date":
		return date
	case "timestamp with time zone":
		return timestamp
	case "jsonb":
		return object
	case "ARRAY":
		if udt == "_text" {
			return texts
		}
	}
	return foreign
}

// kindFor is the type of a column by HubSpot's definition.
func kindFor(p stream.Property) kind { return kindAs(destination.TypeOf(p)) }

// kindSeen is the type of a column for which there is no definition, by the
// first value that is seen.
func kindSeen(raw []byte) kind { return kindAs(destination.TypeSeen(raw)) }

// kindAs is what a type that all destinations know is here.
func kindAs(of string) kind {
	switch of {
	case destination.TypeNumber:
		return numeric
	case destination.TypeBoolean:
		return boolean
	case destination.TypeDate:
		return date
	case destination.TypeTimestamp:
		return timestamp
	case destination.TypeTexts:
		return texts
	case destination.TypeJSON:
		return object
	}
	return text
}

// wider tells whether a column of a type has to become another to hold values of
// a definition, and which. Text holds everything, and nothing becomes narrower.
func wider(has, wants kind) (kind, bool) {
	switch {
	case has == wants || has == text || has == foreign:
		return has, false
	case has == date && wants == timestamp:
		return timestamp, true
	}
	return text, true
}

// using is how a column is read when its type changes.
func using(name string, from, to kind) string {
	switch {
	case from == date && to == timestamp:
		return quote(name) + "::timestamp AT TIME ZONE 'UTC'"
	case from == texts:
		return "array_to_string(" + quote(name) + ", ';')"
	}
	return quote(name) + "::text"
}

// appendValue appends a value as COPY takes it, in the form in which PostgreSQL
// gives it back. raw is JSON. False where it is no value of the type; nothing is
// appended then. An empty text is no number, date or switch, and is null there.
func appendValue(b []byte, k kind, raw []byte) (out []byte, ok bool) {
	if k == object {
		return appendCopy(b, sane(raw)), true
	}
	var v []byte
	if raw[0] == '"' {
		inner := raw[1 : len(raw)-1]
		if plain(inner) {
			if k == text || k == foreign {
				return append(b, inner...), true
			}
			v = inner
		} else {
			v = unquote(inner)
		}
	} else {
		v = raw
	}
	if k == text || k == foreign {
		return appendCopy(b, v), true
	}
	v = bytes.TrimSpace(v)
	if len(v) == 0 {
		return append(b, `\N`...), true
	}
	switch k {
	case numeric:
		return appendNumber(b, v)
	case boolean:
		switch string(v) {
		case "true", "TRUE", "True":
			return append(b, 't'), true
		case "false", "FALSE", "False":
			return append(b, 'f'), true
		}
	case date:
		if t, ok := destination.Moment(v); ok && t.Equal(t.Truncate(24*time.Hour)) {
			return t.AppendFormat(b, time.DateOnly), true
		}
	case timestamp:
		if t, ok := destination.Moment(v); ok {
			return appendMoment(b, t), true
		}
	case texts:
		return appendTexts(b, v), true
	}
	return b, false
}

// appendMoment appends a time as PostgreSQL shows it in UTC.
func appendMoment(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, "2006-01-02 15:04:05.999999+00")
}

// maxDigits bounds a number: PostgreSQL takes many more before the point.
const maxDigits = 1000

// appendNumber appends a decimal number as PostgreSQL shows it.
func appendNumber(b, v []byte) ([]byte, bool) {
	rest, negative := v, false
	if rest[0] == '-' || rest[0] == '+' {
		negative, rest = rest[0] == '-', rest[1:]
	}
	mantissa, exponent := rest, 0
	if i := bytes.IndexAny(rest, "eE"); i >= 0 {
		n, err := strconv.Atoi(string(rest[i+1:]))
		if err != nil || n > maxDigits || n < -maxDigits {
			return b, false
		}
		mantissa, exponent = rest[:i], n
	}
	whole, fraction, _ := bytes.Cut(mantissa, []byte("."))
	if len(whole)+len(fraction) == 0 || len(whole)+len(fraction) > maxDigits || !digits(whole) || !digits(fraction) {
		return b, false
	}
	if exponent != 0 {
		all := slices.Concat(whole, fraction)
		point := len(whole) + exponent
		if point > len(all) {
			all = append(all, bytes.Repeat([]byte("0"), point-len(all))...)
		}
		if point < 0 {
			all, point = append(bytes.Repeat([]byte("0"), -point), all...), 0
		}
		whole, fraction = all[:point], all[point:]
	}
	whole = bytes.TrimLeft(whole, "0")
	if negative && (len(whole) > 0 || len(bytes.Trim(fraction, "0")) > 0) {
		b = append(b, '-')
	}
	if len(whole) == 0 {
		b = append(b, '0')
	}
	b = append(b, whole...)
	if len(fraction) > 0 {
		b = append(append(b, '.'), fraction...)
	}
	return b, true
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// appendTexts appends the values of a list that HubSpot parts with semicolons,
// as PostgreSQL shows an array.
func appendTexts(b, v []byte) []byte {
	var lit []byte
	lit = append(lit, '{')
	for part := range bytes.SplitSeq(v, []byte(";")) {
		if part = bytes.TrimSpace(part); len(part) == 0 {
			continue
		}
		if len(lit) > 1 {
			lit = append(lit, ',')
		}
		if !bytes.ContainsAny(part, "{}\",\\ \t\n\r\v\f") && !strings.EqualFold(string(part), "null") {
			lit = append(lit, part...)
			continue
		}
		lit = append(lit, '"')
		for _, c := range part {
			if c == '"' || c == '\\' {
				lit = append(lit, '\\')
			}
			lit = append(lit, c)
		}
		lit = append(lit, '"')
	}
	return appendCopy(b, append(lit, '}'))
}

// plain tells whether the inside of a JSON text is the text itself, and may
// stand in COPY as it is.
func plain(inner []byte) bool {
	return bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner)
}

// appendCopy appends text as COPY's text format takes it. NUL, which PostgreSQL
// cannot hold, and bytes that are no UTF-8 become U+FFFD.
func appendCopy(b, v []byte) []byte {
	if !utf8.Valid(v) {
		v = bytes.ToValidUTF8(v, []byte("\uFFFD"))
	}
	for _, c := range v {
		switch c {
		case 0:
			b = append(b, "\uFFFD"...)
		case '\\':
			b = append(b, `\\`...)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		case '\v':
			b = append(b, `\v`...)
		default:
			b = append(b, c)
		}
	}
	return b
}

// unquote is the text that the inside of a JSON text stands for. Halves of
// surrogate pairs become U+FFFD.
func unquote(inner []byte) []byte {
	out := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		if c != '\\' || i+1 == len(inner) {
			out = append(out, c)
			continue
		}
		i++
		switch inner[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(inner, i+1)
			i += 4
			if r >= 0xd800 && r < 0xdc00 && i+6 < len(inner) && inner[i+1] == '\\' && inner[i+2] == 'u' {
				if low := hex4(inner, i+3); low >= 0xdc00 && low < 0xe000 {
					r = (r-0xd800)<<10 | (low - 0xdc00) + 0x10000
					i += 6
				}
			}
			out = utf8.AppendRune(out, r) // what is no rune is U+FFFD
		default:
			out = append(out, inner[i])
		}
	}
	return out
}

func hex4(b []byte, i int) rune {
	if i+4 > len(b) {
		return utf8.RuneError
	}
	n, err := strconv.ParseUint(string(b[i:i+4]), 16, 32)
	if err != nil {
		return utf8.RuneError
	}
	return rune(n)
}

// sane is JSON without what jsonb refuses: NUL, and halves of surrogate pairs.
func sane(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		if raw[i] != '\\' || i+1 >= len(raw) {
			out = append(out, raw[i])
			i++
			continue
		}
		if raw[i+1] != 'u' {
			out = append(out, raw[i], raw[i+1])
			i += 2
			continue
		}
		r, n := hex4(raw, i+2), 6
		if r >= 0xd800 && r < 0xdc00 && i+12 <= len(raw) && raw[i+6] == '\\' && raw[i+7] == 'u' {
			if low := hex4(raw, i+8); low >= 0xdc00 && low < 0xe000 {
				out = append(out, raw[i:i+12]...)
				i += 12
				continue
			}
		}
		if r == 0 || r >= 0xd800 && r < 0xe000 {
			out = append(out, `\ufffd`...)
		} else {
			out = append(out, raw[i:i+n]...)
		}
		i += n
	}
	return out
}
