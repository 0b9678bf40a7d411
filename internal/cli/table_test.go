package cli

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

func TestStatusTable(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 22, 0, 0, 0, time.UTC)
	later, tomorrow, lag := now.Add(time.Hour), now.Add(3*time.Hour), int64(65)
	blocked := &client.Problem{Type: "portal-blocked", Title: "the portal cannot be used", Detail: "variable HUBSPOT_TOKEN is not set",
		Hint: "set it, or write the secret into a file and name that in the configuration: token = file(\"path\")"}
	same := *blocked
	ss := []client.Status{
		{Name: "contacts", State: "blocked", Records: 1234567, Interval: "5m", LagSeconds: &lag, NextRun: &later, Error: blocked},
		{Name: "companies", State: "blocked", Interval: "5m", NextRun: &tomorrow, Error: &same},
		{Name: "deals", State: "waiting", Cron: "*/5 * * * *"},
		{Name: "tickets", State: "failing", Interval: "1h30m", Error: &client.Problem{Title: "HubSpot \x1b[31m answers with nothing that anybody could make sense of"}},
	}
	var b strings.Builder
	if err := statusTable(&b, ss, now); err != nil {
		t.Fatal(err)
	}
	want := `STREAM     STATE    RECORDS  INTERVAL     LAG   NEXT RUN           PROBLEM
contacts   blocked  1234567  5m           1m5s  23:00:00Z          the portal ca…
companies  blocked  0        5m           -     2026-02-01 01:00Z  the portal ca…
deals      waiting  0        */5 * * * *  -     -
tickets    failing  0        1h30m        -     -                  HubSpot  [31m…

contacts, companies: the portal cannot be used: variable HUBSPOT_TOKEN is not
  set
  hint: set it, or write the secret into a file and name that in the
        configuration: token = file("path")

tickets: HubSpot [31m answers with nothing that anybody could make sense of
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for line := range strings.Lines(b.String()) {
		if len([]rune(strings.TrimSpace(line))) > screen+2 {
			t.Errorf("%d wide: %s", len([]rune(line)), line)
		}
	}
}

// A daemon that asks for a token is told of in the words of the command line.
func TestTheTokenIsAnothers(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer right" {
			_, _ = w.Write([]byte(`{"workers":[]}`))
			return
		}
		w.Header().Set("Content-Type", client.MediaProblem)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"type":"unauthorized","title":"a token is needed","detail":"there is no Authorization header with the daemon's token"}`))
	}))
	t.Cleanup(s.Close)
	own := configFile(t, "data_dir = \"none\"\nhttp { listen = \""+strings.TrimPrefix(s.URL, "http://")+"\" }\n")
	// A folder in its place cannot be read by anybody, root included.
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.MkdirAll(filepath.Join(closed, "token"), 0o700); err != nil {
		t.Fatal(err)
	}
	notMine := configFile(t, "data_dir = \""+closed+"\"\nhttp { listen = \""+strings.TrimPrefix(s.URL, "http://")+"\" }\n")
	for name, c := range map[string]struct {
		vars map[string]string
		args []string
		says string
	}{
		"no token":     {nil, []string{"status", "--addr", s.URL}, "asks for its token\n  hint: set HUBPIPE_TOKEN"},
		"wrong token":  {map[string]string{"HUBPIPE_TOKEN": "x"}, []string{"status", "--addr", s.URL}, "the token in HUBPIPE_TOKEN is not that of the daemon"},
		"unreadable":   {nil, []string{"status", "--config", notMine}, "asks for its token, and this user has none: read the token: "},
		"another's":    {nil, []string{"status", "--config", own}, "another daemon is at " + s.URL},
		"no workers":   {map[string]string{"HUBPIPE_TOKEN": "right"}, []string{"workers", "--addr", s.URL}, "no worker has been heard of"},
		"none as JSON": {map[string]string{"HUBPIPE_TOKEN": "right"}, []string{"workers", "-o", "json", "--addr", s.URL}, "no worker has been heard of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := try(t, c.vars, c.args...)
			if !strings.Contains(got.errors, c.says) || strings.Contains(got.errors, "Authorization") || (got.code == 0) != (c.vars["HUBPIPE_TOKEN"] == "right") {
				t.Errorf("exit %d:\n%s%s", got.code, got.out, got.errors)
			}
			if name == "none as JSON" && strings.Join(strings.Fields(got.out), "") != `{"workers":[]}` {
				t.Errorf("%q", got.out)
			}
		})
	}
}

func TestReportsOfAReconcile(t *testing.T) {
	t.Parallel()
	ended := time.Unix(1e9, 0)
	var b strings.Builder
	err := reports(&b, []client.Run{
		{ID: "r1", Stream: "contacts", Kind: "incremental", Ended: &ended},
		{ID: "r2", Stream: "contacts", Kind: "reconcile"}, // it goes on
		{ID: "r3", Stream: "deals", Kind: "reconcile", Ended: &ended,
			Report: []byte(`{"checked":12,"missing":1,"stale":2,"candidates":3,"gone":4,"merged":5,"restored":6,"archived":7,"repaired":8,"requests":9,"seconds":1}`)},
	})
	want := "r3 of deals: 12 checked, 1 missing, 2 stale, 3 candidates, 4 gone, 5 merged, 6 restored, 7 archived, 8 repaired\n"
	if err != nil || b.String() != want {
		t.Errorf("%q, %v", b.String(), err)
	}
}
