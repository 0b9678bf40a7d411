package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// described is the description of the API, as far as requests are made of it.
type described struct {
	Paths map[string]map[string]struct {
		OperationID string
		Parameters  []struct {
			Name, In string
			Schema   map[string]any
			Example  any
		}
		RequestBody *struct{ Content map[string]any }
		Responses   map[string]struct {
			Content map[string]struct{ Schema json.RawMessage }
		}
	}
	Components struct {
		Schemas map[string]json.RawMessage
	}
}

// generator makes requests of the description: right ones, ones that are nearly
// right, and nonsense.
type generator struct {
	rand *rand.Rand
	d    described
	ops  []string // method and path, in order
	// record is the id of one that is stored.
	record string
}

func newGenerator(t *testing.T, s *system, seed uint64) *generator {
	t.Helper()
	g := &generator{rand: rand.New(rand.NewPCG(seed, 1)), d: decode[described](t, s.get("/openapi.json"))} //nolint:gosec // a seed repeats it
	for path, methods := range g.d.Paths {
		for m, op := range methods {
			// These read all there is, or end what is asked.
			if !slices.Contains([]string{"shutdown", "backup", "doctor", "receiveWebhook", "profile"}, op.OperationID) {
				g.ops = append(g.ops, strings.ToUpper(m)+" "+path)
			}
		}
	}
	slices.Sort(g.ops)
	g.record = decode[client.RecordPage](t, s.get("/v1/streams/contacts/records?limit=1")).Records[0].ID
	return g
}

func pick[T any](g *generator, of ...T) T { return of[g.rand.IntN(len(of))] }

// nonsense is text that somebody might send.
func (g *generator) nonsense() string {
	b := make([]byte, g.rand.IntN(24))
	for i := range b {
		b[i] = byte(g.rand.Uint32())
	}
	return pick(g, "", "0", "-1", "1e9", "99999999999999999999", "null", "true", "ü€😀", "a,b", "'; DROP TABLE", "../../etc", "%00", "{}",
		strings.Repeat("x", g.rand.IntN(300)), string(b))
}

// value is one for a parameter: what the description allows, or anything.
func (g *generator) value(name string, schema map[string]any, example any) string {
	if g.rand.IntN(3) == 0 {
		return g.nonsense()
	}
	if of, ok := schema["enum"].([]any); ok {
		return fmt.Sprint(pick(g, of...))
	}
	switch {
	case name == "wait":
		return pick(g, "0s", "1ms", "20ms") // nobody has time for more
	case name == "id" && g.rand.IntN(2) == 0:
		return g.record
	case name == "follow":
		return pick(g, "true", "false")
	case name == "stream":
		return pick(g, "contacts", "deals", "nobody", "all")
	case schema["type"] == "integer":
		return strconv.Itoa(1 + g.rand.IntN(40))
	}
	return fmt.Sprint(example)
}

func (g *generator) body() string {
	if g.rand.IntN(4) == 0 {
		return g.nonsense()
	}
	m := map[string]any{}
	for range g.rand.IntN(3) {
		m[pick(g, "interval", "record", "accept_deletes", "no_such")] = pick[any](g, "5m", "51", "", true, 7, nil, []any{1}, "1h0m0s", "51 52", map[string]any{})
	}
	b, err := json.Marshal(m)
	if err != nil {
		return ""
	}
	return string(b)
}

