package files

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/hubpipe/hubpipe/daemon/destination"
)

// session is one use of a place. All but Pack is called by one goroutine.
type session struct {
	e      *Engine
	bucket bucket
	origin destination.Origin
	writer string // its mark in the names of files
	broken bool
	rooms  chan []parquet.Value // for batches that are packed, to be used again

	mu        sync.Mutex // guards the map, and layouts in it
	streams   map[string]*table
	described time.Time
}

var _ interface {
	destination.Gatherer
	destination.Remarker
} = (*session)(nil)

// table is what is known of a stream.
type table struct {
	info      destination.Table
	m         *Manifest // the newest
	columns   []Column  // those that the next manifest has
	ignored   []Ignored // and what it says of other properties
	layout    *layout
	published uint64 // the manifest that readers are shown
	unlisted  bool   // that there is no list of versions
	tidied    time.Time

	// What was taken in, and is not committed: whether there is anything, of which
	// reading, up to where, and the files.
	taken, again bool
	held         uint64
	open         *part
	done         []finished
	erased       bool
	unread       map[string]unparsed
}

// finished is a file that is written, and not committed.
type finished struct {
	File
	schema map[string]kind
}

func (s *session) of(name string) *table {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[name]
}

func (s *session) layoutOf(name string) *layout {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[name].layout
}

func (s *session) setLayout(t *table, columns []Column, ignored []Ignored) {
	l := newLayout(columns, skipped(ignored), len(t.info.Definitions) > 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	t.columns, t.ignored, t.layout = columns, ignored, l
}

// Remarks are what a person should know of the shape of a stream's files.
func (s *session) Remarks(name string) []string { return Remarks(s.of(name).ignored) }

// Close ends the session; what was not committed is dropped.
func (s *session) Close() {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.streams))
	s.mu.Unlock()
	for _, t := range all {
		t.drop()
	}
	s.bucket.close()
}

// Broken says that it is the place that fails, and no single stream.
func (s *session) Broken() bool { return s.broken }

