package tui

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Keys of one's own do what they are given, take a key from the one that had it,
// and stand where keys are named.
func TestOtherKeys(t *testing.T) {
	t.Parallel()
	b := newBenchWith(t, 140, 40, Options{Keys: map[string][]string{"start": {"f7"}, "stop": {"f9", "s"}, "mouse": {}}})
	b.connect(everyState()...)
	b.press("s")
	if got := b.f.called(); len(got) != 1 || got[0] != "stop deals" || b.toast.text != "deals stopped (f7 starts it again)" {
		t.Errorf("asked %q, said %q", got, b.toast.text)
	}
	b.press("x")
	if b.toast.text != "x does nothing; ? lists the keys" {
		t.Errorf("said %q", b.toast.text)
	}
	b.toast = toast{}
	if text := ansi.Strip(b.frame()); !strings.Contains(text, "f7 start  f9 stop  r sync") {
		t.Errorf("the hints are\n%s", text)
	}
	b.press("?")
	if text := ansi.Strip(b.frame()); !strings.Contains(text, "f9, s       stop the schedule") || !strings.Contains(text, "f7          start:") {
		t.Errorf("the help is\n%s", text)
	}
	for _, c := range []struct {
		keys map[string][]string
		says string
	}{
		{map[string][]string{"strat": {"S"}}, `no action is called "strat"`},
		{map[string][]string{"start": {"ss"}}, `"ss" is no key`},
		{map[string][]string{"start": {""}}, `"" is no key`},
		{map[string][]string{"start": {"\x1b"}}, "is no key"},
		{map[string][]string{"start": {"x"}}, "leaves stop without a key"},
		{map[string][]string{"start": {"f7"}, "stop": {"f7"}}, "f7 is given to start and to stop"},
		{map[string][]string{"start": {"ctrl+c"}}, "ctrl+c keeps what it does"},
		{map[string][]string{"start": {"3"}}, "3 keeps what it does"},
		{map[string][]string{"sort-by": {"f3"}}, "no action"},
		{map[string][]string{"quit": {}}, "quit needs a key"},
		{map[string][]string{"start": {"x"}, "stop": {"s"}}, ""},
		{map[string][]string{"start": {"é", "ctrl+s", "f12", "shift+up"}}, ""},
		{nil, ""},
	} {
		err := CheckKeys(c.keys)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%v: %v", c.keys, err)
		}
	}
	bad := newBenchWith(t, 80, 24, Options{Keys: map[string][]string{"strat": {"S"}}})
	if !bad.leaves || bad.err == nil {
		t.Error("it begins with keys that are none")
	}
}

// A stop whose answer does not come can be asked for again; no other command is
// doubled.
func TestStopAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, 140, 40)
	b.connect(everyState()...)
	b.press("X")
	if b.f.called() != nil || !strings.HasPrefix(b.toast.text, "deals is not stopping (x stops it)") {
		t.Errorf("asked %q, said %q", b.f.called(), b.toast.text)
	}
	b.Update(keyOf("x"))
	b.now = b.now.Add(offerAfter - time.Millisecond)
	b.toast = toast{}
	b.Update(tickMsg(b.now))
	if b.toast.text != "" {
		t.Errorf("said %q too soon", b.toast.text)
	}
	b.now = b.now.Add(time.Millisecond)
	b.Update(tickMsg(b.now))
	if b.toast.text != "no answer yet to the stop of deals; X asks again" {
		t.Errorf("said %q", b.toast.text)
	}
	b.press("X")
	if got := b.f.called(); len(got) != 1 || got[0] != "stop deals" || b.toast.text != "deals stopped (s starts it again)" || len(b.pending) > 0 {
		t.Errorf("asked %q, said %q, %v", got, b.toast.text, b.pending)
	}
}

func click(x, y int) tea.MouseClickMsg {
	return tea.MouseClickMsg(tea.Mouse{X: x, Y: y, Button: tea.MouseLeft})
}

