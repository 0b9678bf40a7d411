package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// creates makes a token as people do, and gives what was printed.
func (s *system) creates(role, name string, more ...string) string {
	s.t.Helper()
	out, err := s.hubpipe(append([]string{"token", "create", "--role", role, "--name", name}, more...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// file writes a file into the system's folder.
func (s *system) file(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// A worker that has a token of its own, and nothing of the daemon's folder,
// does the whole work over TCP, until the token is revoked.
func TestWorkerWithItsOwnToken(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "300", "--deals", "20", "--limits=false")
	daemon := s.daemon()
	away := s.another()
	away.configure(settings{broker: fmt.Sprintf("url = \"mqtt://%s\"\n  username = \"w1\"\n  password = file(\"w1.token\")", s.mqtt)})
	away.file("w1.token", s.creates("worker", "w1"))
	worker := away.worker("--name", "w1")
	s.becomesEqual("contacts", "deals")
	if got := s.workers(); len(got) != 1 || got[0].ID != "w1" {
		t.Errorf("workers: %+v", got)
	}
	// It is w1 and nobody else.
	other := away.worker("--name", "w2")
	until(t, "the refusal of another name", func() error {
		if log := daemon.log.String(); !strings.Contains(log, "refused a connection") {
			return errors.New("nobody was refused")
		}
		return nil
	})
	other.kill(syscall.SIGKILL)
	if out, err := s.hubpipe("token", "list"); err != nil || !strings.Contains(out, "w1") || !strings.Contains(out, "worker") || strings.Contains(out, "hubpipe_") {
		t.Errorf("the list: %v\n%s", err, out)
	}
	if _, err := s.hubpipe("token", "revoke", "w1"); err != nil {
		t.Fatal(err)
	}
	daemon.says(t, "its credentials hold no longer")
	until(t, "the worker offline", func() error {
		if got := s.workers(); len(got) != 1 || got[0].State != "offline" {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	// With a new one it goes on, and the daemon was never restarted.
	worker.kill(syscall.SIGKILL)
	away.file("w1.token", s.creates("worker", "w1"))
	s.change("contacts", `{"change":20,"create":5}`)
	away.worker("--name", "w1")
	s.becomesEqual("contacts")
	for _, secret := range []string{s.token(), "hubpipe_"} {
		if strings.Contains(daemon.log.String(), secret) {
			t.Errorf("the log holds %.9q…", secret)
		}
	}
}

// Readers read, over HTTP and on the bus, and change nothing; users of the
// configuration come in with their passwords, and a reload takes them out.
func TestReadersAndUsers(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "20", "--deals", "5", "--limits=false")
	// Of "her password".
	const user = "user \"ann\" {\n  role = \"reader\"\n  password_hash = \"$2a$10$Es1cvhDJrpj7J6bhTRAY5upnVwoN9s0xH89GU7kDu9V6J3Q/dKAle\"\n}\n"
	s.more(user)
	daemon := s.daemon()
	s.worker()
	reader, control := s.creates("reader", "grafana"), s.creates("control", "ops")
	s.becomesEqual("contacts")
	ask := func(method, path, bearer, name, password string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.http+path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		} else {
			req.SetBasicAuth(name, password)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	const stop = "/v1/streams/contacts/stop"
	for _, c := range []struct {
		method, path, bearer, name, password string
		want                                 int
	}{
		{"GET", "/v1/streams/contacts/records", reader, "", "", 200},
		{"GET", "/v1/streams/contacts/records", "", "ann", "her password", 200},
		{"GET", "/v1/streams/contacts/records", "", "grafana", reader, 200},
		{"POST", stop, reader, "", "", 403},
		{"POST", stop, "", "ann", "her password", 403},
		{"POST", "/v1/shutdown", reader, "", "", 403},
		{"GET", "/v1/streams", s.creates("worker", "w9"), "", "", 403},
		{"GET", "/v1/streams", "", "ann", "his password", 401},
		{"GET", "/v1/streams", "", "bob", "her password", 401},
		{"GET", "/v1/streams", reader[1:], "", "", 401},
		{"POST", "/v1/streams/contacts/start", control, "", "", 200},
	} {
		if got := ask(c.method, c.path, c.bearer, c.name, c.password); got != c.want {
			t.Errorf("%s %s by %s%.9s: %d, want %d", c.method, c.path, c.name, c.bearer, got, c.want)
		}
	}
	on := s.at(s.mqtt)
	on.user = []string{"-u", "ann", "-P", "her password"}
	if out, err := on.reads("hubpipe/streams/contacts"); err != nil || !strings.Contains(out, `"name":"contacts"`) {
		t.Errorf("a reader on the bus: %v %s", err, out)
	}
	if out, err := on.does("mosquitto_pub", "-V", "mqttv5", "-q", "1", "-t", "hubpipe/control", "-m", "stop contacts"); err == nil && !strings.Contains(out, "uthorized") {
		t.Errorf("a reader gives a command: %s", out)
	}
	if st := s.status("contacts"); st.State == "stopped" {
		t.Error("a reader has stopped a stream")
	}
	on.user = []string{"-u", "ops", "-P", control}
	if a := on.commands("mqttv5", "status contacts"); !a.OK {
		t.Errorf("control on the bus: %+v", a)
	}
	// Who follows is cut off with the user, at the reload.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.http+"/v1/streams/contacts/changes?follow=true&since=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("ann", "her password")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		}
	}()
	s.replace(user, "")
	if err := daemon.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the user", func() error {
		if got := ask("GET", "/v1/streams", "", "ann", "her password"); got != 401 {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
	until(t, "the end of what the user followed", func() error {
		select {
		case <-ended:
			return nil
		default:
			return errors.New("it goes on")
		}
	})
}

// The whole pipeline on a mosquitto that has passwords and the rules that
// hubpipe printed for it.
func TestMosquittoWithOurRules(t *testing.T) {
	t.Parallel()
	passwd := need(t, "mosquitto_passwd")
	need(t, "mosquitto")
	s := newSystem(t, "--contacts", "200", "--deals", "10", "--limits=false")
	port := freePort(t)
	const password = "a password of the broker's own"
	as := func(user string) string {
		return fmt.Sprintf("url = \"mqtt://127.0.0.1:%d\"\n  username = %q\n  password = file(\"password\")", port, user)
	}
	s.configure(settings{broker: as("pipe")})
	s.file("password", password)
	away := s.another()
	away.configure(settings{broker: as("w1")})
	away.file("password", password)
	s.creates("worker", "w1")
	s.creates("reader", "ann")
	rules, err := s.hubpipe("broker", "acl", "--control", "ops")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "hp") //nolint:usetesting // mosquitto changes its user, and cannot enter the test's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	acl, passwords := filepath.Join(dir, "acl"), filepath.Join(dir, "passwords")
	for path, text := range map[string]string{acl: rules, passwords: ""} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"pipe", "w1", "ann", "ops"} {
		if out, err := exec.CommandContext(t.Context(), passwd, "-b", passwords, user, password).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	startMosquitto(t, port, "allow_anonymous false", "password_file "+passwords, "acl_file "+acl)
	daemon := s.daemon()
	away.worker("--name", "w1")
	s.becomesEqual("contacts", "deals")
	if log := daemon.log.String(); strings.Contains(log, "refuses the subscription") {
		t.Errorf("the daemon misses something:\n%s", tail(log))
	}
	on := s.at(fmt.Sprintf("127.0.0.1:%d", port))
	on.user = []string{"-u", "ops", "-P", password}
	if a := on.commands("mqttv311", "stop deals"); !a.OK {
		t.Errorf("control: %+v", a)
	}
	on.user[1] = "ann"
	if out, err := on.reads("hubpipe/streams/contacts"); err != nil || !strings.Contains(out, `"name":"contacts"`) {
		t.Errorf("a reader: %v %s", err, out)
	}
	_, _ = on.does("mosquitto_pub", "-V", "mqttv5", "-q", "1", "-t", "hubpipe/control", "-m", "stop contacts")
	if st := s.status("contacts"); st.State == "stopped" {
		t.Error("a reader has stopped a stream")
	}
}
