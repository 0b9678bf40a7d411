package hubspot

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/hubpipe/hubpipe/internal/rawjson"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Record is one record as HubSpot gave it.
type Record struct {
	ID string
	// Version is the object's cursor property in ms; updatedAt only where the
	// record has no such property. 0 where it has neither.
	Version int64
	// AsOf is HubSpot's time when the request began, in ms.
	AsOf int64
	// The times as sent; empty where there is none.
	CreatedAt, UpdatedAt, ArchivedAt string
	Archived                         bool
	// MergedInto is the id of the record that this one was merged into. Such
	// a record has no properties.
	MergedInto string
	// Merged are the ids that its properties say were merged into it, each once.
	Merged []string
	// Properties is the JSON object as sent, on one line. It shares the memory
	// of its page.
	Properties []byte
	// Digest names the content: the values of the properties that were asked
	// for, null and absent alike, and whether it is archived. The order of the
	// properties does not count, nor what is linked with the record.
	Digest [16]byte
	// History is the JSON object of what properties have been, each newest first,
	// as sent; nil where it was not asked for. HistoryDigest names it.
	History       []byte
	HistoryDigest [16]byte
}

// page is what list, batch read and search have in common.
type page struct {
	records  []Record
	after    string
	total    int
	hasTotal bool
}

// reading says how records are to be understood. It serves for one reply.
type reading struct {
	cursor string
	quiet  map[string]bool // properties that do not count in the digest
	digest bool            // search results need none
	// history says that the past of properties was asked for.
	history bool
	asOf    int64
	limit   int // more results than this are refused
	body    []byte
	pairs   []pair
	known   int    // of the pairs, how many were found by the heads
	order   []int  // see ordered
	heads   []head // of the record that order was made for
	buf     []byte
}

var (
	errNotJSON   = errors.New("not JSON")
	errNoResults = errors.New("no results in it")
	errBadID     = errors.New("a record without a usable id")
)

// page reads a reply. The records keep body alive.
func (r *reading) page(body []byte) (page, error) {
	var p page
	err := r.whole(body, func(s *rawjson.Scanner) (err error) {
		p, err = r.top(s)
		return err
	})
	return p, err
}

// one reads a reply that is a single record.
func (r *reading) one(body []byte) (Record, error) {
	var rec Record
	err := r.whole(body, func(s *rawjson.Scanner) error {
		if !s.Open('{') {
			return errNoResults
		}
		rec = Record{}
		return r.record(s, &rec)
	})
	return rec, err
}

// whole goes over a reply once; what was found in it counts where all of it is
// JSON.
func (r *reading) whole(body []byte, read func(*rawjson.Scanner) error) error {
	r.body = body
	s := rawjson.Scan(body)
	err := read(&s)
	switch {
	case s.Broken():
		return errNotJSON // which is why something is missing
	case err != nil:
		return err
	case !s.End():
		return errNotJSON
	case !s.ASCII() && !utf8.Valid(body):
		// One byte that is no text must not stop a portal.
		r.order, r.heads = nil, nil
		return r.whole(bytes.ToValidUTF8(body, []byte("\uFFFD")), read)
	}
	return nil
}

func (r *reading) top(s *rawjson.Scanner) (page, error) {
	if !s.Open('{') {
		return page{}, errNoResults
	}
	var p page
	found := false
	for n := 0; s.Next(n, '}'); n++ {
		switch name := s.Name(); {
		case is(name, "results"):
			if !s.Open('[') {
				return page{}, errNoResults
			}
			found, p.records = true, make([]Record, 0, r.limit)
			if err := r.results(s, &p); err != nil {
				return page{}, err
			}
		case is(name, "paging"):
			p.after = after(s.Value())
		case is(name, "total"):
			n, err := strconv.Atoi(string(s.Value()))
			if err != nil || n < 0 {
				return page{}, errors.New("a total that is no count")
			}
			p.total, p.hasTotal = n, true
		default:
			s.Value()
		}
	}
	if !found {
		return page{}, errNoResults
	}
	return p, nil
}

func (r *reading) results(s *rawjson.Scanner, p *page) error {
	for n := 0; s.Next(n, ']'); n++ {
		if !s.Open('{') {
			return errBadID
		}
		if len(p.records) >= r.limit {
			return fmt.Errorf("more than the %d records that were asked for", r.limit)
		}
		p.records = append(p.records, Record{})
		if err := r.record(s, &p.records[len(p.records)-1]); err != nil {
			return err
		}
	}
	return nil
}

