package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type linkedTo struct {
	ToObjectID       json.RawMessage `json:"toObjectId"`
	AssociationTypes []AssociationType
}

type linkPage struct {
	From struct{ ID string }
	To   []linkedTo
	Next struct {
		Next struct{ After, Link string }
	} `json:"paging"`
}

type linkAnswer struct {
	Results   []linkPage
	NumErrors int
	Errors    []struct {
		SubCategory string
		Context     map[string][]string
	}
}

const linksPath = "/crm/associations/2026-09/contacts/companies/batch/read"

func (p *portal) links(status int, path string, body any) linkAnswer {
	p.t.Helper()
	a := p.do("POST", path, body)
	var got linkAnswer
	if err := json.Unmarshal(a.body, &got); err != nil || a.status != status {
		p.t.Fatalf("%s: status %d, %v: %.300s", path, a.status, err, a.body)
	}
	return got
}

// allLinks reads the associations of some records to the end.
func (p *portal) allLinks(path string, ids []string) map[string][]string {
	p.t.Helper()
	out := map[string][]string{}
	var inputs []m
	for _, id := range ids {
		inputs = append(inputs, m{"id": id})
	}
	for len(inputs) > 0 {
		part := inputs[:min(len(inputs), 1000)]
		inputs = inputs[len(part):]
		a := p.do("POST", path, m{"inputs": part})
		var got linkAnswer
		if err := json.Unmarshal(a.body, &got); err != nil || a.status != 200 && a.status != 207 {
			p.t.Fatalf("status %d: %.300s", a.status, a.body)
		}
		for _, r := range got.Results {
			for _, to := range r.To {
				out[r.From.ID] = append(out[r.From.ID], strings.Trim(string(to.ToObjectID), `"`))
			}
			if r.Next.Next.After != "" {
				inputs = append(inputs, m{"id": r.From.ID, "after": r.Next.Next.After})
			}
		}
	}
	return out
}

// trueLinks is the truth as the control address tells it.
func (p *portal) trueLinks(pair string) map[string][]string {
	p.t.Helper()
	out := map[string][]string{}
	for line := range strings.SplitSeq(strings.TrimSpace(string(p.do("GET", "/_simulator/truth/associations/"+pair, nil).body)), "\n") {
		if line == "" {
			continue
		}
		var a Association
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			p.t.Fatalf("%q: %v", line, err)
		}
		out[a.From] = append(out[a.From], a.To)
	}
	return out
}

func newLinked(t *testing.T, o Options) *portal {
	t.Helper()
	o.Sizes = map[string]int{"contacts": 1200, "companies": 900, "deals": 60}
	if o.Associations == nil {
		o.Associations = map[string]float64{"contacts-companies": 1.2, "deals-contacts": 3, "nothing-contacts": 1}
	}
	return newPortal(t, o)
}

func (p *portal) change(pair string, body any) (associated, dissociated int) {
	p.t.Helper()
	a := p.do("POST", "/_simulator/associations/"+pair, body)
	var got struct{ Associated, Dissociated int }
	if err := json.Unmarshal(a.body, &got); err != nil || a.status != 200 {
		p.t.Fatalf("status %d: %s", a.status, a.body)
	}
	return got.Associated, got.Dissociated
}

