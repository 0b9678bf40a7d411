// Package e2e runs the real program: processes, sockets, signals.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hubpipe/hubpipe/internal/cli"
)

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

// The exit codes of docs/CLI.md are those that there are, and verbs that work
// end with that of the work.
func TestExitCodesOfWork(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/CLI.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{cli.ExitOK, cli.ExitFailure, cli.ExitUsage, cli.ExitConfig, cli.ExitUnreachable, cli.ExitInterrupted} {
		if !strings.Contains(string(b), fmt.Sprintf("\n| %d | ", code)) {
			t.Errorf("docs/CLI.md has no exit code %d", code)
		}
	}
	s := documented(t)
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"sync", "contacts", "--wait"}, cli.ExitOK},
		{[]string{"sync", "all", "--wait"}, cli.ExitOK},
		{[]string{"reconcile", "deals", "--wait"}, cli.ExitOK},
		{[]string{"sync", "contacts", "--record", "999999999", "--wait"}, cli.ExitFailure},
		{[]string{"start", "nobody"}, cli.ExitFailure},
		{[]string{"records", "contacts", "999999999"}, cli.ExitFailure},
		{[]string{"sync", "contacts", "--wait=perhaps"}, cli.ExitUsage},
		{[]string{"preview", "nobody"}, cli.ExitConfig},
		{[]string{"status", "--addr", "127.0.0.1:9"}, cli.ExitUnreachable},
	} {
		p := run(t, s.dir, s.bin, c.args...)
		if code := p.exit(t); code != c.code {
			t.Errorf("%q ends with %d, not %d:\n%s", c.args, code, c.code, p.log)
		}
	}
	p := run(t, s.dir, s.bin, "changes", "contacts", "--follow")
	p.says(t, `"seq"`)
	p.kill(syscall.SIGINT)
	if code := p.exit(t); code != cli.ExitInterrupted {
		t.Errorf("interrupted, it ends with %d", code)
	}
}
