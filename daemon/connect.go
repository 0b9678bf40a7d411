package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
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
	o.URL, o.Username, o.Password, o.TLS = c.URL, c.Username, c.Password.Reveal(), d.brokerTLS
	return o
}

// connect makes the daemon's own connection, with a persistent session. On a
// broker of others it looks first whether another daemon is there already.
func (d *Daemon) connect(ctx, own context.Context) error {
	if d.embedded == nil {
		if err := d.lookForStrangers(ctx); err != nil {
			return err
		}
	}
	o := d.sessionOptions(d.topics.DaemonClient())
	o.Expiry = time.Hour
	o.Will = &broker.Message{Topic: d.topics.Status(), Payload: d.statusPayload("offline"), QoS: 1, Retain: true}
	o.Subscriptions = append(d.bus.subscriptions(), d.retainedSubscriptions()...)
	o.OnUp = func(info broker.ConnInfo) {
		d.log.Info("connected to the broker", "max_packet", info.MaxPacket)
		d.complain(info)
		d.publisher.reconnected()
	}
	o.OnDown = func(err error) { d.log.Warn("lost the broker", "error", err) }
	o.OnMessage = func(topic string, payload []byte, p broker.Properties) {
		if !d.retained(topic, payload) {
			d.bus.message(topic, payload, p.CorrelationData)
		}
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
		return fmt.Errorf("reach the broker at %s: %w", d.BrokerAddr(), err)
	}
	d.bus.start(own)
	d.onClose("bus", func(context.Context) error { d.bus.stop(); return nil })
	d.publisher.start(own)
	d.onClose("say goodbye", d.publisher.stop)
	// Pages that have come are committed while their answers can still leave.
	d.onClose("commit what has come", func(context.Context) error { d.loop.Stop(); return nil })
	return nil
}

// lacks is what a broker lacks of what makes hubpipe quick and quiet, for the
// log and the status. Work is possible without all of it, but what it refuses.
func lacks(info broker.ConnInfo) []string {
	var out []string
	if info.MaxPacket > 0 && info.MaxPacket < wantedPacket {
		out = append(out, fmt.Sprintf("it takes packets of %d bytes, less than the %d of a full page: larger records are not stored, and said",
			info.MaxPacket, wantedPacket))
	}
	if info.MaxQoS < 1 {
		out = append(out, "it grants QoS 0 only: what it drops is sent again later")
	}
	if !info.RetainAvailable {
		out = append(out, "it keeps no retained messages: the topics status and streams show only what is new")
	}
	if info.SessionExpiry == 0 {
		out = append(out, "it keeps no sessions: what is sent while the daemon is away is sent again")
	}
	for _, topic := range info.Refused {
		out = append(out, "it refuses the subscription to "+topic+": see its access rules")
	}
	return out
}

// wantedPacket holds a page that is full and does not compress, and its topic.
const wantedPacket = protocol.MaxPageBytes + 4<<10

func (d *Daemon) complain(info broker.ConnInfo) {
	d.brokerSays.Store(&info)
	for _, what := range lacks(info) {
		d.log.Warn("the broker lacks something", "what", what)
	}
	if d.embedded == nil {
		d.log.Info("on this broker whoever may publish below the prefix can write to the store; restrict it to hubpipe's own users; `hubpipe broker acl` prints rules", "prefix", d.topics.Prefix)
	}
}