// request makes one, of the operation that it names.
func (g *generator) request(ctx context.Context, base, token string) (op string, r *http.Request, err error) {
	op = pick(g, g.ops...)
	method, path, _ := strings.Cut(op, " ")
	known := g.d.Paths[path][strings.ToLower(method)]
	q := url.Values{}
	for _, p := range known.Parameters {
		switch {
		case p.In == "path":
			path = strings.Replace(path, "{"+p.Name+"}", url.PathEscape(g.value(p.Name, p.Schema, p.Example)), 1)
		case p.In == "query" && g.rand.IntN(2) == 0:
			q.Set(p.Name, g.value(p.Name, p.Schema, p.Example))
		}
	}
	if g.rand.IntN(20) == 0 {
		q.Add(pick(g, "no_such", "limit"), g.nonsense())
	}
	if g.rand.IntN(30) == 0 {
		method, op = pick(g, "PUT", "DELETE", "PATCH", "HEAD", "POST", "GET"), ""
	}
	body := ""
	if known.RequestBody != nil || g.rand.IntN(20) == 0 {
		body = g.body()
	}
	if known.OperationID == "setLogLevel" && g.rand.IntN(2) == 0 {
		body = `{"level":"info"}`
	}
	target := base + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	if r, err = http.NewRequestWithContext(ctx, method, target, strings.NewReader(body)); err != nil {
		return op, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for _, h := range [...][]string{{"Accept", "application/json", "application/x-ndjson", "text/event-stream", "*/*;q=0.1, text/csv"},
		{"Last-Event-ID", "0", "5", "x"}, {"Accept-Encoding", "gzip", "zstd", "br, gzip;q=0", "identity"}, {"Idempotency-Key", "a", "b", ""},
		{"If-None-Match", "*", `"x"`, `W/"y`}, {"Content-Type", "application/json", "text/plain", "nonsense"}} {
		if g.rand.IntN(4) == 0 {
			r.Header.Set(h[0], pick(g, h[1:]...))
		}
	}
	return op, r, nil
}

// holds checks an answer against what the description says of it.
func (g *generator) holds(op string, res *http.Response, body []byte, whole bool) error {
	media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if res.StatusCode >= 400 {
		var p client.Problem
		if res.Request.Method == http.MethodHead {
			return nil
		}
		if err := json.Unmarshal(body, &p); err != nil || media != client.MediaProblem || p.Type == "" || p.Title == "" || p.Status != res.StatusCode || p.Hint == "" {
			return fmt.Errorf("an error that says too little: %s %s", media, body)
		}
		return nil
	}
	if op == "" || res.StatusCode == http.StatusNotModified {
		return nil
	}
	method, path, _ := strings.Cut(op, " ")
	known, ok := g.d.Paths[path][strings.ToLower(method)].Responses[strconv.Itoa(res.StatusCode)]
	if !ok {
		return fmt.Errorf("%d is not described", res.StatusCode)
	}
	content, ok := known.Content[media]
	if !ok {
		return fmt.Errorf("%s is not described", media)
	}
	if media != "application/json" || res.Header.Get("Content-Encoding") != "" || !whole || len(content.Schema) == 0 {
		return nil
	}
	return g.validate(content.Schema, body)
}

func (g *generator) validate(schema json.RawMessage, body []byte) error {
	root, err := json.Marshal(map[string]any{"$defs": g.d.Components.Schemas, "allOf": []json.RawMessage{schema}})
	if err != nil {
		return err
	}
	var s jsonschema.Schema
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(root), "#/components/schemas/", "#/$defs/")), &s); err != nil {
		return err
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return fmt.Errorf("%w: %s", err, body)
	}
	if err := resolved.Validate(v); err != nil {
		return fmt.Errorf("%w: %.300s", err, body)
	}
	return nil
}

// Five thousand requests made of the description, many of them wrong: none ends
// with a fault of ours, and every answer is as it is described.
func TestGeneratedRequests(t *testing.T) {
	t.Parallel()
	seed := uint64(20261125)
	if text := os.Getenv("HUBPIPE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	s := newSystem(t, "--contacts", "300", "--deals", "30")
	s.configure(settings{defaults: `associations = ["companies"]`})
	s.replace(`stream "deals" {}`, "stream \"deals\" { associations = [\"contacts\"] }")
	daemon := s.daemon()
	s.worker()
	if code, body := s.curl(http.MethodPost, "/v1/streams/all/sync?wait=120s", ""); code != http.StatusOK {
		t.Fatalf("the first run: %d %s", code, body)
	}
	g := newGenerator(t, s, seed)
	token := s.token()
	web := &http.Client{Transport: &http.Transport{DisableCompression: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer web.CloseIdleConnections()
	good := map[string]int{}
	for n := range 5000 {
		// What is followed has no end of its own.
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		op, r, err := g.request(ctx, s.http, token)
		if err != nil {
			cancel()
			continue // not even a request
		}
		res, err := web.Do(r)
		if err != nil {
			t.Fatalf("seed %d, request %d: %s %s: %v", seed, n, r.Method, r.URL, err)
		}
		follows := strings.Contains(r.URL.RawQuery, "follow=true") || strings.HasSuffix(r.URL.Path, "/events")
		if follows && res.StatusCode == http.StatusOK {
			cancel()
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("seed %d, request %d: %s %s: the answer ends with %v", seed, n, r.Method, r.URL, err)
		}
		if res.StatusCode >= 500 {
			t.Errorf("seed %d, request %d: %s %s: %s %s", seed, n, r.Method, r.URL, res.Status, body)
		} else if err := g.holds(op, res, body, !follows); err != nil {
			t.Errorf("seed %d, request %d: %s %s: %v", seed, n, r.Method, r.URL, err)
		}
		if res.StatusCode < 300 {
			good[op]++
		}
		if t.Failed() && n > 200 {
			break // enough to see
		}
	}
	for _, op := range g.ops {
		if good[op] == 0 && !strings.Contains(op, "{name}") && !strings.Contains(op, "erase") {
			t.Errorf("of all requests none of %s was a right one", op)
		}
	}
	if !daemon.running() {
		t.Error("the daemon has ended")
	}
}
