package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// besides is a record with a history and an association, in which v stands.
func besides(id, v string) *stream.Record {
	rec := record(id, `{"a":"`+v+`"}`)
	rec.Associations = []byte(`{"companies":[{"id":"7","types":[{"category":"USER_DEFINED","typeId":1,"label":"` + v + `"}]}]}`)
	rec.History = []byte(`{"a":[{"value":"` + v + `","timestamp":"2026-01-02T00:00:00Z","sourceType":"CRM_UI","sourceId":"u"}]}`)
	return rec
}

// An erasure reaches the tables beside a stream's that are not written any more,
// and the batch that was copied last into them.
func TestErasedWhereNothingIsWrittenAnyMore(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	for _, del := range []bool{false, true} {
		t.Run(fmt.Sprint("delete ", del), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, pg, postgres.Options{Schema: fmt.Sprintf("left_%t", del), Delete: del})
			r.Streams = []destination.Stream{{Name: "contacts", Object: "contacts", Associations: true, History: true, Versions: 1}}
			r.Define("contacts", "a string")
			r.Put("contacts", besides("1", "canary"), besides("2", "canary"), besides("3", "stays"))
			r.Start()
			r.settled()
			// Twice, so that they stand in the staging tables, too.
			r.Put("contacts", besides("1", "canary twice"), besides("2", "canary twice"))
			r.settled()
			r.Stop()
			r.Streams = []destination.Stream{{Name: "contacts", Object: "contacts"}}
			r.Start()
			r.settled()
			r.is("3|3", "SELECT count(*), (SELECT count(*) FROM contacts__history) FROM contacts__associations")
			r.Put("contacts", ended("1", stream.Purged, ""))
			r.Until(func(destination.Status) bool {
				return r.sql("SELECT count(*) FROM contacts WHERE a LIKE 'canary%%'") == "1"
			})
			r.is("2|2", "SELECT count(*), (SELECT count(*) FROM contacts__history) FROM contacts__associations")
			// What a sweep ends goes there as well.
			r.sql("INSERT INTO contacts (id, _hubpipe_seq, _hubpipe_state) VALUES ('x', 1, 'live'); INSERT INTO contacts__history (id, property, ordinal, value) VALUES ('x', 'a', 0, 'canary')")
			r.Put("contacts", ended("2", stream.Purged, ""))
			if err := r.M.Resync("warehouse", "contacts"); err != nil {
				t.Fatal(err)
			}
			r.Until(func(destination.Status) bool {
				return r.sql("SELECT count(*) FROM contacts WHERE id = 'x' AND _hubpipe_state = 'live'") == "0"
			})
			r.settled()
			if n := strings.Count(pg.Dump(r.o.Schema), "canary"); n > 0 {
				t.Errorf("what was erased is in %d places of the dump:\n%s", n, pg.Dump(r.o.Schema))
			}
			r.is("3|3", "SELECT min(id), (SELECT min(id) FROM contacts__history) FROM contacts__associations")
		})
	}
}

// Tables beside a stream's that are written from now on get what the store has
// already, and lose what is not so any more: of what did not change nothing comes.
func TestWrittenAgainAfterAPause(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "a string")
	r.Put("contacts", besides("1", "x"), besides("2", "x"))
	all := r.Streams
	r.Start()
	r.settled()
	on := []destination.Stream{{Name: "contacts", Object: "contacts", Associations: true, History: true}}
	const both = "SELECT (SELECT string_agg(id || label, ',' ORDER BY id) FROM contacts__associations), (SELECT string_agg(id || value, ',' ORDER BY id) FROM contacts__history)"
	restart := func(streams []destination.Stream) {
		r.Stop()
		r.Streams = streams
		r.Start()
		r.settled()
	}
	restart(on)
	r.is("1x,2x|1x,2x", both)
	restart(all)
	r.Put("contacts", besides("1", "y"))
	r.settled()
	restart(on)
	r.is("1y,2x|1y,2x", both)
	// So does one that somebody has dropped.
	r.Stop()
	r.sql("DROP TABLE contacts__history")
	r.Start()
	r.settled()
	r.is("1y,2x|1y,2x", both)
}

// A table of somebody else's that has such a name is left alone.
func TestTableBesideOfSomebodyElse(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "a string")
	r.Put("contacts", record("1", `{"a":"x"}`))
	r.Start()
	r.settled()
	r.Stop()
	r.sql("CREATE TABLE contacts__history (id text, mine text); INSERT INTO contacts__history VALUES ('1', 'mine')")
	r.Streams = []destination.Stream{{Name: "contacts", Object: "contacts", History: true}}
	r.Start()
	s := r.Until(func(s destination.Status) bool { return s.State == destination.Blocked })
	if s.Error.Type != "destination-foreign" || !strings.Contains(s.Error.Detail, "contacts__history") {
		t.Errorf("it says %+v", s.Error)
	}
	r.Put("contacts", ended("1", stream.Purged, ""))
	r.Stop()
	r.Streams = []destination.Stream{{Name: "contacts", Object: "contacts"}}
	r.Choice = destination.Choice{Personal: destination.Hash}
	r.Start()
	r.settled()
	r.is("1|mine", "SELECT * FROM contacts__history")
}
