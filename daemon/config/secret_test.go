package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

// canary is a secret of the tests; its form is that of a real one, but not one
// that scrub knows.
const canary = "c4n4ry-0f-the-t3sts"

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	s := NewSecret(canary)
	type inner struct {
		Shown  Secret
		hidden Secret
		ptr    *Secret
	}
	values := map[string]any{"value": s, "pointer": &s, "struct": inner{s, s, &s}, "list": []Secret{s},
		"map": map[string]Secret{"k": s}, "any": map[string]any{"k": []any{s}},
		"portal": Portal{Token: s, OAuth: &OAuth{"id", s, s}, Journal: &Journal{"id", s}, Webhook: &Webhook{s}},
		"broker": Broker{Password: s}, "config": &Config{Portals: []Portal{{Token: s}}}}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3v", "%-30s", "%T", "%p"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			j, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(j)
			for _, asJSON := range []bool{false, true} {
				var log bytes.Buffer
				hclog.New(&hclog.LoggerOptions{Output: &log, JSONFormat: asJSON}).With("with", v).Error("message", "v", v, "f", hclog.Fmt("%s", v))
				out.Write(log.Bytes())
			}
			out.WriteString(fmt.Errorf("wrapped %v: %w", v, ErrNotFound).Error())
			if strings.Contains(out.String(), canary) || strings.Contains(out.String(), fmt.Sprintf("%x", canary)) {
				t.Errorf("the secret shows:\n%s", out.String())
			}
		})
	}
	if s.Reveal() != canary || s.String() != "[secret]" || !s.Equal(NewSecret(canary)) || s.Equal(NewSecret("x")) {
		t.Error("a secret does not hold its text")
	}
	if z := NewSecret(""); !z.IsZero() || z.String() != "" || z.Reveal() != "" || !z.Equal(Secret{}) || s.IsZero() {
		t.Error("the zero secret is not empty")
	}
	if j, _ := json.Marshal(map[string]Secret{"a": s, "b": {}}); string(j) != `{"a":"[secret]","b":""}` {
		t.Errorf("as JSON %s", j)
	}
}

