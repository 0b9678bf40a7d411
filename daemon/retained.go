package daemon

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
)

// presenceKept is how long the retained presence of a worker that is not heard
// of stays.
const presenceKept = 24 * time.Hour

// presenceEvery is how often presences are looked at.
const presenceEvery = time.Minute

// retainedSubscriptions are the daemon's own retained topics: what it finds
// wrong there it puts right.
func (d *Daemon) retainedSubscriptions() []broker.Subscription {
	return []broker.Subscription{{Topic: d.topics.Status(), QoS: 1}, {Topic: d.topics.Stream("+"), QoS: 1},
		{Topic: d.topics.Worker("+"), QoS: 1}}
}

// retained looks at a message of those topics and tells whether it was one. It
// never blocks: what has to be mended is queued.
func (d *Daemon) retained(topic string, payload []byte) bool {
	if topic == d.topics.Status() {
		d.ownStatus(payload)
		return true
	}
	if name, ok := strings.CutPrefix(topic, d.topics.Stream("")); ok {
		if len(payload) > 0 && !d.publisher.knows(name) {
			d.bus.clear(topic)
		}
		return true
	}
	if id, rest, ok := d.topics.ParseWorker(topic); ok && rest == "" {
		d.presences.note(id, payload)
		return true
	}
	return false
}

// presences are the workers' retained messages as they were last seen. A worker
// that was killed with its broker leaves one that says online for ever.
type presences struct {
	mu    sync.Mutex
	seen  map[string]protocol.Presence
	wrong map[string]string // what was wrong at the check before, by worker
}

func (p *presences) note(id string, payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(payload) == 0 {
		delete(p.seen, id)
		return
	}
	if p.seen == nil {
		p.seen, p.wrong = map[string]protocol.Presence{}, map[string]string{}
	}
	v, err := protocol.Unmarshal[protocol.Presence](payload)
	if err != nil {
		v = protocol.Presence{} // of no time, and so long gone
	}
	p.seen[id] = v
}

// check holds the presences against the workers as the heartbeats show them, and
// gives for each that was wrong at the check before, too, what is right: nil to
// clear it. What is wrong once may be on its way to be put right.
func (p *presences) check(now time.Time, workers []dispatch.WorkerView) map[string]*protocol.Presence {
	p.mu.Lock()
	defer p.mu.Unlock()
	live := map[string]dispatch.WorkerView{}
	for _, w := range workers {
		live[w.ID] = w
	}
	out, wrong := map[string]*protocol.Presence{}, map[string]string{}
	for id, v := range p.seen {
		w := live[id]
		right, ok := corrected(now, v, w)
		if ok {
			continue
		}
		if wrong[id] = v.State + v.Process; p.wrong[id] == wrong[id] {
			out[id] = right
		}
	}
	p.wrong = wrong
	return out
}

// corrected is what a presence should be, ok where it is so already: w is the
// worker as the daemon knows it, empty where it was not heard of.
func corrected(now time.Time, v protocol.Presence, w dispatch.WorkerView) (right *protocol.Presence, ok bool) {
	at, err := time.Parse(time.RFC3339, v.Time)
	switch {
	case w.Live && v.State == "online" && v.Process == w.Process:
		return nil, true
	case w.Live:
		return &protocol.Presence{State: "online", Process: w.Process, Version: w.Version, Portals: w.Portals, Capacity: w.Capacity,
			Time: w.Heard.UTC().Format(time.RFC3339)}, false
	case v.State == "online":
		// From now on it counts as not heard of, unless it is known since when.
		if at = w.Heard; at.IsZero() {
			at = now
		}
		v.State, v.Time = "offline", at.UTC().Format(time.RFC3339)
		return &v, false
	case err != nil || now.Sub(at) > presenceKept:
		return nil, false
	}
	return nil, true
}

// correctPresences puts right what workers left behind.
func (d *Daemon) correctPresences(ctx context.Context) {
	var workers []dispatch.WorkerView
	if err := d.ask(ctx, func(x *dispatch.Dispatcher, _ time.Time) error { workers = x.Workers(); return nil }); err != nil {
		return
	}
	for id, right := range d.presences.check(time.Now(), workers) {
		if right == nil {
			d.log.Debug("the presence of a worker that is long gone is cleared", "worker", id)
			d.bus.clear(d.topics.Worker(id))
			continue
		}
		payload, err := json.Marshal(right)
		if err != nil {
			d.log.Error("encode a presence", "worker", id, "error", err)
			continue
		}
		d.log.Debug("the presence of a worker is put right", "worker", id, "state", right.State)
		d.bus.keep(d.topics.Worker(id), payload)
	}
}

// ownStatus publishes the status again where it is wrong, such as after a
// broker that came back sent a last will late.
func (d *Daemon) ownStatus(payload []byte) {
	s, err := protocol.Unmarshal[protocol.DaemonStatus](payload)
	switch {
	case err != nil:
	case s.State == "online" && s.Store != d.store.ID():
		d.log.Error("a daemon of another store uses the same prefix; one of them has to take another", "store", s.Store, "address", s.Address)
	case s.State != "online" && s.Process == d.process, s.State == "online" && s.Process != d.process:
		d.publisher.reconnected()
	}
}
