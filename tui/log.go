package tui

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// logView is how the log is looked at.
type logView struct {
	stream string // "" is all
	follow bool
	anchor uint64 // the line on top while it is not followed
	paused uint64 // lines that there were when it stopped following
	offset int    // cells to the left of the screen
	wrap   bool
	times  bool
	level  int
	search string
	only   bool // lines that match

	cached []line
	key    logKey
}

// logKey is what the cached lines were chosen by.
type logKey struct {
	total          uint64
	earlier        int // lines of the stream that were fetched
	stream, search string
	level          int
	only           bool
}

func (m *model) openLog() {
	m.log.stream = ""
	if m.screen == screenDetail {
		m.log.stream = m.detail.stream
		m.back = append(m.back, m.screen)
		m.screen, m.scroll = screenLogs, 0
	} else {
		m.show(screenLogs)
	}
	m.log.follow, m.log.offset = true, 0
}

// logLines are the lines that the log's screen shows, the oldest first.
func (m *model) logLines() []line {
	l := &m.log
	key := logKey{m.pic.lines.total, m.earlier[l.stream], l.stream, strings.ToLower(l.search), l.level, l.only}
	if key == l.key && l.cached != nil {
		return l.cached
	}
	out := make([]line, 0, 64)
	for _, x := range m.pic.lines.of(l.stream) {
		if l.takes(x, l.stream) && (!l.only || key.search == "" || strings.Contains(x.lower, key.search)) {
			out = append(out, x)
		}
	}
	l.cached, l.key = out, key
	return out
}

// takes tells whether a line is of the level that is chosen, and of a stream
// where one is named.
func (l *logView) takes(x line, stream string) bool {
	return x.level >= l.level && (stream == "" || x.Stream == stream)
}

// at is the index of the anchor.
func (l *logView) at(lines []line) int {
	i, _ := slices.BinarySearchFunc(lines, l.anchor, func(x line, seq uint64) int {
		switch {
		case x.seq < seq:
			return -1
		case x.seq > seq:
			return 1
		}
		return 0
	})
	return i
}

// newer is how many lines have come since it stopped following, those of a
// stream as far as they are kept.
func (l *logView) newer(lines []line, total uint64) uint64 {
	if l.stream == "" {
		return total - min(l.paused, total)
	}
	return uint64(len(lines) - sort.Search(len(lines), func(i int) bool { return lines[i].seq > l.paused }))
}

// move scrolls; upwards it ends following, at the end it begins again.
func (l *logView) move(n int, lines []line, rows int) {
	end := max(len(lines)-rows, 0)
	at := end
	if !l.follow {
		at = min(l.at(lines), end)
	}
	at = max(0, min(at+n, end))
	if at == end && (n > 0 || l.follow && end == 0) {
		l.follow = true
		return
	}
	l.pause(lines, at)
}

func (l *logView) pause(lines []line, at int) {
	if l.follow {
		l.paused = l.key.total
	}
	l.follow = false
	if at < len(lines) {
		l.anchor = lines[at].seq
	}
}

// logKey does what belongs to the log alone, and tells whether it did.
func (m *model) logKey(act action) (tea.Cmd, bool) {
	l := &m.log
	switch act {
	case actFollow:
		if l.follow {
			lines := m.logLines()
			l.pause(lines, max(len(lines)-m.logRows(), 0))
		} else {
			l.follow = true
		}
	case actWrap:
		l.wrap, l.offset = !l.wrap, 0
	case actTimes:
		l.times = !l.times
	case actLevel:
		next := map[int]int{1: 2, 2: 3, 3: 4, 4: 1}
		l.level = next[l.level]
	case actFilter:
		was := l.search
		m.open("/", was, prompt{live: func(s string) { l.search = s }, done: func(s string) tea.Cmd { l.search = s; m.jump(-1, true); return nil }, undo: func() { l.search = was }})
	case actOnly:
		if l.search == "" {
			m.say("%s shows only lines that match: search with %s first", m.on(actOnly), m.on(actFilter))
			break
		}
		l.only = !l.only
	case actNext:
		m.jump(1, false)
	case actPrev:
		m.jump(-1, false)
	case actLeft:
		l.offset = max(0, l.offset-20)
	case actRight:
		if !l.wrap {
			l.offset = min(l.offset+20, 2000)
		}
	case actSave:
		return m.save(), true
	default:
		return nil, false
	}
	return nil, true
}

// jump goes to the next line that matches, down or up; here counts the line on
// top too.
func (m *model) jump(step int, here bool) {
	l, lines := &m.log, m.logLines()
	if l.search == "" {
		m.say("search with %s first", m.on(actFilter))
		return
	}
	at := len(lines) - 1
	if !l.follow {
		if at = l.at(lines); !here {
			at += step
		}
	}
	text := strings.ToLower(l.search)
	for i := at; i >= 0 && i < len(lines); i += step {
		if strings.Contains(lines[i].lower, text) {
			l.pause(lines, i)
			return
		}
	}
	m.say("no more lines match %q", l.search)
}

