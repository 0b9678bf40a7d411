package worker

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/internal/failpoint"
)

// ErrDisplaced ends a worker whose name another process has taken.
var ErrDisplaced = errors.New("another process has taken this worker's name")

// Bounds of the way between the bus and the worker.
const (
	inboxQueue   = 1024 // what exceeds it is dropped: all of it is said again
	publishers   = 4
	publishBound = 5 * time.Second
)

// Bus is the worker's connection to the broker. Publish returns when the
// broker has the message, or with an error that leaves open whether it has.
type Bus interface {
	// name is what a page says of itself beside its bytes, nil for all else.
	Publish(ctx context.Context, topic string, payload, name []byte, qos byte, retain bool, expiry time.Duration) error
	// MaxPacket is the greatest packet that the broker takes, 0 if unknown.
	MaxPacket() int
	Connected() bool
}

// Options are what a Worker is made of. Name, Topics, Codec and Bus are
// required; durations that are zero get the ledger's defaults.
type Options struct {
	Name, Version string
	// Process names this process among those that ever had the name; "" makes
	// a random one.
	Process string
	Portals map[string]Portal
	// Limits say what is known of a portal's limits and of its day; Requests of
	// what they return is not read. A portal without one counts in no day.
	Limits map[string]func() protocol.PortalUsage
	// Journals are those of portals that have one; JournalEvery is how often they
	// are asked for what is new (2 s).
	Journals     map[string]Journal
	JournalEvery time.Duration
	// Concurrency is how many attempts run at once, 8 by default.
	Concurrency int
	Topics      protocol.Topics
	Codec       *protocol.Codec
	Bus         Bus
	Logger      hclog.Logger

	Lease, HeartbeatEvery time.Duration
	RepeatMin, RepeatMax  time.Duration
	// SchemaEvery is how old property definitions and the knowledge of the
	// account may be (1 h).
	SchemaEvery time.Duration
	// RereadDelays are the waits before a reading that is older than what is
	// stored is made again (5 s and 60 s).
	RereadDelays [2]time.Duration
	// DrainTime bounds how long Stop waits for answers to pages in flight (5 s).
	DrainTime time.Duration
}

// Worker is one worker process: it takes commands, runs attempts, sends their
// pages and waits for the commits. It keeps nothing that lasts; all it knows of
// an attempt came with the fetch.
type Worker struct {
	o     Options
	log   hclog.Logger
	gate  *gate
	inbox chan message
	pages chan struct{} // something may be due
	beats chan struct{} // the state has changed
	shows chan struct{} // presence is to be published
	done  chan struct{}
	joins map[string]*protocol.Joiner // by topic; of the goroutine that reads the inbox
	know  *knowledge
	use   *usage                 // under mu
	pulls map[string]*journaling // by portal; what they hold is under mu
	turn  int                    // which of them heartbeats say first; under mu

	// ctx ends the worker's own goroutines, work the attempts'.
	ctx, work          context.Context //nolint:containedctx // the process's own life
	endSelf, endWork   context.CancelFunc
	wg, attempts       sync.WaitGroup
	silence            *time.Timer
	startOnce, stopped sync.Once

	mu      sync.Mutex // under it: all of the following; held for moments only
	core    *Core
	running map[uint64]*attempt
	ended   bool
	started bool
	leaving bool
	err     error
	echoed  time.Time
}

type message struct {
	topic   string
	payload []byte
}

// New returns a worker that has not begun.
func New(o Options) (*Worker, error) {
	if o.Name == "" || o.Codec == nil || o.Bus == nil {
		return nil, errors.New("a worker needs a name, a codec and a bus")
	}
	if o.Process == "" {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return nil, fmt.Errorf("name the process: %w", err)
		}
		o.Process = hex.EncodeToString(b[:])
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	o.Concurrency = cmp.Or(o.Concurrency, 8)
	o.Lease = cmp.Or(o.Lease, 15*time.Second)
	o.HeartbeatEvery = cmp.Or(o.HeartbeatEvery, 3*time.Second)
	o.SchemaEvery = cmp.Or(o.SchemaEvery, time.Hour)
	o.DrainTime = cmp.Or(o.DrainTime, 5*time.Second)
	o.JournalEvery = cmp.Or(o.JournalEvery, 2*time.Second)
	if o.RereadDelays == [2]time.Duration{} {
		o.RereadDelays = [2]time.Duration{5 * time.Second, time.Minute}
	}
	core := NewCore(CoreOptions{Worker: o.Name, Process: o.Process, Version: o.Version,
		Portals: slices.Collect(maps.Keys(o.Portals)), Capacity: o.Concurrency, Lease: o.Lease,
		HeartbeatEvery: o.HeartbeatEvery, RepeatMin: o.RepeatMin, RepeatMax: o.RepeatMax, Jitter: mathrand.Float64})
	return &Worker{o: o, log: o.Logger, gate: newGate(), inbox: make(chan message, inboxQueue),
		pages: make(chan struct{}, 1), beats: make(chan struct{}, 1), shows: make(chan struct{}, 1), done: make(chan struct{}),
		joins: map[string]*protocol.Joiner{o.Topics.Commands(o.Name): {}, o.Topics.Answers(o.Name): {}},
		know:  newKnowledge(), use: newUsage(o.Limits), pulls: journals(o.Journals), core: core, running: map[uint64]*attempt{}}, nil
}

