//go:build iceberg

package iceberg_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	ice "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
	"go.uber.org/goleak"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a store and a manager with one destination of tables.
type rig struct {
	*enginetest.Rig

	t testing.TB
	o iceberg.Options
	// open opens the catalogue as a reader has it.
	open func() (catalog.Catalog, func())
}

func newRig(t testing.TB, o iceberg.Options) *rig {
	t.Helper()
	if o.Mode == "" {
		o.Mode = iceberg.Append
	}
	if o.Namespace == "" {
		o.Namespace = "crm.hubspot"
	}
	if o.FileSize == 0 {
		o.FileSize = 64 << 20
	}
	if o.Compact == 0 {
		o.Compact = 24 * time.Hour
	}
	if o.Keep == 0 {
		o.Keep = 24 * time.Hour
	}
	r := &rig{t: t, o: o}
	r.Rig = enginetest.New(t, "lake", func() (destination.Engine, string) { return iceberg.New(r.o), fmt.Sprint(r.o, r.Choice) })
	return r
}

// rested is a rig over a REST catalogue and a folder.
func rested(t testing.TB, o iceberg.Options) (*rig, *catalogue) {
	t.Helper()
	c := serve(t)
	return c.rig(o), c
}

func (c *catalogue) rig(o iceberg.Options) *rig {
	o.Catalog, o.URI = iceberg.REST, c.s.URL
	r := newRig(c.t, o)
	r.open = func() (catalog.Catalog, func()) {
		x, err := catalog.Load(c.t.Context(), "reader", ice.Properties{"type": "rest", "uri": c.s.URL})
		if err != nil {
			c.t.Fatal(err)
		}
		return x, func() { _ = x.(catalog.Closer).Close() } //nolint:forcetypeassert // a test
	}
	return r
}

func record(id, properties string) *stream.Record { return enginetest.Record(id, properties) }

func ended(id string, s stream.State) *stream.Record { return enginetest.Ended(id, s) }

func erased(id string) *stream.Record { return enginetest.Erased(id) }

// look opens a table as a reader does.
func (r *rig) look(name string, fn func(*table.Table)) {
	r.t.Helper()
	c, done := r.open()
	defer done()
	tbl, err := c.LoadTable(r.t.Context(), append(strings.Split(r.o.Namespace, "."), name))
	if err != nil {
		r.t.Fatal(err)
	}
	fn(tbl)
}

type row = enginetest.Row

// rows are all rows of a table, in any order.
func (r *rig) rows(name string) (out []row) {
	r.t.Helper()
	r.look(name, func(tbl *table.Table) {
		scan := tbl.Scan()
		defer func() { _ = scan.Close() }()
		_, records, err := scan.ToArrowRecords(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		for rec, err := range records {
			if err != nil {
				r.t.Fatal(err)
			}
			for i := range int(rec.NumRows()) {
				x := row{}
				for j, col := range rec.Columns() {
					if col.IsNull(i) {
						continue
					}
					text := col.ValueStr(i)
					if l, ok := col.(*array.List); ok {
						b, _ := l.GetOneForMarshal(i).(json.RawMessage)
						text = string(b)
					}
					x[rec.ColumnName(j)] = text
				}
				out = append(out, x)
			}
			rec.Release()
		}
	})
	return out
}

// newest is what a reader makes of a table in mode append: the newest row of each
// record. In mode upsert there has to be one.
func (r *rig) newest(name string) map[string]row {
	r.t.Helper()
	rows := r.rows(name)
	if r.o.Mode == iceberg.Upsert {
		r.Once(rows, "id")
	}
	return enginetest.Newest(rows)
}

// same holds what a reader makes of a table against the store, value by value.
func (r *rig) same(name string) { r.t.Helper(); r.Same(name, r.newest(name), r.o.Delete) }

// exact checks that no version of a record stands in the table twice.
func (r *rig) exact(name string) { r.t.Helper(); r.Once(r.rows(name), "id", "_hubpipe_seq") }

// whole waits until the table has everything, and holds it against the store: each
// record is as it is there, and no version stands in it twice.
func (r *rig) whole() {
	r.t.Helper()
	r.Current()
	r.Equal()
	r.same("contacts")
	r.exact("contacts")
}

// filesIn are those below a folder.
func filesIn(t testing.TB, dir string) (out []string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func modes() []string { return []string{iceberg.Append, iceberg.Upsert} }

// Records come, change and end, and the table is as the store is: typed, and with
// the place in the feed.
func TestCopies(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, _ := rested(t, iceberg.Options{Mode: mode, Raw: true})
			r.Define("contacts", "email string", "n number", "on bool", "born date", "at datetime", "many enumeration checkbox", "a.b string", "Größe string")
			r.Put("contacts", record("1", `{"email":"a@example.com","n":"1.5","on":"true","born":"2026-02-03","at":"2026-02-03T04:05:06.789Z","many":"x;y","a.b":"dots","Größe":"g"}`),
				record("2", `{"email":"b@example.com","n":"many"}`), record("3", `{"email":"c"}`))
			r.Start()
			r.Current()
			x := r.newest("contacts")["1"]
			for name, want := range map[string]string{"email": "a@example.com", "n": "1.5", "on": "true", "born": "2026-02-03", "many": `["x","y"]`, "Größe": "g", "_hubpipe_state": "live"} {
				if x[name] != want {
					t.Errorf("%s is %q, want %q; the row is %v", name, x[name], want, x)
				}
			}
			if !strings.HasPrefix(x["at"], "2026-02-03") || !strings.Contains(x["at"], "04:05:06.789") {
				t.Errorf("at is %q", x["at"])
			}
			r.Equal()
			r.Put("contacts", record("1", `{"email":"new"}`), ended("2", stream.Purged), record("4", `{"email":"d"}`))
			r.Current()
			r.Equal()
			r.Put("contacts", record("1", `{"email":"newer"}`))
			s := r.Current()
			r.Equal()
			got := r.newest("contacts")
			if len(got) != 4 || got["1"]["email"] != "newer" || got["2"]["_hubpipe_state"] != "purged" || got["2"]["email"] != "" {
				t.Errorf("the table has %v", got)
			}
			if rows := r.rows("contacts"); mode == iceberg.Append && len(rows) != 7 || mode == iceberg.Upsert && len(rows) != 4 {
				t.Errorf("there are %d rows", len(rows))
			}
			if s.Streams[0].Place.Unparsed != 1 {
				t.Errorf("%d values did not parse", s.Streams[0].Place.Unparsed)
			}
			r.look("contacts", func(tbl *table.Table) {
				if at := tbl.CurrentSnapshot().Summary.Properties["hubpipe.position"]; at != fmt.Sprint(r.Src.PositionOf("contacts")) {
					t.Errorf("the snapshot says it is at %s", at)
				}
				if f, _ := tbl.Schema().FindFieldByName("id"); !f.Required || !slices.Equal(tbl.Schema().IdentifierFieldIDs, []int{f.ID}) {
					t.Errorf("the id is %+v of %v", f, tbl.Schema().IdentifierFieldIDs)
				}
			})
		})
	}
}
