package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// plans is what `hubpipe plan` says.
func (s *system) plans() client.Plan {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.bin, "plan", "--output", "json")
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "TEST_TOKEN="+hubspotToken) // to ask for sizes
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return decode[client.Plan](s.t, string(out))
}

// planned finds a stream in a plan.
func planned(t *testing.T, p client.Plan, stream string) client.PlannedStream {
	t.Helper()
	i := slices.IndexFunc(p.Streams, func(s client.PlannedStream) bool { return s.Stream == stream })
	if i < 0 {
		t.Fatalf("%s is not planned: %+v", stream, p)
	}
	return p.Streams[i]
}

// A plan names what a reload would read, with its cost, and does nothing; the
// reload says the same and does it.
func TestPlanThenReload(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "300", "--deals", "60", "--associations", "contacts-deals=1", "--life-rate", "0")
	s.replace(`stream "contacts" {}`, "stream \"contacts\" { properties = [\"firstname\", \"lastname\"] }\nstream \"companies\" {}")
	s.replace(`stream "deals" {}`, "stream \"deals\" {\n  start_date = \"2025-09-01\"\n}")
	daemon := s.daemon()
	s.worker()
	for _, name := range []string{"contacts", "deals", "companies"} {
		until(t, name+" is complete", func() error {
			if st := s.status(name); st.CompleteUntil == nil {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
	}
	if n := s.status("deals").Records; n == 0 || n >= 60 {
		t.Fatalf("%d deals since the start date", n)
	}
	if p := s.plans(); !p.Empty() || p.Config == "" {
		t.Errorf("nothing has changed: %+v", p)
	}
	s.replace(`stream "contacts" { properties = ["firstname", "lastname"] }`, "stream \"contacts\" {\n  associations = [\"deals\"]\n  interval = \"2s\"\n}")
	s.replace(`stream "companies" {}`, `stream "tickets" {}`)
	s.replace(`  start_date = "2025-09-01"`, "")
	s.replace(`http { listen = "127.0.0.1:0" }`, `http { listen = "127.0.0.1:9" }`)
	before := len(s.runs("deals"))
	p := s.plans()
	contacts, deals, tickets := planned(t, p, "contacts"), planned(t, p, "deals"), planned(t, p, "tickets")
	if w := contacts.Work; len(w) != 2 || w[0].Work != "fill" || w[0].Bound != client.AtMost || *w[0].Records != 300 || *w[0].Requests < 3 || w[0].Seconds == nil || w[0].OfDay == nil ||
		!strings.Contains(w[0].Reason, "with ") || w[1].Work != "associations" || *w[1].Requests != 1 || !slices.Contains(contacts.Settings, "interval: 1s → 2s") {
		t.Errorf("contacts: %+v", contacts)
	}
	if w := deals.Work; len(w) != 1 || w[0].Work != "reconcile" || w[0].Bound != client.AtLeast || !strings.Contains(w[0].Reason, "start_date is earlier") {
		t.Errorf("deals: %+v", deals)
	}
	if w := tickets.Work; tickets.Change != client.ChangeNew || len(w) != 1 || w[0].Work != "backfill" || w[0].Requests == nil {
		t.Errorf("tickets: %+v", tickets)
	}
	if c := planned(t, p, "companies"); c.Change != client.ChangeRemoved || len(c.Work) != 0 {
		t.Errorf("companies: %+v", c)
	}
	if len(p.Restart) != 1 || !strings.HasPrefix(p.Restart[0], "http.listen: ") {
		t.Errorf("waits for a restart: %q", p.Restart)
	}
	out, err := s.hubpipe("plan")
	for _, line := range []string{"stream contacts: changed", "  reads: associations, 1 request for 300 records", "stream companies: removed", "waits for a restart: http.listen"} {
		if err != nil || !strings.Contains(out, line) {
			t.Errorf("%v: it does not say %q:\n%s", err, line, out)
		}
	}
	if st := s.status("contacts"); st.Interval != "1s" || s.status("deals").Records >= 60 || len(s.runs("deals")) < before {
		t.Errorf("a plan does something: %+v", st)
	}
	code, body := s.curl(http.MethodPost, "/v1/reload", "")
	done := decode[client.Plan](t, body)
	if code != http.StatusOK || asText(t, planned(t, done, "contacts")) != asText(t, contacts) || asText(t, planned(t, done, "deals")) != asText(t, deals) {
		t.Errorf("the reload says %d %s\nthe plan was %s", code, body, asText(t, p))
	}
	daemon.says(t, "what has to be read is read", "work=associations", "settings wait for a restart")
	s.becomesEqual("deals", "tickets", "contacts")
	until(t, "contacts are linked", func() error { return s.linked("contacts", "deals") })
	until(t, "nothing is left to plan but the restart", func() error {
		if p := s.plans(); len(p.Streams)+len(p.Portals) > 0 {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
}

func asText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A plan of a configuration that a reload would refuse says so and ends with 3,
// and one that nobody can make with 4.
func TestPlansThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "5", "--deals", "5")
	code := func(want int, says ...string) {
		t.Helper()
		out, err := s.hubpipe("plan")
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.ExitCode() != want {
			t.Fatalf("%v, want exit %d\n%s", err, want, out)
		}
		for _, w := range says {
			if !strings.Contains(out+err.Error(), w) {
				t.Errorf("it does not say %q: %v\n%s", w, err, out)
			}
		}
	}
	code(4, "hubpipe up")
	s.daemon()
	s.replace(`stream "deals" {}`, `stream "deals" { object = "companies" }`)
	code(3, "stream deals: refused", "give the new one another name")
	s.replace(`stream "deals" { object = "companies" }`, `stream "deals" { intervall = "5m" }`)
	code(3, "hubpipe.hcl:", "intervall", `"interval"`)
}