// Start begins the heartbeats and returns; the daemon's answers do the rest.
func (w *Worker) Start(ctx context.Context) error {
	w.startOnce.Do(func() {
		own := context.WithoutCancel(ctx)
		w.ctx, w.endSelf = context.WithCancel(own)
		w.work, w.endWork = context.WithCancel(own)
		w.silence = time.AfterFunc(w.o.Lease/2, w.regate)
		w.mu.Lock()
		w.started = true
		w.mu.Unlock()
		out := make(chan Outgoing)
		w.wg.Go(w.listen)
		w.wg.Go(w.beat)
		w.wg.Go(w.show)
		w.wg.Go(func() { w.pump(out) })
		for _, j := range w.pulls {
			w.wg.Go(func() { w.pull(j) }) //nolint:contextcheck // as below
		}
		for range publishers {
			w.wg.Go(func() { w.publish(out) }) //nolint:contextcheck // it lives as long as the worker
		}
	})
	return nil
}

// Done is closed when the worker cannot go on by itself; Err says why. Stop has
// to be called all the same.
func (w *Worker) Done() <-chan struct{} { return w.done }

// Err is ErrDisplaced, with the daemon's words, once Done is closed.
func (w *Worker) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Stop lets go: nothing more is fetched, pages in flight get their answer
// within the drain time, and the daemon is told, so that the runs go on
// elsewhere at once. It returns when everything has ended.
func (w *Worker) Stop(ctx context.Context) error {
	w.stopped.Do(func() { w.stop(ctx) })
	return nil
}

func (w *Worker) stop(ctx context.Context) {
	w.mu.Lock()
	started := w.started
	w.leaving = true
	w.mu.Unlock()
	w.gate.stop()
	if !started {
		return
	}
	w.silence.Stop()
	drained := make(chan struct{})
	w.wg.Go(func() {
		w.attempts.Wait()
		close(drained)
	})
	bound := time.NewTimer(w.o.DrainTime)
	defer bound.Stop()
	select {
	case <-drained:
	case <-bound.C:
	case <-ctx.Done():
	}
	w.endWork()
	<-drained
	w.mu.Lock()
	w.core.Leave()
	displaced := w.err != nil
	w.mu.Unlock()
	if !displaced && w.o.Bus.Connected() {
		// The topic of a displaced process belongs to the other by now.
		w.heartbeat(ctx, 1)
		w.presence(ctx, "offline")
	}
	w.endSelf()
	w.wg.Wait()
}

// Message takes what came in on one of the worker's topics. It never blocks,
// and may be called from any goroutine.
func (w *Worker) Message(topic string, payload []byte) {
	select {
	case w.inbox <- message{topic, payload}:
	default:
		w.log.Debug("inbox is full, a message was dropped", "topic", topic)
	}
}

