package worker

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot"
)

// Of whom HubSpot does not say what they are associated with is said, and holds up
// nobody: to have none is something else.
func TestAssociationsThatAreNotTold(t *testing.T) {
	t.Parallel()
	h, l := newHub(30), newLedger(t)
	h.links, h.untold = map[int]int{3: 7}, map[int]bool{4: true, 20: true}
	g := protocol.Range{Kind: "known", Last: true}
	for id, v := range h.records {
		l.records[fmt.Sprint(id)] = protocol.Record{ID: fmt.Sprint(id), Version: v}
		g.Want = append(g.Want, protocol.Listed{ID: fmt.Sprint(id), Version: v, Parts: true, Known: true})
	}
	l.run(protocol.Fetch{Kind: "associations", Associations: []string{"deals"}}, g)
	l.start(h)
	l.done()
	if len(l.pasts) != 28 || l.pasts["3"] != `{"deals":[{"id":"7"}]}` || l.pasts["4"] != "" {
		t.Errorf("%d have associations, %q and %q", len(l.pasts), l.pasts["3"], l.pasts["4"])
	}
	if len(l.open) != 2 || l.open["4"] == "" || l.open["20"] == "" {
		t.Errorf("open %v", l.open)
	}
}

// A reading that is older than the record was named is not asked for until it
// agrees with itself: it is known to be old, and the id is open.
func TestOldReadingIsNotConfirmed(t *testing.T) {
	t.Parallel()
	h, l := newHub(5), newLedger(t)
	h.change(3, 9000)
	h.old = map[int]int64{3: 1000}
	l.records["3"] = protocol.Record{ID: "3", Version: 5000}
	l.run(protocol.Fetch{Kind: incrementalRun, Associations: []string{"deals"}}, protocol.Range{Kind: idsRange, Last: true,
		Want: []protocol.Listed{{ID: "3", Version: 9000}, {ID: "4", Version: h.records[4], Parts: true}}})
	l.start(h)
	l.done()
	if l.confirm != 0 || l.records["3"].Version != 5000 || l.open["3"] == "" || l.pasts["4"] == "" {
		t.Errorf("%d are confirmed, %+v, open %v", l.confirm, l.records["3"], l.open)
	}
}

// The part of a record is of all its objects, or there is none.
func TestPartsOfWhatIsTold(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := `{"results":[{"from":{"id":"1"},"to":[{"toObjectId":4}]},{"from":{"id":"2"},"to":[{"toObjectId":5}]}]}`
		if strings.Contains(r.URL.Path, "/companies/") {
			body = `{"results":[],"errors":[{"category":"INTERNAL_ERROR","context":{"fromObjectId":["2"]}}]}`
		}
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	client := hubspot.New(hubspot.Options{BaseURL: server.URL, Token: func() string { return "t" }, Unpaced: true})
	t.Cleanup(client.Close)
	source := HubSpot(client)(func(*protocol.Wait) {}, func() {})
	parts, err := source.Associations(t.Context(), "contacts", []string{"deals", "companies"}, []string{"1", "2", "3"})
	if err != nil || len(parts) != 2 || parts[0].ID != "1" || parts[1].ID != "3" {
		t.Fatalf("%+v, %v", parts, err)
	}
	if want := `{"deals":[{"id":"4","types":[]}],"companies":[]}`; string(parts[0].Body) != want {
		t.Errorf("%s, want %s", parts[0].Body, want)
	}
}
