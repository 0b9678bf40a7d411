// Package postgres writes the change feed into a PostgreSQL database, or what
// speaks as one: a table a stream, columns typed by HubSpot's definitions. A
// batch, and the place in the feed that it leads to, are one transaction.
package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What to do when HubSpot's properties change.
const (
	Apply  = "apply"
	Block  = "block"
	Ignore = "ignore"
)

// Options are a database and what is to be made in it.
type Options struct {
	// URL is as libpq has it; it holds the password.
	URL    string
	Schema string
	// Delete says that rows of records that have ended go, instead of staying as
	// tombstones.
	Delete bool
	// SchemaChanges is Apply, Block or Ignore.
	SchemaChanges string
	// Raw adds a column with all properties.
	Raw bool
	// Views adds a view for each stream: what is live, labels beside values.
	Views bool
}

// connectTime bounds one attempt to connect.
const connectTime = 15 * time.Second

// Engine is one database.
type Engine struct {
	o      Options
	config *pgx.ConnConfig
	bad    *stream.Problem // why the URL is none
}

var _ destination.Engine = (*Engine)(nil)

// New returns a database that is not connected to. A URL that is none is told by
// Connect.
func New(o Options) *Engine {
	e := &Engine{o: o}
	c, err := pgx.ParseConfig(o.URL)
	if err != nil {
		e.bad = &stream.Problem{Type: typeRefused, Title: "the destination's url is no address of a database", Blocked: true,
			Detail: "it does not parse", Hint: "write it like postgres://user:password@host:5432/database; escape what is special in the password (@ is %40, / is %2F)"}
		return e
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTime
	}
	// Statements are planned each time: there are few, and a pooler that gives each
	// transaction another session would not know those that were prepared.
	if c.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		c.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	for name, value := range map[string]string{"timezone": "UTC", "datestyle": "ISO, MDY", "client_encoding": "UTF8",
		"standard_conforming_strings": "on", "application_name": "hubpipe"} {
		if _, set := c.RuntimeParams[name]; !set || name != "application_name" {
			c.RuntimeParams[name] = value
		}
	}
	c.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {}
	if !saysTLS(o.URL) {
		protect(&c.Config)
	}
	e.config = c
	return e
}

// saysTLS tells whether the URL decides about TLS itself.
func saysTLS(text string) bool {
	if u, err := url.Parse(text); err == nil && u.Scheme != "" {
		return u.Query().Has("sslmode")
	}
	return strings.Contains(text, "sslmode")
}

// protect takes away the attempts without TLS that would leave this machine:
// records and password would be read on the way.
func protect(c *pgconn.Config) {
	type try struct {
		host string
		port uint16
		tls  *tls.Config
	}
	tries := []try{{c.Host, c.Port, c.TLSConfig}}
	for _, f := range c.Fallbacks {
		tries = append(tries, try{f.Host, f.Port, f.TLSConfig})
	}
	kept := tries[:0]
	for _, t := range tries {
		if t.tls != nil || isLocal(t.host) {
			kept = append(kept, t)
		}
	}
	if len(kept) == 0 {
		return // the environment has switched it off
	}
	c.Host, c.Port, c.TLSConfig, c.Fallbacks = kept[0].host, kept[0].port, kept[0].tls, nil
	for _, t := range kept[1:] {
		c.Fallbacks = append(c.Fallbacks, &pgconn.FallbackConfig{Host: t.host, Port: t.port, TLSConfig: t.tls})
	}
}

func isLocal(host string) bool {
	if host == "localhost" || strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Target is where it writes, without credentials.
func (e *Engine) Target() string {
	if e.config == nil {
		return ""
	}
	at := net.JoinHostPort(e.config.Host, fmt.Sprint(e.config.Port))
	if strings.HasPrefix(e.config.Host, "/") {
		at = e.config.Host
	}
	return fmt.Sprintf("%s/%s, schema %s", at, e.config.Database, e.o.Schema)
}

// Connect opens a session and makes the schema where it is missing.
func (e *Engine) Connect(ctx context.Context, o destination.Origin) (destination.Session, error) {
	if e.bad != nil {
		return nil, e.bad
	}
	conn, err := pgx.ConnectConfig(ctx, e.config)
	if err != nil {
		return nil, e.explain("connect", err)
	}
	s := &session{e: e, conn: conn, origin: o, streams: map[string]*table{}}
	if err := s.open(ctx); err != nil {
		s.Close() //nolint:contextcheck // the server is told of the end whatever ended it
		return nil, e.explain("open the schema", err)
	}
	return s, nil
}

// open checks the database and makes what all streams share.
func (s *session) open(ctx context.Context) error {
	var encoding string
	if err := s.conn.QueryRow(ctx, "SHOW server_encoding").Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return &stream.Problem{Type: typeRefused, Title: "the database cannot hold all text", Blocked: true,
			Detail: "its encoding is " + encoding, Hint: "make one with ENCODING 'UTF8'"}
	}
	var there, known, marked bool
	err := s.conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1),
		EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = $1 AND table_name = 'hubpipe_schema_changes'),
		EXISTS (SELECT 1 FROM information_schema.columns WHERE table_schema = $1 AND table_name = 'hubpipe_streams' AND column_name = 'choice')`, s.e.o.Schema).Scan(&there, &known, &marked)
	if err != nil {
		return err
	}
	if !there {
		if _, err := s.conn.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+quote(s.e.o.Schema)); err != nil {
			return err
		}
	}
	if !known || !marked {
		if err := s.script(ctx, s.sharedTables()); err != nil {
			return err
		}
	}
	var other string
	err = s.conn.QueryRow(ctx, "SELECT store FROM "+s.in("hubpipe_streams")+" WHERE store <> $1 LIMIT 1", s.origin.Store).Scan(&other)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = s.foreign(other)
	}
	return err
}

// foreign is the problem of a schema that is another store's.
func (s *session) foreign(store string) error {
	return &stream.Problem{Type: typeForeign, Title: "the schema belongs to another data folder of hubpipe", Blocked: true,
		Detail: fmt.Sprintf("schema %s was written by store %s, and this one is %s", s.e.o.Schema, store, s.origin.Store),
		Hint: "name another schema; or, where the other data folder is gone for good, drop this one: DROP SCHEMA " +
			quote(s.e.o.Schema) + " CASCADE"}
}

// sharedTables are the tables beside those of the streams.
func (s *session) sharedTables() string {
	return strings.NewReplacer("$", s.in("")).Replace(`