// record reads an object that was entered.
func (r *reading) record(s *rawjson.Scanner, rec *Record) error {
	rec.AsOf = r.asOf
	r.pairs = r.pairs[:0]
	for n := 0; s.Next(n, '}'); n++ {
		switch name := s.Name(); {
		case is(name, "id"):
			rec.ID = identity(s.Value())
		case is(name, "properties"):
			r.properties(s, rec)
		case r.history && is(name, "propertiesWithHistory"):
			r.pastOf(s, rec)
		case is(name, "createdAt"):
			rec.CreatedAt = moment(s.Value())
		case is(name, "updatedAt"):
			rec.UpdatedAt = moment(s.Value())
		case is(name, "archivedAt"):
			rec.ArchivedAt = moment(s.Value())
		case is(name, "archived"):
			rec.Archived = string(s.Value()) == "true"
		default:
			s.Value()
		}
	}
	if rec.ID == "" {
		return errBadID
	}
	if rec.Properties == nil {
		rec.Properties = []byte("{}")
	}
	if rec.Version == 0 {
		rec.Version = millis(rec.UpdatedAt)
	}
	if r.digest {
		rec.Digest = r.sum(rec.Archived)
	}
	if r.history {
		if rec.History == nil {
			rec.History = []byte("{}")
		}
		rec.HistoryDigest = r.sumPast(rec.History)
	}
	return nil
}

// properties notes the values for the digest, and the version.
func (r *reading) properties(s *rawjson.Scanner, rec *Record) {
	s.Peek()
	begin, lines := s.Offset(), s.Lines()
	if !s.Open('{') {
		s.Value() // null: as if it were not there
		return
	}
	r.pairs, r.known, rec.Version = r.pairs[:0], 0, 0
	objects, vids := "", ""
	for n := 0; s.Next(n, '}'); n++ {
		p, means := r.pair(s, n)
		switch value := r.body[p.value:p.end]; means {
		case cursor:
			rec.Version = millis(unquote(value))
		case mergedObjects:
			objects = unquote(value)
		case mergedVids:
			vids = unquote(value)
		}
		if r.digest {
			r.pairs = append(r.pairs, p)
		}
	}
	rec.Merged = nil
	if objects != "" || vids != "" {
		rec.Merged = catalogue.MergedIDs(objects, vids)
	}
	rec.Properties = s.Since(begin)
	if s.Lines() > lines {
		rec.Properties = compacted(rec.Properties)
	}
}

// after finds paging.next.after; "" where there is no next page.
func after(paging []byte) string {
	next := member(paging, "next")
	raw := member(next, "after")
	if len(raw) > 0 && raw[0] != '"' && string(raw) != "null" {
		return string(raw) // a number where the specification has a text
	}
	return unquote(raw)
}

// member returns the value of a member of an object, nil where there is none.
func member(object []byte, name string) (value []byte) {
	s := rawjson.Scan(object)
	if !s.Open('{') {
		return nil
	}
	for n := 0; s.Next(n, '}'); n++ {
		found, v := s.Name(), s.Value()
		if is(found, name) {
			value = v
		}
	}
	return value
}

// identity returns an id, which is a text, or in older endpoints a number; ""
// where it is none that could be asked for again.
func identity(raw []byte) string {
	var id string
	switch {
	case len(raw) == 0:
		return ""
	case raw[0] == '"':
		id = unquote(raw)
	case raw[0] >= '0' && raw[0] <= '9':
		id = string(raw)
	}
	if len(id) > 128 {
		return ""
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] == 0x7f {
			return ""
		}
	}
	return id
}

// moment returns a time as sent, "" for what cannot be one.
func moment(raw []byte) string {
	if len(raw) > 64 {
		return ""
	}
	t := unquote(raw)
	for i := range len(t) {
		if t[i] < ' ' || t[i] >= 0x7f {
			return ""
		}
	}
	return t
}

// millis reads a time in ms since 1970, or in the form of RFC 3339; 0 for
// anything else.
func millis(t string) int64 {
	if len(t) < 10 {
		return 0
	}
	if t[4] != '-' {
		ms, err := strconv.ParseInt(t, 10, 64)
		if err != nil {
			return 0
		}
		return ms
	}
	at, err := time.Parse(time.RFC3339, t)
	if err != nil {
		return 0
	}
	return at.UnixMilli()
}
