package catalogue

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRowsAreComplete(t *testing.T) {
	t.Parallel()
	names, ids := map[string]bool{}, map[string]bool{}
	for _, o := range All() {
		if names[o.Name] || o.TypeID != "" && ids[o.TypeID] {
			t.Errorf("%s (%s) stands twice in the table", o.Name, o.TypeID)
		}
		names[o.Name], ids[o.TypeID] = true, true
		if o.Name == "" || len(o.Scopes) == 0 || o.Interval < time.Second {
			t.Errorf("%+v lacks its name, scopes or interval", o)
		}
		got, ok := Lookup(o.Name)
		if !ok {
			t.Errorf("%s is not found by its name", o.Name)
		}
		if diff := cmp.Diff(o, got); diff != "" {
			t.Errorf("%s is found as another (-table +found):\n%s", o.Name, diff)
		}
		if o.Strategy == StrategyObjects {
			crmRow(t, o)
		} else {
			otherRow(t, o)
		}
	}
	if n := len(names); n < 60 {
		t.Errorf("%d rows", n)
	}
}

// crmRow holds what an object of the CRM has to have.
func crmRow(t *testing.T, o Object) {
	t.Helper()
	if o.PathName == "" || o.Cursor == "" || o.Created == "" || !o.Ready || o.Deletions != Archived {
		t.Errorf("%+v lacks a name", o)
	}
	if o.ListLimit != 100 || o.BatchLimit != 100 || o.SearchLimit != 200 {
		t.Errorf("%s lacks a limit", o.Name)
	}
	if o.TypeID == "" && o.Name != "contracts" && o.Name != "partner_clients" {
		t.Errorf("%s has no type id", o.Name)
	}
	if !cmp.Equal(o.Endpoint, Endpoint{}) {
		t.Errorf("%s has an endpoint of its own", o.Name)
	}
}

// otherRow holds what a generic reader relies on.
func otherRow(t *testing.T, o Object) {
	t.Helper()
	e := o.Endpoint
	if o.PathName != "" || o.Cursor != "" || len(e.Addresses) == 0 || len(e.Key) == 0 {
		t.Errorf("%s: %+v", o.Name, e)
	}
	if e.Method != http.MethodGet && e.Method != http.MethodPost {
		t.Errorf("%s: method %q", o.Name, e.Method)
	}
	for _, a := range e.Addresses {
		inPath := strings.Contains(a.Path, "{parent}") || strings.Contains(a.Path, "{from}/{to}")
		if !strings.HasPrefix(a.Path, "/") || !strings.Contains(a.Path, a.Version) {
			t.Errorf("%s: address %q of %s", o.Name, a.Path, a.Version)
		}
		if inPath != (e.Parent.Kind != ParentNone && e.ParentQuery == "" && (e.Inputs == 0 || e.Parent.Kind == ParentPairRecords)) {
			t.Errorf("%s: %q does not fit its parent %+v", o.Name, a.Path, e.Parent)
		}
		if (a.Paging == PagingAfter || a.Paging == PagingOffset) != (a.PageSize > 0) {
			t.Errorf("%s: pages of %d", o.Name, a.PageSize)
		}
		if strings.ContainsAny(a.For("a/b"), "{}") {
			t.Errorf("%s: %q keeps a place", o.Name, a.For("a/b"))
		}
	}
	if (len(e.Around) > 0 || e.Union != "") && e.Parts == "" || (e.Union == "") != (len(e.UnionKey) == 0) || e.InputPath != "" && e.Inputs == 0 {
		t.Errorf("%s: %+v", o.Name, e)
	}
	if slices.ContainsFunc(o.Scopes, func(s string) bool { return strings.Contains(s, "write") }) != o.OnRequest {
		t.Errorf("%s: its scopes are %v, on request %t", o.Name, o.Scopes, o.OnRequest)
	}
	if (e.Parent.Kind == ParentStream) != (e.Parent.Stream != "") {
		t.Errorf("%s: parent %+v", o.Name, e.Parent)
	}
	if p, ok := Lookup(e.Parent.Stream); e.Parent.Stream != "" && (!ok || p.Custom) {
		t.Errorf("%s: there is no parent %q", o.Name, e.Parent.Stream)
	}
	if (o.Strategy == StrategyWindowed && e.Parent.Kind != ParentNone) != (e.ParentQuery != "") {
		t.Errorf("%s: asked by %q for parent %+v", o.Name, e.ParentQuery, e.Parent)
	}
	if (o.Strategy == StrategyPerParent || o.Strategy == StrategyLog) != (e.Parent.Kind != ParentNone && e.ParentQuery == "") {
		t.Errorf("%s is read by %s and has parent %+v", o.Name, o.Strategy, e.Parent)
	}
	if o.Strategy == StrategyWindowed && (e.From == "" || e.To == "" || e.Time == "") {
		t.Errorf("%s has no window", o.Name)
	}
	if (e.End == EndField) != (e.EndField != "") || (e.End == EndArchivedPass) != (o.Deletions == Archived) {
		t.Errorf("%s: its end is %v %q", o.Name, e.End, e.EndField)
	}
}

