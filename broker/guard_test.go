package broker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// raw is a client that writes bytes.
type raw struct {
	t    testing.TB
	conn net.Conn
}

func dialRaw(t testing.TB, network, address string) *raw {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(testContext(t), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(soon))
	return &raw{t, conn}
}

// send writes packets; that the other side closes is no failure here.
func (r *raw) send(frames ...[]byte) *raw {
	_, _ = r.conn.Write(bytes.Join(frames, nil))
	return r
}

// next is the next packet: its first byte and its body.
func (r *raw) next() (byte, []byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r.conn, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(head[1] & 0x7f)
	if head[1] >= 0x80 {
		var more [1]byte
		if _, err := io.ReadFull(r.conn, more[:]); err != nil {
			return 0, nil, err
		}
		n |= int(more[0]) << 7
	}
	body := make([]byte, n)
	_, err := io.ReadFull(r.conn, body)
	return head[0], body, err
}

// want is a packet whose body holds a byte at a place, if that is not below 0.
func (r *raw) want(what string, first byte, at int, value byte) []byte {
	r.t.Helper()
	got, body, err := r.next()
	if err != nil || got != first || at >= 0 && (len(body) <= at || body[at] != value) {
		r.t.Errorf("%s: got %#x % x (%v), want %#x with %#x at %d", what, got, body, err, first, value, at)
	}
	return body
}

