package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come.
const patience = 2 * time.Minute

// source is a real store with what the daemon adds to it.
type source struct {
	*store.Store

	mu          sync.Mutex
	definitions map[string][]stream.Property
	unsettled   bool
}

func (s *source) Definitions(name string) ([]stream.Property, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.definitions[name]), nil
}

func (s *source) Standing(_ context.Context, name string) (destination.Standing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lag := int64(3)
	return destination.Standing{Stream: name, Object: name, Portal: "main", State: "waiting", LagSeconds: &lag, TimeZone: "Europe/Berlin", Currency: "EUR", Settled: !s.unsettled}, nil
}

// rig is a store, a server and a manager with one destination between them.
type rig struct {
	t       testing.TB
	pg      *pgserver.Server
	src     *source
	m       *destination.Manager
	o       postgres.Options
	streams []destination.Stream
	choice  destination.Choice
	path    string
}

func openStore(t testing.TB, dir string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{Dir: dir, FreeMark: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func newRig(t testing.TB, pg *pgserver.Server, o postgres.Options) *rig {
	t.Helper()
	if o.URL == "" {
		o.URL = pg.URL("", "", "")
	}
	if o.SchemaChanges == "" {
		o.SchemaChanges = postgres.Apply
	}
	if o.Schema == "" {
		o.Schema = "s_" + strings.ToLower(strings.NewReplacer("/", "_", "-", "_").Replace(t.Name()))
		o.Schema = o.Schema[:min(len(o.Schema), 60)]
	}
	dir := t.TempDir()
	r := &rig{t: t, pg: pg, o: o, path: filepath.Join(dir, "destinations.json"),
		src:     &source{Store: openStore(t, filepath.Join(dir, "store")), definitions: map[string][]stream.Property{}},
		streams: []destination.Stream{{Name: "contacts", Object: "contacts"}}}
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
	m.Set([]destination.Spec{{Name: "warehouse", Kind: "postgres", Engine: postgres.New(r.o), Streams: r.streams, Choice: r.choice, Key: fmt.Sprint(r.o, r.choice)}})
}

func (r *rig) stop() { r.m.Stop() }

// define sets a stream's definitions, each "name type [fieldType]".
func (r *rig) define(name string, properties ...string) {
	r.t.Helper()
	list := []stream.Property{}
	for _, p := range properties {
		f := append(strings.Fields(p), "", "")
		list = append(list, stream.Property{Name: f[0], Type: f[1], FieldType: f[2], Label: "The " + f[0]})
	}
	r.defineAs(name, list)
}

// put commits records.
func (r *rig) put(name string, records ...*stream.Record) {
	r.t.Helper()
	for len(records) > 0 {
		tx, err := r.src.Begin()
		if err != nil {
			r.t.Fatal(err)
		}
		n := min(len(records), 400)
		for _, rec := range records[:n] {
			if err := tx.Put(name, rec); err != nil {
				r.t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			r.t.Fatal(err)
		}
		records = records[n:]
	}
}

// record is a live record; properties are JSON.
func record(id, properties string) *stream.Record {
	return &stream.Record{Head: stream.Head{ID: id, State: stream.Live, Version: 1, UpdatedAt: "2026-01-02T03:04:05.678Z", CreatedAt: "2026-01-01T00:00:00Z"}, Properties: []byte(properties)}
}

func (r *rig) sql(format string, args ...any) string {
	r.t.Helper()
	return strings.TrimSpace(r.pg.SQL("", fmt.Sprintf("SET search_path TO "+r.o.Schema+"; "+format, args...)))
}

// current waits until the destination has everything.
func (r *rig) current() destination.Status {
	r.t.Helper()
	return r.until(func(s destination.Status) bool { return s.State == destination.Current })
}

func (r *rig) until(good func(destination.Status) bool) destination.Status {
	r.t.Helper()
	return r.untilWithin(patience, good)
}

func (r *rig) untilWithin(d time.Duration, good func(destination.Status) bool) destination.Status {
	r.t.Helper()
	end := time.Now().Add(d)
	for {
		s, err := r.m.One(r.t.Context(), "warehouse")
		if err != nil {
			r.t.Fatal(err)
		}
		if good(s) {
			return s
		}
		if time.Now().After(end) {
			r.t.Fatalf("it stands at %+v, error %v", s, s.Error)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-r.t.Context().Done():
		}
	}
}

func (r *rig) is(want, format string, args ...any) {
	r.t.Helper()
	if got := r.sql(format, args...); got != want {
		r.t.Errorf("%s:\n got %q\nwant %q", fmt.Sprintf(format, args...), got, want)
	}
}

func TestFirstRowsAndChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.define("contacts", "email string", "score number", "opted bool", "born date", "seen datetime", "kinds enumeration checkbox")
	r.put("contacts",
		record("1", `{"email":"a\tb\\c\n\"d\" é \u0000 \ud800","score":"1.50","opted":"true","born":"2024-02-29","seen":"2024-02-29T01:02:03.5Z","kinds":"x;a b;\"q\""}`),
		record("2", `{"email":null,"score":"","opted":"","born":null,"seen":"","kinds":""}`),
		record("3", `{"email":"","score":"1e3","opted":"nope","born":"today","seen":"x","kinds":"one"}`))
	r.start()
	s := r.current()
	r.is("1|a\tb\\c\n\"d\" é \uFFFD \uFFFD|1.50|t|2024-02-29|2024-02-29 01:02:03.5+00|{x,\"a b\",\"\\\"q\\\"\"}|live",
		"SET timezone TO 'UTC'; SELECT id, email, score, opted, born, seen, kinds, _hubpipe_state FROM contacts WHERE id = '1'")
	r.is("2|t|t|t|t|t|t", "SELECT id, email IS NULL, score IS NULL, opted IS NULL, born IS NULL, seen IS NULL, kinds IS NULL FROM contacts WHERE id = '2'")
	r.is("3||1000||||{one}", "SELECT id, email, score, opted, born, seen, kinds FROM contacts WHERE id = '3'")
	r.is("born|1|3\nopted|1|3\nseen|1|3", "SELECT property, unparsed, unparsed_example FROM hubpipe_properties WHERE unparsed > 0 ORDER BY 1")
	if s.Streams[0].Place.Unparsed != 3 || s.Rows != 3 {
		t.Errorf("status %+v", s)
	}
	r.is("The email", "SELECT col_description('contacts'::regclass, (SELECT attnum FROM pg_attribute WHERE attrelid = 'contacts'::regclass AND attname = 'email'))")
	r.put("contacts", record("1", `{"email":"new","score":"2"}`), &stream.Record{Head: stream.Head{ID: "2", State: stream.Purged}})
	r.current()
	r.is("1|new|2|live\n2|||purged\n3||1000|live", "SELECT id, email, score, _hubpipe_state FROM contacts ORDER BY id")
	r.is("contacts|waiting|3|Europe/Berlin|EUR", "SELECT table_name, state, lag_seconds, time_zone, currency FROM hubpipe_streams")
}

// defineAs sets a stream's definitions.
func (r *rig) defineAs(name string, list []stream.Property) {
	r.t.Helper()
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	r.src.definitions[name] = list
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
