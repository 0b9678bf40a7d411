// Package e2e runs the real program: processes, sockets, signals.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// build makes the binary once for all tests.
func build(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "hubpipe")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// process is one of ours, ended with the test.
type process struct {
	cmd *exec.Cmd
	log *buffer
}

// buffer is read while the process writes.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func run(t testing.TB, dir, bin string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), bin, args...), log: &buffer{}}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.log, p.log
	p.cmd.Env = append(os.Environ(), "TEST_TOKEN=secret-canary-token")
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill(syscall.SIGKILL) })
	return p
}

// kill signals the process and waits for its end.
func (p *process) kill(s os.Signal) {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Signal(s) // it may have ended by itself
		_ = p.cmd.Wait()            // how it ends is the test's doing
	}
}

// until polls until f is happy.
func until(t testing.TB, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

// system is a simulator and the folder of a daemon and a worker.
type system struct {
	t        testing.TB
	bin, dir string
	sim      string
}

func newSystem(t testing.TB, sim ...string) *system {
	t.Helper()
	s := &system{t: t, bin: build(t), dir: t.TempDir()}
	p := run(t, s.dir, s.bin, append([]string{"simulator", "--listen", "127.0.0.1:0", "--token", "secret-canary-token"}, sim...)...)
	until(t, "the simulator's address", func() error {
		line, err := bufio.NewReader(strings.NewReader(p.log.String())).ReadString('\n')
		s.sim = strings.TrimSpace(line)
		return err
	})
	config := fmt.Sprintf(`data_dir = %q
http { listen = "127.0.0.1:0" }
broker { listen = "127.0.0.1:0" }
portal "main" {
  token    = env("TEST_TOKEN")
  base_url = %q
}
defaults {
  interval = "1s"
  tail     = "20s"
  settle   = ["5s", "15s"]
}
stream "contacts" {}
stream "deals" {}
`, filepath.Join(s.dir, "data"), s.sim)
	if err := os.WriteFile(filepath.Join(s.dir, "hubpipe.hcl"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// hubpipe runs a verb to its end and gives what it printed on stdout.
func (s *system) hubpipe(args ...string) (string, error) {
	cmd := exec.CommandContext(s.t.Context(), s.bin, args...)
	cmd.Dir = s.dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%w: %s", err, errs.String())
	}
	return string(out), nil
}

// change asks the simulator for changes.
func (s *system) change(object, body string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.sim+"/_simulator/"+object, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("change: %s", resp.Status)
	}
}

type row struct {
	ID         string             `json:"id"`
	State      string             `json:"state"`
	Properties map[string]*string `json:"properties"`
}

// equal holds the store against the truth: each record once, with its content.
func (s *system) equal(object string) error {
	out, err := s.hubpipe("records", object, "--state", "all")
	if err != nil {
		return err
	}
	stored := map[string]row{}
	for line := range strings.Lines(out) {
		var r row
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return fmt.Errorf("a record does not decode: %w", err)
		}
		if _, twice := stored[r.ID]; twice {
			return fmt.Errorf("record %s stands twice", r.ID)
		}
		stored[r.ID] = r
	}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.sim+"/_simulator/truth/"+object, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	dec := json.NewDecoder(resp.Body)
	n := 0
	for ; dec.More(); n++ {
		var want row
		if err := dec.Decode(&want); err != nil {
			return err
		}
		got, ok := stored[want.ID]
		if !ok || got.State != want.State {
			return fmt.Errorf("record %s of %d is missing or %q", want.ID, len(stored), got.State)
		}
		for p, v := range want.Properties {
			if h := got.Properties[p]; (h == nil) != (v == nil) || v != nil && *h != *v {
				return fmt.Errorf("record %s: property %s differs", want.ID, p)
			}
		}
	}
	if n != len(stored) {
		return fmt.Errorf("%d are stored, HubSpot has %d", len(stored), n)
	}
	return nil
}

// Two processes and a third, killed in the middle, end equal to the truth.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "3000", "--deals", "300", "--limits=false", "--latency", "20ms",
		"--search-lateness", "2s", "--fault-rate", "0.03")
	daemon := run(t, s.dir, s.bin, "daemon")
	until(t, "the daemon", func() error { _, err := s.hubpipe("status"); return err })
	worker := run(t, s.dir, s.bin, "worker")
	moving := func(than string) func() error {
		return func() error {
			out, err := s.hubpipe("status", "contacts", "--output", "json")
			if err == nil && out == than {
				err = fmt.Errorf("nothing moves: %s", out)
			}
			return err
		}
	}
	for range 2 {
		s.change("contacts", `{"change":100,"create":20}`)
		before, _ := s.hubpipe("status", "contacts", "--output", "json")
		until(t, "progress", moving(before))
		daemon.kill(syscall.SIGKILL)
		daemon = run(t, s.dir, s.bin, "daemon")
		until(t, "the daemon again", func() error { _, err := s.hubpipe("status"); return err })
		worker.kill(syscall.SIGKILL)
		worker = run(t, s.dir, s.bin, "worker")
	}
	s.change("contacts", `{"change":200,"create":50}`)
	until(t, "contacts equal the truth", func() error { return s.equal("contacts") })
	until(t, "deals equal the truth", func() error { return s.equal("deals") })
	worker.kill(syscall.SIGTERM)
	if code := worker.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the worker ends with %d after SIGTERM:\n%s", code, worker.log)
	}
	daemon.kill(syscall.SIGTERM)
	if code := daemon.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the daemon ends with %d after SIGTERM:\n%s", code, daemon.log)
	}
	for _, log := range []string{worker.log.String(), daemon.log.String()} {
		if strings.Contains(log, "secret-canary-token") {
			t.Error("a log holds the token")
		}
	}
}

func TestDemoOnce(t *testing.T) {
	t.Parallel()
	bin := build(t)
	cmd := exec.CommandContext(t.Context(), bin, "demo", "--once")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "the store equals HubSpot's truth") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	bin, dir := build(t), t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.hcl", fmt.Sprintf("data_dir = %q\nhttp { listen = \"127.0.0.1:9\" }\n", dir))
	bad := write("bad.hcl", "streem \"contacts\" {}\n")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"version"}, 0, ""},
		{[]string{"dance"}, 2, "no verb"},
		{[]string{"start"}, 2, "start STREAM"},
		{[]string{"status", "--output", "xml", "--config", good}, 2, "table or json"},
		{[]string{"check", "--config", bad}, 3, "streem"},
		{[]string{"check", "--config", filepath.Join(dir, "none.hcl")}, 3, "none.hcl"},
		{[]string{"status", "--config", good}, 4, "hubpipe up"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			t.Parallel()
			out, err := exec.CommandContext(t.Context(), bin, c.args...).CombinedOutput()
			code := 0
			if err != nil {
				e, ok := err.(*exec.ExitError) //nolint:errorlint // exec gives it bare
				if !ok {
					t.Fatal(err)
				}
				code = e.ExitCode()
			}
			if code != c.code || !strings.Contains(string(out), c.says) {
				t.Fatalf("exit %d, want %d:\n%s", code, c.code, out)
			}
		})
	}
}
