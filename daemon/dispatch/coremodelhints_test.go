package dispatch

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What HubSpot says at once of records that change: late, in no order, twice or
// not at all. What the ledger has taken of it is read by name later than it was
// taken, whatever becomes of the run that reads it.

// hint tells the daemon of a record, soon.
func (m *meeting) hint(c StreamConfig, id int) {
	for range m.rng.IntN(3) {
		m.after(m.between(1, 3000), func() {
			if !m.down && !m.frozen && !m.quiet {
				m.tellHint(c, id)
			}
		})
	}
}

func (m *meeting) tellHint(c StreamConfig, id int) {
	taken, outs, err := m.d.Hint(m.clock(), c.Portal, []Hint{{Object: c.Object, Record: fmt.Sprint(id), Associations: m.rng.IntN(2) == 0}})
	if err != nil || taken == 0 {
		return
	}
	m.seen["hint"]++
	m.hinted[recordKey(c.Name, fmt.Sprint(id))] = m.now
	m.send(outs)
}

// readByHint notes what a page has brought that was read for a hint, and later
// than that.
func (m *meeting) readByHint(p *protocol.Page, name string) {
	if !m.byHint[p] {
		return
	}
	read := m.made[p]
	done := func(id string) {
		key := recordKey(name, id)
		if at, ok := m.hinted[key]; ok && !read.Before(at) {
			m.seen["hint read"]++
			delete(m.hinted, key)
		}
	}
	for i := range p.Records {
		done(p.Records[i].ID)
	}
	for _, o := range p.Open {
		done(o.ID)
	}
	for _, id := range p.Gone {
		done(id)
	}
}

// auditHints lets go what the ledger may let go: the hints of a stream that fails
// again and again.
func (m *meeting) auditHints(name string, s *stream.Stream) {
	if s.Fails > 1 {
		m.forgetHints(name)
	}
	if m.bug == "hints are in memory alone" {
		s.Hints = nil
	}
}

func (m *meeting) forgetHints(name string) {
	maps.DeleteFunc(m.hinted, func(key string, _ time.Time) bool { return strings.HasPrefix(key, recordKey(name, "")) })
}
