package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Each mistake in what a daemon or worker is started with ends it with a line
// that says what and what to do.
func TestStartsThatAreRefused(t *testing.T) {
	t.Parallel()
	bin := build(t)
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		verb, config string
		code         int
		says         []string
	}{
		"http's port in use":  {"daemon", `http { listen = "` + taken.Addr().String() + `" }`, 1, []string{port, "in use", "http { listen"}},
		"mqtt's port in use":  {"daemon", `broker { listen = "` + taken.Addr().String() + `" }`, 1, []string{port, "in use", "broker { listen"}},
		"http beyond here":    {"daemon", `http { listen = "0.0.0.0:0" }`, 3, []string{"without TLS", "add tls {"}},
		"mqtt beyond here":    {"check", `broker { listen = ":1883" }`, 3, []string{"without TLS", "add tls {"}},
		"a certificate gone":  {"daemon", "http {\n  listen = \"0.0.0.0:0\"\n  tls {\n    certificate = \"no.crt\"\n    key = \"no.key\"\n  }\n}", 3, []string{"hubpipe.hcl:4", "no.crt"}},
		"a folder for a file": {"daemon", "", 3, []string{"hubpipe.hcl"}},
		"no HCL":              {"daemon", "stream contacts {", 3, []string{"hubpipe.hcl:2", "does not end"}},
		"unknown names":       {"worker", "stream \"contacts\" {\n  intervall = \"5m\"\n}", 3, []string{"hubpipe.hcl:3", "intervall", `"interval"`}},
		"an interval of 0":    {"daemon", "stream \"contacts\" {\n  interval = \"0s\"\n}", 3, []string{"hubpipe.hcl:3", "0s", "1s"}},
		"an interval of text": {"daemon", "stream \"contacts\" {\n  interval = \"soon\"\n}", 3, []string{"hubpipe.hcl:3", "soon", "5m"}},
		"an unknown object":   {"daemon", "stream \"contact\" {}", 3, []string{"hubpipe.hcl:2", "contacts"}},
		"two mistakes":        {"check", "streem \"contacts\" {}\nhttp { listn = \"x\" }", 3, []string{"streem", "listn"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "hubpipe.hcl")
			var err error
			if c.config == "" {
				err = os.Mkdir(path, 0o700)
			} else {
				listen := ""
				for _, block := range []string{"http", "broker"} {
					if !strings.Contains(c.config, block+" {") {
						listen += fmt.Sprintf("\n%s { listen = \"127.0.0.1:0\" }", block)
					}
				}
				err = os.WriteFile(path, fmt.Appendf(nil, "data_dir = %q\n%s%s\n", filepath.Join(dir, "data"), c.config, listen), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			refused(t, run(t, dir, bin, c.verb, "--config", path), c.code, c.says...)
		})
	}
}

// A check that may ask HubSpot names what HubSpot does not have.
func TestCheckAsksForNames(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "30", "--deals", "20")
	s.replace(`stream "contacts" {}`, "stream \"contacts\" { exclude = [\"phnoe\"] }\nstream \"cars\" { object = \"p_nowhere\" }")
	refused(t, run(t, s.dir, s.bin, "check", "--estimate", "--output", "json"), 1, "HubSpot has no property phnoe", `no object \"p_nowhere\"`, `"records": 20`)
}