// fail makes of an error what a person can act on. What was taken in is dropped:
// it is read again.
func (s *session) fail(t *table, doing string, err error) error {
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

// drop forgets what was taken in.
func (t *table) drop() {
	if t.open != nil {
		t.open.out.abort()
	}
	t.taken, t.open, t.done, t.erased, t.unread = false, nil, nil, false, nil
}

// Prepare reads where a stream is, and makes its columns fit the definitions.
func (s *session) Prepare(ctx context.Context, info destination.Table) (destination.Place, error) {
	t := s.of(info.Name)
	if t != nil {
		t.drop()
	}
	place, err := s.prepare(ctx, info)
	return place, s.fail(nil, "look for the files of "+info.Name, err)
}

func (s *session) prepare(ctx context.Context, info destination.Table) (place destination.Place, err error) {
	t := &table{info: info}
	if t.m, err = s.manifest(ctx, info.Name); err != nil {
		return place, err
	}
	if was := s.of(info.Name); was != nil {
		t.published, t.tidied, t.unlisted = was.published, was.tidied, was.unlisted && !t.m.Versioned
	}
	has := HandledAlike(t.m.Columns, info.Rules)
	otherwise := t.m.Number > 0 && (len(has) < len(t.m.Columns) || t.m.Choice != info.Rules.Key())
	if otherwise {
		for i := range has {
			has[i].Unparsed, has[i].Example = 0, "" // an id may be hashed now
		}
	}
	d := s.drifts(t.m, t.m.Ignored, otherwise)
	columns := columnsFor(has, info, s.e.o.Raw, d)
	if err := d.Waiting(info.Name); err != nil {
		return place, err
	}
	s.setLayout(t, columns, d.now)
	reason := ""
	switch {
	case t.m.Number > 0 && t.m.Epoch < s.origin.Epoch:
		reason = destination.ReasonEpoch
	case otherwise || widened(t.m.Columns, t.columns) || d.Released() || t.m.Format != s.e.o.Format:
		reason = destination.ReasonColumns // some files have another type, or format
	}
	if reason != "" {
		if err := s.snapshot(ctx, t, reason, info.Head); err != nil {
			return place, err
		}
	} else if m := s.next(t.m); t.m.Number > 0 && !info.Look && (m.fitVersions(info.Versions > 0) || !slices.Equal(t.m.Ignored, t.ignored)) {
		m.Ignored = t.ignored
		if err := s.commit(ctx, t, m); err != nil {
			return place, err
		}
	}
	s.mu.Lock()
	s.streams[info.Name] = t
	s.mu.Unlock()
	return t.place(), nil
}

func typesOf(columns []Column) map[string]kind {
	out := make(map[string]kind, len(columns))
	for _, c := range columns {
		out[c.Name] = c.Type
	}
	return out
}

// widened tells whether a column that there was has another type now.
func widened(was, now []Column) bool {
	types := typesOf(was)
	return slices.ContainsFunc(now, func(c Column) bool {
		k, ok := types[c.Name]
		return ok && k != c.Type
	})
}

// republish shows readers the newest manifest, where they have another.
func (s *session) republish(ctx context.Context, t *table) error {
	b, err := s.read(ctx, latestKey(t.m.Stream), 0)
	if err != nil && !errors.Is(err, errNone) {
		return err
	}
	var latest Manifest
	if err == nil && json.Unmarshal(b, &latest) == nil && latest.Number == t.m.Number && latest.Writer == t.m.Writer {
		t.published = latest.Number
		return nil
	}
	if b, err = json.MarshalIndent(t.m, "", " "); err != nil {
		return err
	}
	t.unlisted = false // whoever showed them the other may have left a list
	return s.publish(ctx, t, b)
}

// snapshot begins to write each record once, from the beginning of the feed. The
// files that there are stay valid until it is whole.
func (s *session) snapshot(ctx context.Context, t *table, reason string, until uint64) error {
	if t.info.Look {
		return t.info.Unready()
	}
	m := s.next(t.m)
	m.Columns, m.Ignored = t.columns, t.ignored
	m.fitVersions(t.info.Versions > 0)
	// What others chose, another format and what a restored store has not are no
	// versions of what is written now. That is noted where none are wanted, too: they
	// may be before it is whole.
	m.Anew = m.Anew || reason == destination.ReasonEpoch || t.m.Choice != t.info.Rules.Key() || t.m.Format != s.e.o.Format
	m.again(reason, until)
	m.Erase = false
	return s.commit(ctx, t, m)
}

// again begins a rereading, or begins the one that goes on anew.
func (m *Manifest) again(reason string, until uint64) {
	if was := m.Reread; was != nil {
		reason = destination.Weightier(was.Reason, reason)
		until = max(until, was.Until)
		for _, f := range m.Building {
			m.Removed = append(m.Removed, Removed{f.Path, m.Committed})
		}
		m.Building = nil
	}
	m.Reread = &Rereading{Reason: reason, Until: max(until, m.Position), Began: m.Number}
}

// Reread begins a snapshot.
func (s *session) Reread(ctx context.Context, name string, r destination.Reread) (destination.Place, error) {
	t := s.of(name)
	if err := s.snapshot(ctx, t, r.Reason, r.Until); err != nil {
		return destination.Place{}, s.fail(t, "begin to write "+name+" again", err)
	}
	return t.place(), nil
}

// Sweep has nothing to do: a snapshot has no more than the store has.
func (s *session) Sweep(context.Context, string, string, uint64, func([]string) ([]uint64, error)) (string, []string, error) {
	return "", nil, nil
}

// Swept makes a snapshot that is whole what is valid, with what was written since
// it began.
func (s *session) Swept(ctx context.Context, name string) (destination.Place, error) {
	t := s.of(name)
	if t.m.Reread == nil {
		return t.place(), nil
	}
	m := s.next(t.m)
	if err := s.retire(ctx, t, m); err != nil {
		return destination.Place{}, s.fail(t, "keep the versions of "+name, err)
	}
	// That may have taken longer than keep, and until now readers were shown what goes.
	m.Committed = moment()
	gone := m.Removed[len(t.m.Removed):]
	for i := range gone {
		gone[i].At = m.Committed
	}
	m.swap()
	if err := s.commit(ctx, t, m); err != nil {
		return destination.Place{}, s.fail(t, "end the snapshot of "+name, err)
	}
	return t.place(), nil
}

func (m *Manifest) swap() {
	var files []File
	for _, f := range m.Files {
		if f.Number > m.Reread.Began {
			files = append(files, f)
		} else {
			m.Removed = append(m.Removed, Removed{f.Path, m.Committed})
		}
	}
	m.Files, m.Building = append(m.Building, files...), nil
	m.Reread, m.Snapshot = nil, m.Committed
	// An erasure begins what goes on anew, so that what is valid now has none. One
	// snapshot is waited for at a time: with those behind it that would have no end.
	if m.Owed != nil && m.Clean == nil {
		m.Clean = &Clean{m.Position, m.Committed}
		for _, r := range m.Removed { // the clock may have been ahead
			if r.At.After(m.Clean.At) {
				m.Clean.At = r.At
			}
		}
	}
	m.Snapshots++
	var used []map[string]kind
	index := map[int]int{}
	for _, list := range [][]File{m.Files, m.Versions} {
		for i := range list {
			f := &list[i]
			if _, ok := index[f.Schema]; !ok {
				index[f.Schema] = len(used)
				used = append(used, m.Schemas[f.Schema])
			}
			f.Schema = index[f.Schema]
		}
	}
	m.Schemas = used
}

// manyFiles is after how many files since the last snapshot there is another.
const manyFiles = 1000

// Tend begins a snapshot where one is due, and takes away what nobody needs.
func (s *session) Tend(ctx context.Context, name string, head uint64) (destination.Place, error) {
	t := s.of(name)
	if t.m.Number > 0 && t.published != t.m.Number {
		if err := s.republish(ctx, t); err != nil {
			return destination.Place{}, s.fail(t, "show the files of "+name, err)
		}
	}
	if t.m.Number == 0 || t.m.Reread != nil {
		return t.place(), nil
	}
	since := 0
	for _, f := range t.m.Files {
		if !f.Snapshot {
			since++
		}
	}
	reason := ""
	switch {
	case t.m.Erase:
		reason = destination.ReasonErasure
	case since > manyFiles, since > 0 && time.Since(t.m.Snapshot) >= s.e.o.Compact:
		reason = destination.ReasonSnapshot
	}
	if reason != "" {
		if err := s.snapshot(ctx, t, reason, head); err != nil {
			return destination.Place{}, s.fail(t, "begin a snapshot of "+name, err)
		}
		return t.place(), nil
	}
	if err := s.tidy(ctx, t); err != nil {
		return destination.Place{}, s.fail(t, "take away old files of "+name, err)
	}
	return t.place(), nil
}

// describeEvery is how often it is written how the streams stand: each time is a
// request to the store.
const describeEvery = 5 * time.Minute

// Describe writes how the streams stand.
func (s *session) Describe(ctx context.Context, standings []destination.Standing) error {
	if time.Since(s.described) < describeEvery || len(standings) == 0 {
		return nil
	}
	type line struct {
		Stream        string     `json:"stream"`
		Object        string     `json:"object"`
		Portal        string     `json:"portal"`
		State         string     `json:"state"`
		LagSeconds    *int64     `json:"lag_seconds"`
		CompleteUntil *time.Time `json:"complete_until"`
		LastReconcile *time.Time `json:"last_reconcile_at"`
		TimeZone      string     `json:"time_zone,omitempty"`
		Currency      string     `json:"currency,omitempty"`
	}
	out := struct {
		Store     string    `json:"store"`
		Epoch     uint64    `json:"epoch"`
		Described time.Time `json:"described_at"`
		Streams   []line    `json:"streams"`
	}{Store: s.origin.Store, Epoch: s.origin.Epoch, Described: time.Now().UTC()}
	for _, x := range standings {
		out.Streams = append(out.Streams, line{x.Stream, x.Object, x.Portal, x.State, x.LagSeconds, orNull(x.CompleteUntil), orNull(x.ReconciledAt), x.TimeZone, x.Currency})
	}
	b, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return err
	}
	if err := s.write(ctx, standingsKey, b, false); err != nil {
		return s.fail(nil, "describe the streams", err)
	}
	s.described = time.Now()
	return nil
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
