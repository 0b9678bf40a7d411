package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hubpipe/hubpipe/daemon/destination"
)

// mayFail marks a statement after whose failure, for want of freedom, the others
// go on.
func mayFail(sql string) string { return "\x00" + sql }

// write makes it so.
func (x *shape) write(ctx context.Context, t destination.Table, l *layout) error {
	s := x.s
	if err := s.script(ctx, "SET LOCAL lock_timeout = '"+lockWait+"'"); err != nil {
		return err
	}
	if x.created {
		if _, err := x.tx.Exec(ctx, "DELETE FROM "+s.in("hubpipe_properties")+" WHERE stream = $1", x.name); err != nil {
			return err
		}
	}
	there, err := x.shapes(ctx, besideOf(l.table))
	if err != nil {
		return err
	}
	beside, err := x.beside(l, there)
	if err != nil {
		return err
	}
	var grants map[string][]string
	if len(x.ddl) > 0 {
		if grants, err = s.viewsAside(ctx, x.tx, x.name); err != nil {
			return err
		}
	}
	var plain []string
	for _, sql := range x.ddl {
		risky, ok := strings.CutPrefix(sql, "\x00")
		if !ok {
			plain = append(plain, sql)
			continue
		}
		err := pgx.BeginFunc(ctx, x.tx, func(pgx.Tx) error { return s.script(ctx, risky) })
		switch {
		case err == nil:
			x.reread = true
		case isDependent(err):
			pe, _ := errors.AsType[*pgconn.PgError](err)
			x.kept(l, risky, pe.Detail)
		default:
			return err
		}
	}
	if x.reread && x.row.Position > 0 {
		x.row.again(destination.Reread{Reason: destination.ReasonColumns, Until: max(t.Head, x.row.Position)})
	}
	plain = append(plain, beside...)
	for _, name := range l.all() {
		has := there[staging(name)]
		if len(has) == 0 || name == l.table && !maps.Equal(has, x.columns) {
			plain = append(plain, "DROP TABLE IF EXISTS "+s.in(staging(name)), "CREATE UNLOGGED TABLE "+s.in(staging(name))+" (LIKE "+s.in(name)+")")
		}
	}
	plain = append(plain, x.optional(l, staging(l.table))...)
	if err := s.script(ctx, strings.Join(plain, ";\n")); err != nil {
		return err
	}
	if err := x.fitVersions(ctx, l, t.Head); err != nil {
		return err
	}
	if err := x.describe(ctx, t); err != nil {
		return err
	}
	_, err = x.tx.Exec(ctx, "UPDATE "+s.in("hubpipe_streams")+" SET associations_table = nullif($2, ''), history_table = nullif($3, ''), object = $4, portal = coalesce(nullif($5, ''), portal) WHERE stream = $1",
		x.name, l.associations, l.history, t.Object, t.Portal)
	if err != nil {
		return err
	}
	return s.renewViews(ctx, x.tx, x.name, len(x.ddl) > 0, grants)
}

