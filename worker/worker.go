// Package worker is a worker process: it takes commands, runs attempts, sends
// pages and waits for their commits. It decides nothing that lasts; all that
// it knows of an attempt came with the fetch.
package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot"
)

// ErrDisplaced ends a worker whose name another process has taken.
var ErrDisplaced = errors.New("another process has taken this worker's name; give one of them another with --name")

// Bus is the worker's connection to the broker. Publish returns when the
// broker has the message, or with an error that leaves open whether it has.
type Bus interface {
	Publish(ctx context.Context, topic string, payload []byte, qos byte, retain bool, expiry time.Duration) error
	// MaxPacket is the greatest message that the broker takes, 0 unknown.
	MaxPacket() int
	Connected() bool
}

// Options are what a worker is made of.
type Options struct {
	Name     string
	Version  string
	Portals  map[string]*hubspot.Client
	Capacity int
	Topics   protocol.Topics
	Codec    *protocol.Codec
	Bus      Bus
	Logger   hclog.Logger

	Lease     time.Duration // 15 s
	Heartbeat time.Duration // 3 s
	Repeat    time.Duration // first repeat of a page (2 s), doubling to a lease
	SchemaAge time.Duration // definitions older than this are read again (1 h)
}

// keptAttempts bounds how many ended attempts are remembered, so that a late
// fetch starts none of them again.
const keptAttempts = 1000

// Worker is one process of a worker. Command and Answer may be called from any
// goroutine and never block.
type Worker struct {
	o       Options
	process string
	log     hclog.Logger

	ctx    context.Context //nolint:containedctx // the process's own life; it ends with Stop
	cancel context.CancelFunc
	wg     sync.WaitGroup
	beats  chan struct{} // asks for a heartbeat at once
	ended  chan struct{}
	once   sync.Once
	err    error

	mu       sync.Mutex
	store    string
	epoch    uint64
	heard    time.Time // when the daemon was last heard
	attempts map[uint64]*attempt
	failed   map[uint64]protocol.Problem
	gone     []uint64
	leaving  bool
}

// New returns a worker that has not begun.
func New(o Options) (*Worker, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Lease, 15*time.Second)
	def(&o.Heartbeat, 3*time.Second)
	def(&o.Repeat, 2*time.Second)
	def(&o.SchemaAge, time.Hour)
	if o.Capacity == 0 {
		o.Capacity = 8
	}
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, fmt.Errorf("name the process: %w", err)
	}
	return &Worker{o: o, process: hex.EncodeToString(b[:]), log: o.Logger, beats: make(chan struct{}, 1),
		ended: make(chan struct{}), attempts: map[uint64]*attempt{}, failed: map[uint64]protocol.Problem{}}, nil
}

// Process names this process; no other has the same.
func (w *Worker) Process() string { return w.process }

// Start begins the heartbeats; the daemon does the rest.
func (w *Worker) Start(ctx context.Context) {
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	w.wg.Go(w.beat)
}

// Done is closed when the worker has ended by itself; Err says why.
func (w *Worker) Done() <-chan struct{} { return w.ended }

// Err is why the worker ended by itself.
func (w *Worker) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Stop ends the attempts, tells the daemon so that their runs go on elsewhere
// at once, and waits for all that it started.
func (w *Worker) Stop(ctx context.Context) {
	w.mu.Lock()
	w.leaving = true
	for n, a := range w.attempts {
		w.drop(n, a)
	}
	w.mu.Unlock()
	w.heartbeat(ctx)
	w.presence(ctx, "offline")
	w.cancel()
	w.wg.Wait()
}

// Reconnected is called when the connection is up: the daemon hears at once.
func (w *Worker) Reconnected() {
	w.wake()
	w.wg.Go(func() { w.presence(w.ctx, "online") })
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.attempts {
		for _, r := range a.ranges {
			select {
			case r.repeat <- struct{}{}:
			default:
			}
		}
	}
}

func (w *Worker) wake() {
	select {
	case w.beats <- struct{}{}:
	default:
	}
}

func (w *Worker) beat() {
	t := time.NewTicker(w.o.Heartbeat)
	defer t.Stop()
	for {
		w.heartbeat(w.ctx)
		select {
		case <-t.C:
		case <-w.beats:
		case <-w.ctx.Done():
			return
		}
	}
}

