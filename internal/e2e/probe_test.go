package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The doctor asks HubSpot about what it does not document, without a daemon, and
// says what it found, of a portal that cannot be asked, too.
func TestDoctorHubSpot(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "60", "--deals", "5")
	s.replace(`env("TEST_TOKEN")`, `file("hubspot-token")`)
	if err := os.WriteFile(filepath.Join(s.dir, "hubspot-token"), []byte(hubspotToken), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := s.hubpipe("doctor", "hubspot")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, says := range []string{"portal main, account ", "a place in a list: ", "the longest address: ", "    assumed: "} {
		if !strings.Contains(out, says) {
			t.Errorf("it does not say %q:\n%s", says, out)
		}
	}
	if strings.Contains(out, "\n! ") {
		t.Errorf("the simulator does what nobody takes for granted:\n%s", out)
	}
	out, err = s.hubpipe("doctor", "hubspot", "--output", "json", "--portal", "main", "--object", "deals")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := decode[struct {
		Portals []struct {
			Portal, Object string
			Findings       []struct{ Point string }
		}
	}](t, out)
	if len(got.Portals) != 1 || got.Portals[0].Object != "deals" || len(got.Portals[0].Findings) < 10 {
		t.Errorf("%+v", got)
	}
	for code, args := range map[string][]string{"no portal": {"--portal", "nope"}, "no object of the CRM": {"--object", "owners"}} {
		out, err := s.hubpipe(append([]string{"doctor", "hubspot"}, args...)...)
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 {
			t.Errorf("%s: %v\n%s", code, err, out)
		}
	}
}
