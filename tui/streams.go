package tui

import (
	"fmt"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// column is one of the table's. Its cell is exactly as wide as it.
type column struct {
	title string
	width int
	right bool
	cell  func(m *model, r *row) (string, ink)
}

// Widths of the columns that give way.
const (
	mostName  = 24
	leastName = 8
	leastWhy  = 16
)

// columns are the table's behind the name, in their order.
func columns() []column {
	return []column{
		{"STATE", 12, false, stateCell},
		{"PROGRESS", 10, false, func(_ *model, r *row) (string, ink) { return r.progress(), ink{} }},
		{"RECORDS", 10, true, func(_ *model, r *row) (string, ink) {
			if s := thousands(r.Records); len(s) <= 10 {
				return s, ink{}
			}
			return short(r.Records), ink{}
		}},
		{"REC/S", 5, true, func(m *model, r *row) (string, ink) { return rateText(r.rates.current(m.now)), ink{} }},
		{"RATE 15M", 18, false, func(m *model, r *row) (string, ink) {
			return spark(r.rates.values(m.now), 18, m.o.Blocks), m.theme.accent
		}},
		{"LAG", 7, true, lagCell},
		{"EVERY", 6, true, func(_ *model, r *row) (string, ink) { return every(r), ink{} }},
		{"NEXT", 8, true, nextCell},
		{"CALLS", 6, true, func(m *model, r *row) (string, ink) { return short(m.pic.callsToday(r)), ink{} }},
		{"LAST ERROR", leastWhy, false, func(m *model, r *row) (string, ink) {
			if r.Error == nil {
				return "", ink{}
			}
			return r.Error.Error(), m.theme.stateInks[r.State]
		}},
	}
}

// rateText writes a rate in five cells, a slow one with its tenths.
func rateText(v float64) string {
	switch {
	case v <= 0:
		return "0"
	case v < 0.1:
		return "<0.1"
	case v < 10:
		return fmt.Sprintf("%.1f", v)
	}
	return short(uint64(v))
}

func stateCell(m *model, r *row) (string, ink) {
	mark := ""
	if m.pending[r.Name].word != "" {
		mark = "+"
	}
	return sign(r.State) + " " + r.State + mark, m.theme.stateInks[r.State]
}

func lagCell(m *model, r *row) (string, ink) {
	lag, ok := r.lag(m.now)
	switch {
	case !ok:
		return "-", m.theme.faint
	case r.late(m.now):
		return age(lag) + "!", m.theme.strong
	}
	return age(lag), ink{}
}

// every is the interval that holds, with > where the budget stretches it.
func every(r *row) string {
	switch {
	case r.EffectiveReason != "":
		return ">" + r.EffectiveInterval
	case r.Interval == "":
		return "cron"
	}
	return r.Interval
}

func nextCell(m *model, r *row) (string, ink) {
	switch {
	case m.pending[r.Name].word != "":
		return m.pending[r.Name].word, m.theme.accent
	case !m.lost.IsZero():
		return "stale", m.theme.faint
	case r.Until != nil && r.Until.After(m.now) && r.State != client.StateStopped:
		return age(r.Until.Sub(m.now)), m.theme.stateInks[r.State]
	case r.Run != nil:
		return "now", ink{}
	case r.NextRun == nil:
		return "-", m.theme.faint
	}
	return age(r.NextRun.Sub(m.now)), ink{}
}

// layout chooses the columns that fit, giving up those that tell the least
// first; what is left over is the last error's, or the name's.
func (m *model) layout() (name int, cols []column) {
	cols = columns()
	name = min(max(m.list.longest, leastName), mostName)
	total := func() int {
		n := 2 + name
		for _, c := range cols {
			n += 1 + c.width
		}
		return n
	}
	for _, title := range []string{"RATE 15M", "CALLS", "LAST ERROR", "EVERY", "PROGRESS", "REC/S", "NEXT"} {
		if total() <= m.w {
			break
		}
		for i := range cols {
			if cols[i].title == title {
				cols = append(cols[:i], cols[i+1:]...)
				break
			}
		}
	}
	rest := m.w - total()
	if last := len(cols) - 1; cols[last].title == "LAST ERROR" {
		cols[last].width += rest
		return name, cols
	}
	return max(name+rest, leastName), cols
}

// tableRows is how many streams there is room for.
func (m *model) tableRows() int {
	n := m.h - headLines - 1 - footLines
	if m.h >= summaryFrom {
		n -= summaryLines
	}
	if m.h >= logFrom {
		n -= m.logPane()
	}
	return max(n, 1)
}

// From these heights on there are the summary of the selected stream and the
// end of the log.
const (
	summaryFrom  = 18
	summaryLines = 4
	logFrom      = 30
)

// logPane is how high the end of the log is, with its rule and title.
func (m *model) logPane() int { return 2 + m.h/5 }

func (m *model) streamsPage(p *page) {
	if len(m.list.names) == 0 || !m.pic.ready {
		m.nothing(p)
		return
	}
	name, cols := m.layout()
	rows := m.tableRows()
	head := "  " + fit("STREAM", name)
	for _, c := range cols {
		head += " " + cell(c, c.title)
	}
	if len(m.list.names) > rows {
		where := fmt.Sprintf(" %d-%d/%d", m.list.top+1, min(m.list.top+rows, len(m.list.names)), len(m.list.names))
		if name < len("STREAM"+where) {
			where = where[1:]
		} else {
			where = "STREAM" + where
		}
		head = "  " + fit(where, name) + head[min(2+name, len(head)):]
	}
	p.add(m.theme.title.paint(fit(head, m.w)))
	var b strings.Builder
	for _, n := range m.list.names[m.list.top:min(m.list.top+rows, len(m.list.names))] {
		b.Reset()
		m.tableRow(&b, m.pic.streams[n], name, cols)
		p.add(b.String())
	}
	below := footLines
	if m.h >= logFrom {
		below += m.logPane()
	}
	if m.h >= summaryFrom {
		p.pad(below + summaryLines)
		m.summary(p)
	}
	if m.h >= logFrom {
		p.pad(below)
		p.rule(m)
		p.add(m.theme.title.paint(fit(" LOG  all streams, "+client.LogLevels()[m.log.level]+" and above   ("+m.on(actLogs)+")", m.w)))
		m.logTail(p, "", m.logPane()-2)
	}
}

func cell(c column, text string) string {
	if c.right {
		return right(text, c.width)
	}
	return fit(text, c.width)
}

// tableRow draws a stream: the selected one turned round, a stale one faint.
func (m *model) tableRow(b *strings.Builder, r *row, name int, cols []column) {
	selected, old := r.Name == m.list.selected, !m.lost.IsZero()
	lead := []byte("  ")
	if selected {
		lead[0] = '>'
	}
	if m.list.marks[r.Name] {
		lead[1] = '*'
	}
	whole := ink{}
	switch {
	case selected:
		whole = m.theme.selected
	case old:
		whole = m.theme.faint
	}
	b.WriteString(whole.on)
	b.Write(lead)
	b.WriteString(fit(r.Name, name))
	for _, c := range cols {
		b.WriteByte(' ')
		text, i := c.cell(m, r)
		if text = cell(c, text); selected || old {
			b.WriteString(text)
		} else {
			b.WriteString(i.paint(text))
		}
	}
	b.WriteString(whole.off)
}

// nothing says why the table is empty, and what would fill it.
func (m *model) nothing(p *page) {
	switch {
	case !m.pic.ready && (m.link.up || m.link.next.IsZero()):
		p.text(" connecting to "+clean(m.api.Addr()), ink{})
	case !m.pic.ready:
		p.text(" nothing is known yet: the daemon has not answered", ink{})
		p.add("")
		p.text(" start one with `hubpipe up`, or see `hubpipe demo`; this screen finds it by itself", ink{})
	case len(m.pic.streams) > 0:
		p.text(" no stream matches "+clean(m.list.filter)+" (esc clears)", ink{})
	default:
		p.text(" no streams in hubpipe.hcl", m.theme.strong)
		p.add("")
		for _, s := range []string{"stream \"contacts\" {", "  interval   = \"5m\"", "  properties = [\"*\"]", "}"} {
			p.text("   "+s, ink{})
		}
		p.add("")
		file := "the daemon's file"
		if m.o.File != "" {
			file = m.o.File
		}
		p.text(" add this to "+clean(file)+", then type "+m.on(actPalette)+"reload", ink{})
		if m.o.File != "" {
			p.text(" "+m.hint(actEdit, "edits it"), m.theme.strong)
		}
	}
}

// summary tells of the selected stream what the table has no room for.
func (m *model) summary(p *page) {
	t := m.theme
	p.rule(m)
	r := m.pic.streams[m.list.selected]
	if r == nil {
		return
	}
	p.add(parts(m.w, part{" " + r.Name, t.title}, part{fmt.Sprintf("   %s of %s   %s   complete %s", r.Object, r.Portal, schedule(r), complete(r, m.now)), ink{}}))
	p.text(" "+runText(r, m.now), ink{})
	if r.Error == nil {
		m.rateLine(p, " 15 min ", r)
		return
	}
	text := " " + sign(r.State) + " " + r.Error.Error()
	if r.Error.Hint != "" {
		text += "; what to do: " + r.Error.Hint
	}
	p.text(text, t.stateInks[r.State])
}

func schedule(r *row) string {
	switch {
	case r.State == client.StateStopped:
		return "stopped by " + map[string]string{client.SetByAPI: "someone", client.SetByFile: "the configuration"}[r.SetBy]
	case r.Cron != "":
		return "cron " + r.Cron
	case r.EffectiveReason != "":
		return "every " + r.EffectiveInterval + " instead of " + r.Interval + " (" + r.EffectiveReason + ")"
	}
	return "every " + r.Interval
}

func complete(r *row, now time.Time) string {
	if r.CompleteUntil == nil {
		return "after the first backfill"
	}
	return "until " + moment(*r.CompleteUntil, now)
}

// runText is the run that goes on, else the last one.
func runText(r *row, now time.Time) string {
	run, word := r.Run, "runs"
	if run == nil {
		if run = r.LastRun; run == nil {
			return "it has not run yet"
		}
		word = run.State
	}
	end := now
	if run.Ended != nil {
		end = *run.Ended
	}
	text := fmt.Sprintf("%s %s %s, took %s: %s, %s, %s", run.Kind, run.ID, word, age(end.Sub(run.Started)),
		howMany(run.Records, "record"), howMany(run.Pages, "page"), howMany(run.Requests, "call"))
	if run.Ended != nil {
		return text + ", " + age(now.Sub(end)) + " ago"
	}
	return strings.Replace(text, ", took ", " for ", 1)
}

// rateLine is the last quarter of an hour: the figures whole, and as much of the
// line before them as there is room for.
func (m *model) rateLine(p *page, label string, r *row) {
	values := r.rates.values(m.now)
	peak, mean := peakMean(values)
	text := fmt.Sprintf("  %s rec/s now  peak %s  mean %s", rateText(r.rates.current(m.now)), rateText(peak), rateText(mean))
	cells := max(min(45, m.w-width(label)-width(text)), 0)
	p.add(parts(m.w, part{label, ink{}}, part{spark(values, cells, m.o.Blocks), m.theme.accent}, part{text, ink{}}))
}

func peakMean(values []float64) (peak, mean float64) {
	for _, v := range values {
		peak = max(peak, v)
		mean += v / float64(len(values))
	}
	return peak, mean
}
