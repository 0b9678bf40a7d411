package postgres

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// supersededRows is how many versions are looked for at a time.
const supersededRows = 1000

// CheckVersions holds a stream's table of versions against the store, all of one
// moment.
func (s *session) CheckVersions(ctx context.Context, name string, newest, superseded func(func(*stream.Record) error) error) (out destination.CheckedVersions, err error) {
	l := s.layoutOf(name)
	out.Table = l.versions
	err = s.e.explain("read the versions of "+name, pgx.BeginTxFunc(ctx, s.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		there, err := (&shape{s: s, tx: tx}).columnsIn(ctx, l.versions)
		if err != nil {
			return err
		}
		has := there[l.versions]
		if has[colCurrent] != boolean {
			out.Note = "there is no table of versions yet"
			return nil
		}
		c := &versionCheck{s: s, table: l.versions, of: l.versioned(has), stored: newDigester(), written: newDigester()}
		for _, column := range c.of.columns {
			if column.silent {
				out.Skipped = append(out.Skipped, versionColumn(column.name))
			}
		}
		if err := c.copy(ctx, "SELECT "+c.columns()+" FROM "+s.in(l.versions)+" v WHERE _hubpipe_current AND NOT "+swept); err != nil {
			return err
		}
		if err := newest(c.expect); err != nil {
			return err
		}
		out.Stored, out.Written = c.stored.digest(), c.written.digest()
		c.stored, c.written = newDigester(), newDigester()
		if err := c.each(ctx, superseded); err != nil {
			return err
		}
		out.StoredBefore, out.WrittenBefore = c.stored.digest(), c.written.digest()
		return tx.QueryRow(ctx, "SELECT count(*) FROM "+s.in(l.versions)+" WHERE NOT _hubpipe_current").Scan(&out.Before)
	}))
	return out, err
}

// versionCheck holds versions against each other, without their places: that of
// one which was set back after a restore is another in the table.
type versionCheck struct {
	s     *session
	table string
	of    *layout

	stored, written *digester
}

func newDigester() *digester { return &digester{rows: map[string]uint64{}, state: 1} }

func (d *digester) digest() destination.Digest {
	return destination.Digest{Rows: d.rows, Digest: fmt.Sprintf("%016x", d.sum)}
}

// versioned is the layout of those columns whose versions can be compared: the
// ones that have the same type there.
func (l *layout) versioned(has map[string]kind) *layout {
	out := l.plainly()
	for i := range out.columns {
		c := &out.columns[i]
		is, there := has[versionColumn(c.name)]
		c.silent = c.silent || !there || is != c.kind
	}
	return out
}

// columns are those that are compared, as the table of versions calls them.
func (c *versionCheck) columns() string {
	out := []string{}
	for _, own := range ownColumns() {
		if own[0] != colSeq {
			out = append(out, "v."+quote(own[0]))
		}
	}
	for _, x := range c.of.columns {
		if x.silent {
			continue
		}
		out = append(out, "v."+quote(versionColumn(x.name)))
	}
	return strings.Join(out, ", ")
}

func (c *versionCheck) copy(ctx context.Context, sql string) error {
	_, err := c.s.conn.PgConn().CopyTo(ctx, c.written, "COPY ("+sql+") TO STDOUT")
	return err
}

// expect adds what a version should be.
func (c *versionCheck) expect(r *stream.Record) error {
	p := pack(c.of, []*stream.Record{r}, false)
	if !p.fits() {
		return errMoved
	}
	id, rest, _ := bytes.Cut(p.main, []byte("\t"))
	_, rest, _ = bytes.Cut(rest, []byte("\t")) // its place
	_, _ = c.stored.Write(slices.Concat(id, []byte{'\t'}, rest))
	return nil
}

// each looks for versions by their places.
func (c *versionCheck) each(ctx context.Context, give func(func(*stream.Record) error) error) error {
	var ids, places []string
	look := func() error {
		if len(ids) == 0 {
			return nil
		}
		// COPY takes no parameters.
		err := c.copy(ctx, "SELECT "+c.columns()+" FROM unnest(ARRAY["+strings.Join(ids, ",")+"]::text[], ARRAY["+strings.Join(places, ",")+"]::bigint[]) AS u (id, place) JOIN "+
			c.s.in(c.table)+" v ON v.id = u.id AND v._hubpipe_seq = u.place")
		ids, places = ids[:0], places[:0]
		return err
	}
	err := give(func(r *stream.Record) error {
		ids, places = append(ids, literal(clean(r.ID))), append(places, strconv.FormatUint(r.Seq, 10))
		if err := c.expect(r); err != nil || len(ids) < supersededRows {
			return err
		}
		return look()
	})
	if err != nil {
		return err
	}
	return look()
}
