package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// verdict is how a stream stands beside what the simulated HubSpot truly has.
type verdict struct {
	states map[string]int // what is stored, by state
	wrong  []string       // a sentence for each difference
	// untold says why there is nothing to hold the stream against, "" where
	// there is.
	untold string
}

func (v *verdict) differ(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

// String is the verdict in one line.
func (v *verdict) String() string {
	var text strings.Builder
	for _, state := range []string{"live", "archived", "purged", "merged"} {
		if n := v.states[state]; n > 0 || state == "live" {
			if text.Len() > 0 {
				text.WriteString(", ")
			}
			fmt.Fprintf(&text, "%d %s", n, state)
		}
	}
	switch n := len(v.wrong); {
	case n > 0:
		fmt.Fprintf(&text, ": %s from HubSpot's truth, the first: %s", differ(n), clean(v.wrong[0]))
	case v.untold != "":
		text.WriteString(": " + v.untold)
	default:
		text.WriteString(": equal")
	}
	return text.String()
}

func differ(n int) string {
	if n == 1 {
		return "1 differs"
	}
	return fmt.Sprintf("%d differ", n)
}

// judge holds a stream against the truth: every record once, in its state, with
// its content, and nothing besides.
func judge(ctx context.Context, api *client.Client, sim *simulator.Simulator, s config.Stream) (*verdict, error) {
	v := &verdict{states: map[string]int{}}
	stored := map[string]client.Record{}
	for r, err := range api.Changes(ctx, s.Name, client.ChangeQuery{}) {
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s.Name, err)
		}
		if _, twice := stored[r.ID]; twice {
			v.differ("%s stands twice in the feed", r.ID)
		}
		stored[r.ID] = r
		v.states[r.State]++
	}
	o, _ := catalogue.Lookup(s.Object)
	if o.Strategy != catalogue.StrategyObjects {
		return v, v.rows(sim, o, stored)
	}
	v.records(sim, s.Object, stored)
	for _, to := range s.Associations {
		v.links(sim, s.Object, to, stored)
	}
	return v, nil
}

