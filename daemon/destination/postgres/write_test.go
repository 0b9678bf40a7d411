package postgres_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// linked is a record with an association.
func linked(id, properties, to string) *stream.Record {
	r := record(id, properties)
	r.Associations = []byte(`{"companies":[{"id":"` + to + `","types":[{"category":"HUBSPOT_DEFINED","typeId":1,"label":null}]}]}`)
	return r
}

// What is all new goes into the tables at once; what is not goes by the staging
// table, and so does what only the tables beside the stream's still have.
func TestNewRows(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Streams[0].Associations = true
	r.Define("contacts", "a string")
	r.Put("contacts", linked("1", `{"a":"one"}`, "7"), linked("2", `{"a":"two"}`, "7"), ended("3", stream.Purged, ""))
	r.Start()
	r.settled()
	const staged = "SELECT (SELECT string_agg(id, ' ' ORDER BY id) FROM _hubpipe_load_contacts), (SELECT string_agg(id, ' ' ORDER BY id) FROM _hubpipe_load_contacts__associations)"
	r.is("|", staged)
	r.is("1|one|7|live\n2|two|7|live\n3|||purged", "SELECT c.id, a, to_id, _hubpipe_state FROM contacts c LEFT JOIN contacts__associations l ON l.id = c.id ORDER BY 1")

	r.Put("contacts", linked("2", `{"a":"changed"}`, "8"), linked("4", `{"a":"four"}`, "8"))
	r.settled()
	r.is("2 4|2 4", staged)
	r.Put("contacts", linked("5", `{"a":"five"}`, "9"))
	r.settled()
	r.is("2 4|2 4", staged)

	// Somebody took a row away, and left what it was associated with.
	r.sql("DELETE FROM contacts WHERE id = '5'")
	r.Put("contacts", linked("5", `{"a":"again"}`, "9"))
	r.settled()
	r.is("5|5", staged)
	r.is("1|one|7\n2|changed|8\n3||\n4|four|8\n5|again|9", "SELECT c.id, a, to_id FROM contacts c LEFT JOIN contacts__associations l ON l.id = c.id ORDER BY 1")
	r.is("7", "SELECT rows_written FROM hubpipe_streams")

	// Nothing stays staged of what is erased, even where its row is gone.
	r.sql("DELETE FROM contacts WHERE id = '5'; DELETE FROM contacts__associations WHERE id = '5'")
	r.Put("contacts", ended("5", stream.Purged, ""))
	r.settled()
	r.is("0", "SELECT count(*) FROM _hubpipe_load_contacts WHERE a = 'again'")
}

// A staging table that many rows were left in is emptied at once, also where
// few versions were staged since then.
func TestStagedMany(t *testing.T) {
	t.Parallel()
	r := newHistory(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "a string")
	many := func(value string) (out []*stream.Record) {
		for i := range 600 {
			out = append(out, record(fmt.Sprint(i), `{"a":"`+value+`"}`))
		}
		return out
	}
	r.Put("contacts", many("x")...)
	r.Start()
	r.settled()
	r.Stop()
	r.Put("contacts", many("y")...)
	r.Start() // it finds them all, as one batch
	r.settled()
	r.Put("contacts", record("new", `{"a":"z"}`))
	r.settled()
	r.is("600|1", "SELECT (SELECT count(*) FROM _hubpipe_load_contacts), (SELECT count(*) FROM _hubpipe_load_contacts__versions)")
	const file = "SELECT pg_relation_filenode('_hubpipe_load_contacts')"
	was := r.sql(file)
	r.Put("contacts", record("1", `{"a":"last"}`))
	r.settled()
	r.is("1|last", "SELECT id, a FROM _hubpipe_load_contacts")
	if r.sql(file) == was {
		t.Error("600 rows were deleted one by one")
	}
}

