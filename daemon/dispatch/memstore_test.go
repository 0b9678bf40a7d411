package dispatch

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// memStore is the store of the model: what was committed survives a crash of
// the dispatcher, what was not does not.
type memStore struct {
	epoch    uint64
	attempts uint64
	runSeq   uint64
	seq      uint64
	streams  map[string]*stream.Stream
	runs     map[string]*stream.Run
	ranges   map[string]map[uint32]*stream.Range
	workers  map[string]*stream.Worker
	portals  map[string]*stream.Portal
	answers  map[string]*stream.Answered
	records  map[string]stream.Head
	bodies   map[string][]byte
	pasts    map[string][]byte // the history of properties
	schemas  map[string][]byte
	erased   map[string]bool
	versions map[string]int // how often a record took a place in the feed

	missing map[string]uint64 // what an opening found lost

	full       bool   // nothing is begun
	unreadable string // the key of a record that cannot be read
	failCommit func() bool
	// loseRecords is the broken variant in which the ledger is noted before
	// the records are durable: a commit may keep the one without the other.
	loseRecords func() bool
	// committed is called after each commit.
	committed func()
}

var errDisk = errors.New("disk")

func newMemStore() *memStore {
	return &memStore{epoch: 1, streams: map[string]*stream.Stream{}, runs: map[string]*stream.Run{},
		ranges: map[string]map[uint32]*stream.Range{}, workers: map[string]*stream.Worker{},
		portals: map[string]*stream.Portal{}, answers: map[string]*stream.Answered{}, records: map[string]stream.Head{},
		bodies: map[string][]byte{}, pasts: map[string][]byte{}, schemas: map[string][]byte{}, erased: map[string]bool{}, versions: map[string]int{}}
}

func (m *memStore) ID() string    { return "store" }
func (m *memStore) Epoch() uint64 { return m.epoch }

// Position is the place that was handed out last: one that was lost with its
// commit is a gap.
func (m *memStore) Position() uint64 { return m.seq }

func (m *memStore) Schema(streamName string) ([]byte, error) {
	if b, ok := m.schemas[streamName]; ok {
		return b, nil
	}
	return nil, errors.New("no definitions")
}

func (m *memStore) Live(streamName string) (n uint64) {
	for key, h := range m.records {
		if h.State == stream.Live && strings.HasPrefix(key, recordKey(streamName, "")) {
			n++
		}
	}
	return n
}

func (m *memStore) Archived(streamName string) (n uint64) {
	for key, h := range m.records {
		if h.State == stream.Archived && strings.HasPrefix(key, recordKey(streamName, "")) {
			n++
		}
	}
	return n
}

func (m *memStore) Missing() map[string]uint64 { return m.missing }

func (m *memStore) Begin() (Tx, error) {
	if m.full {
		return nil, errDisk
	}
	return &memTx{m: m, records: map[string]stream.Head{}, bodies: map[string][]byte{}, pasts: map[string][]byte{}}, nil
}

// openAttempt finds the run that an attempt holds, by what is durable.
func (m *memStore) openAttempt(attempt uint64) (string, bool) {
	for id, r := range m.runs {
		if r.Attempt == attempt && r.State == stream.Running {
			return id, true
		}
	}
	return "", false
}

func (m *memStore) load() Ledger {
	l := Ledger{Ranges: map[string][]*stream.Range{}}
	for _, s := range m.streams {
		l.Streams = append(l.Streams, s.Clone())
	}
	for _, w := range m.workers {
		own := *w
		l.Workers = append(l.Workers, &own)
	}
	for _, p := range m.portals {
		own := *p
		l.Portals = append(l.Portals, &own)
	}
	for _, r := range m.runs {
		if r.State != stream.Running && m.streams[r.Stream].Unfinished != r.ID {
			continue
		}
		l.Runs = append(l.Runs, r.Clone())
		for _, g := range sortedRanges(m.ranges[r.ID]) {
			l.Ranges[r.ID] = append(l.Ranges[r.ID], g.Clone())
		}
	}
	return l
}

type memTx struct {
	m       *memStore
	ops     []func()
	records map[string]stream.Head
	bodies  map[string][]byte
	pasts   map[string][]byte
}

// recordKey names a record of a stream.
func recordKey(streamName, id string) string { return streamName + "/" + id }

func (t *memTx) Head(streamName, id string) (*stream.Head, error) {
	id = recordKey(streamName, id)
	if id == t.m.unreadable {
		return nil, errDisk
	}
	if h, ok := t.records[id]; ok {
		return &h, nil
	}
	if h, ok := t.m.records[id]; ok {
		return &h, nil
	}
	return nil, nil
}

