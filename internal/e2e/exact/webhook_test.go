package exact

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/webhook"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

const hookSecret = "hook-canary-secret"

// hooked is a rig whose HubSpot tells the daemon what changes, through a proxy
// that gives the daemon another name. Nothing else would find it soon: searches,
// sweeps and settle passes are a day apart.
func hooked(t *testing.T, o simulator.Options, streams string) (r *rig, open func()) {
	t.Helper()
	var at atomic.Pointer[string] // of the daemon that runs
	nowhere := "127.0.0.1:1"
	at.Store(&nowhere)
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&url.URL{Scheme: "http", Host: *at.Load()})
		p.SetXForwarded()
	}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }})
	t.Cleanup(proxy.Close)
	open = func() {
		addr := r.d.Addr()
		at.Store(&addr)
	}
	o.Webhooks = &simulator.Webhooks{URL: proxy.URL + "/v1/webhooks/hubspot/main", ClientSecret: hookSecret, AppID: 7}
	r = newRig(t, o, "defaults {\n  interval = \"24h\"\n  archived_interval = \"24h\"\n  reconcile_interval = \"24h\"\n}\n"+streams)
	r.portal = fmt.Sprintf("  webhook {\n    client_secret = %q\n  }\n", hookSecret)
	r.start()
	open()
	if err := r.sim.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.sim.Stop)
	return r, open
}

// All that HubSpot tells is read at once, and each stream is equal to the truth
// long before anything else would have looked.
func TestHintedAt(t *testing.T) {
	t.Parallel()
	r, _ := hooked(t, simulator.Options{Sizes: map[string]int{"contacts": 300, "companies": 120, "p_cars": 40},
		Associations: map[string]float64{"contacts-companies": 1}},
		"stream \"contacts\" { associations = [\"companies\"] }\nstream \"companies\" {}\nstream \"cars\" { object = \"p_cars\" }\nstream \"schemas\" {}\n")
	r.becomesEqual("contacts", "companies")
	first := r.status("contacts").LastRun.ID
	live := r.live("contacts")
	for _, c := range []simulator.Change{
		{Create: 5},
		{IDs: live[:30]},
		{Archive: live[30:40]},
		{Archive: live[40:45]},
		{Restore: live[30:35]},
		{Delete: live[40:43]},
		{Merge: []simulator.Merge{{Into: live[50], From: live[51:53]}, {Into: live[60], From: live[61:62], NewID: true}}},
	} {
		r.change("contacts", c)
		r.becomesEqual("contacts")
	}
	r.change("companies", simulator.Change{Create: 130, Change: 110}) // more than one run takes
	others := r.live("companies")
	r.associate("contacts", "companies", simulator.AssociationChange{Associate: []simulator.Link{{From: live[100], To: others[3]}, {From: live[101], To: others[3]}}})
	r.becomesEqual("contacts", "companies")
	until(t, "the associations", func() error { return r.linked("contacts", "companies") })
	// HubSpot names the portal's own objects by their numbers, and the definitions
	// say which these are.
	until(t, "the first load of cars", func() error {
		for _, name := range []string{"cars", "schemas"} {
			if st := r.status(name); st.CompleteUntil == nil && st.LastRun == nil || st.Records == 0 {
				return problem("%s: %+v", name, st)
			}
		}
		return nil
	})
	mine := r.live("p_cars")
	r.change("p_cars", simulator.Change{IDs: mine[:3], Archive: mine[3:4]})
	until(t, "hints of cars", func() error {
		if runs := r.runsOf("cars", "hint"); len(runs) == 0 {
			return problem("there are none")
		}
		return nil
	})
	runs := r.runsOf("contacts", "hint")
	if len(runs) == 0 || slices.ContainsFunc(runs, func(run client.Run) bool { return run.State != "done" }) {
		t.Errorf("runs: %+v", runs)
	}
	if again := r.runsOf("contacts", "incremental"); len(again) > 1 { // there is one after the first load
		t.Errorf("something else has looked: %+v", again)
	}
	if st := r.status("contacts"); st.LastRun.ID == first || st.OpenIDs != 0 || st.Error != nil {
		t.Errorf("%+v", st)
	}
	if sent, _ := r.sim.WebhookStats(); sent.Events == 0 || sent.Failed != 0 {
		t.Errorf("HubSpot has sent %+v", sent)
	}
}

