package dispatch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// looped is a loop over a bench's dispatcher, and what it sends.
func looped(t *testing.T, b *bench) (*Loop, func() []Out) {
	t.Helper()
	var mu sync.Mutex
	var outs []Out
	l := NewLoop(LoopOptions{Dispatcher: b.d, Logger: hclog.NewNullLogger(), Send: func(o Out) {
		mu.Lock()
		defer mu.Unlock()
		outs = append(outs, o)
	}})
	return l, func() []Out {
		mu.Lock()
		defer mu.Unlock()
		got := outs
		outs = nil
		return got
	}
}

func TestLoopCarriesARunToItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.now = time.Now()
		b.restart()
		l, sent := looped(t, b)
		l.Start()
		defer l.Stop()
		l.Heartbeat(&protocol.Heartbeat{Worker: "w", Process: "p1", Portals: []string{"main"}, Capacity: 4})
		synctest.Wait()
		attempt := fetches(sent())["backfill"]
		if attempt == 0 {
			t.Fatal("nothing is handed out")
		}
		p := protocol.Page{Store: "store", Epoch: 1, Process: "p1", Attempt: attempt, Kind: protocol.RecordsPage, Last: true, Began: 5, List: "l"}
		if !l.Page(Incoming{Worker: "w", Page: &p, Digest: "d"}, time.Now()) {
			t.Fatal("the first page finds the queue full")
		}
		synctest.Wait()
		archived := p
		archived.Range, archived.Kind = 1, protocol.ListingPage
		sent()
		l.Page(Incoming{Worker: "w", Page: &archived, Digest: "e"}, time.Now())
		synctest.Wait()
		if outs := sent(); len(outs) == 0 || outs[0].Answer == nil || !outs[0].Answer.RunEnded {
			t.Fatalf("the last page is answered with %+v", outs)
		}
		err := l.Do(t.Context(), func(d *Dispatcher, _ time.Time) ([]Out, error) {
			if !d.streams[modelStream].Backfilled {
				return nil, errors.New("the walk did not end")
			}
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// Pages that a stop finds in the queue are committed, more than a group of
// them, and not one by one; calls that come later are told.
func TestLoopCommitsWhatItHasWhenItStops(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.now = time.Now()
	b.restart()
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	l, sent := looped(t, b)
	from := ""
	const pages = 2*groupPages + 3
	for seq := range pages {
		p := protocol.Page{Store: "store", Epoch: 1, Process: "p1", Attempt: attempt, Seq: uint64(seq), From: from, To: from + "x",
			Kind: protocol.RecordsPage, Began: 5, List: "l"}
		from = p.To
		if !l.Page(Incoming{Worker: "w", Page: &p, Digest: from}, time.Now()) {
			t.Fatal("the queue is full")
		}
	}
	for range pageQueue {
		l.Page(Incoming{Worker: "w"}, time.Now())
	}
	if l.Page(Incoming{Worker: "w"}, time.Now()) {
		t.Error("the queue has no end")
	}
	commits := 0
	b.store.committed = func() { commits++ }
	l.Start()
	l.Stop()
	l.Stop()
	if commits == 0 || commits > pages/2 {
		t.Errorf("%d commits of %d pages that waited", commits, pages)
	}
	committed := 0
	for _, o := range sent() {
		if o.Answer != nil && o.Answer.Type == protocol.Committed {
			committed++
		}
	}
	if committed != pages {
		t.Errorf("%d of %d pages were committed", committed, pages)
	}
	if err := l.Do(t.Context(), nil); !errors.Is(err, ErrStopped) {
		t.Errorf("a call after the stop: %v", err)
	}
}

// A disk that fails shows until something was really written, and nobody is
// answered meanwhile.
func TestLoopShowsThatTheDiskFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.now = time.Now()
		b.restart()
		attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
		var broken sync.Mutex
		fail := true
		b.store.failCommit = func() bool { broken.Lock(); defer broken.Unlock(); return fail }
		l, sent := looped(t, b)
		l.Start()
		defer l.Stop()
		p := protocol.Page{Store: "store", Epoch: 1, Process: "p1", Attempt: attempt, Kind: protocol.RecordsPage, To: "x", Began: 5, List: "l"}
		send := func() { l.Page(Incoming{Worker: "w", Page: &p, Digest: "d"}, time.Now()); synctest.Wait() }
		send()
		if l.Err() == nil || len(sent()) != 0 {
			t.Fatal("a page that was not committed is answered, or the failure is not shown")
		}
		l.Heartbeat(&protocol.Heartbeat{Worker: "w", Process: "p1", Portals: []string{"main"}, Capacity: 4,
			Attempts: []protocol.AttemptReport{{Attempt: attempt, Ranges: []protocol.RangeReport{{ID: 0}}}}})
		synctest.Wait()
		if l.Err() == nil {
			t.Error("a heartbeat that writes nothing proves that the disk works")
		}
		broken.Lock()
		fail = false
		broken.Unlock()
		send()
		if l.Err() != nil {
			t.Errorf("the disk works again: %v", l.Err())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Do(ctx, func(*Dispatcher, time.Time) ([]Out, error) { return nil, nil }); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A page of which something stored cannot be read holds up no other page that
// waits with it, wherever it stands among them.
func TestAPageThatCannotBeStoredHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]bool{"first": true, "last": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := filled(t, 3)
			b.now = b.now.Add(30 * time.Second)
			_, outs, err := b.d.Reconcile(b.now, modelStream, false)
			attempts := fetches(append(b.must(outs, err), b.beat(protocol.Heartbeat{})...))
			b.store.unreadable = recordKey(modelStream, "2")
			page := func(kind string, of uint32, id string) Incoming {
				return Incoming{Worker: "w", Digest: kind, Page: &protocol.Page{Store: "store", Epoch: 1, Process: "p1", Attempt: attempts[kind], Range: of,
					Kind: protocol.ListingPage, To: "x", Began: 5, Listing: []protocol.Listed{{ID: id, Version: 9}}}}
			}
			batch := []Incoming{page("incremental", 0, "2"), page("reconcile", 1, "1")}
			if !first {
				slices.Reverse(batch)
			}
			l, sent := looped(t, b)
			l.o.Now = func() time.Time { return b.now }
			for _, in := range batch {
				l.Page(in, b.now)
			}
			l.Start()
			l.Stop()
			answered := map[uint64]protocol.AnswerType{}
			for _, o := range sent() {
				if o.Answer != nil {
					answered[o.Answer.Attempt] = o.Answer.Type
				}
			}
			if len(answered) != 1 || answered[attempts["reconcile"]] != protocol.Committed {
				t.Errorf("of %v are answered: %v", attempts, answered)
			}
			if l.Err() == nil {
				t.Error("that one cannot be stored does not show")
			}
		})
	}
}

