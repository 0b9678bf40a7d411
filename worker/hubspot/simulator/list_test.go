package simulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListIsTheTruth(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {Properties: 367, MaxURL: 20000}, {PreRendered: true}, {PreRendered: true, Sizes: map[string]int{"contacts": 900}}, {OpaqueAfter: map[string]bool{"contacts": true}}, {Properties: 5}} {
		p := newPortal(t, o)
		if _, err := p.Change("contacts", Change{Change: 20, Create: 3}); err != nil {
			t.Fatal(err)
		}
		truth := p.Truth("contacts")
		rows := p.walk(contactsPath, "&properties="+p.all())
		if n := max(250, o.Sizes["contacts"]) + 3; len(truth) != n || len(rows) != len(truth) {
			t.Fatalf("%d listed, %d true", len(rows), len(truth))
		}
		last := uint64(0)
		for i, r := range rows {
			if r.ID != truth[i].ID || !r.UpdatedAt.Equal(truth[i].UpdatedAt) || r.Archived == nil || *r.Archived {
				t.Fatalf("row %d: %+v, truth %+v", i, r, truth[i])
			}
			if d := cmp.Diff(truth[i].Properties, r.Properties); d != "" {
				t.Fatal(d)
			}
			if r.CreatedAt.After(r.UpdatedAt) {
				t.Fatalf("%s was changed before it was made", r.ID)
			}
			id, err := strconv.ParseUint(r.ID, 10, 64)
			if err != nil || id <= last {
				t.Fatalf("id %s after %d", r.ID, last)
			}
			last = id
		}
	}
}

func TestSeedDecides(t *testing.T) {
	t.Parallel()
	sizes := map[string]int{"contacts": 40}
	a, b := New(Options{Seed: 7, Sizes: sizes}), New(Options{Seed: 7, Sizes: sizes})
	if d := cmp.Diff(a.Truth("contacts"), b.Truth("contacts")); d != "" {
		t.Fatal(d)
	}
	if cmp.Equal(a.Truth("contacts"), New(Options{Seed: 8, Sizes: sizes}).Truth("contacts")) {
		t.Fatal("two seeds give the same records")
	}
	for _, o := range a.Truth("contacts") {
		if o.State != "live" {
			t.Fatalf("%s is %s without a change", o.ID, o.State)
		}
	}
}

func TestValuesAreWhatPortalsHold(t *testing.T) {
	t.Parallel()
	s := New(Options{Sizes: map[string]int{"contacts": 2000}})
	var size, nulls, empties, junk, multi, fraction, whole, wide int
	ties := map[string]int{}
	lengths := map[int]bool{}
	for _, o := range s.Truth("contacts") {
		lengths[len(o.ID)] = true
		ties[o.UpdatedAt.String()]++
		raw, _ := json.Marshal(o)
		size += len(raw)
		for n, v := range o.Properties {
			switch {
			case v == nil:
				nulls++
			case *v == "":
				empties++
			case *v == "N/A":
				junk++
			case n == "hs_buying_role" && strings.Contains(*v, ";"):
				multi++
			case n == "closedate" && strings.Contains(*v, "."):
				fraction++
			case n == "closedate" && strings.HasSuffix(*v, "Z"):
				whole++
			case strings.ContainsAny(*v, "éüö契👍\n\"\\"):
				wide++
			}
		}
	}
	for what, n := range map[string]int{"null": nulls, "empty": empties, "junk": junk, "multi": multi, "fraction": fraction, "whole second": whole, "unicode": wide} {
		if n == 0 {
			t.Errorf("no value is %s", what)
		}
	}
	if per := size / 2000; per < 1500 || per > 2300 {
		t.Errorf("%d bytes a record", per)
	}
	most := 0
	for _, n := range ties {
		most = max(most, n)
	}
	if most < 10 || len(lengths) < 3 {
		t.Errorf("most in a millisecond %d, lengths of ids %v", most, lengths)
	}
}

