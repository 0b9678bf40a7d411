//go:build iceberg

package iceberg

import (
	"context"
	gosql "database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/failpoint"
)

// session is one use of a catalogue. All but Pack is called by one goroutine.
type session struct {
	e       *Engine
	catalog catalog.Catalog
	db      *gosql.DB // of a SQL catalogue
	origin  destination.Origin
	writer  string // its mark in states
	broken  bool

	mu      sync.Mutex // guards the map, and sheets in it
	streams map[string]*tableState
}

var _ interface {
	destination.Gatherer
	destination.Remarker
} = (*session)(nil)

// tableState is what is known of a stream.
type tableState struct {
	info    destination.Table
	tbl     *table.Table // the newest
	st      *state       // that of tbl
	columns []files.Column
	ignored []files.Ignored // of what has no column
	sheet   *files.Sheet
	v       *tableState // the table of its versions, nil for none

	// What was taken in, and is not committed: whether there is anything, of which
	// reading, up to where, and the files.
	taken, again bool
	held         uint64
	bytes        int64
	open         *writing
	done         []iceberg.DataFile
	rows         uint64
	ids          []string // of the records, in mode Upsert
	has          map[string]bool
	erased       bool
	bare         bool // of a table of versions: some have lost their content
	unread       map[string]unparsed
}

type unparsed struct {
	n       uint64
	example string
}

func (s *session) of(name string) *tableState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[name]
}

func (s *session) setSheet(t *tableState, columns []files.Column, ignored []files.Ignored) {
	x := files.NewSheet(columns, ignored, len(t.info.Definitions) > 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	t.columns, t.ignored, t.sheet = columns, ignored, x
}

// drift begins to make columns fit.
func (s *session) drift(t *tableState, was []files.Ignored, chosen bool) *files.Drift {
	if t.st.Position == 0 { // nothing was written yet
		return files.NewDrift(files.Apply, was, chosen)
	}
	return files.NewDrift(s.e.o.SchemaChanges, was, chosen)
}

// Remarks are what a person should know of the shape of a stream's table.
func (s *session) Remarks(name string) []string { return files.Remarks(s.of(name).ignored) }

// Close ends the session; what was not committed is dropped.
func (s *session) Close() {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.streams))
	s.mu.Unlock()
	for _, t := range all {
		t.drop()
	}
	if c, ok := s.catalog.(catalog.Closer); ok {
		_ = c.Close() // nothing is left to be written
	}
	if s.db != nil {
		_ = s.db.Close() // as above
	}
}

// Broken says that it is the catalogue that fails, and no single stream.
func (s *session) Broken() bool { return s.broken }

// fail makes of an error what a person can act on. What was taken in is dropped:
// it is read again.
func (s *session) fail(t *tableState, doing string, err error) error {
	if t != nil {
		t.drop()
	}
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	err = s.e.explain(doing, err)
	s.broken = s.broken || ofThePlace(err)
	return err
}

// drop forgets what was taken in. Its files stay, and are found by tidy.
func (t *tableState) drop() {
	if t.open != nil {
		t.open.abort()
	}
	t.taken, t.open, t.done, t.erased, t.bare, t.unread = false, nil, nil, false, false, nil
	t.bytes, t.rows, t.ids, t.has = 0, 0, nil, nil
	if t.v != nil {
		t.v.drop()
	}
}

// Prepare reads where a stream is, and makes its columns fit the definitions.
func (s *session) Prepare(ctx context.Context, info destination.Table) (destination.Place, error) {
	t := s.of(info.Name)
	if t != nil {
		t.drop()
	}
	place, err := s.prepare(ctx, info)
	return place, s.fail(nil, "look at table "+info.Name, err)
}

func (s *session) prepare(ctx context.Context, info destination.Table) (place destination.Place, err error) {
	t := &tableState{info: info}
	t.tbl, err = s.catalog.LoadTable(ctx, s.ident(info.Name))
	switch {
	case errors.Is(err, catalog.ErrNoSuchTable):
		err = s.create(ctx, t)
	case err == nil:
		t.st, err = s.readState(info.Name, "", t.tbl.Properties())
	}
	if err != nil {
		return place, err
	}
	has := files.HandledAlike(t.st.Columns, info.Rules)
	otherwise := t.st.Number > 0 && (len(has) < len(t.st.Columns) || t.st.Choice != info.Rules.Key())
	if otherwise {
		for i := range has {
			has[i].Unparsed, has[i].Example = 0, "" // an id may be hashed now
		}
	}
	d := s.drift(t, t.st.Ignored, otherwise)
	columns := s.columnsFor(has, info, d)
	if err := d.Waiting(info.Name); err != nil {
		return place, err
	}
	s.setSheet(t, columns, d.Ignored())
	reason := ""
	switch {
	case t.st.Number == 0: // it has no rows
	case t.st.Epoch < s.origin.Epoch:
		reason = destination.ReasonEpoch
	case otherwise, d.Released(), t.st.Mode != s.e.o.Mode && s.e.o.Mode == Upsert:
		reason = destination.ReasonColumns // there are rows that have to go
	}
	if err := s.reshape(ctx, t, reason); err != nil {
		return place, err
	}
	if !slices.Equal(t.st.Ignored, t.ignored) && !info.Look {
		st := s.next(t)
		if err := s.commit(ctx, t, st, func(tx *table.Transaction) error { return s.empty(ctx, t, tx, st) }); err != nil {
			return place, err
		}
	}
	if err := s.prepareVersions(ctx, t); err != nil {
		return place, err
	}
	s.mu.Lock()
	s.streams[info.Name] = t
	s.mu.Unlock()
	return s.place(t), nil
}

