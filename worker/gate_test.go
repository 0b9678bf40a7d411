package worker

import (
	"sync"
	"testing"
	"time"
)

// TestGateStandsAsTheDaemonWasHeard: the silence is judged by a timer and by what
// comes in, at the same time, and whoever judged first must not have the last word.
func TestGateStandsAsTheDaemonWasHeard(t *testing.T) {
	t.Parallel()
	h, l := newHub(0), newLedger(t)
	w, err := New(Options{Name: "w", Portals: map[string]Portal{"main": h.portal}, Topics: l.top, Codec: l.codec, Bus: l})
	if err != nil {
		t.Fatal(err)
	}
	w.silence = time.AfterFunc(time.Hour, func() {})
	t.Cleanup(func() { w.silence.Stop() })
	heard := func(at time.Time) {
		w.mu.Lock()
		w.core.heard = at
		w.mu.Unlock()
		w.regate()
	}
	for range 20_000 {
		var both sync.WaitGroup
		both.Go(func() { heard(time.Now()) })
		both.Go(func() { heard(time.Now().Add(-time.Hour)) })
		both.Wait()
		w.gate.mu.Lock()
		open := w.gate.open
		w.gate.mu.Unlock()
		if may := w.core.MayFetch(time.Now()); open != may {
			t.Fatalf("the gate is open: %t, HubSpot may be asked: %t", open, may)
		}
	}
}
