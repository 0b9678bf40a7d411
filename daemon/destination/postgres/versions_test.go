package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/enginetest"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// newHistory is a rig whose destination wants every version of contacts.
func newHistory(t *testing.T, pg *pgserver.Server, o postgres.Options) *rig {
	t.Helper()
	r := newRig(t, pg, o)
	r.Streams[0].Versions = time.Hour
	r.KeepFor()
	return r
}

// at makes a record of a version of that day of 2026, read on another.
func at(r *stream.Record, updated, read string) *stream.Record {
	day := func(s string) time.Time {
		d, err := time.Parse(time.DateOnly, "2026-"+s)
		if err != nil {
			panic(err)
		}
		return d
	}
	r.UpdatedAt, r.AsOf = "", day(read).UnixMilli()
	if updated != "" {
		r.UpdatedAt = day(updated).Format(time.RFC3339)
	}
	if r.State == stream.Archived {
		r.ArchivedAt = r.UpdatedAt
	}
	return r
}

const lifeOf = `SET timezone TO 'UTC'; SELECT id, _hubpipe_state, a, to_char(valid_from, 'MM-DD'), to_char(valid_to, 'MM-DD'), _hubpipe_current FROM contacts__versions ORDER BY id, _hubpipe_seq`

// The life of records, however much of it the destination gets at a time: a row a
// version, each valid until the next begins, and none of what has lost its
// content.
func TestVersions(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	for _, del := range []bool{false, true} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprint("delete ", del, " late ", late), func(t *testing.T) {
				t.Parallel()
				r := newHistory(t, pg, postgres.Options{Schema: fmt.Sprintf("v_%t_%t", del, late), Delete: del, Raw: true})
				r.Streams[0].Associations = true
				r.Define("contacts", "a string")
				if !late {
					r.Start()
				}
				step := func(records ...*stream.Record) {
					t.Helper()
					r.Put("contacts", records...)
					if !late {
						r.Current()
						r.Sweep(r.M)
					}
				}
				linked := at(record("1", `{"a":"one"}`), "01-01", "02-01")
				linked.Associations = []byte(`{"companies":[{"id":"7","types":[{"category":"HUBSPOT_DEFINED","typeId":1,"label":null}]}]}`)
				step(linked, at(record("2", `{"a":"canary"}`), "01-01", "02-01"), at(record("3", `{"a":"canary"}`), "01-01", "02-01"), at(record("4", `{"a":"canary"}`), "01-01", "02-01"))
				step(at(record("1", `{"a":"two"}`), "01-02", "02-02"), at(record("2", `{"a":"canary 2"}`), "01-02", "02-02"))
				step(at(record("1", `{"a":"by itself"}`), "01-02", "02-03")) // no time of HubSpot's has moved
				step(at(ended("1", stream.Archived, `{"a":"by itself"}`), "02-05", "02-06"), at(ended("2", stream.Merged, "1"), "01-02", "02-06"))
				step(at(record("1", `{"a":"restored"}`), "02-07", "02-08"), at(ended("3", stream.Purged, ""), "01-01", "02-08"))
				erased := at(ended("4", stream.Purged, ""), "", "02-09")
				erased.CreatedAt = ""
				step(erased)
				step(at(record("1", `{"a":"older"}`), "02-01", "02-10")) // HubSpot went back on it
				if late {
					r.Start()
				}
				r.Current()
				life := []string{"1|live|one|01-01|01-02|f", "1|live|two|01-02|02-03|f", "1|live|by itself|02-03|02-05|f", "1|archived|by itself|02-05|02-07|f",
					"1|live|restored|02-07|02-10|f", "1|live|older|02-10||t"}
				// What was purged before it was read left the store with its versions.
				if late {
					life = append(life, "2|merged||02-06||t", "3|purged||02-08||t", "4|purged||02-09||t")
				} else {
					life = append(life, "2|live||01-01|01-02|f", "2|live||01-02|02-06|f", "2|merged||02-06||t", "3|live||01-01|02-08|f", "3|purged||02-08||t", "4|purged||02-09||t")
				}
				r.is(strings.Join(life, "\n"), lifeOf)
				if del {
					r.is("1|older", "SELECT id, a FROM contacts")
				} else {
					r.is("1|live|older\n2|merged|\n3|purged|\n4|purged|", "SELECT id, _hubpipe_state, a FROM contacts ORDER BY id")
				}
				r.is("0", "SELECT count(*) FROM contacts__associations")
				for _, table := range []string{"contacts", "contacts__versions", "_hubpipe_load_contacts__versions"} {
					r.is("0", "SELECT count(*) FROM %s t WHERE t::text LIKE '%%canary%%'", table)
				}
				r.is("contacts__versions", "SELECT versions_table FROM hubpipe_streams")
				// Read again from the beginning, all of it is as it was.
				r.Sweep(r.M)
				if err := r.M.Resync("warehouse", ""); err != nil {
					t.Fatal(err)
				}
				r.Until(func(s destination.Status) bool {
					return len(s.Streams) > 0 && s.Streams[0].Place.Reread != nil || r.sql("SELECT count(*) FROM hubpipe_streams WHERE reread_until IS NULL") == "1"
				})
				r.Current()
				r.is(strings.Join(life, "\n"), lifeOf)
				r.settled()
			})
		}
	}
}