func TestListRules(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	pg := p.ok(200, "GET", contactsPath, nil)
	if len(pg.Results) != 10 || pg.Paging.Next.After == "" || !strings.Contains(pg.Paging.Next.Link, "api.hubapi.com") {
		t.Fatalf("default page: %d rows, paging %+v", len(pg.Results), pg.Paging)
	}
	if len(pg.Results[0].Properties) != 3 {
		t.Fatalf("without properties: %v", pg.Results[0].Properties)
	}
	next := p.ok(200, "GET", contactsPath+"?after="+pg.Paging.Next.After, nil)
	if next.Results[0].ID != pg.Paging.Next.After {
		t.Fatalf("after %s begins at %s", pg.Paging.Next.After, next.Results[0].ID)
	}
	got := p.ok(200, "GET", contactsPath+"?properties=email,nothing&properties=city", nil).Results[0].Properties
	if _, ok := got["city"]; !ok || len(got) != 5 {
		t.Fatalf("properties %v", got)
	}
	for _, q := range []string{"?limit=101", "?limit=0", "?limit=x", "?after=zz"} {
		if pg := p.ok(400, "GET", contactsPath+q, nil); pg.Category != "VALIDATION_ERROR" {
			t.Errorf("%s: %+v", q, pg)
		}
	}
	p.ok(400, "GET", "/crm/objects/2026-09/deals?after=zz", nil)
	p.ok(404, "GET", "/crm/objects/2025-09/contacts", nil)
	p.ok(404, "GET", "/crm/objects/2026-09/llamas", nil)
	p.ok(405, "GET", batchPath, nil)
	for _, path := range []string{"/crm/v3/objects/contacts", "/crm/objects/v3/contacts", "/crm/objects/2026-09/0-1"} {
		if n := len(p.ok(200, "GET", path, nil).Results); n != 10 {
			t.Errorf("%s: %d rows", path, n)
		}
	}
	if rows := p.walk(contactsPath, "&archived=true"); len(rows) != 0 {
		t.Errorf("%d archived", len(rows))
	}
}

func TestOpaqueAfter(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{OpaqueAfter: map[string]bool{"deals": true}})
	const deals = "/crm/objects/2026-09/deals"
	after := p.ok(200, "GET", deals+"?limit=5", nil).Paging.Next.After
	if _, err := strconv.Atoi(after); err == nil {
		t.Fatalf("after %q is decimal", after)
	}
	p.ok(400, "GET", deals+"?after=100", nil)
	if rows := p.walk(deals, ""); len(rows) != 30 {
		t.Fatalf("%d deals", len(rows))
	}
}

func TestVersionsSwitch(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Versions: []string{"v3"}})
	p.ok(404, "GET", contactsPath, nil)
	p.ok(404, "GET", "/account-info/2026-09/details", nil)
	p.ok(200, "GET", "/crm/v3/objects/contacts", nil)
	p.ok(200, "GET", "/account-info/v3/details", nil)
	p = newPortal(t, Options{Versions: []string{"2026-03"}})
	p.ok(200, "GET", "/crm/objects/2026-03/contacts", nil)
	p.ok(200, "GET", "/settings/users/2026-03/roles", nil)
	p.ok(404, "GET", "/crm/owners/2026-09", nil)
	p.ok(404, "GET", "/settings/v3/users/roles", nil)
}

func TestPropertiesAndAccount(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Properties: 367, PortalID: 99})
	var defs struct {
		Results []struct {
			Name, Label, Type, FieldType, GroupName string
			Options                                 []struct{ Value string }
		}
	}
	if err := json.Unmarshal(p.do("GET", "/crm/properties/2026-09/contacts", nil).body, &defs); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, d := range defs.Results {
		seen[d.Name] = true
		if d.Type == "" || d.FieldType == "" || d.Label == "" || d.GroupName == "" || (d.Type == "enumeration") != (len(d.Options) > 0) {
			t.Errorf("definition %+v", d)
		}
	}
	if len(seen) != 367 || !seen["lastmodifieddate"] || !seen["hs_object_id"] || !seen["createdate"] || !seen["email"] {
		t.Fatalf("%d definitions", len(seen))
	}
	if n := len(p.all()); n < 8000 {
		t.Errorf("367 names have %d characters: they fit an address", n)
	}
	var acc struct {
		PortalID                  int64
		TimeZone, CompanyCurrency string
	}
	if err := json.Unmarshal(p.do("GET", "/account-info/2026-09/details", nil).body, &acc); err != nil {
		t.Fatal(err)
	}
	if acc.PortalID != 99 || acc.TimeZone == "" || acc.CompanyCurrency == "" {
		t.Fatalf("account %+v", acc)
	}
}

func TestDateAndCompression(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	for _, enc := range []string{"gzip", "identity"} {
		a := p.do("GET", contactsPath+"?limit=100", nil, "Accept-Encoding", enc)
		if got := a.header.Get("Content-Encoding") == "gzip"; got != (enc == "gzip") {
			t.Errorf("%s: compressed %t", enc, got)
		}
		if d := a.header.Get("Date"); d != p.clock.now().Format(http.TimeFormat) {
			t.Errorf("Date %q", d)
		}
		if a.header.Get("X-HubSpot-Correlation-Id") == "" {
			t.Error("no correlation id")
		}
	}
}
