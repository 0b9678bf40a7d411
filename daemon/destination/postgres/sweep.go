package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/zeebo/xxh3"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// swept tells the rows that a sweep has ended: the store has no commit of them.
const swept = "(_hubpipe_state = 'purged' AND _hubpipe_synced_at IS NULL)"

// sweepRows is how many rows one step of a sweep looks at.
const sweepRows = 5000

// Sweep looks at the rows behind after. Those that the store has not are ended.
func (s *session) Sweep(ctx context.Context, name, after string, at uint64, seqs func([]string) ([]uint64, error)) (next string, ahead []string, err error) {
	l := s.layoutOf(name)
	err = s.inTx(ctx, "sweep "+name, func(tx pgx.Tx) error {
		if _, err := s.lock(ctx, tx, name); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "SELECT id, _hubpipe_seq, _hubpipe_state, "+swept+" FROM "+s.in(l.table)+` WHERE id > $1 COLLATE "C" ORDER BY id COLLATE "C" LIMIT `+strconv.Itoa(sweepRows), after)
		if err != nil {
			return err
		}
		var ids, states []string
		var has []uint64
		var ended []bool
		var id, state string
		var seq int64
		var was bool
		if _, err := pgx.ForEachRow(rows, []any{&id, &seq, &state, &was}, func() error {
			ids, has, states, ended = append(ids, id), append(has, uint64(seq)), append(states, state), append(ended, was)
			return nil
		}); err != nil {
			return err
		}
		if len(ids) == sweepRows {
			next = ids[len(ids)-1]
		}
		stored, err := seqs(ids)
		if err != nil {
			return err
		}
		var gone []string
		for i, id := range ids {
			switch {
			case stored[i] == 0 && !ended[i]:
				gone = append(gone, id)
			case stored[i] != 0 && has[i] > stored[i] && states[i] != string(stream.Purged) && states[i] != string(stream.Merged):
				ahead = append(ahead, id)
			}
		}
		return s.end(ctx, tx, l, gone, at)
	})
	return next, ahead, err
}

// end makes tombstones of rows, or takes them away.
func (s *session) end(ctx context.Context, tx pgx.Tx, l *layout, ids []string, at uint64) error {
	if len(ids) == 0 {
		return nil
	}
	for _, child := range slices.Concat(l.all()[1:], l.leftBeside) {
		if _, err := tx.Exec(ctx, "DELETE FROM "+s.in(child)+" WHERE id = ANY($1::text[])", ids); err != nil {
			return err
		}
	}
	if err := s.endVersions(ctx, tx, l, ids, at); err != nil {
		return err
	}
	if l.deletes {
		_, err := tx.Exec(ctx, "DELETE FROM "+s.in(l.table)+" WHERE id = ANY($1::text[])", ids)
		return err
	}
	var sql strings.Builder
	sql.WriteString("UPDATE " + s.in(l.table) + " SET _hubpipe_seq = $2, _hubpipe_state = 'purged', _hubpipe_synced_at = NULL, _hubpipe_merged_into = NULL")
	if l.raw {
		sql.WriteString(", " + quote(colRaw) + " = NULL")
	}
	for _, c := range l.columns {
		sql.WriteString(", " + quote(c.name) + " = NULL")
	}
	_, err := tx.Exec(ctx, sql.String()+" WHERE id = ANY($1::text[])", ids, int64(at))
	return err
}

// Describe writes how the streams stand.
func (s *session) Describe(ctx context.Context, standings []destination.Standing) error {
	return s.inTx(ctx, "describe the streams", func(tx pgx.Tx) error {
		for _, x := range standings {
			if _, err := tx.Exec(ctx, "UPDATE "+s.in("hubpipe_streams")+` SET object = $2, portal = $3, state = $4, lag_seconds = $5, complete_until = $6,
				last_reconcile_at = $7, time_zone = nullif($8, ''), currency = nullif($9, ''), described_at = now() WHERE stream = $1`,
				x.Stream, x.Object, x.Portal, x.State, x.LagSeconds, orNull(x.CompleteUntil), orNull(x.ReconciledAt), x.TimeZone, x.Currency); err != nil {
				return err
			}
		}
		return nil
	})
}

// digester hashes rows of COPY's text format as they pass, whatever their order.
type digester struct {
	rest  []byte
	sum   uint64
	rows  map[string]uint64
	state int // the column that has it
}

func (d *digester) Write(b []byte) (int, error) {
	n := len(b)
	for {
		i := indexLine(b)
		if i < 0 {
			d.rest = append(d.rest, b...)
			return n, nil
		}
		line := b[:i]
		if len(d.rest) > 0 {
			line = append(d.rest, line...)
		}
		d.sum += xxh3.Hash(line)
		d.rows[string(field(line, d.state))]++
		d.rest, b = d.rest[:0], b[i+1:]
	}
}

func indexLine(b []byte) int {
	for i, c := range b {
		if c == '\n' {
			return i
		}
	}
	return -1
}

// field is a column of a line.
func field(line []byte, n int) []byte {
	begin := 0
	for i, c := range line {
		if c != '\t' {
			continue
		}
		if n == 0 {
			return line[begin:i]
		}
		n, begin = n-1, i+1
	}
	return line[begin:]
}

// Digest counts the rows of a stream's table and digests what is in them, all of
// one moment, which is that of its place.
func (s *session) Digest(ctx context.Context, name string) (out destination.Digest, err error) {
	l := s.layoutOf(name)
	d := &digester{rows: map[string]uint64{}, state: 2}
	err = s.e.explain("read the table of "+name, pgx.BeginTxFunc(ctx, s.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var at int64
		if err := tx.QueryRow(ctx, "SELECT position FROM "+s.in("hubpipe_streams")+" WHERE stream = $1", name).Scan(&at); err != nil {
			return err
		}
		out.Position = uint64(at)
		_, err := s.conn.PgConn().CopyTo(ctx, d, "COPY (SELECT "+list(l.digested())+" FROM "+s.in(l.table)+" WHERE NOT "+swept+") TO STDOUT")
		return err
	}))
	out.Rows, out.Digest = d.rows, fmt.Sprintf("%016x", d.sum)
	return out, err
}

// digested are the columns that a digest is of: those whose text comes back from
// the server as it was sent.
func (l *layout) digested() []string {
	out := []string{}
	for _, c := range ownColumns() {
		out = append(out, c[0])
	}
	for _, c := range l.columns {
		if c.kind != object && c.kind != foreign {
			out = append(out, c.name)
		}
	}
	return out
}

var errMoved = errors.New("the table's shape has changed")

// Expect is the Digest of records as they should stand in the table.
func (s *session) Expect(name string, each func(func(*stream.Record) error) error) (out destination.Digest, err error) {
	l := s.layoutOf(name).plainly()
	d := &digester{rows: map[string]uint64{}, state: 2}
	err = each(func(r *stream.Record) error {
		if l.deletes && r.State != stream.Live {
			return nil
		}
		p := pack(l, []*stream.Record{r}, false)
		if !p.fits() {
			return errMoved
		}
		_, _ = d.Write(p.main) // it never fails
		return nil
	})
	out.Rows, out.Digest = d.rows, fmt.Sprintf("%016x", d.sum)
	return out, err
}

// plainly is the layout of those columns alone that are digested. The others are
// silent: what has room in a row depends on all of them.
func (l *layout) plainly() *layout {
	out := *l
	out.rawSilent, out.associations, out.history, out.versions = true, "", "", ""
	out.columns = slices.Clone(l.columns)
	for i := range out.columns {
		c := &out.columns[i]
		c.silent = c.kind == object || c.kind == foreign
	}
	return &out
}
