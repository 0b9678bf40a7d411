//go:build iceberg

package iceberg_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ice "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
)

// holds tells whether a text stands in a file below a folder. Text of few bytes is
// packed by nothing in Parquet that hides it.
func holds(t testing.TB, dir, text string) (where []string) {
	t.Helper()
	for _, f := range filesIn(t, dir) {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has gone meanwhile
		}
		if strings.Contains(string(b), text) {
			where = append(where, f)
		}
	}
	return where
}

// What was erased is gone from all files, those of snapshots before included, and
// is owed until then.
func TestErasure(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, c := rested(t, iceberg.Options{Mode: mode, Keep: time.Hour})
			const canary = "canary@example.com"
			r.Put("contacts", record("1", `{"email":"`+canary+`"}`), record("2", `{"email":"other"}`))
			r.Start()
			r.Current()
			if len(holds(t, c.dir, canary)) == 0 {
				t.Fatal("the value is not to be seen in the files: this test shows nothing")
			}
			r.Put("contacts", erased("1"))
			s := r.Until(func(s destination.Status) bool {
				p := s.Streams[0].Place
				return s.State == destination.Current && p.Reread == nil && p.Rows >= 4
			})
			head := r.Src.PositionOf("contacts")
			if cleared := s.Streams[0].Place.Cleared; cleared >= head {
				t.Errorf("snapshots have it, and it is clear up to %d of %d", cleared, head)
			}
			for _, x := range r.rows("contacts") {
				if x["email"] == canary {
					t.Errorf("the table has %v", x)
				}
			}
			r.Stop()
			d := r.session()
			d.step(d.s.Tend(t.Context(), "contacts", head))
			if d.place.Cleared >= head || len(holds(t, c.dir, canary)) == 0 {
				t.Errorf("files of snapshots before stay, and it is clear up to %d of %d", d.place.Cleared, head)
			}
			r.o.Keep = time.Millisecond
			r.Start()
			r.Until(func(s destination.Status) bool { return len(s.Streams) > 0 && s.Streams[0].Place.Cleared >= head })
			// The catalogue's own metadata has no values.
			if where := holds(t, c.dir, canary); len(where) > 0 {
				t.Errorf("it still stands in %v", where)
			}
			r.Equal()
		})
	}
}

// Where somebody else lets snapshots expire files stay until they are old enough,
// and what was erased is owed until then.
func TestErasureFromYoungFiles(t *testing.T) {
	t.Parallel()
	r, c := rested(t, iceberg.Options{Keep: time.Hour})
	const canary = "canary@example.com"
	r.Put("contacts", record("1", `{"email":"`+canary+`"}`), record("2", `{"email":"other"}`))
	d := r.session()
	d.write(0)
	r.Put("contacts", erased("1"))
	head := r.Src.PositionOf("contacts")
	d.write(d.place.Position)
	d.step(d.s.Tend(t.Context(), "contacts", head))
	d.write(0)
	d.step(d.s.Swept(t.Context(), "contacts"))
	r.look("contacts", func(tbl *table.Table) {
		tx := tbl.NewTransaction()
		if err := tx.ExpireSnapshots(table.WithOlderThan(0), table.WithRetainLast(1), table.WithPostCommit(false)); err != nil {
			t.Fatal(err)
		}
		if tbl, err := tx.Commit(t.Context()); err != nil || len(tbl.Metadata().Snapshots()) != 1 {
			t.Fatal("snapshots stay", err)
		}
	})
	d.prepare()
	d.step(d.s.Tend(t.Context(), "contacts", head))
	if where := holds(t, c.dir, canary); len(where) == 0 || d.place.Cleared >= head {
		t.Errorf("it stands in %v, and is clear up to %d of %d", where, d.place.Cleared, head)
	}
	r.o.Keep = time.Millisecond
	r.Start()
	r.Until(func(s destination.Status) bool { return len(s.Streams) > 0 && s.Streams[0].Place.Cleared >= head })
	if where := holds(t, c.dir, canary); len(where) > 0 {
		t.Errorf("it still stands in %v", where)
	}
}

