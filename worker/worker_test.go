package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

func backfill() (protocol.Fetch, protocol.Range) {
	return protocol.Fetch{Kind: "backfill"}, protocol.Range{Kind: "list"}
}

func newest(lo int64) protocol.Range { return protocol.Range{Kind: "window", Newest: true, Lo: lo} }

func TestBackfill(t *testing.T) {
	t.Parallel()
	for name, lossy := range map[string]bool{"quiet": false, "lossy": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, h := newLedger(t), newHub(95)
			l.lossy = lossy
			l.run(backfill())
			l.fetch.Exclude = []string{"secret_*"}
			l.start(h)
			l.done()
			l.exact(h)
			if got := l.records["3"].Properties; string(got) != `{"text":"a,b"}` {
				t.Errorf("properties %s", got)
			}
			if len(l.lists) != 1 || l.lists[0] != protocol.ListHash([]string{"a", "b"}) {
				t.Errorf("lists %v", l.lists)
			}
		})
	}
}

func TestIdleRunIsOneRequest(t *testing.T) {
	t.Parallel()
	l, h := newLedger(t), newHub(0)
	l.start(h)
	l.run(protocol.Fetch{Kind: "incremental"}, newest(500))
	l.done()
	before := func() (n int) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, c := range h.calls {
			n += c
		}
		return n
	}
	n, pages := before(), l.kinds[protocol.ListingPage]
	schema, asOf := l.lists[0], h.now
	l.run(protocol.Fetch{Kind: "incremental", SchemaHash: schema, SchemaAsOf: asOf}, newest(500),
		protocol.Range{Kind: "window", Lo: 100, Hi: 300})
	l.done()
	if got := before() - n; got != 1 {
		t.Errorf("an idle run made %d requests: %v", got, h.calls)
	}
	if got := l.kinds[protocol.ListingPage] - pages; got != 2 || len(l.lists) != 1 {
		t.Errorf("%d listings, %d schemas", got, len(l.lists))
	}
}

func TestIncremental(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		n     int
		set   func(h *hub, l *ledger)
		check func(t *testing.T, h *hub, l *ledger)
	}{
		"one page":     {n: 15},
		"many pages":   {n: 150},
		"lossy":        {n: 150, set: func(_ *hub, l *ledger) { l.lossy = true }},
		"split":        {n: 150, set: func(h *hub, _ *ledger) { h.split = 40 }, check: kinds(protocol.SplitPage, 3)},
		"split, lossy": {n: 150, set: func(h *hub, l *ledger) { h.split = 40; l.lossy = true }},
		"split by id": {n: 100, set: func(h *hub, _ *ledger) {
			h.split = 30
			for id := range h.records {
				h.records[id] = 5000
			}
		}, check: kinds(protocol.SplitPage, 3)},
		"does not add up": {n: 150, set: func(h *hub, _ *ledger) { h.broken = 1 }, check: kinds(protocol.SweepPage, 1)},
		"long listing":    {n: 4500, set: func(h *hub, _ *ledger) { h.page = 100 }, check: kinds(protocol.ListingPage, 3)},
		"long sweep":      {n: 4500, set: func(h *hub, _ *ledger) { h.page = 100; h.broken = 1 }, check: kinds(protocol.ListingPage, 3)},
		"named twice": {n: 150, set: func(h *hub, _ *ledger) { h.twice = true },
			check: func(t *testing.T, h *hub, l *ledger) {
				t.Helper()
				if n := h.called("read"); n != 15 || len(l.listed) != 150 {
					t.Errorf("%d are listed, read with %d requests", len(l.listed), n)
				}
			}},
		"missing": {n: 30, set: func(h *hub, _ *ledger) { h.missing = map[int]bool{4: true} },
			check: func(t *testing.T, _ *hub, l *ledger) {
				t.Helper()
				if l.open["4"] == "" {
					t.Error("an id that cannot be read is not open")
				}
			}},
		"busy": {n: 30, set: func(_ *hub, l *ledger) { l.busy = 5 }},
		"regressed": {n: 15, set: func(h *hub, l *ledger) {
			l.records["3"] = protocol.Record{ID: "3", Version: 9000}
		}, check: func(t *testing.T, _ *hub, l *ledger) {
			t.Helper()
			if l.confirm != 1 {
				t.Errorf("%d confirmed", l.confirm)
			}
		}},
		"stale replica": {n: 15, set: func(h *hub, l *ledger) {
			h.change(3, 9000)
			h.lag = map[int]int{3: 2}
			l.records["3"] = protocol.Record{ID: "3", Version: 8998}
		}, check: func(t *testing.T, _ *hub, l *ledger) {
			t.Helper()
			if l.confirm != 0 {
				t.Error("a reading of a replica that lags was confirmed")
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, h := newLedger(t), newHub(c.n)
			if c.set != nil {
				c.set(h, l)
			}
			l.run(protocol.Fetch{Kind: "incremental"}, newest(900), protocol.Range{Kind: "window", Lo: 100, Hi: 950})
			l.start(h)
			l.done()
			l.exact(h)
			if c.check != nil {
				c.check(t, h, l)
			}
		})
	}
}

