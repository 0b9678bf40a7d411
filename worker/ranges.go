package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/internal/failpoint"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Errors of sending a page.
var (
	errTooLarge = errors.New("the page is larger than the broker takes")
	errRefused  = errors.New("the daemon refused the page")
)

// envelope is what MQTT adds to a page at most: topic, properties, headers.
const envelope = 1024

// ranger fetches one range. All of it belongs to its goroutine, but for
// answers; the attempt's goroutine uses it before that begins.
type ranger struct {
	a       *attempt
	g       protocol.Range
	ended   bool
	brought bool                       // the last answer said that nothing is wanted any more
	more    []protocol.Listed          // what the last answer wants besides
	wanted  map[string]protocol.Listed // what is to be read now, by id
	linked  []string                   // whose associations are to be read then
	behind  []protocol.Listed          // whose history is, since it did not come with the record
	withAll bool                       // history is read with the records
	top     uint64                     // no id of a list is known above it, 0 where nothing is known
	answers chan protocol.Answer
}

// run is the range's goroutine.
func (r *ranger) run() {
	// Records that are asked for by name do not wait behind walkers of a list.
	if r.g.Kind != idsRange {
		select {
		case r.a.slots <- struct{}{}:
			defer func() { <-r.a.slots }()
		case <-r.a.ctx.Done():
			return
		case <-r.a.w.gate.stopped():
			return
		}
		r.a.works(1)
		defer r.a.works(-1)
	}
	err := r.fetch()
	if err == nil && !r.ended {
		err = fmt.Errorf("range %d of kind %q did not end", r.g.ID, r.g.Kind)
	}
	if err != nil && !errors.Is(err, errStopping) {
		r.a.fail(err)
	}
}

// fetch reads the range to its end.
func (r *ranger) fetch() error {
	for want := r.g.Want; len(want) > 0; want = r.more {
		r.more = nil
		bring := r.bring
		if r.a.row.Strategy != catalogue.StrategyObjects {
			bring = r.lookUp
		}
		if err := bring(want); err != nil || r.ended {
			return err
		}
	}
	switch r.g.Kind {
	case listRange:
		return r.walk()
	case sweepRange, archivedRange:
		return r.sweep()
	case windowRange:
		return r.window()
	case wholeRange:
		return r.whole()
	case eventsRange:
		return r.events()
	case logRange:
		return r.logs()
	}
	return nil // another kind is what it wants
}

// send puts a page in flight and waits for its answer: committed, or an error.
// Where the page does not move the cursor, To is it.
func (r *ranger) send(p protocol.Page, moves bool) (protocol.Answer, error) {
	w := r.a.w
	var head protocol.Page
	ok := false
	r.a.core(func(c *Core) { head, ok = c.Head(r.a.n, r.g.ID) })
	if !ok {
		return protocol.Answer{}, errOver
	}
	p.Store, p.Epoch, p.Process, p.Attempt, p.Range = head.Store, head.Epoch, head.Process, head.Attempt, head.Range
	p.Seq, p.From, p.Began, p.Account, p.Requests = head.Seq, head.From, head.Began, head.Account, head.Requests
	p.List = r.a.list
	if !moves {
		p.To = p.From
	}
	encoded, err := w.o.Codec.Encode(&p)
	if errors.Is(err, protocol.ErrTooLarge) {
		return protocol.Answer{}, fmt.Errorf("%w: %w", errTooLarge, err)
	}
	if err != nil {
		return protocol.Answer{}, fmt.Errorf("encode a page of range %d: %w", r.g.ID, err)
	}
	// Records are cut at whole ones; what cannot be cut travels in pieces.
	cuts := p.Kind == protocol.RecordsPage || p.Kind == protocol.PartsPage
	if limit := w.o.Bus.MaxPacket(); cuts && limit > 0 && len(encoded)+envelope > limit {
		return protocol.Answer{}, fmt.Errorf("%w: %d bytes of %d", errTooLarge, len(encoded), limit)
	}
	failpoint.Hit(failpoint.Fetched)
	err = errOver
	r.a.core(func(c *Core) { err = c.Send(time.Now(), &p, encoded) })
	if errors.Is(err, ErrNotRunning) {
		err = errOver
	}
	if err != nil {
		return protocol.Answer{}, err
	}
	wake(w.pages)
	select {
	case an := <-r.answers:
		failpoint.Hit(failpoint.Heard)
		return an, r.answered(an)
	case <-r.a.ctx.Done():
		return protocol.Answer{}, context.Cause(r.a.ctx)
	}
}

