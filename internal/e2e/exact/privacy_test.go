package exact

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// A privacy deletion in HubSpot leaves nothing there, neither live nor archived.
// What hubpipe held of the person goes with the purge: the values, those that were
// replaced, the history, and the associations; it is the same for one who was in
// the bin.
func TestPrivacyDeletion(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 60, "companies": 20}, Properties: 10,
		Associations: map[string]float64{"contacts-companies": 2}}, pace+`stream "contacts" {
  associations = ["companies"]
  history      = ["*"]
}
stream "companies" { associations = ["contacts"] }
`).start()
	r.becomesEqual("contacts", "companies")
	people := r.live("contacts")[10:14]
	names := []string{"city", "firstname", "email"}
	for i := range 3 {
		for _, name := range names {
			canary := fmt.Sprintf("canary-%d-%s@example.com", i, name)
			r.change("contacts", simulator.Change{IDs: people, Properties: map[string]*string{name: &canary}})
		}
		r.becomesEqual("contacts")
	}
	held := func(id string) string {
		t.Helper()
		rec, err := r.api.Record(t.Context(), "contacts", id)
		if err != nil {
			t.Fatal(err)
		}
		return string(rec.Properties) + string(rec.History) + string(rec.Associations)
	}
	until(t, "history and associations", func() error {
		for _, id := range people {
			if s := held(id); !strings.Contains(s, "canary-0-") || !strings.Contains(s, "canary-2-") || !strings.Contains(s, "typeId") {
				return problem("of %s: %s", id, s)
			}
		}
		return r.linked("companies", "contacts")
	})
	r.change("contacts", simulator.Change{Archive: people[2:]})
	r.becomesEqual("contacts")
	r.change("contacts", simulator.Change{Delete: people})
	// A reconcile leaves to the next one whom it has heard of itself since it began,
	// by HubSpot's clock less what its servers may differ by.
	gone := 0
	until(t, "they are purged", func() error {
		_, rep := r.reconcile("contacts")
		gone += rep.Gone
		return r.equal("contacts")
	})
	if gone == 0 {
		t.Error("no reconcile found anybody gone")
	}
	for _, id := range people {
		if s := held(id); strings.Contains(s, "canary") || strings.Contains(s, "typeId") {
			t.Errorf("of %s is left: %s", id, s)
		}
	}
	for rec, err := range r.api.Changes(t.Context(), "contacts", client.ChangeQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(fmt.Sprintf("%s%s%s", rec.Properties, rec.History, rec.Associations), "canary") {
			t.Errorf("the feed has %s: %s", rec.ID, rec.Properties)
		}
	}
	if strings.Contains(r.log.String(), "canary") {
		t.Error("the log has values of theirs")
	}
}