func (r *raw) wantClosed(what string) {
	r.t.Helper()
	for {
		_, _, err := r.next()
		if isTimeout(err) {
			r.t.Errorf("%s: the connection stays open", what)
		}
		if err != nil {
			return
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// alive fails unless a good client is served.
func alive(t testing.TB, b *Embedded) {
	t.Helper()
	r := dialRaw(t, "tcp", b.Addr()).send(connect(5, "", "hubpipe", testToken, ""), frame(0xc0))
	r.want("a good client", 0x20, 1, 0)
	r.want("its ping", 0xd0, -1, 0)
}

func TestLogin(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	const worker = "hubpipe-worker-w1"
	for _, c := range []struct {
		name                 string
		id, user, pass, will string
		v5, v4               byte // reason codes
	}{
		{"control", "me", "hubpipe", testToken, "", 0, 0},
		{"control with a made-up id", "", "hubpipe", testToken, "", 0, 0},
		{"control with a will outside", "me2", "hubpipe", testToken, "my/will", 0, 0},
		{"worker", worker, worker, testToken, "hubpipe/workers/w1", 0, 0},
		{"nobody", "me", "", "", "", 0x86, 5},
		{"wrong password", "me", "hubpipe", "wrong", "", 0x86, 5},
		{"wrong user", "me", "root", testToken, "", 0x86, 5},
		{"daemon over TCP", "hubpipe-daemon", "hubpipe-daemon", testToken, "", 0x86, 5},
		{"control as the daemon", "hubpipe-daemon", "hubpipe", testToken, "", 0x85, 2},
		{"control as a worker", worker, "hubpipe", testToken, "", 0x85, 2},
		{"control under the prefix", "hubpiper", "hubpipe", testToken, "", 0x85, 2},
		{"worker as another", "hubpipe-worker-w2", worker, testToken, "", 0x85, 2},
		{"worker without an id", "", worker, testToken, "", 0x85, 2},
		{"will on status", "me", "hubpipe", testToken, "hubpipe/status", 0x87, 5},
		{"will with a wildcard", "me", "hubpipe", testToken, "a/#", 0x87, 5},
		{"will on $SYS", "me", "hubpipe", testToken, "$SYS/x", 0x87, 5},
		{"will on a stream", worker, worker, testToken, "hubpipe/streams/contacts", 0x87, 5},
		{"will on another worker", worker, worker, testToken, "hubpipe/workers/w2", 0x87, 5},
	} {
		dialRaw(t, "tcp", b.Addr()).send(connect(5, c.id, c.user, c.pass, c.will)).want(c.name+" v5", 0x20, 1, c.v5)
		dialRaw(t, "tcp", b.Addr()).send(connect(4, c.id, c.user, c.pass, c.will)).want(c.name+" v3.1.1", 0x20, 1, c.v4)
	}
	dialRaw(t, "unix", b.o.Socket).send(connect(5, "hubpipe-daemon", "", "", "hubpipe/status")).want("daemon by socket", 0x20, 1, 0)
	dialRaw(t, "unix", b.o.Socket).send(connect(5, "hubpipe-x", "", "", "")).want("nobody's id by socket", 0x20, 1, 0x85)
	auth := frame(0x10, str("MQTT"), []byte{5, 2, 0, 30}, []byte{4, 21, 0, 1, 'x'}, str("me"))
	dialRaw(t, "unix", b.o.Socket).send(auth).want("extended authentication", 0x20, 1, 0x8c)
}

// The rules hold on the wire: reason codes, and nothing delivered.
func TestAccessOnTheWire(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	daemon := startSession(t, SessionOptions{URL: b.testSocket(), ClientID: "hubpipe-daemon"})
	r := dialRaw(t, "tcp", b.Addr()).send(connect(5, "me", "hubpipe", testToken, ""))
	r.want("login", 0x20, 1, 0)
	for i, c := range []struct {
		filter string
		code   byte
	}{
		{"hubpipe/status", 1},
		{"hubpipe/streams/+", 1},
		{"mine/#", 1},
		{"hubpipe/control/response/#", 1},
		{"#", 0x87},
		{"+/status", 0x87},
		{"hubpipe/#", 0x87},
		{"hubpipe/workers/w1/commands", 0x87},
		{"hubpipe/control", 0x87},
		{"$share/g/hubpipe/control", 0x87},
		{"$SHARE/g/#", 0x87},
		{"$SYS/#", 0x87},
	} {
		r.send(frame(0x82, []byte{1, byte(i)}, []byte{0}, str(c.filter), []byte{1}))
		r.want(c.filter, 0x90, 3, c.code)
	}
	for i, topic := range []string{
		"hubpipe/control", "mine/x", // these two are allowed
		"hubpipe/status", "hubpipe/streams/contacts", "hubpipe/control/response",
		"hubpipe/workers/w1", "hubpipe/workers/w1/pages", "hubpipe/workers/w1/commands", "hubpipe",
	} {
		r.send(frame(0x33, str(topic), []byte{2, byte(i)}, []byte{0}, []byte("x")))
		body := r.want(topic, 0x40, 1, byte(i))
		if denied := len(body) > 2 && body[2] == 0x87; denied != (i > 1) {
			t.Errorf("%s: denied %t", topic, denied)
		}
		if topic == "mine/x" {
			r.want("the message itself", 0x32, 2, 'm')
		}
	}
	if n := b.server.Topics.Messages("hubpipe/#"); len(n) != 1 || n[0].TopicName != "hubpipe/control" {
		t.Errorf("retained: %v", n)
	}
	for _, topic := range []string{"hubpipe/workers/w1/commands", "hubpipe/status"} {
		if err := daemon.Publish(testContext(t), Message{Topic: topic, Payload: []byte("x"), QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if first, body, err := r.next(); err != nil || first != 0x32 || !bytes.HasPrefix(body, str("hubpipe/status")) {
		t.Errorf("got %#x %q (%v), want the status alone", first, body, err)
	}
}

// keepSession is a CONNECT with a session of 60 s, not a clean start.
func keepSession(id, user string) []byte {
	return frame(0x10, str("MQTT"), []byte{5, 0xc0, 0, 30}, []byte{5, 17, 0, 0, 0, 60}, str(id), str(user), str(testToken))
}

// Nobody gets at another identity's session, connected or kept; one's own is
// taken over.
func TestSessionsBelongToIdentities(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	dial := func(user string) *raw { return dialRaw(t, "tcp", b.Addr()).send(keepSession("mine", user)) }
	first := dial("hubpipe")
	first.want("first", 0x20, 1, 0)
	dial("reader").want("another's session", 0x20, 1, 0x87)
	second := dial("hubpipe")
	if body := second.want("own session", 0x20, 1, 0); body[0] != 1 {
		t.Error("the session was not there")
	}
	first.want("the one before", 0xe0, 0, 0x8e)
	_ = second.conn.Close()
	eventually(t, "the connections end", func() bool { _, open := b.listeners[1].gate.counts(); return open == 0 })
	dial("reader").want("another's kept session", 0x20, 1, 0x87)
	if body := dial("hubpipe").want("own kept session", 0x20, 1, 0); body[0] != 1 {
		t.Error("the kept session was not there")
	}
}

// A DISCONNECT makes a session last no longer than the broker allows, and one that
// has expired leaves nothing for which messages would be kept.
func TestSessionsExpire(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	r := dialRaw(t, "tcp", b.Addr()).send(keepSession("mine", "hubpipe"))
	r.want("login", 0x20, 1, 0)
	r.send(frame(0x82, []byte{0, 1, 0}, str("my/topic"), []byte{1})).want("subscribed", 0x90, 3, 1)
	r.send(frame(0xe0, []byte{0, 5, 17, 0xff, 0xff, 0xff, 0xfe}))
	eventually(t, "the connection ends", func() bool { _, open := b.listeners[1].gate.counts(); return open == 0 })
	kept, ok := b.server.Clients.Get("mine")
	if !ok {
		t.Fatal("the session is not kept")
	}
	if got, most := kept.Properties.Props.SessionExpiryInterval, seconds(b.o.Limits.Session); got != most {
		t.Errorf("the session is kept for %d s, at most %d are allowed", got, most)
	}
	subscribed := func() int { return len(b.server.Topics.Subscribers("my/topic").Subscriptions) }
	if subscribed() != 1 {
		t.Fatal("the subscription is not kept")
	}
	b.hook.OnClientExpired(kept)
	if n := subscribed(); n != 0 {
		t.Errorf("%d subscriptions of a session that expired", n)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	b := startBroker(t, func(o *EmbeddedOptions) { o.Limits.Sessions = 3 })
	for i := range 3 {
		r := dialRaw(t, "tcp", b.Addr()).send(keepSession(fmt.Sprint("s", i), "hubpipe"))
		r.want("session", 0x20, 1, 0)
		_ = r.conn.Close()
	}
	dialRaw(t, "tcp", b.Addr()).send(keepSession("s3", "hubpipe")).want("one too many", 0x20, 1, 0x97)
	dialRaw(t, "unix", b.o.Socket).send(connect(5, "hubpipe-daemon", "", "", "")).want("the daemon all the same", 0x20, 1, 0)
}

func TestBadBytesHarmNobody(t *testing.T) {
	t.Parallel()
	b := startBroker(t, func(o *EmbeddedOptions) { o.MaxPacket = 64 << 10 })
	login := connect(5, "", "hubpipe", testToken, "")
	fresh := func(b5 ...[]byte) *raw { return dialRaw(t, "tcp", b.Addr()).send(b5...) }
	loggedIn := func() *raw {
		r := fresh(login)
		r.want("login", 0x20, 1, 0)
		return r
	}
	loggedIn().send(frame(0x82, []byte{0, 1, 0}, str("a"))).wantClosed("the truncated SUBSCRIBE")
	loggedIn().send([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}).wantClosed("256 MB after login")
	loggedIn().send(login).wantClosed("a second CONNECT")
	loggedIn().send(frame(0x30, str("a"), []byte{3, 35, 0, 1})).wantClosed("an alias")
	loggedIn().send(frame(0x20, []byte{0, 0, 0})).wantClosed("a CONNACK")
	fresh([]byte{0x10, 0xff, 0xff, 0xff, 0x7f}).wantClosed("256 MB before login")
	fresh(connect(5, strings.Repeat("x", 9<<10), "hubpipe", testToken, "")).wantClosed("9 KiB before login")
	began := time.Now()
	fresh([]byte("GET / HTTP/1.1\r\n\r\n")).wantClosed("HTTP")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("HTTP was closed after %s", took)
	}
	for version := byte(4); version <= 5; version++ {
		for _, f := range samples(version) {
			for n := 2; n < len(f); n++ {
				r := fresh(connect(version, "", "hubpipe", testToken, ""), []byte{f[0], byte(n - 2)}, f[2:n])
				_ = r.conn.(*net.TCPConn).CloseWrite()
				r.wantClosed("a cut packet")
			}
		}
	}
	alive(t, b)
}

func TestSilentSockets(t *testing.T) {
	t.Parallel()
	b := startBroker(t, func(o *EmbeddedOptions) { o.Limits.LoginTimeout = 300 * time.Millisecond })
	began := time.Now()
	dialRaw(t, "tcp", b.Addr()).wantClosed("a silent socket")
	if took := time.Since(began); took < 200*time.Millisecond || took > 5*time.Second {
		t.Errorf("a silent socket was closed after %s", took)
	}
	dialRaw(t, "tcp", b.Addr()).send([]byte{0x10, 20, 0}).wantClosed("a socket that falls silent")
}

// A thousand silent sockets neither keep a good client out nor cost much.
func TestThousandSilentSockets(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	before := memory()
	for range 1000 {
		dialRaw(t, "tcp", b.Addr())
	}
	for range 20 {
		began := time.Now()
		alive(t, b)
		if took := time.Since(began); took > time.Second {
			t.Errorf("a good client was served after %s", took)
		}
	}
	if pending, _ := b.listeners[1].gate.counts(); pending > 128 {
		t.Errorf("%d connections wait", pending)
	}
	if grown := int64(memory()) - int64(before); grown > 64<<20 {
		t.Errorf("memory grew by %d MB", grown>>20)
	}
}

func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func TestConnectionsAreCapped(t *testing.T) {
	t.Parallel()
	b := startBroker(t, func(o *EmbeddedOptions) { o.Limits.PerAddress = 2 })
	for range 2 {
		dialRaw(t, "tcp", b.Addr()).send(connect(5, "", "hubpipe", testToken, "")).want("room", 0x20, 1, 0)
	}
	third := dialRaw(t, "tcp", b.Addr()).send(connect(5, "", "hubpipe", testToken, ""))
	third.want("no room v5", 0x20, 1, 0x89)
	third.wantClosed("no room")
	dialRaw(t, "tcp", b.Addr()).send(connect(4, "", "hubpipe", testToken, "")).want("no room v3.1.1", 0x20, 1, 3)
	dialRaw(t, "unix", b.o.Socket).send(connect(5, "hubpipe-daemon", "", "", "")).want("the socket all the same", 0x20, 1, 0)
}

// A subscriber that does not read holds its publishers up once, for the write
// timeout, and is closed.
func TestSubscriberThatDoesNotRead(t *testing.T) {
	t.Parallel()
	b := startBroker(t, func(o *EmbeddedOptions) { o.Limits.WriteTimeout = 200 * time.Millisecond })
	stuck := dialRaw(t, "tcp", b.Addr()).send(connect(5, "", "hubpipe", testToken, ""))
	stuck.want("login", 0x20, 1, 0)
	stuck.send(frame(0x82, []byte{0, 1, 0}, str("flood"), []byte{1}))
	stuck.want("subscribed", 0x90, 3, 1)
	s := startSession(t, SessionOptions{URL: b.testSocket(), ClientID: "flooder"})
	payload := make([]byte, 64<<10)
	began := time.Now()
	for range 300 {
		if err := s.Publish(testContext(t), Message{Topic: "flood", Payload: payload, QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the publisher was held up for %s", took)
	}
}

// Secrets are in no line of the log, whatever happens.
func TestLogsKeepSecrets(t *testing.T) {
	t.Parallel()
	var out syncBuffer
	b := startBroker(t, func(o *EmbeddedOptions) { o.Logger = traceLogger(&out) })
	s := startSession(t, SessionOptions{URL: b.testURL(), ClientID: "me", Username: "hubpipe", Password: testToken, Logger: traceLogger(&out)})
	_ = s.Publish(testContext(t), Message{Topic: "hubpipe/status", Payload: []byte("topsecret payload"), QoS: 1})
	dialRaw(t, "tcp", b.Addr()).send(connect(5, "x", "hubpipe", testToken+"x", "")).wantClosed("wrong password")
	dialRaw(t, "tcp", b.Addr()).send(connect(5, "hubpipe-daemon", "hubpipe", testToken, "")).wantClosed("wrong id")
	if err := b.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintf(&out, "%v %+v %#v %s %x %v\n", Login{Password: testToken}, Login{Password: testToken}, Login{Password: testToken}, Login{Password: testToken},
		Login{Password: testToken}, &struct{ L Login }{Login{Password: testToken}})
	text := out.String()
	if !strings.Contains(text, "refused a connection") {
		t.Error("the log says nothing of refusals")
	}
	for _, secret := range []string{testToken, "topsecret"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestHooksReturnBareCodes(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	cl := b.server.NewClient(nil, "x", "y", false)
	err := b.hook.OnConnect(cl, packets.Packet{})
	if _, bare := err.(packets.Code); !bare { //nolint:errorlint // that it is bare is the point
		t.Errorf("OnConnect returned %T", err)
	}
	if b.hook.OnConnectAuthenticate(cl, packets.Packet{}) || b.hook.OnACLCheck(cl, "a", true) {
		t.Error("a client that did not come through the guard was let in")
	}
}

// A hook that panics says no, and ends neither the broker nor the process.
func TestHooksRecover(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	if err := b.hook.OnConnect(nil, packets.Packet{}); err == nil {
		t.Error("a connection was let in by a hook that panicked")
	}
	for _, write := range []bool{false, true} {
		if b.hook.OnACLCheck(nil, "hubpipe/status", write) {
			t.Errorf("a hook that panicked allows a topic, to write: %v", write)
		}
	}
	b.hook.OnClientExpired(nil)
}

// A client that says goodbye and goes while the broker writes to it has gone in
// peace: its last will stays unsaid, whatever became of that write.
func TestGoodbyeBeforeAWriteFails(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	c := &guardConn{Conn: broken{ours}, wire: ours, limit: 1 << 10, writeTimeout: time.Second, version: 4, closed: func(*guardConn) {}}
	c.in = bufio.NewReader(c.Conn)
	go func() {
		_, _ = theirs.Write([]byte{0xe0, 0}) // DISCONNECT
		_ = theirs.Close()
	}()
	for range 2 {
		if n, err := c.Write([]byte{0xd0, 0}); n != 2 || err != nil {
			t.Fatalf("a write to a peer that has gone: %d, %v", n, err)
		}
	}
	b := make([]byte, 8)
	if n, err := c.Read(b); err != nil || n != 2 || b[0] != 0xe0 {
		t.Fatalf("its goodbye is not read: %x, %v", b[:n], err)
	}
	if _, err := c.Read(b); err == nil {
		t.Fatal("the connection does not end")
	}
}

// broken fails to write as a socket does whose peer has gone.
type broken struct{ net.Conn }

func (broken) Write([]byte) (int, error) { return 0, &net.OpError{Op: "write", Err: syscall.EPIPE} }
