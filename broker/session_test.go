package broker

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSessionTalksOverBothListeners(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	daemonMail, workerMail := newMail(), newMail()
	daemon := startSession(t, SessionOptions{URL: b.testSocket(), ClientID: "hubpipe-daemon", Expiry: time.Hour,
		Subscriptions: []Subscription{{Topic: "hubpipe/workers/+/pages", QoS: 1}}, OnMessage: daemonMail.receive})
	worker := startSession(t, SessionOptions{URL: b.testURL(), ClientID: "hubpipe-worker-w1", Expiry: time.Hour,
		Username: "hubpipe-worker-w1", Password: testToken,
		Subscriptions: []Subscription{{Topic: "hubpipe/workers/w1/answers", QoS: 1}}, OnMessage: workerMail.receive})
	ctx := testContext(t)
	page := Message{Topic: "hubpipe/workers/w1/pages", Payload: []byte("page"), QoS: 1, Expiry: time.Minute,
		ResponseTopic: "hubpipe/workers/w1/answers", CorrelationData: []byte{7}}
	if err := worker.Publish(ctx, page); err != nil {
		t.Fatal(err)
	}
	got := daemonMail.await(t, onTopic(page.Topic))
	want := Message{Topic: page.Topic, Payload: page.Payload, ResponseTopic: page.ResponseTopic, CorrelationData: page.CorrelationData}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if err := daemon.Publish(ctx, Message{Topic: "hubpipe/workers/w1/answers", Payload: []byte("committed"), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	workerMail.await(t, withPayload("committed"))
}

func TestSessionKnowsTheBrokersLimits(t *testing.T) {
	t.Parallel()
	b := startBroker(t, func(o *EmbeddedOptions) { o.MaxPacket = 20_000 })
	up := make(chan ConnInfo, 1)
	m := newMail()
	s := startSession(t, SessionOptions{URL: b.testSocket(), ClientID: "hubpipe-daemon", Expiry: 48 * time.Hour, OnUp: func(i ConnInfo) { up <- i },
		Subscriptions: []Subscription{{Topic: "a", QoS: 1}, {Topic: "$SYS/a", QoS: 1}}, OnMessage: m.receive})
	want := ConnInfo{MaxPacket: 20_000, MaxQoS: 2, RetainAvailable: true, SessionExpiry: time.Hour, Refused: []string{"$SYS/a"}}
	if d := cmp.Diff(want, <-up); d != "" {
		t.Error(d)
	}
	if got := s.MaxPacket(); got != 20_000 {
		t.Errorf("MaxPacket() = %d", got)
	}
	ctx := testContext(t)
	fits := Message{Topic: "a", QoS: 1, Expiry: time.Minute, CorrelationData: []byte("x")}
	fits.Payload = make([]byte, 20_000-packetSize(fits)-2) // two more bytes for the greater length
	if size := packetSize(fits); size != 20_000 {
		t.Fatalf("the test's message has %d bytes", size)
	}
	if err := s.Publish(ctx, fits); err != nil {
		t.Fatal(err)
	}
	m.await(t, func(g Message) bool { return len(g.Payload) == len(fits.Payload) })
	fits.Payload = append(fits.Payload, 0)
	var large ErrTooLarge
	if err := s.Publish(ctx, fits); !errors.As(err, &large) {
		t.Fatalf("err = %v", err)
	}
	if d := cmp.Diff(ErrTooLarge{Size: 20_001, Limit: 20_000}, large); d != "" {
		t.Error(d)
	}
	if !s.Connected() {
		t.Error("the message that is too large cost the connection")
	}
}

// How long a message may wait travels with it, in seconds and never in none; without
// it a broker would pile up what is sent again anyway.
func TestExpiryTravels(t *testing.T) {
	t.Parallel()
	for expiry, want := range map[time.Duration]uint32{time.Millisecond: 1, 3 * time.Second: 3, 14500 * time.Millisecond: 15} {
		p := pahoPublish(Message{Topic: "a", Expiry: expiry}).Properties
		if p == nil || p.MessageExpiry == nil || *p.MessageExpiry != want {
			t.Errorf("%s: %+v, want %d s", expiry, p, want)
		}
	}
	if p := pahoPublish(Message{Topic: "a", ResponseTopic: "b"}).Properties; p.MessageExpiry != nil {
		t.Errorf("without one: %d s", *p.MessageExpiry)
	}
}

func TestSessionComesBack(t *testing.T) {
	t.Parallel()
	sock := filepath.Join(shortDir(t), "mqtt.sock")
	set := func(o *EmbeddedOptions) { o.Socket = sock; o.Listen = "" }
	first := startBroker(t, set)
	ups, downs := make(chan ConnInfo, 10), make(chan error, 10)
	m := newMail()
	s := startSession(t, SessionOptions{URL: "unix://" + sock, ClientID: "hubpipe-daemon", Expiry: time.Hour,
		Subscriptions: []Subscription{{Topic: "hubpipe/x", QoS: 1}}, OnMessage: m.receive,
		OnUp: func(i ConnInfo) { ups <- i }, OnDown: func(err error) { downs <- err }})
	<-ups
	if err := first.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-downs; err == nil || !strings.Contains(err.Error(), "0x8b") {
		t.Errorf("down because of %v, want the broker's reason", err)
	}
	if err := s.Publish(testContext(t), Message{Topic: "hubpipe/x", QoS: 1}); !errors.Is(err, ErrNotConnected) {
		t.Errorf("publish without a connection: %v", err)
	}
	short, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if err := s.AwaitUp(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("AwaitUp without a broker: %v", err)
	}
	startBroker(t, set)
	<-ups
	if err := s.Publish(testContext(t), Message{Topic: "hubpipe/x", Payload: []byte("again"), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	m.await(t, withPayload("again"))
}

// A broker that takes a connection and says nothing holds nobody longer than
// their context.
func TestSessionNeverBlocksLongerThanItsContext(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := newSession(t, SessionOptions{URL: "mqtt://" + silent.Addr().String(), ClientID: "x"})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := s.AwaitUp(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("AwaitUp: %v", err)
	}
	if err := s.Stop(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
	if err := s.Publish(context.Background(), Message{Topic: "a"}); !errors.Is(err, ErrStopped) {
		t.Errorf("publish after Stop: %v", err)
	}
	if err := s.AwaitUp(context.Background()); !errors.Is(err, ErrStopped) {
		t.Errorf("AwaitUp after Stop: %v", err)
	}
}

func TestSessionWill(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	m := newMail()
	startSession(t, SessionOptions{URL: b.testSocket(), ClientID: "hubpipe-daemon", OnMessage: m.receive,
		Subscriptions: []Subscription{{Topic: "hubpipe/workers/+", QoS: 1}}})
	worker := func(name string) *Session {
		return startSession(t, SessionOptions{URL: b.testSocket(), ClientID: "hubpipe-worker-" + name,
			Will: &Message{Topic: "hubpipe/workers/" + name, Payload: []byte(name + " is gone"), QoS: 1, Retain: true}})
	}
	polite, cut := worker("polite"), worker("cut")
	if err := polite.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	cut.mu.Lock()
	_ = cut.raw.Close()
	cut.mu.Unlock()
	m.await(t, withPayload("cut is gone"))
	for _, g := range m.all() {
		if string(g.Payload) == "polite is gone" {
			t.Error("a polite goodbye sent the last will")
		}
	}
}

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"mqtt://h": "tcp h:1883", "mqtt://u:secret@h:9": "tcp h:9", "mqtts://h": "tcp h:8883 tls", "mqtts://[::1]:1": "tcp [::1]:1 tls",
		"unix:///a/b": "unix /a/b", "http://h": "", "mqtt://": "", "unix://": "", "::": "", "mqtt://h:secret\x7f": "",
	} {
		got, err := parseTarget(text, nil)
		if err != nil {
			if want != "" || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		have := got.network + " " + got.address
		if got.tls != nil {
			have += " tls"
		}
		if have != want || strings.Contains(got.String(), "secret") {
			t.Errorf("%q: %q (%s), want %q", text, have, got, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, jitter := range []float64{0, 0.999} {
		b := backoff{base: 50 * time.Millisecond, limit: time.Second, jitter: func() float64 { return jitter }}
		if d := b.next(); d != 0 {
			t.Errorf("the first attempt waits %s", d)
		}
		last := time.Duration(0)
		for range 100 {
			b.failed()
			d := b.next()
			if d < last || d < 25*time.Millisecond || d > time.Second {
				t.Fatalf("%s after %s", d, last)
			}
			last = d
		}
		if last < 500*time.Millisecond {
			t.Errorf("the last pause is %s", last)
		}
		b.up() // a connection that is lost at once does not start over
		b.down()
		if d := b.next(); d < 500*time.Millisecond {
			t.Errorf("%s after a short connection", d)
		}
		b.since = time.Now().Add(-time.Hour)
		b.down()
		if d := b.next(); d > 50*time.Millisecond {
			t.Errorf("%s after a long connection", d)
		}
	}
}
