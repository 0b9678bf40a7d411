package hubspot

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// History comes with the records, fifty at a time, by as many requests as the
// names take, and is what HubSpot has of each.
func TestReadAllWithHistory(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ properties, requests int }{
		"few names":  {30, 3},
		"many names": {1200, 9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := simulator.New(simulator.Options{Sizes: map[string]int{"contacts": 120}, Properties: c.properties})
			var reads atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/batch/read") {
					reads.Add(1)
				}
				sim.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			client := New(Options{BaseURL: server.URL, Token: func() string { return "t" }, Unpaced: true})
			t.Cleanup(client.Close)
			obj := contacts(t)
			city := "Köln"
			all := sim.Truth("contacts")
			if _, err := sim.Change("contacts", simulator.Change{IDs: []string{all[3].ID}, Properties: map[string]*string{"city": &city}}); err != nil {
				t.Fatal(err)
			}
			var want []Hit
			for _, o := range sim.Truth("contacts") {
				want = append(want, Hit{ID: o.ID, Version: o.UpdatedAt.UnixMilli()})
			}
			properties := names(t, client, obj)
			got := map[string]Record{}
			open, err := client.ReadAll(t.Context(), obj, want, ReadRequest{Properties: properties, History: properties}, func(recs []Record) error {
				for _, r := range recs {
					got[r.ID] = r
				}
				return nil
			})
			if err != nil || len(open) > 0 || len(got) != len(want) {
				t.Fatalf("%d of %d, open %v: %v", len(got), len(want), open, err)
			}
			if n := reads.Load(); n != int64(c.requests) {
				t.Errorf("%d batch reads", n)
			}
			for id, r := range got {
				var past map[string][]struct{ Value string }
				if err := json.Unmarshal(r.History, &past); err != nil || len(past) != len(properties) {
					t.Fatalf("the history of %s has %d of %d properties: %v", id, len(past), len(properties), err)
				}
				if id == all[3].ID && (past["city"][0].Value != city || len(past["city"]) < 2 && all[3].Properties["city"] != nil) {
					t.Errorf("the history of city is %+v", past["city"])
				}
			}
		})
	}
}

// Names that are too many for an address do not travel in one: who answers only
// singly is open.
func TestHistorySingly(t *testing.T) {
	t.Parallel()
	sim := simulator.New(simulator.Options{Sizes: map[string]int{"contacts": 1}})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/batch/read") {
			_, _ = w.Write([]byte(`{"results":[]}`))
			return
		}
		sim.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	client := New(Options{BaseURL: server.URL, Token: func() string { return "t" }, Unpaced: true})
	t.Cleanup(client.Close)
	id := sim.Truth("contacts")[0].ID
	for n, opens := range map[int]int{3: 0, 2000: 1} {
		history := []string{"city"}
		for i := range n {
			history = append(history, fmt.Sprintf("something_%06d", i))
		}
		var got []Record
		open, err := client.ReadAll(t.Context(), contacts(t), []Hit{{ID: id}}, ReadRequest{History: history}, func(recs []Record) error {
			got = append(got, recs...)
			return nil
		})
		if err != nil || len(open) != opens || len(got) != 1-opens {
			t.Fatalf("%d names: %d records, open %v: %v", n, len(got), open, err)
		}
		if opens == 0 && !strings.Contains(string(got[0].History), `"city":[`) {
			t.Errorf("history is %s", got[0].History)
		}
	}
}

