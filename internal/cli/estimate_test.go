package cli

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/budget"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

func TestWorkOfAPortal(t *testing.T) {
	t.Parallel()
	p := budget.Plan{Daily: 250_000, Reserve: 0.2, SearchRate: 4}
	for name, n := range map[string]int64{"contacts": 1_000_000, "companies": 200_000, "deals": 500_000, "notes": 2_000_000} {
		p.Streams = append(p.Streams, budget.Stream{Name: name, Records: n, Archived: budget.Bin(n), Interval: 5 * time.Minute,
			ReconcileEvery: 24 * time.Hour, ArchivedEvery: 6 * time.Hour, Changes: n / 100})
	}
	got := map[string]workCost{}
	for _, r := range workOf(p, 19) {
		got[r.Work] = r
	}
	if r := got["first load"]; r.Requests != 38_850 || r.Seconds < 2000 || r.Seconds > 2100 || r.PerDay != 0 || r.OfDay < 0.15 || r.OfDay > 0.16 {
		t.Errorf("%+v", r)
	}
	if r := got["reconcile"]; r.Stretched != "1.6 times the interval: daily limit" || r.PerDay != 38_850 {
		t.Errorf("%+v", r)
	}
	if r := got["idle run of every stream"]; r.Requests != 4 || r.Seconds != 1 || r.PerDay != 4*288 || r.Stretched != "" {
		t.Errorf("%+v", r)
	}
	if r := got["association sweep"]; r.Requests != 0 || r.PerDay != 0 {
		t.Errorf("%+v", r)
	}
	day, parts := got["an ordinary day"], int64(0)
	for _, name := range []string{"runs, as much as changed in the last day", "reconcile", "association sweep", "archived sweep"} {
		parts += got[name].PerDay
	}
	if day.PerDay != parts {
		t.Errorf("a day of %d has parts of %d", day.PerDay, parts)
	}
}

func TestIntervalOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		s    config.Stream
		want time.Duration
	}{
		{config.Stream{Interval: time.Minute}, time.Minute},
		{config.Stream{Cron: "*/15 * * * *", Timezone: "UTC"}, 15 * time.Minute},
	} {
		if got := intervalOf(tt.s); got != tt.want {
			t.Errorf("%+v: %v", tt.s, got)
		}
	}
}

// What could not be asked for is not there for programs, rather than 0.
func TestEstimateSaysNothingOfWhatIsUnknown(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal([]portalCost{
		{Portal: "a", Error: "no token"},
		{Portal: "b", portalLimits: &portalLimits{Account: 7}, Streams: []streamCost{{Stream: "deals", Error: "no scope"},
			{Stream: "owners", streamSize: &streamSize{}}}},
	})
	want := `[{"portal":"a","work":null,"streams":null,"error":"no token"},` +
		`{"portal":"b","account":7,"time_zone":"","daily":0,"used_today":0,"rate":0,"work":null,"streams":[{"stream":"deals","error":"no scope"},` +
		`{"stream":"owners","records":0,"changed_in_a_day":0,"properties":0,"wide":false,"first_load":0}]}]`
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\n%s", err, got, want)
	}
}

// Which way brings changes in seconds is said, with what keeps it from it.
func TestEstimateSaysWhichWaysBringChanges(t *testing.T) {
	t.Parallel()
	sim := httptest.NewServer(simulator.New(simulator.Options{Journal: &simulator.Journal{ClientID: "app", ClientSecret: "right"}}))
	defer sim.Close()
	client := hubspot.New(hubspot.Options{BaseURL: sim.URL, Unpaced: true})
	defer client.Close()
	journal := func(secret string) config.Portal {
		return config.Portal{Name: "main", Journal: &config.Journal{ClientID: "app", ClientSecret: config.NewSecret(secret)}}
	}
	hooked := config.Portal{Name: "main", Webhook: &config.Webhook{ClientSecret: config.NewSecret("x")}}
	for name, c := range map[string]struct {
		portal config.Portal
		ready  bool
		says   string
	}{
		"a journal": {journal("right"), true, "by journal: HubSpot hands it out"},
		"refused":   {journal("wrong-canary"), false, "by journal: no: HubSpot gives no token"},
		"webhooks":  {hooked, true, "by webhook: taken at /v1/webhooks/hubspot/main"},
		"neither":   {config.Portal{}, false, "a service key neither"},
	} {
		ways := freshWays(t.Context(), client, c.portal)
		var b strings.Builder
		if err := estimateTable(&b, []portalCost{{Portal: "main", portalLimits: &portalLimits{}, Fresh: ways}}, true); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), c.says) || strings.Contains(b.String(), "canary") || len(ways) > 0 && ways[0].Ready != c.ready {
			t.Errorf("%s: %+v\n%s", name, ways, b.String())
		}
	}
}
