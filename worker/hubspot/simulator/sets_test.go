package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// pull reads one address of a row of the catalogue to its end, as a reader that
// knows nothing but the row would.
func (p *portal) pull(e catalogue.Endpoint, a catalogue.Address, parent string, extra url.Values, size int) []map[string]any {
	p.t.Helper()
	var out []map[string]any
	for place, n := "", 0; ; n++ {
		if n > 500 {
			p.t.Fatalf("%s has no end", a.Path)
		}
		q := url.Values{}
		maps.Copy(q, extra)
		for _, c := range e.Query {
			q.Set(c.Name, c.Value)
		}
		var body any
		if e.PageInBody {
			text := fmt.Sprintf(`{"count":%d,"offset":%s`, size, cmpOr(place, "0"))
			for _, c := range e.Body {
				text += fmt.Sprintf(`,%q:%s`, c.Name, c.Value)
			}
			body = text + "}"
		} else if a.PageSize > 0 {
			q.Set("limit", strconv.Itoa(size))
			if place != "" {
				q.Set(map[catalogue.Paging]string{catalogue.PagingAfter: "after", catalogue.PagingOffset: "offset"}[a.Paging], place)
			}
		}
		got := p.do(e.Method, a.For(parent)+"?"+q.Encode(), body)
		if got.status != 200 {
			p.t.Fatalf("%s: status %d, %.300s", a.For(parent), got.status, got.body)
		}
		var reply map[string]any
		d := json.NewDecoder(bytes.NewReader(got.body))
		d.UseNumber()
		if err := d.Decode(&reply); err != nil {
			p.t.Fatal(err)
		}
		if a.Results == "" {
			return append(out, reply)
		}
		rows, ok := reply[a.Results].([]any)
		if !ok {
			p.t.Fatalf("%s: no %s in %.200s", a.Path, a.Results, got.body)
		}
		for _, r := range rows {
			out = append(out, r.(map[string]any))
		}
		place = ""
		switch a.Paging {
		case catalogue.PagingAfter:
			if pg, ok := reply["paging"].(map[string]any); ok {
				place = pg["next"].(map[string]any)["after"].(string)
			}
		case catalogue.PagingOffset:
			if reply["hasMore"] == true {
				place = fmt.Sprint(reply["offset"])
			}
		}
		if place == "" {
			return out
		}
	}
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// field is a member of a row, with dots into objects.
func field(row map[string]any, path string) string {
	var v any = row
	for part := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[part]
	}
	return fmt.Sprint(v)
}

func (p *portal) trueSet(name string) map[string]SetObject {
	p.t.Helper()
	out := map[string]SetObject{}
	a := p.do("GET", "/_simulator/truth/"+name, nil)
	for line := range strings.SplitSeq(strings.TrimSpace(string(a.body)), "\n") {
		var o SetObject
		if err := json.Unmarshal([]byte(line), &o); err != nil || a.status != 200 {
			p.t.Fatalf("%s: status %d, %q: %v", name, a.status, line, err)
		}
		out[o.ID] = o
	}
	return out
}

