package dispatch

import (
	"fmt"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// listing holds ids and versions against the store; what differs is wanted, and
// in a walk what is absent is noted.
func (c *change) listing(p *protocol.Page, run *stream.Run, g *stream.Range, s *stream.Stream) error {
	generation, _ := s.Generation(s.CurrentList())
	linked, keeps := len(c.d.linkedWith(s.Name)) > 0, c.d.historyOf(s.Name) != nil
	g.To, g.Last, g.Notes = p.To, p.Last, p.Notes
	c.refused(s, run, p.Open)
	if run.Report != nil {
		run.Report.AddUntyped(p.Untyped)
	}
	if p.Live != nil && run.Kind == stream.Incremental {
		c.counted(s, *p.Live)
	}
	// A worker that was not told what is wanted lists anew; what was brought
	// meanwhile is in the store.
	g.Want = nil
	for _, l := range p.Listing {
		stored, err := c.tx.Head(s.Name, l.ID)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Name, l.ID, err)
		}
		erased, err := c.isErased(s, stored)
		if err != nil {
			return err
		}
		if erased || stored == nil && g.Kind != stream.WholeRange && c.tooOld(s.Name, l.Version) {
			continue
		}
		// What is archived is not edited, but a property that is new may have a
		// value in it, too.
		stale := generation > s.Fresh && stored != nil && stored.List < generation && (g.Kind != stream.ArchivedRange || run.Kind == stream.Reconcile)
		wanted := differs(stored, l, g.Kind, stale)
		switch {
		case wanted:
			// Whom a new property fills has no other associations than before.
			changed := run.Kind != stream.Fill || stored == nil || stored.Version != l.Version
			g.Want = append(g.Want, stream.Listed{ID: l.ID, Version: l.Version, Parts: linked && changed && g.Kind != stream.ArchivedRange, Past: keeps})
		case linked && !g.Newest && run.Kind == stream.Incremental && (g.Kind == stream.SpanRange || inWindow(run, g, l)):
			// To associate changes no time: who has just been changed is often
			// associated a moment later.
			g.Want = append(g.Want, stream.Listed{ID: l.ID, Parts: true, Known: true})
		case g.Kind == stream.ArchivedRange && run.Kind == stream.Reconcile && stored.State == stream.Merged:
			// Merged away before its last change was read, it has not said whom
			// it had taken in; who was would be listed as archived for ever.
			g.Want = append(g.Want, stream.Listed{ID: l.ID})
		}
		hold(run.Report, stored, wanted)
		late(run, g, stored, l, wanted)
	}
	lack := c.absent
	if g.Kind == stream.WholeRange {
		lack = c.absentRows
	}
	if err := lack(p, run, g, s); err != nil {
		return err
	}
	return c.brought(s, run, g)
}

// inWindow tells whether a record belongs to the window that a walk of the whole
// list stands in for.
func inWindow(run *stream.Run, g *stream.Range, l protocol.Listed) bool {
	return g.Kind == stream.SweepRange && run.Kind == stream.Incremental && l.Version >= g.Lo && l.Version < g.Hi
}

// differs tells whether what HubSpot lists is not what is stored. A listing of
// whole records says so by their digests; else what is stale, read with another
// list of properties and not compared since, counts as different.
func differs(stored *stream.Head, l protocol.Listed, kind stream.RangeKind, stale bool) bool {
	state := stream.Live
	if kind == stream.ArchivedRange {
		state = stream.Archived
	}
	switch {
	case stored == nil:
		return true
	case ofRows(kind):
		// The digest knows whether the row is archived.
		return stored.State.Bare() || stored.Version != l.Version || stored.Digest != l.Digest
	case stored.State == stream.Merged && state == stream.Archived:
		return false // what was merged away may be listed as archived, too
	case stored.State != state || stored.Version != l.Version || stored.ArchivedAgain(l.ArchivedAt):
		return true
	}
	if l.Digest != [16]byte{} {
		return l.Digest != stored.Digest
	}
	return stale
}
