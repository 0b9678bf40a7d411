package simulator

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// TestEveryObjectOfTheCatalogue reads each of them by the addresses that
// hubpipe uses.
func TestEveryObjectOfTheCatalogue(t *testing.T) {
	t.Parallel()
	sizes := map[string]int{}
	var names []string
	for _, o := range catalogue.Objects() {
		sizes[o.Name] = 12
		names = append(names, o.Name)
	}
	if d := cmp.Diff(names, Objects()); d != "" {
		t.Fatal(d)
	}
	p := newPortal(t, Options{Sizes: sizes})
	for _, o := range catalogue.Objects() {
		version := o.Version
		if version == "" {
			version = catalogue.DefaultVersion
		}
		for _, v := range []string{version, "v3"} {
			if n := len(p.ok(200, "GET", o.Path(v)+"?limit=100", nil).Results); n != 12 {
				t.Errorf("%s in %s: %d rows", o.Name, v, n)
			}
		}
		q := with(query(filter(o.Cursor, "GTE", "1")), "sorts", []string{o.Cursor}, "properties", []string{o.Created})
		pg := p.ok(200, "POST", o.Path(version)+"/search", q)
		if pg.Total != 12 || pg.Results[0].Properties[o.Created] == nil || pg.Results[0].Properties[o.Cursor] == nil {
			t.Errorf("%s: search finds %d, %v", o.Name, pg.Total, pg.Results[0].Properties)
		}
		p.ok(200, "POST", o.Path(version)+"/batch/read", m{"inputs": inputs(pg.Results[0].ID)})
		if n := len(p.ok(200, "GET", o.PropertiesPath(version), nil).Results); n != 40 {
			t.Errorf("%s has %d properties", o.Name, n)
		}
		if o.TypeID != "" {
			p.ok(200, "GET", "/crm/objects/"+version+"/"+o.TypeID, nil)
		}
		if o.Version != "" {
			p.ok(404, "GET", o.Path(catalogue.DefaultVersion), nil)
			continue
		}
		p.ok(200, "GET", o.Path("2026-03"), nil)
		p.ok(404, "GET", o.Path("2025-09"), nil)
	}
}

func TestCustomObjects(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Sizes: map[string]int{"contacts": 5, "p_cars": 7, "p_contacts": 9}, PortalID: 4711})
	var schemas struct {
		Results []struct {
			ID, ObjectTypeID, Name, FullyQualifiedName, PrimaryDisplayProperty string
			Archived                                                           bool
			Properties                                                         []struct{ Name string }
		}
	}
	for _, path := range []string{"/crm-object-schemas/2026-09/schemas", "/crm/v3/schemas"} {
		if err := json.Unmarshal(p.do("GET", path, nil).body, &schemas); err != nil || len(schemas.Results) != 2 {
			t.Fatalf("%s: %v, %+v", path, err, schemas)
		}
	}
	sizes := map[string]int{"cars": 7, "contacts": 9}
	for _, s := range schemas.Results {
		if len(s.Properties) != 40 || s.PrimaryDisplayProperty != s.Name+"_name" {
			t.Errorf("%+v", s)
		}
		if s.FullyQualifiedName != "p4711_"+s.Name {
			t.Errorf("full name %q", s.FullyQualifiedName)
		}
		for _, name := range []string{s.ObjectTypeID, s.FullyQualifiedName, "p_" + s.Name} {
			o, ok := catalogue.Custom(name)
			if !ok {
				t.Fatalf("%s is no name of a custom object", name)
			}
			if n := len(p.ok(200, "GET", o.Path("2026-09")+"?limit=100", nil).Results); n != sizes[s.Name] {
				t.Errorf("%s: %d rows", name, n)
			}
		}
	}
	if n := len(p.ok(200, "GET", contactsPath, nil).Results); n != 5 {
		t.Errorf("%d contacts: the portal's own have HubSpot's name", n)
	}
	p.ok(404, "GET", "/crm/objects/2026-09/cars", nil)
	if err := json.Unmarshal(p.do("GET", "/crm-object-schemas/2026-09/schemas"+"?includePropertyDefinitions=false", nil).body, &schemas); err != nil || len(schemas.Results[0].Properties) != 0 {
		t.Errorf("%v: definitions that nobody asked for", err)
	}
	if n := len(p.ok(200, "GET", "/crm-object-schemas/2026-09/schemas"+"?archived=true", nil).Results); n != 0 {
		t.Errorf("%d archived", n)
	}
	p.ok(200, "POST", "/_simulator/faults", `{"scopes_missing":{"schemas":["crm.schemas.custom.read"],"p_cars":["crm.objects.custom.read"]}}`)
	p.ok(403, "GET", "/crm-object-schemas/2026-09/schemas", nil)
	p.ok(403, "GET", "/crm/objects/2026-09/p_cars", nil)
	p.ok(200, "GET", "/crm/objects/2026-09/p_contacts", nil)
	if n := p.Stats().Requests["schemas"]; n != 5 {
		t.Errorf("%d requests for schemas counted", n)
	}
}
