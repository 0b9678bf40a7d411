package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// other is a property that was handed over otherwise before.
type other struct {
	known

	mark  string // that it has now
	wants *kind  // of its column, nil for none
}

// takeAway takes away, everywhere, what a stream's tables have of properties that
// are handed over otherwise now, and begins a rereading. The columns that stay
// have room for what comes.
func (s *session) takeAway(ctx context.Context, t destination.Table) error {
	return s.inTx(ctx, "take away what "+t.Name+" is not to have", func(tx pgx.Tx) error {
		var table, ids, origin, choice string
		err := tx.QueryRow(ctx, "SELECT table_name, coalesce(id_handling, ''), coalesce(history_handling, ''), coalesce(choice, '') FROM "+s.in("hubpipe_streams")+" WHERE stream = $1", t.Name).
			Scan(&table, &ids, &origin, &choice)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		x := &shape{s: s, tx: tx, name: t.Name, table: table, columns: map[string]kind{}, known: map[string]known{}}
		if err := x.read(ctx); err != nil {
			return err
		}
		list := x.others(t)
		if choice != t.Rules.Key() {
			more, err := x.unlisted(ctx, t)
			if err != nil {
				return err
			}
			if list = append(list, more...); !t.Look {
				if _, err := tx.Exec(ctx, "UPDATE "+s.in("hubpipe_streams")+" SET choice = nullif($2, '') WHERE stream = $1", t.Name, t.Rules.Key()); err != nil {
					return err
				}
			}
		}
		if len(list) == 0 && ids == t.Rules.IDs() && origin == t.Rules.Origin() {
			return nil
		}
		if t.Look {
			return t.Unready()
		}
		if x.row, err = s.lock(ctx, tx, t.Name); err != nil {
			return err
		}
		x.row.inLife(s.origin, t.Head)
		if err := x.columnsOf(ctx); err != nil {
			return err
		}
		if err := s.script(ctx, "SET LOCAL lock_timeout = '"+lockWait+"'"); err != nil {
			return err
		}
		grants, err := s.viewsAside(ctx, tx, t.Name)
		if err != nil {
			return err
		}
		if ids != t.Rules.IDs() {
			// Rows under other ids would stay for ever.
			if err := x.empty(ctx); err != nil {
				return err
			}
		}
		if err := x.takeColumns(ctx, list); err != nil {
			return err
		}
		if err := x.takeVersions(ctx, list); err != nil {
			return err
		}
		if err := x.takeRows(ctx, list, origin != t.Rules.Origin()); err != nil {
			return err
		}
		if x.row.Position > 0 {
			x.row.again(destination.Reread{Reason: destination.ReasonColumns, Until: max(t.Head, x.row.Position)})
		}
		if _, err := tx.Exec(ctx, "UPDATE "+s.in("hubpipe_streams")+" SET id_handling = nullif($2, ''), history_handling = nullif($3, '') WHERE stream = $1",
			t.Name, t.Rules.IDs(), t.Rules.Origin()); err != nil {
			return err
		}
		if err := s.renewViews(ctx, tx, t.Name, true, grants); err != nil {
			return err
		}
		return s.move(ctx, tx, t.Name, x.row)
	})
}

// others are the properties whose mark is another.
func (x *shape) others(t destination.Table) (out []other) {
	defined := map[string]stream.Property{}
	for _, d := range t.Definitions {
		defined[clean(d.Name)] = d
	}
	for _, name := range slices.Sorted(maps.Keys(x.known)) {
		o := other{known: x.known[name], mark: t.Rules.Mark(name)}
		if o.mark == o.known.mark {
			continue
		}
		if o.mark != destination.Exclude {
			k := text
			if d, ok := defined[name]; ok {
				k = kindFor(d)
			}
			o.wants = &k
		}
		out = append(out, o)
	}
	return out
}

// unlisted are the properties that history has, and that never had a column,
// where something is done with them. It reads all of it: of another choice alone.
func (x *shape) unlisted(ctx context.Context, t destination.Table) (out []other, err error) {
	name := besideOf(x.table).history
	there, err := x.columnsIn(ctx, name)
	if err != nil || !hasAll(there[name], historyColumns()) {
		return nil, err
	}
	rows, err := x.tx.Query(ctx, "SELECT DISTINCT property FROM "+x.s.in(name)+" ORDER BY 1")
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, property := range names {
		if _, listed := x.known[property]; listed {
			continue
		}
		if mark := t.Rules.Mark(property); mark != "" {
			o := other{known: known{Property: stream.Property{Name: property}}, mark: mark}
			if mark != destination.Exclude {
				k := text
				o.wants = &k
			}
			out = append(out, o)
		}
	}
	return out, err
}

// empty takes all rows, and has the feed read as for the first time.
func (x *shape) empty(ctx context.Context) error {
	l := besideOf(x.table)
	there, err := x.shapes(ctx, l)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(there))
	names = slices.DeleteFunc(names, func(name string) bool {
		return name == l.associations && !hasAll(there[name], associationColumns()) || name == l.history && !hasAll(there[name], historyColumns())
	})
	own, err := x.ownVersions(ctx)
	if err != nil {
		return err
	}
	for name := range own {
		names = append(names, name)
	}
	if len(x.columns) > 0 {
		names = append(names, x.table)
	}
	var sql strings.Builder
	for _, name := range names {
		sql.WriteString("TRUNCATE " + x.s.in(name) + ";\n")
	}
	if err := x.s.script(ctx, sql.String()); err != nil {
		return err
	}
	x.row.Position, x.row.Reread = 0, nil
	return nil
}

