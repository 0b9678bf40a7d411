package destination

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/rawjson"
)

// Whereabouts is where a destination's tables are, as far as that has a name.
type Whereabouts struct {
	Database, Schema string
	// Location is the URL of the folder that has one for each stream.
	Location string
}

// Naming is an Engine that says what it calls things. Without one they are called
// as they are.
type Naming interface {
	Where() Whereabouts
	// Names gives a stream's table, and the columns of properties, in their order.
	Names(streamName string, properties []string) (table string, columns []string)
}

// Column is a column as it is described to people and programs.
type Column struct {
	Name, Type, Property, Label string
}

// Described is a stream's table.
type Described struct {
	Stream, Object, Table string
	// Tables beside it, "" for none. Versions is that of every version: of files, which
	// are no tables, what its table is called where they are loaded.
	Associations, History, Versions string
	Columns                         []Column
}

// sampled is how many records are looked at where HubSpot has no definitions.
const sampled = 1000

// Tables describes the tables of a destination as the definitions are now. Of
// what has none, columns are those of the first records.
func (m *Manager) Tables(ctx context.Context, name string) (Whereabouts, []Described, error) {
	r, err := m.find(name)
	if err != nil {
		return Whereabouts{}, nil, err
	}
	var where Whereabouts
	naming, ok := r.spec.Engine.(Naming)
	if ok {
		where = naming.Where()
	}
	src := choose(m.o.Source, r.spec, m.o.Salt)
	out := make([]Described, 0, len(r.spec.Streams))
	for _, x := range r.spec.Streams {
		columns, err := columnsOf(ctx, src, x.Name)
		if err != nil {
			return where, nil, fmt.Errorf("describe %s: %w", x.Name, err)
		}
		names := make([]string, len(columns))
		for i, c := range columns {
			names[i] = c.Property
		}
		d := Described{Stream: x.Name, Object: x.Object, Table: x.Name, Columns: ownColumns()}
		if ok {
			d.Table, names = naming.Names(x.Name, names)
		}
		beside := func(what string) string {
			name := d.Table + what
			if ok {
				name, _ = naming.Names(name, nil)
			}
			return name
		}
		if x.Associations {
			d.Associations = beside("__associations")
		}
		if x.History {
			d.History = beside("__history")
		}
		if x.Versions > 0 {
			d.Versions = beside("__versions")
		}
		for i, c := range columns {
			c.Name = names[i]
			d.Columns = append(d.Columns, c)
		}
		out = append(out, d)
	}
	return where, out, nil
}

// ownColumns are those that every stream's table begins with.
func ownColumns() []Column {
	return []Column{
		{Name: "id", Type: TypeText, Label: "HubSpot's id of the record"},
		{Name: "_hubpipe_seq", Type: TypeInteger, Label: "the record's place in the change feed, which grows with each change"},
		{Name: "_hubpipe_state", Type: TypeText, Label: "live, archived, purged or merged"},
		{Name: "_hubpipe_synced_at", Type: TypeTimestamp, Label: "when hubpipe committed it"},
		{Name: "_hubpipe_created_at", Type: TypeTimestamp, Label: "when HubSpot made it"},
		{Name: "_hubpipe_updated_at", Type: TypeTimestamp, Label: "when HubSpot changed it last"},
		{Name: "_hubpipe_archived_at", Type: TypeTimestamp, Label: "when HubSpot archived it"},
		{Name: "_hubpipe_merged_into", Type: TypeText, Label: "the record that took it in"},
	}
}

// columnsOf are the columns of a stream's properties, which have no names yet.
func columnsOf(ctx context.Context, src Source, name string) ([]Column, error) {
	properties, err := src.Definitions(name)
	if err != nil {
		return nil, err
	}
	if len(properties) == 0 {
		return sample(ctx, src, name)
	}
	out := make([]Column, len(properties))
	for i, p := range properties {
		out[i] = Column{Type: TypeOf(p), Property: p.Name, Label: p.Label}
	}
	return out, nil
}

// sample makes columns of the first records, of which each has the type of its
// first value, and text where another is something else.
func sample(ctx context.Context, src Source, name string) (out []Column, err error) {
	at := map[string]int{}
	n, errEnough := 0, errors.New("enough")
	_, err = src.Changes(ctx, name, 0, 0, func(rec *stream.Record) error {
		if n++; n > sampled {
			return errEnough
		}
		s := rawjson.Scan(rec.Properties)
		if !s.Open('{') {
			return nil
		}
		for k := 0; s.Next(k, '}'); k++ {
			name := s.Name()
			v := s.Value()
			if s.Broken() {
				break
			}
			if string(v) == "null" || string(v) == `""` { // it tells nothing of a type
				continue
			}
			property, kind := string(textOf(name)), TypeSeen(v)
			i, ok := at[property]
			switch {
			case !ok:
				at[property] = len(out)
				out = append(out, Column{Type: kind, Property: property})
			case out[i].Type != kind:
				out[i].Type = TypeText
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	slices.SortFunc(out, func(a, b Column) int { return strings.Compare(a.Property, b.Property) })
	return out, err
}
