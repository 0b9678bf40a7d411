package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// HubSpot's journal is read by a worker; how far it has been read is in the
// ledger. A worker says what lies between two places until an answer names the
// second one, and the daemon takes it where the first is its own: the records
// that are named there are noted in the commit that moves the place, so that
// neither is ever without the other. What is said twice is taken once; what is
// read twice costs a reading.

const (
	// journalKept is for how long HubSpot keeps what is in its journal. After a
	// longer silence the journal alone does not tell all.
	journalKept = 3 * 24 * time.Hour
	// pulledEvery is how often the ledger is told that there was nothing new.
	pulledEvery = 10 * time.Minute
	// maxPlace and maxGap bound what is kept of a place and of why something is
	// missing, in bytes.
	maxPlace = 256
	maxGap   = 500
)

// pull is what is known of who reads a portal's journal.
type pull struct {
	holder
	asked   uint64
	problem *stream.Problem
	heard   time.Time // when HubSpot has last answered
}

// journals judges what a process says of its journals, and tells it where to go
// on.
func (c *change) journals(w *worker, hb *protocol.Heartbeat) ([]protocol.JournalPlace, error) {
	if c.d.stopping {
		return nil, nil
	}
	var places []protocol.JournalPlace
	for i := range hb.Journals {
		r := &hb.Journals[i]
		if !slices.Contains(hb.Portals, r.Portal) || len(places) >= len(hb.Portals) {
			continue
		}
		at := protocol.JournalPlace{Portal: r.Portal}
		if c.mayPull(w, r.Portal) {
			if err := c.pulled(w, r); err != nil {
				return nil, err
			}
			p := c.portalAsIs(r.Portal)
			at.Account, at.Pull = p.Account, p.Account != 0
			if p.Journal != nil {
				at.Place = p.Journal.Place
			}
		}
		places = append(places, at)
	}
	return places, nil
}

// portalAsIs is a portal as this change has it, for reading only.
func (c *change) portalAsIs(name string) stream.Portal {
	if p := c.portals[name]; p != nil {
		return *p
	}
	if p := c.d.portals[name]; p != nil {
		return *p
	}
	return stream.Portal{Name: name}
}

// mayPull tells whether a process is the one that reads a portal's journal: who
// has read it first, for as long as that one lives. Two would do no harm, but
// would read everything twice.
func (c *change) mayPull(w *worker, portal string) bool {
	p := c.d.pulls[portal]
	if p == nil {
		return true
	}
	other := c.d.workers[p.worker]
	return p.worker == w.id && p.process == w.process ||
		other == nil || other.process != p.process || !other.live || c.d.ended(other, c.now)
}

// pulled takes in what lies behind a portal's place.
func (c *change) pulled(w *worker, r *protocol.PortalJournal) error {
	next := pull{holder: holder{worker: w.id, process: w.process}, asked: r.Asked, problem: problemOf(r.Problem)}
	// What a process says first is what its replies are counted from: they may be of
	// before. Only an entry was certainly read.
	answered := r.Asked > 0 && r.To != ""
	if old := c.d.pulls[r.Portal]; old != nil {
		next.heard = old.heard
		if old.holder == next.holder {
			answered = r.Asked > old.asked
		}
	}
	if answered {
		next.heard = c.now
	}
	c.after = append(c.after, func() { c.d.pulls[r.Portal] = &next })
	known := stream.Journal{}
	if j := c.portalAsIs(r.Portal).Journal; j != nil {
		known = *j
	}
	gap, moved := "", r.To != "" && r.To != r.From && r.From == known.Place && len(r.To) <= maxPlace
	if moved {
		gap = r.Gap
	}
	if silent := c.now.Sub(known.PulledAt); answered && gap == "" && known.Place != "" && silent > journalKept {
		gap = fmt.Sprintf("it was not read for %s, and HubSpot keeps three days of it", readableDays(silent))
	}
	if !moved && gap == "" && !(answered && c.now.Sub(known.PulledAt).Abs() >= pulledEvery) {
		return nil
	}
	if answered || moved {
		known.PulledAt = c.now.Round(0).UTC()
	}
	if gap != "" {
		known.Gap, known.GapAt = strings.ToValidUTF8(gap[:min(len(gap), maxGap)], ""), c.now.Round(0).UTC()
	}
	var hints []Hint
	if moved {
		known.Place, hints = r.To, hintsOf(r.Hints)
	}
	c.portal(r.Portal).Journal = &known
	if !moved && gap == "" {
		return nil
	}
	many, err := c.objectsByName(r.Portal, r.Many)
	if err != nil {
		return err
	}
	_, err = c.hint(r.Portal, hints, func(cfg *StreamConfig) bool {
		return gap != "" || moved && slices.ContainsFunc(many, func(object string) bool { return names(cfg, object) })
	})
	return err
}

func hintsOf(in []protocol.JournalHints) (out []Hint) {
	for _, h := range in {
		for _, id := range h.IDs {
			out = append(out, Hint{Object: h.Object, Record: id})
		}
		for _, id := range h.Linked {
			out = append(out, Hint{Object: h.Object, Record: id, Associations: true})
		}
	}
	return out
}

func readableDays(d time.Duration) string { return fmt.Sprintf("%.1f days", d.Hours()/24) }

// JournalView is how a portal's journal stands.
type JournalView struct {
	// Live says that a worker reads it now.
	Live bool
	// PulledAt is when HubSpot last answered, to the minute: it answers every few
	// seconds, and that is no news each time. Zero before it did.
	PulledAt time.Time
	// Gap and GapAt are as in stream.Journal.
	Gap   string
	GapAt time.Time
	// Problem is why it is not read, nil where it is.
	Problem *stream.Problem
}

// journalOf is nil where no journal was ever read, nor is one now.
func (d *Dispatcher) journalOf(portal string) *JournalView {
	var v *JournalView
	if p := d.portals[portal]; p != nil && p.Journal != nil {
		v = &JournalView{PulledAt: p.Journal.PulledAt, Gap: p.Journal.Gap, GapAt: p.Journal.GapAt}
	}
	p := d.pulls[portal]
	if v == nil && p == nil {
		return nil
	}
	if v == nil {
		v = &JournalView{}
	}
	if p == nil {
		p = &pull{}
	}
	if w := d.workers[p.worker]; w != nil && w.process == p.process && w.live {
		v.Live, v.Problem = true, p.problem
	}
	if p.heard.After(v.PulledAt) {
		v.PulledAt = p.heard.Round(0).UTC()
	}
	v.PulledAt = v.PulledAt.Truncate(time.Minute)
	return v
}
