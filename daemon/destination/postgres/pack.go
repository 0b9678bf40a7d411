package postgres

import (
	"strconv"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/rawjson"
)

// column is the column of a property.
type column struct {
	property, name string
	kind           kind
	// defined says that HubSpot's definitions gave the type; the type of others is
	// made wider where a value wants it.
	defined bool
	// silent says that it takes its room in a row, and is left out of it.
	silent bool
}

// layout is what a stream's tables look like. It is never changed: another
// layout is another value.
type layout struct {
	stream, table         string
	columns               []column
	byProperty            map[string]int
	dropped               map[string]bool // properties that have no column, by policy or for want of room
	raw                   bool
	rawSilent             bool   // the column of all properties is silent
	associations, history string // tables, "" where there are none
	versions              string
	unversioned           map[string]bool // columns that it has no room for
	left                  string          // a table of versions that is not written any more
	leftHas               map[string]kind
	leftBeside            []string // associations and history that are not written any more
	defined               bool     // the stream has definitions
	deletes               bool
}

// packed is a batch in COPY's text format, and what was met while it was made.
type packed struct {
	of      *layout
	records []*stream.Record

	main, associations, history []byte
	versions                    []byte
	superseded                  int // records that are no row of main, since a later one of the batch is

	// unknown are properties without a column, with the type that their first
	// value suggests; wide are columns that the values are too wide for; raw says
	// that a row needs the column of all properties.
	unknown map[string]kind
	wide    map[int]bool
	raw     bool
	unread  map[int]unparsed
}

// unparsed counts what was no value of a column's type.
type unparsed struct {
	n       uint64
	example string // the id of a record that has one
}

// fits tells whether the layout is good enough for what was packed.
func (p *packed) fits() bool {
	return len(p.unknown) == 0 && len(p.wide) == 0 && (!p.raw || p.of.raw)
}

// maxRow is how much of a row PostgreSQL has to find room for in a page of 8 KiB:
// what it can move elsewhere still takes outside bytes there.
const (
	maxRow    = 8000
	outside   = 24
	ownFields = 150
)

// pack writes records by a layout. With careful no value of theirs can be
// refused: properties are left to the column of all of them.
func pack(l *layout, records []*stream.Record, careful bool) *packed {
	p := &packed{of: l, records: records}
	size := 0
	for _, r := range records {
		size += len(r.Properties) + 2*len(l.columns) + ownFields
	}
	p.main = make([]byte, 0, size/2) // much of it are names, which the table does not repeat
	values := make([][]byte, len(l.columns))
	var last map[string]int
	if l.versions != "" {
		last = lastOf(records)
	}
	for i, r := range records {
		clear(values)
		if !careful {
			p.split(r, values)
		} else if len(r.Properties) > 0 {
			p.raw = true
			for i := range l.columns {
				p.noValue(i, r.ID)
			}
		}
		at := len(p.main)
		p.row(r, values, careful)
		if last != nil {
			p.packVersion(r, p.main[at:len(p.main)-1])
			if last[r.ID] != i {
				p.main = p.main[:at] // the table has the newest alone
				p.superseded++
				continue
			}
		}
		if !r.State.Bare() {
			p.appendLinks(r)
			p.appendHistory(r)
		}
	}
	return p
}

// split finds the values of a record's properties, as JSON.
func (p *packed) split(r *stream.Record, values [][]byte) {
	s := rawjson.Scan(r.Properties)
	if !s.Open('{') {
		return
	}
	for n := 0; s.Next(n, '}'); n++ {
		name := s.Name()
		value := s.Value()
		if s.Broken() || len(name) < 2 {
			return
		}
		name = name[1 : len(name)-1]
		if !plain(name) {
			name = []byte(clean(string(unquote(name))))
		}
		if value[0] == 'n' {
			continue
		}
		i, ok := p.of.byProperty[string(name)]
		switch {
		case ok:
			values[i] = value
		case p.of.dropped[string(name)]:
		case string(value) == `""`: // it tells nothing of a type
		default:
			if p.unknown == nil {
				p.unknown = map[string]kind{}
			}
			k := text
			if !p.of.defined {
				k = kindSeen(value)
			}
			if was, ok := p.unknown[string(name)]; ok && was != k {
				k = text
			}
			p.unknown[string(name)] = k
		}
	}
}

