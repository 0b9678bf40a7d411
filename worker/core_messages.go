package worker

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// Command takes an order of the daemon. One for another process, of a store
// that was left, of an older epoch, or for an attempt that is over, starts
// nothing.
func (c *Core) Command(now time.Time, cmd protocol.Command) []Event {
	events, ok := c.admit(now, cmd.Process, cmd.Store, cmd.Epoch, cmd.Beat)
	if !ok {
		return nil
	}
	switch {
	case cmd.Type == protocol.CancelCommand:
		return append(events, c.cancel(cmd.Attempt)...)
	case cmd.Type == protocol.FetchCommand && cmd.Fetch != nil:
		return append(events, c.fetch(cmd.Attempt, cmd.Fetch)...)
	}
	return events
}

// admit judges who speaks. What it lets through is a sign that the daemon is
// up. Another store, or a newer epoch of this one, ends what runs for the one
// before.
func (c *Core) admit(now time.Time, process, store string, epoch, beat uint64) ([]Event, bool) {
	if process != c.o.Process || c.displaced || store == "" {
		return nil, false
	}
	var events []Event
	switch {
	case c.store == "":
	case store == c.store && epoch < c.epoch:
		return nil, false
	case store == c.store && epoch > c.epoch:
		events = c.forget("the store was repaired")
	case store != c.store:
		// A message lives for a lease: a store that was left longer ago and
		// speaks again has come back.
		if at, ok := c.left[store]; ok && now.Sub(at) < c.o.Lease {
			return nil, false
		}
		events = c.forget("the daemon has another store")
		maps.DeleteFunc(c.left, func(_ string, at time.Time) bool { return now.Sub(at) >= c.o.Lease })
		c.left[c.store] = now
	}
	c.store, c.epoch = store, epoch
	c.hear(now, beat)
	return events, true
}

// hear notes when the daemon was last known to count on the process. A message
// may have been late, or have waited while the process stood still: what counts
// is when the heartbeat was sent that it names. One that names none is of a
// daemon that has only begun: it counts as it comes, until one names one.
func (c *Core) hear(now time.Time, beat uint64) {
	at := now
	if c.named = c.named || beat != 0; c.named {
		at = c.beats.get(beat)
	}
	if at.After(c.heard) {
		c.heard = at
	}
}

// forget drops everything of a store or epoch that is no more.
func (c *Core) forget(reason string) []Event {
	var events []Event
	for _, n := range slices.Sorted(maps.Keys(c.attempts)) {
		c.drop(n)
		events = append(events, Cancel{n, reason})
	}
	clear(c.failed)
	clear(c.declined)
	return events
}

func (c *Core) cancel(attempt uint64) []Event {
	running := c.attempts[attempt] != nil
	delete(c.failed, attempt)
	delete(c.declined, attempt)
	c.drop(attempt) // also where the cancel overtook its fetch
	if running {
		return []Event{Cancel{attempt, "cancelled by the daemon"}}
	}
	return nil
}

func (c *Core) fetch(attempt uint64, f *protocol.Fetch) []Event {
	if a := c.attempts[attempt]; a != nil {
		return c.lacking(a, f.Ranges)
	}
	if c.leaving {
		return nil
	}
	if _, failed := c.failed[attempt]; failed || c.declined[attempt] {
		return nil
	}
	if c.over.get(attemptKey{c.store, attempt}) {
		// The daemon still counts on it, or the fetch is late: either way the
		// next heartbeat says that nobody works on it.
		c.declined[attempt] = true
		return nil
	}
	run := runKey{c.store, f.Run}
	if attempt <= c.newest.get(run) {
		return nil
	}
	c.newest.put(run, attempt)
	var events []Event
	for _, n := range slices.Sorted(maps.Keys(c.attempts)) {
		if c.attempts[n].run == f.Run {
			c.drop(n)
			events = append(events, Cancel{n, fmt.Sprintf("the run goes on as attempt %d", attempt)})
		}
	}
	if !slices.Contains(c.o.Portals, f.Portal) || len(c.attempts) >= 2*c.o.Capacity {
		c.over.put(attemptKey{c.store, attempt}, true)
		c.declined[attempt] = true
		return events
	}
	a := &coreAttempt{number: attempt, run: f.Run, began: f.Began, ranges: map[uint32]*coreRange{}}
	for _, g := range f.Ranges {
		a.ranges[g.ID] = &coreRange{seq: g.Seq, cursor: g.Cursor}
	}
	c.attempts[attempt] = a
	return append(events, Start{attempt, f})
}

// lacking takes up the ranges that a running attempt does not have. Those that
// it has, or had, stand as it knows them: nobody else moves them.
func (c *Core) lacking(a *coreAttempt, ranges []protocol.Range) []Event {
	var add []protocol.Range
	for _, g := range ranges {
		if a.ranges[g.ID] != nil {
			continue
		}
		a.ranges[g.ID] = &coreRange{seq: g.Seq, cursor: g.Cursor}
		add = append(add, g)
	}
	if add == nil {
		return nil
	}
	return []Event{AddRanges{a.number, add}}
}

// Answer takes what the daemon says to a heartbeat or to a page. An answer
// that belongs to no page in flight shows that the daemon is up and does
// nothing else.
func (c *Core) Answer(now time.Time, an protocol.Answer) []Event {
	events, ok := c.admit(now, an.Process, an.Store, an.Epoch, an.Beat)
	if !ok {
		return nil
	}
	if an.Type == protocol.Displaced {
		events = append(events, c.forget("another process has the worker's name")...)
		c.displaced = true
		return append(events, Displaced{an.Reason})
	}
	if an.Type == protocol.Seen && len(an.Journals) > 0 {
		events = append(events, Journals{an.Journals})
	}
	a := c.attempts[an.Attempt]
	if a == nil || an.Type == protocol.Seen {
		return events
	}
	g := a.ranges[an.Range]
	answered := g != nil && g.page != nil && an.Seq == g.seq
	switch {
	case an.Type == protocol.Fenced:
		// Whatever page it was, the attempt is over.
		if answered {
			events = append(events, Answered{an.Attempt, an.Range, an})
		}
		c.drop(an.Attempt)
		return append(events, Cancel{an.Attempt, "fenced: " + an.Reason})
	case !answered:
		return events
	case an.Type == protocol.Refused:
		c.Failed(an.Attempt, protocol.Problem{Type: "page-refused", Title: "the daemon refused a page", Detail: an.Reason,
			Hint: "worker and daemon may be of different versions"})
		return append(events, Answered{an.Attempt, an.Range, an}, Cancel{an.Attempt, "refused: " + an.Reason})
	case an.Type == protocol.Busy:
		g.page.due = now.Add(c.backoff(g.page.sent))
		return events
	case an.Type == protocol.Committed:
		return append(events, c.committed(a, g, an)...)
	}
	return events
}

func (c *Core) committed(a *coreAttempt, g *coreRange, an protocol.Answer) []Event {
	a.progress++
	g.page = nil
	g.seq, g.cursor, g.ended = an.Seq+1, an.Cursor, an.RangeEnded
	events := []Event{Answered{an.Attempt, an.Range, an}}
	if an.RunEnded {
		c.drop(an.Attempt)
		return events
	}
	return append(events, c.lacking(a, an.Ranges)...)
}
