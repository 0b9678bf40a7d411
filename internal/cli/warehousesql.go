package cli

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// warehouseSQL writes what loads the files of a destination into a warehouse.
func (c *command) warehouseSQL() *cobra.Command {
	var name, location, schema string
	cmd := c.asking("sql WAREHOUSE", "Write the SQL that loads Parquet files into snowflake, bigquery, databricks or clickhouse", func(cmd *cobra.Command, d *client.Client, args []string) error {
		w, ok := warehouses()[args[0]]
		if !ok {
			return usageError("%s is none of snowflake, bigquery, databricks and clickhouse", args[0])
		}
		if name == "" {
			var err error
			if name, err = onlyDestination(cmd, d); err != nil {
				return err
			}
		}
		t, err := d.DestinationTables(cmd.Context(), name)
		if err != nil {
			return err
		}
		if location != "" {
			t.Location = location
		}
		if t.Location == "" {
			return usageError("where are the files? --location s3://bucket/folder, below which each stream has a folder")
		}
		_, err = c.env.Stdout.Write(w.script(t, schema))
		return err
	})
	cmd.Long = `Write the SQL that makes a table for each stream in a warehouse, loads the Parquet
files of a destination into it, and merges them: each record once, as it is now. It
goes to stdout and is run by you: the first part once, the second again and again.

Of a record the row with the highest _hubpipe_seq holds; tombstones are rows, whose
_hubpipe_state is not live. A stream whose versions the files keep has a view of them
besides: which is the current one, and which was valid on a day. Names need no quotes
there: what is no letter or digit becomes _. Write it again when HubSpot's properties
have changed.`
	f := cmd.Flags()
	f.StringVar(&name, "destination", "", "whose tables (default: the only one)")
	f.StringVar(&location, "location", "", "the URL of the folder that has one for each stream, as the warehouse reaches it")
	f.StringVar(&schema, "schema", "hubspot", "the schema or dataset to make the tables in")
	return cmd
}

// warehouse is how one of them is spoken to.
type warehouse struct {
	head  string // what is done once, before the tables
	quote func(string) string
	types map[string]string
	// evolves is what makes MERGE add columns, where nothing else does.
	evolves string
	// next is what a column has in the next version, in SQL; nil for LEAD.
	next func(column, partition, order string) string
	each func(b *bytes.Buffer, x warehouseTable)
}

// warehouseColumn is a column by its names there and in the files, quoted.
type warehouseColumn struct {
	name, raw, kind, column string // raw is the name in the files as it is; column the type
}

// warehouseTable is a stream's table there.
type warehouseTable struct {
	w            *warehouse
	schema, name string
	table, load  string // quoted, with the schema
	// stream is the name of the folder of its files, folder the URL.
	stream, folder string
	columns        []warehouseColumn
	versions       *warehouseVersions // nil where there are none
}

func warehouses() map[string]*warehouse {
	return map[string]*warehouse{"snowflake": snowflake(), "bigquery": bigquery(), "databricks": databricks(), "clickhouse": clickhouse()}
}

// sqlText is text as SQL takes it.
func sqlText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(s) + "'"
}