// Where the table's owner has its files written elsewhere they are not taken away,
// and what was erased is owed until somebody has done that.
func TestErasureElsewhere(t *testing.T) {
	t.Parallel()
	r, c := rested(t, iceberg.Options{Keep: time.Millisecond})
	const canary = "canary@example.com"
	elsewhere := filepath.Join(c.dir, "elsewhere")
	r.Put("contacts", record("1", `{"email":"none"}`))
	d := r.session()
	d.write(0)
	r.set("contacts", ice.Properties{"write.data.path": "file://" + elsewhere})
	r.Put("contacts", record("1", `{"email":"`+canary+`"}`))
	r.Start()
	r.Current()
	if len(holds(t, elsewhere, canary)) == 0 {
		t.Fatal("the file lies somewhere else")
	}
	r.Put("contacts", erased("1"))
	head := r.Src.PositionOf("contacts")
	s := r.Until(func(s destination.Status) bool { return s.Error != nil })
	if !strings.Contains(s.Error.Detail, elsewhere) || s.Error.Blocked || s.Streams[0].Place.Cleared >= head {
		t.Errorf("it says %+v, and is clear up to %d of %d", s.Error, s.Streams[0].Place.Cleared, head)
	}
	r.look("contacts", func(tbl *table.Table) {
		tx := tbl.NewTransaction()
		if err := tx.RemoveProperties([]string{"write.data.path"}); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	for range 2 {
		rows := r.Until(func(s destination.Status) bool { return s.Streams[0].Place.Reread == nil }).Streams[0].Place.Rows
		if err := r.M.Resync("lake", "contacts"); err != nil {
			t.Fatal(err)
		}
		s = r.Until(func(s destination.Status) bool {
			return s.Streams[0].Place.Rows > rows && s.Streams[0].Place.Reread == nil
		})
		if len(holds(t, elsewhere, canary)) > 0 && s.Streams[0].Place.Cleared >= head {
			t.Error("it is there still, and said to be gone")
		}
		for _, f := range filesIn(t, elsewhere) {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.Until(func(s destination.Status) bool { return s.Streams[0].Place.Cleared >= head })
	r.Current()
	r.Equal()
}

// bounds are the manifests of a table's snapshots that have a value of a column as
// the lowest or highest of a file, be it one that has gone.
func (r *rig) bounds(name, value string) (where []string) {
	r.t.Helper()
	r.look(name, func(tbl *table.Table) {
		fs, err := tbl.FS(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		for _, snap := range tbl.Metadata().Snapshots() {
			manifests, err := snap.Manifests(fs)
			if err != nil {
				r.t.Fatal(err)
			}
			for _, m := range manifests {
				for entry, err := range m.Entries(fs, false) {
					if err != nil {
						r.t.Fatal(err)
					}
					f := entry.DataFile()
					for _, bound := range []map[int][]byte{f.LowerBoundValues(), f.UpperBoundValues()} {
						for _, v := range bound {
							if strings.Contains(string(v), value) {
								where = append(where, m.FilePath())
							}
						}
					}
				}
			}
		}
	})
	return where
}

// set sets properties of a table, as its owner may.
func (r *rig) set(name string, props ice.Properties) {
	r.t.Helper()
	r.look(name, func(tbl *table.Table) {
		tx := tbl.NewTransaction()
		if err := tx.SetProperties(props); err != nil {
			r.t.Fatal(err)
		}
		if _, err := tx.Commit(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	})
}

// What was erased is not in manifests either, which outlast the files that they
// name. In a table of before, or one whose owner wants the lowest and highest
// values, it is there until the writing anew behind that of the erasure.
func TestErasureFromManifests(t *testing.T) {
	t.Parallel()
	for _, bounded := range []bool{false, true} {
		t.Run(fmt.Sprint(bounded), func(t *testing.T) {
			t.Parallel()
			r, _ := rested(t, iceberg.Options{Keep: time.Millisecond})
			const canary = "+44 555 1234"
			d := r.session()
			r.Put("contacts", record("0", `{"phone":"none"}`))
			d.write(0)
			if bounded {
				r.set("contacts", ice.Properties{"write.metadata.metrics.default": "truncate(16)", "write.metadata.metrics.column.phone": "full"})
				d.prepare()
			}
			r.Put("contacts", record("1", `{"phone":"`+canary+`"}`))
			d.write(d.place.Position)
			r.Start()
			r.Current()
			if where := r.bounds("contacts", canary); len(where) > 0 != bounded {
				t.Fatalf("manifests that have it: %v", where)
			}
			r.Put("contacts", erased("1"))
			head := r.Src.PositionOf("contacts")
			r.Until(func(s destination.Status) bool { return len(s.Streams) > 0 && s.Streams[0].Place.Cleared >= head })
			if where := r.bounds("contacts", canary); len(where) > 0 {
				t.Errorf("it still stands in %v", where)
			}
			r.Current()
			r.Equal()
		})
	}
}

// Files that a process has left without a commit go, and what the table has stays.
func TestOrphans(t *testing.T) {
	t.Parallel()
	r, c := rested(t, iceberg.Options{Keep: time.Millisecond})
	r.fill(0, 10)
	d := r.session()
	if err := d.take(0); err != nil {
		t.Fatal(err)
	}
	c.fails(func(int) fault { return fault{before: true} })
	if _, err := d.s.Flush(t.Context(), "contacts"); err == nil {
		t.Fatal("the commit went through")
	}
	left := filesIn(t, filepath.Join(c.dir, "contacts"))
	if len(left) == 0 {
		t.Fatal("nothing is left")
	}
	c.fails(nil)
	r.Start()
	r.Current()
	r.Eventually("files that go", func() bool { return len(r.alive(left)) == 0 })
	r.Equal()
}

// Of a table whose files its owner wants to stay none goes, and what was erased is
// owed until they may.
func TestFilesMayStay(t *testing.T) {
	t.Parallel()
	r, c := rested(t, iceberg.Options{Keep: time.Millisecond})
	d := r.session()
	r.fill(0, 2)
	d.write(0)
	r.set("contacts", ice.Properties{"gc.enabled": "false"})
	left := filepath.Join(c.dir, "contacts", "data", "left.parquet")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(left, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	before := filesIn(t, filepath.Join(c.dir, "contacts"))
	d.prepare()
	d.step(d.s.Tend(t.Context(), "contacts", d.place.Position))
	r.Put("contacts", erased("1"))
	head := r.Src.PositionOf("contacts")
	r.Start()
	s := r.Until(func(s destination.Status) bool { return s.Error != nil })
	if !strings.Contains(s.Error.Detail, "gc.enabled") || s.Error.Blocked || s.Streams[0].Place.Cleared >= head {
		t.Errorf("it says %+v, and is clear up to %d of %d", s.Error, s.Streams[0].Place.Cleared, head)
	}
	if now := r.alive(before); len(now) != len(before) {
		t.Errorf("of %v there are %v", before, now)
	}
	r.fill(2, 4)
	r.Until(func(s destination.Status) bool { return s.Behind == 0 && s.Streams[0].Place.Reread == nil })
	r.set("contacts", ice.Properties{"gc.enabled": "true"})
	r.Until(func(s destination.Status) bool { return s.Streams[0].Place.Cleared >= r.Src.PositionOf("contacts") })
	if len(r.alive([]string{left})) > 0 {
		t.Error("what nobody has named stays")
	}
	r.Equal()
}

// What somebody else has committed to a table stays, however long nothing was
// written to it.
func TestOthersFilesStay(t *testing.T) {
	t.Parallel()
	r, _ := rested(t, iceberg.Options{Keep: time.Millisecond})
	r.fill(0, 10)
	d := r.session()
	d.write(0)
	r.look("contacts", func(tbl *table.Table) {
		if _, err := tbl.Delete(t.Context(), ice.EqualTo(ice.Reference("id"), "3"), nil); err != nil {
			t.Fatal(err)
		}
	})
	since := time.Now()
	r.Eventually("a later moment", func() bool { return time.Since(since) >= 10*time.Millisecond })
	d.step(d.s.Tend(t.Context(), "contacts", d.place.Position))
	if rows := r.rows("contacts"); len(rows) != 9 {
		t.Errorf("there are %d rows", len(rows))
	}
	r.fill(10, 12)
	d.write(d.place.Position)
	if rows := r.rows("contacts"); len(rows) != 11 {
		t.Errorf("there are %d rows", len(rows))
	}
}

// alive are those of some files that there are.
func (r *rig) alive(list []string) (out []string) {
	for _, f := range list {
		if _, err := os.Stat(f); err == nil {
			out = append(out, f)
		}
	}
	return out
}
