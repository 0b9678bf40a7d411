package tui

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Lines that frame a screen: two of the head with a rule, and the foot.
const (
	headLines  = 3
	footLines  = 3 // rule, state, hints
	frameLines = headLines + footLines + 2
)

// page gathers the lines of a frame, none wider than it and no more than it
// has.
type page struct {
	lines []string
	w, h  int
}

// add adds a line that is known to fit.
func (p *page) add(text string) {
	if len(p.lines) < p.h {
		p.lines = append(p.lines, text)
	}
}

// text adds plain text, cut where it is too long.
func (p *page) text(s string, i ink) {
	if width(s) > p.w {
		s = fit(s, p.w)
	}
	p.add(i.paint(s))
}

func (p *page) rule(m *model) { p.add(m.theme.rule.paint(strings.Repeat("-", p.w))) }

// left is how many lines there are until the last n.
func (p *page) left(n int) int { return p.h - n - len(p.lines) }

// pad adds empty lines until n are left.
func (p *page) pad(n int) {
	for p.left(n) > 0 {
		p.add("")
	}
}

// part is a piece of a line in one ink.
type part struct {
	text string
	ink  ink
}

// parts joins pieces up to a width.
func parts(w int, list ...part) string {
	var b strings.Builder
	for _, x := range list {
		n := width(x.text)
		if n > w {
			x.text, n = fit(x.text, w), w
		}
		b.WriteString(x.ink.paint(x.text))
		if w -= n; w <= 0 {
			break
		}
	}
	return b.String()
}

// View draws the frame.
func (m *model) View() tea.View {
	v := tea.NewView(m.frame())
	v.AltScreen, v.ReportFocus = true, true
	v.WindowTitle = "hubpipe"
	if m.mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	if m.tooSmall() || m.w == 0 {
		return v
	}
	switch {
	case m.dialog != nil && m.dialog.typed != "":
		v.Cursor = tea.NewCursor(min((m.w-m.dialogWidth())/2+len("|  type  to confirm: ")+len(m.dialog.typed)+m.dialog.input.Position(), m.w-1), m.dialogTop()+len(m.dialogBody()))
	case m.prompt != nil:
		v.Cursor = tea.NewCursor(min(1+width(m.prompt.label)+m.prompt.input.Position(), m.w-1), m.h-2)
	case m.screen == screenStreams && len(m.list.names) > 0 && m.pic.ready: // where screen readers and magnifiers look
		v.Cursor = tea.NewCursor(0, headLines+1+m.list.place-m.list.top)
	}
	return v
}

// frame is the whole screen as text.
func (m *model) frame() string {
	if m.w == 0 || m.h == 0 {
		return ""
	}
	if m.tooSmall() {
		text := fmt.Sprintf("need %dx%d, have %dx%d", leastWidth, leastHeight, m.w, m.h)
		return strings.TrimRight(fit(text, min(m.w, len(text))), " ")
	}
	p := &page{w: m.w, h: m.h, lines: make([]string, 0, m.h)}
	m.head(p)
	switch m.screen {
	case screenStreams:
		if m.w >= wideFrom {
			m.widePage(p)
		} else {
			m.streamsPage(p)
		}
	case screenWorkers:
		m.workersPage(p)
	case screenPortals:
		m.portalsPage(p)
	case screenDestinations:
		m.destinationsPage(p)
	case screenLogs:
		m.logPage(p)
	case screenDetail:
		m.detailPage(p)
	case screenHelp:
		m.helpPage(p)
	}
	p.pad(footLines)
	if len(p.lines) > p.h-footLines {
		p.lines = p.lines[:p.h-footLines]
	}
	m.foot(p)
	if m.dialog != nil {
		m.overlay(p)
	}
	return strings.Join(p.lines, "\n")
}

