//go:build iceberg

package iceberg_test

import (
	gosql "database/sql"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	ice "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/catalog/sql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// sqled is a rig over a catalogue in a PostgreSQL of its own.
func sqled(t *testing.T, o iceberg.Options) (*rig, *pgserver.Server) {
	t.Helper()
	pg := pgserver.Start(t)
	o.Catalog, o.URI, o.CatalogName = iceberg.SQL, pg.URL("", "", ""), "tables"
	r := newRig(t, o)
	r.open = func() (catalog.Catalog, func()) {
		db, err := gosql.Open("pgx", pg.URL("", "", ""))
		if err != nil {
			t.Fatal(err)
		}
		props := ice.Properties{"warehouse": o.Warehouse, "s3.access-key-id": o.AccessKey, "s3.secret-access-key": o.SecretKey}
		maps.Copy(props, o.Properties)
		c, err := sql.NewCatalog("tables", db, sql.Postgres, props)
		if err != nil {
			t.Fatal(err)
		}
		return c, func() { _ = c.Close(); _ = db.Close() }
	}
	return r, pg
}

// A catalogue in PostgreSQL with tables in a folder, while PostgreSQL goes down.
func TestSQLCatalogue(t *testing.T) {
	t.Parallel()
	r, pg := sqled(t, iceberg.Options{Mode: iceberg.Upsert, Warehouse: "file://" + t.TempDir()})
	r.fill(0, 20)
	r.Start()
	r.Current()
	pg.Kill()
	r.fill(10, 30)
	s := r.Until(func(s destination.Status) bool { return s.Error != nil })
	if s.Error.Type != "destination-unreachable" || strings.Contains(s.Error.Error()+s.Error.Detail, pgserver.Password) {
		t.Errorf("it says %+v", s.Error)
	}
	pg.Up()
	r.whole()
	one, two := r.session(), r.session()
	r.fill(25, 35)
	r.Stop()
	one.prepare()
	two.prepare()
	since := one.place.Position
	one.place, two.place = destination.Place{Position: since}, destination.Place{Position: since}
	r.fill(25, 35)
	one.write(since)
	two.refused(since)
	r.o.URI = strings.Replace(r.o.URI, pgserver.Password, "wrong-canary", 1)
	r.Start()
	s = r.Until(func(s destination.Status) bool { return s.Error != nil })
	if s.State != destination.Blocked || strings.Contains(s.Error.Error()+s.Error.Detail, "canary") {
		t.Errorf("with a wrong password it is %s: %+v", s.State, s.Error)
	}
}

// Tables in an object store that fails now and then, before it has done what it was
// asked and behind it.
func TestObjectStore(t *testing.T) {
	t.Parallel()
	be := s3mem.New()
	if err := be.CreateBucket("lake"); err != nil {
		t.Fatal(err)
	}
	inner := gofakes3.New(be).Server()
	var n atomic.Int64
	var faulty atomic.Bool
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if faulty.Load() && q.Method == http.MethodPut {
			switch n.Add(1) % 17 { // of which a commit has up to seven
			case 3:
				http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
				return
			case 9:
				inner.ServeHTTP(httptest.NewRecorder(), q)
				panic(http.ErrAbortHandler)
			}
		}
		inner.ServeHTTP(w, q)
	}))
	t.Cleanup(s3.Close)
	r, _ := sqled(t, iceberg.Options{Mode: iceberg.Upsert, Warehouse: "s3://lake/crm", AccessKey: "key", SecretKey: "secret-canary", Delete: true,
		Properties: map[string]string{"s3.endpoint": s3.URL, "s3.region": "us-east-1", "s3.force-virtual-addressing": "false"}})
	r.Start()
	r.fill(0, 20)
	r.Current()
	faulty.Store(true)
	for i := range 4 {
		r.fill(10*i, 10*i+30)
		r.Put("contacts", ended("5", "archived"))
		r.Current()
	}
	faulty.Store(false)
	if err := r.M.Resync("lake", "contacts"); err != nil {
		t.Fatal(err)
	}
	r.whole()
}

// A key that may write objects, and neither list nor delete them, keeps what nobody
// needs; each stream is written all the same.
func TestKeyMayOnlyWrite(t *testing.T) {
	t.Parallel()
	be := s3mem.New()
	if err := be.CreateBucket("lake"); err != nil {
		t.Fatal(err)
	}
	inner := gofakes3.New(be).Server()
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodDelete || q.URL.Query().Has("list-type") || q.URL.Query().Has("delete") {
			http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, q)
	}))
	t.Cleanup(s3.Close)
	r, _ := sqled(t, iceberg.Options{Warehouse: "s3://lake/crm", AccessKey: "key", SecretKey: "secret",
		Properties: map[string]string{"s3.endpoint": s3.URL, "s3.region": "us-east-1", "s3.force-virtual-addressing": "false"}})
	r.Streams = []destination.Stream{{Name: "contacts", Object: "contacts"}, {Name: "deals", Object: "deals"}}
	r.fill(0, 5)
	r.Put("deals", record("1", `{"n":"1"}`))
	r.Start()
	for range 2 { // it stays said
		s := r.Until(func(s destination.Status) bool {
			return s.State == destination.Current && len(s.Streams) == 2 && s.Streams[0].Place.Untidy != nil && s.Streams[1].Place.Untidy != nil
		})
		if p := s.Streams[0].Place.Untidy; p.Blocked || !strings.Contains(p.Hint, "s3:ListBucket") || s.Failures > 0 {
			t.Errorf("it says %+v after %d failures", p, s.Failures)
		}
		r.fill(5, 9)
		r.Current()
		r.Equal()
	}
	r.Put("contacts", erased("1"))
	head := r.Src.PositionOf("contacts")
	s := r.Until(func(s destination.Status) bool { return s.Error != nil })
	if !strings.Contains(s.Error.Hint, "s3:ListBucket") || s.Streams[0].Place.Cleared >= head {
		t.Errorf("of what was erased it says %+v, and is clear up to %d of %d", s.Error, s.Streams[0].Place.Cleared, head)
	}
}
