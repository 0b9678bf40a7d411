package postgres_test

import (
	"testing"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// A view has what is live, with labels and names beside the values, and follows
// its table through all changes; who may read it still may.
func TestViews(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	r := newRig(t, pg, postgres.Options{Views: true})
	r.Streams = []destination.Stream{{Name: "deals", Object: "deals", Portal: "main"}, {Name: "owners", Object: "owners", Portal: "main"},
		{Name: "pipelines", Object: "pipelines", Portal: "main"}, {Name: "eu_owners", Object: "owners", Portal: "eu"}}
	deals := []stream.Property{{Name: "dealname", Type: "string"}, {Name: "dealstage", Type: "enumeration"}, {Name: "pipeline", Type: "enumeration", Options: []stream.Option{{Value: "7", Label: "of options"}}},
		{Name: "kind", Type: "enumeration", FieldType: "select", Options: []stream.Option{{Value: "a", Label: `The "A"`}}},
		{Name: "tags", Type: "enumeration", FieldType: "checkbox", Options: []stream.Option{{Value: "x", Label: "Ex"}, {Value: "y", Label: "Why"}}},
		{Name: "hubspot_owner_id", Type: "enumeration"}, {Name: "kind__label", Type: "string"}, {Name: `odd "name"`, Type: "enumeration", Options: []stream.Option{{Value: "1", Label: "One"}}}}
	r.Src.Define("deals", deals)
	r.Put("deals", record("1", `{"dealname":"a","dealstage":"s2","pipeline":"7","kind":"a","tags":"y;x;z","hubspot_owner_id":"9","kind__label":"mine","odd \"name\"":"1"}`),
		record("2", `{"dealname":"b","dealstage":"gone","pipeline":"8","kind":"other"}`), ended("3", stream.Archived, `{"dealname":"c"}`))
	r.Put("owners", record("9", `{"id":"9","email":"ann@example.com","firstName":"Ann","lastName":"","teams":[{"id":"5","name":"Blue","primary":true}]}`))
	r.Put("eu_owners", record("9", `{"id":"9","email":"x","firstName":"Not","lastName":"Her"}`))
	r.Put("pipelines", record("deals/7", `{"id":"7","label":"Sales","stages":[{"id":"s1","label":"New","displayOrder":0},{"id":"s2","label":"Won","displayOrder":1,"metadata":{"probability":"1.0","isClosed":"true"}}]}`),
		record("tickets/7", `{"id":"7","label":"Support","stages":[{"id":"s2","label":"Waiting"}]}`))
	r.Start()
	r.settled()
	r.is("1|a|s2|Won|7|Sales|Ann\n2|b|gone||8||",
		"SELECT id, dealname, dealstage, dealstage__label, pipeline, pipeline__label, hubspot_owner_id__label FROM deals_live ORDER BY id")
	r.is(`mine|The "A"|{Why,Ex,z}|One`, `SELECT kind__label, (to_jsonb(v) - 'kind__label') ->> (SELECT column_name FROM information_schema.columns WHERE table_schema = '%s' AND table_name = 'deals_live' AND column_name LIKE 'kind\_\_label\_%%'),
		tags__label, "odd ""name""__label" FROM deals_live v WHERE id = '1'`, r.o.Schema)
	r.is("deals|7|s1|New|0||\ndeals|7|s2|Won|1|1.0|true\ntickets|7|s2|Waiting|||", "SELECT object, pipeline_id, stage_id, label, display_order, probability, is_closed FROM pipeline_stages ORDER BY 1, 3")
	r.is("9|ann@example.com", "SELECT id, email FROM owners_live")
	r.is("9|5|Blue|t", "SELECT owner_id, team_id, name, is_primary FROM owner_teams")

	// A new column, a wider one, one that is hashed, and one that goes.
	r.sql("CREATE ROLE analyst")
	r.sql("GRANT SELECT ON deals_live TO analyst; GRANT SELECT ON owner_teams TO PUBLIC")
	deals = append(deals, stream.Property{Name: "amount", Type: "number"})
	deals[5].Type = "number"
	r.Src.Define("deals", deals)
	r.Put("deals", record("2", `{"dealname":"b","amount":"5","hubspot_owner_id":"9"}`))
	r.settled()
	r.is("5|9|Ann", "SELECT amount, hubspot_owner_id, hubspot_owner_id__label FROM deals_live WHERE id = '2'")
	deals[8].Type = "string"
	r.Src.Define("deals", deals)
	r.Put("deals", record("2", `{"dealname":"b","amount":"much"}`))
	r.settled()
	r.is("much", "SELECT amount FROM deals_live WHERE id = '2'")
	r.is("0", "SELECT count(*) FROM hubpipe_schema_changes WHERE change = 'kept'")
	r.again(destination.Choice{Personal: destination.Hash, Exclude: []string{"kind"}})
	r.is(r.hashed("ann"), "SELECT hubspot_owner_id__label FROM deals_live WHERE id = '1'")
	r.is("0|t|t", `SELECT (SELECT count(*) FROM information_schema.columns WHERE table_schema = '%s' AND table_name = 'deals_live' AND column_name = 'kind'),
		has_table_privilege('analyst', '%[1]s.deals_live', 'SELECT'), has_table_privilege('analyst', '%[1]s.owner_teams', 'SELECT')`, r.o.Schema)

	// A view of a person's that is made of it stays, and nothing fails.
	r.sql("CREATE VIEW mine AS SELECT id, dealname FROM deals_live")
	r.Src.Define("deals", append(deals, stream.Property{Name: "later", Type: "string"}))
	r.Put("deals", record("4", `{"dealname":"d","later":"x"}`))
	r.settled()
	r.is("d|x", "SELECT m.dealname, d.later FROM mine m JOIN deals d USING (id) WHERE m.id = '4'")
	r.sql("DROP VIEW mine")

	r.o.Views = false
	r.again(destination.Choice{})
	r.is("owner_teams\npipeline_stages", "SELECT table_name FROM information_schema.views WHERE table_schema = '%s' ORDER BY 1", r.o.Schema)
}
