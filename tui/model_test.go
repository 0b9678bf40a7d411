package tui

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// What keys ask of the daemon, and what they say where they ask nothing.
func TestKeys(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		keys  []string
		asks  []string
		toast string
	}{
		{"stop the selected", []string{"x"}, []string{"stop deals"}, "deals stopped (s starts it again)"},
		{"start the selected, though blocked", []string{"s"}, []string{"start deals"}, "deals started"},
		{"start what is started", []string{"G", "k", "s"}, nil, "owners is started already"},
		{"stop what is stopped", []string{"G", "x"}, nil, "quotes is stopped already"},
		{"start what is stopped", []string{"G", "s"}, []string{"start quotes"}, "quotes started"},
		{"sync", []string{"r"}, []string{"sync deals"}, "sync of deals: run r1"},
		{"stop several asks", []string{"space", "space", "x"}, nil, ""},
		{"enter does not confirm", []string{"space", "space", "x", "enter"}, nil, "nothing was done"},
		{"nor does any other key", []string{"space", "space", "x", "s", "q", "r", "n"}, nil, "nothing was done"},
		{"y does", []string{"space", "space", "x", "y"}, []string{"stop calls", "stop deals"}, "2 streams stopped"},
		{"sync of all marked", []string{"ctrl+a", "r"}, []string{"sync calls", "sync companies", "sync contacts", "sync deals", "sync emails", "sync owners", "sync quotes", "sync tickets"}, "sync of 8 streams began"},
		{"reconcile asks", []string{"c"}, nil, ""},
		{"reconcile", []string{"c", "y"}, []string{"reconcile deals"}, "reconcile of deals: run r1"},
		{"resync needs the name", []string{"R", "y", "enter"}, nil, "that is not deals"},
		{"resync", []string{"R", "d", "e", "a", "l", "s", "enter"}, []string{"resync deals"}, "resync of deals: run r1"},
		{"resync cancelled", []string{"R", "d", "e", "a", "l", "s", "esc"}, nil, "nothing was done"},
		{"opened, stopped", []string{"enter", "x"}, []string{"stop deals"}, "deals stopped"},
		{"of no stream", []string{"tab", "x"}, nil, "no stop here"},
		{"unknown key", []string{"Z"}, nil, "Z does nothing"},
		{"key of another screen", []string{"f"}, nil, "f does nothing here"},
		{"esc never leaves", []string{"esc", "esc"}, nil, "q leaves"},
		{"command", []string{":", "s", "t", "o", "p", " ", "d", "e", "a", "l", "s", "enter"}, []string{"stop deals"}, "deals stopped"},
		{"command on all", []string{":", "s", "y", "n", "c", " ", "a", "l", "l", "enter"}, []string{"sync calls", "sync companies", "sync contacts", "sync deals", "sync emails", "sync owners", "sync quotes", "sync tickets"}, "sync of 8 streams began"},
		{"bad command", []string{":", "f", "o", "o", "enter"}, nil, `there is no command "foo"`},
		{"command on nobody", []string{":", "s", "t", "o", "p", " ", "x", "enter"}, nil, `there is no stream "x"`},
		{"shutdown is typed", []string{":", "s", "h", "u", "t", "d", "o", "w", "n", "enter", "y", "enter"}, nil, "that is not shutdown"},
		{"reload", []string{":", "r", "e", "l", "o", "a", "d", "enter"}, []string{"reload"}, "reload: done"},
		{"theme", []string{":", "t", "h", "e", "m", "e", " ", "m", "o", "n", "o", "enter"}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 140, 40)
			b.connect(everyState()...)
			b.press(tt.keys...)
			var asked []string
			for _, c := range b.f.called() {
				if !strings.HasPrefix(c, "runs ") {
					asked = append(asked, c)
				}
			}
			if !cmp.Equal(asked, tt.asks) || !strings.HasPrefix(b.toast.text, tt.toast) || tt.toast == "" && b.toast.text != "" {
				t.Errorf("asked %q, said %q", asked, b.toast.text)
			}
			if b.leaves {
				t.Error("it leaves")
			}
		})
	}
}

