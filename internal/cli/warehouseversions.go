package cli

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Files have a row for each version of a record and do not say until when it was
// valid: a file is never changed. A warehouse keeps the rows in a table, or reads
// those files alone that have every version, and a view says the rest: the same in
// each, in SQL that all of them know.

// What lies beside a stream's table, behind its name.
const (
	versionsRows   = "__versions_rows"
	versionsLoader = "__versions_loader"
)

// versionsFresh is the column by which ClickHouse has rows that came as changes, or
// in a snapshot, stay before those that were copied together.
const versionsFresh = "_hubpipe_fresh"

// keptMark stands in the name of a file of versions that were copied together. What
// is in it was in other files before, some of it perhaps with fewer columns than a
// snapshot has of the same version since.
const keptMark = "-v-"

// warehouseVersions is what a warehouse has of a stream's versions: a table of rows,
// and the view of it, quoted, with the schema. The rows' columns are called as those
// of the stream's table, but for those that the view has of its own.
type warehouseVersions struct {
	rows warehouseTable
	name string
}

// versioned is where the versions of a table go, which has these columns.
func (x warehouseTable) versioned(columns []client.DestinationColumn) *warehouseVersions {
	q, taken := x.w.quote, map[string]bool{"valid_from": true, "valid_to": true, "_hubpipe_current": true}
	v := &warehouseVersions{rows: x, name: q(x.schema) + "." + q(x.name+"__versions")}
	v.rows.table, v.rows.columns = q(x.schema)+"."+q(x.name+versionsRows), nil
	for i, c := range columns {
		own := x.columns[i]
		own.name = q(unique(taken, plain(c.Name)))
		v.rows.columns = append(v.rows.columns, own)
	}
	return v
}

// view makes the view of the versions from their rows, each once. When one began is
// HubSpot's time where that has moved since the version before, else that of the
// commit. What was there before a record lost its content is not shown.
func (v *warehouseVersions) view(b *bytes.Buffer, from string) {
	q, all := v.rows.w.quote, v.rows.names("")
	id, seq, state := q("id"), q("_hubpipe_seq"), q("_hubpipe_state")
	updated, archived, synced := q("_hubpipe_updated_at"), q("_hubpipe_archived_at"), q("_hubpipe_synced_at")
	since, before, begins, ended := q("_hubpipe_since"), q("_hubpipe_before"), q("_hubpipe_begins"), q("_hubpipe_ended")
	validFrom, validTo, current := q("valid_from"), q("valid_to"), q("_hubpipe_current")
	over := "OVER (PARTITION BY " + id + " ORDER BY " + seq
	next := "LEAD(" + validFrom + ") " + over + ")"
	if f := v.rows.w.next; f != nil {
		next = f(validFrom, id, seq)
	}
	fmt.Fprintf(b, "-- once: every version; %s says which is the newest of its record. How all of it was on a day:\n"+
		"-- SELECT * FROM %s WHERE %s <= '2026-03-31' AND (%s > '2026-03-31' OR %[4]s IS NULL) AND %[5]s = 'live';\n", current, v.name, validFrom, validTo, state)
	fmt.Fprintf(b, "CREATE OR REPLACE VIEW %s AS WITH\n", v.name)
	fmt.Fprintf(b, "  v1 AS (SELECT %s,\n    CASE WHEN %s = 'live' THEN %s WHEN %[2]s = 'archived' THEN COALESCE(%[4]s, %[3]s) END AS %[5]s,\n"+
		"    MAX(CASE WHEN %[2]s IN ('purged', 'merged') THEN %[6]s END) OVER (PARTITION BY %[7]s) AS %[8]s\n  FROM %[9]s),\n",
		all, state, updated, archived, since, seq, id, ended, from)
	fmt.Fprintf(b, "  v2 AS (SELECT %s, %s,\n    MAX(%[2]s) %[3]s ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS %[4]s\n  FROM v1 WHERE %[5]s IS NULL OR %[6]s >= %[5]s),\n",
		all, since, over, before, ended, seq)
	fmt.Fprintf(b, "  v3 AS (SELECT %s,\n    CASE WHEN %s IS NOT NULL AND (%s IS NULL OR %[2]s > %[3]s) THEN %[2]s ELSE %[4]s END AS %[5]s\n  FROM v2),\n",
		all, since, before, synced, begins)
	fmt.Fprintf(b, "  v4 AS (SELECT %s,\n    MAX(%s) %s ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS %s\n  FROM v3)\n", all, begins, over, validFrom)
	fmt.Fprintf(b, "SELECT %s, %s,\n  %s AS %s,\n  ROW_NUMBER() %s DESC) = 1 AS %s\nFROM v4;\n", all, validFrom, next, validTo, over, current)
}

