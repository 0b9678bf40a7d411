package api

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// position is where "since" points.
func (s *Server) position(ctx context.Context, name string, q params) (uint64, error) {
	n, at, err := q.since()
	if err != nil || at.IsZero() {
		return n, err
	}
	return s.o.Data.PositionAt(ctx, name, at)
}

// selection is which records a request wants, and what of them.
type selection struct {
	RecordQuery
	fields []string
	feed   bool // in the order of the feed, after place
	place  uint64
}

func (s *Server) selection(r *http.Request, name string, q params) (x selection, err error) {
	if x.Limit, err = q.limit(defaultLimit, maxLimit); err != nil {
		return x, err
	}
	if x.States, err = q.states(); err != nil {
		return x, err
	}
	if x.ModifiedSince, err = q.modifiedSince(); err != nil {
		return x, err
	}
	if x.fields, err = s.fieldsOf(name, q); err != nil {
		return x, err
	}
	if _, x.feed = q["since"]; !x.feed {
		x.After, err = q.cursor(idMark)
		return x, err
	}
	since, err := s.position(r.Context(), name, q)
	if err != nil {
		return x, err
	}
	place, known, err := q.place()
	if x.place = since; known {
		x.place = max(since, place)
	}
	return x, err
}

// errPage ends a reading whose page is full.
var errPage = errors.New("the page is full")

// page gives the records of a page to fn and returns the cursor of the next.
// What has changed is read in the order of the feed: of what changes while
// somebody goes from page to page, nothing is missed there.
func (s *Server) page(ctx context.Context, name string, x selection, fn func(*stream.Record) error) (next string, err error) {
	if !x.feed {
		id, err := s.o.Data.Records(ctx, name, x.RecordQuery, fn)
		return makeCursor(idMark, id), err
	}
	n, last := 0, uint64(0)
	_, err = s.o.Data.Changes(ctx, name, x.place, 0, func(rec *stream.Record) error {
		switch {
		case x.States != nil && !slices.Contains(x.States, rec.State) || rec.Version < x.ModifiedSince:
			return nil
		case n == x.Limit:
			return errPage
		}
		n, last = n+1, rec.Seq
		return fn(rec)
	})
	if errors.Is(err, errPage) {
		return makeCursor(placeMark, strconv.FormatUint(last, 10)), nil
	}
	return "", err
}

func (s *Server) records(w http.ResponseWriter, r *http.Request, q params) error {
	name, err := s.known(r)
	if err != nil {
		return err
	}
	x, err := s.selection(r, name, q)
	if err != nil {
		return err
	}
	o := newOutput(w, prefer(r, mediaJSON, mediaNDJSON))
	lines := o.media == mediaNDJSON
	if unchanged(w, r, s.tag(r, name, o.media)) {
		return nil
	}
	o.least = maxHeld // so that the header can say where the next page is
	if lines {
		// Where the next page begins is known behind the last line.
		w.Header().Set("Trailer", headerNext)
	} else {
		o.buf = append(o.buf, `{"records":[`...)
	}
	n := 0
	next, err := s.page(r.Context(), name, x, func(rec *stream.Record) error {
		if !lines && n > 0 {
			o.buf = append(o.buf, ',')
		}
		n++
		var err error
		if o.buf, err = AppendRecord(o.buf, rec, x.fields); err != nil {
			return err
		}
		if lines {
			o.buf = append(o.buf, '\n')
		}
		return o.send(false)
	})
	if err != nil {
		return s.end(o, r, err)
	}
	if next != "" && !o.sent {
		w.Header().Set("Link", nextLink(r, "cursor", next))
	}
	if lines {
		err = o.send(true)
		w.Header().Set(headerNext, next)
	} else {
		o.buf = append(o.buf, `],"next":`...)
		o.buf = append(appendString(o.buf, next), "}\n"...)
	}
	return s.end(o, r, err)
}

// maxHeld is how much of a page is gathered before it is sent; a page of larger
// records goes out without a Link.
const maxHeld = 8 << 20

// nextLink is the header that leads to the next page: the same request, going
// on from there.
func nextLink(r *http.Request, name, value string) string {
	q := r.URL.Query()
	q.Set(name, value)
	return "<" + r.URL.EscapedPath() + "?" + q.Encode() + `>; rel="next"`
}

