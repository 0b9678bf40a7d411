package files

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/internal/failpoint"
)

// maxShapes is how often the columns are made to fit one batch.
const maxShapes = 4

// Write takes a batch in, and commits what was taken in when it makes a file.
func (s *session) Write(ctx context.Context, name string, b *destination.Batch) (destination.Place, error) {
	t := s.of(name)
	place, err := s.take(ctx, t, b)
	if err != nil {
		return destination.Place{}, s.fail(t, "write "+name, err)
	}
	if t.open != nil && t.open.size() >= s.e.o.FileSize {
		return s.Flush(ctx, name)
	}
	return place, nil
}

func (s *session) take(ctx context.Context, t *table, b *destination.Batch) (place destination.Place, err error) {
	p, ok := b.Packed.(*packed)
	if !ok {
		return place, fmt.Errorf("a batch of %s was packed by somebody else", t.info.Name)
	}
	if t.taken && t.again != b.Reread {
		return place, errors.New("two readings of one stream at once")
	}
	if b.Reread && s.e.o.Delete {
		p = s.pack(t.layout, without(p.records))
	}
	for tries := 0; ; tries++ {
		if p.of != t.layout {
			p = s.pack(t.layout, p.records)
		}
		if p.fits() {
			break
		}
		if tries == maxShapes {
			return place, fmt.Errorf("the columns of %s do not come to fit its records", t.info.Name)
		}
		d := s.drifts(t.m, t.ignored, false)
		unknown := d.unknown(p.unknown)
		if err := d.Waiting(t.info.Name); err != nil {
			return place, err
		}
		s.setLayout(t, with(t.columns, unknown, p.wide, t.info.Rules), slices.Concat(t.ignored, d.now))
	}
	if p.rows > 0 {
		if err := s.add(ctx, t, p, b.Reread); err != nil {
			return place, err
		}
	}
	s.leave(p)
	had := t.taken
	t.taken, t.again, t.held = true, b.Reread, b.To
	// Where nothing was written yet, nothing has to be written again. What was taken
	// in before is written: it is in the file that is open.
	t.erased = t.erased || p.erased && !b.Reread && (had || t.m.Position > 0)
	if t.unread == nil {
		t.unread = map[string]unparsed{}
	}
	for name, u := range p.unread {
		t.unread[name] = unparsed{t.unread[name].n + u.n, u.example}
	}
	return t.place(), nil
}

// add writes rows into the file that is open, or begins another.
func (s *session) add(ctx context.Context, t *table, p *packed, again bool) error {
	if t.open != nil && t.open.of != p.of {
		if err := t.finish(); err != nil {
			return err
		}
	}
	if t.open == nil {
		var err error
		if t.open, err = s.begin(ctx, s.dataKey(t.info.Name, t.m.Number+1, len(t.done), again), p.of); err != nil {
			return err
		}
	}
	return t.open.add(p)
}

// finish ends the file that is open.
func (t *table) finish() error {
	f, err := t.open.finish()
	if err != nil {
		return err
	}
	t.done = append(t.done, finished{f, typesOf(t.open.of.columns)})
	t.open = nil
	return nil
}

// mixed tells whether a column has become wider since a file was written that is
// not committed.
func (t *table) mixed() bool {
	return slices.ContainsFunc(t.done, func(f finished) bool {
		return slices.ContainsFunc(t.columns, func(c Column) bool {
			k, ok := f.schema[c.Name]
			return ok && k != c.Type
		})
	})
}

// Flush commits what was taken in.
func (s *session) Flush(ctx context.Context, name string) (destination.Place, error) {
	t := s.of(name)
	if !t.taken {
		return t.place(), nil
	}
	if err := s.flush(ctx, t); err != nil {
		return destination.Place{}, s.fail(t, "write "+name, err)
	}
	t.drop()
	failpoint.Hit(failpoint.Delivered)
	return t.place(), nil
}

func (s *session) flush(ctx context.Context, t *table) error {
	if t.open != nil {
		if err := t.finish(); err != nil {
			return err
		}
	}
	m := s.next(t.m)
	changed := widened(m.Columns, t.columns) || t.mixed()
	m.Columns, m.Ignored = t.columns, t.ignored
	m.fitVersions(t.info.Versions > 0)
	for i := range m.Columns {
		c := &m.Columns[i]
		if u, ok := t.unread[c.Name]; ok {
			c.Unparsed, c.Example = c.Unparsed+u.n, u.example
			m.Unparsed += u.n
		}
	}
	for _, f := range t.done {
		f.Number, f.URL, f.Snapshot = m.Number, s.bucket.address(f.Path), t.again
		f.Schema = slices.IndexFunc(m.Schemas, func(x map[string]kind) bool { return maps.Equal(x, f.schema) })
		if f.Schema < 0 {
			f.Schema = len(m.Schemas)
			m.Schemas = append(m.Schemas, f.schema)
		}
		m.Rows += f.Rows
		if t.again {
			m.Building = append(m.Building, f.File)
		} else {
			m.Files = append(m.Files, f.File)
		}
	}
	switch {
	case !t.again:
		m.Position = t.held
	case m.Reread != nil:
		m.Reread.Position = t.held
	}
	if t.erased {
		m.Erase = true
		if m.Owed == nil {
			// Before the first commit it is nothing, and 0 is no place in a Place. A record
			// that is erased has been written before, so that this is never too much.
			owed := max(t.m.Position, 1)
			m.Owed = &owed
		}
	}
	if m.Reread != nil && (m.Erase || changed) {
		// What it has read so far may have what was erased, or another type.
		reason := destination.ReasonColumns
		if m.Erase {
			reason, m.Erase = destination.ReasonErasure, false
		}
		m.again(reason, m.Position)
	} else if changed {
		m.again(destination.ReasonColumns, m.Position)
	}
	failpoint.Hit(failpoint.Staged)
	return s.commit(ctx, t, m)
}
