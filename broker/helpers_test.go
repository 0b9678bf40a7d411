package broker

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testToken = "correct horse battery staple"

// patience bounds every wait of these tests; none is expected to last.
const patience = time.Minute

// soon bounds what the broker has to end at once: later the bound of a login,
// which is as long, would end it.
const soon = 10 * time.Second

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// testLogin lets in whoever has the token: as its owner, as another of control,
// as a reader, or as a worker by either of its names.
func testLogin(l Login) (Grant, bool) {
	who := Identity{}
	if name, ok := WorkerOfUser("hubpipe", l.Username); ok {
		who = Identity{Role: RoleWorker, Name: name}
	}
	switch l.Username {
	case "hubpipe":
		who = Identity{Role: RoleControl}
	case "ops":
		who = Identity{Role: RoleControl, Name: "ops"}
	case "reader":
		who = Identity{Role: RoleReader, Name: "reader"}
	case "w1", "w2":
		who = Identity{Role: RoleWorker, Name: l.Username}
	}
	return Grant{Identity: who}, l.Password == testToken && who.Role != RoleNone
}

// startBroker starts a broker on a free port and a socket.
func startBroker(t testing.TB, change func(*EmbeddedOptions)) *Embedded {
	t.Helper()
	o := EmbeddedOptions{Listen: "127.0.0.1:0", Socket: filepath.Join(shortDir(t), "mqtt.sock"), Prefix: "hubpipe",
		Authenticate: testLogin, Logger: testLogger(t)}
	if change != nil {
		change(&o)
	}
	b, err := NewEmbedded(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return b
}

func testLogger(t testing.TB) hclog.Logger {
	t.Helper()
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: testWriter{t}})
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

// shortDir is a folder whose path is short enough for a unix socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hp") //nolint:usetesting // TempDir's path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// mail collects what a session receives.
type mail struct {
	mu   sync.Mutex
	got  []Message
	more chan struct{}
}

func newMail() *mail { return &mail{more: make(chan struct{}, 1)} }

func (m *mail) receive(topic string, payload []byte, p Properties) {
	m.mu.Lock()
	m.got = append(m.got, Message{Topic: topic, Payload: payload, Retain: p.Retain, ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData})
	m.mu.Unlock()
	select {
	case m.more <- struct{}{}:
	default:
	}
}

func (m *mail) all() []Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Message(nil), m.got...)
}

// await returns the first message that fits.
func (m *mail) await(t testing.TB, fits func(Message) bool) Message {
	t.Helper()
	limit := time.After(patience)
	for {
		for _, g := range m.all() {
			if fits(g) {
				return g
			}
		}
		select {
		case <-m.more:
		case <-limit:
			t.Fatalf("the message did not come; got %d others: %v", len(m.all()), m.all())
		}
	}
}

func onTopic(topic string) func(Message) bool {
	return func(m Message) bool { return m.Topic == topic }
}

func withPayload(text string) func(Message) bool {
	return func(m Message) bool { return string(m.Payload) == text }
}

// startSession starts a session and waits until it is up.
func startSession(t testing.TB, o SessionOptions) *Session {
	t.Helper()
	s := newSession(t, o)
	if err := s.AwaitUp(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return s
}

// newSession starts a session without waiting.
func newSession(t testing.TB, o SessionOptions) *Session {
	t.Helper()
	s, err := NewSession(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = s.Stop(ctx)
	})
	return s
}

func (e *Embedded) testURL() string    { return "mqtt://" + e.Addr() }
func (e *Embedded) testSocket() string { return "unix://" + e.o.Socket }

// need finds a program, or skips the test, or fails it where all is required.
func need(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return filepath.Join(dir, name)
			}
		}
		if os.Getenv("HUBPIPE_TEST_REQUIRE") == "all" {
			t.Fatalf("%s is required and missing", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

// eventually polls until a condition holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never: %s", what)
		}
	}
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func traceLogger(w io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: w})
}
