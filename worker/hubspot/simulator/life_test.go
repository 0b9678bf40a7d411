package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// told is the truth as the control address tells it.
func (p *portal) told(object string) map[string]Object {
	p.t.Helper()
	out := map[string]Object{}
	for line := range strings.SplitSeq(strings.TrimSpace(string(p.do("GET", "/_simulator/truth/"+object, nil).body)), "\n") {
		var o Object
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			p.t.Fatal(err)
		}
		out[o.ID] = o
	}
	return out
}

// control posts a change and returns the ids that it touched.
func (p *portal) control(object string, body any) []string {
	p.t.Helper()
	a := p.do("POST", "/_simulator/"+object, body)
	var got struct{ IDs []string }
	if err := json.Unmarshal(a.body, &got); err != nil || a.status != 200 {
		p.t.Fatalf("%v: status %d, %s", body, a.status, a.body)
	}
	return got.IDs
}

const mergedProperties = "?properties=hs_merged_object_ids,hs_calculated_merged_vids,email"

func TestMergeIntoNewRecord(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	before := p.Truth("contacts")
	a, b := before[3], before[7]
	p.clock.add(time.Minute)
	ids := p.control("contacts", m{"merge": []m{{"into": a.ID, "from": []string{b.ID}, "new_id": true}}})
	if len(ids) != 3 || !cmp.Equal(ids[1:], []string{a.ID, b.ID}) || ids[0] == a.ID {
		t.Fatalf("touched %v", ids)
	}
	c := ids[0]
	for _, id := range []string{a.ID, b.ID, c} {
		r := p.one(contactsPath + "/" + id + mergedProperties)
		if r.ID != c || *r.Properties["hs_merged_object_ids"] != a.ID+";"+b.ID || !cmp.Equal(r.Properties["email"], a.Properties["email"]) {
			t.Errorf("%s answers %s with %v", id, r.ID, r.Properties)
		}
		want := fmt.Sprintf("%s:%d;%s:%d", a.ID, p.clock.now().UnixMilli(), b.ID, p.clock.now().UnixMilli())
		if got := *r.Properties["hs_calculated_merged_vids"]; got != want {
			t.Errorf("vids %q, want %q", got, want)
		}
		if !r.UpdatedAt.Equal(p.clock.now()) || r.CreatedAt.After(p.one(contactsPath+"/"+c).UpdatedAt) {
			t.Errorf("created %v, updated %v", r.CreatedAt, r.UpdatedAt)
		}
	}
	live := idList(p.walk(contactsPath, ""))
	if len(live) != 249 || slices.Contains(live, a.ID) || slices.Contains(live, b.ID) || live[248] != c {
		t.Errorf("%d live", len(live))
	}
	for _, id := range []string{a.ID, b.ID} {
		if n := p.ok(200, "POST", searchPath, query(filter("hs_object_id", "EQ", id))).Total; n != 0 {
			t.Errorf("search finds %s", id)
		}
		p.ok(404, "GET", contactsPath+"/"+id+"?archived=true", nil)
		if o := p.told("contacts")[id]; o.State != "merged" || o.MergedInto != c || len(o.Properties) != 0 {
			t.Errorf("truth %+v", o)
		}
	}
	pg := p.ok(207, "POST", batchPath, m{"inputs": inputs(a.ID, c)})
	if got := idList(pg.Results); !cmp.Equal(got, []string{c}) || len(pg.Errors) != 1 || pg.Errors[0].Context["ids"][0] != a.ID {
		t.Errorf("batch read gives %v, %+v", got, pg.Errors)
	}
	if n := len(p.walk(contactsPath, "&archived=true")); n != 0 {
		t.Errorf("%d losers among the archived", n)
	}
	if _, err := p.Change("contacts", Change{Archive: []string{a.ID}}); !errors.Is(err, ErrUnknownRecord) {
		t.Errorf("a loser is archived: %v", err)
	}
}

func idList(rows []row) []string {
	out := make([]string, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.ID)
	}
	return out
}

func TestMergeKeepsTheID(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	ids := idList(p.walk("/crm/objects/2026-09/deals", ""))
	a, b, c, d := ids[0], ids[1], ids[2], ids[3]
	p.control("deals", m{"merge": []m{{"into": b, "from": []string{a}}, {"into": b, "from": []string{c}}, {"into": d, "from": []string{b}}}})
	for _, id := range []string{a, b, c, d} {
		r := p.one("/crm/objects/2026-09/deals/" + id + mergedProperties)
		if r.ID != d || *r.Properties["hs_merged_object_ids"] != b {
			t.Errorf("%s answers %s, merged %q", id, r.ID, *r.Properties["hs_merged_object_ids"])
		}
		if _, ok := r.Properties["hs_calculated_merged_vids"]; ok {
			t.Error("a deal has a property of contacts")
		}
	}
	truth := p.told("deals")
	for id, into := range map[string]string{a: b, c: b, b: d, d: ""} {
		if truth[id].MergedInto != into {
			t.Errorf("%s went into %q, want %q", id, truth[id].MergedInto, into)
		}
	}
	if n := len(p.walk("/crm/objects/2026-09/deals", "")); n != 27 {
		t.Errorf("%d live", n)
	}
}

