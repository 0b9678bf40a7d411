package destination

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Checked is a stream's table held against the store.
type Checked struct {
	Stream, Table string
	Position      uint64
	// Stored is what the store has, Written what stands in the table: records by
	// state, and a digest of all that is in them.
	Stored, Written Digest
	// Note says why they could not be held against each other, "" where they were.
	Note string
	// Remarks are what a person should know besides.
	Remarks []string
	// Versions is the table of versions, nil for none.
	Versions *CheckedVersions
}

// CheckedVersions is a table of versions held against the store.
type CheckedVersions struct {
	Table string
	// Stored are the records as they are, Written what stands in the table as
	// current: all but their places, which a restore may have moved.
	Stored, Written Digest
	// StoredBefore are the superseded versions that the store still has,
	// WrittenBefore those of them that stand in the table.
	StoredBefore, WrittenBefore Digest
	// Before counts the versions in the table that are superseded, those that the
	// store has let go included: nothing is left to hold these against.
	Before uint64
	// Skipped are columns that were not compared, since they have not the type of
	// the stream's table.
	Skipped []string
	// Note says why it could not be compared, "" where it was.
	Note string
}

// Equal tells whether all that can be compared is as the store is.
func (c *Checked) Equal() bool {
	return c.Note == "" && c.Stored.equal(c.Written) && (c.Versions == nil || c.Versions.Equal())
}

// Equal tells whether all that can be compared is as the store is.
func (c *CheckedVersions) Equal() bool {
	return c.Note == "" && c.Stored.equal(c.Written) && c.StoredBefore.equal(c.WrittenBefore)
}

// Count is of rows, whatever their state.
func (d *Digest) Count() (n uint64) {
	for _, rows := range d.Rows {
		n += rows
	}
	return n
}

func (d *Digest) equal(e Digest) bool { return d.Digest == e.Digest && maps.Equal(d.Rows, e.Rows) }

// checkTries is how often a stream that moves is looked at, checkWait how long it
// is waited for until it stands still.
const (
	checkTries = 5
	checkWait  = 30 * time.Second
)

// Check holds a destination's tables against the store, over a session of its
// own. A stream is compared while nothing new comes.
func (m *Manager) Check(ctx context.Context, name string) ([]Checked, error) {
	r, err := m.find(name)
	if err != nil {
		return nil, err
	}
	if r.spec.Blocked != "" {
		return nil, &stream.Problem{Type: "destination-blocked", Title: "the destination cannot be used", Status: 409, Detail: r.spec.Blocked}
	}
	s, err := r.spec.Engine.Connect(ctx, Origin{Store: m.o.Source.ID(), Epoch: m.o.Source.Epoch()})
	if err != nil {
		p := *problemOf(err)
		p.Status = 502
		return nil, &p
	}
	defer s.Close()
	out := make([]Checked, 0, len(r.spec.Streams))
	for _, x := range r.spec.Streams {
		c := Checked{Stream: x.Name}
		for range checkTries {
			if c, err = m.check(ctx, r, s, x); err != nil || c.Note == "" {
				break
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			if s.Broken() {
				return nil, err
			}
			c.Note = problemOf(err).Error()
		}
		out = append(out, c)
	}
	return out, nil
}

func (m *Manager) check(ctx context.Context, r *runner, s Session, x Stream) (Checked, error) {
	src, c := r.src, Checked{Stream: x.Name}
	// Of one that is paused the warehouse alone knows how far it has come.
	paused := r.status(ctx).State == Paused
	if !paused {
		if c.Note = m.still(ctx, r, x.Name); c.Note != "" {
			return c, nil
		}
	}
	definitions, err := src.Definitions(x.Name)
	if err != nil {
		return c, err
	}
	rules, err := rulesOf(src, x.Name)
	if err != nil {
		return c, err
	}
	head := src.PositionOf(x.Name)
	place, err := s.Prepare(ctx, Table{Stream: x, Definitions: definitions, Rules: rules, Head: head, Look: paused})
	if err != nil {
		return c, err
	}
	c.Table = place.Table
	if m, ok := s.(Remarker); ok {
		c.Remarks = m.Remarks(x.Name)
	}
	if paused && (place.Reread != nil || place.Position < head) {
		c.Note = "the destination is paused and has not written everything"
		return c, nil
	}
	if c.Written, err = s.Digest(ctx, x.Name); err != nil {
		return c, err
	}
	c.Position = c.Written.Position
	newest := func(fn func(*stream.Record) error) error {
		_, err := src.Changes(ctx, x.Name, 0, 0, fn)
		return err
	}
	if c.Stored, err = s.Expect(x.Name, newest); err != nil {
		return c, fmt.Errorf("read %s: %w", x.Name, err)
	}
	if v, ok := s.(Versioned); ok && x.Versions > 0 {
		found, err := v.CheckVersions(ctx, x.Name, newest, func(fn func(*stream.Record) error) error { return superseded(ctx, src, x.Name, fn) })
		if err != nil {
			return c, err
		}
		c.Versions = &found
	}
	if c.Position != head || src.PositionOf(x.Name) != head {
		c.Note = "it changes all the time: stop the stream, or pause the destination, and check again"
	}
	return c, nil
}

// supersededRecords is how many records are asked for their places at a time.
const supersededRecords = 1000

// superseded gives the versions that the store has besides the newest ones.
func superseded(ctx context.Context, src Source, name string, fn func(*stream.Record) error) error {
	n, err := src.VersionsBehind(ctx, name, 0)
	if err != nil || n == 0 {
		return err // mostly: it need not be looked for among all records
	}
	var list []*stream.Record
	some := func() error {
		ids := make([]string, len(list))
		for i, r := range list {
			ids[i] = r.ID
		}
		seqs, err := src.Seqs(ctx, name, ids)
		if err != nil {
			return err
		}
		for i, r := range list {
			if seqs[i] == r.Seq {
				continue
			}
			if err := fn(r); err != nil {
				return err
			}
		}
		list = list[:0]
		return nil
	}
	if _, err := src.Versions(ctx, name, 0, 0, func(r *stream.Record) error {
		if list = append(list, r); len(list) < supersededRecords {
			return nil
		}
		return some()
	}); err != nil {
		return err
	}
	return some()
}

// still waits until a stream is written and nothing more comes at this moment; it
// says why that is not so.
func (m *Manager) still(ctx context.Context, r *runner, name string) string {
	end := time.Now().Add(checkWait)
	changed, stop := m.o.Source.Watch()
	defer stop()
	r.hurry()
	for {
		st := r.status(ctx)
		for _, s := range st.Streams {
			switch {
			case s.Stream != name:
			case s.Place.Reread == nil && s.Place.Table != "" && s.Behind == 0:
				return ""
			case st.State == Paused:
				return "the destination is paused and has not written everything"
			case s.Error != nil:
				return s.Error.Error()
			case time.Now().After(end):
				return fmt.Sprintf("%d changes are not written yet", s.Behind)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err().Error()
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		}
	}
}