// A click means what is under it, at every width; none does what a key cannot.
func TestClicks(t *testing.T) {
	t.Parallel()
	for _, w := range []int{60, 80, 140, 200} {
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, w, 40)
			b.connect(many(200)...)
			b.press("G")
			lines := strings.Split(ansi.Strip(b.frame()), "\n")
			for y, text := range lines[:20] {
				if y <= headLines {
					continue
				}
				name := strings.Fields(strings.TrimLeft(text, "> *"))[0]
				if b.Update(click(3, y)); b.list.selected != name {
					t.Fatalf("a click on %q selects %q", text, b.list.selected)
				}
			}
			for _, c := range []struct {
				title string
				want  sorting
			}{{"RECORDS", byRecords}, {"STATE", byState}, {"LAG", byLag}} {
				x := strings.Index(strings.Split(ansi.Strip(b.frame()), "\n")[headLines], c.title)
				if b.Update(click(x, headLines)); b.list.by != c.want || b.list.reversed {
					t.Errorf("a click on %s at %d sorts by %s", c.title, x, b.list.by)
				}
				if b.Update(click(x, headLines)); !b.list.reversed {
					t.Errorf("a second click on %s does not turn it round", c.title)
				}
			}
			b.Update(click(2, headLines))
			if b.list.by != byName {
				t.Errorf("a click on the name sorts by %s", b.list.by)
			}
			before := b.list.selected
			for _, at := range [][2]int{{0, 0}, {5, 2}, {w - 1, 39}, {5, -1}, {-1, 300}} {
				b.Update(click(at[0], at[1]))
			}
			b.press("c") // a question is not clicked away
			b.Update(click(3, headLines+3))
			if b.list.selected != before || b.dialog == nil || b.screen != screenStreams {
				t.Error("a click beside the table does something")
			}
			b.press("n")
			y := headLines + 1 + b.list.place - b.list.top
			if b.Update(click(3, y)); b.screen != screenDetail || b.detail.stream != before {
				t.Error("a click on the selected stream does not open it")
			}
			if got := b.f.called(); got != nil {
				t.Errorf("clicks asked %q", got)
			}
		})
	}
	b := newBench(t, 80, 24)
	b.connect(everyState()...)
	if b.View().MouseMode != tea.MouseModeNone {
		t.Error("the mouse is taken without being asked for")
	}
	b.press("m")
	if b.View().MouseMode == tea.MouseModeNone {
		t.Error("m does not take the mouse")
	}
}

// Where there is no shell a suspended dashboard would never wake.
func TestSuspend(t *testing.T) {
	t.Parallel()
	b := newBench(t, 80, 24)
	b.connect(everyState()...)
	b.shell = func() bool { return false }
	if _, cmd := b.Update(keyOf("ctrl+z")); cmd != nil || !strings.HasPrefix(b.toast.text, "there is no shell") {
		t.Errorf("said %q", b.toast.text)
	}
	b.shell = func() bool { return true }
	_, cmd := b.Update(keyOf("ctrl+z"))
	if cmd == nil {
		t.Fatal("nothing happens")
	}
	if _, ok := cmd().(tea.SuspendMsg); !ok {
		t.Errorf("%T", cmd())
	}
}

// What became of an edit is said, and why there is none.
func TestEdit(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "hubpipe.hcl")
	if err := os.WriteFile(file, []byte("# a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for says, o := range map[string]Options{
		"no file that lies here": {Editor: []string{"vi"}},
		"set EDITOR":             {File: file},
		"--read-only":            {File: file, Editor: []string{"vi"}, ReadOnly: true},
		"no such file":           {File: file + "x", Editor: []string{"vi"}},
	} {
		b := newBenchWith(t, 140, 40, o)
		b.connect()
		if _, cmd := b.Update(keyOf("e")); cmd != nil || !strings.Contains(b.toast.text, says) {
			t.Errorf("%s: said %q", says, b.toast.text)
		}
	}
	b := newBenchWith(t, 140, 40, Options{File: file, Editor: []string{"vi", "-n"}})
	b.connect()
	if text := ansi.Strip(b.frame()); !strings.Contains(text, file) || !strings.Contains(text, "e edits it") {
		t.Errorf("it does not say what to edit:\n%s", text)
	}
	if _, cmd := b.Update(keyOf("e")); cmd == nil {
		t.Error("no editor is opened")
	}
	b.Update(editedMsg{before: []byte("# a\n")})
	if !strings.HasPrefix(b.toast.text, "nothing was changed in ") {
		t.Errorf("said %q", b.toast.text)
	}
	b.Update(editedMsg{before: []byte("# b\n")})
	if !strings.HasSuffix(b.toast.text, "is changed; :reload has the daemon take it over") {
		t.Errorf("said %q", b.toast.text)
	}
	b.Update(editedMsg{err: errors.New("exit status 1")})
	if b.toast.text != "the editor vi: exit status 1" || !b.toast.bad {
		t.Errorf("said %q", b.toast.text)
	}
}

