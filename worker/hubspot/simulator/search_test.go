package simulator

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

type m = map[string]any

func filter(prop, op string, v any) m {
	f := m{"propertyName": prop, "operator": op}
	switch v := v.(type) {
	case nil:
	case []string:
		f["values"] = v
	default:
		f["value"] = v
	}
	return f
}

func query(filters ...m) m {
	return m{"filterGroups": []m{{"filters": filters}}, "properties": []string{"lastmodifieddate"}, "sorts": []string{"lastmodifieddate"}, "limit": 200, "after": "0"}
}

func with(q m, kv ...any) m {
	out := m{}
	maps.Copy(out, q)
	for i := 0; i+1 < len(kv); i += 2 {
		out[kv[i].(string)] = kv[i+1]
	}
	return out
}

func (p *portal) searchAll(q m) []row {
	p.t.Helper()
	var out []row
	for after := "0"; after != ""; {
		pg := p.ok(200, "POST", searchPath, with(q, "after", after))
		out = append(out, pg.Results...)
		after = pg.Paging.Next.After
	}
	return out
}

func ids(rows []row) []string {
	var out []string
	for _, r := range rows {
		out = append(out, r.ID)
	}
	return out
}

func ms(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func TestSearchWindow(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Sizes: map[string]int{"contacts": 700}})
	truth := p.Truth("contacts")
	times := make([]time.Time, len(truth))
	for i, o := range truth {
		times[i] = o.UpdatedAt
	}
	slices.SortFunc(times, time.Time.Compare)
	lo, hi := times[100], times[600]
	var want []string
	for _, o := range truth {
		if !o.UpdatedAt.Before(lo) && o.UpdatedAt.Before(hi) {
			want = append(want, o.ID)
		}
	}
	rows := p.searchAll(query(filter("lastmodifieddate", "GTE", ms(lo)), filter("lastmodifieddate", "LT", ms(hi))))
	got := ids(rows)
	if inOrder := slices.IsSortedFunc(rows, func(a, b row) int { return a.UpdatedAt.Compare(b.UpdatedAt) }); inOrder {
		t.Error("results keep the order of their times")
	}
	if pages := slices.Collect(slices.Chunk(rows, 200)); !slices.ContainsFunc(pages[1], func(r row) bool {
		return slices.ContainsFunc(pages[0], func(before row) bool { return before.UpdatedAt.After(r.UpdatedAt) })
	}) {
		t.Error("pages keep the order of their times")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%d found, want %d", len(got), len(want))
	}
	for _, r := range rows {
		if len(r.Properties) != 3 {
			t.Fatalf("properties %v", r.Properties)
		}
	}
}

