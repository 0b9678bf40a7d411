package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// explanation is what `hubpipe explain -o json` prints.
type explanation struct {
	Explanation client.Explanation
	HubSpot     struct {
		Found       bool
		Same        int
		Differences []struct{ Property string }
		Error       string
	}
}

// asking is a verb that asks HubSpot itself, and so needs the token.
func (s *system) asking(args ...string) (string, error) {
	cmd := exec.CommandContext(s.t.Context(), s.bin, args...)
	var errs bytes.Buffer
	cmd.Dir, cmd.Stderr, cmd.Env = s.dir, &errs, append(os.Environ(), "TEST_TOKEN="+hubspotToken)
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, errs.String())
	}
	return string(out), err
}

// A record is explained: by which run it came, when, and what HubSpot says of
// it now, property by property.
func TestExplain(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "30", "--deals", "0", "--limits=false")
	s.configure(settings{streams: []string{"contacts"}, defaults: "autostart = false"})
	s.daemon()
	s.worker()
	code, body := s.curl(http.MethodPost, "/v1/streams/contacts/sync?wait=120s", "")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	run := decode[client.Run](t, body)
	records := decode[client.RecordPage](t, s.get("/v1/streams/contacts/records?limit=30")).Records
	explain := func(id string) explanation {
		t.Helper()
		out, err := s.asking("explain", "contacts", id, "-o", "json")
		if err != nil {
			t.Fatal(err)
		}
		return decode[explanation](t, out)
	}
	e := explain(records[0].ID)
	if x := e.Explanation; x.Seq != records[0].Seq || x.Head < x.Seq || x.State != "live" || x.Version == nil || x.Committed == nil {
		t.Errorf("what is stored: %+v", x)
	}
	cameBy(t, e, run.ID, "backfill")
	if h := e.HubSpot; !h.Found || h.Same < 5 || len(h.Differences) > 0 || h.Error != "" {
		t.Errorf("HubSpot: %+v", h)
	}
	for _, args := range [][]string{{"--limit", "1"}, {records[0].ID}} {
		out, err := s.hubpipe(append([]string{"records", "contacts", "--fields", "email"}, args...)...)
		if r := decode[client.Record](t, out); err != nil || !strings.HasPrefix(string(r.Properties), `{"email":`) || strings.Contains(out, "firstname") {
			t.Errorf("%v with --fields: %v %s", args, err, out)
		}
	}
	if _, err := s.hubpipe("records", "contacts", "--fields", "emial"); err == nil || !strings.Contains(err.Error(), `did you mean "email"?`) {
		t.Errorf("a property that there is not: %v", err)
	}
	s.change("contacts", `{"change":30}`)
	different := 0
	for _, r := range records {
		if h := explain(r.ID).HubSpot; len(h.Differences) > 0 {
			different++
		}
	}
	if different == 0 {
		t.Error("what has changed in HubSpot is not seen")
	}
	if out, err := s.asking("explain", "contacts", records[0].ID); err != nil || !strings.Contains(out, "backfill, run "+run.ID+" (backfill)") || !strings.Contains(out, "HubSpot now") {
		t.Errorf("%v\n%s", err, out)
	}
	// What is read by name, and what a search finds, say so.
	var found string
	for _, r := range records {
		if len(explain(r.ID).HubSpot.Differences) == 0 {
			continue
		}
		if found != "" {
			code, body := s.curl(http.MethodPost, "/v1/streams/contacts/sync?wait=120s", `{"record":"`+r.ID+`"}`)
			if code != http.StatusOK {
				t.Fatalf("%d %s", code, body)
			}
			cameBy(t, explain(r.ID), decode[client.Run](t, body).ID, "record")
			break
		}
		found = r.ID
	}
	if code, body := s.curl(http.MethodPost, "/v1/streams/contacts/sync?wait=120s", ""); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	} else {
		cameBy(t, explain(found), decode[client.Run](t, body).ID, "search")
	}
	if out, err := s.asking("explain", "contacts", records[0].ID, "--stored"); err != nil || strings.Contains(out, "HubSpot now") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := s.asking("explain", "contacts", "999999"); err == nil || !strings.Contains(err.Error(), "no record") {
		t.Errorf("a record that there is not: %v", err)
	}
}

// cameBy fails where the stored version of a record came by another run, or on
// another road.
func cameBy(t *testing.T, e explanation, run, road string) {
	t.Helper()
	vs := e.Explanation.Versions
	if len(vs) == 0 || vs[0].Seq != e.Explanation.Seq || vs[0].Road == nil || *vs[0].Road != road || vs[0].RunID == nil || *vs[0].RunID != run ||
		vs[0].Run == nil || vs[0].Run.ID != run {
		t.Errorf("by %s on the road %s: %+v", run, road, vs)
	}
}

// What HubSpot has is shown without a daemon, and nothing is stored.
func TestPreview(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "130", "--deals", "3")
	for name, want := range map[string]int{"contacts": 120, "deals": 3} {
		out, err := s.asking("preview", name, "--limit", "120")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != want {
			t.Errorf("%s: %d lines", name, len(lines))
		}
		seen := map[string]bool{}
		for _, l := range lines {
			r := decode[client.Record](t, l)
			if r.ID == "" || seen[r.ID] || !strings.Contains(string(r.Properties), "hs_object_id") {
				t.Fatalf("%s: %s", name, l)
			}
			seen[r.ID] = true
		}
	}
	for _, bad := range [][]string{{"nobody"}, {"contacts", "--limit", "0"}} {
		if out, err := s.asking(append([]string{"preview"}, bad...)...); err == nil || out != "" {
			t.Errorf("%v: %s", bad, fmt.Sprint(out))
		}
	}
}
