package daemon

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
)

// What workers left behind is put right at the second look, and gone after a
// day.
func TestPresences(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	text := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	online := func(process string, at time.Duration) protocol.Presence {
		return protocol.Presence{State: "online", Process: process, Capacity: 3, Time: text(at)}
	}
	offline := func(process string, at time.Duration) protocol.Presence {
		p := online(process, at)
		p.State = "offline"
		return p
	}
	known := func(live bool, heard time.Duration) dispatch.WorkerView {
		return dispatch.WorkerView{ID: "w", Process: "p1", Live: live, Capacity: 3, Heard: now.Add(heard)}
	}
	for name, c := range map[string]struct {
		p    protocol.Presence
		w    dispatch.WorkerView
		want *protocol.Presence
		ok   bool
	}{
		"lives":                        {online("p1", -72*time.Hour), known(true, 0), nil, true},
		"lives and is said to be gone": {offline("p1", -time.Hour), known(true, -time.Second), new(online("p1", -time.Second)), false},
		"lives as another process":     {online("p0", -time.Hour), known(true, 0), new(online("p1", 0)), false},
		"dead and said to be there":    {online("p1", -time.Hour), known(false, -time.Minute), new(offline("p1", -time.Minute)), false},
		"never heard of":               {online("p9", -72*time.Hour), dispatch.WorkerView{}, new(offline("p9", 0)), false},
		"gone":                         {offline("p1", -23*time.Hour), dispatch.WorkerView{}, nil, true},
		"gone for long":                {offline("p1", -25*time.Hour), known(false, -25*time.Hour), nil, false},
		"without a time":               {protocol.Presence{State: "offline"}, dispatch.WorkerView{}, nil, false},
	} {
		var p presences
		raw, err := json.Marshal(c.p)
		if err != nil {
			t.Fatal(err)
		}
		p.note("w", raw)
		workers := []dispatch.WorkerView{c.w}
		if got := p.check(now, workers); len(got) != 0 {
			t.Errorf("%s: put right at the first look: %v", name, got)
		}
		got := p.check(now, workers)
		if right, wrong := got["w"]; wrong == c.ok || !cmp.Equal(right, c.want) {
			t.Errorf("%s: %v %+v, want %+v", name, wrong, right, c.want)
		}
		p.note("w", nil)
		if got := p.check(now, workers); len(got) != 0 {
			t.Errorf("%s: what was cleared is put right: %v", name, got)
		}
	}
}

func TestWhatABrokerLacks(t *testing.T) {
	t.Parallel()
	if got := lacks(broker.ConnInfo{MaxQoS: 1, RetainAvailable: true, SessionExpiry: time.Hour}); len(got) != 0 {
		t.Errorf("a broker that lacks nothing: %q", got)
	}
	got := strings.Join(lacks(broker.ConnInfo{MaxPacket: 20_000, Refused: []string{"hubpipe/workers/+/pages"}}), "\n")
	for _, want := range []string{"20000", "QoS", "retained", "sessions", "hubpipe/workers/+/pages"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not said: %s", want, got)
		}
	}
}
