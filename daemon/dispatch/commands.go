package dispatch

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Start begins fetching on the interval, the first run at once; "" is the
// configured one, in place of what was set by hand before. It changes nothing
// where that is so already.
func (d *Dispatcher) Start(now time.Time, name, interval, setBy string) ([]Out, error) {
	if d.stopping {
		return nil, ErrStopped
	}
	cfg := d.config[name]
	if cfg == nil {
		return nil, d.notFound(name)
	}
	if interval != "" {
		_, text, err := d.opts.ParseInterval(interval)
		if err != nil {
			return nil, stream.BadInterval(err.Error())
		}
		interval = text
	}
	c := d.begin(now)
	s := c.stream(name)
	if s.Active && interval == s.Interval && s.Error == nil && d.blocks(now)[s.Portal].problem == nil {
		return nil, nil
	}
	wasActive := s.Active
	if !s.Active || interval != s.Interval {
		s.Active, s.Interval, s.SetBy = true, interval, setBy
	}
	s.RetryAt = time.Time{} // what failed is tried at once
	c.retryPortal(s.Portal)
	if !wasActive {
		// The first run comes at once; a walk that goes on counts as none.
		s.Error = nil
		if d.follows(s) && d.runOf(name, false) == nil && cfg.Problem == nil {
			if _, err := c.incremental(s); err != nil {
				return nil, c.abandon(err)
			}
		}
	}
	if cfg.Problem == nil && !s.Backfilled && d.runOf(name, true) == nil {
		if _, err := c.backfill(s, false); err != nil {
			return nil, c.abandon(err)
		}
	}
	if err := c.assign(); err != nil {
		return nil, c.abandon(err)
	}
	return c.commit()
}

// Stop ends the schedule and what runs; what was committed stays and the next
// run goes on from there. The attempts close in the commit itself.
func (d *Dispatcher) Stop(now time.Time, name, setBy string) ([]Out, error) {
	if d.config[name] == nil {
		return nil, d.notFound(name)
	}
	c := d.begin(now)
	s := c.stream(name)
	if open := c.stopAll(s); !s.Active && !open {
		return nil, nil
	}
	s.Active, s.SetBy = false, setBy
	return c.commit()
}

// stopRun ends a run before its end; where another goes on is kept.
func (c *change) stopRun(s *stream.Stream, run *stream.Run) {
	c.end(run, stream.Stopped)
	c.keepPlace(s, run)
}

// stopAll ends what runs of a stream and drops its hints; open tells whether
// something did run.
func (c *change) stopAll(s *stream.Stream) (open bool) {
	for _, run := range c.d.openRuns() {
		if run.Stream == s.Name {
			open = true
			c.stopRun(s, c.run(run.ID))
		}
	}
	s.Hints, s.ReconcileAsked = nil, false
	return open
}

// Sync makes one run now and returns its id: the one that goes on already, the
// first walk of a stream that has none, or an incremental run. With a record's
// id it reads that one, beside the walk where one goes on, and the run is that
// record's alone.
func (d *Dispatcher) Sync(now time.Time, name, record string) (string, []Out, error) {
	return d.runNow(now, name, func(c *change, s *stream.Stream) (*stream.Run, error) {
		if record != "" {
			if p := stream.BadRecord(record); p != nil {
				return nil, p
			}
		}
		c.retryPortal(s.Portal)
		if record != "" {
			return c.oneRecord(s, record)
		}
		return c.asked(c.syncRun(s))
	})
}

// runNow does what the commands that make a run have in common: the stream has
// to be one that can have runs, what failed is tried at once, and what waits is
// handed out in the commit in which the run is made. It returns the run's id.
func (d *Dispatcher) runNow(now time.Time, name string, run func(*change, *stream.Stream) (*stream.Run, error)) (string, []Out, error) {
	if d.stopping {
		return "", nil, ErrStopped
	}
	cfg := d.config[name]
	if cfg == nil {
		return "", nil, d.notFound(name)
	}
	if cfg.Problem != nil {
		return "", nil, cfg.Problem
	}
	c := d.begin(now)
	s := c.stream(name)
	s.RetryAt = time.Time{}
	made, err := run(c, s)
	if err != nil {
		return "", nil, c.abandon(err)
	}
	if err := c.assign(); err != nil {
		return "", nil, c.abandon(err)
	}
	outs, err := c.commit()
	return made.ID, outs, err
}