// canaryFiles has a %s where a secret may stand, by right or by mistake.
func canaryFiles() []string {
	return []string{
		`portal "a" { token = "%s" }` + "\nbroken {",
		"portal \"a\" {\n  token = \"%s\n}",
		"portal \"a\" {\n  token = %s\n}",
		"portal \"a\" {\n  token \"%s\"\n}",
		"portal \"a\" {\n  token \"%s\" {}\n}",
		"portal \"a\" {\n  token: \"%s\"\n}",
		"portal \"a\" {\n  token = '%s'\n}",
		"portal \"a\" {\n  token = \"%s\" # and more\n  token = \"%s\"\n}",
		"portal \"a\" {\n  tokn = \"%s\"\n  secret = \"%s\"\n  api_key = \"%s\"\n}",
		"portal \"a\" {\n  token = <<EOT\n%s\n%s\nEOT\n  nonsense = 1\n}",
		"portal \"a\" {\n  token = <<EOT\n%s\n",
		"portal \"a\" {\n  token = [\"%s\"]\n}",
		"portal \"a\" {\n  token = [\n    \"%s\"\n    \"%s\"\n  ]\n}",
		"portal \"a\" {\n  token = { k = \"%s\" }\n}",
		"portal \"a\" {\n  token = upper(\"%s\")\n}",
		"portal \"a\" {\n  token = env(\"%s\")\n}",
		"portal \"a\" {\n  token = env(%s)\n}",
		"portal \"a\" {\n  token = \"%s\" + 1\n}",
		"portal \"a\" {\n  token = \"${%s}\"\n}",
		"portal \"a\" {\n  token = \"%s${env(\"NOT_SET\")}\"\n}",
		"portal \"a\" {\n  token = env(\"NOT_SET\") == \"%s\" ? 1 : \"%s\"\n}",
		"portal \"a\" {\n  token = env(\"SECRET\")\n  base_url = \"https://me:%s@api.example\"\n}",
		"portal \"a\" {\n  token = env(\"SECRET\")\n  base_url = \"https://api.example/?token=%s\"\n}",
		"portal \"a\" {\n  token = env(\"SECRET\") # %s\n  tken = env(\"SECRET\") // %s\n}",
		"portal \"a\" {\n  oauth {\n    client_secret = \"%s\"\n    refresh_tokn = \"%s\"\n  }\n}",
		"portal \"a\" {\n  oauth = { client_secret = \"%s\" }\n}",
		"portal \"a\" { webhook { client_secret = \"%s\", x = 1 } }",
		"broker {\n  password = \"%s\"\n  passwrd = \"%s\"\n}",
		"broker {\n  url = \"mqtts://me:%s@broker.example\"\n}",
		"broker {\n  url = \"mqtts://me:%s\n}",
		"broker {\n  url = \"%s:me\"\n}",
		"destination \"postgres\" \"x\" {\n  url = \"postgres://me:%s@db\"\n  password = \"%s\" \"\"\n}",
		"destination \"postgre\" \"x\" { url = \"%s\" }",
		"destination \"files\" \"x\" {\n  url = \"s3://me:%s@b/p\"\n  secret_key = %s\n}",
		"destination \"files\" \"x\" {\n  url = \"%s\"\n  access_key = \"%s\" \"\"\n}",
		"destination \"postgres\" \"x\" {\n  dsn = \"host=db password=%s ${env(\"NOT_SET\")}\"\n}",
		"destination \"iceberg\" \"x\" {\n  catalog = \"sql\"\n  uri = \"postgres://me:%s@db/x\"\n  credential = \"%s\" \"\"\n}",
		"destination \"iceberg\" \"x\" {\n  catalog = \"rest\"\n  uri = \"https://me:%s@c\"\n  token = %s\n  properties = { \"s3.session-token\" = %s }\n}",
		"destination \"iceberg\" \"x\" {\n  catalog = \"rest\"\n  properties = { \"s3.session-token\" = \"%s\", x = 1 }\n}",
		"notify \"x\" {\n  exec = [\"page\", \"--token\", \"%s\", \"\"]\n}",
		"stream \"x\" {\n  # %s\n  interval = \"5x\" # %s\n}",
		"token = \"%s\"\nHUBSPOT_TOKEN=%s\nexport HUBSPOT_TOKEN=%s\n",
		"%s",
		// Behind a setting that is harmless by itself.
		`portal "main" { api_version = "2026-09" token = "%s" }`,
		`portal "main" { api_version = "x" token = "%s" }` + "\nbroken {",
		`broker { listen = "127.0.0.1:1883" password = "%s" }`,
		"portal \"a\" {\n  api_version = \"2026-09\", token = \"%s\"\n}",
		"portal \"a\" {\n  oauth {\n  client_id = \"x\" client_secret = \"%s\"\n  }\n}",
		"portal \"a\" {\n  daily_reserve = 1 token = \"%s\"\n}",
		"portal \"a\" {\n  api_version = v3 token = \"%s\"\n}",
		"portal \"a\" {\n  api_version = \"2026-09\" \"%s\"\n}",
		"stream \"a\" {\n  exclude = [\"x\"] token = \"%s\"\n}",
		"stream \"a\" {\n  exclude = [\"x\", token = \"%s\"]\n}",
		"stream \"a\" {\n  interval = \"${\"5m\"}\" token = \"%s\"\n}",
		"broker {\n  listen = true ? \"x\" : \"%s\"\n}",
		// Under names that only begin like a harmless one.
		"portal \"a\" {\n  url_token = \"%s\"\n  name_key = \"%s\"\n  client = \"%s\"\n}",
		// Where a name would stand.
		"portal \"a\" {\n  webhook \"%s\" {}\n  oauth \"%s\" {\n  }\n}",
		"portal \"a { token = \"%s\" }",
		"portal \"a\" \"%s\" {}",
		"broker {\n  pasword \"%s\" {\n  }\n}",
	}
}

