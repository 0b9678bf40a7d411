package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// refuser tries requests that have to be refused.
type refuser struct {
	t     *testing.T
	s     *system
	token string
	tried map[string]int
}

// try makes one; what it is refused with has to say what would be right.
func (r *refuser) try(where, method, path, body string, headers ...string) {
	r.t.Helper()
	r.tried[where]++
	req, err := http.NewRequestWithContext(r.t.Context(), strings.ToUpper(method), r.s.http+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	said := fmt.Sprintf("%s: %s %.120s %.80q %.80q: %s", where, method, path, body, headers, res.Status)
	if res.StatusCode < 400 || res.StatusCode >= 500 {
		r.t.Error(said)
		return
	}
	text, err := io.ReadAll(res.Body)
	var p client.Problem
	if err != nil || json.Unmarshal(text, &p) != nil || p.Status != res.StatusCode || p.Type == "" || p.Title == "" || p.Detail == "" || p.Hint == "" {
		r.t.Errorf("%s %s %v", said, text, err)
	}
}

// wrongValues are what a member of a body may not be: of other types, and text
// that names nothing.
func wrongValues(types any) (out []any) {
	for name, v := range map[string]any{"number": 7, "boolean": true, "array": []any{"x"}, "object": map[string]any{}} {
		if types != name {
			out = append(out, v)
		}
	}
	if types == "string" {
		out = append(out, "no such\x00thing")
	} else {
		out = append(out, "yes")
	}
	return out
}

// What stands wrongly in an address, a header or a body of any route is refused
// as what stands wrongly in a query: with what is wrong, and what would be right;
// and changes nothing.
func TestBadValuesSayWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "10", "--deals", "5")
	s.configure(settings{defaults: "autostart = false"})
	s.more("notify \"ops\" {\n webhook = \"http://127.0.0.1:1/\"\n format = \"json\"\n}\n")
	s.daemon()
	before := s.get("/v1/streams")
	d := decode[described](t, s.get("/openapi.json"))
	r := refuser{t, s, s.token(), map[string]int{}}
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.OperationID == "receiveWebhook" {
				continue // HubSpot's signature comes before all else
			}
			at := path
			for _, p := range op.Parameters {
				if p.In == "path" {
					at = strings.Replace(at, "{"+p.Name+"}", fmt.Sprint(p.Example), 1)
				}
			}
			for _, p := range op.Parameters {
				switch {
				case p.In == "path":
					for _, wrong := range []string{"no such thing", "\x00", "ü", strings.Repeat("x", 300), "-1"} {
						there := strings.Replace(path, "{"+p.Name+"}", url.PathEscape(wrong), 1)
						r.try("path", method, strings.Replace(there, "{stream}", "contacts", 1), "")
					}
				case p.Name == "Idempotency-Key":
					for _, wrong := range []string{"a b", strings.Repeat("x", 300), ""} {
						r.try("header", method, at, "", p.Name, wrong)
					}
				case p.Name == "Last-Event-ID":
					for _, wrong := range []string{"x", "-1"} {
						r.try("header", method, at, "", p.Name, wrong)
					}
				}
			}
			if op.RequestBody == nil {
				continue
			}
			for _, wrong := range []string{"nonsense", "[]", "7", `{"no_such":1}`, `{"a":`, "\x00"} {
				r.try("body", method, at, wrong)
			}
			for name, types := range membersOf(t, d, op.RequestBody.Content) {
				for _, wrong := range wrongValues(types) {
					b, err := json.Marshal(map[string]any{name: wrong})
					if err != nil {
						t.Fatal(err)
					}
					r.try("body", method, at, string(b))
				}
			}
		}
	}
	if r.tried["path"] < 80 || r.tried["header"] < 40 || r.tried["body"] < 50 {
		t.Errorf("only so many were tried: %v", r.tried)
	}
	if after := s.get("/v1/streams"); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
}

// membersOf are those that a body may have, with the type of each.
func membersOf(t *testing.T, d described, content map[string]any) map[string]any {
	t.Helper()
	media, _ := content["application/json"].(map[string]any)
	schema, _ := media["schema"].(map[string]any)
	ref, _ := schema["$ref"].(string)
	var body struct {
		Properties map[string]struct{ Type any }
	}
	if err := json.Unmarshal(d.Components.Schemas[ref[strings.LastIndex(ref, "/")+1:]], &body); err != nil || len(body.Properties) == 0 {
		t.Fatalf("the body %q: %v", ref, err)
	}
	out := map[string]any{}
	for name, p := range body.Properties {
		out[name] = p.Type
	}
	return out
}
