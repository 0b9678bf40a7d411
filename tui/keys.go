package tui

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// action is something that a key does.
type action string

const (
	actUp, actDown, actTop, actBottom    action = "up", "down", "top", "bottom"
	actPageUp, actPageDown, actHalfUp    action = "page-up", "page-down", "half-up"
	actHalfDown, actLeft, actRight       action = "half-down", "left", "right"
	actOpen, actBack, actQuit, actLeave  action = "open", "back", "quit", "leave"
	actNextScreen, actPrevScreen         action = "next-screen", "previous-screen"
	actStart, actStop, actSync           action = "start", "stop", "sync"
	actResync, actReconcile              action = "resync", "reconcile"
	actMark, actMarkAll, actUnmark       action = "mark", "mark-all", "unmark"
	actFilter, actNext, actPrev          action = "filter", "next-match", "previous-match"
	actSort, actReverse, actSortBy       action = "sort", "reverse", "sort-by"
	actLogs, actFollow, actWrap          action = "logs", "follow", "wrap"
	actTimes, actLevel, actOnly, actSave action = "timestamps", "level", "only-matches", "save"
	actWorkers, actPortals, actHelp      action = "workers", "portals", "help"
	actCopy, actPalette, actMouse        action = "copy", "command", "mouse"
	actDestinations                      action = "destinations"
	actRefetch, actRedraw, actSuspend    action = "refetch", "redraw", "suspend"
	actEdit, actInsist                   action = "edit", "stop-again"
)

// binding is a row of the key map.
type binding struct {
	act    action
	keys   []string
	shown  string // as help names the keys
	does   string
	group  string
	writes bool // it changes something in the daemon
}