// Why nothing can be done is said, and nothing is done.
func TestNothingIsChanged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make func(b *bench)
		says string
	}{
		"read-only": {func(b *bench) { b.o.ReadOnly = true }, "--read-only"},
		"version":   {func(b *bench) { b.pic.daemon.Version = "v9" }, "version v9"},
		"lost":      {func(b *bench) { b.lose() }, "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 140, 40)
			b.connect(everyState()...)
			c.make(b)
			for _, k := range []string{"s", "x", "r", "c", "R"} {
				b.toast = toast{}
				b.press(k)
				if !strings.Contains(b.toast.text, c.says) || b.dialog != nil {
					t.Errorf("%s says %q", k, b.toast.text)
				}
			}
			if got := b.f.called(); got != nil {
				t.Errorf("asked %q", got)
			}
		})
	}
}

// While an answer is awaited the stream is marked, the same key does nothing
// more, and what failed is said with what to do.
func TestPending(t *testing.T) {
	t.Parallel()
	b := newBench(t, 140, 40)
	b.connect(everyState()...)
	b.f.err = &client.Problem{Title: "the disk is nearly full", Hint: "make room"}
	_, cmd := b.Update(keyOf("x"))
	if b.pending["deals"].word != "stopping" || !strings.Contains(b.frame(), "stopping") {
		t.Error("it does not show as pending")
	}
	_, second := b.Update(keyOf("x"))
	if second != nil || !strings.Contains(b.toast.text, "is stopping already") {
		t.Errorf("said %q", b.toast.text)
	}
	b.do(cmd)
	if len(b.pending) > 0 || b.toast.text != "stop of deals: the disk is nearly full (make room)" || !b.toast.bad {
		t.Errorf("%v, said %q", b.pending, b.toast.text)
	}
}

// The selection stays with its stream, whatever moves, and a key means the
// stream that was selected when it was pressed.
func TestSelectionFollowsItsStream(t *testing.T) {
	t.Parallel()
	b := newBench(t, 80, 24)
	b.connect(everyState()...)
	b.press("G", "k", "k") // emails
	if b.list.selected != "emails" {
		t.Fatal(b.list.selected)
	}
	bad := stream("emails", client.StateBlocked, 1)
	bad.Error = &client.Problem{Title: "no"}
	_, cmd := b.Update(keyOf("x"))
	b.Update(newsMsg{at: b.now, streams: map[string]client.Status{"emails": bad}})
	if b.list.selected != "emails" || b.list.place > 1 {
		t.Errorf("%s at %d", b.list.selected, b.list.place)
	}
	b.do(cmd)
	if b.list.selected != "emails" || !cmp.Equal(b.f.called(), []string{"stop emails"}) {
		t.Errorf("%s at %d, asked %q", b.list.selected, b.list.place, b.f.called())
	}
	b.connect(everyState()[:3]...) // it has gone: its neighbour is selected
	if b.list.selected == "emails" || b.list.selected == "" {
		t.Errorf("selected %q", b.list.selected)
	}
}

// What is told of before the whole is known is not shown, cannot be acted on, and
// is not what is selected then.
func TestFirstPicture(t *testing.T) {
	t.Parallel()
	b := newBench(t, 80, 24)
	b.Update(newsMsg{at: b.now, link: &link{up: true, since: b.now}, streams: map[string]client.Status{"quotes": everyState()[5]}})
	b.press("x", "j", "enter")
	if strings.Contains(b.frame(), "quotes") || b.f.called() != nil || b.screen != screenStreams {
		t.Errorf("asked %q\n%s", b.f.called(), b.frame())
	}
	b.connect(everyState()...)
	if b.list.selected != "deals" || b.list.top != 0 {
		t.Errorf("%s is selected", b.list.selected)
	}
}

