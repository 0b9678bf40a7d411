package worker

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// Errors of Send. ErrInFlight means that the range's page before was not
// answered yet; ErrNotRunning that the attempt or range is over.
var (
	ErrInFlight   = errors.New("a page of the range is in flight")
	ErrNotRunning = errors.New("attempt or range is not running")
	ErrOutOfTurn  = errors.New("page is not the range's next")
)

// Head returns the range's next page with everything filled in that names it:
// store, epoch, process, attempt, range, seq, From and To at the cursor, and
// what the attempt knows of beginning, account and requests. False when the
// attempt or range is over.
func (c *Core) Head(attempt uint64, rangeID uint32) (protocol.Page, bool) {
	a := c.attempts[attempt]
	if a == nil || a.ranges[rangeID] == nil || a.ranges[rangeID].ended {
		return protocol.Page{}, false
	}
	g := a.ranges[rangeID]
	return protocol.Page{Store: c.store, Epoch: c.epoch, Process: c.o.Process, Attempt: attempt, Range: rangeID,
		Seq: g.seq, From: g.cursor, To: g.cursor, Began: a.began, Account: a.account, Requests: a.requests}, true
}

// Send puts a page in flight: exactly one of its range. The bytes are kept for
// repeats and must not change. It publishes nothing; Due does.
func (c *Core) Send(now time.Time, p *protocol.Page, encoded []byte) error {
	a := c.attempts[p.Attempt]
	if a == nil || a.ranges[p.Range] == nil || a.ranges[p.Range].ended {
		return fmt.Errorf("send page %d of range %d of attempt %d: %w", p.Seq, p.Range, p.Attempt, ErrNotRunning)
	}
	g := a.ranges[p.Range]
	if g.page != nil {
		return fmt.Errorf("send page %d of range %d of attempt %d: %w", p.Seq, p.Range, p.Attempt, ErrInFlight)
	}
	if p.Seq != g.seq || p.From != g.cursor || p.Store != c.store || p.Epoch != c.epoch {
		return fmt.Errorf("send page %d from %q where %d from %q is next: %w", p.Seq, p.From, g.seq, g.cursor, ErrOutOfTurn)
	}
	g.page = &coreFlight{encoded: encoded, name: p.Name(), due: now}
	return nil
}

// Due returns the pages to publish now, in order of attempt and range, and
// counts them as sent. A page leaves the first time at once; it is repeated
// while the daemon is known to be up. next is when there will be more, zero
// when nothing is in flight or only the daemon's voice can make it due.
func (c *Core) Due(now time.Time) (send []Outgoing, next time.Time) {
	up := c.up(now)
	for _, n := range slices.Sorted(maps.Keys(c.attempts)) {
		a := c.attempts[n]
		for _, id := range slices.Sorted(maps.Keys(a.ranges)) {
			g := a.ranges[id]
			if g.page == nil || g.page.sent > 0 && !up {
				continue
			}
			if !g.page.due.After(now) {
				send = append(send, Outgoing{n, id, g.seq, g.page.encoded, g.page.name})
				g.page.due = now.Add(c.backoff(g.page.sent))
				g.page.sent++
			}
			if next.IsZero() || g.page.due.Before(next) {
				next = g.page.due
			}
		}
	}
	return send, next
}

// Reconnected makes all that is in flight due: what the connection before took
// may be lost.
func (c *Core) Reconnected(now time.Time) {
	for _, a := range c.attempts {
		for _, g := range a.ranges {
			if g.page != nil {
				g.page.due, g.page.sent = now, min(g.page.sent, 1)
			}
		}
	}
}

// backoff doubles with each sending, up to RepeatMax, give or take a quarter.
func (c *Core) backoff(sent int) time.Duration {
	d := c.o.RepeatMax
	if sent < 16 {
		d = min(d, c.o.RepeatMin<<sent)
	}
	return time.Duration(float64(d) * (0.75 + c.o.Jitter()/2))
}