func TestNoMistakeShowsASecret(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{canary, "pat-na1-" + canary, "c4n4ry+/="} {
		for i, text := range canaryFiles() {
			text = strings.ReplaceAll(text, "%s", secret)
			o := options(t, vars("SECRET", secret))
			l := newLoader(o)
			l.add("x.hcl", []byte(text), false)
			_, diags, err := l.load()
			got := fmt.Sprintf("%v\n%v\n%#v", diags, err, diags)
			if strings.Contains(got, secret) || strings.Contains(got, "c4n4ry") {
				t.Errorf("file %d shows the secret\n%s\n---\n%s", i, text, diags)
			}
		}
	}
}

func TestExcerpt(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`  interval = "5m"`:                       `  interval = "5m"`,
		`  intervall = "5m"`:                      `  intervall = "5m"`,
		`  interval = "5m" # note "x"`:            `  interval = "5m"`,
		`  exclude = ["#", "a\"#"] // x`:          `  exclude = ["#", "a\"#"]`,
		`  token = "x"`:                           `  token = [secret]`,
		`  token = env("X")`:                      `  token = env("X")`,
		`  token = env("X") # y`:                  `  token = [secret]`,
		`  token = file("/a/b")`:                  `  token = file("/a/b")`,
		`  token = file("${x}")`:                  `  token = [secret]`,
		`  base_url = "https://a.b"`:              `  base_url = "https://a.b"`,
		`  url = "c4n4ry:x"`:                      `  url = [secret]`,
		`  base_url = "https://a.b?k=v"`:          `  base_url = [secret]`,
		`portal "main" { token = "x" }`:           `portal "main" { token = [secret]`,
		`  interval = "5m" token = "x"`:           `  interval = [secret]`,
		`  interval = "5m", token = "x"`:          `  interval = [secret]`,
		`  interval = "5m",`:                      `  interval = "5m",`,
		`  interval = "5m`:                        `  interval = [secret]`,
		`  interval = 5m`:                         `  interval = 5m`,
		`  interval = 5 m`:                        `  interval = 5 m`,
		`  autostart = true }`:                    `  autostart = true }`,
		`  exclude = [`:                           `  exclude = [`,
		`  exclude = []`:                          `  exclude = []`,
		`  exclude = ["a" "b"]`:                   `  exclude = [secret]`,
		`stream "Bad Name" { object="contacts" }`: `stream "Bad Name" { object="contacts" }`,
		`stream "Bad Name" {`:                     `stream "Bad Name" {`,
		`portal "pat-na1-11-22" {`:                `portal "[secret]" {`,
		`portal "a" "b3" {`:                       `[secret]`,
		`webhook "b" {`:                           `[secret]`,
		`webhook "b3" {`:                          `[secret]`,
		`stream "x" { interval = "5m" }`:          `stream "x" { interval = "5m" }`,
		`stream "x" {`:                            `stream "x" {`,
		`stream "x" {}`:                           `stream "x" {}`,
		`strem "x" {`:                             `strem "x" {`,
		`token "k3y" {`:                           `[secret]`,
		`free text`:                               `[secret]`,
		`}`:                                       `}`,
		"  ],\r":                                  `  ],`,
		"  interval = \"\x1b[31m\xff\"":           "  interval = \" [31m?\"",
		`  interval = "pat-na1-11-22"`:            `  interval = "[secret]"`,
		`  data_dir = "` + strings.Repeat("é", 200) + `"`: `  data_dir = "` + strings.Repeat("é", 93) + "…",
	} {
		got := excerpt(line)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", line, d)
		}
	}
}

func TestNoMistakeShowsAValueFromOutside(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{canary, "c4n4ry\"\\quoted"} {
		dir := t.TempDir()
		write(t, dir+"/s.txt", secret)
		for path, b := range schema() {
			for _, name := range b.attributes {
				for _, value := range []string{`env("SECRET")`, `file("s.txt")`, `["${env("SECRET")}"]`, `"x${env("SECRET")}"`, `env("SECRET") + 1`} {
					text := name + " = " + value + "\n"
					blocks := strings.Split(path, ".")
					for i := len(blocks) - 1; i >= 0 && path != ""; i-- {
						label := ""
						if b := schema()[strings.Join(blocks[:i+1], ".")]; b.labels == 1 {
							label = ` "a"`
						}
						text = blocks[i] + label + " {\n" + text + "}\n"
					}
					l := newLoader(options(t, vars("SECRET", secret)))
					l.add(dir+"/x.hcl", []byte(text), false)
					_, diags, err := l.load()
					if got := fmt.Sprint(diags, err); strings.Contains(got, "c4n4ry") {
						t.Errorf("the secret shows in %s\n%s", text, got)
					}
				}
			}
		}
	}
}

