package tui

import (
	"fmt"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// detail is the stream that is open.
type detail struct {
	stream string
	runs   []client.Run
	newest [2]string // the runs that it had when runs were asked for
	asking bool
	asked  bool
	failed error     // what became of asking, where that was nothing
	again  time.Time // when it is asked again then
	top    int
	below  int // lines that are out of sight, as they were drawn last
}

// detailPage draws one stream; what does not fit is scrolled to.
func (m *model) detailPage(p *page) {
	r := m.pic.streams[m.detail.stream]
	if r == nil {
		return
	}
	body := &page{w: m.w, h: 1 << 30}
	m.detailBody(body, r)
	rows := p.left(footLines)
	m.detail.top = max(0, min(m.detail.top, len(body.lines)-rows))
	m.detail.below = len(body.lines) - rows - m.detail.top
	for _, text := range body.lines[m.detail.top:min(len(body.lines), m.detail.top+rows)] {
		p.add(text)
	}
	if rest := p.left(footLines); rest >= 4 {
		p.rule(m)
		p.add(m.theme.title.paint(fit(" LOG  "+r.Name+"   ("+m.on(actLogs)+")", m.w)))
		m.logTail(p, r.Name, rest-2)
	}
}

func (m *model) detailBody(p *page, r *row) {
	if r.Error != nil && m.h < summaryFrom { // what is wrong is seen without scrolling
		m.titled(p, r)
		m.problem(p, r)
		p.rule(m)
		m.facts(p, r)
	} else {
		m.titled(p, r)
		m.facts(p, r)
		if r.Error != nil {
			p.rule(m)
			p.add(m.theme.title.paint(" LAST ERROR"))
			m.problem(p, r)
		}
	}
	p.rule(m)
	m.runTable(p)
}

// titled is the stream with its state.
func (m *model) titled(p *page, r *row) {
	t := m.theme
	state := sign(r.State) + " " + r.State
	if word := m.pending[r.Name].word; word != "" {
		state += "+ " + word
	}
	p.add(parts(m.w, part{" " + r.Name, t.title}, part{"   ", ink{}}, part{state, t.stateInks[r.State]}))
}

// facts are how the stream stands: two in a line where there is room for them.
func (m *model) facts(p *page, r *row) {
	t := m.theme
	lag := "-"
	if d, ok := r.lag(m.now); ok {
		lag = age(d)
		if r.late(m.now) {
			lag += "! behind its interval"
		}
	}
	next, _ := nextCell(m, r)
	half := m.w / 2
	for _, pair := range [][2]string{
		{"schedule   " + schedule(r), "next       " + next},
		{"lag        " + lag, "complete   " + complete(r, m.now)},
		{"records    " + thousands(r.Records) + " live, " + thousands(r.Tombstones) + " tombstones", "open ids   " + thousands(uint64(max(r.OpenIDs, 0))) + " (named, not handed out)"},
		{"stored     " + storedText(r), "tries      " + tries(r)},
		{"object     " + r.Object + " of portal " + r.Portal, "calls      " + thousands(m.pic.callsToday(r)) + " today"},
	} {
		if m.w <= sideWidth {
			p.text(" "+pair[0], ink{})
			p.text(" "+pair[1], ink{})
			continue
		}
		p.text(" "+fit(pair[0], half-2)+" "+pair[1], ink{})
	}
	for i, s := range wrapText(runText(r, m.now), m.w-12) {
		p.text(" "+[]string{"run", ""}[min(i, 1)]+spaces([]int{8, 11}[min(i, 1)])+s, ink{})
	}
	for _, b := range r.Budget {
		p.text(" budget     "+clean(b), t.warn)
	}
	m.rateLine(p, " rate 15m   ", r)
}

// storedText is what the records take, packed.
func storedText(r *row) string {
	switch {
	case r.Bytes == nil, *r.Bytes == 0:
		return "-"
	case r.Records > 0:
		return sizeText(*r.Bytes) + ", " + sizeText(*r.Bytes/r.Records) + " a record"
	}
	return sizeText(*r.Bytes)
}

// tries says at which attempt the run is, or how many runs have failed.
func tries(r *row) string {
	switch {
	case r.Run != nil && r.Run.Attempts > 0:
		return fmt.Sprintf("attempt %d of %d", r.Run.Attempt, r.Run.Attempts)
	case r.Failures == 1:
		return "the last run failed"
	case r.Failures > 1:
		return howMany(r.Failures, "run") + " failed in a row"
	}
	return "the last run did not fail"
}

// problem writes an error in full, with what to do about it.
func (m *model) problem(p *page, r *row) {
	i := m.theme.stateInks[r.State]
	for _, s := range wrapText(r.Error.Title, m.w-2) {
		p.text(" "+s, i)
	}
	if r.Error.Detail != "" {
		for _, s := range wrapText(r.Error.Detail, m.w-2) {
			p.text(" "+s, ink{})
		}
	}
	if r.Error.Hint != "" {
		for _, s := range wrapText("what to do: "+r.Error.Hint, m.w-2) {
			p.text(" "+s, m.theme.strong)
		}
	}
	if r.Until != nil && r.Until.After(m.now) {
		failed := ""
		if r.Failures > 1 {
			failed = fmt.Sprintf(" %d runs in a row failed;", r.Failures)
		}
		p.text(failed+" it tries again in "+age(r.Until.Sub(m.now))+"; "+m.on(actStart)+" tries now", ink{})
	}
}

func (m *model) runTable(p *page) {
	t := m.theme
	began := len("15:04:05Z") // a day is written where one is shown
	for _, run := range m.detail.runs {
		began = max(began, len(moment(run.Started, m.now)))
	}
	const form = " %-13s %-*s %6s %9s %6s %6s  "
	p.text(fmt.Sprintf(form, "RECENT RUNS", began, "STARTED", "TOOK", "RECORDS", "PAGES", "CALLS")+"KIND, RESULT", t.title)
	switch {
	case len(m.detail.runs) > 0:
	case m.detail.failed != nil:
		p.text(" they cannot be had: "+clean(explain(m.detail.failed)), t.bad)
	case m.detail.asked && !m.detail.asking:
		p.text(" none yet", t.faint)
	default:
		p.text(" asking", t.faint)
	}
	for _, run := range m.detail.runs {
		end, i := m.now, ink{}
		if run.Ended != nil {
			end = *run.Ended
		}
		result := run.Kind + ", " + run.State
		switch {
		case run.Error != nil:
			result, i = run.Kind+", "+run.Error.Title, t.bad
		case run.Running():
			i = t.good
		}
		p.text(fmt.Sprintf(form, run.ID, began, moment(run.Started, m.now), age(end.Sub(run.Started)), thousands(run.Records),
			thousands(run.Pages), thousands(run.Requests))+result, i)
	}
}
