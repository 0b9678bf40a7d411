package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func play(t *testing.T, name string, seed int64) *Simulator {
	t.Helper()
	sc, err := FindScenario(name)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	o := Options{Seed: seed, Now: func() time.Time { return at }}
	sc.Apply(&o)
	s := New(o)
	for _, want := range sc.Steps() {
		at = at.Add(time.Minute)
		if got, err := s.NextStep(); err != nil || got != want {
			t.Fatalf("%q, want %q: %v", got, want, err)
		}
	}
	if got, err := s.NextStep(); got != "" || err != nil {
		t.Errorf("a step more: %q, %v", got, err)
	}
	return s
}

// TestScenarios plays each of them to its end, twice, with the same outcome.
func TestScenarios(t *testing.T) {
	t.Parallel()
	for _, sc := range Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			if sc.About == "" || len(sc.Steps()) == 0 {
				t.Fatal("it says nothing")
			}
			a, b := play(t, sc.Name, 4), play(t, sc.Name, 4)
			for _, object := range a.names {
				x, y := a.stores[object], b.stores[object]
				for from := uint64(0); ; {
					one, next, n := x.appendTruth(nil, from)
					two, _, _ := y.appendTruth(nil, from)
					if !bytes.Equal(one, two) {
						t.Fatalf("%s differs:\n%.300s\n%.300s", object, one, two)
					}
					if from = next; n == 0 {
						break
					}
				}
			}
			if d := cmp.Diff(a.TruthAssociations("contacts", "companies"), b.TruthAssociations("contacts", "companies")); d != "" {
				t.Errorf("associations differ:\n%.500s", d)
			}
		})
	}
	if _, err := FindScenario("picnic"); !errors.Is(err, ErrNoScenario) {
		t.Error(err)
	}
}

func TestBulkEditIsOneMillisecond(t *testing.T) {
	t.Parallel()
	at := map[time.Time]int{}
	for _, o := range play(t, "bulk-edit", 1).Truth("contacts") {
		at[o.UpdatedAt]++
	}
	if len(at) != 1 {
		t.Errorf("%d times", len(at))
	}
}

func TestEverythingIsThere(t *testing.T) {
	t.Parallel()
	s := play(t, "everything", 1)
	states := map[string]int{}
	for _, name := range append(Objects(), "p_cars", "p_contacts") {
		if len(s.Truth(name)) < 40 {
			t.Errorf("%s: %d", name, len(s.Truth(name)))
		}
		for _, o := range s.Truth(name) {
			states[o.State]++
		}
	}
	for _, state := range []string{"live", "archived", "purged", "merged"} {
		if states[state] == 0 {
			t.Errorf("nothing is %s", state)
		}
	}
	for _, pair := range [][2]string{{"contacts", "companies"}, {"deals", "contacts"}, {"contacts", "p_cars"}} {
		if len(s.TruthAssociations(pair[0], pair[1])) == 0 {
			t.Errorf("no associations of %v", pair)
		}
	}
	for _, name := range []string{"associations", "deal_splits"} {
		if len(s.TruthSet(name)) < 40 {
			t.Errorf("%d %s", len(s.TruthSet(name)), name)
		}
	}
	if !slices.ContainsFunc(s.TruthSet("deal_splits"), func(o SetObject) bool { return o.State == "purged" }) {
		t.Error("no deal split has gone")
	}
	calculated, _ := s.Drifting("contacts")
	_, volatile := s.Drifting("deals")
	if d := cmp.Diff([][]string{{"hs_predictive_score"}, {"days_to_close", "hs_time_in_closedwon"}}, [][]string{calculated, volatile}); d != "" {
		t.Error(d)
	}
}

func TestScenarioByControl(t *testing.T) {
	t.Parallel()
	sc, err := FindScenario("credentials")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{}
	sc.Apply(&o)
	p := newPortal(t, o)
	var got struct {
		Name, Did string
		Steps     []string
		Done      int
	}
	tell := func(method string) {
		t.Helper()
		a := p.do(method, "/_simulator/scenario", nil)
		if err := json.Unmarshal(a.body, &got); err != nil || a.status != 200 {
			t.Fatalf("status %d, %s", a.status, a.body)
		}
	}
	if tell("GET"); got.Name != "credentials" || got.Done != 0 || len(got.Steps) != 6 {
		t.Errorf("%+v", got)
	}
	if tell("POST"); got.Did != got.Steps[0] || got.Done != 1 {
		t.Errorf("%+v", got)
	}
	p.ok(401, "GET", contactsPath, nil)
	tell("POST")
	p.ok(200, "GET", contactsPath, nil)
	tell("POST")
	p.ok(403, "GET", "/crm/objects/2026-09/deals", nil)
}

func TestScenarioGoesOnByItself(t *testing.T) {
	t.Parallel()
	sc, err := FindScenario("bin")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{ScenarioEvery: time.Millisecond}
	sc.Apply(&o)
	s := New(o)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	deadline := time.Now().Add(time.Minute)
	for {
		s.progress.mu.Lock()
		done := s.progress.done
		s.progress.mu.Unlock()
		if done == len(sc.Steps()) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d steps are done", done)
		}
		<-time.After(time.Millisecond)
	}
}