func (r *ranger) answered(an protocol.Answer) error {
	switch an.Type {
	case protocol.Committed:
		r.g.Cursor, r.more, r.brought = an.Cursor, an.Want, an.Brought
		r.ended = an.RangeEnded || an.RunEnded
		for _, g := range an.Ranges {
			if g.ID == r.g.ID {
				r.g.Lo, r.g.Hi, r.g.IDLo, r.g.IDHi, r.g.Kind = g.Lo, g.Hi, g.IDLo, g.IDHi, g.Kind
			}
		}
		return nil
	case protocol.Fenced:
		return errOver
	}
	return fmt.Errorf("%w: %s", errRefused, an.Reason)
}

// batch is what was read while the one before is in flight.
type batch struct {
	records []protocol.Record
	next    string
	last    bool
	open    []protocol.OpenID
	gone    []protocol.OpenID
	listing []protocol.Listed
	untyped map[string]uint64 // values that are not of their property's type
	parts   []protocol.Part
	rows    *rows  // of a stream outside the CRM's contract, instead of all above
	release func() // see ListPage; may be nil
	// packed is the page of all of the records, where they fit in one.
	packed *protocol.Page
}

// pack does while the page before is in flight what need not wait for it.
func (r *ranger) pack(b batch) batch {
	if len(cut(b.records, b.parts)) == 1 {
		p := &protocol.Page{Kind: protocol.RecordsPage, Records: b.records}
		if r.a.w.o.Codec.Pack(p) == nil { // else sending says what is wrong
			b.packed = p
		}
	}
	return b
}

// ahead reads with a goroutine of its own, one batch further than is sent: the
// next is fetched while one is in flight, and waits. read hands its batches to
// emit; send is called for each in turn. It returns when both have ended.
func (r *ranger) ahead(read func(ctx context.Context, emit func(context.Context, batch) error) error, send func(batch) error) error {
	ctx, stop := context.WithCancel(r.a.ctx)
	defer stop()
	batches := make(chan batch)
	done := make(chan error, 1)
	r.a.wg.Go(func() {
		defer close(batches)
		done <- read(ctx, func(inside context.Context, b batch) error {
			select {
			case batches <- b:
				return nil
			case <-inside.Done():
				return context.Cause(inside)
			}
		})
	})
	for b := range batches {
		if err := send(b); err != nil || r.ended {
			stop()
			r.a.log.Trace("the reader was not needed any more", "error", <-done)
			return err
		}
	}
	return <-done
}