// With deletes, what has ended before it was written is no row.
func TestNewRowsThatHaveEnded(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{Delete: true})
	r.Define("contacts", "a string")
	r.Put("contacts", record("1", `{"a":"x"}`), ended("2", stream.Archived, `{"a":"y"}`), ended("3", stream.Purged, ""))
	r.Start()
	r.settled()
	r.is("1|live", "SELECT id, _hubpipe_state FROM contacts")
	r.is("1", "SELECT rows_written FROM hubpipe_streams")

	// What the server undoes, since it refuses another row, is not counted twice.
	r.sql("ALTER TABLE contacts ADD CHECK (a <> 'refused')")
	r.Put("contacts", ended("1", stream.Archived, `{"a":"x"}`), record("4", `{"a":"refused"}`))
	r.Until(func(s destination.Status) bool {
		return s.State == destination.Current && r.sql("SELECT id FROM contacts") == "4"
	})
	r.is("3", "SELECT rows_written FROM hubpipe_streams")
}

// Somebody adds a row of the batch after it was looked for: the batch is written
// all the same, and the row with all its columns.
func TestNewRowsOfSomebodyElse(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	for _, x := range []struct {
		name string
		raw  bool
		more []*stream.Record
	}{
		{name: "among others", more: []*stream.Record{record("2", `{"a":"y"}`), record("4", `{"a":"z"}`)}},
		{name: "alone"},
		{name: "alone and raw", raw: true},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, pg, postgres.Options{Raw: x.raw})
			r.Define("contacts", "a string")
			r.Put("contacts", record("1", `{"a":"x"}`))
			r.Start()
			r.settled()
			ctx := context.WithoutCancel(t.Context())
			theirs, err := pgx.Connect(ctx, r.o.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close(ctx)
			if _, err := theirs.Exec(ctx, "BEGIN; INSERT INTO "+r.o.Schema+".contacts (id, _hubpipe_seq, _hubpipe_state, a) VALUES ('3', 0, 'live', 'theirs')"); err != nil {
				t.Fatal(err)
			}
			columns := r.sql("SELECT count(*) FROM information_schema.columns WHERE table_schema = '%s' AND table_name = 'contacts'", r.o.Schema)
			r.Put("contacts", append(x.more, record("3", `{"a":"ours"}`))...)
			r.Until(func(destination.Status) bool {
				return r.sql(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'COPY "%s"%%'`, r.o.Schema) == "1"
			})
			if _, err := theirs.Exec(ctx, "COMMIT"); err != nil {
				t.Fatal(err)
			}
			r.settled()
			r.is("1|x\n3|ours", "SELECT id, a FROM contacts WHERE id IN ('1', '3') ORDER BY id")
			r.is(fmt.Sprint(2+len(x.more)), "SELECT count(*) FROM contacts")
			// Nothing was counted twice, taken for unreadable, or made another table of.
			r.is(fmt.Sprintf("%d|0", 2+len(x.more)), "SELECT rows_written, unparsed FROM hubpipe_streams")
			r.is(columns, "SELECT count(*) FROM information_schema.columns WHERE table_schema = '%s' AND table_name = 'contacts'", r.o.Schema)
		})
	}
}

// What a person has asked of the tables holds for new rows, too: rules, and
// policies that the owner is under.
func TestNewRowsUnderRules(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	r := newRig(t, pg, postgres.Options{})
	r.role("plain")
	pg.SQL("", "GRANT CREATE ON DATABASE "+pgserver.Database+" TO plain")
	r.Streams[0].Associations = true
	r.Define("contacts", "a string")
	r.Put("contacts", linked("1", `{"a":"x"}`, "7"))
	r.Start()
	r.settled()
	r.sql("CREATE RULE theirs AS ON INSERT TO contacts__associations WHERE new.to_id = '8' DO INSTEAD NOTHING")
	r.Put("contacts", linked("2", `{"a":"y"}`, "7"), linked("3", `{"a":"z"}`, "8"))
	r.settled()
	r.is("1|7\n2|7", "SELECT id, to_id FROM contacts__associations ORDER BY id")

	r.sql("DROP RULE theirs ON contacts__associations")
	pg.SQL("", "VACUUM "+r.o.Schema+".contacts__associations") // the catalogue says until then that there are some
	r.is("f", "SELECT relhasrules FROM pg_class WHERE relname = 'contacts__associations'")
	r.sql("ALTER TABLE contacts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY all_of_it ON contacts USING (true)")
	r.Put("contacts", linked("4", `{"a":"new"}`, "9"))
	r.settled()
	r.is("4|new|9", "SELECT c.id, a, to_id FROM contacts c JOIN contacts__associations l ON l.id = c.id WHERE c.id = '4'")
}