// held is a bench whose backfill is held by w, in a loop that has not begun and
// whose clock is the bench's.
func held(t *testing.T) (b *bench, l *Loop, p protocol.Page, sent func() []Out) {
	t.Helper()
	b = newBench(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	l, sent = looped(t, b)
	l.o.Now = func() time.Time { return b.now }
	return b, l, protocol.Page{Store: "store", Epoch: 1, Process: "p1", Attempt: attempt, Kind: protocol.RecordsPage, To: "x", Began: 5, List: "l"}, sent
}

// wait lets time pass, tick by tick.
func (b *bench) wait(l *Loop, d time.Duration) {
	for end := b.now.Add(d); b.now.Before(end); {
		b.now = b.now.Add(time.Second)
		l.tick()
	}
}

// A page renews the lease when it is received: neither the queue to its reader
// nor the one to the ledger costs its worker anything.
func TestLeaseIsRenewedBeforeAnyQueue(t *testing.T) {
	t.Parallel()
	b, l, p, _ := held(t)
	b.wait(l, 14*time.Second)
	received := b.now
	l.Received("w")
	b.wait(l, 10*time.Second)
	if b.d.runOf(modelStream, true).Attempt != p.Attempt {
		t.Fatal("the lease ended while a page waited to be read")
	}
	if !l.Page(Incoming{Worker: "w", Page: &p, Digest: "d"}, received) {
		t.Fatal("the queue is full")
	}
	b.wait(l, 4*time.Second) // 28 s after the heartbeat, 14 after the page
	if b.d.runOf(modelStream, true).Attempt != p.Attempt {
		t.Fatal("the lease ended while a page waited for the ledger")
	}
	b.wait(l, 2*time.Second)
	if b.d.runOf(modelStream, true).Attempt == p.Attempt {
		t.Fatal("a page in the queue renews the lease for ever")
	}
}

func TestPagesThatNameNobodyRenewNothing(t *testing.T) {
	t.Parallel()
	b, l, p, _ := held(t)
	b.wait(l, 14*time.Second)
	l.Received("w")
	l.Lost("w")
	l.Received("w")
	l.Heard("w", "another process", b.now)
	b.wait(l, 3*time.Second)
	if b.d.runOf(modelStream, true).Attempt == p.Attempt {
		t.Fatal("the lease goes on")
	}
}

// A heartbeat comes before the pages that wait: what it says of a process holds
// for them.
func TestHeartbeatsComeBeforePages(t *testing.T) {
	t.Parallel()
	_, l, p, sent := held(t)
	l.Page(Incoming{Worker: "w", Page: &p, Digest: "d"}, l.o.Now())
	l.Heartbeat(&protocol.Heartbeat{Worker: "w", Process: "p2", Portals: []string{"main"}, Capacity: 4})
	l.Start()
	l.Stop()
	for _, o := range sent() {
		if o.Answer != nil && o.Answer.Process == "p1" {
			if o.Answer.Type != protocol.Fenced {
				t.Fatalf("a page of a process that was replaced before is %s", o.Answer.Type)
			}
			return
		}
	}
	t.Fatal("the page was not answered")
}
