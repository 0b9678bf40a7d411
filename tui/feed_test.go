package tui

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// scripted is a feed whose connections are given by the test.
func scripted(f *fake, sessions func(n int, last uint64, yield func(client.Event, error) bool)) *feed {
	var n atomic.Int64
	return newFeed(f, func(ctx context.Context, last uint64) func(func(client.Event, error) bool) {
		return func(yield func(client.Event, error) bool) {
			sessions(int(n.Add(1)), last, yield)
		}
	}, time.Now)
}

func event(t *testing.T, id uint64, kind string, v any) client.Event {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return client.Event{ID: id, Type: kind, Data: b}
}

// A connection that is lost is tried again, later each time, and goes on after
// the last event that came.
func TestFeedComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := &fake{listed: everyState()}
		var lasts []uint64
		var tried []time.Duration
		began := time.Now()
		feed := scripted(f, func(n int, last uint64, yield func(client.Event, error) bool) {
			lasts, tried = append(lasts, last), append(tried, time.Since(began))
			switch n {
			case 1:
				yield(event(t, 7, client.EventDaemon, client.Daemon{Version: "v1"}), nil)
				yield(event(t, 8, client.EventStream, client.Status{Name: "contacts", State: "running"}), nil)
				yield(client.Event{}, errors.New("cut"))
			case 7:
				yield(event(t, 20, client.EventDaemon, client.Daemon{Version: "v1"}), nil)
				<-ctx.Done()
			default:
				yield(client.Event{}, errRefused)
			}
		})
		done := make(chan struct{})
		go func() { defer close(done); feed.run(ctx) }()
		var got []news
		for ups := 0; ups < 1 || len(got) < 2; { // the first time it is up may be overtaken by its end
			n, ok := feed.take(ctx)
			if !ok {
				t.Fatal("it ended")
			}
			got = append(got, n)
			if n.link != nil && n.link.up && len(got) > 2 {
				ups++
			}
		}
		synctest.Wait() // the seventh connection stands
		daemon, contacts := false, false
		for _, n := range got {
			daemon, contacts = daemon || n.daemon != nil, contacts || n.streams["contacts"].State == "running"
			// What came before all was fetched gives way to that.
			contacts = contacts || n.whole != nil && slices.ContainsFunc(n.whole.streams, func(s client.Status) bool { return s.Name == "contacts" && s.State == "running" })
		}
		if !daemon || !contacts {
			t.Errorf("it does not tell what came: %+v", got)
		}
		if lasts[1] != 8 || lasts[6] != 8 {
			t.Errorf("it goes on after %d", lasts)
		}
		for i, least := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second} {
			if pause := tried[i+1] - tried[i]; pause < least || pause > least*5/4 {
				t.Errorf("try %d after %s", i+2, pause)
			}
		}
		down, up := 0, 0
		for _, n := range got {
			if n.link != nil && n.link.up {
				up++
			} else if n.link != nil && n.link.problem != nil {
				down++
			}
		}
		if down == 0 || up == 0 {
			t.Errorf("%d times up, %d down", up, down)
		}
		poke(feed.again)
		cancel()
		<-done
	})
}

// A daemon that says nothing and does not answer is given up; ctrl+r tries at
// once.
func TestFeedNoticesSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := &fake{err: errRefused}
		l := link{}
		last := uint64(0)
		feed := newFeed(f, func(ctx context.Context, _ uint64) func(func(client.Event, error) bool) {
			return func(yield func(client.Event, error) bool) {
				<-ctx.Done()
				yield(client.Event{}, ctx.Err())
			}
		}, time.Now)
		began := time.Now()
		err := feed.session(ctx, &last, &l)
		if !errors.Is(err, errRefused) || time.Since(began) != quietFor {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		cancel()
	})
}

// However much comes, what waits is bounded, and things come as they are now.
func TestFeedGathers(t *testing.T) {
	t.Parallel()
	feed := newFeed(&fake{}, nil, time.Now)
	for i := range 3 * maxWaiting {
		feed.event(event(t, 1, client.EventLog, client.Line{Message: "x"}))
		if i%1000 == 0 {
			feed.event(event(t, 1, client.EventStream, client.Status{Name: "a", Records: uint64(i)}))
		}
	}
	feed.event(client.Event{Type: client.EventStream, Data: []byte("{")})
	feed.event(client.Event{Type: "of a newer daemon"})
	feed.event(event(t, 1, client.EventRun, client.Run{ID: "r1", Stream: "b", Kind: "backfill", State: "running"}))
	feed.event(event(t, 1, client.EventDestination, client.Destination{Name: "lake", Behind: 7}))
	n, _ := feed.take(t.Context())
	if n.destinations["lake"].Behind != 7 {
		t.Errorf("destinations: %v", n.destinations)
	}
	if len(n.lines) != maxWaiting || n.dropped != 2*maxWaiting+1 || len(n.streams) != 1 || n.streams["a"].Records != uint64(3*maxWaiting-1)/1000*1000 {
		t.Errorf("%d lines, %d left out, %v", len(n.lines), n.dropped, n.streams)
	}
}

// What comes while everything is fetched is newer than what was fetched, though
// it was shown before.
func TestFeedWhileItFetches(t *testing.T) {
	t.Parallel()
	b := newBench(t, 100, 30)
	b.f.listed = everyState()
	feed := newFeed(b.f, nil, time.Now)
	b.f.asked = func() {
		feed.event(event(t, 1, client.EventStream, stream("emails", client.StateRunning, 7)))
		n, _ := feed.take(t.Context())
		b.take(n)
		feed.event(event(t, 2, client.EventStream, stream("owners", client.StateStopped, 8)))
	}
	if err := feed.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, _ := feed.take(t.Context())
	b.take(n)
	if n.whole == nil || b.pic.streams["emails"].State != client.StateRunning || b.pic.streams["owners"].State != client.StateStopped || b.pic.streams["calls"].State != client.StateFailing {
		t.Errorf("emails %s, owners %s, calls %s", b.pic.streams["emails"].State, b.pic.streams["owners"].State, b.pic.streams["calls"].State)
	}
	if feed.during != nil {
		t.Error("it goes on keeping what comes")
	}
}

// What waited to be shown before everything was fetched is older than that: a
// stream that has gone meanwhile does not come back by it.
func TestFeedForgetsWhatWaited(t *testing.T) {
	t.Parallel()
	b := newBench(t, 100, 30)
	b.connect(stream("gone", client.StateRunning, 7), stream("stays", client.StateRunning, 7))
	b.f.listed = []client.Status{stream("stays", client.StateStopped, 8)}
	feed := newFeed(b.f, nil, time.Now)
	feed.event(event(t, 1, client.EventStream, stream("gone", client.StateStopped, 7)))
	feed.event(event(t, 2, client.EventStream, stream("stays", client.StateRunning, 7)))
	feed.event(event(t, 3, client.EventWorker, client.Worker{ID: "w9"}))
	if err := feed.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, _ := feed.take(t.Context())
	b.take(n)
	if b.pic.streams["gone"] != nil || b.pic.streams["stays"].State != client.StateStopped || len(b.pic.workers) > 0 {
		t.Errorf("%v, %v", b.pic.streams, b.pic.workers)
	}
}
