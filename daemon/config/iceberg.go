package config

import (
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// TypeIceberg are tables of Apache Iceberg.
const TypeIceberg = "iceberg"

// The catalogues of Iceberg.
const (
	CatalogREST = "rest"
	CatalogSQL  = "sql"
)

// How tables of Iceberg are written.
const (
	ModeAppend = "append" // a row for each version that is seen
	ModeUpsert = "upsert" // a row a record
)

// DefaultKeepSnapshots is how long snapshots stay that are not the newest any more,
// and the least that it may be: whoever writes to a table besides has to have
// committed its files by then.
const (
	DefaultKeepSnapshots = 24 * time.Hour
	minKeepSnapshots     = 10 * time.Minute
)

// Iceberg is how tables of Iceberg are written.
type Iceberg struct {
	// Catalog is one of the Catalog constants, CatalogName what a SQL catalogue calls
	// itself, Warehouse where tables go.
	Catalog, CatalogName, Warehouse string
	// Namespace is where the tables are, Mode one of the Mode constants.
	Namespace, Mode string
	// Credential and Token are a REST catalogue's, AccessKey and SecretKey an object
	// store's; empty where there are none.
	Credential, Token, AccessKey, SecretKey Secret
	// Properties are more of the catalogue's and the object store's.
	Properties map[string]Secret
	// FlushInterval is how long changes wait for others, CompactInterval how old the
	// last writing of everything becomes, Keep how long snapshots stay.
	FlushInterval, CompactInterval, Keep time.Duration
	FileSize                             Size
}

// iceberg reads what a destination of that type has.
func (s *section) iceberg(d *Destination) {
	x := &Iceberg{CatalogName: d.Name, Namespace: DefaultSchema, Mode: ModeAppend, FlushInterval: DefaultFlushInterval,
		CompactInterval: DefaultCompactInterval, Keep: DefaultKeepSnapshots, FileSize: DefaultFileSize}
	d.Iceberg, d.SchemaChanges = x, SchemaApply
	s.foreign(d, "url", "schema", "views", "format")
	if !s.has("catalog") {
		s.at(s.line, s.title+" needs catalog", `write catalog = "rest" or catalog = "sql"`)
	}
	s.oneOf("catalog", &x.Catalog, CatalogREST, CatalogSQL)
	if !s.has("uri") {
		s.at(s.line, s.title+" needs uri", `write uri = "https://catalog.example/api/catalog", or env("CATALOG_URL") with postgres://user:password@host/database in it`)
	}
	if t, ok := s.text("uri"); ok {
		if wrong := checkCatalogURI(x.Catalog, t); wrong != "" {
			s.at(s.lineOf("uri"), s.title+": "+wrong, "write it like https://catalog.example/api/catalog (rest) or postgres://user:password@host:5432/database (sql)")
		} else if d.URL = NewSecret(t); hasPassword(t) {
			s.literal("uri")
		}
	}
	if t, ok := s.text("warehouse"); ok {
		x.Warehouse = t
		if u, err := url.Parse(t); x.Catalog == CatalogSQL && (err != nil || !slices.Contains([]string{"file", "s3"}, u.Scheme) || u.Path == "" && u.Host == "" || u.User != nil) {
			s.at(s.lineOf("warehouse"), s.title+": warehouse names no place for tables", "write it like s3://bucket/prefix or file:///data/lake")
		}
	} else if x.Catalog == CatalogSQL && !s.has("warehouse") {
		s.at(s.line, s.title+" needs warehouse", `write warehouse = "s3://bucket/prefix" or "file:///data/lake"`)
	}
	if t, ok := s.text("namespace"); ok {
		if strings.Contains("."+t+".", "..") || strings.ContainsFunc(t, func(r rune) bool { return unicode.IsSpace(r) || r == '/' }) {
			s.bad("namespace", "namespace is no name, nor names with dots between: analytics.hubspot")
		} else {
			x.Namespace = t
		}
	}
	s.oneOf("mode", &x.Mode, ModeAppend, ModeUpsert)
	s.oneOf("schema_changes", &d.SchemaChanges, SchemaApply, SchemaBlock, SchemaIgnore)
	s.ofCatalog(x)
	s.secret("access_key", &x.AccessKey)
	s.secret("secret_key", &x.SecretKey)
	if s.has("access_key") != s.has("secret_key") {
		s.at(s.line, s.title+": access_key and secret_key belong together", "set both, or none where the environment or the catalogue has them")
	}
	x.Properties = s.secrets("properties")
	s.duration("flush_interval", &x.FlushInterval, minFlushInterval)
	s.duration("compact_interval", &x.CompactInterval, minCompactInterval)
	s.duration("keep", &x.Keep, minKeepSnapshots)
	s.fileSize(&x.FileSize)
	if !s.o.Iceberg {
		// Everything else goes on without it.
		const what = "this hubpipe was built without Apache Iceberg"
		if d.Problem == "" {
			d.Problem = what
		}
		s.report(Blocked, s.src, s.line, s.title+" is blocked: "+what, "build one with it: go build -tags iceberg, or make iceberg-build")
	}
}

// ofCatalog reads what one kind of catalogue alone has.
func (s *section) ofCatalog(x *Iceberg) {
	only := func(kind string, names ...string) {
		for _, name := range names {
			if s.has(name) && x.Catalog != kind && x.Catalog != "" {
				s.bad(name, "%s is for catalog = %q alone", name, kind)
			}
		}
	}
	only(CatalogSQL, "catalog_name")
	only(CatalogREST, "credential", "token")
	if t, ok := s.text("catalog_name"); ok {
		x.CatalogName = t
	}
	s.secret("credential", &x.Credential)
	s.secret("token", &x.Token)
}

// checkCatalogURI says what is wrong with the address of a catalogue, and nothing
// of what stands in it.
func checkCatalogURI(kind, t string) string {
	u, err := url.Parse(t)
	switch {
	case err != nil:
		return "uri is no address"
	case kind == CatalogREST && (u.Scheme != "http" && u.Scheme != "https" || u.Host == ""):
		return "uri is no address of a REST catalogue"
	case kind == CatalogREST && u.User != nil:
		return "uri holds a name or a password; set credential or token instead"
	case kind == CatalogSQL && u.Scheme != "postgres" && u.Scheme != "postgresql":
		return "uri is no address of a PostgreSQL database"
	}
	return ""
}

func hasPassword(t string) bool {
	u, err := url.Parse(t)
	if err != nil || u.User == nil {
		return false
	}
	_, has := u.User.Password()
	return has
}

// fileSize reads about how large files become.
func (s *section) fileSize(into *Size) {
	var size Size
	if !parsed(s, "file_size", "64MiB", ParseSize, &size) {
		return
	}
	if size < minFileSize || size > maxFileSize {
		s.bad("file_size", "file_size %s does not lie from %s to %s", size, minFileSize, maxFileSize)
		return
	}
	*into = size
}
