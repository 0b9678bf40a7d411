package tui

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// scrolled draws a body of lines below a title that stays, from where it was
// scrolled to.
func (m *model) scrolled(p *page, title string, body *page) {
	rows := p.left(footLines) - 1
	m.scroll = max(0, min(m.scroll, len(body.lines)-rows))
	if len(body.lines) > rows {
		title += fmt.Sprintf("   %d-%d/%d", m.scroll+1, min(m.scroll+rows, len(body.lines)), len(body.lines))
	}
	p.text(title, m.theme.title)
	for _, text := range body.lines[m.scroll:min(m.scroll+rows, len(body.lines))] {
		p.add(text)
	}
}

func (m *model) workersPage(p *page) {
	t := m.theme
	body := &page{w: m.w, h: 1 << 30}
	const form = " %-10s %-22s %-10s %-8s %-20s %s"
	for _, w := range m.pic.workers {
		state, i, seen := "> online", t.good, "now"
		if w.State != client.WorkerOnline {
			state, i, seen = "o offline", t.faint, age(m.now.Sub(w.LastSeen))+" ago"
		}
		body.text(fmt.Sprintf(form, state, fit(w.ID, 22), seen, fmt.Sprintf("%d/%d", len(w.Runs), w.Capacity), fit(w.Version, 20),
			clean(strings.Join(w.Portals, ", "))), i)
	}
	if len(m.pic.workers) == 0 {
		body.text(" no worker has been heard of, so nothing is fetched; start one with `hubpipe worker`", t.bad)
	}
	if f := m.pic.figures; f != nil {
		body.add("")
		at := "a broker of others"
		if f.BrokerConnections != nil {
			at = howMany(*f.BrokerConnections, "connection") + ", two of them the daemon's own"
		}
		body.text(" broker     "+at, t.faint)
		body.text(" store      "+sizeText(f.StoreBytes)+" of the disk, "+sizeText(f.FreeBytes)+" free", t.faint)
	}
	m.scrolled(p, fmt.Sprintf(form, "WORKERS", "NAME", "SEEN", "RUNS", "VERSION", "PORTALS"), body)
}

func (m *model) portalsPage(p *page) {
	t := m.theme
	body := &page{w: m.w, h: 1 << 30}
	for _, x := range m.pic.portals {
		if len(body.lines) > 0 {
			body.add("")
		}
		account := "not asked yet"
		if x.Account != 0 {
			account = fmt.Sprintf("account %d, %s", x.Account, x.TimeZone)
		}
		body.add(parts(m.w, part{" " + x.Name, t.title}, part{"   " + account + fmt.Sprintf("   %d streams", m.streamsOf(x.Name)), ink{}}))
		body.add(parts(m.w, m.budget(x, m.w)...))
		body.text(fmt.Sprintf(" pace %s requests/s, search %s/s   %.0f %% of the day are left to others", rateText(x.Limits.Rate), rateText(x.Limits.SearchRate), x.Reserve*100), t.faint)
		body.text(fmt.Sprintf(" replies today: %s ok, %s over a limit (429), %s refused otherwise, %s failed", thousands(x.RepliesToday[client.ReplyOK]),
			thousands(x.RepliesToday[client.ReplyLimited]), thousands(x.RepliesToday[client.ReplyRefused]), thousands(x.RepliesToday[client.ReplyFailed])), t.faint)
		if x.Error != nil {
			for _, s := range wrapText(explain(x.Error), m.w-2) {
				body.text(" "+s, t.bad)
			}
		}
		if x.Journal != nil && x.Journal.Error != nil {
			for _, s := range wrapText(explain(x.Journal.Error), m.w-2) {
				body.text(" "+s, t.warn)
			}
		}
		for _, s := range x.Shares {
			share := 0.0
			if s.Limit > 0 {
				share = float64(s.Used) / float64(s.Limit)
			}
			i := ink{}
			if s.Spent != "" || share >= 0.8 {
				i = t.warn
			}
			body.text(fmt.Sprintf("   %-14s %s %s of %s, wants %s  %s", clean(s.Kind), bar(share, 20), thousands(uint64(max(s.Used, 0))),
				thousands(uint64(max(s.Limit, 0))), thousands(uint64(max(s.Wanted, 0))), clean(s.Spent)), i)
		}
		if len(x.Shares) == 0 {
			for _, kind := range slices.Sorted(maps.Keys(x.UsedByKind)) {
				body.text(fmt.Sprintf("   %-14s %s calls today", clean(kind), thousands(x.UsedByKind[kind])), ink{})
			}
		}
	}
	if len(m.pic.portals) == 0 {
		body.text(" no portal in the configuration", t.faint)
	}
	m.scrolled(p, " PORTALS and what is left of their day", body)
}

