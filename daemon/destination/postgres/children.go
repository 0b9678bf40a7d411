package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Columns of the tables beside a stream's, in the order in which they are
// written.
func associationColumns() []string {
	return []string{colID, "to_object", "to_id", "category", "type_id", "label"}
}

func historyColumns() []string {
	return []string{colID, "property", "ordinal", "changed_at", "value", "source_type", "source_id"}
}

// all are the layout's tables, the stream's first.
func (l *layout) all() []string {
	out := []string{l.table}
	for _, name := range []string{l.associations, l.history} {
		if name != "" {
			out = append(out, name)
		}
	}
	return out
}

// staging is the table into which a batch for another is copied first. It is
// permanent: not every server has temporary ones, and those bloat catalogues.
func staging(name string) string { return tableName("_hubpipe_load_" + name) }

// children makes the tables beside a stream's that are not there.
func (s *session) children(l *layout, there map[string]map[string]kind) (ddl []string) {
	if l.associations != "" && there[l.associations] == nil {
		ddl = append(ddl, "CREATE TABLE IF NOT EXISTS "+s.in(l.associations)+` (id text NOT NULL, to_object text NOT NULL, to_id text NOT NULL,
			category text NOT NULL, type_id bigint NOT NULL, label text, PRIMARY KEY (id, to_object, to_id, category, type_id))`,
			"CREATE INDEX IF NOT EXISTS "+quote(tableName(l.associations+"_to"))+" ON "+s.in(l.associations)+" (to_object, to_id)",
			"COMMENT ON TABLE "+s.in(l.associations)+" IS "+literal("what the records of "+l.table+" are associated with, a row for each type"))
	}
	if l.history != "" && there[l.history] == nil {
		ddl = append(ddl, "CREATE TABLE IF NOT EXISTS "+s.in(l.history)+` (id text NOT NULL, property text NOT NULL, ordinal integer NOT NULL,
			changed_at timestamptz, value text, source_type text, source_id text, PRIMARY KEY (id, property, ordinal))`,
			"COMMENT ON TABLE "+s.in(l.history)+" IS "+literal("what the properties of "+l.table+" have been; ordinal 0 is the newest"))
	}
	return ddl
}

// besideOf is a layout with all tables that may lie beside a stream's, but for its
// versions, whether they are written or not.
func besideOf(table string) *layout {
	return &layout{table: table, associations: tableName(table + "__associations"), history: tableName(table + "__history")}
}

// hasAll tells whether a table is there, and has the columns of one of ours.
func hasAll(has map[string]kind, columns []string) bool {
	return !slices.ContainsFunc(columns, func(c string) bool { _, ok := has[c]; return !ok })
}

// writtenBeside reads which tables beside the stream's were written until now.
func (x *shape) writtenBeside(ctx context.Context) error {
	var associations, history string
	err := x.tx.QueryRow(ctx, "SELECT coalesce(associations_table, ''), coalesce(history_table, '') FROM "+x.s.in("hubpipe_streams")+" WHERE stream = $1", x.name).
		Scan(&associations, &history)
	x.written = map[string]bool{associations: true, history: true}
	return err
}

// beside makes the tables beside a stream's that there have to be. What begins to
// be written gets what the store has already by a rereading. What is not written
// any more stays, but for what is erased, and for the batch that was copied last.
func (x *shape) beside(l *layout, there map[string]map[string]kind) (ddl []string, err error) {
	all := besideOf(l.table)
	for _, child := range []struct {
		wanted, name string
		columns      []string
	}{{l.associations, all.associations, associationColumns()}, {l.history, all.history, historyColumns()}} {
		has := there[child.name]
		switch ours := hasAll(has, child.columns); {
		case child.wanted == "":
			if ours {
				l.leftBeside = append(l.leftBeside, child.name)
			}
			if there[staging(child.name)] != nil {
				ddl = append(ddl, "DROP TABLE "+x.s.in(staging(child.name)))
			}
		case has == nil || ours && !x.written[child.name]:
			x.reread = x.reread || !x.created
		case !ours:
			return nil, &stream.Problem{Type: typeForeign, Title: "there is a table of that name already", Blocked: true,
				Detail: fmt.Sprintf("%s.%s was not made by hubpipe for this stream", x.s.e.o.Schema, child.name), Hint: "rename it"}
		}
	}
	return append(ddl, x.s.children(l, there)...), nil
}

