package simulator

import (
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
