package postgres

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// The columns of a table of versions besides those of the stream's, and those
// in which its staging table has what they are made of: HubSpot's time of the
// version, and when HubSpot was asked.
const (
	colFrom    = "valid_from"
	colTo      = "valid_to"
	colCurrent = "_hubpipe_current"
	colSince   = "_hubpipe_since"
	colRead    = "_hubpipe_read_at"

	colVersions = "versions_table" // of hubpipe_streams
)

// versionColumns is how many more a table of versions has.
const versionColumns = 3

// versionColumn is what a column of the stream's table is called among versions.
func versionColumn(name string) string {
	if name == colFrom || name == colTo {
		return marked(name, name)
	}
	return name
}

// limit is how many columns the stream's table may have.
func (x *shape) limit() int {
	if x.versions {
		return maxColumns - versionColumns
	}
	return maxColumns
}

// fitVersions makes the table of versions fit the stream's, which is as it shall
// be. What it lacks is added; what somebody's view keeps from becoming wider is
// left out from then on.
func (x *shape) fitVersions(ctx context.Context, l *layout, head uint64) error {
	if l.versions == "" {
		return x.leaveVersions(ctx, l)
	}
	s := x.s
	if x.used > x.limit() {
		return &stream.Problem{Type: typeSchema, Title: "a table of versions has no room for all columns", Blocked: true,
			Detail: fmt.Sprintf("%s has %d columns, and PostgreSQL gives its versions %d", l.table, x.used, x.limit()),
			Hint:   "copy fewer properties (exclude in the stream), and drop the table; or leave its versions out"}
	}
	there, err := x.columnsIn(ctx, l.versions, staging(l.versions), "hubpipe_streams")
	if err != nil {
		return err
	}
	var goesOn bool // it was written until now
	if _, known := there["hubpipe_streams"][colVersions]; known {
		if err := x.tx.QueryRow(ctx, "SELECT versions_table IS NOT NULL FROM "+s.in("hubpipe_streams")+" WHERE stream = $1", x.name).Scan(&goesOn); err != nil {
			return err
		}
	}
	has, staged := there[l.versions], there[staging(l.versions)]
	if _, own := has[colCurrent]; len(has) > 0 && !own {
		return &stream.Problem{Type: typeForeign, Title: "there is a table of that name already", Blocked: true,
			Detail: fmt.Sprintf("%s.%s was not made by hubpipe for versions", s.e.o.Schema, l.versions), Hint: "rename it"}
	}
	var ddl []string
	if len(has) == 0 {
		ddl = append(ddl, "CREATE TABLE "+s.in(l.versions)+" (id text NOT NULL, _hubpipe_seq bigint NOT NULL, _hubpipe_state text NOT NULL, "+
			colFrom+" timestamptz NOT NULL, "+colTo+" timestamptz, "+colCurrent+" boolean NOT NULL, PRIMARY KEY (id, _hubpipe_seq))",
			"CREATE INDEX ON "+s.in(l.versions)+" (_hubpipe_seq)",
			"COMMENT ON TABLE "+s.in(l.versions)+" IS "+literal("what the records of "+l.table+" were, a row for each version that hubpipe saw"),
			"ALTER TABLE "+s.in("hubpipe_streams")+" ADD COLUMN IF NOT EXISTS versions_table text")
		has, goesOn = map[string]kind{colID: text, colSeq: foreign, colState: text}, false
	}
	if !goesOn {
		ddl = append(ddl, "") // it is noted below
		if x.row.Position > 0 {
			// What is there is a version, too, and what came while none were written
			// ends those that stand there from before.
			x.row.again(destination.Reread{Reason: destination.ReasonColumns, Until: max(head, x.row.Position)})
		}
	}
	l.unversioned = map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(x.columns)) {
		own, want := versionColumn(name), x.columns[name]
		if want == foreign {
			want = text
		}
		was, ok := has[own]
		if !ok {
			ddl = append(ddl, "ALTER TABLE "+s.in(l.versions)+" ADD COLUMN "+quote(own)+" "+want.sql())
			continue
		}
		to, need := wider(was, want)
		if !need || x.columns[name] == foreign {
			continue
		}
		err := pgx.BeginFunc(ctx, x.tx, func(pgx.Tx) error {
			return s.script(ctx, "ALTER TABLE "+s.in(l.versions)+" ALTER COLUMN "+quote(own)+" TYPE "+to.sql()+" USING "+using(own, was, to))
		})
		if isDependent(err) {
			l.unversioned[name] = true
			continue
		}
		if err != nil {
			return err
		}
	}
	wants := maps.Clone(x.columns)
	wants[colSince], wants[colRead] = timestamp, timestamp
	if !maps.Equal(staged, wants) {
		ddl = append(ddl, "DROP TABLE IF EXISTS "+s.in(staging(l.versions)), "CREATE UNLOGGED TABLE "+s.in(staging(l.versions))+" (LIKE "+s.in(l.table)+")",
			"ALTER TABLE "+s.in(staging(l.versions))+" ADD COLUMN "+colSince+" timestamptz, ADD COLUMN "+colRead+" timestamptz")
	}
	if ddl = append(ddl, x.optional(l, staging(l.versions))...); len(ddl) == 0 {
		return nil
	}
	if err := s.script(ctx, strings.Join(ddl, ";\n")); err != nil {
		return err
	}
	_, err = x.tx.Exec(ctx, "UPDATE "+s.in("hubpipe_streams")+" SET versions_table = $2 WHERE stream = $1", x.name, l.versions)
	return err
}

