package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/enginetest"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

func ended(id string, state stream.State, more string) *stream.Record {
	r := &stream.Record{Head: stream.Head{ID: id, State: state, Version: 2}}
	switch state {
	case stream.Merged:
		r.MergedInto = more
	case stream.Archived:
		r.ArchivedAt, r.Properties = "2026-03-04T05:06:07Z", []byte(more)
	}
	return r
}

// What has ended is marked or goes, with what belongs to it; what was erased
// leaves nothing behind.
func TestTombstones(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	for _, del := range []bool{false, true} {
		t.Run(fmt.Sprint("delete ", del), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, pg, postgres.Options{Schema: fmt.Sprintf("tomb_%t", del), Delete: del, Raw: true})
			r.Streams[0].Associations, r.Streams[0].History = true, true
			r.Define("contacts", "a string")
			var list []*stream.Record
			for i := range 5 {
				rec := record(fmt.Sprint(i), `{"a":"canary"}`)
				rec.Associations = []byte(`{"companies":[{"id":"7","types":[{"category":"HUBSPOT_DEFINED","typeId":1,"label":null},{"category":"USER_DEFINED","typeId":9,"label":"Boss"}]},{"id":"8","types":[{"category":"HUBSPOT_DEFINED","typeId":1,"label":null}]}]}`)
				rec.History = []byte(`{"a":[{"value":"canary","timestamp":"2026-01-02T00:00:00Z","sourceType":"CRM_UI","sourceId":"u"},{"value":null,"timestamp":"2026-01-01T00:00:00Z"}]}`)
				list = append(list, rec)
			}
			r.Put("contacts", list...)
			r.Start()
			r.settled()
			r.is("15|3|10|2", `SELECT count(*), count(*) FILTER (WHERE id = '0'), (SELECT count(*) FROM contacts__history), (SELECT count(*) FROM contacts__history WHERE id = '0') FROM contacts__associations`)
			r.is("7|USER_DEFINED|9|Boss", "SELECT to_id, category, type_id, label FROM contacts__associations WHERE id = '1' AND label IS NOT NULL")
			r.is("0|canary|2026-01-02 00:00:00+00|CRM_UI|u", "SET timezone TO 'UTC'; SELECT ordinal, value, changed_at, source_type, source_id FROM contacts__history WHERE id = '1' AND value IS NOT NULL")
			fewer := record("0", `{"a":"x"}`)
			fewer.Associations, fewer.History = []byte(`{"companies":[{"id":"9","types":[{"category":"HUBSPOT_DEFINED","typeId":1,"label":null}]}]}`), []byte(`{}`)
			r.Put("contacts", fewer, ended("1", stream.Archived, `{"a":"still here"}`), ended("2", stream.Merged, "0"), ended("3", stream.Purged, ""))
			r.settled()
			if del {
				r.is("0|x\n4|canary", "SELECT id, a FROM contacts ORDER BY id")
				r.is("4|2", "SELECT count(*), (SELECT count(*) FROM contacts__history) FROM contacts__associations")
			} else {
				r.is("0|live|x|\n1|archived|still here|\n2|merged||0\n3|purged||\n4|live|canary|", "SELECT id, _hubpipe_state, a, _hubpipe_merged_into FROM contacts ORDER BY id")
				r.is("2026-03-04 05:06:07+00", "SET timezone TO 'UTC'; SELECT _hubpipe_archived_at FROM contacts WHERE id = '1'")
				r.is("9", "SELECT to_id FROM contacts__associations WHERE id = '0'")
			}
			// An erasure is a purged record to whoever reads the feed.
			r.Put("contacts", ended("4", stream.Purged, ""))
			r.settled()
			for _, table := range []string{"contacts", "contacts__associations", "contacts__history", "_hubpipe_load_contacts", "_hubpipe_load_contacts__history"} {
				r.is("0", "SELECT count(*) FROM %s t WHERE t::text LIKE '%%canary%%'", table)
			}
		})
	}
}

