package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// described is what a test needs of the document.
type described struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID string
		Parameters  []struct {
			Name, In, Description string
			Schema                map[string]any
			Example               any
		}
		RequestBody *struct {
			Content     map[string]any
			Required    bool
			Description string
		}
		Responses map[string]any
		Security  *[]any
	}
}

func document(t *testing.T, b *bundle) (described, *http.Response) {
	t.Helper()
	res := do(t, b, "GET", "/openapi.json", "")
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %v %s\n%s", res.Status, err, text, b.log)
	}
	var d described
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d, res
}

// Every route is in the document, and all that is in it is a route.
func TestTheDocumentIsOfTheRoutes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d, _ := document(t, b)
	if !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Errorf("it is of OpenAPI %s", d.OpenAPI)
	}
	ids := map[string]string{}
	routes := map[string]bool{}
	for _, r := range b.server.Routes() {
		name := r.Method + " " + r.Pattern
		routes[name] = true
		op, ok := d.Paths[r.Pattern][strings.ToLower(r.Method)]
		if !ok {
			t.Errorf("%s is not in it", name)
			continue
		}
		if ids[op.OperationID] != "" || op.OperationID == "" {
			t.Errorf("%s is called %q, as %q is", name, op.OperationID, ids[op.OperationID])
		}
		ids[op.OperationID] = name
		said := map[string]bool{}
		for _, p := range op.Parameters {
			if p.Description == "" || p.Schema["type"] == nil || p.Example == nil {
				t.Errorf("%s: of the parameter %s too little is said: %+v", name, p.Name, p)
			}
			if p.In != "header" {
				said[p.In+" "+p.Name] = true
			}
		}
		for _, q := range r.Query {
			if !said["query "+q] {
				t.Errorf("%s: the parameter %s is not in it", name, q)
			}
			delete(said, "query "+q)
		}
		for p := range said {
			if !strings.HasPrefix(p, "path ") || !strings.Contains(r.Pattern, "{"+strings.TrimPrefix(p, "path ")+"}") {
				t.Errorf("%s has no parameter %s", name, p)
			}
		}
		if op.Responses["default"] == nil || len(op.Responses) < 3 {
			t.Errorf("%s: its answers: %v", name, op.Responses)
		}
	}
	for path, methods := range d.Paths {
		for m := range methods {
			if !routes[strings.ToUpper(m)+" "+path] {
				t.Errorf("%s %s is no route", m, path)
			}
		}
	}
}

// A body that has to be there is said to be so, and no other.
func TestTheDocumentSaysWhichBodiesMayBeLeftOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d, _ := document(t, b)
	for path, methods := range d.Paths {
		for m, op := range methods {
			if op.RequestBody == nil {
				continue
			}
			at := strings.NewReplacer("{stream}", "contacts", "{name}", "warehouse").Replace(path)
			needed := do(t, b, strings.ToUpper(m), at, "").StatusCode == http.StatusBadRequest
			if op.RequestBody.Required != needed || strings.Contains(op.RequestBody.Description, "left out") == needed {
				t.Errorf("%s %s is answered well without a body: %v; it says %+v", m, path, !needed, op.RequestBody)
			}
		}
	}
}

// An object of which nothing is said has no members, for makers of clients.
func TestObjectsSayWhatTheyHold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	res := do(t, b, "GET", "/openapi.json", "")
	defer res.Body.Close()
	var all any
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	objects := 0
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case []any:
			for i := range v {
				walk(fmt.Sprint(at, "/", i), v[i])
			}
		case map[string]any:
			types, _ := v["type"].([]any)
			if v["type"] == "object" || slices.Contains(types, any("object")) {
				objects++
				if v["properties"] == nil && v["additionalProperties"] == nil {
					t.Errorf("%s: %v", at, v)
				}
			}
			for name := range v {
				walk(at+"/"+name, v[name])
			}
		}
	}
	walk("", all)
	if objects < 30 {
		t.Errorf("only %d objects are described", objects)
	}
}

func TestTheDocumentIsNotSentTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, res := document(t, b)
	etag := strings.TrimPrefix(res.Header.Get("ETag"), "W/")
	for tag, want := range map[string]int{etag: 304, `"other", W/` + etag: 304, `"other"`: 200} {
		res := do(t, b, "GET", "/openapi.json", "", "If-None-Match", tag)
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != want || (want == 304) != (len(body) == 0) {
			t.Errorf("%s: %s, %d bytes", tag, res.Status, len(body))
		}
	}
}

// The page names every operation and asks nobody else for anything.
func TestThePageNeedsNoNetwork(t *testing.T) {
	t.Parallel()
	b := setup(t)
	res := do(t, b, "GET", "/docs", "")
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	d, _ := document(t, b)
	for path, methods := range d.Paths {
		for _, op := range methods {
			if !strings.Contains(page, `id="`+op.OperationID+`"`) {
				t.Errorf("%s (%s) is not on it", op.OperationID, path)
			}
		}
	}
	for _, bad := range []string{"<script", "src=", "@import", "url(", "https://"} {
		if strings.Contains(page, bad) {
			t.Errorf("it has %q", bad)
		}
	}
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("its policy: %q", csp)
	}
}

// wrongFor are values that a parameter's schema does not allow.
func wrongFor(schema map[string]any) []string {
	switch {
	case schema["enum"] != nil:
		return []string{"no-such", "", "NDJSON,"}
	case schema["type"] == "integer":
		return []string{"x", "-1", "0", "1.5", fmt.Sprintf("%.0f", schema["maximum"].(float64)+1), ""}
	case schema["type"] == "boolean":
		return []string{"maybe", "1", ""}
	case schema["format"] == "date-time":
		return []string{"yesterday", "2026-13-01T00:00:00Z", "5", ""}
	case schema["pattern"] != nil && schema["pattern"] != "":
		right := regexp.MustCompile(schema["pattern"].(string))
		return slices.DeleteFunc([]string{"no such!", "\x00", ",", "a,,b", "live,dead", "10", "-1"}, right.MatchString)
	}
	return nil
}

// A bad value of any parameter is refused with what, where and what would be
// right, and changes nothing.
func TestBadParametersSayWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d, _ := document(t, b)
	tried := 0
	for path, methods := range d.Paths {
		for method, op := range methods {
			at := path
			for _, p := range op.Parameters {
				if p.In == "path" {
					at = strings.Replace(at, "{"+p.Name+"}", fmt.Sprint(p.Example), 1)
				}
			}
			for _, p := range op.Parameters {
				if p.In != "query" {
					continue
				}
				for _, wrong := range wrongFor(p.Schema) {
					tried++
					before := len(b.d.called())
					problem := problem(t, do(t, b, strings.ToUpper(method), at+"?"+p.Name+"="+url.QueryEscape(wrong), ""))
					if problem.Status != 400 || problem.Type != "bad-parameter" || !strings.Contains(problem.Detail, p.Name) ||
						!strings.Contains(problem.Hint, p.Name) {
						t.Errorf("%s %s?%s=%q: %+v", method, path, p.Name, wrong, problem)
					}
					if after := b.d.called(); len(after) != before {
						t.Errorf("%s %s?%s=%q did %s", method, path, p.Name, wrong, after[before:])
					}
				}
			}
			if path == "/metrics" {
				continue // what scrapes may send what it likes
			}
			p := problem(t, do(t, b, strings.ToUpper(method), at+"?no_such=1", ""))
			if p.Status != 400 || !strings.Contains(p.Detail, "no_such") || p.Hint == "" {
				t.Errorf("%s %s?no_such: %+v", method, path, p)
			}
		}
	}
	if tried < 40 {
		t.Errorf("only %d values were tried", tried)
	}
}
