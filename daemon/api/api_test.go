package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

func TestCommands(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	for _, c := range []*client.Client{b.c, client.New(client.Options{Addr: b.socket}), client.New(client.Options{Addr: "unix:" + b.socket}),
		client.New(client.Options{Addr: b.server.Addr(), Token: token})} {
		defer c.Close()
		st, err := c.Start(ctx, "contacts", "30s")
		if err != nil || st.Interval != "30s" || st.State != client.StateWaiting {
			t.Fatalf("start over %s: %+v, %v", c.Addr(), st, err)
		}
		if st, err = c.Stop(ctx, "contacts"); err != nil || st.State != client.StateStopped {
			t.Fatalf("stop: %+v, %v", st, err)
		}
	}
	list, err := b.c.Streams(ctx)
	if err != nil || len(list) != 2 {
		t.Fatalf("streams: %v, %v", list, err)
	}
	if st, err := b.c.Stream(ctx, "deals"); err != nil || st.Name != "deals" {
		t.Fatalf("stream: %+v, %v", st, err)
	}
	id, err := b.c.Sync(ctx, "contacts", "123")
	if err != nil || id != "r001" {
		t.Fatalf("sync: %q, %v", id, err)
	}
	if id, err = b.c.Resync(ctx, "deals"); err != nil || id != "r002" {
		t.Fatalf("resync: %q, %v", id, err)
	}
	for _, accept := range []bool{false, true} {
		if _, err = b.c.Reconcile(ctx, "deals", accept); err != nil {
			t.Fatalf("reconcile: %v", err)
		}
	}
	if err := b.c.Erase(ctx, "deals", "7"); err != nil {
		t.Fatalf("erase: %v", err)
	}
	if es, err := b.c.Erasures(ctx); err != nil || len(es) != 1 || es[0].Record != "7" || es[0].Stream != "deals" {
		t.Fatalf("erasures: %+v, %v", es, err)
	}
	runs, err := b.c.Runs(ctx, client.RunQuery{})
	if err != nil || len(runs) != 4 || runs[0].ID != "r004" {
		t.Fatalf("runs: %+v, %v", runs, err)
	}
	if run, err := b.c.Run(ctx, "r001"); err != nil || !run.Running() || run.Ended != nil {
		t.Fatalf("run: %+v, %v", run, err)
	}
	if ws, err := b.c.Workers(ctx); err != nil || len(ws) != 1 || ws[0].ID != "up" {
		t.Fatalf("workers: %+v, %v", ws, err)
	}
	if f, err := b.c.Figures(ctx); err != nil || f.StoreBytes != 4096 || *f.BrokerConnections != 3 {
		t.Fatalf("figures: %+v, %v", f, err)
	}
	if ps, err := b.c.Portals(ctx); err != nil || len(ps) != 1 || ps[0].Account != 77 {
		t.Fatalf("portals: %+v, %v", ps, err)
	}
	if ls, err := b.c.Logs(ctx, "deals", "warn", 7); err != nil || len(ls) != 1 || ls[0].Stream != "deals" {
		t.Fatalf("logs: %+v, %v", ls, err)
	}
	for _, f := range []func(context.Context) error{b.c.Healthy, b.c.Ready} {
		if err := f(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []func(context.Context) (client.Plan, error){b.c.Plan, b.c.Reload} {
		if p, err := f(ctx); err != nil || !cmp.Equal(p, onePlan()) || p.Empty() || p.Refused() || *p.Streams[0].Work[0].Seconds != 10 || *p.Streams[0].Work[0].OfDay != 0.1 {
			t.Fatalf("plan: %+v, %v", p, err)
		}
	}
	if err := b.c.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	want := []string{"incremental contacts 123", "backfill deals ", "reconcile deals false", "reconcile deals true", "erase deals 7", "lines deals warn 7", "plan", "reload", "shutdown"}
	until(t, "shutdown is called", func() bool { return slices.Contains(b.d.called(), "shutdown") })
	if got := b.d.called()[8:]; !cmp.Equal(got, want) {
		t.Fatal(cmp.Diff(want, got))
	}
}

// The shape of a status is a contract: names, nulls, durations as text.
func TestStatusShape(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, body := get(t, b, "/v1/streams/contacts", "")
	want := `{"name":"contacts","portal":"main","object":"contacts","state":"stopped","interval":"5m","effective_interval":"5m",` +
		`"set_by":"file","records":0,"tombstones":0,"lag_seconds":null,"complete_until":null,"open_ids":0,"next_run":null,` +
		`"run":null,"last_run":null,"error":null,"failures":0,"bytes":null}` + "\n"
	if body != want {
		t.Fatal(cmp.Diff(want, body))
	}
	run := api.RunOf(&stream.Run{ID: "r1", Stream: "contacts", Kind: stream.Backfill, State: stream.Failed, Started: time.Unix(1, 0),
		Error: &stream.Problem{Type: "x", Title: "y", Blocked: true}})
	if run.Ended != nil || run.Started.Location() != time.UTC || run.Error.Title != "y" {
		t.Fatalf("%+v", run)
	}
	if api.RunOf(nil) != nil || api.ProblemOf(nil) != nil || api.MillisOf(0) != nil || !api.MillisOf(1500).Equal(time.UnixMilli(1500)) {
		t.Fatal("what there is not is not nil")
	}
}

func TestAll(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	got, err := b.c.StartAll(ctx, "1m")
	if err != nil || len(got.Streams) != 2 || got.Failed != nil {
		t.Fatalf("start all: %+v, %v", got, err)
	}
	if _, err := b.c.StartAll(ctx, "soon"); !isProblem(err, client.TypeBadInterval) {
		t.Fatalf("a bad interval for all: %v", err)
	}
	b.d.mu.Lock()
	b.d.status["deals"].State = client.StateBlocked
	b.d.mu.Unlock()
	got, err = b.c.StopAll(ctx)
	if err != nil || len(got.Streams) != 1 || len(got.Failed) != 1 || got.Failed[0].Stream != "deals" {
		t.Fatalf("stop all with one that cannot: %+v, %v", got, err)
	}
	runs, err := b.c.SyncAll(ctx)
	if err != nil || !cmp.Equal(runs.Runs, []client.Started{{Stream: "contacts", Run: "r001"}, {Stream: "deals", Run: "r002"}}) {
		t.Fatalf("sync all: %+v, %v", runs, err)
	}
	if _, err := b.c.ResyncAll(ctx); err != nil {
		t.Fatal(err)
	}
	b.d.mu.Lock()
	b.d.err = errFull
	b.d.mu.Unlock()
	if _, err := b.c.SyncAll(ctx); !isProblem(err, client.TypeDiskFull) {
		t.Fatalf("a full disk: %v", err)
	}
}

func isProblem(err error, typ string) bool {
	var p *client.Problem
	return errors.As(err, &p) && p.Type == typ
}

func TestSyncWaits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	run, err := b.c.SyncWait(ctx, "contacts", "", 20*time.Millisecond)
	if err != nil || run.ID != "r001" || !run.Running() {
		t.Fatalf("a run that goes on: %+v, %v", run, err)
	}
	type result struct {
		run client.Run
		err error
	}
	done := make(chan result, 1)
	go func() {
		run, err := b.c.ResyncWait(ctx, "contacts", time.Minute)
		done <- result{run, err}
	}()
	until(t, "it waits", func() bool { return b.d.watching() == 1 })
	b.d.finish(client.RunFailed)
	got := <-done
	if got.err != nil || got.run.State != client.RunFailed || got.run.Ended == nil || got.run.ID != "r002" {
		t.Fatalf("a run that ended: %+v, %v", got.run, got.err)
	}
	until(t, "nobody watches any more", func() bool { return b.d.watching() == 0 })

	res := do(t, b, http.MethodPost, "/v1/streams/all/sync?wait=10ms", "")
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusAccepted || !strings.Contains(string(body), `"stream":"deals"`) {
		t.Fatalf("all, going on: %s %s", res.Status, body)
	}
	go func() {
		until(t, "it waits", func() bool { return b.d.watching() == 1 })
		b.d.finish(client.RunDone)
	}()
	res = do(t, b, http.MethodPost, "/v1/streams/all/sync?wait=1m", "")
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || strings.Count(string(body), `"state":"done"`) != 2 {
		t.Fatalf("all, ended: %s %s", res.Status, body)
	}
}

// do makes a request with the token; its body is closed at the end of the test.
func do(t *testing.T, b *bundle, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		} else if headers[i+1] == "" {
			req.Header.Del(headers[i])
		} else {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func get(t *testing.T, b *bundle, path, accept string) (*http.Response, string) {
	t.Helper()
	res := do(t, b, http.MethodGet, path, "", "Accept", accept)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// What is wrong is said as a problem, and changes nothing.
func TestBadInput(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.fill("contacts", 3)
	long := strings.Repeat("x", 70<<10)
	for _, c := range []struct {
		method, path, body string
		status             int
		typ, says          string
	}{
		{"GET", "/", "", 404, "not-found", "not a route"},
		{"GET", "/v1/streams/", "", 404, "not-found", "not a route"},
		{"GET", "//v1/streams", "", 404, "not-found", "not a route"},
		{"GET", "/v1/streams/../runs", "", 404, "not-found", ""},
		{"POST", "/v1/streams//start", "", 404, "not-found", ""},
		{"GET", "/v1/streams/nobody", "", 404, "unknown-stream", "nobody"},
		{"GET", "/v1/streams/%00%0a", "", 404, "unknown-stream", `\x00\n`},
		{"POST", "/v1/streams/nobody/start", "", 404, "unknown-stream", "nobody"},
		{"POST", "/v1/streams/nobody/stop", "", 404, "unknown-stream", "nobody"},
		{"POST", "/v1/streams/nobody/sync", "", 404, "unknown-stream", "nobody"},
		{"GET", "/v1/streams/nobody/records", "", 404, "unknown-stream", "nobody"},
		{"GET", "/v1/streams/nobody/records/1", "", 404, "unknown-stream", "nobody"},
		{"GET", "/v1/streams/nobody/changes", "", 404, "unknown-stream", "nobody"},
		{"GET", "/v1/streams/nobody/export", "", 404, "unknown-stream", "nobody"},
		{"GET", "/v1/streams/nobody/schema", "", 404, "unknown-stream", "nobody"},
		{"GET", "/v1/streams/contacts/schema", "", 404, "no-schema", "contacts"},
		{"GET", "/v1/streams/contacts/records/99", "", 404, "unknown-record", "99"},
		{"GET", "/v1/runs/r999", "", 404, "unknown-run", "r999"},
		{"GET", "/v1/runs?stream=nobody", "", 404, "unknown-stream", "nobody"},
		{"DELETE", "/v1/streams/contacts", "", 405, "method-not-allowed", "DELETE"},
		{"GET", "/v1/streams/contacts/start", "", 405, "method-not-allowed", "GET"},
		{"POST", "/v1/streams", "", 405, "method-not-allowed", "POST"},
		{"PUT", "/healthz", "", 405, "method-not-allowed", "PUT"},
		{"POST", "/v1/streams/contacts/start", `{"interval":"0 of them"}`, 400, "bad-interval", ""},
		{"POST", "/v1/streams/contacts/start", `{"interval":""}`, 400, "bad-interval", "empty"},
		{"POST", "/v1/streams/contacts/start", `{"interval":5}`, 400, "bad-body", `"interval" cannot be a JSON number`},
		{"POST", "/v1/streams/contacts/start", `{"Interval":"5m"}`, 400, "bad-body", `no field "Interval"`},
		{"POST", "/v1/streams/contacts/start", `{"interval":"5m","interval":"6m"}`, 400, "bad-body", "duplicate"},
		{"POST", "/v1/streams/contacts/start", `{"interval":"5m"} {}`, 400, "bad-body", ""},
		{"POST", "/v1/streams/contacts/start", `["5m"]`, 400, "bad-body", "not a JSON object"},
		{"POST", "/v1/streams/contacts/start", `null`, 400, "bad-body", "not a JSON object"},
		{"POST", "/v1/streams/contacts/start", `5m`, 400, "bad-body", "not a JSON object"},
		{"POST", "/v1/streams/contacts/start", `{"interval":`, 400, "bad-body", "not JSON"},
		{"POST", "/v1/streams/contacts/start", `{"interval":"` + long + `"}`, 413, "body-too-large", "65536"},
		{"POST", "/v1/streams/contacts/start?interval=5m", "", 400, "bad-parameter", "interval"},
		{"POST", "/v1/streams/contacts/stop", `{"now":true}`, 400, "bad-body", "now"},
		{"POST", "/v1/streams/contacts/sync", `{"record":123}`, 400, "bad-body", "number"},
		{"POST", "/v1/streams/contacts/sync", `{"record":" "}`, 400, "bad-record", "empty"},
		{"POST", "/v1/streams/contacts/sync", `{"record":"x y"}`, 400, "bad-record", "x y"},
		{"POST", "/v1/streams/all/sync", `{"record":"1"}`, 400, "bad-record", "one stream"},
		{"POST", "/v1/streams/contacts/sync?wait=60", "", 400, "bad-parameter", "60"},
		{"POST", "/v1/streams/contacts/sync?wait=-1s", "", 400, "bad-parameter", "-1s"},
		{"POST", "/v1/streams/contacts/sync?wait=1h", "", 400, "bad-parameter", "1h"},
		{"POST", "/v1/streams/contacts/resync", `{"x":1}`, 400, "bad-body", "x"},
		{"POST", "/v1/shutdown", `{"x":1}`, 400, "bad-body", "x"},
		{"POST", "/v1/reload", `{"x":1}`, 400, "bad-body", "x"},
		{"POST", "/v1/notify/ops/test", `{"x":1}`, 400, "bad-body", "x"},
		{"GET", "/v1/streams/contacts/records?limit=0", "", 400, "bad-parameter", "limit"},
		{"GET", "/v1/streams/contacts/records?limit=1001", "", 400, "bad-parameter", "limit"},
		{"GET", "/v1/streams/contacts/records?limit=many", "", 400, "bad-parameter", "many"},
		{"GET", "/v1/streams/contacts/records?limit=1&limit=2", "", 400, "bad-parameter", "2 times"},
		{"GET", "/v1/streams/contacts/records?limits=1", "", 400, "bad-parameter", "limits"},
		{"GET", "/v1/streams/contacts/records?limit=%zz", "", 400, "bad-parameter", "decode"},
		{"GET", "/v1/streams/contacts/records?cursor=nonsense", "", 400, "bad-parameter", "nonsense"},
		{"GET", "/v1/streams/contacts/records?cursor=eA", "", 400, "bad-parameter", "cursor"},
		{"GET", "/v1/streams/contacts/records?since=yesterday", "", 400, "bad-parameter", "yesterday"},
		{"GET", "/v1/streams/contacts/records?since=-1", "", 400, "bad-parameter", "-1"},
		{"GET", "/v1/streams/contacts/records?modified_since=5", "", 400, "bad-parameter", "modified_since"},
		{"GET", "/v1/streams/contacts/records?state=dead", "", 400, "bad-parameter", "dead"},
		{"GET", "/v1/streams/contacts/records?state=live,all", "", 400, "bad-parameter", "live,all"},
		{"GET", "/v1/streams/contacts/records?fields=a,,b", "", 400, "bad-parameter", "a,,b"},
		{"GET", "/v1/streams/contacts/records/1?fields=", "", 400, "bad-parameter", "fields"},
		{"GET", "/v1/streams/contacts/changes?follow=yes", "", 400, "bad-parameter", "yes"},
		{"GET", "/v1/streams/contacts/changes?since=x", "", 400, "bad-parameter", "since"},
		{"GET", "/v1/streams/contacts/changes?limit=-5", "", 400, "bad-parameter", "limit"},
		{"GET", "/v1/streams/contacts/export?format=xlsx", "", 400, "bad-parameter", "xlsx"},
		{"GET", "/v1/streams/contacts/export?state=dead", "", 400, "bad-parameter", "dead"},
		{"GET", "/v1/streams/contacts/export?fields=,", "", 400, "bad-parameter", "fields"},
		{"GET", "/v1/runs?state=odd", "", 400, "bad-parameter", "odd"},
		{"GET", "/v1/runs?limit=x", "", 400, "bad-parameter", "limit"},
		{"GET", "/v1/logs?level=loud", "", 400, "bad-parameter", "loud"},
		{"GET", "/v1/logs?limit=100000", "", 400, "bad-parameter", "limit"},
		{"GET", "/v1/events?last_event_id=x", "", 400, "bad-parameter", "last_event_id"},
		{"GET", "/v1/events?q=" + long[:9000], "", 400, "bad-parameter", "q"},
	} {
		name := c.method + " " + c.path[:min(len(c.path), 60)] + " " + c.body[:min(len(c.body), 30)]
		res := do(t, b, c.method, c.path, c.body)
		if res.StatusCode != c.status {
			body, _ := io.ReadAll(res.Body)
			t.Errorf("%s: %s, want %d: %s", name, res.Status, c.status, body)
			continue
		}
		p := problem(t, res)
		if p.Type != c.typ || !strings.Contains(p.Detail, c.says) {
			t.Errorf("%s: %+v, want %s that says %q", name, p, c.typ, c.says)
		}
		if c.status == 405 && res.Header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", name)
		}
	}
	if calls := b.d.called(); len(calls) > 0 {
		t.Errorf("bad input did something: %q", calls)
	}
}

// A hint is of the command that was meant.
func TestHintsAreOfTheirVerb(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for path, hint := range map[string]string{"start": `{"interval":"5m"}`, "stop": "no body", "sync": `{"record":"123"}`, "resync": "no body", "reconcile": `{"accept_deletes":true}`} {
		p := problem(t, do(t, b, "POST", "/v1/streams/contacts/"+path, `{"x":1}`))
		if !strings.Contains(p.Hint, hint) || path != "start" && strings.Contains(p.Hint, "interval") {
			t.Errorf("%s: %q", path, p.Hint)
		}
	}
	if p := problem(t, do(t, b, "POST", "/v1/streams/contacts/sync", `{"record":123}`)); !strings.Contains(p.Hint, `{"record":"123"}`) {
		t.Errorf("a number: %q", p.Hint)
	}
	said := map[string]bool{}
	for _, auth := range []string{"", "Bearer wrong", "Basic " + token} {
		said[problem(t, do(t, b, "GET", "/v1/streams", "", "Authorization", auth)).Detail] = true
	}
	if len(said) != 3 {
		t.Errorf("what is wrong with a token: %v", said)
	}
}

// Every error of the daemon has one meaning over HTTP.
func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
		typ    string
	}{
		{errFull, 507, client.TypeDiskFull},
		{fmt.Errorf("begin: %w", errFull), 507, client.TypeDiskFull},
		{&stream.Problem{Type: client.TypePortalBlocked, Title: "blocked", Status: 409}, 409, client.TypePortalBlocked},
		{fmt.Errorf("start: %w", &client.Problem{Type: client.TypeBadInterval, Title: "no", Status: 400}), 400, client.TypeBadInterval},
		{&client.Problem{Type: client.TypeInternal, Title: "without a status"}, 500, client.TypeInternal},
		{errNone, 404, client.TypeNotFound},
		{context.DeadlineExceeded, 504, client.TypeTimeout},
		{context.Canceled, 503, client.TypeStopping},
		{errSecret, 500, client.TypeInternal},
	} {
		b := setup(t)
		b.d.err = c.err
		for _, call := range []struct{ method, path string }{
			{"GET", "/v1/streams"}, {"GET", "/v1/streams/contacts"}, {"POST", "/v1/streams/contacts/start"},
			{"POST", "/v1/streams/all/stop"}, {"POST", "/v1/streams/contacts/sync"}, {"GET", "/v1/streams/contacts/records"},
			{"GET", "/v1/runs"}, {"GET", "/v1/workers"}, {"GET", "/v1/portals"},
		} {
			res := do(t, b, call.method, call.path, "")
			p := problem(t, res)
			if p.Status != c.status || p.Type != c.typ || strings.Contains(p.Detail, "hunter2") {
				t.Errorf("%v at %s %s: %+v", c.err, call.method, call.path, p)
			}
		}
	}
	b := setup(t)
	b.d.err = errors.New("hubpipe.hcl:3: no such thing")
	if p := problem(t, do(t, b, "POST", "/v1/reload", "")); p.Type != client.TypeBadConfiguration || !strings.Contains(p.Detail, "hubpipe.hcl:3") {
		t.Errorf("a configuration that is wrong: %+v", p)
	}
	b.d.unwell = errors.New("the store cannot be written")
	for _, path := range []string{"/healthz", "/readyz"} {
		if p := problem(t, do(t, b, "GET", path, "", "Authorization", "")); p.Status != 503 || !strings.Contains(p.Detail, "store") {
			t.Errorf("%s: %+v", path, p)
		}
	}
}

