package tui

import (
	"strings"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"
)

// prompt is a line that is being typed below the screen.
type prompt struct {
	input textinput.Model
	label string
	live  func(text string)         // on each change, nil for none
	done  func(text string) tea.Cmd // on enter
	undo  func()                    // on esc
}

// dialog asks whether something is meant. Only y does it, or the name typed;
// every other key but those that cancel is swallowed.
type dialog struct {
	title string
	text  []string
	typed string // what has to be typed; "" for y
	input textinput.Model
	yes   func() tea.Cmd
}

func newInput() textinput.Model {
	in := textinput.New()
	in.Prompt, in.CharLimit = "", 200
	in.SetVirtualCursor(false)
	in.Focus()
	return in
}

// cutSpace gives the first word and the rest.
func cutSpace(text string) (word, rest string, more bool) {
	word, rest, more = strings.Cut(strings.TrimSpace(text), " ")
	return word, strings.TrimSpace(rest), more
}

func (m *model) open(label, text string, p prompt) {
	p.label, p.input = label, newInput()
	p.input.SetValue(text)
	p.input.CursorEnd()
	m.prompt = &p
}

// promptKey gives a key to the line that is typed.
func (m *model) promptKey(msg tea.KeyPressMsg) tea.Cmd {
	p := m.prompt
	switch msg.String() {
	case "enter":
		m.prompt = nil
		return p.done(p.input.Value())
	case "esc":
		m.prompt = nil
		if p.undo != nil {
			p.undo()
		}
		return nil
	}
	return m.typing(&p.input, msg, p.live)
}

// pasted takes in pasted text where something is typed, and nowhere else: it is
// no sequence of keys.
func (m *model) pasted(msg tea.PasteMsg) tea.Cmd {
	switch {
	case m.dialog != nil && m.dialog.typed != "":
		return m.typing(&m.dialog.input, msg, nil)
	case m.dialog == nil && m.prompt != nil:
		return m.typing(&m.prompt.input, msg, m.prompt.live)
	}
	return nil
}

func (m *model) typing(in *textinput.Model, msg tea.Msg, live func(string)) tea.Cmd {
	before := in.Value()
	next, cmd := in.Update(msg)
	*in = next
	if live != nil && in.Value() != before {
		live(in.Value())
	}
	return cmd
}

// dialogKey gives a key to the question.
func (m *model) dialogKey(msg tea.KeyPressMsg) tea.Cmd {
	d := m.dialog
	key := msg.String()
	switch {
	case key == "esc" || d.typed == "" && (key == "n" || key == "N" || key == "enter"):
		m.dialog = nil
		m.say("nothing was done")
	case d.typed == "" && key == "y":
		m.dialog = nil
		return d.yes()
	case d.typed != "" && key == "enter":
		if strings.TrimSpace(d.input.Value()) != d.typed {
			m.complain("that is not %s: nothing was done", d.typed)
			m.dialog = nil
			return nil
		}
		m.dialog = nil
		return d.yes()
	case d.typed != "":
		return m.typing(&d.input, msg, nil)
	}
	return nil
}
