package catalogue

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRowsAreComplete(t *testing.T) {
	t.Parallel()
	names, ids := map[string]bool{}, map[string]bool{}
	for _, o := range Objects() {
		if names[o.Name] || ids[o.TypeID] {
			t.Errorf("%s (%s) stands twice in the table", o.Name, o.TypeID)
		}
		names[o.Name], ids[o.TypeID] = true, true
		if o.Name == "" || o.TypeID == "" || o.Cursor == "" || o.Created == "" || len(o.Scopes) == 0 {
			t.Errorf("%+v lacks a name", o)
		}
		if o.Interval < time.Second || o.ListLimit < 1 || o.BatchLimit < 1 || o.SearchLimit < 1 {
			t.Errorf("%s lacks an interval or a limit", o.Name)
		}
		got, ok := Lookup(o.Name)
		if !ok {
			t.Errorf("%s is not found by its name", o.Name)
		}
		if diff := cmp.Diff(o, got); diff != "" {
			t.Errorf("%s is found as another (-table +found):\n%s", o.Name, diff)
		}
	}
	for _, name := range []string{"contacts", "companies", "deals", "tickets"} {
		if !names[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
}

func TestContactsHaveTheirOwnCursor(t *testing.T) {
	t.Parallel()
	for object, want := range map[string]string{
		"contacts": "lastmodifieddate", "companies": "hs_lastmodifieddate",
		"deals": "hs_lastmodifieddate", "tickets": "hs_lastmodifieddate",
	} {
		if o, _ := Lookup(object); o.Cursor != want {
			t.Errorf("cursor of %s is %q, want %q", object, o.Cursor, want)
		}
	}
}

func TestLookupOfNothing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "0", "contact", "Contacts", "unicorns"} {
		if o, ok := Lookup(name); ok {
			t.Errorf("%q is found as %+v", name, o)
		}
	}
}

func TestTableCannotBeChangedByItsReaders(t *testing.T) {
	t.Parallel()
	Objects()[0].Name = "changed"
	Objects()[0].Scopes[0] = "changed"
	if o, ok := Lookup("contacts"); !ok || o.Scopes[0] != "crm.objects.contacts.read" {
		t.Error("a reader changed the table")
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	o, _ := Lookup("contacts")
	for _, tt := range []struct{ got, want string }{
		{o.Path("2026-09"), "/crm/objects/2026-09/contacts"},
		{o.Path("v3"), "/crm/v3/objects/contacts"},
		{o.PropertiesPath("2026-09"), "/crm/properties/2026-09/contacts"},
		{o.PropertiesPath("v3"), "/crm/v3/properties/contacts"},
		{AccountPath("2026-09"), "/account-info/2026-09/details"},
		{AccountPath("v3"), "/account-info/v3/details"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}
