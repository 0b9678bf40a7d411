package tui

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/exp/teatest/v2"
	"go.uber.org/goleak"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// failing is what fails in a process of its own: see TestPanic.
const failing = "HUBPIPE_TUI_FAILS_IN"

func TestMain(m *testing.M) {
	if where := os.Getenv(failing); where != "" {
		os.Exit(fail(where))
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(waitsForSignals))
}

// waitsForSignals is of the library that runs the program below, and never ends.
const waitsForSignals = "github.com/charmbracelet/x/exp/teatest/v2.NewTestModel.func2"

// The program's loop: news come, keys are typed, it is left.
func TestProgram(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := &fake{listed: everyState()}
	feed := newFeed(f, nil, time.Now)
	spawn := func(f func(context.Context) tea.Msg) tea.Cmd { return func() tea.Msg { return f(ctx) } }
	m := newModel(Options{Version: "devel"}, f, feed, spawn, time.Now)
	tm := teatest.NewTestModel(t, m, teatest.WithInitialTermSize(140, 40), teatest.WithProgramOptions(tea.WithColorProfile(colorprofile.ASCII)))
	feed.put(func(n *news) {
		n.link = &link{up: true, since: time.Now()}
		n.whole = &snapshot{at: time.Now(), streams: everyState()}
		n.daemon = &client.Daemon{Version: "devel"}
	})
	says := func(text string) {
		t.Helper()
		teatest.WaitFor(t, tm.Output(), func(b []byte) bool { return bytes.Contains(b, []byte(text)) }, teatest.WithDuration(time.Minute))
	}
	says("companies")
	tm.Send(keyOf("x"))
	says("deals stopped")
	tm.Send(keyOf("?"))
	says("HELP")
	tm.Send(keyOf("q"))
	tm.Send(keyOf("q"))
	tm.WaitFinished(t, teatest.WithFinalTimeout(time.Minute))
	if got := f.called(); len(got) != 1 || got[0] != "stop deals" {
		t.Errorf("asked %q", got)
	}
}

// broken is a daemon that makes the dashboard panic.
type broken struct {
	fake
	where string
}

func (b *broken) Addr() string {
	if b.where == "draw" {
		panic("in draw")
	}
	return ""
}

func (b *broken) Streams(context.Context) ([]client.Status, error) {
	if b.where == "fetch" {
		panic("in fetch")
	}
	return everyState(), nil
}

// fail shows a dashboard that panics, and gives an exit code.
func fail(where string) int {
	b := &broken{where: where}
	err := run(context.Background(), Options{Version: "devel"}, b, func(ctx context.Context, _ uint64) func(func(client.Event, error) bool) {
		return func(yield func(client.Event, error) bool) {
			if where == "events" {
				panic("in events")
			}
			if yield(client.Event{ID: 1, Type: client.EventDaemon, Data: []byte(`{"version":"devel"}`)}, nil) {
				<-ctx.Done()
			}
		}
	})
	fmt.Println("it ended with", err)
	return 7
}

// Whatever panics, the terminal is as it was, and what happened is said.
func TestPanic(t *testing.T) {
	t.Parallel()
	script, err := exec.LookPath("script")
	if err != nil {
		if os.Getenv("HUBPIPE_TEST_REQUIRE") == "all" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	for _, where := range []string{"draw", "fetch", "events"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "typescript")
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, script, "-qefc", "stty rows 30 cols 100; stty -g; "+os.Args[0]+"; code=$?; stty -g; exit $code", file)
			cmd.Env = append(os.Environ(), failing+"="+where, "TERM=xterm-256color")
			in, err := cmd.StdinPipe() // a terminal that nobody types on
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			out, err := cmd.CombinedOutput()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 7 {
				t.Fatalf("%v\n%s", err, out)
			}
			_, rest, entered := strings.Cut(string(out), "\x1b[?1049h")
			if where != "draw" && !entered {
				t.Fatalf("it never drew:\n%q", out)
			}
			if entered && !strings.Contains(rest, "\x1b[?1049l") || strings.LastIndex(rest, "\x1b[?25l") > strings.LastIndex(rest, "\x1b[?25h") {
				t.Errorf("the screen or the cursor is not given back:\n%q", out)
			}
			if !strings.Contains(string(out), "in "+where) || !strings.Contains(string(out), "it ended with the dashboard failed") {
				t.Errorf("it does not say what happened:\n%s", out)
			}
			lines := strings.Fields(strings.ReplaceAll(string(out), "\r", ""))
			if lines[0] != lines[len(lines)-1] {
				t.Errorf("the line was %s and is %s", lines[0], lines[len(lines)-1])
			}
		})
	}
}