// leaveVersions notes that no versions are written any more, so that all is read
// again when they are. What is in a table of them from before stays, apart from
// the values of what loses its content.
func (x *shape) leaveVersions(ctx context.Context, l *layout) error {
	s, table := x.s, tableName(l.table+"__versions")
	there, err := x.columnsIn(ctx, table, staging(table), "hubpipe_streams")
	if err != nil {
		return err
	}
	if _, own := there[table][colCurrent]; own {
		l.left, l.leftHas = table, there[table]
	}
	if there[staging(table)] != nil { // it has the batch that was copied last
		if err := s.script(ctx, "DROP TABLE "+s.in(staging(table))); err != nil {
			return err
		}
	}
	if _, known := there["hubpipe_streams"][colVersions]; !known {
		return nil
	}
	_, err = x.tx.Exec(ctx, "UPDATE "+s.in("hubpipe_streams")+" SET versions_table = NULL WHERE stream = $1 AND versions_table IS NOT NULL", x.name)
	return err
}

// packVersion appends the row that was just packed, of a record, to the versions;
// line is that row without its end.
func (p *packed) packVersion(r *stream.Record, line []byte) {
	b := append(append(p.versions, line...), '\t')
	since := r.UpdatedAt
	if r.State == stream.Archived && r.ArchivedAt != "" {
		since = r.ArchivedAt
	}
	// When a record was purged or merged HubSpot does not say.
	if t, ok := destination.Moment([]byte(since)); ok && !r.State.Bare() {
		b = appendMoment(b, t)
	} else {
		b = append(b, `\N`...)
	}
	if b = append(b, '\t'); r.AsOf > 0 {
		b = appendMoment(b, time.UnixMilli(r.AsOf))
	} else {
		b = append(b, `\N`...)
	}
	p.versions = append(b, '\n')
}

// lastOf is where each record stands last in a batch.
func lastOf(records []*stream.Record) map[string]int {
	out := make(map[string]int, len(records))
	for i, r := range records {
		out[r.ID] = i
	}
	return out
}

// writeVersions takes the versions of a batch over. columns are the stream's.
//
// A version is valid from HubSpot's time of it. Where that is no later than the
// one before, something changed that moves no time (a calculated property, an
// association), and all that is known is when HubSpot was asked. What was
// written once keeps its time, so that a repeat changes nothing.
func (s *session) writeVersions(ctx context.Context, tx pgx.Tx, p *packed, columns []string, mode destination.Mode) error {
	l := p.of
	if l.versions == "" {
		if l.left == "" {
			return nil
		}
		older := " AND v._hubpipe_seq < s._hubpipe_seq"
		if mode == destination.Force {
			older = ""
		}
		return s.emptyBehind(ctx, tx, p, l.left, staging(l.table), older)
	}
	if err := s.stage(ctx, tx, s.of(l.stream), l.versions, append(slices.Clone(columns), colSince, colRead), p.versions); err != nil {
		return err
	}
	table, staged := s.in(l.versions), s.in(staging(l.versions))
	// The server takes a batch for much more than it is, and would compile for a
	// second what runs for milliseconds.
	if err := s.script(ctx, "SET LOCAL jit = off"); err != nil {
		return err
	}
	// They are named one by one: nothing is known of how much is staged, and the
	// table is read by its key.
	ids := make([]string, 0, len(p.records))
	for _, r := range p.records {
		ids = append(ids, r.ID)
	}
	if mode == destination.Force {
		// The store's record comes after versions that the store has lost.
		if _, err := tx.Exec(ctx, "UPDATE "+staged+` s SET _hubpipe_seq = m.top + 1, _hubpipe_since = NULL, _hubpipe_read_at = now()
			FROM (SELECT id, max(_hubpipe_seq) AS top FROM `+table+" WHERE id = ANY($1::text[]) GROUP BY id) m WHERE m.id = s.id AND m.top > s._hubpipe_seq", ids); err != nil {
			return err
		}
	}
	var known []string
	if err := tx.QueryRow(ctx, "SELECT coalesce(array_agg(u.id), '{}') FROM unnest($1::text[]) AS u (id) WHERE EXISTS (SELECT 1 FROM "+table+" v WHERE v.id = u.id)", ids).Scan(&known); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, s.versionsSQL(l, columns, len(known) > 0)); err != nil {
		return err
	}
	if err := s.emptyBehind(ctx, tx, p, l.versions, staging(l.versions), " AND v._hubpipe_seq < s._hubpipe_seq"); err != nil {
		return err
	}
	if len(known) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, s.chainSQL(l.versions), known)
	return err
}