// save writes what is chosen to a file in the folder at hand.
func (m *model) save() tea.Cmd {
	lines := m.logLines()
	var b strings.Builder
	for _, x := range lines {
		b.WriteString(m.lineText(x, true) + "\n")
	}
	name := "hubpipe-" + m.now.UTC().Format("20060102-150405") + ".log"
	m.say("%d lines are saved to %s", len(lines), name)
	return m.spawn(func(context.Context) tea.Msg {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // what is there is not written over
		if err == nil {
			_, err = f.WriteString(b.String())
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return resultMsg{act: actSave, err: err}
		}
		return nil
	})
}

func (m *model) lineText(x line, times bool) string {
	at := ""
	if times {
		at = x.Time.UTC().Format(time.TimeOnly) + " "
	}
	return at + fit(strings.ToUpper(x.Level), 5) + " " + x.text
}

func (m *model) logRows() int { return max(m.h-frameLines, 1) }

// logTail draws the last lines of a stream, or of all: a look at the log, with no
// more than a line for each.
func (m *model) logTail(p *page, stream string, rows int) {
	all := m.pic.lines.of(stream)
	var found []line
	for i := len(all) - 1; i >= 0 && len(found) < rows; i-- {
		if m.log.takes(all[i], stream) {
			found = append(found, all[i])
		}
	}
	for _, x := range slices.Backward(found) {
		m.logLine(p, x, false)
	}
}

// logLine draws a line, the level and what was searched for in their ink.
func (m *model) logLine(p *page, x line, wrap bool) {
	text := m.lineText(x, m.log.times)
	level := ink{}
	switch {
	case x.level >= 4:
		level = m.theme.bad
	case x.level == 3:
		level = m.theme.warn
	case x.level < 2:
		level = m.theme.faint
	}
	switch {
	case wrap && width(text) > p.w:
		for _, part := range wrapText(text, p.w) {
			p.add(m.highlight(part, level))
		}
	default:
		if m.log.offset > 0 && m.screen == screenLogs {
			text = ansi.TruncateLeft(text, m.log.offset, "<")
		}
		if width(text) > p.w {
			text = fit(text, p.w)
		}
		p.add(m.highlight(text, level))
	}
}

// highlight paints a text and what matches the search in it.
func (m *model) highlight(text string, level ink) string {
	if m.log.search == "" || m.screen != screenLogs {
		return level.paint(text)
	}
	i, end := match(text, m.log.search)
	return level.paint(text[:i]) + m.theme.selected.paint(text[i:end]) + level.paint(text[end:])
}

// match is where what was searched for stands in a text, whatever its case: in
// small letters it could be longer or shorter.
func match(text, search string) (from, to int) {
	n := utf8.RuneCountInString(search)
	for from = range text {
		to = from
		for range n {
			_, size := utf8.DecodeRuneInString(text[to:]) // 0 at the end
			to += size
		}
		if strings.EqualFold(text[from:to], search) {
			return from, to
		}
	}
	return len(text), len(text)
}

// logPage draws the log over the whole screen.
func (m *model) logPage(p *page) {
	lines := m.logLines()
	of := "all streams"
	if m.log.stream != "" {
		of = m.log.stream
	}
	state := "following"
	if !m.log.follow {
		state = fmt.Sprintf("paused, %d new (%s follows)", m.log.newer(lines, m.pic.lines.total), m.on(actFollow))
	}
	head := fmt.Sprintf(" LOG  %s   %s   level %s and above", of, state, client.LogLevels()[m.log.level])
	if m.log.search != "" {
		head += fmt.Sprintf("   /%s", clean(m.log.search))
		if m.log.only {
			head += " only"
		}
	}
	p.add(m.theme.title.paint(fit(head, p.w)))
	p.rule(m)
	if len(lines) == 0 {
		p.add(fit(" nothing yet; "+m.on(actLevel)+" shows other levels", p.w))
		return
	}
	rows := p.left(footLines)
	if m.log.follow {
		body := &page{w: p.w, h: 1 << 30}
		for _, x := range lines[max(0, len(lines)-rows):] {
			m.logLine(body, x, m.log.wrap)
		}
		for _, text := range body.lines[max(0, len(body.lines)-rows):] {
			p.add(text)
		}
		return
	}
	for _, x := range lines[min(m.log.at(lines), len(lines)):] {
		if p.left(footLines) <= 0 {
			break
		}
		m.logLine(p, x, m.log.wrap)
	}
}
