package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Somebody starts and stops a stream by HTTP and by the bus, as the README
// says, and the daemon keeps it over a restart.
func TestStartedAndStoppedFromOutside(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_rr")
	s := newSystem(t, "--contacts", "300", "--deals", "20")
	s.configure(settings{defaults: "autostart = false"})
	daemon := s.daemon()
	s.worker("--name", "w1")
	if code, body := s.curl(http.MethodPost, "/v1/streams/contacts/start", `{"interval":"2s"}`); code != http.StatusOK {
		t.Fatalf("start: %d %s", code, body)
	}
	s.becomesEqual("contacts")
	s.change("contacts", `{"change":40,"create":10}`)
	s.becomesEqual("contacts")

	someone := s.at(s.mqtt, "hubpipe")
	for _, version := range versions {
		if a := someone.commands(version, "stop contacts"); !a.OK || a.Action != "stop" || a.Status.State != "stopped" {
			t.Errorf("stop by %s: %+v", version, a)
		}
		if st := s.status("contacts"); st.State != client.StateStopped || st.NextRun != nil || st.Run != nil {
			t.Errorf("after the stop by %s: %+v", version, st)
		}
		s.change("contacts", `{"change":10}`)
		if a := someone.commands(version, `{"action":"start","stream":"contacts","interval":"1s","id":"`+version+`"}`); !a.OK || a.ID != version || a.Status.Interval != "1s" {
			t.Errorf("start by %s: %+v", version, a)
		}
		s.becomesEqual("contacts")
	}

	// An answer goes where MQTT 5 asks for it, with what came along.
	out, err := someone.does("mosquitto_rr", "-V", "mqttv5", "-W", "10", "-t", "hubpipe/control", "-e", "answers/mine",
		"-D", "publish", "correlation-data", "7f3a", "-F", "%t %D %p", "-m", "status contacts")
	if err != nil || !strings.HasPrefix(out, "answers/mine 7f3a {") || !strings.Contains(out, `"ok":true`) {
		t.Errorf("response topic: %v %q", err, out)
	}

	someone.commands("mqttv5", "stop deals")
	someone.commands("mqttv5", "start contacts every 3s")
	s.retainedIsTrue(someone, "3s")
	daemon.kill(syscall.SIGTERM)
	s.daemon()
	someone = s.at(s.mqtt, "hubpipe")
	s.retainedIsTrue(someone, "3s")
	if st := s.status("contacts"); st.Interval != "3s" || st.SetBy != client.SetByAPI {
		t.Errorf("after a restart: every %s by %s", st.Interval, st.SetBy)
	}
	s.change("contacts", `{"change":10}`)
	s.becomesEqual("contacts")
}

// retainedIsTrue holds the retained topics against what HTTP says.
func (s *system) retainedIsTrue(someone *person, interval string) {
	s.t.Helper()
	until(s.t, "what is retained", func() error {
		out, err := someone.reads("hubpipe/status")
		if err != nil {
			return fmt.Errorf("%s %w", out, err)
		}
		if d := decode[protocol.DaemonStatus](s.t, out); d.State != "online" || "http://"+d.Address != s.http || d.Store == "" {
			return fmt.Errorf("status: %s", out)
		}
		if out, err = someone.reads("hubpipe/workers/w1"); err != nil {
			return fmt.Errorf("%s %w", out, err)
		}
		if w := decode[protocol.Presence](s.t, out); w.State != "online" || len(w.Portals) != 1 {
			return fmt.Errorf("worker: %s", out)
		}
		for name, want := range map[string]string{"contacts": interval, "deals": ""} {
			if out, err = someone.reads("hubpipe/streams/" + name); err != nil {
				return fmt.Errorf("%s %w", out, err)
			}
			got, is := decode[client.Status](s.t, out), s.status(name)
			if got.Records != is.Records || got.Interval != is.Interval || (got.State == client.StateStopped) != (is.State == client.StateStopped) ||
				want != "" && got.Interval != want {
				return fmt.Errorf("stream: %s", out)
			}
		}
		return nil
	})
}

