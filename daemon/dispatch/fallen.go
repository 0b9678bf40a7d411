package dispatch

import (
	"time"

	"github.com/hubpipe/hubpipe/daemon/budget"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Search never shows what is archived, and to read the bin often costs much. How
// many live records there are costs one search: where they have become fewer, the
// bin is read early.

const (
	// countsPerSweep is how often live records are counted between two archived
	// sweeps, and countsEvery how often at most.
	countsPerSweep = 12
	countsEvery    = time.Second
	// sweepsEarly is by how much an archived sweep may come early.
	sweepsEarly = 6
)

// countDue tells whether a run is to ask how many live records there are.
func (d *Dispatcher) countDue(run *stream.Run, s *stream.Stream, now time.Time) bool {
	cfg := d.config[run.Stream]
	if cfg == nil || !cfg.ofCRM() || cfg.ArchivedEvery <= 0 || run.Kind != stream.Incremental || !s.Backfilled {
		return false
	}
	age := now.Sub(s.CountedAt)
	return age < 0 || age >= max(countsEvery, cfg.ArchivedEvery/countsPerSweep)
}

// counted takes in how many live records HubSpot has. That they are fewer than
// before and than are stored says that some were archived: what was merged has
// ended here, too, and what search names late is stored already. A stream with a
// start date holds a part of them, and says nothing.
func (c *change) counted(s *stream.Stream, live int64) {
	fell := s.Counted != nil && live < *s.Counted
	if cfg := c.d.config[s.Name]; cfg != nil && cfg.StartDate == 0 {
		fell = fell && live < int64(c.d.store.Live(s.Name))
	}
	s.Fallen = s.Fallen || fell
	s.Counted, s.CountedAt = &live, c.now.Round(0)
}

// archivedEvery is how long after the last archived sweep the next one comes:
// earlier where live records have become fewer, as far as its share of the day
// pays for that.
func (d *Dispatcher) archivedEvery(s *stream.Stream, cfg *StreamConfig, now time.Time) time.Duration {
	if !s.Fallen {
		return cfg.ArchivedEvery
	}
	early := 1.0 / sweepsEarly
	if p := d.purse(s.Portal, now); p.plan.Daily > 0 {
		early = min(1, max(early, p.plan.PerDay(budget.Archived)/(budget.Share(budget.Archived)*float64(p.plan.Daily))))
	}
	return time.Duration(early * float64(cfg.ArchivedEvery))
}
