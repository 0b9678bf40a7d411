package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Widths of the windows in which events are read. HubSpot gives a window's
// events newest first, and a window is what a reading can go on behind: so it
// is to be a few pages.
const (
	firstWindow    = 365 * 24 * time.Hour
	widestWindow   = 8 * firstWindow
	smallestWindow = time.Hour
	manyPages      = 20
	fewPages       = 3
)

// firstEvent is before every event, in ms: HubSpot is not older.
const firstEvent = 1_136_073_600_000

// eventNotes is what a run leaves to the next: the objects whose events have been
// read up to where the stream stands.
type eventNotes struct {
	Objects []string `json:"objects"`
}

// teller is an object that HubSpot tells events of; one without a name is all
// there is to ask for.
type teller struct{ name, value string }

// tellers are what the events of the stream are asked for by.
func (a *attempt) tellers() []teller {
	if a.row.Endpoint.ParentQuery == "" {
		return []teller{{}}
	}
	names := a.fetch.Parents
	if len(names) == 0 {
		names = catalogue.EventObjects()
	}
	out := make([]teller, len(names))
	for i, name := range names {
		out[i] = teller{name, catalogue.EventType(name)}
	}
	return out
}

// unheard are the objects whose events no run has read yet though the stream is
// further: those that are new to it, and those that HubSpot refused.
func (r *ranger) unheard(all []teller) []teller {
	if !r.g.Newest || r.a.fetch.Kind == backfillRun || all[0].name == "" {
		return nil
	}
	var notes eventNotes
	if json.Unmarshal([]byte(r.a.fetch.Notes), &notes) != nil {
		notes.Objects = catalogue.EventObjects()[:1] // by a version that knew no other
	}
	return slices.DeleteFunc(slices.Clone(all), func(t teller) bool { return slices.Contains(notes.Objects, t.name) })
}

// refusal is what HubSpot says to an object whose events it does not hand out.
type refusal struct {
	of  teller
	err error
}

// events reads a span of time, window by window. What happened in it before is
// listed and not wanted. Of an object that was not read before all is, first.
func (r *ranger) events() error {
	all := r.a.tellers()
	// Looked at before the reading begins: answers move the range meanwhile.
	lo, hi, unheard := r.g.Lo, r.upper(), r.unheard(all)
	begin := lo
	if at, err := strconv.ParseInt(r.g.Cursor, 10, 64); err == nil {
		lo = max(lo, at)
	}
	return r.ahead(func(ctx context.Context, emit func(context.Context, batch) error) error {
		e := &eventReading{r: r, emit: emit, tellers: slices.Clone(all)}
		for _, t := range unheard {
			one := &eventReading{r: r, emit: emit, tellers: []teller{t}, aside: true}
			if err := one.span(ctx, firstEvent, begin); err != nil {
				return err
			}
			e.leave(one.refused)
		}
		return e.span(ctx, lo, hi)
	}, func(b batch) error { return r.listRows(b.rows) })
}

// eventReading reads the events of some objects.
type eventReading struct {
	r       *ranger
	emit    func(context.Context, batch) error
	tellers []teller // those that are read
	refused []refusal
	aside   bool // the range's cursor stays
}

// leave goes on without those that HubSpot refuses.
func (e *eventReading) leave(refused []refusal) {
	for _, one := range refused {
		e.tellers = slices.DeleteFunc(e.tellers, func(t teller) bool { return t == one.of })
		e.refused = append(e.refused, one)
		e.r.a.log.Warn("HubSpot does not hand out the events of an object", "of", one.of.name, "error", one.err)
	}
}

// span reads what happened between two times.
func (e *eventReading) span(ctx context.Context, lo, hi int64) error {
	for width := firstWindow.Milliseconds(); ; {
		end := min(lo+width, hi)
		pages, all, err := e.window(ctx, lo, end)
		switch {
		case err != nil:
			return err
		case len(e.tellers) == 0 && !e.aside:
			return e.nothing()
		case !all:
			width = max(width/4, smallestWindow.Milliseconds())
			continue
		case end >= hi || len(e.tellers) == 0:
			return nil
		case pages <= fewPages:
			width = min(2*width, widestWindow.Milliseconds())
		}
		lo = end
	}
}

// nothing is why there is nothing to read: HubSpot hands out no events at all.
func (e *eventReading) nothing() error {
	err := e.refused[0].err
	if p, ok := errors.AsType[*ProblemError](err); ok {
		return p
	}
	return &ProblemError{protocol.Problem{Type: "not-available", Title: "HubSpot has nothing of the kind", Blocked: true,
		Detail: "this HubSpot account has no events: " + err.Error(), Hint: "they may come with another edition of HubSpot; leave the stream out until then"}}
}

// window lists the events of a window; the last page moves the range's cursor to
// its end. all is false where there are too many: what was listed of them is none
// the worse for it.
func (e *eventReading) window(ctx context.Context, lo, end int64) (pages int, all bool, err error) {
	to := rows{to: strconv.FormatInt(end, 10), last: end >= e.r.upper(), stays: e.aside}
	if end > lo {
		for _, t := range slices.Clone(e.tellers) {
			n, all, err := e.windowOf(ctx, t, lo, end)
			if pages += n; errors.Is(err, ErrUnreadable) && t.name != "" {
				e.leave([]refusal{{t, err}})
				continue
			}
			if err != nil || !all {
				return pages, false, err
			}
		}
	}
	if len(e.tellers) == 0 {
		return pages, true, nil
	}
	for _, one := range e.refused {
		to.open = append(to.open, protocol.OpenID{ID: one.of.name + "/", Reason: inWords(one.err)})
	}
	if to.last && e.r.g.Newest && e.tellers[0].name != "" {
		notes := eventNotes{Objects: make([]string, len(e.tellers))}
		for i, t := range e.tellers {
			notes.Objects[i] = t.name
		}
		text, err := json.Marshal(notes)
		if err != nil {
			return pages, false, fmt.Errorf("note whose events were read: %w", err)
		}
		to.notes = string(text)
	}
	if e.aside {
		to = rows{stays: true}
	}
	return pages, true, e.emit(ctx, batch{rows: &to})
}

// windowOf lists the events of one object.
func (e *eventReading) windowOf(ctx context.Context, t teller, lo, end int64) (pages int, all bool, err error) {
	a := e.r.a
	// Whether bounds are included differs by endpoint: so both are.
	req := RowsRequest{Parent: t.value, Name: t.name, From: max(1, lo-1), To: end + 1}
	for seen := map[string]bool{}; ; pages++ {
		page, err := a.rowsPage(ctx, a.row.Name, req)
		if err != nil {
			return pages, false, err
		}
		for len(page.Records) > 0 {
			n := min(len(page.Records), protocol.MaxListed)
			if err := e.emit(ctx, batch{rows: &rows{records: page.Records[:n:n], stays: true}}); err != nil {
				return pages, false, err
			}
			page.Records = page.Records[n:]
		}
		switch {
		case page.Next == "":
			return pages + 1, true, nil
		case seen[page.Next]:
			return pages, false, fmt.Errorf("read %s: HubSpot's cursor %q leads back", a.row.Name, page.Next)
		case pages+1 >= manyPages && end-lo > smallestWindow.Milliseconds():
			return pages + 1, false, nil
		}
		seen[page.Next], req.Place = true, page.Next
	}
}
