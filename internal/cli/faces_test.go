package cli

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Who starts a stream may wait for the run that goes on then, and gets its exit
// code; where none does, that is said, and a problem is a failure.
func TestStartAndWait(t *testing.T) {
	t.Parallel()
	end := time.Unix(2e9, 0).UTC()
	run := func(id, state string) *client.Run {
		return &client.Run{ID: id, Stream: id, Kind: "backfill", State: state, Ended: &end}
	}
	a := &answers{by: map[string]any{
		"GET /v1/runs/good":                run("good", client.RunDone),
		"GET /v1/runs/bad":                 run("bad", "failed"),
		"POST /v1/streams/good/start":      client.Status{Name: "good", Run: run("good", client.RunRunning)},
		"POST /v1/streams/bad/start":       client.Status{Name: "bad", Run: run("bad", client.RunRunning)},
		"POST /v1/streams/idle/start":      client.Status{Name: "idle", State: client.StateWaiting},
		"POST /v1/streams/blocked/start":   client.Status{Name: "blocked", Error: &client.Problem{Type: "x", Title: "the token is refused", Hint: "make another"}},
		"POST /v1/streams/all/start":       client.Statuses{Streams: []client.Status{{Name: "good", Run: run("good", client.RunRunning)}, {Name: "bad", Run: run("bad", client.RunRunning)}}},
		"POST /v1/streams/unrelated/start": client.Status{},
	}}
	s := httptest.NewServer(a)
	defer s.Close()
	for _, c := range []struct {
		stream   string
		code     int
		out, err string
	}{
		{"good", 0, "done", ""},
		{"bad", 1, "failed", ""},
		{"idle", 0, "", "idle: no run goes on; `hubpipe sync idle --wait` makes one"},
		{"blocked", 1, "", "hint: make another"},
		{"all", 1, "failed", ""},
	} {
		got := try(t, nil, "start", c.stream, "--wait", "--addr", s.URL)
		if got.code != c.code || !strings.Contains(got.out, c.out) || !strings.Contains(got.errors, c.err) || strings.Contains(got.errors, "no such runs") {
			t.Errorf("%s: exit %d\n%s%s", c.stream, got.code, got.out, got.errors)
		}
	}
}

// A table of records has the fields that were asked for, whatever they hold.
func TestFieldsInATable(t *testing.T) {
	t.Parallel()
	page := client.RecordPage{Records: []client.Record{
		{ID: "1", Seq: 7, State: "live", Properties: json.RawMessage(`{"email":"a@example.com","age":null,"teams":[1]}`)},
		{ID: "2", Seq: 8, State: "live", Properties: json.RawMessage(`{"email":"a\u001b[2J` + strings.Repeat("b", 40) + `"}`)},
		{ID: "3", Seq: 9, State: "purged", Properties: json.RawMessage(`null`)},
	}}
	a := &answers{by: map[string]any{"GET /v1/streams/contacts/records?fields=email%2Cage%2Cteams&limit=1000&state=all": page}}
	s := httptest.NewServer(a)
	defer s.Close()
	got := try(t, nil, "records", "contacts", "--state", "all", "--fields", "email,age,teams", "-o", "table", "--addr", s.URL)
	var rows [][]string
	for line := range strings.Lines(got.out) {
		rows = append(rows, strings.Fields(line))
	}
	if got.code != 0 || len(rows) != 4 || strings.Join(rows[0], " ") != "ID SEQ STATE UPDATED email age teams" || strings.Join(rows[1], " ") != "1 7 live - a@example.com - [1]" ||
		!strings.HasSuffix(rows[2][5], "…") || strings.Join(rows[3], " ") != "3 9 purged - - - -" || strings.Contains(got.out, "\x1b") {
		t.Errorf("exit %d, asked %q\n%s%s", got.code, a.asked, got.out, got.errors)
	}
}

func TestVersionForPrograms(t *testing.T) {
	t.Parallel()
	got := try(t, nil, "version", "-o", "json")
	var v map[string]string
	if err := json.Unmarshal([]byte(got.out), &v); err != nil || v["version"] == "" || v["go"] == "" || v["platform"] == "" {
		t.Errorf("%v %s", err, got.out)
	}
	if got := try(t, nil, "version", "-o", "yaml"); got.code != ExitUsage || got.out != "" {
		t.Errorf("exit %d %s", got.code, got.out)
	}
}

// What is left of a record is a table, a run that is gone a note below it, and what
// HubSpot did not answer is said whole.
func TestExplainedForPeople(t *testing.T) {
	t.Parallel()
	at, road, run, into := time.Unix(2e9, 0), "settle", "r000000000007", "108"
	e := client.Explanation{Stream: "contacts", Record: "5", State: "merged", MergedInto: &into, Versions: []client.ExplainedVersion{
		{Seq: 9, State: "merged", Version: &at, Committed: &at, Road: &road, RunID: &run, Run: &client.Run{ID: run, Kind: "incremental"}, PropertiesRoad: &road, PropertiesRunID: &run},
		{Seq: 8, State: "live", Version: &at, Committed: &at, Road: &road, RunID: &run},
		{Seq: 7, State: "live"},
	}}
	var b strings.Builder
	reason := "HubSpot refuses the token, for a reason that is longer than a line of a table has room for, and ends with this"
	if err := explained(&b, &e, &answered{Error: reason}); err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{"merged into 108", "settle, run r000000000007 (incremental)", "settle  r000000000007*", "* is no longer kept", "-       -", "with this"} {
		if !strings.Contains(b.String(), says) {
			t.Errorf("%q is not in\n%s", says, b.String())
		}
	}
	if strings.Contains(b.String(), "its properties by") {
		t.Errorf("one run brought all of it\n%s", b.String())
	}
	for want, v := range map[string]client.ExplainedVersion{
		"not known: it was stored before this was kept": {},
		"settle": {Road: &road},
		"settle, run r000000000007, which is no longer kept": {Road: &road, RunID: &run},
	} {
		if got := cameBy(&v); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
