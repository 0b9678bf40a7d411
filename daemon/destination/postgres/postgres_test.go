package postgres_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/enginetest"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a store, a server and a manager with one destination between them.
type rig struct {
	*enginetest.Rig

	t  testing.TB
	pg *pgserver.Server
	o  postgres.Options
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
	r := &rig{t: t, pg: pg, o: o}
	r.Rig = enginetest.New(t, "warehouse", func() (destination.Engine, string) { return postgres.New(r.o), fmt.Sprint(r.o, r.Choice) })
	return r
}

func record(id, properties string) *stream.Record { return enginetest.Record(id, properties) }

func (r *rig) sql(format string, args ...any) string {
	r.t.Helper()
	return strings.TrimSpace(r.pg.SQL("", fmt.Sprintf("SET search_path TO "+r.o.Schema+"; "+format, args...)))
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
	r.Define("contacts", "email string", "score number", "opted bool", "born date", "seen datetime", "kinds enumeration checkbox")
	r.Put("contacts",
		record("1", `{"email":"a\tb\\c\n\"d\" é \u0000 \ud800","score":"1.50","opted":"true","born":"2024-02-29","seen":"2024-02-29T01:02:03.5Z","kinds":"x;a b;\"q\""}`),
		record("2", `{"email":null,"score":"","opted":"","born":null,"seen":"","kinds":""}`),
		record("3", `{"email":"","score":"1e3","opted":"nope","born":"today","seen":"x","kinds":"one"}`))
	r.Start()
	s := r.Current()
	r.is("1|a\tb\\c\n\"d\" é \uFFFD \uFFFD|1.50|t|2024-02-29|2024-02-29 01:02:03.5+00|{x,\"a b\",\"\\\"q\\\"\"}|live",
		"SET timezone TO 'UTC'; SELECT id, email, score, opted, born, seen, kinds, _hubpipe_state FROM contacts WHERE id = '1'")
	r.is("2|t|t|t|t|t|t", "SELECT id, email IS NULL, score IS NULL, opted IS NULL, born IS NULL, seen IS NULL, kinds IS NULL FROM contacts WHERE id = '2'")
	r.is("3||1000||||{one}", "SELECT id, email, score, opted, born, seen, kinds FROM contacts WHERE id = '3'")
	r.is("born|1|3\nopted|1|3\nseen|1|3", "SELECT property, unparsed, unparsed_example FROM hubpipe_properties WHERE unparsed > 0 ORDER BY 1")
	if s.Streams[0].Place.Unparsed != 3 || s.Rows != 3 {
		t.Errorf("status %+v", s)
	}
	r.is("The email", "SELECT col_description('contacts'::regclass, (SELECT attnum FROM pg_attribute WHERE attrelid = 'contacts'::regclass AND attname = 'email'))")
	r.Put("contacts", record("1", `{"email":"new","score":"2"}`), &stream.Record{Head: stream.Head{ID: "2", State: stream.Purged}})
	r.Current()
	r.is("1|new|2|live\n2|||purged\n3||1000|live", "SELECT id, email, score, _hubpipe_state FROM contacts ORDER BY id")
	r.is("contacts|waiting|3|Europe/Berlin|EUR", "SELECT table_name, state, lag_seconds, time_zone, currency FROM hubpipe_streams")
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
