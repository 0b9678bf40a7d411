package tui

import (
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// ink is a style as the codes before and after a text, made once: to render a
// style for each cell would cost more than all else of a frame.
type ink struct{ on, off string }

func newInk(s lipgloss.Style) ink {
	on, off, _ := strings.Cut(s.Render("x"), "x")
	return ink{on, off}
}

func (i ink) paint(s string) string {
	if i.on == "" || s == "" {
		return s
	}
	return i.on + s + i.off
}

// theme is how things look. It uses the terminal's own sixteen colours and its
// background; what a colour says is said by a word and a sign as well.
type theme struct {
	name                                   string
	title, faint, strong, selected         ink
	good, warn, bad, blocked, accent, rule ink
	stateInks                              map[string]ink
}

// Themes lists the names that Options.Theme may have.
func Themes() []string { return []string{"auto", "light", "dark", "mono", "high-contrast"} }

func newTheme(name string, dark bool) *theme {
	fg := func(c, onLight string) lipgloss.Style {
		if !dark && onLight != "" {
			c = onLight
		}
		return lipgloss.NewStyle().Foreground(lipgloss.Color(c))
	}
	plain := lipgloss.NewStyle()
	t := &theme{name: name, title: newInk(plain.Bold(true)), faint: newInk(plain.Faint(true)), strong: newInk(plain.Bold(true)),
		selected: newInk(plain.Reverse(true))}
	switch name {
	case "mono":
		t.good, t.warn, t.bad, t.blocked = ink{}, t.strong, t.strong, newInk(plain.Bold(true).Underline(true))
		t.accent, t.rule = t.strong, t.faint
	case "high-contrast":
		t.faint, t.rule = ink{}, ink{}
		t.good, t.warn = newInk(fg("10", "2").Bold(true)), newInk(fg("11", "5").Bold(true))
		t.bad, t.blocked = newInk(fg("9", "1").Bold(true)), newInk(fg("9", "1").Bold(true).Underline(true))
		t.accent = newInk(fg("14", "4").Bold(true))
	default:
		t.good, t.warn, t.bad = newInk(fg("2", "")), newInk(fg("3", "5")), newInk(fg("9", "1"))
		t.blocked, t.accent, t.rule = newInk(fg("9", "1").Bold(true)), newInk(fg("6", "4")), t.faint
	}
	t.stateInks = map[string]ink{client.StateRunning: t.good, client.StateThrottled: t.warn, client.StateFailing: t.bad,
		client.StateBlocked: t.blocked, client.StateStopped: t.faint}
	return t
}

// sign is a state as one character, so that it is no matter of colour.
func sign(state string) string {
	switch state {
	case client.StateRunning:
		return ">"
	case client.StateWaiting:
		return "."
	case client.StateThrottled:
		return "~"
	case client.StateFailing:
		return "!"
	case client.StateBlocked:
		return "X"
	case client.StateStopped:
		return "o"
	}
	return "?"
}

// rank is the order of states where what is wrong comes first.
func rank(state string) int {
	switch state {
	case client.StateBlocked:
		return 0
	case client.StateFailing:
		return 1
	case client.StateThrottled:
		return 2
	case client.StateRunning:
		return 3
	case client.StateWaiting:
		return 4
	}
	return 5
}