// A backup that fails after its beginning is cut: nobody takes it for a whole.
func TestBackup(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var got bytes.Buffer
	if err := b.c.Backup(t.Context(), &got); err != nil || got.Len() != 200_000 {
		t.Fatalf("%d bytes, %v", got.Len(), err)
	}
	if res := do(t, b, "HEAD", "/v1/backup", ""); res.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %s", res.Status)
	}
	if res := do(t, b, "GET", "/v1/streams/contacts/changes", ""); res.Header.Get("Hubpipe-Epoch") != "s/1" {
		t.Errorf("the feed is of %q", res.Header.Get("Hubpipe-Epoch"))
	}
	if d, err := b.c.Doctor(t.Context()); err != nil || !d.Well() || d.Findings == nil || d.Streams == nil {
		t.Errorf("doctor: %+v, %v", d, err)
	}
	b.d.unwell = errors.New("a value cannot be read")
	if d, err := b.c.Doctor(t.Context()); err != nil || d.Well() {
		t.Errorf("doctor: %+v, %v", d, err)
	}
	if err := b.c.Backup(t.Context(), io.Discard); !errors.Is(err, client.ErrUnreachable) {
		t.Fatalf("one that fails: %v", err)
	}
}

// Strangers are refused before any effect, on every route.
func TestStrangers(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.AllowedHosts = []string{"hubpipe.example"} })
	for _, route := range b.server.Routes() {
		path := strings.NewReplacer("{stream}", "contacts", "{id}", "1").Replace(route.Pattern)
		health := path == "/healthz" || path == "/readyz"
		for _, auth := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Bearer " + token[1:], "Basic " + token, token} {
			res := do(t, b, route.Method, path, "", "Authorization", auth)
			if health {
				if res.StatusCode != http.StatusOK {
					t.Errorf("%s needs a token: %s", path, res.Status)
				}
				continue
			}
			if p := problem(t, res); p.Status != 401 || res.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s with %q: %+v", route.Method, path, auth, p)
			}
		}
		for _, h := range [][2]string{{"Host", "evil.example"}, {"Host", "127.0.0.1.evil.example:80"}, {"Host", "192.0.2.7"},
			{"Origin", "http://evil.example"}, {"Origin", "null"}, {"Origin", "http://127.0.0.1:1"}, {"Origin", "file://"}, {"Sec-Fetch-Site", "cross-site"}} {
			if p := problem(t, do(t, b, route.Method, path, "", h[0], h[1])); p.Status != 403 {
				t.Errorf("%s %s with %s %s: %+v", route.Method, path, h[0], h[1], p)
			}
		}
	}
	if calls := b.d.called(); len(calls) > 0 {
		t.Errorf("strangers did something: %q", calls)
	}
	for _, h := range [][2]string{{"Host", "localhost:1"}, {"Host", "[::1]:80"}, {"Host", "127.0.0.9"}, {"Host", "HubPipe.example"}, {"Origin", b.base}} {
		if res := do(t, b, "GET", "/v1/streams", "", h[0], h[1]); res.StatusCode != http.StatusOK {
			t.Errorf("%s %s is refused: %s", h[0], h[1], res.Status)
		}
	}
	if res := do(t, b, "GET", "/nothing", "", "Authorization", ""); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a route that is none tells strangers so: %s", res.Status)
	}
	open := setup(t, func(o *api.Options) { o.Authenticate = nil })
	if res := do(t, open, "GET", "/v1/streams", "", "Authorization", "Bearer "); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token set anyone comes in: %s", res.Status)
	}
	if strings.Contains(b.log.String(), token) {
		t.Error("the token is in the log")
	}
}

