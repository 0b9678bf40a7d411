package hubspot

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/zeebo/xxh3"

	"github.com/hubpipe/hubpipe/internal/rawjson"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// rowReading says how the rows of a reply are to be understood.
type rowReading struct {
	e        catalogue.Endpoint
	address  catalogue.Address
	parent   string
	inputs   []input // those that were asked for, where the endpoint takes several
	archived bool
	asOf     int64
	buf      []byte
}

// field is a member of an object: its name, and its value as sent.
type field struct {
	name  string
	value []byte
}

var errNoRow = errors.New("a row that is no object")

// page reads a reply; more are the inputs that have more. The rows keep body
// alive.
func (r *rowReading) page(body []byte) (p RowsPage, more []input, err error) {
	if !rawjson.Valid(body) {
		return RowsPage{}, nil, errNotJSON
	}
	if !utf8.Valid(body) {
		// One byte that is no text must not stop a portal.
		body = bytes.ToValidUTF8(body, []byte("\uFFFD"))
	}
	results := bytes.TrimSpace(body)
	if r.address.Results != "" {
		results = member(body, r.address.Results)
	}
	p.AsOf = r.asOf
	var objects [][]byte
	switch {
	case len(results) == 0:
		return RowsPage{}, nil, errNoResults
	case results[0] == '[':
		objects = elements(results)
	case results[0] == '{' && r.address.Results == "":
		objects = [][]byte{results}
	default:
		return RowsPage{}, nil, errNoResults
	}
	if p.Next, err = r.next(body); err != nil {
		return RowsPage{}, nil, err
	}
	if slices.ContainsFunc(objects, func(o []byte) bool { return len(o) == 0 || o[0] != '{' }) {
		return RowsPage{}, nil, errNoRow
	}
	if len(r.inputs) > 0 {
		objects, p.Unread = r.asked(objects), untold(body, inputIDs(r.inputs))
		more = r.further(objects)
	}
	for _, o := range objects {
		for _, part := range r.parts(o) {
			rec, ok := r.row(part)
			if !ok {
				p.Unnamed++
				continue
			}
			p.Rows = append(p.Rows, rec)
		}
	}
	// A single row may be a bad one, unless there is to be but one.
	if len(p.Rows) == 0 && (p.Unnamed > 1 || p.Unnamed > 0 && r.address.Results == "") {
		return RowsPage{}, nil, &Failing{Detail: fmt.Sprintf("none of HubSpot's rows has %s, which would name it", strings.Join(r.e.Key, ", "))}
	}
	return p, more, nil
}

// next is the place of the next page, "" where there is none.
func (r *rowReading) next(body []byte) (string, error) {
	switch r.address.Paging {
	case catalogue.PagingAfter:
		return after(member(body, "paging")), nil
	case catalogue.PagingOffset:
		if string(member(body, "hasMore")) != "true" {
			return "", nil
		}
		place := text(member(body, "offset"))
		if place == "" {
			return "", errors.New("there is more, and no place where it begins")
		}
		return place, nil
	}
	return "", nil
}

// parts are the rows within an object: one, or one for each element of the
// array that Parts names, with the other members around it.
func (r *rowReading) parts(object []byte) [][]byte {
	if r.e.Parts == "" {
		return [][]byte{object}
	}
	var out [][]byte
	for _, element := range elements(member(object, r.e.Parts)) {
		own, around := fields(element), r.around(object, element)
		wins := len(r.e.Around) > 0 // over a member of the element
		b := []byte{'{'}
		for _, f := range around {
			if wins || !slices.ContainsFunc(own, func(o field) bool { return o.name == f.name }) {
				b = appendField(b, f)
			}
		}
		for _, f := range own {
			if wins && slices.ContainsFunc(around, func(o field) bool { return o.name == f.name }) {
				continue
			}
			if r.e.Union != "" && f.name == r.e.Union {
				f.value = r.inOneOrder(f.value)
			}
			b = appendField(b, f)
		}
		out = append(out, append(b, '}'))
	}
	return out
}

func appendField(b []byte, f field) []byte {
	if len(b) > 1 {
		b = append(b, ',')
	}
	return append(append(append(b, quoted(f.name)...), ':'), f.value...)
}

// quoted is text as JSON.
func quoted(s string) []byte {
	b, _ := jsontext.AppendQuote(nil, s) // what was JSON is UTF-8 by now
	return b
}