func kinds(k protocol.PageKind, n int) func(*testing.T, *hub, *ledger) {
	return func(t *testing.T, _ *hub, l *ledger) {
		t.Helper()
		if l.kinds[k] < n {
			t.Errorf("%d pages of kind %s, expected %d", l.kinds[k], k, n)
		}
	}
}

func TestIDsRange(t *testing.T) {
	t.Parallel()
	l, h := newLedger(t), newHub(5)
	l.run(protocol.Fetch{Kind: "incremental"}, protocol.Range{Kind: "ids", Last: true,
		Want: []protocol.Listed{{ID: "2"}, {ID: "99", Version: 5}}})
	l.start(h)
	l.done()
	if len(l.records) != 1 || l.open["99"] == "" {
		t.Errorf("records %v, open %v", l.records, l.open)
	}
}

// TestWantFirst takes up a window whose listing an attempt before had sent.
func TestWantFirst(t *testing.T) {
	t.Parallel()
	l, h := newLedger(t), newHub(30)
	g := newest(900)
	g.Seq, g.Hi, g.Want = 4, 2000, []protocol.Listed{{ID: "2", Version: 1001}}
	l.run(protocol.Fetch{Kind: "incremental", Began: 2000}, g)
	l.start(h)
	l.done()
	l.exact(h)
}

