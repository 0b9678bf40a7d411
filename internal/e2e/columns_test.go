package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// A reload that hashes what is personal takes away what stood in the warehouse;
// views, exports and what is written for dbt have what the warehouse has.
func TestWarehouseColumns(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "60", "--deals", "20", "--limits=false")
	pg := pgserver.Start(t)
	s.configure(settings{streams: []string{"deals", "owners", "pipelines"}})
	s.more("stream \"contacts\" { history = [\"email\"] }\n")
	s.more(fmt.Sprintf("destination \"postgres\" \"warehouse\" {\n  url   = %q\n  views = true\n  raw   = true\n}\n", pg.URL("", "", "")))
	s.daemon()
	s.worker()
	if code, body := s.curl(http.MethodPost, "/v1/streams/all/sync?wait=120s", ""); code != http.StatusOK {
		t.Fatalf("the first run: %d %s", code, body)
	}
	s.delivered()
	one := func(sql string) string { return strings.TrimSpace(pg.SQL("", sql)) }
	email := one("SELECT email FROM hubspot.contacts_live WHERE email LIKE '%@%' ORDER BY id LIMIT 1")
	if email == "" {
		t.Fatal("nobody has an address")
	}
	until(t, "the address in its column, the raw one and the history", func() error {
		if n := strings.Count(pg.Dump("hubspot"), email); n < 3 {
			return fmt.Errorf("%q stands in %d places", email, n)
		}
		return nil
	})
	if got := one("SELECT count(*) > 0, bool_and(is_closed IN ('true', 'false')) FROM hubspot.pipeline_stages"); got != "t|t" {
		t.Errorf("stages: %s", got)
	}
	if got := one("SELECT count(*) = (SELECT count(*) FROM hubspot.deals WHERE _hubpipe_state = 'live'), count(dealtype__label) > 0 FROM hubspot.deals_live"); got != "t|t" {
		t.Errorf("the view of deals: %s", got)
	}

	s.replace("views = true", "views = true\n  pii   = \"hash\"")
	if out, err := s.hubpipe("plan"); err != nil || !strings.Contains(out, "taken away") {
		t.Errorf("the plan: %v\n%s", err, out)
	}
	if code, body := s.curl(http.MethodPost, "/v1/reload", ""); code != http.StatusOK {
		t.Fatalf("the reload: %d %s", code, body)
	}
	until(t, "the rereading", func() error {
		if n := one("SELECT count(*) FROM hubspot.contacts WHERE length(email) = 64"); n == "0" {
			return errors.New("no hash stands there")
		}
		return nil
	})
	s.delivered()
	if strings.Contains(pg.Dump("hubspot"), email) {
		t.Errorf("%s stands there still", email)
	}
	if out, err := s.hubpipe("destinations", "check", "warehouse"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	hash := one("SELECT email FROM hubspot.contacts_live WHERE length(email) = 64 ORDER BY id LIMIT 1")
	for _, format := range []string{"ndjson", "csv"} {
		out, err := s.hubpipe("export", "contacts", "--as", "warehouse", "--format", format)
		if err != nil || strings.Contains(out, email) || !strings.Contains(out, hash) {
			t.Errorf("the export as %s: %v, with the address %t, with the hash %t", format, err, strings.Contains(out, email), strings.Contains(out, hash))
		}
	}
	if out, err := s.hubpipe("export", "contacts"); err != nil || !strings.Contains(out, email) {
		t.Errorf("the store has it no longer: %v", err)
	}

	dir := filepath.Join(s.dir, "models")
	if out, err := s.hubpipe("dbt", "--out", dir); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := s.hubpipe("dbt", "--out", dir); err == nil {
		t.Error("it overwrites")
	}
	models, err := filepath.Glob(filepath.Join(dir, "*.sql"))
	if err != nil || len(models) != 4 {
		t.Fatalf("models: %v %v", models, err)
	}
	for _, path := range models {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		query := regexp.MustCompile(`\{\{ source\('hubspot', '(\w+)'\) \}\}`).ReplaceAllString(string(b), `hubspot."$1"`)
		if n := one("SELECT count(*) FROM (" + query + ") m"); n == "0" {
			t.Errorf("%s has no rows", path)
		}
	}
	for _, warehouse := range []string{"snowflake", "bigquery", "databricks", "clickhouse"} {
		if out, err := s.hubpipe("destinations", "sql", warehouse, "--location", "s3://bucket/crm"); err != nil || !strings.Contains(out, "s3://bucket/crm") {
			t.Errorf("%s: %v\n%s", warehouse, err, out)
		}
	}
	if _, err := s.hubpipe("destinations", "sql", "clickhouse"); err == nil {
		t.Error("it knows where files are that there are not")
	}
}
