package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
)

var (
	_ api.Events = (*events)(nil)
	_ api.Logs   = (*events)(nil)
)

// world is what events look at in these tests.
type world struct {
	mu     sync.Mutex
	things []thing
	err    error
}

func (w *world) look(context.Context) ([]thing, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.things), w.err
}

func (w *world) set(things ...thing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.things = append([]thing{{kind: client.EventDaemon, value: "d", same: "d"}}, things...)
}

func worldEvents(t *testing.T) (*world, *events) {
	t.Helper()
	w := &world{}
	w.set(simple("a", 1), simple("b", 1))
	e := newEvents(w.look)
	e.start(t.Context())
	t.Cleanup(e.stop)
	return w, e
}

func simple(name string, v int) thing {
	return thing{kind: client.EventStream, name: name, value: fmt.Sprint(name, v), same: v}
}

// next waits for an event.
func next(t *testing.T, ch <-chan client.Event) string {
	t.Helper()
	select {
	case ev, ok := <-ch:
		if !ok {
			return "closed"
		}
		return ev.Type + " " + string(ev.Data)
	case <-time.After(2 * time.Minute):
		t.Fatal("no event came")
		return ""
	}
}

func want(t *testing.T, ch <-chan client.Event, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if got := next(t, ch); !strings.Contains(got, text) {
			t.Fatalf("got %q, want %q", got, text)
		}
	}
}

func TestEventsTellWhatChanges(t *testing.T) {
	t.Parallel()
	w, e := worldEvents(t)
	ch := e.Subscribe(t.Context(), 0)
	want(t, ch, `daemon "d"`)
	w.set(simple("a", 2), simple("b", 1))
	e.wake()
	want(t, ch, `stream "a2"`)
	w.set(simple("a", 2)) // b has gone, and the daemon is told of again
	e.wake()
	want(t, ch, `daemon "d"`)
	if len(ch) > 0 {
		t.Errorf("and %s", next(t, ch))
	}
}

// A reader that comes back gets each thing once, as it is now, and the lines
// that it missed, in the order of ids.
func TestEventsGoOn(t *testing.T) {
	t.Parallel()
	w, e := worldEvents(t)
	ctx, cancel := context.WithCancel(t.Context())
	ch := e.Subscribe(ctx, 0)
	want(t, ch, "daemon")
	e.line(client.Line{Message: "one"})
	ev := <-ch
	cancel()
	want(t, ch, "closed")
	for v := range 5 {
		w.set(simple("a", 2+v), simple("b", 1))
		e.refresh(t.Context())
	}
	e.line(client.Line{Message: "two"})
	w.set(simple("a", 6), simple("b", 9))
	for range 2 { // it may come back any number of times
		ch = e.Subscribe(t.Context(), ev.ID)
		want(t, ch, "daemon", `stream "a6"`, `"two"`, `stream "b9"`)
		if len(ch) > 0 {
			t.Errorf("and %s", next(t, ch))
		}
	}
	for _, unknown := range []uint64{1, ev.ID + 1e15} { // of an earlier life, or nobody's
		got := ""
		ch := e.Subscribe(t.Context(), unknown)
		last := uint64(0)
		for range 5 {
			ev := <-ch
			got += ev.Type + string(ev.Data)
			if ev.ID <= last {
				t.Errorf("ids do not grow: %d after %d", ev.ID, last)
			}
			last = ev.ID
		}
		for _, text := range []string{"daemon", "a6", "b9", "one", "two"} {
			if !strings.Contains(got, text) {
				t.Errorf("%d: %s lacks %s", unknown, got, text)
			}
		}
	}
}

// Lines that come too fast are left out and counted; a thing that cannot be told
// ends the subscription.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	w, e := worldEvents(t)
	ch := e.Subscribe(t.Context(), 0)
	for i := range 5 * eventQueue {
		e.line(client.Line{Message: fmt.Sprint("line ", i)})
	}
	if len(ch) > lineQueue || e.listeners() != 1 {
		t.Fatalf("%d wait, %d listen", len(ch), e.listeners())
	}
	for len(ch) > 0 {
		<-ch
	}
	e.line(client.Line{Message: "the last"})
	want(t, ch, fmt.Sprintf("%d lines before", 5*eventQueue-lineQueue+1), "the last")
	for i := range 2 * eventQueue {
		w.set(simple("a", 10+i))
		e.refresh(t.Context())
	}
	if e.listeners() != 0 {
		t.Error("a reader that takes nothing is not let go")
	}
	for range ch { // ends
	}
	if got := e.Lines("", "", 10000); len(got) != keptLines || got[keptLines-1].Message != "the last" {
		t.Errorf("%d lines are kept", len(got))
	}
}

