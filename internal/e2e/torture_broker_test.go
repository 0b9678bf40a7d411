package e2e

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/internal/e2e/weather"
)

// narrow is a broker of others that takes small packets alone, keeps few of
// them, and forgets all of them with its end.
var narrow = []string{"max_packet_size 12000", "max_queued_messages 8", "max_inflight_messages 4"}

// The broker is one of others, with small limits, behind a network that cuts,
// slices and repeats. It is killed and comes back with nothing, as are daemon
// and worker, and both meet on it again.
func TestTortureBroker(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto")
	v := victimised(t)
	port := freePort(t)
	m := startMosquitto(t, port, narrow...)
	way := weather.New(t, fmt.Sprintf("127.0.0.1:%d", port), v.seed, true)
	near := settings{defaults: `archived_interval = "3s"`, broker: fmt.Sprintf("url = \"mqtt://127.0.0.1:%d\"", port)}
	v.configure(near)
	// The worker goes by the way that has weather.
	far := v.another()
	far.configure(settings{broker: fmt.Sprintf("url = \"mqtt://%s\"", way.Addr())})
	daemon, worker := v.ready(), far.worker("--name", "far")
	rounds := often(3, 60)
	for n := range rounds {
		v.happens()
		way.Foul(n%2 == 0)
		v.pause(1500 * time.Millisecond)
		m.kill(syscall.SIGKILL)
		v.faults++
		v.happens()
		v.pause(500 * time.Millisecond)
		m = startMosquitto(t, port, narrow...)
		switch v.rng.IntN(4) {
		case 0:
			worker.kill(syscall.SIGKILL)
			worker = far.worker("--name", "far")
			v.faults++
		case 1:
			daemon.kill(syscall.SIGKILL)
			daemon = v.ready()
			v.faults++
		case 2:
			v.faults += way.Cut()
		}
		// A change to more records than a packet has room for the ids of.
		v.change("contacts", fmt.Sprintf(`{"change":%d}`, 200+v.rng.IntN(600)))
		v.pause(2 * time.Second)
	}
	way.Foul(false)
	v.faults += way.Faults()
	v.exact(often(6, 150), 1800)
	if os.Getenv(tortureVar) != "" {
		t.Logf("%d brokers were killed", rounds)
	}
}
