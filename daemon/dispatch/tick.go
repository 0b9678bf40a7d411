package dispatch

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// stoodStill is how long a tick may be late before the daemon takes it that it
// was not running, and gives the time back to the leases.
const stoodStill = 3 * time.Second

// workersKept is how long a worker that is not heard of is shown.
const workersKept = 24 * time.Hour

// Tick ends leases, starts what is due and hands out what waits. It is called
// about once a second and whenever something may have changed that.
func (d *Dispatcher) Tick(now time.Time) ([]Out, error) {
	if gap := now.Sub(d.lastTick); gap > stoodStill {
		for _, w := range d.workers {
			w.deadline = w.deadline.Add(gap)
			for _, r := range w.reports {
				r.moved = r.moved.Add(gap)
			}
		}
	}
	d.lastTick = now
	c := d.begin(now)
	c.expire()
	if !d.stopping {
		c.rest()
		if err := c.startDue(); err != nil {
			return nil, c.abandon(err)
		}
		if err := c.assign(); err != nil {
			return nil, c.abandon(err)
		}
	}
	return c.commit()
}

// expire ends the attempts of processes whose lease has ended, and those that
// neither get on nor name a wait.
func (c *change) expire() {
	for _, w := range c.d.workers {
		switch {
		case w.live && c.d.ended(w, c.now):
			c.after = append(c.after, func() { w.live = false })
		case !w.live && c.now.Sub(w.heard) > workersKept:
			c.after = append(c.after, func() { delete(c.d.workers, w.id) })
		}
	}
	for _, run := range c.d.openRuns() {
		if run.Attempt == 0 {
			continue
		}
		w := c.d.workers[run.Worker]
		if w == nil || w.process != run.Process || !w.live || c.d.ended(w, c.now) {
			c.counts(func(n *Counts) { n.Lapsed[LapseLease]++ })
			c.closeAttempt(c.run(run.ID), true)
			continue
		}
		if r := w.reports[run.Attempt]; r != nil && c.now.Sub(r.moved) > c.d.opts.NoProgress {
			c.counts(func(n *Counts) { n.Lapsed[LapseProgress]++ })
			c.closeAttempt(c.run(run.ID), true)
		}
	}
}

// startDue makes the runs that the schedules want. A stream has one
// incremental run and one walk at a time; ticks that were missed make one run.
func (c *change) startDue() error {
	blocks := c.d.blocks(c.now)
	for _, name := range c.d.Names() {
		s := c.d.streams[name]
		if s == nil || !s.Active && !s.ReconcileAsked || c.d.config[name].Problem != nil || c.d.retryAt(s, c.now).After(c.now) || blocks[s.Portal].held(name) {
			continue
		}
		if !s.Active {
			if err := c.lastOfAsked(name); err != nil {
				return err
			}
			continue
		}
		if s.Error != nil && s.Error.Blocked {
			if err := c.tryAgain(c.stream(name)); err != nil {
				return err
			}
			continue
		}
		if !s.Backfilled && c.d.runOf(name, true) == nil && !c.d.unpaid(s, stream.Backfill, c.now) {
			if _, err := c.backfill(c.stream(name), false); err != nil {
				return err
			}
		}
		if c.d.mayRun(s) && c.d.runOf(name, false) == nil && !c.d.dueAt(s, c.now).After(c.now) {
			if _, err := c.incremental(c.stream(name)); err != nil {
				return err
			}
		}
		if err := c.readHints(name); err != nil {
			return err
		}
		if kind := c.d.walkDue(s, c.now); kind != "" {
			if err := c.startWalk(c.stream(name), kind); err != nil {
				return err
			}
		}
	}
	return nil
}

// lastOfAsked makes the reconcile that somebody asked for, of a stream that is
// stopped, when the walk that had to come before it has ended.
func (c *change) lastOfAsked(name string) error {
	if c.d.runOf(name, true) != nil {
		return nil
	}
	s := c.stream(name)
	_, err := c.asked(c.walk(s, stream.Reconcile, s.AcceptNext))
	return err
}

// mayRun tells whether a stream has incremental runs yet. Beside a first load
// they are for what settles or is searched for; all else would be read twice.
func (d *Dispatcher) mayRun(s *stream.Stream) bool {
	return s.Cursor != 0 && (s.Backfilled || d.config[s.Name].settles())
}