// head is who is looked at, whether it lives, how many are how, and the budget.
// What does not fit is said in fewer words, and the address goes first: it is the
// counts that people look for.
func (m *model) head(p *page) {
	for _, how := range []heading{{true, true, true, true, true}, {addr: true, up: true, total: true, words: true}, {up: true, total: true, words: true}, {up: true, words: true}, {words: true}, {up: true, total: true}, {up: true}, {}} {
		list := m.heading(how)
		n := 0
		for _, x := range list {
			n += width(x.text)
		}
		if n <= m.w || how == (heading{}) {
			p.add(parts(m.w, list...))
			break
		}
	}
	m.second(p)
	p.rule(m)
}

// heading is how much the first line says.
type heading struct{ addr, up, total, words, size bool }

func (m *model) heading(how heading) []part {
	t := m.theme
	list := []part{{" hubpipe", t.title}}
	d := m.pic.daemon
	if how.addr {
		if d.Version != "" {
			list = append(list, part{" " + d.Version, t.faint})
		}
		list = append(list, part{"  " + clean(m.api.Addr()), t.faint})
	}
	switch {
	case m.link.up && m.pic.ready:
		up := ""
		if how.up && !d.Started.IsZero() {
			up = "  up " + age(m.now.Sub(d.Started))
		}
		list = append(list, part{up, ink{}}, part{"  * live", t.good})
	case m.pic.ready:
		list = append(list, part{"  ! stale for " + age(m.now.Sub(m.lost)), t.bad})
	}
	if !m.pic.ready {
		return list
	}
	if how.total {
		list = append(list, part{"  " + howMany(len(m.pic.streams), "stream"), ink{}})
	}
	counts := m.pic.counts()
	for _, s := range []string{client.StateBlocked, client.StateFailing, client.StateThrottled, client.StateRunning, client.StateWaiting, client.StateStopped} {
		if n := counts[s]; n > 0 {
			word := fmt.Sprintf("  %d %s", n, s)
			if !how.words { // the signs of the table
				word = fmt.Sprintf("  %s %d", sign(s), n)
			}
			list = append(list, part{word, t.stateInks[s]})
		}
	}
	if f := m.pic.figures; how.size && f != nil {
		list = append(list, part{"  store " + sizeText(f.StoreBytes), t.faint})
		if f.BrokerConnections != nil {
			list = append(list, part{fmt.Sprintf("  %d at the broker", *f.BrokerConnections), t.faint})
		}
	}
	return list
}

// howMany is a number of things, one of them without its s.
func howMany[T int | uint64](n T, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return thousands(uint64(n)) + " " + thing + "s"
}

// second is the line below: what is wrong with the connection, else the budget.
func (m *model) second(p *page) {
	t := m.theme
	why, what := "", "daemon unreachable"
	if p, ok := errors.AsType[*client.Problem](m.link.problem); ok && p.Type == client.TypeUnauthorized {
		what = "the daemon does not take the token, see HUBPIPE_TOKEN;"
	} else if m.link.problem != nil {
		why = ": " + clean(reason(m.link.problem))
	}
	switch {
	case !m.link.up && m.link.next.IsZero(), m.link.up && !m.pic.ready:
		p.text(" connecting to "+clean(m.api.Addr()), ink{})
	case !m.link.up:
		wait := max(m.link.next.Sub(m.now), 0)
		p.text(fmt.Sprintf(" ! %s %s, retry in %s (try %d)%s", what, clock(m.now.Sub(m.link.since)), age(wait+time.Second-1), m.link.tries+1, why), t.bad)
	case m.pic.daemon.Version != "" && m.pic.daemon.Version != m.o.Version:
		p.text(fmt.Sprintf(" ! the daemon is version %s, the dashboard %s: read-only", m.pic.daemon.Version, clean(m.o.Version)), t.warn)
	case len(m.pic.portals) == 0:
		p.text(" no portal yet", t.faint)
	default:
		list, room := m.unwell(), m.w
		for _, x := range list {
			room -= width(x.text)
		}
		p.add(parts(m.w, append(list, m.budget(m.tightest(), room)...)...))
	}
}

// reason is why there is no connection, without the address that was said above.
func reason(err error) string {
	if number, ok := errors.AsType[syscall.Errno](err); ok && errors.Is(err, client.ErrUnreachable) {
		return number.Error()
	}
	return explain(err)
}

