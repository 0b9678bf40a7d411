package files

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/rawjson"
)

// packed is a batch as values, column by column.
type packed struct {
	of      *layout
	records []*stream.Record
	// values are those of the columns, one a row; lists has those of lists, of which
	// a row may have several.
	values [][]parquet.Value
	lists  map[int]*list
	rows   int
	room   []parquet.Value // that the values are in

	// unknown are properties without a column, with the type that their first value
	// suggests; wide are the names of columns that the values are too wide for.
	unknown map[string]kind
	wide    map[string]bool
	unread  map[string]unparsed
	// erased says that one of the records was erased.
	erased bool
}

// list is a column of lists: all of the values, and where those of each row end.
type list struct {
	values []parquet.Value
	ends   []int
}

type unparsed struct {
	n       uint64
	example string
}

func (p *packed) fits() bool { return len(p.unknown) == 0 && len(p.wide) == 0 }

// Pack makes of records what Write takes.
func (s *session) Pack(name string, records []*stream.Record) destination.Packed {
	return s.pack(s.layoutOf(name), records)
}

// pack packs into what an earlier batch has left.
func (s *session) pack(l *layout, records []*stream.Record) *packed {
	var room []parquet.Value
	select {
	case room = <-s.rooms:
	default:
	}
	return pack(l, records, room)
}

// leave gives back what a batch was packed into, which is of no use any more.
func (s *session) leave(p *packed) {
	select {
	case s.rooms <- p.room:
	default:
	}
	p.room, p.values = nil, nil
}

func pack(l *layout, records []*stream.Record, room []parquet.Value) *packed {
	p := &packed{of: l, records: records, values: make([][]parquet.Value, len(l.columns)), lists: map[int]*list{}, rows: len(records)}
	size := len(l.columns) * len(records)
	if cap(room) < size {
		room = make([]parquet.Value, size)
	}
	p.room = room[:cap(room)]
	all := p.room[:size]
	clear(all)
	for i, c := range l.columns {
		if c.Type == texts {
			p.lists[i] = &list{values: make([]parquet.Value, 0, len(records)), ends: make([]int, 0, len(records))}
			continue
		}
		p.values[i], all = all[:len(records):len(records)], all[len(records):]
	}
	var v rawjson.Scanner
	for row, r := range records {
		p.head(row, r)
		if !r.State.Bare() {
			v = rawjson.Scan(r.Properties)
			p.properties(row, r, &v)
		}
		for i, x := range p.lists {
			if len(x.ends) == row {
				x.values = append(x.values, parquet.NullValue().Level(0, 0, i))
				x.ends = append(x.ends, len(x.values))
			}
		}
	}
	return p
}

// set sets a value of a column that may be null.
func (p *packed) set(column, row int, v parquet.Value) {
	if !v.IsNull() {
		p.values[column][row] = v.Level(0, 1, column)
	}
}

// head sets our own columns.
func (p *packed) head(row int, r *stream.Record) {
	own := &p.of.own
	required := func(column int, v parquet.Value) { p.values[column][row] = v.Level(0, 0, column) }
	required(own.id, parquet.ByteArrayValue([]byte(r.ID)))
	required(own.seq, parquet.Int64Value(int64(r.Seq))) //nolint:gosec // positions begin at 1
	required(own.state, parquet.ByteArrayValue([]byte(r.State)))
	if r.Synced > 0 {
		p.set(own.synced, row, parquet.Int64Value(r.Synced))
	}
	p.moment(own.created, row, r.CreatedAt)
	p.moment(own.updated, row, r.UpdatedAt)
	p.moment(own.archived, row, r.ArchivedAt)
	if r.MergedInto != "" {
		p.set(own.merged, row, parquet.ByteArrayValue([]byte(r.MergedInto)))
	}
	// Of what was purged HubSpot's times are left; of what was erased not even those.
	p.erased = p.erased || r.State == stream.Purged && r.CreatedAt == "" && r.UpdatedAt == "" && r.ArchivedAt == ""
	if r.State.Bare() {
		return
	}
	p.nested(own.raw, row, r.Properties)
	p.nested(own.associations, row, r.Associations)
	p.nested(own.history, row, r.History)
}

func (p *packed) moment(column, row int, at string) {
	if t, ok := destination.Moment([]byte(at)); ok {
		p.set(column, row, parquet.Int64Value(t.UnixMilli()))
	}
}

func (p *packed) nested(column, row int, raw []byte) {
	if column >= 0 && len(raw) > 0 {
		p.set(column, row, parquet.ByteArrayValue(oneLine(raw)))
	}
}

// properties sets the columns of a record's properties.
func (p *packed) properties(row int, r *stream.Record, s *rawjson.Scanner) {
	if len(r.Properties) == 0 || !s.Open('{') {
		return
	}
	for n := 0; s.Next(n, '}'); n++ {
		name := s.Name()
		value := s.Value()
		if s.Broken() || len(name) < 2 {
			return
		}
		property := name[1 : len(name)-1]
		if value[0] == 'n' || len(property) == 0 {
			continue
		}
		i, ok := p.of.byProperty[string(property)]
		if !ok && (bytes.IndexByte(property, '\\') >= 0 || !utf8.Valid(property)) {
			property = unquote(name)
			i, ok = p.of.byProperty[string(property)]
		}
		if !ok {
			p.meet(string(property), value)
			continue
		}
		if p.of.columns[i].Type == texts {
			p.list(i, row, value)
			continue
		}
		v, ok := parse(p.of.columns[i].Type, value)
		if ok {
			p.set(i, row, v)
			continue
		}
		p.misfit(&p.of.columns[i], r.ID)
	}
}

// list sets a row of a column of lists. A property that stands twice counts once.
func (p *packed) list(column, row int, raw []byte) {
	x := p.lists[column]
	if len(x.ends) > row {
		return
	}
	all := parts(raw)
	if len(all) == 0 {
		return
	}
	for i, part := range all {
		x.values = append(x.values, parquet.ByteArrayValue(part).Level(min(i, 1), 2, column))
	}
	x.ends = append(x.ends, len(x.values))
}

// meet notes a property without a column.
func (p *packed) meet(property string, value []byte) {
	if string(value) == `""` || p.of.skipped[property] { // the one tells nothing of a type
		return
	}
	if p.unknown == nil {
		p.unknown = map[string]kind{}
	}
	k := text
	if !p.of.defined {
		k = kind(destination.TypeSeen(value))
	}
	if was, ok := p.unknown[property]; ok && was != k {
		k = text
	}
	p.unknown[property] = k
}

// misfit notes a value that is none of its column's type.
func (p *packed) misfit(c *Column, id string) {
	if c.Undefined {
		if p.wide == nil {
			p.wide = map[string]bool{}
		}
		p.wide[c.Name] = true
		return
	}
	if p.unread == nil {
		p.unread = map[string]unparsed{}
	}
	p.unread[c.Name] = unparsed{p.unread[c.Name].n + 1, id}
}

// without leaves out the records that have ended.
func without(records []*stream.Record) []*stream.Record {
	return slices.DeleteFunc(slices.Clone(records), func(r *stream.Record) bool { return r.State != stream.Live })
}
