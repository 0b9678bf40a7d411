package tui

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// screen is what fills the terminal.
type screen int

const (
	screenStreams screen = iota
	screenWorkers
	screenPortals
	screenDestinations
	screenLogs
	screenDetail
	screenHelp
)

// tabs are the screens that tab goes through.
func tabs() []screen {
	return []screen{screenStreams, screenWorkers, screenPortals, screenDestinations, screenLogs}
}

// Below this nothing can be shown.
const (
	leastWidth  = 60
	leastHeight = 12
)

// toastFor is how long a toast stays.
const toastFor = 6 * time.Second

// toast says what a key did where that is not to be seen.
type toast struct {
	text  string
	bad   bool
	until time.Time
}

// model is the dashboard: all that it shows, and nothing that waits.
type model struct {
	o     Options
	api   api
	feed  *feed
	spawn func(f func(ctx context.Context) tea.Msg) tea.Cmd
	clock func() time.Time

	now    time.Time
	w, h   int
	dark   bool
	theme  *theme
	binds  []binding // the key map
	keys   map[string]binding
	mouse  bool
	shell  func() bool // there is one to go back to
	err    error       // with which it ends
	leaves bool

	pic  *picture
	link link
	lost time.Time // since when the picture is old; zero while it is not

	screen screen
	back   []screen
	toast  toast
	prompt *prompt
	dialog *dialog

	list    list
	pending map[string]waiting // what was asked for and not answered, by stream
	detail  detail
	earlier map[string]int // of which streams earlier lines were fetched, and how many
	places  places
	log     logView
	scroll  int // of workers, portals and help
	find    string
}

// waiting is what was asked for, since when, and whether it was said that it
// takes long.
type waiting struct {
	word  string
	since time.Time
	told  bool
}

// Messages.
type (
	tickMsg  time.Time
	newsMsg  news
	endedMsg struct{}
	runsMsg  struct {
		stream string
		runs   []client.Run
		lines  []client.Line // the stream's, where they were asked for
		err    error
	}
)

func newModel(o Options, a api, f *feed, spawn func(func(context.Context) tea.Msg) tea.Cmd, clock func() time.Time) *model {
	m := &model{o: o, api: a, feed: f, spawn: spawn, clock: clock, now: clock(), dark: true, pic: newPicture(),
		link: link{since: clock()}, pending: map[string]waiting{}, shell: hasShell}
	binds, err := rebound(o.Keys)
	if err != nil {
		m.err, m.leaves = fmt.Errorf("keys of the dashboard: %w", err), true
		binds = keyMap()
	}
	m.binds, m.keys = binds, bindings(binds)
	m.list.marks = map[string]bool{}
	m.earlier = map[string]int{}
	m.places.pending = map[string]string{}
	m.log = logView{follow: true, level: levelOf("info"), times: true}
	m.paint(cmp.Or(o.Theme, "auto"))
	if len(o.Notes) > 0 {
		m.say("%s tells how to try things", m.on(actHelp))
	}
	return m
}

func (m *model) paint(name string) {
	m.theme = newTheme(name, name == "dark" || name != "light" && m.dark)
}

// Init begins what goes on all the time.
func (m *model) Init() tea.Cmd {
	return tea.Batch(tea.RequestBackgroundColor, m.tick(), m.listen())
}

func (m *model) tick() tea.Cmd {
	return m.spawn(func(ctx context.Context) tea.Msg {
		t := time.NewTimer(time.Second)
		defer t.Stop()
		select {
		case now := <-t.C:
			return tickMsg(now)
		case <-ctx.Done():
			return endedMsg{}
		}
	})
}

func (m *model) listen() tea.Cmd {
	return m.spawn(func(ctx context.Context) tea.Msg {
		if n, ok := m.feed.take(ctx); ok {
			return newsMsg(n)
		}
		return endedMsg{}
	})
}

// Update takes in what happens. It never waits.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	m.now = m.clock()
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tickMsg:
		cmd = m.tick()
	case newsMsg:
		cmd = tea.Batch(m.take(news(msg)), m.listen())
	case tea.WindowSizeMsg:
		m.w, m.h = msg.Width, msg.Height
	case tea.BackgroundColorMsg:
		m.dark = msg.IsDark()
		m.paint(m.theme.name)
	case tea.FocusMsg:
		m.feed.looked(true)
	case tea.BlurMsg:
		m.feed.looked(false)
	case tea.KeyPressMsg:
		cmd = m.key(msg)
	case tea.PasteMsg:
		cmd = m.pasted(msg)
	case tea.MouseClickMsg:
		cmd = m.click(msg.Mouse())
	case editedMsg:
		m.edited(msg)
	case tea.MouseWheelMsg:
		if msg.Button == tea.MouseWheelUp {
			m.move(-3)
		} else {
			m.move(3)
		}
	case destinationMsg:
		m.destinationDone(msg)
	case resultMsg:
		m.result(msg)
	case runsMsg:
		m.runs(msg)
	}
	m.settle()
	if m.leaves {
		return m, tea.Quit
	}
	return m, cmd
}

