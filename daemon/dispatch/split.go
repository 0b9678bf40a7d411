package dispatch

import (
	"fmt"
	"strconv"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// maxRanges bounds what splits can make of one run.
const maxRanges = 4096

// badSplit says why a range cannot be divided where a page wants it, "" when it
// can.
func (c *change) badSplit(p *protocol.Page, run *stream.Run, g *stream.Range) string {
	hi := g.Hi
	if hi == 0 {
		hi = max(run.Began, p.Began)
	}
	if g.Kind == stream.ListRange {
		// The upper part begins at its id, the lower goes on to it.
		if at, ok := c.place(g); p.SplitID == 0 || !ok || p.SplitID <= at+1 || g.IDHi != 0 && p.SplitID >= g.IDHi || run.Whole {
			return fmt.Sprintf("a list at %q cannot be split at id %d", g.Cursor, p.SplitID)
		}
	}
	switch {
	case g.Kind != stream.SpanRange && g.Kind != stream.ListRange || p.To != p.From:
		return "only a search window or a list can be split"
	case len(c.allRanges(run.ID)) >= maxRanges:
		return fmt.Sprintf("the run has %d ranges already", maxRanges)
	case g.Kind == stream.ListRange:
	case p.SplitAt != 0 && (p.SplitAt <= g.Lo || p.SplitAt >= hi):
		return fmt.Sprintf("a split at %d is not inside the window", p.SplitAt)
	case p.SplitAt == 0 && (p.SplitID <= g.IDLo || g.IDHi != 0 && p.SplitID >= g.IDHi):
		return fmt.Sprintf("a split at id %d is not inside the window", p.SplitID)
	}
	return ""
}

// split divides a window in two; the lower part keeps the range's id and seq.
// What the range still wanted is listed anew by its parts.
func (c *change) split(p *protocol.Page, run *stream.Run, g *stream.Range) {
	g.Want = nil
	upper := g.Clone()
	upper.ID, upper.Seq, upper.Digest = run.NextRange, 0, ""
	run.NextRange++
	switch {
	case g.Kind == stream.ListRange:
		// Whether a place is the next id or the last is HubSpot's secret; from
		// the id before it both begin in time.
		g.IDHi, upper.IDLo, upper.Cursor = p.SplitID, p.SplitID, strconv.FormatUint(p.SplitID-1, 10)
	case p.SplitAt != 0:
		g.Hi, upper.Lo = p.SplitAt, p.SplitAt
	default:
		g.IDHi, upper.IDLo = p.SplitID, p.SplitID
	}
	c.setRange(run.ID, upper)
}

// place is the id up to which a list was read, where its cursor is one.
func (c *change) place(g *stream.Range) (uint64, bool) {
	if g.Cursor == "" {
		return g.IDLo, true
	}
	at, err := strconv.ParseUint(g.Cursor, 10, 64)
	return at, err == nil
}

// join lets one walker read a list from its beginning that several had shared:
// its ids do not come in their order, so that no part of it is proved, not even
// one that has ended. The attempt ends, and with it the other walkers.
func (c *change) join(run *stream.Run, g *stream.Range) {
	for _, other := range c.allRanges(run.ID) {
		if other.Kind == stream.ListRange && other.ID != g.ID {
			c.rangeOf(run.ID, other.ID).Ended = true
		}
	}
	g.Cursor, g.IDLo, g.IDHi, g.Want = "", 0, 0, nil
	run.Whole = true
}
