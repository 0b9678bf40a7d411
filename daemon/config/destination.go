package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// The types of destinations.
const (
	TypePostgres = "postgres" // a PostgreSQL database
	TypeFiles    = "files"    // files in a folder or an object store
)

// The formats of files.
const (
	FormatParquet = "parquet"
	FormatNDJSON  = "ndjson"
)

// Defaults of a destination of files, and their bounds.
const (
	DefaultFlushInterval   = 5 * time.Minute
	DefaultCompactInterval = 24 * time.Hour
	DefaultFileSize        = Size(64 << 20)
	DefaultKeep            = time.Hour

	minFlushInterval   = time.Second
	minCompactInterval = 10 * time.Minute
	minFileSize        = Size(1 << 20)
	maxFileSize        = Size(1 << 30)
	minKeep            = time.Minute
)

// What a destination does with rows of records that have ended.
const (
	DeletesMark   = "mark"   // the row stays, and says so
	DeletesDelete = "delete" // the row goes
)

// What a destination does when HubSpot's properties change.
const (
	SchemaApply  = "apply"  // columns are added, and made wider
	SchemaBlock  = "block"  // the table waits for a person
	SchemaIgnore = "ignore" // the columns stay, and what was ignored is listed
)

// DefaultSchema is the schema of a database that tables are made in.
const DefaultSchema = "hubspot"

// What a destination gets of what is personal.
const (
	PIIKeep    = "keep"
	PIIHash    = "hash"
	PIIExclude = "exclude"
)

// maxTruncate is the most that values may be cut to.
const maxTruncate = 10_000

// Truncate is to how many characters values are cut.
type Truncate struct {
	Pattern string
	Length  int
}

// Destination is one more place that records are copied to.
type Destination struct {
	Type, Name string
	// URL says where the database is, as libpq understands it, or the files, or the
	// catalogue; it is empty only with a Problem.
	URL Secret
	// Schema is the schema in it that is the destination's own.
	Schema string
	// Streams are patterns over the names of streams; none for all of them.
	Streams []string
	// Deletes is one of the Deletes constants, SchemaChanges of the Schema ones.
	Deletes       string
	SchemaChanges string
	// Raw adds a column with all properties as JSON.
	Raw bool
	// Files and Iceberg are what a destination of that type has besides, nil for
	// others.
	Files   *Files
	Iceberg *Iceberg
	// Views adds a view for each stream.
	Views bool
	// PII is one of the PII constants. Exclude, Hash and PIIExcept are patterns of
	// properties, or of streams and properties with a dot between; Truncate says to
	// how many characters those of a pattern are cut. They hold in the order Exclude,
	// Hash, Truncate, PIIExcept, PII.
	PII                      string
	Exclude, Hash, PIIExcept []string
	Truncate                 []Truncate
	// Versions adds a table of every version, for streams that keep them.
	Versions bool
	// Problem says why it is blocked, "" when nothing is missing.
	Problem string
}

// Files is how files are written.
type Files struct {
	// Format is one of the Format constants.
	Format string
	// AccessKey and SecretKey are an object store's, empty where its own tools'
	// places are looked into.
	AccessKey, SecretKey Secret
	// FlushInterval is how long changes wait for others, CompactInterval how old a
	// snapshot becomes, Keep how long files stay that are valid no more.
	FlushInterval, CompactInterval, Keep time.Duration
	FileSize                             Size
}

// Follows tells whether a stream is copied to the destination.
func (d Destination) Follows(streamName string) bool {
	return len(d.Streams) == 0 || slices.ContainsFunc(d.Streams, func(p string) bool {
		ok, err := path.Match(p, streamName)
		return ok && err == nil
	})
}

func destinationTypes() []string { return []string{TypeFiles, TypeIceberg, TypePostgres} }

// icebergSettings are those that no other type has.
func icebergSettings() []string {
	return []string{"catalog", "uri", "catalog_name", "warehouse", "namespace", "mode", "credential", "token", "properties"}
}

