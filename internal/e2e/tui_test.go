package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The dashboard on a real daemon with its worker: keys stop and start a stream,
// a daemon that is killed is waited for, and the terminal is as before after
// SIGTERM.
func TestDashboard(t *testing.T) {
	t.Parallel()
	need(t, "tmux")
	s := newSystem(t, "--contacts", "300", "--deals", "50", "--limits=false")
	daemon := s.daemon()
	s.worker("--name", "w1")
	s.becomesEqual("contacts", "deals")
	x := newTerminal(t, s.dir, 140, 40, inTerminal(s.bin+" tui"))
	x.shows("* live", "2 streams", "> contacts", "deals", "300", "s start  x stop", "LOG  all streams", "incremental of deals")

	x.types("x")
	x.shows("contacts stopped (s starts it again)", "o stopped")
	if st := s.status("contacts"); st.State != "stopped" || st.SetBy != "api" {
		t.Errorf("%+v", st)
	}
	x.types("s")
	x.shows("contacts started")
	until(t, "the stream is started", func() error {
		if st := s.status("contacts"); st.State == "stopped" {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	before := s.status("contacts").LastRun
	x.types("r")
	x.shows("sync of contacts: run ")
	until(t, "a run", func() error {
		if st := s.status("contacts"); st.LastRun == nil || before != nil && st.LastRun.ID == before.ID {
			return fmt.Errorf("%+v", st.LastRun)
		}
		return nil
	})
	x.types("c")
	x.shows("reconcile contacts", "y does it")
	x.types("Enter")
	x.shows("nothing was done")

	x.types("Enter")
	x.shows("RECENT RUNS", "incremental, done", "300 live") // the first load has left the list, after ten runs more
	x.types("l")
	x.shows("LOG  contacts   following")
	x.types("q")
	x.shows("RECENT RUNS")
	x.types("W")
	x.shows("> online   w1")
	x.types("P")
	x.shows("PORTALS", "incremental")
	x.types("?")
	x.shows("HELP", "x           stop the schedule", "ctrl+a      mark all")
	x.types("q")
	x.shows("PORTALS")
	x.types("q")
	x.do("resize-window", "-x", "80", "-y", "24")
	x.shows("> contacts", "REC/S")
	x.do("resize-window", "-x", "40", "-y", "10")
	x.shows("need 60x12, have 40x10")
	x.do("resize-window", "-x", "100", "-y", "30")
	x.shows("> contacts", "* live")

	daemon.kill(syscall.SIGKILL)
	x.shows("! daemon unreachable", "retry in", "stale", "> contacts")
	x.types("x")
	x.shows("no stop: the daemon cannot be reached")
	s.daemon()
	x.shows("* live", "reconnected after")
	s.change("contacts", `{"create":7}`)
	x.shows("307")

	if err := syscall.Kill(x.pid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	x.shows("it ended with 130")
	x.restored()
	if _, err := s.hubpipe("status"); err != nil {
		t.Errorf("the daemon did not go on: %v", err)
	}
}

// Over TCP the dashboard needs the token, and says so; q leaves, and the daemon
// goes on.
func TestDashboardElsewhere(t *testing.T) {
	t.Parallel()
	need(t, "tmux")
	s := newSystem(t, "--contacts", "5", "--deals", "5", "--limits=false")
	s.daemon()
	s.worker("--name", "w1")
	s.becomesEqual("contacts")
	dir := t.TempDir()
	wrong := newTerminal(t, dir, 100, 24, inTerminal(s.bin+" tui --addr "+s.http), "HUBPIPE_TOKEN=wrong")
	wrong.shows("! the daemon does not take the token, see HUBPIPE_TOKEN")
	wrong.types("q")
	wrong.shows("it ended with 0")
	right := newTerminal(t, t.TempDir(), 100, 24, inTerminal(s.bin+" tui --read-only --addr "+s.http), "HUBPIPE_TOKEN="+s.token(), "NO_COLOR=1")
	right.shows("* live", "> contacts")
	right.types("x")
	right.shows("no stop: the dashboard was opened with --read-only")
	if text := right.do("capture-pane", "-p", "-e"); regexp.MustCompile(`\x1b\[[0-9;]*[39][0-7]m`).MatchString(text) || !strings.Contains(text, "\x1b[") {
		t.Errorf("colour, or no ink at all, with NO_COLOR:\n%q", text)
	}
	right.types("C-c")
	right.shows("it ended with 0")
	right.restored()
}

// Without a terminal that can draw, one plain table is printed; --watch goes on
// with lines.
func TestDashboardInPlainLines(t *testing.T) {
	t.Parallel()
	need(t, "tmux")
	s := newSystem(t, "--contacts", "5", "--deals", "5", "--limits=false")
	daemon := s.daemon()
	s.worker("--name", "w1")
	s.becomesEqual("contacts", "deals")
	if out, err := s.hubpipe("tui"); err != nil || !strings.Contains(out, "contacts") || strings.Contains(out, "\x1b") {
		t.Errorf("%v\n%s", err, out)
	}
	dumb := newTerminal(t, s.dir, 100, 24, inTerminal("env TERM=dumb "+s.bin+" tui"))
	dumb.shows("STREAM", "contacts", "it ended with 0")
	watch := run(t, s.dir, s.bin, "status", "--watch")
	watch.says(t, "STREAM", "contacts")
	if _, err := s.hubpipe("stop", "deals"); err != nil {
		t.Fatal(err)
	}
	watch.says(t, "deals stopped, 5 records")
	daemon.kill(syscall.SIGKILL)
	watch.says(t, "waiting for it")
	s.daemon()
	until(t, "the table again", func() error {
		if n := strings.Count(watch.log.String(), "STREAM"); n < 2 {
			return fmt.Errorf("%d tables:\n%s", n, watch.log)
		}
		return nil
	})
	s.change("contacts", `{"create":3}`)
	watch.says(t, "contacts waiting, 8 records")
	watch.kill(syscall.SIGTERM)
	if code := watch.exit(t); code != 130 || strings.Contains(watch.log.String(), "\x1b") {
		t.Errorf("exit %d\n%s", code, watch.log)
	}
}

// hubpipe without a verb offers to start something where nothing runs, and opens
// the dashboard where a daemon does. The demo opens it too, and takes its folder
// with it.
func TestWithoutAVerb(t *testing.T) {
	t.Parallel()
	need(t, "tmux")
	s := newSystem(t, "--contacts", "5", "--deals", "5", "--limits=false")
	offered := newTerminal(t, s.dir, 100, 30, inTerminal(s.bin))
	offered.shows("no daemon runs here", "hubpipe up", "hubpipe demo", "to leave:")
	offered.types("d", "Enter")
	offered.shows("* live", "4 streams", "contacts", "tickets")
	offered.types("?")
	offered.shows("with the token", "hubpipe changes contacts --follow", "takes its folder away")
	offered.types("q", "q")
	offered.shows("the demo ran for", "it ended with 0")
	offered.restored()

	left := newTerminal(t, t.TempDir(), 100, 30, inTerminal(s.bin+" --config "+s.dir+"/hubpipe.hcl"))
	left.shows("to leave:")
	left.types("Enter")
	left.shows("it ended with 0")

	s.daemon()
	attached := newTerminal(t, s.dir, 100, 30, inTerminal(s.bin))
	attached.shows("* live", "contacts")
	attached.types("q")
	attached.shows("it ended with 0")
}

// A dashboard that nobody looks at costs next to nothing: of the processor, of
// memory, and of what is written to the terminal.
func TestIdleDashboardIsCheap(t *testing.T) {
	t.Parallel()
	need(t, "tmux")
	s := newSystem(t, "--contacts", "5", "--deals", "5", "--limits=false")
	s.replace(`interval = "1s"`, `interval = "1h"`)
	s.daemon()
	s.worker("--name", "w1")
	s.becomesEqual("contacts")
	x := newTerminal(t, s.dir, 140, 40, inTerminal(s.bin+" tui"))
	x.shows("* live", "> contacts")
	usage := func() (cpu time.Duration, resident int) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", x.pid()))
		if err != nil {
			t.Skipf("no /proc here: %v", err)
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		var user, system, pages int
		if _, err := fmt.Sscan(f[11]+" "+f[12]+" "+f[21], &user, &system, &pages); err != nil {
			t.Fatal(err)
		}
		return time.Duration(user+system) * 10 * time.Millisecond, pages * os.Getpagesize()
	}
	written := func() (n int) { // to the terminal, and what is asked of the daemon
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", x.pid()))
		if _, after, ok := strings.Cut(string(b), "wchar: "); err == nil && ok {
			_, _ = fmt.Sscan(after, &n) // a kernel that does not count says 0
		}
		return n
	}
	from, _ := usage()
	first := written()
	began := time.Now()
	until(t, "ten seconds", func() error {
		if d := time.Since(began); d < 10*time.Second {
			return fmt.Errorf("%s", d)
		}
		return nil
	})
	cpu, resident := usage()
	share := float64(cpu-from) / float64(time.Since(began))
	perSecond := float64(written()-first) / time.Since(began).Seconds()
	t.Logf("%.2f %% of a core, %d MiB, %.0f bytes/s written", share*100, resident>>20, perSecond)
	if raceEnabled {
		return // the detector has costs of its own
	}
	if share > 0.05 || resident > 60<<20 || perSecond > 2<<10 { // 2 % and 40 MB are the aim; the machine may be busy
		t.Errorf("%.1f %% of a core, %d MiB, %.0f bytes/s", share*100, resident>>20, perSecond)
	}
}