func TestAssociationsAreTheTruth(t *testing.T) {
	t.Parallel()
	p := newLinked(t, Options{AssociationPage: 7})
	for _, tt := range []struct{ from, to string }{{"contacts", "companies"}, {"companies", "contacts"}, {"deals", "contacts"}, {"contacts", "deals"}} {
		all := idList(p.walk("/crm/objects/2026-09/"+tt.from, ""))
		want := p.trueLinks(tt.from + "/" + tt.to)
		for _, path := range []string{"/crm/associations/2026-09/" + tt.from + "/" + tt.to, "/crm/v4/associations/" + tt.from + "/" + tt.to} {
			if d := cmp.Diff(want, p.allLinks(path+"/batch/read", all)); d != "" {
				t.Errorf("%s (-truth +read):\n%s", path, d)
			}
		}
		n, most := 0, 0
		for _, to := range want {
			n, most = n+len(to), max(most, len(to))
			if !slices.IsSortedFunc(to, func(a, b string) int { x, _ := strconv.Atoi(a); y, _ := strconv.Atoi(b); return x - y }) {
				t.Errorf("ids in another order: %v", to)
			}
		}
		if tt.from == "contacts" && tt.to == "companies" && (n < 1200 || n > 1700 || most < 8) {
			t.Errorf("%d links of 1200 contacts, at most %d of one", n, most)
		}
	}
	again := newLinked(t, Options{AssociationPage: 7})
	if d := cmp.Diff(p.trueLinks("deals/contacts"), again.trueLinks("deals/contacts")); d != "" {
		t.Errorf("another graph of the same seed:\n%s", d)
	}
}

func TestAssociationRules(t *testing.T) {
	t.Parallel()
	p := newLinked(t, Options{})
	var none []string
	for i := range 1001 {
		none = append(none, fmt.Sprint(i+1000000))
	}
	got := p.links(207, linksPath, m{"inputs": inputs(none[:1000]...)})
	if len(got.Results) != 0 || got.NumErrors != 1000 || got.Errors[0].SubCategory != "crm.associations.NO_ASSOCIATIONS_FOUND" || got.Errors[0].Context["fromObjectId"][0] != none[0] {
		t.Errorf("%d results, %d errors, %+v", len(got.Results), got.NumErrors, got.Errors[0])
	}
	p.ok(400, "POST", linksPath, m{"inputs": inputs(none...)})
	p.ok(400, "POST", linksPath, `{"inputs":`)
	p.ok(405, "GET", linksPath, nil)
	p.ok(404, "POST", "/crm/associations/2026-09/contacts/llamas/batch/read", m{})
	p.ok(404, "POST", "/crm/v3/associations/contacts/companies/batch/read", m{})
	for how, status := range map[string]int{"207": 207, "200": 200, "silent": 200} {
		p.ok(200, "POST", "/_simulator/faults", m{"missing": how})
		if got := p.links(status, linksPath, m{"inputs": inputs(none[0])}); len(got.Errors) == 0 != (how == "silent") {
			t.Errorf("%s: %+v", how, got)
		}
	}
	p.ok(200, "POST", "/_simulator/faults", `{"scopes_missing":{"companies":["crm.objects.companies.read"]}}`)
	p.ok(403, "POST", linksPath, m{"inputs": inputs(none[0])})
	p.ok(403, "GET", "/crm/associations/2026-09/companies/contacts/labels", nil)
	p.ok(200, "GET", "/crm/associations/2026-09/deals/contacts/labels", nil)
}

func TestAssociationTokens(t *testing.T) {
	t.Parallel()
	p := newLinked(t, Options{})
	id := p.Truth("contacts")[0].ID
	if n, _ := p.change("contacts/companies", m{"storm": 3000, "storm_from": id}); n != 3000 {
		t.Fatalf("a storm of %d", n)
	}
	got := p.links(200, linksPath, m{"inputs": inputs(id)}).Results[0]
	after := got.Next.Next.After
	if len(got.To) != 500 || !strings.Contains(after, "%3D") && strings.TrimRight(after, "=") != after {
		t.Fatalf("%d of a page, then %q", len(got.To), after)
	}
	next := p.links(200, linksPath, m{"inputs": []m{{"id": id, "after": after}}}).Results[0]
	if slices.ContainsFunc(got.To, func(l linkedTo) bool { return string(l.ToObjectID) == string(next.To[0].ToObjectID) }) {
		t.Error("the second page repeats the first")
	}
	for _, bad := range []string{"x", "5", "MC0xLTU", strings.ReplaceAll(token(p.stores["companies"], 7), "%3D", "=")} {
		if bad == after {
			continue
		}
		p.ok(400, "POST", linksPath, m{"inputs": []m{{"id": id, "after": bad}}})
	}
	var v4 map[string]any
	if err := json.Unmarshal(p.do("POST", "/crm/v4/associations/contacts/companies/batch/read", m{"inputs": inputs(id)}).body, &v4); err != nil {
		t.Fatal(err)
	}
	to := v4["results"].([]any)[0].(map[string]any)["to"].([]any)[0].(map[string]any)["toObjectId"]
	if _, number := to.(float64); !number {
		t.Errorf("v4 writes ids as %T", to)
	}
	if got.To[0].ToObjectID[0] != '"' {
		t.Errorf("2026-09 writes ids as %s", got.To[0].ToObjectID)
	}
}

