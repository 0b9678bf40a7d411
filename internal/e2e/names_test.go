package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Of two workers with one name the one seen last goes on; the other ends and
// says why.
func TestTwoWorkersWithOneName(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "3000", "--deals", "100", "--limits=false", "--latency", "50ms")
	s.daemon()
	first := s.worker("--name", "w1")
	s.holds("w1")
	second := s.worker("--name", "w1")
	refused(t, first, 1, "hubpipe: another process has taken this worker's name: w1; this one ends")
	s.becomesEqual("contacts", "deals")
	s.change("contacts", `{"change":20}`)
	s.becomesEqual("contacts")
	if !second.running() {
		t.Errorf("the second ended too:\n%s", second.log)
	}
	for _, p := range []*process{first, second} {
		if log := p.log.String(); strings.Contains(log, "[ERROR]") || strings.Count(log, "has taken") > 1 {
			t.Errorf("it is said more than once, or as if something were broken:\n%s", log)
		}
	}
	if ws := s.workers(); len(ws) != 1 || ws[0].State != "online" {
		t.Errorf("%+v", ws)
	}
}

// holds waits until the worker has work in hand.
func (s *system) holds(worker string) {
	s.t.Helper()
	until(s.t, "work at "+worker, func() error {
		ws := s.workers()
		for _, w := range ws {
			if w.ID == worker && w.State == "online" && len(w.Runs) > 0 {
				return nil
			}
		}
		return fmt.Errorf("%+v", ws)
	})
}

// Two daemons on one broker need two prefixes: the second refuses and names
// whose store it found, and the first does not notice.
func TestTwoDaemonsOnOnePrefix(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto")
	s := newSystem(t, "--contacts", "100", "--deals", "10", "--limits=false")
	_, port := s.onMosquitto()
	first := s.daemon()
	s.worker()
	s.becomesEqual("contacts")
	store := first.field(t, "store")

	other := s.another()
	url := fmt.Sprintf("url = \"mqtt://127.0.0.1:%d\"", port)
	other.configure(settings{broker: url})
	refused(t, run(t, other.dir, other.bin, "daemon"), 1, `another daemon is online under the prefix "hubpipe"`, store, "prefix")
	s.change("contacts", `{"change":20}`)
	s.becomesEqual("contacts")
	if log := first.log.String(); strings.Contains(log, "lost the broker") || strings.Contains(log, "another store") {
		t.Errorf("the first was disturbed:\n%s", log)
	}
	if out, err := s.at(s.mqtt).reads("hubpipe/status"); err != nil || !strings.Contains(out, store) || !strings.Contains(out, `"online"`) {
		t.Errorf("status: %s %v", out, err)
	}

	other.configure(settings{broker: url + "\n  prefix = \"hubpipe2\""})
	other.daemon()
	other.worker()
	other.becomesEqual("contacts")
	// What has stopped is in nobody's way.
	first.kill(syscall.SIGTERM)
	third := s.another()
	third.configure(settings{broker: url})
	third.daemon()
}

// A daemon on a copy of another's data folder is of the same store and would take
// the other's place on the broker: it ends, and names it. A status that says
// online, and is of nobody who lives, holds nobody up.
func TestTwoDaemonsOfOneStore(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto")
	s := newSystem(t, "--contacts", "50", "--deals", "10", "--limits=false")
	_, port := s.onMosquitto()
	first := s.daemon()
	first.kill(syscall.SIGTERM)
	twin := s.another()
	copyTree(t, filepath.Join(s.dir, "data"), filepath.Join(twin.dir, "data"))
	twin.configure(settings{broker: fmt.Sprintf("url = \"mqtt://127.0.0.1:%d\"", port)})
	first = s.daemon()
	address := strings.TrimPrefix(s.http, "http://")
	refused(t, run(t, twin.dir, twin.bin, "daemon"), 1, "another daemon of this store is online", address)
	if log := first.log.String(); strings.Contains(log, "lost the broker") {
		t.Errorf("the first was disturbed:\n%s", log)
	}
	someone := s.at(s.mqtt)
	online, err := someone.reads("hubpipe/status")
	if err != nil || !strings.Contains(online, `"online"`) {
		t.Fatalf("%s %v", online, err)
	}
	first.kill(syscall.SIGTERM)
	someone.publishes("-r", "-t", "hubpipe/status", "-m", online)
	twin.daemon()
}

// A data folder belongs to one daemon.
func TestTwoDaemonsOnOneFolder(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "100", "--deals", "10")
	first := s.daemon()
	refused(t, run(t, s.dir, s.bin, "daemon"), 1, "data", "another")
	s.worker()
	s.becomesEqual("contacts")
	if !first.running() {
		t.Error("the first ended")
	}
}
