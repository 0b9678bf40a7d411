package postgres

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// maxColumns is how many columns PostgreSQL gives a table, those that were
// dropped included.
const maxColumns = 1600

// lockWait is how long a batch, or a change of a table, waits for those that use
// it: behind a change they wait, too.
const lockWait = "10s"

// known is a property as hubpipe_properties has it.
type known struct {
	stream.Property

	column, columnType string
	ordinal            int
	inHubSpot          bool
	mark               string // what was done with the values: destination.Rules.Mark
}

// shape is a stream's tables on the way to fit what they have to hold.
type shape struct {
	s     *session
	tx    pgx.Tx
	name  string
	table string
	row   *row

	columns map[string]kind  // that the table has, by name
	known   map[string]known // by property
	used    int              // columns, those that were dropped included
	created bool             // in this transaction

	ddl     []string
	changes []change
	reread  bool
	raw     bool
	// written are the tables beside the stream's that were written until now.
	written  map[string]bool
	versions bool // there is a table of them
	remarks  []string
}

// change is a row of hubpipe_schema_changes.
type change struct {
	property, what, column, detail string

	again bool // it was tried before
}

// Prepare makes a stream's tables fit its definitions and returns its place.
func (s *session) Prepare(ctx context.Context, t destination.Table) (destination.Place, error) {
	return s.reshape(ctx, t, nil)
}

