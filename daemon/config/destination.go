package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// TypePostgres is the type of a destination that is a PostgreSQL database.
const TypePostgres = "postgres"

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

// Destination is one more place that records are copied to.
type Destination struct {
	Type, Name string
	// URL says where the database is, as libpq understands it; it is empty only
	// with a Problem.
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
	// Problem says why it is blocked, "" when nothing is missing.
	Problem string
}

// Follows tells whether a stream is copied to the destination.
func (d Destination) Follows(streamName string) bool {
	return len(d.Streams) == 0 || slices.ContainsFunc(d.Streams, func(p string) bool {
		ok, err := path.Match(p, streamName)
		return ok && err == nil
	})
}

func destinationTypes() []string { return []string{TypePostgres} }

func (l *loader) destinations(roots []*section, c *Config) {
	seen := map[string]string{}
	for _, root := range roots {
		for _, b := range root.blocks("destination") {
			d := Destination{Type: b.Labels[0], Name: b.Labels[1], Schema: DefaultSchema, Deletes: DeletesMark, SchemaChanges: SchemaApply}
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
			s.postgres(&d, c)
			c.Destinations = append(c.Destinations, d)
		}
	}
	l.apart(c)
}

// apart checks that no two destinations write to the same place: each would
// take the other's rows for a mistake.
func (l *loader) apart(c *Config) {
	type place struct{ url, schema string }
	first := map[place]string{}
	for _, d := range c.Destinations {
		p := place{d.URL.Reveal(), d.Schema}
		if other, ok := first[p]; ok && p.url != "" && other != d.Name {
			l.report(Invalid, l.sources[0], 0, fmt.Sprintf("destinations %s and %s have the same url and schema", other, d.Name), "give each a schema of its own")
		}
		first[p] = d.Name
	}
}

func (s *section) postgres(d *Destination, c *Config) {
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
	s.oneOf("schema_changes", &d.SchemaChanges, SchemaApply, SchemaBlock, SchemaIgnore)
	s.boolean("raw", &d.Raw)
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