// The cursor stands where what is typed will appear.
func TestCursor(t *testing.T) {
	t.Parallel()
	for _, size := range sizes[:3] {
		b := newBench(t, size[0], size[1])
		b.connect(everyState()...)
		at := func() (before string) {
			v := b.View()
			if v.Cursor == nil {
				t.Fatal("no cursor")
			}
			line := ansi.Strip(strings.Split(v.Content, "\n")[v.Cursor.Y])
			return strings.TrimRight(ansi.Cut(line, 0, v.Cursor.X), " |")
		}
		if got := at(); got != "" {
			t.Errorf("before the cursor: %q", got)
		}
		b.press("/", "d", "e")
		if got := at(); got != " /de" {
			t.Errorf("before the cursor: %q", got)
		}
		b.press("esc", "R", "d", "e")
		if got := at(); !strings.HasSuffix(got, "type deals to confirm: de") {
			t.Errorf("%v: before the cursor: %q", size, got)
		}
	}
}

func TestFilterAndSort(t *testing.T) {
	t.Parallel()
	b := newBench(t, 140, 40)
	b.connect(everyState()...)
	for filter, want := range map[string]string{
		"":                  "deals calls tickets companies contacts emails owners quotes",
		"state:fail":        "calls",
		"!state:stopped co": "deals tickets companies contacts", // errors are looked at too
		"scope":             "deals",
		"!e":                "",
		"portal:main s":     "deals calls tickets companies contacts emails owners quotes",
		"x:y":               "",
	} {
		b.setFilter(filter)
		b.settle()
		if got := strings.Join(b.list.names, " "); filter != "!e" && got != want {
			t.Errorf("%q: %s", filter, got)
		}
	}
	b.setFilter("")
	for key, first := range map[string]string{"1": "calls", "2": "deals", "3": "emails", "4": "contacts", "5": "deals", "6": "owners", "7": "calls", "8": "contacts", "0": "deals"} {
		b.press(key)
		if b.list.names[0] != first {
			t.Errorf("%s: %v by %s", key, b.list.names, b.list.by)
		}
		b.press("O")
		if b.list.names[0] == first && key != "9" {
			t.Errorf("%s reversed: %v", key, b.list.names)
		}
	}
}

func TestScreens(t *testing.T) {
	t.Parallel()
	b := newBench(t, 140, 40)
	b.connect(everyState()...)
	for _, c := range []struct {
		key  string
		want screen
	}{{"tab", screenWorkers}, {"tab", screenPortals}, {"tab", screenDestinations}, {"tab", screenLogs}, {"tab", screenStreams}, {"shift+tab", screenLogs}, {"q", screenStreams},
		{"enter", screenDetail}, {"l", screenLogs}, {"?", screenHelp}, {"q", screenLogs}, {"esc", screenDetail}, {"q", screenStreams}, {"W", screenWorkers}, {"P", screenPortals}, {"esc", screenStreams}} {
		if b.press(c.key); b.screen != c.want || b.leaves {
			t.Fatalf("%s leads to %d", c.key, b.screen)
		}
	}
	b.press("q")
	if !b.leaves {
		t.Error("q does not leave")
	}
	small := newBench(t, 30, 8)
	small.press("x", "?", "q")
	if !small.leaves {
		t.Error("q does not leave a screen that is too small")
	}
	asking := newBench(t, 80, 24)
	asking.connect(everyState()...)
	asking.press("c", "ctrl+c")
	if !asking.leaves {
		t.Error("ctrl+c does not leave a question")
	}
}

// Reading is not disturbed by what comes.
func TestLogStandsStill(t *testing.T) {
	t.Parallel()
	b := newBench(t, 80, 24)
	b.connect(everyState()...)
	more := func(n int) {
		var ls []client.Line
		for range n {
			ls = append(ls, client.Line{Time: b.now, Level: "info", Message: "one more"})
		}
		b.Update(newsMsg{at: b.now, lines: ls})
	}
	more(100)
	b.press("l", "g")
	top := b.frame()
	more(3*maxLines - 200)
	if !strings.Contains(b.frame(), "paused, 14800 new") {
		t.Error(strings.Split(b.frame(), "\n")[3])
	}
	if strings.Contains(top, "following") {
		t.Error("it follows")
	}
	b.press("f")
	if !strings.Contains(b.frame(), "following") {
		t.Error("it does not follow")
	}
	b.press("k", "right")
	if b.log.follow || b.log.offset != 20 {
		t.Error("a step upwards does not pause")
	}
	b.press("G")
	if !b.log.follow || b.log.offset != 20 {
		t.Error("the end does not follow, or the place in the lines was lost")
	}
	if n := len(b.pic.lines.list); n > 2*maxLines {
		t.Errorf("%d lines are kept", n)
	}
}

