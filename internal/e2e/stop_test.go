package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// SIGTERM under load ends each with 0 in time, and what was committed is not
// fetched again.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	const contacts = 12000
	s := newSystem(t, "--contacts", fmt.Sprint(contacts), "--limits=false", "--latency", "30ms")
	s.configure(settings{streams: []string{"contacts"}})
	daemon, worker := s.daemon(), s.worker("--name", "w1")
	for n, who := range []string{"daemon", "worker", "daemon"} {
		until(t, "progress", func() error {
			if st := s.status("contacts"); st.Records < uint64(2500*(n+1)) {
				return fmt.Errorf("%d records", st.Records)
			}
			return nil
		})
		if s.status("contacts").Run == nil {
			t.Fatal("it was too quick to be stopped in the middle")
		}
		p := daemon
		if who == "worker" {
			p = worker
		}
		began := time.Now()
		p.kill(syscall.SIGTERM)
		if took := time.Since(began); took > 10*time.Second || p.exit(t) != 0 {
			t.Errorf("exit %d after %s:\n%s", p.exit(t), took, tail(p.log.String()))
		}
		if who == "worker" {
			worker = s.worker("--name", "w1")
		} else {
			daemon = s.daemon()
		}
	}
	s.becomesEqual("contacts")
	// A page that was not committed yet may be read once more: of each range
	// the one in flight and the one behind it.
	lists := s.stats().Requests["list"]
	t.Logf("%d requests for %d pages, with three stops", lists, contacts/100)
	if most := int64(contacts/100 + 3*2*8); lists > most {
		t.Errorf("%d list requests, more than %d: committed pages were fetched again", lists, most)
	}
}

// A worker that stands still past its lease loses its work to another. When it
// wakes, what it still sends changes nothing.
func TestWorkerStandsStillPastItsLease(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "4000", "--deals", "200", "--limits=false", "--latency", "200ms")
	s.daemon()
	still := s.worker("--name", "w1", "--log-level", "debug")
	s.holds("w1")
	until(t, "progress", func() error {
		if st := s.status("contacts"); st.Records < 300 {
			return fmt.Errorf("%d records", st.Records)
		}
		return nil
	})
	if err := still.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.change("contacts", `{"change":200}`)
	s.worker("--name", "w2")
	s.holds("w2")
	s.becomesEqual("contacts", "deals")
	s.change("contacts", `{"change":200}`)
	if err := still.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, "w1's end of its attempts", func() error {
		if log := still.log.String(); !strings.Contains(log, "the attempt ends") {
			return fmt.Errorf("it does not give up:\n%s", tail(log))
		}
		return nil
	})
	s.becomesEqual("contacts", "deals")
	until(t, "w1 to be back", func() error {
		for _, w := range s.workers() {
			if w.ID == "w1" && w.State == "online" {
				return nil
			}
		}
		return fmt.Errorf("%+v", s.workers())
	})
	if !still.running() {
		t.Error("it ended")
	}
	for _, r := range s.runs("contacts") {
		if r.State == "failed" {
			t.Errorf("a run failed: %+v", r)
		}
	}
}
