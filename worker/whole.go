package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// rows are what a listing of whole rows is made of: it is complete for the ids
// up to the place that it leads to, those that begin as in except left out.
type rows struct {
	records []protocol.Record
	except  []string
	open    []protocol.OpenID // pairs that are refused
	to      string
	stays   bool // it leads nowhere
	last    bool
	notes   string
}

// Bounds of what waits to be listed.
const (
	maxHeldBytes = 8 << 20
	// lateChange is how much later than its own time a change may show.
	lateChange = 75 * time.Minute
)

// wholeNotes is what a run leaves to the next: how each parent stood when its
// rows were read, or only when that was, where the parents tell the time.
type wholeNotes struct {
	Marks map[string]string `json:"marks,omitempty"`
	At    int64             `json:"at,omitempty"`
}

// holding gathers what is to be listed.
type holding struct {
	rows
	from    string // where the reading begins; the range's own cursor moves on
	nothing bool   // is missing for being absent: not all rows were handed out
	bytes   int
	emit    func(rows) error
}

// whole lists the stream's rows from the range's cursor on, parent by parent,
// and brings what is wanted of them.
func (r *ranger) whole() error {
	a, from := r.a, r.g.Cursor
	return r.ahead(func(ctx context.Context, emit func(context.Context, batch) error) error {
		h := &holding{from: from, emit: func(p rows) error { return emit(ctx, batch{rows: &p}) }}
		if a.row.Endpoint.Parent.Kind == catalogue.ParentPairRecords {
			return r.readPairs(ctx, h)
		}
		all, err := a.parents(ctx)
		if err != nil {
			return err
		}
		return r.readAll(ctx, all, h)
	}, func(b batch) error { return r.listRows(b.rows) })
}

// readAll reads the parents in turn.
func (r *ranger) readAll(ctx context.Context, all []parent, h *holding) error {
	a := r.a
	before := readNotes(a.fetch.Notes)
	after := wholeNotes{Marks: map[string]string{}}
	if a.timed() {
		after = wholeNotes{At: a.began(0)}
	}
	read, skipped, refused := 0, 0, error(nil)
	at := max(1, a.row.Endpoint.Inputs)
	for i := 0; i < len(all); i += at {
		of := all[i:min(i+at, len(all))]
		last := of[len(of)-1]
		if h.passed(last) {
			// An attempt before this one read them; how they stood is not known.
			after.keep(of, before)
			skipped++
			continue
		}
		if a.unchanged(of[0], before) {
			h.except = append(h.except, of[0].prefix())
			after.keep(of, before)
			skipped++
		} else {
			got, err := a.readSome(ctx, of)
			if err != nil {
				return err
			}
			if got.refused != nil {
				refused = got.refused
			} else {
				read++
			}
			switch {
			case len(got.except) == 0:
				after.note(of)
			case of[0].name == "":
				h.nothing = true
			default:
				h.except = append(h.except, got.except...)
				after.At = before.At
			}
			h.add(got.records)
		}
		h.to = last.end()
		if err := h.flush(false); err != nil {
			return err
		}
	}
	if refused != nil && read+skipped == 0 {
		return refused // of all of them
	}
	if a.row.Endpoint.Parent.Changed != nil {
		h.notes = after.String()
	}
	return h.flush(true)
}

// some is what was read of some parents.
type some struct {
	reading
	except  []string
	refused error
}

// readSome reads parents together. Those that HubSpot does not hand out are
// named; where several were asked for at once it is found out which.
func (a *attempt) readSome(ctx context.Context, of []parent) (some, error) {
	got, err := a.readTogether(ctx, of)
	switch {
	case (errors.Is(err, ErrUnreadable) || errors.Is(err, ErrTooMany)) && len(of) > 1:
		low, err := a.readSome(ctx, of[:len(of)/2])
		if err != nil {
			return some{}, err
		}
		high, err := a.readSome(ctx, of[len(of)/2:])
		low.records, low.except = append(low.records, high.records...), append(low.except, high.except...)
		if high.refused == nil {
			low.refused = nil
		}
		return low, err
	case errors.Is(err, ErrUnreadable) && of[0].name != "":
		a.log.Warn("what belongs to a parent is left as it is", "object", a.row.Name, "of", of[0].name, "error", err)
		return some{except: prefixes(of), refused: err}, nil
	case errors.Is(err, ErrTooMany):
		return some{}, tooMuch(a.row.Name)
	}
	return got, err
}

// readTogether reads parents in one, and names those that are not complete.
func (a *attempt) readTogether(ctx context.Context, of []parent) (some, error) {
	got, err := a.read(ctx, of)
	if err != nil {
		return some{}, fmt.Errorf("read %s of %s: %w", a.row.Name, of[0].name, err)
	}
	out := some{reading: got}
	if !got.complete || slices.ContainsFunc(of, func(p parent) bool { return p.busy }) {
		out.except = prefixes(of)
		return out, nil
	}
	for _, p := range of {
		if slices.Contains(got.unread, p.path) {
			out.except = append(out.except, p.prefix())
		}
	}
	return out, nil
}