func TestAssociationsOfOneRecord(t *testing.T) {
	t.Parallel()
	p := newLinked(t, Options{})
	id := p.Truth("contacts")[0].ID
	p.change("contacts/companies", m{"storm": 3000, "storm_from": id})
	for _, path := range []string{"/crm/objects/2026-03/contacts/" + id + "/associations/companies", "/crm/v4/objects/contacts/" + id + "/associations/companies"} {
		var ids []string
		for after := ""; ; {
			var pg struct {
				Results []linkedTo
				Paging  struct{ Next struct{ After string } }
			}
			a := p.do("GET", path+"?limit=500&after="+strings.ReplaceAll(after, "%", "%25"), nil)
			if err := json.Unmarshal(a.body, &pg); err != nil || a.status != 200 {
				t.Fatalf("%s: status %d, %s", path, a.status, a.body)
			}
			for _, l := range pg.Results {
				ids = append(ids, strings.Trim(string(l.ToObjectID), `"`))
			}
			if after = pg.Paging.Next.After; after == "" {
				break
			}
		}
		if d := cmp.Diff(p.trueLinks("contacts/companies")[id], ids); d != "" || len(ids) < 500 {
			t.Errorf("%s: %d links:\n%s", path, len(ids), d)
		}
		p.ok(400, "GET", path+"?limit=501", nil)
	}
	p.ok(404, "GET", "/crm/objects/2026-09/contacts/"+id+"/associations/companies", nil)
	p.ok(404, "GET", "/crm/objects/2026-03/contacts/5/associations/companies", nil)
}

func TestLabels(t *testing.T) {
	t.Parallel()
	p := newLinked(t, Options{})
	var labels struct{ Results []AssociationType }
	for _, path := range []string{"/crm/associations/2026-09/contacts/companies/labels", "/crm/v4/associations/contacts/companies/labels"} {
		if err := json.Unmarshal(p.do("GET", path, nil).body, &labels); err != nil || len(labels.Results) != 4 {
			t.Fatalf("%v: %+v", err, labels)
		}
	}
	known, comma := map[int]AssociationType{}, false
	for _, l := range labels.Results {
		known[l.TypeID] = l
		comma = comma || l.Label != nil && strings.Contains(*l.Label, `, "`)
	}
	if len(known) != 4 || !comma {
		t.Errorf("labels %+v", labels.Results)
	}
	seen := map[int]bool{}
	for _, a := range p.TruthAssociations("contacts", "companies") {
		for _, l := range a.Types {
			seen[l.TypeID] = true
			if d := cmp.Diff(known[l.TypeID], l); d != "" {
				t.Fatal(d)
			}
		}
	}
	if len(seen) != 4 {
		t.Errorf("labels in use: %v", seen)
	}
	for _, there := range p.TruthAssociations("companies", "contacts") {
		if _, same := known[there.Types[0].TypeID]; same {
			t.Fatal("both directions have the same numbers")
		}
	}
	ids := p.Truth("contacts")
	company := p.Truth("companies")[0].ID
	p.change("contacts/companies", m{"associate": []m{{"from": ids[3].ID, "to": company, "label": "billing; accounts"}}})
	got := p.links(200, linksPath, m{"inputs": inputs(ids[3].ID)}).Results[0].To
	i := slices.IndexFunc(got, func(l linkedTo) bool { return string(l.ToObjectID) == `"`+company+`"` })
	if i < 0 || !slices.ContainsFunc(got[i].AssociationTypes, func(a AssociationType) bool { return a.Label != nil && *a.Label == "Billing; accounts" }) {
		t.Errorf("%+v", got)
	}
}

