package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/failpoint"
)

// fewRows is up to how many rows a staging table is emptied one by one, which is
// cheaper than a new file for it; keptDead bounds those that are dead in it then.
const (
	fewRows  = 500
	keptDead = 20_000
)

// Write writes a batch and moves the place, in one transaction.
func (s *session) Write(ctx context.Context, name string, b *destination.Batch) (place destination.Place, err error) {
	p, ok := b.Packed.(*packed)
	if !ok {
		return place, fmt.Errorf("a batch of %s was packed by somebody else", name)
	}
	if p.of != s.layoutOf(name) {
		p = pack(s.layoutOf(name), p.records, false) // the table has changed since
	}
	expected := b.Place
	for tries := 0; ; tries++ {
		if tries == maxShapes {
			return place, fmt.Errorf("the table of %s does not come to fit its records", name)
		}
		if p.fits() {
			place, err = s.commit(ctx, name, p, b, expected)
			if !errors.Is(err, errRaw) {
				return place, err
			}
			p.raw = true
		}
		if expected, err = s.reshape(ctx, s.of(name).info, p); err != nil {
			return place, err
		}
		p = pack(s.layoutOf(name), p.records, false)
	}
}

// maxShapes is how often a table is made to fit one batch.
const maxShapes = 4

// errRaw says that a row can only be written with the column of all properties.
var errRaw = errors.New("a row needs the column of all properties")

// commit writes rows and place in one transaction, if the place is as expected.
func (s *session) commit(ctx context.Context, name string, p *packed, b *destination.Batch, expected destination.Place) (place destination.Place, err error) {
	err = s.inTx(ctx, "write "+name, func(tx pgx.Tx) error {
		r, err := s.lock(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := r.expect(s, expected); err != nil {
			return err
		}
		if len(p.records) > 0 {
			if err := s.rows(ctx, tx, p, b.Mode, r); err != nil {
				return err
			}
		}
		switch {
		case !b.Reread:
			r.Position = b.To
		case r.Reread != nil && b.Place.Reread != nil && *r.Reread == *b.Place.Reread:
			// A rereading that began anew meanwhile is where it is.
			if r.Reread.Position = b.To; b.To >= r.Reread.Until && !r.Reread.Sweep {
				r.Reread = nil
			}
		}
		failpoint.Hit(failpoint.Staged)
		err = s.move(ctx, tx, name, r)
		place = r.Place
		return err
	})
	if err != nil {
		s.of(name).loads = nil // nobody knows what is in them
		return place, err
	}
	failpoint.Hit(failpoint.Delivered)
	return place, nil
}

// rows writes a batch's rows. Where the server refuses some of their values,
// those are looked for, and their rows are written without what may be wrong.
func (s *session) rows(ctx context.Context, tx pgx.Tx, p *packed, mode destination.Mode, r *row) error {
	counted, unread := r.Rows, r.Unparsed
	try := func(p *packed) error {
		err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { return s.merge(ctx, tx, p, mode, r) })
		if err != nil {
			r.Rows, r.Unparsed = counted, unread // it is undone
			s.of(p.of.stream).loads = nil
		}
		return err
	}
	err := try(p)
	if isTaken(err) {
		// Somebody may have added a row after it was looked for. It is seen now, and
		// no value is wrong.
		err = try(p)
	}
	if err == nil || !isData(err) {
		return err
	}
	if len(p.records) > 1 {
		half := len(p.records) / 2
		for _, part := range [][]*stream.Record{p.records[:half], p.records[half:]} {
			if err := s.rows(ctx, tx, pack(p.of, part, false), mode, r); err != nil {
				return err
			}
		}
		return nil
	}
	if !p.of.raw {
		return errRaw
	}
	if errAgain := try(pack(p.of, p.records, true)); errAgain != nil {
		return errors.Join(errAgain, err)
	}
	return nil
}

// merge writes rows: those that are all new are copied into the table, others
// into the staging table, from where what is newer is taken over.
func (s *session) merge(ctx context.Context, tx pgx.Tx, p *packed, mode destination.Mode, r *row) error {
	columns := p.of.written()
	fresh, err := s.fresh(ctx, tx, p)
	if err != nil {
		return err
	}
	if fresh {
		err = s.add(ctx, p, columns, r)
	} else {
		err = s.replace(ctx, tx, p, columns, mode, r)
	}
	if err != nil {
		return err
	}
	if err := s.writeVersions(ctx, tx, p, columns, mode); err != nil {
		return err
	}
	if err := s.emptyBeside(ctx, tx, p); err != nil {
		return err
	}
	return s.count(ctx, tx, p, r)
}

