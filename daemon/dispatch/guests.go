package dispatch

import (
	"fmt"
	"slices"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// A stream has one walk at a time, and somebody who asks for a record does not
// wait for its end. So the record is read as a range of the walk; but it has a
// run of its own, a guest, so that whoever asked learns what became of it and
// not of the walk. The guest is in the ledger as part of its range, and becomes
// a run that has ended in the commit in which the range ends.

// recordRange is what reads one record, which may be gone.
func (c *change) recordRange(name, id string) *stream.Range {
	w := stream.Listed{ID: id, Parts: len(c.d.linkedWith(name)) > 0, Past: c.d.historyOf(name) != nil}
	return &stream.Range{Kind: stream.IdsRange, Last: true, Ask: true, Want: []stream.Listed{w}}
}

// oneRecord makes a run that reads a record, or puts it up with the walk.
func (c *change) oneRecord(s *stream.Stream, id string) (*stream.Run, error) {
	walk := c.d.runOf(s.Name, true)
	if walk == nil {
		return c.newRun(s, stream.OneRecord, c.recordRange(s.Name, id))
	}
	if walk.Attempt == 0 && c.d.spent(walk, c.now) != "" {
		// It waits for the next day, and a person does not.
		switch walk.Kind {
		case stream.History, stream.Associations, stream.ArchivedSweep:
			return c.hosting(c.makeWay(s, c.run(walk.ID)))(c.newRun(s, stream.OneRecord, c.recordRange(s.Name, id)))
		default: // what it has read would be lost
			c.run(walk.ID).Asked = true
		}
	}
	ranges := c.allRanges(walk.ID)
	asks := func(g *stream.Range) bool { return !g.Ended && len(g.Want) == 1 && g.Want[0].ID == id }
	for _, g := range ranges {
		switch {
		case g.Guest != nil && asks(g):
			return g.Guest, nil
		case walk.Kind == stream.OneRecord && g.Guest == nil && asks(g):
			return walk, nil
		}
	}
	if len(ranges) >= maxRanges {
		return nil, &stream.Problem{Type: "too-many-records", Title: "too many records were asked for by name", Status: 429,
			Detail: fmt.Sprintf("the %s that runs has %d parts already", walk.Kind, len(ranges)), Hint: "wait for its end: it reads them, too"}
	}
	if err := c.open(); err != nil {
		return nil, err
	}
	run, err := c.tx.NextRun()
	if err != nil {
		return nil, fmt.Errorf("number a run: %w", err)
	}
	g := c.recordRange(s.Name, id)
	g.Guest = &stream.Run{ID: run, Stream: s.Name, Portal: s.Portal, Kind: stream.OneRecord, State: stream.Running, Started: c.now.Round(0), Feed: c.d.store.Position()}
	own := c.run(walk.ID)
	c.host(own, g)
	if own.Attempt != 0 {
		c.command(own.Worker, c.fetch(own))
	}
	return g.Guest, nil
}

// host adds ranges with guests to a run, where they are at work at once.
func (c *change) host(run *stream.Run, ranges ...*stream.Range) {
	for _, g := range ranges {
		g.ID, g.Phase = run.NextRange, run.Phase
		run.NextRange++
		c.setRange(run.ID, g)
	}
}

// hosting puts the guests of a walk that made way up with the one that was made.
func (c *change) hosting(guests []*stream.Range) func(*stream.Run, error) (*stream.Run, error) {
	return func(run *stream.Run, err error) (*stream.Run, error) {
		switch {
		case err != nil:
		case run.State == stream.Running:
			c.host(run, guests...)
		default: // it had nothing to read
			for _, g := range guests {
				c.endGuest(&stream.Run{State: stream.Stopped}, g, nil)
			}
		}
		return run, err
	}
}

// makeWay stops a walk for another one, and gives the records that it was to
// read, which the other has to host.
func (c *change) makeWay(s *stream.Stream, walk *stream.Run) []*stream.Range {
	var guests []*stream.Range
	for _, g := range c.allRanges(walk.ID) {
		if g.Guest != nil && !g.Ended {
			guest := g.Clone()
			guest.Seq, guest.Digest = 0, ""
			guests = append(guests, guest)
			own := c.rangeOf(walk.ID, g.ID)
			own.Ended, own.Guest = true, nil
		}
	}
	c.stopRun(s, walk)
	return guests
}

// served notes what a page did for the guest of a range, and ends its run with
// the range. unread is what HubSpot does not hand out.
func (c *change) served(run *stream.Run, g *stream.Range, records uint64, unread *protocol.OpenID) {
	g.Guest.Pages++
	g.Guest.Records += records
	if unread != nil {
		g.Guest.Error = unknownRecord(unread)
	}
	if g.Ended {
		c.endGuest(run, g, g.Guest.Error)
	}
}

// endGuest writes the run of a guest that has ended.
func (c *change) endGuest(run *stream.Run, g *stream.Range, p *stream.Problem) {
	guest := g.Guest
	g.Guest, g.Ended, g.Want = nil, true, nil
	guest.Ended, guest.Error = c.now.Round(0), p
	switch {
	case p != nil:
		guest.State = stream.Failed
	case run.State == stream.Stopped:
		guest.State = stream.Stopped
	default:
		guest.State = stream.Done
	}
	c.runs[guest.ID], c.dropped[guest.ID] = guest, true
	c.countEnd(guest)
}

// dismiss ends the guests of a run that ends before them.
func (c *change) dismiss(run *stream.Run) {
	for _, g := range c.allRanges(run.ID) {
		if g.Guest != nil {
			c.endGuest(run, c.rangeOf(run.ID, g.ID), run.Error)
		}
	}
}

// unknownRecord is the problem of a record that HubSpot does not hand out; the
// stream is none the worse for it.
func unknownRecord(o *protocol.OpenID) *stream.Problem {
	return &stream.Problem{Type: "unknown-record", Title: "HubSpot does not hand out the record", Status: 404,
		Detail: o.ID + ": " + o.Reason, Hint: "look the id up in HubSpot"}
}

// unread is what a page of one record names as not to be had, nil where it has
// it, or where what was stored of it has ended.
func (c *change) unread(p *protocol.Page, run *stream.Run) (*protocol.OpenID, error) {
	for i := range p.Open {
		// Of a record that came, or is there, only a part cannot be had.
		id := p.Open[i].ID
		if p.Kind != protocol.PartsPage && !slices.ContainsFunc(p.Records, func(r protocol.Record) bool { return r.ID == id }) {
			return &p.Open[i], nil
		}
	}
	for _, id := range p.Gone {
		h, err := c.tx.Head(run.Stream, id)
		if err != nil {
			return nil, fmt.Errorf("read %s %s: %w", run.Stream, id, err)
		}
		if h == nil {
			return &protocol.OpenID{ID: id, Reason: "HubSpot has it neither live nor archived"}, nil
		}
	}
	return nil, nil
}

// guest finds the run of a record that a walk hosts.
func (d *Dispatcher) guest(id string) *stream.Run {
	for run, ranges := range d.ranges {
		if r := d.runs[run]; r == nil || r.State != stream.Running {
			continue
		}
		for _, g := range ranges {
			if g.Guest != nil && g.Guest.ID == id {
				return g.Guest.Clone()
			}
		}
	}
	return nil
}
