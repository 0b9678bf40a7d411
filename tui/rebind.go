package tui

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Actions are the names by which Options.Keys gives keys to what they do.
func Actions() []string {
	var out []string
	for _, b := range keyMap() {
		if b.act != actSortBy && b.act != actLeave {
			out = append(out, string(b.act))
		}
	}
	slices.Sort(out)
	return out
}

// CheckKeys says what is wrong with keys by the name of their action.
func CheckKeys(keys map[string][]string) error {
	_, err := rebound(keys)
	return err
}

// rebound is the key map with other keys. A key that is given to an action is
// taken from the one that had it; none may be left without, but by its own will.
func rebound(keys map[string][]string) ([]binding, error) {
	list := keyMap()
	given := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if !slices.Contains(Actions(), name) {
			return nil, fmt.Errorf("no action is called %q; docs/KEYS.md names them", clean(name))
		}
		for _, k := range keys[name] {
			switch other, twice := given[k]; {
			case !validKey(k):
				return nil, fmt.Errorf("%q is no key: write one character, or a name such as ctrl+s, f5, enter, space or pgup", clean(k))
			case k == "ctrl+c" || len(k) == 1 && k[0] >= '0' && k[0] <= '9':
				return nil, fmt.Errorf("%s keeps what it does", k)
			case twice && other != name:
				return nil, fmt.Errorf("%s is given to %s and to %s", k, other, name)
			}
			given[k] = name
		}
	}
	for i := range list {
		b := &list[i]
		own, changed := keys[string(b.act)]
		if changed {
			b.keys = own
		} else if b.keys = slices.DeleteFunc(b.keys, func(k string) bool { return given[k] != "" }); len(b.keys) == 0 {
			k := keyMap()[i].keys[0]
			return nil, fmt.Errorf("%s is given to %s, which leaves %s without a key: give it another, or [] for none", k, given[k], b.act)
		}
		if b.act == actQuit && len(b.keys) == 0 {
			return nil, fmt.Errorf("%s needs a key", b.act)
		}
		if b.act != actSortBy {
			b.shown = strings.Join(b.keys, ", ")
		}
	}
	return list, nil
}

// validKey tells whether a terminal can send what is named.
func validKey(name string) bool {
	for _, mod := range []string{"ctrl+", "alt+", "shift+"} {
		if rest, ok := strings.CutPrefix(name, mod); ok && rest != "" {
			name = rest
		}
	}
	named := []string{"enter", "esc", "tab", "space", "backspace", "delete", "insert", "up", "down", "left", "right", "home", "end", "pgup", "pgdown",
		"f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12"}
	if slices.Contains(named, name) {
		return true
	}
	r, size := utf8.DecodeRuneInString(name)
	return size == len(name) && r > ' ' && r != utf8.RuneError && clean(name) == name
}

// on is the key of an action, as hints name it; "" where it has none.
func (m *model) on(act action) string {
	for i := range m.binds {
		if b := &m.binds[i]; b.act == act && len(b.keys) > 0 {
			return b.keys[0]
		}
	}
	return ""
}

// hint is a key with what it does here, "" where the action has no key.
func (m *model) hint(act action, does string) string {
	if k := m.on(act); k != "" {
		return k + " " + does
	}
	return ""
}

// hintsOf joins hints with the room that is between them.
func hintsOf(list ...string) string {
	return strings.Join(slices.DeleteFunc(list, func(s string) bool { return s == "" }), "  ")
}