func liveKeys(set map[string]SetObject) []string {
	var ids []string
	for id, o := range set {
		if o.State == "live" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// TestEveryStreamOfTheCatalogue pulls each of the streams that are no objects
// of the CRM, in each version, by what its row says alone, and finds the truth.
func TestEveryStreamOfTheCatalogue(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Sizes: map[string]int{"contacts": 30, "companies": 20, "deals": 10, "tickets": 5, "p_cars": 3}, Associations: map[string]float64{"contacts-companies": 1}})
	for _, row := range catalogue.All() {
		if row.Strategy == catalogue.StrategyObjects || row.Endpoint.Inputs > 0 || row.Name == "account" {
			continue
		}
		truth := p.trueSet(row.Name)
		for _, a := range row.Endpoint.Addresses {
			got := map[string]map[string]any{}
			var keys []string
			for _, parent := range p.parents(row.Endpoint.Parent) {
				extra := url.Values{}
				if row.Endpoint.From != "" {
					extra.Set(row.Endpoint.From, "2020-01-01T00:00:00Z")
				}
				if row.Endpoint.ParentQuery != "" {
					extra.Set(row.Endpoint.ParentQuery, catalogue.EventType(parent))
				}
				for _, r := range p.pull(row.Endpoint, a, parent, extra, max(1, a.PageSize/3)) {
					key := ""
					for _, k := range row.Endpoint.Key {
						if v := field(r, k); k == "{parent}" {
							key += "/" + parent
						} else {
							key += "/" + v
						}
					}
					if got[key] != nil && !row.Endpoint.KeyHash {
						t.Errorf("%s: %s comes twice", a.Path, key)
					}
					got[key] = r
					keys = append(keys, key[1:])
					if row.Endpoint.Time != "" && field(r, row.Endpoint.Time) == "<nil>" && row.Name != "properties" && row.Name != "schemas" {
						t.Errorf("%s: no %s in %v", a.Path, row.Endpoint.Time, r)
					}
				}
			}
			slices.Sort(keys)
			if want := liveKeys(truth); row.Endpoint.KeyHash {
				if len(keys) != len(want) && row.Name != "form_submissions" {
					t.Errorf("%s in %s: %d rows, want %d", row.Name, a.Version, len(keys), len(want))
				}
			} else if row.Endpoint.Partial || strings.Contains(strings.Join(row.Endpoint.Key, ","), ",created") {
				if len(keys) == 0 || row.Endpoint.Partial == (len(keys) == len(want)) {
					t.Errorf("%s in %s: %d rows of %d", row.Name, a.Version, len(keys), len(want))
				}
			} else if d := cmp.Diff(want, keys); d != "" {
				t.Errorf("%s in %s (-truth +read):\n%.600s", row.Name, a.Version, d)
			}
			if row.Endpoint.PageInBody || a.PageSize == 0 {
				continue
			}
			for _, parent := range p.parents(row.Endpoint.Parent)[:1] {
				for _, n := range []int{0, a.PageSize + 1} {
					q := url.Values{"limit": {strconv.Itoa(n)}, "objectType": {"contact"}}
					if got := p.do(http.MethodGet, a.For(parent)+"?"+q.Encode(), nil); got.status != 400 && row.Name != "conversation_threads" {
						t.Errorf("%s: a page of %d is answered with %d", a.Path, n, got.status)
					}
				}
			}
		}
	}
}

// parents are what a stream is read for. Forms of a blog have no submissions
// to read.
func (p *portal) parents(of catalogue.Parent) []string {
	p.t.Helper()
	switch of.Kind {
	case catalogue.ParentObjectTypes:
		return []string{"contacts", "companies", "deals", "tickets", "p_cars"}
	case catalogue.ParentEventObjects:
		return catalogue.EventObjects()
	case catalogue.ParentPairs:
		return []string{"contacts/companies", "companies/contacts"}
	case catalogue.ParentStream:
		var ids []string
		for id, o := range p.trueSet(of.Stream) {
			if o.State == "live" && o.Properties["formType"] != "blog_comment" {
				ids = append(ids, id)
			}
		}
		return ids
	}
	return []string{""}
}

func TestSetControls(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	before := p.trueSet("owners")
	p.clock.add(time.Hour)
	made := p.control("owners", m{"create": 2, "change": 3})
	if len(made) != 5 || len(p.trueSet("owners")) != len(before)+2 {
		t.Fatalf("touched %v", made)
	}
	for _, id := range made {
		at, err := time.Parse(time.RFC3339, fmt.Sprint(p.trueSet("owners")[id].Properties["updatedAt"]))
		if err != nil || !at.Equal(p.clock.now()) {
			t.Errorf("%s: %v, %v", id, at, err)
		}
	}
	p.control("owners", m{"ids": made[:1], "fields": m{"lastName": `of "Köln", sometimes`}})
	p.control("owners", m{"archive": made[1:3], "delete": made[3:4]})
	row, _ := catalogue.Lookup("owners")
	a := row.Endpoint.Addresses[0]
	live := p.pull(row.Endpoint, a, "", nil, 50)
	gone := p.pull(row.Endpoint, a, "", url.Values{"archived": {"true"}}, 50)
	if len(live) != len(before)+2-3 || len(gone) != 2 || gone[0]["archived"] != true || gone[0]["userId"] != nil {
		t.Errorf("%d live, archived %v", len(live), gone)
	}
	if !slices.ContainsFunc(live, func(f map[string]any) bool { return f["lastName"] == `of "Köln", sometimes` }) {
		t.Error("the change does not show")
	}
	p.control("owners", m{"restore": made[1:2]})
	if n := len(p.pull(row.Endpoint, a, "", nil, 50)); n != len(before) {
		t.Errorf("%d live", n)
	}
	for name, body := range map[string]any{"owners": m{"ids": []string{made[3]}}, "list_memberships": m{"create": 1, "parent": "5"}} {
		if a := p.do("POST", "/_simulator/"+name, body); a.status != 400 {
			t.Errorf("%s: status %d", name, a.status)
		}
	}
	p.ok(200, "POST", "/_simulator/faults", `{"scopes_missing":{"owners":["crm.objects.owners.read"]}}`)
	p.ok(403, "GET", a.Path, nil)
	p.ok(404, "GET", "/crm/pipelines/2026-09/llamas", nil)
	p.ok(200, "GET", "/crm/pipelines/2026-09/0-3", nil)
	if n := p.Stats().Requests["set"]; n < 5 {
		t.Errorf("%d counted", n)
	}
}

