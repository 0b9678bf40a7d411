package tui

import (
	"context"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// key does what a key press means where it was pressed.
func (m *model) key(msg tea.KeyPressMsg) tea.Cmd {
	name := msg.String()
	if name == "ctrl+c" {
		m.leaves = true
		return nil
	}
	if m.tooSmall() {
		b := m.keys[name]
		m.leaves = b.act == actQuit
		return nil
	}
	switch {
	case m.dialog != nil:
		return m.dialogKey(msg)
	case m.prompt != nil:
		return m.promptKey(msg)
	}
	b, ok := m.keys[name]
	if !ok {
		m.say("%s does nothing; %s lists the keys", name, m.on(actHelp))
		return nil
	}
	if b.writes {
		return m.ask(b.act)
	}
	if cmd, done := m.anywhere(b.act); done {
		return cmd
	}
	if m.screen == screenLogs {
		if cmd, done := m.logKey(b.act); done {
			return cmd
		}
	}
	return m.choose(b.act, name)
}

func (m *model) tooSmall() bool { return m.w < leastWidth || m.h < leastHeight }

// anywhere does what is the same on every screen, and tells whether it did.
func (m *model) anywhere(act action) (tea.Cmd, bool) {
	switch act {
	case actQuit:
		if !m.leave() {
			m.leaves = true
		}
	case actBack:
		m.esc()
	case actHelp:
		m.show(screenHelp)
	case actWorkers:
		m.show(screenWorkers)
	case actPortals:
		m.show(screenPortals)
	case actDestinations:
		m.show(screenDestinations)
	case actNextScreen, actPrevScreen:
		by := 1
		if act == actPrevScreen {
			by = len(tabs()) - 1
		}
		i := max(slices.Index(tabs(), m.screen), 0)
		m.log.stream = ""
		m.show(tabs()[(i+by)%len(tabs())])
	case actLogs:
		m.openLog()
	case actUp:
		m.move(-1)
	case actDown:
		m.move(1)
	case actHalfUp:
		m.move(-m.page() / 2)
	case actHalfDown:
		m.move(m.page() / 2)
	case actPageUp:
		m.move(-m.page())
	case actPageDown:
		m.move(m.page())
	case actTop:
		m.move(-1 << 30)
	case actBottom:
		m.move(1 << 30)
	case actCopy:
		return m.copy(), true
	case actPalette:
		m.open(":", "", prompt{done: m.command})
	case actMouse:
		m.mouse = !m.mouse
		m.say("mouse %s", map[bool]string{true: "on: a click selects, opens and sorts, the wheel scrolls", false: "off: text can be selected"}[m.mouse])
	case actRefetch:
		poke(m.feed.again)
		poke(m.feed.whole)
	case actEdit:
		return m.edit(), true
	case actSuspend:
		if !m.shell() {
			m.complain("there is no shell to go back to; %s leaves", m.on(actQuit))
			return nil, true
		}
		return tea.Suspend, true
	case actRedraw:
		return tea.ClearScreen, true
	default:
		return nil, false
	}
	return nil, true
}

// esc closes what is open, then takes back what was chosen, then goes back.
func (m *model) esc() {
	switch {
	case m.screen == screenStreams && len(m.list.marks) > 0:
		clear(m.list.marks)
	case m.screen == screenStreams && m.list.filter != "":
		m.setFilter("")
	case m.screen == screenLogs && m.log.search != "":
		m.log.search, m.log.only = "", false
	case m.screen == screenHelp && m.find != "":
		m.find = ""
	case !m.leave():
		m.say("%s leaves the dashboard", m.on(actQuit))
	}
}

// choose does what belongs to the table, and to what can be searched.
func (m *model) choose(act action, key string) tea.Cmd {
	switch {
	case act == actFilter && m.screen == screenHelp:
		m.open("/", m.find, prompt{live: func(s string) { m.find, m.scroll = s, 0 }, done: func(string) tea.Cmd { return nil }, undo: func() { m.find = "" }})
		return nil
	case m.screen != screenStreams:
		m.say("%s does nothing here; %s lists the keys", key, m.on(actHelp))
		return nil
	}
	switch act {
	case actOpen:
		if r := m.selected(); r != nil && m.pic.ready {
			m.detail = detail{stream: r.Name}
			m.show(screenDetail)
			return m.look()
		}
		m.say("there is no stream to open")
	case actMark:
		if name := m.list.selected; name != "" {
			if m.list.marks[name] {
				delete(m.list.marks, name)
			} else {
				m.list.marks[name] = true
			}
			m.list.move(1)
		}
	case actMarkAll:
		for _, name := range m.list.names {
			m.list.marks[name] = true
		}
	case actUnmark:
		clear(m.list.marks)
	case actFilter:
		was := m.list.filter
		m.open("/", was, prompt{live: m.setFilter, done: func(s string) tea.Cmd { m.setFilter(s); return nil }, undo: func() { m.setFilter(was) }})
	case actSort:
		m.sortBy((m.list.by + 1) % (byPortal + 1))
	case actSortBy:
		m.sortBy(sorting(key[0] - '0'))
	case actReverse:
		m.list.reversed = !m.list.reversed
		m.list.stale = true
	default:
		m.say("%s does nothing here; %s lists the keys", key, m.on(actHelp))
	}
	return nil
}

func (m *model) setFilter(s string) {
	m.list.filter, m.list.stale = s, true
}

func (m *model) sortBy(s sorting) {
	m.list.by, m.list.reversed, m.list.stale = s, false, true
}

// page is how many rows a page has.
func (m *model) page() int {
	if m.screen == screenStreams {
		return max(m.tableRows(), 1)
	}
	return max(m.h-frameLines, 1)
}

// move goes up or down by rows; views bound what is scrolled.
func (m *model) move(n int) {
	switch m.screen {
	case screenStreams:
		m.list.move(n)
	case screenLogs:
		m.log.move(n, m.logLines(), m.logRows())
	case screenDestinations:
		m.moveDestination(n)
	case screenDetail:
		m.detail.top = max(0, m.detail.top+min(n, 1000))
	default:
		m.scroll = max(0, m.scroll+min(n, 10000))
	}
}

// copy puts the error, else the name, of the selected stream into the
// terminal's clipboard.
func (m *model) copy() tea.Cmd {
	r := m.selected()
	if r == nil {
		m.say("there is nothing to copy")
		return nil
	}
	text, what := r.Name, "name"
	if p := r.Error; p != nil {
		text, what = r.Name+": "+explain(p), "error"
	}
	m.say("the %s is in the clipboard, where the terminal lets it", what)
	return tea.SetClipboard(text)
}

// askAgain is how long after a failure runs are asked for again.
const askAgain = 5 * time.Second

// look asks for the runs of the stream that is open, where it has others than
// are shown.
func (m *model) look() tea.Cmd {
	if m.screen != screenDetail || m.detail.asking || !m.link.up {
		return nil
	}
	r := m.pic.streams[m.detail.stream]
	if r == nil {
		return nil
	}
	var newest [2]string
	for i, run := range []*client.Run{r.LastRun, r.Run} {
		if run != nil {
			newest[i] = run.ID + run.State
		}
	}
	if m.detail.asked && newest == m.detail.newest && (m.detail.failed == nil || m.now.Before(m.detail.again)) {
		return nil
	}
	m.detail.newest, m.detail.asking, m.detail.asked = newest, true, true
	a, name := m.api, r.Name
	_, fetched := m.earlier[name]
	return m.spawn(func(ctx context.Context) tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, actTimeout)
		defer cancel()
		runs, err := a.Runs(ctx, client.RunQuery{Stream: name, Limit: 10})
		var lines []client.Line
		if err == nil && !fetched {
			lines, _ = a.Logs(ctx, name, "", ofStreamLines) // asked for again with the next runs
		}
		return runsMsg{name, runs, lines, err}
	})
}

// runs takes in the runs of a stream.
func (m *model) runs(msg runsMsg) {
	if m.detail.stream != msg.stream {
		return
	}
	m.detail.asking, m.detail.failed, m.detail.again = false, msg.err, m.now.Add(askAgain)
	if _, fetched := m.earlier[msg.stream]; !fetched && msg.lines != nil {
		m.earlier[msg.stream] = len(msg.lines)
		m.pic.lines.before(msg.stream, msg.lines)
	}
	if msg.err == nil {
		m.detail.runs = m.detail.runs[:0]
		for i := range msg.runs {
			m.detail.runs = append(m.detail.runs, *cleanRun(&msg.runs[i]))
		}
	}
}