// lookForStrangers reads the retained status over a connection of its own,
// before the daemon takes its client id: taking it would end the other's
// connection, and its last will would then say that nobody is there.
func (d *Daemon) lookForStrangers(ctx context.Context) error {
	seen, alive := make(chan protocol.DaemonStatus, 1), make(chan struct{}, 1)
	answers := d.topics.ControlResponse() + "/" + d.process
	o := d.sessionOptions(d.topics.Prefix + "-look-" + d.process)
	o.CleanStart = true
	o.Subscriptions = []broker.Subscription{{Topic: d.topics.Status(), QoS: 1}, {Topic: answers, QoS: 1}}
	o.OnMessage = func(topic string, payload []byte, _ broker.Properties) {
		if topic == answers {
			select {
			case alive <- struct{}{}:
			default:
			}
			return
		}
		if s, err := protocol.Unmarshal[protocol.DaemonStatus](payload); err == nil {
			select {
			case seen <- s:
			default:
			}
		}
	}
	look, err := broker.NewSession(o)
	if err != nil {
		return err
	}
	if err := look.Start(ctx); err != nil {
		return err
	}
	defer func() { _ = look.Stop(context.WithoutCancel(ctx)) }() // it has said what it had to
	up, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	if err := look.AwaitUp(up); err != nil {
		return fmt.Errorf("reach the broker at %s: %w", d.BrokerAddr(), err)
	}
	t := time.NewTimer(strangerPatience)
	defer t.Stop()
	select {
	case s := <-seen:
		who := "store " + s.Store
		if s.Address != "" {
			who += ", address " + s.Address
		}
		switch {
		case s.State != "online":
			return nil
		case s.Store != d.store.ID():
			return fmt.Errorf("another daemon is online under the prefix %q: %s; "+
				"set broker { prefix } to another one, or stop it", d.topics.Prefix, who)
		}
		return d.lookForTwin(ctx, look, answers, who, alive)
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lookForTwin asks whether a daemon of this very store lives: the folder's lock
// keeps out a second one of the same folder, and not one of a copy. Its status
// may be what a daemon before us left on a broker that never told of its end; a
// living one answers.
func (d *Daemon) lookForTwin(ctx context.Context, look *broker.Session, answers, who string, alive <-chan struct{}) error {
	ask, cancel := context.WithTimeout(ctx, twinPatience)
	defer cancel()
	m := broker.Message{Topic: d.topics.Control(), Payload: []byte("status"), QoS: 1, ResponseTopic: answers, Expiry: twinPatience}
	if err := look.Publish(ask, m); err != nil {
		d.log.Debug("nobody could be asked whether another daemon of the store lives", "error", err)
		return nil
	}
	select {
	case <-alive:
		return fmt.Errorf("another daemon of this store is online under the prefix %q: %s; it runs on a copy of this data folder, "+
			"or this is one: stop one of them for good", d.topics.Prefix, who)
	case <-ask.Done():
		return ctx.Err()
	}
}

// twinPatience is how long an answer may take of a daemon that lives.
const twinPatience = 2 * time.Second

// strangerPatience is how long a retained status may take to come.
const strangerPatience = 500 * time.Millisecond

// statusPayload is the daemon's retained status, and with "offline" its will.
func (d *Daemon) statusPayload(state string) []byte {
	s := protocol.DaemonStatus{State: state, Version: d.o.Version, Store: d.store.ID(), Epoch: d.store.Epoch(),
		Process: d.process, Time: time.Now().UTC().Format(time.RFC3339), Address: d.listens()}
	if info := d.brokerSays.Load(); info != nil {
		s.Lacks = lacks(*info)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`{"state":"` + state + `"}`)
	}
	return b
}

// listens is where the HTTP API listens, or will where the configuration names a
// port; the last will is made before it does.
func (d *Daemon) listens() string {
	if a := d.address.Load(); a != nil {
		return *a
	}
	configured := d.o.Config.HTTP.Listen
	if _, port, err := net.SplitHostPort(configured); err != nil || port == "0" {
		return ""
	}
	return configured
}

// startControl makes the second connection, on which commands come.
func (d *Daemon) startControl(ctx, own context.Context) error {
	d.control = newControl(d.topics, d.do, time.Now, d.log.Named("control"))
	d.control.recall(slices.DeleteFunc(slices.Clone(d.answers), func(a *stream.Answered) bool { return a.Door != "" }))
	d.control.keep = d.remember
	o := d.sessionOptions(d.topics.DaemonControlClient())
	o.CleanStart = true
	o.Subscriptions = []broker.Subscription{{Topic: d.topics.Control(), QoS: 1, RetainHandling: 2, RetainAsPublished: true}}
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
		return fmt.Errorf("reach the broker at %s for the control topic: %w", d.BrokerAddr(), err)
	}
	d.control.start(own)
	d.onClose("control topic", func(context.Context) error { d.control.stop(); return nil })
	return nil
}
