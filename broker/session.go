package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/hashicorp/go-hclog"
)

// Message is something to publish.
type Message struct {
	Topic           string
	Payload         []byte
	QoS             byte
	Retain          bool
	Expiry          time.Duration // 0: never
	ResponseTopic   string
	CorrelationData []byte
}

// Properties are what came with a message besides its payload.
type Properties struct {
	ResponseTopic   string
	CorrelationData []byte
	Retain          bool
}

// Subscription is a filter that a session listens to.
type Subscription struct {
	Topic          string
	QoS            byte
	RetainHandling byte
}

// ConnInfo is what the broker said when the connection came up.
type ConnInfo struct {
	SessionPresent bool
	MaxPacket      uint32 // 0: no limit was named
}

// TooLargeError is a message that the broker would not take; it was not sent.
type TooLargeError struct{ Size, Limit int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a message of %d bytes is above the broker's limit of %d: raise broker { max_packet }", e.Size, e.Limit)
}

// SessionOptions are where and as whom a session connects.
type SessionOptions struct {
	URL           string // mqtt://, mqtts:// or unix://
	ClientID      string
	Username      string
	Password      string
	CleanStart    bool
	Expiry        time.Duration
	Will          *Message
	Subscriptions []Subscription
	// The callbacks must not block.
	OnUp      func(ConnInfo)
	OnDown    func(error)
	OnMessage func(topic string, payload []byte, p Properties)
	Logger    hclog.Logger
}

// Session is a connection that comes back by itself. Nothing depends on what
// the broker keeps for it: it makes interruptions quiet, no more.
type Session struct {
	o      SessionOptions
	url    *url.URL
	cm     atomic.Pointer[autopaho.ConnectionManager]
	cancel context.CancelFunc
	up     atomic.Bool
	limit  atomic.Int64
	wg     sync.WaitGroup
}

// NewSession returns a session that has not begun.
func NewSession(o SessionOptions) (*Session, error) {
	raw := o.URL
	if !strings.Contains(raw, "://") {
		raw = "mqtt://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("broker address %q: %w", o.URL, err)
	}
	return &Session{o: o, url: u}, nil
}

// Start begins to connect, in the background, until Stop.
func (s *Session) Start(ctx context.Context) error {
	ctx, s.cancel = context.WithCancel(ctx)
	c := autopaho.ClientConfig{
		ServerUrls: []*url.URL{s.url}, KeepAlive: 20, CleanStartOnInitialConnection: s.o.CleanStart,
		SessionExpiryInterval: uint32(s.o.Expiry / time.Second), ConnectUsername: s.o.Username,
		ConnectPassword: []byte(s.o.Password), ConnectTimeout: 5 * time.Second, ReconnectBackoff: backoff,
		OnConnectionUp: s.connected,
		OnConnectionDown: func() bool {
			s.up.Store(false)
			return true
		},
		OnConnectError:    s.failed,
		AttemptConnection: s.dial,
		ClientConfig: paho.ClientConfig{ClientID: s.o.ClientID,
			OnClientError:     s.failed,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){s.received},
			PacketTimeout:     10 * time.Second},
	}
	if w := s.o.Will; w != nil {
		c.WillMessage = &paho.WillMessage{Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain}
	}
	cm, err := autopaho.NewConnection(ctx, c)
	if err != nil {
		s.cancel()
		return fmt.Errorf("connect to the broker: %w", err)
	}
	s.cm.Store(cm)
	return nil
}

// backoff grows from a tenth of a second to ten, with jitter, so that many do
// not come back at once.
func backoff(attempt int) time.Duration {
	if attempt == 0 {
		return 0
	}
	d := min(10*time.Second, 100*time.Millisecond<<min(attempt, 7))
	return d/2 + time.Duration(rand.Int64N(int64(d)))
}