// FuzzExcerpt puts a secret behind its name anywhere into a line.
func FuzzExcerpt(f *testing.F) {
	for _, x := range [][2]string{{`  api_version = "2026-09"`, ""}, {`broker { listen = "x",`, "}"}, {`exclude = ["`, `"]`},
		{`stream "a`, `{`}, {`portal "main" {`, `}`}, {`oauth {`, `, client_id = "x" }`}, {`client_id = "\`, `"`}, {`listen = env("A") ? `, ``}} {
		f.Add(x[0], x[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before, "c4n4ry") || strings.Contains(after, "c4n4ry") {
			t.Skip()
		}
		for _, name := range secretSettings() {
			for _, line := range []string{name + ` = "` + canary + `"`, name + `="` + canary + `"`, name + ` = ` + canary} {
				if got := excerpt(before + " " + line + after); strings.Contains(got, "c4n4ry") {
					t.Fatalf("%q shows the secret: %s", before+" "+line+after, got)
				}
			}
		}
	})
}

// A secret stands behind every harmless setting, however the two are set apart.
func TestNothingShowsBehindASetting(t *testing.T) {
	t.Parallel()
	secrets, n := secretSettings(), 0
	for _, name := range allSettings() {
		if !isPlainSetting(name) {
			continue
		}
		for _, value := range []string{`"x"`, `"127.0.0.1:1"`, `5`, `1.5`, `true`, `[]`, `["a", "b"]`, `env("A")`, `"mqtt://a:1"`, `""`, `x`, ``} {
			for _, between := range []string{" ", ", ", "; ", " \t", ` "" `, " } ", " { ", " /* */ ", ","} {
				for _, frame := range []string{"%s", `portal "a" { %s }`, "broker { %s", "oauth { %s }", "%s }"} {
					line := fmt.Sprintf(frame, name+" = "+value+between+secrets[n%len(secrets)]+` = "`+canary+`"`)
					if got := excerpt(line); strings.Contains(got, "c4n4ry") {
						t.Fatalf("%s\nshows %s", line, got)
					}
					n++
				}
			}
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, text := range canaryFiles() {
		f.Add(strings.ReplaceAll(text, "%s", "x"))
	}
	f.Add("stream \"contacts\" {\n  cron = \"CRON_TZ=\"\n}\nportal \"a\" { token = env(\"SECRET\") }")
	f.Add("data_dir = \"a\"\ndefaults { portals = [\"*\"] }\nstream \"a\" { interval = env(\"SECRET\") }")
	o := Options{Env: vars("SECRET", canary), UserDir: "/none", SystemDir: "/none", DataHome: "/data", Objects: known()}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "file") || len(text) > 8<<10 {
			t.Skip("reads no files, goes no deeper than needed")
		}
		l := newLoader(o)
		l.add("x.hcl", []byte(text), false)
		c, diags, err := l.load()
		if (c == nil) != (err != nil) || (err != nil) != (len(diags.Invalid()) > 0) {
			t.Fatalf("config %v, error %v, diagnostics %v", c, err, diags)
		}
		if shown := diags.String(); strings.Contains(shown, canary) && !strings.Contains(text, canary) {
			t.Fatalf("the secret shows: %s", shown)
		}
		if c != nil {
			names := map[string]bool{}
			for _, s := range c.Streams {
				_, ok := c.PortalByName(s.Portal)
				if names[s.Name] || !ok || (s.Cron == "") == (s.Interval == 0) || checkName(s.Name) != nil {
					t.Fatalf("stream %+v is not sound", s)
				}
				names[s.Name] = true
			}
			for _, p := range c.Portals {
				if (p.Token.IsZero() && p.OAuth == nil) == (p.Problem == "") {
					t.Fatalf("portal %+v has neither credentials nor a problem, or both", p)
				}
			}
		}
	})
}
