package cli

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	yamlv3 "go.yaml.in/yaml/v3"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

var updateGolden = flag.Bool("update", false, "write the golden files")

// golden holds what is written to a file.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	path = filepath.Join("testdata", path)
	if *updateGolden {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// someTables are tables with what may stand in them.
func someTables() client.DestinationTables {
	own := []client.DestinationColumn{{Name: "id", Type: "string", Label: "HubSpot's id of the record"}, {Name: "_hubpipe_seq", Type: "int64"}, {Name: "_hubpipe_state", Type: "string"},
		{Name: "_hubpipe_synced_at", Type: "timestamp"}, {Name: "_hubpipe_created_at", Type: "timestamp"}, {Name: "_hubpipe_updated_at", Type: "timestamp"},
		{Name: "_hubpipe_archived_at", Type: "timestamp"}, {Name: "_hubpipe_merged_into", Type: "string"}}
	p := func(name, kind, label string) client.DestinationColumn {
		return client.DestinationColumn{Name: name, Type: kind, Property: name, Label: label}
	}
	return client.DestinationTables{Name: "warehouse", Kind: "postgres", Database: "analytics", Schema: "hubspot", Location: "s3://bucket/crm", Tables: []client.DestinationTable{
		{Stream: "contacts", Object: "contacts", Table: "contacts", Associations: "contacts__associations", History: "contacts__history",
			Columns: append(own[:8:8], p("email", "string", "E-mail"), p("score", "double", ""), p("opted_out", "boolean", "Opted out: yes # or no"), p("born", "date", `The "day"`),
				p("seen", "timestamp", "Seen {{ at }}\n{% last %}"), p("kinds", "list<string>", "Kinds\u007f\ufeff of 'it'"))},
		{Stream: "eu-deals", Object: "deals", Table: "eu-deals", Versions: "eu-deals__versions", Columns: append(own[:8:8], p("order", "string", "a word of SQL"), p("Amount", "double", ""), p("amount", "double", ""),
			p("Größe in €", "string", ""), p(`a "b" `+"`c`"+` 'd' \`, "string", ""), p("{{ hostile }}", "string", ""), p("1st", "json", ""))},
	}}
}

// What is written is the same each time, is YAML with what dbt looks for, and
// quotes names right.
func TestDBT(t *testing.T) {
	t.Parallel()
	files := dbtFiles(someTables(), "hubspot")
	for name, b := range files {
		golden(t, filepath.Join("dbt", name), b)
	}
	if len(files) != 4 {
		t.Errorf("%d files", len(files))
	}
	var sources struct {
		Version int
		Sources []struct {
			Name, Schema, Database string
			Tables                 []struct {
				Name      string
				Freshness map[string]any
				Columns   []struct {
					Name, Description string
					Quote             bool
					Tests             []any `yaml:"data_tests"`
				}
			}
		}
	}
	if err := yamlv3.Unmarshal(files["sources.yml"], &sources); err != nil {
		t.Fatal(err)
	}
	s := sources.Sources[0]
	if sources.Version != 2 || s.Name != "hubspot" || s.Schema != "hubspot" || len(s.Tables) != 8 || s.Tables[4].Freshness["warn_after"] == nil {
		t.Errorf("sources: %+v", s)
	}
	contacts := s.Tables[0]
	if c := contacts.Columns[0]; c.Name != "id" || len(c.Tests) != 2 {
		t.Errorf("the id is %+v", c)
	}
	if c := contacts.Columns[13]; c.Description != "Kinds\u007f\ufeff of 'it'" || !c.Quote {
		t.Errorf("a label has become %q", c.Description)
	}
	if c := s.Tables[3].Columns[12]; c.Name != `a "b" `+"`c`"+` 'd' \` {
		t.Errorf("a name has become %q", c.Name)
	}
	var models struct {
		Models []struct {
			Name    string
			Columns []struct{ Name string }
		}
	}
	if err := yamlv3.Unmarshal(files["models.yml"], &models); err != nil || len(models.Models) != 2 {
		t.Fatalf("%v %+v", err, models)
	}
	for _, m := range models.Models {
		for _, c := range m.Columns {
			if !plainName(c.Name) {
				t.Errorf("a model's column is called %q", c.Name)
			}
		}
	}
	if text := string(files["sources.yml"]) + string(files["models.yml"]); jinja(text) {
		t.Error("a label is taken for a template")
	}
}

// What is there stays, all of it, unless somebody says otherwise.
func TestDBTOverwritesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "models")
	files := dbtFiles(someTables(), "hubspot")
	if err := writeAll(dir, map[string][]byte{"models.yml": []byte("mine")}, false); err != nil {
		t.Fatal(err)
	}
	err := writeAll(dir, files, false)
	if err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("it says %v", err)
	}
	list, err := fs.Glob(os.DirFS(dir), "*")
	if b, _ := os.ReadFile(filepath.Join(dir, "models.yml")); err != nil || string(b) != "mine" || len(list) != 1 {
		t.Errorf("%q in %v, %v", b, list, err)
	}
	if err := writeAll(dir, files, true); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "models.yml")); string(b) != string(files["models.yml"]) {
		t.Error("--force does not overwrite")
	}
}
