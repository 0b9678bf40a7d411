package postgres_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// What is wrong with a database is said with what to do about it, shows no
// password and no value, and nothing is lost or doubled when it is mended.
func TestProblems(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	for _, tt := range []struct {
		name   string
		break_ func(r *rig)
		state  string
		says   string // of detail and hint
		mend   func(r *rig)
	}{
		{"wrong url", func(r *rig) { r.o.URL = "postgres://owner:p@canary:word@[::1" }, destination.Blocked, "%40", func(r *rig) { r.o.URL = pg.URL("", "", "") }},
		{"nobody there", func(r *rig) { r.o.URL = "postgres://me:secret-canary-password@127.0.0.1:1/x" }, destination.Failing, "127.0.0.1:1", func(r *rig) { r.o.URL = pg.URL("", "", "") }},
		{"wrong password", func(r *rig) { r.o.URL = pg.URL("", pgserver.User, "canary-wrong") }, destination.Blocked, "28P01", func(r *rig) { r.o.URL = pg.URL("", "", "") }},
		{"no such database", func(r *rig) { r.o.URL = pg.URL("nothing", "", "") }, destination.Blocked, "3D000", func(r *rig) { r.o.URL = pg.URL("", "", "") }},
		{"no schema, and no right to make one", func(r *rig) { r.role("poor") }, destination.Blocked, "GRANT USAGE, CREATE ON SCHEMA",
			func(r *rig) {
				pg.SQL("", fmt.Sprintf("CREATE SCHEMA %s AUTHORIZATION poor", r.o.Schema))
			}},
		{"a schema owned by somebody else", func(r *rig) { r.role("guest"); pg.SQL("", "CREATE SCHEMA "+r.o.Schema) }, destination.Blocked, "42501",
			func(r *rig) { pg.SQL("", fmt.Sprintf("GRANT USAGE, CREATE ON SCHEMA %s TO guest", r.o.Schema)) }},
		{"a table of somebody else's", func(r *rig) {
			pg.SQL("", fmt.Sprintf("CREATE SCHEMA %s; CREATE TABLE %[1]s.contacts (id int)", r.o.Schema))
		}, destination.Blocked, "rename the table",
			func(r *rig) { r.sql("ALTER TABLE contacts RENAME TO theirs") }},
		{"another store's schema", func(r *rig) {
			pg.SQL("", fmt.Sprintf(`CREATE SCHEMA %s; CREATE TABLE %[1]s.hubpipe_schema_changes (at timestamptz); CREATE TABLE %[1]s.hubpipe_streams (store text); INSERT INTO %[1]s.hubpipe_streams VALUES ('0123')`, r.o.Schema))
		}, destination.Blocked, "another schema", func(r *rig) { pg.SQL("", "DROP SCHEMA "+r.o.Schema+" CASCADE") }},
		{"a server that takes no writes", func(r *rig) { r.o.URL += "?options=-c%20default_transaction_read_only%3Don" }, destination.Blocked, "primary", func(r *rig) { r.o.URL = pg.URL("", "", "") }},
		{"text that it cannot hold", func(r *rig) {
			pg.SQL("", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
			r.o.URL = pg.URL("latin", "", "")
		}, destination.Blocked, "UTF8", func(r *rig) { r.o.URL = pg.URL("", "", "") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, pg, postgres.Options{Schema: "p_" + strings.NewReplacer(" ", "_", "'", "", ",", "").Replace(tt.name)})
			r.Define("contacts", "a string")
			r.Put("contacts", record("1", `{"a":"canary-value"}`), record("2", `{"a":"y"}`))
			tt.break_(r)
			r.Start()
			s := r.Until(func(s destination.Status) bool { return s.State == tt.state })
			text := fmt.Sprintf("%s\n%s\n%s\n%s", s.Target, s.Error.Title, s.Error.Detail, s.Error.Hint)
			if !strings.Contains(text, tt.says) || s.Error.Hint == "" || strings.Count(s.Error.Detail, "refused") > 1 {
				t.Errorf("it says:\n%s", text)
			}
			if strings.Contains(text, "canary") {
				t.Errorf("it shows a secret:\n%s", text)
			}
			was := r.o.URL
			tt.mend(r)
			if r.o.URL != was {
				r.Stop()
				r.Start()
			}
			r.settled()
			r.is("2|2", "SELECT count(*), count(DISTINCT id) FROM contacts")
			r.is("2", "SELECT rows_written FROM hubpipe_streams")
		})
	}
}