func (m *model) streamsOf(portal string) int {
	n := 0
	for _, r := range m.pic.streams {
		if r.Portal == portal {
			n++
		}
	}
	return n
}

// helpPage is the key map, and what the one who opened the dashboard has to say.
func (m *model) helpPage(p *page) {
	t := m.theme
	body := &page{w: m.w, h: 1 << 30}
	find := strings.ToLower(m.find)
	if find == "" { // how to try things is for whoever opens the help first
		for _, s := range m.o.Notes {
			for _, part := range wrapText(clean(s), m.w-2) {
				body.text(" "+part, t.accent)
			}
		}
	}
	for _, g := range groups(m.binds) {
		first := true
		for _, b := range m.binds {
			text := fmt.Sprintf("   %-11s %s", b.shown, b.does)
			if b.group != g || find != "" && !strings.Contains(strings.ToLower(text), find) {
				continue
			}
			if first {
				if len(body.lines) > 0 {
					body.add("")
				}
				body.text(" "+g, t.strong)
				first = false
			}
			for i, s := range wrapText(b.does, m.w-16) {
				body.text(fmt.Sprintf("   %-11s %s", []string{b.shown, ""}[min(i, 1)], s), ink{})
			}
		}
	}
	if find == "" {
		body.add("")
		body.text(" States", t.strong)
		for _, s := range [][2]string{
			{client.StateRunning, "a run goes on"}, {client.StateWaiting, "for its next run"}, {client.StateThrottled, "HubSpot's limits make it wait, NEXT says how long"},
			{client.StateFailing, "it tries again by itself, NEXT says when"}, {client.StateBlocked, "it needs a person: enter says what to do"},
			{client.StateStopped, m.on(actStart) + " starts it"},
		} {
			body.add("   " + t.stateInks[s[0]].paint(fit(sign(s[0])+" "+s[0], 11)) + fit(" "+s[1], m.w-14))
		}
		body.text("   +  beside a state: asked for, not yet answered;  ! behind a lag: more than the interval allows", ink{})
		body.add("")
		body.text(" The log is the daemon's own, with the runs of all workers. A worker that runs as a process", ink{})
		body.text(" of its own logs there; what it waits for and what fails is told here.", ink{})
	}
	if len(body.lines) == 0 {
		body.text(" nothing matches "+clean(m.find)+" (esc clears)", ink{})
	}
	m.scrolled(p, " HELP", body)
}

// dialogTop is the line on which the question begins.
func (m *model) dialogTop() int { return max(0, (m.h-len(m.dialogBody())-2)/2) }

// dialogBody is the question's lines without its frame.
func (m *model) dialogBody() []string {
	d := m.dialog
	out := []string{""}
	for _, s := range d.text {
		if s != "" {
			out = append(out, wrapText(s, m.dialogWidth()-6)...)
		}
	}
	ask := "y does it, n or esc does not"
	if d.typed != "" {
		ask = "type " + d.typed + " to confirm: " + clean(d.input.Value())
	}
	return append(out[:min(len(out), m.h-5)], ask) // what is asked is always seen
}

func (m *model) dialogWidth() int { return min(m.w-4, 76) }

// overlay draws the question over the middle of the frame.
func (m *model) overlay(p *page) {
	w := m.dialogWidth()
	left := spaces((m.w - w) / 2)
	title := fit("+- "+m.dialog.title+" ", min(w-2, width(m.dialog.title)+4))
	box := []string{title + strings.Repeat("-", w-1-width(title)) + "+"}
	for _, s := range m.dialogBody() {
		box = append(box, "| "+fit(" "+s, w-4)+" |")
	}
	box = append(box, "+"+strings.Repeat("-", w-2)+"+")
	for i, s := range box {
		if at := m.dialogTop() + i; at < len(p.lines) {
			p.lines[at] = left + m.theme.strong.paint(s)
		}
	}
}