// emptyBeside takes what the records of a batch have left in tables that are not
// written any more, where they lose their content.
func (s *session) emptyBeside(ctx context.Context, tx pgx.Tx, p *packed) error {
	var ids []string
	for _, r := range p.records {
		if r.State.Bare() || p.of.deletes && r.State != stream.Live {
			ids = append(ids, clean(r.ID))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	for _, name := range p.of.leftBeside {
		if _, err := tx.Exec(ctx, "DELETE FROM "+s.in(name)+" WHERE id = ANY($1::text[])", ids); err != nil {
			return err
		}
	}
	return nil
}

// describe writes down the properties, and what has changed.
func (x *shape) describe(ctx context.Context, t destination.Table) error {
	names := make([]string, 0, len(x.known))
	for name := range x.known {
		names = append(names, name)
	}
	slices.Sort(names)
	var columns, types, labels, hubspot, fields, groups, marks []string
	var ordinals []int32
	var calculated, there []bool
	for _, name := range names {
		k := x.known[name]
		columns, types, labels = append(columns, k.column), append(types, k.columnType), append(labels, clean(k.Label))
		hubspot, fields, groups = append(hubspot, clean(k.Type)), append(fields, clean(k.FieldType)), append(groups, clean(k.Group))
		marks = append(marks, k.mark)
		ordinals, calculated, there = append(ordinals, int32(k.ordinal)), append(calculated, k.Calculated), append(there, k.inHubSpot)
	}
	_, err := x.tx.Exec(ctx, "INSERT INTO "+x.s.in("hubpipe_properties")+` AS p (stream, property, column_name, column_type, label, hubspot_type, field_type, group_name, ordinal, calculated, in_hubspot, handling)
		SELECT $1, u.property, nullif(u.c, ''), nullif(u.t, ''), nullif(u.l, ''), nullif(u.h, ''), nullif(u.f, ''), nullif(u.g, ''), u.o, u.k, u.i, nullif(u.m, '')
		FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[], $10::bool[], $11::bool[], $12::text[]) AS u (property, c, t, l, h, f, g, o, k, i, m)
		ON CONFLICT (stream, property) DO UPDATE SET column_name = excluded.column_name, column_type = excluded.column_type, label = excluded.label,
		hubspot_type = excluded.hubspot_type, field_type = excluded.field_type, group_name = excluded.group_name, ordinal = excluded.ordinal,
		calculated = excluded.calculated, in_hubspot = excluded.in_hubspot, handling = excluded.handling
		WHERE (p.column_name, p.column_type, p.label, p.hubspot_type, p.field_type, p.group_name, p.ordinal, p.calculated, p.in_hubspot, p.handling) IS DISTINCT FROM
		(excluded.column_name, excluded.column_type, excluded.label, excluded.hubspot_type, excluded.field_type, excluded.group_name, excluded.ordinal, excluded.calculated, excluded.in_hubspot, excluded.handling)`,
		x.name, names, columns, types, labels, hubspot, fields, groups, ordinals, calculated, there, marks)
	if err != nil {
		return err
	}
	if err := x.options(ctx, t); err != nil {
		return err
	}
	for _, c := range x.changes {
		if c.what == "kept" && c.again {
			continue // it is written down already
		}
		if _, err := x.tx.Exec(ctx, "INSERT INTO "+x.s.in("hubpipe_schema_changes")+` (at, stream, property, change, column_name, detail)
			VALUES (now(), $1, $2, $3, nullif($4, ''), $5)`, x.name, clean(c.property), c.what, c.column, clean(c.detail)); err != nil {
			return err
		}
	}
	return nil
}

// options writes down the values of enumerations. Those that HubSpot does not
// list any more go; where they were too many to be listed, nothing is known.
func (x *shape) options(ctx context.Context, t destination.Table) error {
	var listed, properties, values, labels []string
	var ordinals []int32
	var hidden []bool
	for _, d := range t.Definitions {
		if d.Unlisted {
			continue
		}
		listed = append(listed, clean(d.Name))
		seen := map[string]bool{}
		for i, o := range d.Options {
			if v := clean(o.Value); !seen[v] {
				seen[v] = true
				properties, values, labels = append(properties, clean(d.Name)), append(values, v), append(labels, clean(o.Label))
				ordinals, hidden = append(ordinals, int32(i)), append(hidden, o.Hidden) //nolint:gosec // far below
			}
		}
	}
	table := x.s.in("hubpipe_property_options")
	const given = "unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::bool[]) AS u (property, value, label, ordinal, hidden)"
	if _, err := x.tx.Exec(ctx, "INSERT INTO "+table+" AS o (stream, property, value, label, ordinal, hidden) SELECT $1, u.* FROM "+given+
		` ON CONFLICT (stream, property, value) DO UPDATE SET label = excluded.label, ordinal = excluded.ordinal, hidden = excluded.hidden
		WHERE (o.label, o.ordinal, o.hidden) IS DISTINCT FROM (excluded.label, excluded.ordinal, excluded.hidden)`,
		x.name, properties, values, labels, ordinals, hidden); err != nil {
		return err
	}
	_, err := x.tx.Exec(ctx, "DELETE FROM "+table+` o WHERE o.stream = $1 AND o.property = ANY($2::text[])
		AND NOT EXISTS (SELECT 1 FROM unnest($3::text[], $4::text[]) AS u (property, value) WHERE u.property = o.property AND u.value = o.value)`,
		x.name, listed, properties, values)
	return err
}

// clean is text as PostgreSQL can hold it.
func clean(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}
