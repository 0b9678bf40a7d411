package files

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What is done when HubSpot's properties change.
const (
	Apply  = "apply"  // there are columns for them, of the type that they need
	Block  = "block"  // the stream waits for a person
	Ignore = "ignore" // the columns stay, and what was ignored is listed
)

// Changes that may be ignored.
const (
	changeNew  = "new"
	changeType = "type"
)

// Ignored is a change of HubSpot's that the columns do not follow.
type Ignored struct {
	Property string `json:"property"`
	// Change is new or type, Type what its column would be.
	Change string    `json:"change"`
	Type   kind      `json:"type"`
	At     time.Time `json:"at"`
}

// Drift is what becomes of HubSpot's changes while columns are made to fit.
type Drift struct {
	policy string
	// chosen says that the destination gets others of the properties than before:
	// what is new by that is no change of HubSpot's.
	chosen bool
	was    []Ignored // when they were made to fit last
	now    []Ignored
	waits  []string
}

// NewDrift begins to make the columns of a stream fit. was is what was ignored when
// that was done last; chosen says that the destination gets others of the properties
// than then. Before the first commit nothing has changed: its policy is Apply.
func NewDrift(policy string, was []Ignored, chosen bool) *Drift {
	return &Drift{policy: policy, chosen: chosen, was: was}
}

func (s *session) drifts(m *Manifest, was []Ignored, chosen bool) *Drift {
	if m.Number == 0 {
		return NewDrift(Apply, was, chosen)
	}
	return NewDrift(s.e.o.SchemaChanges, was, chosen)
}

// Ignored are the changes that are not followed.
func (d *Drift) Ignored() []Ignored { return d.now }

// takes tells whether a change is followed.
func (d *Drift) takes(property, change string, wants kind) bool {
	i := slices.IndexFunc(d.was, func(x Ignored) bool { return x.Property == property && x.Change == change })
	if d.policy == Apply || d.chosen && i < 0 {
		return true
	}
	if d.policy == Block {
		d.waits = append(d.waits, fmt.Sprintf("%s (%s, %s)", property, change, wants))
		return false
	}
	x := Ignored{Property: property, Change: change, Type: wants, At: time.Now().UTC().Truncate(time.Second)}
	if i >= 0 && d.was[i].Type == wants {
		x = d.was[i]
	}
	d.now = append(d.now, x)
	return false
}

// rest keeps what was ignored of properties that nothing defines: records have
// them, and they are not met again until they are let in.
func (d *Drift) rest(columns []Column) {
	if d.policy == Apply {
		return
	}
	for _, x := range d.was {
		same := func(y Ignored) bool { return y.Property == x.Property }
		if x.Change == changeNew && !slices.ContainsFunc(d.now, same) &&
			!slices.ContainsFunc(columns, func(c Column) bool { return c.Property == x.Property }) {
			d.now = append(d.now, x)
		}
	}
}

// unknown leaves those properties that get a column.
func (d *Drift) unknown(met map[string]kind) map[string]kind {
	out := maps.Clone(met)
	for _, property := range slices.Sorted(maps.Keys(met)) {
		if !d.takes(property, changeNew, met[property]) {
			delete(out, property)
		}
	}
	return out
}

// Released tells whether properties are followed that were not: older rows lack
// values of theirs.
func (d *Drift) Released() bool {
	return slices.ContainsFunc(d.was, func(x Ignored) bool {
		return x.Change == changeNew && !slices.ContainsFunc(d.now, func(y Ignored) bool { return y.Property == x.Property })
	})
}

// shown is how many properties are named at once.
const shown = 10

// Waiting is why nothing is written, nil where something may be.
func (d *Drift) Waiting(name string) error {
	if len(d.waits) == 0 {
		return nil
	}
	more := ""
	if n := len(d.waits) - shown; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return &stream.Problem{Type: typeSchema, Title: "HubSpot's properties have changed, and the destination waits for you", Blocked: true,
		Detail: name + ": " + strings.Join(d.waits[:min(len(d.waits), shown)], ", ") + more,
		Hint:   `set schema_changes = "apply" (or "ignore") in the destination and reload; then "block" again`}
}

// Remarks say to a person what is ignored.
func Remarks(list []Ignored) []string {
	var out []string
	for i, x := range list {
		if i == shown {
			return append(out, fmt.Sprintf("%d more changes of properties are ignored", len(list)-shown))
		}
		what := "has no column"
		if x.Change == changeType {
			what = "has a column of another type, and what does not fit is null"
		}
		out = append(out, fmt.Sprintf("property %s %s: HubSpot's is %s since %s, and schema_changes is %q", x.Property, what, x.Type, x.At.Format(time.DateOnly), Ignore))
	}
	return out
}

// skipped are the properties that are ignored though values of theirs come.
func skipped(list []Ignored) map[string]bool {
	out := map[string]bool{}
	for _, x := range list {
		if x.Change == changeNew {
			out[x.Property] = true
		}
	}
	return out
}

// columnsFor are the columns that a stream needs, by those that it has; raw adds
// one with all properties.
func columnsFor(has []Column, t destination.Table, raw bool, d *Drift) []Column {
	out := slices.Clone(has)
	at := map[string]int{}
	names := map[string]bool{colDay: true}
	add := func(c Column) {
		out = append(out, c)
		names[strings.ToLower(c.Name)] = true
	}
	for i, c := range out {
		names[strings.ToLower(c.Name)] = true
		if c.Property != "" {
			at[c.Property] = i
		}
	}
	own := []Column{{Name: colID, Type: text}, {Name: colSeq, Type: integer}, {Name: colState, Type: text}, {Name: colSynced, Type: timestamp},
		{Name: colCreated, Type: timestamp}, {Name: colUpdated, Type: timestamp}, {Name: colArchived, Type: timestamp}, {Name: colMergedInto, Type: text}}
	if raw {
		own = append(own, Column{Name: colRaw, Type: nested})
	}
	if t.Associations {
		own = append(own, Column{Name: colAssociations, Type: nested})
	}
	if t.History {
		own = append(own, Column{Name: colHistory, Type: nested})
	}
	for _, c := range own {
		if !slices.ContainsFunc(out, func(x Column) bool { return x.Name == c.Name }) {
			add(c)
		}
	}
	for _, p := range t.Definitions {
		if p.Name = clean(p.Name); p.Name == "" {
			continue
		}
		wants := kind(destination.TypeOf(p))
		i, ok := at[p.Name]
		switch {
		case ok:
			c := &out[i]
			c.Label, c.Undefined = clean(p.Label), false
			if to := wider(c.Type, wants); to != c.Type && d.takes(p.Name, changeType, wants) {
				c.Type = to
			}
		case d.takes(p.Name, changeNew, wants):
			at[p.Name] = len(out)
			add(Column{Name: columnName(p.Name, names), Type: wants, Property: p.Name, Label: clean(p.Label), Handling: t.Rules.Mark(p.Name)})
		}
	}
	d.rest(out)
	return out
}
