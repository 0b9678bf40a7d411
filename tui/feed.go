package tui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Bounds of the connection.
const (
	askTimeout  = 10 * time.Second
	pingTimeout = 5 * time.Second
	quietFor    = 20 * time.Second // then it is asked whether the daemon lives
	drawEvery   = 100 * time.Millisecond
	drawSeldom  = time.Second // while nobody looks
	maxWaiting  = 2 * maxLines
)

// api is what the dashboard needs of the client.
type api interface {
	Addr() string
	Healthy(ctx context.Context) error
	Streams(ctx context.Context) ([]client.Status, error)
	Workers(ctx context.Context) ([]client.Worker, error)
	Portals(ctx context.Context) ([]client.Portal, error)
	Figures(ctx context.Context) (client.Figures, error)
	Destinations(ctx context.Context) ([]client.Destination, error)
	Runs(ctx context.Context, q client.RunQuery) ([]client.Run, error)
	Logs(ctx context.Context, streamName, level string, limit int) ([]client.Line, error)
	Start(ctx context.Context, name, interval string) (client.Status, error)
	Stop(ctx context.Context, name string) (client.Status, error)
	Sync(ctx context.Context, name, record string) (string, error)
	Resync(ctx context.Context, name string) (string, error)
	Reconcile(ctx context.Context, name string, accept bool) (string, error)
	PauseDestination(ctx context.Context, name string) (client.Destination, error)
	ResumeDestination(ctx context.Context, name string) (client.Destination, error)
	ResyncDestination(ctx context.Context, name, streamName string) (client.Destination, error)
	Shutdown(ctx context.Context) error
	Reload(ctx context.Context) (client.Plan, error)
}

// eventSource gives the events of one connection.
type eventSource func(ctx context.Context, last uint64) func(yield func(client.Event, error) bool)

// snapshot is all that the routes say.
type snapshot struct {
	at      time.Time
	streams []client.Status
	workers []client.Worker
	portals []client.Portal
	runs    []client.Run
	lines   []client.Line

	destinations []client.Destination
	figures      *client.Figures
}

// news is what came since the last was taken, each thing as it is now.
type news struct {
	at      time.Time
	whole   *snapshot
	daemon  *client.Daemon
	streams map[string]client.Status
	workers map[string]client.Worker
	portals map[string]client.Portal

	destinations map[string]client.Destination
	figures      *client.Figures

	lines   []client.Line
	dropped int // lines
	link    *link
	failed  error // the feed cannot go on
}

// link is how the connection stands.
type link struct {
	up      bool
	since   time.Time // of being up or down
	next    time.Time // the next try
	tries   int
	problem error
}

// feed keeps the connection to the daemon and gathers what comes, so that what
// is drawn is never behind however much it is.
type feed struct {
	api    api
	events eventSource
	now    func() time.Time
	again  chan struct{} // try now
	whole  chan struct{} // fetch everything
	wake   chan struct{}

	began map[string]string // the run that was last said to begin, by stream and kind; the session's
	first bool              // the whole was fetched once; watch's

	mu      sync.Mutex
	waiting news
	// during is what comes while everything is fetched, nil at other times: it is
	// newer than what was fetched, however long that takes.
	during *news
	taken  time.Time // the last time
	seldom bool
}

func newFeed(a api, events eventSource, now func() time.Time) *feed {
	return &feed{api: a, events: events, now: now, again: make(chan struct{}, 1), whole: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		began: map[string]string{}}
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// put changes what waits, and wakes who takes it.
func (f *feed) put(change func(n *news)) {
	f.mu.Lock()
	change(&f.waiting)
	if f.during != nil {
		change(f.during)
	}
	f.mu.Unlock()
	poke(f.wake)
}

// take waits for news and gives all of it; false when ctx has ended.
func (f *feed) take(ctx context.Context) (news, bool) {
	select {
	case <-f.wake:
	case <-ctx.Done():
		return news{}, false
	}
	f.mu.Lock()
	pause := drawEvery
	if f.seldom {
		pause = drawSeldom
	}
	pause -= f.now().Sub(f.taken) // what comes first is shown at once
	f.mu.Unlock()
	t := time.NewTimer(max(pause, 0))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return news{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.waiting
	f.waiting, f.taken = news{}, f.now()
	n.at = f.taken
	return n, true
}

// looked says whether somebody looks at the terminal.
func (f *feed) looked(at bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seldom = !at
}

// run connects, and again whenever the connection is lost, until ctx ends.
func (f *feed) run(ctx context.Context) {
	defer f.mend()
	l := link{since: f.now()}
	last := uint64(0)
	for ctx.Err() == nil {
		err := f.session(ctx, &last, &l)
		if ctx.Err() != nil {
			return
		}
		if l.up {
			l = link{since: f.now()}
		}
		l.problem = err
		wait := backoff(l.tries)
		l.tries++
		l.next = f.now().Add(wait)
		now := l
		f.put(func(n *news) { n.link = &now })
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-f.again:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// mend has a panic end the dashboard, which puts the terminal right, instead of
// the process, which would not.
func (f *feed) mend() {
	if p := recover(); p != nil {
		f.put(func(n *news) { n.failed = &panicked{p, debug.Stack()} })
	}
}

// backoff is how long it waits before another try: soon first, with a little of
// chance, so that not all come at once to a daemon that is back.
func backoff(tries int) time.Duration {
	steps := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second}
	d := steps[min(tries, len(steps)-1)]
	return d + rand.N(d/5)
}

// session follows the events of one connection. It returns when that is lost.
func (f *feed) session(parent context.Context, last *uint64, l *link) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	heard := make(chan struct{}, 1)
	wg.Go(func() { f.watch(ctx, cancel, heard) })
	for e, err := range f.events(ctx, *last) {
		if err != nil {
			return cmpCause(ctx, err)
		}
		poke(heard)
		if !l.up {
			*l = link{up: true, since: f.now()}
			now := *l
			f.put(func(n *news) { n.link = &now })
			poke(f.whole)
		}
		*last = e.ID
		f.event(e)
	}
	return cmpCause(ctx, errors.New("the daemon ended the connection"))
}

// cmpCause prefers the reason for which the connection was given up.
func cmpCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// watch fetches the whole where that is asked for, and asks a daemon that is
// silent whether it lives: a connection that is cut in the middle says nothing.
func (f *feed) watch(ctx context.Context, giveUp context.CancelCauseFunc, heard <-chan struct{}) {
	defer f.mend()
	quiet := time.NewTimer(quietFor)
	defer quiet.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-heard:
			quiet.Reset(quietFor)
			continue
		case <-f.whole:
			err = f.fetch(ctx)
		case <-quiet.C:
			ping, cancel := context.WithTimeout(ctx, pingTimeout)
			err = f.api.Healthy(ping)
			cancel()
			quiet.Reset(quietFor)
		}
		if err != nil && ctx.Err() == nil {
			if errors.Is(err, context.DeadlineExceeded) {
				err = errors.New("it does not answer")
			}
			giveUp(err)
			return
		}
	}
}

