package dispatch

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// said are messages in short: what, to which process, about which attempt.
func said(outs []Out) []string {
	var all []string
	for _, o := range outs {
		switch {
		case o.Command != nil:
			all = append(all, fmt.Sprintf("%s %s %d", o.Command.Type, o.Command.Process, o.Command.Attempt))
		case o.Answer != nil:
			all = append(all, fmt.Sprintf("%s %s", o.Answer.Type, o.Answer.Process))
		}
	}
	slices.Sort(all)
	return all
}

// Every heartbeat is answered, each time that it comes: with what differs from the
// ledger, or that it was seen, by which a worker knows that the daemon is up.
func TestEveryHeartbeatIsAnswered(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ours := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	if ours == 0 {
		t.Fatal("nothing was handed out")
	}
	reported := protocol.AttemptReport{Attempt: ours, Ranges: []protocol.RangeReport{{ID: 0}}}
	foreign := protocol.AttemptReport{Attempt: ours + 900, Ranges: []protocol.RangeReport{{ID: 0}}}
	fetch := fmt.Sprintf("fetch p1 %d", ours)
	for _, c := range []struct {
		name string
		hb   protocol.Heartbeat
		want []string
	}{
		{"all is as it should be", protocol.Heartbeat{Attempts: []protocol.AttemptReport{reported}}, []string{"seen p1"}},
		{"an attempt is not listed", protocol.Heartbeat{}, []string{fetch}},
		{"a range is not listed", protocol.Heartbeat{Attempts: []protocol.AttemptReport{{Attempt: ours}}}, []string{fetch}},
		{"one is not the worker's", protocol.Heartbeat{Attempts: []protocol.AttemptReport{reported, foreign}}, []string{fmt.Sprintf("cancel p1 %d", ours+900)}},
		{"one is given back that nobody knows", protocol.Heartbeat{Attempts: []protocol.AttemptReport{reported}, Declined: []uint64{ours + 900}},
			[]string{fmt.Sprintf("cancel p1 %d", ours+900)}},
		{"one has failed that nobody knows", protocol.Heartbeat{Attempts: []protocol.AttemptReport{reported}, Failed: []protocol.AttemptFailure{{Attempt: ours + 900}}},
			[]string{fmt.Sprintf("cancel p1 %d", ours+900)}},
	} {
		for range 2 {
			hb := c.hb
			hb.Worker, hb.Process, hb.Portals, hb.Capacity = "w", "p1", []string{"main"}, 4
			if d := cmp.Diff(c.want, said(b.must(b.d.Heartbeat(b.now, &hb)))); d != "" {
				t.Errorf("%s: %s", c.name, d)
			}
		}
	}
	// The name goes to another process, which is seen; the one before is told so,
	// over a restart too, and its heartbeats change nothing.
	heard := func(process string) []string {
		hb := protocol.Heartbeat{Worker: "w", Process: process, Portals: []string{"main"}, Capacity: 4}
		return said(b.must(b.d.Heartbeat(b.now, &hb)))
	}
	if got := heard("p2"); !slices.Contains(got, "seen p2") {
		t.Errorf("the process that took the name: %q", got)
	}
	for range 2 {
		if d := cmp.Diff([]string{"displaced p1"}, heard("p1")); d != "" {
			t.Error(d)
		}
		b.restart()
	}
	if got := b.store.workers["w"]; got.Process != "p2" {
		t.Errorf("the name is %s's again", got.Process)
	}
}
