package dispatch

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// The model's environment: a seed to repeat, and how many schedules to run.
const (
	seedVariable      = "HUBPIPE_MODEL_SEED"
	schedulesVariable = "HUBPIPE_MODEL_SCHEDULES"
)

func number(t *testing.T, variable string) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		t.Fatalf("%s is %q: a number above 0 is expected", variable, text)
	}
	return n
}

// ordinary is how many schedules a run of the tests plays; more by the variable.
const ordinary = 250

// outcome is what a series of schedules came to.
type outcome struct {
	failed uint64
	seed   uint64 // the lowest that failed
	why    string
	faults int
	seen   map[string]int
}

// crowded tells whether portals were served twice more often than by a cancel
// that is lost while another message arrives: about once in 100 schedules.
func (o outcome) crowded(count uint64) bool { return uint64(o.seen["overlap"])*25 > count }

func meetings(first, count uint64, bug string) outcome {
	const lanes = 4
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := outcome{seen: map[string]int{}}
	for lane := range uint64(lanes) {
		wg.Go(func() {
			for seed := first + lane; seed < first+count; seed += lanes {
				mu.Lock()
				found := bug != "" && out.failed > 0
				mu.Unlock()
				if found {
					return
				}
				m := newMeeting(seed, bug)
				why := m.run()
				mu.Lock()
				if why != "" {
					if out.failed++; out.seed == 0 || seed < out.seed {
						out.seed, out.why = seed, why
					}
				}
				out.faults += m.faults
				for what, n := range m.seen {
					out.seen[what] += n
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return out
}

// skipWithDetector skips what plays the same as others do, see raceEnabled: that a
// model notices what is broken, and longer days.
func skipWithDetector(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("the ordinary run shows it")
	}
}

func TestCoresMeetDispatcher(t *testing.T) {
	t.Parallel()
	first, count := number(t, seedVariable), number(t, schedulesVariable)
	repeat := first != 0
	switch {
	case repeat && count == 0:
		count = 1
	case count != 0:
	case raceEnabled:
		count = 40
	case testing.Short():
		count = 100
	default:
		count = ordinary
	}
	first = max(1, first)
	out := meetings(first, count, "")
	t.Logf("%d schedules from seed %d, %d faults", count, first, out.faults)
	for _, what := range slices.Sorted(maps.Keys(out.seen)) {
		t.Logf("%8d %s", out.seen[what], what)
	}
	if out.failed > 0 {
		t.Fatalf("%d of %d schedules failed; %s=%d: %s", out.failed, count, seedVariable, out.seed, out.why)
	}
	if repeat || count < 100 {
		return
	}
	if out.crowded(count) {
		t.Errorf("%d processes asked after another had begun, in %d schedules", out.seen["overlap"], count)
	}
	if count < ordinary {
		return // the rare need more schedules than a short run has
	}
	often := []string{
		"loss", "repeat", "late", "busy", "disk error", "daemon crash", "daemon stood still", "clock set", "killed", "second process",
		"displaced", "stopped for a while", "cut off", "left", "reconnected", "gate closed", "attempt failed", "attempt declined",
		"archived", "purged", "merged", "calculated", "gone", "list divided", "join", "part", "associated", "reconcile",
		"property list", "import", "stale read", "not read", "sweep", "walk", "split by time", "split by id", "hint", "hint read",
		"stop", "start", "sync", "resync", "sync record",
		"row", "row changed", "row gone", "row back", "row not found", "parent refused", "except", "log resumed", "history", "history alone",
	}
	if count >= 4*ordinary {
		often = append(often, "restored", "stale state", "again", "confirmed", "row found")
	}
	for _, what := range often {
		if out.seen[what] == 0 {
			t.Errorf("%q never happened in %d schedules", what, count)
		}
	}
}

// TestCoresMeetingFindsBrokenVariants breaks what the dispatcher and the cores
// only hold together; a meeting that does not notice proves nothing.
func TestCoresMeetingFindsBrokenVariants(t *testing.T) {
	t.Parallel()
	skipWithDetector(t)
	for _, bug := range []string{"a silent daemon is no reason to stop", "a stop that is only announced", "what is not handed out is not named",
		"a window is read once", "a log has been read when its newest row was", "a history may be of another version", "hints are in memory alone"} {
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			out := meetings(1, 60, bug)
			t.Logf("seed %d: %s", out.seed, out.why)
			t.Logf("%d processes asked after another had begun", out.seen["overlap"])
			if out.failed == 0 && !out.crowded(60) {
				t.Fatalf("the model does not notice %q", bug)
			}
		})
	}
}