func TestBounds(t *testing.T) {
	t.Parallel()
	l, h := newLedger(t), newHub(40)
	l.maxPacket = 150 << 10
	h.page = 40
	h.big = map[int]int{5: 900_000, 6: 100_000, 7: 60_000, 8: 60_000, 9: 60_000, 40: 700_000}
	l.run(backfill())
	l.start(h)
	l.done()
	l.exact(h)
	if len(l.records) != 38 || !strings.Contains(l.open["5"], "max_packet") || l.open["40"] == "" {
		t.Errorf("%d records, open %v", len(l.records), l.open)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	sizes := func(ns ...int) (out []protocol.Record) {
		for _, n := range ns {
			out = append(out, protocol.Record{ID: "1", Properties: make([]byte, n)})
		}
		return out
	}
	for name, c := range map[string]struct {
		records []protocol.Record
		want    []int
	}{
		"none":           {nil, []int{0}},
		"one":            {sizes(10), []int{1}},
		"hundred":        {sizes(make([]int, 100)...), []int{100}},
		"hundred and 1":  {sizes(make([]int, 101)...), []int{100, 1}},
		"by bytes":       {sizes(200<<10, 60<<10, 10), []int{1, 2}},
		"large is alone": {sizes(10, 1<<20, 10), []int{1, 1, 1}},
	} {
		var got []int
		for _, p := range cut(c.records, nil) {
			got = append(got, len(p))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, expected %v", name, got, c.want)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	blocked := &ProblemError{protocol.Problem{Type: "token", Title: "no", Blocked: true}}
	for name, c := range map[string]struct {
		set  func(h *hub, l *ledger)
		want string
	}{
		"another account": {func(_ *hub, l *ledger) { l.fetch.Account = 8 }, "account-mismatch"},
		"token": {func(h *hub, _ *ledger) {
			h.fail = func(call string) error {
				if call == "list" {
					return blocked
				}
				return nil
			}
		}, "token"},
		"no account": {func(h *hub, _ *ledger) { h.fail = func(string) error { return errors.New("broken") } }, "fetch-failed"},
		"pattern":    {func(_ *hub, l *ledger) { l.fetch.Properties = []string{"["} }, "configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, h := newLedger(t), newHub(30)
			l.run(backfill())
			c.set(h, l)
			l.start(h)
			l.done()
			if l.problem == nil || l.problem.Type != c.want {
				t.Fatalf("problem %+v", l.problem)
			}
			if len(l.records) != 0 || name == "another account" && h.called("list") != 0 {
				t.Errorf("%d records were taken, %d lists", len(l.records), h.called("list"))
			}
			t.Log("the next run works once the cause is mended")
			h.mu.Lock()
			h.fail = nil
			h.mu.Unlock()
			l.run(backfill())
			l.done()
			l.exact(h)
		})
	}
}

// TestRestarts kills worker processes and fences attempts in the middle of a
// walk and of a window, and ends exact.
func TestRestarts(t *testing.T) {
	t.Parallel()
	for name, ranges := range map[string][]protocol.Range{
		"walk":   {{Kind: "list"}},
		"window": {newest(900)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, h := newLedger(t), newHub(300)
			h.split = 70
			kind := "incremental"
			if name == "walk" {
				kind = "backfill"
			}
			l.run(protocol.Fetch{Kind: kind}, ranges...)
			l.start(h)
			for n := range 4 {
				l.await("records", func() bool { return len(l.records) > 40*(n+1) })
				if n%2 == 0 {
					l.mu.Lock()
					l.held = 0 // its pages are fenced from here on
					l.mu.Unlock()
					continue
				}
				l.mu.Lock()
				old := l.w
				l.mu.Unlock()
				old.endWork() // it sends nothing more, heartbeats neither,
				old.endSelf() // which would take the run from the other
				l.start(h)
			}
			l.done()
			l.exact(h)
		})
	}
}

// TestSilence takes the daemon away in the middle: HubSpot is left alone, a
// call under way ends, and all goes on when the daemon is back.
func TestSilence(t *testing.T) {
	t.Parallel()
	l, h := newLedger(t), newHub(100)
	inside := make(chan struct{}, 1)
	ended := make(chan error, 1)
	h.enter = func(ctx context.Context, call string) {
		if call != "list" {
			return
		}
		select {
		case inside <- struct{}{}: // the first alone is held up
			<-ctx.Done()
			ended <- context.Cause(ctx)
		default:
		}
	}
	l.run(backfill())
	l.start(h)
	l.await("the first call", func() bool { return len(inside) > 0 })
	l.mu.Lock()
	l.mute = true
	l.mu.Unlock()
	select {
	case err := <-ended:
		if !errors.Is(err, errSilent) {
			t.Fatalf("the call ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("HubSpot is asked though the daemon is silent")
	}
	if got := h.called("list"); got != 1 {
		t.Fatalf("%d calls", got)
	}
	l.mu.Lock()
	l.mute = false
	l.mu.Unlock()
	l.done()
	l.exact(h)
}

func TestDisplaced(t *testing.T) {
	t.Parallel()
	l, h := newLedger(t), newHub(1)
	w := l.start(h)
	l.await("a heartbeat", func() bool { return l.process != "" })
	l.mu.Lock()
	l.answer(protocol.Answer{Type: protocol.Displaced, Process: w.o.Process, Reason: "it was another"})
	l.mu.Unlock()
	select {
	case <-w.Done():
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	if err := w.Err(); !errors.Is(err, ErrDisplaced) || !strings.Contains(err.Error(), "it was another") {
		t.Fatal(err)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.presence {
		if strings.Contains(p, "offline") {
			t.Error("a displaced process speaks on a topic that is another's")
		}
	}
}

// TestStopDrains stops in the middle: the page in flight gets its answer, the
// daemon is told, and nobody calls HubSpot any more.
func TestStopDrains(t *testing.T) {
	t.Parallel()
	l, h := newLedger(t), newHub(200)
	l.run(backfill())
	l.fetch.Whole = true // one walker, so that its pages can be counted
	w := l.start(h)
	l.await("records", func() bool { return len(l.records) > 20 })
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	calls := h.called("list")
	l.mu.Lock()
	leaving, last := l.leaving, l.presence[len(l.presence)-1]
	l.mu.Unlock()
	if leaving == 0 || !strings.Contains(last, "offline") {
		t.Errorf("left %d times, presence %s", leaving, last)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.start(h)
	l.done()
	l.exact(h)
	if got := h.called("list") - calls; got > 20-calls+4 {
		t.Errorf("%d pages were fetched after %d: committed ones again", got, calls)
	}
}

func TestReconnect(t *testing.T) {
	t.Parallel()
	l, h := newLedger(t), newHub(150)
	l.run(backfill())
	w := l.start(h, func(o *Options) { o.RepeatMin, o.RepeatMax = time.Hour, time.Hour })
	for n := range 5 {
		l.await("records", func() bool { return len(l.records) > 20*n || l.fetch == nil })
		l.mu.Lock()
		l.off = true
		l.mu.Unlock()
		w.Message("nonsense", nil)
		l.mu.Lock()
		l.off = false
		l.mu.Unlock()
		w.Up()
	}
	l.done()
	l.exact(h)
}

// TestEcho has the worker put right a presence that is not its own.
func TestEcho(t *testing.T) {
	t.Parallel()
	l, h := newLedger(t), newHub(0)
	w := l.start(h)
	l.await("presence", func() bool { return len(l.presence) == 1 })
	w.Message(l.top.Worker("w"), []byte(l.presence[0]))
	w.Message(l.top.Worker("w"), []byte(`{"state":"offline","process":"before"}`))
	l.await("presence", func() bool { return len(l.presence) == 2 })
	if !strings.Contains(l.presence[1], w.o.Process) {
		t.Error(l.presence)
	}
	w.Message(l.top.Commands("w"), []byte("{"))
	w.Message(l.top.Answers("w"), []byte("{"))
}

func TestNeverStarted(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	if _, err := New(Options{}); err == nil {
		t.Error("a worker without a name")
	}
	w, err := New(Options{Name: "w", Codec: l.codec, Bus: l})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Stop(t.Context()), w.Stop(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// TestPresenceHoldsNothingUp: what the broker does not take yet of the worker's
// presence keeps no answer waiting.
func TestPresenceHoldsNothingUp(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	bus := &slowPresence{ledger: l, release: make(chan struct{})}
	l.run(backfill())
	l.start(newHub(45), func(o *Options) { o.Bus = bus })
	t.Cleanup(func() { close(bus.release) })
	l.done()
	if len(l.records) != 45 {
		t.Errorf("%d records", len(l.records))
	}
}

// slowPresence takes presence when it is released.
type slowPresence struct {
	*ledger
	release chan struct{}
}

func (s *slowPresence) Publish(ctx context.Context, topic string, payload, name []byte, qos byte, retain bool, expiry time.Duration) error {
	if retain {
		<-s.release
	}
	return s.ledger.Publish(ctx, topic, payload, name, qos, retain, expiry)
}
