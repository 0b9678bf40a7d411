package daemon

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

const (
	// lookEvery bounds how often it is looked for what has changed; nobody looks
	// while nobody listens.
	lookEvery = 300 * time.Millisecond
	// keptLines is how much of the log is at hand.
	keptLines = 2000
	// streamLines are kept of each stream besides, fewer where there are many: no
	// more than allStreamLines in all, and of so many streams.
	streamLines    = 200
	allStreamLines = 10_000
	mostStreams    = 1000
	// eventQueue is how far behind a reader of events may be. Lines of the log
	// leave a quarter of it to the rest.
	eventQueue = 1024
	lineQueue  = eventQueue / 4 * 3
)

// thing is what events tell of, as it is now.
type thing struct {
	kind, name string
	// value is what its route gives, same what of it counts as a change.
	value, same any
	// moved tells a change that same cannot show; was is the value that was told
	// before.
	moved func(was any) bool
}

// told is the newest event of a thing.
type told struct {
	event client.Event
	value any
	same  []byte
}

// loggedLine is a line of the log with its place among the events.
type loggedLine struct {
	id   uint64
	line client.Line
}

// events tells those who listen what has changed. Of each thing it keeps the
// newest event, so that a reader that comes back misses no thing however long
// it was away: what has changed several times comes once, as it is now. Of the
// log it keeps the last lines.
type events struct {
	look func(context.Context) ([]thing, error)

	woken chan struct{}
	quit  chan struct{}
	wg    sync.WaitGroup

	looking sync.Mutex // one looks at a time

	mu    sync.Mutex
	last  uint64 // the id that was given last
	kept  map[string]told
	lines []loggedLine
	// ofStream are the last lines of each stream, kept beside, so that what others
	// say does not push them out.
	ofStream map[string][]loggedLine
	subs     map[*subscriber]struct{}
}

// subscriber is one reader. Its channel is written to and closed under the lock
// of events alone.
type subscriber struct {
	ch      chan client.Event
	dropped int // lines of the log since the last one that it got
}

// newEvents returns what knows of nothing yet. Ids begin at the time, so that
// those of an earlier life of the daemon are smaller.
func newEvents(look func(context.Context) ([]thing, error)) *events {
	return &events{look: look, woken: make(chan struct{}, 1), quit: make(chan struct{}), last: uint64(time.Now().UnixMicro()),
		kept: map[string]told{}, ofStream: map[string][]loggedLine{}, subs: map[*subscriber]struct{}{}}
}

// wake says that something may have changed; it never blocks.
func (e *events) wake() { poke(e.woken) }

func (e *events) start(ctx context.Context) {
	e.wg.Go(func() {
		t := time.NewTicker(lookEvery)
		defer t.Stop()
		for {
			select {
			case <-e.quit:
				return
			case <-t.C:
			}
			select {
			case <-e.woken:
				if e.listeners() > 0 {
					e.refresh(ctx)
				}
			default:
			}
		}
	})
}

// stop ends the looking and every subscription.
func (e *events) stop() {
	close(e.quit)
	e.wg.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.subs {
		e.drop(s)
	}
}

func (e *events) listeners() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.subs)
}

// Subscribe gives events after the one named, beginning with the daemon itself.
// The channel is closed when ctx ends, the daemon stops or its reader is too
// slow.
func (e *events) Subscribe(ctx context.Context, last uint64) <-chan client.Event {
	e.refresh(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	backlog := e.since(last)
	s := &subscriber{ch: make(chan client.Event, len(backlog)+eventQueue)}
	for _, ev := range backlog {
		s.ch <- ev
	}
	select {
	case <-e.quit:
		close(s.ch)
		return s.ch
	default:
	}
	e.subs[s] = struct{}{}
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.drop(s)
	})
	return s.ch
}

// since is what a reader lacks that has all up to last; 0 is somebody new, who
// lacks nothing, and an id that was never given lacks everything.
func (e *events) since(last uint64) []client.Event {
	var out []client.Event
	fresh := last == 0
	if last > e.last {
		last = 0
	}
	if !fresh {
		for _, k := range e.kept {
			if k.event.ID > last && k.event.Type != client.EventDaemon {
				out = append(out, k.event)
			}
		}
		for _, l := range e.lines {
			if l.id > last {
				out = append(out, lineEvent(l))
			}
		}
		slices.SortFunc(out, func(a, b client.Event) int { return cmp.Compare(a.ID, b.ID) })
	}
	d, ok := e.kept[client.EventDaemon+"/"]
	if !ok {
		return out
	}
	first := d.event
	if len(out) > 0 {
		first.ID = min(first.ID, out[0].ID-1) // so that ids grow
	}
	return slices.Insert(out, 0, first)
}

// refresh looks at everything and tells what has changed since the last look.
func (e *events) refresh(ctx context.Context) {
	e.looking.Lock()
	defer e.looking.Unlock()
	things, err := e.look(ctx)
	if err != nil {
		return // it is looked for again
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	there := make(map[string]bool, len(things))
	for _, x := range things {
		there[x.kind+"/"+x.name] = true
	}
	for key, k := range e.kept {
		if there[key] {
			continue
		}
		delete(e.kept, key)
		if k.event.Type != client.EventRun { // which goes on as the last one
			delete(e.kept, client.EventDaemon+"/") // told of again: what there is has changed
		}
	}
	for _, x := range things {
		e.tell(x)
	}
}

// tell sends an event where the thing is not as it was told; e.mu is held.
func (e *events) tell(x thing) {
	key := x.kind + "/" + x.name
	same, err := json.Marshal(x.same)
	if err != nil {
		return // what the API cannot show either
	}
	before, known := e.kept[key]
	if known && bytes.Equal(same, before.same) && (x.moved == nil || !x.moved(before.value)) {
		return
	}
	data, err := json.Marshal(x.value)
	if err != nil {
		return
	}
	e.last++
	ev := client.Event{ID: e.last, Type: x.kind, Data: data}
	e.kept[key] = told{event: ev, value: x.value, same: same}
	for s := range e.subs {
		e.send(s, ev)
	}
}

// send gives an event to a reader, and lets one go that is too slow for it;
// e.mu is held.
func (e *events) send(s *subscriber, ev client.Event) {
	select {
	case s.ch <- ev:
	default:
		e.drop(s)
	}
}

// drop ends a subscription, once; e.mu is held.
func (e *events) drop(s *subscriber) {
	if _, ok := e.subs[s]; ok {
		delete(e.subs, s)
		close(s.ch)
	}
}
