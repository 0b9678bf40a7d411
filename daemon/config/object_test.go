package config

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

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
		{"associations", "", "stream x: associations are not read yet"},
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
