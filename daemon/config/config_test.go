package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/internal/listen"
)

var update = flag.Bool("update", false, "write the golden files")

// vars is an environment.
func vars(pairs ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) {
		v, ok := m[name]
		return v, ok
	}
}

// known are the objects of the tests.
func known() []string {
	return []string{"contacts", "companies", "deals", "tickets", "owners", "pipelines"}
}

// options keep a test away from the configuration of whoever runs it.
func options(t testing.TB, env func(string) (string, bool)) Options {
	t.Helper()
	return Options{Env: env, WorkDir: t.TempDir(), UserDir: t.TempDir(), SystemDir: t.TempDir(),
		DataHome: "/data", Objects: known()}
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// loadText loads one file and fails on any mistake.
func loadText(t testing.TB, text string, env func(string) (string, bool)) (*Config, Diagnostics) {
	t.Helper()
	o := options(t, env)
	o.Path = write(t, filepath.Join(o.WorkDir, FileName), text)
	c, diags, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return c, diags
}

func TestShippedFileIsTheDefaults(t *testing.T) {
	t.Parallel()
	const path = "../../hubpipe.hcl"
	o := options(t, vars("HUBSPOT_TOKEN", "abc"))
	without, _, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	o.Path = path
	with, diags, err := Load(o)
	if err != nil || len(diags) > 0 {
		t.Fatal(err, diags)
	}
	with.Path = ""
	if d := cmp.Diff(without, with); d != "" {
		t.Errorf("hubpipe.hcl differs from the defaults (-code +file):\n%s", d)
	}
}

func TestShippedFileShowsEverySetting(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../hubpipe.hcl")
	if err != nil {
		t.Fatal(err)
	}
	// What has no default, or one that depends on the user, is commented out.
	commented := map[string]bool{"data_dir": true, "broker.url": true, "broker.username": true, "broker.password": true,
		"worker.name": true, "defaults.portal": true, "defaults.portals": true, "defaults.interval": true, "defaults.cron": true,
		"defaults.start_date": true, "portal.oauth": true, "portal.journal": true, "portal.api_version": true, "portal.webhook": true, "destination": true, "user": true, "notify": true, "defaults.max_lag": true, "defaults.keep_versions": true,
		"tui.keys": true, "http.hosts": true, "http.tls": true, "broker.tls": true}
	shared := map[string]bool{}
	for _, name := range sharedStreamSettings() {
		shared[name] = true
	}
	got := settingsIn(string(text))
	for path, b := range schema() {
		if path != "" {
			want := "live"
			if commented[path] {
				want = "commented"
			}
			if got[path] != want {
				t.Errorf("block %s is %q in hubpipe.hcl, want %q", path, got[path], want)
			}
		}
		for _, name := range b.attributes {
			if path == "stream" && shared[name] {
				continue // stands in defaults
			}
			key := strings.TrimPrefix(path+"."+name, ".")
			want := "live"
			if commented[key] || commented[path] {
				want = "commented"
			}
			if got[key] != want {
				t.Errorf("%s is %q in hubpipe.hcl, want %q", key, got[key], want)
			}
		}
	}
}

// settingsIn lists the blocks and settings of a file by path, "live" or
// "commented".
func settingsIn(text string) map[string]string {
	header := regexp.MustCompile(`^([a-z_]+)(?: "[a-z]+")* \{(\})?$`)
	setting := regexp.MustCompile(`^([a-z_]+) *= `)
	out := map[string]string{}
	var stack []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		state := "live"
		if rest, ok := strings.CutPrefix(line, "#"); ok {
			line, state = strings.TrimSpace(rest), "commented"
		}
		key := func(name string) string { return strings.Join(append(slices.Clip(stack), name), ".") }
		switch {
		case line == "}":
			stack = stack[:len(stack)-1]
		case header.MatchString(line):
			m := header.FindStringSubmatch(line)
			out[key(m[1])] = state
			if m[2] == "" {
				stack = append(stack, m[1])
			}
		case setting.MatchString(line):
			if name := key(setting.FindStringSubmatch(line)[1]); out[name] == "" {
				out[name] = state
			}
		}
	}
	return out
}

