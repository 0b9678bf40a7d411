package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
	"github.com/hashicorp/go-hclog"
)

// ErrNotConnected is returned by Publish while there is no connection, or
// while its subscriptions are not yet granted. Nothing was sent.
var ErrNotConnected = errors.New("not connected to the broker")

// ErrStopped is returned by a session that was stopped, or never started.
var ErrStopped = errors.New("the session is stopped")

// ErrTooLarge says that a message is larger than the broker takes; nothing was
// sent. Both are bytes of the whole packet.
type ErrTooLarge struct {
	Size  int
	Limit int
}

// Error names both sizes.
func (e ErrTooLarge) Error() string {
	return fmt.Sprintf("a message of %d bytes is larger than the broker's limit of %d", e.Size, e.Limit)
}

// Message is what is published. The payload must not change until Publish has
// returned nil.
type Message struct {
	Topic           string
	Payload         []byte
	QoS             byte
	Retain          bool
	Expiry          time.Duration // rounded up to seconds; 0 is never
	ResponseTopic   string
	CorrelationData []byte
}

// Properties are what came with a message beside its topic and payload.
type Properties struct {
	ResponseTopic   string
	CorrelationData []byte
	Retain          bool // it was retained before we subscribed, or see RetainAsPublished
}

// Subscription is a filter that the session asks for on every connection.
// RetainHandling is MQTT's: 0 sends retained messages each time, 1 only for a
// new subscription, 2 never. RetainAsPublished keeps the mark of those that are
// published while we listen, which brokers otherwise take off.
type Subscription struct {
	Topic             string
	QoS               byte
	RetainHandling    byte
	RetainAsPublished bool
}

// ConnInfo is what the broker said of itself when it let us in.
type ConnInfo struct {
	MaxPacket       uint32 // bytes of a whole packet; 0 is no limit
	SessionPresent  bool   // the broker still had our session
	MaxQoS          byte
	RetainAvailable bool
	SessionExpiry   time.Duration // granted
	Refused         []string      // subscriptions that the broker refused
}

// SessionOptions say where the broker is, who comes, and who is told.
// The callbacks must not block: they hold up what comes in. They are never
// called after Stop has returned.
type SessionOptions struct {
	URL string      // mqtt://host[:port], mqtts://host[:port] or unix:///path
	TLS *tls.Config // for mqtts; nil for the system's roots and no certificate of our own

	ClientID string
	Username string
	Password string

	Will          *Message
	Subscriptions []Subscription
	CleanStart    bool          // begin without what an earlier connection left, each time
	Expiry        time.Duration // how long the broker keeps the session; 0 is not at all

	OnUp      func(ConnInfo) // connected and subscribed
	OnDown    func(error)    // the connection that OnUp told of is lost; not called by Stop
	OnMessage func(topic string, payload []byte, props Properties)

	Logger    hclog.Logger
	KeepAlive time.Duration // 8 s by default; a dead peer is noticed after two
	MaxWait   time.Duration // greatest pause between attempts to connect; 5 s by default
	MaxPacket int           // a limit of our own besides the broker's; 0 is none
	Jitter    func() float64
}

// publishers bounds how many publishes are on their way at once.
const publishers = 256

// Session is a client's lasting relation with a broker: it connects, connects
// again whenever the connection is lost, and subscribes each time. What was
// published may arrive twice, late or never; that is for the caller to repeat.
type Session struct {
	o       SessionOptions
	log     hclog.Logger
	target  target
	slots   chan struct{}
	wg      sync.WaitGroup // publishes
	backoff backoff
	trouble trouble  // run's alone
	will    *Message // as it is sent, where the broker takes no other; run's alone

	mu      sync.Mutex // guards all below
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when run has ended; nil before Start
	raw     net.Conn      // of the newest attempt
	conn    *connection   // connected and subscribed, else nil
	up      chan struct{} // closed while conn is there
	info    ConnInfo
	lastErr error
	stopped bool
	// denied is closed while the broker refuses user name or password.
	denied   chan struct{}
	isDenied bool
}

// connection is one connection of the session, from CONNACK to its loss.
type connection struct {
	ctx    context.Context //nolint:containedctx // ends with the connection
	client *paho.Client
}

