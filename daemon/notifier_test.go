package daemon

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/notify"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// People are told of a destination that waits for them or fails, by its own
// words, and of none that works or is paused.
func TestWhatIsWrongWithDestinations(t *testing.T) {
	t.Parallel()
	refused := &stream.Problem{Title: "the password is wrong", Detail: "28P01", Hint: "set it"}
	for _, c := range []struct {
		status destination.Status
		says   string // "" for nothing
	}{
		{destination.Status{Name: "dw", State: destination.Current}, ""},
		{destination.Status{Name: "dw", State: destination.Running}, ""},
		{destination.Status{Name: "dw", State: destination.Paused, Error: refused}, ""},
		{destination.Status{Name: "dw", State: destination.Blocked, Error: refused}, "destination dw the password is wrong 28P01 set it"},
		{destination.Status{Name: "dw", State: destination.Failing, Streams: []destination.StreamStatus{{Stream: "deals"}, {Stream: "contacts", Error: refused}}},
			"destination dw contacts: the password is wrong 28P01 set it"},
		{destination.Status{Name: "dw", State: destination.Failing}, "destination dw the destination is failing  see `hubpipe destinations`"},
	} {
		got := ""
		for _, x := range wrongWithDestination(c.status) {
			got = strings.Join([]string{x.Kind, x.Subject, x.Title, x.Detail, x.Hint}, " ")
		}
		if got != c.says {
			t.Errorf("%+v: %q, want %q", c.status, got, c.says)
		}
	}
	if kinds := strings.Join(notify.Kinds(), " "); !strings.Contains(kinds, notify.Destination) {
		t.Errorf("it is none of the kinds %s", kinds)
	}
}

// A brake that holds is told of as long as it does, also while the stream fails.
func TestWhatIsWrongWithStreams(t *testing.T) {
	t.Parallel()
	brake := &stream.Problem{Type: dispatch.TooManyDeletes, Title: "too many are missing", Blocked: true}
	for _, c := range []struct {
		state string
		error *stream.Problem
		brake *stream.Problem
		says  string
	}{
		{client.StateWaiting, nil, nil, ""},
		{client.StateBlocked, brake, brake, "brake"},
		{client.StateFailing, &stream.Problem{Type: "hubspot", Title: "503"}, brake, "failing brake"},
		{client.StateBlocked, &stream.Problem{Type: "token", Title: "401"}, nil, "blocked"},
		{client.StateStopped, brake, brake, ""},
	} {
		var kinds []string
		for _, x := range wrongWith(client.Status{Name: "deals", State: c.state, Error: wireProblem(c.error)}, &stream.Stream{Brake: c.brake}, 0) {
			kinds = append(kinds, x.Kind)
		}
		if got := strings.Join(kinds, " "); got != c.says {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// Nobody is told that a destination is well again because the daemon was started
// anew and nobody knows yet how it stands.
func TestWhatIsNotKnownYetHasNotEnded(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it answers nobody
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	r := newReloading(t, fmt.Sprintf(`
stream "contacts" {}
destination "postgres" "lake" { url = "postgres://me@%s/x" }
notify "ops" { exec = ["true"] }
`, silent.Addr()))
	lake := notify.Condition{Kind: notify.Destination, Subject: "lake", Title: "it does not answer"}
	gone := notify.Condition{Kind: notify.Destination, Subject: "gone", Title: "it does not answer"}
	since := time.Now().Add(-time.Hour)
	state := &notify.State{Sent: time.Now(), Open: map[string]*notify.Open{
		"destination lake": {Condition: lake, Since: since, Told: true}, "destination gone": {Condition: gone, Since: since, Told: true}}}
	n := r.notifier
	n.mu.Lock()
	n.states["ops"] = state
	n.mu.Unlock()
	n.look(t.Context(), time.Now())
	n.mu.Lock()
	defer n.mu.Unlock()
	if o := state.Open["destination lake"]; o == nil || o.Until != nil {
		t.Errorf("what is not known counts as ended: %+v", o)
	}
	if o := state.Open["destination gone"]; o == nil || o.Until == nil {
		t.Errorf("a destination that there is not goes on failing: %+v", o)
	}
}

// Nor that a stream is which fails by what its worker meets alone, until a worker
// has said how it gets on.
func TestWhatNoWorkerHasSaidHasNotEnded(t *testing.T) {
	t.Parallel()
	r := newReloading(t, `
stream "contacts" {}
notify "ops" { exec = ["true"] }
`)
	n := r.notifier
	condition := func(kind, subject string) *notify.Open {
		return &notify.Open{Condition: notify.Condition{Kind: kind, Subject: subject, Title: "it fails"}, Since: time.Now().Add(-time.Hour), Told: true}
	}
	state := &notify.State{Sent: time.Now(), Open: map[string]*notify.Open{"failing contacts": condition(notify.Failing, "contacts"),
		"brake contacts": condition(notify.Brake, "contacts"), "failing gone": condition(notify.Failing, "gone")}}
	n.mu.Lock()
	n.states["ops"] = state
	n.mu.Unlock()
	ended := func(what string) bool {
		n.look(t.Context(), time.Now())
		n.mu.Lock()
		defer n.mu.Unlock()
		o := state.Open[what]
		return o == nil || o.Until != nil
	}
	hears := func(attempts ...protocol.AttemptReport) {
		t.Helper()
		hb := &protocol.Heartbeat{Worker: "w", Process: "p", Portals: []string{"main"}, Capacity: 4, Attempts: attempts}
		if err := r.loop.Do(t.Context(), func(x *dispatch.Dispatcher, now time.Time) ([]dispatch.Out, error) { return x.Heartbeat(now, hb) }); err != nil {
			t.Fatal(err)
		}
	}
	view := func() (v dispatch.View) {
		t.Helper()
		if err := r.ask(t.Context(), func(x *dispatch.Dispatcher, now time.Time) (err error) {
			v, err = x.View(now, "contacts")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return v
	}
	attempt := uint64(0)
	for end := time.Now().Add(time.Minute); attempt == 0; { // the first run is given to the worker
		hears()
		if v := view(); v.Walk != nil {
			attempt = v.Walk.Attempt
		}
		if attempt == 0 && ended("failing contacts") {
			t.Fatal("a run that waits for a worker counts as one that works")
		}
		if time.Now().After(end) {
			t.Fatal("no run is given out")
		}
	}
	if v := view(); !v.Unheard || ended("failing contacts") {
		t.Errorf("nothing was heard yet, and it has ended: %+v", v)
	}
	if !ended("brake contacts") || !ended("failing gone") {
		t.Error("what does not hang on a worker goes on")
	}
	waits := &protocol.Wait{Kind: dispatch.StateFailing, Reason: "HubSpot answers 503"}
	for what, report := range map[string]protocol.AttemptReport{"no reply yet": {Attempt: attempt}, "it fails": {Attempt: attempt, Wait: waits},
		"it fails after replies": {Attempt: attempt, Progress: 7, Wait: waits}} {
		if hears(report); ended("failing contacts") {
			t.Errorf("%s, and it has ended", what)
		}
	}
	if hears(protocol.AttemptReport{Attempt: attempt, Progress: 8}); !ended("failing contacts") {
		t.Errorf("HubSpot has replied, and it goes on: %+v", view())
	}
}
