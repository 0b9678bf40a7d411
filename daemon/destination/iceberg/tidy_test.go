//go:build iceberg

package iceberg_test

import (
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
			r.put("contacts", record("1", `{"email":"`+canary+`"}`), record("2", `{"email":"other"}`))
			r.start()
			r.current()
			if len(holds(t, c.dir, canary)) == 0 {
				t.Fatal("the value is not to be seen in the files: this test shows nothing")
			}
			r.put("contacts", erased("1"))
			s := r.until(func(s destination.Status) bool {
				p := s.Streams[0].Place
				return s.State == destination.Current && p.Reread == nil && p.Rows >= 4
			})
			head := r.src.PositionOf("contacts")
			if cleared := s.Streams[0].Place.Cleared; cleared >= head {
				t.Errorf("snapshots have it, and it is clear up to %d of %d", cleared, head)
			}
			for _, x := range r.rows("contacts") {
				if x["email"] == canary {
					t.Errorf("the table has %v", x)
				}
			}
			r.stop()
			d := r.session()
			d.step(d.s.Tend(t.Context(), "contacts", head))
			if d.place.Cleared >= head || len(holds(t, c.dir, canary)) == 0 {
				t.Errorf("files of snapshots before stay, and it is clear up to %d of %d", d.place.Cleared, head)
			}
			r.o.Keep = time.Millisecond
			r.start()
			r.until(func(s destination.Status) bool { return len(s.Streams) > 0 && s.Streams[0].Place.Cleared >= head })
			// The catalogue's own metadata has no values.
			if where := holds(t, c.dir, canary); len(where) > 0 {
				t.Errorf("it still stands in %v", where)
			}
			r.equal()
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
	r.start()
	r.current()
	for end := time.Now().Add(patience); len(r.alive(left)) > 0; r.moment() {
		if time.Now().After(end) {
			t.Fatalf("%v stay", r.alive(left))
		}
	}
	r.equal()
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
	for end := since.Add(patience); time.Since(since) < 10*time.Millisecond && time.Now().Before(end); {
		r.moment()
	}
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
