package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// errOver says that an attempt has ended without a fault of its own.
var errOver = errors.New("the attempt is over")

// Kinds of run and range that are treated apart; others come with the fetch.
const (
	incrementalRun = "incremental"
	backfillRun    = "backfill"
	reconcileRun   = "reconcile"
	fillRun        = "fill"
	hintRun        = "hint"

	idsRange      = "ids"
	listRange     = "list"
	sweepRange    = "sweep"
	archivedRange = "archived"
	windowRange   = "window"
	wholeRange    = "whole"
	eventsRange   = "events"
	logRange      = "log"
)

// attempt is one run in this process's hands. Its goroutine prepares what the
// ranges share and waits for them; each range has a goroutine of its own.
type attempt struct {
	w      *Worker
	n      uint64
	fetch  *protocol.Fetch
	row    catalogue.Object // what the stream reads; zero where it is not known
	source Source           // for what no range of another kind of work asks
	log    hclog.Logger

	// sources are all of its views of HubSpot, by kind of work; under w.mu.
	sources map[string]*counted
	quiet   []string // what none of them takes for a change

	ctx    context.Context //nolint:containedctx // the attempt's own life
	cancel context.CancelCauseFunc

	// slots bounds the ranges that are fetched at once: each holds a listing
	// and a page in memory.
	slots chan struct{}
	// searching is held by the range that has a window proved.
	searching chan struct{}

	// Set before the first range begins.
	names []string // of the properties, in a fixed order
	past  []string // those of them whose history is kept
	list  string   // their hash
	found map[uint32][]protocol.Listed
	types untyped
	total int    // how many records one search over all windows had, 0 where it brought all
	live  *int64 // how many live records search has, nil where that was not asked for
	top   uint64 // the greatest id, 0 where the list is not to be shared

	looking sync.Mutex // held by the range that looks rows up; guards looked
	looked  *reading

	sharing sync.Mutex // held by the walker that looks for a place to share

	mu      sync.Mutex // under it: the following; never held while w.mu is taken
	ranges  map[uint32]*ranger
	waiting []*ranger // not begun yet
	working int       // ranges that have begun and not ended
	walked  int       // pages of lists that were sent
	probed  int       // requests made to find a place to share
	single  bool      // the list does not lend itself to several walkers
	begun   bool
	over    bool
	err     error
	wg      sync.WaitGroup
}

// rangesAtOnce is how many ranges of an attempt are fetched at the same time.
// About twenty requests at once fill the largest limit of HubSpot, and eight
// streams may share it.
const rangesAtOnce = 8

// Looking for a place to share costs requests: a few at the beginning, when all
// walkers but one wait, and then one in so many pages.
const (
	firstProbes   = 8
	pagesPerProbe = 6
)

// idle tells whether another walker may begin, and then holds others off until
// sharing is unlocked. Where requests wait for HubSpot's limit already, those
// that look for a place would only be in the way of those that bring records.
func (a *attempt) idle() bool {
	if a.source.Crowded() {
		return false
	}
	a.mu.Lock()
	may := !a.single && !a.over && a.working < rangesAtOnce && a.mayProbe()
	a.mu.Unlock()
	return may && a.sharing.TryLock()
}

// mayProbe tells whether the pages read pay for a probe; a.mu is held.
func (a *attempt) mayProbe() bool { return a.probed < firstProbes+a.walked/pagesPerProbe }

func (a *attempt) works(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.working += n
}

// alone notes that the list is not to be shared.
func (a *attempt) alone() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.single = true
}

// newAttempt makes an attempt; w.mu is held.
func newAttempt(w *Worker, s Start) *attempt {
	a := &attempt{w: w, n: s.Attempt, fetch: s.Fetch, ranges: map[uint32]*ranger{}, slots: make(chan struct{}, rangesAtOnce), searching: make(chan struct{}, 1),
		log: w.log.With("stream", s.Fetch.Stream, "run", s.Fetch.Run, "attempt", s.Attempt)}
	a.row, _ = catalogue.Lookup(s.Fetch.Object) // what is unknown the source refuses
	a.ctx, a.cancel = context.WithCancelCause(w.work)
	a.add(s.Fetch.Ranges)
	return a
}

