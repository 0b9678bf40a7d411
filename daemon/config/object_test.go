package config

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// TestObjects says which names an object may have, and what is said of others.
func TestObjects(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ written, object, problem string }{
		{"contacts", "contacts", ""},
		{"0-3", "deals", ""},
		{"goal_targets", "goals", ""},
		{"commerce_payments", "payments", ""},
		{"2-123", "2-123", ""},
		{"p_cars", "p_cars", ""},
		{"p4711_contacts", "p4711_contacts", ""},
		{"pipelines", "pipelines", ""},
		{"associations", "", "stream x: it names no pairs of objects whose associations to copy"},
		{"deal_splits", "deal_splits", ""},
		{"contcats", "", `there is no object "contcats"`},
		{"cars", "", `there is no object "cars"`},
		{"2-0", "", `there is no object "2-0"`},
	} {
		t.Run(tt.written, func(t *testing.T) {
			t.Parallel()
			o := options(t, nil)
			o.Objects = catalogue.Names()
			o.Path = write(t, filepath.Join(o.WorkDir, FileName), `portal "a" { token = "x" }`+"\nstream \"x\" { object = \""+tt.written+"\" }\n")
			c, diags, err := Load(o)
			if invalid := (*InvalidError)(nil); tt.problem != "" {
				if !errors.As(err, &invalid) || !strings.Contains(diags.String(), tt.problem) {
					t.Fatalf("%v: %s", err, diags)
				}
				return
			}
			if err != nil || c.Streams[0].Object != tt.object || c.Streams[0].Name != "x" {
				t.Fatalf("%v: %+v", err, c)
			}
		})
	}
}

func TestAssociationsAreWithObjects(t *testing.T) {
	t.Parallel()
	c, _ := loadText(t, `portal "a" { token = "x" }
stream "contacts" { associations = ["companies", "0-3", "p_cars", "2-5"] }
`, nil)
	if d := cmp.Diff([]string{"companies", "0-3", "p_cars", "2-5"}, c.Streams[0].Associations); d != "" {
		t.Error(d)
	}
	for entry, problem := range map[string]string{
		"cars":   `there is no object "cars"`,
		"owners": `"owners" has no associations`,
		"":       "associations",
	} {
		o := options(t, nil)
		o.Path = write(t, filepath.Join(o.WorkDir, FileName), `portal "a" { token = "x" }`+"\nstream \"contacts\" { associations = [\""+entry+"\"] }\n")
		if _, diags, err := Load(o); err == nil || !strings.Contains(diags.String(), problem) {
			t.Errorf("%q: %v: %s", entry, err, diags)
		}
	}
}

// TestPairs reads the pairs of a stream of associations.
func TestPairs(t *testing.T) {
	t.Parallel()
	o := options(t, nil)
	o.Objects = catalogue.Names()
	o.Path = write(t, filepath.Join(o.WorkDir, FileName), `portal "a" { token = "x" }
defaults { associations = ["companies"] }
stream "deals" {}
stream "links" {
  object       = "associations"
  associations = ["0-3/contacts", "contacts/0-3", "p_cars/2-5"]
}
stream "association_labels" {}
`)
	c, diags, err := Load(o)
	if err != nil {
		t.Fatal(diags)
	}
	pairs := []string{"contacts/deals", "deals/contacts", "p_cars/2-5"}
	links := c.Streams[1]
	if d := cmp.Diff(pairs, links.Parents); d != "" || links.Interval != 24*time.Hour {
		t.Errorf("%s %s", links.Interval, d)
	}
	labels := []string{"2-5/p_cars", "companies/deals", "contacts/deals", "deals/companies", "deals/contacts", "p_cars/2-5"}
	if d := cmp.Diff(labels, c.Streams[2].Parents); d != "" {
		t.Error(d)
	}
	for _, tt := range []struct{ streams, says, hint string }{
		{`stream "associations" {}`, "stream associations: it names no pairs", `write associations = ["deals/contacts", "contacts/companies"]`},
		{`stream "associations" { associations = [] }`, "it names no pairs", "write associations"},
		{`stream "associations" { associations = ["contacts"] }`, `"contacts" is one object; each entry is a pair`, "write associations"},
		{`stream "associations" { associations = ["deals/contcats"] }`, `the pair "deals/contcats": there is no object "contcats"; did you mean "contacts"?`, ""},
		{`stream "associations" { associations = ["deal/contacts"] }`, `there is no object "deal"; did you mean "deals"?`, "p_name"},
		{`stream "associations" { associations = ["deals/owners"] }`, `"owners" has no associations`, ""},
		{`stream "associations" { associations = ["deals/contacts/companies"] }`, "more than two objects", ""},
		{`stream "associations" { associations = ["deals/"] }`, `is no name`, ""},
		{`stream "associations" { associations = ["deals/contacts", "0-3/0-1"] }`, `names "deals/contacts" twice`, ""},
		{`stream "contacts" { associations = ["deals/contacts"] }`, `"deals/contacts" is a pair`, `object = "associations"`},
		{"defaults { associations = [\"deals/contacts\"] }\nstream \"contacts\" {}", `defaults: associations: "deals/contacts" is a pair`, `object = "associations"`},
	} {
		o := options(t, nil)
		o.Objects = catalogue.Names()
		o.Path = write(t, filepath.Join(o.WorkDir, FileName), `portal "a" { token = "x" }`+"\n"+tt.streams+"\n")
		_, diags, err := Load(o)
		if err == nil || len(diags) != 1 || !strings.Contains(diags.String(), tt.says) || !strings.Contains(diags.String(), tt.hint) {
			t.Errorf("%s: %v: %d: %s", tt.streams, err, len(diags), diags)
		}
	}
}
