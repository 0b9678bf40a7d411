package hubspot

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// watched serves a simulator and notes the addresses that it is asked for.
func watched(t *testing.T, o simulator.Options, version string) (c *Client, paths func() []string) {
	t.Helper()
	sim := simulator.New(o)
	var mu sync.Mutex
	var all []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		all = append(all, r.URL.Path)
		mu.Unlock()
		sim.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c = New(Options{BaseURL: server.URL, Token: func() string { return "t" }, Unpaced: true, Version: version, Pinned: version != ""})
	t.Cleanup(c.Close)
	return c, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// A pinned version is the one of every request that has an address in it; what
// has none is read where the catalogue says.
func TestPinnedVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]map[string]string{
		"2026-09": {"contacts": "/crm/objects/2026-09/contacts", "projects": "/crm/objects/2026-03/0-970",
			"owners": "/crm/owners/2026-09", "roles": "/settings/users/2026-03/roles", "forms": "/marketing/v3/forms", "email_events": "/email/public/v1/events"},
		"2026-03": {"contacts": "/crm/objects/2026-03/contacts", "projects": "/crm/objects/2026-03/0-970",
			"owners": "/crm/owners/2026-09", "roles": "/settings/users/2026-03/roles", "forms": "/marketing/v3/forms", "email_events": "/email/public/v1/events"},
		"v3": {"contacts": "/crm/v3/objects/contacts", "projects": "/crm/v3/objects/0-970",
			"owners": "/crm/v3/owners", "roles": "/settings/v3/users/roles", "forms": "/marketing/v3/forms", "email_events": "/email/public/v1/events"},
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c, paths := watched(t, simulator.Options{Sizes: map[string]int{"contacts": 3, "companies": 3, "projects": 3}}, version)
			for name, path := range want {
				o, _ := catalogue.Lookup(name)
				var err error
				if o.Strategy == catalogue.StrategyObjects {
					_, err = c.List(t.Context(), o, ListRequest{})
				} else {
					_, err = c.Rows(t.Context(), o, RowsRequest{From: 1_700_000_000_000, To: 1_700_000_001_000})
				}
				if got := paths(); err != nil || got[len(got)-1] != path {
					t.Errorf("%s: asked %v, %v; want %s", name, got, err, path)
				}
				if o.Strategy != catalogue.StrategyObjects {
					continue
				}
				if _, err := c.Properties(t.Context(), o); err != nil {
					t.Errorf("properties of %s: %v", name, err)
				}
				if _, err := c.Search(t.Context(), o, SearchRequest{Limit: 1}); err != nil {
					t.Errorf("search of %s: %v", name, err)
				}
			}
			contacts, _ := catalogue.Lookup("contacts")
			companies, _ := catalogue.Lookup("companies")
			if _, err := c.Associations(t.Context(), contacts, companies, []string{"1"}); err != nil {
				t.Error(err)
			}
			if _, err := c.Account(t.Context()); err != nil {
				t.Error(err)
			}
			for _, p := range paths() {
				if version == "v3" && strings.Contains(p, "2026") || version == "2026-03" && strings.Contains(p, "/objects/2026-09") {
					t.Errorf("pinned to %s and asked %s", version, p)
				}
			}
		})
	}
}

// What the pinned version lacks is said with the version, and nothing older is
// asked; whose account it is, is found out all the same.
func TestPinnedVersionThatIsNotServed(t *testing.T) {
	t.Parallel()
	c, paths := watched(t, simulator.Options{Versions: []string{"v3"}, Sizes: map[string]int{"contacts": 3}}, "2026-03")
	if _, err := c.Account(t.Context()); err != nil {
		t.Fatal(err)
	}
	contacts, _ := catalogue.Lookup("contacts")
	_, err := c.Properties(t.Context(), contacts)
	blocked, ok := errors.AsType[*Blocked](err)
	if !ok || blocked.Type != "not-available" || !strings.Contains(blocked.Detail, `"contacts" in version 2026-03`) || !strings.Contains(blocked.Hint, "api_version") {
		t.Fatalf("%#v", err)
	}
	if got := paths(); slices.Contains(got, "/crm/v3/properties/contacts") {
		t.Errorf("asked %v", got)
	}
}

// An object that the account has not, and a pair that HubSpot knows no
// associations of, are said by their names, and with what to do.
func TestNamesThatHubSpotLacks(t *testing.T) {
	t.Parallel()
	c, _ := watched(t, simulator.Options{Sizes: map[string]int{"contacts": 3, "taxes": 3}, NoAssociations: []string{"taxes-contacts"}}, "")
	nowhere, _ := catalogue.Lookup("p_nowhere")
	_, err := c.Properties(t.Context(), nowhere)
	if b, ok := errors.AsType[*Blocked](err); !ok || b.Type != "not-available" || !strings.Contains(b.Detail, `no object "p_nowhere"`) || strings.Contains(b.Hint, "api_version") {
		t.Errorf("%#v", err)
	}
	contacts, _ := catalogue.Lookup("contacts")
	taxes, _ := catalogue.Lookup("taxes")
	_, err = c.Associations(t.Context(), contacts, taxes, []string{"1"})
	if b, ok := errors.AsType[*Blocked](err); !ok || b.Type != "no-associations" || !strings.Contains(b.Detail, "contacts with taxes") || !strings.Contains(b.Hint, `"taxes"`) {
		t.Errorf("%#v", err)
	}
}