// add takes up ranges; those that come while the attempt is prepared wait.
func (a *attempt) add(ranges []protocol.Range) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range ranges {
		if a.ranges[g.ID] != nil || a.over {
			continue
		}
		r := &ranger{a: a, g: g, answers: make(chan protocol.Answer, 1)}
		a.ranges[g.ID] = r
		if a.begun {
			a.wg.Go(r.run)
		} else {
			a.waiting = append(a.waiting, r)
		}
	}
}

// answer hands an answer to the range that waits for it; it never blocks, since
// a range has one page in flight.
func (a *attempt) answer(e Answered) {
	a.mu.Lock()
	r := a.ranges[e.Range]
	a.mu.Unlock()
	if r != nil {
		select {
		case r.answers <- e.Answer:
		default:
		}
	}
	if e.Answer.RunEnded {
		a.cancel(errOver)
	}
}

// run is the attempt's goroutine.
func (a *attempt) run() {
	a.log.Debug("an attempt begins", "kind", a.fetch.Kind, "ranges", len(a.fetch.Ranges))
	// Waits are reported from within the calls.
	a.source = a.as(a.fetch.Kind)
	err := a.prepare()
	if err == nil {
		a.begin()
		select {
		case <-a.ctx.Done(): // the last answer, a range's failure, or the daemon
		case <-a.w.gate.stopped(): // what is in flight may still be answered
			err = errStopping
		}
	} else if !errors.Is(err, errStopping) {
		a.fail(err)
	}
	a.mu.Lock()
	a.over = true
	if a.err == nil && errors.Is(err, errStopping) {
		a.err = err
	}
	a.mu.Unlock()
	a.wg.Wait()
	a.w.finish(a)
}

// core lets f report to the worker's state, unless the attempt is over: its
// number may be another store's by then.
func (a *attempt) core(f func(c *Core)) {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if a.ctx.Err() == nil {
		f(a.w.core)
	}
}

func (a *attempt) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begun = true
	for _, r := range a.waiting {
		a.wg.Go(r.run)
	}
	a.waiting = nil
}

// fail ends the attempt with what is wrong; the first failure counts, and those
// that follow from the end do not.
func (a *attempt) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil && a.ctx.Err() == nil {
		a.err = err
	}
	a.cancel(err)
}

// finish takes an attempt off the list, as failed where it has.
func (w *Worker) finish(a *attempt) {
	w.mu.Lock()
	a.spent()
	if w.running[a.n] == a {
		delete(w.running, a.n)
		switch {
		case a.err == nil || errors.Is(a.err, errOver):
			w.core.Finished(a.n)
		case errors.Is(a.err, errStopping):
			// Stays listed until the last heartbeat, which gives it back.
		default:
			p := problemOf(a.err)
			a.log.Warn("the attempt failed", "problem", p.Type, "error", a.err)
			w.core.Failed(a.n, p)
			if p.Blocked && p.Type != "scope" { // a scope says nothing about the account
				w.know.forget(a.fetch.Portal)
			}
		}
	}
	w.mu.Unlock()
	wake(w.beats)
}

// problemOf puts an error in the words that the daemon shows.
func problemOf(err error) protocol.Problem {
	if p, ok := errors.AsType[*ProblemError](err); ok {
		return p.Problem
	}
	return protocol.Problem{Type: "fetch-failed", Title: "the fetch failed", Detail: err.Error(),
		Hint: "the run is tried again by itself; see the worker's log"}
}

// wait is told why the source waits, and nil when it goes on.
func (a *attempt) wait(x *protocol.Wait) {
	a.core(func(c *Core) { c.Wait(a.n, x) })
	wake(a.w.beats)
}

