package destination

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// runner is one destination. start and stop are called by the manager, one at a
// time.
type runner struct {
	m    *Manager
	spec Spec
	src  Source // as the destination gets it
	log  hclog.Logger

	woken  chan struct{}
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	on       bool
	reached  bool
	err      *stream.Problem
	next     time.Time
	failures uint64
	streams  map[string]*standing
	hasty    bool // what waits for more is not to
}

// standing is what is known of one stream.
type standing struct {
	versions bool // every one is wanted
	place    Place
	known    bool
	err      *stream.Problem
	fails    int
	next     time.Time

	// behind is what the last count found, at a time: all of a feed may have to be
	// looked at for it.
	behind  uint64
	oldest  time.Time
	counted time.Time
	took    time.Duration
}

// countEvery is how often it is counted what is not written yet; countShare is of
// how many parts of the time that takes one at most.
const (
	countEvery = time.Second
	countShare = 20
)

// stale tells whether what is behind has to be counted again. That there is
// nothing is not said from memory.
func (s *standing) stale(now time.Time) bool {
	return s.behind == 0 || now.Sub(s.counted) >= max(countEvery, countShare*s.took)
}

func newRunner(m *Manager, s Spec) *runner {
	r := &runner{m: m, spec: s, src: choose(m.o.Source, s, m.o.Salt), log: m.log.With("destination", s.Name), woken: make(chan struct{}, 1), streams: map[string]*standing{}}
	for _, x := range s.Streams {
		r.streams[x.Name] = &standing{versions: x.Versions > 0}
	}
	return r
}

func (r *runner) start() {
	ctx, cancel := context.WithCancel(r.m.life)
	r.mu.Lock()
	r.cancel, r.on = cancel, true
	r.mu.Unlock()
	r.wg.Go(func() { r.run(ctx) })
}

// stop returns when nothing is written any more.
func (r *runner) stop() {
	r.mu.Lock()
	cancel := r.cancel
	r.on = false
	r.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	r.wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancel, r.err, r.next = nil, nil, time.Time{}
	for _, s := range r.streams {
		s.err, s.next, s.fails = nil, time.Time{}, 0
	}
}

// hurry makes what waits go on at once.
func (r *runner) hurry() {
	r.mu.Lock()
	r.next, r.hasty = time.Time{}, true
	for _, s := range r.streams {
		s.next = time.Time{}
	}
	r.mu.Unlock()
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// hurried tells, once, whether somebody wants it to hurry.
func (r *runner) hurried() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.hasty
	r.hasty = false
	return was
}

// run works in sessions until ctx ends.
func (r *runner) run(ctx context.Context) {
	if r.spec.Blocked != "" {
		r.failed(&stream.Problem{Type: "destination-blocked", Title: "the destination cannot be used", Detail: r.spec.Blocked,
			Hint: "mend it in the configuration, then reload or restart", Blocked: true}, time.Time{})
		return
	}
	for fails := 0; ctx.Err() == nil; {
		w := &work{r: r, prepared: map[string]prepared{}, due: map[string]time.Time{}}
		err := w.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if w.wrote {
			fails = 0
		}
		wait := r.backoff(fails)
		fails++
		p := problemOf(err)
		r.log.Warn("the destination does not work; it is tried again", "error", p, "in", wait.Round(time.Millisecond))
		r.failed(p, time.Now().Add(wait))
		r.pause(ctx, func() time.Time { r.mu.Lock(); defer r.mu.Unlock(); return r.next })
	}
}

// backoff is how long to wait after so many failures in a row, give or take a
// quarter.
func (r *runner) backoff(fails int) time.Duration {
	d := r.m.o.Retry << min(fails, 20)
	if d > r.m.o.RetryMost || d <= 0 {
		d = r.m.o.RetryMost
	}
	return d*3/4 + rand.N(d/2+1) //nolint:gosec // it spreads load, and guards nothing
}

