package tui

import (
	"fmt"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// detail is the stream that is open.
type detail struct {
	stream string
	runs   []client.Run
	newest [2]string // the runs that it had when runs were asked for
	asking bool
	asked  bool
	top    int
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
	for _, text := range body.lines[m.detail.top:min(len(body.lines), m.detail.top+rows)] {
		p.add(text)
	}
	if rest := p.left(footLines); rest >= 4 {
		p.rule(m)
		p.add(m.theme.title.paint(fit(" LOG  "+r.Name+"   (l)", m.w)))
		m.logTail(p, r.Name, rest-2)
	}
}

func (m *model) detailBody(p *page, r *row) {
	m.facts(p, r)
	if r.Error != nil {
		p.rule(m)
		p.add(m.theme.title.paint(" LAST ERROR"))
		m.problem(p, r)
	}
	p.rule(m)
	m.runTable(p)
}

// facts are how the stream stands: two in a line where there is room for them.
func (m *model) facts(p *page, r *row) {
	t := m.theme
	state := sign(r.State) + " " + r.State
	if word := m.pending[r.Name]; word != "" {
		state += "+ " + word
	}
	p.add(parts(m.w, part{" " + r.Name, t.title}, part{"   ", ink{}}, part{state, t.stateInks[r.State]}))
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
		{"lag        " + lag, "complete   until " + complete(r, m.now)},
		{"records    " + thousands(r.Records) + " live, " + thousands(r.Tombstones) + " tombstones", "open ids   " + thousands(uint64(max(r.OpenIDs, 0))) + " (named, not handed out)"},
		{"object     " + r.Object + " of portal " + r.Portal, "calls      " + thousands(m.pic.callsToday(r)) + " today"},
	} {
		if m.w <= sideWidth {
			p.text(" "+pair[0], ink{})
			p.text(" "+pair[1], ink{})
			continue
		}
		p.text(" "+fit(pair[0], half-2)+" "+pair[1], ink{})
	}
	p.text(" run        "+runText(r, m.now), ink{})
	for _, b := range r.Budget {
		p.text(" budget     "+clean(b), t.warn)
	}
	values := r.rates.values(m.now)
	peak, mean := peakMean(values)
	p.add(parts(m.w, part{" rate 15m   ", ink{}}, part{spark(values, min(45, m.w/2), m.o.Blocks), t.accent},
		part{fmt.Sprintf("  %s rec/s now  peak %s  mean %s", rateText(r.rates.current(m.now)), rateText(peak), rateText(mean)), ink{}}))
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
		p.text(" it tries again in "+age(r.Until.Sub(m.now))+"; s tries now", ink{})
	}
}

func (m *model) runTable(p *page) {
	t := m.theme
	const form = " %-13s %-17s %6s %9s %6s %6s  "
	p.text(fmt.Sprintf(form, "RECENT RUNS", "STARTED", "TOOK", "RECORDS", "PAGES", "CALLS")+"KIND, RESULT", t.title)
	if len(m.detail.runs) == 0 {
		p.text(map[bool]string{true: " none yet", false: " asking"}[m.detail.asked && !m.detail.asking], t.faint)
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
		p.text(fmt.Sprintf(form, run.ID, moment(run.Started, m.now), age(end.Sub(run.Started)), thousands(run.Records),
			thousands(run.Pages), thousands(run.Requests))+result, i)
	}
}
