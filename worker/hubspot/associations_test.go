package hubspot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// Associations of a thousand records come in one request and their further
// pages, by the places that HubSpot names, and are the truth.
func TestAssociations(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]simulator.Options{
		"dated":   {},
		"undated": {Versions: []string{"v3"}},
		"silent":  {Missing: simulator.MissingSilent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.Sizes = map[string]int{"contacts": 900, "companies": 40}
			o.Associations = map[string]float64{"contacts-companies": 1.5}
			sim := simulator.New(o)
			if _, _, err := sim.ChangeAssociations("companies", "contacts", simulator.AssociationChange{Storm: 700}); err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(sim)
			t.Cleanup(server.Close)
			c := New(Options{BaseURL: server.URL, Token: func() string { return "t" }, Unpaced: true})
			t.Cleanup(c.Close)
			for _, pair := range [][2]string{{"contacts", "companies"}, {"companies", "contacts"}} {
				from, _ := catalogue.Lookup(pair[0])
				to, _ := catalogue.Lookup(pair[1])
				var ids []string
				for _, r := range sim.Truth(from.Name) {
					ids = append(ids, r.ID)
				}
				got, err := c.Associations(context.Background(), from, to, append(ids, "999999999"))
				if err != nil || got.AsOf == 0 || len(got.Untold) > 0 {
					t.Fatalf("as of %d, untold %v, %v", got.AsOf, got.Untold, err)
				}
				want := map[string][]string{}
				for _, a := range sim.TruthAssociations(from.Name, to.Name) {
					want[a.From] = append(want[a.From], a.To)
				}
				have := map[string][]string{}
				for id, links := range got.Of {
					if !slices.IsSortedFunc(links, func(a, b Link) int { return decimalOf(t, a.ID) - decimalOf(t, b.ID) }) {
						t.Fatalf("the associations of %s are not in order", id)
					}
					for _, l := range links {
						have[id] = append(have[id], l.ID)
					}
				}
				if diff := cmp.Diff(want, have); diff != "" {
					t.Errorf("%v (-want +got):\n%.600s", pair, diff)
				}
			}
		})
	}
}

func decimalOf(t *testing.T, id string) int {
	t.Helper()
	n, err := strconv.Atoi(id)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAssociationsThatMislead(t *testing.T) {
	t.Parallel()
	deals, _ := catalogue.Lookup("deals")
	for name, tt := range map[string]struct {
		body string
		ok   bool
	}{
		"a place that repeats": {`{"results":[{"from":{"id":"1"},"to":[],"paging":{"next":{"after":"x"}}}]}`, false},
		"no results":           {`{}`, false},
		"one without an id":    {`{"results":[{"from":{"id":"1"},"to":[{"associationTypes":[]}]}]}`, false},
		"nobody asked":         {`{"results":[{"from":{"id":"2"},"to":[{"toObjectId":4}]}]}`, true},
		"twice, out of order": {`{"results":[{"from":{"id":1},"to":[{"toObjectId":"14","associationTypes":[{"category":"B","typeId":2,"label":null}]},
			{"toObjectId":4},{"toObjectId":14,"associationTypes":[{"category":"A","typeId":9,"label":"x"},{"category":"B","typeId":2,"label":null}]}]}]}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, _ := scripted(t, nil, ok(tt.body))
				got, err := c.Associations(t.Context(), contacts(t), deals, []string{"1"})
				if (err == nil) != tt.ok {
					t.Fatalf("%v, %v", got, err)
				}
				var failing *Failing
				if err != nil && !errors.As(err, &failing) {
					t.Errorf("%v is not said as HubSpot's failing", err)
				}
				if name == "twice, out of order" {
					if l := got.Of["1"]; len(l) != 2 || l[0].ID != "4" || len(l[1].Types) != 2 || l[1].Types[0].Category != "A" {
						t.Errorf("%+v", l)
					}
				}
			})
		})
	}
}

// TestAssociationsThatAreNotTold: what HubSpot answers with an error in the place
// of is not what has none.
func TestAssociationsThatAreNotTold(t *testing.T) {
	t.Parallel()
	deals, _ := catalogue.Lookup("deals")
	const none = `{"status":"error","category":"OBJECT_NOT_FOUND","subCategory":"crm.associations.NO_ASSOCIATIONS_FOUND","context":{"fromObjectId":["2"]}}`
	for name, tt := range map[string]struct {
		pages  []string
		untold []string
	}{
		"there are none": {[]string{`{"results":[{"from":{"id":"1"},"to":[{"toObjectId":4}]}],"errors":[` + none + `]}`}, nil},
		"one of two": {[]string{`{"results":[{"from":{"id":"1"},"to":[{"toObjectId":4}]}],"errors":[` + none +
			`,{"status":"error","category":"INTERNAL_ERROR","context":{"fromObjectId":["3"],"toObjectType":["deal"]}}]}`}, []string{"3"}},
		"nobody knows of whom": {[]string{`{"results":[],"errors":[{"status":"error","message":"no"}]}`}, []string{"1", "2", "3"}},
		"the rest of them": {[]string{`{"results":[{"from":{"id":"1"},"to":[{"toObjectId":4}],"paging":{"next":{"after":"x"}}}]}`,
			`{"results":[],"errors":[{"category":"RATE_LIMITS","context":{"ids":["1"]}}]}`}, []string{"1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var steps []step
				for _, p := range tt.pages {
					steps = append(steps, step{status: 207, body: p})
				}
				c, _ := scripted(t, nil, steps...)
				got, err := c.Associations(t.Context(), contacts(t), deals, []string{"1", "2", "3"})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.untold, slices.Sorted(maps.Keys(got.Untold)), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("not told (-want +got):\n%s", diff)
				}
				if of := got.Of["1"]; (len(of) == 1) == got.Untold["1"] {
					t.Errorf("associations %v", got.Of)
				}
			})
		})
	}
}

// TestAssociationsThatLeadRound: places that come again end the reading, however
// many lie between.
func TestAssociationsThatLeadRound(t *testing.T) {
	t.Parallel()
	deals, _ := catalogue.Lookup("deals")
	rows, _ := catalogue.Lookup("associations")
	for name, ask := range map[string]func(*Client) error{
		"of records": func(c *Client) error {
			_, err := c.Associations(context.Background(), contacts(t), deals, []string{"1"})
			return err
		},
		"as rows": func(c *Client) error {
			_, err := c.Rows(context.Background(), rows, RowsRequest{Parent: "0-1/0-3", Name: "contacts/deals", Inputs: []string{"1"}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			c := clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n++
				fmt.Fprintf(w, `{"results":[{"from":{"id":"1"},"to":[],"paging":{"next":{"after":"%c"}}}]}`, 'a'+n%3)
			}), func(o *Options) { o.Unpaced = true })
			err := ask(c)
			var failing *Failing
			if !errors.As(err, &failing) || !strings.Contains(failing.Detail, "never end") || n > 4 {
				t.Errorf("%v after %d requests", err, n)
			}
		})
	}
}
