//go:build iceberg

package iceberg

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// build is how far a rereading has come, which nobody sees before it is whole. It
// is kept in memory: a process that ends begins it anew.
type build struct {
	rereading string // which one it is
	position  uint64
	files     []iceberg.DataFile
	rows      uint64
	unread    map[string]unparsed
	// fills is the beginning of versions that it reads, too: one that was made since
	// lacks some of it.
	fills       string
	versions    []iceberg.DataFile
	versionRows uint64
	// late are records that were superseded, by id: as they were at the place where
	// versions begin, where nothing newer of before that place comes.
	late      map[string]*stream.Record
	lateBytes int
	// own are the snapshots that we have made since it began: a table need not keep
	// them until it ends.
	own map[int64]bool
}

// rereading tells rereadings apart. Numbers alone do not: a table that is dropped and
// made anew counts from the beginning.
func (t *tableState) rereading() string {
	r := t.st.Reread
	return fmt.Sprint(t.tbl.Metadata().TableUUID(), " ", r.Writer, " ", r.Began)
}

// buildOf is that of a table's rereading, nil where nothing of it is written.
func (e *Engine) buildOf(t *tableState) *build {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.builds[t.st.Stream]
	if b == nil || t.st.Reread == nil || b.rereading != t.rereading() {
		return nil
	}
	return b
}

// building is that of a table's rereading, which it begins where there is none.
func (e *Engine) building(t *tableState) *build {
	b := e.buildOf(t)
	if b == nil {
		b = &build{rereading: t.rereading(), unread: map[string]unparsed{}, own: map[int64]bool{}, late: map[string]*stream.Record{}}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.builds[t.st.Stream] = b
	}
	return b
}

// built adds what was taken in to a rereading.
func (e *Engine) built(t *tableState) {
	b := e.building(t)
	b.position, b.files, b.rows = t.held, append(b.files, t.done...), b.rows+t.rows
	if v := t.v; v != nil {
		b.versions, b.versionRows = append(b.versions, v.done...), b.versionRows+v.rows
	}
	for name, u := range t.unread {
		b.unread[name] = unparsed{b.unread[name].n + u.n, u.example}
	}
}

// Swept puts what a rereading has written in the place of what was there when it
// began, with what was written since.
func (s *session) Swept(ctx context.Context, name string) (destination.Place, error) {
	t := s.of(name)
	if t.st.Reread == nil {
		return s.place(t), nil
	}
	if err := s.swap(ctx, t); err != nil {
		return destination.Place{}, s.fail(t, "end the writing again of "+name, err)
	}
	return s.place(t), nil
}

func (s *session) swap(ctx context.Context, t *tableState) error {
	b := s.e.buildOf(t)
	if b == nil {
		b = &build{}
	}
	if b.position < t.st.Reread.Until {
		return nil // it was begun anew
	}
	before, strange, err := t.liveFiles(ctx, t.st.Reread.Sequence, b.own)
	if err != nil {
		return err
	}
	// Others may have put rows of before and of since into one file. And rows come as of
	// before only where they replace some; elsewhere they would be newer than all that
	// was taken away since.
	moved := t.st.Position != t.st.Reread.Position
	others, known := t.othersSince(t.st.Reread.Sequence)
	if others || !known && strange || moved && len(before.data) == 0 && len(b.files) > 0 && s.e.o.Mode == Upsert {
		why := "somebody else has written to the table meanwhile"
		if !others && (known || !strange) {
			why = "the table had no rows to put these in the place of"
		}
		return s.beginAgain(ctx, t, t.st.Reread.Reason, why)
	}
	if err := s.fillVersions(ctx, t, b); err != nil {
		return err
	}
	if v := t.v; v != nil && v.st.Outside != "" && t.st.Reread.Reason == destination.ReasonResync {
		vst := s.next(v)
		vst.Outside = "" // as below
		if err := s.addVersions(ctx, v, vst, nil); err != nil {
			return err
		}
	}
	st := s.next(t)
	st.count(b.unread)
	st.Rows += b.rows
	sequence := t.st.Reread.Sequence
	st.Reread, st.Whole, st.Since = nil, st.Committed, 0
	if at := t.outside(before.data); at != "" || t.st.Reread.Reason == destination.ReasonResync {
		st.Outside = at // a resync says that those of before were taken away
	}
	switch {
	case st.Owed == nil || st.Erase:
	case t.bounded(before.data):
		// The manifest that says that they are gone says their values, too. The next
		// that replaces all is without it.
		st.Erase = true
	case st.Clean == nil:
		st.Clean = &clean{st.Position, t.sequence(), st.Committed}
	}
	err = s.commit(ctx, t, st, func(tx *table.Transaction) error {
		switch {
		case len(before.data) == 0 && len(b.files) > 0:
			return tx.NewRowDelta(st.summary()).AddRows(b.files...).Commit(ctx)
		case len(before.data)+len(before.deletes) == 0:
			return s.empty(ctx, t, tx, st)
		}
		r := tx.NewRewrite(st.summary())
		for _, f := range before.data {
			r.DeleteFile(f)
		}
		for _, f := range before.deletes {
			r.DeleteFile(f)
		}
		for _, f := range b.files {
			r.AddDataFile(f)
		}
		// What was deleted since it began is to be deleted in it, too.
		return r.DataSequenceNumber(sequence).Commit(ctx)
	})
	if err != nil {
		return err
	}
	s.e.mu.Lock()
	delete(s.e.builds, t.st.Stream)
	s.e.mu.Unlock()
	return nil
}