// optional lets a staging table be without what a person has added to the stream's:
// a batch has nothing for it, and the defaults are those of the table itself.
func (x *shape) optional(l *layout, staging string) (ddl []string) {
	own := map[string]bool{}
	for _, c := range ownColumns() {
		own[c[0]] = true
	}
	for _, name := range l.written() {
		own[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(x.columns)) {
		if !own[name] {
			ddl = append(ddl, "ALTER TABLE "+x.s.in(staging)+" ALTER COLUMN "+quote(name)+" DROP NOT NULL")
		}
	}
	return ddl
}

// shapes are the columns of a layout's staging tables, and of the tables beside
// its first, as far as they are there.
func (x *shape) shapes(ctx context.Context, l *layout) (map[string]map[string]kind, error) {
	names := l.all()[1:]
	for _, name := range l.all() {
		names = append(names, staging(name))
	}
	return x.columnsIn(ctx, names...)
}

// columnsIn are the columns of tables, as far as those are there.
func (x *shape) columnsIn(ctx context.Context, names ...string) (map[string]map[string]kind, error) {
	rows, err := x.tx.Query(ctx, "SELECT table_name, column_name, data_type, udt_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = ANY($2::text[])", x.s.e.o.Schema, names)
	if err != nil {
		return nil, err
	}
	out := map[string]map[string]kind{}
	var table, name, dataType, udt string
	_, err = pgx.ForEachRow(rows, []any{&table, &name, &dataType, &udt}, func() error {
		if out[table] == nil {
			out[table] = map[string]kind{}
		}
		out[table][name] = kindOf(dataType, udt)
		return nil
	})
	return out, err
}

// kept goes back on a change of type that a view or the like does not let
// happen: the column stays as it is, and takes what still fits. holder is what is
// made of it.
func (x *shape) kept(l *layout, sql, holder string) {
	for i := range x.changes {
		c := &x.changes[i]
		if !c.widens(sql) {
			continue
		}
		from, _, _ := strings.Cut(c.detail, " to ")
		c.what, c.detail = "kept", "it stays "+from+", since something is made of it ("+holder+"); values that do not fit are null"
		x.remarks = append(x.remarks, "column "+c.column+": "+c.detail+"; drop that, pause and resume the destination, and make it again")
		k := x.known[c.property]
		k.columnType, x.columns[c.column] = from, kindNamed(from)
		x.known[c.property] = k
		for j := range l.columns {
			if l.columns[j].property == c.property {
				l.columns[j].kind, l.columns[j].defined = kindNamed(from), true
			}
		}
	}
}

// widens tells whether a statement is that of a change.
func (c *change) widens(sql string) bool {
	return c.what == "widened" && strings.Contains(sql, " ALTER COLUMN "+quote(c.column)+" TYPE ")
}

// ready tells whether the table can be looked at as it is. It goes without the
// changes that would not be let happen.
func (x *shape) ready(ctx context.Context, t destination.Table, l *layout) error {
	if x.created {
		return t.Unready()
	}
	for _, sql := range x.ddl {
		risky, ok := strings.CutPrefix(sql, "\x00")
		if !ok && strings.HasPrefix(sql, "COMMENT ") {
			continue
		}
		holder := ""
		for i := range x.changes {
			if !ok || !x.changes[i].widens(risky) {
				continue
			}
			var err error
			if holder, err = x.holder(ctx, x.changes[i].column); err != nil {
				return err
			}
		}
		if holder == "" {
			return t.Unready()
		}
		x.kept(l, risky, holder)
	}
	return nil
}

// holder is what keeps a column's type: all that PostgreSQL refuses to do it
// for, hubpipe's own views apart, since those are taken aside; "" for nothing.
func (x *shape) holder(ctx context.Context, column string) (out string, err error) {
	err = x.tx.QueryRow(ctx, `SELECT coalesce(string_agg(DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ', '), '')
		FROM pg_catalog.pg_depend d
		JOIN pg_catalog.pg_class c ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = c.oid
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
		LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND r.oid = d.objid
		LEFT JOIN pg_catalog.pg_class v ON v.oid = r.ev_class
		WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = $3 AND d.deptype <> 'a'
		AND d.classid::regclass::text = ANY ('{pg_rewrite,pg_trigger,pg_policy,pg_proc,pg_attrdef,pg_publication_rel}'::text[])
		AND NOT EXISTS (SELECT 1 FROM `+x.s.in("hubpipe_streams")+` o WHERE v.relnamespace = n.oid AND v.relname IN (o.view_name, o.parts_view_name))`,
		x.s.e.o.Schema, x.table, column).Scan(&out)
	if out != "" {
		out += ` depends on column "` + column + `"`
	}
	return out, err
}

// kindNamed is the type of that name.
func kindNamed(sql string) kind {
	for k := range foreign {
		if k.sql() == sql {
			return k
		}
	}
	return foreign
}