func (l *loader) destinations(roots []*section, c *Config) {
	seen := map[string]string{}
	for _, root := range roots {
		for _, b := range root.blocks("destination") {
			d := Destination{Type: b.Labels[0], Name: b.Labels[1], Deletes: DeletesMark, PII: PIIKeep}
			line := b.TypeRange.Start.Line
			if !slices.Contains(destinationTypes(), d.Type) {
				root.at(line, fmt.Sprintf("there is no destination of type %q", scrub(d.Type)), didYouMean(d.Type, destinationTypes()))
				continue // its settings are those of a type that there is not
			}
			s := l.section(root.src, b.Body, "destination", "destination "+scrub(d.Name), line)
			s.problem = &d.Problem
			if err := checkName(d.Name); err != nil {
				s.at(line, "destination: "+err.Error(), "")
			}
			if first, ok := seen[d.Name]; ok {
				s.at(line, fmt.Sprintf("destination %s stands in %s already", scrub(d.Name), first), "")
			}
			seen[d.Name] = fmt.Sprintf("%s:%d", root.src.path, line)
			switch d.Type {
			case TypeFiles:
				s.files(&d)
			case TypeIceberg:
				s.iceberg(&d)
			default:
				s.postgres(&d)
			}
			s.copied(&d, c)
			s.columns(&d, c)
			c.Destinations = append(c.Destinations, d)
		}
	}
	l.apart(c)
	l.kept(c)
}

// kept says so where versions are kept and no destination wants any.
func (l *loader) kept(c *Config) {
	first := ""
	for _, x := range c.Streams {
		if x.KeepVersions == 0 {
			continue
		}
		if slices.ContainsFunc(c.Destinations, func(d Destination) bool { return d.Versions && d.Follows(x.Name) }) {
			return
		}
		first = cmp.Or(first, x.Name)
	}
	if first != "" {
		l.report(Warning, l.sources[0], 0, "keep_versions keeps nothing of "+first+": no destination wants its versions",
			"set versions = true in a destination that follows it")
	}
}

// apart checks that no two destinations write to the same place: each would
// take the other's rows for a mistake.
func (l *loader) apart(c *Config) {
	type place struct{ url, schema string }
	first := map[place]string{}
	for _, d := range c.Destinations {
		p := place{d.URL.Reveal(), d.Schema}
		if d.Type == TypeFiles {
			at, _, _ := strings.Cut(p.url, "?") // the parameters are how to come there
			p.url = strings.TrimRight(at, "/")
		}
		if x := d.Iceberg; x != nil {
			p.schema = strings.Join([]string{x.CatalogName, x.Warehouse, x.Namespace}, "\x00")
			if x.Catalog == CatalogREST {
				p.schema = strings.Join([]string{x.Warehouse, x.Namespace}, "\x00")
			}
		}
		if other, ok := first[p]; ok && p.url != "" && other != d.Name {
			what, hint := "url and schema", "give each a schema of its own"
			if d.Type == TypeFiles {
				what, hint = "url", "give each a folder or a prefix of its own"
			}
			if d.Type == TypeIceberg {
				what, hint = "catalogue and namespace", "give each a namespace of its own"
			}
			l.report(Invalid, l.sources[0], 0, fmt.Sprintf("destinations %s and %s have the same %s", other, d.Name, what), hint)
		}
		first[p] = d.Name
	}
}

// foreign reports settings of other types.
func (s *section) foreign(d *Destination, names ...string) {
	for _, name := range names {
		if s.has(name) {
			s.at(s.lineOf(name), fmt.Sprintf("%s: a destination of type %q has no %s", s.title, d.Type, name), "")
		}
	}
}

func (s *section) postgres(d *Destination) {
	d.Schema, d.SchemaChanges = DefaultSchema, SchemaApply
	s.foreign(d, append(icebergSettings(), "format", "access_key", "secret_key", "flush_interval", "compact_interval", "file_size", "keep")...)
	if !s.has("url") {
		s.at(s.line, s.title+" needs url", `write url = env("WAREHOUSE_URL"), with postgres://user:password@host/database in it`)
	}
	if t, ok := s.text("url"); ok {
		u, err := url.Parse(t)
		isURL := err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql")
		if words := strings.Fields(t); !isURL && (len(words) == 0 || !strings.Contains(words[0], "=") || strings.Contains(t, "://")) {
			s.at(s.lineOf("url"), s.title+": url is no address of a PostgreSQL database", "write it like postgres://user:password@host:5432/database")
		} else if d.URL = NewSecret(t); isURL && u.User != nil {
			if _, has := u.User.Password(); has {
				s.literal("url")
			}
		}
	}
	if t, ok := s.text("schema"); ok {
		if err := checkSchema(t); err != nil {
			s.bad("schema", "%s", scrub(err.Error()))
		} else {
			d.Schema = t
		}
	}
	s.boolean("views", &d.Views)
	s.oneOf("schema_changes", &d.SchemaChanges, SchemaApply, SchemaBlock, SchemaIgnore)
}