// A command is done once and answered as often as it comes.
func TestRepeatedCommand(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_rr")
	s := newSystem(t, "--contacts", "50", "--deals", "0")
	s.configure(settings{defaults: "autostart = false"})
	s.daemon()
	s.worker()
	someone := s.at(s.mqtt, "hubpipe")
	const sync = `{"action":"sync","stream":"contacts","id":"once"}`
	first := someone.commands("mqttv311", sync)
	if !first.OK || first.Run == "" {
		t.Fatalf("%+v", first)
	}
	ended := func() error {
		if rs := s.runs("contacts"); len(rs) != 1 || rs[0].State != client.RunDone {
			return fmt.Errorf("%+v", rs)
		}
		return nil
	}
	until(t, "the end of the run", ended)
	for _, version := range versions {
		if again := someone.commands(version, sync); again.Run != first.Run || !again.OK {
			t.Errorf("again: %+v", again)
		}
	}
	if err := ended(); err != nil {
		t.Errorf("it was done again: %v", err)
	}
	if other := someone.commands("mqttv5", strings.Replace(sync, "once", "twice", 1)); other.Run == first.Run {
		t.Error("another id is taken for a repetition")
	}
}

// A retained command would be done again at every start; it is never done.
func TestRetainedCommandIsRefused(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub")
	for _, external := range []bool{false, true} {
		t.Run(fmt.Sprintf("external %v", external), func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, "--contacts", "10", "--deals", "0")
			c := settings{defaults: "autostart = false"}
			if external {
				port := freePort(t)
				startMosquitto(t, port)
				c.broker = fmt.Sprintf("url = \"mqtt://127.0.0.1:%d\"", port)
			}
			s.configure(c)
			daemon := s.daemon()
			someone := s.at(s.mqtt, "hubpipe")
			for _, version := range versions {
				someone.publishes("-V", version, "-r", "-t", "hubpipe/control", "-m", "start contacts")
			}
			daemon.says(t, "a retained command was refused")
			someone.findsItStopped("contacts")
			if !external {
				return // it keeps nothing that a daemon would find at its start
			}
			daemon.kill(syscall.SIGTERM)
			s.daemon()
			someone.findsItStopped("contacts")
		})
	}
}

// findsItStopped asks on the control topic, so that what came there before has
// been dealt with; an answer to somebody else may come first.
func (p *person) findsItStopped(stream string) {
	p.s.t.Helper()
	until(p.s.t, "an answer to us", func() error {
		a := p.commands("mqttv5", "status "+stream)
		if a.Action == "start" && a.OK || a.Action == "status" && a.Status.State != "stopped" {
			p.s.t.Fatalf("a retained command was done: %+v", a)
		}
		if a.Action != "status" {
			return fmt.Errorf("%+v", a)
		}
		return nil
	})
}

// A bad command gets an answer that says what is wrong, and changes nothing.
func TestBadCommandsAreAnswered(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_rr")
	s := newSystem(t, "--contacts", "10", "--deals", "0")
	s.configure(settings{defaults: "autostart = false"})
	s.daemon()
	someone := s.at(s.mqtt, "hubpipe")
	before := s.get("/v1/streams")
	for n, c := range []struct{ text, kind, says string }{
		{"\x01\x02 neither", "bad-command", "is not an action"},
		{"dance contacts", "bad-command", "dance"},
		{"[1,2]", "bad-command", "not an action"},
		{`{"action":"start","stream":"contacts","pace":"fast"}`, "bad-command", "pace"},
		{`{"action":"start"`, "bad-command", "EOF"},
		{"start", "bad-command", "name of a stream"},
		{"start contact", "unknown-stream", "contact"},
		{"start contacts every 0s", "bad-interval", "0s"},
		{"start contacts every soon", "bad-interval", "soon"},
		{`{"action":"start","stream":"contacts","interval":"-5m"}`, "bad-interval", "-5m"},
	} {
		a := someone.commands(versions[n%2], c.text)
		if a.OK || a.Error.Type != c.kind || !strings.Contains(a.Error.Title+a.Error.Detail, c.says) || a.Error.Hint == "" {
			t.Errorf("%q: %+v", c.text, a)
		}
	}
	if after := s.get("/v1/streams"); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
}