// pause waits until a time that may come nearer meanwhile.
func (r *runner) pause(ctx context.Context, until func() time.Time) {
	for {
		left := time.Until(until())
		if left <= 0 {
			return
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-r.woken:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

func problemOf(err error) *stream.Problem {
	if p, ok := errors.AsType[*stream.Problem](err); ok {
		return p
	}
	return &stream.Problem{Type: "destination-failed", Title: "the destination does not work", Detail: err.Error()}
}

func (r *runner) failed(p *stream.Problem, next time.Time) {
	r.mu.Lock()
	r.err, r.next = p, next
	r.failures++
	r.mu.Unlock()
	r.m.o.Changed()
}

func (r *runner) connected() {
	r.mu.Lock()
	r.err, r.next = nil, time.Time{}
	r.mu.Unlock()
	r.m.o.Changed()
}

// placed notes where a stream is now, and that nothing is wrong with it.
func (r *runner) placed(name string, p Place) {
	r.mu.Lock()
	s := r.streams[name]
	again, was := s.err != nil, s.place
	if p.Cleared == 0 {
		p.Cleared = p.Position // what is replaced is gone at once
	}
	s.place, s.known, s.err, s.fails, s.next = p, true, nil, 0, time.Time{}
	r.reached = true
	r.mu.Unlock()
	if again {
		r.log.Info("a stream is written again", "stream", name)
	}
	r.tell(name, &was, &p)
	r.m.o.Changed()
}

// tell logs what has happened to a stream besides that more of it is written.
func (r *runner) tell(name string, was, now *Place) {
	switch a, b := was.Reread, now.Reread; {
	case a == nil && b != nil:
		r.log.Info("everything is written anew", "stream", name, "reason", b.Reason, "from", b.Position, "until", b.Until)
	case a != nil && b != nil && (b.Anew > a.Anew || b.Position < a.Position):
		// With each time it comes nearer that this has no end.
		r.log.Warn("everything is written anew, from the beginning once more", "stream", name, "reason", b.Reason, "why", cmp.Or(b.Why, b.Reason), "times", b.Anew, "until", b.Until)
	case a != nil && b == nil:
		r.log.Info("everything was written anew", "stream", name, "reason", a.Reason)
	}
	switch a, b := was.Untidy, now.Untidy; {
	case b != nil && (a == nil || a.Detail != b.Detail):
		r.log.Warn("what nobody needs of a stream is not taken away", "stream", name, "error", b)
	case a != nil && b == nil:
		r.log.Info("what nobody needs of a stream is taken away again", "stream", name)
	}
}

func (r *runner) streamFailed(name string, err error) {
	p := problemOf(err)
	r.mu.Lock()
	s := r.streams[name]
	wait := r.backoff(s.fails)
	first := s.err == nil || s.err.Detail != p.Detail
	s.err, s.next = p, time.Now().Add(wait)
	s.fails++
	r.failures++
	r.mu.Unlock()
	if first {
		r.log.Warn("a stream cannot be written; it is tried again", "stream", name, "error", p)
	}
	r.m.o.Changed()
}

// due tells whether a stream may be tried.
func (r *runner) due(name string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.streams[name].next.After(now)
}

// wakeAt is when the first stream that failed is tried again, at most a time.
func (r *runner) wakeAt(latest time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.streams {
		if !s.next.IsZero() && s.next.Before(latest) {
			latest = s.next
		}
	}
	return latest
}

// status is how it stands now.
func (r *runner) status(ctx context.Context) Status {
	r.mu.Lock()
	out := Status{Name: r.spec.Name, Kind: r.spec.Kind, Reached: r.reached, Error: r.err, NextTry: r.next, Failures: r.failures}
	if r.spec.Engine != nil {
		out.Target = r.spec.Engine.Target()
	}
	on, known := r.on, make(map[string]standing, len(r.streams))
	for name, s := range r.streams {
		known[name] = *s
	}
	r.mu.Unlock()
	now, rereading, unread := time.Now(), false, false
	for _, name := range slices.Sorted(maps.Keys(known)) {
		s := known[name]
		if s.err == nil && s.place.Cleared < s.place.Position {
			s.err = s.place.Untidy // what was erased waits for somebody
		}
		lost := uint64(0)
		if s.versions {
			lost = r.m.o.Source.VersionsLost(name)[r.spec.Name]
		}
		x := StreamStatus{Stream: name, Place: s.place, Head: r.m.o.Source.PositionOf(name), Lost: lost, Error: s.err}
		if s.known && x.Head > s.place.Position {
			n, oldest := s.behind, s.oldest
			if s.stale(now) {
				begun := time.Now()
				n, oldest = r.behind(ctx, name, s.place.Position, s.versions)
				r.mu.Lock()
				x := r.streams[name]
				x.behind, x.oldest, x.counted, x.took = n, oldest, time.Now(), time.Since(begun)
				r.mu.Unlock()
			}
			x.Behind = n
			if !oldest.IsZero() {
				out.Lag = max(out.Lag, now.Sub(oldest))
			}
		}
		rereading, unread = rereading || s.place.Reread != nil, unread || !s.known
		out.Behind += x.Behind
		out.Rows += s.place.Rows
		if s.place.LastCommit.After(out.LastCommit) {
			out.LastCommit = s.place.LastCommit
		}
		if s.err != nil && (out.Error == nil || s.err.Blocked && !out.Error.Blocked) {
			out.Error, out.NextTry = s.err, s.next
		}
		out.Streams = append(out.Streams, x)
	}
	switch {
	case !on:
		out.State, out.Error, out.NextTry = Paused, nil, time.Time{}
	case out.Error != nil && out.Error.Blocked:
		out.State = Blocked
	case out.Error != nil:
		out.State = Failing
	case unread, out.Behind > 0, rereading:
		out.State = Running
	default:
		out.State = Current
	}
	return out
}

// behind counts what is not written yet, and says since when the oldest of it
// waits. What cannot be told is told as nothing: it is a figure for people.
func (r *runner) behind(ctx context.Context, name string, since uint64, versions bool) (n uint64, oldest time.Time) {
	src := r.m.o.Source
	n, err := src.Behind(ctx, name, since)
	changes := src.Changes
	if versions && err == nil {
		var more uint64
		more, err = src.VersionsBehind(ctx, name, since)
		n, changes = n+more, src.Versions
	}
	if err != nil || n == 0 {
		return 0, time.Time{}
	}
	_, err = changes(ctx, name, since, 1, func(rec *stream.Record) error {
		oldest = time.UnixMilli(rec.Synced)
		return nil
	})
	if err != nil {
		return n, time.Time{}
	}
	return n, oldest
}