func TestSearchOperators(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Sizes: map[string]int{"contacts": 300}})
	truth := p.Truth("contacts")
	one := truth[150]
	id, _ := strconv.Atoi(one.ID)
	count := func(f func(Object) bool) (n int) {
		for _, o := range truth {
			if f(o) {
				n++
			}
		}
		return n
	}
	at := func(o Object, c func(d int) bool) bool { return c(o.UpdatedAt.Compare(one.UpdatedAt)) }
	num := func(o Object) int { n, _ := strconv.Atoi(o.ID); return n }
	str := func(o Object, p string) string {
		if v := o.Properties[p]; v != nil {
			return *v
		}
		return ""
	}
	city := str(truth[0], "city")
	for i := 0; city == ""; i++ {
		city = str(truth[i], "city")
	}
	tests := []struct {
		name string
		f    m
		want int
	}{
		{"GTE", filter("lastmodifieddate", "GTE", ms(one.UpdatedAt)), count(func(o Object) bool { return at(o, func(d int) bool { return d >= 0 }) })},
		{"GT", filter("lastmodifieddate", "GT", ms(one.UpdatedAt)), count(func(o Object) bool { return at(o, func(d int) bool { return d > 0 }) })},
		{"LT", filter("lastmodifieddate", "LT", ms(one.UpdatedAt)), count(func(o Object) bool { return at(o, func(d int) bool { return d < 0 }) })},
		{"LTE", filter("lastmodifieddate", "LTE", ms(one.UpdatedAt)), count(func(o Object) bool { return at(o, func(d int) bool { return d <= 0 }) })},
		{"EQ", filter("lastmodifieddate", "EQ", ms(one.UpdatedAt)), count(func(o Object) bool { return at(o, func(d int) bool { return d == 0 }) })},
		{"EQ in ISO", filter("lastmodifieddate", "EQ", one.UpdatedAt.Format(time.RFC3339Nano)), count(func(o Object) bool { return at(o, func(d int) bool { return d == 0 }) })},
		{"NEQ", filter("hs_object_id", "NEQ", one.ID), 299},
		{"id GTE", filter("hs_object_id", "GTE", one.ID), count(func(o Object) bool { return num(o) >= id })},
		{"id LT", filter("hs_object_id", "LT", one.ID), count(func(o Object) bool { return num(o) < id })},
		{"IN", filter("hs_object_id", "IN", []string{one.ID, truth[3].ID, "1"}), 2},
		{"NOT_IN", filter("hs_object_id", "NOT_IN", []string{one.ID, truth[3].ID, "1"}), 298},
		{"BETWEEN", with(filter("hs_object_id", "BETWEEN", truth[10].ID), "highValue", truth[20].ID), 11},
		{"HAS_PROPERTY", filter("message", "HAS_PROPERTY", nil), count(func(o Object) bool { return str(o, "message") != "" })},
		{"NOT_HAS_PROPERTY", filter("message", "NOT_HAS_PROPERTY", nil), count(func(o Object) bool { return str(o, "message") == "" })},
		{"text without case", filter("city", "EQ", strings.ToUpper(city)), count(func(o Object) bool { return str(o, "city") == city })},
		{"enumeration", filter("lifecyclestage", "EQ", "lead"), count(func(o Object) bool { return str(o, "lifecyclestage") == "lead" })},
		{"enumeration with case", filter("lifecyclestage", "EQ", "LEAD"), 0},
		{"number among junk", filter("annualrevenue", "GTE", "0"), count(func(o Object) bool { _, err := strconv.ParseFloat(str(o, "annualrevenue"), 64); return err == nil })},
	}
	for _, tt := range tests {
		if got := p.ok(200, "POST", searchPath, query(tt.f)).Total; got != tt.want {
			t.Errorf("%s: total %d, want %d", tt.name, got, tt.want)
		}
	}
	if got := p.ok(200, "POST", searchPath, m{}); got.Total != 300 || len(got.Results) != 10 {
		t.Errorf("empty search: %d of %d", len(got.Results), got.Total)
	}
	either := m{"filterGroups": []m{{"filters": []m{filter("hs_object_id", "EQ", one.ID)}}, {"filters": []m{filter("hs_object_id", "EQ", truth[3].ID)}}}}
	if got := p.ok(200, "POST", searchPath, either).Total; got != 2 {
		t.Errorf("groups are or-ed: %d", got)
	}
	if got := p.ok(200, "POST", searchPath, m{"filters": []m{filter("hs_object_id", "EQ", one.ID)}}).Total; got != 1 {
		t.Errorf("filters without a group: %d", got)
	}
	for _, sort := range []any{"-hs_object_id", m{"propertyName": "hs_object_id", "direction": "DESCENDING"}} {
		if got := p.ok(200, "POST", searchPath, m{"sorts": []any{sort}}).Results[0].ID; got != truth[299].ID {
			t.Errorf("sort %v begins at %s", sort, got)
		}
	}
}

func TestSearchRefuses(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	many := func(groups, filters int) m {
		var gs []m
		for range groups {
			var fs []m
			for range filters {
				fs = append(fs, filter("createdate", "GT", "5"))
			}
			gs = append(gs, m{"filters": fs})
		}
		return m{"filterGroups": gs}
	}
	long := func(n int) string {
		return `{"limit":1,"query":"` + strings.Repeat("ü", n-len(`{"limit":1,"query":""}`)) + `"}`
	}
	tests := []struct {
		name   string
		body   any
		status int
	}{
		{"largest page", m{"limit": 200}, 200},
		{"page too large", m{"limit": 201}, 400},
		{"last result", m{"after": "9800", "limit": 200}, 200},
		{"beyond 10,000", m{"after": "9900", "limit": 200}, 400},
		{"at 10,000", m{"after": "10000", "limit": 1}, 400},
		{"after is no integer", m{"after": "MTA="}, 400},
		{"3,000 characters", long(3000), 200},
		{"3,001 characters", long(3001), 400},
		{"5 groups", many(5, 3), 200},
		{"6 groups", many(6, 1), 400},
		{"6 filters", many(3, 6), 200},
		{"7 filters", many(1, 7), 400},
		{"more than 18 filters", many(4, 5), 400},
		{"two sorts", m{"sorts": []string{"createdate", "email"}}, 400},
		{"unknown sort", m{"sorts": []string{"nothing"}}, 400},
		{"unknown property", query(filter("nothing", "EQ", "1")), 400},
		{"unknown operator", query(filter("email", "LIKE", "1")), 400},
		{"no value", query(filter("email", "EQ", nil)), 400},
		{"no values", query(filter("email", "IN", nil)), 400},
		{"not a time", query(filter("lastmodifieddate", "GT", "soon")), 400},
		{"the epoch", query(filter("lastmodifieddate", "GTE", "0")), 500},
		{"number for a string", `{"limit":"x"}`, 400},
		{"no JSON", "{", 400},
	}
	for _, tt := range tests {
		if a := p.do("POST", searchPath, tt.body); a.status != tt.status {
			t.Errorf("%s: status %d, want %d: %.200s", tt.name, a.status, tt.status, a.body)
		}
	}
}

