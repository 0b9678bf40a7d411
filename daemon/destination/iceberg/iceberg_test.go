//go:build iceberg

package iceberg_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	ice "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
	"go.uber.org/goleak"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come.
const patience = 2 * time.Minute

// source is a real store with what the daemon adds to it.
type source struct {
	*store.Store

	mu          sync.Mutex
	definitions map[string][]stream.Property
	epoch       uint64
}

func (s *source) Definitions(name string) ([]stream.Property, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.definitions[name]), nil
}

func (s *source) Standing(_ context.Context, name string) (destination.Standing, error) {
	return destination.Standing{Stream: name, Object: name, Settled: true}, nil
}

// Epoch may be a later one than the store's own.
func (s *source) Epoch() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Store.Epoch() + s.epoch
}

// rig is a store and a manager with one destination.
type rig struct {
	t       testing.TB
	src     *source
	m       *destination.Manager
	o       iceberg.Options
	streams []destination.Stream
	choice  destination.Choice
	path    string
	gather  time.Duration
	// open opens the catalogue as a reader has it.
	open func() (catalog.Catalog, func())
}

func newRig(t testing.TB, o iceberg.Options) *rig {
	t.Helper()
	dir := t.TempDir()
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
	st, err := store.Open(t.Context(), store.Options{Dir: filepath.Join(dir, "store"), FreeMark: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return &rig{t: t, o: o, path: filepath.Join(dir, "destinations.json"), src: &source{Store: st, definitions: map[string][]stream.Property{}},
		streams: []destination.Stream{{Name: "contacts", Object: "contacts"}}}
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

// start begins to copy.
func (r *rig) start() {
	r.t.Helper()
	m, err := destination.New(context.WithoutCancel(r.t.Context()), destination.Options{Source: r.src, Path: r.path, Salt: r.src.Salt,
		Retry: 20 * time.Millisecond, RetryMost: 200 * time.Millisecond, Describe: 50 * time.Millisecond})
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = m
	r.t.Cleanup(m.Stop)
	m.Set([]destination.Spec{{Name: "lake", Kind: "iceberg", Engine: iceberg.New(r.o), Streams: r.streams, Choice: r.choice, Gather: r.gather, Key: fmt.Sprint(r.o, r.choice)}})
}

func (r *rig) stop() { r.m.Stop() }

// define sets a stream's definitions, each "name type [fieldType]".
func (r *rig) define(name string, properties ...string) {
	list := []stream.Property{}
	for _, p := range properties {
		f := append(strings.Fields(p), "", "")
		list = append(list, stream.Property{Name: f[0], Type: f[1], FieldType: f[2], Label: "The " + f[0]})
	}
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	r.src.definitions[name] = list
}

// put commits records.
func (r *rig) put(name string, records ...*stream.Record) {
	r.t.Helper()
	for part := range slices.Chunk(records, 400) {
		tx, err := r.src.Begin()
		if err != nil {
			r.t.Fatal(err)
		}
		for _, rec := range part {
			if err := tx.Put(name, rec); err != nil {
				r.t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// record is a live record; properties are JSON.
func record(id, properties string) *stream.Record {
	return &stream.Record{Head: stream.Head{ID: id, State: stream.Live, Version: 1, UpdatedAt: "2026-01-02T03:04:05.678Z", CreatedAt: "2026-01-01T00:00:00Z"}, Properties: []byte(properties)}
}

func ended(id string, s stream.State) *stream.Record {
	return &stream.Record{Head: stream.Head{ID: id, State: s, CreatedAt: "2026-01-01T00:00:00Z"}}
}

// erased is a record as `hubpipe erase` leaves it.
func erased(id string) *stream.Record {
	return &stream.Record{Head: stream.Head{ID: id, State: stream.Purged}}
}

// current waits until the destination has everything.
func (r *rig) current() destination.Status {
	r.t.Helper()
	return r.until(func(s destination.Status) bool { return s.State == destination.Current })
}

func (r *rig) until(good func(destination.Status) bool) destination.Status {
	r.t.Helper()
	for end := time.Now().Add(patience); ; r.moment() {
		s, err := r.m.One(r.t.Context(), "lake")
		if err != nil {
			r.t.Fatal(err)
		}
		if good(s) {
			return s
		}
		if time.Now().After(end) {
			r.t.Fatalf("it stands at %+v, error %v", s, s.Error)
		}
	}
}

// moment is between two looks at what has to come.
func (r *rig) moment() {
	select {
	case <-time.After(5 * time.Millisecond):
	case <-r.t.Context().Done():
	}
}

// equal has the destination held against the store.
func (r *rig) equal() {
	r.t.Helper()
	list, err := r.m.Check(r.t.Context(), "lake")
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range list {
		if !list[i].Equal() {
			r.t.Errorf("%s differs: %+v", list[i].Stream, list[i])
		}
	}
}

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

// row is a row as text; what is null is not in it.
type row map[string]string

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
	out := map[string]row{}
	for _, x := range r.rows(name) {
		was, ok := out[x["id"]]
		if ok && r.o.Mode == iceberg.Upsert {
			r.t.Errorf("record %s stands there twice: %v and %v", x["id"], was, x)
		}
		if !ok || seqOf(x) >= seqOf(was) {
			out[x["id"]] = x
		}
	}
	return out
}

func seqOf(x row) int {
	n, _ := strconv.Atoi(x["_hubpipe_seq"])
	return n
}

// same holds what a reader makes of a table against the store, value by value.
func (r *rig) same(name string) {
	r.t.Helper()
	got := r.newest(name)
	if _, err := r.src.Changes(r.t.Context(), name, 0, 0, func(rec *stream.Record) error {
		x := got[rec.ID]
		delete(got, rec.ID)
		if r.o.Delete && rec.State != stream.Live && x == nil {
			return nil
		}
		if x["_hubpipe_seq"] != fmt.Sprint(rec.Seq) || x["_hubpipe_state"] != string(rec.State) {
			r.t.Errorf("%s is %v in the table, %s at %d in the store", rec.ID, x, rec.State, rec.Seq)
		}
		var p map[string]string
		if len(rec.Properties) > 0 {
			if err := json.Unmarshal(rec.Properties, &p); err != nil {
				return err
			}
		}
		for k, v := range p {
			if x[k] != v {
				r.t.Errorf("%s of %s is %q in the table, %q in the store", k, rec.ID, x[k], v)
			}
		}
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	for id := range got {
		r.t.Errorf("%s stands in the table alone", id)
	}
}

// files are those below a folder.
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
			r.define("contacts", "email string", "n number", "on bool", "born date", "at datetime", "many enumeration checkbox", "a.b string", "Größe string")
			r.put("contacts", record("1", `{"email":"a@example.com","n":"1.5","on":"true","born":"2026-02-03","at":"2026-02-03T04:05:06.789Z","many":"x;y","a.b":"dots","Größe":"g"}`),
				record("2", `{"email":"b@example.com","n":"many"}`), record("3", `{"email":"c"}`))
			r.start()
			r.current()
			x := r.newest("contacts")["1"]
			for name, want := range map[string]string{"email": "a@example.com", "n": "1.5", "on": "true", "born": "2026-02-03", "many": `["x","y"]`, "Größe": "g", "_hubpipe_state": "live"} {
				if x[name] != want {
					t.Errorf("%s is %q, want %q; the row is %v", name, x[name], want, x)
				}
			}
			if !strings.HasPrefix(x["at"], "2026-02-03") || !strings.Contains(x["at"], "04:05:06.789") {
				t.Errorf("at is %q", x["at"])
			}
			r.equal()
			r.put("contacts", record("1", `{"email":"new"}`), ended("2", stream.Purged), record("4", `{"email":"d"}`))
			r.current()
			r.equal()
			r.put("contacts", record("1", `{"email":"newer"}`))
			s := r.current()
			r.equal()
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
				if at := tbl.CurrentSnapshot().Summary.Properties["hubpipe.position"]; at != fmt.Sprint(r.src.PositionOf("contacts")) {
					t.Errorf("the snapshot says it is at %s", at)
				}
				if f, _ := tbl.Schema().FindFieldByName("id"); !f.Required || !slices.Equal(tbl.Schema().IdentifierFieldIDs, []int{f.ID}) {
					t.Errorf("the id is %+v of %v", f, tbl.Schema().IdentifierFieldIDs)
				}
			})
		})
	}
}