// Whatever dies and whenever: at the end each version that was committed stands
// in the table once, in its place.
func TestEachVersionOnce(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	r := newHistory(t, pg, postgres.Options{})
	r.Define("contacts", "a string")
	r.Start()
	var all []string // what the table should have: id, seq, a
	for round := range 8 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		rng := rand.New(rand.NewPCG(uint64(round), 5)) //nolint:gosec // repeatable
		pause := time.Duration(50+rng.IntN(150)) * time.Millisecond
		m := r.M
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				var list []*stream.Record
				for range 1 + rng.IntN(100) {
					id := fmt.Sprint(rng.IntN(300))
					if rng.IntN(20) == 0 {
						list = append(list, ended(id, []stream.State{stream.Purged, stream.Archived}[rng.IntN(2)], `{"a":"archived"}`))
					} else {
						list = append(list, record(id, fmt.Sprintf(`{"a":"%d"}`, rng.Int())))
					}
				}
				r.Put("contacts", list...)
				for _, x := range list {
					if x.State == stream.Purged { // without its times it is as an erasure is
						all = slices.DeleteFunc(all, func(v string) bool { return strings.HasPrefix(v, x.ID+"|") })
					}
					a := strings.TrimSuffix(strings.TrimPrefix(string(x.Properties), `{"a":"`), `"}`)
					all = append(all, fmt.Sprintf("%s|%d|%s", x.ID, x.Seq, a))
				}
				if rng.IntN(3) == 0 {
					r.Sweep(m)
				}
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
		if round%4 == 1 {
			r.Stop() // and the store with it
			dir := filepath.Join(filepath.Dir(r.Path), "store")
			if err := r.Src.Close(); err != nil {
				t.Fatal(err)
			}
			r.Src.Store = enginetest.OpenStore(t, dir)
			r.KeepFor()
			r.Start()
		}
	}
	r.settled()
	r.Sweep(r.M)
	slices.SortFunc(all, func(a, b string) int {
		var x, y uint64
		_, _ = fmt.Sscan(strings.Split(a, "|")[1], &x)
		_, _ = fmt.Sscan(strings.Split(b, "|")[1], &y)
		return int(x) - int(y) //nolint:gosec // far below
	})
	if got := r.sql("SELECT id, _hubpipe_seq, a FROM contacts__versions ORDER BY _hubpipe_seq"); got != strings.Join(all, "\n") {
		have := strings.Split(got, "\n")
		t.Errorf("%d versions, want %d", len(have), len(all))
		for i := range min(len(have), len(all)) {
			if have[i] != all[i] {
				t.Errorf("first at %d: %s, want %s", i, have[i], all[i])
				break
			}
		}
	}
	r.is("t|0|0", `SELECT count(*) > 300, count(*) FILTER (WHERE _hubpipe_current <> (valid_to IS NULL)),
		(SELECT count(*) FROM contacts c WHERE NOT EXISTS (SELECT 1 FROM contacts__versions v WHERE v.id = c.id AND v._hubpipe_seq = c._hubpipe_seq AND v._hubpipe_current))
		FROM contacts__versions`)
	if lost := r.Src.VersionsLost("contacts"); len(lost) > 0 {
		t.Errorf("lost: %v", lost)
	}
}

// A table that is there already gets its versions later; new columns and types
// reach those, too, whatever HubSpot calls them.
func TestVersionsFit(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "n number", "valid_from string")
	r.Put("contacts", record("1", `{"n":"1","valid_from":"x"}`), record("2", `{"n":"1"}`))
	r.Start()
	r.Current()
	r.Stop()
	r.Streams[0].Versions = time.Hour
	r.KeepFor()
	r.Start()
	r.settled()
	r.is("1|1|x|t\n2|1||t", "SELECT id, n, valid_from_16309706, _hubpipe_current FROM contacts__versions ORDER BY id")
	r.Define("contacts", "n string", "valid_from string", "more date")
	r.Put("contacts", record("1", `{"n":"many","more":"2026-01-01","valid_from":"y"}`))
	r.settled()
	r.is("1|1|x|\n1|many|y|2026-01-01\n2|1||", "SELECT id, n, valid_from_16309706, more FROM contacts__versions ORDER BY id, _hubpipe_seq")
	r.is("many|y|2026-01-01", "SELECT n, valid_from, more FROM contacts WHERE id = '1'")
	// A view of somebody's keeps a column as it is; the table goes on.
	r.sql("CREATE VIEW mine AS SELECT more FROM contacts__versions")
	r.Define("contacts", "n string", "valid_from string", "more string")
	r.Put("contacts", record("1", `{"n":"3","more":"soon"}`))
	r.settled()
	r.is("soon", "SELECT more FROM contacts WHERE id = '1'")
	r.is("3|", "SELECT n, more FROM contacts__versions WHERE id = '1' AND _hubpipe_current")
}

