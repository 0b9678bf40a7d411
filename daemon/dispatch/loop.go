package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// ErrStopped is returned to calls that come after Stop, and to commands that come
// after Closing.
var ErrStopped = errors.New("the daemon is stopping")

// Bounds of the loop's queues: pages beyond them are answered busy, heartbeats
// dropped, since another follows.
const (
	pageQueue  = 64
	beatQueue  = 256
	groupPages = 16
)

// LoopOptions are what a Loop needs. Send and Changed must not block.
type LoopOptions struct {
	Dispatcher *Dispatcher
	Send       func(Out)
	// Changed is called after every step that may have changed what views
	// show.
	Changed func()
	Now     func() time.Time
	Tick    time.Duration // 500 ms by default
	Logger  hclog.Logger
}

// Loop is the one goroutine that writes: it takes pages, heartbeats and calls
// in turn and gives them to the dispatcher.
type Loop struct {
	o     LoopOptions
	pages chan Incoming
	beats chan beat
	calls chan func(*Dispatcher, time.Time)
	quit  chan struct{}
	done  chan struct{}

	once   sync.Once
	mu     sync.Mutex
	heard  map[beatKey]time.Time
	unread map[string]int // pages that were received and not yet read, by worker
	failed error
	since  time.Time // of failed
}

type beat struct {
	hb *protocol.Heartbeat
	at time.Time
}

type beatKey struct{ worker, process string }

