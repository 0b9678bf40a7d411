package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// truthful is a store that has exactly what an object of the simulator has.
func truthful(t *testing.T, sim *simulator.Simulator, object string) map[string]client.Record {
	t.Helper()
	out := map[string]client.Record{}
	for _, o := range sim.Truth(object) {
		r := client.Record{ID: o.ID, State: o.State, Properties: json.RawMessage("null")}
		at := o.UpdatedAt.Format(time.RFC3339Nano)
		r.UpdatedAt = &at
		if o.ArchivedAt != nil {
			gone := o.ArchivedAt.Format(time.RFC3339Nano)
			r.ArchivedAt = &gone
		}
		if o.MergedInto != "" {
			r.MergedInto = &o.MergedInto
		}
		if o.Properties != nil && o.State != "purged" && o.State != "merged" {
			b, err := json.Marshal(o.Properties)
			if err != nil {
				t.Fatal(err)
			}
			r.Properties = b
		}
		out[o.ID] = r
	}
	return out
}

// lived is a simulator in which contacts have met every fate; ids are of one of
// each state.
func lived(t *testing.T) (sim *simulator.Simulator, ids map[string]string) {
	t.Helper()
	sim = simulator.New(simulator.Options{Seed: 1, Properties: 12, Sizes: map[string]int{"contacts": 20, "companies": 20},
		Associations: map[string]float64{"contacts-companies": 2}})
	all := sim.Truth("contacts")
	_, err := sim.Change("contacts", simulator.Change{Archive: []string{all[0].ID}, Delete: []string{all[1].ID},
		Merge: []simulator.Merge{{Into: all[2].ID, From: []string{all[3].ID}}}})
	if err != nil {
		t.Fatal(err)
	}
	ids = map[string]string{}
	for _, o := range sim.Truth("contacts") {
		ids[o.State] = o.ID
	}
	if len(ids) != 4 {
		t.Fatalf("states: %v", ids)
	}
	return sim, ids
}