CREATE TABLE IF NOT EXISTS $hubpipe_streams (
  stream text PRIMARY KEY, table_name text NOT NULL, associations_table text, history_table text,
  store text NOT NULL, epoch bigint NOT NULL, position bigint NOT NULL,
  reread_reason text, reread_position bigint, reread_until bigint, reread_sweep boolean,
  rows_written bigint NOT NULL, unparsed bigint NOT NULL, last_commit_at timestamptz,
  id_handling text, history_handling text, choice text, view_name text, view_digest text, parts_view_name text, parts_view_digest text,
  object text, portal text, state text, lag_seconds bigint, complete_until timestamptz, last_reconcile_at timestamptz,
  time_zone text, currency text, described_at timestamptz);
COMMENT ON TABLE $hubpipe_streams IS 'how each stream stands, and how far it is written here';
CREATE TABLE IF NOT EXISTS $hubpipe_properties (
  stream text NOT NULL, property text NOT NULL, column_name text, column_type text,
  label text, hubspot_type text, field_type text, group_name text, ordinal integer, calculated boolean, in_hubspot boolean NOT NULL,
  unparsed bigint NOT NULL DEFAULT 0, unparsed_example text, handling text, PRIMARY KEY (stream, property));
ALTER TABLE $hubpipe_streams ADD COLUMN IF NOT EXISTS id_handling text, ADD COLUMN IF NOT EXISTS history_handling text, ADD COLUMN IF NOT EXISTS choice text,
  ADD COLUMN IF NOT EXISTS view_name text, ADD COLUMN IF NOT EXISTS view_digest text,
  ADD COLUMN IF NOT EXISTS parts_view_name text, ADD COLUMN IF NOT EXISTS parts_view_digest text;
ALTER TABLE $hubpipe_properties ADD COLUMN IF NOT EXISTS handling text;
COMMENT ON TABLE $hubpipe_properties IS 'each property of each stream, with the column that holds it; none where column_name is null';
CREATE TABLE IF NOT EXISTS $hubpipe_property_options (
  stream text NOT NULL, property text NOT NULL, value text NOT NULL, label text, ordinal integer, hidden boolean,
  PRIMARY KEY (stream, property, value));
COMMENT ON TABLE $hubpipe_property_options IS 'the labels of the values of enumerations';
CREATE TABLE IF NOT EXISTS $hubpipe_schema_changes (
  at timestamptz NOT NULL, stream text NOT NULL, property text NOT NULL, change text NOT NULL, column_name text, detail text);
COMMENT ON TABLE $hubpipe_schema_changes IS 'what became of the tables when HubSpot''s properties changed, and what was ignored';
`)
}

// Drop takes the schema away with all that is in it, where hubpipe has made it,
// and says whether it did. A schema of somebody else's is left as it is.
func (e *Engine) Drop(ctx context.Context) (bool, error) {
	if e.bad != nil {
		return false, e.bad
	}
	conn, err := pgx.ConnectConfig(ctx, e.config)
	if err != nil {
		return false, e.explain("connect", err)
	}
	s := &session{e: e, conn: conn}
	defer s.Close() //nolint:contextcheck // see Connect
	var own bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = $1 AND table_name = 'hubpipe_streams')", e.o.Schema).Scan(&own); err != nil || !own {
		return false, e.explain("look for the schema", err)
	}
	_, err = conn.Exec(ctx, "DROP SCHEMA "+quote(e.o.Schema)+" CASCADE")
	return err == nil, e.explain("drop the schema", err)
}