// What is asked wrongly over HTTP and on the command line is answered with what
// is wrong, and changes nothing.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "10", "--deals", "5")
	s.configure(settings{defaults: "autostart = false"})
	s.daemon()
	before := s.get("/v1/streams")
	for _, c := range []struct {
		path, body string
		code       int
		says       string
	}{
		{"/v1/streams/contact/start", "", 404, `did you mean \"contacts\"?`},
		{"/v1/streams/nothing/sync", "", 404, "nothing"},
		{"/v1/streams/contacts/start", `{"interval":"0s"}`, 400, "0s"},
		{"/v1/streams/contacts/start", `{"interval":"0"}`, 400, "interval"},
		{"/v1/streams/contacts/start", `{"interval":"soon"}`, 400, "soon"},
		{"/v1/streams/contacts/start", `{"interval":0}`, 400, "interval"},
		{"/v1/streams/contacts/start", `{"intervall":"5m"}`, 400, "intervall"},
		{"/v1/streams/contacts/start", `every 5m`, 400, "JSON"},
		{"/v1/streams/contacts/dance", "", 404, ""},
	} {
		code, body := s.curl(http.MethodPost, c.path, c.body)
		p := decode[client.Problem](t, body)
		if code != c.code || p.Status != c.code || p.Type == "" || p.Title == "" || !strings.Contains(body, c.says) {
			t.Errorf("%s %s: %d %s", c.path, c.body, code, body)
		}
	}
	if code, body := fetch(t, http.MethodGet, s.http+"/v1/streams", "", ""); code != http.StatusUnauthorized || !strings.Contains(body, "hubpipe token") {
		t.Errorf("without the token: %d %s", code, body)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"start", "contact"}, 1, `did you mean "contacts"?`},
		{[]string{"log-level", "loud"}, 2, "trace, debug, info, warn or error"},
		{[]string{"start", "contacts", "--every", "0s"}, 2, "0s"},
		{[]string{"start", "contacts", "--every", "soon"}, 2, "soon"},
		{[]string{"records", "nothing"}, 1, "nothing"},
	} {
		p := run(t, s.dir, s.bin, c.args...)
		refused(t, p, c.code, c.says, "hubpipe: ")
	}
	if after := s.get("/v1/streams"); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
}

// Pages that do not decode, or are nobody's, are named in the log and change
// nothing, and a worker of that name works all the same.
func TestPagesThatDoNotDecode(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub")
	s := newSystem(t, "--contacts", "200", "--deals", "20", "--limits=false")
	daemon := s.daemon()
	stranger := s.at(s.mqtt, "hubpipe-worker-x")
	var codec protocol.Codec
	nobodys, err := codec.Encode(&protocol.Page{Store: daemon.field(t, "store"), Epoch: 1, Process: "p", Attempt: 7, Range: 1, Seq: 1,
		Kind: protocol.RecordsPage, Last: true, Records: []protocol.Record{{ID: "4711", State: "live", Version: 1, Properties: []byte(`{}`)}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, page := range map[string][]byte{
		"text": []byte("this is no page"), "nothing": nil, "cut": nobodys[:len(nobodys)/2], "nobody's": nobodys,
	} {
		path := filepath.Join(t.TempDir(), "page")
		if err := os.WriteFile(path, page, 0o600); err != nil {
			t.Fatal(name, err)
		}
		stranger.publishes("-V", "mqttv5", "-i", "hubpipe-worker-x", "-t", "hubpipe/workers/x/pages", "-f", path)
		stranger.publishes("-V", "mqttv5", "-i", "hubpipe-worker-x", "-t", "hubpipe/workers/x/heartbeat", "-f", path)
	}
	daemon.says(t, "a page does not decode", "a heartbeat does not decode", "worker=x")
	if n := s.status("contacts").Records; n != 0 {
		t.Errorf("%d records came from nowhere", n)
	}
	// Somebody may not send as another, and the person at the bus not at all.
	if out, err := s.at(s.mqtt, "hubpipe-worker-y").does("mosquitto_pub", "-V", "mqttv5", "-q", "1", "-i", "hubpipe-worker-x",
		"-t", "hubpipe/workers/x/pages", "-m", "x"); err == nil {
		t.Errorf("y as x: %s", out)
	}
	s.worker("--name", "x")
	s.becomesEqual("contacts", "deals")
	if _, err := s.hubpipe("records", "contacts", "4711"); err == nil {
		t.Error("a record of nobody's page is stored")
	}
}
