//go:build iceberg

package iceberg_test

import (
	"testing"

	ice "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What changes while everything is written again is newer than what that has read,
// and what somebody has taken from the table comes back.
func TestResync(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, _ := rested(t, iceberg.Options{Mode: mode, Delete: mode == iceberg.Upsert})
			r.fill(0, 20)
			d := r.session()
			d.write(0)
			before := d.place.Position
			r.fill(10, 30)
			d.write(before)
			r.Put("contacts", record("66", `{"n":"waits"}`), record("5", `{"n":"waits"}`)) // and is not written yet
			d.reread(r.Src.PositionOf("contacts"))
			again := d.place
			d.write(0) // what the rereading reads
			// Two are changed, one more comes, and one ends, twice over.
			for range 2 {
				r.Put("contacts", record("3", `{"n":"new"}`), record("12", `{"n":"new"}`), record("77", `{"n":"new"}`), ended("15", stream.Archived))
				d.place.Reread = nil
				d.write(d.place.Position)
			}
			if d.place.Reread == nil || d.place.Reread.Position != again.Reread.Until {
				t.Fatalf("it stands at %+v", d.place.Reread)
			}
			d.step(d.s.Swept(t.Context(), "contacts"))
			if d.place.Reread != nil {
				t.Fatalf("it has not ended: %+v", d.place.Reread)
			}
			r.same("contacts")
			r.exact("contacts")
			if rows := len(r.rows("contacts")); mode == iceberg.Upsert && rows != 31 || mode == iceberg.Append && rows != 31+8 {
				t.Errorf("there are %d rows", rows)
			}
			r.Start()
			r.Current()
			r.Equal()
			if err := r.M.Resync("lake", "contacts"); err != nil {
				t.Fatal(err)
			}
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && s.Streams[0].Place.Rows >= d.place.Rows+30
			})
			r.Equal()
			r.same("contacts")
			if rows := len(r.rows("contacts")); mode == iceberg.Append && rows != 32 {
				t.Errorf("each record was written once, and there are %d rows", rows)
			}
		})
	}
}

// While everything is written again somebody else compacts the table, or a process
// ends: it begins anew.
func TestResyncBeginsAnew(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, _ := rested(t, iceberg.Options{Mode: mode})
			r.fill(0, 20)
			d := r.session()
			d.write(0)
			d.reread(d.place.Position)
			d.write(0)
			r.look("contacts", func(tbl *table.Table) {
				tx := tbl.NewTransaction()
				if err := tx.Delete(t.Context(), ice.EqualTo(ice.Reference("id"), "3"), nil); err != nil {
					t.Fatal(err)
				}
				if _, err := tx.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
			d.prepare()
			d.step(d.s.Swept(t.Context(), "contacts"))
			if d.place.Reread == nil || d.place.Reread.Position != 0 {
				t.Fatalf("it ends over what somebody else did: %+v", d.place)
			}
			if again := d.place.Reread; again.Anew != 1 || again.Why != "somebody else has written to the table meanwhile" {
				t.Errorf("it does not say that it begins anew, nor why: %+v", again)
			}
			d.write(0)
			d = r.session() // another process
			if d.place.Reread == nil || d.place.Reread.Position != 0 {
				t.Fatalf("it goes on at %+v", d.place)
			}
			r.Start()
			r.whole()
			if rows := len(r.rows("contacts")); rows != 20 {
				t.Errorf("there are %d rows", rows)
			}
		})
	}
}

// A record that ends, or changes, while a table whose rows somebody has taken is
// written anew is as it is then.
func TestResyncOfEmptyTable(t *testing.T) {
	t.Parallel()
	for _, rec := range []*stream.Record{ended("3", stream.Archived), record("3", `{"n":"new"}`)} {
		t.Run(string(rec.State), func(t *testing.T) {
			t.Parallel()
			r, _ := rested(t, iceberg.Options{Mode: iceberg.Upsert, Delete: true})
			r.fill(3, 4)
			d := r.session()
			d.write(0)
			r.look("contacts", func(tbl *table.Table) {
				if _, err := tbl.Delete(t.Context(), ice.EqualTo(ice.Reference("id"), "3"), nil); err != nil {
					t.Fatal(err)
				}
			})
			d.prepare()
			d.reread(d.place.Position)
			d.write(0)
			r.Put("contacts", rec)
			d.place.Reread = nil
			d.write(d.place.Position)
			d.step(d.s.Swept(t.Context(), "contacts"))
			if d.place.Reread == nil || d.place.Reread.Position != 0 {
				t.Errorf("it has ended: %+v", d.place)
			}
			r.Start()
			r.whole()
		})
	}
}

// A table that is dropped while it is written anew, and made again, has nothing of
// what was written for the one before.
func TestResyncOfNewTable(t *testing.T) {
	t.Parallel()
	r, c := rested(t, iceberg.Options{Mode: iceberg.Upsert})
	r.fill(0, 5)
	e := iceberg.New(r.o)
	d := r.sessionOf(e)
	d.write(0)
	d.reread(d.place.Position)
	d.write(0)
	c.mu.Lock()
	delete(c.tables, "contacts")
	c.mu.Unlock()
	d = r.sessionOf(e)
	d.write(0)
	d.reread(d.place.Position)
	if d.place.Reread.Position != 0 {
		t.Errorf("it goes on at %+v", d.place.Reread)
	}
}

// A rereading ends where somebody lets all snapshots but the newest expire, and
// begins anew where somebody has written meanwhile.
func TestResyncWithoutSnapshots(t *testing.T) {
	t.Parallel()
	for mode, others := range map[string]bool{iceberg.Upsert: false, iceberg.Append: true} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, _ := rested(t, iceberg.Options{Mode: mode})
			r.fill(0, 10)
			d := r.session()
			d.write(0)
			d.reread(d.place.Position)
			d.write(0)
			r.fill(5, 12)
			d.place.Reread = nil
			d.write(d.place.Position)
			if others {
				r.look("contacts", func(tbl *table.Table) {
					if _, err := tbl.Delete(t.Context(), ice.EqualTo(ice.Reference("id"), "11"), nil); err != nil {
						t.Fatal(err)
					}
				})
				d.prepare()
			}
			r.Put("contacts", record("3", `{"n":"new"}`))
			d.place.Reread = nil
			d.write(d.place.Position)
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
			d.step(d.s.Swept(t.Context(), "contacts"))
			if again := d.place.Reread != nil; again != others {
				t.Errorf("it begins anew: %t", again)
			}
			r.Start()
			r.whole()
		})
	}
}