// After a restore the store may lack what the warehouse has, and have it
// otherwise. Nothing ends before HubSpot was asked again.
func TestRestored(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "a string")
	r.Put("contacts", record("1", `{"a":"old"}`), record("2", `{"a":"old"}`), record("3", `{"a":"old"}`), record("4", `{"a":"old"}`))
	var backup bytes.Buffer
	if err := r.Src.Backup(t.Context(), "test", &backup); err != nil {
		t.Fatal(err)
	}
	// What happens between backup and loss.
	r.Put("contacts", record("1", `{"a":"new"}`), ended("2", stream.Archived, `{"a":"old"}`), record("5", `{"a":"created"}`), record("6", `{"a":"created"}`), ended("3", stream.Purged, ""))
	r.Start()
	r.settled()
	r.Stop()
	lost := r.Src.Store
	if err := lost.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := store.Restore(t.Context(), store.Options{Dir: dir, FreeMark: 1}, &backup, false); err != nil {
		t.Fatal(err)
	}
	r.Src.Store = enginetest.OpenStore(t, dir)
	r.Src.Settle(false)
	r.Start()
	s := r.Until(func(s destination.Status) bool {
		re := s.Streams[0].Place.Reread
		return re != nil && re.Reason == destination.ReasonEpoch && re.Position == re.Until
	})
	if s.State != destination.Running {
		t.Errorf("it is %s", s.State)
	}
	r.is("1|live|new\n2|archived|old\n3|purged|\n4|live|old\n5|live|created\n6|live|created", "SELECT id, _hubpipe_state, a FROM contacts ORDER BY id")
	// HubSpot is asked: 1 and 5 come again; 2 was restored there, so that nothing
	// of it differs from the backup; 6 is gone; 3 is purged again.
	r.Put("contacts", record("1", `{"a":"new"}`), record("5", `{"a":"created"}`), ended("3", stream.Purged, ""))
	r.Src.Settle(true)
	r.poke()
	r.settled()
	r.is("1|live|new\n2|live|old\n3|purged|\n4|live|old\n5|live|created\n6|purged|", "SELECT id, _hubpipe_state, a FROM contacts ORDER BY id")
	r.is("2", "SELECT count(DISTINCT epoch) + 1 FROM hubpipe_streams")
	// The lost store, should it come back, does not write there any more.
	r.Stop()
	back := enginetest.OpenStore(t, filepath.Dir(r.Path)+"/store")
	r.Src.Store = back
	r.Start()
	if s := r.Until(func(s destination.Status) bool { return s.State == destination.Blocked }); s.Error.Type != "destination-foreign" {
		t.Errorf("it says %+v", s.Error)
	}
}

// Where what the destination gets has changed as well, the rows that the store
// lacks end all the same.
func TestRestoredAndChosenOtherwise(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "a string", "email string")
	r.Put("contacts", record("1", `{"a":"x","email":"e"}`))
	r.Start()
	r.settled()
	r.sql("INSERT INTO contacts (id, _hubpipe_seq, _hubpipe_state, a) VALUES ('lost', 999999, 'live', 'x'); UPDATE contacts SET _hubpipe_seq = 999998, a = 'ahead' WHERE id = '1'")
	r.Stop()
	r.Src.Become("", 1)
	r.Src.Settle(false)
	r.Choice = destination.Choice{Personal: destination.Exclude}
	r.Start()
	r.Until(func(s destination.Status) bool {
		re := s.Streams[0].Place.Reread
		return re != nil && re.Position == re.Until
	})
	r.is("2|0", "SELECT count(*), (SELECT count(*) FROM information_schema.columns WHERE table_schema = '%s' AND table_name = 'contacts' AND column_name = 'email') FROM contacts WHERE _hubpipe_state = 'live'", r.o.Schema)
	r.Src.Settle(true)
	r.poke()
	r.settled()
	r.is("1|live|x\nlost|purged|", "SELECT id, _hubpipe_state, a FROM contacts ORDER BY id")
}

