package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

const (
	// logOverlap is how far before the newest row that is known a log is read
	// again: what is late by less is found.
	logOverlap = 15 * time.Minute
	// quietest is how seldom a log that stays empty is asked at least.
	quietest = 6 * time.Hour
	// logPage is how many rows of several logs are listed together.
	logPage = 1000
)

// logPlace is what is known of one log: its newest row's time, or how often it
// was empty, and when it is asked again. Times are HubSpot's, in ms.
type logPlace struct {
	Newest int64 `json:"t,omitempty"`
	Empty  int   `json:"n,omitempty"`
	Next   int64 `json:"w,omitempty"`
}

type logNotes map[string]logPlace

func logKey(p parent) string { return fmt.Sprintf("%012x", xxh3.HashString(p.name)>>16) }

// logCursor is how far a range has come: whose log, its newest row's time, and
// where in it; without a place that log has been read.
type logCursor struct {
	name   string
	newest int64
	place  string
}

func (c logCursor) String() string { return fmt.Sprintf("%s %d %s", c.name, c.newest, c.place) }

func readLogCursor(text string) (c logCursor) {
	name, rest, _ := strings.Cut(text, " ")
	newest, place, _ := strings.Cut(rest, " ")
	c.name, c.place = name, place
	c.newest, _ = strconv.ParseInt(newest, 10, 64) // none is 0
	return c
}

// logs reads, from the newest row back, each log to what is known of it; all of
// it where nothing is known, and in a run that is to read everything.
func (r *ranger) logs() error {
	a := r.a
	return r.ahead(func(ctx context.Context, emit func(context.Context, batch) error) error {
		all, err := a.parents(ctx)
		if err != nil {
			return err
		}
		before, after := logNotes{}, logNotes{}
		if a.fetch.Kind == incrementalRun && json.Unmarshal([]byte(a.fetch.Notes), &before) != nil {
			before = logNotes{}
		}
		l := &logReading{r: r, at: readLogCursor(r.g.Cursor), emit: func(p rows) error { return emit(ctx, batch{rows: &p}) }}
		for _, p := range all {
			was := before[logKey(p)]
			if now, err := l.read(ctx, p, was); err != nil {
				return err
			} else if now != (logPlace{}) {
				after[logKey(p)] = now
			}
		}
		if l.barred != nil && !l.let {
			return l.barred // from all of them
		}
		l.held.last, l.held.notes = true, "{}"
		if b, err := json.Marshal(after); err == nil && len(b) <= protocol.MaxNotes {
			l.held.notes = string(b)
		}
		return l.emit(l.held)
	}, func(b batch) error { return r.listRows(b.rows) })
}

// logReading gathers rows of several logs.
type logReading struct {
	r    *ranger
	at   logCursor // where the range begins
	held rows
	size int
	emit func(rows) error
	// barred is what HubSpot says to a token that lacks a scope; let, that one log
	// at least was read.
	barred error
	let    bool
}

// read reads one log and says what is known of it now.
func (l *logReading) read(ctx context.Context, p parent, was logPlace) (logPlace, error) {
	a := l.r.a
	here := l.at.name == p.name
	if l.at.name != "" && protocol.CompareIDs(p.prefix(), l.at.name+"/") < 0 || here && l.at.place == "" || was.Next > a.began(0) {
		l.let = true
		return was, nil // an attempt before this one has read it, or it is too soon
	}
	known, now := int64(0), logPlace{Newest: was.Newest}
	if was.Newest > 0 {
		known = was.Newest - logOverlap.Milliseconds()
	}
	req := RowsRequest{Parent: p.path, Name: p.name}
	if here {
		req.Place, now.Newest = l.at.place, max(now.Newest, l.at.newest)
	}
	for seen := map[string]bool{}; ; {
		page, err := a.rowsPage(ctx, a.row.Name, req)
		if errors.Is(err, ErrUnreadable) {
			a.log.Debug("a log is left as it is", "object", a.row.Name, "of", p.name, "error", err)
			if problem, ok := errors.AsType[*ProblemError](err); ok && problem.Type == "scope" {
				l.barred = problem
			}
			return l.quiet(was), nil
		}
		if err != nil {
			return was, err
		}
		l.let = true
		done := page.Next == ""
		for i := range page.Records {
			rec := &page.Records[i]
			if rec.Version < known {
				done = true
				continue
			}
			now.Newest = max(now.Newest, rec.Version)
			l.held.records = append(l.held.records, *rec)
			l.size += len(rec.Properties)
		}
		at := logCursor{name: p.name, newest: now.Newest, place: page.Next}
		if done {
			at.place = ""
		}
		l.held.to = at.String()
		if len(l.held.records) >= logPage || l.size > maxHeldBytes {
			if err := l.emit(l.held); err != nil {
				return was, err
			}
			l.held, l.size = rows{to: l.held.to}, 0
		}
		switch {
		case done && now.Newest == 0:
			return l.quiet(was), nil
		case done:
			return now, nil
		case seen[page.Next]:
			return was, fmt.Errorf("read %s of %s: HubSpot's cursor %q leads back", a.row.Name, p.name, page.Next)
		}
		seen[page.Next], req.Place = true, page.Next
	}
}

// quiet is the place of a log that is empty: it is asked half as often each
// time.
func (l *logReading) quiet(was logPlace) logPlace {
	if was.Newest > 0 {
		return was
	}
	every := l.r.a.row.Interval
	wait := min(quietest, every<<min(was.Empty, 10)-every)
	return logPlace{Empty: was.Empty + 1, Next: l.r.a.began(0) + wait.Milliseconds()}
}