// begin has what was loaded before there were versions be the first of each record.
func (x warehouseTable) begin(b *bytes.Buffer, byName string) {
	q, rows := x.w.quote, x.versions.rows
	into := byName
	if byName == "" {
		into = "(" + rows.names("") + ") "
	}
	fmt.Fprintf(b, "INSERT INTO %s %sSELECT %s\n  FROM %s c LEFT JOIN %[1]s v ON v.%[5]s = c.%[5]s AND v.%[6]s = c.%[6]s WHERE v.%[5]s IS NULL;\n",
		rows.table, into, x.renamed("c."), x.table, q("id"), q("_hubpipe_seq"))
}

// keep takes the versions over from what was loaded last, and those away whose
// record has lost its content since.
func (x warehouseTable) keep(b *bytes.Buffer, file string) {
	if x.versions == nil {
		return
	}
	q, rows := x.w.quote, x.versions.rows
	id, seq, like := q("id"), q("_hubpipe_seq"), sqlText("%/day=%"+keptMark+"%")
	fmt.Fprintf(b, "MERGE "+x.w.evolves+"INTO %s t USING (\n  SELECT %s, n.%s FROM (\n    SELECT f.*, ROW_NUMBER() OVER (PARTITION BY f.%s, f.%s ORDER BY CASE WHEN f.%[3]s LIKE %[6]s THEN 1 ELSE 0 END, f.%[3]s DESC) AS newest FROM %[7]s f\n  ) n WHERE n.newest = 1\n) s ON t.%[4]s = s.%[4]s AND t.%[5]s = s.%[5]s\n",
		rows.table, x.renamed("n."), file, id, seq, like, x.load)
	fmt.Fprintf(b, "WHEN MATCHED AND s.%s NOT LIKE %s THEN UPDATE SET\n  %s\n", file, like, rows.list(",\n  ", func(c warehouseColumn) string { return c.name + " = s." + c.name }))
	fmt.Fprintf(b, "WHEN NOT MATCHED THEN INSERT (%s)\n  VALUES (%s);\n", rows.names(""), rows.names("s."))
	fmt.Fprintf(b, "MERGE INTO %[1]s t USING (SELECT %[2]s, MAX(%[3]s) AS %[3]s FROM %[1]s WHERE %[4]s IN ('purged', 'merged') GROUP BY %[2]s) e\n  ON t.%[2]s = e.%[2]s AND t.%[3]s < e.%[3]s WHEN MATCHED THEN DELETE;\n",
		rows.table, id, seq, q("_hubpipe_state"))
}

// renamed are a table's columns under the names that its versions have.
func (x warehouseTable) renamed(prefix string) string {
	out := make([]string, len(x.columns))
	for i, c := range x.columns {
		if out[i] = prefix + c.name; c.name != x.versions.rows.columns[i].name {
			out[i] += " AS " + x.versions.rows.columns[i].name
		}
	}
	return strings.Join(out, ", ")
}

// newestOf are the rows of BigQuery's files, each version once.
func (x warehouseTable) newestOf(rows warehouseTable) string {
	return fmt.Sprintf("(\n    SELECT %s FROM (\n      SELECT n.*, ROW_NUMBER() OVER (PARTITION BY n.%s, n.%s ORDER BY CASE WHEN n._hubpipe_file LIKE %s THEN 1 ELSE 0 END, n._hubpipe_file DESC) AS _hubpipe_nth FROM (\n        SELECT %s, _FILE_NAME AS _hubpipe_file FROM %s\n      ) n\n    ) m WHERE _hubpipe_nth = 1\n  ) r",
		rows.names(""), backticks("id"), backticks("_hubpipe_seq"), sqlText("%/day=%"+keptMark+"%"), rows.asRead(), rows.table)
}

// forget takes away what is not shown any more.
func (v *warehouseVersions) forget(b *bytes.Buffer) {
	q := v.rows.w.quote
	fmt.Fprintf(b, "DELETE FROM %[1]s WHERE (%[2]s, %[3]s) IN (\n  SELECT v.%[2]s, v.%[3]s FROM %[1]s v JOIN (\n    SELECT %[2]s, MAX(%[3]s) AS ended FROM %[1]s WHERE %[4]s IN ('purged', 'merged') GROUP BY %[2]s\n  ) e ON v.%[2]s = e.%[2]s WHERE v.%[3]s < e.ended);\nOPTIMIZE TABLE %[1]s FINAL;\n",
		v.rows.table, q("id"), q("_hubpipe_seq"), q("_hubpipe_state"))
}