// records compares the records of an object of the CRM. What the clock alone
// changes is left out, since HubSpot has another value at each reading.
func (v *verdict) records(sim *simulator.Simulator, object string, stored map[string]client.Record) {
	truth := sim.Truth(object)
	_, volatile := sim.Drifting(object)
	all := make(map[string]simulator.Object, len(truth))
	for _, t := range truth {
		all[t.ID] = t
	}
	for _, t := range truth {
		got, ok := stored[t.ID]
		if err := unlike(all, t, got, ok, volatile); err != nil {
			v.differ("%s is %v", t.ID, err)
		}
		delete(stored, t.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(stored)) {
		v.differ("%s is stored and was never there", id)
	}
}

// unlike says how a record is not what it should be. Who had ended before
// anybody saw it need not be known.
func unlike(all map[string]simulator.Object, want simulator.Object, got client.Record, ok bool, volatile []string) error {
	into := want.ID
	for all[into].State == "merged" {
		into = all[into].MergedInto
	}
	bare := want.State == "purged" || want.State == "merged"
	switch {
	case !ok && bare:
		return nil
	case !ok:
		return errors.New("missing")
	case want.State == "merged" && got.State == "purged" && all[into].State == "purged":
		return nil // nobody is left who could tell
	case got.State != want.State:
		return fmt.Errorf("%s and in truth %s", got.State, want.State)
	case want.State == "merged" && said(got.MergedInto) != into:
		return fmt.Errorf("merged into %q and in truth into %s", said(got.MergedInto), into)
	case bare:
		if p := string(got.Properties); p != "null" && p != "{}" && p != "" {
			return fmt.Errorf("%s and has properties", got.State)
		}
		return nil
	case want.ArchivedAt != nil && !instant(got.ArchivedAt).Equal(*want.ArchivedAt):
		return fmt.Errorf("archived at %s and in truth at %s", said(got.ArchivedAt), want.ArchivedAt)
	case !instant(got.UpdatedAt).Equal(want.UpdatedAt):
		return fmt.Errorf("of %s and in truth of %s", said(got.UpdatedAt), want.UpdatedAt)
	}
	var properties map[string]*string
	if err := json.Unmarshal(got.Properties, &properties); err != nil {
		return fmt.Errorf("not to be read: %w", err)
	}
	for name, value := range want.Properties {
		have := properties[name]
		if ((have == nil) != (value == nil) || said(have) != said(value)) && !slices.Contains(volatile, name) {
			return fmt.Errorf("of another %s: %.40q and in truth %.40q", name, said(have), said(value))
		}
	}
	return nil
}

// links compares the associations of live records, their types included.
func (v *verdict) links(sim *simulator.Simulator, from, to string, stored map[string]client.Record) {
	want := map[string][]string{}
	for _, a := range sim.TruthAssociations(from, to) {
		for _, t := range a.Types {
			want[a.From] = append(want[a.From], fmt.Sprintf("%s %s %d", a.To, t.Category, t.TypeID))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(stored)) {
		if stored[id].State != "live" {
			continue
		}
		var links map[string][]struct {
			ID    string
			Types []struct {
				Category string
				TypeID   int `json:"typeId"`
			}
		}
		if err := json.Unmarshal(stored[id].Associations, &links); err != nil {
			v.differ("the associations of %s are not to be read: %v", id, err)
			continue
		}
		var got []string
		for _, l := range links[to] {
			for _, t := range l.Types {
				got = append(got, fmt.Sprintf("%s %s %d", l.ID, t.Category, t.TypeID))
			}
		}
		slices.Sort(got)
		slices.Sort(want[id])
		if !slices.Equal(got, want[id]) {
			v.differ("%s has %s with %s and in truth %d", id, count(len(got), "association"), to, len(want[id]))
		}
	}
}

// rows compares the rows of a stream outside the CRM's contract. Where an id has
// a hash in it the row is known by its content.
func (v *verdict) rows(sim *simulator.Simulator, o catalogue.Object, stored map[string]client.Record) error {
	if o.Name == "account" || o.Name == "api_usage" {
		v.untold = "it tells of who reads it"
		return nil
	}
	truth := sim.TruthSet(o.Name)
	if truth == nil {
		return fmt.Errorf("the simulated HubSpot does not know %s", o.Name)
	}
	unseen := map[string]bool{}
	if o.Strategy == catalogue.StrategyLog {
		unseen = blogComments(sim)
	}
	want, got := map[string]int{}, map[string]int{}
	for _, t := range truth {
		if parent, _, _ := strings.Cut(t.ID, "/"); unseen[parent] {
			continue
		}
		b, err := json.Marshal(t.Properties)
		if err != nil {
			return fmt.Errorf("the truth of %s: %w", o.Name, err)
		}
		if err := tally(want, o, t.ID, t.State, b); err != nil {
			return err
		}
	}
	for _, r := range stored {
		if err := tally(got, o, r.ID, r.State, r.Properties); err != nil {
			return err
		}
	}
	for _, row := range slices.Sorted(maps.Keys(want)) {
		if want[row] != got[row] {
			v.differ("stored %d times and in truth %d: %.200s", got[row], want[row], row)
		}
		delete(got, row)
	}
	for _, row := range slices.Sorted(maps.Keys(got)) {
		v.differ("stored and in truth not there: %.200s", row)
	}
	return nil
}

// blogComments are the forms whose submissions HubSpot does not hand out.
func blogComments(sim *simulator.Simulator) map[string]bool {
	out := map[string]bool{}
	for _, f := range sim.TruthSet("forms") {
		if f.Properties["formType"] == "blog_comment" {
			out[f.ID] = true
		}
	}
	return out
}

// tally counts a row by what can be compared of it: its id, unless that has a
// hash or a time in it, its state and its content, without what HubSpot gives in
// one answer and not in another.
func tally(rows map[string]int, o catalogue.Object, id, state string, properties json.RawMessage) error {
	content := map[string]any{}
	if len(properties) > 0 {
		if err := json.Unmarshal(properties, &content); err != nil {
			return fmt.Errorf("%s %s is not to be read: %w", o.Name, id, err)
		}
	}
	if state == "purged" || o.Endpoint.Partial && content["state"] == "DRAFT" {
		return nil
	}
	if o.Endpoint.KeyHash || o.Endpoint.Time != "" && slices.Contains(o.Endpoint.Key, o.Endpoint.Time) {
		if id, _, _ = strings.Cut(id, "/"); o.Endpoint.Parent.Kind == catalogue.ParentNone {
			id = ""
		}
	}
	// A part of an id that is too long ends in a hash.
	if short, _, cut := strings.Cut(id, "~"); cut || len(id) > longID {
		id = short[:min(len(short), longID)]
	}
	text := ""
	if o.Name != "schemas" && o.Name != "properties" { // whose truth has names alone
		maps.DeleteFunc(content, func(name string, value any) bool {
			return value == nil || slices.Contains([]string{"key", "additionalProperties", "archived", "deletedAt", "userId"}, name)
		})
		b, err := json.Marshal(content)
		if err != nil {
			return fmt.Errorf("%s %s: %w", o.Name, id, err)
		}
		text = string(b)
	}
	rows[id+" "+state+" "+text]++
	return nil
}

// longID is how much of a long id is compared.
const longID = 80

func said(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func instant(s *string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, said(s)) // the zero time is equal to none
	return t
}