// The first line holds all of the counts at every width, however large they are
// where there is room for them; the address and words go first.
func TestHeadIsNotCut(t *testing.T) {
	t.Parallel()
	var ss []client.Status
	for i, s := range everyState() {
		for n := range 30 * (i + 1) {
			s.Name = fmt.Sprintf("s%d_%d", i, n)
			ss = append(ss, s)
		}
	}
	for w := leastWidth; w <= 200; w++ {
		b := newBench(t, w, 24)
		b.connect(ss...)
		head := strings.TrimRight(strings.Split(ansi.Strip(b.frame()), "\n")[0], " ")
		if at := strings.Index(head, "  store 432 MB  5 at the broker"); at > 0 { // where there is room for that too
			head = head[:at]
		}
		last := map[bool]string{true: "180 stopped", false: "o 180"}[strings.Contains(head, "stopped")]
		if strings.HasSuffix(head, "~") || !strings.HasSuffix(head, last) || !strings.Contains(head, "* live") || strings.Contains(head, "8377") != strings.Contains(head, "devel") {
			t.Fatalf("at %d: %q", w, head)
		}
	}
}

// How to try things is the first that the help says.
func TestNotesComeFirst(t *testing.T) {
	t.Parallel()
	b := newBenchWith(t, 80, 24, Options{Notes: []string{"this is a demo"}})
	b.connect(everyState()...)
	b.press("?")
	if lines := strings.Split(ansi.Strip(b.frame()), "\n"); !strings.Contains(lines[headLines+1], "this is a demo") {
		t.Errorf("%s", strings.Join(lines, "\n"))
	}
	b.press("/", "r", "e", "s", "y", "enter")
	if text := ansi.Strip(b.frame()); !strings.Contains(text, "R           resync") || strings.Contains(text, "demo") || strings.Contains(text, "reconcile: hold") {
		t.Errorf("searched:\n%s", text)
	}
}

// A destination is resumed, paused and written again by the keys of streams.
func TestDestinationKeys(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		keys  []string
		asks  []string
		toast string
	}{
		{"resume the first, which is paused", []string{"s"}, []string{"resume lake"}, "lake goes on"},
		{"pause what is paused", []string{"x"}, nil, "lake is paused already (s resumes it)"},
		{"pause", []string{"j", "x"}, []string{"pause warehouse"}, "warehouse is paused (s resumes it)"},
		{"resume what runs", []string{"G", "s"}, nil, "warehouse is not paused"},
		{"resync needs the name", []string{"R", "y", "enter"}, nil, "that is not lake: nothing was done"},
		{"resync", []string{"R", "l", "a", "k", "e", "enter"}, []string{"rewrite lake "}, "lake is written again"},
		{"no sync", []string{"r"}, nil, "sync is nothing for a destination: s resumes, x pauses, R writes everything again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 140, 40)
			b.connect(everyState()...)
			b.Update(newsMsg{at: b.now, destinations: map[string]client.Destination{"lake": someDestinations()[0], "warehouse": someDestinations()[1]}})
			b.press("D")
			b.press(tt.keys...)
			if got := b.f.called(); strings.Join(got, ";") != strings.Join(tt.asks, ";") || b.toast.text != tt.toast {
				t.Errorf("asked %q, said %q", got, b.toast.text)
			}
		})
	}
	b := newBench(t, 80, 24)
	b.connect(everyState()...)
	b.Update(newsMsg{at: b.now, destinations: map[string]client.Destination{"warehouse": failingDestination()}})
	b.f.err = errRefused
	b.press("D", "s")
	if !b.toast.bad || !strings.HasPrefix(b.toast.text, "resume of warehouse: ") || len(b.places.pending) > 0 {
		t.Errorf("said %q, %v", b.toast.text, b.places.pending)
	}
	b.lose()
	b.press("x")
	if got := b.f.called(); len(got) != 1 || b.toast.text != "no stop: the daemon cannot be reached" {
		t.Errorf("asked %q, said %q", got, b.toast.text)
	}
}

