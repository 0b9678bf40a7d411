package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
)

// connectPatience is how long the daemon waits at its start for a broker.
const connectPatience = 20 * time.Second

// sessionOptions are the parts that both of the daemon's connections share:
// where the broker is and who comes. The embedded broker is reached over its
// unix socket, so that it and an external one take the same path.
func (d *Daemon) sessionOptions(clientID string) broker.SessionOptions {
	c := d.o.Config.Broker
	o := broker.SessionOptions{ClientID: clientID, Logger: d.log.Named("mqtt")}
	if d.embedded != nil {
		o.URL = "unix://" + d.socket("mqtt.sock")
		return o
	}
	o.URL, o.Username, o.Password = c.URL, c.Username, c.Password.Reveal()
	return o
}

// connect makes the daemon's own connection, with a persistent session, and
// looks whether another daemon is there already.
func (d *Daemon) connect(ctx, own context.Context) error {
	stranger := &strangerWatch{store: d.store.ID(), seen: make(chan protocol.DaemonStatus, 1)}
	o := d.sessionOptions(d.topics.DaemonClient())
	o.Expiry = time.Hour
	o.Will = &broker.Message{Topic: d.topics.Status(), Payload: d.statusPayload("offline"), QoS: 1, Retain: true}
	o.Subscriptions = append(d.bus.subscriptions(), broker.Subscription{Topic: d.topics.Status(), QoS: 1})
	o.OnUp = func(info broker.ConnInfo) {
		d.log.Info("connected to the broker", "max_packet", info.MaxPacket)
		d.publisher.reconnected()
	}
	o.OnDown = func(err error) { d.log.Warn("lost the broker", "error", err) }
	o.OnMessage = func(topic string, payload []byte, _ broker.Properties) {
		if topic == d.topics.Status() {
			stranger.status(payload)
			return
		}
		d.bus.message(topic, payload)
	}
	s, err := broker.NewSession(o)
	if err != nil {
		return err
	}
	d.bus.session = s
	if err := s.Start(own); err != nil {
		return err
	}
	d.onClose("leave broker", s.Stop)
	up, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	if err := s.AwaitUp(up); err != nil {
		return fmt.Errorf("reach the broker at %s: %w", d.brokerAddr(), err)
	}
	if err := stranger.refuse(ctx, d.topics.Prefix); err != nil {
		return err
	}
	d.bus.start(own)
	d.onClose("bus", func(context.Context) error { d.bus.stop(); return nil })
	d.publisher.start(own)
	d.onClose("say goodbye", d.publisher.stop)
	return nil
}

// statusPayload is the daemon's retained status, and with "offline" its will.
func (d *Daemon) statusPayload(state string) []byte {
	s := protocol.DaemonStatus{State: state, Version: d.o.Version, Store: d.store.ID(), Epoch: d.store.Epoch(),
		Process: d.process, Time: time.Now().UTC().Format(time.RFC3339)}
	if a := d.address.Load(); a != nil {
		s.Address = *a
	}
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`{"state":"` + state + `"}`)
	}
	return b
}

// strangerWatch notices the daemon of another data folder under this prefix.
type strangerWatch struct {
	store string
	once  sync.Once
	seen  chan protocol.DaemonStatus
}

func (w *strangerWatch) status(payload []byte) {
	s, err := protocol.Unmarshal[protocol.DaemonStatus](payload)
	if err != nil || s.State != "online" || s.Store == w.store {
		return
	}
	w.once.Do(func() { w.seen <- s })
}

// strangerPatience is how long a retained status may take to come.
const strangerPatience = 200 * time.Millisecond

func (w *strangerWatch) refuse(ctx context.Context, prefix string) error {
	t := time.NewTimer(strangerPatience)
	defer t.Stop()
	select {
	case s := <-w.seen:
		return fmt.Errorf("another daemon is online under the prefix %q: store %s, address %s; "+
			"set broker { prefix } to another one, or stop it", prefix, s.Store, s.Address)
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startControl makes the second connection, on which commands come.
func (d *Daemon) startControl(ctx, own context.Context) error {
	d.control = newControl(d.topics, d.do, time.Now, d.log.Named("control"))
	o := d.sessionOptions(d.topics.DaemonControlClient())
	o.CleanStart = true
	o.Subscriptions = []broker.Subscription{{Topic: d.topics.Control(), QoS: 1, RetainHandling: 2}}
	o.OnMessage = d.control.message
	s, err := broker.NewSession(o)
	if err != nil {
		return err
	}
	d.control.session = s
	if err := s.Start(own); err != nil {
		return err
	}
	d.onClose("leave control topic", s.Stop)
	up, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	if err := s.AwaitUp(up); err != nil {
		return fmt.Errorf("reach the broker at %s for the control topic: %w", d.brokerAddr(), err)
	}
	d.control.start(own)
	d.onClose("control topic", func(context.Context) error { d.control.stop(); return nil })
	return nil
}
