package simulator

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// NewProperty describes a property to add.
type NewProperty struct {
	Name string `json:"name"`
	// Kind is one of text, name, number, enum, multi, date, datetime, bool, or
	// days and elapsed: the days and the milliseconds since something, which
	// change with the clock and not with the record.
	Kind string `json:"kind"`
	// Fill is how many of 100 records have a value from the start. No record's
	// modification time changes with it.
	Fill uint64 `json:"fill"`
	// Calculated says that HubSpot fills it: see PropertyChange.Recalculate.
	Calculated bool `json:"calculated"`
	// Sensitive is "sensitive" or "highly_sensitive"; empty for neither.
	Sensitive string `json:"sensitive"`
}

// Retype says that a property becomes of another kind. Its values stay what
// they are.
type Retype struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

// Recalculation says that a calculated property has new values.
type Recalculation struct {
	Name  string `json:"name"`
	Share uint64 `json:"share"` // in how many of 100 records; 0 is all
}

// PropertyChange changes an object's definitions; the parts are done in the
// order of the fields. None of it changes a record's modification time.
type PropertyChange struct {
	Add    []NewProperty `json:"add"`
	Remove []string      `json:"remove"` // archives it: it is gone from definitions and records
	// Restore brings archived ones back, with the values they had.
	Restore []string `json:"restore"`
	Retype  []Retype `json:"retype"`
	// Sensitive says how sensitive a property is from now on; "" ends it.
	// Without the scope for it a sensitive property is gone like an archived one.
	Sensitive   map[string]string `json:"sensitive"`
	Recalculate []Recalculation   `json:"recalculate"`
}

// Errors of ChangeProperties.
var (
	ErrUnknownKind    = errors.New("no such kind of property")
	ErrPropertyExists = errors.New("there is such a property")
	ErrNotCalculated  = errors.New("the property is not calculated")
)

// kindNames are what NewProperty calls kinds.
func kindNames() map[string]kind {
	return map[string]kind{
		"text": kindText, "name": kindName, "number": kindNumber, "enum": kindEnum, "multi": kindMulti, "date": kindDate,
		"datetime": kindDatetime, "bool": kindBool, "days": kindDays, "elapsed": kindElapsed,
	}
}

// ChangeProperties changes the definitions of an object's properties. Where
// something does not exist it stops there, and what came before stays done.
func (s *Simulator) ChangeProperties(object string, c PropertyChange) error {
	st, ok := s.stores[object]
	if !ok {
		return fmt.Errorf("change properties of %q: %w", object, ErrUnknownObject)
	}
	s.schemaMu.Lock()
	defer s.schemaMu.Unlock()
	defer st.redefine(s.switches.Load().sensitiveScope)
	if err := st.sc.change(c); err != nil {
		return fmt.Errorf("change properties of %s: %w", object, err)
	}
	return nil
}

func (sc *schema) change(c PropertyChange) error {
	for _, n := range c.Add {
		k, ok := kindNames()[n.Kind]
		if !ok {
			return fmt.Errorf("%q: %w", n.Kind, ErrUnknownKind)
		}
		if strings.Trim(n.Name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return fmt.Errorf("%q: %w", n.Name, ErrUnknownProperty)
		}
		if p := sc.property(n.Name); p != nil || n.Name == "" {
			return fmt.Errorf("%q: %w", n.Name, ErrPropertyExists)
		}
		sc.props = append(sc.props, property{
			name: n.Name, key: `,"` + n.Name + `":`, kind: k, shown: k, fill: n.Fill,
			calculated: n.Calculated, fixed: n.Calculated || k >= kindDays, sensitive: n.Sensitive,
		})
	}
	return errors.Join(
		sc.each(c.Remove, func(p *property) { p.removed = true }),
		sc.each(c.Restore, func(p *property) { p.removed = false }),
		sc.retype(c.Retype),
		sc.sensitivity(c.Sensitive),
		sc.recalculate(c.Recalculate),
	)
}

func (sc *schema) property(name string) *property {
	for i := range sc.props {
		if sc.props[i].name == name {
			return &sc.props[i]
		}
	}
	return nil
}

func (sc *schema) each(names []string, do func(*property)) error {
	for _, n := range names {
		i := slices.IndexFunc(sc.props, func(p property) bool { return p.name == n })
		if i < trio {
			return fmt.Errorf("property %q: %w", n, ErrUnknownProperty)
		}
		do(&sc.props[i])
	}
	return nil
}

func (sc *schema) retype(all []Retype) error {
	for _, r := range all {
		k, ok := kindNames()[r.Kind]
		if !ok {
			return fmt.Errorf("%q: %w", r.Kind, ErrUnknownKind)
		}
		if err := sc.each([]string{r.Name}, func(p *property) { p.shown = k }); err != nil {
			return err
		}
	}
	return nil
}

