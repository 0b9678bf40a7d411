package hubspot

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// What belongs to an object that HubSpot serves in one version alone is found in
// that version, where the others do not have it.
func TestRowsOfAnObjectWithItsOwnVersion(t *testing.T) {
	t.Parallel()
	properties, ok := catalogue.Lookup("properties")
	if !ok {
		t.Fatal("no properties in the catalogue")
	}
	var mu sync.Mutex
	var asked []string
	c := clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		mu.Unlock()
		own := strings.HasSuffix(r.URL.Path, "/0-970")
		if own != strings.Contains(r.URL.Path, "/2026-03/") || !strings.Contains(r.URL.Path, "/2026-") {
			http.Error(w, `{"status":"error","message":"resource not found"}`, http.StatusNotFound)
			return
		}
		fmt.Fprint(w, `{"results":[{"name":"hs_name"}]}`)
	}), nil)
	for _, parent := range []string{"contacts", "0-970", "deals", "0-970"} {
		p, err := c.Rows(t.Context(), properties, RowsRequest{Parent: parent})
		if err != nil || len(p.Rows) != 1 {
			t.Errorf("%s: %d rows, %v; asked %v", parent, len(p.Rows), err, asked)
		}
	}
	asked = nil
	if _, err := c.Rows(t.Context(), properties, RowsRequest{Parent: "tickets"}); err != nil || len(asked) != 1 {
		t.Errorf("%v; asked %v", err, asked)
	}
}

// What HubSpot hands out only a part of is not read as if that were all: a person
// is told, with what can be done.
func TestMoreRowsThanHubSpotHandsOut(t *testing.T) {
	t.Parallel()
	row, _ := catalogue.Lookup("lists")
	asked := 0
	c := clientOf(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }), nil)
	_, err := c.Rows(t.Context(), row, RowsRequest{Place: "10500"})
	if b, ok := errors.AsType[*Blocked](err); !ok || b.Type != "too-many" || !strings.Contains(b.Detail, "more lists than the 10000") || b.Hint == "" || asked > 0 {
		t.Errorf("%v after %d requests", err, asked)
	}
}

// TestRowsThatNothingNames: a page on which nothing has a name is of another form
// than is known. A single row is only a bad one, and may stand alone on the last
// page: a stream must not end at it.
func TestRowsThatNothingNames(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		object, body string
		rows         int
		ok           bool
	}{
		"one of several":    {"owners", `{"results":[{"id":"1"},{"email":"a"}]}`, 1, true},
		"alone on its page": {"owners", `{"results":[{"email":"a"}]}`, 0, true},
		"all of them":       {"owners", `{"results":[{"email":"a"},{"email":"b"}]}`, 0, false},
		"the only one":      {"account", `{"timeZone":"UTC"}`, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			obj, _ := catalogue.Lookup(tt.object)
			c := clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, tt.body) }), nil)
			p, err := c.Rows(t.Context(), obj, RowsRequest{})
			var failing *Failing
			if tt.ok != (err == nil) || err != nil && !errors.As(err, &failing) {
				t.Fatalf("%+v, %v", p, err)
			}
			if err == nil && (p.Unnamed != 1 || len(p.Rows) != tt.rows) {
				t.Errorf("%+v", p)
			}
		})
	}
}