func (c *change) syncRun(s *stream.Stream) (*stream.Run, error) {
	d := c.d
	walk := d.runOf(s.Name, true)
	if walk != nil && walk.Kind == stream.Backfill {
		return walk, nil
	}
	if !s.Backfilled {
		var guests []*stream.Range
		if walk != nil {
			// One walk at a time: what it reads, the backfill reads too.
			guests = c.makeWay(s, c.run(walk.ID))
		}
		return c.hosting(guests)(c.backfill(s, false))
	}
	switch run := d.runOf(s.Name, false); {
	case run == nil:
	case run.Kind == stream.Hinted:
		// It looks at what it was told of alone; whoever asks wants all that has
		// changed, and what it was to read is read with it.
		c.stopRun(s, c.run(run.ID))
	default:
		return run, nil
	}
	return c.incremental(s)
}

// Resync reads everything again over what is there; it empties nothing.
func (d *Dispatcher) Resync(now time.Time, name string) (string, []Out, error) {
	return d.runNow(now, name, func(c *change, s *stream.Stream) (*stream.Run, error) {
		var guests []*stream.Range
		if walk := d.runOf(name, true); walk != nil {
			own := c.run(walk.ID)
			guests = c.makeWay(s, own)
			// The ranges of the walk that ends here go with it.
			c.dropped[own.ID] = true
			s.Unfinished = ""
		}
		// What is there stays, and is held against HubSpot then.
		s.ReconcileNow, s.ReconcileAsked = s.Backfilled, s.Backfilled
		return c.asked(c.hosting(guests)(c.backfill(s, true)))
	})
}

// asked notes that somebody asked for a run.
func (c *change) asked(run *stream.Run, err error) (*stream.Run, error) {
	if err == nil {
		c.run(run.ID).Asked = true
	}
	return run, err
}

// Reconcile holds everything against HubSpot now and returns the run's id: that
// of the reconcile that goes on, or of the first backfill, which comes before
// any. Another walk makes way, but a backfill, after which it comes by itself.
// With accept absence ends records however many they are.
func (d *Dispatcher) Reconcile(now time.Time, name string, accept bool) (string, []Out, error) {
	return d.runNow(now, name, func(c *change, s *stream.Stream) (*stream.Run, error) {
		return c.asked(c.reconcileRun(s, accept))
	})
}

// Mend writes down which records the store has lost, and holds the streams
// concerned against HubSpot at once, stopped ones too. It returns the runs by
// stream, "" for one that has to wait: a stream whose portal cannot be used is
// reconciled when it can.
func (d *Dispatcher) Mend(now time.Time) (map[string]string, []Out, error) {
	if d.stopping {
		return nil, nil, ErrStopped
	}
	c := d.begin(now)
	if err := c.open(); err != nil {
		return nil, nil, err
	}
	c.noteMissing()
	runs := map[string]string{}
	for _, name := range d.Names() {
		s := c.stream(name)
		if s == nil || s.Missing == 0 {
			continue
		}
		runs[name] = ""
		if d.config[name].Problem != nil {
			continue
		}
		run, err := c.reconcileRun(s, false)
		if err != nil {
			return nil, nil, c.abandon(err)
		}
		runs[name] = run.ID
	}
	if err := c.assign(); err != nil {
		return nil, nil, c.abandon(err)
	}
	outs, err := c.commit()
	return runs, outs, err
}

func (c *change) reconcileRun(s *stream.Stream, accept bool) (*stream.Run, error) {
	walk := c.d.runOf(s.Name, true)
	var guests []*stream.Range
	switch {
	case walk == nil && !s.Backfilled:
		return c.backfill(s, false)
	case walk == nil:
	case walk.Kind == stream.Backfill:
		own := c.run(walk.ID)
		s.ReconcileNow, s.ReconcileAsked, s.AcceptNext = s.Backfilled, s.Backfilled, s.Backfilled && accept
		return own, nil
	case walk.Kind == stream.Reconcile && (walk.Accept || !accept):
		return walk, nil
	default:
		guests = c.makeWay(s, c.run(walk.ID))
	}
	return c.hosting(guests)(c.walk(s, stream.Reconcile, accept))
}

