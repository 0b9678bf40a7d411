package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// fieldsOf are the properties asked for; nil is all of them. One that the stream
// does not have is a problem, where its definitions are known.
func (s *Server) fieldsOf(name string, q params) ([]string, error) {
	fields, err := q.fields()
	if err != nil || fields == nil {
		return nil, err
	}
	definitions, err := s.definitions(s.o.Data, name)
	if err != nil || len(definitions) == 0 { // what is no object of the CRM has none
		return fields, err
	}
	known := make([]string, len(definitions))
	for i, d := range definitions {
		known[i] = d.Name
	}
	for _, f := range fields {
		if slices.Contains(known, f) {
			continue
		}
		hint := "GET /v1/streams/" + name + "/schema lists them"
		if near := stream.Nearest(f, known); near != "" {
			hint = fmt.Sprintf("did you mean %q? %s", near, hint)
		}
		return nil, badParameter(hint, "%s has no property %q", name, Clip(f))
	}
	return fields, nil
}

// definitions are HubSpot's of a stream's properties; none where they were not
// read yet, or where there are none.
func (s *Server) definitions(data View, name string) ([]stream.Property, error) {
	b, err := data.Schema(name)
	switch {
	case err != nil && s.notFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return decodeDefinitions(b, name)
}

func decodeDefinitions(b []byte, name string) (list []stream.Property, err error) {
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("decode the schema of %s: %w", name, err)
	}
	return list, nil
}

// formulas is what is made of a cell of CSV that a spreadsheet would take for a
// formula: harmless, unless it is to be kept as it is.
func (q params) formulas() (guard func(string) string, err error) {
	switch text, ok := q["formulas"]; {
	case !ok || text == "safe":
		return harmless, nil
	case text == "keep":
		return func(s string) string { return s }, nil
	default:
		return nil, badParameter("formulas is safe (an apostrophe before what a spreadsheet would run) or keep (every value as it is)", "formulas is %q", Clip(text))
	}
}

// harmless puts an apostrophe before what a spreadsheet would take for a
// formula. A number with its sign is none, nor is a telephone number: without a
// letter nothing is called.
func harmless(s string) string {
	if s == "" || !strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
		return s
	}
	if s[0] == '+' && strings.Trim(s, "+0123456789 ()./-") == "" && strings.ContainsAny(s, "0123456789") {
		return s
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return s
	}
	return "'" + s
}