func prefixes(of []parent) []string {
	out := make([]string, len(of))
	for i, p := range of {
		out[i] = p.prefix()
	}
	return out
}

// timed tells whether the parents' own time says whether their rows changed.
func (a *attempt) timed() bool {
	of := a.row.Endpoint.Parent
	row, ok := catalogue.Lookup(of.Stream)
	return ok && len(of.Changed) == 1 && of.Changed[0] == row.Endpoint.Time
}

// unchanged tells whether a parent's rows need not be read: it stands as it did
// when they were read. Walks read all of them.
func (a *attempt) unchanged(p parent, before wholeNotes) bool {
	switch {
	case a.row.Endpoint.Parent.Changed == nil || a.fetch.Kind != incrementalRun:
		return false
	case a.timed():
		return before.At != 0 && p.time != 0 && p.time < before.At-lateChange.Milliseconds()
	}
	mark, ok := before.Marks[p.name]
	return ok && mark == p.mark
}

func (n wholeNotes) keep(of []parent, before wholeNotes) {
	for _, p := range of {
		if mark, ok := before.Marks[p.name]; ok && n.Marks != nil {
			n.Marks[p.name] = mark
		}
	}
}

func (n wholeNotes) note(of []parent) {
	for _, p := range of {
		if p.mark != "" && n.Marks != nil {
			n.Marks[p.name] = p.mark
		}
	}
}

func readNotes(text string) (n wholeNotes) {
	if json.Unmarshal([]byte(text), &n) != nil {
		return wholeNotes{}
	}
	return n
}

// String is what travels: nothing where it is too much, and the next run reads
// everything.
func (n wholeNotes) String() string {
	b, err := json.Marshal(n)
	if err != nil || len(b) > protocol.MaxNotes {
		return "{}"
	}
	return string(b)
}

// add takes up a parent's rows, those that a range has passed left out.
func (h *holding) add(records []protocol.Record) {
	for i := range records {
		if h.from != "" && protocol.CompareIDs(records[i].ID, h.from) <= 0 {
			continue
		}
		h.records = append(h.records, records[i])
		h.bytes += len(records[i].Properties)
	}
}

// flush hands on what fills pages, and at the end all of it.
func (h *holding) flush(end bool) error {
	for end || len(h.records) >= protocol.MaxListed || h.bytes > maxHeldBytes || len(h.except) >= protocol.MaxExcept {
		p := h.cut()
		p.last = end && len(h.records)+len(h.except) == 0
		if p.last {
			p.notes = h.notes
		}
		if err := h.emit(p); err != nil || p.last {
			return err
		}
	}
	return nil
}

// cut takes the next page: what it is not about is named where the page passes
// it.
func (h *holding) cut() rows {
	n, e, to := len(h.records), len(h.except), h.to
	if e > protocol.MaxExcept {
		e, to = protocol.MaxExcept, h.except[protocol.MaxExcept-1]+protocol.AfterAll
		for n > 0 && protocol.CompareIDs(h.records[n-1].ID, to) > 0 {
			n--
		}
	}
	if n > protocol.MaxListed {
		n, to = protocol.MaxListed, h.records[protocol.MaxListed-1].ID
	}
	for e > 0 && protocol.CompareIDs(h.except[e-1], to) > 0 {
		e--
	}
	p := rows{records: h.records[:n:n], except: h.except[:e:e], to: to}
	if h.nothing {
		p.except = []string{""}
	}
	p.open, h.open = h.open, nil
	h.records, h.except, h.bytes = h.records[n:], h.except[e:], 0
	for i := range h.records {
		h.bytes += len(h.records[i].Properties)
	}
	return p
}

// listRows sends a listing of rows and, from memory, what is wanted of it.
func (r *ranger) listRows(p *rows) error {
	page := protocol.Page{Kind: protocol.ListingPage, To: p.to, Last: p.last, Except: p.except, Open: p.open, Notes: p.notes,
		Listing: make([]protocol.Listed, len(p.records))}
	for i := range p.records {
		rec := &p.records[i]
		page.Listing[i] = protocol.Listed{ID: rec.ID, Version: rec.Version, Digest: rec.Digest}
	}
	an, err := r.send(page, !p.stays)
	if err != nil || r.ended || len(an.Want) == 0 {
		return err
	}
	wanted := make(map[string]bool, len(an.Want))
	for _, l := range an.Want {
		wanted[l.ID] = true
	}
	b := batch{}
	for i := range p.records {
		if wanted[p.records[i].ID] {
			b.records = append(b.records, p.records[i])
		}
	}
	_, err = r.records(b, false)
	return err
}
