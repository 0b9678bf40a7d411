package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// terminal is a terminal in tmux, with a server of its own that ends with the
// test.
type terminal struct {
	t      testing.TB
	tmux   string
	socket string
	dir    string
}

// newTerminal runs a script of the shell in a terminal.
func newTerminal(t testing.TB, dir string, width, height int, script string, env ...string) *terminal {
	t.Helper()
	home, err := os.MkdirTemp("", "hp") //nolint:usetesting // TempDir's path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, tmux: need(t, "tmux"), socket: filepath.Join(home, "tmux"), dir: dir}
	path := filepath.Join(home, "script")
	// What was typed before the end is not run, and the last screen stays.
	if err := os.WriteFile(path, []byte(script+"\nexec sleep 100000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), x.tmux, "-S", x.socket, "-f", os.DevNull, "-u", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height), "sh "+path)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TEST_TOKEN="+hubspotToken, "TMPDIR="+home, "TMUX=")
	cmd.Env = append(cmd.Env, env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v %s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the terminal:\n%s", x.screen())
		}
		_ = exec.CommandContext(context.WithoutCancel(t.Context()), x.tmux, "-S", x.socket, "kill-server").Run() // it may have ended
		_ = os.RemoveAll(home)
	})
	return x
}

func (x *terminal) do(args ...string) string {
	x.t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(x.t.Context()), x.tmux, append([]string{"-S", x.socket}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Errorf("tmux %v: %v %s", args, err, out)
	}
	return string(out)
}

// screen is what is to be seen.
func (x *terminal) screen() string { return x.do("capture-pane", "-p") }

// types presses keys, by tmux' names.
func (x *terminal) types(keys ...string) {
	x.t.Helper()
	x.do(append([]string{"send-keys"}, keys...)...)
}

// shows waits until all of the texts are to be seen at once.
func (x *terminal) shows(texts ...string) {
	x.t.Helper()
	until(x.t, "the screen", func() error {
		screen := x.screen()
		for _, s := range texts {
			if !strings.Contains(screen, s) {
				return fmt.Errorf("it lacks %q:\n%s", s, screen)
			}
		}
		return nil
	})
}

// restored holds that the terminal is as programs expect one: not the other
// screen, a cursor, no mouse, and the line as it was.
func (x *terminal) restored() {
	x.t.Helper()
	if got := x.do("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{keypad_cursor_flag}"); strings.TrimSpace(got) != "0 1 0 0" {
		x.t.Errorf("alternate, cursor, mouse, keypad: %s", got)
	}
	before, err := os.ReadFile(filepath.Join(x.dir, "before"))
	if err != nil {
		x.t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(x.dir, "after"))
	if err != nil || string(before) != string(after) {
		x.t.Errorf("the line was %s and is %s (%v)", before, after, err)
	}
}

// inTerminal is a script that runs a command, leaves its pid in a file, says
// how it ended, and keeps how the line was before and after.
func inTerminal(command string) string {
	return "stty -g > before\nsh -c 'echo $$ > pid; exec " + command + "'\ncode=$?\nstty -g > after\necho \"it ended with $code\"\n"
}

// pid is that of the command.
func (x *terminal) pid() int {
	x.t.Helper()
	b, err := os.ReadFile(filepath.Join(x.dir, "pid"))
	if err != nil {
		x.t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		x.t.Fatal(err)
	}
	return n
}
