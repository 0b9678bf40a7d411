package tui

import "github.com/charmbracelet/x/ansi"

// From this width on the selected stream stands beside the table, so wide.
const (
	wideFrom  = 160
	sideWidth = 64
)

// widePage draws the table and, beside it, the selected stream.
func (m *model) widePage(p *page) {
	r := m.pic.streams[m.list.selected]
	if r == nil || !m.pic.ready {
		m.streamsPage(p)
		return
	}
	table, side := *m, *m
	table.w, side.w = m.w-sideWidth-3, sideWidth
	left := &page{w: table.w, h: p.left(0)}
	table.streamsPage(left)
	left.pad(footLines)
	right := &page{w: side.w, h: p.left(footLines)}
	side.titled(right, r)
	side.facts(right, r)
	if r.Error != nil {
		right.rule(&side)
		right.add(m.theme.title.paint(" LAST ERROR"))
		side.problem(right, r)
	}
	right.rule(&side)
	right.add(m.theme.title.paint(fit(" LOG  "+r.Name, side.w)))
	side.logTail(right, r.Name, right.left(0))
	right.pad(0)
	for i := range min(len(left.lines), len(right.lines)) {
		p.add(left.lines[i] + spaces(left.w-ansi.StringWidth(left.lines[i])) + m.theme.rule.paint(" | ") + right.lines[i])
	}
}