// ask calls HubSpot through the gate. A call that ended because the daemon was
// silent is made again when it is heard.
func ask[T any](ctx context.Context, a *attempt, f func(ctx context.Context) (T, error)) (T, error) {
	for {
		inside, leave, err := a.w.gate.enter(ctx)
		if err != nil {
			var none T
			return none, err
		}
		v, err := f(inside)
		cause := context.Cause(inside)
		leave()
		if err == nil {
			a.got()
			return v, nil
		}
		if !errors.Is(cause, errSilent) || ctx.Err() != nil {
			if cause != nil {
				err = cause
			}
			return v, err
		}
	}
}

// prepare makes sure whose data it is, learns the properties, and asks for all
// windows at once where that may do.
func (a *attempt) prepare() error {
	if err := a.account(); err != nil {
		return err
	}
	if a.row.Strategy != catalogue.StrategyObjects {
		return a.beginning()
	}
	windows := a.windows()
	newest := len(windows) > 0 && windows[0].g.Newest
	// Without a search the definitions give the run its beginning.
	force := a.fetch.Began == 0 && !newest
	defs, fresh, err := a.definitions(force)
	if err != nil {
		return err
	}
	if force {
		a.began(defs.AsOf - clockSlack)
	}
	a.unknown(windows)
	if err := a.search(windows); err != nil {
		return err
	}
	if err := a.schema(defs, fresh); err != nil {
		return err
	}
	if err := a.count(); err != nil {
		return err
	}
	if err := a.byList(windows); err != nil {
		return err
	}
	return a.limits()
}

// count asks how many live records there are, where the daemon wants to know.
func (a *attempt) count() error {
	if !a.fetch.Count {
		return nil
	}
	n, err := ask(a.ctx, a, func(ctx context.Context) (int, error) { return a.source.Count(ctx, a.fetch.Object, Window{}) })
	if err != nil {
		return fmt.Errorf("count %s: %w", a.fetch.Object, err)
	}
	live := int64(n)
	a.live = &live
	return nil
}

// limits learns how far a list goes that several walkers may share.
func (a *attempt) limits() error {
	a.mu.Lock()
	listed := slices.ContainsFunc(a.waiting, func(r *ranger) bool { return r.g.Kind == listRange })
	a.mu.Unlock()
	if a.fetch.Whole || !listed {
		return nil
	}
	top, err := ask(a.ctx, a, func(ctx context.Context) (uint64, error) { return a.source.Newest(ctx, a.fetch.Object) })
	if err != nil {
		return fmt.Errorf("look for the newest of %s: %w", a.fetch.Object, err)
	}
	a.top = top
	return nil
}

// clockSlack is taken from HubSpot's times where a run's beginning is one.
const clockSlack = 2000

// began notes the run's beginning and returns the one that counts.
func (a *attempt) began(ms int64) int64 {
	a.core(func(c *Core) { ms = c.Began(a.n, ms) })
	return ms
}

// account compares whose data the token reads with whose the stream has, before
// one record is read.
func (a *attempt) account() error {
	acc, ok := a.w.know.account(a.fetch.Portal, a.w.o.SchemaEvery)
	if !ok {
		var err error
		if acc, err = ask(a.ctx, a, a.source.Account); err != nil {
			return fmt.Errorf("read the account of portal %s: %w", a.fetch.Portal, err)
		}
	}
	if a.fetch.Account != 0 && a.fetch.Account != acc.ID {
		return &ProblemError{protocol.Problem{Type: "account-mismatch", Title: "the token is of another HubSpot account", Blocked: true,
			Detail: fmt.Sprintf("portal %s: the token reads account %d, the data here is of account %d", a.fetch.Portal, acc.ID, a.fetch.Account),
			Hint:   "give the portal a token of its account, or name another portal for this one"}}
	}
	if !ok {
		a.w.know.learn(a.fetch.Portal, acc)
	}
	a.core(func(c *Core) { c.Account(a.n, acc) })
	return nil
}

// sleep waits, unless the attempt ends or the worker stops before.
func (a *attempt) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-a.ctx.Done():
		return context.Cause(a.ctx)
	case <-a.w.gate.stopped():
		return errStopping
	}
}