func (w *Worker) heartbeat(ctx context.Context) {
	if !w.o.Bus.Connected() {
		return
	}
	payload, err := json.Marshal(w.state())
	if err != nil {
		w.log.Error("encode a heartbeat", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, w.o.Heartbeat)
	defer cancel()
	if err := w.o.Bus.Publish(ctx, w.o.Topics.Heartbeat(w.o.Name), payload, 0, false, w.o.Heartbeat); err != nil {
		w.log.Debug("send a heartbeat", "error", err)
	}
}

// state is what a heartbeat lists.
func (w *Worker) state() protocol.Heartbeat {
	w.mu.Lock()
	defer w.mu.Unlock()
	hb := protocol.Heartbeat{Worker: w.o.Name, Process: w.process, Version: w.o.Version, Store: w.store,
		Time: time.Now().UTC().Format(time.RFC3339), Capacity: w.o.Capacity, Leaving: w.leaving}
	for name := range w.o.Portals {
		hb.Portals = append(hb.Portals, name)
	}
	slices.Sort(hb.Portals)
	for _, a := range w.attempts {
		hb.Attempts = append(hb.Attempts, a.report())
	}
	for n, p := range w.failed {
		hb.Failed = append(hb.Failed, protocol.AttemptFailure{Attempt: n, Problem: p})
	}
	return hb
}

func (w *Worker) presence(ctx context.Context, state string) {
	payload, err := w.Presence(state)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, w.o.Heartbeat)
	defer cancel()
	if err := w.o.Bus.Publish(ctx, w.o.Topics.Worker(w.o.Name), payload, 1, true, 0); err != nil {
		w.log.Debug("say who is here", "error", err)
	}
}

// Presence is the payload of the worker's retained topic; "offline" is its
// last will.
func (w *Worker) Presence(state string) ([]byte, error) {
	p := protocol.Presence{State: state, Process: w.process, Version: w.o.Version, Capacity: w.o.Capacity,
		Time: time.Now().UTC().Format(time.RFC3339)}
	for name := range w.o.Portals {
		p.Portals = append(p.Portals, name)
	}
	slices.Sort(p.Portals)
	return json.Marshal(p)
}

// Command takes a command in.
func (w *Worker) Command(payload []byte) {
	c, err := protocol.Unmarshal[protocol.Command](payload)
	if err != nil {
		w.log.Warn("a command does not decode", "error", err)
		return
	}
	if c.Process != w.process {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listen(c.Store, c.Epoch)
	switch c.Type {
	case protocol.CancelCommand:
		delete(w.failed, c.Attempt)
		w.drop(c.Attempt, w.attempts[c.Attempt])
	case protocol.FetchCommand:
		w.fetch(&c)
	}
}

// fetch starts an attempt, or brings ranges to one that runs. One that was
// finished, failed or dropped is never started again.
func (w *Worker) fetch(c *protocol.Command) {
	_, failed := w.failed[c.Attempt]
	if c.Fetch == nil || w.leaving || failed || slices.Contains(w.gone, c.Attempt) {
		return
	}
	if a := w.attempts[c.Attempt]; a != nil {
		a.add(c.Fetch.Ranges)
		return
	}
	client := w.o.Portals[c.Fetch.Portal]
	if client == nil {
		w.failed[c.Attempt] = protocol.Problem{Type: "portal-unknown", Title: "the worker does not serve the portal",
			Detail: "portal " + c.Fetch.Portal, Hint: "give the worker its credentials in its configuration"}
		w.wake()
		return
	}
	a := newAttempt(w, c, client)
	w.attempts[c.Attempt] = a
	w.wg.Go(a.run)
	w.wake()
}

// listen notes that the daemon is there. Attempts of another store or of an
// epoch before are of no use to it.
func (w *Worker) listen(store string, epoch uint64) {
	w.heard = time.Now()
	if store == w.store && epoch == w.epoch {
		return
	}
	for n, a := range w.attempts {
		w.drop(n, a)
	}
	w.store, w.epoch = store, epoch
}

// drop ends an attempt; w.mu is held.
func (w *Worker) drop(n uint64, a *attempt) {
	if a != nil {
		a.cancel()
		delete(w.attempts, n)
	}
	if !slices.Contains(w.gone, n) {
		w.gone = append(w.gone, n)
		if len(w.gone) > keptAttempts {
			w.gone = w.gone[1:]
		}
	}
}

// Answer takes an answer in.
func (w *Worker) Answer(payload []byte) {
	a, err := protocol.Unmarshal[protocol.Answer](payload)
	if err != nil {
		w.log.Warn("an answer does not decode", "error", err)
		return
	}
	if a.Process != w.process {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listen(a.Store, a.Epoch)
	if a.Type == protocol.Displaced {
		w.once.Do(func() {
			w.err = ErrDisplaced
			close(w.ended)
		})
		return
	}
	at := w.attempts[a.Attempt]
	if at == nil {
		return
	}
	if a.Type == protocol.Fenced {
		w.log.Info("an attempt was fenced", "stream", at.fetch.Stream, "attempt", a.Attempt, "reason", a.Reason)
		w.drop(a.Attempt, at)
		w.wake()
		return
	}
	at.add(a.Ranges)
	if r := at.ranges[a.Range]; r != nil {
		select {
		case r.answers <- a:
		default:
		}
	}
}

// finish takes an attempt off the list; with a problem it is listed as failed
// until the daemon has confirmed that.
func (w *Worker) finish(a *attempt, p *protocol.Problem) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.attempts[a.n] != a {
		return
	}
	if p != nil {
		w.failed[a.n] = *p
	}
	w.drop(a.n, a)
	w.wake()
}

// mayFetch tells whether the daemon was heard within half a lease; where it
// was not, another worker may soon hold the portal.
func (w *Worker) mayFetch() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.heard) < w.o.Lease/2
}
