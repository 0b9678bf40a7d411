package hubspot

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// Each point that HubSpot does not document is asked, and what is found is told:
// the simulator has a switch for most of them, and the answers follow it.
func TestProbe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o      simulator.Options
		refuse string // what addresses are refused that have this in them
		found  map[string]string
		not    []string // points that are not as assumed
	}{
		"as the simulator is": {found: map[string]string{"a place in a list": "the id of the next record", "beginning a list in its middle": "begins at the id or after it",
			"a search beyond 10,000 results": "status 400", "a page of more than 100 records": "status 400", "the longest address": "are answered",
			"sensitive properties": "with 0 of them", "limits in the headers": "a day", "merged records among the archived": "0 of "}},
		"places that are no ids":       {o: simulator.Options{OpaqueAfter: map[string]bool{"contacts": true}}, found: map[string]string{"a place in a list": "no id", "beginning a list in its middle": "status 400"}},
		"merged ones in the bin":       {o: simulator.Options{MergedArchived: true}, found: map[string]string{"merged records among the archived": "1 of "}},
		"sensitive ones are refused":   {refuse: "dataSensitivity", found: map[string]string{"sensitive properties": "refused"}},
		"what cannot be asked is said": {refuse: "crm/lists", found: map[string]string{"members of a list in the order of joining": "it cannot be asked"}},
		"short addresses":              {refuse: "hubpipe_probe", found: map[string]string{"the longest address": "0 characters"}, not: []string{"the longest address"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.o.Token, c.o.Sizes, c.o.Properties, c.o.Limits = testToken, map[string]int{"contacts": 250}, 20, true
			sim := simulator.New(c.o)
			ids := make([]string, 0, 3)
			for _, o := range sim.Truth("contacts")[:3] {
				ids = append(ids, o.ID)
			}
			if _, err := sim.Change("contacts", simulator.Change{Merge: []simulator.Merge{{Into: ids[0], From: ids[1:2]}}, Archive: ids[2:]}); err != nil {
				t.Fatal(err)
			}
			hub := clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.refuse != "" && strings.Contains(r.URL.String(), c.refuse) {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				sim.ServeHTTP(w, r)
			}), func(o *Options) { o.Unpaced = true })
			found, err := hub.Probe(t.Context(), contacts(t))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != len(points()) {
				t.Fatalf("%d findings: %+v", len(found), found)
			}
			not := map[string]bool{}
			for _, point := range c.not {
				not[point] = true
			}
			for i, f := range found {
				if f.Point != points()[i] || f.Found == "" || f.As == not[f.Point] || !strings.Contains(f.Found, c.found[f.Point]) {
					t.Errorf("%+v, want %q", f, c.found[f.Point])
				}
				for _, o := range sim.Truth("contacts") {
					if v := o.Properties["email"]; v != nil && strings.Contains(f.Found, *v) {
						t.Errorf("it shows a value: %+v", f)
					}
				}
			}
		})
	}
}