// Switched off and on again, the table of versions has what came in between, and
// nothing of what lost its content then. While it is off that is taken away, too.
func TestVersionsOffAndOn(t *testing.T) {
	t.Parallel()
	r := newHistory(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "a string")
	r.Put("contacts", record("1", `{"a":"one"}`), record("2", `{"a":"canary"}`), record("3", `{"a":"canary"}`), record("4", `{"a":"stays"}`))
	r.Start()
	r.settled()
	set := func(keep time.Duration) {
		r.Stop()
		r.Streams[0].Versions = keep
		r.KeepFor()
		r.Start()
	}
	set(0)
	purged := ended("2", stream.Purged, "")
	purged.CreatedAt = "2026-01-01T00:00:00Z"
	r.Define("contacts", "a string", "more string") // the table of versions lacks it
	r.Put("contacts", record("1", `{"a":"two"}`), purged, ended("3", stream.Purged, ""), record("5", `{"a":"new","more":"x"}`))
	r.settled()
	r.is("1|one\n2|\n4|stays", "SELECT id, a FROM contacts__versions ORDER BY id")
	r.is("", "SELECT versions_table FROM hubpipe_streams")
	// The store has no trace of one: what is swept loses its values there, too.
	r.sql("INSERT INTO contacts (id, _hubpipe_seq, _hubpipe_state, a) VALUES ('9', 1, 'live', 'canary'); INSERT INTO contacts__versions (id, _hubpipe_seq, _hubpipe_state, a, valid_from, _hubpipe_current) VALUES ('9', 1, 'live', 'canary', now(), true)")
	if err := r.M.Resync("warehouse", ""); err != nil {
		t.Fatal(err)
	}
	r.Until(func(destination.Status) bool {
		return r.sql("SELECT _hubpipe_state FROM contacts WHERE id = '9'") == "purged"
	})
	r.is("live||f\npurged||t", "SELECT _hubpipe_state, a, _hubpipe_current FROM contacts__versions WHERE id = '9' ORDER BY _hubpipe_seq")
	r.sql("UPDATE contacts__versions SET a = 'canary' WHERE id = '2'") // as if it had not been
	set(time.Hour)
	r.Until(func(destination.Status) bool { return r.sql("SELECT versions_table FROM hubpipe_streams") != "" })
	r.settled()
	r.is("1|live|one||f\n1|live|two||t\n2|live|||f\n2|purged|||t\n3|purged|||t\n4|live|stays||t\n5|live|new|x|t\n9|live|||f\n9|purged|||t",
		"SELECT id, _hubpipe_state, a, more, _hubpipe_current FROM contacts__versions ORDER BY id, _hubpipe_seq")
}

// After a restore, versions that the store has lost stay; those of what is gone
// lose their values, and the current one is what the store has.
func TestVersionsRestored(t *testing.T) {
	t.Parallel()
	r := newHistory(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "a string")
	r.Put("contacts", record("1", `{"a":"old"}`), record("2", `{"a":"old"}`), record("4", `{"a":"erased"}`))
	var backup bytes.Buffer
	if err := r.Src.Backup(t.Context(), "test", &backup); err != nil {
		t.Fatal(err)
	}
	r.Put("contacts", record("1", `{"a":"new"}`), ended("2", stream.Archived, `{"a":"lost"}`), record("3", `{"a":"created"}`), ended("4", stream.Purged, ""))
	r.Start()
	r.settled()
	r.Stop()
	if err := r.Src.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := store.Restore(t.Context(), store.Options{Dir: dir, FreeMark: 1}, &backup, false); err != nil {
		t.Fatal(err)
	}
	r.Src.Store = enginetest.OpenStore(t, dir)
	r.KeepFor()
	// HubSpot is asked: 1 comes again, 2 was restored there, 3 is gone. 4 was
	// erased: what the backup has of it does not come back.
	r.Put("contacts", record("1", `{"a":"newer"}`))
	r.Start()
	r.Current()
	r.is("1|live|newer\n2|live|old\n3|purged|\n4|purged|", "SELECT id, _hubpipe_state, a FROM contacts ORDER BY id")
	r.is("1|live|old|f\n1|live|new|f\n1|live|newer|t\n2|live|old|f\n2|archived|lost|f\n2|live|old|t\n3|live||f\n3|purged||t\n4|purged||t",
		"SELECT id, _hubpipe_state, a, _hubpipe_current FROM contacts__versions ORDER BY id, _hubpipe_seq")
}
