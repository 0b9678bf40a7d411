package postgres_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/enginetest"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// settled waits until everything is written, what is read again included.
func (r *rig) settled() destination.Status {
	r.t.Helper()
	s := r.Until(func(s destination.Status) bool { return s.State == destination.Current })
	r.checks()
	return s
}

// checks holds the tables against the store. A type that changed while a batch was
// read is seen the next time that definitions are looked at, so that tables which
// stand where the store does may come to be as it is a moment later.
func (r *rig) checks() {
	r.t.Helper()
	for end := time.Now().Add(enginetest.Patience); ; r.Moment() {
		list, err := r.M.Check(r.t.Context(), "warehouse")
		if err != nil {
			r.t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(c destination.Checked) bool { return !c.Equal() })
		if i < 0 {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%s is not as the store is: %+v", list[i].Stream, list[i])
		}
	}
}

// poke makes the destination look at the definitions.
func (r *rig) poke() {
	r.t.Helper()
	r.Put("pokes", record("1", "{}"))
}

func TestSchemaDrift(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	t.Run("a new property is a column, filled", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pg, postgres.Options{Schema: "drift_new"})
		r.Define("contacts", "a string")
		r.Put("contacts", record("1", `{"a":"x"}`), record("2", `{"a":"y","late":"was here before its column"}`))
		r.Start()
		r.settled()
		r.Put("contacts", record("3", `{"a":"z","fresh":"7"}`)) // before its definition
		r.settled()
		r.Define("contacts", "a string", "number_of number", "late string")
		r.Put("contacts", record("1", `{"a":"x","number_of":"5"}`))
		r.Until(func(s destination.Status) bool {
			return r.sql("SELECT count(*) FROM hubpipe_properties WHERE property = 'number_of'") == "1"
		})
		r.settled()
		r.is("1|x|5||\n2|y||was here before its column|\n3|z|||7", "SELECT id, a, number_of, late, fresh FROM contacts ORDER BY id")
		r.is("t", "SELECT count(*) > 0 FROM hubpipe_schema_changes WHERE property = 'number_of' AND change = 'added'")
	})
	t.Run("a type becomes wider and keeps what it has", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pg, postgres.Options{Schema: "drift_wide"})
		r.Define("contacts", "n number", "d date", "m enumeration checkbox", "b bool", "s string")
		r.Put("contacts", record("1", `{"n":"1.50","d":"2024-01-31","m":"a;b","b":"true","s":"7"}`))
		r.Start()
		r.settled()
		r.Define("contacts", "n string", "d datetime", "m enumeration select", "b enumeration select", "s number")
		r.poke()
		r.Until(func(destination.Status) bool {
			return r.sql("SELECT count(*) FROM hubpipe_schema_changes WHERE change = 'widened'") == "4"
		})
		r.settled()
		r.is("1.50|2024-01-31 00:00:00+00|a;b|true|7", "SET timezone TO 'UTC'; SELECT n, d, m, b, s FROM contacts")
		r.is("text,timestamp with time zone,text,text,text", "SELECT string_agg(data_type, ',' ORDER BY array_position(ARRAY['n','d','m','b','s'], column_name::text)) FROM information_schema.columns WHERE table_schema = 'drift_wide' AND table_name = 'contacts' AND length(column_name) = 1")
	})
	t.Run("a view keeps a type, and nothing fails", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pg, postgres.Options{Schema: "drift_view"})
		r.Define("contacts", "n number")
		r.Put("contacts", record("1", `{"n":"1"}`))
		r.Start()
		r.settled()
		r.sql("CREATE VIEW v AS SELECT n FROM contacts")
		r.Define("contacts", "n string")
		r.Put("contacts", record("2", `{"n":"two"}`), record("3", `{"n":"3"}`))
		r.Until(func(destination.Status) bool { return r.sql("SELECT count(*) FROM contacts") == "3" })
		r.settled()
		r.is("1,,3", "SELECT string_agg(coalesce(n::text, ''), ',' ORDER BY id) FROM contacts")
		r.is("1|t", "SELECT count(*), bool_and(detail LIKE '%%numeric%%') FROM hubpipe_schema_changes WHERE change = 'kept'")
		// Who checks is told, whether it is paused or not, and it is compared.
		for _, paused := range []bool{false, true} {
			if paused {
				if err := r.M.Pause("warehouse"); err != nil {
					t.Fatal(err)
				}
			}
			list, err := r.M.Check(t.Context(), "warehouse")
			if err != nil || !list[0].Equal() || len(list[0].Remarks) != 1 {
				t.Fatalf("paused %t: %+v %v", paused, list, err)
			}
			if said := list[0].Remarks[0]; !strings.Contains(said, "column n: it stays numeric") || !strings.Contains(said, "view drift_view.v depends") || !strings.Contains(said, "drop that") {
				t.Errorf("paused %t: %s", paused, said)
			}
		}
		r.sql("DELETE FROM contacts WHERE id = '3'")
		if list, err := r.M.Check(t.Context(), "warehouse"); err != nil || list[0].Note != "" || list[0].Equal() {
			t.Errorf("of a table that lacks a row: %+v %v", list, err)
		}
		// When nothing keeps it any more it has to be changed.
		r.sql("DROP VIEW v")
		if list, err := r.M.Check(t.Context(), "warehouse"); err != nil || !strings.Contains(list[0].Note, "changed first") {
			t.Errorf("without the view: %+v %v", list, err)
		}
		if err := r.M.Resume("warehouse"); err != nil {
			t.Fatal(err)
		}
		r.Until(func(destination.Status) bool {
			return r.sql("SELECT string_agg(coalesce(n::text, ''), ',' ORDER BY id) FROM contacts") == "1,two,3"
		})
		r.settled()
	})
	t.Run("a view of ours keeps nothing", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pg, postgres.Options{Schema: "drift_own_view", Views: true})
		r.Define("contacts", "n number")
		r.Put("contacts", record("1", `{"n":"1"}`))
		r.Start()
		r.settled()
		r.is("1", "SELECT n FROM contacts_live")
		if err := r.M.Pause("warehouse"); err != nil {
			t.Fatal(err)
		}
		r.Define("contacts", "n string")
		if list, err := r.M.Check(t.Context(), "warehouse"); err != nil || !strings.Contains(list[0].Note, "changed first") || len(list[0].Remarks) > 0 {
			t.Errorf("%+v %v", list, err)
		}
	})
	t.Run("blocked until somebody has looked", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pg, postgres.Options{Schema: "drift_block", SchemaChanges: postgres.Block})
		r.Define("contacts", "a string")
		r.Put("contacts", record("1", `{"a":"x"}`))
		r.Start()
		r.settled()
		r.Define("contacts", "a string", "b string")
		r.Put("contacts", record("2", `{"a":"y","b":"z"}`))
		s := r.Until(func(s destination.Status) bool { return s.State == destination.Blocked })
		if !strings.Contains(s.Error.Detail, "b (new)") || s.Error.Hint == "" {
			t.Errorf("it says %+v", s.Error)
		}
		r.is("1", "SELECT count(*) FROM contacts")
		r.Stop()
		r.o.SchemaChanges = postgres.Apply
		r.Start()
		r.settled()
		r.is("y|z", "SELECT a, b FROM contacts WHERE id = '2'")
	})
	t.Run("ignored and listed", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pg, postgres.Options{Schema: "drift_ignore", SchemaChanges: postgres.Ignore, Raw: true})
		r.Define("contacts", "a number")
		r.Put("contacts", record("1", `{"a":"1"}`))
		r.Start()
		r.settled()
		r.Define("contacts", "a string", "b string")
		r.Put("contacts", record("2", `{"a":"y","b":"z"}`))
		r.Until(func(destination.Status) bool { return r.sql("SELECT count(*) FROM contacts") == "2" })
		r.settled()
		r.is("|z|y", `SELECT a, _hubpipe_properties->>'b', _hubpipe_properties->>'a' FROM contacts WHERE id = '2'`)
		r.is("a|ignored\nb|ignored", "SELECT property, change FROM hubpipe_schema_changes ORDER BY 1")
		r.Stop()
		r.o.SchemaChanges = postgres.Apply
		r.Start()
		r.Until(func(destination.Status) bool { return r.sql("SELECT count(*) FROM hubpipe_schema_changes") == "4" })
		r.settled()
		r.is("1|\ny|z", "SELECT a, b FROM contacts ORDER BY id")
	})
	for _, policy := range []string{postgres.Block, postgres.Ignore} {
		t.Run("before the first row nothing has changed: "+policy, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, pg, postgres.Options{Schema: "drift_first_" + policy, SchemaChanges: policy})
			r.Streams = append(r.Streams, destination.Stream{Name: "owners", Object: "owners"})
			r.Start()
			// The destination is there before HubSpot was asked for anything.
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && r.sql("SELECT count(*) FROM hubpipe_streams") == "2"
			})
			r.Define("contacts", "a string")
			r.Put("contacts", record("1", `{"a":"x","hidden":"y"}`))
			r.Put("owners", record("1", `{"email":"e","active":true}`))
			r.Until(func(s destination.Status) bool { return s.State == destination.Current && s.Rows == 2 })
			r.settled()
			r.is("x|y", "SELECT a, hidden FROM contacts")
			r.is("e|t", "SELECT email, active FROM owners")
			// From then on it is a change.
			r.Put("owners", record("2", `{"email":"e","since":"today"}`))
			if policy == postgres.Block {
				r.Until(func(s destination.Status) bool { return s.State == destination.Blocked })
				return
			}
			r.settled()
			r.is("2|0", "SELECT count(*), (SELECT count(*) FROM information_schema.columns WHERE table_schema = '%s' AND column_name = 'since') FROM owners", r.o.Schema)
		})
	}
	t.Run("a person's column that may not be null", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pg, postgres.Options{Schema: "drift_own_column"})
		r.Streams[0].Versions = 1
		r.Define("contacts", "a string")
		r.Put("contacts", record("1", `{"a":"x"}`))
		r.Start()
		r.settled()
		r.sql("ALTER TABLE contacts ADD COLUMN note text NOT NULL DEFAULT 'none', ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY")
		r.Put("contacts", record("1", `{"a":"y"}`), record("2", `{"a":"z"}`))
		r.Until(func(s destination.Status) bool {
			return r.sql("SELECT string_agg(a, '' ORDER BY id) FROM contacts") == "yz"
		})
		r.Stop()
		r.Start()
		r.Put("contacts", record("1", `{"a":"v"}`), record("3", `{"a":"w"}`))
		r.settled()
		r.is("1|v|none|t\n2|z|none|t\n3|w|none|t", "SELECT id, a, note, n > 0 FROM contacts ORDER BY id")
	})
	t.Run("more properties than columns", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pg, postgres.Options{Schema: "drift_many"})
		var names []string
		var props []string
		for i := range 1700 {
			names = append(names, fmt.Sprintf("p%04d string", i))
			props = append(props, fmt.Sprintf(`"p%04d":"%d"`, i, i))
		}
		r.Define("contacts", names...)
		r.Put("contacts", record("1", "{"+strings.Join(props, ",")+"}"), record("2", `{"p0001":"a","p1699":"b"}`))
		r.Start()
		r.Until(func(s destination.Status) bool { return s.State == destination.Current && s.Rows >= 2 })
		r.is("a|b", `SELECT p0001, _hubpipe_properties->>'p1699' FROM contacts WHERE id = '2'`)
		r.is("0|1699|1700", `SELECT p0000, _hubpipe_properties->>'p1699', (SELECT count(*) FROM jsonb_object_keys(_hubpipe_properties)) FROM contacts WHERE id = '1'`)
		r.is("1600", "SELECT count(*) FROM pg_attribute WHERE attrelid = 'contacts'::regclass AND attnum > 0")
		r.is("t", "SELECT count(*) > 100 FROM hubpipe_schema_changes WHERE change = 'no room'")
		r.is("t", "SELECT count(*) > 100 FROM hubpipe_properties WHERE column_name IS NULL")
	})
	t.Run("a row too wide for a page", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pg, postgres.Options{Schema: "drift_page"})
		var names, props []string
		for i := range 600 {
			names = append(names, fmt.Sprintf("p%03d string", i))
			props = append(props, fmt.Sprintf(`"p%03d":"%s%d"`, i, strings.Repeat("long ", 10), i))
		}
		r.Define("contacts", names...)
		r.Put("contacts", record("0", `{"p599":"a"}`), record("1", "{"+strings.Join(props, ",")+"}"))
		r.Start()
		r.Until(func(s destination.Status) bool { return s.State == destination.Current && s.Rows >= 2 })
		r.checks()
		r.is("a|t", "SELECT (SELECT p599 FROM contacts WHERE id = '0'), _hubpipe_properties->>'p599' LIKE 'long %%599' FROM contacts WHERE id = '1'")
	})
	t.Run("hostile names and values", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pg, postgres.Options{Schema: `we"ird; DROP`})
		long := strings.Repeat("ä", 40)
		hostile := []string{"id", "_hubpipe_seq", "select", "CaSe", "case", `quo"te`, `back\slash`, "semi;colon", "new\nline", "nul\x00", long + "1", long + "2", "ctid", "  ", "日本", "$1", "%s"}
		var list []stream.Property
		props := map[string]string{}
		for i, n := range hostile {
			list = append(list, stream.Property{Name: n, Type: "string", Label: "it's " + n})
			props[n] = fmt.Sprintf("%d' \" \\ \x00 \\N \\.", i)
		}
		r.Src.Define("contacts", list)
		r.Put("contacts", record("'; DROP TABLE x; --", jsonOf(t, props)), record(`\N`, `{"select":"`+strings.Repeat("é", 1<<19)+`"}`))
		r.Start()
		r.settled()
		q := `"we""ird; DROP"`
		if got := strings.TrimSpace(pg.SQL("", `SELECT count(DISTINCT column_name) FROM `+q+`.hubpipe_properties`)); got != fmt.Sprint(len(hostile)) {
			t.Errorf("%s columns for %d properties", got, len(hostile))
		}
		if got := strings.TrimSpace(pg.SQL("", `SELECT octet_length("select") FROM `+q+`.contacts WHERE id = '\N'`)); got != fmt.Sprint(1<<20) {
			t.Errorf("a value of a megabyte has %s bytes", got)
		}
		if got := strings.TrimSpace(pg.SQL("", `SELECT "select", "CaSe", "quo""te" FROM `+q+`.contacts WHERE id LIKE '%DROP%'`)); got != "2' \" \\ \uFFFD \\N \\.|3' \" \\ \uFFFD \\N \\.|5' \" \\ \uFFFD \\N \\." {
			t.Errorf("values are %q", got)
		}
		before := pg.SQL("", "SELECT property, column_name FROM "+q+".hubpipe_properties ORDER BY 1")
		pg.SQL("", "DROP SCHEMA "+q+" CASCADE")
		r.Until(func(destination.Status) bool {
			out, err := pg.Try("", "SELECT property, column_name FROM "+q+".hubpipe_properties ORDER BY 1")
			if err != nil {
				r.poke()
			}
			return err == nil && out == before
		})
		r.settled()
	})
	t.Run("a stream without definitions", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pg, postgres.Options{Schema: "drift_rows"})
		r.Put("contacts", record("1", `{"name":"a","active":true,"count":3,"at":"2026-01-02T03:04:05Z","teams":[{"id":1}]}`), record("2", `{"name":"b","active":null}`))
		r.Start()
		r.settled()
		r.is("a|t|3|2026-01-02 03:04:05+00|1", "SET timezone TO 'UTC'; SELECT name, active, count, at, teams->0->>'id' FROM contacts WHERE id = '1'")
		r.Put("contacts", record("3", `{"count":"many","at":"soon"}`))
		r.Until(func(destination.Status) bool { return r.sql("SELECT count(*) FROM contacts") == "3" })
		r.settled()
		r.is("many|soon", "SELECT count, at FROM contacts WHERE id = '3'")
	})
}

