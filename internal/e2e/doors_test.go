package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// command is one command, as each door writes it.
type command struct {
	name       string
	path, body string   // of HTTP
	verb       []string // of the command line
	words      string   // of the control topic
	json       string
	// typ is the problem it is answered with, "" where it works; detail is in
	// what each door says. usage tells that the command line refuses it by itself.
	typ, detail string
	usage       bool
	// all tells that the answer is of all streams.
	all bool
}

func commands() []command {
	return []command{
		{name: "start", path: "contacts/start", verb: []string{"start", "contacts"}, words: "start contacts", json: `{"action":"start","stream":"contacts"}`},
		{name: "start every", path: "contacts/start", body: `{"interval":"7m0s"}`, verb: []string{"start", "contacts", "--every", "7m0s"},
			words: "start contacts every 7m0s", json: `{"action":"start","stream":"contacts","interval":"7m0s"}`},
		{name: "stop", path: "contacts/stop", verb: []string{"stop", "contacts"}, words: "stop contacts", json: `{"action":"stop","stream":"contacts"}`},
		{name: "sync", path: "contacts/sync", verb: []string{"sync", "contacts"}, words: "sync contacts", json: `{"action":"sync","stream":"contacts"}`},
		{name: "sync record", path: "contacts/sync", body: `{"record":"51"}`, verb: []string{"sync", "contacts", "--record", "51"},
			words: "sync contacts record 51", json: `{"action":"sync","stream":"contacts","record":"51"}`},
		{name: "resync", path: "contacts/resync", verb: []string{"resync", "contacts"}, words: "resync contacts", json: `{"action":"resync","stream":"contacts"}`},
		{name: "reconcile", path: "contacts/reconcile", verb: []string{"reconcile", "contacts"}, words: "reconcile contacts", json: `{"action":"reconcile","stream":"contacts"}`},
		{name: "reconcile accept", path: "contacts/reconcile", body: `{"accept_deletes":true}`, verb: []string{"reconcile", "contacts", "--accept-deletes"},
			words: "reconcile contacts accept deletes", json: `{"action":"reconcile","stream":"contacts","accept_deletes":true}`},
		{name: "start all", path: "all/start", body: `{"interval":"9m"}`, verb: []string{"start", "all", "--every", "9m"}, words: "start all every 9m",
			json: `{"action":"start","stream":"all","interval":"9m"}`, all: true},
		{name: "sync all", path: "all/sync", verb: []string{"sync", "all"}, words: "sync all", json: `{"action":"sync","stream":"all"}`, all: true},
		{name: "stop all", path: "all/stop", verb: []string{"stop", "all"}, words: "stop all", json: `{"action":"stop","stream":"all"}`, all: true},

		{name: "unknown stream", path: "contact/start", verb: []string{"start", "contact"}, words: "start contact",
			json: `{"action":"start","stream":"contact"}`, typ: client.TypeUnknownStream, detail: `there is no stream "contact"`},
		{name: "unknown stream, reconcile", path: "contact/reconcile", verb: []string{"reconcile", "contact"}, words: "reconcile contact",
			json: `{"action":"reconcile","stream":"contact"}`, typ: client.TypeUnknownStream, detail: `there is no stream "contact"`},
		{name: "interval too short", path: "contacts/start", body: `{"interval":"0s"}`, verb: []string{"start", "contacts", "--every", "0s"},
			words: "start contacts every 0s", json: `{"action":"start","stream":"contacts","interval":"0s"}`, typ: client.TypeBadInterval, detail: "0s", usage: true},
		{name: "interval that is none", path: "contacts/start", body: `{"interval":"soon"}`, verb: []string{"start", "contacts", "--every", "soon"},
			words: "start contacts every soon", json: `{"action":"start","stream":"contacts","interval":"soon"}`, typ: client.TypeBadInterval, detail: "soon", usage: true},
		{name: "interval for all", path: "all/start", body: `{"interval":"0s"}`, verb: []string{"start", "all", "--every", "0s"},
			words: "start all every 0s", json: `{"action":"start","stream":"all","interval":"0s"}`, typ: client.TypeBadInterval, detail: "0s", usage: true},
		{name: "a record of all", path: "all/sync", body: `{"record":"51"}`, verb: []string{"sync", "all", "--record", "51"},
			words: "sync all record 51", json: `{"action":"sync","stream":"all","record":"51"}`, typ: client.TypeBadRecord, detail: "one stream", usage: true},
		{name: "no record", path: "contacts/sync", body: `{"record":" "}`, verb: []string{"sync", "contacts", "--record", " "},
			json: `{"action":"sync","stream":"contacts","record":" "}`, typ: client.TypeBadRecord, detail: "record"},
	}
}