// NewSession checks the options; it does not connect.
func NewSession(o SessionOptions) (*Session, error) {
	t, err := parseTarget(o.URL, o.TLS)
	if err != nil {
		return nil, err
	}
	if o.ClientID == "" {
		return nil, errors.New("a session needs a client id")
	}
	if o.Will != nil && !validTopic(o.Will.Topic, false) {
		return nil, fmt.Errorf("last will: %q is not a topic", o.Will.Topic)
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.KeepAlive <= 0 {
		o.KeepAlive = 8 * time.Second
	}
	if o.MaxWait <= 0 {
		o.MaxWait = 5 * time.Second
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	return &Session{o: o, log: o.Logger, target: t, will: o.Will, slots: make(chan struct{}, publishers),
		backoff: backoff{base: 50 * time.Millisecond, limit: o.MaxWait, jitter: o.Jitter},
		up:      make(chan struct{}), denied: make(chan struct{})}, nil
}

// Start begins to connect in the background and returns at once. The session
// lasts until Stop, whatever becomes of ctx.
func (s *Session) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return ErrStopped
	}
	if s.done != nil {
		return errors.New("the session was started already")
	}
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	s.cancel, s.done = cancel, make(chan struct{})
	go s.run(run, s.done)
	return nil
}

// run connects and connects again until the session is stopped.
func (s *Session) run(ctx context.Context, done chan struct{}) {
	defer close(done)
	kept := state.NewInMemory() // what was published and not acknowledged
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.backoff.next()):
		}
		began, timeout := time.Now(), connectTimeout
		if s.trouble.since.IsZero() {
			timeout = firstTimeout
		}
		c, info, err := s.connect(ctx, timeout, kept)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if s.ease(err) {
				continue
			}
			s.backoff.failed()
			s.complain(began, err)
			continue
		}
		s.trouble = trouble{}
		if info.RetainAvailable && info.MaxQoS > 0 {
			s.will = s.o.Will // another broker may stand there now
		}
		s.backoff.up()
		s.serve(c, info)
		if ctx.Err() != nil {
			// A normal DISCONNECT: the last will is not sent.
			_ = c.client.Disconnect(&paho.Disconnect{})
			<-c.client.Done()
			return
		}
		<-c.client.Done()
		s.backoff.down()
	}
}

// connect makes one connection, login included. ReceiveMaximum is left alone:
// the embedded broker stalls and loses messages where a client sets it.
// Its error is the reason alone, in plain words.
func (s *Session) connect(ctx context.Context, timeout time.Duration, kept *state.State) (*connection, ConnInfo, error) {
	attempt, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	conn, err := s.dial(attempt)
	if err != nil {
		return nil, ConnInfo{}, plainly(err)
	}
	own, cancel := context.WithCancelCause(ctx)
	c := &connection{ctx: own}
	c.client = paho.NewClient(paho.ClientConfig{
		ClientID:          s.o.ClientID,
		Conn:              conn,
		Session:           kept,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){s.received},
		OnClientError:     func(err error) { cancel(fmt.Errorf("the connection was lost: %w", err)) },
		OnServerDisconnect: func(d *paho.Disconnect) {
			cancel(closed(d.ReasonCode))
		},
	})
	c.client.SetErrorLogger(pahoLog{s.log})
	ack, err := c.client.Connect(attempt, s.connectPacket())
	if err != nil {
		_ = conn.Close()
		cancel(err)
		if ack != nil && ack.ReasonCode >= 0x80 {
			return nil, ConnInfo{}, ErrRefused{ack.ReasonCode}
		}
		return nil, ConnInfo{}, plainly(err)
	}
	return c, connInfo(ack, s.o.Expiry), nil
}

func (s *Session) connectPacket() *paho.Connect {
	expiry := seconds(s.o.Expiry)
	cp := &paho.Connect{
		ClientID:   s.o.ClientID,
		CleanStart: s.o.CleanStart,
		KeepAlive:  uint16(min(max(s.o.KeepAlive/time.Second, 1), 3600)),
		Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry},
	}
	if s.o.Username != "" {
		cp.UsernameFlag, cp.Username = true, s.o.Username
	}
	if s.o.Password != "" {
		cp.PasswordFlag, cp.Password = true, []byte(s.o.Password)
	}
	if w := s.will; w != nil {
		cp.WillMessage = &paho.WillMessage{Retain: w.Retain, QoS: w.QoS, Topic: w.Topic, Payload: w.Payload}
		cp.WillProperties = &paho.WillProperties{}
		if w.Expiry > 0 {
			e := seconds(w.Expiry)
			cp.WillProperties.MessageExpiry = &e
		}
	}
	return cp
}

