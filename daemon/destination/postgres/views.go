package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// labelSuffix is what follows a column's name in the name of that of its labels.
const labelSuffix = "__label"

// viewed is a stream as one of its views needs it.
type viewed struct {
	stream, table, object, portal string
	parts                         bool   // the view of what is nested in the rows, not that of the live ones
	view, digest                  string // that there is; "" for none
}

// key tells views apart.
func (v *viewed) key() string { return fmt.Sprint(v.parts, " ", v.stream) }

// viewColumn is a property's column as a view needs it.
type viewColumn struct {
	property, name, hubspotType string
	kind                        kind
	options                     bool // values of it are listed
}

// naming are the objects of which other streams' views show names.
func naming() []string { return []string{"owners", "pipelines"} }

// viewsAside takes the views away that are made of a stream's table, so that it
// can be changed, and returns who could read them, by stream.
func (s *session) viewsAside(ctx context.Context, tx pgx.Tx, name string) (grants map[string][]string, err error) {
	all, err := s.viewed(ctx, tx)
	if err != nil {
		return nil, err
	}
	grants = map[string][]string{}
	for _, v := range concerned(all, name, true) {
		if v.view == "" {
			continue
		}
		if grants[v.key()], err = s.grants(ctx, tx, v.view); err != nil {
			return nil, err
		}
		if _, err := s.dropView(ctx, tx, v); err != nil {
			return nil, err
		}
	}
	return grants, nil
}

// concerned is a stream, and with others those whose views show names from it.
func concerned(all []viewed, name string, others bool) (out []viewed) {
	i := slices.IndexFunc(all, func(v viewed) bool { return v.stream == name })
	if i < 0 {
		return nil
	}
	for _, v := range all {
		if v.stream == name || others && slices.Contains(naming(), all[i].object) && v.portal == all[i].portal {
			out = append(out, v)
		}
	}
	return out
}

// viewed reads the streams that there are.
func (s *session) viewed(ctx context.Context, tx pgx.Tx) (out []viewed, err error) {
	rows, err := tx.Query(ctx, `SELECT stream, table_name, coalesce(object, ''), coalesce(portal, ''), coalesce(view_name, ''), coalesce(view_digest, ''),
		coalesce(parts_view_name, ''), coalesce(parts_view_digest, '')
		FROM `+s.in("hubpipe_streams")+" ORDER BY stream")
	if err != nil {
		return nil, err
	}
	var v, parts viewed
	_, err = pgx.ForEachRow(rows, []any{&v.stream, &v.table, &v.object, &v.portal, &v.view, &v.digest, &parts.view, &parts.digest}, func() error {
		out = append(out, v)
		if slices.Contains(naming(), v.object) {
			out = append(out, viewed{stream: v.stream, table: v.table, object: v.object, portal: v.portal, parts: true, view: parts.view, digest: parts.digest})
		}
		return nil
	})
	return out, err
}

// renewViews makes a stream's view be as the tables are, and with others those
// that show names from it. Who could read them may do so.
func (s *session) renewViews(ctx context.Context, tx pgx.Tx, name string, others bool, grants map[string][]string) error {
	all, err := s.viewed(ctx, tx)
	if err != nil {
		return err
	}
	list := concerned(all, name, others)
	if !slices.ContainsFunc(list, func(v viewed) bool { return s.e.o.Views || v.view != "" || slices.Contains(naming(), v.object) }) {
		return nil
	}
	var of []string
	for _, v := range all {
		if slices.Contains(naming(), v.object) || slices.ContainsFunc(list, func(x viewed) bool { return x.stream == v.stream }) {
			of = append(of, v.stream)
		}
	}
	columns, err := s.viewColumns(ctx, tx, of)
	if err != nil {
		return err
	}
	for _, v := range list {
		sql := ""
		switch {
		case v.parts && v.object == "pipelines":
			sql = s.stagesSQL(v, columns[v.stream])
		case v.parts:
			sql = s.teamsSQL(v, columns[v.stream])
		case s.e.o.Views:
			sql = s.liveSQL(v, columns, all)
		}
		if err := s.renew(ctx, tx, v, sql, grants[v.key()]); err != nil {
			return err
		}
	}
	return nil
}

// viewColumns are the columns of streams, in the order of the properties.
func (s *session) viewColumns(ctx context.Context, tx pgx.Tx, of []string) (map[string][]viewColumn, error) {
	rows, err := tx.Query(ctx, `SELECT p.stream, p.property, p.column_name, coalesce(p.hubspot_type, ''), c.data_type, c.udt_name,
		EXISTS (SELECT 1 FROM `+s.in("hubpipe_property_options")+` o WHERE o.stream = p.stream AND o.property = p.property)
		FROM `+s.in("hubpipe_properties")+" p JOIN "+s.in("hubpipe_streams")+` t USING (stream)
		JOIN information_schema.columns c ON c.table_schema = $1 AND c.table_name = t.table_name AND c.column_name = p.column_name
		WHERE p.stream = ANY($2::text[]) ORDER BY p.stream, p.ordinal, p.property`, s.e.o.Schema, of)
	if err != nil {
		return nil, err
	}
	out := map[string][]viewColumn{}
	var name, dataType, udt string
	var c viewColumn
	_, err = pgx.ForEachRow(rows, []any{&name, &c.property, &c.name, &c.hubspotType, &dataType, &udt, &c.options}, func() error {
		c.kind = kindOf(dataType, udt)
		out[name] = append(out[name], c)
		return nil
	})
	return out, err
}