// Why there is no connection fits into the line that says so.
func TestReason(t *testing.T) {
	t.Parallel()
	refused := fmt.Errorf("%w at /a/long/path/http.sock: %w", client.ErrUnreachable, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})
	b := newBench(t, 80, 24)
	b.connect(everyState()...)
	b.Update(newsMsg{at: b.now, link: &link{since: b.now, next: b.now.Add(4 * time.Second), tries: 1, problem: refused}})
	if line := strings.TrimRight(strings.Split(ansi.Strip(b.frame()), "\n")[1], " "); line != " ! daemon unreachable 00:00, retry in 4s (try 2): connection refused" {
		t.Errorf("%q", line)
	}
	if got := reason(&client.Problem{Title: "busy", Hint: "wait"}); got != "busy (wait)" {
		t.Errorf("%q", got)
	}
}

// A percentage stands only where the whole is known; a lag is too much only
// against the stream's own interval; and the next run is when it comes.
func TestHonest(t *testing.T) {
	t.Parallel()
	report := func(checked int) []byte { return fmt.Appendf(nil, `{"checked":%d}`, checked) }
	for name, c := range map[string]struct {
		run     *client.Run
		records uint64
		want    string
	}{
		"no run":                             {nil, 1000, ""},
		"incremental":                        {&client.Run{Kind: "incremental", Pages: 12}, 1000, "12 pg"},
		"backfill, whose end nobody knows":   {&client.Run{Kind: "backfill", Pages: 1200, Records: 900}, 1000, "1,200 pg"},
		"reconcile":                          {&client.Run{Kind: "reconcile", Report: report(250)}, 1000, "##----" + " 25%"},
		"reconcile that has not begun":       {&client.Run{Kind: "reconcile", Pages: 1, Report: report(0)}, 1000, "1 pg"},
		"reconcile of nothing":               {&client.Run{Kind: "reconcile", Pages: 1, Report: report(5)}, 0, "1 pg"},
		"reconcile of more than is held":     {&client.Run{Kind: "reconcile", Report: report(5000)}, 1000, "######" + " 99%"},
		"reconcile, whose report is no JSON": {&client.Run{Kind: "reconcile", Pages: 3, Report: []byte("{")}, 1000, "3 pg"},
	} {
		r := &row{Status: client.Status{Run: c.run, Records: c.records}}
		if got := r.progress(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	b := newBench(t, 140, 40)
	for _, c := range []struct {
		interval, state string
		lag             int64
		late            bool
	}{
		{"5m", client.StateWaiting, 300, false}, {"5m", client.StateWaiting, 600, false}, {"5m", client.StateWaiting, 601, true},
		{"1h", client.StateWaiting, 601, false}, {"2s", client.StateWaiting, 31, false}, {"2s", client.StateWaiting, 33, true},
		{"5m", client.StateStopped, 86400, false}, {"", client.StateWaiting, 86400, false},
	} {
		r := &row{}
		s := stream("contacts", c.state, 1)
		s.Interval, s.EffectiveInterval, s.LagSeconds = c.interval, "", &c.lag
		r.set(s, noon, false)
		text, _ := lagCell(b.model, r)
		if r.late(noon) != c.late || strings.HasSuffix(text, "!") != c.late {
			t.Errorf("%+v: %s", c, text)
		}
		if later, _ := r.lag(noon.Add(time.Minute)); later != time.Duration(c.lag+60)*time.Second {
			t.Errorf("a minute later the lag is %s", later)
		}
	}
	for want, change := range map[string]func(r *row){
		"2m10s": func(*row) {},
		"now":   func(r *row) { r.Run = &client.Run{ID: "r1", State: client.RunRunning} },
		"-":     func(r *row) { r.NextRun = nil },
		"9s":    func(r *row) { r.State, r.Until = client.StateFailing, at(9*time.Second) },
		"0s":    func(r *row) { r.NextRun = at(-time.Second) }, // it is due
	} {
		r := &row{}
		r.set(stream("contacts", client.StateWaiting, 1), noon, false)
		change(r)
		if got, _ := nextCell(b.model, r); got != want {
			t.Errorf("next: %q, want %q", got, want)
		}
	}
}
