package api

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// wordsFile is what the comments of the client's types say, of each type and
// field; a test holds it to the code and writes it.
//
//go:embed words.json
var wordsFile []byte

// words are comments by type, and below it by the JSON name of a field; that of
// the type itself under "".
type words map[string]map[string]string

// shapes are those fields of which the Go type tells less than is so.
func shapes() map[string]*jsonschema.Schema {
	one := func(values ...string) *jsonschema.Schema {
		s := &jsonschema.Schema{Type: "string"}
		for _, v := range values {
			s.Enum = append(s.Enum, v)
		}
		return s
	}
	object := &jsonschema.Schema{Type: "object", AdditionalProperties: anything()}
	return map[string]*jsonschema.Schema{
		"Status.state": one(client.StateStopped, client.StateWaiting, client.StateRunning, client.StateThrottled, client.StateFailing,
			client.StateBlocked),
		"Status.set_by":        one(client.SetByFile, client.SetByAPI),
		"Run.state":            one(client.RunRunning, client.RunDone, client.RunFailed, client.RunStopped),
		"Run.report":           {Types: []string{"object", "null"}, AdditionalProperties: anything()},
		"Worker.state":         one(client.WorkerOnline, client.WorkerOffline),
		"Answer.status":        {Description: "a Status, or for all streams a list of them"},
		"Record.state":         one("live", "archived", "purged", "merged"),
		"Record.properties":    object,
		"Record.associations":  object,
		"Record.history":       object,
		"PlannedStream.change": one(client.ChangeNew, client.ChangeRemoved, client.ChangeChanged, client.ChangeRefused),
		"PlannedPortal.change": one(client.ChangeNew, client.ChangeRemoved, client.ChangeChanged, client.ChangeRefused),
	}
}

// anything is what the members of an object may be. It has to be said: makers of
// clients take an object of which nothing is said for one that has no members.
func anything() *jsonschema.Schema { return &jsonschema.Schema{} }

// schemas makes a schema of each type that is asked for, and of those in it.
type schemas struct {
	words  words
	shapes map[string]*jsonschema.Schema
	made   map[string]*jsonschema.Schema
}

func newSchemas() (*schemas, error) {
	s := &schemas{shapes: shapes(), made: map[string]*jsonschema.Schema{}}
	if err := json.Unmarshal(wordsFile, &s.words); err != nil {
		return nil, fmt.Errorf("read the words of the types: %w", err)
	}
	return s, nil
}

const schemaRoot = "#/components/schemas/"

// ref is a reference to the schema of a value's type, which is made where it is
// not there. Bodies of requests are closed: what they do not name is refused.
func (s *schemas) ref(v any, closed bool) (*jsonschema.Schema, error) {
	t := reflect.TypeOf(v)
	if err := s.make(t, closed); err != nil {
		return nil, err
	}
	return &jsonschema.Schema{Ref: schemaRoot + t.Name()}, nil
}

func (s *schemas) make(t reflect.Type, closed bool) error {
	if s.made[t.Name()] != nil {
		return nil
	}
	within := map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[json.RawMessage](): {},
		reflect.TypeFor[time.Time]():       {Type: "string", Format: "date-time"},
	}
	inner := named(t)
	for _, n := range inner {
		within[n] = &jsonschema.Schema{Ref: schemaRoot + n.Name()}
	}
	made, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: within})
	if err != nil {
		return fmt.Errorf("the schema of %s: %w", t, err)
	}
	s.made[t.Name()] = made
	if made.Description = s.words[t.Name()][""]; !closed {
		made.AdditionalProperties = nil
	}
	for name, p := range made.Properties {
		if shape := s.shapes[t.Name()+"."+name]; shape != nil {
			p = shape.CloneSchemas()
		}
		p = settled(p)
		p.Description = s.said(t, name)
		made.Properties[name] = p
	}
	for _, n := range inner {
		if err := s.make(n, closed); err != nil {
			return err
		}
	}
	return nil
}

// said is the comment of a field, of the type itself or of one that it embeds.
func (s *schemas) said(t reflect.Type, name string) string {
	if w := s.words[t.Name()][name]; w != "" {
		return w
	}
	for f := range t.Fields() {
		if f.Anonymous {
			if w := s.said(f.Type, name); w != "" {
				return w
			}
		}
	}
	return ""
}

// settled writes a schema as it is for what we send: a list is never null, and
// what may be null beside a reference says so as OpenAPI wants it.
func settled(p *jsonschema.Schema) *jsonschema.Schema {
	switch {
	case p.Ref != "" && len(p.Types) > 0:
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Ref: p.Ref}, {Type: "null"}}}
	case slices.Contains(p.Types, "array"):
		p.Type, p.Types = "array", nil
		p.Items = settled(p.Items)
	case p.AdditionalProperties != nil:
		p.AdditionalProperties = settled(p.AdditionalProperties)
	}
	return p
}

// named are the structs of the client that a type's fields speak of.
func named(t reflect.Type) []reflect.Type {
	found := map[reflect.Type]bool{}
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(t.Elem())
		case reflect.Struct:
			if t != reflect.TypeFor[time.Time]() {
				found[t] = true
			}
		default:
		}
	}
	for f := range t.Fields() {
		if !f.Anonymous {
			walk(f.Type)
			continue
		}
		for _, n := range named(f.Type) {
			found[n] = true
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b reflect.Type) int { return strings.Compare(a.Name(), b.Name()) })
}

// Schemas describes types for other documents than the API's own: those of the
// values, by their names, and all that they speak of.
func Schemas(values map[string]any) (map[string]*jsonschema.Schema, error) {
	s, err := newSchemas()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, err := s.ref(values[name], false); err != nil {
			return nil, err
		}
	}
	return s.made, nil
}