func TestSaveLog(t *testing.T) {
	t.Chdir(t.TempDir())
	b := newBench(t, 80, 24)
	b.connect(everyState()...)
	b.press("l", "S")
	got, err := os.ReadFile("hubpipe-20261123-120430.log")
	if err != nil || strings.Count(string(got), "\n") != 3 || strings.Contains(string(got), "\x1b") {
		t.Errorf("%v\n%s", err, got)
	}
	b.press("S")
	if !b.toast.bad {
		t.Errorf("a file was written over: %q", b.toast.text)
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	r := &row{}
	s := stream("contacts", client.StateRunning, 5)
	s.Run = &client.Run{ID: "r1", Records: 1000, State: "running"}
	r.set(s, noon, false) // what a run had before it was looked at is no rate
	if v := r.rates.current(noon); v != 0 {
		t.Errorf("%v", v)
	}
	for i := range 10 {
		s.Run = &client.Run{ID: "r1", Records: 1000 + uint64(i+1)*50, State: "running"}
		r.set(s, noon.Add(time.Duration(i)*10*time.Second), true)
	}
	if v := r.rates.current(noon.Add(99 * time.Second)); v < 4 || v > 6 {
		t.Errorf("%v records/s of 5", v)
	}
	s.Run, s.LastRun = nil, &client.Run{ID: "r1", Records: 2000, State: "done"}
	r.set(s, noon.Add(100*time.Second), true)
	peak, mean := peakMean(r.rates.values(noon.Add(100 * time.Second)))
	if peak != 50 || mean < 1 || mean > 1.2 {
		t.Errorf("peak %v mean %v", peak, mean)
	}
	if v, _ := peakMean(r.rates.values(noon.Add(time.Hour))); v != 0 {
		t.Errorf("an hour later %v", v)
	}
}

// A walk whose records were counted is not counted again when the incremental
// run before it has ended; nor is one that began before anybody looked.
func TestWalksAreCountedOnce(t *testing.T) {
	t.Parallel()
	r := &row{}
	s := stream("contacts", client.StateRunning, 5)
	old := &client.Run{ID: "r1", Kind: "backfill", State: "running", Started: noon.Add(-time.Hour), Records: 90000}
	quick := func(n int, records uint64) *client.Run {
		return &client.Run{ID: fmt.Sprintf("r%d", n), Kind: "incremental", State: "running", Started: noon.Add(time.Duration(n) * time.Second), Records: records}
	}
	s.Run = quick(2, 0)
	r.set(s, noon, false)
	for n := 3; n < 100; n++ {
		s.Run, s.LastRun = old, quick(n-1, 10)
		s.LastRun.State = client.RunDone
		r.set(s, noon.Add(time.Duration(n)*time.Second), true)
		old = &client.Run{ID: "r1", Kind: "backfill", State: "running", Started: old.Started, Records: old.Records + 5}
		s.Run = quick(n, 0)
		r.set(s, noon.Add(time.Duration(n)*time.Second), true)
	}
	sum := 0.0
	for _, v := range r.rates.counts {
		sum += v
	}
	if sum != 97*10+96*5 {
		t.Errorf("%v records, not %d", sum, 97*10+96*5)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		short(999): "999", short(12345): "12.3k", short(182340): "182k", short(4_100_000): "4.1M", short(99_950): "100k", short(1_000_000_000): "1G",
		thousands(1234567): "1,234,567", thousands(7): "7", age(130 * time.Second): "2m10s", age(26 * time.Hour): "1d2h", age(-time.Second): "0s",
		clock(3700 * time.Second): "1:01:40", fit("abcdef", 4): "abc~", fit("日本語", 4): "日~ ", right("7", 3): "  7", clean("a\x1b[2Jb\u202e"): "a [2Jb ",
		rateText(0.04): "<0.1", rateText(212): "212", spark([]float64{0, 1, 2}, 3, false): " =#",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A picture whose connection is lost again before it is drawn is old from the
// beginning.
func TestPictureOfALostConnection(t *testing.T) {
	t.Parallel()
	b := newBench(t, 100, 30)
	b.take(news{at: b.now, link: &link{since: b.now, next: b.now.Add(time.Second), problem: errRefused},
		whole: &snapshot{at: b.now, streams: []client.Status{stream("contacts", client.StateWaiting, 5)}}})
	b.now = b.now.Add(3 * time.Second)
	b.Update(tickMsg(b.now))
	if text := b.frame(); !strings.Contains(text, "! stale for 3s") || !strings.Contains(text, " stale ") {
		t.Errorf("it passes for new:\n%s", text)
	}
}

// An interval of days is one too: a stream that is behind it says so, and stands
// behind those of minutes where intervals are what is sorted by.
func TestIntervalsOfDays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"1d": 24 * time.Hour, "1d12h30m": 36*time.Hour + 30*time.Minute, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute,
		"": 0, "1400ms": 1400 * time.Millisecond, "often": 0} {
		if got := span(text); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	b := newBench(t, 100, 30)
	daily, quick := stream("daily", client.StateWaiting, 5), stream("quick", client.StateWaiting, 5)
	daily.Interval, daily.EffectiveInterval, daily.LagSeconds = "1d", "1d", new(int64(3*24*3600))
	quick.Interval, quick.EffectiveInterval = "5m", "5m"
	b.connect(daily, quick)
	if !strings.Contains(b.frame(), " 3d! ") {
		t.Errorf("a stream that is three days behind its day is not told of:\n%s", b.frame())
	}
	b.press("6")
	if got := strings.Join(b.list.names, " "); got != "quick daily" {
		t.Errorf("by interval: %s", got)
	}
}

// What is found is marked where it stands, though small letters are shorter.
func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{{"İé gone", "é", "é"}, {"İİİ Error: x", "error", "Error"}, {"an end", "END", "end"}, {"none", "x", ""}, {"short", "shorter", ""}} {
		if i, end := match(c[0], c[1]); c[0][i:end] != c[2] {
			t.Errorf("%q in %q: %q", c[1], c[0], c[0][i:end])
		}
	}
	b := newBench(t, 100, 30)
	b.connect(everyState()...)
	b.take(news{at: b.now, lines: []client.Line{{Time: noon, Level: "info", Message: "İé gone"}}})
	b.press("l", "/", "é", "enter")
	if text := b.frame(); !utf8.ValidString(text) || !strings.Contains(text, "é\x1b") {
		t.Errorf("%q", text)
	}
}

func TestKeyMap(t *testing.T) {
	t.Parallel()
	var keys []string
	for _, b := range keyMap() {
		for _, k := range b.keys {
			for _, other := range keys {
				if k == other {
					t.Errorf("%s does two things", k)
				}
			}
			keys = append(keys, k)
		}
	}
	var b bytes.Buffer
	if err := WriteKeys(&b); err != nil {
		t.Fatal(err)
	}
	const path = "../docs/KEYS.md"
	if os.Getenv("HUBPIPE_WRITE_DOCS") != "" {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is not as the key map is; `make docs` writes it (%v)", path, err)
	}
}

// Any keys, at any size, over any news: it never fails and always fits.
func TestAnything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, anything)
}