// row appends the row of a record.
func (p *packed) row(r *stream.Record, values [][]byte, careful bool) {
	b := p.main
	b = append(appendCopy(b, []byte(r.ID)), '\t')
	b = append(strconv.AppendUint(b, r.Seq, 10), '\t')
	b = append(append(b, r.State...), '\t')
	b = append(appendMoment(b, time.UnixMilli(r.Synced)), '\t')
	for _, at := range []string{r.CreatedAt, r.UpdatedAt, r.ArchivedAt} {
		if t, ok := destination.Moment([]byte(at)); ok {
			b = append(appendMoment(b, t), '\t')
		} else {
			b = append(b, `\N`+"\t"...)
		}
	}
	if r.MergedInto == "" {
		b = append(b, `\N`...)
	} else {
		b = appendCopy(b, []byte(r.MergedInto))
	}
	rawAt := len(b)
	bare := r.State.Bare() || len(r.Properties) == 0
	if p.of.raw && !bare {
		b = appendCopy(append(b, '\t'), sane(r.Properties))
	} else if p.of.raw {
		b = append(b, "\t\\N"...)
	}
	room := maxRow - ownFields - min(len(b)-rawAt, outside) - len(values)/8
	if p.of.rawSilent {
		b = b[:rawAt]
	}
	for i, v := range values {
		at, c := len(b), &p.of.columns[i]
		b = append(b, '\t')
		if v == nil || bare || careful {
			b = append(b, `\N`...)
		} else if out, ok := appendValue(b, c.kind, v); !ok {
			p.misfit(i, r.ID)
			b = append(b, `\N`...)
		} else if room -= min(len(out)-len(b)+8, outside); room < 0 {
			// The row is full: the rest of it stands in the column of all properties.
			b = append(b, `\N`...)
			p.raw = true
		} else {
			b = out
		}
		if c.silent {
			b = b[:at]
		}
	}
	p.main = append(b, '\n')
}

// misfit notes a value that is none of its column's type.
func (p *packed) misfit(i int, id string) {
	if !p.of.columns[i].defined {
		if p.wide == nil {
			p.wide = map[int]bool{}
		}
		p.wide[i] = true
	}
	p.noValue(i, id)
}

func (p *packed) noValue(i int, id string) {
	if p.unread == nil {
		p.unread = map[int]unparsed{}
	}
	p.unread[i] = unparsed{p.unread[i].n + 1, id}
}

// appendLinks appends a row for each association of a record.
func (p *packed) appendLinks(r *stream.Record) {
	if p.of.associations == "" || len(r.Associations) == 0 {
		return
	}
	seen := map[string]bool{}
	each(r.Associations, '{', func(to, list []byte) {
		each(list, '[', func(_, link []byte) {
			var id []byte
			var types []byte
			each(link, '{', func(name, v []byte) {
				switch string(name) {
				case "id":
					id = scalar(v)
				case "types":
					types = v
				}
			})
			each(types, '[', func(_, t []byte) {
				var category, typeID, label []byte
				each(t, '{', func(name, v []byte) {
					switch string(name) {
					case "category":
						category = scalar(v)
					case "typeId":
						typeID = scalar(v)
					case "label":
						label = scalar(v)
					}
				})
				if !digits(typeID) || len(typeID) == 0 || len(typeID) > 18 {
					typeID = []byte("0")
				}
				key := string(to) + "\x00" + string(id) + "\x00" + string(category) + "\x00" + string(typeID)
				if seen[key] {
					return
				}
				seen[key] = true
				b := append(appendCopy(p.associations, []byte(r.ID)), '\t')
				b = append(appendCopy(b, unquote(to)), '\t')
				b = append(appendCopy(b, id), '\t')
				b = append(appendCopy(b, category), '\t')
				b = append(append(b, typeID...), '\t')
				p.associations = append(appendOr(b, label), '\n')
			})
		})
	})
}

// appendHistory appends a row for each value that a property has had.
func (p *packed) appendHistory(r *stream.Record) {
	if p.of.history == "" || len(r.History) == 0 {
		return
	}
	each(r.History, '{', func(property, list []byte) {
		n := 0
		each(list, '[', func(_, entry []byte) {
			var value, at, source, sourceID []byte
			each(entry, '{', func(name, v []byte) {
				switch string(name) {
				case "value":
					value = scalar(v)
				case "timestamp":
					at = scalar(v)
				case "sourceType":
					source = scalar(v)
				case "sourceId":
					sourceID = scalar(v)
				}
			})
			b := append(appendCopy(p.history, []byte(r.ID)), '\t')
			b = append(appendCopy(b, unquote(property)), '\t')
			b = append(strconv.AppendInt(b, int64(n), 10), '\t')
			if t, ok := destination.Moment(at); ok {
				b = appendMoment(b, t)
			} else {
				b = append(b, `\N`...)
			}
			b = append(appendOr(append(b, '\t'), value), '\t')
			b = append(appendOr(b, source), '\t')
			p.history = append(appendOr(b, sourceID), '\n')
			n++
		})
	})
}

func appendOr(b, v []byte) []byte {
	if v == nil {
		return append(b, `\N`...)
	}
	return appendCopy(b, v)
}

// each gives the members of an object, with the inside of their names, or the
// elements of an array. What is none has none.
func each(raw []byte, open byte, fn func(name, value []byte)) {
	s := rawjson.Scan(raw)
	if len(raw) == 0 || !s.Open(open) {
		return
	}
	closing := open + 2 // of both kinds in ASCII
	for n := 0; s.Next(n, closing); n++ {
		var name []byte
		if open == '{' {
			if name = s.Name(); len(name) < 2 {
				return
			}
			name = name[1 : len(name)-1]
		}
		v := s.Value()
		if s.Broken() {
			return
		}
		fn(name, v)
	}
}

// scalar is the text of a value, nil for null.
func scalar(v []byte) []byte {
	switch {
	case len(v) == 0 || v[0] == 'n':
		return nil
	case v[0] == '"':
		return unquote(v[1 : len(v)-1])
	}
	return v
}