// tightest is the portal that has the least of its day left.
func (m *model) tightest() client.Portal {
	best, share := m.pic.portals[0], -1.0
	for _, x := range m.pic.portals {
		s := dayShare(x)
		if x.Throttled != nil || x.Error != nil {
			s += 2
		}
		if s > share {
			best, share = x, s
		}
	}
	return best
}

func dayShare(x client.Portal) float64 {
	if x.Limits.Daily <= 0 {
		return 0
	}
	if x.Remaining != nil { // others use the account too
		return 1 - float64(*x.Remaining)/float64(x.Limits.Daily)
	}
	return float64(x.UsedToday) / float64(x.Limits.Daily)
}

// budget is a portal's limits and what is used of them, as far as HubSpot has
// named them, in w cells or a little more.
func (m *model) budget(x client.Portal, w int) []part {
	t := m.theme
	list := append([]part{{" API " + x.Name + "  burst ", ink{}}}, m.burst(x.Limits, w)...)
	list = append(list, part{"  day ", ink{}})
	ends := part{}
	if x.Limits.Daily > 0 {
		share := dayShare(x)
		i, word := t.good, ""
		if share >= 0.8 {
			i, word = t.warn, " LOW"
		}
		if share >= 1 {
			word = " SPENT"
		}
		used := max(float64(x.Limits.Daily)*share, 0)
		list = append(list, part{bar(share, budgetCells(w)), i}, part{" " + short(uint64(used)) + "/" + short(uint64(x.Limits.Daily)) + word, i})
		ends = part{"  resets in " + age(x.DayEnds.Sub(m.now)), t.faint}
	} else {
		list = append(list, part{thousands(x.UsedToday) + " calls, no limit known", t.faint})
	}
	switch {
	case x.Error != nil:
		list = append(list, part{"  X " + x.Error.Title, t.blocked})
	case x.Throttled != nil:
		text := "  ~ LIMITED " + x.Throttled.Reason
		if x.Throttled.Until != nil {
			text += " for " + age(x.Throttled.Until.Sub(m.now))
		}
		list = append(list, part{text, t.warn})
	}
	limited := ink{}
	if x.RepliesToday[client.ReplyLimited] > 0 {
		limited = t.warn
	}
	list = append(list, part{"  429s " + short(x.RepliesToday[client.ReplyLimited]), limited})
	if n := len(m.pic.portals) - 1; n > 0 && m.screen != screenPortals {
		list = append(list, part{fmt.Sprintf("  and %d more (%s)", n, m.on(actPortals)), t.faint})
	}
	room := w - width(ends.text)
	for _, x := range list {
		room -= width(x.text)
	}
	if room >= 0 { // what is least missed
		list = append(list, ends)
	}
	return list
}

// burst is how much of the burst limit is used, "-" before HubSpot has named it.
func (m *model) burst(l client.Limits, w int) []part {
	if l.Burst <= 0 {
		return []part{{"-", m.theme.faint}}
	}
	share := float64(l.BurstUsed) / float64(l.Burst)
	i, word := m.theme.good, "" // nearly all of it is what hubpipe aims at
	if share >= 1 {
		i, word = m.theme.warn, " FULL"
	}
	var list []part
	if w >= 80 {
		list = append(list, part{bar(share, budgetCells(w)) + " ", i})
	}
	return append(list, part{fmt.Sprintf("%d/%d %s%s", l.BurstUsed, l.Burst, clean(l.BurstWindow), word), i})
}

// budgetCells are those of a bar where there is so much room.
func budgetCells(w int) int {
	if w < 100 {
		return 5
	}
	return 12
}

// foot is the state of the screen, and the keys that matter most on it.
func (m *model) foot(p *page) {
	t := m.theme
	p.rule(m)
	switch {
	case m.prompt != nil:
		p.text(" "+m.prompt.label+clean(m.prompt.input.Value()), ink{})
	case m.toast.text != "":
		i := t.accent
		if m.toast.bad {
			i = t.bad
		}
		p.text(" "+m.toast.text, i)
	case m.screen == screenStreams:
		p.add(m.standing())
	case m.screen == screenDetail && m.detail.below > 0:
		p.text(fmt.Sprintf(" %s below (%s)", howMany(m.detail.below, "more line"), m.on(actDown)), t.faint)
	default:
		p.text(" "+m.where(), t.faint)
	}
	p.text(" "+m.hints(), t.faint)
}