// backslashed is text for those who know no doubled quotes.
func backslashed(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

func backticks(name string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(name) + "`"
}

// doubledBackticks is a name for Databricks, where a backslash is a letter of it.
func doubledBackticks(name string) string {
	return "`" + strings.ReplaceAll(name, "`", "``") + "`"
}

// script is all of it.
func (w *warehouse) script(t client.DestinationTables, schema string) []byte {
	b := &bytes.Buffer{}
	location := strings.TrimRight(t.Location, "/")
	b.WriteString("-- Made by `hubpipe destinations sql`. What begins with \"once\" is run once.\n")
	b.WriteString(strings.NewReplacer("$schema", w.quote(schema), "$location", strings.NewReplacer(`\`, `\\`, "'", "''").Replace(location)).Replace(w.head))
	used := map[string]bool{}
	for _, x := range t.Tables {
		name := unique(used, plain(x.Table))
		for _, beside := range []string{"_load", "_loader", "_live", "__versions", versionsRows, versionsLoader} {
			used[name+beside] = true
		}
		tab := warehouseTable{w: w, schema: schema, name: name, table: w.quote(schema) + "." + w.quote(name), load: w.quote(schema) + "." + w.quote(name+"_load"),
			stream: x.Stream, folder: location + "/" + x.Stream}
		taken := map[string]bool{}
		columns := x.Columns
		for _, more := range []struct{ is, name string }{{x.Associations, "_hubpipe_associations"}, {x.History, "_hubpipe_history"}} {
			if more.is != "" {
				columns = append(slices.Clip(columns), client.DestinationColumn{Name: more.name, Type: "json"})
			}
		}
		for _, c := range columns {
			tab.columns = append(tab.columns, warehouseColumn{name: w.quote(unique(taken, plain(c.Name))), raw: c.Name, kind: c.Type, column: w.types[c.Type]})
		}
		if x.Versions != "" {
			tab.versions = tab.versioned(columns)
		}
		fmt.Fprintf(b, "\n-- %s\n", strings.Join(strings.Fields(plain(x.Stream)+" (HubSpot "+plain(x.Object)+")"), " "))
		w.each(b, tab)
	}
	return b.Bytes()
}

// defined are the columns with their types, a line each.
func (x warehouseTable) defined(key string) string {
	lines := make([]string, len(x.columns))
	for i, c := range x.columns {
		lines[i] = "  " + c.name + " " + c.column
		if i == 0 {
			lines[i] += key
		}
	}
	return strings.Join(lines, ",\n")
}

// added are the columns that a table of before may lack, each behind a word.
func (x warehouseTable) added(word string) string {
	var out []string
	for _, c := range x.columns[own:] {
		out = append(out, "\n  "+word+c.name+" "+c.column)
	}
	return strings.Join(out, ",")
}

// own is how many columns each table begins with.
const own = 8

// each makes a list of the columns.
func (x warehouseTable) list(sep string, f func(c warehouseColumn) string) string {
	out := make([]string, len(x.columns))
	for i, c := range x.columns {
		out[i] = f(c)
	}
	return strings.Join(out, sep)
}

func (x warehouseTable) names(prefix string) string {
	return x.list(", ", func(c warehouseColumn) string { return prefix + c.name })
}

// merge takes rows over. Those of the same place are taken, too: a rereading
// brings columns that were not there before.
func (x warehouseTable) merge(b *bytes.Buffer, from, file string) {
	q := x.w.quote
	fmt.Fprintf(b, "MERGE "+x.w.evolves+"INTO %s t USING (\n  SELECT * FROM (\n    SELECT f.*, ROW_NUMBER() OVER (PARTITION BY f.%[2]s ORDER BY f.%[3]s DESC, f.%[4]s DESC) AS newest FROM (\n%[5]s\n    ) f\n  ) n WHERE n.newest = 1\n) s ON t.%[2]s = s.%[2]s\n",
		x.table, q("id"), q("_hubpipe_seq"), file, from)
	fmt.Fprintf(b, "WHEN MATCHED AND s.%[1]s >= t.%[1]s THEN UPDATE SET\n  %s\n", q("_hubpipe_seq"),
		x.list(",\n  ", func(c warehouseColumn) string { return c.name + " = s." + c.name }))
	fmt.Fprintf(b, "WHEN NOT MATCHED THEN INSERT (%s)\n  VALUES (%s);\n", x.names(""), x.names("s."))
}

func (x warehouseTable) live(b *bytes.Buffer, from string) {
	q := x.w.quote
	fmt.Fprintf(b, "CREATE OR REPLACE VIEW %s.%s AS SELECT * FROM %s WHERE %s = 'live';\n", q(x.schema), q(x.name+"_live"), from, q("_hubpipe_state"))
}

func snowflake() *warehouse {
	// Names that are quoted and in capitals are those that are found without quotes.
	quote := func(name string) string { return `"` + strings.ToUpper(strings.ReplaceAll(name, `"`, `""`)) + `"` }
	return &warehouse{quote: quote,
		types: map[string]string{"string": "VARCHAR", "double": "DOUBLE", "int64": "NUMBER(38, 0)", "boolean": "BOOLEAN", "date": "DATE", "timestamp": "TIMESTAMP_LTZ", "list<string>": "ARRAY", "json": "VARIANT"},
		head: `-- once: the stage needs a storage integration, or credentials, that may read the folder
CREATE SCHEMA IF NOT EXISTS $schema;
CREATE FILE FORMAT IF NOT EXISTS $schema."HUBPIPE_PARQUET" TYPE = PARQUET USE_LOGICAL_TYPE = TRUE USE_VECTORIZED_SCANNER = TRUE;
CREATE STAGE IF NOT EXISTS $schema."HUBPIPE" URL = '$location/' STORAGE_INTEGRATION = your_integration FILE_FORMAT = (FORMAT_NAME = $schema."HUBPIPE_PARQUET");
ALTER SESSION SET TIMEZONE = 'UTC';
`,
		each: func(b *bytes.Buffer, x warehouseTable) {
			q := x.w.quote
			fmt.Fprintf(b, "-- once\nCREATE TABLE IF NOT EXISTS %s (\n%s\n);\nCREATE TABLE IF NOT EXISTS %s (\n%s,\n  %s VARCHAR\n);\n", x.table, x.defined(" PRIMARY KEY"), x.load, x.defined(""), q("_hubpipe_file"))
			for _, table := range []string{x.table, x.load} {
				if len(x.columns) > own {
					fmt.Fprintf(b, "ALTER TABLE %s ADD COLUMN%s;\n", table, x.added("IF NOT EXISTS "))
				}
			}
			x.live(b, x.table)
			if x.versions != nil {
				fmt.Fprintf(b, "CREATE TABLE IF NOT EXISTS %s (\n%s\n);\n", x.versions.rows.table, x.versions.rows.defined(""))
				if len(x.columns) > own {
					fmt.Fprintf(b, "ALTER TABLE %s ADD COLUMN%s;\n", x.versions.rows.table, x.versions.rows.added("IF NOT EXISTS "))
				}
				x.begin(b, "")
				x.versions.view(b, x.versions.rows.table)
			}
			fmt.Fprintf(b, "-- again and again: a file is loaded once\nCOPY INTO %s (%s, %s) FROM (\n  SELECT %s,\n    METADATA$FILENAME\n  FROM %s\n) PATTERN = '.*/day=.*[.]parquet' ON_ERROR = ABORT_STATEMENT;\n",
				x.load, x.names(""), q("_hubpipe_file"), x.list(",\n    ", func(c warehouseColumn) string {
					from := `$1:"` + strings.ReplaceAll(c.raw, `"`, `""`) + `"`
					if c.kind == "json" {
						return "TRY_PARSE_JSON(" + from + "::VARCHAR)"
					}
					return from + "::" + c.column
				}), sqlText("@"+strings.Join([]string{q(x.schema), q("hubpipe")}, ".")+"/"+x.stream+"/"))
			x.merge(b, "      SELECT * FROM "+x.load, q("_hubpipe_file"))
			x.keep(b, q("_hubpipe_file"))
			fmt.Fprintf(b, "DELETE FROM %s; -- not TRUNCATE, which forgets what was loaded\n", x.load)
		}}
}

func bigquery() *warehouse {
	return &warehouse{quote: backticks,
		types: map[string]string{"string": "STRING", "double": "FLOAT64", "int64": "INT64", "boolean": "BOOL", "date": "DATE", "timestamp": "TIMESTAMP", "list<string>": "ARRAY<STRING>", "json": "JSON"},
		head: `-- once: the files are read where they are (gs://); those of S3 need a connection (BigQuery Omni)
CREATE SCHEMA IF NOT EXISTS $schema;
`,
		each: func(b *bytes.Buffer, x warehouseTable) {
			files := x.list(",\n", func(c warehouseColumn) string {
				kind := c.column
				if c.kind == "json" {
					kind = "STRING"
				}
				return "  " + backticks(c.raw) + " " + kind
			})
			fmt.Fprintf(b, "-- once\nCREATE TABLE IF NOT EXISTS %s (\n%s\n) CLUSTER BY %s;\n", x.table, x.defined(" NOT NULL"), backticks("id"))
			if len(x.columns) > own {
				fmt.Fprintf(b, "ALTER TABLE %s%s;\n", x.table, x.added("ADD COLUMN IF NOT EXISTS "))
			}
			x.filesOf(b, x.load, files, "latest.txt")
			x.live(b, x.table)
			if x.versions != nil {
				x.filesOf(b, x.versions.rows.table, files, "versions.txt")
				x.versions.view(b, x.newestOf(x.versions.rows))
			}
			b.WriteString("-- again and again\n")
			x.merge(b, "      SELECT "+x.asRead()+", _FILE_NAME AS file FROM "+x.load, "file")
		}}
}

// filesOf makes a table of files that BigQuery reads where they are, those of a list.
func (x warehouseTable) filesOf(b *bytes.Buffer, table, columns, list string) {
	fmt.Fprintf(b, "CREATE OR REPLACE EXTERNAL TABLE %s (\n%s\n) OPTIONS (\n  format = 'PARQUET', enable_list_inference = TRUE,\n  file_set_spec_type = 'NEW_LINE_DELIMITED_MANIFEST', uris = [%s]\n);\n",
		table, columns, backslashed(x.folder+"/_hubpipe/"+list))
}

// asRead are the columns of such a table under their names.
func (x warehouseTable) asRead() string {
	return x.list(", ", func(c warehouseColumn) string {
		from := backticks(c.raw)
		if c.kind == "json" {
			from = "SAFE.PARSE_JSON(" + from + ")"
		}
		if from == c.name {
			return from
		}
		return from + " AS " + c.name
	})
}

func databricks() *warehouse {
	return &warehouse{quote: doubledBackticks, evolves: "WITH SCHEMA EVOLUTION ",
		types: map[string]string{"string": "STRING", "double": "DOUBLE", "int64": "BIGINT", "boolean": "BOOLEAN", "date": "DATE", "timestamp": "TIMESTAMP", "list<string>": "ARRAY<STRING>", "json": "STRING"},
		head: `-- once: an external location, or an instance profile, has to let it read the folder
CREATE SCHEMA IF NOT EXISTS $schema;
`,
		each: func(b *bytes.Buffer, x warehouseTable) {
			q := x.w.quote
			fmt.Fprintf(b, "-- once\nCREATE TABLE IF NOT EXISTS %s (\n%s\n);\nCREATE TABLE IF NOT EXISTS %s (\n%s,\n  %s STRING\n);\n", x.table, x.defined(" NOT NULL"), x.load, x.defined(""), q("_hubpipe_file"))
			x.live(b, x.table)
			if x.versions != nil {
				fmt.Fprintf(b, "CREATE TABLE IF NOT EXISTS %s (\n%s\n);\n", x.versions.rows.table, x.versions.rows.defined(""))
				x.begin(b, "BY NAME ")
				x.versions.view(b, x.versions.rows.table)
			}
			fmt.Fprintf(b, "-- again and again: a file is loaded once\nCOPY INTO %s FROM (\n  SELECT %s,\n    _metadata.file_path AS %s\n  FROM %s\n) FILEFORMAT = PARQUET PATTERN = 'day=*/*.parquet' FORMAT_OPTIONS ('mergeSchema' = 'true') COPY_OPTIONS ('mergeSchema' = 'true');\n",
				x.load, x.list(",\n    ", func(c warehouseColumn) string { return "CAST(" + q(c.raw) + " AS " + c.column + ") AS " + c.name }), q("_hubpipe_file"), backslashed(x.folder))
			x.merge(b, "      SELECT * FROM "+x.load, q("_hubpipe_file"))
			x.keep(b, q("_hubpipe_file"))
			fmt.Fprintf(b, "DELETE FROM %s;\n", x.load)
		}}
}

func clickhouse() *warehouse {
	return &warehouse{quote: backticks,
		types: map[string]string{"string": "Nullable(String)", "double": "Nullable(Float64)", "int64": "UInt64", "boolean": "Nullable(Bool)", "date": "Nullable(Date32)",
			"timestamp": "Nullable(DateTime64(3, 'UTC'))", "list<string>": "Array(String)", "json": "Nullable(String)"},
		// LEAD is younger than most servers.
		next: func(column, partition, order string) string {
			return fmt.Sprintf("MIN(%s) OVER (PARTITION BY %s ORDER BY %s ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)", column, partition, order)
		},
		head: `-- once: the server has to have credentials for the bucket (its configuration, or a named collection)
CREATE DATABASE IF NOT EXISTS $schema;
`,
		each: func(b *bytes.Buffer, x warehouseTable) {
			x.columns[0].column = "String" // the key is never null
			fmt.Fprintf(b, "-- once: of an id the row with the highest place stays, of two of one place the one that came last\nCREATE TABLE IF NOT EXISTS %s (\n%s\n) ENGINE = ReplacingMergeTree(%s) ORDER BY %s;\n",
				x.table, x.defined(""), backticks("_hubpipe_seq"), backticks("id"))
			if len(x.columns) > own {
				fmt.Fprintf(b, "ALTER TABLE %s%s;\n", x.table, x.added("ADD COLUMN IF NOT EXISTS "))
			}
			x.live(b, x.table+" FINAL")
			v := x.versions
			if v != nil {
				v.rows.columns[0].column = "String"
				fmt.Fprintf(b, "CREATE TABLE IF NOT EXISTS %s (\n%s,\n  %s UInt8\n) ENGINE = ReplacingMergeTree(%[3]s) ORDER BY (%[4]s, %[5]s);\n",
					v.rows.table, v.rows.defined(""), backticks(versionsFresh), backticks("id"), backticks("_hubpipe_seq"))
				if len(x.columns) > own {
					fmt.Fprintf(b, "ALTER TABLE %s%s;\n", v.rows.table, v.rows.added("ADD COLUMN IF NOT EXISTS "))
				}
				v.view(b, v.rows.table+" FINAL")
			}
			structure := x.list(", ", func(c warehouseColumn) string { return backticks(c.raw) + " " + c.column })
			files, fresh := backslashed(x.folder+"/day=*/*.parquet"), "_file NOT LIKE "+sqlText("%"+keptMark+"%")
			from := fmt.Sprintf("FROM s3(%s, 'Parquet', %s)\nSETTINGS input_format_parquet_allow_missing_columns = 1;\n", files, backslashed(structure))
			raws := x.list(", ", func(c warehouseColumn) string { return backticks(c.raw) })
			fmt.Fprintf(b, "-- by hand, as often as you like: loads all that there is\nINSERT INTO %s (%s)\nSELECT %s\n%s", x.table, x.names(""), raws, from)
			if v != nil {
				fmt.Fprintf(b, "INSERT INTO %s (%s, %s)\nSELECT %s, %s\n%s", v.rows.table, v.rows.names(""), backticks(versionsFresh), raws, fresh, from)
			}
			both := "both"
			if v != nil {
				both = "all three"
			}
			fmt.Fprintf(b, "-- or once: loads each file by itself as it comes; where there are other columns now, drop %s before\nCREATE TABLE IF NOT EXISTS %s (%s)\nENGINE = S3Queue(%s, 'Parquet') SETTINGS mode = 'unordered';\n", both, x.load, structure, files)
			loader := func(name, to string, x warehouseTable, more string) {
				fmt.Fprintf(b, "CREATE MATERIALIZED VIEW IF NOT EXISTS %s.%s TO %s AS\nSELECT %s%s FROM %s;\n", backticks(x.schema), backticks(name), to,
					x.list(", ", func(c warehouseColumn) string {
						if backticks(c.raw) == c.name {
							return c.name
						}
						return backticks(c.raw) + " AS " + c.name
					}), more, x.load)
			}
			loader(x.name+"_loader", x.table, x, "")
			if v != nil {
				loader(x.name+versionsLoader, v.rows.table, v.rows, ", "+fresh+" AS "+backticks(versionsFresh))
			}
			fmt.Fprintf(b, "-- now and then: takes superseded rows away\nOPTIMIZE TABLE %s FINAL;\n", x.table)
			if v != nil {
				v.forget(b)
			}
		}}
}