// reshape makes a stream's tables fit its definitions, and what p has met
// besides.
func (s *session) reshape(ctx context.Context, t destination.Table, p *packed) (place destination.Place, err error) {
	// In a transaction of its own: what is taken away goes, too, where a person has
	// to let the rest happen.
	if err := s.takeAway(ctx, t); err != nil {
		return place, err
	}
	var l *layout
	var remarks []string
	err = s.inTx(ctx, "prepare the table of "+t.Name, func(tx pgx.Tx) error {
		x := &shape{s: s, tx: tx, name: t.Name, columns: map[string]kind{}, known: map[string]known{}, raw: s.e.o.Raw, versions: t.Versions > 0}
		if err := x.find(ctx, t); err != nil {
			return err
		}
		if err := x.fit(t, p); err != nil {
			return err
		}
		l = x.layout(t)
		if t.Look {
			place = x.row.Place
			err := x.ready(ctx, t, l)
			remarks = x.remarks
			return err
		}
		if err := x.write(ctx, t, l); err != nil {
			return err
		}
		place, remarks = x.row.Place, x.remarks
		return s.move(ctx, tx, t.Name, x.row)
	})
	if err != nil {
		return place, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[t.Name] = &table{info: t, layout: l, remarks: remarks, merge: map[destination.Mode]string{}}
	return place, nil
}

// find reads what there is, and takes the stream's name where there is nothing.
func (x *shape) find(ctx context.Context, t destination.Table) error {
	s := x.s
	x.table = tableName(t.Name)
	tag, err := x.tx.Exec(ctx, "INSERT INTO "+s.in("hubpipe_streams")+` (stream, table_name, store, epoch, position, rows_written, unparsed, id_handling, history_handling, choice)
		VALUES ($1, $2, $3, $4, 0, 0, 0, nullif($5, ''), nullif($6, ''), nullif($7, '')) ON CONFLICT (stream) DO NOTHING`, t.Name, x.table, s.origin.Store, int64(s.origin.Epoch), t.Rules.IDs(), t.Rules.Origin(), t.Rules.Key())
	if err != nil {
		return err
	}
	x.created = tag.RowsAffected() == 1
	if x.row, err = s.lock(ctx, x.tx, t.Name); err != nil {
		return err
	}
	x.table = x.row.Table
	x.row.inLife(s.origin, t.Head)
	if err := x.writtenBeside(ctx); err != nil {
		return err
	}
	if err := x.columnsOf(ctx); err != nil {
		return err
	}
	if len(x.columns) == 0 && !x.created {
		// Somebody has dropped it: it is made and filled anew.
		x.created = true
		x.row.Position, x.row.Reread = 0, nil
	} else if len(x.columns) > 0 && x.created {
		return &stream.Problem{Type: typeForeign, Title: "there is a table of that name already", Blocked: true,
			Detail: fmt.Sprintf("%s.%s was not made by hubpipe for this stream", s.e.o.Schema, x.table),
			Hint:   "name another schema for the destination, or rename the table"}
	}
	return x.read(ctx)
}

// columnsOf reads which columns the table has; none where there is no table.
func (x *shape) columnsOf(ctx context.Context) error {
	clear(x.columns)
	rows, err := x.tx.Query(ctx, `SELECT column_name, data_type, udt_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2`, x.s.e.o.Schema, x.table)
	if err != nil {
		return err
	}
	var name, dataType, udt string
	if _, err := pgx.ForEachRow(rows, []any{&name, &dataType, &udt}, func() error {
		x.columns[name] = kindOf(dataType, udt)
		return nil
	}); err != nil {
		return err
	}
	return x.tx.QueryRow(ctx, `SELECT count(*) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0`, x.s.e.o.Schema, x.table).Scan(&x.used)
}

// read reads what is written down of the properties.
func (x *shape) read(ctx context.Context) error {
	rows, err := x.tx.Query(ctx, `SELECT property, coalesce(column_name, ''), coalesce(column_type, ''), coalesce(label, ''), coalesce(hubspot_type, ''),
		coalesce(field_type, ''), coalesce(group_name, ''), coalesce(ordinal, 0), coalesce(calculated, false), in_hubspot, coalesce(handling, '') FROM `+x.s.in("hubpipe_properties")+" WHERE stream = $1", x.name)
	if err != nil {
		return err
	}
	var k known
	_, err = pgx.ForEachRow(rows, []any{&k.Name, &k.column, &k.columnType, &k.Label, &k.Type, &k.FieldType, &k.Group, &k.ordinal, &k.Calculated, &k.inHubSpot, &k.mark}, func() error {
		x.known[k.Name] = k
		return nil
	})
	return err
}

// fit decides which columns there have to be.
func (x *shape) fit(t destination.Table, p *packed) error {
	if x.created {
		clear(x.columns)
		x.known = map[string]known{}
		x.used = 0
		var b strings.Builder
		b.WriteString("CREATE TABLE " + x.s.in(x.table) + " (")
		for i, c := range ownColumns() {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(quote(c[0]) + " " + c[1])
			switch c[0] {
			case colID:
				b.WriteString(" PRIMARY KEY")
			case colSeq, colState:
				b.WriteString(" NOT NULL")
			}
			x.columns[c[0]] = kindNamed(c[1])
			x.used++
		}
		x.ddl = append(x.ddl, b.String()+")", "CREATE INDEX ON "+x.s.in(x.table)+" ("+quote(colSeq)+")",
			"COMMENT ON TABLE "+x.s.in(x.table)+" IS "+literal("HubSpot "+t.Object+", kept fresh by hubpipe"))
	}
	for _, c := range ownColumns() {
		if _, ok := x.columns[c[0]]; !ok && !x.created {
			x.ddl = append(x.ddl, "ALTER TABLE "+x.s.in(x.table)+" ADD COLUMN "+quote(c[0])+" "+c[1])
			x.used++
			x.reread = true
		}
	}
	_, hasRaw := x.columns[colRaw]
	if x.raw = x.raw || hasRaw || p != nil && p.raw; x.raw && !hasRaw {
		x.addRaw("")
	}
	defined := make(map[string]bool, len(t.Definitions))
	var waiting []string
	for i, d := range t.Definitions {
		if d.Name = clean(d.Name); d.Name == "" || defined[d.Name] {
			continue
		}
		defined[d.Name] = true
		if w := x.property(d, i, kindFor(d)); w != "" {
			waiting = append(waiting, w)
		}
	}
	if p != nil {
		for _, name := range slices.Sorted(maps.Keys(p.unknown)) {
			if w := x.property(stream.Property{Name: name}, len(x.known), p.unknown[name]); w != "" {
				waiting = append(waiting, w)
			}
		}
		for i := range p.wide {
			c := p.of.columns[i]
			x.widen(x.known[c.property], text)
		}
	}
	if len(t.Definitions) > 0 {
		for name, k := range x.known {
			if k.inHubSpot && !defined[name] && k.Type != "" && k.mark != destination.Exclude {
				k.inHubSpot = false
				x.known[name] = k
				x.changes = append(x.changes, change{property: name, what: "vanished", column: k.column, detail: "HubSpot's definitions do not have it any more; its column stays"})
			}
		}
	}
	x.marks(t.Rules)
	if len(waiting) > 0 {
		slices.Sort(waiting)
		return &stream.Problem{Type: typeSchema, Title: "HubSpot's properties have changed, and the table waits for you", Blocked: true,
			Detail: strings.Join(waiting[:min(len(waiting), 10)], ", ") + more(len(waiting)-10),
			Hint:   `set schema_changes = "apply" (or "ignore") in the destination and reload; then "block" again`}
	}
	return nil
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}

// property sees to the column of a property. What waits for a person is said.
func (x *shape) property(d stream.Property, ordinal int, wants kind) (waits string) {
	k, was := x.known[d.Name]
	hadType, hadLabel := k.Type, k.Label
	k.Property, k.ordinal, k.inHubSpot = d, ordinal, true
	defer func() { x.known[d.Name] = k }()
	policy := x.s.e.o.SchemaChanges
	if x.created || x.row.Rows == 0 {
		policy = Apply // nothing was written yet: what comes is no change
	}
	if k.column == "" && was && (policy == Ignore || x.raw && x.used >= x.limit()) {
		return "" // it is listed already
	}
	name := cmp.Or(k.column, columnName(d.Name))
	has, there := x.columns[name]
	if there && k.column != "" {
		if d.Label != hadLabel {
			x.comment(d, name)
		}
		if to, need := wider(has, wants); need {
			if policy == Block && hadType != d.Type {
				return d.Name + " (now " + d.Type + ")"
			}
			if policy == Apply {
				x.widen(k, to)
				k.columnType = x.known[d.Name].columnType
				x.changes[len(x.changes)-1].again = hadType == d.Type
			} else if hadType != d.Type {
				x.changes = append(x.changes, change{property: d.Name, what: "ignored", column: name, detail: "HubSpot's type is now " + d.Type})
			}
		}
		return ""
	}
	switch {
	case policy == Block:
		return d.Name + " (new)"
	case policy == Ignore:
		x.changes = append(x.changes, change{property: d.Name, what: "ignored", column: "", detail: "it is new, and has no column"})
		return ""
	case x.used >= x.limit()-1 && !x.raw || x.used >= x.limit():
		x.addRaw("PostgreSQL gives a table 1,600 columns")
		x.changes = append(x.changes, change{property: d.Name, what: "no room", column: "", detail: "the table has 1,600 columns; the value stands in " + colRaw})
		return ""
	}
	if there { // the column of another property, or of a person
		name = marked(name, d.Name+"\x00"+name)
		if _, there = x.columns[name]; there {
			x.changes = append(x.changes, change{property: d.Name, what: "ignored", column: "", detail: "its column's name is taken"})
			return ""
		}
	}
	x.add(d, name, wants)
	k.column, k.columnType = name, wants.sql()
	return ""
}

func (x *shape) add(d stream.Property, name string, k kind) {
	x.ddl = append(x.ddl, "ALTER TABLE "+x.s.in(x.table)+" ADD COLUMN "+quote(name)+" "+k.sql())
	x.columns[name] = k
	x.used++
	if !x.created {
		x.reread = true
		x.changes = append(x.changes, change{property: d.Name, what: "added", column: name, detail: k.sql()})
	}
	if d.Label != "" {
		x.comment(d, name)
	}
}

func (x *shape) comment(d stream.Property, name string) {
	x.ddl = append(x.ddl, "COMMENT ON COLUMN "+x.s.in(x.table)+"."+quote(name)+" IS "+literal(d.Label))
}

// addRaw adds the column of all properties.
func (x *shape) addRaw(why string) {
	if _, ok := x.columns[colRaw]; ok {
		return
	}
	x.ddl = append(x.ddl, "ALTER TABLE "+x.s.in(x.table)+" ADD COLUMN "+quote(colRaw)+" jsonb")
	x.columns[colRaw], x.raw = object, true
	x.used++
	if !x.created {
		x.reread = true
	}
	if why != "" {
		x.changes = append(x.changes, change{property: "*", what: "raw", column: colRaw, detail: why})
	}
}

// widen makes a column's type hold more.
func (x *shape) widen(k known, to kind) {
	from := x.columns[k.column]
	if k.column == "" || from == to {
		return
	}
	alter := "ALTER TABLE " + x.s.in(x.table) + " ALTER COLUMN " + quote(k.column) + " TYPE " + to.sql() + " USING " + using(k.column, from, to)
	x.ddl = append(x.ddl, mayFail(alter))
	x.columns[k.column] = to
	k.columnType = to.sql()
	x.known[k.Name] = k
	x.changes = append(x.changes, change{property: k.Name, what: "widened", column: k.column, detail: from.sql() + " to " + to.sql()})
}

// layout is what the table looks like then.
func (x *shape) layout(t destination.Table) *layout {
	l := &layout{stream: x.name, table: x.table, byProperty: map[string]int{}, dropped: map[string]bool{}, raw: x.raw,
		defined: len(t.Definitions) > 0, deletes: x.s.e.o.Delete}
	if t.Associations {
		l.associations = tableName(x.table + "__associations")
	}
	if t.History {
		l.history = tableName(x.table + "__history")
	}
	if x.versions {
		l.versions = tableName(x.table + "__versions")
	}
	for _, name := range slices.Sorted(maps.Keys(x.known)) {
		k := x.known[name]
		if has, ok := x.columns[k.column]; ok && k.column != "" {
			l.columns = append(l.columns, column{property: name, name: k.column, kind: has, defined: k.Type != ""})
		} else {
			l.dropped[name] = true
		}
	}
	slices.SortFunc(l.columns, func(a, b column) int {
		return cmp.Or(cmp.Compare(x.known[a.property].ordinal, x.known[b.property].ordinal), cmp.Compare(a.property, b.property))
	})
	for i, c := range l.columns {
		l.byProperty[c.property] = i
	}
	return l
}