func (sc *schema) sensitivity(all map[string]string) error {
	for name, how := range all {
		if err := sc.each([]string{name}, func(p *property) { p.sensitive = how }); err != nil {
			return err
		}
	}
	return nil
}

func (sc *schema) recalculate(all []Recalculation) error {
	for _, r := range all {
		share := r.Share
		if share == 0 {
			share = 100
		}
		// What is not calculated has no new value without a new version.
		if p := sc.property(r.Name); p != nil && !p.calculated {
			return fmt.Errorf("%s: %w", r.Name, ErrNotCalculated)
		}
		if err := sc.each([]string{r.Name}, func(p *property) { p.turns = append(p.turns, share) }); err != nil {
			return err
		}
	}
	return nil
}

// redefine makes what the definitions say hold for the next request: which
// names are known, and what a page shows.
func (st *store) redefine(sensitiveScope bool) {
	st.sc.index = make(map[string]int, len(st.sc.props))
	for i := range st.sc.props {
		p := &st.sc.props[i]
		if p.hidden = p.removed || p.sensitive != "" && !sensitiveScope; !p.hidden {
			st.sc.index[p.name] = i
		}
	}
	st.plansMu.Lock()
	defer st.plansMu.Unlock()
	clear(st.plans)
}

// redefineAll does so for every object, after the scopes have changed.
func (s *Simulator) redefineAll() {
	s.schemaMu.Lock()
	defer s.schemaMu.Unlock()
	for _, st := range s.stores {
		st.redefine(s.switches.Load().sensitiveScope)
	}
}

// turn is how often a record's value of a calculated property was new.
func (p *property) turn(seed uint64) uint64 {
	n := uint64(0)
	for i, share := range p.turns {
		if mix(seed+uint64(i)*0x9e37)%100 < share {
			n = uint64(i) + 1
		}
	}
	return n
}

// clocked appends the value of a property that changes with the clock.
func (sc *schema) clocked(dst []byte, k kind, h uint64) []byte {
	ms := sc.now().UnixMilli() - int64(h%(900*dayMS))
	if k == kindDays {
		ms /= dayMS
	}
	return strconv.AppendInt(dst, ms, 10)
}

// definitions answers with the properties of an object: the ordinary ones, or
// as the query asks the archived or the sensitive ones.
func (c *call) definitions(b []byte, st *store, archived bool, sensitivity string) []byte {
	n := 0
	for i := range st.sc.props {
		p := &st.sc.props[i]
		how := p.sensitive
		if how == "" {
			how = "non_sensitive"
		}
		if p.removed != archived || how != sensitivity || how != "non_sensitive" && !c.sw.sensitiveScope {
			continue
		}
		if n++; n > 1 {
			b = append(b, ',')
		}
		b = p.appendDefinition(b, st.sc, i < trio, how)
	}
	return b
}

func (p *property) appendDefinition(b []byte, sc *schema, own bool, sensitivity string) []byte {
	typ, field := p.shown.wire()
	b = fmt.Appendf(b, `{"name":%q,"label":%q,"type":%q,"fieldType":%q,"description":"","groupName":"%sinformation","options":[`,
		p.name, strings.ReplaceAll(p.name, "_", " "), typ, field, strings.ToLower(sc.singular))
	if typ == "enumeration" {
		for j, o := range options {
			if j > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, `{"label":%q,"value":%q,"displayOrder":%d,"hidden":false}`, optionLabel(o, j), o, j)
		}
	}
	return fmt.Appendf(b, `],"displayOrder":-1,"calculated":%t,"externalOptions":%t,"hasUniqueValue":false,"hidden":false,"hubspotDefined":%t,"formField":false,"archived":%t,"dataSensitivity":%q}`,
		p.calculated || p.fixed || p.name == "hs_is_closed" || own, p.name == "hubspot_owner_id", !strings.HasPrefix(p.name, "acme_"), p.removed, sensitivity)
}

// optionLabel is what people read for an option; some have commas and quotes.
func optionLabel(option string, place int) string {
	switch place % 4 {
	case 1:
		return option + ", really"
	case 2:
		return `"` + option + `"`
	case 3:
		return option + `; or 'other', "so called"`
	}
	return option
}

// changeProperties is the control address of an object's definitions.
func (c *call) changeProperties(object string) {
	var in PropertyChange
	if !c.decode(&in) {
		return
	}
	switch err := c.s.ChangeProperties(object, in); {
	case errors.Is(err, ErrUnknownObject):
		c.json(404, map[string]string{"message": err.Error()})
	case err != nil:
		c.json(400, map[string]string{"message": err.Error()})
	default:
		c.json(200, map[string]bool{"ok": true})
	}
}
