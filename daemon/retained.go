package daemon

import (
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
)

// presenceKept is how long the retained presence of a worker that is not heard
// of stays.
const presenceKept = 24 * time.Hour

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
		p, err := protocol.Unmarshal[protocol.Presence](payload)
		at, errTime := time.Parse(time.RFC3339, p.Time)
		if len(payload) > 0 && (err != nil || errTime != nil || p.State != "online" && time.Since(at) > presenceKept) {
			d.log.Debug("the presence of a worker that is long gone is cleared", "worker", id)
			d.bus.clear(topic)
		}
		return true
	}
	return false
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
