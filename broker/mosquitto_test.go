package broker

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mosquitto's own clients, of both versions of MQTT, use the embedded broker
// as a person would.
func TestMosquittoClients(t *testing.T) {
	t.Parallel()
	pub, sub := need(t, "mosquitto_pub"), need(t, "mosquitto_sub")
	b := startBroker(t, nil)
	host, port, err := net.SplitHostPort(b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	m := newMail()
	daemon := startSession(t, SessionOptions{
		URL: b.testSocket(), ClientID: "hubpipe-daemon-control", CleanStart: true, OnMessage: m.receive,
		Subscriptions: []Subscription{{Topic: "hubpipe/control", QoS: 1, RetainHandling: 2}},
	})
	ctx := testContext(t)
	if err := daemon.Publish(ctx, Message{Topic: "hubpipe/streams/contacts", Payload: []byte("running"), QoS: 1, Retain: true}); err != nil {
		t.Fatal(err)
	}
	run := func(program string, args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, program, append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
		return string(out), err
	}
	as := func(version string, args ...string) []string {
		return append([]string{"-u", "hubpipe", "-P", testToken, "-V", version}, args...)
	}
	for _, version := range []string{"mqttv311", "mqttv5"} {
		for _, qos := range []string{"0", "1", "2"} {
			text := "start contacts " + version + qos
			if out, err := run(pub, as(version, "-q", qos, "-t", "hubpipe/control", "-m", text)...); err != nil {
				t.Errorf("%s: %v %s", text, err, out)
			}
			m.await(t, withPayload(text))
		}
		out, err := run(sub, as(version, "-q", "1", "-C", "1", "-W", "5", "-t", "hubpipe/streams/+")...)
		if err != nil || strings.TrimSpace(out) != "running" {
			t.Errorf("mosquitto_sub %s: %v %q", version, err, out)
		}
		if out, err := run(pub, "-V", version, "-t", "hubpipe/control", "-m", "anonymous"); err == nil {
			t.Errorf("anonymous %s: %s", version, out)
		}
		if out, _ := run(sub, as(version, "-C", "1", "-W", "1", "-t", "#")...); !strings.Contains(out, "denied") {
			t.Errorf("everything %s: %q", version, out)
		}
	}
	for _, g := range m.all() {
		if string(g.Payload) == "anonymous" {
			t.Error("an anonymous command arrived")
		}
	}
}

// startMosquitto starts one on a port; stop ends it.
func startMosquitto(t *testing.T, port int, conf string) (stop func()) {
	t.Helper()
	program := need(t, "mosquitto")
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\npersistence false\n%s\n", port, conf)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "-c", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	eventually(t, "mosquitto listens", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return stop
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// The session takes the same path to a broker that is not ours: it subscribes
// again after that one's restart, and knows its limits.
func TestSessionWithMosquitto(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	const conf = "allow_anonymous true\nmax_packet_size 5000"
	stop := startMosquitto(t, port, conf)
	ups, downs := make(chan ConnInfo, 10), make(chan error, 10)
	m := newMail()
	s := startSession(t, SessionOptions{
		URL: fmt.Sprintf("mqtt://127.0.0.1:%d", port), ClientID: "hubpipe-daemon", Expiry: time.Hour, OnMessage: m.receive,
		OnUp: func(i ConnInfo) { ups <- i }, OnDown: func(err error) { downs <- err },
		Will:          &Message{Topic: "hubpipe/status", Payload: []byte("offline"), QoS: 1, Retain: true},
		Subscriptions: []Subscription{{Topic: "hubpipe/workers/+/pages", QoS: 1}},
	})
	if info := <-ups; info.MaxPacket != 5000 || !info.RetainAvailable || info.SessionExpiry != time.Hour {
		t.Errorf("info = %+v", info)
	}
	send := func(text string) {
		t.Helper()
		if err := s.Publish(testContext(t), Message{Topic: "hubpipe/workers/w/pages", Payload: []byte(text), QoS: 1, Expiry: time.Minute}); err != nil {
			t.Fatal(err)
		}
		m.await(t, withPayload(text))
	}
	send("one")
	if err := s.Publish(testContext(t), Message{Topic: "x", Payload: make([]byte, 5000), QoS: 1}); err == nil {
		t.Error("a message above mosquitto's limit was sent")
	}
	send("two")
	if len(downs) > 0 {
		t.Error("the message that is too large cost the connection")
	}
	stop()
	<-downs
	startMosquitto(t, port, conf)
	<-ups
	send("three")
}

// A broker that retains nothing, or has QoS 0 alone, refuses a last will that asks
// for more; what works without is done without, the will too.
func TestSessionWithALesserMosquitto(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		conf   string
		retain bool
		qos    byte
	}{
		"no retained messages": {"retain_available false", false, 2},
		"QoS 0 alone":          {"max_qos 0", true, 0},
		"neither":              {"retain_available false\nmax_qos 0", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			startMosquitto(t, port, "allow_anonymous true\n"+c.conf)
			url := fmt.Sprintf("mqtt://127.0.0.1:%d", port)
			m := newMail()
			startSession(t, SessionOptions{URL: url, ClientID: "reader", OnMessage: m.receive, Subscriptions: []Subscription{{Topic: "#", QoS: 1}}})
			up := make(chan ConnInfo, 10)
			s := startSession(t, SessionOptions{URL: url, ClientID: "hubpipe-worker-w", OnUp: func(i ConnInfo) { up <- i },
				Will: &Message{Topic: "hubpipe/workers/w", Payload: []byte("offline"), QoS: 1, Retain: true}})
			if info := <-up; info.RetainAvailable != c.retain || info.MaxQoS != c.qos {
				t.Errorf("%+v", info)
			}
			if err := s.Publish(testContext(t), Message{Topic: "hubpipe/workers/w", Payload: []byte("online"), QoS: 1, Retain: true}); err != nil {
				t.Error(err)
			}
			m.await(t, withPayload("online"))
			s.mu.Lock()
			_ = s.raw.Close()
			s.mu.Unlock()
			m.await(t, withPayload("offline"))
			<-up // it is back, though the broker refuses as before
		})
	}
}

func TestSessionThatIsRefused(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	startMosquitto(t, port, "allow_anonymous false")
	s := newSession(t, SessionOptions{URL: fmt.Sprintf("mqtt://127.0.0.1:%d", port), ClientID: "x"})
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := s.AwaitUp(ctx); err == nil || !strings.Contains(err.Error(), "user name or the password") {
		t.Errorf("err = %v", err)
	}
}
