package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A worker that is there before the daemon's first start waits for the token,
// says so once, and gets to work.
func TestWorkerBeforeTheDaemon(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "50", "--deals", "10", "--limits=false")
	w := s.worker("--name", "w1")
	w.says(t, "waiting for the daemon: it makes the token at its first start")
	s.daemon()
	s.becomesEqual("contacts", "deals")
	if n := strings.Count(w.log.String(), "waiting for the daemon"); n != 1 || strings.Contains(w.log.String(), "[ERROR]") {
		t.Errorf("%d times:\n%s", n, w.log)
	}
	w.kill(syscall.SIGTERM)
	if code := w.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	waiting := s.another().worker()
	waiting.says(t, "waiting for the daemon")
	waiting.kill(syscall.SIGTERM)
	if code := waiting.exit(t); code != 0 {
		t.Errorf("a worker that waits ends with %d after SIGTERM:\n%s", code, waiting.log)
	}
}

// A broker that is not there is told of soon and plainly. The worker goes on
// trying; the daemon gives up with one line.
func TestBrokerThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "1")
	url := fmt.Sprintf("mqtt://127.0.0.1:%d", freePort(t))
	s.configure(settings{broker: "url = \"" + url + "\""})
	began := time.Now()
	w, d := s.worker("--name", "w1"), run(t, s.dir, s.bin, "daemon")
	says := "broker at " + url + " not reachable: connection refused; trying again"
	w.says(t, says)
	d.says(t, says)
	if took := time.Since(began); took > 10*time.Second { // 2 on a machine with nothing else to do
		t.Errorf("it was said after %s", took)
	}
	refused(t, d, 1, "hubpipe: reach the broker at "+url+": connection refused")
	if log := d.log.String(); strings.Contains(log, "deadline") || strings.Contains(log, "ready") || strings.Count(log, "\n") > 2 {
		t.Errorf("more than it takes:\n%s", log)
	}
	if !w.running() || strings.Count(w.log.String(), "trying again") != 1 {
		t.Errorf("the worker:\n%s", w.log)
	}
}

// A broker that refuses user name or password: both say which settings it is
// about, and the daemon ends at once.
func TestBrokerThatRefuses(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto")
	s := newSystem(t, "--contacts", "1")
	port := freePort(t)
	startMosquitto(t, port, "allow_anonymous false")
	s.configure(settings{broker: fmt.Sprintf("url = \"mqtt://127.0.0.1:%d\"\n  username = \"me\"\n  password = \"wrong-canary\"", port)})
	w, d := s.worker("--name", "w1"), run(t, s.dir, s.bin, "daemon")
	const says = "it refuses the user name or the password; see broker { username, password }"
	refused(t, d, 1, "hubpipe: reach the broker at ", says)
	w.says(t, "[ERROR]", says)
	if !w.running() || strings.Count(w.log.String(), says) != 1 || strings.Contains(w.log.String()+d.log.String(), "wrong-canary") {
		t.Errorf("the worker:\n%s", w.log)
	}
}

// SIGHUP has the daemon read its configuration again, and it says so; a worker
// says what it does not do.
func TestHangupIsAReload(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "50", "--deals", "10", "--limits=false")
	d, w := s.daemon(), s.worker()
	s.configure(settings{streams: []string{"contacts"}})
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.says(t, "the configuration was read again: streams=1 portals=1")
	w.says(t, "worker is running") // before it knows the signal, that ends it
	if err := w.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	w.says(t, "restart it")
	s.becomesEqual("contacts")
}

// The change feed on the command line, and intervals as people write them.
func TestVerbsThatRead(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "50", "--deals", "10", "--limits=false")
	s.daemon()
	s.worker()
	s.becomesEqual("contacts", "deals")
	for _, c := range []struct {
		args  []string
		lines int
		says  string
	}{
		{[]string{"changes", "contacts"}, 50, `"seq":`},
		{[]string{"changes", "contacts", "--limit", "3"}, 3, `"seq":`},
		{[]string{"changes", "deals", "-o", "table"}, 11, "live"},
		{[]string{"changes", "contacts", "--since", "1000000"}, 0, ""},
		{[]string{"records", "contacts", "--limit", "7"}, 7, `"id":`},
		{[]string{"records", "contacts", "-o", "table", "--limit", "7"}, 8, "ID "},
		{[]string{"export", "contacts", "--format", "csv", "--fields", "email"}, 51, "email"},
		{[]string{"export", "contacts"}, 50, `"properties":`},
	} {
		out, err := s.hubpipe(c.args...)
		if n := strings.Count(out, "\n"); err != nil || n != c.lines && c.args[len(c.args)-1] != "email" || n < c.lines || !strings.Contains(out, c.says) {
			t.Errorf("%v: %d lines, %v\n%s", c.args, n, err, tail(out))
		}
	}
	for _, typed := range []string{"5m0s", "5 m"} {
		if code, body := s.curl(http.MethodPost, "/v1/streams/deals/start", `{"interval":"`+typed+`"}`); code != http.StatusOK || !strings.Contains(body, `"interval":"5m"`) {
			t.Errorf("%s: %d %s", typed, code, body)
		}
	}
}