// renew makes a view by a query, where it is not made by it already; "" is none.
func (s *session) renew(ctx context.Context, tx pgx.Tx, v viewed, sql string, grants []string) error {
	digest := ""
	if sql != "" {
		sum := sha256.Sum256([]byte(sql))
		digest = hex.EncodeToString(sum[:8])
	}
	there := false
	if v.view != "" {
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM information_schema.views WHERE table_schema = $1 AND table_name = $2)", s.e.o.Schema, v.view).Scan(&there); err != nil {
			return err
		}
	}
	if digest == v.digest && there == (digest != "") {
		return nil
	}
	if there {
		var err error
		if grants, err = s.grants(ctx, tx, v.view); err != nil {
			return err
		}
		if gone, err := s.dropView(ctx, tx, v); err != nil || !gone {
			return err // something is made of it: it stays as it is
		}
	}
	name := v.view
	if sql != "" {
		var err error
		if name, err = s.viewName(ctx, tx, v); err != nil {
			return err
		}
		statements := append([]string{"CREATE VIEW " + s.in(name) + " AS " + sql,
			"COMMENT ON VIEW " + s.in(name) + " IS " + literal("made by hubpipe of "+v.table+"; it is made anew when that changes")}, grants...)
		if err := s.script(ctx, strings.Join(statements, ";\n")); err != nil {
			return err
		}
	}
	slot := "view"
	if v.parts {
		slot = "parts_view"
	}
	_, err := tx.Exec(ctx, "UPDATE "+s.in("hubpipe_streams")+" SET "+slot+"_name = nullif($2, ''), "+slot+"_digest = nullif($3, '') WHERE stream = $1", v.stream, name, digest)
	return err
}

// dropView takes a view away, and says whether it could.
func (s *session) dropView(ctx context.Context, tx pgx.Tx, v viewed) (bool, error) {
	err := pgx.BeginFunc(ctx, tx, func(pgx.Tx) error { return s.script(ctx, "DROP VIEW IF EXISTS "+s.in(v.view)) })
	if err != nil && isDependent(err) {
		return false, nil
	}
	return err == nil, err
}