// effect is what a command left behind, without what differs by the moment.
type effect struct {
	Interval, SetBy string
	Active          bool
	Runs            []string // kinds of those that were made
}

// Every command does the same and is refused alike, whatever door it came by.
func TestOneVocabulary(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_rr")
	s := newSystem(t, "--contacts", "60", "--deals", "3")
	s.configure(settings{defaults: "autostart = false\n  archived_interval = \"24h\""})
	s.replace(`interval = "1s"`, `interval = "1h"`)
	s.daemon()
	s.worker()
	if code, body := s.curl(http.MethodPost, "/v1/streams/all/sync?wait=120s", ""); code != http.StatusOK {
		t.Fatalf("the first run: %d %s", code, body)
	}
	someone := s.at(s.mqtt, "hubpipe")
	for _, c := range commands() {
		var problems []client.Problem
		var effects []effect
		doors := []struct {
			name string
			do   func() *client.Problem
		}{
			{"HTTP", func() *client.Problem { return s.byHTTP(c) }},
			{"words", func() *client.Problem { return s.byBus(someone, c, c.words) }},
			{"JSON", func() *client.Problem { return s.byBus(someone, c, c.json) }},
			{"command line", func() *client.Problem { return s.byVerb(c) }},
		}
		for _, d := range doors {
			if d.name == "words" && c.words == "" {
				continue
			}
			s.atRest()
			before := len(s.runs("contacts"))
			p := d.do()
			switch {
			case c.typ == "" && p != nil:
				t.Errorf("%s by %s: %v", c.name, d.name, p)
			case c.typ != "" && p == nil:
				t.Errorf("%s by %s is done", c.name, d.name)
			}
			if p != nil && d.name != "command line" {
				problems = append(problems, *p)
			}
			var e effect
			runs := s.runs("contacts")
			for _, r := range runs[:len(runs)-before] {
				e.Runs = append(e.Runs, r.Kind)
			}
			// While a run goes on nothing says whether another one comes.
			until(t, "the end of what "+c.name+" by "+d.name+" began", func() error {
				st := s.status("contacts")
				e.Interval, e.SetBy, e.Active = st.Interval, st.SetBy, st.NextRun != nil
				if st.Run != nil || !e.Active && st.State != client.StateStopped {
					return fmt.Errorf("contacts is %s, run %+v", st.State, st.Run)
				}
				return nil
			})
			effects = append(effects, e)
		}
		for _, p := range problems {
			if p != problems[0] || p.Type != c.typ || !strings.Contains(p.Detail, c.detail) || p.Hint == "" {
				t.Errorf("%s: refused as\n%+v and as\n%+v", c.name, problems[0], p)
			}
		}
		for _, e := range effects {
			if fmt.Sprint(e) != fmt.Sprint(effects[0]) {
				t.Errorf("%s: what it left: %+v", c.name, effects)
				break
			}
		}
		if c.typ != "" && len(effects[0].Runs) > 0 {
			t.Errorf("%s was refused and made a run", c.name)
		}
	}
}

// atRest stops all streams, with the configured interval.
func (s *system) atRest() {
	s.t.Helper()
	for _, verb := range []string{"start", "stop"} {
		if code, body := s.curl(http.MethodPost, "/v1/streams/all/"+verb, ""); code != http.StatusOK {
			s.t.Fatalf("%s all: %d %s", verb, code, body)
		}
	}
}

func (s *system) byHTTP(c command) *client.Problem {
	s.t.Helper()
	code, body := s.curl(http.MethodPost, "/v1/streams/"+c.path, c.body)
	if code < 400 {
		return nil
	}
	p := decode[client.Problem](s.t, body)
	return &p
}