// fetch asks for all that the dashboard begins with.
func (f *feed) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	f.mu.Lock()
	f.during = &news{}
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.during = nil; f.mu.Unlock() }()
	var s snapshot
	var err error
	if s.streams, err = f.api.Streams(ctx); err != nil {
		return err
	}
	s.at = f.now()
	if s.workers, err = f.api.Workers(ctx); err != nil {
		return err
	}
	if s.portals, err = f.api.Portals(ctx); err != nil {
		return err
	}
	if s.destinations, err = f.api.Destinations(ctx); err != nil {
		if _, lacks := errors.AsType[*client.Problem](err); !lacks {
			return err // a daemon that has none says so; it is older
		}
	}
	if figures, err := f.api.Figures(ctx); err == nil {
		s.figures = &figures
	} else if _, lacks := errors.AsType[*client.Problem](err); !lacks {
		return err
	}
	if !f.first { // later the events bring them
		if s.runs, err = f.api.Runs(ctx, client.RunQuery{Limit: 1000}); err != nil {
			return err
		}
		if s.lines, err = f.api.Logs(ctx, "", "", 500); err != nil {
			return err
		}
		f.first = true
	}
	f.put(func(n *news) {
		if n.whole != nil && s.runs == nil {
			s.runs, s.lines = n.whole.runs, n.whole.lines
		}
		// What waited before is older than the whole, and may be of what is gone.
		newer := f.during
		f.during = nil
		n.whole, n.streams, n.workers, n.portals = &s, newer.streams, newer.workers, newer.portals
		n.destinations, n.figures = newer.destinations, newer.figures
	})
	return nil
}

// event gathers one; what does not decode is of a newer daemon, and left out.
func (f *feed) event(e client.Event) {
	switch e.Type {
	case client.EventStream:
		if v, ok := decoded[client.Status](e.Data); ok {
			f.put(func(n *news) { n.streams = with(n.streams, v.Name, v) })
		}
	case client.EventWorker:
		if v, ok := decoded[client.Worker](e.Data); ok {
			f.put(func(n *news) { n.workers = with(n.workers, v.ID, v) })
		}
	case client.EventPortal:
		if v, ok := decoded[client.Portal](e.Data); ok {
			f.put(func(n *news) { n.portals = with(n.portals, v.Name, v) })
		}
	case client.EventDestination:
		if v, ok := decoded[client.Destination](e.Data); ok {
			f.put(func(n *news) { n.destinations = with(n.destinations, v.Name, v) })
		}
	case client.EventFigures:
		if v, ok := decoded[client.Figures](e.Data); ok {
			f.put(func(n *news) { n.figures = &v })
		}
	case client.EventDaemon:
		if v, ok := decoded[client.Daemon](e.Data); ok {
			f.put(func(n *news) { n.daemon = &v })
			poke(f.whole) // streams may have gone
		}
	case client.EventRun:
		if v, ok := decoded[client.Run](e.Data); ok {
			key := v.Stream + "/" + v.Kind
			if v.Ended != nil || f.began[key] != v.ID {
				f.began[key] = v.ID
				f.lines(runLine(v))
			}
		}
	case client.EventLog:
		if v, ok := decoded[client.Line](e.Data); ok {
			f.lines(v)
		}
	}
}

func (f *feed) lines(l client.Line) {
	f.put(func(n *news) {
		if len(n.lines) >= maxWaiting {
			n.dropped++
			return
		}
		n.lines = append(n.lines, l)
	})
}

func decoded[T any](data []byte) (v T, ok bool) {
	return v, json.Unmarshal(data, &v) == nil
}

func with[T any](m map[string]T, key string, v T) map[string]T {
	if m == nil {
		m = map[string]T{}
	}
	m[key] = v
	return m
}

// panicked is a panic as an error.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string {
	return fmt.Sprintf("the dashboard failed; the daemon goes on: %v\n%s", p.value, p.stack)
}