// TestMembershipsMoveTheirListsCounters: and nothing else of the list.
func TestMembershipsMoveTheirListsCounters(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	lists, _ := catalogue.Lookup("lists")
	members, _ := catalogue.Lookup("list_memberships")
	list := func() map[string]any {
		return p.pull(lists.Endpoint, lists.Endpoint.Addresses[0], "", nil, 500)[0]
	}
	before := list()
	id := field(before, "listId")
	p.clock.add(time.Hour)
	p.control("list_memberships", m{"create": 1, "parent": id})
	joined := p.pull(members.Endpoint, members.Endpoint.Addresses[0], id, nil, 5)
	if !slices.IsSortedFunc(joined, func(a, b map[string]any) int {
		return strings.Compare(field(a, "membershipTimestamp"), field(b, "membershipTimestamp"))
	}) || len(joined) != 13 {
		t.Errorf("%d joined, not in order", len(joined))
	}
	p.clock.add(time.Hour)
	p.control("list_memberships", m{"delete": []string{id + "/" + field(joined[0], "recordId")}})
	after := list()
	for _, n := range []string{"hs_last_record_added_at", "hs_last_record_removed_at"} {
		if field(before, "additionalProperties."+n) == field(after, "additionalProperties."+n) {
			t.Errorf("%s has not moved: %v", n, after)
		}
	}
	if field(after, "additionalProperties.hs_list_size") != "12" || field(before, "updatedAt") != field(after, "updatedAt") {
		t.Errorf("%v", after)
	}
	p.ok(200, "POST", "/_simulator/faults", `{"newest_joined_first":true}`)
	turned := p.pull(members.Endpoint, members.Endpoint.Addresses[0], id, nil, 5)
	if len(turned) != 12 || field(turned[0], "membershipTimestamp") < field(turned[11], "membershipTimestamp") {
		t.Errorf("%d, oldest first", len(turned))
	}
	p.control("lists", m{"archive": []string{id}})
	if field(list(), "deletedAt") == "<nil>" {
		t.Error("a deleted list has no time")
	}
	p.ok(404, "GET", members.Endpoint.Addresses[0].For(id), nil)
	for _, o := range p.trueSet("list_memberships") {
		if strings.HasPrefix(o.ID, id+"/") && o.State == "live" {
			t.Fatalf("%s lives on without its list", o.ID)
		}
	}
	p.ok(400, "POST", "/crm/lists/2026-09/search", m{"count": 501})
	p.ok(400, "POST", "/crm/lists/2026-09/search", m{"count": 500, "offset": 10001})
}

func TestEventWindowsIncludeBothBounds(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	row, _ := catalogue.Lookup("email_events")
	a := row.Endpoint.Addresses[0]
	at := p.clock.now().UnixMilli()
	for i := range 5 {
		p.control("email_events", m{"create": 2, "at": at + int64(i)})
	}
	window := func(lo, hi int64) []map[string]any {
		return p.pull(row.Endpoint, a, "", url.Values{row.Endpoint.From: {fmt.Sprint(lo)}, row.Endpoint.To: {fmt.Sprint(hi)}}, 3)
	}
	if n := len(window(at+1, at+3)); n != 6 {
		t.Errorf("%d events in three milliseconds of two", n)
	}
	got := window(at, at+4)
	if !slices.IsSortedFunc(got, func(a, b map[string]any) int { return strings.Compare(field(b, "created"), field(a, "created")) }) || len(got) != 10 {
		t.Errorf("%d events, not newest first", len(got))
	}
	if n := len(p.pull(row.Endpoint, a, "", nil, 1000)); n != 2310 {
		t.Errorf("%d events at all", n)
	}
	p.ok(400, "GET", a.Path+"?startTimestamp=yesterday", nil)
	p.ok(400, "GET", a.Path+"?offset=5", nil)
}

