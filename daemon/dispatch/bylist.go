package dispatch

import (
	"slices"

	"github.com/hubpipe/hubpipe/daemon/budget"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Where most records have changed, or have a property that is new, the whole list
// costs less than to search for them and to read them by name. The daemon says
// from how many on (it knows the sizes), the worker finds out how many there are,
// and the wish travels in a page. The list is read as a backfill reads it: shared
// by several walkers, resumable at each page, and what is stored already changes
// nothing.

// listFrom is from how many records on a run had better read the whole list, 0
// where it is not to. A stream with a start date holds a part of what the list
// has, and nobody knows how small a part; beside a first load the list is being
// read already.
func (d *Dispatcher) listFrom(run *stream.Run, s *stream.Stream) int64 {
	cfg := d.config[run.Stream]
	if cfg == nil || !cfg.ofCRM() || cfg.StartDate != 0 || !s.Backfilled || run.Kind != stream.Incremental && run.Kind != stream.Fill {
		return 0
	}
	return budget.ByList(d.sizeOf(s, cfg))
}

// sizeOf is what the cost of a stream of the CRM depends on.
func (d *Dispatcher) sizeOf(s *stream.Stream, cfg *StreamConfig) budget.Stream {
	return budget.Stream{Name: cfg.Name, Records: int64(d.store.Live(cfg.Name)), Wide: s.Wide, History: len(cfg.History) > 0}
}

// byList lets a range read the whole list. What a list brings comes without
// associations and history: they are read then, of what it changed.
func (c *change) byList(reason string, run *stream.Run, g *stream.Range) {
	for _, other := range c.allRanges(run.ID) {
		if run.Kind == stream.Fill && other.ID != g.ID && !other.Ended && other.Guest == nil {
			own := c.rangeOf(run.ID, other.ID)
			own.Ended, own.Want = true, nil
		}
	}
	g.Kind, g.Cursor, g.Want, g.Has = stream.ListRange, "", nil, nil
	g.Lo, g.IDLo, g.IDHi = 0, 0, 0
	run.ByList = reason
	c.thenParts(run)
}

// thenParts adds to a run that reads a list what the list does not bring.
func (c *change) thenParts(run *stream.Run) {
	then := func(g *stream.Range) {
		g.ID, g.Kind, g.Phase, g.New = run.NextRange, stream.KnownRange, archivedPhase, true
		run.NextRange++
		c.setRange(run.ID, g)
	}
	if len(c.d.linkedWith(run.Stream)) > 0 && run.Kind == stream.Incremental {
		then(&stream.Range{Parts: true})
	}
	if c.d.historyOf(run.Stream) != nil {
		then(&stream.Range{Past: true})
	}
}

// listedPlace owes the history of what a list has brought, where the run ends
// before it was read: the next one finds the records as they are listed, and
// wants nothing of them. Their associations are the settle passes' to find.
func (c *change) listedPlace(s *stream.Stream, run *stream.Run) {
	for _, g := range c.allRanges(run.ID) {
		if g.New && g.Past && !g.Ended {
			s.HistoryRead, s.HistoryOwed = false, true
		}
	}
}

// fill makes a run that reads the records which have a value of a property that is
// new. What search does not show, and what is archived, the next reconcile finds.
func (c *change) fill(s *stream.Stream) (*stream.Run, error) {
	var ranges []*stream.Range
	for some := range slices.Chunk(s.Fill, catalogue.HasAtOnce) {
		ranges = append(ranges, &stream.Range{Kind: stream.SpanRange, Lo: 1, Has: slices.Clone(some)})
	}
	reason := ""
	if cfg := c.d.config[s.Name]; cfg != nil && cfg.StartDate == 0 {
		// Two searches of each group at least: one to count, one to list.
		if _, walk := budget.BulkEdit(c.d.sizeOf(s, cfg), 0); int64(2*len(ranges)) > walk {
			ranges, reason = []*stream.Range{{Kind: stream.ListRange}}, "the whole list costs less than to search for what has a value"
		}
	}
	run, err := c.newRun(s, stream.Fill, ranges...)
	if err != nil {
		return nil, err
	}
	if run.Fill = slices.Clone(s.Fill); reason != "" {
		run.ByList = reason
		c.thenParts(run)
	}
	return run, nil
}
