package dispatch

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// transitions are the steps between states of runs and ranges that a ledger has
// taken, by what is committed.
type transitions struct {
	edges  map[string]int // "run A --> B", "range A --> B"
	runs   map[string]*stream.Run
	ranges map[string]*stream.Range
}

const outside = "[*]"

func runState(r *stream.Run) string {
	switch {
	case r == nil:
		return outside
	case r.State != stream.Running:
		s := string(r.State)
		return strings.ToUpper(s[:1]) + s[1:]
	case r.Attempt != 0:
		return "Held"
	}
	return "Waiting"
}

func rangeState(g *stream.Range) string {
	switch {
	case g == nil:
		return outside
	case g.Ended:
		return "Ended"
	case len(g.Want) > 0:
		return "Wanting"
	}
	return "Clear"
}

func (x *transitions) step(kind string, through ...string) {
	for i := 1; i < len(through); i++ {
		x.edges[kind+" "+through[i-1]+" --> "+through[i]]++
	}
}

// look takes up what the newest commit has done. What one commit does to a run
// in several steps counts as those.
func (x *transitions) look(m *memStore) {
	runs, ranges := maps.Clone(m.runs), map[string]*stream.Range{}
	for id, r := range runs {
		was := x.runs[id]
		if was == r {
			continue
		}
		from, to := runState(was), runState(r)
		switch {
		case x.runs == nil: // it begins
		case from == outside && to == "Held":
			x.step("run", from, "Waiting", to)
		case from == "Held" && to == "Held" && was.Attempt != r.Attempt:
			x.step("run", from, "Waiting", to)
		case from != to:
			x.step("run", from, to)
		}
	}
	for id, of := range m.ranges {
		for n, g := range of {
			key := fmt.Sprintf("%s/%d", id, n)
			ranges[key] = g
			was := x.ranges[key]
			from, to := rangeState(was), rangeState(g)
			moved := was != nil && (was.Seq != g.Seq || was.Hi != g.Hi || was.IDHi != g.IDHi)
			if x.runs != nil && was != g && (from != to || moved) {
				x.step("range", from, to)
			}
		}
	}
	x.runs, x.ranges = runs, ranges
}

// drawn are the edges of the diagrams in docs/ARCHITECTURE.md.
func drawn(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("../../docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	diagrams := 0
	for _, block := range regexp.MustCompile("(?s)```mermaid\n(.*?)```").FindAllStringSubmatch(string(b), -1) {
		var kind string
		switch {
		case !strings.HasPrefix(block[1], "stateDiagram-v2"):
			continue
		case strings.Contains(block[1], " as Held"):
			kind = "run"
		case strings.Contains(block[1], " as Wanting"):
			kind = "range"
		default:
			continue
		}
		diagrams++
		for _, e := range regexp.MustCompile(`(?m)^\s*(\S+) --> (\S+?)(:.*)?$`).FindAllStringSubmatch(block[1], -1) {
			if e[2] != outside { // it is forgotten, some day
				out[kind+" "+e[1]+" --> "+e[2]] = true
			}
		}
	}
	if diagrams != 2 {
		t.Fatalf("%d diagrams of states", diagrams)
	}
	return out
}

// asDrawn holds what docs/ARCHITECTURE.md draws of runs and ranges against what
// they do: each step that the ledger takes is drawn, and each that is drawn is
// taken, where enough was done.
func asDrawn(t *testing.T, taken map[string]int, enough bool) {
	t.Helper()
	want := drawn(t)
	for _, e := range slices.Sorted(maps.Keys(taken)) {
		t.Logf("%6d × %s", taken[e], e)
		if !want[e] {
			t.Errorf("%s happens, and is not drawn", e)
		}
	}
	for e := range want {
		if taken[e] == 0 && enough {
			t.Errorf("%s is drawn, and does not happen", e)
		}
	}
}