// take puts news into the picture.
func (m *model) take(n news) tea.Cmd {
	if n.failed != nil {
		m.err, m.leaves = n.failed, true
		return nil
	}
	if n.link != nil {
		m.linked(*n.link)
	}
	if n.daemon != nil {
		d := *n.daemon
		d.Version, d.Address = clean(d.Version), clean(d.Address)
		m.pic.daemon = d
	}
	if n.whole != nil {
		if !m.pic.ready {
			for _, l := range n.whole.lines {
				m.pic.lines.add(l)
			}
			m.list.selected, m.list.place = "", 0 // not what was told of first
		}
		m.pic.whole(*n.whole, m.lost.IsZero())
		m.list.stale = true
		m.lost = time.Time{}
		if !m.link.up { // and lost again before it was shown
			m.lost = m.now
		}
	}
	for _, s := range n.streams {
		m.pic.stream(s, n.at, m.pic.ready)
		m.list.stale = true
	}
	for _, w := range n.workers {
		m.pic.worker(w)
	}
	for _, p := range n.portals {
		m.pic.portal(p)
	}
	for _, d := range n.destinations {
		m.pic.destination(d)
	}
	if n.figures != nil {
		m.pic.figures = n.figures
	}
	for _, l := range n.lines {
		m.pic.lines.add(l)
	}
	if n.dropped > 0 {
		m.pic.lines.add(client.Line{Time: n.at, Level: "warn", Message: fmt.Sprintf("%d lines came too fast and are left out", n.dropped)})
	}
	return m.look()
}

// linked takes in how the connection stands.
func (m *model) linked(l link) {
	switch {
	case l.up && !m.link.up && m.pic.ready:
		m.say("reconnected after %s", clock(m.now.Sub(m.link.since)))
	case !l.up && m.link.up && m.pic.ready:
		m.lost = m.now
	}
	m.link = l
}

// readOnly says why nothing can be changed, "" where it can.
func (m *model) readOnly() string {
	switch v := m.pic.daemon.Version; {
	case m.o.ReadOnly:
		return "the dashboard was opened with --read-only"
	case v != "" && v != m.o.Version:
		return "the daemon is version " + v + ", this is " + m.o.Version + ": look, but do not touch"
	case !m.pic.ready:
		return "nothing is known of the daemon yet"
	case !m.link.up:
		return "the daemon cannot be reached"
	}
	return ""
}

func (m *model) say(format string, args ...any) {
	m.toast = toast{text: clean(fmt.Sprintf(format, args...)), until: m.now.Add(toastFor)}
}

func (m *model) complain(format string, args ...any) {
	m.say(format, args...)
	m.toast.bad = true
}

// settle puts right what no longer fits after a message.
func (m *model) settle() {
	if m.toast.text != "" && !m.now.Before(m.toast.until) {
		m.toast = toast{}
	}
	m.offerMore()
	if m.list.stale {
		m.list.arrange(m.pic, m.now)
	}
	m.list.keep(m.tableRows())
	if m.screen == screenDetail && m.pic.streams[m.detail.stream] == nil {
		m.show(screenStreams)
		m.complain("%s is not there any more", m.detail.stream)
	}
}

// show goes to a screen; what was shown is where esc and q lead.
func (m *model) show(s screen) {
	if s == m.screen {
		return
	}
	if slices.Contains(tabs(), s) {
		m.back = nil
		if s != screenStreams {
			m.back = []screen{screenStreams}
		}
	} else {
		m.back = append(m.back, m.screen)
	}
	m.screen, m.scroll, m.find = s, 0, ""
}

// leave goes back a screen, and tells whether there was one.
func (m *model) leave() bool {
	if len(m.back) == 0 {
		return false
	}
	m.screen, m.back = m.back[len(m.back)-1], m.back[:len(m.back)-1]
	m.scroll, m.find = 0, ""
	return true
}

// selected is the stream that keys mean: the one that is open, or the one in
// the table.
func (m *model) selected() *row {
	if m.screen == screenDetail {
		return m.pic.streams[m.detail.stream]
	}
	if m.screen == screenLogs && m.log.stream != "" {
		return m.pic.streams[m.log.stream]
	}
	return m.pic.streams[m.list.selected]
}

// targets are the streams that an action means.
func (m *model) targets() []string {
	if m.screen == screenStreams && len(m.list.marks) > 0 {
		return slices.Sorted(maps.Keys(m.list.marks))
	}
	if r := m.selected(); r != nil {
		return []string{r.Name}
	}
	return nil
}

// named is one stream by its name, several by their number.
func named(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%d streams", len(names))
}

// shortList names a few of many.
func shortList(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:n], ", ") + fmt.Sprintf(" and %d more", len(names)-n)
}