// Beside a first load, and across restarts of both sides.
func TestHintsDuringTheFirstLoad(t *testing.T) {
	t.Parallel()
	r, open := hooked(t, simulator.Options{Sizes: map[string]int{"contacts": 4000}, Latency: 30 * time.Millisecond}, "stream \"contacts\" {}\n")
	until(t, "the first pages", func() error {
		if st := r.status("contacts"); st.Records < 300 {
			return problem("%d records", st.Records)
		}
		return nil
	})
	live := r.live("contacts")
	r.change("contacts", simulator.Change{IDs: live[:150], Create: 20})
	until(t, "a hint is read beside the walk", func() error {
		if len(r.runsOf("contacts", "hint")) == 0 {
			return problem("none")
		}
		return nil
	})
	r.stopDaemon()
	r.change("contacts", simulator.Change{IDs: live[150:200], Archive: live[200:210]}) // sent again until it is taken
	r.startDaemon()
	open()
	r.becomesEqual("contacts")
}

// Who does not know the secret changes nothing and learns nothing.
func TestForgedHints(t *testing.T) {
	t.Parallel()
	r, _ := hooked(t, simulator.Options{Sizes: map[string]int{"contacts": 20}, PortalID: 4711}, "stream \"contacts\" {}\n")
	r.becomesEqual("contacts")
	id := r.live("contacts")[0]
	body := []byte(`[{"portalId":4711,"subscriptionType":"contact.propertyChange","objectId":` + id + `}]`)
	other := bytes.Replace(body, []byte("4711"), []byte("4712"), 1)
	base := "http://" + r.d.Addr()
	send := func(path, secret string, body []byte, at time.Time, change func(http.Header)) (int, string) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		signature, stamp := webhook.Sign(secret, http.MethodPost, base+path, body, at)
		q.Header.Set(webhook.SignatureHeader, signature)
		q.Header.Set(webhook.TimestampHeader, stamp)
		if change != nil {
			change(q.Header)
		}
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		said, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(said)
	}
	const path = "/v1/webhooks/hubspot/main"
	now := time.Now()
	for name, c := range map[string]struct {
		path, secret string
		body         []byte
		at           time.Time
		change       func(http.Header)
		status       int
		says         string
	}{
		"another secret":    {path, "guess", body, now, nil, 401, "bad-signature"},
		"stale":             {path, hookSecret, body, now.Add(-6 * time.Minute), nil, 401, "set this machine's clock"},
		"unsigned":          {path, hookSecret, body, now, func(h http.Header) { h.Del(webhook.SignatureHeader) }, 401, "no signature of version 3"},
		"signed as of old":  {path, hookSecret, body, now, func(h http.Header) { h.Del(webhook.SignatureHeader); h.Set(webhook.OldHeader, "x") }, 401, "version 1 and 2"},
		"another account":   {path, hookSecret, other, now, nil, 403, "other-portal"},
		"another portal":    {"/v1/webhooks/hubspot/nope", hookSecret, body, now, nil, 404, "unknown-portal"},
		"no events":         {path, hookSecret, []byte("{"), now, nil, 400, "bad-body"},
		"another way in":    {"/v1/streams", hookSecret, body, now, nil, 401, "unauthorized"},
		"the token instead": {path, "guess", body, now, func(h http.Header) { h.Set("Authorization", "Bearer "+r.d.Token()) }, 401, "bad-signature"},
	} {
		if status, said := send(c.path, c.secret, c.body, c.at, c.change); status != c.status || !bytes.Contains([]byte(said), []byte(c.says)) {
			t.Errorf("%s: %d %s", name, status, said)
		}
	}
	if runs := r.runsOf("contacts", "hint"); len(runs) != 0 {
		t.Errorf("something was read: %+v", runs)
	}
	if status, said := send(path, hookSecret, body, now, nil); status != http.StatusNoContent {
		t.Errorf("the right one: %d %s", status, said)
	}
	all, err := r.api.Runs(t.Context(), client.RunQuery{Stream: "contacts", Limit: 1})
	if err != nil || len(all) != 1 || all[0].Kind != "hint" {
		t.Errorf("it is not in the ledger when it is answered: %+v, %v", all, err)
	}
}
