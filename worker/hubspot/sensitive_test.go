package hubspot

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// Sensitive properties are there for a token with their scopes; without them
// HubSpot leaves them out, or refuses the question, and the others are read. What
// cannot be asked because HubSpot is down is no answer.
func TestSensitiveProperties(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		scope  bool
		status int // of questions for sensitive ones, 0 for the simulator's answer
		want   bool
		fails  bool
	}{
		"with the scope":               {scope: true, want: true},
		"without it, left out":         {},
		"without it, refused":          {scope: true, status: http.StatusForbidden},
		"an account that has no such":  {scope: true, status: http.StatusBadRequest},
		"when they cannot be asked of": {scope: true, status: http.StatusMultipleChoices, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := simulator.New(simulator.Options{Token: testToken, Sizes: map[string]int{"contacts": 5}, Properties: 12})
			if err := sim.ChangeProperties("contacts", simulator.PropertyChange{Add: []simulator.NewProperty{{Name: "health", Kind: "text", Fill: 100, Sensitive: "sensitive"},
				{Name: "blood", Kind: "text", Fill: 100, Sensitive: "highly_sensitive"}}}); err != nil {
				t.Fatal(err)
			}
			if c.scope {
				w := httptest.NewRecorder()
				sim.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/_simulator/faults", strings.NewReader(`{"sensitive_scope":true}`)))
				if w.Code != http.StatusOK {
					t.Fatal(w.Body)
				}
			}
			hub := clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.RawQuery, "dataSensitivity") && c.status != 0 {
					w.WriteHeader(c.status)
					return
				}
				sim.ServeHTTP(w, r)
			}), nil)
			props, err := hub.Properties(t.Context(), contacts(t))
			if (err != nil) != c.fails {
				t.Fatal(err)
			}
			if c.fails {
				return
			}
			for _, name := range []string{"health", "blood"} {
				i := slices.IndexFunc(props, func(p Property) bool { return p.Name == name })
				if (i >= 0) != c.want || i >= 0 && !props[i].Sensitive {
					t.Errorf("%s: %d of %+v", name, i, props)
				}
			}
		})
	}
}
