package tui

import (
	"bytes"
	"context"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/exp/teatest/v2"
	"go.uber.org/goleak"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(waitsForSignals)) }

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