// tag names what is read of a stream from now on. That stays the same until its
// feed moves, or more or less of it is shown. It is made before anything is read:
// what is answered may be newer than its tag, and is then read once more; older,
// it would be kept for the newest.
func (s *Server) tag(r *http.Request, name, media string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d %q %s %s %s", s.o.Version, s.o.Epoch, s.o.Data.PositionOf(name), s.o.Data.Shown(name), r.URL.EscapedPath(), r.URL.RawQuery, media))
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// unchanged answers a request whose asker has what it asks for already.
func unchanged(w http.ResponseWriter, r *http.Request, etag string) bool {
	h := w.Header()
	h.Set("ETag", etag)
	h.Set("Cache-Control", "private, no-cache")
	h.Add("Vary", "Accept")
	if !matches(r, etag) {
		return false
	}
	w.WriteHeader(http.StatusNotModified)
	return true
}

// noRecord is the problem of a record that is not stored. Its hint is a line for
// a shell, whatever was asked for.
func (s *Server) noRecord(err error, name, id string) error {
	hint := "it may be new: fetch it with `hubpipe sync " + name + " --record " + quoted(id) + "`"
	if wrong := stream.BadRecord(id); wrong != nil {
		hint = wrong.Hint
	}
	return s.missing(err, client.TypeUnknownRecord, hint, "stream %q has no record %q", name, Clip(id))
}

// quoted is a word for a shell, in quotes where it needs them.
func quoted(word string) string {
	if word != "" && strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:,/@%+=-") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// headerNext is the trailer with the cursor of the next page, for NDJSON.
const headerNext = "Hubpipe-Next"

func (s *Server) record(w http.ResponseWriter, r *http.Request, q params) error {
	name, err := s.known(r)
	if err != nil {
		return err
	}
	fields, err := s.fieldsOf(name, q)
	if err != nil {
		return err
	}
	id, etag := r.PathValue("id"), s.tag(r, name, mediaJSON)
	rec, err := s.o.Data.Record(name, id)
	if err != nil {
		return s.noRecord(err, name, id)
	}
	if unchanged(w, r, etag) {
		return nil
	}
	o := newOutput(w, mediaJSON)
	if o.buf, err = AppendRecord(o.buf, rec, fields); err != nil {
		return err
	}
	o.buf = append(o.buf, '\n')
	return s.end(o, r, nil)
}

func (s *Server) export(w http.ResponseWriter, r *http.Request, q params) error {
	name, err := s.known(r)
	if err != nil {
		return err
	}
	states, err := q.states()
	if err != nil {
		return err
	}
	fields, err := s.fieldsOf(name, q)
	if err != nil {
		return err
	}
	format, ok := q["format"]
	if !ok {
		format = "ndjson"
	}
	if format != "ndjson" && format != "csv" && format != "parquet" {
		return badParameter("format is ndjson, csv or parquet", "format is %q", Clip(format))
	}
	guard, err := q.formulas()
	if err != nil {
		return err
	}
	var data View = s.o.Data
	if as, ok := q["as"]; ok {
		if data, err = s.o.Data.As(as, name); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name+"."+format))
	wanted := func(rec *stream.Record) bool { return states == nil || slices.Contains(states, rec.State) }
	switch format {
	case "csv":
		return s.exportCSV(w, r, data, name, fields, wanted, guard)
	case "parquet":
		return s.exportParquet(w, r, data, name, fields, wanted)
	}
	o := newOutput(w, mediaNDJSON)
	if r.Method == http.MethodHead { // here and below: nothing is read for it
		return s.end(o, r, nil)
	}
	_, err = data.Changes(r.Context(), name, 0, 0, func(rec *stream.Record) error {
		if !wanted(rec) {
			return nil
		}
		var err error
		if o.buf, err = AppendRecord(o.buf, rec, fields); err != nil {
			return err
		}
		o.buf = append(o.buf, '\n')
		return o.send(false)
	})
	return s.end(o, r, err)
}

// errNewProperty cuts an export short whose columns are no longer all.
var errNewProperty = errors.New("a property appeared while the export ran: begin it again")

// Write gathers, so that a csv.Writer can fill an output.
func (o *output) Write(b []byte) (int, error) {
	o.buf = append(o.buf, b...)
	return len(b), nil
}

// exportCSV writes a column a property. Which there are only the records tell,
// so that without fields they are read twice.
func (s *Server) exportCSV(w http.ResponseWriter, r *http.Request, data View, name string, fields []string, wanted func(*stream.Record) bool, guard func(string) string) error {
	o := newOutput(w, mediaCSV+"; charset=utf-8")
	if r.Method == http.MethodHead {
		return s.end(o, r, nil)
	}
	columns := map[string]int{}
	all := fields == nil
	if all {
		var err error
		if fields, err = propertiesIn(r.Context(), data, name, wanted); err != nil {
			return err
		}
	}
	head := []string{"id", "seq", "state", "createdAt", "updatedAt", "archivedAt", "mergedInto"}
	row, taken := slices.Clone(head), map[string]bool{}
	for _, own := range head {
		taken[own] = true
	}
	for i, f := range fields {
		columns[f] = len(head) + i
		row = append(row, guard(columnName(f, taken)))
	}
	out := csv.NewWriter(o)
	if err := out.Write(row); err != nil {
		return s.end(o, r, err)
	}
	_, err := data.Changes(r.Context(), name, 0, 0, func(rec *stream.Record) error {
		if !wanted(rec) {
			return nil
		}
		clear(row)
		copy(row, []string{guard(rec.ID), strconv.FormatUint(rec.Seq, 10), string(rec.State), rec.CreatedAt, rec.UpdatedAt,
			rec.ArchivedAt, guard(rec.MergedInto)})
		err := eachProperty(rec.Properties, func(p string, v jsontext.Value) error {
			i, ok := columns[p]
			switch {
			case ok:
				row[i] = guard(cell(v))
			case all:
				return errNewProperty
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("record %s: %w", rec.ID, err)
		}
		if err := out.Write(row); err != nil {
			return err
		}
		if len(o.buf) < chunk {
			return nil // the csv.Writer hands over 4 KiB at a time
		}
		return o.send(false)
	})
	out.Flush()
	return s.end(o, r, err)
}

// cell is a value as text; null is empty.
func cell(v jsontext.Value) string {
	switch v.Kind() {
	case 'n':
		return ""
	case '"':
		// Halves of surrogate pairs, which HubSpot may have, are an error of which the
		// text is whole all the same, with U+FFFD in their place.
		b, _ := jsontext.AppendUnquote(nil, v)
		return string(b)
	}
	return string(v)
}
