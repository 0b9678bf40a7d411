package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// detected are the tests that `make race` runs here: those in which the most
// goroutines of the whole program meet, each kind of process and of client among
// them. What the program is made of runs with the detector in its own packages and
// in internal/e2e/exact, and whatever else these tests show of the program they
// have shown without the detector, several times as fast. GOFLAGS=-race runs all
// of them with it.
func detected() []string {
	return []string{
		"TestBackupUnderLoad",
		"TestDashboard",
		"TestDemoOnce",
		"TestEventsOverARestart",
		"TestExternalBrokerKilledInTheMiddle",
		"TestKilledInTheMiddle",
		"TestLinesOfHTTP",
		"TestPeopleAreTold",
		"TestStartedAndStoppedFromOutside",
		"TestStopUnderLoad",
		"TestTortureFrames",
		"TestTortureWeather",
		"TestWarehouseKilled",
		"TestWithoutAVerb",
	}
}

// worthDetecting skips a test that gains nothing by the detector, where there is
// one.
func worthDetecting(t testing.TB) {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	if raceEnabled && !strings.Contains(os.Getenv("GOFLAGS"), "-race") && !slices.Contains(detected(), name) {
		t.Skip("it has run without the race detector; GOFLAGS=-race runs it with")
	}
}
