package exact

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// What the configuration names and HubSpot has not, or does not let the token
// see, is said in the stream's status, by its name and with what to do; all
// other streams go on. What is mended is copied.
func TestNamesThatHubSpotLacks(t *testing.T) {
	t.Parallel()
	const rest = pace + `stream "deals" { associations = ["taxes"] }
stream "tickets" {}
stream "cars" { object = "p_nowhere" }
`
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 120, "companies": 40, "deals": 30, "tickets": 20, "taxes": 5},
		NoAssociations: []string{"deals-taxes"}}, rest+`stream "contacts" {
  properties = ["email", "emial", "hs_*"]
  exclude    = ["hs_nothing_*", "phnoe"]
}
stream "companies" {}
`)
	r.turn(`{"scopes_missing":{"tickets":["tickets"]}}`)
	r.start()
	for name, want := range map[string]struct {
		state, kind string
		says        []string
	}{
		"contacts": {"failing", "unknown-property", []string{"contacts has no emial, phnoe", "everything else is copied", "reload"}},
		"deals":    {"blocked", "no-associations", []string{"deals with taxes", `"taxes" out of`}},
		"tickets":  {"blocked", "scope", []string{"scopes tickets", "add the scope"}},
		"cars":     {"blocked", "not-available", []string{`no object "p_nowhere"`, "2-123"}},
	} {
		until(t, name+" says what is wrong", func() error {
			s := r.status(name)
			if s.Error == nil || s.State != want.state || s.Error.Type != want.kind {
				return fmt.Errorf("%+v", s)
			}
			for _, w := range want.says {
				if !strings.Contains(s.Error.Detail+" "+s.Error.Hint, w) {
					return fmt.Errorf("%s does not say %q: %+v", name, w, s.Error.Detail+s.Error.Hint)
				}
			}
			return nil
		})
	}
	r.becomesEqual("companies")
	until(t, "contacts go on", func() error {
		if s := r.status("contacts"); s.Records != 120 || s.CompleteUntil == nil {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	r.turn(`{"scopes_missing":{}}`)
	r.reload(strings.Replace(rest, `associations = ["taxes"]`, "", 1) + `stream "contacts" { exclude = ["phone"] }
stream "companies" {}
`)
	r.becomesEqual("deals", "tickets", "companies")
	until(t, "contacts are well", func() error {
		if s := r.status("contacts"); s.Error != nil {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}