// copied reads what all types have.
func (s *section) copied(d *Destination, c *Config) {
	if names, ok := s.list("streams", func(p string) error {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return fmt.Errorf("%q is no pattern", p)
		}
		return nil
	}); ok {
		d.Streams = names
		s.follows(*d, c)
	}
	s.oneOf("deletes", &d.Deletes, DeletesMark, DeletesDelete)
	s.boolean("raw", &d.Raw)
	s.boolean("versions", &d.Versions)
	if d.Versions && !s.partial && !slices.ContainsFunc(c.Streams, func(x Stream) bool { return x.KeepVersions > 0 && d.Follows(x.Name) }) {
		s.report(Warning, s.src, s.lineOf("versions"), s.title+": it wants versions, and none of its streams keeps any", `set keep_versions = "90d" in a stream, or in defaults`)
	}
}

// columns reads what of the properties the destination gets, whatever its type.
func (s *section) columns(d *Destination, c *Config) {
	s.oneOf("pii", &d.PII, PIIKeep, PIIHash, PIIExclude)
	check := func(p string) error { return s.checkColumn(p, c) }
	for name, into := range map[string]*[]string{"exclude": &d.Exclude, "hash": &d.Hash, "pii_except": &d.PIIExcept} {
		*into, _ = s.list(name, check)
	}
	pairs, _ := s.numbers("truncate", 1, maxTruncate)
	for _, pattern := range slices.Sorted(maps.Keys(pairs)) {
		if err := check(pattern); err != nil {
			s.bad("truncate", "truncate: %s", scrub(err.Error()))
			continue
		}
		d.Truncate = append(d.Truncate, Truncate{pattern, pairs[pattern]})
	}
	if d.PII == PIIKeep && len(d.PIIExcept) > 0 {
		s.at(s.lineOf("pii_except"), s.title+`: pii_except says what pii does not mean, and pii is "keep"`, `set pii = "hash" or "exclude", or leave it out`)
	}
}

// checkColumn says what is wrong with a pattern of properties.
func (s *section) checkColumn(p string, c *Config) error {
	if _, err := path.Match(p, ""); err != nil || strings.Trim(p, ".") != p || p == "" {
		return fmt.Errorf("%q is no pattern of properties; write phone, hs_ip_* or contacts.phone", p)
	}
	name, _, ok := strings.Cut(p, ".")
	if ok && !s.partial && !slices.ContainsFunc(c.Streams, func(x Stream) bool { return Destination{Streams: []string{name}}.Follows(x.Name) }) {
		return fmt.Errorf("there is no stream %q for %q", name, p)
	}
	return nil
}

// follows checks that each pattern in streams means some.
func (s *section) follows(d Destination, c *Config) {
	if len(d.Streams) == 0 {
		s.bad("streams", "streams is empty; leave it out for all streams")
		return
	}
	names := make([]string, len(c.Streams))
	for i, x := range c.Streams {
		names[i] = x.Name
	}
	for _, p := range d.Streams {
		if !s.partial && !slices.ContainsFunc(names, Destination{Streams: []string{p}}.Follows) {
			s.at(s.lineOf("streams"), fmt.Sprintf("%s: there is no stream %q", s.title, scrub(p)), didYouMean(p, names))
		}
	}
}

// maxIdentifier is how long names in PostgreSQL may be, in bytes.
const maxIdentifier = 63

func checkSchema(name string) error {
	switch {
	case len(name) > maxIdentifier:
		return fmt.Errorf("schema %q has %d bytes; PostgreSQL takes %d", name, len(name), maxIdentifier)
	case strings.HasPrefix(name, "pg_") || name == "information_schema":
		return fmt.Errorf("schema %q is PostgreSQL's own", name)
	case strings.TrimSpace(name) != name:
		return errors.New("schema begins or ends with a space")
	}
	return nil
}