func TestOptionalRoutes(t *testing.T) {
	t.Parallel()
	with := setup(t)
	if res, body := get(t, with, "/metrics?name[]=x", ""); res.StatusCode != http.StatusOK || body != "up 1\n" {
		t.Errorf("metrics: %s %q", res.Status, body)
	}
	without := setup(t, func(o *api.Options) { o.Metrics, o.Events, o.Logs = nil, nil, nil })
	for _, path := range []string{"/metrics", "/v1/events", "/v1/logs"} {
		if res := do(t, without, "GET", path, ""); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) {
		o.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oh no") })
	})
	if p := problem(t, do(t, b, "GET", "/metrics", "")); p.Type != client.TypeInternal || strings.Contains(fmt.Sprint(p), "oh no") {
		t.Errorf("%+v", p)
	}
	if !strings.Contains(b.log.String(), "oh no") {
		t.Error("the log says nothing")
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.schema = []byte(`[{"name":"email","label":"Email","type":"string","fieldType":"text","hidden":true}]`)
	got, err := b.c.Schema(t.Context(), "contacts")
	want := []client.Property{{Name: "email", Label: "Email", Type: "string", FieldType: "text"}}
	if err != nil || !cmp.Equal(got, want) {
		t.Fatalf("%v %v", got, err)
	}
	b.d.schema = []byte(`{`)
	if _, err := b.c.Schema(t.Context(), "contacts"); !isProblem(err, client.TypeInternal) {
		t.Fatalf("a schema that does not decode: %v", err)
	}
}