// liveFiles are data files, and files of deletes.
type liveFiles struct{ data, deletes []iceberg.DataFile }

// bounded tells whether manifests have values of files that may be personal.
func (t *tableState) bounded(data []iceberg.DataFile) bool {
	free := map[int]bool{}
	for _, name := range []string{colID, colSeq} {
		if f, ok := t.tbl.Schema().FindFieldByName(name); ok {
			free[f.ID] = true
		}
	}
	for _, f := range data {
		for _, bound := range []map[int][]byte{f.LowerBoundValues(), f.UpperBoundValues()} {
			for id := range bound {
				if !free[id] {
					return true
				}
			}
		}
	}
	return false
}

// outside is one of some files that lies outside the table's location.
func (t *tableState) outside(data []iceberg.DataFile) string {
	for _, f := range data {
		if !within(t.tbl.Location(), f.FilePath()) {
			return f.FilePath()
		}
	}
	return ""
}

// within tells whether a file lies below a folder, however they are escaped.
func within(folder, file string) bool {
	d, err := url.Parse(folder)
	if err != nil {
		return false
	}
	f, err := url.Parse(file)
	return err == nil && d.Scheme == f.Scheme && d.Host == f.Host && strings.HasPrefix(f.Path, strings.TrimSuffix(d.Path, "/")+"/")
}

// liveFiles are those of the table, up to a sequence number; strange tells whether
// one of those behind was put there by none of our snapshots.
func (t *tableState) liveFiles(ctx context.Context, sequence int64, own map[int64]bool) (out liveFiles, strange bool, err error) {
	snap := t.tbl.CurrentSnapshot()
	if snap == nil {
		return out, false, nil
	}
	fs, err := t.tbl.FS(ctx)
	if err != nil {
		return out, false, err
	}
	manifests, err := snap.Manifests(fs)
	if err != nil {
		return out, false, err
	}
	for _, m := range manifests {
		for entry, err := range m.Entries(fs, true) {
			if err != nil {
				return out, false, err
			}
			// Files that replace others may have the number of those.
			if n := entry.FileSequenceNum(); (n == nil || *n > sequence) && !own[entry.SnapshotID()] {
				strange = true
			}
			if entry.SequenceNum() > sequence {
				continue
			}
			if f := entry.DataFile(); f.ContentType() == iceberg.EntryContentData {
				out.data = append(out.data, f)
			} else {
				out.deletes = append(out.deletes, f)
			}
		}
	}
	return out, strange, nil
}

// othersSince tells whether somebody else has committed since a sequence number,
// where the snapshots since are still there.
func (t *tableState) othersSince(sequence int64) (others, known bool) {
	meta := t.tbl.Metadata()
	snap := t.tbl.CurrentSnapshot()
	for snap != nil && snap.SequenceNumber > sequence {
		if snap.Summary == nil || snap.Summary.Properties[storeKey] != t.st.Store {
			return true, true
		}
		if snap.ParentSnapshotID == nil {
			return false, false
		}
		snap = meta.SnapshotByID(*snap.ParentSnapshotID)
	}
	if snap == nil {
		return false, false
	}
	return snap.SequenceNumber != sequence, true
}
