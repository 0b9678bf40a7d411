package dispatch

import (
	"fmt"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/failpoint"
)

// Incoming is a page as it came: who sent it, what its bytes are called, and
// how many they are. Err is set where it did not decode.
type Incoming struct {
	Worker string
	Page   *protocol.Page
	Digest string
	Bytes  int
	Err    error
}

// Pages judges pages of any ranges in turn, each against what the earlier ones
// did, and commits them together, once. It takes as many as one transaction
// holds and returns how many those were; the caller comes again with the rest.
// After an error nothing was taken and nobody is answered.
func (d *Dispatcher) Pages(now time.Time, batch []Incoming) (outs []Out, taken int, err error) {
	c := d.begin(now)
	if err := c.open(); err != nil {
		return nil, 0, err
	}
	if err := c.ahead(batch); err != nil {
		return nil, 0, c.abandon(err)
	}
	for _, in := range batch {
		if taken > 0 && in.Page != nil && !c.tx.HasRoom(touches(in.Page), in.Bytes) {
			break
		}
		taken++
		if err := c.page(in); err != nil {
			return nil, 0, c.abandon(err)
		}
		failpoint.Hit(failpoint.Applied)
	}
	outs, err = c.commit()
	if err != nil {
		return nil, 0, err
	}
	return outs, taken, nil
}

// ahead has the store look up together what pages of lists bring: their ids
// stand close together, as those of a search do not.
func (c *change) ahead(batch []Incoming) error {
	ids := map[string][]string{}
	for _, in := range batch {
		if in.Page == nil || len(in.Page.Records) == 0 {
			continue
		}
		run := c.attemptRun(in.Page.Attempt)
		if run == nil {
			continue
		}
		if g := c.d.ranges[run.ID][in.Page.Range]; g == nil || g.Kind != stream.ListRange {
			continue
		}
		for i := range in.Page.Records {
			ids[run.Stream] = append(ids[run.Stream], in.Page.Records[i].ID)
		}
	}
	for name, of := range ids {
		if err := c.tx.Ahead(name, of); err != nil {
			return fmt.Errorf("look up what pages of %s bring: %w", name, err)
		}
	}
	return nil
}

// touches is how many stored records a page may change.
func touches(p *protocol.Page) int {
	n := len(p.Records) + len(p.Parts) + len(p.Gone)
	for i := range p.Merges {
		n += len(p.Merges[i].From)
	}
	return n
}

// page judges one page. An error is the store's; whatever is wrong with the
// page itself becomes its answer, before anything of it was applied.
func (c *change) page(in Incoming) error {
	p := in.Page
	if p == nil || p.Store != c.d.store.ID() {
		c.countPage(PageForeign)
		return nil // another store's, or bytes that name nobody to answer
	}
	reply := protocol.Answer{Process: p.Process, Attempt: p.Attempt, Range: p.Range, Seq: p.Seq}
	fence := func(reason string) error {
		c.countPage(PageFenced)
		reply.Type, reply.Reason = protocol.Fenced, reason
		c.answer(in.Worker, reply)
		return nil
	}
	if p.Epoch != c.d.store.Epoch() {
		return fence("another epoch")
	}
	run := c.attemptRun(p.Attempt)
	if run == nil {
		if c.d.endedWith(p, in.Digest) {
			c.countPage(PageRepeated)
			reply.Type, reply.RangeEnded, reply.RunEnded = protocol.Committed, true, true
			c.answer(in.Worker, reply)
			return nil
		}
		return fence("the attempt is closed or unknown")
	}
	if run.Process != p.Process || run.Worker != in.Worker {
		return fence("the attempt belongs to another process")
	}
	run = c.run(run.ID)
	g := c.rangeOf(run.ID, p.Range)
	if g == nil {
		c.closeAttempt(run, true)
		return fence("the run has no such range")
	}
	if p.Seq+1 == g.Seq {
		if in.Digest != g.Digest {
			c.closeAttempt(run, true)
			return fence("the same page came with other content")
		}
		c.countPage(PageRepeated)
		c.answer(in.Worker, c.committed(reply, p, run, g))
		return nil
	}
	if p.Seq < g.Seq {
		c.countPage(PageLate)
		return nil // late, and its successor has been committed: nobody waits
	}
	// Of one that does not decode no more may be known than its number.
	if p.Seq > g.Seq || in.Err == nil && p.From != g.Cursor || g.Ended {
		c.closeAttempt(run, true)
		return fence(fmt.Sprintf("expected page %d from %q", g.Seq, g.Cursor))
	}
	if in.Err != nil {
		return c.refuse(in, run, reply, in.Err.Error())
	}
	if reason := c.unfit(p, run, g); reason != "" {
		return c.refuse(in, run, reply, reason)
	}
	return c.accept(in, run, g, reply)
}

