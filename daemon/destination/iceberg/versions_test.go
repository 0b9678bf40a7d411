//go:build iceberg

package iceberg_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ice "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/enginetest"
)

const versionsTable = "contacts__versions"

// historied is a rig whose destination wants every version of contacts.
func historied(t testing.TB, o iceberg.Options) (*rig, *catalogue) {
	t.Helper()
	r, c := rested(t, o)
	r.Define("contacts", "a string")
	r.keeps(time.Hour)
	return r, c
}

func (r *rig) keeps(d time.Duration) {
	r.Streams[0].Versions = d
	r.KeepFor()
}

// versions are the rows of the table that has every version, in their order, as id,
// state and a property. None stands in it twice.
func (r *rig) versions(property string) (out []string) {
	r.t.Helper()
	if !r.there(versionsTable) {
		return []string{"there is no such table"}
	}
	rows := r.rows(versionsTable)
	r.Once(rows, "id", "_hubpipe_seq")
	slices.SortFunc(rows, func(a, b row) int { return a.Seq() - b.Seq() })
	for _, x := range rows {
		out = append(out, x["id"]+"|"+x["_hubpipe_state"]+"|"+x[property])
	}
	return out
}

// there tells whether there is a table.
func (r *rig) there(name string) bool {
	r.t.Helper()
	c, done := r.open()
	defer done()
	_, err := c.LoadTable(r.t.Context(), append(strings.Split(r.o.Namespace, "."), name))
	if err != nil && !errors.Is(err, catalog.ErrNoSuchTable) {
		r.t.Fatal(err)
	}
	return err == nil
}

// has tells whether a table has a column.
func (r *rig) has(name, column string) (is bool) {
	r.t.Helper()
	r.look(name, func(tbl *table.Table) { _, is = tbl.Schema().FindFieldByName(column) })
	return is
}

// filled waits until the versions are as they should be, and nothing is written anew.
func (r *rig) filled(want ...string) {
	r.t.Helper()
	for end := time.Now().Add(enginetest.Patience); !slices.Equal(want, r.versions("a")) && time.Now().Before(end); {
		r.Moment()
	}
	r.Current()
	if d := gocmp.Diff(want, r.versions("a")); d != "" {
		r.t.Error(d)
	}
}

func (r *rig) again(change func()) {
	r.t.Helper()
	r.Stop()
	change()
	r.Start()
}

