package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// standIn is a warehouse that speaks as PostgreSQL, to try what all of them get.
func standIn() *warehouse {
	return &warehouse{quote: func(name string) string { return `"` + name + `"` },
		types: map[string]string{"string": "text", "int64": "bigint", "timestamp": "timestamptz"}}
}

// versionedTable is a table with its versions, and with properties that are called
// as columns of the view.
func versionedTable(w *warehouse) warehouseTable {
	columns := append(someTables().Tables[0].Columns[:own:own], client.DestinationColumn{Name: "a", Type: "string"}, client.DestinationColumn{Name: "valid_to", Type: "string"})
	x := warehouseTable{w: w, schema: "public", name: "deals", table: `"public"."deals"`, load: `"public"."deals_load"`}
	for _, c := range columns {
		x.columns = append(x.columns, warehouseColumn{name: w.quote(c.Name), raw: c.Name, kind: c.Type, column: w.types[c.Type]})
	}
	x.versions = x.versioned(columns)
	return x
}

// versionRow is a row of such a table; "" is null.
func versionRow(id string, seq int, state, synced, updated, archived, a, more string) string {
	values := []string{id, fmt.Sprint(seq), state, synced, "2026-01-01", updated, archived, "", a, more}
	for i, v := range values {
		if values[i] = "'" + v + "'"; v == "" {
			values[i] = "NULL"
		}
	}
	return strings.Join(values, ", ")
}

// The rows that are loaded become versions: each once, in HubSpot's time, with the
// one that is current and none of what was before a record lost its content.
func TestVersionsInAWarehouse(t *testing.T) {
	t.Parallel()
	s := pgserver.Start(t)
	if n := s.SQL("postgres", "SELECT current_setting('server_version_num')::int / 10000 >= 15"); strings.TrimSpace(n) != "t" {
		t.Skip("this PostgreSQL has no MERGE")
	}
	x := versionedTable(standIn())
	v := x.versions
	var b bytes.Buffer
	fmt.Fprintf(&b, "CREATE TABLE %s (%s); CREATE TABLE %s (%s, file text); CREATE TABLE %s (%s);", x.table, x.defined(""), x.load, x.defined(""), v.rows.table, v.rows.defined(""))
	// What was there before there were versions.
	fmt.Fprintf(&b, "INSERT INTO %s VALUES (%s);", x.table, versionRow("1", 5, "live", "2026-01-02", "2026-01-01", "", "first", "x"))
	x.begin(&b, "")
	x.begin(&b, "")
	v.view(&b, v.rows.table)
	load := func(file string, rows ...string) {
		for _, r := range rows {
			fmt.Fprintf(&b, "INSERT INTO %s VALUES (%s, 's3://a-v-b/deals/day=2026-03-01/%s');", x.load, r, file)
		}
	}
	load("0000000001-000-c-1a.parquet",
		versionRow("1", 7, "live", "2026-02-02", "2026-02-01", "", "second", "x"),
		versionRow("1", 8, "live", "2026-02-10", "2026-02-01", "", "an association", "x"),
		versionRow("2", 9, "live", "2026-02-10", "2026-02-09", "", "secret", "x"))
	x.keep(&b, "file")
	fmt.Fprintf(&b, "DELETE FROM %s;", x.load)
	// The same rows again: of a snapshot, which knows more of them, and copied together, which does not.
	load("0000000002-000-s-1a.parquet", versionRow("1", 8, "live", "2026-02-10", "2026-02-01", "", "an association", "known now"))
	load("0000000003-000-v-1a.parquet", versionRow("1", 8, "live", "2026-02-10", "2026-02-01", "", "an association", ""),
		versionRow("1", 6, "live", "2026-01-11", "2026-01-10", "", "between", ""))
	x.keep(&b, "file")
	fmt.Fprintf(&b, "DELETE FROM %s;", x.load)
	load("0000000004-000-v-1a.parquet", versionRow("1", 8, "live", "2026-02-10", "2026-02-01", "", "an association", ""))
	load("0000000005-000-c-1a.parquet", versionRow("1", 12, "archived", "2026-03-02", "2026-02-01", "2026-03-01", "gone for now", "y"))
	x.keep(&b, "file")
	fmt.Fprintf(&b, "DELETE FROM %s;", x.load)
	s.SQL(pgserver.Database, "SET TimeZone = 'UTC';"+b.String())

	row := func(id string) string {
		return s.SQL(pgserver.Database, fmt.Sprintf(`SET TimeZone = 'UTC'; SELECT _hubpipe_seq, a, valid_to_2, valid_from::date, valid_to::date, _hubpipe_current FROM deals__versions WHERE id = '%s' ORDER BY _hubpipe_seq`, id))
	}
	want := "5|first|x|2026-01-01|2026-01-10|f\n6|between||2026-01-10|2026-02-01|f\n7|second|x|2026-02-01|2026-02-10|f\n" +
		"8|an association|known now|2026-02-10|2026-03-01|f\n12|gone for now|y|2026-03-01||t"
	if got := strings.TrimSpace(row("1")); got != want {
		t.Errorf("the versions are\n%s\nwant\n%s", got, want)
	}
	if got, want := strings.TrimSpace(row("2")), "9|secret|x|2026-02-09||t"; got != want {
		t.Errorf("the versions are\n%s\nwant\n%s", got, want)
	}
	asOf := strings.TrimSpace(s.SQL(pgserver.Database, `SELECT a FROM deals__versions WHERE valid_from <= '2026-02-05' AND (valid_to > '2026-02-05' OR valid_to IS NULL) AND _hubpipe_state = 'live'`))
	if asOf != "second" {
		t.Errorf("on the 5th of February it was %q", asOf)
	}
	// What is purged is not shown as soon as that is there, and goes with the next loading.
	s.SQL(pgserver.Database, fmt.Sprintf("INSERT INTO %s VALUES (%s)", v.rows.table, versionRow("2", 14, "purged", "2026-03-05", "", "", "", "")))
	if got, want := strings.TrimSpace(row("2")), "14|||2026-03-05||t"; got != want {
		t.Errorf("the versions are\n%s\nwant\n%s", got, want)
	}
	b.Reset()
	x.keep(&b, "file")
	s.SQL(pgserver.Database, b.String())
	if n := strings.TrimSpace(s.SQL(pgserver.Database, "SELECT count(*) FROM deals__versions_rows WHERE a = 'secret'")); n != "0" {
		t.Errorf("%s rows have what was purged", n)
	}
	if n := strings.TrimSpace(s.SQL(pgserver.Database, "SELECT count(*) FROM deals__versions_rows")); n != "6" {
		t.Errorf("there are %s rows", n)
	}
	// Warehouses without a LEAD get the same from another function.
	got := s.SQL(pgserver.Database, "WITH r (id, seq, v) AS (VALUES (1, 1, 5), (1, 2, 5), (1, 3, 9), (2, 1, 7)) "+
		"SELECT count(*) FILTER (WHERE n IS DISTINCT FROM l) FROM (SELECT "+clickhouse().next("v", "id", "seq")+" AS n, LEAD(v) OVER (PARTITION BY id ORDER BY seq) AS l FROM r) x")
	if n := strings.TrimSpace(got); n != "0" {
		t.Errorf("%s rows have another next version", n)
	}
}
