package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// object is one of the document. Its members come out in order of their names.
type object = map[string]any

// document is the OpenAPI description of what the server answers, made of the
// table of routes and of the client's types.
type document struct {
	types map[string]*jsonschema.Schema
	json  []byte
	etag  string
}

// newDocument makes the description of routes. An error names what of the code
// is not described.
func newDocument(version string, routes []Route) (*document, error) {
	made, err := newSchemas()
	if err != nil {
		return nil, err
	}
	problem, err := made.ref(client.Problem{}, false)
	if err != nil {
		return nil, err
	}
	paths := object{}
	known := operations()
	for i := range routes {
		r := &routes[i]
		op, ok := known[r.Method+" "+r.Pattern]
		if !ok {
			return nil, fmt.Errorf("%s %s has no row in the table of operations", r.Method, r.Pattern)
		}
		described, err := describe(made, r, &op)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", r.Method, r.Pattern, err)
		}
		path, _ := paths[r.Pattern].(object)
		if path == nil {
			path = object{}
			paths[r.Pattern] = path
		}
		path[strings.ToLower(r.Method)] = described
	}
	var shownTags []any
	for _, t := range tags() {
		shownTags = append(shownTags, object{"name": t.name, "description": t.what})
	}
	d := &document{types: made.made}
	d.json, err = json.Marshal(object{
		"openapi": "3.1.0",
		"info": object{"title": "hubpipe", "version": version,
			"description": "Start and stop what hubpipe copies of HubSpot, and read what it has stored.",
			"license":     object{"name": "Apache 2.0", "identifier": "Apache-2.0"},
			"contact":     object{"name": "hubpipe", "url": "https://github.com/hubpipe/hubpipe"}},
		"servers":  []any{object{"url": "/", "description": "the daemon that you have this from"}},
		"tags":     shownTags,
		"paths":    paths,
		"security": []any{object{"token": []any{}}, object{"password": []any{}}},
		"components": object{
			"schemas": made.made,
			"securitySchemes": object{
				"token":    object{"type": "http", "scheme": "bearer", "description": "`hubpipe token` prints it"},
				"password": object{"type": "http", "scheme": "basic", "description": "a user of the configuration"},
			},
			"responses": object{"Problem": object{"description": "What is wrong, and what would be right.",
				"content": object{client.MediaProblem: object{"schema": problem}}}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the description of the API: %w", err)
	}
	sum := sha256.Sum256(d.json)
	d.etag = `"` + hex.EncodeToString(sum[:8]) + `"`
	return d, nil
}

// pathNames are the names in a pattern's path.
var pathNames = regexp.MustCompile(`\{([a-z]+)\}`)

func describe(made *schemas, r *Route, op *operation) (object, error) {
	out := object{"operationId": op.id, "summary": r.Summary, "tags": []any{op.tag}}
	out["description"] = strings.TrimSpace(strings.ToUpper(r.Summary[:1]) + r.Summary[1:] + ". " + op.more)
	var parameters []any
	for _, m := range pathNames.FindAllStringSubmatch(r.Pattern, -1) {
		parameters = append(parameters, inPath(m[1], r.Pattern, op))
	}
	for _, name := range r.Query {
		p, known := parameterOf(r.Pattern, name)
		if !known {
			return nil, fmt.Errorf("nobody says what the parameter %s may be", name)
		}
		parameters = append(parameters, object{"name": name, "in": "query", "description": p.what, "schema": p.schema, "example": p.example})
	}
	for _, h := range headersOf(r) {
		parameters = append(parameters, object{"name": h.name, "in": "header", "description": h.what, "schema": text(""), "example": h.example})
	}
	if len(parameters) > 0 {
		out["parameters"] = parameters
	}
	if op.body != nil {
		schema, err := made.ref(op.body, true)
		if err != nil {
			return nil, err
		}
		out["requestBody"] = object{"required": op.needed, "description": op.aboutBody(),
			"content": object{mediaJSON: object{"schema": schema}}}
	}
	answers := object{}
	for _, a := range op.answers {
		content, err := contentOf(made, &a)
		if err != nil {
			return nil, err
		}
		answers[strconv.Itoa(a.status)] = object{"description": a.what}
		if len(content) > 0 {
			answers[strconv.Itoa(a.status)] = object{"description": a.what, "content": content}
		}
	}
	if tagged(r) {
		answers[strconv.Itoa(http.StatusNotModified)] = object{"description": "What bears the ETag of If-None-Match is what there is."}
	}
	refused := object{"$ref": "#/components/responses/Problem"}
	for _, status := range statusesOf(r, op) {
		answers[strconv.Itoa(status)] = refused
	}
	answers["default"] = refused
	out["responses"] = answers
	if isHealth(r.Pattern) || isHubSpots(r.Pattern) {
		out["security"] = []any{} // HubSpot's signature is its credential
	}
	return out, nil
}

// header is one that a route understands.
type header struct{ name, what, example string }

func headersOf(r *Route) []header {
	var out []header
	if r.Method == http.MethodPost && !isHubSpots(r.Pattern) {
		out = append(out, header{headerKey, "names the command: a repeat within a day gets the same answer and does nothing", "7f3a9c"})
	}
	if tagged(r) {
		out = append(out, header{"If-None-Match", "the ETag of an answer that you have", `"0"`})
	}
	if strings.HasSuffix(r.Pattern, "/changes") || r.Pattern == "/v1/events" {
		out = append(out, header{"Last-Event-ID", "the id of the last event that came; an event source sends it by itself", "0"})
	}
	return out
}

// tagged tells whether a route's answers have an ETag.
func tagged(r *Route) bool {
	return r.Method == http.MethodGet && (strings.HasSuffix(r.Pattern, "/records") || strings.HasSuffix(r.Pattern, "/records/{id}") || r.Pattern == "/openapi.json")
}

func isHubSpots(pattern string) bool { return strings.HasPrefix(pattern, webhookPath) }

func isHealth(pattern string) bool { return pattern == "/healthz" || pattern == "/readyz" }

// statusesOf are those of the errors that a route is most likely answered with.
func statusesOf(r *Route, op *operation) []int {
	if isHealth(r.Pattern) {
		return []int{http.StatusBadRequest, http.StatusServiceUnavailable}
	}
	out := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}
	if strings.Contains(r.Pattern, "{") {
		out = append(out, http.StatusNotFound)
	}
	if r.Method == http.MethodPost {
		out = append(out, http.StatusConflict)
	}
	if op.body != nil {
		out = append(out, http.StatusRequestEntityTooLarge)
	}
	return append(out, http.StatusServiceUnavailable)
}

func inPath(name, pattern string, op *operation) object {
	p := object{"name": name, "in": "path", "required": true}
	schema := &jsonschema.Schema{Type: "string"}
	switch {
	case name == "stream":
		schema.Pattern = "^[a-z0-9_]{1,64}$"
		p["description"], p["example"] = "the stream's name", "contacts"
		if op.all {
			p["description"] = "the stream's name, or all"
		}
	case strings.HasPrefix(pattern, "/v1/runs/"):
		p["description"], p["example"] = "the run's id", "r000000000001"
	case name == "profile":
		p["description"], p["example"] = "the profile's name", "heap"
	case name == "id":
		p["description"], p["example"] = "the record's id", "51"
	default:
		p["description"], p["example"] = "the name in the configuration", "ops"
	}
	p["schema"] = schema
	return p
}

// contentOf says what an answer is in each media type.
func contentOf(made *schemas, a *answer) (object, error) {
	content := object{}
	for _, media := range a.media {
		var schema any = &jsonschema.Schema{Type: "string"}
		switch {
		case media == mediaJSON && a.value == nil:
			schema = &jsonschema.Schema{Type: "object", AdditionalProperties: anything()}
		case media == mediaJSON || media == mediaNDJSON && a.value != nil && !slices.Contains(a.media, mediaJSON):
			var err error
			if schema, err = valueOf(made, a.value); err != nil {
				return nil, err
			}
		}
		content[media] = object{"schema": schema}
	}
	return content, nil
}

func valueOf(made *schemas, v any) (*jsonschema.Schema, error) {
	both, ok := v.(oneOrAll)
	if !ok {
		return made.ref(v, false)
	}
	one, err := made.ref(both.one, false)
	if err != nil {
		return nil, err
	}
	all, err := made.ref(both.all, false)
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{one, all}}, err
}

func (s *Server) openapi(w http.ResponseWriter, r *http.Request, _ params) error {
	if s.describeErr != nil {
		return s.describeErr
	}
	w.Header().Set("Content-Type", mediaJSON)
	w.Header().Set("ETag", s.document.etag)
	if matches(r, s.document.etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, _ = w.Write(s.document.json)
	return nil
}

// matches tells whether the asker has what bears the tag already.
func matches(r *http.Request, etag string) bool {
	for _, list := range r.Header.Values("If-None-Match") {
		for tag := range strings.SplitSeq(list, ",") {
			if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == etag || tag == "*" {
				return true
			}
		}
	}
	return false
}