// written are the columns that are written, in the order in which a row has them.
func (l *layout) written() []string {
	columns := []string{}
	for _, c := range ownColumns() {
		columns = append(columns, c[0])
	}
	if l.raw {
		columns = append(columns, colRaw)
	}
	for _, c := range l.columns {
		columns = append(columns, c.name)
	}
	return columns
}

// fresh tells whether no table has anything of a batch's records, and nothing
// needs them to be staged, what a person made of the tables included. The stream's row is locked, so that it stays so; a
// person who adds such a row meanwhile makes the copying fail, and is seen when
// rows tries it again.
func (s *session) fresh(ctx context.Context, tx pgx.Tx, p *packed) (bool, error) {
	if p.of.left != "" || p.of.deletes && slices.ContainsFunc(p.records, func(r *stream.Record) bool { return r.State != stream.Live }) {
		return false, nil
	}
	ids, bare := make([]string, 0, len(p.records)), []string{}
	for _, r := range p.records {
		ids = append(ids, clean(r.ID))
		if r.State.Bare() {
			bare = append(bare, clean(r.ID))
		}
	}
	// One by one and by the key, whatever the server thinks of the table: it would
	// read all of a small one. What is all there ends with the first.
	var look []string
	for _, name := range p.of.all() {
		look = append(look, "EXISTS (SELECT 1 FROM unnest($1::text[]) AS u (id), LATERAL (SELECT 1 FROM "+s.in(name)+" t WHERE t.id = u.id LIMIT 1) x)")
	}
	// COPY passes by a person's rules, and is refused where the owner's rows are
	// watched over as those of others. INSERT is neither.
	look = append(look, "EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $2 AND c.relname = ANY($3::text[]) AND (c.relhasrules OR c.relforcerowsecurity))")
	args := []any{ids, s.e.o.Schema, p.of.all()}
	if len(bare) > 0 {
		// Of what loses its content nothing stays in a batch that was staged before,
		// not even where a person took its row away.
		look, args = append(look, "EXISTS (SELECT 1 FROM "+s.in(staging(p.of.table))+" WHERE id = ANY($4::text[]))"), append(args, bare)
	}
	var there bool
	err := tx.QueryRow(ctx, "SELECT "+strings.Join(look, " OR "), args...).Scan(&there)
	return !there, err
}

// add copies rows into the tables themselves.
func (s *session) add(ctx context.Context, p *packed, columns []string, r *row) error {
	for _, x := range []struct {
		name    string
		columns []string
		rows    []byte
	}{{p.of.table, columns, p.main}, {p.of.associations, associationColumns(), p.associations}, {p.of.history, historyColumns(), p.history}} {
		if len(x.rows) == 0 {
			continue
		}
		if err := s.copyInto(ctx, x.name, x.columns, x.rows); err != nil {
			return err
		}
	}
	r.Rows += uint64(len(p.records) - p.superseded)
	return nil
}

// replace copies rows into the staging tables and takes over from there those
// that are newer.
func (s *session) replace(ctx context.Context, tx pgx.Tx, p *packed, columns []string, mode destination.Mode, r *row) error {
	l := p.of
	t := s.of(l.stream)
	if err := s.stage(ctx, tx, t, l.table, columns, p.main); err != nil {
		return err
	}
	wins := map[destination.Mode]string{destination.Newer: " AND t._hubpipe_seq >= s._hubpipe_seq", destination.Again: " AND t._hubpipe_seq > s._hubpipe_seq",
		destination.Force: " AND false"}[mode]
	for _, child := range []struct {
		name    string
		columns []string
		rows    []byte
	}{{l.associations, associationColumns(), p.associations}, {l.history, historyColumns(), p.history}} {
		if child.name == "" {
			continue
		}
		if err := s.stage(ctx, tx, t, child.name, child.columns, child.rows); err != nil {
			return err
		}
		list := list(child.columns)
		kept := "SELECT 1 FROM " + s.in(l.table) + " t WHERE t.id = s.id" + wins
		if _, err := tx.Exec(ctx, "DELETE FROM "+s.in(child.name)+" c USING "+s.in(staging(l.table))+" s WHERE c.id = s.id AND NOT EXISTS ("+kept+")"); err != nil {
			return err
		}
		if len(child.rows) == 0 {
			continue
		}
		if _, err := tx.Exec(ctx, "INSERT INTO "+s.in(child.name)+" ("+list+") SELECT "+list+" FROM "+s.in(staging(child.name))+
			" c WHERE EXISTS (SELECT 1 FROM "+s.in(staging(l.table))+" s WHERE s.id = c.id AND NOT EXISTS ("+kept+")"+live(l)+")"); err != nil {
			return err
		}
	}
	if l.deletes {
		tag, err := tx.Exec(ctx, "DELETE FROM "+s.in(l.table)+" t USING "+s.in(staging(l.table))+" s WHERE t.id = s.id AND s._hubpipe_state <> 'live' AND NOT (true"+wins+")")
		if err != nil {
			return err
		}
		r.Rows += uint64(tag.RowsAffected())
	}
	if t.merge[mode] == "" {
		t.merge[mode] = s.mergeSQL(l, columns, mode)
	}
	tag, err := tx.Exec(ctx, t.merge[mode])
	if err != nil {
		return err
	}
	r.Rows += uint64(tag.RowsAffected())
	return nil
}