func TestOptions(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Src.Define("contacts", []stream.Property{{Name: "stage", Type: "enumeration", FieldType: "select", Label: "Stage", Group: "deal",
		Options: []stream.Option{{Value: "b", Label: "Second"}, {Value: "a", Label: "Fi\x00rst", Hidden: true}, {Value: "b", Label: "again"}}},
		{Name: "many", Type: "enumeration", Unlisted: true}})
	r.Put("contacts", record("1", `{"stage":"a"}`))
	r.Start()
	r.settled()
	r.is("stage|b|Second|0|f\nstage|a|Fi\uFFFDrst|1|t", "SELECT property, value, label, ordinal, hidden FROM hubpipe_property_options ORDER BY ordinal")
	r.is("stage|stage|text|Stage|enumeration|select|deal|t", "SELECT property, column_name, column_type, label, hubspot_type, field_type, group_name, in_hubspot FROM hubpipe_properties WHERE property = 'stage'")
	r.Src.Define("contacts", []stream.Property{{Name: "stage", Type: "enumeration", FieldType: "select", Label: "The stage", Options: []stream.Option{{Value: "a", Label: "First"}}}})
	r.poke()
	r.Until(func(destination.Status) bool { return r.sql("SELECT count(*) FROM hubpipe_property_options") == "1" })
	r.is("a|First|0|f", "SELECT value, label, ordinal, hidden FROM hubpipe_property_options")
	r.is("The stage", "SELECT col_description('contacts'::regclass, (SELECT attnum FROM pg_attribute WHERE attrelid = 'contacts'::regclass AND attname = 'stage'))")
	r.is("many|vanished", "SELECT property, change FROM hubpipe_schema_changes")
}
