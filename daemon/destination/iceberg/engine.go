//go:build iceberg

package iceberg

import (
	"cmp"
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	_ "github.com/apache/iceberg-go/catalog/rest" // catalog.Load finds it
	"github.com/apache/iceberg-go/catalog/sql"
	_ "github.com/apache/iceberg-go/io/gocloud/s3" // tables find it by their address
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// The catalogues.
const (
	REST = "rest"
	SQL  = "sql"
)

// The modes: with Append a table has a row for each version that was seen, with
// Upsert one a record.
const (
	Append = "append"
	Upsert = "upsert"
)

// Options are a catalogue and what is to be written there.
type Options struct {
	// Catalog is REST or SQL, URI where it is: an address, or that of a PostgreSQL
	// database. CatalogName is what a SQL catalogue calls itself in its tables.
	Catalog, URI, CatalogName string
	// Warehouse is where tables go (file:///data/lake, s3://bucket/prefix); to a REST
	// catalogue, whatever it calls one.
	Warehouse, Namespace, Mode string
	// Credential and Token are for a REST catalogue, AccessKey and SecretKey for an
	// object store.
	Credential, Token, AccessKey, SecretKey string
	// Properties are more of the catalogue's and the object store's, as Iceberg calls
	// them.
	Properties map[string]string
	// Delete says that records that have ended leave the table.
	Delete bool
	// Raw adds a column with all properties. SchemaChanges is what a change of
	// HubSpot's properties does: files.Apply, also where it is empty, Block or Ignore.
	Raw           bool
	SchemaChanges string
	// FileSize is about how large files become. Compact is how old the last writing
	// of everything may become, Keep how long snapshots of the table stay when they
	// are the newest no more.
	FileSize      int64
	Compact, Keep time.Duration
}

// Engine is one catalogue.
type Engine struct {
	o Options

	mu sync.Mutex
	// builds are the rereadings that go on, by stream. They outlast sessions.
	builds map[string]*build
	// upkeeps are when tables were last looked after, by stream. They outlast sessions,
	// too: a failure that ends one is not to come first in the next.
	upkeeps map[string]*upkeep
}

var (
	_ destination.Engine = (*Engine)(nil)
	_ destination.Naming = (*Engine)(nil)
)

// New returns a catalogue that is not looked at yet.
func New(o Options) *Engine {
	o.SchemaChanges = cmp.Or(o.SchemaChanges, files.Apply)
	return &Engine{o: o, builds: map[string]*build{}, upkeeps: map[string]*upkeep{}}
}

// Target is where it writes, without credentials.
func (e *Engine) Target() string {
	where := "its database"
	if u, err := url.Parse(e.o.URI); err == nil && u.Host != "" {
		where = u.Scheme + "://" + u.Host + strings.TrimSuffix(u.Path, "/")
	}
	return where + ", " + e.o.Namespace + ", " + e.o.Mode
}

// Where is the namespace.
func (e *Engine) Where() destination.Whereabouts {
	return destination.Whereabouts{Schema: e.o.Namespace}
}

// Names are a stream's table and the columns of properties.
func (e *Engine) Names(streamName string, properties []string) (tableName string, columns []string) {
	columns = files.Names(properties)
	for i := range columns {
		columns[i] = undotted(columns[i])
	}
	return streamName, columns
}

// Connect opens the catalogue, and makes the namespace where it is missing.
func (e *Engine) Connect(ctx context.Context, o destination.Origin) (destination.Session, error) {
	s := &session{e: e, origin: o, writer: destination.NewMark(), streams: map[string]*tableState{}}
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, e.explain("open the catalogue", err)
	}
	return s, nil
}

func (s *session) open(ctx context.Context) error {
	o := &s.e.o
	props := iceberg.Properties{}
	maps.Copy(props, o.Properties)
	set := func(name, v string) {
		if v != "" {
			props[name] = v
		}
	}
	set("warehouse", o.Warehouse)
	set("s3.access-key-id", o.AccessKey)
	set("s3.secret-access-key", o.SecretKey)
	switch o.Catalog {
	case SQL:
		config, err := pgx.ParseConfig(o.URI)
		if err != nil {
			return &stream.Problem{Type: typeRefused, Title: "uri is no address of a PostgreSQL database", Blocked: true,
				Detail: "it does not parse", Hint: "write it like postgres://user:password@host:5432/database"}
		}
		s.db = stdlib.OpenDB(*config)
		if err := s.db.PingContext(ctx); err != nil {
			return err
		}
		c, err := sql.NewCatalog(o.CatalogName, s.db, sql.Postgres, props)
		if err != nil {
			return err
		}
		s.catalog = c
	default:
		set("type", REST)
		set("uri", o.URI)
		set("credential", o.Credential)
		set("token", o.Token)
		props["snapshot-loading-mode"] = "all" // what none names is taken away
		c, err := catalog.Load(ctx, "hubpipe", props)
		if err != nil {
			return err // c is no catalogue then, and not nil
		}
		s.catalog = c
	}
	return s.namespaced(ctx)
}

// namespaced makes the namespace, and those that it lies in, where there is none.
func (s *session) namespaced(ctx context.Context) error {
	ns := s.namespace()
	for n := range ns {
		part := ns[:n+1]
		ok, err := s.catalog.CheckNamespaceExists(ctx, part)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		if err := s.catalog.CreateNamespace(ctx, part, nil); err != nil && !isThere(err) {
			return err
		}
	}
	return nil
}

func (s *session) namespace() []string { return strings.Split(s.e.o.Namespace, ".") }

func (s *session) ident(streamName string) []string {
	return append(slices.Clip(s.namespace()), streamName)
}