// live leaves out what has ended, where its rows go.
func live(l *layout) string {
	if l.deletes {
		return " AND s._hubpipe_state = 'live'"
	}
	return ""
}

// mergeSQL takes rows over from the staging table.
func (s *session) mergeSQL(l *layout, columns []string, mode destination.Mode) string {
	var set strings.Builder
	for _, c := range columns[1:] {
		if set.Len() > 0 {
			set.WriteString(", ")
		}
		set.WriteString(quote(c) + " = excluded." + quote(c))
	}
	where := map[destination.Mode]string{destination.Newer: " WHERE t._hubpipe_seq < excluded._hubpipe_seq",
		destination.Again: " WHERE t._hubpipe_seq <= excluded._hubpipe_seq", destination.Force: ""}[mode]
	return "INSERT INTO " + s.in(l.table) + " AS t (" + list(columns) + ") SELECT " + list(columns) + " FROM " + s.in(staging(l.table)) + " s WHERE true" + live(l) +
		" ON CONFLICT (id) DO UPDATE SET " + set.String() + where
}

func list(columns []string) string {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = quote(c)
	}
	return strings.Join(quoted, ", ")
}

// stage fills a staging table with rows in COPY's format, and nothing else.
func (s *session) stage(ctx context.Context, tx pgx.Tx, t *table, name string, columns []string, rows []byte) error {
	// A row is a line: what breaks lines in a value is escaped.
	if err := s.empty(ctx, tx, staging(name), t.fill(name, bytes.Count(rows, []byte{'\n'}))); err != nil {
		return err
	}
	if len(rows) == 0 {
		return nil
	}
	return s.copyInto(ctx, staging(name), columns, rows)
}

// copyInto adds rows in COPY's format to a table.
func (s *session) copyInto(ctx context.Context, name string, columns []string, rows []byte) error {
	_, err := s.conn.PgConn().CopyFrom(ctx, bytes.NewReader(rows), "COPY "+s.in(name)+" ("+list(columns)+") FROM STDIN")
	return err
}

// empty takes all rows out of a staging table. Where somebody reads it, as a
// backup does for as long as it lasts, it gets no new file.
func (s *session) empty(ctx context.Context, tx pgx.Tx, name string, few bool) error {
	if !few {
		err := pgx.BeginFunc(ctx, tx, func(pgx.Tx) error {
			return s.script(ctx, "SET LOCAL lock_timeout = '200ms'; TRUNCATE "+s.in(name)+"; SET LOCAL lock_timeout = '"+lockWait+"'")
		})
		if err == nil || !isLocked(err) {
			return err
		}
	}
	return s.script(ctx, "DELETE FROM "+s.in(name))
}

// fill notes that a staging table gets rows, and tells whether it holds so few
// until then that they are deleted one by one. Of one that nobody knows they are
// not.
func (t *table) fill(name string, rows int) (few bool) {
	was, known := t.loads[name]
	few = known && was.rows <= fewRows && was.dead+was.rows <= keptDead
	if t.loads == nil {
		t.loads = map[string]load{}
	}
	is := load{rows: rows}
	if few {
		is.dead = was.dead + was.rows
	}
	t.loads[name] = is
	return few
}

// count writes down what could not be read.
func (s *session) count(ctx context.Context, tx pgx.Tx, p *packed, r *row) error {
	if len(p.unread) == 0 {
		return nil
	}
	var names, examples []string
	var counts []int64
	for i, u := range p.unread {
		names, examples, counts = append(names, p.of.columns[i].property), append(examples, u.example), append(counts, int64(u.n))
		r.Unparsed += u.n
	}
	_, err := tx.Exec(ctx, "UPDATE "+s.in("hubpipe_properties")+` p SET unparsed = p.unparsed + u.n, unparsed_example = u.id
		FROM unnest($2::text[], $3::bigint[], $4::text[]) AS u (property, n, id) WHERE p.stream = $1 AND p.property = u.property`,
		p.of.stream, names, counts, examples)
	return err
}
