package exact

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// true holds a stream of any kind against the truth.
func (w *rowWorld) true(name string) error {
	if name == cars {
		return errorsOf(w.equal(cars), w.remembered(cars, cars, w.lasting(cars)...))
	}
	return w.rowsTrue(name)
}

// rowsTrue holds a stream outside the CRM's contract against the truth: each row
// that is live or archived, with what is in it, as often as it is there, and
// nothing of any other. Where HubSpot leaves rows out, or hands none out, nobody
// can tell what became of them: they are left out here, too.
func (r *rig) rowsTrue(name string) error {
	o, _ := catalogue.Lookup(name)
	truth := r.sim.TruthSet(name)
	stored, err := r.stored(name)
	if err != nil {
		return err
	}
	unknown := r.unknown(o, truth)
	var want, got []string
	for _, t := range truth {
		if t.State == "purged" || unknown(t.ID) {
			continue
		}
		if name == "schemas" {
			t.Properties = map[string]any{"properties": r.defined(cars)}
		}
		b, err := json.Marshal(t.Properties)
		if err != nil {
			return err
		}
		line, err := rowLine(o, t.ID, t.State, b)
		if err != nil {
			return err
		}
		want = append(want, line)
	}
	for id, rec := range stored {
		switch p := string(rec.Properties); {
		case unknown(id):
		case rec.State != "purged":
			line, err := rowLine(o, id, rec.State, rec.Properties)
			if err != nil {
				return err
			}
			got = append(got, line)
		case p != "null" && p != "{}" && p != "":
			return fmt.Errorf("%s %s is purged and has properties: %.200s", name, id, p)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	want = slices.Compact(want) // what agrees in all that HubSpot shows is one
	var wrong []string
	for i, j := 0, 0; (i < len(want) || j < len(got)) && len(wrong) < 4; {
		switch {
		case j == len(got) || i < len(want) && want[i] < got[j]:
			wrong, i = append(wrong, "not stored: "+want[i]), i+1
		case i == len(want) || got[j] < want[i]:
			wrong, j = append(wrong, "not in truth: "+got[j]), j+1
		default:
			i, j = i+1, j+1
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	for i := range wrong {
		wrong[i] = fmt.Sprintf("%.500s", wrong[i])
	}
	st, err := r.api.Stream(r.t.Context(), name)
	return fmt.Errorf("%s: %d rows of %d, %s\n  %s", name, len(got), len(want), about(st, err), strings.Join(wrong, "\n  "))
}

// about is what a stream says of itself.
func about(st client.Status, err error) string {
	if err != nil || st.Error == nil {
		return st.State
	}
	return fmt.Sprintf("%s: %+v", st.State, *st.Error)
}

// unknown tells of which rows nobody can say what became of them: submissions
// of forms that are gone or that HubSpot does not hand out, and the statistics of
// emails that are gone, or drafts.
func (r *rig) unknown(o catalogue.Object, truth []simulator.SetObject) func(id string) bool {
	switch {
	case o.Strategy == catalogue.StrategyLog:
		shown := map[string]bool{}
		for _, f := range r.sim.TruthSet(o.Endpoint.Parent.Stream) {
			shown[f.ID] = f.State == "live" && f.Properties["formType"] != "blog_comment"
		}
		return func(id string) bool { form, _, _ := strings.Cut(id, "/"); return !shown[form] }
	case o.Endpoint.Partial:
		left := map[string]bool{}
		for _, t := range truth {
			left[t.ID] = t.State == "purged" || t.Properties["state"] == "DRAFT"
		}
		return func(id string) bool { return left[id] }
	}
	return func(string) bool { return false }
}

// rowLine is a row as it is compared: an id that has a time or a hash in it
// counts by its parent.
func rowLine(o catalogue.Object, id, state string, properties []byte) (string, error) {
	if o.Endpoint.KeyHash || slices.Contains(o.Endpoint.Key, o.Endpoint.Time) {
		if id, _, _ = strings.Cut(id, "/"); o.Endpoint.Parent.Kind == catalogue.ParentNone {
			id = ""
		}
	}
	var content map[string]any
	if err := json.Unmarshal(properties, &content); err != nil {
		return "", fmt.Errorf("%s %s: %w", o.Name, id, err)
	}
	if o.Name == "schemas" { // whose truth is its definitions
		content = map[string]any{"properties": content["properties"]}
	}
	// What the simulator adds to a row when it shows it.
	maps.DeleteFunc(content, func(name string, v any) bool {
		return v == nil || slices.Contains([]string{"key", "additionalProperties", "archived", "deletedAt", "userId"}, name)
	})
	b, err := json.Marshal(content)
	return id + " " + state + " " + string(b), err
}

// defined are the definitions that an object has.
func (r *rig) defined(object string) (all []any) {
	for _, t := range r.sim.TruthSet("properties") {
		if strings.HasPrefix(t.ID, object+"/") && t.State == "live" {
			all = append(all, t.Properties)
		}
	}
	return all
}