// Up is called whenever the connection to the broker is there: the daemon hears
// of the process, and all that is in flight is sent again. It never blocks.
func (w *Worker) Up() {
	w.mu.Lock()
	w.core.Reconnected(time.Now())
	w.mu.Unlock()
	wake(w.shows)
	wake(w.beats)
	wake(w.pages)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (w *Worker) listen() {
	for {
		select {
		case m := <-w.inbox:
			w.handle(m)
		case <-w.ctx.Done():
			return
		}
	}
}

func (w *Worker) handle(m message) {
	// What it is a part of is whole later, or comes again.
	if m.topic == w.o.Topics.Commands(w.o.Name) || m.topic == w.o.Topics.Answers(w.o.Name) {
		if m.payload = w.joins[m.topic].Add(m.payload); m.payload == nil {
			return
		}
	}
	switch m.topic {
	case w.o.Topics.Commands(w.o.Name):
		c, err := protocol.Unmarshal[protocol.Command](m.payload)
		if err != nil {
			w.log.Warn("a command does not decode", "error", err)
			return
		}
		w.take(func(now time.Time) []Event { return w.core.Command(now, c) })
	case w.o.Topics.Answers(w.o.Name):
		a, err := protocol.Unmarshal[protocol.Answer](m.payload)
		if err != nil {
			w.log.Warn("an answer does not decode", "error", err)
			return
		}
		w.take(func(now time.Time) []Event { return w.core.Answer(now, a) })
	case w.o.Topics.Worker(w.o.Name):
		w.echo(m.payload)
	}
}

// echo puts the retained presence right where another one replaced it: the
// last will of a process before, for one.
func (w *Worker) echo(payload []byte) {
	p, err := protocol.Unmarshal[protocol.Presence](payload)
	now := time.Now()
	w.mu.Lock()
	wrong := (err != nil || p.Process != w.o.Process || p.State != "online") &&
		!w.leaving && w.err == nil && now.Sub(w.echoed) >= time.Second
	if wrong {
		w.echoed = now
	}
	w.mu.Unlock()
	if wrong {
		wake(w.shows)
	}
}

// take lets the core have a message and does what follows from it.
func (w *Worker) take(f func(time.Time) []Event) {
	w.mu.Lock()
	before := w.core.given()
	events := f(time.Now())
	changed := w.core.given() != before
	for _, e := range events {
		changed = w.do(e) || changed
	}
	w.mu.Unlock()
	w.regate()
	wake(w.pages)
	if changed {
		wake(w.beats)
	}
}

// do acts on an event, under mu; it tells whether the daemon should hear of the
// change at once.
func (w *Worker) do(e Event) bool {
	switch e := e.(type) {
	case Start:
		if w.leaving {
			w.core.Finished(e.Attempt) // the last heartbeat gives it back
			return false
		}
		a := newAttempt(w, e)
		w.running[e.Attempt] = a
		w.attempts.Go(a.run)
	case AddRanges:
		if a := w.running[e.Attempt]; a != nil {
			a.add(e.Ranges)
		}
	case Answered:
		if a := w.running[e.Attempt]; a != nil {
			a.answer(e)
		}
		return false
	case Cancel:
		if a := w.running[e.Attempt]; a != nil {
			a.log.Info("the attempt ends", "reason", e.Reason)
			a.cancel(errOver)
		}
	case Journals:
		w.places(e.Places)
		return false
	case Displaced:
		w.err = ErrDisplaced
		if e.Reason != "" {
			w.err = fmt.Errorf("%w: %s", ErrDisplaced, e.Reason)
		}
		if !w.ended {
			w.ended = true
			close(w.done)
		}
	}
	return true
}

// regate opens or closes the way to HubSpot by when the daemon was last heard.
// It is judged and done in one: the timer of a silence and the message that ends
// it come at the same time, and the later judgement has to be the one that stands.
func (w *Worker) regate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	open := w.core.MayFetch(now) && !w.leaving
	if open {
		w.silence.Reset(w.core.SilentAt().Sub(now))
	}
	w.gate.set(open)
}

// pump hands the pages that are due to the publishers.
func (w *Worker) pump(out chan<- Outgoing) {
	defer close(out)
	for {
		var due []Outgoing
		var next time.Time
		if w.o.Bus.Connected() { // else Up comes, and makes all due
			w.mu.Lock()
			due, next = w.core.Due(time.Now())
			w.mu.Unlock()
		}
		for _, o := range due {
			select {
			case out <- o:
			case <-w.ctx.Done():
				return
			}
		}
		wait := w.o.Lease
		if !next.IsZero() {
			wait = max(time.Millisecond, time.Until(next))
		}
		if !pause(w.ctx, wait, w.pages) {
			return
		}
	}
}

func (w *Worker) publish(out <-chan Outgoing) {
	for o := range out {
		ctx, cancel := context.WithTimeout(w.ctx, publishBound)
		err := w.o.Bus.Publish(ctx, w.o.Topics.Pages(w.o.Name), o.Encoded, o.Name, 1, false, w.o.Lease)
		cancel()
		if err == nil {
			failpoint.Hit(failpoint.Published)
		}
		if err != nil && w.ctx.Err() == nil {
			w.log.Debug("send a page", "attempt", o.Attempt, "range", o.Range, "seq", o.Seq, "error", err)
		}
	}
}

func (w *Worker) beat() {
	for {
		if w.o.Bus.Connected() {
			w.heartbeat(w.ctx, 0)
		}
		if !pause(w.ctx, w.o.HeartbeatEvery, w.beats) {
			return
		}
	}
}

// show publishes presence: apart from what reads the inbox, which waits for no
// broker.
func (w *Worker) show() {
	for {
		select {
		case <-w.shows:
		case <-w.ctx.Done():
			return
		}
		w.mu.Lock()
		here := !w.leaving && w.err == nil
		w.mu.Unlock()
		if here {
			w.presence(w.ctx, "online")
		}
	}
}

// pause waits for a time or a wake-up; false when the context has ended.
func pause(ctx context.Context, d time.Duration, sooner <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-sooner:
	case <-ctx.Done():
		return false
	}
	return true
}