// accept applies a page that is its range's next, with all that its commit ends or
// begins, and answers it.
func (c *change) accept(in Incoming, run *stream.Run, g *stream.Range, reply protocol.Answer) (err error) {
	p, before := in.Page, run.Records
	c.by = stream.OriginOf(run, g)
	if err := c.apply(p, run, g); err != nil {
		return err
	}
	g.Seq, g.Digest = p.Seq+1, in.Digest
	run.Pages++
	run.Requests = max(run.Requests, run.RequestsBefore+p.Requests)
	run.Fruitless = 0
	if byHand(run, g) {
		unread, err := c.unread(p, run)
		switch {
		case err != nil:
			return err
		case g.Guest != nil:
			c.served(run, g, run.Records-before, unread)
		case unread != nil:
			run.Error = unknownRecord(unread)
		}
	}
	over := false
	switch {
	case p.Kind == protocol.JoinPage, run.Kind == stream.Fill && (p.Kind == protocol.WalkPage || p.Kind == protocol.SweepPage):
		c.closeAttempt(run, false)
	case c.phaseEnded(run):
		if over, err = c.nextPhase(run); err != nil {
			return err
		}
		if over {
			c.finish(run)
		}
	}
	reply = c.committed(reply, p, run, g)
	reply.RangeEnded, reply.RunEnded = reply.RangeEnded || over, over
	c.countPage(PageCommitted)
	c.answer(in.Worker, reply)
	return nil
}

// refuse fails the run with what is wrong with its page: the same bytes would
// come again.
func (c *change) refuse(in Incoming, run *stream.Run, reply protocol.Answer, reason string) error {
	c.countPage(PageRefused)
	reply.Type, reply.Reason = protocol.Refused, reason
	c.answer(in.Worker, reply)
	c.fail(run, &stream.Problem{Type: "page-refused", Title: "a page was refused", Detail: reason,
		Hint: "the worker and the daemon may be of different versions; the run is tried again"})
	return nil
}

// committed fills in an answer from the range as it stands after its last
// page; a repeat of that page gives the same.
func (c *change) committed(a protocol.Answer, p *protocol.Page, run *stream.Run, g *stream.Range) protocol.Answer {
	a.Type, a.Cursor, a.RangeEnded = protocol.Committed, g.Cursor, g.Ended
	switch p.Kind {
	case protocol.ListingPage:
		a.Want = wireListed(g.Want)
	case protocol.RecordsPage:
		a.Again = slices.Clone(g.Again)
	}
	if p.Kind == protocol.RecordsPage && g.Kind != stream.ListRange || p.Kind == protocol.PartsPage {
		a.Brought = len(g.Want) == 0 || g.Refilled
	}
	if g.Refilled && !g.Ended {
		a.Want = wireListed(g.Want)
	}
	// What a split made, or the end of a phase.
	if p.Kind == protocol.SplitPage || p.Kind == protocol.SweepPage || p.Kind == protocol.WalkPage || g.Ended {
		a.Ranges = wireRanges(c.allRanges(run.ID), run.Phase, maxWanted)
	}
	return a
}

