package simulator

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestShortPages(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{ShortPages: 0.8})
	var sizes []int
	var all []string
	for after, first := "", true; after != "" || first; first = false {
		q := contactsPath + "?limit=20"
		if after != "" {
			q += "&after=" + after
		}
		pg := p.ok(200, "GET", q, nil)
		if len(pg.Results) == 0 && after != "" {
			t.Fatal("an empty page that leads nowhere")
		}
		sizes, all, after = append(sizes, len(pg.Results)), append(all, idList(pg.Results)...), pg.Paging.Next.After
	}
	if len(all) != 250 || len(sizes) < 15 {
		t.Errorf("%d records in pages of %v", len(all), sizes)
	}
	found := p.searchAll(with(query(filter("hs_object_id", "GT", "1")), "sorts", []string{"hs_object_id"}, "limit", 50))
	if got := idList(found); !slices.Equal(got, all) {
		t.Errorf("search gives %d", len(got))
	}
	p.ok(200, "POST", "/_simulator/faults", `{"short_pages":0}`)
	if n := len(p.ok(200, "GET", contactsPath+"?limit=20", nil).Results); n != 20 {
		t.Errorf("%d of 20", n)
	}
}

func TestCursorRepeats(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	p.ok(200, "POST", "/_simulator/faults", `{"repeat_cursor":1}`)
	after := p.ok(200, "GET", contactsPath, nil).Paging.Next.After
	if got := p.ok(200, "GET", contactsPath+"?after="+after, nil).Paging.Next.After; got != after {
		t.Errorf("after %s comes %s", after, got)
	}
	if got := p.ok(200, "POST", searchPath, m{"after": "50", "limit": 10}).Paging.Next.After; got != "50" {
		t.Errorf("after 50 comes %s", got)
	}
	if got := p.ok(200, "GET", contactsPath+"?limit=100&after="+p.Truth("contacts")[200].ID, nil); got.Paging.Next.After != "" {
		t.Errorf("the last page names %s", got.Paging.Next.After)
	}
}

func TestSearchNeverShows(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{SearchNever: 0.1})
	never := p.Unsearched("contacts")
	if len(never) < 8 || len(never) > 60 {
		t.Fatalf("%d of 250", len(never))
	}
	id := p.Truth("contacts")[0].ID
	if !slices.Contains(never, id) {
		never = append(never, id)
	}
	p.control("contacts", m{"hide": []string{id}})
	p.control("contacts", m{"change": 250})
	got := idList(p.searchAll(query(filter("hs_object_id", "GT", "1"))))
	for _, id := range never {
		if slices.Contains(got, id) {
			t.Errorf("search shows %s", id)
		}
	}
	if len(got) != 250-len(never) || len(p.walk(contactsPath, "")) != 250 {
		t.Errorf("search shows %d, %d are hidden", len(got), len(never))
	}
	for _, o := range p.Truth("contacts") {
		if r := p.one(contactsPath + "/" + o.ID); !r.UpdatedAt.Equal(o.UpdatedAt) {
			t.Fatalf("%s is read as of %v", o.ID, r.UpdatedAt)
		}
	}
}

// Rows outside the CRM's contract come in short pages, too, and in any order
// within them; each is there once.
func TestRowsInShortPages(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{ShortPages: 0.8, Unordered: 1})
	for path, want := range map[string]int{"/crm/owners/2026-09": 120, "/email/public/v1/events": 2300} {
		var got []string
		sorted, pages := true, 0
		for place, more := "", true; more; pages++ {
			var page struct {
				Results, Events []struct{ ID string }
				HasMore         bool
				Offset          string
				Paging          struct{ Next struct{ After string } }
			}
			if err := json.Unmarshal(p.do("GET", path+"?limit=50&"+place, nil).body, &page); err != nil {
				t.Fatal(err)
			}
			ids := make([]string, 0, 50)
			for _, r := range append(page.Results, page.Events...) {
				ids = append(ids, r.ID)
			}
			sorted = sorted && slices.IsSorted(ids)
			got = append(got, ids...)
			more, place = page.HasMore || page.Paging.Next.After != "", "offset="+page.Offset+"&after="+page.Paging.Next.After
		}
		slices.Sort(got)
		if got = slices.Compact(got); len(got) != want || pages < want/40 || sorted {
			t.Errorf("%s: %d rows of %d in %d pages, sorted %t", path, len(got), want, pages, sorted)
		}
	}
	p.ok(200, "POST", "/_simulator/faults", `{"short_pages":0,"unordered":0,"repeat_cursor":1}`)
	after := p.ok(200, "GET", "/crm/owners/2026-09?limit=50", nil).Paging.Next.After
	if got := p.ok(200, "GET", "/crm/owners/2026-09?limit=50&after="+after, nil).Paging.Next.After; got != after || after == "" {
		t.Errorf("after %s comes %s", after, got)
	}
}