// serve is the life of one connection: subscribe, tell, wait, tell.
func (s *Session) serve(c *connection, info ConnInfo) {
	s.mu.Lock()
	s.info, s.lastErr = info, nil
	if s.isDenied {
		s.isDenied, s.denied = false, make(chan struct{})
	}
	s.mu.Unlock()
	refused, ok := s.subscribe(c)
	if ok {
		info.Refused = refused
		s.mu.Lock()
		s.conn, s.info = c, info
		close(s.up)
		s.mu.Unlock()
		if s.o.OnUp != nil {
			s.o.OnUp(info)
		}
	}
	<-c.ctx.Done()
	err := context.Cause(c.ctx)
	s.mu.Lock()
	s.lastErr = err
	if ok {
		s.conn, s.up = nil, make(chan struct{})
	}
	s.mu.Unlock()
	if ok && s.o.OnDown != nil && !errors.Is(err, ErrStopped) {
		s.o.OnDown(err)
	}
}

// takeoverTime is how long a broker may take to close who was taken over.
const takeoverTime = 300 * time.Millisecond

// subscribe asks until the broker has answered or the connection is lost.
func (s *Session) subscribe(c *connection) (refused []string, ok bool) {
	if len(s.o.Subscriptions) == 0 {
		return nil, c.ctx.Err() == nil
	}
	sub := &paho.Subscribe{}
	for _, f := range s.o.Subscriptions {
		sub.Subscriptions = append(sub.Subscriptions, paho.SubscribeOptions{Topic: f.Topic, QoS: f.QoS,
			RetainHandling: f.RetainHandling, RetainAsPublished: f.RetainAsPublished})
	}
	for attempt := 1; ; attempt++ {
		ack, err := c.client.Subscribe(c.ctx, sub)
		refused = nil
		pause := time.Second
		switch {
		case c.ctx.Err() != nil:
			return nil, false // it is lost or left, and nobody asks again
		case ack == nil || len(ack.Reasons) != len(sub.Subscriptions):
			s.log.Warn("the broker does not answer a subscribe; asking again", "error", err)
		default:
			for i, reason := range ack.Reasons {
				if reason >= 0x80 {
					refused = append(refused, s.o.Subscriptions[i].Topic)
				}
			}
			if len(refused) == 0 {
				return nil, true
			}
			// A client whose name another one is just taking is refused too, and
			// closed a moment later: what is refused for good is refused again.
			if attempt > 1 {
				s.log.Error("the broker refused subscriptions", "topics", refused)
				return refused, true
			}
			pause = takeoverTime
		}
		select {
		case <-c.ctx.Done():
			return nil, false
		case <-time.After(pause):
		}
	}
}

func (s *Session) received(p paho.PublishReceived) (bool, error) {
	if s.o.OnMessage == nil || p.Packet == nil {
		return true, nil
	}
	props := Properties{Retain: p.Packet.Retain}
	if q := p.Packet.Properties; q != nil {
		props.ResponseTopic, props.CorrelationData = q.ResponseTopic, q.CorrelationData
	}
	s.o.OnMessage(p.Packet.Topic, p.Packet.Payload, props)
	return true, nil
}

// AwaitUp returns when the session is connected and subscribed; with ErrRefused
// when the broker refuses user name, password or the client's name, although the session goes on
// trying; or when the context ends, with an error that is the context's and
// reads as the reason of the last failed attempt.
func (s *Session) AwaitUp(ctx context.Context) error {
	for {
		s.mu.Lock()
		up, denied, stopped := s.up, s.denied, s.stopped
		s.mu.Unlock()
		if stopped {
			return ErrStopped
		}
		select {
		case <-up:
			if s.Connected() {
				return nil
			}
		case <-denied:
			return s.reason()
		case <-ctx.Done():
			return notUp{ctx.Err(), s.reason()}
		}
	}
}

// reason is why there is no connection.
func (s *Session) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastErr == nil {
		return errors.New("no answer")
	}
	return s.lastErr
}

// Connected says whether the session is connected and subscribed.
func (s *Session) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

// MaxPacket is the greatest packet in bytes that the broker said it takes, or
// our own limit where that is less; 0 where neither is known.
func (s *Session) MaxPacket() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.maxPacket()
}

func (s *Session) maxPacket() int {
	limit := int(s.info.MaxPacket)
	if s.o.MaxPacket > 0 && (limit == 0 || s.o.MaxPacket < limit) {
		limit = s.o.MaxPacket
	}
	return limit
}