// Reload takes over a configuration: streams that are new begin as it says,
// those that it no longer has stop, and what someone set by hand stays unless
// the file changed that very value.
func (d *Dispatcher) Reload(now time.Time, config []StreamConfig) ([]Out, error) {
	if d.stopping {
		return nil, ErrStopped
	}
	old, next := d.config, prepared(config)
	changes := d.changes(next)
	d.config = next
	c := d.begin(now)
	for i := range changes {
		if err := c.reconfigure(&changes[i]); err != nil {
			d.config = old
			return nil, c.abandon(err)
		}
	}
	c.stopUnknown()
	// A start on a disk that is nearly full has nothing to write, as a rule.
	maps.DeleteFunc(c.streams, func(name string, s *stream.Stream) bool { return reflect.DeepEqual(s, d.streams[name]) })
	clear(d.purses)
	outs, err := c.commit()
	if err != nil {
		d.config = old
	}
	return outs, err
}

// stopUnknown ends what runs of streams that are not configured: those that the
// file has lost while the daemon was down were not there to be removed.
func (c *change) stopUnknown() {
	for _, run := range c.d.openRuns() {
		if c.d.config[run.Stream] == nil && c.peek(run.ID).State == stream.Running {
			c.stopAll(c.stream(run.Stream))
		}
	}
}

// reconfigure does what a configuration makes of a stream.
func (c *change) reconfigure(x *Change) error {
	s, cfg := c.stream(x.Stream), c.d.config[x.Stream]
	switch {
	case x.Kind == ChangeRefused:
		return errors.New(strings.Join(x.Notes, "; "))
	case x.Kind == ChangeRemoved:
		c.stopAll(s)
		return nil
	case s == nil:
		lists, err := c.listsOf(x.Stream)
		c.streams[x.Stream] = &stream.Stream{Name: x.Stream, Portal: cfg.Portal, Object: cfg.Object, Active: cfg.Autostart, ListBase: lists,
			SetBy: "file", FileActive: cfg.Autostart, FileInterval: cmp.Or(cfg.Interval, cfg.Cron), Since: cfg.StartDate, History: cfg.history()}
		return err
	}
	if s.FileActive != cfg.Autostart {
		s.Active, s.FileActive, s.SetBy = cfg.Autostart, cfg.Autostart, "file"
	}
	if every := cmp.Or(cfg.Interval, cfg.Cron); s.FileInterval != every {
		// A ledger from before cron was kept in it says nothing of what it was.
		if s.FileInterval != "" || cfg.Cron == "" {
			s.Interval, s.SetBy = "", "file"
		}
		s.FileInterval = every
	}
	for _, w := range x.Works {
		w.make(s)
	}
	if len(cfg.Associations) == 0 {
		s.Linked = nil // nobody follows them; who wants them again has all of them read
	}
	c.chooseHistory(s)
	s.Since = cfg.StartDate
	// A person has looked: what was blocked is tried at once.
	if s.Error != nil && s.Error.Blocked {
		s.RetryAt = time.Time{}
	}
	return nil
}

// Remember keeps what became of commands, in place of those to forget.
func (d *Dispatcher) Remember(now time.Time, answers []*stream.Answered, forget []string) ([]Out, error) {
	c := d.begin(now)
	if err := c.open(); err != nil {
		return nil, err
	}
	for _, id := range forget {
		if err := c.tx.DropAnswer(id); err != nil {
			return nil, c.abandon(fmt.Errorf("forget command %s: %w", id, err))
		}
	}
	for _, a := range answers {
		if err := c.tx.PutAnswer(a); err != nil {
			return nil, c.abandon(fmt.Errorf("keep the answer to %s: %w", a.ID, err))
		}
	}
	return c.commit()
}

// Closing keeps the dispatcher from starting and handing out anything more:
// commands that would are answered with ErrStopped. Open attempts stay, their
// leases carry them over the restart.
func (d *Dispatcher) Closing() { d.stopping = true }