// takeColumns drops the columns of what is excluded and empties the others.
// Where something is made of them they keep their types.
func (x *shape) takeColumns(ctx context.Context, list []other) error {
	var actions, others []string
	for i, o := range list {
		has, there := x.columns[o.column]
		_, taken := x.columns[columnName(o.Name)]
		switch {
		case o.column == "" && o.known.mark == destination.Exclude && !taken && len(x.columns) > 0 && x.used < maxColumns:
			// It comes back by the configuration, not by HubSpot.
			list[i].column = columnName(o.Name)
			actions = append(actions, "ADD COLUMN "+quote(list[i].column)+" "+o.wants.sql())
			x.used++
		case o.column == "" || !there:
		case o.wants == nil:
			actions = append(actions, "DROP COLUMN "+quote(o.column))
		case has != foreign:
			actions = append(actions, "ALTER COLUMN "+quote(o.column)+" TYPE "+o.wants.sql()+" USING NULL")
		default: // the type is somebody's, and stays
			others = append(others, quote(o.column)+" = NULL")
		}
	}
	if len(others) > 0 {
		if err := x.s.script(ctx, "UPDATE "+x.s.in(x.table)+" SET "+strings.Join(others, ", ")); err != nil {
			return err
		}
	}
	if _, raw := x.columns[colRaw]; raw {
		actions = append(actions, "ALTER COLUMN "+quote(colRaw)+" TYPE jsonb USING NULL")
	}
	if len(actions) == 0 {
		return nil
	}
	err := pgx.BeginFunc(ctx, x.tx, func(pgx.Tx) error {
		return x.s.script(ctx, "ALTER TABLE "+x.s.in(x.table)+" "+strings.Join(actions, ", "))
	})
	if err == nil || !isDependent(err) {
		return err
	}
	var set []string
	if _, raw := x.columns[colRaw]; raw {
		set = append(set, quote(colRaw)+" = NULL")
	}
	for _, o := range list {
		if _, there := x.columns[o.column]; there && o.column != "" {
			set = append(set, quote(o.column)+" = NULL")
		}
	}
	return x.s.script(ctx, "UPDATE "+x.s.in(x.table)+" SET "+strings.Join(set, ", "))
}

// takeRows takes the properties out of the tables beside a stream's, and writes
// down what they are now. The batch that was copied last has them, too. With
// history all of that goes.
func (x *shape) takeRows(ctx context.Context, list []other, history bool) error {
	var names, marks, columns, types []string
	if err := x.columnsOf(ctx); err != nil { // as they are now
		return err
	}
	for _, o := range list {
		names, marks = append(names, o.Name), append(marks, o.mark)
		column, kind := o.column, x.columns[o.column]
		if _, there := x.columns[column]; !there || o.wants == nil {
			column, kind = "", foreign
		}
		columns, types = append(columns, column), append(types, kind.sql())
	}
	l := besideOf(x.table)
	there, err := x.shapes(ctx, l)
	if err != nil {
		return err
	}
	for _, name := range l.all() {
		if there[staging(name)] != nil {
			if err := x.s.script(ctx, "DROP TABLE "+x.s.in(staging(name))); err != nil {
				return err
			}
		}
	}
	if hasAll(there[l.history], historyColumns()) {
		if _, err := x.tx.Exec(ctx, "DELETE FROM "+x.s.in(l.history)+" WHERE $2 OR property = ANY($1::text[])", names, history); err != nil {
			return err
		}
	}
	if _, err := x.tx.Exec(ctx, "DELETE FROM "+x.s.in("hubpipe_property_options")+" WHERE stream = $1 AND property = ANY($2::text[])", x.name, names); err != nil {
		return err
	}
	if _, err := x.tx.Exec(ctx, "INSERT INTO "+x.s.in("hubpipe_schema_changes")+` (at, stream, property, change, column_name, detail)
		SELECT now(), $1, u.property, 'handling', nullif(u.c, ''), CASE u.m WHEN '' THEN 'as it is' ELSE u.m END
		FROM unnest($2::text[], $3::text[], $4::text[]) AS u (property, m, c)`, x.name, names, marks, columns); err != nil {
		return err
	}
	_, err = x.tx.Exec(ctx, "UPDATE "+x.s.in("hubpipe_properties")+` p SET handling = nullif(u.m, ''), column_name = nullif(u.c, ''), column_type = nullif(u.t, ''),
		unparsed = 0, unparsed_example = NULL FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS u (property, m, c, t)
		WHERE p.stream = $1 AND p.property = u.property`, x.name, names, marks, columns, types)
	return err
}

// marks notes what is done with the properties, and names those that are left
// out.
func (x *shape) marks(r *destination.Rules) {
	for _, name := range r.Excluded() {
		k, ok := x.known[name]
		if !ok {
			k = known{Property: stream.Property{Name: name}, ordinal: len(x.known), inHubSpot: true}
		}
		k.Label, k.Type, k.FieldType, k.Group = "", "", "", ""
		x.known[name] = k
	}
	for name, k := range x.known {
		k.mark = r.Mark(name)
		x.known[name] = k
	}
}