// emptyBehind takes away what a table of versions has of records that lose their
// content in a batch, where that is older.
func (s *session) emptyBehind(ctx context.Context, tx pgx.Tx, p *packed, name, from, older string) error {
	var erased, bare []string
	for _, r := range p.records {
		switch {
		case r.State == stream.Purged && r.CreatedAt == "" && r.UpdatedAt == "":
			erased = append(erased, r.ID)
		case r.State.Bare():
			bare = append(bare, r.ID)
		}
	}
	table, staged := s.in(name), s.in(from)
	behind := staged + " s WHERE v.id = ANY($1::text[]) AND s.id = v.id" + older + " AND s._hubpipe_state IN ('purged', 'merged')"
	if len(erased) > 0 {
		// Not even when it was.
		if _, err := tx.Exec(ctx, "DELETE FROM "+table+" v USING "+behind, erased); err != nil {
			return err
		}
	}
	if len(bare) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, "UPDATE "+table+" v SET "+s.emptied(p.of)+" FROM "+behind, bare)
	return err
}

// versionsSQL takes versions over from the staging table, those apart behind
// which the record has lost its content. Without known no record has any yet.
func (s *session) versionsSQL(l *layout, columns []string, known bool) string {
	table, staged := s.in(l.versions), s.in(staging(l.versions))
	var into, from, set []string
	for _, c := range columns {
		if l.unversioned[c] {
			continue
		}
		own := quote(versionColumn(c))
		into, from = append(into, own), append(from, "y."+quote(c))
		if c != colID && c != colSeq {
			set = append(set, own+" = excluded."+own)
		}
	}
	before, there := "NULL::timestamptz", ""
	if known {
		before = "b.at"
		there = ` LEFT JOIN LATERAL (SELECT v.valid_from AS at FROM ` + table + ` v WHERE v.id = s.id AND v._hubpipe_seq < s._hubpipe_seq
			ORDER BY v._hubpipe_seq DESC LIMIT 1) b ON true
		LEFT JOIN LATERAL (SELECT true AS is_so FROM ` + table + ` v WHERE v.id = s.id AND v._hubpipe_seq > s._hubpipe_seq
			AND v._hubpipe_state IN ('purged', 'merged') LIMIT 1) ended ON true
		WHERE ended.is_so IS NULL`
	}
	// From the inside: when it may begin, when it does, and when the next of the
	// batch does.
	return "INSERT INTO " + table + " AS t (" + strings.Join(into, ", ") + ", " + colFrom + ", " + colTo + ", " + colCurrent + ") SELECT " + strings.Join(from, ", ") +
		`, y._hubpipe_from, lead(y._hubpipe_from) OVER w, lead(y._hubpipe_from) OVER w IS NULL FROM (
		SELECT x.*, greatest(x._hubpipe_before, max(x._hubpipe_begins) OVER (PARTITION BY x.id ORDER BY x._hubpipe_seq)) AS _hubpipe_from FROM (
		SELECT s.*, ` + before + ` AS _hubpipe_before, CASE WHEN s._hubpipe_since > coalesce(greatest(` + before + `,
			max(s._hubpipe_since) OVER (PARTITION BY s.id ORDER BY s._hubpipe_seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)), '-infinity')
			THEN s._hubpipe_since ELSE coalesce(s._hubpipe_read_at, s._hubpipe_synced_at) END AS _hubpipe_begins
		FROM ` + staged + " s" + there + `) x) y
		WINDOW w AS (PARTITION BY y.id ORDER BY y._hubpipe_seq)
		ON CONFLICT (id, _hubpipe_seq) DO UPDATE SET ` + strings.Join(set, ", ")
}