func TestEverySettingIsRead(t *testing.T) {
	t.Parallel()
	o := options(t, vars("TOKEN", "t1", "SECRET", "s1", "HOOK", "https://hooks.example/x"))
	o.Path, o.Iceberg = "testdata/full.hcl", true
	text, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	settings := settingsIn(string(text))
	for path, b := range schema() {
		for _, name := range b.attributes {
			key := strings.TrimPrefix(path+"."+name, ".")
			if alternative := name == "portal" || name == "cron"; settings[key] != "live" && !(path == "defaults" && alternative) {
				t.Errorf("testdata/full.hcl does not show %s, so nothing shows that it is read", key)
			}
		}
	}
	c, diags, err := Load(o)
	if err != nil || len(diags) > 0 {
		t.Fatal(err, diags)
	}
	base := Stream{Interval: 7 * time.Minute, Timezone: "Asia/Tokyo", Properties: []string{"a"}, Exclude: []string{"b_*"},
		Associations: []string{"deals"}, History: []string{"c*"}, Volatile: []string{"d"},
		StartDate: time.Date(2024, 1, 31, 0, 0, 0, 0, time.UTC), Tail: 3 * time.Minute, Settle: []time.Duration{time.Hour},
		ArchivedInterval: 2 * time.Hour, ReconcileInterval: 48 * time.Hour, MaxDeletes: 0.05, MaxLag: 2 * time.Hour, KeepVersions: 90 * 24 * time.Hour}
	first, second := base, base
	first.Name, first.Label, first.Object, first.Portal = "eu_contacts", "contacts", "contacts", "eu"
	second.Name, second.Label, second.Object, second.Portal = "us_contacts", "contacts", "contacts", "us"
	own := Stream{Name: "people", Label: "people", Object: "contacts", Portal: "us", Cron: "*/5 * * * *",
		Timezone: "Europe/Berlin", Autostart: true, Properties: []string{"*"}, Exclude: []string{}, Associations: []string{},
		History: []string{"*"}, Volatile: []string{"x"}, StartDate: time.Date(2024, 1, 31, 7, 0, 0, 0, time.UTC),
		Settle: []time.Duration{}, ArchivedInterval: time.Hour, ReconcileInterval: time.Hour, MaxDeletes: 1, MaxLag: time.Hour, KeepVersions: time.Hour}
	other := own
	other.Name, other.Label, other.Interval, other.Cron = "others", "others", time.Second, ""
	files := TLS{Certificate: filepath.Join("testdata", "tls.crt"), Key: filepath.Join("testdata", "tls.key"), CA: filepath.Join("testdata", "tls.crt")}
	want := &Config{Path: o.Path, DataDir: "/srv/hubpipe", HTTP: HTTP{Listen: "[::1]:0", TLS: &files, Hosts: []string{"hubpipe.example"}},
		Broker: Broker{Listen: "localhost:1884", TLS: &files, URL: "mqtts://broker.example:8883", Username: "me",
			Password: NewSecret("s1"), Prefix: "home/hubpipe", Changes: true, MaxPacket: 2 << 20},
		Worker: Worker{3, "box-1"}, Log: Log{"debug", "json"},
		Users: []User{{Name: "ann", Role: "worker", PasswordHash: NewSecret("$2a$10$Es1cvhDJrpj7J6bhTRAY5upnVwoN9s0xH89GU7kDu9V6J3Q/dKAle"), Certificate: "Ann"}},
		Portals: []Portal{
			{Name: "eu", Token: NewSecret("t1"), BaseURL: "http://127.0.0.1:8378", APIVersion: "v3", DailyReserve: 0.5,
				Journal: &Journal{"j", NewSecret("s1")}, Webhook: &Webhook{NewSecret("s1")}},
			{Name: "us", OAuth: &OAuth{"c", NewSecret("s1"), NewSecret("from a file")}, BaseURL: DefaultBaseURL,
				DailyReserve: DefaultDailyReserve},
		},
		Streams: []Stream{first, second, own, other},
		Destinations: []Destination{{Type: "postgres", Name: "warehouse", URL: NewSecret("postgres://me:t1@db/crm"), Schema: "crm",
			Streams: []string{"people", "eu_*"}, Deletes: DeletesDelete, SchemaChanges: SchemaBlock, Raw: true, Views: true, Versions: true,
			PII: PIIHash, Exclude: []string{"people.photo", "hs_ip_*"}, Hash: []string{"owner"}, PIIExcept: []string{"firstname"},
			Truncate: []Truncate{{"note", 10}, {"people.zip", 2}}},
			{Type: "files", Name: "lake", URL: NewSecret("s3://lake/crm?region=eu-central-1"), Deletes: DeletesMark, SchemaChanges: SchemaIgnore, PII: PIIKeep,
				Files: &Files{Format: FormatNDJSON, AccessKey: NewSecret("t1"), SecretKey: NewSecret("s1"), FlushInterval: 10 * time.Second,
					CompactInterval: 6 * time.Hour, Keep: 2 * time.Hour, FileSize: 8 << 20}},
			{Type: "iceberg", Name: "tables", URL: NewSecret("https://catalog.example/api/catalog"), Deletes: DeletesMark, SchemaChanges: SchemaBlock, Versions: true, PII: PIIKeep,
				Iceberg: &Iceberg{Catalog: CatalogREST, CatalogName: "tables", Warehouse: "crm", Namespace: "analytics.crm", Mode: ModeUpsert, Credential: NewSecret("t1"),
					Token: NewSecret("s1"), Properties: map[string]Secret{"s3.region": NewSecret("eu-central-1")}, FlushInterval: DefaultFlushInterval,
					CompactInterval: DefaultCompactInterval, Keep: 48 * time.Hour, FileSize: DefaultFileSize}},
			{Type: "iceberg", Name: "own", URL: NewSecret("postgres://me:t1@db/iceberg"), Deletes: DeletesMark, SchemaChanges: SchemaApply, PII: PIIKeep,
				Iceberg: &Iceberg{Catalog: CatalogSQL, CatalogName: "lake", Warehouse: "s3://lake/tables", Namespace: DefaultSchema, Mode: ModeAppend,
					AccessKey: NewSecret("t1"), SecretKey: NewSecret("s1"), FlushInterval: DefaultFlushInterval, CompactInterval: DefaultCompactInterval,
					Keep: DefaultKeepSnapshots, FileSize: DefaultFileSize}}},
		Notify: []Notify{{Name: "ops", Webhook: NewSecret("https://hooks.example/x"), Format: "json", On: []string{"blocked", "disk"}, After: time.Minute},
			{Name: "pager", Format: "slack", Exec: []string{"page", "crm"}, After: DefaultNotifyAfter}},
		Dashboard: Dashboard{Theme: "mono", ASCII: true, Keys: map[string][]string{"start": {"f7"}, "page-up": {"b", "pgup"}, "mouse": {}}},
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".hcl"), func(t *testing.T) {
			t.Parallel()
			o := options(t, vars("SET", "canary"))
			o.Path = path
			c, diags, err := Load(o)
			var invalid *InvalidError
			if len(diags.Invalid()) > 0 != errors.As(err, &invalid) || (c == nil) != (err != nil) {
				t.Errorf("config %v and error %v do not fit %d mistakes", c != nil, err, len(diags.Invalid()))
			}
			got := diags.String() + "\n"
			if strings.Contains(got, "canary") {
				t.Errorf("a secret shows:\n%s", got)
			}
			golden := strings.TrimSuffix(path, ".hcl") + ".golden"
			if *update {
				write(t, golden, got)
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestUnsetVariableBlocksItsPortalOnly(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]func(string) (string, bool){"not set": vars("B", "x"), "empty": vars("A", "", "B", "x")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, diags := loadText(t, `
portal "a" { token = "${env("A")}" }
portal "b" { token = env("B") }
stream "contacts" { portals = ["*"] }
`, env)
			if len(diags) != 1 || diags[0].Severity != Blocked || diags[0].Line != 2 {
				t.Fatalf("want one diagnostic in line 2, got:\n%s", diags)
			}
			if want := "variable A is not set"; c.Portals[0].Problem != want || c.Portals[1].Problem != "" {
				t.Errorf("problems %q and %q", c.Portals[0].Problem, c.Portals[1].Problem)
			}
			if len(c.Streams) != 2 || len(c.Blocked()) != 1 {
				t.Errorf("streams %v, blocked %v", c.Streams, c.Blocked())
			}
		})
	}
}