// startWalk makes a walk that is due. A history run that goes on makes way.
func (c *change) startWalk(s *stream.Stream, kind stream.Kind) error {
	var guests []*stream.Range
	if walk := c.d.runOf(s.Name, true); walk != nil {
		guests = c.makeWay(s, c.run(walk.ID))
	}
	host := c.hosting(guests)
	var err error
	switch kind {
	case stream.Associations:
		_, err = host(c.sweepLinks(s))
	case stream.History:
		_, err = host(c.sweepHistory(s))
	case stream.Fill:
		_, err = host(c.fill(s))
	default:
		_, err = host(c.walk(s, kind, s.AcceptNext))
	}
	return err
}

// walkDue is which walk of a stream that has its first backfill is due, ""
// where none is. The history of what is there comes last.
func (d *Dispatcher) walkDue(s *stream.Stream, now time.Time) stream.Kind {
	walk := d.runOf(s.Name, true)
	if !s.Backfilled || walk != nil && !(walk.Kind == stream.History && now.Sub(walk.Started) >= historyTurn) {
		return ""
	}
	kind := d.sweepDue(s, now)
	if kind == "" && walk == nil && d.historyOf(s.Name) != nil && !s.HistoryRead && !d.unpaid(s, stream.History, now) {
		return stream.History
	}
	return kind
}

// sweepDue is which of the walks is due that come again and again. A reconcile
// has an archived sweep in it.
func (d *Dispatcher) sweepDue(s *stream.Stream, now time.Time) stream.Kind {
	cfg := d.config[s.Name]
	due := func(last time.Time, wanted time.Duration, kind stream.Kind) bool {
		every, _ := d.stretched(s.Portal, workOf(kind), wanted, now)
		// A last time that lies ahead is from before the clock was set back.
		return every > 0 && !last.IsZero() && (now.Sub(last) >= every || last.Sub(now) > every) && !d.unpaid(s, kind, now)
	}
	switch {
	case s.ReconcileNow, (s.Missing > 0 || s.ReconcileOwed) && due(s.ReconciledAt, missingRetry, stream.Reconcile):
		return stream.Reconcile
	case len(s.Fill) > 0 && !d.unpaid(s, stream.Fill, now):
		return stream.Fill
	case s.AssociatedAt.IsZero() && cfg.ofCRM() && len(cfg.Associations) > 0 && !d.unpaid(s, stream.Associations, now):
		return stream.Associations // others were asked for, or none: what comes again and again may wait
	case !cfg.reconciles():
		return ""
	case due(s.ReconciledAt, cfg.ReconcileEvery, stream.Reconcile):
		return stream.Reconcile
	case !cfg.ofCRM():
		return ""
	case due(s.ArchivedAt, d.archivedEvery(s, cfg, now), stream.ArchivedSweep):
		return stream.ArchivedSweep
	case len(cfg.Associations) == 0:
		return ""
	}
	every := cfg.AssociateEvery
	if !slices.Equal(s.Linked, cfg.Associations) {
		every = min(every, missingRetry) // not read to their end as they are wanted
	}
	if due(s.AssociatedAt, every, stream.Associations) {
		return stream.Associations
	}
	return ""
}

// dueAt is when the next incremental run of a stream begins.
// One that failed is tried again when its wait is over, whatever the schedule
// says: a nightly stream does not lose its day.
func (d *Dispatcher) dueAt(s *stream.Stream, now time.Time) time.Time {
	if s.Fails > 0 {
		return d.retryAt(s, now)
	}
	at := d.schedule(s).Next(s.LastStarted, now.Round(0))
	if !s.DueAt.IsZero() && s.DueAt.Before(at) {
		at = s.DueAt
	}
	return d.pacedAt(s, at, now)
}

// retryAt is when a stream may be tried again. A time that no wait reaches is
// from before the clock was set back, and has passed.
func (d *Dispatcher) retryAt(s *stream.Stream, now time.Time) time.Time {
	if s.RetryAt.Sub(now) > max(d.opts.BlockedRetry, maxRetry) {
		return now
	}
	return s.RetryAt
}

// notBefore is when a run's next attempt may begin. As with retryAt, a time that
// no wait reaches has passed.
func (d *Dispatcher) notBefore(run *stream.Run, now time.Time) time.Time {
	if run.NotBefore.Sub(now) > backOff(d.opts.MaxFruitless) {
		return now
	}
	return run.NotBefore
}

