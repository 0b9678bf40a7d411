package simulator

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// SetChange says what to change in a set; the parts are done in the order of
// the fields. Ids are those of the truth.
type SetChange struct {
	Create  int            `json:"create"`
	Parent  string         `json:"parent"` // of what is created; "" draws one
	Change  int            `json:"change"` // so many live rows, drawn
	At      int64          `json:"at"`     // their time in ms; 0 is now
	Late    int64          `json:"late"`   // so many ms before now instead: HubSpot shows them late
	IDs     []string       `json:"ids"`    // these rows get Fields
	Fields  map[string]any `json:"fields"`
	Archive []string       `json:"archive"`
	Restore []string       `json:"restore"`
	Delete  []string       `json:"delete"`
}

// ChangeSet changes the rows of a stream outside the CRM's contract and returns
// the ids that it touched.
func (s *Simulator) ChangeSet(name string, c SetChange) ([]string, error) {
	st := s.set(name)
	if st == nil {
		return nil, fmt.Errorf("change %q: %w", name, ErrUnknownObject)
	}
	parents := s.liveParents(st)
	st.mu.Lock()
	defer st.mu.Unlock()
	at := c.At
	if at == 0 {
		at = s.o.Now().UnixMilli() - c.Late
	}
	ids := []string{}
	for range c.Create {
		parent := c.Parent
		if parent == "" && len(parents) > 0 {
			parent = parents[s.intN(len(parents))]
		}
		if st.hasParents() && !slices.Contains(parents, parent) {
			return ids, fmt.Errorf("change %s of %q: %w", name, parent, ErrUnknownRecord)
		}
		ids = append(ids, st.add(s, parent, at).id)
	}
	for try := 0; len(ids) < c.Create+c.Change && try < 50*c.Change && len(st.rows) > 0; try++ {
		if r := st.rows[s.intN(len(st.rows))]; r.state == live && !slices.Contains(ids, r.id) {
			st.edit(r, map[string]any{st.mutable: "changed " + strconv.Itoa(s.intN(1<<30))}, at)
			ids = append(ids, r.id)
		}
	}
	for _, step := range []struct {
		ids []string
		do  func(*setRow)
	}{
		{c.IDs, func(r *setRow) { st.edit(r, c.Fields, at) }},
		{c.Archive, func(r *setRow) { r.state, r.gone = archived, at; r.fields = replaced(r.fields, "archived", true) }},
		{c.Restore, func(r *setRow) { r.state = live; r.fields = replaced(r.fields, "archived", false) }},
		{c.Delete, func(r *setRow) { r.state, r.gone = purged, at }},
	} {
		for _, id := range step.ids {
			i := slices.IndexFunc(st.rows, func(r *setRow) bool { return r.id == id && r.state != purged })
			if i < 0 {
				return ids, fmt.Errorf("change %s %q: %w", name, id, ErrUnknownRecord)
			}
			step.do(st.rows[i])
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (st *set) hasParents() bool { return st.parent != "" || st.objects || st.records != "" }

func (s *Simulator) liveParents(st *set) []string {
	if st.records != "" {
		return s.recordIDs(st.records)
	}
	if st.parent == "" {
		if st.objects {
			return s.parentsOf(st)
		}
		return nil
	}
	return s.set(st.parent).liveIDs()
}

func (st *set) liveIDs() []string {
	st.mu.RLock()
	defer st.mu.RUnlock()
	var ids []string
	for _, r := range st.rows {
		if r.state == live {
			ids = append(ids, r.id)
		}
	}
	return ids
}

func (st *set) edit(r *setRow, f map[string]any, at int64) {
	r.fields = maps.Clone(r.fields)
	for k, v := range f {
		outer, inner, deep := strings.Cut(k, ".")
		if in, ok := r.fields[outer].(fields); deep && ok {
			in = maps.Clone(in)
			in[inner] = v
			r.fields[outer] = in
		} else if k != "" {
			r.fields[k] = v
		}
	}
	st.stamp(r, at)
}

func replaced(f fields, name string, v any) fields {
	f = maps.Clone(f)
	if _, ok := f[name]; ok {
		f[name] = v
	}
	return f
}

// SetObject is a row of a stream outside the CRM's contract as it truly is.
type SetObject struct {
	ID         string         `json:"id"` // with the parent's id in front, where there is one
	State      string         `json:"state"`
	Properties map[string]any `json:"properties"` // the row; empty once it is purged
}

// TruthSet returns the rows of a set in the order in which they were made; nil
// for one that does not exist. A row whose parent is gone is purged.
func (s *Simulator) TruthSet(name string) []SetObject {
	switch name {
	case "properties", "schemas", "association_labels", "subscription_statuses", "marketing_email_statistics", "associations":
		return s.derived(name)
	}
	st := s.set(name)
	if st == nil {
		return nil
	}
	parents := s.liveParents(st)
	st.mu.RLock()
	defer st.mu.RUnlock()
	out := make([]SetObject, 0, len(st.rows))
	for _, r := range st.rows {
		o := SetObject{ID: r.id, State: r.state.String(), Properties: r.fields}
		if r.state == purged || (st.parent != "" || st.records != "") && !slices.Contains(parents, r.parent) {
			o.State, o.Properties = purged.String(), map[string]any{}
		}
		out = append(out, o)
	}
	return out
}

// changeSet is the control address of a set.
func (c *call) changeSet(name string) {
	var in SetChange
	if !c.decode(&in) {
		return
	}
	ids, err := c.s.ChangeSet(name, in)
	switch {
	case errors.Is(err, ErrUnknownObject):
		c.json(404, map[string]string{"message": err.Error()})
	case err != nil:
		c.json(400, map[string]any{"message": err.Error(), "ids": ids})
	default:
		c.json(200, map[string]any{"ids": ids})
	}
}