// create makes a stream's table.
func (s *session) create(ctx context.Context, t *tableState) error {
	if t.info.Look {
		return t.info.Unready()
	}
	t.st = s.first(&t.info)
	t.st.Columns = s.columnsFor(nil, t.info, s.drift(t, nil, false))
	// One that was dropped may have left that of its versions.
	tbl, err := s.catalog.LoadTable(ctx, s.ident(versionsOf(t.info.Name)))
	switch {
	case err == nil:
		_, err := s.readState(versionsOf(t.info.Name), t.info.Name, tbl.Properties())
		t.st.Versions = err == nil
	case !errors.Is(err, catalog.ErrNoSuchTable):
		return err
	}
	text, err := json.Marshal(t.st)
	if err != nil {
		return err
	}
	t.tbl, err = s.catalog.CreateTable(ctx, s.ident(t.info.Name), schemaOf(t.st.Columns, colID), catalog.WithProperties(s.tableProperties(string(text))))
	return err
}

// rowGroup is how many rows a group of a Parquet file has at most: they are held
// packed until it is full.
const rowGroup = "32768"

func (s *session) tableProperties(text string) iceberg.Properties {
	out := iceberg.Properties{
		stateKey: text, table.PropertyFormatVersion: "2",
		table.ParquetCompressionKey: "zstd", table.ParquetRowGroupLimitKey: rowGroup,
		table.MetadataDeleteAfterCommitEnabledKey: "true",
	}
	maps.Copy(out, bounds())
	return out
}

// columnBounds is what properties begin with that say of a column which of its
// lowest and highest values manifests have.
const columnBounds = table.MetricsModeColumnConfPrefix + "."

// bounds are the properties that keep values out of manifests: those name files
// that were replaced with all that they said of them, so that values would outlast
// their rows. What is not erased with a record may stand there, and helps readers.
func bounds() iceberg.Properties {
	return iceberg.Properties{table.DefaultWriteMetricsModeKey: "none", columnBounds + colID: "full", columnBounds + colSeq: "full"}
}

// unbound sets a table's properties that its manifests are written by, whoever has
// set others.
func unbound(tx *table.Transaction, has iceberg.Properties) error {
	want := bounds()
	var gone []string
	for name := range has {
		if _, ok := want[name]; !ok && strings.HasPrefix(name, columnBounds) {
			gone = append(gone, name)
		}
	}
	if len(gone) > 0 {
		if err := tx.RemoveProperties(gone); err != nil {
			return err
		}
	}
	maps.DeleteFunc(want, func(name, v string) bool { return has[name] == v })
	if len(want) == 0 {
		return nil
	}
	return tx.SetProperties(want)
}

// Reread begins to write everything again.
func (s *session) Reread(ctx context.Context, name string, r destination.Reread) (destination.Place, error) {
	t := s.of(name)
	if err := s.beginAgain(ctx, t, r.Reason, ""); err != nil {
		return destination.Place{}, s.fail(t, "begin to write "+name+" again", err)
	}
	return s.place(t), nil
}

func (s *session) beginAgain(ctx context.Context, t *tableState, reason, why string) error {
	st := s.next(t)
	st.again(reason, t.sequence())
	st.Reread.Why = why
	return s.commit(ctx, t, st, func(tx *table.Transaction) error { return s.empty(ctx, t, tx, st) })
}

// sequence is the number that Iceberg gives the next commit.
func (t *tableState) sequence() int64 { return t.tbl.Metadata().LastSequenceNumber() + 1 }

// commit makes a state, and what is staged beside it, the table's newest. It is held
// to the snapshot that was read: of two who write at the same time one is refused.
func (s *session) commit(ctx context.Context, t *tableState, st *state, stage func(*table.Transaction) error) error {
	if t.info.Look {
		return t.info.Unready()
	}
	text, err := json.Marshal(st)
	if err != nil {
		return err
	}
	tx := t.tbl.NewTransaction()
	// It comes first: where the table's properties want a commit to be tried again,
	// what is staged without it is held to whatever is there then.
	if err := tx.AssertRefSnapshotID(table.MainBranch); err != nil {
		return err
	}
	if stage != nil {
		if err := stage(tx); err != nil {
			return err
		}
	}
	if err := tx.SetProperties(iceberg.Properties{stateKey: string(text)}); err != nil {
		return err
	}
	if err := unbound(tx, t.tbl.Properties()); err != nil {
		return err
	}
	failpoint.Hit(failpoint.Staged)
	tbl, err := tx.Commit(ctx)
	if err != nil {
		return err
	}
	failpoint.Hit(failpoint.Delivered)
	t.tbl, t.st = tbl, st
	if snap := tbl.CurrentSnapshot(); snap != nil && st.Reread != nil {
		s.e.building(t).own[snap.SnapshotID] = true
	}
	return nil
}

// Sweep has nothing to do: what a rereading has written is what the store has.
func (s *session) Sweep(context.Context, string, string, uint64, func([]string) ([]uint64, error)) (string, []string, error) {
	return "", nil, nil
}

// Describe has nowhere to write to: each snapshot of a table says up to which place
// it has the feed.
func (s *session) Describe(context.Context, []destination.Standing) error { return nil }

var errForeign = &stream.Problem{Type: typeFailed, Title: "a batch was packed by somebody else"}