// A record of which a later request gives an older version was not read: its
// history would have a hole.
func TestHistoryOfTwoVersions(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			History []string `json:"propertiesWithHistory"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		version := map[bool]string{true: "2026-01-02T00:00:00Z", false: "2026-01-01T00:00:00Z"}[in.History[0] == "first"]
		_, _ = fmt.Fprintf(w, `{"results":[{"id":"1","properties":{"lastmodifieddate":%q},"propertiesWithHistory":{%q:[]}},
			{"id":"2","properties":{"lastmodifieddate":"2026-01-01T00:00:00Z"},"propertiesWithHistory":{%[2]q:[]}}]}`, version, in.History[0])
	}))
	t.Cleanup(server.Close)
	client := New(Options{BaseURL: server.URL, Token: func() string { return "t" }, Unpaced: true})
	t.Cleanup(client.Close)
	got := map[string]Record{}
	f := selection{history: []string{"first", strings.Repeat("x", maxPastNames)}}
	if _, err := client.batch(t.Context(), contacts(t), []string{"1", "2"}, f, false, got); err != nil || len(got) != 1 {
		t.Fatalf("%v: %+v", err, got)
	}
	if want := `{"first":[],"` + f.history[1] + `":[]}`; string(got["2"].History) != want {
		t.Errorf("history %.60s", got["2"].History)
	}
}

func TestPortions(t *testing.T) {
	t.Parallel()
	f := selection{names: []string{"a"}}
	if p := f.portions("cursor"); len(p) != 1 || len(p[0].history) != 0 {
		t.Errorf("%+v", p)
	}
	for i := range 2000 {
		f.history = append(f.history, fmt.Sprintf("%0*d", 1+i%90, i))
	}
	f.history[7] = strings.Repeat("x", 2*maxPastNames)
	var all []string
	for i, p := range f.portions("cursor") {
		if len(p.history) == 0 || len(strings.Join(p.history, `","`)) > maxPastNames && len(p.history) > 1 {
			t.Errorf("portion %d has %d names", i, len(p.history))
		}
		if want := map[bool]string{true: "a", false: "cursor"}[i == 0]; !slices.Equal(p.names, []string{want}) {
			t.Errorf("portion %d reads %v", i, p.names)
		}
		all = append(all, p.history...)
	}
	if !slices.Equal(all, f.history) {
		t.Error("the portions are not all of the names in their order")
	}
}

// The digest of a history is the same in any order, and for what was calculated
// at another moment; a value, a time or a name more is another.
func TestHistoryDigest(t *testing.T) {
	t.Parallel()
	sum := func(history string) [16]byte {
		rd := reading{cursor: "lastmodifieddate", digest: true, history: true, limit: 1, quiet: map[string]bool{"days": true}}
		rec, err := rd.one([]byte(`{"id":"1","properties":{},"propertiesWithHistory":` + history + `}`))
		if err != nil {
			t.Fatal(err)
		}
		return rec.HistoryDigest
	}
	const base = `{"a":[{"value":"1","timestamp":"t1","sourceType":"CRM_UI"}],"b":[{"value":"2","timestamp":"t2","sourceType":"CALCULATED"}],"days":[{"value":"3"}]}`
	for history, same := range map[string]bool{
		base: true,
		`{"days":[],"b":[{"value":"2","timestamp":"t9","sourceType":"CALCULATED"}],"a":[{"value":"1","timestamp":"t1","sourceType":"CRM_UI"}]}`: true,
		strings.Replace(base, `"1"`, `"7"`, 1):    false,
		strings.Replace(base, `"2"`, `"7"`, 1):    false,
		strings.Replace(base, `t1`, `t7`, 1):      false,
		strings.Replace(base, `"a"`, `"c"`, 1):    false,
		strings.Replace(base, `{`, `{"c":[],`, 1): false,
		`null`: false,
		`{}`:   false,
	} {
		if got := sum(history) == sum(base); got != same {
			t.Errorf("same %v: %s", got, history)
		}
	}
	if sum("null") != sum("{}") {
		t.Error("none and nothing differ")
	}
}

// A history on several lines comes on one, and a record without is one that has
// none.
func TestHistoryOnOneLine(t *testing.T) {
	t.Parallel()
	rd := reading{cursor: "lastmodifieddate", history: true, limit: 2}
	p, err := rd.page([]byte("{\"results\":[{\"id\":\"1\",\"propertiesWithHistory\":{\n\"a\": [\n]}},{\"id\":\"2\"}]}"))
	if err != nil || string(p.records[0].History) != `{"a":[]}` || string(p.records[1].History) != "{}" {
		t.Fatalf("%v %s %s", err, p.records[0].History, p.records[1].History)
	}
	if n := (selection{history: []string{"a"}}).atOnce(contacts(t)); n != catalogue.HistoryLimit {
		t.Errorf("%d at once", n)
	}
}
