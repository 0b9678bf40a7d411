package config

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", literalSecret)
	streams := "stream \"contacts\" {}\n"
	for name, c := range map[string]struct {
		text string
		want string // "" for none
	}{
		"no streams":           {`portal "a" { token = env("T") }`, "no streams: nothing will be fetched"},
		"empty":                {"", "no streams"},
		"a token in the file":  {streams + `portal "a" { token = "` + long + `" }`, `token = env("NAME")`},
		"a password":           {streams + "portal \"a\" { token = env(\"T\") }\nbroker {\n  url = \"mqtt://127.0.0.1\"\n  username = \"u\"\n  password = \"" + long + "\"\n}", "password stands in the file"},
		"a start ahead":        {streams + "portal \"a\" { token = env(\"T\") }\ndefaults { start_date = \"2999-01-01\" }", "start_date lies ahead"},
		"a start behind":       {streams + "portal \"a\" { token = env(\"T\") }\ndefaults { start_date = \"2024-01-31\" }", ""},
		"history of one":       {"stream \"contacts\" {\n  properties = [\"email\"]\n  history = [\"email\", \"e*\"]\n}\n" + `portal "a" { token = env("T") }`, ""},
		"history of another":   {"stream \"contacts\" {\n  properties = [\"email\"]\n  history = [\"phone\"]\n}\n" + `portal "a" { token = env("T") }`, `history names "phone"`},
		"history of none":      {"defaults { history = [\"email\"] }\nstream \"contacts\" { exclude = [\"em*\"] }\n" + `portal "a" { token = env("T") }`, `history names "email"`},
		"versions for nobody":  {"stream \"contacts\" { keep_versions = \"90d\" }\n" + `portal "a" { token = env("T") }`, "keep_versions keeps nothing of contacts"},
		"versions of none":     {streams + "portal \"a\" { token = env(\"T\") }\ndestination \"postgres\" \"w\" {\n  url = \"postgres:///x\"\n  versions = true\n}", "none of its streams keeps any"},
		"versions":             {"stream \"contacts\" { keep_versions = \"90d\" }\nportal \"a\" { token = env(\"T\") }\ndestination \"postgres\" \"w\" {\n  url = \"postgres:///x\"\n  versions = true\n}", ""},
		"a word of a test":     {streams + `portal "a" { token = "demo" }`, ""},
		"a token from outside": {streams + `portal "a" { token = "${env("T")}` + long + `" }`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c2, diags := loadText(t, c.text, vars("T", long))
			got := diags.String()
			if c2 == nil || (c.want == "") != (len(diags) == 0) || !strings.Contains(got, c.want) {
				t.Errorf("got %s", got)
			}
			if len(diags) > 0 && (diags[0].Severity != Warning || strings.Contains(got, long) || !strings.Contains(got, "warning: ")) {
				t.Errorf("%d: %s", diags[0].Severity, got)
			}
		})
	}
}

// A file that does not parse hides no mistake of the others, and what may stand
// in it is not missed.
func TestSyntaxErrorsHideNothing(t *testing.T) {
	t.Parallel()
	o := options(t, nil)
	write(t, filepath.Join(o.WorkDir, FileName), "stream \"contacts\" { intervall = \"5m\" }\ndefaults { portal = \"b\" }\n")
	write(t, filepath.Join(o.WorkDir, "conf.d", "b.hcl"), "portal \"b\" {\n")
	write(t, filepath.Join(o.WorkDir, "conf.d", "c.hcl"), "stream \"deals\" { interval = \"5x\" }\n")
	_, diags, err := Load(o)
	var invalid *InvalidError
	if !errors.As(err, &invalid) || len(diags) != 3 {
		t.Fatalf("%v", err)
	}
	for i, want := range []string{`no setting "intervall"`, "does not end", "unknown unit"} {
		if !strings.Contains(diags[i].Summary, want) {
			t.Errorf("%d: %s, want %s", i, diags[i], want)
		}
	}
}

func TestPortsHaveToDiffer(t *testing.T) {
	t.Parallel()
	const rest = "\nportal \"a\" { token = \"x\" }\nstream \"contacts\" {}\n"
	for text, bad := range map[string]bool{
		`broker { listen = "127.0.0.1:8377" }`:                                             true,
		`http { listen = "localhost:1883" }`:                                               true,
		"http { listen = \"[::1]:9\" }\nbroker { listen = \"127.0.0.1:9\" }":               false,
		"http { listen = \"127.0.0.1:0\" }\nbroker { listen = \"127.0.0.1:0\" }":           false,
		"http { listen = \"127.0.0.1:1883\" }\nbroker { url = \"mqtt://127.0.0.1:1883\" }": false,
	} {
		l := newLoader(options(t, nil))
		l.add("x.hcl", []byte(text+rest), false)
		if _, diags, err := l.load(); (err != nil) != bad || bad && !strings.Contains(diags.String(), "cannot both listen") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
