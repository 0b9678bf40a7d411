package dispatch

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// define takes up an object's definitions. A property that is new may have
// values: the records that have one are looked for. With a list that differs
// otherwise, or nobody knows how, every record is held against HubSpot. One that
// is gone from the definitions keeps those that it had.
func (c *change) define(s *stream.Stream, p *protocol.Page) {
	s.SchemaAsOf = p.AsOf
	if s.CurrentList() == p.List && s.Choice != nil {
		return
	}
	defined := definedNames(p.Schema)
	if s.CurrentList() != "" && s.CurrentList() != p.List {
		s.ListAt = c.now.Round(0)
		if relisted(s, p.List) {
			if more := c.added(s, defined); len(more) > 0 {
				s.Fill = append(s.Fill, without(more, slices.Sorted(slices.Values(s.Fill)))...)
			} else {
				s.ReconcileNow = true
			}
		}
		c.vanish(s, p)
	}
	s.UseList(p.List)
	c.choose(s, defined)
}

// listsOf is the first generation of property lists that is above those of all
// records: a stream whose entry in the ledger was lost has some, a new one none.
func (c *change) listsOf(streamName string) (first uint32, err error) {
	if err := c.open(); err != nil {
		return 0, err
	}
	if err := c.tx.Heads(streamName, "", "", func(h *stream.Head) error {
		first = max(first, h.List+1)
		return nil
	}); err != nil {
		return 0, fmt.Errorf("read what is stored of %s: %w", streamName, err)
	}
	return first, nil
}

// choose notes by which patterns the list in use was chosen, where it was by those
// that are configured now, and whether it is long.
func (c *change) choose(s *stream.Stream, defined map[string]bool) {
	cfg := c.d.config[s.Name]
	s.Choice = nil
	if cfg == nil {
		return
	}
	names := chosenNames(cfg, defined)
	if protocol.ListHash(names) != s.CurrentList() {
		return // read for a configuration that holds no more
	}
	s.Choice = &stream.Choice{Properties: cfg.Properties, Exclude: cfg.Exclude}
	s.Wide = len(strings.Join(names, ",")) > catalogue.AddressLimit-shortAddress
	s.Fill = slices.DeleteFunc(s.Fill, func(name string) bool { return !defined[name] || !chosen(cfg, name) })
}

// shortAddress is what an address has beside the names of properties.
const shortAddress = 100

// added are the properties of a new list that the one in use has not, where that
// is all in which they differ, apart from those that HubSpot has no more; nil
// where it is not, or not known.
func (c *change) added(s *stream.Stream, defined map[string]bool) []string {
	cfg := c.d.config[s.Name]
	old, err := c.d.store.Schema(s.Name)
	if cfg == nil || err != nil {
		return nil
	}
	was, ok := listInUse(s, definedNames(old))
	if !ok {
		return nil
	}
	now := chosenNames(cfg, defined)
	for _, name := range without(was, now) {
		if defined[name] {
			return nil // it is not to be copied any more
		}
	}
	return without(now, was)
}

// listInUse are the names of the list in use, by the definitions that it was chosen
// from; ok is false where that is not known.
func listInUse(s *stream.Stream, defined map[string]bool) (names []string, ok bool) {
	if s.Choice == nil || defined == nil {
		return nil, false
	}
	names = chosenNames(&StreamConfig{Properties: s.Choice.Properties, Exclude: s.Choice.Exclude}, defined)
	return names, protocol.ListHash(names) == s.CurrentList()
}

// vanish notes which properties the definitions have lost since they were read
// last, and which they have again. What the configuration does not ask for has
// not vanished: it is not wanted.
func (c *change) vanish(s *stream.Stream, p *protocol.Page) {
	was, err := c.d.store.Schema(s.Name)
	if err != nil {
		return // there were none
	}
	cfg := c.d.config[s.Name]
	now := definedNames(p.Schema)
	for name := range definedNames(was) {
		if !now[name] && cfg != nil && chosen(cfg, name) && s.Vanished[name] == 0 {
			if s.Vanished == nil {
				s.Vanished = map[string]int64{}
			}
			s.Vanished[name] = p.AsOf
		}
	}
	for name := range s.Vanished {
		if now[name] || cfg == nil || !chosen(cfg, name) {
			delete(s.Vanished, name)
		}
	}
}

// definedNames reads the names of a list of definitions; of what is none it has
// none.
func definedNames(schema []byte) map[string]bool {
	var list []struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(schema, &list) != nil {
		return nil
	}
	names := make(map[string]bool, len(list))
	for _, d := range list {
		names[d.Name] = true
	}
	return names
}

// chosen tells whether the configuration asks for a property. The patterns have
// been checked when it was read.
func chosen(cfg *StreamConfig, name string) bool {
	return (len(cfg.Properties) == 0 || matchesAny(cfg.Properties, name)) && !matchesAny(cfg.Exclude, name)
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}

// unknown is what was found out about the properties that a stream names, by the
// definitions of a time.
type unknown struct {
	cfg   *StreamConfig
	asOf  int64
	names []string
}

// unknownProperty is the problem of a stream that names properties which HubSpot
// does not have; all else of it goes on. One that has vanished is not wrong: its
// last values are kept.
func (d *Dispatcher) unknownProperty(s *stream.Stream, cfg *StreamConfig) *stream.Problem {
	if len(cfg.Named) == 0 || s.SchemaAsOf == 0 {
		return nil
	}
	u := d.unknown[s.Name]
	if u.cfg != cfg || u.asOf != s.SchemaAsOf {
		u = unknown{cfg: cfg, asOf: s.SchemaAsOf}
		if schema, err := d.store.Schema(s.Name); err == nil {
			defined := definedNames(schema)
			for _, name := range cfg.Named {
				if defined != nil && !defined[name] && s.Vanished[name] == 0 {
					u.names = append(u.names, name)
				}
			}
		}
		d.unknown[s.Name] = u
	}
	if len(u.names) == 0 {
		return nil
	}
	return &stream.Problem{Type: "unknown-property", Title: "HubSpot has no such property",
		Detail: s.Object + " has no " + few(u.names) + ", which the configuration names; everything else is copied",
		Hint:   "see how HubSpot calls it (GET /v1/streams/" + s.Name + "/schema), mend it in the stream and reload"}
}

// keepVanished gives a record the values of properties that have vanished, as
// they were last.
func keepVanished(s *stream.Stream, old, r *stream.Record) {
	if len(s.Vanished) == 0 || len(old.Properties) == 0 || len(r.Properties) < 2 {
		return
	}
	var had, has map[string]json.RawMessage
	if json.Unmarshal(old.Properties, &had) != nil || json.Unmarshal(r.Properties, &has) != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.Vanished)) {
		value, ok := had[name]
		if _, again := has[name]; again || !ok || string(value) == "null" {
			continue
		}
		key, err := json.Marshal(name)
		if err != nil {
			continue // a name always encodes
		}
		kept := slices.Clone(r.Properties[:len(r.Properties)-1])
		if len(has) > 0 {
			kept = append(kept, ',')
		}
		kept = append(append(append(kept, key...), ':'), value...)
		r.Properties = append(kept, '}')
		has[name] = value
	}
}

// Chooses tells whether the configuration asks for a property.
func (cfg *StreamConfig) Chooses(name string) bool { return chosen(cfg, name) }