// Each version is a row that stays, whatever is written anew beside, but for those
// of records that have lost their content: of what was erased nothing is left in any
// file.
func TestVersions(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			const canary = "canary-4711"
			r, c := historied(t, iceberg.Options{Mode: mode, Keep: time.Millisecond})
			r.Put("contacts", record("1", `{"a":"one"}`), record("2", `{"a":"`+canary+`"}`), record("3", `{"a":"`+canary+`"}`), record("4", `{"a":"stays"}`))
			r.Put("contacts", record("1", `{"a":"two"}`)) // nobody has read the one before
			r.Start()
			r.filled("1|live|one", "2|live|"+canary, "3|live|"+canary, "4|live|stays", "1|live|two")
			r.resync()
			r.filled("1|live|one", "2|live|"+canary, "3|live|"+canary, "4|live|stays", "1|live|two")
			r.whole()
			if rows := r.rows("contacts"); len(rows) != 4 {
				t.Errorf("the table beside has %d rows", len(rows))
			}

			// What is erased goes at once, and what is purged with it.
			r.Put("contacts", record("1", `{"a":"three"}`), ended("2", stream.Purged))
			r.filled("1|live|one", "2|live|"+canary, "3|live|"+canary, "4|live|stays", "1|live|two", "1|live|three", "2|purged|")
			r.Put("contacts", erased("3"))
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && s.Streams[0].Place.Cleared >= s.Streams[0].Head
			})
			r.filled("1|live|one", "4|live|stays", "1|live|two", "1|live|three", "2|purged|", "3|purged|")
			if where := holds(t, filepath.Join(c.dir, versionsTable), canary); len(where) > 0 {
				t.Errorf("what was erased stands in %v", where)
			}
			r.whole()

			// One whose type changes keeps what it was under another name.
			life := []string{"1|live|one", "4|live|stays", "1|live|two", "1|live|three", "2|purged|", "3|purged|"}
			for i, kind := range []string{"number", "string"} {
				column := []string{"n", "n__before_1"}[i]
				r.Define("contacts", "a string", "n "+kind)
				r.Put("contacts", record("1", fmt.Sprintf(`{"a":"%d"}`, 2*i))) // which has it look at the definitions
				r.Eventually("column "+column, func() bool { return r.has(versionsTable, column) })
				r.Put("contacts", record("1", fmt.Sprintf(`{"a":"%d","n":"%d"}`, 2*i+1, i+7)))
				life = append(life, fmt.Sprint("1|live|", 2*i), fmt.Sprint("1|live|", 2*i+1))
				r.filled(life...)
			}
			for _, x := range r.rows(versionsTable) {
				if was, is := x["n__before_1"], x["n"]; was != map[string]string{"1": "7"}[x["a"]] || is != map[string]string{"3": "8"}[x["a"]] {
					t.Errorf("of %s n was %q, and is %q", x["a"], was, is)
				}
			}

			// Of what is handed over otherwise now, nothing of before stays.
			r.again(func() { r.Choice = destination.Choice{Exclude: []string{"a"}} })
			r.filled("4|live|", "2|purged|", "3|purged|", "1|live|")
			r.Put("contacts", record("4", `{"a":"hidden"}`))
			r.filled("4|live|", "2|purged|", "3|purged|", "1|live|", "4|live|")

			// Without the setting they go, and with it they begin with what is there.
			r.again(func() { r.Choice = destination.Choice{}; r.keeps(0) })
			r.filled()
			r.Put("contacts", record("4", `{"a":"unseen"}`))
			r.Current()
			r.again(func() { r.keeps(time.Hour) })
			r.filled("2|purged|", "3|purged|", "1|live|3", "4|live|unseen")
			r.Put("contacts", record("1", `{"a":"six"}`))
			r.filled("2|purged|", "3|purged|", "1|live|3", "4|live|unseen", "1|live|six")
			r.whole()
		})
	}
}

// resync has everything written anew.
func (r *rig) resync() {
	r.t.Helper()
	rows := r.Current().Streams[0].Place.Rows
	if err := r.M.Resync("lake", ""); err != nil {
		r.t.Fatal(err)
	}
	r.Until(func(s destination.Status) bool {
		return s.State == destination.Current && s.Streams[0].Place.Rows > rows
	})
}

// Where they come to be wanted of a table that is there, versions begin with the
// records as they are, also where that takes several goes.
func TestVersionsOfWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, c := historied(t, iceberg.Options{Mode: mode})
			r.keeps(0)
			r.Put("contacts", record("1", `{"a":"one"}`), record("2", `{"a":"two"}`), record("3", `{"a":"three"}`), ended("4", stream.Archived))
			r.Start()
			r.Current()
			c.fails(func(n int) fault { return fault{before: n%4 == 2, after: n%4 == 0} })
			r.again(func() {
				r.keeps(time.Hour)
				r.Put("contacts", record("5", `{"a":"five"}`)) // which is written before, and read again
			})
			r.filled("1|live|one", "2|live|two", "3|live|three", "4|archived|", "5|live|five")
			c.fails(nil)
			r.Put("contacts", record("2", `{"a":"new"}`))
			r.filled("1|live|one", "2|live|two", "3|live|three", "4|archived|", "5|live|five", "2|live|new")
			r.again(func() { r.Src.Become("", 1) }) // a restored store has the newest alone
			r.filled("1|live|one", "3|live|three", "4|archived|", "5|live|five", "2|live|new")
			r.whole()
		})
	}
}

