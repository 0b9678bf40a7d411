package worker

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// TestMeasureParents counts the records of each pair, and names the pairs that
// HubSpot knows no association of.
func TestMeasureParents(t *testing.T) {
	t.Parallel()
	sim := simulator.New(simulator.Options{Token: "t", Sizes: map[string]int{"contacts": 70, "companies": 20, "deals": 40}})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/companies/taxes/labels") {
			w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
			_, _ = w.Write([]byte(`{"results":[]}`))
			return
		}
		sim.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	client := hubspot.New(hubspot.Options{BaseURL: server.URL, Token: func() string { return "t" }, Unpaced: true})
	t.Cleanup(client.Close)
	links, _ := catalogue.Lookup("associations")
	size, err := MeasureParents(t.Context(), client, links, []string{"contacts/companies", "companies/taxes", "p_none/contacts", "companies/contacts"})
	if !slices.Equal(size.Parents, []int64{70, 20}) {
		t.Errorf("%+v", size)
	}
	if err == nil || !strings.Contains(err.Error(), "companies/taxes: HubSpot knows no associations of companies with taxes") || !strings.Contains(err.Error(), "p_none/contacts: ") {
		t.Error(err)
	}
	splits, _ := catalogue.Lookup("deal_splits")
	if size, err := MeasureParents(t.Context(), client, splits, nil); err != nil || !slices.Equal(size.Parents, []int64{40}) {
		t.Errorf("%+v %v", size, err)
	}
}