func TestFormSubmissionsAreNewestFirst(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	row, _ := catalogue.Lookup("form_submissions")
	var hubspotForm, blog string
	for id, o := range p.trueSet("forms") {
		switch o.Properties["formType"] {
		case "hubspot":
			hubspotForm = id
		case "blog_comment":
			blog = id
		}
	}
	a := row.Endpoint.Addresses[0]
	p.control("form_submissions", m{"create": 1, "parent": hubspotForm})
	got := p.pull(row.Endpoint, a, hubspotForm, nil, 50)
	if len(got) != 71 || field(got[0], "submittedAt") != fmt.Sprint(p.clock.now().UnixMilli()) {
		t.Errorf("%d submissions, the first at %s", len(got), field(got[0], "submittedAt"))
	}
	if n := len(p.ok(200, "GET", a.For(hubspotForm), nil).Results); n != 20 {
		t.Errorf("%d on a page by default", n)
	}
	if got := p.do("GET", a.For(blog), nil); got.status != 400 || !bytes.Contains(got.body, []byte("FORM_TYPE_NOT_ALLOWED")) {
		t.Errorf("status %d, %s", got.status, got.body)
	}
}

func TestWhatSetsLeaveOut(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	plain := p.ok(200, "GET", "/marketing/emails/2026-09?limit=100", nil)
	stats := p.do("GET", "/marketing/emails/2026-09?limit=100&includeStats=true", nil)
	if n := bytes.Count(stats.body, []byte(`"stats"`)); n == 0 || n >= len(plain.Results) {
		t.Errorf("%d of %d with statistics", n, len(plain.Results))
	}
	some := p.ok(200, "GET", "/marketing/emails/2026-09?limit=100&updatedAfter=2025-11-01T00:00:00Z", nil)
	if n := len(some.Results); n == 0 || n >= len(plain.Results) {
		t.Errorf("%d of %d changed since", n, len(plain.Results))
	}
	campaign := p.ok(200, "GET", "/marketing/campaigns/2026-09?properties=hs_name", nil).Results[0]
	if len(campaign.Properties) != 1 || campaign.Properties["hs_name"] == nil {
		t.Errorf("properties %v", campaign.Properties)
	}
	p.ok(400, "GET", "/events/event-occurrences/2026-09", nil)
}

func TestSubscriptionStatuses(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	truth := p.trueSet("subscription_statuses")
	var mail string
	for _, o := range truth {
		mail = fmt.Sprint(o.Properties["subscriberIdString"])
		break
	}
	const path = "/communication-preferences/2026-09/statuses/batch/read"
	var got struct {
		Results []struct {
			Statuses []map[string]any
		}
	}
	if err := json.Unmarshal(p.do("POST", path+"?channel=EMAIL", m{"inputs": []string{mail}}).body, &got); err != nil || len(got.Results) != 1 {
		t.Fatalf("%v: %+v", err, got)
	}
	for _, s := range got.Results[0].Statuses {
		id := fmt.Sprintf("%s/%.0f", mail, s["subscriptionId"])
		if d := cmp.Diff(truth[id].Properties, s); d != "" {
			t.Error(d)
		}
	}
	p.ok(400, "POST", path, m{"inputs": []string{mail}})
	p.ok(400, "POST", path+"?channel=EMAIL", m{"inputs": make([]string, 101)})
}

func TestAPIUsage(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Limits: true})
	p.ok(200, "GET", contactsPath, nil)
	var got struct {
		Results []struct {
			UsageLimit, CurrentUsage int
			ResetsAt                 time.Time
		}
	}
	if err := json.Unmarshal(p.do("GET", "/account-info/2026-09/api-usage/daily/private-apps", nil).body, &got); err != nil {
		t.Fatal(err)
	}
	if u := got.Results[0]; u.UsageLimit != 625000 || u.CurrentUsage != 2 || !u.ResetsAt.Equal(time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", u)
	}
}

// What is late has happened a while before it is shown.
func TestLateRows(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	ids, err := p.ChangeSet("email_events", SetChange{Create: 1, Late: 4000})
	if err != nil {
		t.Fatal(err)
	}
	rows := p.TruthSet("email_events")
	if last := rows[len(rows)-1]; last.ID != ids[0] || last.Properties["created"] != p.o.Now().UnixMilli()-4000 {
		t.Errorf("%+v", last)
	}
}
