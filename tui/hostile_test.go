package tui

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

const clearScreen = "\x1b[2J"

// hostile is a thing with a code for the terminal at the end of each text in it.
func hostile[T any](t *testing.T, v T) (out T) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	if raw, err = json.Marshal(spoilt(tree)); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func spoilt(v any) any {
	switch v := v.(type) {
	case string:
		if _, err := time.Parse(time.RFC3339, v); err != nil {
			return v + clearScreen
		}
	case []any:
		for i := range v {
			v[i] = spoilt(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = spoilt(v[key])
		}
	}
	return v
}

// Nothing that a daemon says moves the cursor, whatever it is in.
func TestNoCodesFromOutside(t *testing.T) {
	t.Parallel()
	for _, w := range []int{80, 200} {
		b := newBench(t, w, 50)
		b.connect()
		b.take(news{at: b.now, daemon: new(hostile(t, b.pic.daemon)), figures: b.pic.figures, whole: &snapshot{at: b.now, streams: hostile(t, everyState()),
			workers: hostile(t, someWorkers()), portals: hostile(t, somePortals()), destinations: hostile(t, someDestinations())},
			lines: hostile(t, append(someLines(), runLine(someRuns()[0])))})
		b.settle()
		var shown []string
		for _, keys := range [][]string{{}, {"W"}, {"P"}, {"D"}, {"?"}, {"esc", "esc", "esc", "enter"}, {"l"}} {
			b.press(keys...)
			if b.screen == screenDetail {
				b.Update(runsMsg{stream: b.detail.stream, runs: hostile(t, someRuns())})
			}
			shown = append(shown, b.frame())
		}
		b.settle()
		if len(b.pic.streams) != len(everyState()) {
			t.Errorf("it knows %d streams", len(b.pic.streams))
		}
		for i, frame := range shown {
			if strings.Contains(frame, clearScreen) {
				at := strings.Index(frame, clearScreen)
				t.Errorf("screen %d, %d wide: a code has come through after %q", i, w, frame[max(0, at-60):at])
			}
		}
	}
	if got := hostile(t, client.Status{Name: "x"}).Name; got != "x"+clearScreen {
		t.Errorf("this test tests nothing: %q", got)
	}
}
