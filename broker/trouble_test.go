package broker

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// What keeps a session from its broker is said soon, once, in plain words.
func TestSessionSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	b := startBroker(t, nil)
	for name, c := range map[string]struct {
		o        SessionOptions
		log, err string
	}{
		"nobody there": {SessionOptions{URL: "mqtt://" + closed.Addr().String()},
			"[WARN]  broker at mqtt://" + closed.Addr().String() + " not reachable: connection refused; trying again", "connection refused"},
		"no socket": {SessionOptions{URL: "unix://" + shortDir(t) + "/none"}, "not reachable: there is no such socket; trying again", "no such socket"},
		"wrong password": {SessionOptions{URL: b.testURL(), Username: "hubpipe", Password: "wrong"},
			"[ERROR] broker at " + b.testURL() + ": it refuses the user name or the password; see broker { username, password }; trying again", "user name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &syncBuffer{}
			o := c.o
			o.ClientID, o.Logger, o.MaxWait = "me", traceLogger(log), 100*time.Millisecond
			began := time.Now()
			s := newSession(t, o)
			eventually(t, "the log says it", func() bool { return strings.Contains(log.String(), c.log) })
			if took := time.Since(began); took > 4*time.Second { // 2 on a machine with nothing else to do
				t.Errorf("it took %s", took)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := s.AwaitUp(ctx)
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "context") {
				t.Errorf("AwaitUp: %v", err)
			}
			var refused ErrRefused
			if denied := errors.As(err, &refused) && refused.Credentials(); denied != (name == "wrong password") || denied == (ctx.Err() != nil) {
				t.Errorf("AwaitUp: %v after %v", err, ctx.Err())
			}
			if n := strings.Count(log.String(), "trying again"); n != 1 {
				t.Errorf("it was said %d times:\n%s", n, log)
			}
		})
	}
}

func TestTroubleIsSaidRarely(t *testing.T) {
	t.Parallel()
	var x trouble
	start := time.Now()
	for i, c := range []struct {
		after  time.Duration
		reason string
		atOnce bool
		want   bool
	}{
		{0, "a", false, false}, {quietFor / 2, "a", false, false}, {quietFor, "a", false, true}, {2 * quietFor, "a", false, false},
		{3 * quietFor, "b", false, true}, {repeatAfter, "b", false, false}, {repeatAfter + 3*quietFor, "b", false, true},
		{repeatAfter + 4*quietFor, "c", true, true},
	} {
		if got := x.due(start, start.Add(c.after), c.reason, c.atOnce); got != c.want {
			t.Errorf("%d: %v", i, got)
		}
	}
	x = trouble{}
	if !x.due(start, start, "denied", true) {
		t.Error("what is not mended by waiting is not said at once")
	}
}

func TestRefusalsInPlainWords(t *testing.T) {
	t.Parallel()
	for code := range byte(0xff) {
		e := ErrRefused{code}
		if text := e.Error(); text == "" || strings.Contains(text, "failed to connect") {
			t.Errorf("0x%02x: %s", code, text)
		}
	}
}

func TestAPortThatIsInUse(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	e, err := NewEmbedded(EmbeddedOptions{Listen: b.Addr(), Prefix: "hubpipe", Authenticate: b.o.Authenticate})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(b.Addr())
	want := "mqtt: port " + port + ` of 127.0.0.1 is in use: stop the program that has it, or choose another one (broker { listen = "127.0.0.1:0" })`
	if err := e.Start(t.Context()); err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestWhyABrokerCloses(t *testing.T) {
	t.Parallel()
	for code, want := range map[byte]string{0x8b: "shutting down (reason 0x8b)", 0x8e: "under our name (reason 0x8e)", 0x80: "closed the connection (reason 0x80)"} {
		if got := closed(code).Error(); !strings.Contains(got, want) {
			t.Errorf("%s", got)
		}
	}
}
