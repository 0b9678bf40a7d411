package simulator

import (
	"encoding/json"
	"fmt"
	"slices"
)

// derived is the truth of what follows from other data.
func (s *Simulator) derived(name string) []SetObject {
	s.schemaMu.RLock()
	defer s.schemaMu.RUnlock()
	switch name {
	case "properties":
		return s.trueProperties()
	case "schemas":
		return s.trueSchemas()
	case "association_labels":
		return s.trueLabels()
	case "associations":
		return s.trueAssociations()
	case "marketing_email_statistics":
		out := s.TruthSet("marketing_emails")
		for i := range out {
			if out[i].State != purged.String() {
				out[i].Properties = withStatistics(out[i].Properties)
			}
		}
		return out
	}
	return s.trueStatuses()
}

// trueProperties are the definitions of every object that has records, with
// the object in front of the name. A sensitive one is there for those with its
// scope alone.
func (s *Simulator) trueProperties() []SetObject {
	out := []SetObject{}
	for _, name := range s.names {
		st := s.stores[name]
		if st.size() == 0 {
			continue
		}
		for i := range st.sc.props {
			p := &st.sc.props[i]
			if p.sensitive != "" {
				continue
			}
			o := SetObject{ID: name + "/" + p.name, State: live.String()}
			if p.removed {
				o.State = archived.String()
			}
			_ = json.Unmarshal(p.appendDefinition(nil, st.sc, i < trio, "non_sensitive"), &o.Properties) // ours
			out = append(out, o)
		}
	}
	return out
}

func (s *Simulator) trueSchemas() []SetObject {
	out := []SetObject{}
	for _, name := range s.names {
		if sc := s.stores[name].sc; sc.custom != "" {
			out = append(out, SetObject{ID: sc.typeID, State: live.String(), Properties: map[string]any{"name": sc.custom, "fullyQualifiedName": sc.paths[0], "objectTypeId": sc.typeID}})
		}
	}
	return out
}

// trueLabels are those of the pairs that have associations, both ways.
func (s *Simulator) trueLabels() []SetObject {
	out := []SetObject{}
	s.graphs.mu.RLock()
	defer s.graphs.mu.RUnlock()
	for _, g := range s.graphs.all {
		for _, pair := range [][2]*store{{g.from, g.to}, {g.to, g.from}} {
			for _, t := range s.graphs.labelsOf(pair[0], pair[1]) {
				id := fmt.Sprintf("%s/%s/%s/%d", pair[0].sc.name, pair[1].sc.name, t.Category, t.TypeID)
				out = append(out, SetObject{ID: id, State: live.String(), Properties: map[string]any{"category": t.Category, "typeId": t.TypeID, "label": t.Label}})
			}
		}
	}
	return out
}

// trueStatuses are those of every live contact that has an address.
func (s *Simulator) trueStatuses() []SetObject {
	out := []SetObject{}
	st := s.stores["contacts"]
	for _, o := range st.truth() {
		mail := o.Properties["email"]
		if o.State != live.String() || mail == nil || *mail == "" {
			continue
		}
		for _, f := range s.statusesOf(*mail) {
			out = append(out, SetObject{ID: fmt.Sprintf("%s/%v", *mail, f["subscriptionId"]), State: live.String(), Properties: f})
		}
	}
	return out
}

// trueAssociations are those of all pairs that have any, both ways.
func (s *Simulator) trueAssociations() []SetObject {
	s.graphs.mu.RLock()
	all := slices.Clone(s.graphs.all)
	s.graphs.mu.RUnlock()
	out := []SetObject{}
	for _, g := range all {
		pairs := [][2]string{{g.from.sc.name, g.to.sc.name}, {g.to.sc.name, g.from.sc.name}}
		if g.from == g.to {
			pairs = pairs[:1]
		}
		for _, p := range pairs {
			for _, a := range s.TruthAssociations(p[0], p[1]) {
				out = append(out, SetObject{ID: p[0] + "/" + p[1] + "/" + a.From + "/" + a.To, State: live.String(),
					Properties: map[string]any{"fromObjectType": p[0], "fromObjectId": a.From, "toObjectType": p[1], "toObjectId": a.To, "associationTypes": a.Types}})
			}
		}
	}
	return out
}
