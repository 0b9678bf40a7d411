package api

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// docsPage is the page that shows the description of the API to people. It asks
// nobody else for anything: no script, no font, no picture.
//
//go:embed docs.html
var docsPage string

// page is what the template gets.
type page struct {
	Version string
	Tags    []pageTag
	Types   []pageType
}

type pageTag struct {
	Name, What string
	Operations []pageOperation
}

type pageOperation struct {
	Method, Path, ID, Summary, What, Curl string
	Parameters                            []pageField
	Body                                  string
	Answers                               []pageAnswer
}

type pageAnswer struct{ Status, What, Media, Type string }

type pageType struct {
	Name, What string
	Fields     []pageField
}

type pageField struct{ Name, Type, What string }

// newPage writes the page of a description whose routes are given.
func newPage(d *document, version string, routes []Route) ([]byte, error) {
	t, err := template.New("docs").Parse(docsPage)
	if err != nil {
		return nil, fmt.Errorf("read the page of the API: %w", err)
	}
	p := page{Version: version}
	known := operations()
	types := d.value["components"].(object)["schemas"].(map[string]*jsonschema.Schema)
	for _, tag := range d.value["tags"].([]any) {
		named := tag.(object)
		pt := pageTag{Name: named["name"].(string), What: named["description"].(string)}
		for i := range routes {
			if op := known[routes[i].Method+" "+routes[i].Pattern]; op.tag == pt.Name {
				pt.Operations = append(pt.Operations, shownOperation(&routes[i], &op))
			}
		}
		p.Tags = append(p.Tags, pt)
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		s := types[name]
		pt := pageType{Name: name, What: s.Description}
		for _, field := range s.PropertyOrder {
			pt.Fields = append(pt.Fields, pageField{field, typeName(s.Properties[field]), s.Properties[field].Description})
		}
		p.Types = append(p.Types, pt)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("write the page of the API: %w", err)
	}
	return b.Bytes(), nil
}

func shownOperation(r *Route, op *operation) pageOperation {
	out := pageOperation{Method: r.Method, Path: r.Pattern, ID: op.id, Summary: r.Summary, What: op.more, Curl: curl(r, op)}
	for _, name := range r.Query {
		p, _ := parameterOf(r.Pattern, name)
		out.Parameters = append(out.Parameters, pageField{name, typeName(p.schema), p.what})
	}
	if op.body != nil {
		out.Body = nameOf(op.body)
	}
	for _, a := range op.answers {
		out.Answers = append(out.Answers, pageAnswer{http.StatusText(a.status), a.what, strings.Join(a.media, ", "), nameOf(a.value)})
	}
	return out
}

func nameOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case oneOrAll:
		return nameOf(v.one) + " or " + nameOf(v.all)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", v), "client.")
}

// typeName is a schema in a word or two.
func typeName(s *jsonschema.Schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		return strings.TrimPrefix(s.Ref, schemaRoot)
	case len(s.AnyOf) == 2:
		return typeName(s.AnyOf[0]) + " or " + typeName(s.AnyOf[1])
	case len(s.Enum) > 0:
		return strings.Trim(fmt.Sprint(s.Enum...), "[]")
	case s.Type == "array":
		return "list of " + typeName(s.Items)
	case s.Format != "" && len(s.Types) == 0:
		return s.Format
	case len(s.Types) > 0:
		return strings.Join(s.Types, " or ")
	}
	return s.Type
}

// curl is a line that calls a route.
func curl(r *Route, op *operation) string {
	path := r.Pattern
	for _, m := range pathNames.FindAllStringSubmatch(r.Pattern, -1) {
		path = strings.Replace(path, m[0], fmt.Sprint(inPath(m[1], r.Pattern, op)["example"]), 1)
	}
	line := `curl -H "$auth" $api` + path
	if r.Method != http.MethodGet {
		line = `curl -H "$auth" -X ` + r.Method + ` $api` + path
	}
	return line
}

func (s *Server) docs(w http.ResponseWriter, _ *http.Request, _ params) error {
	if s.describeErr != nil {
		return s.describeErr
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	_, _ = w.Write(s.docsHTML)
	return nil
}
