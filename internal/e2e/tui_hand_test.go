package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// freezes has a process stand still while f runs.
func (p *process) freezes(t testing.TB, f func()) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }() // or it has ended
	f()
}

// asked is how many requests HubSpot has had.
func (s *system) asked() (n int64) {
	s.t.Helper()
	for _, k := range s.stats().Requests {
		n += k
	}
	return n
}

// pends presses a key until the screen shows its word: an answer is waited for
// only so long, and the machine may be slow.
func (x *terminal) pends(key, word string) {
	x.t.Helper()
	x.types(key)
	until(x.t, "the screen", func() error {
		screen := x.screen()
		switch {
		case strings.Contains(screen, word):
			return nil
		case strings.Contains(screen, "no answer within"):
			x.types(key)
		}
		return fmt.Errorf("it lacks %q:\n%s", word, screen)
	})
}

// What a key asks for is shown while the daemon has not answered, and then
// reaches the worker: it ends what it does, and begins again.
func TestDashboardPending(t *testing.T) {
	t.Parallel()
	need(t, "tmux")
	s := newSystem(t, "--contacts", "100000", "--limits=false", "--latency", "200ms")
	s.configure(settings{streams: []string{"contacts"}})
	daemon := s.daemon()
	worker := s.worker("--name", "w1", "--log-level", "debug")
	worker.says(t, "an attempt begins")
	x := newTerminal(t, s.dir, 100, 24, inTerminal(s.bin+" tui"))
	x.shows("* live", "> running")
	daemon.freezes(t, func() { x.pends("x", "running+") })
	x.shows("o stopped", "contacts stopped (s starts it again)")
	worker.says(t, "the attempt ends")
	until(t, "no request any more", func() error {
		before := s.asked()
		quiet := time.Now()
		until(t, "a moment", func() error {
			if d := time.Since(quiet); d < time.Second {
				return fmt.Errorf("%s", d)
			}
			return nil
		})
		if n := s.asked() - before; n > 0 {
			return fmt.Errorf("%d requests in a second", n)
		}
		return nil
	})
	before := s.asked()
	begun := strings.Count(worker.log.String(), "an attempt begins")
	daemon.freezes(t, func() { x.pends("s", "starting") })
	x.shows("contacts started", "> running")
	until(t, "the worker begins", func() error {
		if n, asked := strings.Count(worker.log.String(), "an attempt begins"), s.asked(); n == begun || asked == before {
			return fmt.Errorf("%d attempts, %d requests", n, asked-before)
		}
		return nil
	})
	x.types("q")
	x.shows("it ended with 0")
	x.restored()
}

// The editor gets the terminal and gives it back; what was written is taken over
// by a command. Keys of one's own hold from the next time on.
func TestDashboardEdits(t *testing.T) {
	t.Parallel()
	need(t, "tmux")
	s := newSystem(t, "--contacts", "5", "--deals", "5", "--limits=false")
	s.configure(settings{streams: []string{"contacts"}})
	s.daemon()
	s.worker("--name", "w1")
	s.becomesEqual("contacts")
	editor := filepath.Join(t.TempDir(), "editor")
	text := "#!/bin/sh\nprintf 'stream \"deals\" {}\\ntui {\\n  theme = \"mono\"\\n  keys {\\n    stop = \"Z\"\\n  }\\n}\\n' >> \"$2\"\necho \"the editor has $1\"\nread line\n"
	if err := os.WriteFile(editor, []byte(text), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	x := newTerminal(t, s.dir, 120, 24, inTerminal(s.bin+" tui"), "VISUAL="+editor+" -x")
	x.shows("* live", "> contacts", "x stop")
	x.types("e")
	x.shows("the editor has -x")
	x.types("Enter")
	x.shows("hubpipe.hcl is changed; :reload has the daemon take it over", "> contacts")
	x.types(":reload", "Enter")
	x.shows("deals", "2 streams")
	x.types("q")
	x.shows("it ended with 0")
	x.restored()

	again := newTerminal(t, s.dir, 120, 24, inTerminal(s.bin+" tui"))
	again.shows("* live", "> contacts", "Z stop")
	again.types("Z")
	again.shows("contacts stopped (s starts it again)")
	if screen := again.do("capture-pane", "-p", "-e"); strings.Contains(screen, "\x1b[3") && !strings.Contains(screen, "\x1b[39") {
		t.Errorf("a colour in mono:\n%q", screen)
	}
	again.types("C-c")
	again.shows("it ended with 0")

	s.replace(`stop = "Z"`, `stpo = "Z"`)
	for _, verb := range []string{"tui", "check"} {
		wrong := newTerminal(t, s.dir, 120, 24, inTerminal(s.bin+" "+verb))
		wrong.shows(`no action is called "stpo"; docs/KEYS.md names them`, "it ended with 3")
	}
	if _, err := s.hubpipe("status"); err != nil {
		t.Errorf("keys of the dashboard are no matter of status: %v", err)
	}
}

// ctrl+z gives the terminal back to the shell, and fg the dashboard; a click is
// taken only where the mouse was asked for, and the mouse is given back.
func TestDashboardInAShell(t *testing.T) {
	t.Parallel()
	need(t, "tmux")
	bash := need(t, "bash")
	s := newSystem(t, "--contacts", "5", "--deals", "5", "--limits=false")
	s.daemon()
	s.worker("--name", "w1")
	s.becomesEqual("contacts", "deals")
	x := newTerminal(t, s.dir, 100, 24, "stty -g > before\n"+bash+" --norc --noprofile -i")
	x.types(s.bin+" tui", "Enter")
	x.shows("* live", "> contacts")
	x.types("C-z")
	x.shows("Stopped")
	if got := strings.TrimSpace(x.do("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}")); got != "0 1 0" {
		t.Errorf("alternate, cursor, mouse: %s", got)
	}
	x.types("fg", "Enter")
	x.shows("* live", "> contacts")
	x.types("m")
	x.shows("mouse on")
	x.types("-l", "\x1b[<0;5;6M")
	x.shows("> deals")
	x.types("-l", "\x1b[<0;5;6M")
	x.shows("RECENT RUNS")
	x.types("q", "q")
	x.shows("Stopped", "fg") // the shell
	x.types("stty -g > after; echo it is over", "Enter")
	x.shows("it is over")
	if got := strings.TrimSpace(x.do("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}")); got != "0 1 0" {
		t.Errorf("alternate, cursor, mouse: %s", got)
	}
}