// row reads an object as a record; false where nothing names it.
func (r *rowReading) row(object []byte) (Record, bool) {
	all := fields(object)
	rec := Record{AsOf: r.asOf, Archived: r.archived, Properties: oneLine(object)}
	rec.CreatedAt, rec.UpdatedAt, rec.ArchivedAt = moment(of(all, "createdAt")), moment(of(all, "updatedAt")), moment(of(all, "archivedAt"))
	if r.e.End == catalogue.EndArchivedPass && string(of(all, "archived")) == "true" {
		rec.Archived = true
	}
	if r.e.End == catalogue.EndField {
		if gone := of(all, r.e.EndField); len(gone) > 0 && string(gone) != "null" {
			rec.Archived, rec.ArchivedAt = true, moment(gone)
		}
	}
	if r.e.Time != "" {
		rec.Version = millis(text(r.at(all, r.e.Time)))
		if rec.UpdatedAt == "" && rec.Version != 0 {
			rec.UpdatedAt = moments(rec.Version)
		}
	}
	rec.Digest = r.sum(all, rec.Archived)
	var id []string
	for _, key := range r.e.Key {
		part := r.parent
		if key != "{parent}" {
			part = namePart(text(r.at(all, key)))
		}
		if part == "" {
			return Record{}, false
		}
		id = append(id, part)
	}
	if r.e.KeyHash {
		id = append(id, hex.EncodeToString(rec.Digest[:8]))
	}
	rec.ID = strings.Join(id, "/")
	return rec, true
}

// at is what stands at a path, in which dots reach into objects.
func (r *rowReading) at(all []field, path string) []byte {
	if rest, ok := strings.CutPrefix(path, r.e.Parts+"."); ok && r.e.Parts != "" {
		path = rest // the element's members stand among the row's
	}
	name, rest, deep := strings.Cut(path, ".")
	value := of(all, name)
	for deep {
		name, rest, deep = strings.Cut(rest, ".")
		value = member(value, name)
	}
	return value
}

// sum names the content of a row: its members in the order of their names, as
// deep as they go, null and absent alike, without those that change by
// themselves.
func (r *rowReading) sum(all []field, archived bool) [16]byte {
	b := append(r.buf[:0], 'l')
	if archived {
		b[0] = 'a'
	}
	kept := slices.DeleteFunc(slices.Clone(all), func(f field) bool { return slices.Contains(r.e.Volatile, f.name) })
	r.buf = appendSorted(b, kept)
	return xxh3.Hash128(r.buf).Bytes()
}

func appendSorted(b []byte, all []field) []byte {
	slices.SortStableFunc(all, func(x, y field) int { return strings.Compare(x.name, y.name) })
	b = append(b, '{')
	for _, f := range all {
		if string(f.value) == "null" {
			continue
		}
		b = strconv.AppendQuote(b, f.name)
		b = append(appendCanonical(append(b, ':'), f.value), ',')
	}
	return append(b, '}')
}

// appendCanonical appends a value with the members of objects in order.
func appendCanonical(b, value []byte) []byte {
	switch {
	case len(value) > 0 && value[0] == '{':
		return appendSorted(b, fields(value))
	case len(value) > 0 && value[0] == '[':
		b = append(b, '[')
		for _, e := range elements(value) {
			b = append(appendCanonical(b, e), ',')
		}
		return append(b, ']')
	}
	return append(b, value...)
}

// fields are the members of an object, those of elements an array's. Both take
// text that is known to be JSON.
func fields(object []byte) []field {
	s := rawjson.Scan(object)
	if !s.Open('{') {
		return nil
	}
	var out []field
	for n := 0; s.Next(n, '}'); n++ {
		name := unquote(s.Name())
		out = append(out, field{name, s.Value()})
	}
	return out
}

func elements(array []byte) [][]byte {
	s := rawjson.Scan(array)
	if !s.Open('[') {
		return nil
	}
	var out [][]byte
	for n := 0; s.Next(n, ']'); n++ {
		out = append(out, s.Value())
	}
	return out
}

// of is the value of the last member of a name, nil where there is none.
func of(all []field, name string) []byte {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].name == name {
			return all[i].value
		}
	}
	return nil
}

// text is a plain value as text: a text's characters, a number or a switch as
// it is written, "" for anything else.
func text(raw []byte) string {
	switch {
	case len(raw) == 0, raw[0] == '{', raw[0] == '[', string(raw) == "null":
		return ""
	case raw[0] == '"':
		return unquote(raw)
	}
	return string(raw)
}

// longestPart bounds a part of an id; a longer one ends in its hash.
const longestPart = 96

// namePart makes text a part of an id: no white space, nothing that cannot be
// seen.
func namePart(s string) string {
	odd := func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }
	if strings.ContainsFunc(s, odd) {
		var b strings.Builder
		for _, c := range s {
			if odd(c) {
				fmt.Fprintf(&b, "%%%02X", c)
			} else {
				b.WriteRune(c)
			}
		}
		s = b.String()
	}
	if len(s) > longestPart {
		s = strings.ToValidUTF8(s[:longestPart-17], "") + "~" + fmt.Sprintf("%016x", xxh3.HashString(s))
	}
	return s
}

// oneLine is JSON without line breaks between its values.
func oneLine(value []byte) []byte {
	if bytes.IndexByte(value, '\n') < 0 && bytes.IndexByte(value, '\r') < 0 {
		return slices.Clip(value)
	}
	return compacted(value)
}
