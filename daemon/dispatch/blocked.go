package dispatch

import (
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// A token that HubSpot does not accept, or that is another account's, stops all
// streams of a portal at once. One of them tries again, with one request, and
// lets the others go on when the portal can be read.

// ofPortal tells whether a problem holds for all that is read from a portal.
func ofPortal(p *stream.Problem) bool {
	return p != nil && p.Blocked && (p.Type == "token" || p.Type == "account-mismatch")
}

// block is a portal that cannot be read.
type block struct {
	problem *stream.Problem
	trying  bool      // one of its streams is at it
	probe   string    // the stream that may try now, "" for none
	until   time.Time // when the next may
}

// blocks are the portals that cannot be read now.
func (d *Dispatcher) blocks(now time.Time) map[string]block {
	var out map[string]block
	if !d.anyBlocked() {
		return nil // as it nearly always is
	}
	for _, name := range d.Names() {
		s := d.streams[name]
		if s == nil || !s.Active || !ofPortal(s.Error) || d.config[name].Problem != nil {
			continue
		}
		b, known := out[s.Portal]
		if !known {
			b.problem = s.Error
		}
		b.trying = b.trying || d.runOf(name, false) != nil || d.runOf(name, true) != nil
		at := d.retryAt(s, now)
		if b.probe == "" && !at.After(now) {
			b.probe = name
		}
		if !known || at.Before(b.until) {
			b.until = at
		}
		if out == nil {
			out = map[string]block{}
		}
		out[s.Portal] = b
	}
	return out
}

func (d *Dispatcher) anyBlocked() bool {
	for _, s := range d.streams {
		if ofPortal(s.Error) {
			return true
		}
	}
	return false
}

// held tells whether a blocked portal keeps a stream from starting.
func (b block) held(name string) bool { return b.problem != nil && (b.trying || b.probe != name) }

// tryAgain makes the one run by which a blocked stream finds out whether its
// cause is mended.
func (c *change) tryAgain(s *stream.Stream) error {
	if c.d.runOf(s.Name, false) != nil || c.d.runOf(s.Name, true) != nil {
		return nil
	}
	var err error
	if s.Cursor != 0 {
		_, err = c.incremental(s)
	} else {
		_, err = c.backfill(s, false)
	}
	return err
}

// blocksPortal notes that a portal cannot be read, as of the attempts that were
// given out so far; all streams that know it wait together.
func (c *change) blocksPortal(s *stream.Stream) {
	newest := uint64(0)
	for n := range c.d.attempts {
		newest = max(newest, n)
	}
	portal := s.Portal
	c.after = append(c.after, func() { c.d.blockedAs[portal] = max(newest, c.d.blockedAs[portal]) })
	for name, other := range c.d.streams {
		if other.Portal == portal && name != s.Name && ofPortal(other.Error) {
			c.stream(name).RetryAt = s.RetryAt
		}
	}
}

// mended lets the streams of a portal go on: an attempt that began after the
// portal was found blocked has read whose account it is.
func (c *change) mended(portal string, attempt uint64) {
	if attempt <= c.d.blockedAs[portal] {
		return
	}
	for name, s := range c.d.streams {
		if s.Portal == portal && ofPortal(s.Error) {
			own := c.stream(name)
			own.Error, own.Fails, own.RetryAt = nil, 0, time.Time{}
		}
	}
}

// retryPortal lets a blocked portal be tried at once: a person asked for it.
func (c *change) retryPortal(portal string) {
	for name, s := range c.d.streams {
		if s.Portal == portal && ofPortal(s.Error) && !s.RetryAt.IsZero() {
			c.stream(name).RetryAt = time.Time{}
		}
	}
}
