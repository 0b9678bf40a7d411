package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Demos take free ports and a folder of their own: any number of them run at
// once, and none leaves anything.
func TestDemosAtOnce(t *testing.T) {
	t.Parallel()
	tmp, bin := t.TempDir(), build(t)
	done := make(chan error, 3)
	for range cap(done) {
		go func() {
			cmd := exec.CommandContext(t.Context(), bin, "demo", "--once")
			cmd.Dir, cmd.Env = tmp, append(os.Environ(), "TMPDIR="+tmp)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "the store equals HubSpot's truth") {
				err = fmt.Errorf("%w\n%s", errors.Join(err, errors.New("not equal")), out)
			}
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	isEmpty(t, tmp)
}

func isEmpty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

// Whatever ends a demo, it takes its folder with it and says how it ended by
// its exit code.
func TestDemoIsEnded(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(p *os.Process, out io.Closer) error{
		"Ctrl-C":               func(p *os.Process, _ io.Closer) error { return p.Signal(syscall.SIGINT) },
		"SIGTERM":              func(p *os.Process, _ io.Closer) error { return p.Signal(syscall.SIGTERM) },
		"its terminal is gone": func(p *os.Process, _ io.Closer) error { return p.Signal(syscall.SIGHUP) },
		"nobody reads it":      func(_ *os.Process, out io.Closer) error { return out.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "its terminal is gone" && signal.Ignored(syscall.SIGHUP) {
				t.Skip("started by nohup, whose programs stay when their terminal goes")
			}
			// A socket in the folder has to have room for its path.
			tmp, err := os.MkdirTemp("", "hp") //nolint:usetesting // TempDir's path is too long
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(tmp) })
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, build(t), "demo", "--once")
			cmd.Dir, cmd.Env = tmp, append(os.Environ(), "TMPDIR="+tmp)
			errs := &buffer{}
			cmd.Stderr = errs
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line := make([]byte, 100) // the daemon runs when the first line comes
			if _, err := out.Read(line); err != nil {
				t.Fatal(err)
			}
			if found, _ := filepath.Glob(filepath.Join(tmp, "hubpipe-demo*", "token")); len(found) != 1 {
				t.Errorf("the demo has no folder: %v", found)
			}
			if err := end(cmd.Process, out); err != nil {
				t.Fatal(err)
			}
			rest := ""
			if name != "nobody reads it" {
				b, _ := io.ReadAll(out) // how it ends is looked at below
				rest = string(b)
			}
			_ = cmd.Wait() // so is its code
			if code := cmd.ProcessState.ExitCode(); code != 130 || errs.String() != "" {
				t.Errorf("exit %d\n%s", code, errs)
			}
			if name != "nobody reads it" && strings.Count(rest, "the demo's folder is removed") != 1 {
				t.Errorf("it does not say how it ended:\n%s", rest)
			}
			isEmpty(t, tmp)
		})
	}
}

// On a terminal the demo says how to try things, and shows changes as they
// arrive though no count moves.
func TestDemoOnATerminal(t *testing.T) {
	t.Parallel()
	script := need(t, "script")
	tmp := t.TempDir()
	p := run(t, tmp, script, "-qefc", "echo its pid: $$; exec "+build(t)+" demo --plain", filepath.Join(tmp, "typescript"))
	p.says(t, "its token is ", "hubpipe status --config ", "changes?follow=true", "every stream is synced after", "the last is ")
	log := p.log.String()
	_, number, _ := strings.Cut(log, "its pid: ")
	pid, err := strconv.Atoi(strings.Fields(number)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) // it has ended if all is well
	_, rest, _ := strings.Cut(log, "hubpipe status --config ")
	out, err := exec.CommandContext(t.Context(), build(t), "status", "--config", strings.Fields(rest)[0]).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "contacts") {
		t.Errorf("what it says to try does not work: %v\n%s", err, out)
	}
	p.kill(syscall.SIGKILL) // the terminal goes away
	until(t, "the demo's end", func() error {
		found, err := filepath.Glob(filepath.Dir(strings.Fields(rest)[0]))
		if err == nil && len(found) > 0 {
			err = fmt.Errorf("%v is there", found)
		}
		return err
	})
}

// A demo of everything reads every stream of the catalogue and ends with the
// store as HubSpot is, whatever happened there: a line a stream says so.
func TestDemoOfEverything(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), build(t), "demo", "--once", "--scenario", "everything")
	cmd.Dir, cmd.Env = tmp, append(os.Environ(), "TMPDIR="+tmp)
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err != nil || !strings.HasSuffix(text, "the store equals HubSpot's truth\n") {
		t.Fatalf("%v\n%s", err, tail(text))
	}
	for _, o := range catalogue.All() {
		line := regexp.MustCompile(`(?m)^` + o.Name + ` +\d+ live.*: (equal|it tells of who reads it)$`)
		if o.Ready && !line.MatchString(text) {
			t.Errorf("no word about %s", o.Name)
		}
	}
	for _, fate := range []string{" archived", " purged", " merged"} {
		if line := regexp.MustCompile(`(?m)^contacts .*: equal$`).FindString(text); !strings.Contains(line, fate) {
			t.Errorf("no contact is%s: %q", fate, line)
		}
	}
	isEmpty(t, tmp)
}