// records sends what was read as pages within bounds; only the last of them
// moves the cursor. A record that the broker cannot carry stays out and is
// named as open. It returns which ids the daemon does not believe yet.
func (r *ranger) records(b batch, moves bool) (again []string, err error) {
	r.brought = false
	cuts := cut(b.records, b.parts)
	open, gone := b.open, []string(nil)
	for _, o := range b.gone {
		if r.g.Ask {
			gone = append(gone, o.ID)
		} else {
			open = append(open, o)
		}
	}
	for len(gone) > protocol.MaxGone && !r.ended {
		p := protocol.Page{Kind: protocol.RecordsPage, Gone: gone[:protocol.MaxGone], AsOf: r.a.source.Now()}
		if _, err := r.send(p, false); err != nil {
			return nil, err
		}
		gone = gone[protocol.MaxGone:]
	}
	past := byID(b.parts)
	for len(cuts) > 0 && !r.ended && !r.brought {
		merged, fit := merges(cuts[0])
		if fit < len(cuts[0]) {
			cuts = append([][]protocol.Record{cuts[0][:fit], cuts[0][fit:]}, cuts[1:]...)
		}
		final := len(cuts) == 1
		p := protocol.Page{Kind: protocol.RecordsPage, Records: cuts[0]}
		// What a walker's end has cut off is packed no less.
		if b.packed != nil && len(cuts[0]) == len(b.packed.Records) {
			p = *b.packed
		}
		p.Merges, p.Parts = merged, partsOf(cuts[0], past)
		if final {
			p.To, p.Last, p.Open = b.next, b.last, open
			if p.Gone = gone; len(gone) > 0 {
				p.AsOf = r.a.source.Now()
			}
		}
		an, err := r.send(p, moves && final)
		switch n := len(cuts[0]); {
		case errors.Is(err, errTooLarge) && n > 1:
			cuts = append([][]protocol.Record{cuts[0][:n/2], cuts[0][n/2:]}, cuts[1:]...)
			continue
		case errors.Is(err, errTooLarge) && n == 1 && len(p.Parts) > 0:
			// What the record is now goes without what it has been.
			open = append(open, r.unfit(cuts[0][0].ID, cuts[0][0].Version, "the record's history", len(p.Parts[0].Body)))
			delete(past, cuts[0][0].ID)
			continue
		case errors.Is(err, errTooLarge) && n == 1:
			open = append(open, r.unfit(cuts[0][0].ID, cuts[0][0].Version, "the record", len(cuts[0][0].Properties)))
			if cuts[0] = nil; !final {
				cuts = cuts[1:]
			}
			continue
		case err != nil:
			return again, err
		}
		again = append(again, an.Again...)
		cuts = cuts[1:]
	}
	return again, nil
}

// merges is what records say of those that were merged into them, and how many
// of the records fit in one page with it. What one record alone names too many
// of is told by the absence of those, later.
func merges(records []protocol.Record) (out []protocol.Merge, fit int) {
	room := protocol.MaxMerged
	for i := range records {
		from := records[i].Merged
		if len(from) > room && i > 0 {
			return out, i
		}
		if from = from[:min(len(from), room)]; len(from) > 0 {
			out = append(out, protocol.Merge{Into: records[i].ID, From: from})
		}
		room -= len(from)
	}
	return out, len(records)
}

func (r *ranger) unfit(id string, version int64, what string, size int) protocol.OpenID {
	limit := r.a.w.o.Bus.MaxPacket()
	r.a.log.Warn("what was read is larger than the broker takes", "id", id, "what", what, "bytes", size, "max_packet", limit)
	return protocol.OpenID{ID: id, Version: version, TooLarge: true,
		Reason: fmt.Sprintf("%s has %d bytes, the broker takes packets of %d: raise max_packet in the broker block", what, size, limit)}
}

// byID finds parts by the record that they are of.
func byID(parts []protocol.Part) map[string]protocol.Part {
	out := make(map[string]protocol.Part, len(parts))
	for _, p := range parts {
		out[p.ID] = p
	}
	return out
}

// partsOf are the parts of some records, in their order.
func partsOf(records []protocol.Record, parts map[string]protocol.Part) (out []protocol.Part) {
	for i := range records {
		if p, ok := parts[records[i].ID]; ok {
			out = append(out, p)
		}
	}
	return out
}

// cut divides records, with the parts that go with them, into pages within the
// bounds, at whole records; there is always one page. A record above the bound
// travels alone.
func cut(records []protocol.Record, parts []protocol.Part) [][]protocol.Record {
	past := make(map[string]int, len(parts))
	for i := range parts {
		past[parts[i].ID] = len(parts[i].Body) + len(parts[i].ID) + 80
	}
	var cuts [][]protocol.Record
	begin, size := 0, 0
	for i := range records {
		n := len(records[i].Properties) + len(records[i].ID) + 160 + past[records[i].ID] // with times, digest and tabs
		if i > begin && (size+n > protocol.MaxPageBytes || i-begin == protocol.MaxPageRecords) {
			cuts = append(cuts, records[begin:i])
			begin, size = i, 0
		}
		size += n
	}
	return append(cuts, records[begin:])
}
