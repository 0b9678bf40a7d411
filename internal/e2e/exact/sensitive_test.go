package exact

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// valuesOf are the stored values of a property, by record.
func (r *rig) valuesOf(stream, property string) map[string]string {
	r.t.Helper()
	stored, err := r.stored(stream)
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]string{}
	for id, rec := range stored {
		var p map[string]*string
		if err := json.Unmarshal(rec.Properties, &p); err != nil {
			r.t.Fatal(err)
		}
		if v := p[property]; v != nil {
			out[id] = *v
		}
	}
	return out
}

// A sensitive property is copied where the token has its scope, and none where it
// has not. One that becomes sensitive while the stream runs is copied on with the
// scope; without it, it keeps the values that it had, and nothing else suffers.
func TestSensitiveProperties(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 400}, Properties: 12}, pace+"stream \"contacts\" {}\n")
	r.schemaEvery = time.Second
	properties := func(c simulator.PropertyChange) {
		t.Helper()
		if err := r.sim.ChangeProperties("contacts", c); err != nil {
			t.Fatal(err)
		}
	}
	properties(simulator.PropertyChange{Add: []simulator.NewProperty{{Name: "health", Kind: "text", Fill: 60, Sensitive: "highly_sensitive"}}})
	r.start()
	r.becomesEqual("contacts")
	if got := r.valuesOf("contacts", "health"); len(got) != 0 {
		t.Errorf("%d values without the scope", len(got))
	}
	r.turn(`{"sensitive_scope":true}`)
	until(t, "what is sensitive", func() error {
		if got := r.valuesOf("contacts", "health"); len(got) < 200 {
			return problem("%d values of it", len(got))
		}
		return r.equal("contacts")
	})
	properties(simulator.PropertyChange{Sensitive: map[string]string{"city": "sensitive"}})
	live := r.live("contacts")
	r.change("contacts", simulator.Change{IDs: live[:40], Properties: map[string]*string{"city": new("Elsewhere")}})
	r.settles("contacts")
	cities := r.valuesOf("contacts", "city")
	if cities[live[3]] != "Elsewhere" {
		t.Errorf("a city that is sensitive by now: %q", cities[live[3]])
	}
	r.turn(`{"sensitive_scope":false}`)
	until(t, "it is noted as gone", func() error {
		if runs := r.runs("reconcile"); len(runs) == 0 || runs[0].Running() {
			return problem("%+v", runs)
		}
		return nil
	})
	r.change("contacts", simulator.Change{IDs: live[50:60]})
	r.complete("contacts")
	if got := len(r.valuesOf("contacts", "city")); got != len(cities) {
		t.Errorf("%d cities, there were %d", got, len(cities))
	}
	if st := r.status("contacts"); st.Error != nil {
		t.Errorf("%+v", st.Error)
	}
	for id, city := range r.valuesOf("contacts", "city") {
		if cities[id] != city {
			t.Errorf("the city of %s is %q, it was %q", id, city, cities[id])
		}
	}
}