func TestEventsEnd(t *testing.T) {
	t.Parallel()
	w := &world{err: errors.New("the loop has ended")}
	e := newEvents(w.look)
	e.start(t.Context())
	ch := e.Subscribe(t.Context(), 0)
	e.stop()
	want(t, ch, "closed")
	want(t, e.Subscribe(t.Context(), 0), "closed")
}

// A lag that grows as time does is no change; a cursor that moves is one.
func TestLagAloneIsNoChange(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := func(lag int64, later time.Duration) thing {
		return streamThing(client.Status{Name: "a", LagSeconds: &lag}, now.Add(later))
	}
	was := at(10, 0)
	for _, c := range []struct {
		x     thing
		moved bool
	}{{at(70, time.Minute), false}, {at(71, time.Minute), false}, {at(11, time.Minute), true}, {streamThing(client.Status{}, now), true}} {
		if got := c.x.moved(was.value); got != c.moved {
			t.Errorf("%v: %v", c.x.value, got)
		}
	}
	b, err := json.Marshal(was.value)
	if err != nil || !strings.Contains(string(b), `"lag_seconds":10`) || strings.Contains(string(b), `"at"`) {
		t.Errorf("%s %v", b, err)
	}
}

// What a stream said last is there, in its order and once, however much others
// say; and all that is kept has a bound.
func TestLinesOfAQuietStream(t *testing.T) {
	t.Parallel()
	_, e := worldEvents(t)
	for i := range 50 {
		e.line(client.Line{Message: fmt.Sprint("quiet ", i), Stream: "quiet", Level: "info"})
	}
	for i := range 5 * keptLines {
		e.line(client.Line{Message: fmt.Sprint("noisy ", i), Stream: "noisy", Level: "info"})
	}
	e.line(client.Line{Message: "quiet 50", Stream: "quiet", Level: "warn"})
	got := e.Lines("quiet", "", 40)
	if len(got) != 40 || got[0].Message != "quiet 11" || got[39].Message != "quiet 50" {
		t.Errorf("%d lines: %v", len(got), got)
	}
	if got := e.Lines("quiet", "", 1000); len(got) != 51 {
		t.Errorf("%d lines of 51", len(got))
	}
	if got := e.Lines("quiet", "warn", 1000); len(got) != 1 {
		t.Errorf("%d warnings of one", len(got))
	}
	if got := e.Lines("", "", 10*keptLines); len(got) != keptLines {
		t.Errorf("%d lines of all", len(got))
	}
	for i := range 3 * mostStreams {
		for range 30 {
			e.line(client.Line{Message: "x", Stream: fmt.Sprint("stream ", i)})
		}
	}
	total := 0
	for _, own := range e.ofStream {
		total += len(own)
	}
	if total > 3*allStreamLines {
		t.Errorf("%d lines are kept of %d streams", total, len(e.ofStream))
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	_, e := worldEvents(t)
	log := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "hubpipe", Level: hclog.Warn, Output: &strings.Builder{}})
	undo := followLog(log, e)
	ch := e.Subscribe(t.Context(), 0)
	want(t, ch, "daemon")
	log.Debug("too fine")
	log.Named("worker").With("stream", "deals").Info("fetched", "records", 3, "took", hclog.Fmt("%d ms", 7), "error", errors.New("no"))
	log.Error(strings.Repeat("é", maxText), "odd")
	undo()
	log.Error("not any more")
	want(t, ch, `"stream":"deals"`)
	got := e.Lines("deals", "info", 10)
	if len(got) != 1 || got[0].Name != "hubpipe.worker" || got[0].Fields["took"] != "7 ms" || got[0].Fields["error"] != "no" || got[0].Level != "info" {
		t.Errorf("%+v", got)
	}
	if got := e.Lines("", "error", 10); len(got) != 1 || len(got[0].Message) > maxText+3 {
		t.Errorf("%+v", got)
	}
	if got := e.Lines("", "", 1); len(got) != 1 || got[0].Level != "error" {
		t.Errorf("%+v", got)
	}
}
