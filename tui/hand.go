package tui

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"
)

// offerAfter is how long the answer to a stop may take before another way is
// offered.
const offerAfter = 3 * time.Second

// offerMore says what can be done about a stop that is not answered.
func (m *model) offerMore() {
	for name, w := range m.pending {
		if w.word == actStop.doing() && !w.told && m.now.Sub(w.since) >= offerAfter {
			w.told = true
			m.pending[name] = w
			m.say("no answer yet to the stop of %s; %s asks again", name, m.on(actInsist))
		}
	}
}

// click selects a row, opens the selected one, or sorts by the title of a
// column.
func (m *model) click(at tea.Mouse) tea.Cmd {
	if at.Button != tea.MouseLeft || m.screen != screenStreams || m.dialog != nil || m.prompt != nil || m.tooSmall() || !m.pic.ready {
		return nil
	}
	table := *m
	if m.w >= wideFrom && m.pic.streams[m.list.selected] != nil {
		if table.w = m.w - sideWidth - 3; at.X >= table.w {
			return nil
		}
	}
	switch i := at.Y - headLines - 1; {
	case i == -1:
		if by, ok := table.columnAt(at.X); ok {
			if m.list.by == by {
				m.list.reversed, m.list.stale = !m.list.reversed, true
			} else {
				m.sortBy(by)
			}
		}
	case i >= 0 && i < m.tableRows() && m.list.top+i < len(m.list.names):
		name := m.list.names[m.list.top+i]
		if name == m.list.selected {
			return m.choose(actOpen, "")
		}
		m.list.selected, m.list.place = name, m.list.top+i
	}
	return nil
}

// columnAt is what the table is sorted by where the title at x says so.
func (m *model) columnAt(x int) (sorting, bool) {
	name, cols := m.layout()
	end := 2 + name
	if x < end {
		return byName, true
	}
	for _, c := range cols {
		if end += 1 + c.width; x < end {
			by, ok := map[string]sorting{"STATE": byState, "RECORDS": byRecords, "REC/S": byRate, "RATE 15M": byRate, "LAG": byLag, "EVERY": byEvery,
				"NEXT": byNext, "CALLS": byCalls}[c.title]
			return by, ok
		}
	}
	return 0, false
}

// editedMsg is that the editor has ended.
type editedMsg struct {
	before []byte
	err    error
}

// edit gives the terminal to an editor with the configuration in it.
func (m *model) edit() tea.Cmd {
	switch {
	case m.o.ReadOnly:
		m.complain("no edit: %s", m.readOnly())
	case m.o.File == "":
		m.complain("no edit: this daemon reads no file that lies here")
	case len(m.o.Editor) == 0:
		m.complain("no edit: set EDITOR to the editor that you like")
	default:
		before, err := os.ReadFile(m.o.File)
		if err != nil {
			m.complain("no edit: %v", err)
			return nil
		}
		args := append(slices.Clone(m.o.Editor[1:]), m.o.File)
		//nolint:gosec,noctx // it is the user's own, and ends when the user ends it
		return tea.ExecProcess(exec.Command(m.o.Editor[0], args...), func(err error) tea.Msg { return editedMsg{before, err} })
	}
	return nil
}

// edited says what became of the configuration.
func (m *model) edited(msg editedMsg) {
	after, err := os.ReadFile(m.o.File)
	switch {
	case msg.err != nil:
		m.complain("the editor %s: %v", m.o.Editor[0], msg.err)
	case err != nil:
		m.complain("%v", fmt.Errorf("after the edit: %w", err))
	case bytes.Equal(msg.before, after):
		m.say("nothing was changed in %s", m.o.File)
	default:
		m.say("%s is changed; %sreload has the daemon take it over", m.o.File, m.on(actPalette))
	}
}
