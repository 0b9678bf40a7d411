package api

import (
	_ "embed"
	"fmt"
	"html"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// docsHead begins the page that shows the description of the API to people. The
// page asks nobody else for anything: no script, no font, no picture.
//
//go:embed docs.html
var docsHead string

// markup writes HTML. It does without html/template, which finds methods by
// their names as it runs, so that the linker has to keep every method of the
// whole program (4 MB).
type markup struct{ strings.Builder }

// f writes a format whose arguments are text to be escaped.
func (m *markup) f(format string, args ...string) {
	escaped := make([]any, len(args))
	for i, a := range args {
		escaped[i] = html.EscapeString(a)
	}
	fmt.Fprintf(m, format, escaped...)
}

func (m *markup) row(first, second, third string) {
	m.f("<tr><td>%s</td><td>%s</td><td>%s</td></tr>\n", first, second, third)
}

// newPage writes the page of a description whose routes are given.
func newPage(d *document, version string, routes []Route) []byte {
	m := &markup{}
	m.WriteString(docsHead)
	m.f("<p>Version %s. The same for programs: <a href=\"/openapi.json\">/openapi.json</a> (OpenAPI 3.1).</p>\n<nav>", version)
	for _, t := range tags() {
		m.f("<a href=\"#%s\">%s</a>", t.name, t.name)
	}
	m.WriteString("<a href=\"#types\">types</a></nav>\n")
	known := operations()
	for _, t := range tags() {
		m.f("<h2 id=\"%s\">%s</h2>\n<p>%s</p>\n", t.name, t.name, t.what)
		for i := range routes {
			if op := known[routes[i].Method+" "+routes[i].Pattern]; op.tag == t.name {
				m.operation(&routes[i], &op)
			}
		}
	}
	m.WriteString("<h2 id=\"types\">types</h2>\n")
	for _, name := range slices.Sorted(maps.Keys(d.types)) {
		s := d.types[name]
		m.f("<h3 id=\"%s\">%s</h3>\n<p>%s</p>\n<table>\n", name, name, s.Description)
		for _, field := range s.PropertyOrder {
			m.row(field, typeName(s.Properties[field]), s.Properties[field].Description)
		}
		m.WriteString("</table>\n")
	}
	m.WriteString("</html>\n")
	return []byte(m.String())
}

func (m *markup) operation(r *Route, op *operation) {
	m.f("<h3 id=\"%s\"><span class=\"m\">%s</span> <code>%s</code></h3>\n<p>%s. %s</p>\n<pre>%s</pre>\n<table>\n",
		op.id, r.Method, r.Pattern, r.Summary, op.more, curl(r, op))
	for _, name := range r.Query {
		p, _ := parameterOf(r.Pattern, name)
		m.row(name, typeName(p.schema), p.what)
	}
	if op.body != nil {
		m.row("body", nameOf(op.body), op.aboutBody())
	}
	for _, a := range op.answers {
		m.row(http.StatusText(a.status), strings.TrimSpace(nameOf(a.value)+" "+strings.Join(a.media, ", ")), a.what)
	}
	m.WriteString("</table>\n")
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
	_, _ = w.Write(s.docsPage)
	return nil
}