func (s *Session) dial(ctx context.Context, _ autopaho.ClientConfig, u *url.URL) (net.Conn, error) {
	var d net.Dialer
	switch u.Scheme {
	case "unix":
		return d.DialContext(ctx, "unix", u.Path)
	case "mqtts", "ssl", "tls":
		return (&tls.Dialer{Config: &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", hostPort(u, "8883"))
	}
	return d.DialContext(ctx, "tcp", hostPort(u, "1883"))
}

func hostPort(u *url.URL, port string) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// connected subscribes anew each time: the broker may have lost the session.
func (s *Session) connected(cm *autopaho.ConnectionManager, ack *paho.Connack) {
	info := ConnInfo{SessionPresent: ack.SessionPresent}
	if ack.Properties != nil && ack.Properties.MaximumPacketSize != nil {
		info.MaxPacket = *ack.Properties.MaximumPacketSize
	}
	s.limit.Store(int64(info.MaxPacket))
	s.cm.Store(cm) // the connection can be up before Start has returned
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		sub := &paho.Subscribe{}
		for _, x := range s.o.Subscriptions {
			sub.Subscriptions = append(sub.Subscriptions, paho.SubscribeOptions{Topic: x.Topic, QoS: x.QoS, RetainHandling: x.RetainHandling})
		}
		if len(sub.Subscriptions) > 0 {
			if _, err := cm.Subscribe(ctx, sub); err != nil {
				s.failed(fmt.Errorf("subscribe: %w", err))
				return
			}
		}
		s.up.Store(true)
		if s.o.OnUp != nil {
			s.o.OnUp(info)
		}
	})
}

func (s *Session) failed(err error) {
	if s.o.OnDown != nil && !errors.Is(err, context.Canceled) {
		s.o.OnDown(err)
	}
}

func (s *Session) received(r paho.PublishReceived) (bool, error) {
	p := Properties{Retain: r.Packet.Retain}
	if r.Packet.Properties != nil {
		p.ResponseTopic, p.CorrelationData = r.Packet.Properties.ResponseTopic, r.Packet.Properties.CorrelationData
	}
	if s.o.OnMessage != nil {
		s.o.OnMessage(r.Packet.Topic, r.Packet.Payload, p)
	}
	return true, nil
}

// Connected tells whether the session is up and subscribed.
func (s *Session) Connected() bool { return s.up.Load() }

// MaxPacket is the broker's limit, 0 where it named none.
func (s *Session) MaxPacket() int { return int(s.limit.Load()) }

// AwaitUp waits until the session is up and subscribed.
func (s *Session) AwaitUp(ctx context.Context) error {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for !s.up.Load() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("no connection to the broker: %w", ctx.Err())
		}
	}
	return nil
}

// Publish sends a message. It refuses what the broker would not take, and
// returns by the end of its context; an error leaves open whether the message
// went out.
func (s *Session) Publish(ctx context.Context, m Message) error {
	if limit := int(s.limit.Load()); limit > 0 && len(m.Payload)+len(m.Topic)+256 > limit {
		return &TooLargeError{Size: len(m.Payload), Limit: limit}
	}
	p := &paho.Publish{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain,
		Properties: &paho.PublishProperties{ResponseTopic: m.ResponseTopic, CorrelationData: m.CorrelationData}}
	if m.Expiry > 0 {
		e := uint32(max(1, m.Expiry/time.Second))
		p.Properties.MessageExpiry = &e
	}
	cm := s.cm.Load()
	if cm == nil {
		return fmt.Errorf("publish to %s: the session has not begun", m.Topic)
	}
	if _, err := cm.Publish(ctx, p); err != nil {
		return fmt.Errorf("publish to %s: %w", m.Topic, err)
	}
	return nil
}

// Stop disconnects; the last will is not sent.
func (s *Session) Stop(ctx context.Context) error {
	cm := s.cm.Load()
	if cm == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = cm.Disconnect(ctx) // the connection may be gone already
	s.cancel()
	<-cm.Done()
	s.wg.Wait()
	s.up.Store(false)
	return nil
}
