package dispatch

import (
	"fmt"
	"maps"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// change is a transaction over the ledger: what it touches is copied, written
// on commit, and takes the place of the original only when the store has it.
// Messages are kept back until then.
type change struct {
	d   *Dispatcher
	now time.Time
	tx  Tx

	streams map[string]*stream.Stream
	runs    map[string]*stream.Run
	ranges  map[string]map[uint32]*stream.Range
	dropped map[string]bool
	workers map[string]*stream.Worker
	portals map[string]*stream.Portal
	lost    map[string]uint64 // what it notes of the store's missing records
	after   []func()
	outs    []Out

	// by is who brings what the page has that is being applied.
	by stream.Origin
}

func (d *Dispatcher) begin(now time.Time) *change {
	return &change{d: d, now: now,
		streams: map[string]*stream.Stream{}, runs: map[string]*stream.Run{},
		ranges: map[string]map[uint32]*stream.Range{}, dropped: map[string]bool{},
		workers: map[string]*stream.Worker{}, portals: map[string]*stream.Portal{}, lost: map[string]uint64{}}
}

// open begins the store's transaction when it is first needed: most
// heartbeats change nothing.
func (c *change) open() error {
	if c.tx != nil {
		return nil
	}
	tx, err := c.d.store.Begin()
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	c.tx = tx
	return nil
}

// stream returns the change's own copy, nil for an unknown name.
func (c *change) stream(name string) *stream.Stream {
	if s := c.streams[name]; s != nil {
		return s
	}
	s := c.d.streams[name]
	if s == nil {
		return nil
	}
	c.streams[name] = s.Clone()
	return c.streams[name]
}

// run returns the change's own copy, nil for an unknown id.
func (c *change) run(id string) *stream.Run {
	if r := c.runs[id]; r != nil {
		return r
	}
	r := c.d.runs[id]
	if r == nil {
		return nil
	}
	c.runs[id] = r.Clone()
	return c.runs[id]
}

// rangeOf returns the change's own copy, nil for an unknown one.
func (c *change) rangeOf(run string, id uint32) *stream.Range {
	if r := c.ranges[run][id]; r != nil {
		return r
	}
	r := c.d.ranges[run][id]
	if r == nil {
		return nil
	}
	return c.setRange(run, r.Clone())
}

func (c *change) setRange(run string, r *stream.Range) *stream.Range {
	if c.ranges[run] == nil {
		c.ranges[run] = map[uint32]*stream.Range{}
	}
	c.ranges[run][r.ID] = r
	return r
}

// allRanges gives the run's ranges as this change has them, without copying
// what it does not touch; nothing of it may be written to.
func (c *change) allRanges(run string) []*stream.Range {
	merged := map[uint32]*stream.Range{}
	maps.Copy(merged, c.d.ranges[run])
	maps.Copy(merged, c.ranges[run])
	return sortedRanges(merged)
}

func (c *change) portal(name string) *stream.Portal {
	if p := c.portals[name]; p != nil {
		return p
	}
	own := stream.Portal{Name: name}
	if p := c.d.portals[name]; p != nil {
		own = *p
	}
	c.portals[name] = &own
	return &own
}

// peek returns a run as this change has it, for reading only.
func (c *change) peek(id string) *stream.Run {
	if r := c.runs[id]; r != nil {
		return r
	}
	return c.d.runs[id]
}

// attemptRun finds the run that an attempt holds, for reading only.
func (c *change) attemptRun(attempt uint64) *stream.Run {
	id, ok := c.d.attempts[attempt]
	if !ok {
		return nil
	}
	if r := c.peek(id); r != nil && r.Attempt == attempt && r.State == stream.Running {
		return r
	}
	return nil
}

func (c *change) command(worker string, cmd protocol.Command) {
	cmd.Store, cmd.Epoch = c.d.store.ID(), c.d.store.Epoch()
	c.outs = append(c.outs, Out{Worker: worker, Command: &cmd})
}

func (c *change) answer(worker string, a protocol.Answer) {
	a.Store, a.Epoch = c.d.store.ID(), c.d.store.Epoch()
	c.outs = append(c.outs, Out{Worker: worker, Answer: &a})
}

func (c *change) empty() bool {
	return c.tx == nil && len(c.streams)+len(c.runs)+len(c.ranges)+len(c.workers)+len(c.portals)+len(c.dropped) == 0
}

// commit writes and syncs; the memory of the dispatcher moves only when that
// has succeeded, and only then may the messages leave.
func (c *change) commit() ([]Out, error) {
	if !c.empty() {
		if err := c.write(); err != nil {
			return nil, c.abandon(err)
		}
		c.adopt()
	}
	for _, f := range c.after {
		f()
	}
	c.stamp()
	return c.outs, nil
}

// abandon lets the change go and hands the error on.
func (c *change) abandon(err error) error {
	if c.tx != nil {
		c.tx.Discard()
	}
	return err
}

// stamp names in each message the newest heartbeat of the process that it is
// for: the worker counts from when it sent that, since a message may be late or
// wait in a process that stands still.
func (c *change) stamp() {
	for _, o := range c.outs {
		w := c.d.workers[o.Worker]
		switch {
		case w == nil:
		case o.Command != nil && o.Command.Process == w.process:
			o.Command.Beat = w.beat
		case o.Answer != nil && o.Answer.Process == w.process:
			o.Answer.Beat = w.beat
		}
	}
}

// noteMissing writes what the store has lost with the commit that lets it go:
// afterwards nobody could tell. What this change has noted is known to it.
func (c *change) noteMissing() {
	for name, n := range c.d.store.Missing() {
		known := max(c.d.missing[name], c.lost[name])
		if n <= known || c.d.streams[name] == nil {
			continue
		}
		s := c.stream(name)
		s.Missing += n - known
		s.ReconcileNow = true
		c.lost[name] = n
		c.after = append(c.after, func() { c.d.missing[name] = n })
	}
}

func (c *change) write() error {
	if err := c.open(); err != nil {
		return err
	}
	c.noteMissing()
	for run := range c.dropped {
		if err := c.tx.DropRanges(run); err != nil {
			return fmt.Errorf("drop ranges of %s: %w", run, err)
		}
	}
	for _, s := range c.streams {
		if err := c.tx.PutStream(s); err != nil {
			return fmt.Errorf("write stream %s: %w", s.Name, err)
		}
	}
	for _, r := range c.runs {
		if err := c.tx.PutRun(r); err != nil {
			return fmt.Errorf("write run %s: %w", r.ID, err)
		}
	}
	for run, ranges := range c.ranges {
		if c.dropped[run] {
			continue
		}
		for _, r := range ranges {
			if err := c.tx.PutRange(run, r); err != nil {
				return fmt.Errorf("write range %d of %s: %w", r.ID, run, err)
			}
		}
	}
	for _, w := range c.workers {
		if err := c.tx.PutWorker(w); err != nil {
			return fmt.Errorf("write worker %s: %w", w.ID, err)
		}
	}
	for _, p := range c.portals {
		if err := c.tx.PutPortal(p); err != nil {
			return fmt.Errorf("write portal %s: %w", p.Name, err)
		}
	}
	if err := c.tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// adopt takes what was committed into memory.
func (c *change) adopt() {
	d := c.d
	maps.Copy(d.streams, c.streams)
	maps.Copy(d.durable, c.workers)
	maps.Copy(d.portals, c.portals)
	for id, ranges := range c.ranges {
		if d.ranges[id] == nil {
			d.ranges[id] = map[uint32]*stream.Range{}
		}
		maps.Copy(d.ranges[id], ranges)
	}
	for id, r := range c.runs {
		if old := d.runs[id]; old != nil && old.Attempt != 0 && old.Attempt != r.Attempt {
			d.forget(old.Worker, old.Attempt)
		}
		d.runs[id] = r
		if r.Attempt != 0 && r.State == stream.Running {
			d.attempts[r.Attempt] = id
		}
	}
	for id := range c.dropped {
		delete(d.ranges, id)
		delete(d.runs, id)
	}
}

func (d *Dispatcher) forget(workerID string, attempt uint64) {
	delete(d.attempts, attempt)
	if w := d.workers[workerID]; w != nil {
		delete(w.reports, attempt)
	}
}
