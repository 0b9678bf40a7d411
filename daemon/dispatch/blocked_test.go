package dispatch

import (
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// officeOf is a dispatcher with streams of one portal and a worker that answers
// all it is given in the same way.
type office struct {
	t     *testing.T
	now   time.Time
	d     *Dispatcher
	given map[string]int // fetches by stream
	open  map[uint64]*protocol.Fetch
	fails *protocol.Problem // what attempts end with, nil: they read the account and go on
}

func newOffice(t *testing.T, streams ...string) *office {
	t.Helper()
	var config []StreamConfig
	for _, name := range streams {
		config = append(config, StreamConfig{Name: name, Portal: "main", Object: name, Interval: "5m", Schedule: everySchedule(5 * time.Minute),
			Autostart: true, Properties: []string{"*"}, Tail: 2 * time.Minute, Settle: []time.Duration{15 * time.Minute}, MaxDeletes: 0.02})
	}
	o := &office{t: t, now: epochStart, given: map[string]int{}, open: map[uint64]*protocol.Fetch{}}
	o.d = New(o.now, newMemStore(), Ledger{}, config, Options{})
	if _, err := o.d.Reload(o.now, config); err != nil {
		t.Fatal(err)
	}
	return o
}

// work lets time pass in steps of a heartbeat.
func (o *office) work(d time.Duration) {
	o.t.Helper()
	for end := o.now.Add(d); o.now.Before(end); o.now = o.now.Add(3 * time.Second) {
		hb := &protocol.Heartbeat{Worker: "w", Process: "p1", Portals: []string{"main"}, Capacity: 40}
		for n := range o.open {
			if o.fails != nil {
				hb.Failed = append(hb.Failed, protocol.AttemptFailure{Attempt: n, Problem: *o.fails})
				continue
			}
			hb.Attempts = append(hb.Attempts, protocol.AttemptReport{Attempt: n, Progress: uint64(o.now.Unix()), Account: &protocol.Account{ID: 7}, Ranges: []protocol.RangeReport{{}, {ID: 1}}})
		}
		outs, err := o.d.Heartbeat(o.now, hb)
		if err != nil {
			o.t.Fatal(err)
		}
		more, err := o.d.Tick(o.now)
		if err != nil {
			o.t.Fatal(err)
		}
		for _, out := range append(outs, more...) {
			switch {
			case out.Command == nil:
			case out.Command.Type == protocol.CancelCommand:
				delete(o.open, out.Command.Attempt)
			case o.open[out.Command.Attempt] == nil:
				o.open[out.Command.Attempt] = out.Command.Fetch
				o.given[out.Command.Fetch.Stream]++
			}
		}
	}
}

// attempts is how many were handed out since the last call.
func (o *office) attempts() (n int) {
	for _, k := range o.given {
		n += k
	}
	clear(o.given)
	return n
}

func (o *office) state(name string) (string, *stream.Problem) {
	o.t.Helper()
	v, err := o.d.View(o.now, name)
	if err != nil {
		o.t.Fatal(err)
	}
	return v.State, v.Error
}

// A token that is void stops a portal once and for all of its streams, costs an
// attempt each quarter of an hour, and mends itself.
func TestBlockedPortal(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "contacts", "companies", "deals", "tickets")
	o.fails = &protocol.Problem{Type: "token", Title: "HubSpot does not let the worker in", Blocked: true}
	o.work(time.Minute)
	if n := o.attempts(); n > 4 {
		t.Errorf("%d attempts until the portal was found blocked", n)
	}
	for _, name := range []string{"contacts", "tickets"} {
		if state, p := o.state(name); state != StateBlocked || p == nil || p.Type != "token" {
			t.Errorf("%s is %s: %v", name, state, p)
		}
	}
	o.work(2 * time.Hour)
	if n := o.attempts(); n < 7 || n > 9 {
		t.Errorf("%d attempts in two hours, want one each 15 minutes", n)
	}
	// A person who has mended it does not wait.
	if _, err := o.d.Start(o.now, "deals", "", "api"); err != nil {
		t.Fatal(err)
	}
	o.work(9 * time.Second)
	if n := o.attempts(); n != 1 {
		t.Errorf("%d attempts after a start", n)
	}
	o.fails = nil
	o.work(16 * time.Minute)
	if n := o.attempts(); n != 4 {
		t.Errorf("%d attempts after it was mended", n)
	}
	for _, name := range []string{"contacts", "companies", "deals", "tickets"} {
		if state, p := o.state(name); state != StateRunning {
			t.Errorf("%s is %s: %v", name, state, p)
		}
	}
}

// What an attempt knew of the account before the token was void proves nothing.
func TestOldKnowledgeMendsNothing(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "contacts", "deals")
	o.work(6 * time.Second)
	if len(o.open) != 2 {
		t.Fatalf("%d attempts are open", len(o.open))
	}
	var first uint64
	for n, f := range o.open {
		if f.Stream == "contacts" {
			first = n
		}
	}
	delete(o.open, first)
	hb := &protocol.Heartbeat{Worker: "w", Process: "p1", Portals: []string{"main"}, Capacity: 40,
		Failed: []protocol.AttemptFailure{{Attempt: first, Problem: protocol.Problem{Type: "token", Title: "void", Blocked: true}}}}
	for n := range o.open {
		hb.Attempts = append(hb.Attempts, protocol.AttemptReport{Attempt: n, Account: &protocol.Account{ID: 7}, Ranges: []protocol.RangeReport{{}, {ID: 1}}})
	}
	if _, err := o.d.Heartbeat(o.now, hb); err != nil {
		t.Fatal(err)
	}
	o.attempts()
	o.work(5 * time.Minute)
	if n := o.attempts(); n != 0 {
		t.Errorf("%d attempts while the portal was blocked", n)
	}
	if state, p := o.state("contacts"); state != StateBlocked {
		t.Errorf("contacts is %s: %v", state, p)
	}
}

// A stream without its scope is tried with one run, and the others go on.
func TestBlockedStream(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "contacts")
	o.work(6 * time.Second)
	o.fails = &protocol.Problem{Type: "scope", Title: "HubSpot does not let the worker in", Blocked: true}
	o.work(time.Minute)
	o.attempts()
	o.work(time.Hour)
	if n := o.attempts(); n < 3 || n > 5 {
		t.Errorf("%d attempts in an hour", n)
	}
}