// Whatever fails and whenever: each version that was committed is there in the end,
// once, and nothing of what lost its content.
func TestEachVersionOnce(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, c := historied(t, iceberg.Options{Mode: mode, FileSize: 1 << 20})
			rng := rand.New(rand.NewPCG(7, 5)) //nolint:gosec // repeatable
			c.fails(func(n int) fault { return fault{before: n%7 == 3, after: n%11 == 5} })
			var all []string
			for round := range 12 {
				var list []*stream.Record
				for range 150 {
					rec := record(fmt.Sprint(rng.IntN(100)), fmt.Sprintf(`{"a":"%d"}`, rng.Int()))
					if rng.IntN(15) == 0 {
						rec = ended(rec.ID, stream.Purged)
					}
					list = append(list, rec)
				}
				r.Put("contacts", list...)
				for _, x := range list {
					if x.State == stream.Purged {
						all = slices.DeleteFunc(all, func(v string) bool { return strings.HasPrefix(v, x.ID+"|") })
					}
					all = append(all, fmt.Sprintf("%s|%s|%s", x.ID, x.State, strings.TrimSuffix(strings.TrimPrefix(string(x.Properties), `{"a":"`), `"}`)))
				}
				if round == 0 {
					r.Start()
				}
				switch rng.IntN(4) {
				case 0:
					r.again(func() {})
				case 1:
					if err := r.M.Resync("lake", ""); err != nil {
						t.Error(err)
					}
				case 2:
					r.Current()
				}
				r.Sweep(r.M)
			}
			c.fails(nil)
			r.Current()
			r.again(func() { r.o.Compact = time.Millisecond }) // what was purged goes with the next writing together
			r.Put("contacts", record("100", `{"a":"last"}`))
			r.filled(append(all, "100|live|last")...)
			r.whole()
		})
	}
}

// Files of changes are written together, and somebody else's doing so is no harm.
func TestVersionsWrittenTogether(t *testing.T) {
	t.Parallel()
	r, _ := historied(t, iceberg.Options{})
	d := r.session()
	var want []string
	for i := range 25 {
		r.Put("contacts", record("1", fmt.Sprintf(`{"a":"%d"}`, i)))
		d.write(d.place.Position)
		want = append(want, fmt.Sprintf("1|live|%d", i))
	}
	if n := r.files(versionsTable); n != 25 {
		t.Errorf("there are %d files", n)
	}
	r.o.Compact = time.Millisecond
	r.Start()
	r.Until(func(s destination.Status) bool { return s.State == destination.Current && r.files(versionsTable) == 1 })
	r.Stop()
	r.filledNow(want)
	r.look(versionsTable, func(tbl *table.Table) {
		if _, err := tbl.Delete(t.Context(), ice.EqualTo(ice.Reference("a"), "7"), nil); err != nil {
			t.Fatal(err)
		}
	})
	r.Put("contacts", record("1", `{"a":"last"}`))
	r.Start()
	r.Current()
	r.filledNow(append(slices.DeleteFunc(want, func(v string) bool { return v == "1|live|7" }), "1|live|last"))
}

func (r *rig) filledNow(want []string) {
	r.t.Helper()
	if d := gocmp.Diff(want, r.versions("a")); d != "" {
		r.t.Error(d)
	}
}