// TestAssociatingChangesNoTime is why associations need a read of their own.
func TestAssociatingChangesNoTime(t *testing.T) {
	t.Parallel()
	p := newLinked(t, Options{})
	a, b := p.Truth("contacts")[0], p.Truth("companies")[0]
	p.clock.add(time.Hour)
	has := func() bool { return slices.Contains(p.trueLinks("contacts/companies")[a.ID], b.ID) }
	p.change("contacts/companies", m{"associate": []m{{"from": a.ID, "to": b.ID}}})
	if !has() || !slices.Contains(p.trueLinks("companies/contacts")[b.ID], a.ID) {
		t.Error("not associated")
	}
	if made, ended := p.change("companies/contacts", m{"dissociate": []m{{"from": b.ID, "to": a.ID}, {"from": b.ID, "to": a.ID}}}); made != 0 || ended != 1 || has() {
		t.Errorf("%d made, %d ended", made, ended)
	}
	if !p.one(contactsPath + "/" + a.ID).UpdatedAt.Equal(a.UpdatedAt) {
		t.Error("associating changed the time")
	}
	for pair, body := range map[string]m{
		"contacts/companies": {"associate": []m{{"from": a.ID, "to": "5"}}},
		"companies/contacts": {"associate": []m{{"from": b.ID, "to": a.ID, "label": "cousin"}}},
	} {
		if got := p.do("POST", "/_simulator/associations/"+pair, body); got.status != 400 {
			t.Errorf("%v: status %d", body, got.status)
		}
	}
	if got := p.do("POST", "/_simulator/associations/contacts/llamas", m{}); got.status != 404 {
		t.Errorf("status %d", got.status)
	}
	if got := p.do("GET", "/_simulator/truth/associations/contacts/llamas", nil); got.status != 404 {
		t.Errorf("status %d", got.status)
	}
}

