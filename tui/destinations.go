package tui

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// places is what of the destinations' screen stays while they come and go.
type places struct {
	selected string
	pending  map[string]string // what was asked for and not answered, by name
}

// destinationMsg is what became of a command to a destination.
type destinationMsg struct {
	act  action
	name string
	now  client.Destination
	err  error
}

func cleanDestination(d client.Destination) client.Destination {
	d.Name, d.Kind, d.Target, d.State, d.Error = clean(d.Name), clean(d.Kind), clean(d.Target), clean(d.State), cleanProblem(d.Error)
	d.Streams = slices.Clone(d.Streams)
	for i := range d.Streams {
		s := &d.Streams[i]
		s.Stream, s.Table, s.Error = clean(s.Stream), clean(s.Table), cleanProblem(s.Error)
		if s.Reread != nil {
			r := *s.Reread
			r.Reason = clean(r.Reason)
			s.Reread = &r
		}
	}
	return d
}

func (p *picture) destination(d client.Destination) {
	p.destinations = put(p.destinations, cleanDestination(d), func(d client.Destination) string { return d.Name })
}

// destinationSign is the state of a destination as one character and an ink.
func (m *model) destinationSign(state string) (string, ink) {
	switch state {
	case client.DestinationRunning:
		return ">", m.theme.good
	case client.DestinationFailing:
		return "!", m.theme.bad
	case client.DestinationBlocked:
		return "X", m.theme.blocked
	case client.DestinationPaused:
		return "=", m.theme.warn
	case client.DestinationCurrent:
		return ".", ink{}
	}
	return "?", ink{}
}

// theDestination is the selected one, the first where none was; nil where there
// is none.
func (m *model) theDestination() *client.Destination {
	list := m.pic.destinations
	for i := range list {
		if list[i].Name == m.places.selected {
			return &list[i]
		}
	}
	if len(list) == 0 {
		return nil
	}
	m.places.selected = list[0].Name
	return &list[0]
}

// moveDestination selects another one.
func (m *model) moveDestination(n int) {
	if d := m.theDestination(); d != nil {
		i := slices.IndexFunc(m.pic.destinations, func(x client.Destination) bool { return x.Name == d.Name })
		m.places.selected = m.pic.destinations[max(0, min(i+n, len(m.pic.destinations)-1))].Name
	}
}

// unwell names the first destination that does not work, with its state.
func (m *model) unwell() []part {
	for _, d := range m.pic.destinations {
		if d.State == client.DestinationFailing || d.State == client.DestinationBlocked {
			sign, i := m.destinationSign(d.State)
			return []part{{" " + sign + " " + fit(d.Name, min(width(d.Name), 20)) + " " + d.State, i}, {" (" + m.on(actDestinations) + ") ", m.theme.faint}}
		}
	}
	return nil
}

// askDestination does what a key means for a destination: start resumes it, stop
// pauses it, resync writes everything again.
func (m *model) askDestination(act action) tea.Cmd {
	d := m.theDestination()
	word := map[action]string{actStart: "resume", actStop: "pause", actResync: "resync"}[act]
	switch {
	case d == nil:
		m.complain("no %s: there is no destination", act)
		return nil
	case word == "":
		m.say("%s is nothing for a destination: %s resumes, %s pauses, %s writes everything again", act, m.on(actStart), m.on(actStop), m.on(actResync))
		return nil
	case m.places.pending[d.Name] != "":
		m.say("%s: %s is asked for already", d.Name, m.places.pending[d.Name])
		return nil
	case act == actStop && d.State == client.DestinationPaused:
		m.say("%s is paused already (%s resumes it)", d.Name, m.on(actStart))
		return nil
	case act == actStart && (d.State == client.DestinationCurrent || d.State == client.DestinationRunning):
		m.say("%s is not paused", d.Name)
		return nil
	}
	name := d.Name
	if act != actResync {
		return m.beginDestination(act, word, name)
	}
	m.dialog = &dialog{title: "resync " + name, typed: name, input: newInput(), text: []string{"writes every row of every stream again, in place of what is there;",
		howMany(d.RowsWritten, "row") + " were written so far"}, yes: func() tea.Cmd { return m.beginDestination(act, word, name) }}
	return nil
}

func (m *model) beginDestination(act action, word, name string) tea.Cmd {
	if why := m.readOnly(); why != "" { // the daemon may have gone while it was asked
		m.complain("no %s: %s", word, why)
		return nil
	}
	m.places.pending[name] = word
	a := m.api
	return m.spawn(func(ctx context.Context) tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, actTimeout)
		defer cancel()
		msg := destinationMsg{act: act, name: name}
		switch act {
		case actStart:
			msg.now, msg.err = a.ResumeDestination(ctx, name)
		case actStop:
			msg.now, msg.err = a.PauseDestination(ctx, name)
		default:
			msg.now, msg.err = a.ResyncDestination(ctx, name, "")
		}
		return msg
	})
}

