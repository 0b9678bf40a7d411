package dispatch

import (
	"fmt"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// windowGrain is the width up to which windows that follow one another are
// kept as one: a stream on a short interval would otherwise leave thousands
// to settle.
const windowGrain = time.Minute

// longGap is how long a stream may have stood still before everything is held
// against HubSpot: what was archived and purged meanwhile shows nowhere else.
const longGap = 24 * time.Hour

// missingRetry is how long after a reconcile that failed the next one is made
// where the store has lost records.
const missingRetry = time.Hour

// maxRetry bounds the wait after failures that mend themselves.
const maxRetry = 5 * time.Minute

// newRun makes a run with its ranges; it waits for a worker.
func (c *change) newRun(s *stream.Stream, kind stream.Kind, ranges ...*stream.Range) (*stream.Run, error) {
	if err := c.open(); err != nil {
		return nil, err
	}
	id, err := c.tx.NextRun()
	if err != nil {
		return nil, fmt.Errorf("number a run: %w", err)
	}
	run := &stream.Run{ID: id, Stream: s.Name, Portal: s.Portal, Kind: kind, State: stream.Running,
		Started: c.now.Round(0), NextRange: uint32(len(ranges)), Feed: c.d.store.Position()}
	if kind.Walk() && kind != stream.OneRecord {
		run.Report = &stream.Report{}
	}
	c.runs[id] = run
	for i, g := range ranges {
		g.ID = uint32(i)
		c.setRange(id, g)
	}
	return run, nil
}

// backfill makes a walk over everything, or goes on with one that was stopped.
func (c *change) backfill(s *stream.Stream, again bool) (*stream.Run, error) {
	var ranges []*stream.Range
	// What a list brings comes without its history.
	s.HistoryRead, s.HistoryFrom = false, ""
	parted := false
	old := c.d.runs[s.Unfinished]
	if old != nil {
		c.dropped[old.ID] = true
		if again {
			old = nil
		} else {
			ranges, parted = c.unfinished(s, old)
		}
	}
	s.Unfinished = ""
	if len(ranges) == 0 {
		old = nil
		// A record escapes both that is archived when the list passes its id,
		// restored before the bin is read, and keeps the modification time that
		// it had, so that search does not name it either. The first reconcile
		// finds it. To read the bin before the list, too, would bring that
		// forward to the next archived sweep at the cost of a second bin.
		ranges = []*stream.Range{{Kind: stream.ListRange}, {Kind: stream.ArchivedRange, Phase: archivedPhase}}
		if links := c.d.linkedWith(s.Name); len(links) > 0 {
			ranges = append(ranges, &stream.Range{Kind: stream.KnownRange, Phase: archivedPhase, Parts: true})
		}
		if !c.d.ofCRM(s) {
			ranges = c.rowRanges(s)
		}
	}
	run, err := c.newRun(s, stream.Backfill, ranges...)
	if err != nil {
		return nil, err
	}
	run.Phase = firstPhase(ranges)
	if slices.ContainsFunc(ranges, func(g *stream.Range) bool { return g.Parts }) {
		run.Linked = slices.Clone(c.d.linkedWith(s.Name))
	}
	if old != nil {
		if run.Linked = old.Linked; parted {
			run.Linked = nil
		}
		run.WalkSince = old.Since()
		run.Began, run.Whole, run.Braked, run.Expired = old.Began, old.Whole, old.Braked, old.Expired
		if old.Report != nil {
			run.Report.Candidates, run.Report.Disorder = old.Report.Candidates, old.Report.Disorder
		}
	}
	return run, nil
}

// unfinished are the ranges of a backfill that did not end, for another run to go
// on with; those for associations that nobody wants any more have no work left,
// and are parted with.
func (c *change) unfinished(s *stream.Stream, old *stream.Run) (ranges []*stream.Range, parted bool) {
	for _, g := range c.allRanges(old.ID) {
		switch own := g.Clone(); {
		case own.Ended:
		case own.Parts && len(c.d.linkedWith(s.Name)) == 0:
			parted = true
		default:
			own.Seq, own.Digest = 0, ""
			ranges = append(ranges, own)
		}
	}
	if len(ranges) == 0 && parted {
		// Nothing else is left: what is archived costs least, and ends the run.
		ranges = append(ranges, &stream.Range{Kind: stream.ArchivedRange, Phase: archivedPhase})
	}
	return ranges, parted
}

// firstPhase is the phase that a run with these ranges begins in.
func firstPhase(ranges []*stream.Range) uint16 {
	first := ranges[0].Phase
	for _, g := range ranges {
		first = min(first, g.Phase)
	}
	return first
}

// walk makes a run that holds the store against HubSpot: a reconcile, or an
// archived sweep alone. What HubSpot named and would not hand out is asked for,
// too.
func (c *change) walk(s *stream.Stream, kind stream.Kind, accept bool) (*stream.Run, error) {
	ranges := []*stream.Range{{Kind: stream.ArchivedRange, Phase: archivedPhase}}
	if kind == stream.Reconcile {
		ranges = append(ranges, &stream.Range{Kind: stream.SweepRange, Phase: livePhase})
		s.ReconciledAt, s.ReconcileNow, s.ReconcileAsked, s.ReconcileOwed, s.AcceptNext = c.now.Round(0), false, false, false, false
	}
	s.ArchivedAt, s.Fallen = c.now.Round(0), false
	if !c.d.ofCRM(s) {
		ranges = c.rowRanges(s)
	}
	run, err := c.newRun(s, kind, ranges...)
	if err != nil {
		return nil, err
	}
	run.Phase, run.Accept = firstPhase(ranges), accept
	return run, nil
}

// incremental makes a run over the newest window, those that are due to
// settle, and the open ids.
func (c *change) incremental(s *stream.Stream) (*stream.Run, error) {
	if !c.d.ofCRM(s) {
		return c.rowRun(s)
	}
	cfg := c.d.config[s.Name]
	ranges := []*stream.Range{{Kind: stream.SpanRange, Newest: true, Lo: max(1, s.Cursor-cfg.Tail.Milliseconds())}}
	settle := dueWindows(s, cfg.Settle, c.now)
	ranges = append(ranges, settling(stream.SpanRange, settle)...)
	if len(s.Open) > 0 {
		// Named once and not to be had since: they may be gone. No more of them
		// than absence may end in any case.
		g := &stream.Range{Kind: stream.IdsRange, Last: true, Ask: true}
		n := min(len(s.Open), neverBraked)
		for _, o := range s.Open[:n] {
			// Without a version: it was waited for when search named it.
			g.Want = append(g.Want, stream.Listed{ID: o.ID, Parts: len(cfg.Associations) > 0, Past: len(cfg.History) > 0})
		}
		// Those that are not asked for come first the next time.
		s.Open = slices.Concat(s.Open[n:], s.Open[:n])
		ranges = append(ranges, g)
	}
	if g := c.hinted(s); g != nil {
		ranges = append(ranges, g)
	}
	if !s.CursorAt.IsZero() && c.now.Sub(s.CursorAt) > longGap {
		s.ReconcileNow = true
	}
	run, err := c.newRun(s, stream.Incremental, ranges...)
	if err != nil {
		return nil, err
	}
	run.Settle, run.From, run.Pass = settle, s.Cursor, passOf(settle)
	s.LastStarted = c.now.Round(0)
	if !c.now.Before(s.DueAt) {
		s.DueAt, s.DueAgain = s.DueAgain, time.Time{}
		if !c.now.Before(s.DueAt) {
			s.DueAt = time.Time{} // this run finds what it was about
		}
	}
	return run, nil
}

// dueWindows are those that are old enough for their next settle pass, by
// HubSpot's clock as far as the daemon knows it: the cursor, and the time that
// has passed since it was known. Where that is less than the truth a pass comes
// later; counted from when the run was made it would be more, by as long as the
// run waited for a worker, and windows would settle before search knows them.
// It is an estimate, and our clock may have been set forward; whether the pass
// counts is judged by the run's own beginning.
func dueWindows(s *stream.Stream, settle []time.Duration, now time.Time) []stream.Window {
	hubspot := s.Cursor
	if !s.CursorAt.IsZero() {
		hubspot += max(0, now.Sub(s.CursorAt)).Milliseconds() // less than nothing: our clock was set back
	}
	var due []stream.Window
	for _, w := range s.Windows {
		if w.Level < len(settle) && hubspot-w.Hi >= settle[w.Level].Milliseconds() {
			due = append(due, w)
		}
	}
	return due
}

// settling are ranges that read windows again, those that follow one another as
// one.
func settling(kind stream.RangeKind, windows []stream.Window) (ranges []*stream.Range) {
	for _, w := range windows {
		if n := len(ranges); n > 0 && ranges[n-1].Hi == w.Lo {
			ranges[n-1].Hi = w.Hi
			continue
		}
		ranges = append(ranges, &stream.Range{Kind: kind, Lo: max(1, w.Lo), Hi: w.Hi})
	}
	return ranges
}

// passOf is the beginning of what a run says of the windows that it reads again.
func passOf(settle []stream.Window) *stream.Pass {
	if len(settle) == 0 {
		return nil
	}
	return &stream.Pass{Settled: uint64(len(settle))}
}

// late counts what a window names that was read when it was fresh, and not then:
// in the version that it names now, whatever list of properties it was read with.
func late(run *stream.Run, g *stream.Range, stored *stream.Head, l protocol.Listed, wanted bool) {
	if run.Pass == nil || g.Newest || g.Kind != stream.SpanRange && g.Kind != stream.EventsRange {
		return
	}
	if wanted && (stored == nil || stored.Version < l.Version) {
		run.Pass.Late++
	}
}

// finish ends a run in the commit in which its last range ended.
func (c *change) finish(run *stream.Run) {
	s := c.stream(run.Stream)
	attempt, worker, process := run.Attempt, run.Worker, run.Process
	state := stream.Done
	if run.Error != nil {
		state = stream.Failed // one record, which HubSpot does not hand out
	}
	c.end(run, state)
	if run.Kind != stream.OneRecord && run.Kind != stream.Hinted {
		s.Error, s.Fails, s.RetryAt = nil, 0, time.Time{}
	}
	switch run.Kind {
	case stream.Incremental:
		c.settled(s, run)
	case stream.Associations:
		s.Linked = run.Linked
	case stream.History:
		s.HistoryRead, s.HistoryFrom = !s.HistoryOwed, ""
	case stream.Fill:
		s.Fill = without(s.Fill, slices.Sorted(slices.Values(run.Fill)))
	case stream.Backfill:
		s.Backfilled, s.ArchivedAt = true, c.now.Round(0)
		s.Counted, s.CountedAt, s.Fallen = nil, s.ArchivedAt, false
		if s.Linked = run.Linked; len(s.Linked) > 0 && slices.Equal(s.Linked, c.d.linkedWith(s.Name)) {
			s.AssociatedAt = s.ArchivedAt // else others have been asked for meanwhile
		}
		if s.ReconciledAt.IsZero() {
			c.unsettled(s, run)
			s.ReconciledAt = s.ArchivedAt // there was nothing to hold against it
		}
	case stream.Reconcile, stream.ArchivedSweep:
		if run.Kind == stream.Reconcile {
			s.Missing = 0 // what was listed and is not stored has been read
		}
		switch {
		case run.Braked:
			s.Brake = c.brakedBy(run, s)
		case run.Kind == stream.Reconcile && !run.Report.Disorder:
			s.Brake = nil
		}
	}
	if (run.Kind == stream.Backfill || run.Kind == stream.Reconcile && !run.Report.Disorder) && !s.ListAt.After(run.Since()) {
		s.Fresh, _ = s.Generation(s.CurrentList())
		s.Fill = nil
	}
	c.rowsRead(s, run)
	if run.Report != nil {
		run.Report.Requests, run.Report.Seconds = run.Requests, uint64(max(0, run.Ended.Sub(run.Started)).Seconds())
		if run.Kind == stream.Reconcile {
			report := *run.Report
			s.LastReport, s.ReportedAt = &report, run.Ended
		}
	}
	e := endedRun{attempt: attempt, process: process, last: map[uint32]lastPage{}}
	for _, g := range c.allRanges(run.ID) {
		e.last[g.ID] = lastPage{seq: g.Seq - 1, digest: g.Digest}
	}
	c.dropped[run.ID] = true
	c.after = append(c.after, func() {
		c.d.over = append(c.d.over, e)
		if drop := len(c.d.over) - keptEnded; drop > 0 {
			c.d.over = c.d.over[drop:]
		}
		c.d.forget(worker, attempt)
	})
}

// settled moves the cursor to the run's beginning and notes what is still to
// be read again. A pass counts where the window was old enough by HubSpot's
// clock when the run began; one that came too early is made again.
func (c *change) settled(s *stream.Stream, run *stream.Run) {
	settle := c.d.settleOf(s.Name)
	kept := s.Windows[:0:0]
	for _, w := range s.Windows {
		for _, done := range run.Settle {
			if w.Lo >= done.Lo && w.Hi <= done.Hi && w.Level == done.Level {
				if w.Level < len(settle) && run.Began-w.Hi >= settle[w.Level].Milliseconds() {
					w.Level++
				}
				break
			}
		}
		if w.Level < len(settle) {
			kept = append(kept, w)
		}
	}
	if run.Began > s.Cursor {
		if len(settle) > 0 {
			kept = appendWindow(kept, stream.Window{Lo: run.From, Hi: run.Began}, settle[0])
		}
		s.Cursor, s.CursorAt = run.Began, c.now.Round(0)
	}
	s.Windows = kept
}

// unsettled notes that the newest of what a first load has read by windows of
// time is still to be read again: HubSpot may be late with it, as with all that
// comes later. What lies behind the cursor is the incremental runs', and one that
// was asked for meanwhile may have left windows already. The list that a load of
// the CRM's objects walks is never late.
func (c *change) unsettled(s *stream.Stream, run *stream.Run) {
	settle := c.d.settleOf(s.Name)
	for _, g := range c.allRanges(run.ID) {
		if g.Kind != stream.EventsRange || !g.Newest || len(settle) == 0 {
			continue
		}
		w := stream.Window{Lo: max(g.Lo, g.Hi-settle[len(settle)-1].Milliseconds()), Hi: min(g.Hi, s.Cursor)}
		if len(s.Windows) > 0 {
			w.Hi = min(w.Hi, s.Windows[0].Lo)
		}
		if w.Lo < w.Hi {
			s.Windows = append([]stream.Window{w}, s.Windows...)
		}
	}
}

// appendWindow adds the newest window, as part of the one before where both
// together are narrow enough.
func appendWindow(ws []stream.Window, w stream.Window, first time.Duration) []stream.Window {
	grain := min(windowGrain, first/15).Milliseconds()
	if n := len(ws); n > 0 && ws[n-1].Level == 0 && ws[n-1].Hi == w.Lo && w.Hi-ws[n-1].Lo <= grain {
		ws[n-1].Hi = w.Hi
		return ws
	}
	return append(ws, w)
}

func (d *Dispatcher) settleOf(name string) []time.Duration {
	if cfg := d.config[name]; cfg != nil && cfg.settles() {
		return cfg.Settle
	}
	return nil
}

// fail ends a run that cannot go on. A walk's place is kept for the next one.
func (c *change) fail(run *stream.Run, p *stream.Problem) {
	s := c.stream(run.Stream)
	run.Error = p
	c.end(run, stream.Failed)
	c.keepPlace(s, run)
	s.Error = p
	s.Fails++
	wait := c.d.opts.BlockedRetry
	if !p.Blocked {
		wait = min(maxRetry, c.d.opts.FailedRetry<<min(s.Fails-1, 10))
	}
	s.RetryAt = c.now.Add(wait).Round(0)
	if ofPortal(p) {
		c.blocksPortal(s)
	}
}

// keepPlace remembers a backfill that did not end, or lets its ranges go.
func (c *change) keepPlace(s *stream.Stream, run *stream.Run) {
	if run.Kind == stream.Backfill {
		s.Unfinished, s.ReconcileAsked = run.ID, false
		return
	}
	c.dropped[run.ID] = true
	c.listedPlace(s, run)
	switch run.Kind {
	case stream.Incremental, stream.Hinted:
		c.keepHints(s, run)
	case stream.History:
		c.historyPlace(s, run)
	case stream.Associations:
		s.Linked = nil // not read to their end: it is tried again soon, and not a day later
	}
	if run.Kind == stream.Reconcile {
		// What was asked for is owed, and what a person accepted stays so.
		s.ReconcileOwed, s.AcceptNext = true, s.AcceptNext || run.Accept
	}
}

func (c *change) end(run *stream.Run, state stream.RunState) {
	run.State, run.Ended = state, c.now.Round(0)
	c.stream(run.Stream).LastRun = run.ID
	c.dismiss(run)
	c.release(run)
	c.countEnd(run)
}

// release takes a run from its attempt; pages of it are fenced from the commit
// on, and its worker is told.
func (c *change) release(run *stream.Run) {
	if run.Attempt == 0 {
		return
	}
	attempt, worker, process := run.Attempt, run.Worker, run.Process
	run.Requests = c.d.requests(run)
	run.RequestsBefore = run.Requests
	if run.State != stream.Done {
		run.Attempt, run.Worker, run.Process = 0, "", ""
		c.command(worker, protocol.Command{Type: protocol.CancelCommand, Process: process, Attempt: attempt})
		c.after = append(c.after, func() { c.d.forget(worker, attempt) })
	}
}

// closeAttempt ends an attempt; the run goes on under a new one. Where it is
// the attempt's own fault the run waits before the next, and fails after too
// many that brought nothing.
func (c *change) closeAttempt(run *stream.Run, fault bool) {
	if fault {
		run.Fruitless++
		if run.Fruitless >= c.d.opts.MaxFruitless {
			c.fail(run, &stream.Problem{Type: "attempts-exhausted", Title: "the run does not get on",
				Detail: fmt.Sprintf("%d attempts in a row ended without a page", run.Fruitless),
				Hint:   "see the workers' logs; the run is tried again by itself"})
			return
		}
		if run.Fruitless > 1 {
			run.NotBefore = c.now.Add(backOff(run.Fruitless)).Round(0)
		}
	}
	c.release(run)
}

// backOff is how long a run waits after so many attempts in a row that brought
// nothing: none after the first.
func backOff(fruitless int) time.Duration {
	if fruitless < 2 {
		return 0
	}
	return min(maxRetry, time.Second<<min(fruitless-2, 20))
}
