package dispatch

import (
	"encoding/json"
	"strings"
)

// schemasObject is that of which the records say what a portal's own objects are
// called, under HubSpot's numbers of them.
const schemasObject = "schemas"

// byName are hints under all names of their objects. HubSpot names an object that a
// portal has defined by its number, and a stream most often by its name: where
// definitions are copied, too, each such hint is there under its names as well.
func (c *change) byName(portal string, hints []Hint) ([]Hint, error) {
	out, names := make([]Hint, 0, len(hints)), map[string][]string{}
	for _, h := range hints {
		out = append(out, h)
		own, looked := names[h.Object]
		if !looked {
			var err error
			if own, err = c.namesOf(portal, h.Object); err != nil {
				return nil, err
			}
			names[h.Object] = own
		}
		for _, h.Object = range own {
			out = append(out, h)
		}
	}
	return out, nil
}

// objectsByName are objects with the names that they have besides.
func (c *change) objectsByName(portal string, objects []string) (out []string, err error) {
	for _, object := range objects {
		names, err := c.namesOf(portal, object)
		if err != nil {
			return nil, err
		}
		out = append(append(out, object), names...)
	}
	return out, nil
}

// namesOf are those by which a stream may have an object that a portal has
// defined. What is not known is not waited for: the interval finds what the hint
// would have.
func (c *change) namesOf(portal, object string) (out []string, err error) {
	if !strings.HasPrefix(object, "2-") {
		return nil, nil // one of HubSpot's own, which is known
	}
	for _, name := range c.d.Names() {
		s, cfg := c.d.streams[name], c.d.config[name]
		if s == nil || s.Portal != portal || cfg.Object != schemasObject {
			continue
		}
		if err := c.open(); err != nil {
			return nil, err
		}
		r, err := c.tx.Record(name, object)
		var said struct {
			Name  string `json:"name"`
			Whole string `json:"fullyQualifiedName"`
		}
		if err != nil || r == nil || json.Unmarshal(r.Properties, &said) != nil {
			continue // what cannot be read is the checks' to find
		}
		if said.Name != "" {
			out = append(out, "p_"+said.Name)
		}
		if said.Whole != "" && said.Whole != "p_"+said.Name {
			out = append(out, said.Whole)
		}
	}
	return out, nil
}
