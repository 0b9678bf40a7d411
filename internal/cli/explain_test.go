package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// What is stored is said in any case; whether HubSpot could be asked is the exit
// code's, for scripts.
func TestExplainWhereHubSpotDoesNotAnswer(t *testing.T) {
	t.Parallel()
	a := &answers{by: map[string]any{
		"GET /v1/streams/contacts/records/999/explain": client.Explanation{Stream: "contacts", Record: "999", State: "live", Seq: 3, Head: 9},
		"GET /v1/streams/contacts/records/999":         client.Record{ID: "999", Properties: json.RawMessage(`{}`)},
		"GET /v1/streams/deals/records/999/explain":    client.Explanation{Stream: "deals", Record: "999", State: "live", Seq: 3, Head: 9},
		"GET /v1/streams/deals/records/999":            client.Record{ID: "999", Properties: json.RawMessage(`{}`)},
	}}
	daemon := httptest.NewServer(a)
	t.Cleanup(daemon.Close)
	hub := httptest.NewServer(simulator.New(simulator.Options{Token: tokenOfTests, Sizes: map[string]int{"contacts": 3}}))
	t.Cleanup(hub.Close)
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	t.Cleanup(wrong.Close)
	portal := func(more string) string {
		return configFile(t, fmt.Sprintf("data_dir = %q\nportal \"main\" {\n%s\n}\nstream \"contacts\" {}\n", t.TempDir(), more))
	}
	for name, c := range map[string]struct {
		config string
		args   []string
		code   int
		says   string
	}{
		"it answers":             {portal(fmt.Sprintf("token = %q\nbase_url = %q", tokenOfTests, hub.URL)), []string{"contacts", "999"}, ExitOK, "has no such record"},
		"it answers with a 400":  {portal(fmt.Sprintf("token = %q\nbase_url = %q", tokenOfTests, wrong.URL)), []string{"contacts", "999"}, ExitFailure, "HubSpot was not asked, or did not answer"},
		"it refuses the token":   {portal(fmt.Sprintf("token = %q\nbase_url = %q", "another", hub.URL)), []string{"contacts", "999"}, ExitFailure, "does not accept the token"},
		"nobody is asked":        {portal(fmt.Sprintf("token = %q\nbase_url = %q", tokenOfTests, wrong.URL)), []string{"contacts", "999", "--stored"}, ExitOK, "3 of 9"},
		"a stream of another":    {portal(fmt.Sprintf("token = %q\nbase_url = %q", tokenOfTests, hub.URL)), []string{"deals", "999"}, ExitConfig, `no stream "deals"`},
		"a token that is unset":  {portal(`token = env("NOT_SET_IN_TESTS")`), []string{"contacts", "999"}, ExitConfig, "NOT_SET_IN_TESTS"},
		"a broken configuration": {portal(`tokne = "x"`), []string{"contacts", "999"}, ExitConfig, "hubpipe check` names them"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, form := range []string{"table", "json"} {
				got := try(t, nil, append([]string{"explain", "--addr", daemon.URL, "--config", c.config, "-o", form}, c.args...)...)
				if got.code != c.code || strings.Contains(got.errors, "reported") || strings.Contains(got.out, "reported") {
					t.Errorf("exit %d\n%s%s", got.code, got.out, got.errors)
				}
				if form == "table" && (!strings.Contains(strings.Join(strings.Fields(got.out), " "), c.says) || !strings.Contains(got.out, "3 of 9")) {
					t.Errorf("what is known is not said\n%s", got.out)
				}
				if form == "json" && !json.Valid([]byte(got.out)) {
					t.Errorf("no JSON: %s", got.out)
				}
			}
		})
	}
}