// files counts the data files of a table.
func (r *rig) files(name string) (n int) {
	r.t.Helper()
	r.look(name, func(tbl *table.Table) {
		scan := tbl.Scan()
		defer func() { _ = scan.Close() }()
		tasks, err := scan.PlanFiles(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		n = len(tasks)
	})
	return n
}

// Files of versions that their owner wants to stay are owed to what was erased, and
// that is said.
func TestVersionsMayStay(t *testing.T) {
	t.Parallel()
	r, _ := historied(t, iceberg.Options{Keep: time.Millisecond})
	r.Put("contacts", record("1", `{"a":"one"}`))
	r.Start()
	r.Current()
	r.again(func() { r.set(versionsTable, ice.Properties{"gc.enabled": "false"}) })
	r.Put("contacts", erased("1"))
	head := r.Src.PositionOf("contacts")
	s := r.Until(func(s destination.Status) bool { return s.Error != nil })
	if !strings.Contains(s.Error.Detail, "gc.enabled") || s.Streams[0].Place.Cleared >= head {
		t.Errorf("it says %+v, and is clear up to %d of %d", s.Error, s.Streams[0].Place.Cleared, head)
	}
	r.filledNow([]string{"1|purged|"})
	r.set(versionsTable, ice.Properties{"gc.enabled": "true"})
	r.Until(func(s destination.Status) bool {
		return s.Streams[0].Place.Cleared >= head && s.State == destination.Current
	})
	r.whole()
}

// Of what is paused a check changes nothing: neither is a table of versions made, nor
// is one emptied.
func TestVersionsWhilePaused(t *testing.T) {
	t.Parallel()
	r, _ := historied(t, iceberg.Options{})
	r.keeps(0)
	r.Put("contacts", record("1", `{"a":"one"}`))
	r.Start()
	r.Current()
	for _, wanted := range []bool{true, false} {
		if err := r.M.Pause("lake"); err != nil {
			t.Fatal(err)
		}
		r.again(func() { r.keeps(map[bool]time.Duration{true: time.Hour}[wanted]) })
		if checked, err := r.M.Check(t.Context(), "lake"); err != nil || !checked[0].Equal() {
			t.Errorf("it says %+v, %v", checked, err)
		}
		if !wanted {
			r.filledNow([]string{"1|live|one"})
		} else if r.there(versionsTable) {
			t.Error("there is a table of versions")
		}
		if err := r.M.Resume("lake"); err != nil {
			t.Fatal(err)
		}
		if wanted {
			r.filled("1|live|one")
		}
	}
	r.filled()
}

// In a bucket, too, where the files of one table lie below what another's location
// begins with, tidying one takes nothing of the other.
func TestVersionsInBucket(t *testing.T) {
	t.Parallel()
	be := s3mem.New()
	if err := be.CreateBucket("lake"); err != nil {
		t.Fatal(err)
	}
	s3 := httptest.NewServer(gofakes3.New(be).Server())
	t.Cleanup(s3.Close)
	r, _ := sqled(t, iceberg.Options{Warehouse: "s3://lake/crm", AccessKey: "key", SecretKey: "secret", Keep: time.Millisecond,
		Properties: map[string]string{"s3.endpoint": s3.URL, "s3.region": "us-east-1", "s3.force-virtual-addressing": "false"}})
	r.Define("contacts", "a string")
	r.keeps(time.Hour)
	r.Put("contacts", record("1", `{"a":"one"}`), record("2", `{"a":"two"}`))
	r.Start()
	r.Current()
	r.Put("contacts", record("1", `{"a":"new"}`), erased("2"))
	r.Until(func(s destination.Status) bool { // behind this both are tidied
		return s.State == destination.Current && s.Streams[0].Place.Cleared >= s.Streams[0].Head
	})
	r.filled("1|live|one", "1|live|new", "2|purged|")
	r.whole()
}

// A table of versions that is dropped while what it begins with is read, and made
// again, begins with what is there then.
func TestVersionsDropped(t *testing.T) {
	t.Parallel()
	r, c := historied(t, iceberg.Options{})
	r.keeps(0)
	r.Put("contacts", record("1", `{"a":"one"}`), record("2", `{"a":"two"}`))
	d := r.session()
	d.write(0)
	r.keeps(time.Hour)
	e := iceberg.New(r.o)
	d = r.sessionOf(e)
	d.step(d.s.Tend(t.Context(), "contacts", d.place.Position))
	d.write(0) // what the rereading reads
	r.Put("contacts", record("3", `{"a":"three"}`))
	d.place.Reread = nil
	d.write(d.place.Position)
	c.mu.Lock()
	delete(c.tables, versionsTable)
	c.mu.Unlock()
	d = r.sessionOf(e)
	if again := d.place.Reread; again == nil || again.Position != 0 || again.Until != d.place.Position {
		t.Fatalf("what was read before they begin goes on: %+v", again)
	}
	d.step(d.s.Swept(t.Context(), "contacts")) // which it has not come to
	r.Start()
	r.filled("1|live|one", "2|live|two", "3|live|three")
	r.whole()
}
