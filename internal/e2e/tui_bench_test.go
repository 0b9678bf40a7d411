package e2e

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// BenchmarkDashboardKeys measures from a key that is pressed in a terminal to
// what the worker does: s to its first request, x to its last.
func BenchmarkDashboardKeys(b *testing.B) {
	need(b, "tmux")
	s := newSystem(b, "--contacts", "300000", "--limits=false", "--latency", "50ms")
	s.configure(settings{streams: []string{"contacts"}})
	s.daemon()
	s.worker("--name", "w1")
	x := newTerminal(b, s.dir, 140, 40, inTerminal(s.bin+" tui"))
	x.shows("* live", "> running")
	var first, last time.Duration
	soon := time.NewTicker(2 * time.Millisecond)
	defer soon.Stop()
	quiet := func() (requests int64, at time.Time) {
		at = time.Now()
		for requests = s.asked(); time.Since(at) < time.Second; <-soon.C {
			if n := s.asked(); n != requests {
				requests, at = n, time.Now()
			}
		}
		return requests, at
	}
	for b.Loop() {
		begun := time.Now()
		x.types("x")
		before, at := quiet()
		last += at.Sub(begun)
		x.shows("o stopped")
		begun = time.Now()
		x.types("s")
		for s.asked() == before {
			<-soon.C
		}
		first += time.Since(begun)
		until(b, "requests in full flight", func() error {
			if screen := x.screen(); s.asked() < before+20 || !strings.Contains(screen, "> running") {
				return errors.New("not yet")
			}
			return nil
		})
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(first.Milliseconds())/float64(b.N), "ms-start-to-first-request")
	b.ReportMetric(float64(last.Milliseconds())/float64(b.N), "ms-stop-to-last-request")
}
