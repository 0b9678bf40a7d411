package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// selfSigned is a certificate that is its own authority, for both sides.
func selfSigned(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// Over TLS all is as without it, and a client's certificate is shown to whoever
// decides; plain bytes and silence are bounded as before a login.
func TestTLS(t *testing.T) {
	t.Parallel()
	server, roots := selfSigned(t, "broker")
	w1, clients := selfSigned(t, "w1")
	b := startBroker(t, func(o *EmbeddedOptions) {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server}, ClientCAs: clients, ClientAuth: tls.VerifyClientCertIfGiven}
		o.Limits.LoginTimeout = 3 * time.Second
		o.Authenticate = func(l Login) (Grant, bool) {
			if l.Username == "" && len(l.Certificates) > 0 {
				return Grant{Identity: Identity{Role: RoleWorker, Name: l.Certificates[0].Subject.CommonName}}, true
			}
			return testLogin(l)
		}
	})
	url := strings.Replace(b.testURL(), "mqtt:", "mqtts:", 1)
	m := newMail()
	startSession(t, SessionOptions{URL: url, TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, ClientID: "me", Username: "hubpipe", Password: testToken,
		Subscriptions: []Subscription{{Topic: "hubpipe/workers/+", QoS: 1}}, OnMessage: m.receive})
	worker := startSession(t, SessionOptions{URL: url, TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{w1}}, ClientID: "hubpipe-worker-w1"})
	if err := worker.Publish(testContext(t), Message{Topic: "hubpipe/workers/w1", Payload: []byte("here"), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	m.await(t, withPayload("here"))
	dialRaw(t, "tcp", b.Addr()).send(connect(5, "", "hubpipe", testToken, "")).wantClosed("MQTT without TLS")
	dialRaw(t, "tcp", b.Addr()).wantClosed("silence")
	dialRaw(t, "tcp", b.Addr()).send([]byte{22, 3, 1, 2, 0, 1, 0, 1, 0xfc}).wantClosed("a handshake that falls silent")
	untrusting := newSession(t, SessionOptions{URL: url, ClientID: "you", Username: "hubpipe", Password: testToken})
	short, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := untrusting.AwaitUp(short); err == nil {
		t.Error("a client takes a certificate that nobody vouches for")
	}
	for _, address := range []string{":0", "0.0.0.0:0", "192.0.2.1:0", "hubpipe.example:0", "[::]:0"} {
		o := EmbeddedOptions{Listen: address, Prefix: "p", Authenticate: testLogin}
		if _, err := NewEmbedded(o); err == nil || !strings.Contains(err.Error(), "without TLS") {
			t.Errorf("%s without TLS: %v", address, err)
		}
		o.TLS = b.o.TLS
		if _, err := NewEmbedded(o); err != nil {
			t.Errorf("%s with TLS: %v", address, err)
		}
		o.Authenticate = nil
		if _, err := NewEmbedded(o); err == nil {
			t.Errorf("%s without credentials was taken", address)
		}
	}
}

// Who came in by a grant that holds no longer is told so and cut off; the
// others stay.
func TestRecheck(t *testing.T) {
	t.Parallel()
	valid := make(chan struct{})
	b := startBroker(t, func(o *EmbeddedOptions) {
		o.Authenticate = func(l Login) (Grant, bool) {
			g, ok := testLogin(l)
			if l.Username == "reader" {
				g.Valid = func() bool {
					select {
					case <-valid:
						return false
					default:
						return true
					}
				}
			}
			return g, ok
		}
	})
	dial := func(version byte, id, user string) *raw {
		r := dialRaw(t, "tcp", b.Addr()).send(connect(version, id, user, testToken, ""))
		r.want("login", 0x20, 1, 0)
		return r
	}
	reader, old, other := dial(5, "r5", "reader"), dial(4, "r4", "reader"), dial(5, "me", "hubpipe")
	b.Recheck()
	reader.send(frame(0xc0)).want("a ping while it holds", 0xd0, -1, 0)
	close(valid)
	b.Recheck()
	reader.want("the reason", 0xe0, 0, 0x87)
	reader.wantClosed("a reader that is one no longer")
	old.wantClosed("one of MQTT 3.1.1")
	other.send(frame(0xc0)).want("another's ping", 0xd0, -1, 0)
}

// Credentials that are taken back while a login looks at them let nobody in,
// though nobody was there yet to be cut off.
func TestRevokedWhileItLogsIn(t *testing.T) {
	t.Parallel()
	var at atomic.Pointer[Embedded]
	b := startBroker(t, func(o *EmbeddedOptions) {
		o.Authenticate = func(l Login) (Grant, bool) {
			g, ok := testLogin(l)
			g.Valid = func() bool { return false }
			at.Load().Recheck()
			return g, ok
		}
	})
	at.Store(b)
	for version, code := range map[byte]byte{5: 0x86, 4: 5} {
		r := dialRaw(t, "tcp", b.Addr()).send(connect(version, "me", "hubpipe", testToken, ""))
		r.want("a login", 0x20, 1, code)
		r.wantClosed("a login by what holds no longer")
	}
	eventually(t, "what it held is given up", func() bool { return b.Stats().Sessions == 0 })
}

// The last will of whoever is cut off is no command any more; a worker's says
// that it is gone.
func TestWillOfWhoIsCutOff(t *testing.T) {
	t.Parallel()
	var revoked atomic.Bool
	b := startBroker(t, func(o *EmbeddedOptions) {
		o.Authenticate = func(l Login) (Grant, bool) {
			g, ok := testLogin(l)
			g.Valid = func() bool { return !revoked.Load() }
			return g, ok
		}
	})
	m := newMail()
	daemon := startSession(t, SessionOptions{URL: b.testSocket(), ClientID: "hubpipe-daemon", OnMessage: m.receive,
		Subscriptions: []Subscription{{Topic: "#", QoS: 1}}})
	for _, c := range [][]byte{connect(5, "me", "hubpipe", testToken, "hubpipe/control"), connect(4, "me4", "ops", testToken, "mine/x"),
		connect(5, "hubpipe-worker-w1", "w1", testToken, "hubpipe/workers/w1")} {
		dialRaw(t, "tcp", b.Addr()).send(c).want("a login", 0x20, 1, 0)
	}
	revoked.Store(true)
	b.Recheck()
	eventually(t, "only the daemon is there", func() bool { return atomic.LoadInt64(&b.server.Info.ClientsConnected) == 1 })
	m.await(t, onTopic("hubpipe/workers/w1"))
	// All have ended: what they would have left has come before this.
	if err := daemon.Publish(testContext(t), Message{Topic: "hubpipe/end", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	m.await(t, onTopic("hubpipe/end"))
	if all := m.all(); len(all) != 2 {
		t.Errorf("it left %v", all)
	}
}

// A will waits no longer than its session lasts, and a command not at all.
func TestWillsDoNotWait(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	m := newMail()
	startSession(t, SessionOptions{URL: b.testSocket(), ClientID: "hubpipe-daemon", OnMessage: m.receive, Subscriptions: []Subscription{{Topic: "#", QoS: 1}}})
	delay, expiry := []byte{0x18, 0xff, 0xff, 0xff, 0xff}, []byte{0x11, 0xff, 0xff, 0xff, 0xff}
	for id, c := range map[string]struct {
		topic string
		props []byte
	}{"without-a-session": {"mine/x", nil}, "with-one": {"hubpipe/control", expiry}} {
		r := dialRaw(t, "tcp", b.Addr()).send(frame(0x10, str("MQTT"), []byte{5, 0xc6, 0, 30}, props(5, c.props...), str(id),
			props(5, delay...), str(c.topic), str(id), str("hubpipe"), str(testToken)))
		r.want("a login", 0x20, 1, 0)
		_ = r.conn.Close()
		m.await(t, withPayload(id))
	}
}