// A resync writes again what somebody changed by hand, and takes away what the
// store has not.
func TestResync(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "a string")
	var list []*stream.Record
	for i := range 12_000 {
		list = append(list, record(fmt.Sprint(i), `{"a":"x"}`))
	}
	r.Put("contacts", list...)
	r.Start()
	r.settled()
	r.sql("UPDATE contacts SET a = 'y' WHERE id = '11000'; DELETE FROM contacts WHERE id = '5'; INSERT INTO contacts (id, _hubpipe_seq, _hubpipe_state, a) VALUES ('x', 3, 'live', 'z'), ('é', 3, 'live', 'z')")
	// A row that is ahead of the store is not gone back on by what is new.
	r.sql("UPDATE contacts SET _hubpipe_seq = 99999999999, a = 'ahead' WHERE id = '7'")
	r.Put("contacts", record("7", `{"a":"x","b":"is new"}`))
	r.Current()
	r.is("ahead", "SELECT a FROM contacts WHERE id = '7'")
	if c, err := r.M.Check(t.Context(), "warehouse"); err != nil || c[0].Equal() {
		t.Errorf("%v, nothing is found: %+v", err, c)
	}
	if err := r.M.Pause("warehouse"); err != nil {
		t.Fatal(err)
	}
	if err := r.M.Resync("warehouse", "contacts"); err != nil { // it is kept until it can be
		t.Fatal(err)
	}
	r.Stop()
	r.Start()
	if err := r.M.Resume("warehouse"); err != nil {
		t.Fatal(err)
	}
	r.Until(func(destination.Status) bool { return r.sql("SELECT a FROM contacts WHERE id = '11000'") == "x" })
	r.settled()
	r.is("12002|12000|2", "SELECT count(*), count(*) FILTER (WHERE a = 'x' AND _hubpipe_state = 'live'), count(*) FILTER (WHERE _hubpipe_state = 'purged' AND a IS NULL) FROM contacts")
	if err := r.M.Resync("warehouse", "nope"); err == nil {
		t.Error("a stream that it does not follow is resynced")
	}
}

// Whatever dies and whenever: at the end each record stands in the table once, as
// the store has it.
func TestExactlyOnce(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	r := newRig(t, pg, postgres.Options{})
	r.Define("contacts", "a string", "n number")
	r.Start()
	for round := range 12 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		rng := rand.New(rand.NewPCG(uint64(round), 3)) //nolint:gosec // repeatable
		pause := time.Duration(50+rng.IntN(150)) * time.Millisecond
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				var list []*stream.Record
				seen := map[int]bool{}
				for range 1 + rng.IntN(300) {
					id := rng.IntN(4000)
					if seen[id] {
						continue
					}
					seen[id] = true
					if rng.IntN(10) == 0 {
						list = append(list, ended(fmt.Sprint(id), []stream.State{stream.Purged, stream.Archived}[rng.IntN(2)], `{"a":"archived"}`))
					} else {
						list = append(list, record(fmt.Sprint(id), fmt.Sprintf(`{"a":"%d","n":"%d"}`, rng.Int(), rng.IntN(1000))))
					}
				}
				r.Put("contacts", list...)
			}
		}()
		<-time.After(pause)
		switch round % 4 {
		case 0:
			pg.Kill()
			pg.Up()
		case 1:
			r.Stop()
			r.Start()
		case 2:
			_, _ = pg.Try("", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hubpipe'")
		default:
			if err := r.M.Resync("warehouse", ""); err != nil {
				t.Error(err)
			}
		}
		cancel()
		<-done
	}
	r.settled()
	r.is("t", "SELECT count(*) = count(DISTINCT id) AND count(*) > 1000 FROM contacts")
}

// A rereading that begins anew in its middle, since a batch needed a column that
// was not there, leaves nothing out.
func TestRereadBeginsAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "a string")
	var list []*stream.Record
	for i := range 17_000 {
		list = append(list, record(fmt.Sprint(i), `{"a":"x"}`))
	}
	list[8000] = record("8000", `{"a":"refused"}`)
	r.Put("contacts", list...)
	r.Start()
	r.settled()
	r.sql("ALTER TABLE contacts ADD CHECK (a <> 'refused') NOT VALID")
	if err := r.M.Resync("warehouse", "contacts"); err != nil {
		t.Fatal(err)
	}
	r.Until(func(destination.Status) bool {
		return r.sql("SELECT count(*) FROM information_schema.columns WHERE table_schema = '%s' AND table_name = 'contacts' AND column_name = '_hubpipe_properties'", r.o.Schema) == "1"
	})
	r.Current()
	r.is("17000|17000|1", "SELECT count(*), count(_hubpipe_properties), count(*) FILTER (WHERE a IS NULL) FROM contacts")
}