func TestSearchStopsAt10000(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Sizes: map[string]int{"contacts": 10300}, Properties: 5})
	pg := p.ok(200, "POST", searchPath, m{"after": "9800", "limit": 200})
	if pg.Total != 10300 || len(pg.Results) != 200 || pg.Paging.Next.After != "10000" {
		t.Fatalf("total %d, %d rows, next %q", pg.Total, len(pg.Results), pg.Paging.Next.After)
	}
	p.ok(400, "POST", searchPath, m{"after": pg.Paging.Next.After, "limit": 200})
}

func TestSearchOffsetsShift(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	hi := p.clock.now()
	q := with(query(filter("lastmodifieddate", "LT", ms(hi))), "limit", 100)
	first := p.ok(200, "POST", searchPath, q)
	p.clock.add(time.Second)
	if _, err := p.Change("contacts", Change{IDs: ids(first.Results)[:50]}); err != nil {
		t.Fatal(err)
	}
	second := p.ok(200, "POST", searchPath, with(q, "after", "100"))
	if second.Total != 200 {
		t.Fatalf("total %d after 50 of 250 left the window", second.Total)
	}
	still := p.searchAll(q)
	seen := map[string]bool{}
	for _, r := range slices.Concat(first.Results, second.Results, p.ok(200, "POST", searchPath, with(q, "after", "200")).Results) {
		seen[r.ID] = true
	}
	missed := 0
	for _, r := range still {
		if !seen[r.ID] {
			missed++
		}
	}
	if missed == 0 {
		t.Fatal("paging by offset misses nothing although the window shrank")
	}
}

func TestSearchIsLate(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	began := p.clock.now()
	id := p.Truth("contacts")[5].ID
	q := query(filter("lastmodifieddate", "GTE", ms(began)))
	byID := query(filter("hs_object_id", "EQ", id))
	old := p.ok(200, "POST", searchPath, byID).Results[0].UpdatedAt
	late := 90 * time.Minute
	if _, err := p.Change("contacts", Change{IDs: []string{id}, Create: 1, VisibleAfter: &late}); err != nil {
		t.Fatal(err)
	}
	p.clock.add(late - time.Millisecond)
	if n := p.ok(200, "POST", searchPath, q).Total; n != 0 {
		t.Fatalf("%d found before they are visible", n)
	}
	if got := p.ok(200, "POST", searchPath, byID).Results[0].UpdatedAt; !got.Equal(old) {
		t.Fatalf("search shows %v instead of the version before, %v", got, old)
	}
	if got := p.one(contactsPath + "/" + id).UpdatedAt; !got.Equal(began) {
		t.Fatalf("reading is late too: %v", got)
	}
	p.clock.add(time.Millisecond)
	if n := p.ok(200, "POST", searchPath, q).Total; n != 2 {
		t.Fatalf("%d of 2 found when they are visible", n)
	}
}

func TestLatenessIsDrawnForEachChange(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{SearchLateness: time.Hour})
	q := query(filter("lastmodifieddate", "GTE", ms(p.clock.now())))
	if _, err := p.Change("contacts", Change{Change: 100}); err != nil {
		t.Fatal(err)
	}
	var seen []int
	for range 5 {
		seen = append(seen, p.ok(200, "POST", searchPath, q).Total)
		p.clock.add(15 * time.Minute)
	}
	if !slices.IsSorted(seen) || seen[0] == 100 || seen[1] == 0 || seen[1] == 100 || seen[4] != 100 {
		t.Fatalf("visible over an hour: %v", seen)
	}
}

func TestStrictBodies(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{StrictBodies: true})
	p.ok(200, "POST", searchPath, query(filter("email", "HAS_PROPERTY", nil)))
	p.ok(400, "POST", searchPath, m{"limit": 1})
	p.ok(400, "POST", batchPath, m{"inputs": []m{}, "properties": []string{}})
	p.ok(200, "POST", batchPath, m{"inputs": []m{}, "properties": []string{}, "propertiesWithHistory": []string{}})
	loose := newPortal(t, Options{})
	loose.ok(200, "POST", searchPath, m{"limit": 1})
	loose.ok(200, "POST", batchPath, m{"inputs": []m{}})
}

