package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	pahopackets "github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/hashicorp/go-hclog"
)

// connectTimeout bounds one attempt to connect, login included.
const connectTimeout = 5 * time.Second

// stableAfter is how long a connection must last before its loss is followed
// by an attempt at once.
const stableAfter = 10 * time.Second

// target is where a broker is.
type target struct {
	url     *url.URL // without credentials
	network string
	address string
	tls     *tls.Config
}

// String is the address as people write it, without credentials.
func (t target) String() string { return t.url.String() }

// parseTarget reads a broker's URL; the TLS configuration is for mqtts alone.
func parseTarget(text string, config *tls.Config) (target, error) {
	u, err := url.Parse(text)
	if err != nil {
		return target{}, errors.New("the broker's URL does not parse: want mqtt://host:1883, mqtts://host:8883 or unix:///path")
	}
	u.User = nil
	switch u.Scheme {
	case "unix":
		if u.Path == "" {
			return target{}, fmt.Errorf("the broker's URL %q has no path", u)
		}
		return target{url: u, network: "unix", address: u.Path}, nil
	case "mqtt", "tcp", "mqtts", "tls", "ssl":
	default:
		return target{}, fmt.Errorf("the broker's URL %q: want mqtt://host:1883, mqtts://host:8883 or unix:///path", u)
	}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		return target{}, fmt.Errorf("the broker's URL %q has no host", u)
	}
	t := target{url: u, network: "tcp"}
	if u.Scheme == "mqtt" || u.Scheme == "tcp" {
		if port == "" {
			port = "1883"
		}
		t.address = net.JoinHostPort(host, port)
		return t, nil
	}
	if port == "" {
		port = "8883"
	}
	t.address = net.JoinHostPort(host, port)
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.tls = config.Clone()
	t.tls.ServerName = host
	return t, nil
}

// dial makes the network connection. TLS connections are wrapped, since a
// packet is written in several parts that must not mix; the others write a
// packet at once.
func (s *Session) dial(ctx context.Context) (net.Conn, error) {
	var conn net.Conn
	var err error
	if s.target.tls != nil {
		conn, err = (&tls.Dialer{Config: s.target.tls}).DialContext(ctx, s.target.network, s.target.address)
		if err == nil {
			conn = pahopackets.NewThreadSafeConn(conn)
		}
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, s.target.network, s.target.address)
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = conn
	return conn, nil
}

// connInfo reads what the broker said; what it left out has MQTT's default.
func connInfo(ack *paho.Connack, asked time.Duration) ConnInfo {
	info := ConnInfo{SessionPresent: ack.SessionPresent, MaxQoS: 2, RetainAvailable: true, SessionExpiry: asked}
	p := ack.Properties
	if p == nil {
		return info
	}
	info.RetainAvailable = p.RetainAvailable
	if p.MaximumPacketSize != nil {
		info.MaxPacket = *p.MaximumPacketSize
	}
	if p.MaximumQoS != nil {
		info.MaxQoS = *p.MaximumQoS
	}
	if p.SessionExpiryInterval != nil {
		info.SessionExpiry = time.Duration(*p.SessionExpiryInterval) * time.Second
	}
	return info
}

// backoff is the pause before an attempt: none after a connection that lasted,
// then growing, always with jitter, so that many clients do not come at once.
// A connection that is lost soon after it was made counts as a failure.
type backoff struct {
	base, limit time.Duration
	jitter      func() float64 // [0,1)

	mu       sync.Mutex
	failures int
	since    time.Time
}

func (b *backoff) next() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures == 0 {
		return 0
	}
	d := min(b.base<<min(b.failures-1, 20), b.limit)
	return d/2 + time.Duration(b.jitter()*float64(d/2))
}

func (b *backoff) failed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures++
}

func (b *backoff) up() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.since = time.Now()
}

func (b *backoff) down() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.since) >= stableAfter {
		b.failures = 0
	}
	b.failures++
}

// pahoLog takes the client's complaints; they are about what is tried again.
type pahoLog struct{ log hclog.Logger }

// Println writes at trace level.
func (l pahoLog) Println(v ...any) { l.log.Trace("mqtt", "text", fmt.Sprint(v...)) }

// Printf writes at trace level.
func (l pahoLog) Printf(format string, v ...any) {
	l.log.Trace("mqtt", "text", fmt.Sprintf(format, v...))
}