// keyMap is what every key does. Help, the hints below the screens and
// docs/KEYS.md are made of it.
func keyMap() []binding {
	return []binding{
		{actStart, []string{"s"}, "s", "start: fetch on the interval, at once", "Streams: the selected one, or all marked", true},
		{actStop, []string{"x"}, "x", "stop the schedule and what runs; several ask y", "Streams: the selected one, or all marked", true},
		{actInsist, []string{"X"}, "X", "stop again, where the answer to a stop does not come", "Streams: the selected one, or all marked", true},
		{actSync, []string{"r"}, "r", "sync: one run now", "Streams: the selected one, or all marked", true},
		{actReconcile, []string{"c"}, "c", "reconcile: hold all against HubSpot; asks y", "Streams: the selected one, or all marked", true},
		{actResync, []string{"R"}, "R", "resync: read everything again; the name is typed", "Streams: the selected one, or all marked", true},

		{actOpen, []string{"enter"}, "enter", "open the stream", "Screens", false},
		{actBack, []string{"esc"}, "esc", "close, clear marks and filter, go back; never leaves", "Screens", false},
		{actNextScreen, []string{"tab"}, "tab", "next screen", "Screens", false},
		{actPrevScreen, []string{"shift+tab"}, "shift+tab", "previous screen", "Screens", false},
		{actLogs, []string{"l"}, "l", "log: of the stream, or of all", "Screens", false},
		{actWorkers, []string{"W"}, "W", "workers", "Screens", false},
		{actPortals, []string{"P"}, "P", "portals and their budgets", "Screens", false},
		{actDestinations, []string{"D"}, "D", "destinations: s resumes, x pauses, R writes everything again", "Screens", false},
		{actHelp, []string{"?"}, "?", "this help", "Screens", false},
		{actQuit, []string{"q"}, "q", "back; from the first screen, leave (the daemon goes on)", "Screens", false},
		{actLeave, []string{"ctrl+c"}, "ctrl+c", "leave from anywhere (the daemon goes on)", "Screens", false},

		{actMark, []string{"space"}, "space", "mark, and one down", "Choose", false},
		{actMarkAll, []string{"ctrl+a"}, "ctrl+a", "mark all that are shown", "Choose", false},
		{actUnmark, []string{"ctrl+\\"}, "ctrl+\\", "clear the marks", "Choose", false},
		{actFilter, []string{"/"}, "/", "filter: text, !text, state:failing, portal:main (logs: search)", "Choose", false},
		{actNext, []string{"n"}, "n", "next match (logs)", "Choose", false},
		{actPrev, []string{"N"}, "N", "previous match (logs)", "Choose", false},
		{actSort, []string{"o"}, "o", "sort by the next column", "Choose", false},
		{actReverse, []string{"O"}, "O", "sort the other way round", "Choose", false},
		{actSortBy, []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "0"}, "1-9, 0", "sort by that column; 0: what is wrong first", "Choose", false},

		{actUp, []string{"k", "up"}, "k, up", "one up", "Move", false},
		{actDown, []string{"j", "down"}, "j, down", "one down", "Move", false},
		{actTop, []string{"g", "home"}, "g, home", "to the first", "Move", false},
		{actBottom, []string{"G", "end"}, "G, end", "to the last", "Move", false},
		{actHalfUp, []string{"ctrl+u"}, "ctrl+u", "half a page up", "Move", false},
		{actHalfDown, []string{"ctrl+d"}, "ctrl+d", "half a page down", "Move", false},
		{actPageUp, []string{"pgup"}, "pgup", "a page up", "Move", false},
		{actPageDown, []string{"pgdown"}, "pgdown", "a page down", "Move", false},
		{actLeft, []string{"h", "left"}, "h, left", "text to the left (logs)", "Move", false},
		{actRight, []string{"right"}, "right", "text to the right (logs)", "Move", false},

		{actFollow, []string{"f"}, "f", "follow the end", "Log", false},
		{actWrap, []string{"w"}, "w", "wrap long lines", "Log", false},
		{actTimes, []string{"t"}, "t", "times", "Log", false},
		{actLevel, []string{"v"}, "v", "least level: info, warn, error, debug", "Log", false},
		{actOnly, []string{"&"}, "&", "only lines that match", "Log", false},
		{actSave, []string{"S"}, "S", "save what is shown to a file here", "Log", false},

		{actCopy, []string{"y"}, "y", "copy the error, else the name", "Else", false},
		{actPalette, []string{":"}, ":", "command: start all, stop all, sync all, reload, shutdown, theme NAME", "Else", false},
		{actEdit, []string{"e"}, "e", "edit the configuration in $VISUAL or $EDITOR (:reload takes it over)", "Else", false},
		{actMouse, []string{"m"}, "m", "mouse on or off: a click selects, opens, sorts (off: text can be selected)", "Else", false},
		{actRefetch, []string{"ctrl+r"}, "ctrl+r", "fetch everything again; unreachable: try now", "Else", false},
		{actRedraw, []string{"ctrl+l"}, "ctrl+l", "draw the screen again", "Else", false},
		{actSuspend, []string{"ctrl+z"}, "ctrl+z", "to the shell, until `fg`", "Else", false},
	}
}

// bindings is a key map by key.
func bindings(list []binding) map[string]binding {
	out := map[string]binding{}
	for _, b := range list {
		for _, k := range b.keys {
			out[k] = b
		}
	}
	return out
}

// groups are a key map's, in their order.
func groups(list []binding) []string {
	var out []string
	for _, b := range list {
		if !slices.Contains(out, b.group) {
			out = append(out, b.group)
		}
	}
	return out
}

// WriteKeys writes the key map as the project's documents have it.
func WriteKeys(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Keys of the dashboard\n\nWritten by `make docs` from the key map in `tui/keys.go`; `?` shows the same.\n\n" +
		"Other keys are given by the name in the last column, in `hubpipe.hcl`:\n\n```hcl\ntui {\n  keys {\n    start = \"f7\"\n    stop  = [\"x\", \"f9\"]\n  }\n}\n```\n\n" +
		"A key given to an action is taken from the one that had it. An action with no key left is a mistake, but for `[]`, which takes its keys away on purpose. " +
		"`ctrl+c` always leaves; `y`, `n`, `enter` and `esc` answer questions, whatever they mean elsewhere.\n")
	for _, g := range groups(keyMap()) {
		fmt.Fprintf(&b, "\n## %s\n\n| key | | name |\n|---|---|---|\n", g)
		for _, k := range keyMap() {
			if k.group == g {
				fmt.Fprintf(&b, "| `%s` | %s | `%s` |\n", k.shown, k.does, k.act)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