func TestMergesThatCannotBe(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	ids := idList(p.walk(contactsPath, ""))
	p.control("contacts", m{"archive": []string{ids[5]}})
	for _, mg := range []m{
		{"into": ids[0], "from": []string{"5"}}, {"into": "5", "from": []string{ids[0]}}, {"into": ids[0], "from": []string{ids[0]}},
		{"into": ids[0], "from": []string{ids[1], ids[1]}}, {"into": ids[0]}, {"into": ids[0], "from": []string{ids[5]}},
	} {
		if a := p.do("POST", "/_simulator/contacts", m{"merge": []m{mg}}); a.status != 400 {
			t.Errorf("%v: status %d", mg, a.status)
		}
	}
	if n := len(p.walk(contactsPath, "")); n != 249 {
		t.Errorf("%d live", n)
	}
}

// TestMergeSwitches shows the other behaviour of what nobody could verify.
func TestMergeSwitches(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{MergedArchived: true, BatchGivesSurvivor: true})
	ids := idList(p.walk(contactsPath, ""))
	p.control("contacts", m{"merge": []m{{"into": ids[0], "from": []string{ids[1]}}}})
	if pg := p.ok(200, "POST", batchPath, m{"inputs": inputs(ids[1])}); len(pg.Results) != 1 || pg.Results[0].ID != ids[0] {
		t.Errorf("batch read gives %+v", pg.Results)
	}
	rows := p.walk(contactsPath, "&archived=true")
	if len(rows) != 1 || rows[0].ID != ids[1] || !*rows[0].Archived || !rows[0].ArchivedAt.Equal(p.clock.now()) {
		t.Errorf("archived %+v", rows)
	}
	if pg := p.ok(200, "POST", batchPath+"?archived=true", m{"inputs": inputs(ids[1])}); len(pg.Results) != 1 {
		t.Errorf("batch read of archived ones gives %+v", pg.Results)
	}
	p.ok(200, "POST", "/_simulator/faults", `{"merged_archived":false,"batch_gives_survivor":false}`)
	p.ok(207, "POST", batchPath, m{"inputs": inputs(ids[1])})
	if rows := p.walk(contactsPath, "&archived=true"); len(rows) != 0 {
		t.Errorf("archived %+v", rows)
	}
}

func TestRestoreSwitch(t *testing.T) {
	t.Parallel()
	for _, keeps := range []bool{false, true} {
		p := newPortal(t, Options{RestoreKeepsTime: keeps})
		o := p.Truth("contacts")[4]
		p.clock.add(time.Hour)
		p.control("contacts", m{"archive": []string{o.ID}})
		if got := p.told("contacts")[o.ID]; got.ArchivedAt == nil || !got.ArchivedAt.Equal(p.clock.now()) || len(got.Properties) == 0 {
			t.Errorf("archived: %+v", got)
		}
		p.clock.add(time.Hour)
		p.control("contacts", m{"restore": []string{o.ID}})
		r := p.one(contactsPath + "/" + o.ID)
		if r.UpdatedAt.Equal(o.UpdatedAt) != keeps {
			t.Errorf("keeps %t: updated %v, before %v", keeps, r.UpdatedAt, o.UpdatedAt)
		}
		if got := p.told("contacts")[o.ID]; got.ArchivedAt != nil || got.State != "live" {
			t.Errorf("restored: %+v", got)
		}
	}
}

func TestTruthOfMerges(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	ids := idList(p.walk(contactsPath, ""))
	p.control("contacts", m{"archive": ids[10:13], "delete": ids[12:14], "merge": []m{{"into": ids[0], "from": ids[1:4], "new_id": true}}})
	told := p.told("contacts")
	for _, o := range p.Truth("contacts") {
		if d := cmp.Diff(o, told[o.ID]); d != "" {
			t.Fatal(d)
		}
	}
}

func TestLifeRate(t *testing.T) {
	t.Parallel()
	s := New(Options{Seed: 5, LifeRate: 0.5, Sizes: map[string]int{"contacts": 300, "deals": 100}})
	for range 400 {
		s.changeOne()
	}
	states := map[string]int{}
	for _, o := range append(s.Truth("contacts"), s.Truth("deals")...) {
		states[o.State]++
	}
	if states["archived"] == 0 || states["purged"] == 0 || states["merged"] == 0 || states["live"] < 200 {
		t.Errorf("states %v", states)
	}
	quiet := New(Options{Seed: 5, Sizes: map[string]int{"contacts": 300}})
	for range 400 {
		quiet.changeOne()
	}
	for _, o := range quiet.Truth("contacts") {
		if o.State != "live" {
			t.Fatalf("%s is %s without a rate", o.ID, o.State)
		}
	}
}
