package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// hubspotToken is what the simulator asks for; no log may hold it.
const hubspotToken = "secret-canary-token"

// binaryVar names the variable in which TestMain leaves the program's path.
const binaryVar = "HUBPIPE_E2E_BINARY"

// TestMain makes the binary once for all tests, and lets more of them run side by
// side than there are processors, unless -parallel says how many: their processes
// wait, most of the time. Where the tests have the race detector the program has
// it, too, and what it finds fails the test.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	parallel := "8"
	if raceEnabled {
		parallel = "4" // they compute, then
	}
	if !asked {
		if err := flag.Set("test.parallel", parallel); err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "hubpipe-e2e-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // of the system's temporary folder
	bin := filepath.Join(dir, "hubpipe")
	args := []string{"build", "-o", bin, "../.."}
	if raceEnabled {
		args = slices.Insert(args, 1, "-race")
	}
	cmd := exec.CommandContext(context.Background(), "go", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build: %v\n%s", err, out))
	}
	if err := os.Setenv(binaryVar, bin); err != nil {
		panic(err)
	}
	m.Run()
}

// build gives the path of the program under test.
func build(t testing.TB) string {
	t.Helper()
	worthDetecting(t)
	return os.Getenv(binaryVar)
}

// process is one of ours, ended with the test.
type process struct {
	cmd  *exec.Cmd
	log  *buffer
	done chan struct{} // closed when it has ended
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
	return runWith(t, dir, bin, nil, args...)
}

// runWith is run with more in the environment.
func runWith(t testing.TB, dir, bin string, env []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), bin, args...), log: &buffer{}, done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.log, p.log
	p.cmd.Env = append(append(os.Environ(), "TEST_TOKEN="+hubspotToken), env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ends is the test's doing
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill(syscall.SIGKILL)
		for _, bad := range []string{"DATA RACE", "panic: ", "fatal error: "} {
			if strings.Contains(p.log.String(), bad) {
				t.Errorf("%s: %s", strings.Join(args, " "), bad)
			}
		}
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(args, " "), tail(p.log.String()))
		}
	})
	return p
}

// tail keeps what a person would read of a long log.
func tail(log string) string {
	const most = 6000
	if len(log) > most {
		return "…" + log[len(log)-most:]
	}
	return log
}

// kill signals the process and waits for its end.
func (p *process) kill(s os.Signal) {
	_ = p.cmd.Process.Signal(s) // it may have ended by itself
	<-p.done
}

// exit waits for the end and gives the exit code.
func (p *process) exit(t testing.TB) int {
	t.Helper()
	until(t, "the end of "+p.cmd.String(), func() error {
		select {
		case <-p.done:
			return nil
		default:
			return errors.New("it still runs")
		}
	})
	return p.cmd.ProcessState.ExitCode()
}

// running says whether it has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// says waits for words in the log.
func (p *process) says(t testing.TB, words ...string) {
	t.Helper()
	until(t, "the log", func() error {
		log := p.log.String()
		for _, w := range words {
			if !strings.Contains(log, w) {
				return fmt.Errorf("it lacks %q:\n%s", w, tail(log))
			}
		}
		return nil
	})
}

// field reads the value of a name in the log's first line that has it.
func (p *process) field(t testing.TB, name string) (value string) {
	t.Helper()
	until(t, "the log's "+name, func() error {
		_, rest, ok := strings.Cut(p.log.String(), " "+name+"=")
		if !ok || !strings.Contains(rest, "\n") {
			return fmt.Errorf("there is none:\n%s", tail(p.log.String()))
		}
		value = strings.Fields(rest)[0]
		return nil
	})
	return value
}

// until polls until f is happy, for far longer than that takes: a busy machine
// may be several times slower. It rests for longer than it looks: to read a whole
// store, or to run a verb, takes the time of what is waited for.
func until(t testing.TB, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(4 * time.Minute)
	for {
		began := time.Now()
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-time.After(min(max(50*time.Millisecond, 3*time.Since(began)), time.Second))
	}
}

// freePort gives a port that nobody has at this moment.
func freePort(t testing.TB) int {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port // it listens on tcp
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}

// system is a simulator and the folder of a daemon and a worker.
type system struct {
	t        testing.TB
	bin, dir string
	sim      string
	http     string                 // the daemon's address, once it is ready
	mqtt     string                 // and its broker's
	reread   string                 // when workers read once more what was old; "" for as ever
	owner    atomic.Pointer[string] // hubpipe's own token, once it was asked for
}

// settings are what the tests vary in a configuration.
type settings struct {
	broker   string   // attributes of the broker block
	streams  []string // contacts and deals
	defaults string   // further attributes of the defaults block
}