func (s *system) byBus(p *person, c command, text string) *client.Problem {
	s.t.Helper()
	out, err := p.does("mosquitto_rr", "-V", "mqttv5", "-q", "1", "-W", "20", "-t", "hubpipe/control", "-e", "hubpipe/control/response", "-m", text)
	if err != nil {
		s.t.Fatalf("%q: %v %s", text, err, out)
	}
	a := decode[struct {
		OK     bool
		Run    string
		Status json.RawMessage
		Error  *client.Problem
	}](s.t, out)
	isList := strings.HasPrefix(string(a.Status), "[")
	if a.OK != (a.Error == nil) || a.OK && (a.Status == nil || isList != c.all) || !a.OK && a.Status != nil {
		s.t.Errorf("%q: an answer that is not as promised: %s", text, out)
	}
	return a.Error
}

func (s *system) byVerb(c command) *client.Problem {
	s.t.Helper()
	out, err := s.hubpipe(append(c.verb, "--output", "json")...)
	if err == nil {
		return nil
	}
	code := 1
	if c.usage {
		code = 2
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("exit status %d:", code)) || !strings.Contains(err.Error(), c.detail) || out != "" {
		s.t.Errorf("%q: %v %s", c.verb, err, out)
	}
	return &client.Problem{}
}

// Whoever wants HubSpot on the bus has every change there, in the shape and in
// the order of the feed; the daemon goes on where it was after a restart.
func TestChangesOnTheBus(t *testing.T) {
	t.Parallel()
	sub := need(t, "mosquitto_sub")
	s := newSystem(t, "--contacts", "40", "--deals", "0")
	s.configure(settings{broker: "listen = \"127.0.0.1:0\"\n  changes = true", streams: []string{"contacts"}, defaults: "autostart = false"})
	daemon := s.daemon()
	s.worker()
	// What is retained comes first, and says that the subscription holds.
	heard := func(n int) func() []client.Record {
		p := s.at(s.mqtt, "hubpipe")
		args := append([]string{"-h", p.host, "-p", p.port}, p.user...)
		cmd := exec.CommandContext(t.Context(), sub, append(args, "-V", "mqttv311", "-q", "1", "-t", "hubpipe/changes/+", "-t", "hubpipe/status")...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		lines.Scan()
		return func() []client.Record {
			var got []client.Record
			for len(got) < n && lines.Scan() {
				if strings.HasPrefix(lines.Text(), `{"id"`) {
					got = append(got, decode[client.Record](t, lines.Text()))
				}
			}
			_ = cmd.Process.Kill() // it would listen for ever
			_ = cmd.Wait()
			return got
		}
	}
	hold := func(what string, got []client.Record, since uint64) (last uint64) {
		t.Helper()
		want := strings.Split(strings.TrimSpace(s.get(fmt.Sprintf("/v1/streams/contacts/changes?since=%d", since))), "\n")
		if len(want) != len(got) {
			t.Fatalf("%s: %d changes on the bus, %d in the feed", what, len(got), len(want))
		}
		for i, line := range want {
			w := decode[client.Record](t, line)
			if g := got[i]; g.ID != w.ID || g.Seq != w.Seq || g.State != w.State || string(g.Properties) != string(w.Properties) {
				t.Fatalf("%s: change %d is %+v on the bus, %+v in the feed", what, i, g, w)
			}
			last = w.Seq
		}
		return last
	}
	first := heard(40)
	if code, body := s.curl(http.MethodPost, "/v1/streams/contacts/sync?wait=120s", ""); code != http.StatusOK {
		t.Fatalf("sync: %d %s", code, body)
	}
	last := hold("the first load", first(), 0)
	daemon.kill(syscall.SIGTERM)
	s.daemon()
	second := heard(5)
	s.change("contacts", `{"create":5}`)
	until(t, "the new ones", func() error {
		if code, body := s.curl(http.MethodPost, "/v1/streams/contacts/sync?wait=60s", ""); code != http.StatusOK {
			return fmt.Errorf("sync: %d %s", code, body)
		}
		if st := s.status("contacts"); st.Records != 45 {
			return fmt.Errorf("%d records", st.Records)
		}
		return nil
	})
	hold("after a restart", second(), last)
}