func FuzzAnything(f *testing.F) { f.Fuzz(rapid.MakeFuzz(anything)) }

func anything(r *rapid.T) {
	var keys []string
	for _, b := range keyMap() {
		if b.act != actSave {
			keys = append(keys, b.keys...)
		}
	}
	keys = append(keys, "y", "a", "é", "backspace", "enter", "esc", "Q")
	b := newBench(r, rapid.IntRange(1, 220).Draw(r, "w"), rapid.IntRange(1, 70).Draw(r, "h"))
	for range rapid.IntRange(1, 40).Draw(r, "steps") {
		switch rapid.IntRange(-1, 9).Draw(r, "step") {
		case -1:
			b.Update(click(rapid.IntRange(-1, 220).Draw(r, "x"), rapid.IntRange(-1, 70).Draw(r, "y")))
		case 0:
			b.Update(tea.WindowSizeMsg{Width: rapid.IntRange(1, 220).Draw(r, "w"), Height: rapid.IntRange(1, 70).Draw(r, "h")})
		case 1:
			b.connect(anyStatuses(r)...)
			for _, d := range someDestinations()[:rapid.IntRange(0, 2).Draw(r, "destinations")] {
				if rapid.Bool().Draw(r, "fails") {
					d.State, d.Error = rapid.String().Draw(r, "state"), &client.Problem{Title: rapid.String().Draw(r, "title"), Hint: rapid.String().Draw(r, "hint")}
				}
				d.Target, d.Behind = rapid.String().Draw(r, "target"), rapid.Uint64().Draw(r, "behind")
				b.Update(newsMsg{at: b.now, destinations: map[string]client.Destination{d.Name: d}})
			}
		case 2:
			b.lose()
		case 3:
			b.Update(newsMsg{at: b.now, lines: []client.Line{{Time: b.now, Level: "info", Message: rapid.String().Draw(r, "line")}}})
		case 4:
			b.now = b.now.Add(time.Duration(rapid.IntRange(0, 1e6).Draw(r, "ms")) * time.Millisecond)
			b.Update(tickMsg(b.now))
		case 5:
			b.Update(tea.PasteMsg{Content: rapid.String().Draw(r, "paste")})
		default:
			b.press(rapid.SampledFrom(keys).Draw(r, "key"))
		}
		b.leaves = false
		if frame := b.View().Content; b.w > 0 && b.h > 0 {
			fits(r, frame, b.w, b.h)
		}
	}
}

