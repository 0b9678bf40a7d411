package simulator

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

type definitionRow struct {
	Name, Label, Type, FieldType, DataSensitivity string
	Calculated, Archived                          bool
	Options                                       []struct{ Label, Value string }
}

func (p *portal) definitionsOf(query string) map[string]definitionRow {
	p.t.Helper()
	var got struct{ Results []definitionRow }
	if err := json.Unmarshal(p.do("GET", "/crm/properties/2026-09/contacts"+query, nil).body, &got); err != nil {
		p.t.Fatal(err)
	}
	out := map[string]definitionRow{}
	for _, d := range got.Results {
		out[d.Name] = d
	}
	return out
}

func (p *portal) changeProperties(body any) {
	p.t.Helper()
	if a := p.do("POST", "/_simulator/contacts/properties", body); a.status != 200 {
		p.t.Fatalf("%v: status %d, %s", body, a.status, a.body)
	}
}

// values are a property's values by record, as the list has them; nil where it
// is not there.
func (p *portal) values(name string) map[string]*string {
	p.t.Helper()
	out := map[string]*string{}
	for _, r := range p.walk(contactsPath, "&properties="+name) {
		if v, ok := r.Properties[name]; ok {
			out[r.ID] = v
		}
	}
	return out
}

func differing(a, b map[string]*string) (n int) {
	for id, v := range a {
		if w := b[id]; (v == nil) != (w == nil) || v != nil && *v != *w {
			n++
		}
	}
	return n
}

func TestPropertyIsAdded(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	long := strings.Repeat("a_very_long_name_", 6)[:100]
	before := p.Truth("contacts")
	p.changeProperties(m{"add": []m{{"name": "fresh", "kind": "number", "fill": 50}, {"name": long, "kind": "text"}}})
	if d := p.definitionsOf(""); len(d) != 42 || d["fresh"].Type != "number" || d[long].FieldType != "textarea" {
		t.Errorf("%d definitions, %+v", len(d), d["fresh"])
	}
	filled := p.ok(200, "POST", searchPath, query(m{"propertyName": "fresh", "operator": "HAS_PROPERTY"})).Total
	if filled < 60 || filled > 190 {
		t.Errorf("%d of 250 have it", filled)
	}
	if v := p.values(long); len(v) != 250 || v[before[0].ID] != nil {
		t.Errorf("%d values of the long name", len(v))
	}
	id := before[0].ID
	huge := strings.Repeat(`"quoted", `, 7000)[:65536]
	p.control("contacts", m{"ids": []string{id}, "properties": m{long: huge}})
	if v := p.values(long)[id]; v == nil || *v != huge {
		t.Error("a value of 64 KB does not come back")
	}
	for i, o := range p.Truth("contacts") {
		if i > 0 && !o.UpdatedAt.Equal(before[i].UpdatedAt) {
			t.Fatal("a definition has changed a record's time")
		}
		if _, ok := o.Properties["fresh"]; !ok {
			t.Fatal("the truth lacks it")
		}
	}
	for _, bad := range []m{{"name": "fresh", "kind": "text"}, {"name": "x", "kind": "poem"}, {"name": "a\"b", "kind": "text"}, {"name": "", "kind": "text"}} {
		if a := p.do("POST", "/_simulator/contacts/properties", m{"add": []m{bad}}); a.status != 400 {
			t.Errorf("%v: status %d", bad, a.status)
		}
	}
	if a := p.do("POST", "/_simulator/llamas/properties", m{}); a.status != 404 {
		t.Errorf("status %d", a.status)
	}
}

func TestPropertyIsRemoved(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	before := p.values("city")
	p.changeProperties(m{"remove": []string{"city"}})
	if d := p.definitionsOf(""); d["city"].Name != "" || len(d) != 39 {
		t.Errorf("%d definitions", len(d))
	}
	if d := p.definitionsOf("?archived=true"); len(d) != 1 || !d["city"].Archived {
		t.Errorf("archived ones: %+v", d)
	}
	if n := len(p.values("city")); n != 0 {
		t.Errorf("%d records show it", n)
	}
	if _, ok := p.told("contacts")[p.Truth("contacts")[0].ID].Properties["city"]; ok {
		t.Error("the truth shows it")
	}
	p.ok(400, "POST", searchPath, query(m{"propertyName": "city", "operator": "HAS_PROPERTY"}))
	p.changeProperties(m{"restore": []string{"city"}})
	if n := differing(before, p.values("city")); n != 0 {
		t.Errorf("%d values are others after the restore", n)
	}
	for _, name := range []string{"hs_object_id", "nothing"} {
		if a := p.do("POST", "/_simulator/contacts/properties", m{"remove": []string{name}}); a.status != 400 {
			t.Errorf("%s: status %d", name, a.status)
		}
	}
}

