package dispatch

import (
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// keptDisplaced bounds how many processes that lost a worker's id are
// remembered.
const keptDisplaced = 32

// Heard renews the lease of a process; it is called for every message, with
// the time at which it was received, before any queue.
func (d *Dispatcher) Heard(workerID, process string, at time.Time) {
	if w := d.workers[workerID]; w != nil && w.live && w.process == process && at.After(w.heard) {
		w.heard, w.deadline = at, at.Add(d.opts.Lease)
	}
}

// Unread names the workers of which pages were received and not yet read, in
// place of those named before: what is in them may renew a lease.
func (d *Dispatcher) Unread(workers map[string]int) {
	clear(d.unread)
	for id := range workers {
		d.unread[id] = true
	}
}

// ended tells whether the lease of a process is over.
func (d *Dispatcher) ended(w *worker, now time.Time) bool {
	return now.After(w.deadline) && !d.unread[w.id]
}

// Heartbeat holds what a worker says it does against the ledger and answers
// with what differs, or that it was seen. After an error nothing was taken.
func (d *Dispatcher) Heartbeat(now time.Time, hb *protocol.Heartbeat) ([]Out, error) {
	if hb.Worker == "" || hb.Process == "" {
		return nil, nil
	}
	if hb.Store != "" && hb.Store != d.store.ID() {
		// Its numbers are another store's; ours begin at one as well.
		own := *hb
		own.Attempts, own.Failed, own.Declined, own.Journals = nil, nil, nil, nil
		hb = &own
	}
	c := d.begin(now)
	known := d.durable[hb.Worker]
	if known != nil && slices.Contains(known.Displaced, hb.Process) {
		c.answer(hb.Worker, protocol.Answer{Type: protocol.Displaced, Process: hb.Process,
			Reason: "another process has taken the name " + hb.Worker})
		return c.commit()
	}
	w := c.take(hb, known)
	c.uses(hb)
	if hb.Leaving {
		c.leave(w)
		return c.commit()
	}
	c.reports(w, hb)
	c.failures(hb)
	listed := map[uint64]bool{}
	for _, a := range hb.Attempts {
		listed[a.Attempt] = true
	}
	for _, f := range hb.Failed {
		listed[f.Attempt] = true
	}
	for _, n := range hb.Declined {
		listed[n] = true
	}
	for _, run := range d.openRuns() {
		own := c.peek(run.ID)
		if own.State == stream.Running && own.Attempt != 0 && own.Process == hb.Process && !listed[own.Attempt] {
			c.command(hb.Worker, c.fetch(own))
		}
	}
	places, err := c.journals(w, hb)
	if err != nil {
		return nil, c.abandon(err)
	}
	if !c.tells(hb) || len(places) > 0 {
		c.answer(hb.Worker, protocol.Answer{Type: protocol.Seen, Process: hb.Process, Journals: places})
	}
	return c.commit()
}

// tells is whether anything is said to the process of a heartbeat. What is said to
// the one from which it took its name is no answer to it.
func (c *change) tells(hb *protocol.Heartbeat) bool {
	return slices.ContainsFunc(c.outs, func(o Out) bool {
		return o.Worker == hb.Worker && (o.Command != nil && o.Command.Process == hb.Process || o.Answer != nil && o.Answer.Process == hb.Process)
	})
}

// take gives a worker's id to the process that the heartbeat names. Of two
// processes the one that is first seen later wins; what the other held ends.
func (c *change) take(hb *protocol.Heartbeat, known *stream.Worker) *worker {
	d := c.d
	w := d.workers[hb.Worker]
	if known == nil || known.Process != hb.Process {
		own := &stream.Worker{ID: hb.Worker, Process: hb.Process}
		if known != nil {
			own.Displaced = append(slices.Clone(known.Displaced), known.Process)
			if drop := len(own.Displaced) - keptDisplaced; drop > 0 {
				own.Displaced = own.Displaced[drop:]
			}
		}
		c.workers[hb.Worker] = own
		for _, run := range d.openRuns() {
			if run.Attempt != 0 && run.Worker == hb.Worker && run.Process != hb.Process {
				// It may be what killed the other: the first costs no wait.
				c.closeAttempt(c.run(run.ID), true)
			}
		}
	}
	if w == nil || w.process != hb.Process {
		w = &worker{id: hb.Worker, process: hb.Process, reports: map[uint64]*report{}}
	}
	c.after = append(c.after, func() {
		w.live, w.version, w.capacity = !hb.Leaving, hb.Version, hb.Capacity
		w.portals = slices.Clone(hb.Portals)
		w.beat = max(w.beat, hb.Beat)
		if c.now.After(w.heard) {
			w.heard = c.now
		}
		w.deadline = w.heard.Add(d.opts.Lease)
		d.workers[hb.Worker] = w
	})
	return w
}

// leave closes what a stopping process held; its runs go on elsewhere at once.
func (c *change) leave(w *worker) {
	for _, run := range c.d.openRuns() {
		if run.Attempt != 0 && run.Worker == w.id && run.Process == w.process {
			c.closeAttempt(c.run(run.ID), false)
		}
	}
}

// reports takes in how the listed attempts stand; those that are not the
// worker's are cancelled.
func (c *change) reports(w *worker, hb *protocol.Heartbeat) {
	for i := range hb.Attempts {
		a := &hb.Attempts[i]
		run := c.attemptRun(a.Attempt)
		if run == nil || run.Process != hb.Process || run.Worker != hb.Worker {
			c.command(hb.Worker, protocol.Command{Type: protocol.CancelCommand, Process: hb.Process, Attempt: a.Attempt})
			continue
		}
		known := c.d.portals[run.Portal]
		if a.Account != nil && known != nil && known.Account != 0 && known.Account != a.Account.ID {
			continue // the worker finds the same and fails the attempt
		}
		if a.Account != nil {
			c.mended(run.Portal, a.Attempt)
			c.moved(run.Portal, a.Account)
		}
		if run.Began == 0 && a.Began != 0 || a.Account != nil && (known == nil || known.Account == 0) {
			run = c.run(run.ID)
			c.begins(run, a.Began, a.Account)
		}
		c.after = append(c.after, func() {
			r := w.reports[a.Attempt]
			if r == nil {
				r = &report{moved: c.now}
				w.reports[a.Attempt] = r
			}
			if a.Progress != r.progress || a.Wait != nil {
				r.moved = c.now
			}
			r.progress, r.requests, r.wait = a.Progress, a.Requests, a.Wait
		})
		if c.lacks(run, a.Ranges) {
			c.command(hb.Worker, c.fetch(run))
		}
	}
}

// lacks tells whether a worker does not know of a range that is at work, as one
// that a split or a new phase made.
func (c *change) lacks(run *stream.Run, listed []protocol.RangeReport) bool {
	has := map[uint32]bool{}
	for _, r := range listed {
		has[r.ID] = true
	}
	for _, g := range c.allRanges(run.ID) {
		if !g.Ended && g.Phase == run.Phase && !has[g.ID] {
			return true
		}
	}
	return false
}

// failures ends what a worker gave up, and confirms it each time it is listed.
func (c *change) failures(hb *protocol.Heartbeat) {
	own := func(attempt uint64) *stream.Run {
		run := c.attemptRun(attempt)
		if run != nil && run.Process == hb.Process && run.Worker == hb.Worker {
			return run
		}
		return nil
	}
	confirm := func(attempt uint64) {
		c.command(hb.Worker, protocol.Command{Type: protocol.CancelCommand, Process: hb.Process, Attempt: attempt})
	}
	for _, f := range hb.Failed {
		if run := own(f.Attempt); run != nil {
			c.fail(c.run(run.ID), problemOf(&f.Problem))
		}
		confirm(f.Attempt)
	}
	for _, attempt := range hb.Declined {
		if run := own(attempt); run != nil {
			c.closeAttempt(c.run(run.ID), true)
		}
		confirm(attempt)
	}
}