func inputs(ids ...string) []m {
	out := []m{}
	for _, id := range ids {
		out = append(out, m{"id": id})
	}
	return out
}

func TestBatchRead(t *testing.T) {
	t.Parallel()
	for _, mode := range []Missing{MissingAs207, MissingAs200, MissingSilent} {
		p := newPortal(t, Options{Missing: mode})
		truth := p.Truth("contacts")
		var want []string
		for _, o := range truth[:99] {
			want = append(want, o.ID)
		}
		a := p.do("POST", batchPath, m{"inputs": inputs(append(want, "7")...), "properties": []string{"email", "city"}})
		pg := a.page(t)
		if status := map[Missing]int{MissingAs207: 207, MissingAs200: 200, MissingSilent: 200}[mode]; a.status != status {
			t.Errorf("%s: status %d", mode, a.status)
		}
		if mode == MissingSilent && len(pg.Errors) > 0 ||
			mode != MissingSilent && (len(pg.Errors) != 1 || pg.Errors[0].Category != "OBJECT_NOT_FOUND" || !slices.Equal(pg.Errors[0].Context["ids"], []string{"7"})) {
			t.Errorf("%s: errors %+v", mode, pg.Errors)
		}
		got := ids(pg.Results)
		if slices.Equal(got, want) {
			t.Errorf("%s: results in the order of the inputs", mode)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || pg.Status != "COMPLETE" {
			t.Errorf("%s: %d results, status %q", mode, len(got), pg.Status)
		}
		if len(pg.Results[0].Properties) != 5 {
			t.Errorf("properties %v", pg.Results[0].Properties)
		}
	}
	p := newPortal(t, Options{})
	id := p.Truth("contacts")[0].ID
	if n := len(p.ok(200, "POST", batchPath, m{"inputs": inputs(id, id)}).Results); n != 1 {
		t.Errorf("an id asked for twice comes %d times", n)
	}
	var tooMany []string
	for i := range 101 {
		tooMany = append(tooMany, fmt.Sprint(i))
	}
	p.ok(400, "POST", batchPath, m{"inputs": inputs(tooMany...)})
	p.ok(400, "POST", batchPath, "[")
	if _, err := p.Change("contacts", Change{IDs: []string{id}, Properties: map[string]*string{"city": nil}}); err != nil {
		t.Fatal(err)
	}
	if v, ok := p.ok(200, "POST", batchPath, m{"inputs": inputs(id), "properties": []string{"city"}}).Results[0].Properties["city"]; !ok || v != nil {
		t.Errorf("an empty property that was asked for: %v, %t", v, ok)
	}
}

func TestStaleReads(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{StaleReads: 0.5, StaleFor: time.Minute})
	var all []string
	for _, o := range p.Truth("contacts")[:100] {
		all = append(all, o.ID)
	}
	began := p.clock.now()
	if _, err := p.Change("contacts", Change{IDs: all}); err != nil {
		t.Fatal(err)
	}
	old := func() (n int) {
		for _, r := range p.ok(200, "POST", batchPath, m{"inputs": inputs(all...)}).Results {
			if r.UpdatedAt.Before(began) {
				n++
			}
		}
		return n
	}
	p.clock.add(59 * time.Second)
	if n := old(); n < 20 || n > 80 {
		t.Errorf("%d of 100 are stale", n)
	}
	if n := p.Stats().StaleReads; n < 20 {
		t.Errorf("%d stale reads counted", n)
	}
	p.clock.add(time.Second)
	if n := old(); n != 0 {
		t.Errorf("%d are stale after a minute", n)
	}
	// Who has just been made is missing, in a batch alone.
	if all, _ = p.Change("contacts", Change{Create: 100}); len(all) != 100 {
		t.Fatalf("%d were made", len(all))
	}
	if n := len(p.ok(207, "POST", batchPath, m{"inputs": inputs(all...)}).Results); n < 20 || n > 80 {
		t.Errorf("%d of 100 that have just been made are there", n)
	}
	for _, id := range all {
		p.ok(200, "GET", contactsPath+"/"+id, nil)
	}
	p.clock.add(time.Minute)
	if n := len(p.ok(200, "POST", batchPath, m{"inputs": inputs(all...)}).Results); n != 100 {
		t.Errorf("%d of 100 are there after a minute", n)
	}
}