func anyStatuses(r *rapid.T) []client.Status {
	all := everyState()
	out := all[:rapid.IntRange(0, len(all)).Draw(r, "streams")]
	for i := range out {
		if rapid.Bool().Draw(r, "odd") {
			out[i].Portal, out[i].Interval = rapid.String().Draw(r, "portal"), rapid.StringN(0, 12, 40).Draw(r, "interval")
			out[i].Records = rapid.Uint64().Draw(r, "records")
			out[i].Error = &client.Problem{Title: rapid.String().Draw(r, "title"), Detail: rapid.String().Draw(r, "detail"), Hint: rapid.String().Draw(r, "hint")}
		}
	}
	return out
}

func TestPanicOfTheFeedEndsIt(t *testing.T) {
	t.Parallel()
	b := newBench(t, 80, 24)
	b.Update(newsMsg{failed: &panicked{value: "x"}})
	if got := (*panicked)(nil); !b.leaves || !errors.As(b.err, &got) {
		t.Error("it goes on")
	}
}

// Runs that could not be asked for are not said to be none, and are asked for
// again.
func TestRunsThatCannotBeHad(t *testing.T) {
	t.Parallel()
	b := newBench(t, 100, 40)
	b.connect(everyState()...)
	b.press("enter")
	b.Update(runsMsg{stream: b.detail.stream, err: errors.New("no answer in time")})
	if frame := b.frame(); strings.Contains(frame, "none yet") || !strings.Contains(frame, "no answer in time") {
		t.Errorf("a failure is shown as\n%s", frame)
	}
	if b.look() != nil {
		t.Error("it is asked again at once")
	}
	b.now = b.now.Add(askAgain)
	b.model.now = b.now
	if b.look() == nil {
		t.Error("it is never asked again")
	}
	b.Update(runsMsg{stream: b.detail.stream, runs: someRuns()})
	if frame := b.frame(); strings.Contains(frame, "cannot be had") || b.look() != nil {
		t.Errorf("what has come is shown as\n%s", frame)
	}
}