// TestWhatThereIs names what people look for.
func TestWhatThereIs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ names, strategy string }{
		{"contacts companies deals tickets products line_items quotes leads goals calls meetings notes tasks emails communications postal_mail " +
			"feedback_submissions invoices orders carts subscriptions payments users appointments courses listings services projects contracts " +
			"discounts fees taxes partner_clients", "objects"},
		{"owners schemas lists forms marketing_emails marketing_email_statistics campaigns email_campaigns subscription_definitions workflows " +
			"account_users roles teams currencies exchange_rates marketing_events conversation_inboxes conversation_threads account api_usage", "whole"},
		{"email_events subscription_changes events", "windowed"},
		{"form_submissions", "log"},
		{"pipelines properties association_labels associations list_memberships marketing_event_participants conversation_messages " +
			"subscription_statuses deal_splits", "parent"},
	} {
		for name := range strings.FieldsSeq(tt.names) {
			if o, ok := Lookup(name); !ok || o.Name != name || o.Custom || o.Strategy.String() != tt.strategy {
				t.Errorf("%s is found as %s, by %s", name, o.Name, o.Strategy)
			}
		}
	}
}

func TestNamesAreThoseThatCanBeRead(t *testing.T) {
	t.Parallel()
	names := Names()
	for _, o := range All() {
		if slices.Contains(names, o.Name) != o.Ready {
			t.Errorf("%s: ready %t", o.Name, o.Ready)
		}
	}
	if !slices.Contains(names, "contacts") || len(names) < len(Objects()) {
		t.Errorf("names %v", names)
	}
}

func TestLookupByOtherNames(t *testing.T) {
	t.Parallel()
	for other, want := range map[string]string{
		"0-1": "contacts", "0-3": "deals", "0-136": "leads", "0-970": "projects", "goal_targets": "goals",
		"commerce_payments": "payments", "0-69": "subscriptions", "subscriptions": "subscriptions",
	} {
		if o, ok := Lookup(other); !ok || o.Name != want {
			t.Errorf("%s is %q, want %q", other, o.Name, want)
		}
	}
}

func TestCustom(t *testing.T) {
	t.Parallel()
	for name, typeID := range map[string]string{"2-123": "2-123", "p_cars": "", "p4711_Cars": "", "p_contacts": "", "p_0-1": ""} {
		o, ok := Custom(name)
		if got, found := Lookup(name); !ok || !found || !cmp.Equal(got, o) {
			t.Errorf("%s is not found", name)
		}
		if !o.Custom || o.Name != name || o.TypeID != typeID || o.Path("2026-09") != "/crm/objects/2026-09/"+name || o.Scopes[0] != "crm.objects.custom.read" {
			t.Errorf("%s: %+v", name, o)
		}
		crmRowOfPortal := o
		crmRowOfPortal.TypeID = "2-1"
		crmRow(t, crmRowOfPortal)
	}
	for _, name := range []string{"cars", "contacts", "2-", "2-0", "2-1x", "3-1", "p", "p_", "pa_cars", "p_ca/rs", "p_ä", "2-" + strings.Repeat("1", 20), "p_" + strings.Repeat("a", 101)} {
		if o, ok := Custom(name); ok {
			t.Errorf("%q is %+v", name, o)
		}
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	if o, _ := Lookup("projects"); o.Version != "2026-03" || o.Path(o.Version) != "/crm/objects/2026-03/0-970" {
		t.Errorf("projects: %+v", o)
	}
	users, _ := Lookup("account_users")
	if a := users.Endpoint.Addresses[0]; a.Version != "2026-03" {
		t.Errorf("users of the account: %+v", a)
	}
	flows, _ := Lookup("workflows")
	if a, ok := flows.Endpoint.In("v3"); !ok || a.Results != "workflows" || a.Paging != PagingNone {
		t.Errorf("workflows in v3: %+v", a)
	}
	if a, ok := flows.Endpoint.In("2026-09"); ok {
		t.Errorf("workflows in 2026-09: %+v", a)
	}
	members, _ := Lookup("list_memberships")
	if got := members.Endpoint.Addresses[0].For("7/8"); got != "/crm/lists/2026-09/7%2F8/memberships/join-order" {
		t.Error(got)
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
	deals, _ := Lookup("deals")
	for _, tt := range []struct{ got, want string }{
		{o.Path("2026-09"), "/crm/objects/2026-09/contacts"},
		{o.Path("v3"), "/crm/v3/objects/contacts"},
		{o.PropertiesPath("2026-09"), "/crm/properties/2026-09/contacts"},
		{o.PropertiesPath("v3"), "/crm/v3/properties/contacts"},
		{o.AssociationsPath("2026-09", deals), "/crm/associations/2026-09/contacts/deals/batch/read"},
		{o.AssociationsPath("v3", deals), "/crm/v4/associations/contacts/deals/batch/read"},
		{TokenPath("2026-09"), "/oauth/2026-09/token"},
		{TokenPath("v3"), "/oauth/v1/token"},
		{AccountPath("2026-09"), "/account-info/2026-09/details"},
		{AccountPath("v3"), "/account-info/v3/details"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}