// NewLoop returns a loop that has not begun.
func NewLoop(o LoopOptions) *Loop {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Tick == 0 {
		o.Tick = 500 * time.Millisecond
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	return &Loop{o: o, pages: make(chan Incoming, pageQueue), beats: make(chan beat, beatQueue),
		calls: make(chan func(*Dispatcher, time.Time)), quit: make(chan struct{}), done: make(chan struct{}),
		heard: map[beatKey]time.Time{}, unread: map[string]int{}}
}

// Start begins the goroutine.
func (l *Loop) Start() { go l.run() }

// Stop ends it after what it is doing; queued pages are committed first. It may
// be called twice.
func (l *Loop) Stop() {
	l.once.Do(func() { close(l.quit) })
	<-l.done
}

// Received says that a page of a worker has come. Which process sent it is
// known when it is read; until Page, Heard or Lost says so the worker's lease
// does not end.
func (l *Loop) Received(worker string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unread[worker]++
}

// Lost says that a page that was received names nobody.
func (l *Loop) Lost(worker string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wasRead(worker)
}

// Heard says that a page that was received at a time is of a process, whose
// lease it renews, and is not taken.
func (l *Loop) Heard(worker, process string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wasRead(worker)
	l.renew(worker, process, at)
}

// Page queues a page that was received at a time and renews its process's lease.
// It returns false when the queue is full: the page was dropped, and the answer
// to it is busy.
func (l *Loop) Page(in Incoming, at time.Time) bool {
	if in.Page != nil {
		l.Heard(in.Worker, in.Page.Process, at)
	}
	select {
	case l.pages <- in:
		return true
	default:
		return false
	}
}

// Heartbeat queues a heartbeat and renews its process's lease. When the queue
// is full it is dropped; another follows.
func (l *Loop) Heartbeat(hb *protocol.Heartbeat) {
	now := l.o.Now()
	l.mu.Lock()
	l.renew(hb.Worker, hb.Process, now)
	l.mu.Unlock()
	select {
	case l.beats <- beat{hb, now}:
	default:
	}
}

// renew notes when a process was heard of; l.mu is held.
func (l *Loop) renew(worker, process string, at time.Time) {
	k := beatKey{worker, process}
	if at.After(l.heard[k]) {
		l.heard[k] = at
	}
}

// wasRead notes that one page less waits; l.mu is held.
func (l *Loop) wasRead(worker string) {
	if l.unread[worker]--; l.unread[worker] <= 0 {
		delete(l.unread, worker)
	}
}

// Do runs f on the loop's goroutine and returns what it returned; its messages
// are sent. It is how everything but pages and heartbeats reaches the ledger.
func (l *Loop) Do(ctx context.Context, f func(d *Dispatcher, now time.Time) ([]Out, error)) error {
	errs := make(chan error, 1)
	call := func(d *Dispatcher, now time.Time) {
		outs, err := f(d, now)
		l.send(outs)
		errs <- err
	}
	select {
	case l.calls <- call:
		return <-errs
	case <-l.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Waiting counts the pages that were received and are not yet decided: those
// that nobody has read, and those in the queue.
func (l *Loop) Waiting() (unread, queued int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.unread {
		unread += n
	}
	return unread, len(l.pages)
}

// Err is why the ledger cannot be written, nil when it can.
func (l *Loop) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

func (l *Loop) run() {
	defer close(l.done)
	ticker := time.NewTicker(l.o.Tick)
	defer ticker.Stop()
	l.tick()
	for {
		// Heartbeats come before pages: a lease must not end in a queue.
		select {
		case b := <-l.beats:
			l.beat(b)
			continue
		default:
		}
		select {
		case b := <-l.beats:
			l.beat(b)
		case f := <-l.calls:
			l.leases()
			f(l.o.Dispatcher, l.o.Now())
			l.o.Changed()
		case in := <-l.pages:
			l.commit(l.drain(in))
		case <-ticker.C:
			l.tick()
		case <-l.quit:
			for {
				select {
				case in := <-l.pages:
					l.commit(l.drain(in))
				default:
					return
				}
			}
		}
	}
}

func (l *Loop) drain(first Incoming) []Incoming {
	batch := []Incoming{first}
	for len(batch) < groupPages {
		select {
		case in := <-l.pages:
			batch = append(batch, in)
		default:
			return batch
		}
	}
	return batch
}

func (l *Loop) commit(batch []Incoming) {
	l.leases()
	for len(batch) > 0 {
		outs, taken, err := l.o.Dispatcher.Pages(l.o.Now(), batch)
		if err != nil && len(batch) > 1 {
			outs, err = l.apart(batch)
			taken = len(batch)
		}
		l.note(err, true)
		l.send(outs)
		if err != nil {
			return // who is not answered repeats
		}
		batch = batch[taken:]
	}
	l.tick()
}

// apart commits pages one by one that could not be committed together: what one
// of them is about may be what cannot be read, and it fails none but that one. The
// error is of the last that failed.
func (l *Loop) apart(batch []Incoming) (outs []Out, failed error) {
	for i := range batch {
		own, _, err := l.o.Dispatcher.Pages(l.o.Now(), batch[i:i+1])
		if err != nil {
			failed = err
		}
		outs = append(outs, own...)
	}
	return outs, failed
}

func (l *Loop) beat(b beat) {
	l.leases()
	outs, err := l.o.Dispatcher.Heartbeat(b.at, b.hb)
	l.note(err, false)
	l.send(outs)
	l.tick()
}

func (l *Loop) tick() {
	l.leases()
	outs, err := l.o.Dispatcher.Tick(l.o.Now())
	l.note(err, false)
	l.send(outs)
	l.o.Changed()
}

// leases hands over when messages were received, and whose were not yet read.
func (l *Loop) leases() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.o.Dispatcher.Unread(l.unread)
	for k, at := range l.heard {
		l.o.Dispatcher.Heard(k.worker, k.process, at)
		delete(l.heard, k)
	}
}

func (l *Loop) send(outs []Out) {
	for _, o := range outs {
		l.o.Send(o)
	}
}

// believeAfter is how long a ledger must have failed at nothing before it
// counts as well again without a page that proves it.
const believeAfter = 30 * time.Second

// note keeps the state of the ledger's disk, and logs when it changes. Most
// steps write nothing, and prove nothing by going well; a committed page does.
func (l *Loop) note(err error, wrote bool) {
	now := l.o.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		if l.failed == nil {
			l.o.Logger.Error("the ledger cannot be written", "error", err)
		}
		l.failed, l.since = err, now
	case l.failed != nil && (wrote || now.Sub(l.since) > believeAfter):
		l.failed = nil
		l.o.Logger.Info("the ledger can be written again")
	}
}
