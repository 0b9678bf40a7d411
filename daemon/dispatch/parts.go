package dispatch

import (
	"fmt"
	"slices"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// A record's associations are read apart from its properties, and change without
// a new version of it. They are a part with a time of their own: the later
// reading counts, and replaces nothing else.

// linkedWith are the objects with which a stream keeps associations.
func (d *Dispatcher) linkedWith(name string) []string {
	if cfg := d.config[name]; cfg != nil {
		return cfg.Associations
	}
	return nil
}

// parts stores what was read apart from the properties. A record that is not
// there any more, or has no content, has no parts either.
func (c *change) parts(p *protocol.Page, run *stream.Run, g *stream.Range, s *stream.Stream) error {
	if len(g.Want) == 0 {
		return nil // whose records were erased meanwhile
	}
	if p.PartKind == protocol.HistoryPart {
		return c.pasts(p, run, g, s)
	}
	got := make(map[string]bool, len(p.Parts))
	for i := range p.Parts {
		part := &p.Parts[i]
		got[part.ID] = true
		h, err := c.tx.Head(s.Name, part.ID)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Name, part.ID, err)
		}
		if h == nil || h.State.Bare() || h.AssociationsPart.AsOf >= part.AsOf || h.AssociationsPart.AsOf != 0 && h.AssociationsPart.Digest == part.Digest {
			continue
		}
		r, err := c.tx.Record(s.Name, part.ID)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Name, part.ID, err)
		}
		r.Associations, r.AssociationsPart = part.Body, stream.Part{AsOf: part.AsOf, Digest: part.Digest}
		if err := c.putPart(s, run, r); err != nil {
			return err
		}
		note(run.Report, h, &r.Head)
	}
	for _, o := range p.Open {
		got[o.ID] = true // HubSpot does not say; the next sweep asks again
	}
	for i := range g.Want {
		if got[g.Want[i].ID] {
			g.Want[i].Parts = false
		}
	}
	return c.satisfied(run, g, s)
}

// keepParts gives a record that is read anew what is stored of it and was not
// read: its parts, and the values of properties that have vanished.
func (c *change) keepParts(s *stream.Stream, stored *stream.Head, r *stream.Record) error {
	if stored == nil || r.State.Bare() || stored.AssociationsPart.AsOf == 0 && stored.HistoryPart.AsOf == 0 && len(s.Vanished) == 0 {
		return nil
	}
	old, err := c.tx.Record(s.Name, r.ID)
	if err != nil {
		return fmt.Errorf("read %s %s: %w", s.Name, r.ID, err)
	}
	r.Associations, r.AssociationsPart = old.Associations, old.AssociationsPart
	if c.d.historyOf(s.Name) != nil {
		r.History, r.HistoryPart = old.History, old.HistoryPart
	}
	keepVanished(s, old, r)
	return nil
}

// sweepLinks makes a run that reads the associations of every record.
func (c *change) sweepLinks(s *stream.Stream) (*stream.Run, error) {
	g := &stream.Range{Kind: stream.KnownRange, Parts: true}
	run, err := c.newRun(s, stream.Associations, g)
	if err != nil {
		return nil, err
	}
	s.AssociatedAt, run.Linked = c.now.Round(0), slices.Clone(c.d.linkedWith(s.Name))
	if err := c.refill(s, run, g); err != nil {
		return nil, err
	}
	if g.Ended {
		c.finish(run)
	}
	return run, nil
}
