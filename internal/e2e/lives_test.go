package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// report is what a walk found.
type report struct{ Checked, Missing, Stale, Candidates, Gone, Merged, Restored, Archived, Repaired int }

func (s *system) reconcile(stream string, args ...string) (client.Run, report) {
	s.t.Helper()
	// Asked for during the first load, it would be that, which may go on for a
	// moment after its last record.
	until(s.t, "the end of the first load", func() error {
		if run := s.status(stream).Run; run != nil && run.Kind == "backfill" {
			return fmt.Errorf("%s goes on", run.ID)
		}
		return nil
	})
	out, err := s.hubpipe(append([]string{"reconcile", stream, "--wait", "--output", "json"}, args...)...)
	if err != nil {
		s.t.Fatalf("reconcile: %v %s", err, out)
	}
	runs := decode[struct{ Runs []client.Run }](s.t, out).Runs
	if len(runs) != 1 || runs[0].Kind != "reconcile" {
		s.t.Fatalf("reconcile ran %s", out)
	}
	return runs[0], decode[report](s.t, string(runs[0].Report))
}

// live are the ids of live records in the truth, in order.
func (s *system) live(object string) []string {
	s.t.Helper()
	truth, err := s.truth(object)
	if err != nil {
		s.t.Fatal(err)
	}
	maps.DeleteFunc(truth, func(_ string, r row) bool { return r.State != "live" })
	return slices.Sorted(maps.Keys(truth))
}

func list(t testing.TB, ids []string) string {
	t.Helper()
	b, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Records are archived, restored, purged and merged, under faults: the store
// follows, by the sweep, the merge's own word and the reconcile, and readers see
// each as a change.
func TestLivesOfRecords(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "1500", "--deals", "300", "--limits=false", "--fault-rate", "0.02", "--search-lateness", "1s")
	s.configure(settings{defaults: "archived_interval = \"2s\"\n  reconcile_interval = \"1h\""})
	s.daemon()
	s.worker()
	s.becomesEqual("contacts", "deals")
	live := s.live("contacts")
	s.change("contacts", fmt.Sprintf(`{"archive":%s}`, list(t, live[:60])))
	s.becomesEqual("contacts")
	s.change("contacts", fmt.Sprintf(`{"restore":%s,"delete":%s}`, list(t, live[:20]), list(t, live[20:40])))
	s.becomesEqual("contacts")
	for i := range 10 {
		s.change("contacts", fmt.Sprintf(`{"merge":[{"into":%q,"from":[%q,%q],"new_id":%v}]}`, live[100+i], live[200+2*i], live[201+2*i], i%2 == 0))
	}
	s.becomesEqual("contacts")
	// Purged without a trace: only a reconcile can know.
	s.change("contacts", fmt.Sprintf(`{"delete":%s}`, list(t, live[300:350])))
	s.change("deals", fmt.Sprintf(`{"delete":%s}`, list(t, s.live("deals")[:10])))
	run, r := s.reconcile("contacts")
	if run.State != client.RunDone || r.Gone != 50 || r.Candidates < 50 || r.Checked < 1200 {
		t.Errorf("report: %+v", r)
	}
	if _, r = s.reconcile("deals"); r.Gone != 10 {
		t.Errorf("report: %+v", r)
	}
	s.becomesEqual("contacts", "deals")
	if st := s.status("contacts"); st.Tombstones != 20+20+25+50 || st.Error != nil {
		t.Errorf("%+v", st)
	}
	purged := s.get("/v1/streams/contacts/records/" + live[300])
	if got := decode[client.Record](t, purged); got.State != "purged" || string(got.Properties) != "null" && string(got.Properties) != "{}" {
		t.Errorf("a purged record is %s", purged)
	}
	seen := map[string]string{}
	for line := range strings.Lines(s.get("/v1/streams/contacts/changes?since=0&limit=100000")) {
		c := decode[client.Record](t, line)
		if _, twice := seen[c.ID]; twice {
			t.Fatalf("record %s stands twice in the feed", c.ID)
		}
		seen[c.ID] = c.State
	}
	if seen[live[300]] != "purged" || seen[live[45]] != "archived" || seen[live[0]] != "live" || seen[live[200]] != "merged" {
		t.Errorf("the feed has %s, %s, %s, %s", seen[live[300]], seen[live[45]], seen[live[0]], seen[live[200]])
	}
}

// A portal that shows too little ends no record: the stream is blocked, says
// what to type, and goes on with what is new; typed, it does.
func TestTooManyDeletes(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "600", "--limits=false")
	s.configure(settings{streams: []string{"contacts"}, defaults: "reconcile_interval = \"1h\""})
	s.daemon()
	s.worker()
	s.becomesEqual("contacts")
	gone := s.live("contacts")[:200]
	s.change("contacts", fmt.Sprintf(`{"delete":%s}`, list(t, gone)))
	if _, r := s.reconcile("contacts"); r.Gone != 0 || r.Candidates < 101 {
		t.Errorf("report: %+v", r)
	}
	st := s.status("contacts")
	if st.State != client.StateBlocked || st.Error == nil || !strings.Contains(st.Error.Hint, "hubpipe reconcile contacts --accept-deletes") || st.Records != 600 {
		t.Fatalf("%+v", st)
	}
	ids := s.change("contacts", `{"create":5}`)
	until(t, "what is new", func() error {
		code, _ := s.curl(http.MethodGet, "/v1/streams/contacts/records/"+ids[4], "")
		if code != http.StatusOK {
			return fmt.Errorf("status %d", code)
		}
		return nil
	})
	if _, r := s.reconcile("contacts", "--accept-deletes"); r.Gone != 200 {
		t.Errorf("report: %+v", r)
	}
	s.becomesEqual("contacts")
	until(t, "no brake", func() error {
		if st := s.status("contacts"); st.State == client.StateBlocked || st.Error != nil {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}
