package config

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// What defaults say holds for the streams to which it means something.
func TestDefaultsHoldWhereTheyMeanSomething(t *testing.T) {
	t.Parallel()
	o := options(t, nil)
	o.Objects = catalogue.Names()
	o.Path = write(t, filepath.Join(o.WorkDir, FileName), `portal "a" { token = "x" }
defaults {
  properties   = ["email"]
  exclude      = ["x"]
  volatile     = ["y"]
  associations = ["deals"]
  history      = ["email"]
  start_date   = "2024-01-31"
}
stream "contacts" {}
stream "owners" {}
stream "email_events" { start_date = "2024-02-01" }
stream "form_submissions" { start_date = "2024-02-01" }
`)
	c, diags, err := Load(o)
	if err != nil || len(diags) > 0 {
		t.Fatal(err, diags)
	}
	contacts, owners, events := c.Streams[0], c.Streams[1], c.Streams[2]
	if contacts.Properties[0] != "email" || contacts.StartDate.IsZero() || len(contacts.Associations) != 1 {
		t.Errorf("%+v", contacts)
	}
	want := DefaultStream()
	want.Name, want.Label, want.Object, want.Portal, want.Interval = "owners", "owners", "owners", "a", owners.Interval
	if d := cmp.Diff(want, owners); d != "" {
		t.Errorf("owners (-want +got)\n%s", d)
	}
	if contacts.Named != nil {
		t.Errorf("defaults name properties for each object: %v", contacts.Named)
	}
	c, _ = loadText(t, `portal "a" { token = "x" }
stream "contacts" {
  properties = ["email", "hs_*"]
  exclude    = ["phone", "email"]
  history    = ["lifecyclestage", "[ab]"]
}
`, nil)
	if d := cmp.Diff([]string{"email", "phone", "lifecyclestage"}, c.Streams[0].Named); d != "" {
		t.Error(d)
	}
	if events.StartDate.IsZero() || events.Properties[0] != "*" || len(events.History) != 0 {
		t.Errorf("%+v", events)
	}
}