func (t *memTx) Put(streamName string, r *stream.Record) error {
	if r.By.Road == "" || r.By.Run == "" && r.By.Road != stream.EraseRoad {
		return fmt.Errorf("nobody has brought %s of %s: %+v", r.ID, streamName, r.By)
	}
	t.m.seq++
	r.Seq = t.m.seq
	t.records[recordKey(streamName, r.ID)] = r.Head
	t.bodies[recordKey(streamName, r.ID)] = r.Properties
	t.pasts[recordKey(streamName, r.ID)] = r.History
	return nil
}

func (t *memTx) Record(streamName, id string) (*stream.Record, error) {
	h, err := t.Head(streamName, id)
	if h == nil || err != nil {
		return nil, err
	}
	body, ok := t.bodies[recordKey(streamName, id)]
	if !ok {
		body = t.m.bodies[recordKey(streamName, id)]
	}
	past, ok := t.pasts[recordKey(streamName, id)]
	if !ok {
		past = t.m.pasts[recordKey(streamName, id)]
	}
	return &stream.Record{Head: *h, Properties: body, History: past}, nil
}

func (t *memTx) Heads(streamName, after, upTo string, fn func(*stream.Head) error) error {
	prefix := recordKey(streamName, "")
	ids := map[string]bool{}
	for _, records := range []map[string]stream.Head{t.m.records, t.records} {
		for key := range records {
			if id, ok := strings.CutPrefix(key, prefix); ok {
				ids[id] = true
			}
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(ids), protocol.CompareIDs) {
		if after != "" && protocol.CompareIDs(id, after) <= 0 || upTo != "" && protocol.CompareIDs(id, upTo) > 0 {
			continue
		}
		h, err := t.Head(streamName, id)
		if err != nil {
			return err
		}
		if err := fn(h); err != nil {
			return err
		}
	}
	return nil
}

func (t *memTx) PutStream(s *stream.Stream) error {
	own := s.Clone()
	t.ops = append(t.ops, func() { t.m.streams[own.Name] = own })
	return nil
}

func (t *memTx) PutRun(r *stream.Run) error {
	own := r.Clone()
	t.ops = append(t.ops, func() { t.m.runs[own.ID] = own })
	return nil
}

func (t *memTx) PutRange(run string, g *stream.Range) error {
	own := g.Clone()
	t.ops = append(t.ops, func() {
		if t.m.ranges[run] == nil {
			t.m.ranges[run] = map[uint32]*stream.Range{}
		}
		t.m.ranges[run][own.ID] = own
	})
	return nil
}

func (t *memTx) DropRanges(run string) error {
	t.ops = append(t.ops, func() { delete(t.m.ranges, run) })
	return nil
}

func (t *memTx) PutWorker(w *stream.Worker) error {
	own := *w
	t.ops = append(t.ops, func() { t.m.workers[own.ID] = &own })
	return nil
}

func (t *memTx) PutPortal(p *stream.Portal) error {
	own := *p
	t.ops = append(t.ops, func() { t.m.portals[own.Name] = &own })
	return nil
}

func (t *memTx) PutSchema(name string, definitions []byte) error {
	t.ops = append(t.ops, func() { t.m.schemas[name] = definitions })
	return nil
}

func (t *memTx) PutErasure(e *stream.Erasure) error {
	t.ops = append(t.ops, func() { t.m.erased[recordKey(e.Stream, e.Record)] = true })
	return nil
}

func (t *memTx) Erased(streamName, id string) (bool, error) {
	return t.m.erased[recordKey(streamName, id)], nil
}

func (t *memTx) PutAnswer(a *stream.Answered) error {
	own := *a
	t.ops = append(t.ops, func() { t.m.answers[own.ID] = &own })
	return nil
}

func (t *memTx) DropAnswer(id string) error {
	t.ops = append(t.ops, func() { delete(t.m.answers, id) })
	return nil
}
func (t *memTx) Ahead(string, []string) error { return nil }
func (t *memTx) DropVersions([][]byte) error  { return nil }
func (t *memTx) NextAttempt() (uint64, error) { t.m.attempts++; return t.m.attempts, nil }
func (t *memTx) NextRun() (string, error) {
	t.m.runSeq++
	return fmt.Sprintf("r%012d", t.m.runSeq), nil
}
func (t *memTx) HasRoom(records, _ int) bool { return len(t.records)+records < 500 }
func (t *memTx) Discard()                    {}

func (t *memTx) Commit() error {
	if t.m.failCommit != nil && t.m.failCommit() {
		return errDisk
	}
	if t.m.loseRecords == nil || !t.m.loseRecords() {
		for id, h := range t.records {
			t.m.records[id] = h
			t.m.bodies[id], t.m.pasts[id] = t.bodies[id], t.pasts[id]
			t.m.versions[id]++
		}
	}
	for _, op := range t.ops {
		op()
	}
	if t.m.committed != nil {
		t.m.committed()
	}
	return nil
}
