package config

import (
	"fmt"
	"slices"

	"github.com/zclconf/go-cty/cty"
)

// DefaultTheme is the dashboard's: by the terminal's background.
const DefaultTheme = "auto"

// Dashboard is how `hubpipe tui` looks and which keys it has on this machine.
type Dashboard struct {
	// Theme is one of Options.Themes.
	Theme string
	// ASCII has it draw nothing else.
	ASCII bool
	// Keys are keys by the name of what they do; nil for those that it has.
	Keys map[string][]string
}

// LoadDashboard reads the block tui and nothing else, as LoadClient does. Without
// any file it returns defaults.
func LoadDashboard(o Options) (Dashboard, error) {
	l := newLoader(o)
	path, err := l.o.find()
	if err != nil || path == "" {
		return Dashboard{Theme: DefaultTheme}, err
	}
	d := Dashboard{Theme: DefaultTheme}
	if err := l.forClient(path, func(root *section) { l.dashboard(root, &d) }); err != nil {
		return Dashboard{}, err
	}
	return d, nil
}

func (l *loader) dashboard(root *section, d *Dashboard) {
	s := root.child("tui")
	if s == nil {
		return
	}
	if len(l.o.Themes) > 0 {
		s.oneOf("theme", &d.Theme, l.o.Themes...)
	} else if t, ok := s.text("theme"); ok {
		d.Theme = t
	}
	s.boolean("ascii", &d.ASCII)
	keys := s.child("keys")
	if keys == nil {
		return
	}
	d.Keys = map[string][]string{}
	for name := range keys.body.Attributes {
		if list, ok := keys.keys(name); ok {
			d.Keys[name] = list
		}
	}
	if l.o.CheckKeys == nil {
		return
	}
	if err := l.o.CheckKeys(d.Keys); err != nil {
		s.at(keys.line, "tui: keys: "+scrub(err.Error()), "")
	}
}

// keys reads a key, or a list of them.
func (s *section) keys(name string) ([]string, bool) {
	v, ok := s.value(name)
	if ok && v.Type() == cty.String {
		return []string{v.AsString()}, true
	}
	if !ok {
		return nil, false
	}
	list := []string{}
	if t := v.Type(); t.IsTupleType() || t.IsListType() || t.IsSetType() {
		for _, e := range v.AsValueSlice() {
			if e.IsNull() || e.Type() != cty.String || slices.Contains(list, e.AsString()) {
				list = nil
				break
			}
			list = append(list, e.AsString())
		}
		if list != nil {
			return list, true
		}
	}
	s.at(s.lineOf(name), fmt.Sprintf(`keys: %s has to be a key in quotes, or a list of different ones`, scrub(name)), `write "f7" or ["s", "f7"]`)
	return nil, false
}