func TestAssociationsOfWhatHasGone(t *testing.T) {
	t.Parallel()
	p := newLinked(t, Options{})
	var from, to string
	for from = range p.trueLinks("contacts/companies") {
		break
	}
	to = p.trueLinks("contacts/companies")[from][0]
	p.control("companies", m{"archive": []string{to}})
	if slices.Contains(p.trueLinks("contacts/companies")[from], to) || slices.Contains(p.allLinks(linksPath, []string{from})[from], to) {
		t.Error("linked with an archived record")
	}
	p.control("companies", m{"restore": []string{to}})
	if !slices.Contains(p.allLinks(linksPath, []string{from})[from], to) {
		t.Error("a restored record has lost its links")
	}
	before := p.trueLinks("companies/contacts")[to]
	other := idList(p.walk("/crm/objects/2026-09/companies", ""))[5]
	merged := p.control("companies", m{"merge": []m{{"into": other, "from": []string{to}, "new_id": true}}})
	got := p.links(200, "/crm/associations/2026-09/companies/contacts/batch/read", m{"inputs": inputs(to)})
	if len(got.Results) != 1 || len(got.Results[0].To) != 0 {
		t.Errorf("a loser's links: %+v", got.Results)
	}
	now := p.trueLinks("companies/contacts")[merged[0]]
	for _, id := range before {
		if !slices.Contains(now, id) {
			t.Errorf("the survivor lacks %s of %v", id, now)
		}
	}
	p.control("contacts", m{"delete": []string{from}})
	if got := p.links(207, linksPath, m{"inputs": inputs(from)}); len(got.Errors) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestInlineAssociations(t *testing.T) {
	t.Parallel()
	p := newLinked(t, Options{})
	id := p.Truth("contacts")[0].ID
	p.change("contacts/companies", m{"storm": 400, "storm_from": id})
	type linked struct {
		ID           string
		Properties   map[string]*string
		Associations map[string]struct {
			Results []struct{ ID, Type string }
			Paging  struct{ Next struct{ After, Link string } }
		}
	}
	var pg struct{ Results []linked }
	if err := json.Unmarshal(p.do("GET", contactsPath+"?limit=100&properties=email&associations=companies,llamas,deals", nil).body, &pg); err != nil || len(pg.Results) != 100 {
		t.Fatalf("%v: %d rows", err, len(pg.Results))
	}
	want := p.trueLinks("contacts/companies")
	twice := false
	for _, r := range pg.Results {
		var got []string
		for _, l := range r.Associations["companies"].Results {
			if n := len(got); n > 0 && got[n-1] == l.ID {
				twice = true
				continue
			}
			if got = append(got, l.ID); l.Type != "contact_to_company" {
				t.Fatalf("type %q", l.Type)
			}
		}
		next := r.Associations["companies"].Paging.Next
		if r.ID == id {
			if len(got) != 100 || next.After == "" || !strings.Contains(next.Link, id) {
				t.Errorf("%d inline, then %+v", len(got), next)
			}
			continue
		}
		if d := cmp.Diff(want[r.ID], got); d != "" || next.After != "" {
			t.Fatalf("%s (-truth +inline):\n%s", r.ID, d)
		}
	}
	if !twice {
		t.Error("no record stands there once for each label")
	}
	var one linked
	if err := json.Unmarshal(p.do("GET", contactsPath+"/"+id+"?associations=companies", nil).body, &one); err != nil || len(one.Associations["companies"].Results) < 100 {
		t.Errorf("%v: %+v", err, one)
	}
	if a := p.do("GET", contactsPath+"?limit=5", nil); strings.Contains(string(a.body), "associations") {
		t.Error("associations that nobody asked for")
	}
}

func TestAssociationsChangeWithTime(t *testing.T) {
	t.Parallel()
	s := New(Options{Seed: 3, Sizes: map[string]int{"contacts": 100, "companies": 50}, Associations: map[string]float64{"contacts-companies": 1}})
	before := s.TruthAssociations("contacts", "companies")
	for range 300 {
		s.changeOne()
	}
	if cmp.Equal(before, s.TruthAssociations("contacts", "companies")) {
		t.Error("no association has changed")
	}
}

// A portal makes labels, renames them and takes them away.
func TestChangeLabels(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Sizes: map[string]int{"contacts": 5, "companies": 5}, Associations: map[string]float64{"contacts-companies": 1}})
	names := func() (made []string) {
		var got struct{ Results []AssociationType }
		if err := json.Unmarshal(p.do("GET", "/crm/associations/2026-09/contacts/companies/labels", nil).body, &got); err != nil {
			t.Fatal(err)
		}
		for _, l := range got.Results {
			if l.TypeID >= madeLabel && l.TypeID < madeLabel+10 {
				made = append(made, *l.Label)
			}
		}
		return made
	}
	for _, step := range []struct {
		n    int
		name string
		want []string
	}{{1, "buyer", []string{"buyer"}}, {0, "seller", []string{"seller", "buyer"}}, {1, "guest", []string{"seller", "guest"}}, {0, "", []string{"guest"}}} {
		if err := p.ChangeLabels("contacts", "companies", step.n, step.name); err != nil {
			t.Fatal(err)
		}
		if got := names(); !slices.Equal(got, step.want) {
			t.Errorf("%+v: %v", step, got)
		}
	}
	if n := len(p.TruthSet("association_labels")); n != 9 {
		t.Errorf("%d labels in truth", n)
	}
	if err := p.ChangeLabels("contacts", "nothing", 0, "x"); !errors.Is(err, ErrUnknownObject) {
		t.Error(err)
	}
}