// schedule is what someone set, or the configuration's.
func (d *Dispatcher) schedule(s *stream.Stream) Schedule {
	if s.Interval != "" && d.opts.ParseInterval != nil {
		if sc, _, err := d.opts.ParseInterval(s.Interval); err == nil {
			return sc
		}
	}
	return d.config[s.Name].Schedule
}

// assign hands waiting runs to the worker that holds their portal, or gives
// the portal to the one with the fewest.
func (c *change) assign() error {
	load, given := map[place]int{}, map[string]string{}
	var waiting []*stream.Run
	for id := range c.d.runs {
		waiting = c.weigh(c.peek(id), load, given, waiting)
	}
	for id, run := range c.runs {
		if c.d.runs[id] == nil {
			waiting = c.weigh(run, load, given, waiting)
		}
	}
	sort.Slice(waiting, func(i, j int) bool { return waiting[i].ID < waiting[j].ID })
	for _, run := range waiting {
		w := c.pick(run, given, load)
		if w == nil {
			continue
		}
		if c.runs[run.ID] == nil {
			run = c.run(run.ID)
		}
		if err := c.give(run, w); err != nil {
			return err
		}
		load[place{w.id, run.Kind == stream.Hinted}]++
		given[run.Portal] = w.id
	}
	return nil
}

// weigh counts a run for its worker, which has the run's portal, or puts it
// with those that wait for one.
func (c *change) weigh(run *stream.Run, load map[place]int, given map[string]string, waiting []*stream.Run) []*stream.Run {
	switch {
	case run.State != stream.Running:
	case run.Attempt != 0:
		load[place{run.Worker, run.Kind == stream.Hinted}]++
		given[run.Portal] = run.Worker
	case !c.d.notBefore(run, c.now).After(c.now) && c.d.spent(run, c.now) == "":
		return append(waiting, run)
	}
	return waiting
}

// pick chooses the worker for a portal. Its holder keeps it for as long as it
// lives: two processes after one another would spend the portal's budget
// twice. That holds for a holder whose lease has ended and whose attempts are
// still open, too: between two ticks, or before the first after the daemon
// stood still.
func (c *change) pick(run *stream.Run, given map[string]string, load map[place]int) *worker {
	portal := run.Portal
	serves := func(w *worker) bool {
		return w != nil && w.live && !c.d.ended(w, c.now) && slices.Contains(w.portals, portal)
	}
	h := c.d.holders[portal]
	w := c.d.workers[h.worker]
	if id := given[portal]; id != "" {
		if w = c.d.workers[id]; !serves(w) {
			return nil
		}
	} else if !serves(w) || w.process != h.process {
		w = c.fewest(serves, given)
	}
	if w == nil || load[place{w.id, run.Kind == stream.Hinted}] >= room(w, run.Kind) {
		return nil
	}
	return w
}

// place is where an attempt counts: hints take no place from other runs, nor these
// from hints.
type place struct {
	worker string
	hints  bool
}

// room is how many attempts of a kind a worker may have. What HubSpot hints at is a
// request or two, and does not wait for the end of a long walk; nor does a walk
// wait until nothing is hinted at. Workers take twice what they say.
func room(w *worker, k stream.Kind) int {
	if k == stream.Hinted {
		return max(1, w.capacity-1)
	}
	return max(1, w.capacity)
}

// fewest is the serving worker that holds the fewest portals.
func (c *change) fewest(serves func(*worker) bool, given map[string]string) *worker {
	held := map[string]int{}
	for portal, h := range c.d.holders {
		if given[portal] == "" {
			held[h.worker]++
		}
	}
	for _, id := range given {
		held[id]++
	}
	var best *worker
	for _, w := range c.d.workers {
		if serves(w) && (best == nil || held[w.id] < held[best.id] || held[w.id] == held[best.id] && w.id < best.id) {
			best = w
		}
	}
	return best
}

// give opens an attempt: a new number of the one counter.
func (c *change) give(run *stream.Run, w *worker) error {
	if err := c.open(); err != nil {
		return err
	}
	attempt, err := c.tx.NextAttempt()
	if err != nil {
		return fmt.Errorf("number an attempt: %w", err)
	}
	run.Attempt, run.Worker, run.Process = attempt, w.id, w.process
	c.after = append(c.after, func() {
		w.reports[attempt] = &report{moved: c.now}
		c.d.holders[run.Portal] = holder{worker: w.id, process: w.process}
	})
	c.counts(func(n *Counts) { n.Attempts++ })
	c.command(w.id, c.fetch(run))
	return nil
}