// destinationDone takes in what became of a command.
func (m *model) destinationDone(msg destinationMsg) {
	word := m.places.pending[msg.name]
	delete(m.places.pending, msg.name)
	if msg.err != nil {
		m.complain("%s of %s: %s", word, msg.name, explain(msg.err))
		return
	}
	if msg.now.Name != "" {
		m.pic.destination(msg.now)
	}
	switch msg.act {
	case actStart:
		m.say("%s goes on", msg.name)
	case actStop:
		m.say("%s is paused (%s resumes it)", msg.name, m.on(actStart))
	default:
		m.say("%s is written again", msg.name)
	}
}

// destinationsPage draws the list, and the selected one below it.
func (m *model) destinationsPage(p *page) {
	t := m.theme
	selected := m.theDestination()
	if selected == nil {
		p.text(" no destination: records are in hubpipe's own store", ink{})
		p.add("")
		for _, s := range []string{"destination \"postgres\" \"warehouse\" {", "  url    = env(\"WAREHOUSE_URL\")", "  schema = \"hubspot\"", "}"} {
			p.text("   "+s, ink{})
		}
		p.add("")
		p.text(" add this to the daemon's file, then type "+m.on(actPalette)+"reload", ink{})
		return
	}
	name := min(24, max(11, m.w-60))
	line := func(lead, name, state, behind, lag, rows, last string, n int) string {
		return fmt.Sprintf("%s%s %s %s %s %s  %s", lead, fit(name, n), fit(state, 11), right(behind, 9), right(lag, 7), right(rows, 11), last)
	}
	p.text(line("  ", "DESTINATION", "STATE", "BEHIND", "LAG", "ROWS", "LAST WRITE", name), t.title)
	list := m.pic.destinations
	rows := min(len(list), max(p.left(footLines)/3, 1))
	first := max(0, min(slices.IndexFunc(list, func(d client.Destination) bool { return d.Name == selected.Name })-rows/2, len(list)-rows))
	for _, d := range list[first : first+rows] {
		sign, i := m.destinationSign(d.State)
		lead, mark, lag, last := "  ", "", "-", "-"
		if m.places.pending[d.Name] != "" {
			mark = "+"
		}
		if d.LagSeconds != nil {
			lag = age(time.Duration(*d.LagSeconds) * time.Second)
		}
		if d.LastCommit != nil {
			last = age(m.now.Sub(*d.LastCommit)) + " ago"
		}
		if d.Name == selected.Name {
			lead, i = "> ", t.selected
		}
		if !m.lost.IsZero() {
			last = "stale"
		}
		p.add(i.paint(fit(line(lead, d.Name, sign+" "+d.State+mark, short(d.Behind), lag, short(d.RowsWritten), last, name), m.w)))
	}
	if rows < len(list) {
		p.text(fmt.Sprintf("  %d-%d/%d", first+1, first+rows, len(list)), t.faint)
	}
	p.rule(m)
	m.destinationBody(p, selected)
}

func (m *model) destinationBody(p *page, d *client.Destination) {
	t := m.theme
	target := d.Target
	if target == "" {
		target = "it was not reached yet"
	}
	p.add(parts(m.w, part{" " + d.Name, t.title}, part{"   " + d.Kind + " at " + target, ink{}}))
	if d.Error != nil {
		_, i := m.destinationSign(d.State)
		for _, s := range wrapText(d.Error.Error(), m.w-2) {
			p.text(" "+s, i)
		}
		if d.Error.Hint != "" {
			for _, s := range wrapText("what to do: "+d.Error.Hint, m.w-2) {
				p.text(" "+s, t.strong)
			}
		}
		if d.NextTry != nil && d.NextTry.After(m.now) {
			p.text(" it tries again in "+age(d.NextTry.Sub(m.now))+"; "+m.on(actStart)+" tries now", ink{})
		}
	}
	const form = " %s %s %s  %s"
	p.text(fmt.Sprintf(form, fit("STREAM", 24), right("BEHIND", 9), right("ROWS", 11), "NOTES"), t.title)
	streams := slices.Clone(d.Streams)
	slices.SortStableFunc(streams, func(a, b client.DestinationStream) int { return trouble(b) - trouble(a) })
	for i, s := range streams {
		if left := p.left(footLines); left <= 1 && i < len(streams)-1 {
			p.text(fmt.Sprintf(" and %d more", len(streams)-i), t.faint)
			break
		}
		var notes []string
		in := ink{}
		if s.Error != nil {
			notes, in = append(notes, s.Error.Error()), t.bad
		}
		if r := s.Reread; r != nil && r.Until > 0 {
			share := min(float64(r.Position)/float64(r.Until), 1)
			notes = append(notes, fmt.Sprintf("%d%% read again (%s)", int(share*100), r.Reason))
		}
		if s.Unparsed > 0 {
			notes = append(notes, howMany(s.Unparsed, "value")+" of another type")
		}
		if s.VersionsLost > 0 {
			notes = append(notes, howMany(s.VersionsLost, "version")+" dropped before they were read")
		}
		p.text(fmt.Sprintf(form, fit(s.Stream, 24), right(short(s.Behind), 9), right(short(s.RowsWritten), 11), strings.Join(notes, "; ")), in)
	}
}

// trouble orders a destination's streams: what is wrong first, then what is
// behind.
func trouble(s client.DestinationStream) int {
	switch {
	case s.Error != nil:
		return 3
	case s.Reread != nil:
		return 2
	case s.Behind > 0:
		return 1
	}
	return 0
}