// where names the screens, the one that is shown in capitals.
func (m *model) where() string {
	names := map[screen]string{screenStreams: "streams", screenWorkers: "workers", screenPortals: "portals", screenDestinations: "destinations", screenLogs: "logs"}
	var out []string
	for _, s := range tabs() {
		name := names[s]
		if s == m.screen {
			name = strings.ToUpper(name)
		}
		out = append(out, name)
	}
	return strings.Join(out, "  ") + "   (" + m.on(actNextScreen) + ")"
}

// standing is what is marked, sorted and filtered, and where the selection is.
func (m *model) standing() string {
	left := ""
	if n := len(m.list.marks); n > 0 {
		left = fmt.Sprintf("%d marked", n)
	}
	filter := "none"
	if m.list.filter != "" {
		filter = clean(m.list.filter)
	}
	order := ""
	if m.list.reversed {
		order = " reversed"
	}
	right := fmt.Sprintf("sort: %s%s   filter: %s   %d/%d ", m.list.by, order, filter, min(m.list.place+1, len(m.list.names)), len(m.list.names))
	gap := m.w - 1 - width(left) - width(right)
	if gap < 0 {
		return fit(" "+right, m.w)
	}
	return " " + m.theme.accent.paint(left) + spaces(gap) + m.theme.faint.paint(right)
}

func (m *model) hints() string {
	switch {
	case m.dialog != nil && m.dialog.typed != "":
		return "enter confirms  esc cancels"
	case m.dialog != nil:
		return "y does it  n, esc and enter cancel"
	case m.prompt != nil && m.prompt.label == ":":
		return "start, stop, sync, reconcile, resync STREAM or all; reload, shutdown, theme, q"
	case m.prompt != nil:
		return "enter keeps it  esc takes it back"
	}
	start, stop, sync := m.hint(actStart, "start"), m.hint(actStop, "stop"), m.hint(actSync, "sync")
	open, help := m.hint(actOpen, "open"), m.hint(actHelp, "help")
	switch m.screen {
	case screenLogs:
		return hintsOf(m.hint(actFollow, "follow"), m.hint(actFilter, "search"), m.hint(actNext, m.on(actPrev)), m.hint(actOnly, "only"), m.hint(actLevel, "level"),
			m.hint(actWrap, "wrap"), m.hint(actTimes, "times"), m.hint(actSave, "save"), m.hint(actBack, "back"))
	case screenDetail:
		return hintsOf(start, stop, sync, m.hint(actReconcile, "reconcile"), m.hint(actResync, "resync"), m.hint(actLogs, "log"), m.hint(actCopy, "copy"), help,
			m.hint(actQuit, "back"))
	case screenDestinations:
		return hintsOf(m.hint(actStart, "resume"), m.hint(actStop, "pause"), m.hint(actResync, "resync"), m.hint(actNextScreen, "next screen"), m.hint(actBack, "back"), help)
	case screenHelp:
		return hintsOf(m.hint(actFilter, "search"), m.hint(actBack, "back"))
	case screenWorkers, screenPortals:
		return hintsOf(m.hint(actNextScreen, "next screen"), m.hint(actBack, "back"), help)
	}
	mark, filter, quit := m.hint(actMark, "mark"), m.hint(actFilter, "filter"), m.hint(actQuit, "quit")
	switch {
	case m.w < 80:
		return hintsOf(start, stop, sync, open, help, quit)
	case m.w < 120:
		return hintsOf(start, stop, sync, open, mark, filter, help, quit)
	}
	return hintsOf(m.on(actDown)+"/"+m.on(actUp)+" move", start, stop, sync, m.hint(actReconcile, "reconcile"), m.hint(actResync, "resync"), mark, open,
		m.hint(actNextScreen, "screen"), filter, m.hint(actSort, "sort"), m.hint(actPalette, "command"), help, quit)
}