// What the daemon could not open a socket in is refused by the check already.
func TestLongestDataDir(t *testing.T) {
	t.Parallel()
	for _, n := range []int{listen.MaxFolder, listen.MaxFolder + 1} {
		dir, err := checkDataDir("/" + strings.Repeat("d", n-1))
		if fits := err == nil && len(dir) == n; fits != (n == listen.MaxFolder) {
			t.Errorf("%d bytes: %q, %v", n, dir, err)
		}
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	text := func(n int) string {
		return fmt.Sprintf("data_dir = \"/d%d\"\nportal \"p\" { token = \"x\" }\nstream \"contacts\" {}\n", n)
	}
	o := options(t, vars("HUBSPOT_TOKEN", " token\n"))
	c, _, err := Load(o)
	if err != nil || c.Path != "" || c.DataDir != "/data/hubpipe" || c.Portals[0].Token.Reveal() != "token" {
		t.Fatal(c, err)
	}
	for i, dir := range []string{o.SystemDir, o.UserDir, o.WorkDir} {
		path := write(t, filepath.Join(dir, FileName), text(i))
		c, _, err := Load(o)
		if err != nil || c.Path != path || c.DataDir != fmt.Sprintf("/d%d", i) {
			t.Errorf("want %s, got %v, %v", path, c, err)
		}
		cc, err := LoadClient(o)
		if err != nil || cc.Path != path || cc.DataDir != c.DataDir || cc.HTTPListen != DefaultHTTPListen {
			t.Errorf("client: want %s, got %v, %v", path, cc, err)
		}
	}
	o.Path = filepath.Join(o.WorkDir, "other.hcl")
	if _, _, err := Load(o); err == nil || !strings.Contains(err.Error(), "there is no such file") {
		t.Errorf("a file that is named and missing: %v", err)
	}
	if _, err := LoadClient(o); err == nil {
		t.Error("the client passes over a file that is named and missing")
	}
	if _, _, err := Load(options(t, nil)); !errors.Is(err, ErrNotFound) {
		t.Errorf("want ErrNotFound, got %v", err)
	}
}

func TestFragments(t *testing.T) {
	t.Parallel()
	o := options(t, nil)
	write(t, filepath.Join(o.WorkDir, FileName), `defaults { portals = ["*"] }`+"\nstream \"contacts\" {}\n")
	write(t, filepath.Join(o.WorkDir, "conf.d", "b.hcl"), `portal "b" { token = file("b.token") }`)
	write(t, filepath.Join(o.WorkDir, "conf.d", "b.token"), " from beside\n")
	write(t, filepath.Join(o.WorkDir, "conf.d", "a.hcl"), `portal "a" { token = "x" }`)
	write(t, filepath.Join(o.WorkDir, "conf.d", "a.txt"), `not read`)
	c, diags, err := Load(o)
	if err != nil || len(diags) > 0 {
		t.Fatal(err, diags)
	}
	var names []string
	for _, s := range c.Streams {
		names = append(names, s.Name)
	}
	if d := cmp.Diff([]string{"a_contacts", "b_contacts"}, names); d != "" {
		t.Error(d)
	}
	if p, ok := c.PortalByName("b"); !ok || p.Token.Reveal() != "from beside" {
		t.Error("file() is not relative to its own file")
	}
	bad := write(t, filepath.Join(o.WorkDir, "conf.d", "c.hcl"), "http { listen = \"127.0.0.1:1\" }\nportal \"a\" { token = \"x\" }\n")
	_, diags, err = Load(o)
	if err == nil || len(diags) != 2 || diags[0].File != bad || !strings.Contains(diags[0].Summary, "main file") ||
		!strings.Contains(diags[1].Summary, "already") {
		t.Errorf("got %v", err)
	}
	for kind, b := range schema() {
		if b.fragment && !strings.Contains(diags[0].Summary, kind) {
			t.Errorf("it does not say that %s may stand there: %s", kind, diags[0].Summary)
		}
	}
}

func TestClientReadsNothingElse(t *testing.T) {
	t.Parallel()
	o := options(t, nil)
	o.Path = write(t, filepath.Join(o.WorkDir, "x.hcl"), `
data_dir = "data"
http { listen = "127.0.0.1:9999" }
broker { prefix = env("NO") }
portal "p" { token = file("missing") }
nonsense "x" {}
stream "contcts" { interval = "0s" }
`)
	write(t, filepath.Join(o.WorkDir, "conf.d", "x.hcl"), "{{{")
	c, err := LoadClient(o)
	if err != nil {
		t.Fatal(err)
	}
	want := &ClientConfig{Path: o.Path, DataDir: filepath.Join(o.WorkDir, "data"), HTTPListen: "127.0.0.1:9999"}
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{`data_dir = env("NO")`, `data_dir = "` + strings.Repeat("x", 100) + `"`, `http { listen = "0.0.0.0:1" }`, "{{{"} {
		write(t, o.Path, bad)
		if _, err := LoadClient(o); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// The dashboard's own block is read by itself: what else is wrong is not its
// matter, and what is wrong with it not the other verbs'.
func TestDashboardAlone(t *testing.T) {
	t.Parallel()
	o := options(t, vars())
	o.Themes = []string{"auto", "dark"}
	o.CheckKeys = func(keys map[string][]string) error {
		if keys["strat"] != nil {
			return errors.New("there is no strat")
		}
		return nil
	}
	if d, err := LoadDashboard(o); err != nil || d.Theme != DefaultTheme || d.Keys != nil {
		t.Errorf("without a file: %+v %v", d, err)
	}
	o.Path = t.TempDir() + "/hubpipe.hcl"
	write(t, o.Path, "nonsense = 1\nportal \"p\" { token = env(\"UNSET\") }\ntui {\n  theme = \"dark\"\n  keys {\n    start = [\"f7\"]\n  }\n}\n")
	if d, err := LoadDashboard(o); err != nil || d.Theme != "dark" || d.Keys["start"][0] != "f7" {
		t.Errorf("%+v %v", d, err)
	}
	write(t, o.Path, "tui {\n  theme = \"drak\"\n  keys {\n    strat = [\"f7\"]\n  }\n}\n")
	_, err := LoadDashboard(o)
	for _, says := range []string{":2: tui: theme has no value \"drak\"", "did you mean \"dark\"", ":3: tui: keys: there is no strat"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("it does not say %q: %v", says, err)
		}
	}
	if _, err := LoadClient(o); err != nil {
		t.Errorf("other verbs: %v", err)
	}
}

// The arguments of a program may come twice, as curl's -H does.
func TestAProgramsArgumentsMayRepeat(t *testing.T) {
	t.Parallel()
	c, _ := loadText(t, `portal "main" { token = env("T") }
stream "contacts" {}
notify "ops" { exec = ["curl", "-H", "a: b", "-H", "c: d"] }
`, vars("T", "x"))
	if diff := cmp.Diff([]string{"curl", "-H", "a: b", "-H", "c: d"}, c.Notify[0].Exec); diff != "" {
		t.Error(diff)
	}
}