func TestPropertyIsRetyped(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	before := p.values("city")
	p.changeProperties(m{"retype": []m{{"name": "city", "kind": "number"}}})
	if d := p.definitionsOf("")["city"]; d.Type != "number" || d.FieldType != "number" {
		t.Errorf("%+v", d)
	}
	if n := differing(before, p.values("city")); n != 0 {
		t.Errorf("%d values are others", n)
	}
}

func TestSensitiveProperty(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	before := p.values("city")
	p.changeProperties(m{"sensitive": m{"city": "sensitive"}})
	for _, q := range []string{"", "?dataSensitivity=sensitive", "?archived=true"} {
		if d := p.definitionsOf(q); d["city"].Name != "" {
			t.Errorf("%s shows it without the scope", q)
		}
	}
	if n := len(p.values("city")); n != 0 {
		t.Errorf("%d records show it without the scope", n)
	}
	p.ok(200, "POST", "/_simulator/faults", `{"sensitive_scope":true}`)
	if d := p.definitionsOf("?dataSensitivity=sensitive"); len(d) != 1 || d["city"].DataSensitivity != "sensitive" {
		t.Errorf("%+v", d)
	}
	if p.definitionsOf("")["city"].Name != "" {
		t.Error("it is among the ordinary ones")
	}
	if n := differing(before, p.values("city")); n != 0 || len(p.values("city")) != 250 {
		t.Errorf("%d values are others", n)
	}
	p.changeProperties(m{"sensitive": m{"city": ""}})
	p.ok(200, "POST", "/_simulator/faults", `{"sensitive_scope":false}`)
	if p.definitionsOf("")["city"].Name == "" {
		t.Error("it is still sensitive")
	}
}

// TestCalculatedProperty: its values change, and no time with them.
func TestCalculatedProperty(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	p.changeProperties(m{"add": []m{{"name": "hs_score", "kind": "number", "fill": 100, "calculated": true}}})
	if !p.definitionsOf("")["hs_score"].Calculated {
		t.Error("its definition does not say so")
	}
	p.clock.add(time.Hour)
	for _, share := range []int{0, 30} {
		before, times := p.values("hs_score"), p.Truth("contacts")
		p.changeProperties(m{"recalculate": []m{{"name": "hs_score", "share": share}}})
		n := differing(before, p.values("hs_score"))
		if share == 0 && n < 230 || share == 30 && (n < 30 || n > 150) {
			t.Errorf("share %d: %d of 250 are others", share, n)
		}
		for i, o := range p.Truth("contacts") {
			if !o.UpdatedAt.Equal(times[i].UpdatedAt) {
				t.Fatal("a record's time has changed")
			}
		}
	}
	before := p.values("hs_score")
	p.control("contacts", m{"change": 250})
	if n := differing(before, p.values("hs_score")); n != 0 {
		t.Errorf("people have changed %d of them", n)
	}
	err := p.ChangeProperties("contacts", PropertyChange{Recalculate: []Recalculation{{Name: "city"}}})
	if !errors.Is(err, ErrNotCalculated) {
		t.Errorf("what people write is calculated: %v", err)
	}
}

// TestVolatileProperty changes with the clock.
func TestVolatileProperty(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	p.changeProperties(m{"add": []m{{"name": "days_to_close", "kind": "days", "fill": 100}, {"name": "hs_time_in_lead", "kind": "elapsed", "fill": 100}}})
	days, elapsed := p.values("days_to_close"), p.values("hs_time_in_lead")
	if differing(days, p.values("days_to_close")) != 0 {
		t.Error("the days change though no time has gone by")
	}
	p.clock.add(time.Minute)
	if n := differing(elapsed, p.values("hs_time_in_lead")); n != 250 {
		t.Errorf("%d of 250 are others after a minute", n)
	}
	p.clock.add(24 * time.Hour)
	if n := differing(days, p.values("days_to_close")); n != 250 {
		t.Errorf("%d of 250 are others after a day", n)
	}
}

func TestOptionLabels(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	var commas, quotes bool
	seen := map[string]bool{}
	for _, o := range p.definitionsOf("")["lifecyclestage"].Options {
		commas = commas || strings.Contains(o.Label, ",")
		quotes = quotes || strings.Contains(o.Label, `"`)
		seen[o.Value] = true
	}
	if !commas || !quotes || len(seen) != len(options) {
		t.Errorf("commas %t, quotes %t, %d values", commas, quotes, len(seen))
	}
}
