package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// RecordQuery selects records; what is empty does not select.
type RecordQuery struct {
	Limit  int    // of one page; 100 by default, to 1,000
	Cursor string // the Next of the page before
	// Since is a place in the feed, or an RFC 3339 time of commit: what stands
	// above it, in order of Seq, of which nothing is missed. A Cursor goes with
	// the Since of the page before.
	Since         string
	ModifiedSince string   // RFC 3339, HubSpot's time
	States        []string // live by default; "all" for all
	Fields        []string // names of properties
	// Formulas is what becomes of cells of CSV that a spreadsheet would run: safe
	// by default, or keep; for Export alone.
	Formulas string
	// As is a destination: the records are as it gets them; for Export alone.
	As string
}

func (q RecordQuery) values() url.Values {
	return values("limit", count(q.Limit), "cursor", q.Cursor, "since", q.Since, "modified_since", q.ModifiedSince,
		"state", strings.Join(q.States, ","), "fields", strings.Join(q.Fields, ","))
}

// Records returns a page of a stream's records, in order of their ids, with
// Since in order of Seq.
func (c *Client) Records(ctx context.Context, name string, q RecordQuery) (RecordPage, error) {
	return get[RecordPage](ctx, c, streamPath(name, "/records"), q.values())
}

// AllRecords gives the records of all pages from q.Cursor on. It ends after the
// first error.
func (c *Client) AllRecords(ctx context.Context, name string, q RecordQuery) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			page, err := c.Records(ctx, name, q)
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range page.Records {
				if !yield(r, nil) {
					return
				}
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				return
			}
		}
	}
}

// Record returns one record, with those of its properties that are named; none
// is all of them.
func (c *Client) Record(ctx context.Context, name, id string, fields ...string) (Record, error) {
	return get[Record](ctx, c, streamPath(name, "/records/"+url.PathEscape(id)), values("fields", strings.Join(fields, ",")))
}

// ChangeQuery selects changes. Since is a place in the feed (exclusive; "" for
// the beginning) or an RFC 3339 time of commit; Limit 0 is no limit. With Follow
// the changes go on as they come, until ctx ends or the daemon stops.
type ChangeQuery struct {
	Since  string
	Limit  int
	Follow bool
}

func (q ChangeQuery) values() url.Values {
	v := values("since", q.Since, "limit", count(q.Limit))
	if q.Follow {
		v.Set("follow", "true")
	}
	return v
}

// Changes gives the change feed in order of Seq. It ends after the first error;
// with the Seq of the last record as Since it goes on where it was.
func (c *Client) Changes(ctx context.Context, name string, q ChangeQuery) iter.Seq2[Record, error] {
	return lines[Record](ctx, c, streamPath(name, "/changes"), q.values())
}

// ExportRecords gives the records of an export as NDJSON, of the states and
// fields of q. It ends after the first error.
func (c *Client) ExportRecords(ctx context.Context, name string, q RecordQuery) iter.Seq2[Record, error] {
	v := values("state", strings.Join(q.States, ","), "fields", strings.Join(q.Fields, ","))
	return lines[Record](ctx, c, streamPath(name, "/export"), v)
}

// Export writes an export ("ndjson", "csv" or "parquet") to w as it comes. An error may
// come after a part has been written.
func (c *Client) Export(ctx context.Context, name, format string, q RecordQuery, w io.Writer) error {
	v := values("format", format, "formulas", q.Formulas, "as", q.As, "state", strings.Join(q.States, ","), "fields", strings.Join(q.Fields, ","))
	return c.copy(ctx, streamPath(name, "/export"), v, w)
}

// CopyChanges writes the change feed as NDJSON to w as it comes, without
// reading it.
func (c *Client) CopyChanges(ctx context.Context, name string, q ChangeQuery, w io.Writer) error {
	return c.copy(ctx, streamPath(name, "/changes"), q.values(), w)
}

// Backup writes all that the store holds to w as it comes, for hubpipe restore.
// After an error what was written is no backup.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	return c.copy(ctx, "/v1/backup", nil, w)
}

// written tells an error of the writer from one of the daemon.
type written struct {
	w   io.Writer
	err error
}

func (w *written) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	w.err = err
	return n, err
}

func (c *Client) copy(ctx context.Context, path string, q url.Values, w io.Writer) error {
	res, err := c.open(ctx, http.MethodGet, path, q, "*/*", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	out := &written{w: w}
	_, err = io.Copy(out, res.Body)
	switch {
	case err == nil:
		return nil
	case out.err != nil:
		return fmt.Errorf("write what came: %w", out.err)
	}
	return c.cut(ctx, err)
}

// cut is the error of an answer that did not come to its end.
func (c *Client) cut(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w at %s: the answer was cut short: %w", ErrUnreachable, c.shown, err)
}

// lines gives an NDJSON answer, a value a line. Only whole lines count: what a
// broken connection left of one is never a value.
func lines[T any](ctx context.Context, c *Client, path string, q url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		res, err := c.open(ctx, http.MethodGet, path, q, "application/x-ndjson", nil)
		if err != nil {
			yield(none, err)
			return
		}
		defer res.Body.Close()
		r := bufio.NewReaderSize(res.Body, 64<<10)
		for {
			line, err := readLine(r)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					yield(none, c.cut(ctx, err))
				}
				return
			}
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			var v T
			if err := json.Unmarshal(line, &v); err != nil {
				yield(none, fmt.Errorf("read the answer of %s: %w", c.shown, err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

var errLineTooLong = errors.New("a line is too long")

// readLine reads a line with its end: io.EOF after the last, and
// io.ErrUnexpectedEOF where the last has none.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case len(line) > maxLine:
			return nil, errLineTooLong
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// Events gives what happens in the daemon after the event lastID (0: from now
// on), until ctx ends, the daemon stops, or the reader is too slow for it. What
// changed several times before lastID is asked for comes once, as it is now. It
// ends after the first error.
func (c *Client) Events(ctx context.Context, lastID uint64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		q := url.Values{}
		if lastID > 0 {
			q.Set("last_event_id", strconv.FormatUint(lastID, 10))
		}
		res, err := c.open(ctx, http.MethodGet, "/v1/events", q, "text/event-stream", nil)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer res.Body.Close()
		r := bufio.NewReaderSize(res.Body, 64<<10)
		for {
			e, err := readEvent(r)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					yield(Event{}, c.cut(ctx, err))
				}
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// readEvent reads a server-sent event; those without data, and comments, are
// passed over.
func readEvent(r *bufio.Reader) (Event, error) {
	var e Event
	for {
		line, err := readLine(r)
		if err != nil {
			return e, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if e.Data != nil {
				return e, nil
			}
			e = Event{}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			e.Type = string(value)
		case "id":
			if e.ID, err = strconv.ParseUint(string(value), 10, 64); err != nil {
				return e, fmt.Errorf("read the id of an event: %w", err)
			}
		case "data":
			if e.Data != nil {
				e.Data = append(e.Data, '\n')
			}
			e.Data = append(e.Data, value...)
		}
	}
}
