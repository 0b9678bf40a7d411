package hubspot

import (
	"bytes"
	"context"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/zeebo/xxh3"

	"github.com/hubpipe/hubpipe/internal/rawjson"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// selection are the properties to read of a record, and those whose earlier
// values are read with them.
type selection struct{ names, history []string }

// atOnce is how many records one batch read may name.
func (f selection) atOnce(obj catalogue.Object) int {
	if len(f.history) > 0 {
		return min(obj.BatchLimit, catalogue.HistoryLimit)
	}
	return obj.BatchLimit
}

// maxPastNames bounds the names, in bytes, whose history one request asks for.
// HubSpot names no limit of a body; this is what it takes in an address.
const maxPastNames = 15_000

// portions divides the names whose history is read into requests; the first
// brings the properties, too.
func (f selection) portions(cursor string) []selection {
	out := []selection{{names: f.names}}
	size := 0
	for _, name := range f.history {
		last := &out[len(out)-1]
		if size += len(name) + len(`"",`); size > maxPastNames && len(last.history) > 0 {
			size = len(name) + len(`"",`)
			out = append(out, selection{names: []string{cursor}})
			last = &out[len(out)-1]
		}
		last.history = append(last.history, name)
	}
	return out
}

// batch reads into out, in several requests where the names are too many for
// one. A record of which a later one gives an older version is left out: it
// was not read.
func (c *Client) batch(ctx context.Context, obj catalogue.Object, ids []string, f selection, archived bool, out map[string]Record) (int64, error) {
	portions := f.portions(obj.Cursor)
	asOf, err := c.batchOf(ctx, obj, ids, portions[0], archived, out)
	for _, portion := range portions[1:] {
		if err != nil {
			return 0, err
		}
		more := make(map[string]Record, len(out))
		if _, err = c.batchOf(ctx, obj, ids, portion, archived, more); err != nil {
			return 0, err
		}
		for id, rec := range out {
			next, ok := more[id]
			if !ok || next.Version < rec.Version {
				delete(out, id)
				continue
			}
			rec.History = joined(rec.History, next.History)
			rec.HistoryDigest = xxh3.Hash128(append(rec.HistoryDigest[:], next.HistoryDigest[:]...)).Bytes()
			out[id] = rec
		}
	}
	return asOf, err
}

// joined is one object with the members of two.
func joined(a, b []byte) []byte {
	switch {
	case len(b) <= len("{}"):
		return a
	case len(a) <= len("{}"):
		return b
	}
	return append(append(bytes.Clone(a[:len(a)-1]), ','), b[1:]...)
}

// pastOf takes the history of properties up as it came, on one line.
func (r *reading) pastOf(s *rawjson.Scanner, rec *Record) {
	s.Peek()
	lines := s.Lines()
	raw := s.Value()
	if len(raw) == 0 || raw[0] != '{' {
		return // null: as if it were not there
	}
	if s.Lines() > lines {
		compact := jsontext.Value(bytes.Clone(raw))
		// As with the properties, what is valid always compacts.
		if compact.Compact(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) == nil {
			raw = compact
		}
	}
	rec.History = raw
}

// sumPast names the history of properties, whatever their order. What never
// makes a change by itself does not count. What HubSpot calculates has been
// calculated just now, whenever one asks; so of such a value the time is not
// looked at.
func (r *reading) sumPast(history []byte) [16]byte {
	type past struct{ name, values []byte }
	var all []past
	s := rawjson.Scan(history)
	if s.Open('{') {
		for n := 0; s.Next(n, '}'); n++ {
			p := past{s.Name(), s.Value()}
			if !r.quiet[unquote(p.name)] {
				all = append(all, p)
			}
		}
	}
	slices.SortFunc(all, func(a, b past) int { return bytes.Compare(a.name, b.name) })
	b := append(r.buf[:0], 'h')
	for _, p := range all {
		b = append(append(b, p.name...), ':')
		if !bytes.Contains(p.values, []byte(`"CALCULATED"`)) {
			b = append(append(b, p.values...), ',')
			continue
		}
		values := rawjson.Scan(p.values)
		if !values.Open('[') {
			continue
		}
		for n := 0; values.Next(n, ']'); n++ {
			one := values.Value()
			if is(member(one, "sourceType"), "CALCULATED") {
				one = member(one, "value")
			}
			b = append(append(b, one...), ',')
		}
	}
	r.buf = b
	return xxh3.Hash128(b).Bytes()
}