// emptied takes the values of versions away. A table that was left may lack
// columns that came since.
func (s *session) emptied(l *layout) string {
	names := []string{colMergedInto}
	if l.raw {
		names = append(names, colRaw)
	}
	for _, c := range l.columns {
		names = append(names, versionColumn(c.name))
	}
	var set []string
	for _, name := range names {
		if _, has := l.leftHas[name]; has || l.left == "" {
			set = append(set, quote(name)+" = NULL")
		}
	}
	return strings.Join(set, ", ")
}

// chainSQL ends each version of some records where the next begins.
func (s *session) chainSQL(name string) string {
	table := s.in(name)
	return "UPDATE " + table + ` v SET valid_to = n.next, _hubpipe_current = n.next IS NULL FROM (
		SELECT id, _hubpipe_seq, next FROM (SELECT id, _hubpipe_seq, valid_to, _hubpipe_current, lead(valid_from) OVER (PARTITION BY id ORDER BY _hubpipe_seq) AS next
			FROM ` + table + ` WHERE id = ANY($1::text[])) x
		WHERE (valid_to, _hubpipe_current) IS DISTINCT FROM (next, next IS NULL)) n
		WHERE v.id = n.id AND v._hubpipe_seq = n._hubpipe_seq`
}

// endVersions ends records that the store has no trace of, and takes away what
// they were.
func (s *session) endVersions(ctx context.Context, tx pgx.Tx, l *layout, ids []string, at uint64) error {
	name := cmp.Or(l.versions, l.left)
	if name == "" {
		return nil
	}
	table := s.in(name)
	if _, err := tx.Exec(ctx, "UPDATE "+table+" SET "+s.emptied(l)+" WHERE id = ANY($1::text[])", ids); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "INSERT INTO "+table+` (id, _hubpipe_seq, _hubpipe_state, valid_from, _hubpipe_current)
		SELECT u.id, greatest($2::bigint, max(v._hubpipe_seq) + 1), 'purged', greatest(now(), max(v.valid_from)), false
		FROM unnest($1::text[]) AS u (id) LEFT JOIN `+table+` v ON v.id = u.id GROUP BY u.id ON CONFLICT (id, _hubpipe_seq) DO NOTHING`, ids, int64(at)); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, s.chainSQL(name), ids)
	return err
}

// ownVersions are the columns of the stream's table of versions and of its
// staging table, where there are any, whether versions are wanted now or not.
func (x *shape) ownVersions(ctx context.Context) (map[string]map[string]kind, error) {
	name := tableName(x.table + "__versions")
	there, err := x.columnsIn(ctx, name, staging(name))
	if _, own := there[name][colCurrent]; !own {
		return nil, err
	}
	return there, err
}

// takeVersions takes properties away from the versions that are there: what they
// were before cannot be made of what is handed over now.
func (x *shape) takeVersions(ctx context.Context, list []other) error {
	there, err := x.ownVersions(ctx)
	if err != nil || there == nil {
		return err
	}
	name := tableName(x.table + "__versions")
	if there[staging(name)] != nil {
		if err := x.s.script(ctx, "DROP TABLE "+x.s.in(staging(name))); err != nil {
			return err
		}
	}
	has := there[name]
	var actions, set []string
	if _, raw := has[colRaw]; raw {
		actions, set = append(actions, "ALTER COLUMN "+quote(colRaw)+" TYPE jsonb USING NULL"), append(set, quote(colRaw)+" = NULL")
	}
	for _, o := range list {
		own := versionColumn(o.column)
		was, ok := has[own]
		if o.column == "" || !ok {
			continue
		}
		set = append(set, quote(own)+" = NULL")
		switch {
		case o.wants == nil:
			actions = append(actions, "DROP COLUMN "+quote(own))
		case was != foreign:
			actions = append(actions, "ALTER COLUMN "+quote(own)+" TYPE "+o.wants.sql()+" USING NULL")
		}
	}
	if len(set) == 0 {
		return nil
	}
	if len(actions) == len(set) {
		err := pgx.BeginFunc(ctx, x.tx, func(pgx.Tx) error {
			return x.s.script(ctx, "ALTER TABLE "+x.s.in(name)+" "+strings.Join(actions, ", "))
		})
		if err == nil || !isDependent(err) {
			return err
		}
	}
	return x.s.script(ctx, "UPDATE "+x.s.in(name)+" SET "+strings.Join(set, ", "))
}