func newSystem(t testing.TB, sim ...string) *system {
	t.Helper()
	s := &system{t: t, bin: build(t), dir: t.TempDir()}
	p := run(t, s.dir, s.bin, append([]string{"simulator", "--listen", "127.0.0.1:0", "--token", hubspotToken}, sim...)...)
	until(t, "the simulator's address", func() error {
		line, err := bufio.NewReader(strings.NewReader(p.log.String())).ReadString('\n')
		s.sim = strings.TrimSpace(line)
		return err
	})
	s.configure(settings{})
	return s
}

// more adds to the configuration.
func (s *system) more(text string) {
	s.t.Helper()
	s.edit(func(was string) string { return was + text })
}

// replace changes a part of the configuration.
func (s *system) replace(part, by string) {
	s.t.Helper()
	s.edit(func(was string) string {
		if !strings.Contains(was, part) {
			s.t.Fatalf("the configuration lacks %q", part)
		}
		return strings.Replace(was, part, by, 1)
	})
}

func (s *system) edit(f func(string) string) {
	s.t.Helper()
	path := filepath.Join(s.dir, "hubpipe.hcl")
	b, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(f(string(b))), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// another is a second folder beside the same simulator.
func (s *system) another() *system {
	s.t.Helper()
	o := &system{t: s.t, bin: s.bin, dir: s.t.TempDir(), sim: s.sim, reread: s.reread}
	o.configure(settings{})
	return o
}

// configure writes the configuration of the folder.
func (s *system) configure(c settings) {
	s.t.Helper()
	if c.broker == "" {
		c.broker = `listen = "127.0.0.1:0"`
	}
	if c.streams == nil {
		c.streams = []string{"contacts", "deals"}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `data_dir = %q
http { listen = "127.0.0.1:0" }
broker {
  %s
}
portal "main" {
  token    = env("TEST_TOKEN")
  base_url = %q
}
defaults {
  interval = "1s"
  tail     = "20s"
  settle   = ["5s", "15s"]
  %s
}
`, filepath.Join(s.dir, "data"), c.broker, s.sim, c.defaults)
	for _, name := range c.streams {
		fmt.Fprintf(&b, "stream %q {}\n", name)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "hubpipe.hcl"), []byte(b.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// daemon starts one and waits until it is ready.
func (s *system) daemon(args ...string) *process {
	s.t.Helper()
	s.owner.Store(nil) // it may make another
	p := run(s.t, s.dir, s.bin, append([]string{"daemon"}, args...)...)
	p.says(s.t, "ready: http=")
	s.http, s.mqtt = "http://"+p.field(s.t, "http"), p.field(s.t, "mqtt")
	return p
}

// worker starts one.
func (s *system) worker(args ...string) *process {
	s.t.Helper()
	if s.reread != "" {
		args = append(args, "--reread", s.reread)
	}
	return run(s.t, s.dir, s.bin, append([]string{"worker"}, args...)...)
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

// token is hubpipe's own, as people get it: once a daemon, since each request
// needs it, and a process costs more than most requests.
func (s *system) token() string {
	s.t.Helper()
	if token := s.owner.Load(); token != nil {
		return *token
	}
	out, err := s.hubpipe("token")
	if err != nil {
		s.t.Fatal(err)
	}
	token := strings.TrimSpace(out)
	s.owner.Store(&token)
	return token
}

// curl is a request to the daemon, as curl would send it.
func (s *system) curl(method, path, body string) (int, string) {
	s.t.Helper()
	return fetch(s.t, method, s.http+path, body, s.token())
}

func fetch(t testing.TB, method, url, body, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// status is how a stream stands.
func (s *system) status(stream string) client.Status {
	s.t.Helper()
	return decode[client.Status](s.t, s.get("/v1/streams/"+stream))
}

// runs are the stream's, newest first.
func (s *system) runs(stream string) []client.Run {
	s.t.Helper()
	return decode[struct{ Runs []client.Run }](s.t, s.get("/v1/runs?stream="+stream)).Runs
}

// workers are those that the daemon knows.
func (s *system) workers() []client.Worker {
	s.t.Helper()
	return decode[struct{ Workers []client.Worker }](s.t, s.get("/v1/workers")).Workers
}

func (s *system) get(path string) string {
	s.t.Helper()
	code, body := s.curl(http.MethodGet, path, "")
	if code != http.StatusOK {
		s.t.Fatalf("%s: %d %s", path, code, body)
	}
	return body
}

func decode[T any](t testing.TB, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// refused tells a clear refusal from a crash: one line that says what.
func refused(t testing.TB, p *process, code int, says ...string) {
	t.Helper()
	if got := p.exit(t); got != code {
		t.Errorf("exit %d, want %d", got, code)
	}
	log := p.log.String()
	for _, w := range says {
		if !strings.Contains(log, w) {
			t.Errorf("it does not say %q:\n%s", w, log)
		}
	}
	if strings.Contains(log, "goroutine ") || strings.Contains(log, hubspotToken) {
		t.Errorf("a trace or a secret:\n%s", log)
	}
}