// role makes a user who may connect, and has the destination be them.
func (r *rig) role(name string) {
	r.pg.SQL("", fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'pw-canary'", name))
	u, err := url.Parse(r.pg.URL("", name, "pw-canary"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.o.URL = u.String()
}

// A user who may make no temporary tables, nor anything outside the schema, is
// enough.
func TestWithoutTemporaryTables(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	r := newHistory(t, pg, postgres.Options{Schema: "plain", Views: true, Raw: true})
	r.Streams[0].Associations, r.Streams[0].History = true, true
	r.role("plain")
	pg.SQL("", "REVOKE ALL ON DATABASE "+pgserver.Database+" FROM PUBLIC; GRANT CONNECT ON DATABASE "+pgserver.Database+" TO plain; REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE SCHEMA plain AUTHORIZATION plain")
	if may := strings.TrimSpace(pg.SQL("", "SET ROLE plain; SELECT has_database_privilege(current_database(), 'TEMP')")); may != "f" {
		t.Fatalf("it may make temporary tables: %s", may)
	}
	r.Define("contacts", "a string", "n number")
	r.Put("contacts", linked("1", `{"a":"one","n":"1"}`, "7"), record("2", `{"a":"two"}`))
	r.Start()
	r.settled()
	r.Define("contacts", "a string", "n string", "more date")
	r.Put("contacts", linked("1", `{"a":"changed","n":"x","more":"2026-01-02"}`, "8"), record("3", `{"a":"three"}`))
	r.settled()
	if err := r.M.Resync("warehouse", ""); err != nil {
		t.Fatal(err)
	}
	r.Until(func(s destination.Status) bool { return s.State == destination.Current && s.Rows >= 7 })
	r.checks()
	r.is("1|changed|x|2026-01-02|8\n2|two|||\n3|three|||", "SELECT c.id, a, n, more, to_id FROM contacts_live c LEFT JOIN contacts__associations l ON l.id = c.id ORDER BY 1")
}

// A value that the server refuses, for whatever reason, costs its own row's
// columns and no other.
func TestRefusedValue(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "a string", "b string")
	r.Put("contacts", record("1", `{"a":"x"}`))
	r.Start()
	r.settled()
	r.sql("ALTER TABLE contacts ADD CHECK (a <> 'canary'), ALTER COLUMN b TYPE varchar(3)")
	var more []*stream.Record
	for i := range 40 {
		a, b := "fine", "abc"
		if i == 7 {
			a = "canary"
		}
		if i == 30 {
			b = "too long"
		}
		more = append(more, record(fmt.Sprint(100+i), fmt.Sprintf(`{"a":%q,"b":%q}`, a, b)))
	}
	r.Put("contacts", more...)
	r.Until(func(s destination.Status) bool {
		return s.State == destination.Current && r.sql("SELECT count(*) FROM contacts") == "41"
	})
	r.is("38", "SELECT count(*) FROM contacts WHERE a = 'fine' AND b = 'abc'")
	r.is("107||\n130||", "SELECT id, a, b FROM contacts WHERE a IS NULL OR b IS NULL AND id <> '1' ORDER BY id")
	r.is("canary|too long", "SELECT (SELECT _hubpipe_properties->>'a' FROM contacts WHERE id = '107'), (SELECT _hubpipe_properties->>'b' FROM contacts WHERE id = '130')")
	r.is("a|t\nb|t", "SELECT property, unparsed >= 2 FROM hubpipe_properties ORDER BY 1")
}

// Somebody holds a lock: the destination says so, and goes on. Others go on
// meanwhile.
func TestPausedAndOthersGoOn(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	r := newRig(t, pg, postgres.Options{})
	r.Streams = append(r.Streams, destination.Stream{Name: "deals", Object: "deals"})
	r.Define("contacts", "a string")
	r.Define("deals", "a string")
	r.Put("contacts", record("1", `{"a":"x"}`))
	r.Put("deals", record("1", `{"a":"x"}`))
	r.Start()
	r.settled()
	if err := r.M.Pause("warehouse"); err != nil {
		t.Fatal(err)
	}
	r.Put("contacts", record("2", `{"a":"y"}`))
	if s, _ := r.M.One(t.Context(), "warehouse"); s.State != destination.Paused || s.Behind != 1 || s.Lag < 0 {
		t.Errorf("paused it is %+v", s)
	}
	r.is("1", "SELECT count(*) FROM contacts")
	r.Stop()
	r.Start() // it stays paused over a restart
	if s, _ := r.M.One(t.Context(), "warehouse"); s.State != destination.Paused {
		t.Errorf("after a restart it is %s", s.State)
	}
	if list, err := r.M.Check(t.Context(), "warehouse"); err != nil || !strings.Contains(list[0].Note, "paused") || !list[1].Equal() {
		t.Errorf("a table that lacks something, and one that lacks nothing: %+v %v", list, err)
	}
	if err := r.M.Resume("warehouse"); err != nil {
		t.Fatal(err)
	}
	r.settled()
	r.sql("DROP TABLE contacts CASCADE; CREATE TABLE contacts (id int)")
	r.Put("contacts", record("3", `{"a":"z"}`))
	r.Until(func(s destination.Status) bool { return s.Error != nil })
	r.Put("deals", record("2", `{"a":"y"}`))
	r.Until(func(destination.Status) bool { return r.sql("SELECT count(*) FROM deals") == "2" })
	r.sql("DROP TABLE contacts")
	r.settled()
	r.is("3", "SELECT count(*) FROM contacts")
}