func TestHeadersAndHead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, path := range []string{"/v1/streams", "/v1/events", "/v1/streams/contacts/changes?follow=true"} {
		res := do(t, b, http.MethodHead, path, "")
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || len(body) > 0 || res.Header.Get("Hubpipe-Version") != "test" ||
			res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("HEAD %s: %s %v %q %v", path, res.Status, res.Header, body, err)
		}
	}
	var buf bytes.Buffer
	if err := b.c.Export(t.Context(), "deals", "ndjson", client.RecordQuery{}, &buf); err != nil || buf.Len() > 0 {
		t.Errorf("nothing to export: %q %v", buf.String(), err)
	}
}

// The headers of what may be large are those of the whole, and nothing is read
// for them.
func TestHeadOfWhatIsLarge(t *testing.T) {
	t.Parallel()
	const stream = "/v1/streams/contacts"
	for path, accept := range map[string]string{
		stream + "/export": "", stream + "/export?format=csv": "", stream + "/export?format=csv&fields=email": "", stream + "/export?format=parquet": "",
		stream + "/export?as=warehouse": "", stream + "/changes": "", stream + "/changes?since=2": "text/event-stream", stream + "/changes?follow=true&limit=3": "",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.d.schema = []byte(`[{"name":"email","type":"string"}]`)
			fill(b, 25)
			whole := do(t, b, "GET", path, "", "Accept", accept)
			if body, err := io.ReadAll(whole.Body); err != nil || len(body) == 0 || whole.StatusCode != http.StatusOK {
				t.Fatalf("GET: %s, %d bytes, %v", whole.Status, len(body), err)
			}
			b.d.breakAt = "0003"
			head := do(t, b, "HEAD", path, "", "Accept", accept)
			if head.StatusCode != http.StatusOK || head.ContentLength > 0 {
				t.Fatalf("HEAD: %s %d", head.Status, head.ContentLength)
			}
			for _, name := range []string{"Content-Type", "Content-Disposition", "Hubpipe-Epoch", "Cache-Control"} {
				if got, want := head.Header.Values(name), whole.Header.Values(name); !slices.Equal(got, want) {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			joint := "?"
			if strings.Contains(path, joint) {
				joint = "&"
			}
			if bad := do(t, b, "HEAD", path+joint+"state=no", ""); bad.StatusCode != http.StatusBadRequest {
				t.Errorf("a bad parameter: %s", bad.Status)
			}
		})
	}
}
