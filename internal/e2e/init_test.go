package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Somebody at a terminal types a wrong token and then the right one, looks at
// what it may read, and has a configuration that works.
func TestInitAtATerminal(t *testing.T) {
	t.Parallel()
	need(t, "tmux")
	s := newSystem(t, "--contacts", "12", "--deals", "3")
	dir := t.TempDir()
	x := newTerminal(t, dir, 100, 30, inTerminal(s.bin+" init --base-url "+s.sim), "HUBSPOT_TOKEN=", "XDG_DATA_HOME="+filepath.Join(dir, "data"))
	x.shows("HUBSPOT_TOKEN is not set", "token:")
	x.types("pat-wrong-canary", "Enter")
	x.shows("HubSpot does not accept the token")
	x.types(hubspotToken, "Enter")
	x.shows("write hubpipe.hcl with", "[Y/n]", "an ordinary day")
	x.types("Enter")
	x.shows("export HUBSPOT_TOKEN=", "hubpipe up", "it ended with 0")
	x.restored()
	all := x.do("capture-pane", "-p", "-S", "-")
	if strings.Contains(all, "canary") || !strings.Contains(strings.Join(strings.Fields(all), " "), "contacts yes 12") {
		t.Errorf("it shows:\n%s", all)
	}
	text, err := os.ReadFile(filepath.Join(dir, "hubpipe.hcl"))
	if err != nil || strings.Contains(string(text), hubspotToken) || !strings.Contains(string(text), `env("HUBSPOT_TOKEN")`) {
		t.Errorf("%v\n%s", err, text)
	}
	check := runWith(t, dir, s.bin, []string{"HUBSPOT_TOKEN=" + hubspotToken, "XDG_DATA_HOME=" + filepath.Join(dir, "data")}, "check")
	if code := check.exit(t); code != 0 || strings.Count(check.log.String(), "\n") != 1 {
		t.Errorf("exit %d: %s", code, check.log.String())
	}
}

// An interrupt at the question leaves the terminal as it was, and no file; so does no.
func TestInitInterrupted(t *testing.T) {
	t.Parallel()
	need(t, "tmux")
	s := newSystem(t, "--contacts", "1")
	dir := t.TempDir()
	x := newTerminal(t, dir, 100, 24, inTerminal(s.bin+" init --base-url "+s.sim), "HUBSPOT_TOKEN=")
	x.shows("token:")
	if err := syscall.Kill(x.pid(), syscall.SIGINT); err != nil { // C-c would end the shell, too
		t.Fatal(err)
	}
	x.shows("it ended with 130")
	x.restored()
	no := t.TempDir()
	x = newTerminal(t, no, 100, 24, inTerminal(s.bin+" init --base-url "+s.sim), "HUBSPOT_TOKEN="+hubspotToken)
	x.shows("[Y/n]")
	x.types("n", "Enter")
	x.shows("hubpipe.hcl was not written", "it ended with 1")
	for _, d := range []string{dir, no} {
		if left, _ := filepath.Glob(filepath.Join(d, "*hubpipe*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// A token that HubSpot refuses is called that within seconds, wherever somebody
// looks, and long before the portal is blocked.
func TestWrongTokenIsNamed(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "3")
	if code, text := fetch(t, http.MethodPost, s.sim+"/_simulator/faults", `{"unauthorized":true}`, ""); code != http.StatusOK {
		t.Fatal(text)
	}
	s.daemon()
	s.worker()
	until(t, "the status", func() error {
		out, err := s.hubpipe("status")
		if err != nil || !strings.Contains(out, "HubSpot refuses the token") || !strings.Contains(out, "look whether the portal's token is right") {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}
