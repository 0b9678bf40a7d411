package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// An app instead of a token reads all there is; what was asked is counted as
// HubSpot counts it, and no secret shows.
func TestOAuthAndUsage(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "700", "--deals", "100", "--oauth", "app:canary-app-secret:canary-refresh", "--life-rate", "0")
	path := filepath.Join(s.dir, "hubpipe.hcl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	app := "oauth {\n client_id = \"app\"\n client_secret = file(\"secret\")\n refresh_token = file(\"refresh\")\n }"
	for name, what := range map[string]string{
		"secret": "canary-app-secret", "refresh": "canary-refresh",
		"hubpipe.hcl": strings.Replace(string(text), `token    = env("TEST_TOKEN")`, app, 1),
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(what), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	daemon, worker := s.daemon("--log-level", "trace"), s.worker("--log-level", "trace")
	s.becomesEqual("contacts")
	s.becomesEqual("deals")
	// usage is what `hubpipe usage` says of the one portal.
	usage := func() (p client.Portal, out string, err error) {
		if out, err = s.hubpipe("usage", "main", "--output", "json"); err != nil {
			return p, out, err
		}
		var got struct{ Portals []client.Portal }
		if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Portals) != 1 {
			return p, out, fmt.Errorf("%w: %s", err, out)
		}
		return got.Portals[0], out, nil
	}
	// Stopped only once both kinds have asked: a stop may come before a run's
	// first request.
	until(t, "each stream and kind of work is counted", func() error {
		p, out, err := usage()
		if err != nil {
			return err
		}
		if p.Account == 0 || p.TimeZone == "" || p.Limits.Daily != 625000 || p.Limits.Burst != 190 || p.Limits.BurstWindow != "10s" || p.Remaining == nil ||
			p.UsedByStream["contacts"]["backfill"] == 0 || p.UsedByStream["deals"]["incremental"] == 0 || p.UsedByKind["settle"] == 0 && p.UsedByKind["incremental"] == 0 {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	for _, name := range []string{"contacts", "deals"} {
		if out, err := s.hubpipe("stop", name); err != nil {
			t.Fatal(err, out)
		}
	}
	until(t, "what was asked is counted", func() error {
		p, out, err := usage()
		if err != nil {
			return err
		}
		st := s.stats()
		// A stop may end a request before it is on its way.
		if over := int64(p.UsedToday) - (st.Total - st.Requests["token"]); over < 0 || over > 2 {
			return fmt.Errorf("%d more counted than made: %s", over, out)
		}
		return nil
	})
	if out, err := s.hubpipe("usage"); err != nil || !strings.Contains(out, "625000") || !strings.Contains(out, "backfill") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := s.hubpipe("usage", "other"); err == nil {
		t.Error("a portal that is not there")
	}
	for _, log := range []string{daemon.log.String(), worker.log.String()} {
		if strings.Contains(log, "canary") || strings.Contains(log, "access-1-") {
			t.Error("a log holds a secret")
		}
	}
}

// What a portal would cost is said before anything of it is read, and what
// cannot be asked is said in its place.
func TestEstimate(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "3000", "--deals", "250", "--properties", "500")
	path := filepath.Join(s.dir, "hubpipe.hcl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	with := func(token string) {
		t.Helper()
		for name, what := range map[string]string{"token": token, "hubpipe.hcl": strings.Replace(string(text), `env("TEST_TOKEN")`, `file("token")`, 1)} {
			if err := os.WriteFile(filepath.Join(s.dir, name), []byte(what), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	with(hubspotToken)
	out, err := s.hubpipe("check", "--estimate", "--output", "json")
	if err != nil {
		t.Fatal(err, out)
	}
	type portal struct {
		Account, Daily int64
		Rate           float64
		Error          string
		Work           []struct {
			Work     string
			Requests int64
			PerDay   int64 `json:"per_day"`
		}
		Streams []struct {
			Stream    string
			Records   int64
			Wide      bool
			FirstLoad int64 `json:"first_load"`
		}
	}
	got := decode[struct{ Portals []portal }](t, out).Portals
	if len(got) != 1 || got[0].Account == 0 || got[0].Daily != 625000 || got[0].Rate < 18 || len(got[0].Work) < 7 || len(got[0].Streams) != 2 {
		t.Fatalf("%s", out)
	}
	// The names do not fit into an address: two requests for a hundred records.
	if c := got[0].Streams[0]; c.Stream != "contacts" || c.Records != 3000 || !c.Wide || c.FirstLoad != 62 {
		t.Errorf("%+v", c)
	}
	if st := s.stats(); st.Requests["list"]+st.Requests["batch_read"] != 0 || st.Total > 14 {
		t.Errorf("an estimate reads: %v", st.Requests)
	}
	if table, err := s.hubpipe("check", "--estimate"); err != nil || !strings.Contains(table, "an ordinary day") || !strings.Contains(table, "first load") {
		t.Errorf("%v\n%s", err, table)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "data")); err == nil {
		t.Error("an estimate leaves something behind")
	}
	with("another")
	if out, err := s.hubpipe("check", "--estimate"); err == nil || !strings.Contains(out, "does not accept the token") {
		t.Errorf("%v\n%s", err, out)
	}
}
