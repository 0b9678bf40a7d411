package exact

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/internal/e2e/weather"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// The worker's connection is cut again and again, a thousand times in a minute
// under `make torture`, in every state of a session: while it connects, while
// pages leave, while answers come. The worker does not wait between, as it would
// outside of a test; what the broker loses in a resumption is repeated.
func TestTortureReconnects(t *testing.T) {
	t.Parallel()
	cuts := 60
	if os.Getenv("HUBPIPE_TORTURE") != "" {
		cuts = 1000
	}
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 3000}}, pace+"stream \"contacts\" {}\n")
	r.startDaemon()
	seed := uint64(time.Now().UnixNano()) % 1e6
	addr, _ := strings.CutPrefix(r.d.BrokerAddr(), "mqtt://")
	way := weather.New(t, addr, seed, true)
	r.session = broker.SessionOptions{URL: "mqtt://" + way.Addr(), Username: "hubpipe-worker-one", Password: r.d.Token(), MaxWait: 10 * time.Millisecond}
	r.startWorker()
	begun, done := time.Now(), 0
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(patience()); done < cuts; <-tick.C {
		if done%50 == 49 {
			r.change("contacts", simulator.Change{Change: 30, Create: 3})
		}
		done += way.Cut()
		if time.Now().After(until) {
			t.Fatalf("%d reconnects in %s", done, patience())
		}
	}
	took := time.Since(begun).Round(100 * time.Millisecond)
	r.change("contacts", simulator.Change{Change: 100, Create: 20})
	quiet := time.Now()
	r.becomesEqual("contacts")
	t.Logf("seed %d: %d reconnects in %s; exact %s after the last", seed, done, took, time.Since(quiet).Round(100*time.Millisecond))
}