// Each way in which a record can be wrong is seen, and nothing else.
func TestRecordsAreJudged(t *testing.T) {
	t.Parallel()
	sim, ids := lived(t)
	change := func(state string, f func(*client.Record)) func(map[string]client.Record) {
		return func(stored map[string]client.Record) {
			r := stored[ids[state]]
			f(&r)
			stored[r.ID] = r
		}
	}
	other := "2020-01-01T00:00:00Z"
	for _, tt := range []struct {
		name, says string
		do         func(map[string]client.Record)
	}{
		{"equal", "", func(map[string]client.Record) {}},
		{"purged before it was seen", "", func(m map[string]client.Record) { delete(m, ids["purged"]) }},
		{"missing", "missing", func(m map[string]client.Record) { delete(m, ids["live"]) }},
		{"archived is missing", "missing", func(m map[string]client.Record) { delete(m, ids["archived"]) }},
		{"never there", "never there", func(m map[string]client.Record) { m["1"] = client.Record{ID: "1", State: "live"} }},
		{"still live", "live and in truth archived", change("archived", func(r *client.Record) { r.State = "live" })},
		{"still live though purged", "live and in truth purged", change("purged", func(r *client.Record) { r.State = "live" })},
		{"another survivor", "merged into", change("merged", func(r *client.Record) { r.MergedInto = &other })},
		{"a purged one has content", "has properties", change("purged", func(r *client.Record) { r.Properties = json.RawMessage(`{"a":"b"}`) })},
		{"an older version", "and in truth of", change("live", func(r *client.Record) { r.UpdatedAt = &other })},
		{"archived at another time", "archived at", change("archived", func(r *client.Record) { r.ArchivedAt = &other })},
		{"a property", "of another email", change("live", func(r *client.Record) {
			var p map[string]*string
			if err := json.Unmarshal(r.Properties, &p); err != nil {
				t.Fatal(err)
			}
			p["email"] = &other
			r.Properties, _ = json.Marshal(p) // it was JSON
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stored := truthful(t, sim, "contacts")
			tt.do(stored)
			v := &verdict{states: map[string]int{}}
			v.records(sim, "contacts", stored)
			if got := strings.Join(v.wrong, "\n"); (tt.says == "") != (got == "") || !strings.Contains(got, tt.says) {
				t.Errorf("%q, want %q", got, tt.says)
			}
			if line := v.String(); (tt.says == "") != strings.HasSuffix(line, ": equal") {
				t.Errorf("it says %q", line)
			}
		})
	}
}

func TestLinksAreJudged(t *testing.T) {
	t.Parallel()
	sim, _ := lived(t)
	stored := truthful(t, sim, "contacts")
	linked := ""
	for id, r := range stored {
		type link struct {
			ID    string                      `json:"id"`
			Types []simulator.AssociationType `json:"types"`
		}
		links := map[string][]link{"companies": {}}
		for _, a := range sim.TruthAssociations("contacts", "companies") {
			if a.From == id {
				links["companies"], linked = append(links["companies"], link{a.To, a.Types}), id
			}
		}
		r.Associations, _ = json.Marshal(links) // of text and numbers
		stored[id] = r
	}
	v := &verdict{}
	if v.links(sim, "contacts", "companies", stored); len(v.wrong) > 0 {
		t.Error(v.wrong)
	}
	r := stored[linked]
	r.Associations = json.RawMessage(`{"companies":[]}`)
	stored[linked] = r
	if v.links(sim, "contacts", "companies", stored); len(v.wrong) != 1 || !strings.Contains(v.wrong[0], linked) {
		t.Error(v.wrong)
	}
}

func TestRowsAreJudged(t *testing.T) {
	t.Parallel()
	sim, _ := lived(t)
	for _, name := range []string{"owners", "form_submissions"} {
		o, _ := catalogue.Lookup(name)
		stored := map[string]client.Record{}
		unseen := blogComments(sim)
		for _, row := range sim.TruthSet(name) {
			if parent, _, _ := strings.Cut(row.ID, "/"); o.Strategy == catalogue.StrategyLog && unseen[parent] {
				continue
			}
			b, err := json.Marshal(row.Properties)
			if err != nil {
				t.Fatal(err)
			}
			stored[row.ID] = client.Record{ID: row.ID, State: row.State, Properties: b}
		}
		v := &verdict{}
		if err := v.rows(sim, o, stored); err != nil || len(v.wrong) > 0 || len(stored) == 0 {
			t.Errorf("%s: %v %v", name, err, v.wrong)
		}
		for id := range stored {
			delete(stored, id)
			break
		}
		if err := v.rows(sim, o, stored); err != nil || len(v.wrong) != 1 {
			t.Errorf("%s: %v %v", name, err, v.wrong)
		}
	}
	if err := (&verdict{}).rows(sim, catalogue.Object{Name: "picnics"}, nil); err == nil {
		t.Error("rows without a truth are equal to it")
	}
}

// A demo with a scenario reads whatever the catalogue has, and more where the
// portal has more.
func TestEveryStreamIsPlayed(t *testing.T) {
	t.Parallel()
	o, err := demoHubSpot("everything", true)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := demoConfig(t.TempDir(), "http://127.0.0.1:1", "", o)
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]config.Stream{}
	for _, s := range cfg.Streams {
		has[s.Name] = s
	}
	for _, name := range append(catalogue.Names(), "p_cars", "p_contacts") {
		if _, ok := has[name]; !ok {
			t.Errorf("%s is not read", name)
		}
	}
	if len(has["contacts"].Associations) == 0 {
		t.Error("contacts are read without associations")
	}
	for _, name := range []string{"picnic", "credentials"} {
		if _, err := demoHubSpot(name, true); exitCode(t.Context(), err) != ExitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}
