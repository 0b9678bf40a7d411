package cli

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker"
	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

const tokenOfTests = "pat-test-canary-000000000000"

func simulatedHubSpot(t *testing.T) (url string) {
	t.Helper()
	sim := simulator.New(simulator.Options{Token: tokenOfTests, Sizes: map[string]int{"contacts": 30, "deals": 20, "p_cars": 5}})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	return server.URL
}

// refuse takes scopes from the token.
func refuse(t *testing.T, url, missing string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/_simulator/faults", strings.NewReader(`{"scopes_missing":`+missing+`}`))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(err, answer.Status)
	}
}

// What init writes is a configuration without a mistake or a warning, with what
// the token may read, and with what it may not as comments.
func TestInit(t *testing.T) {
	t.Parallel()
	url := simulatedHubSpot(t)
	refuse(t, url, `{"companies":["crm.objects.companies.read"],"forms":["forms"]}`)
	dir := t.TempDir()
	path := filepath.Join(dir, "hubpipe.hcl")
	vars := map[string]string{"PORTAL_TOKEN": tokenOfTests, "XDG_DATA_HOME": filepath.Join(dir, "data")}
	got := try(t, vars, "init", "--config", path, "--token-env", "PORTAL_TOKEN", "--base-url", url)
	if got.code != ExitOK {
		t.Fatalf("exit %d\n%s%s", got.code, got.out, got.errors)
	}
	for _, row := range []string{"contacts yes 30", "companies scope missing - needs crm.objects.companies.read", "p_cars yes 5",
		"owners yes -", "forms scope missing - needs forms", "form_submissions scope missing - needs forms",
		"email_events left out - every delivery, opening and click of every marketing email", "deal_splits on request - needs crm.dealsplits.read_write"} {
		if !slices.ContainsFunc(strings.Split(got.out, "\n"), func(l string) bool { return strings.Join(strings.Fields(l), " ") == row }) {
			t.Errorf("no line %q in\n%s", row, got.out)
		}
	}
	if !strings.Contains(got.out, "an ordinary day") || !strings.Contains(got.errors, "hubpipe up --config "+path) || strings.Contains(got.errors, "export") {
		t.Errorf("%s%s", got.out, got.errors)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`token    = env("PORTAL_TOKEN")`, "\nstream \"deals\" {\n  associations = [\"contacts\"]\n  history      = [\"amount\", \"dealstage\", \"hubspot_owner_id\"] #",
		"stream \"p_cars\" {}\n", "\n# stream \"companies\" {} # needs crm.objects.companies.read\n", "\n# stream \"email_events\" {} # "} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the file lacks %q:\n%s", want, b)
		}
	}
	if strings.Contains(string(b)+got.out+got.errors, tokenOfTests) {
		t.Error("the token stands somewhere")
	}
	check := try(t, vars, "check", "--config", path)
	if check.code != ExitOK || check.errors != "" {
		t.Errorf("check says, exit %d: %s", check.code, check.errors)
	}
	// What is commented out is one, too, without the #.
	uncommented := strings.ReplaceAll(string(b), "\n# stream ", "\nstream ")
	if err := os.WriteFile(path, []byte(uncommented), 0o600); err != nil {
		t.Fatal(err)
	}
	check = try(t, vars, "check", "--config", path)
	if check.code != ExitOK || check.errors != "" || strings.Contains(uncommented, "\n# stream") {
		t.Errorf("check says, exit %d: %s", check.code, check.errors)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// What stops init says why, by its exit code too, and leaves nothing behind.
func TestInitRefuses(t *testing.T) {
	t.Parallel()
	url := simulatedHubSpot(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	dir := t.TempDir()
	there := filepath.Join(dir, "there.hcl")
	beside := filepath.Join(dir, "beside", "conf.d")
	if err := os.MkdirAll(beside, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{there: "mine", filepath.Join(beside, "a.hcl"): "portal \"main\" { token = \"x\" }\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fresh := filepath.Join(dir, "hubpipe.hcl")
	for name, c := range map[string]struct {
		token string
		args  []string
		code  int
		says  string
	}{
		"no token":         {"", []string{"-o", fresh, "--base-url", url}, ExitConfig, "variable HUBSPOT_TOKEN is not set"},
		"wrong token":      {"wrong", []string{"-o", fresh, "--base-url", url, "--yes"}, ExitConfig, "HubSpot does not accept the token"},
		"a wrong one":      {"pat-eu1-00000000-wrong", []string{"-o", fresh, "--base-url", url}, ExitConfig, "does not accept the token: Authentication credentials"},
		"half a token":     {"pat-00000000-1111", []string{"-o", fresh, "--base-url", url}, ExitConfig, "status 530, which it answers with to one that is not whole\n  hint: copy it from HubSpot again, or make a new one, and set HUBSPOT_TOKEN to it"},
		"blanks":           {"pat wrong", []string{"-o", fresh, "--base-url", url}, ExitConfig, "that is no token of HubSpot"},
		"a line break":     {tokenOfTests + "\n", []string{"-o", fresh, "--base-url", url}, ExitConfig, "that is no token of HubSpot"},
		"nobody there":     {tokenOfTests, []string{"-o", fresh, "--base-url", gone.URL}, ExitFailure, "connection refused"},
		"no TLS":           {tokenOfTests, []string{"-o", fresh, "--base-url", "http://hubspot.example"}, ExitConfig, "without TLS"},
		"the file":         {tokenOfTests, []string{"-o", there, "--base-url", url}, ExitFailure, "is there already"},
		"conf.d":           {tokenOfTests, []string{"-o", filepath.Join(dir, "beside", "hubpipe.hcl"), "--base-url", url}, ExitConfig, "nothing is written"},
		"no folder":        {tokenOfTests, []string{"-o", filepath.Join(dir, "none", "x"), "--base-url", url}, ExitFailure, "no such file"},
		"named twice":      {tokenOfTests, []string{"-o", fresh, "--config", fresh}, ExitUsage, "name the file once"},
		"token as a name":  {"", []string{"--token-env", "pat-na1-1"}, ExitUsage, "--token-env is the name of a variable"},
		"something behind": {"", []string{"here"}, ExitUsage, `does not know what to do with "here"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vars := map[string]string{"XDG_DATA_HOME": dir}
			if c.token != "" {
				vars["HUBSPOT_TOKEN"] = c.token
			}
			got := try(t, vars, append([]string{"init"}, c.args...)...)
			if got.code != c.code || !strings.Contains(got.errors, c.says) || got.out != "" {
				t.Errorf("exit %d, want %d and %q:\n%s%s", got.code, c.code, c.says, got.out, got.errors)
			}
			if c.token != "" && strings.Contains(got.errors, c.token) {
				t.Errorf("it shows the token: %s", got.errors)
			}
		})
	}
	t.Cleanup(func() {
		if b, err := os.ReadFile(there); err != nil || string(b) != "mine" {
			t.Errorf("%v %s", err, b)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*.hcl")); len(left) != 1 {
			t.Errorf("left: %v", left)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// A file that came meanwhile stays; --force overwrites.
func TestPutFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x")
	if err := putFile(path, "one", false); err != nil {
		t.Fatal(err)
	}
	if err := putFile(path, "two", false); err == nil {
		t.Error("it was overwritten")
	}
	if err := putFile(path, "three", true); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "three" {
		t.Errorf("%v %s", err, b)
	}
}

// Bodies of e-mails are left out, an object of the portal's own with a name that
// no stream may have gets one, and what HubSpot lacks is not named.
func TestProposal(t *testing.T) {
	t.Parallel()
	emails, _ := catalogue.Lookup("emails")
	deals, _ := catalogue.Lookup("deals")
	cars, _ := catalogue.Lookup("p_Old-Cars")
	text := proposal(beginning{variable: "T", baseURL: config.DefaultBaseURL}, hubspot.Account{PortalID: 7}, findings{
		{object: deals, right: mayRead, size: worker.Size{Names: []string{"dealstage"}}},
		{object: emails, right: mayRead, size: worker.Size{Names: []string{"hs_email_html", "hs_email_subject", "hs_email_text"}}},
		{object: cars, right: mayRead},
	})
	_, got, _ := strings.Cut(text, "portal ")
	want := `"main" {
  token = env("T")
}

stream "deals" {
  history = ["dealstage"] # what these have been, with every change
}

stream "emails" {
  exclude = ["hs_email_html", "hs_email_text"] # the text of every e-mail is heavy
}

stream "p_old_cars" {
  object = "p_Old-Cars"
}
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