// grants are who may read a view, as statements.
func (s *session) grants(ctx context.Context, tx pgx.Tx, view string) (out []string, err error) {
	rows, err := tx.Query(ctx, `SELECT format('GRANT %s ON %I.%I TO %s', a.privilege_type, n.nspname, c.relname,
		CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END) || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, LATERAL pg_catalog.aclexplode(c.relacl) a
		WHERE n.nspname = $1 AND c.relname = $2 AND a.grantee <> c.relowner ORDER BY 1`, s.e.o.Schema, view)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// viewName is what a stream's view is called: the name that it had, else one
// that nothing has.
func (s *session) viewName(ctx context.Context, tx pgx.Tx, v viewed) (string, error) {
	if v.view != "" {
		return v.view, nil
	}
	name := v.table + "_live"
	switch {
	case v.parts && v.object == "pipelines":
		name = strings.TrimSuffix(v.table, "s") + "_stages"
	case v.parts:
		name = strings.TrimSuffix(v.table, "s") + "_teams"
	}
	name = tableName(name)
	taken := false
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2)`, s.e.o.Schema, name).Scan(&taken)
	if taken {
		name = marked(name, v.key()+"\x00view")
	}
	return name, err
}

// stagesSQL are the stages of pipelines, a row each.
func (s *session) stagesSQL(v viewed, columns []viewColumn) string {
	at := slices.IndexFunc(columns, func(c viewColumn) bool { return c.property == "stages" && c.kind == object })
	if at < 0 {
		return ""
	}
	return `SELECT p.id AS pipeline_key, split_part(p.id, '/', 1) AS object, split_part(p.id, '/', 2) AS pipeline_id, s ->> 'id' AS stage_id, s ->> 'label' AS label,
	(s ->> 'displayOrder')::numeric AS display_order, s #>> '{metadata,probability}' AS probability, s #>> '{metadata,isClosed}' AS is_closed,
	s #>> '{metadata,ticketState}' AS ticket_state, coalesce((s ->> 'archived')::boolean, false) AS archived, p._hubpipe_seq
	FROM ` + s.in(v.table) + ` p, LATERAL jsonb_array_elements(` + arrayOf("p."+quote(columns[at].name)) + `) s WHERE p._hubpipe_state = 'live'`
}

// teamsSQL are the teams of owners, a row each.
func (s *session) teamsSQL(v viewed, columns []viewColumn) string {
	at := slices.IndexFunc(columns, func(c viewColumn) bool { return c.property == "teams" && c.kind == object })
	if at < 0 {
		return ""
	}
	return `SELECT o.id AS owner_id, t ->> 'id' AS team_id, t ->> 'name' AS name, coalesce((t ->> 'primary')::boolean, false) AS is_primary, o._hubpipe_seq
	FROM ` + s.in(v.table) + ` o, LATERAL jsonb_array_elements(` + arrayOf("o."+quote(columns[at].name)) + `) t WHERE o._hubpipe_state = 'live'`
}

// arrayOf is a column of JSON where it is an array, else an empty one.
func arrayOf(column string) string {
	return "CASE jsonb_typeof(" + column + ") WHEN 'array' THEN " + column + " ELSE '[]'::jsonb END"
}

// maxTargets is how many columns a query may have in PostgreSQL, less our own.
const maxTargets = 1664 - 10

// liveSQL are the live rows of a stream, with labels and names beside the values
// that stand for them.
func (s *session) liveSQL(v viewed, columns map[string][]viewColumn, all []viewed) string {
	var b strings.Builder
	b.WriteString("SELECT t.id")
	taken := map[string]bool{colID: true}
	for _, c := range columns[v.stream] {
		taken[c.name] = true
	}
	n := len(taken)
	for _, c := range columns[v.stream] {
		b.WriteString(",\n\tt." + quote(c.name))
		label := s.labelSQL(v, c, columns, all)
		if n == maxTargets || label == "" {
			continue
		}
		name := columnName(c.property + labelSuffix)
		if taken[name] {
			name = marked(name, c.property+"\x00label")
		}
		taken[name] = true
		n++
		b.WriteString(",\n\t" + label + " AS " + quote(name))
	}
	for _, c := range []string{colSeq, colSynced, colCreated, colUpdated} {
		b.WriteString(",\n\tt." + quote(c))
	}
	b.WriteString("\nFROM " + s.in(v.table) + " t WHERE t." + quote(colState) + " = 'live'")
	return b.String()
}

// labelSQL is the name of what a value stands for, "" where there is none.
func (s *session) labelSQL(v viewed, c viewColumn, columns map[string][]viewColumn, all []viewed) string {
	value := "t." + quote(c.name)
	if c.kind != texts {
		value += "::text"
	}
	peer := func(object string) *viewed {
		i := slices.IndexFunc(all, func(x viewed) bool { return x.object == object && x.portal == v.portal })
		if i < 0 {
			return nil
		}
		return &all[i]
	}
	column := func(x *viewed, property string, of kind) string {
		i := slices.IndexFunc(columns[x.stream], func(c viewColumn) bool { return c.property == property && c.kind == of })
		if i < 0 {
			return ""
		}
		return quote(columns[x.stream][i].name)
	}
	options := "FROM " + s.in("hubpipe_property_options") + " o WHERE o.stream = " + literal(v.stream) + " AND o.property = " + literal(c.property) + " AND o.value = "
	switch {
	case c.kind == texts && c.options:
		return "(SELECT array_agg(coalesce((SELECT o.label " + options + "u.v), u.v) ORDER BY u.n) FROM unnest(" + value + ") WITH ORDINALITY u (v, n))"
	case c.kind == texts || c.kind == object:
		return ""
	case c.property == "hubspot_owner_id":
		o := peer("owners")
		if o == nil {
			return ""
		}
		// A column that is empty everywhere is not there.
		var names []string
		for _, property := range []string{"firstName", "lastName"} {
			if c := column(o, property, text); c != "" {
				names = append(names, "nullif(o."+c+", '')")
			}
		}
		name := ""
		if len(names) > 0 {
			name = "nullif(concat_ws(' ', " + strings.Join(names, ", ") + "), '')"
		}
		if c := column(o, "email", text); c != "" && name != "" {
			name = "coalesce(" + name + ", o." + c + ")"
		} else if c != "" {
			name = "o." + c
		}
		if name == "" {
			return ""
		}
		return "(SELECT " + name + " FROM " + s.in(o.table) + " o WHERE o.id = " + value + ")"
	}
	label := ""
	if c.options {
		label = "(SELECT o.label " + options + value + ")"
	}
	p := peer("pipelines")
	if p == nil {
		return label
	}
	name, stages, named := column(p, "label", text), column(p, "stages", object), ""
	like := " WHERE split_part(p.id, '/', 1) IN (" + literal(v.object) + ", " + literal(strings.TrimSuffix(v.object, "s")) + ")"
	switch c.property {
	case "pipeline", "hs_pipeline":
		if name != "" {
			named = "(SELECT p." + name + " FROM " + s.in(p.table) + " p" + like + " AND split_part(p.id, '/', 2) = " + value + " LIMIT 1)"
		}
	case "dealstage", "hs_pipeline_stage":
		if stages != "" {
			named = "(SELECT s ->> 'label' FROM " + s.in(p.table) + " p, LATERAL jsonb_array_elements(" + arrayOf("p."+stages) + ") s" + like + " AND s ->> 'id' = " + value + " LIMIT 1)"
		}
	}
	switch {
	case named == "":
		return label
	case label == "":
		return named
	}
	return "coalesce(" + named + ", " + label + ")"
}
