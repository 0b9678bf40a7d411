package api_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Each version is told with who brought it: a run that is kept, one that is not,
// nobody that is known, and nobody at all.
func TestVersionsAreExplained(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.runs = []client.Run{{ID: "r000000000007", Stream: "contacts", Kind: "incremental", State: "done", Started: time.Unix(1e9, 0).UTC()}}
	b.d.add("contacts", stream.Record{Head: stream.Head{ID: "1", Version: 5000, Synced: 6000, By: stream.Origin{Run: "r000000000007", Road: stream.SettleRoad},
		ReadBy: stream.Origin{Run: "r000000000001", Road: stream.BackfillRoad}}})
	b.d.before = []stream.Head{{ID: "1", State: stream.Live, By: stream.Origin{Run: "r000000000002", Road: stream.BackfillRoad}},
		{ID: "1", State: stream.Purged, By: stream.Origin{Road: stream.EraseRoad}}, {ID: "1", State: stream.Live}}
	resp := do(t, b, http.MethodGet, "/v1/streams/contacts/records/1/explain", "")
	defer resp.Body.Close()
	var e struct{ Versions []map[string]any }
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || len(e.Versions) != 4 {
		t.Fatalf("%v %+v", err, e)
	}
	for i, want := range [][3]any{{"settle", "r000000000007", "incremental"}, {"backfill", "r000000000002", nil}, {"erase", nil, nil}, {nil, nil, nil}} {
		v := e.Versions[i]
		kind := any(nil)
		if run, ok := v["run"].(map[string]any); ok {
			kind = run["kind"]
		}
		if got := [3]any{v["road"], v["run_id"], kind}; got != want {
			t.Errorf("version %d came by %v, want %v", i, got, want)
		}
	}
	if v := e.Versions[0]; v["properties_road"] != "backfill" || v["properties_run_id"] != "r000000000001" || e.Versions[3]["properties_road"] != nil {
		t.Errorf("the properties: %v", e.Versions)
	}
	b.d.err = errSecret
	if p := problem(t, do(t, b, http.MethodGet, "/v1/streams/contacts/records/1/explain", "")); p.Status != http.StatusInternalServerError {
		t.Errorf("%+v", p)
	}
}