// unfit says why a page cannot be applied to its range, "" when it can.
func (c *change) unfit(p *protocol.Page, run *stream.Run, g *stream.Range) string {
	if run.Began == 0 && p.Began == 0 {
		return "the run has no beginning by HubSpot's clock"
	}
	known := c.d.portals[run.Portal]
	if p.Account != nil && known != nil && known.Account != 0 && known.Account != p.Account.ID {
		return fmt.Sprintf("the page is of account %d and the stream of %d", p.Account.ID, known.Account)
	}
	for _, r := range p.Records {
		if !stream.State(r.State).Valid() {
			return fmt.Sprintf("record %s has state %q", r.ID, r.State)
		}
	}
	moving := g.Kind == stream.SpanRange || g.Kind == stream.SweepRange || g.Kind == stream.ArchivedRange || ofRows(g.Kind)
	switch p.Kind {
	case protocol.RecordsPage:
		if g.Kind != stream.ListRange && len(g.Want) == 0 {
			return "records where nothing is wanted"
		}
		if g.Kind != stream.ListRange && p.To != p.From {
			return "only the last of what is wanted moves the cursor"
		}
		if len(p.Gone) > 0 && !g.Ask {
			return "records that are gone where none was asked for"
		}
	case protocol.ListingPage:
		if !moving {
			return fmt.Sprintf("a listing for a range of kind %s", g.Kind)
		}
		if len(p.Untyped) > protocol.MaxUntyped || len(p.Except) > protocol.MaxExcept || len(p.Notes) > protocol.MaxNotes {
			return "a listing with too many exceptions or counts, or too long notes"
		}
	case protocol.SchemaPage:
		if p.List == "" || p.To != p.From || p.Last {
			return "definitions that move the cursor or have no hash"
		}
	case protocol.SplitPage:
		return c.badSplit(p, run, g)
	case protocol.SweepPage:
		if g.Kind != stream.SpanRange {
			return "only a search window can become a walk"
		}
	case protocol.WalkPage:
		if g.Kind != stream.SpanRange || run.Kind != stream.Fill && !(run.Kind == stream.Incremental && g.Newest) {
			return "only what is read for the first time can become a walk of the whole list"
		}
	case protocol.PartsPage:
		if p.To != p.From || p.Last {
			return "parts that move the cursor"
		}
		if p.PartKind != protocol.AssociationsPart && p.PartKind != protocol.HistoryPart {
			return fmt.Sprintf("parts of kind %q", p.PartKind)
		}
	case protocol.JoinPage:
		if g.Kind != stream.ListRange {
			return "only the parts of a list can be joined"
		}
	}
	return ""
}

// apply does what a page says. An error is the store's.
func (c *change) apply(p *protocol.Page, run *stream.Run, g *stream.Range) error {
	s := c.stream(run.Stream)
	c.begins(run, p.Began, p.Account)
	g.Again, g.Refilled = nil, false
	switch p.Kind {
	case protocol.RecordsPage:
		return c.records(p, run, g, s)
	case protocol.ListingPage:
		return c.listing(p, run, g, s)
	case protocol.PartsPage:
		return c.parts(p, run, g, s)
	case protocol.SchemaPage:
		if p.AsOf < s.SchemaAsOf {
			return nil // kept by a worker from before those that are known
		}
		c.define(s, p)
		if err := c.tx.PutSchema(s.Name, p.Schema); err != nil {
			return fmt.Errorf("write definitions of %s: %w", s.Name, err)
		}
	case protocol.SplitPage:
		c.split(p, run, g)
	case protocol.SweepPage:
		if run.Kind == stream.Fill {
			c.byList(p.Reason, run, g)
			break
		}
		g.Kind, g.Cursor, g.Want = stream.SweepRange, "", nil
		run.ByList = p.Reason
	case protocol.WalkPage:
		c.byList(p.Reason, run, g)
	case protocol.JoinPage:
		c.join(run, g)
	}
	return nil
}

// begins notes the first reply of HubSpot in a run, once; nothing replaces it.
func (c *change) begins(run *stream.Run, began int64, a *protocol.Account) {
	if a != nil && (c.d.portals[run.Portal] == nil || c.d.portals[run.Portal].Account == 0) {
		p := c.portal(run.Portal)
		p.Account, p.TimeZone, p.Currency = a.ID, a.TimeZone, a.Currency
	}
	if run.Began != 0 || began == 0 {
		return
	}
	run.Began = began
	if s := c.stream(run.Stream); run.Kind == stream.Backfill && s.Cursor == 0 {
		// What changes while the walk goes on is the incremental's.
		s.Cursor, s.CursorAt = began, c.now.Round(0)
	}
	for _, g := range c.allRanges(run.ID) {
		if g.Newest && g.Hi == 0 {
			c.rangeOf(run.ID, g.ID).Hi = max(began, g.Lo)
		}
	}
}

// phaseEnded tells whether all ranges at work have ended.
func (c *change) phaseEnded(run *stream.Run) bool {
	for _, g := range c.allRanges(run.ID) {
		if !g.Ended && g.Phase == run.Phase {
			return false
		}
	}
	return true
}

// endedWith tells whether a page is a repeat of the last one of a range of a
// run that has ended.
func (d *Dispatcher) endedWith(p *protocol.Page, digest string) bool {
	for _, e := range d.over {
		if e.attempt == p.Attempt && e.process == p.Process {
			l, ok := e.last[p.Range]
			return ok && l.seq == p.Seq && l.digest == digest
		}
	}
	return false
}
