package cli

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

func TestAddObjects(t *testing.T) {
	t.Parallel()
	sizes := map[string]int{"contacts": 5}
	if err := addObjects(sizes, map[string]int{"products": 3, "p_cars": 4, "contacts": 6}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]int{"contacts": 6, "products": 3, "p_cars": 4}, sizes); d != "" {
		t.Error(d)
	}
	for _, bad := range []map[string]int{{"cars": 1}, {"owners": 1}, {"products": -1}} {
		if err := addObjects(sizes, bad); err == nil || !strings.Contains(err.Error(), "--objects") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// A port that is taken is said with what to do, whoever has it.
func TestSimulatorsPortInUse(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	_, err = serveSimulator(t.Context(), taken.Addr().String(), simulator.Options{})
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()+": the port is in use; stop the program that has it") ||
		!strings.Contains(err.Error(), "--listen") {
		t.Error(err)
	}
}

func TestAddPairs(t *testing.T) {
	t.Parallel()
	var o simulator.Options
	if err := addPairs(&o, map[string]string{"contacts-companies": "1.2", "p_cars-line_items": "3"}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]float64{"contacts-companies": 1.2, "p_cars-line_items": 3}, o.Associations); d != "" {
		t.Error(d)
	}
	for pair, n := range map[string]string{"contacts": "1", "contacts-cars": "1", "cars-contacts": "1", "contacts-deals": "x", "deals-contacts": "-1"} {
		if err := addPairs(&o, map[string]string{pair: n}); err == nil || !strings.Contains(err.Error(), "--associations") {
			t.Errorf("%s=%s: %v", pair, n, err)
		}
	}
}

func TestOAuthFlag(t *testing.T) {
	t.Parallel()
	var app *simulator.OAuth
	if err := (oauthFlag{&app}).Set("a:b:c"); err != nil || app.ClientID != "a" || app.ClientSecret != "b" || app.RefreshToken != "c" {
		t.Errorf("%v: %+v", err, app)
	}
	for _, bad := range []string{"", "a:b", "a:b:", "a:b:c:d"} {
		if (oauthFlag{&app}).Set(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestAddScenario(t *testing.T) {
	t.Parallel()
	o := simulator.Options{ScenarioEvery: 1}
	if err := addScenario(&o, ""); err != nil || o.Scenario != nil || o.ScenarioEvery != 0 {
		t.Errorf("%v: %+v", err, o)
	}
	if err := addScenario(&o, "bulk-edit"); err != nil || o.Scenario.Name != "bulk-edit" || o.Sizes["contacts"] < 12000 {
		t.Errorf("%v: %+v", err, o.Sizes)
	}
	if err := addScenario(&o, "picnic"); err == nil || !strings.Contains(err.Error(), "--scenario") {
		t.Error(err)
	}
	for _, sc := range simulator.Scenarios() {
		if !strings.Contains(scenarioUsage(), sc.Name) {
			t.Errorf("the help lacks %s", sc.Name)
		}
	}
}
