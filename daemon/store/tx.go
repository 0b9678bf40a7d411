package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/failpoint"
)

// Tx is one transaction of the one writer: all of it becomes durable in
// Commit, or nothing. It belongs to one goroutine and ends with Commit or
// Discard.
type Tx struct {
	s        *Store
	txn      *badger.Txn
	leave    func()
	now      int64 // ms
	next     counters
	counts   map[string]delta
	ends     map[string]uint64 // the newest position, by stream
	open     map[string]*block // being gathered, by stream
	notes    map[blockKey]*note
	deaths   int // records of written blocks that died here
	view     view
	tails    map[string]uint64
	newRuns  map[string]int
	keys     int
	size     int // of keys and of what stays in the tree
	raw      int // of values
	repaired int
	dirty    bool
	ended    bool
	asked    asked
	ahead    map[string]map[string]*entry // see Ahead; nil for what is not stored

	// keeps says which versions are put aside, nil for none and where there are
	// none; voided counts those that went with their records, lost those that went
	// unread, by stream and reader. own is what was put aside here, by what leads to
	// it; before is the store without what this transaction writes, once it is asked.
	keeps  *map[string]keeping
	voided int
	lost   map[string]map[string]uint64
	own    map[string][][]byte
	before *badger.Txn
}

// asked is the answer that Head gave last. Who stores a record has just asked
// for its head, and Put need not look again.
type asked struct {
	stream, id string
	known      bool
	entry      *entry // nil: there is none
}

// Begin begins a transaction. It returns ErrFull below the free-space mark,
// ErrFailed and ErrDamaged where nothing may be written any more, ErrClosed
// after Close.
func (s *Store) Begin() (*Tx, error) {
	if err := s.failure(); err != nil {
		return nil, err
	}
	if free, err := freeSpace(s.o.Dir); err == nil && free < s.o.FreeMark {
		return nil, ErrFull
	}
	leave, err := s.enter()
	if err != nil {
		return nil, err
	}
	t := &Tx{s: s, txn: s.db.NewTransaction(true), leave: leave, now: s.o.Now().UnixMilli(), next: s.last,
		counts: map[string]delta{}, ends: map[string]uint64{}, open: map[string]*block{}, notes: map[blockKey]*note{},
		tails: map[string]uint64{}, newRuns: map[string]int{}}
	if t.keeps = s.keeps.Load(); t.keeps != nil {
		s.aside.Store(true)
	}
	if err := t.repair(); err != nil {
		t.Discard()
		return nil, fmt.Errorf("repair the store: %w", err)
	}
	return t, nil
}

// Head returns what is stored of a record, nil where there is nothing. It sees
// what this transaction wrote.
func (t *Tx) Head(streamName, id string) (*stream.Head, error) {
	e, err := t.entry(streamName, id)
	if e == nil || err != nil {
		return nil, err
	}
	return &e.head, nil
}

// entry returns what the index has of a record, nil where that is nothing.
func (t *Tx) entry(streamName, id string) (*entry, error) {
	if a := t.asked; a.known && a.stream == streamName && a.id == id {
		return a.entry, nil
	}
	if e, ok := t.ahead[streamName][id]; ok {
		return e, nil
	}
	e, err := entryAt(t.txn, streamName, id)
	t.asked = asked{stream: streamName, id: id, known: err == nil, entry: e}
	return e, err
}

// Ahead looks up the heads of many records at once, so that Head and Put of
// them need not. Where ids stand close together, as those of a list do, one pass
// over the index took 0.4 µs a record in a profile of a first load, and asking for
// each 1.7. It is for before anything is put: Badger sorts what waits to be written
// for each pass.
func (t *Tx) Ahead(streamName string, ids []string) error {
	found := t.ahead[streamName]
	if found == nil {
		found = make(map[string]*entry, len(ids))
		if t.ahead == nil {
			t.ahead = map[string]map[string]*entry{}
		}
		t.ahead[streamName] = found
	}
	prefix := streamKey(kIndex, streamName)
	keys := make([][]byte, len(ids))
	for i, id := range ids {
		keys[i] = appendID(slices.Clone(prefix), id)
	}
	slices.SortFunc(keys, bytes.Compare)
	it := t.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for i, key := range keys {
		if i == 0 {
			it.Seek(key)
		}
		// Whoever stands far off is sought.
		for n := 0; it.Valid() && bytes.Compare(it.Item().Key(), key) < 0; n++ {
			if n < nearby {
				it.Next()
			} else {
				it.Seek(key)
			}
		}
		if !it.Valid() || !bytes.Equal(it.Item().Key(), key) {
			continue
		}
		e, err := entryOf(it.Item())
		if err != nil {
			return fmt.Errorf("read the index of %s: %w", streamName, err)
		}
		found[e.head.ID] = e
	}
	for _, id := range ids {
		if _, ok := found[id]; !ok {
			found[id] = nil
		}
	}
	return nil
}

// nearby is how many entries Ahead passes before it seeks.
const nearby = 16

// entryAt returns nil where the index has no such id.
func entryAt(txn *badger.Txn, name, id string) (*entry, error) {
	item, err := txn.Get(indexKey(name, id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	e := &entry{head: stream.Head{ID: id}}
	if err := item.Value(func(v []byte) error { return readEntry(v, e) }); err != nil {
		return nil, fmt.Errorf("read the index of %s at %s: %w", name, id, err)
	}
	return e, nil
}

// Record returns all that is stored of a record, nil where there is nothing.
// It sees what this transaction wrote, and costs a block: who can tell from
// Head that nothing is needed should.
func (t *Tx) Record(streamName, id string) (*stream.Record, error) {
	e, err := t.entry(streamName, id)
	if e == nil || err != nil {
		return nil, err
	}
	return t.stored(streamName, e)
}

// stored reads the record to which an entry of the index leads.
func (t *Tx) stored(streamName string, e *entry) (*stream.Record, error) {
	if b := t.open[streamName]; b != nil && b.first == e.block {
		if row := b.find(e.head.Seq); row != nil {
			r, _, err := b.record(row, nil, 0)
			return r, err
		}
	}
	return t.view.record(t.s, t.txn, streamName, e)
}

// Put stores a reading at the next position and notes that in r (Seq, Synced);
// the record's old place in the feed goes in the same transaction. What r does
// not bring is gone: who wants to keep a part takes it from Record. A purged or
// merged record is stored without content, r loses it too, and no older copy of
// it is left, or read any more, when the transaction is committed. After an error the transaction
// can only be discarded.
func (t *Tx) Put(streamName string, r *stream.Record) error {
	if n := len(streamName); n == 0 || n > 255 {
		return fmt.Errorf("store a record: a stream's name has 1 to 255 bytes, not %d", n)
	}
	old, err := t.entry(streamName, r.ID)
	if err != nil {
		return err
	}
	t.asked = asked{} // it is about to change
	delete(t.ahead[streamName], r.ID)
	if r.State.Bare() {
		r.Properties, r.Associations, r.History = nil, nil, nil
		r.AssociationsPart, r.HistoryPart = stream.Part{}, stream.Part{}
	}
	r.Seq, r.Synced = t.next.Seq+1, t.now
	b := t.open[streamName]
	if b == nil {
		if b, err = t.gather(streamName, r.Seq); err != nil {
			return err
		}
	}
	e := entry{head: r.Head, block: b.first}
	change := of(r.State, 1)
	switch {
	case r.State.Bare() && t.s.aside.Load(): // whether or not the index knows the record
		err = t.void(streamName, r.ID, r.Seq)
	case old == nil:
	case t.keeps != nil:
		err = t.putAside(streamName, old)
	}
	if err != nil {
		return err
	}
	if old != nil {
		change = change.plus(of(old.head.State, -1))
		if e.old, err = t.supersede(streamName, old, r.State.Bare()); err != nil {
			return err
		}
	}
	index, err := appendEntry(nil, &e)
	if err != nil {
		return fmt.Errorf("store record %s of %s: %w", r.ID, streamName, err)
	}
	if err := t.set(indexKey(streamName, r.ID), index); err != nil {
		return err
	}
	content := contentOf(r)
	if err := b.add(&r.Head, content); err != nil {
		return fmt.Errorf("store record %s of %s: %w", r.ID, streamName, err)
	}
	for _, body := range content {
		t.raw += len(body)
	}
	t.next.Seq++
	t.counts[streamName], t.ends[streamName] = t.counts[streamName].plus(change), r.Seq
	if b.full() {
		return t.cut(streamName)
	}
	return nil
}

// What Badger counts for an entry besides key and value, generously.
const entryOverhead = 64

func (t *Tx) set(key, value []byte) error {
	t.keys++
	t.size += len(key) + min(len(value), valueThreshold) + entryOverhead
	t.dirty = true
	if err := t.txn.Set(key, value); err != nil {
		return fmt.Errorf("write to the store: %w", err)
	}
	return nil
}

func (t *Tx) delete(key []byte) error {
	t.keys++
	t.size += len(key) + entryOverhead
	t.dirty = true
	if err := t.txn.Delete(key); err != nil {
		return fmt.Errorf("write to the store: %w", err)
	}
	return nil
}

func (t *Tx) put(key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode for the store: %w", err)
	}
	return t.set(key, b)
}

func (t *Tx) has(key []byte) (bool, error) {
	_, err := t.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// NextAttempt hands out a number of the one counter of attempts. It counts as
// given when the transaction is committed.
func (t *Tx) NextAttempt() (uint64, error) {
	t.next.Attempt++
	t.dirty = true
	return t.next.Attempt, nil
}

// NextRun hands out a run's id; ids sort in the order in which they were made.
func (t *Tx) NextRun() (string, error) {
	t.next.Run++
	t.dirty = true
	return runID(t.next.Run), nil
}

// What a transaction takes: a part of what Badger does, since the ledger goes
// with the records, and little enough of content that memory stays level.
const (
	recordSize = 600 // of a record's entry in the index and of a note, in the tree
	noteSize   = 300
	asideSize  = 1300 // of a version that is put aside, with names of 255 bytes
	maxRaw     = 8 << 20
)

// HasRoom tells whether records with that many bytes in all surely fit.
func (t *Tx) HasRoom(records, bytes int) bool {
	// A record has its entry in the index, and may bring the rewriting of a
	// block; those that have changed so far are written at the end.
	pending := len(t.open) + len(t.notes)
	keys, size := 4, recordSize
	if t.keeps != nil { // what they replace may be put aside, and is as long
		keys, size, bytes = keys+2, size+asideSize, 2*bytes
	}
	return int64(t.keys+2*pending+keys*records+64) < t.s.db.MaxBatchCount()*3/4 &&
		int64(t.size+noteSize*pending+size*records) < t.s.db.MaxBatchSize()*3/4 &&
		t.raw+bytes < maxRaw
}

// markEvery is how often a position is noted under its time.
const markEvery = 60_000

// Commit makes the transaction durable: when it returns nil, it is on disk,
// readers see it and watchers are woken. After an error nothing is changed;
// where Badger could not write, Begin returns ErrFailed from then on.
func (t *Tx) Commit() error {
	if t.ended {
		return errors.New("commit: the transaction has ended")
	}
	defer t.Discard()
	if !t.dirty {
		return nil
	}
	s := t.s
	for name := range t.open {
		if err := t.cut(name); err != nil {
			return err
		}
	}
	if err := t.settle(); err != nil {
		return err
	}
	if err := s.raiseTo(t.next); err != nil {
		return err
	}
	failpoint.Hit(failpoint.Raised)
	m := meta{Format: format, Store: s.id, Epoch: s.epoch, Commits: s.commits.Load() + 1, Last: t.next, Ceiling: s.ceiling, Position: s.position.Load()}
	mark := false
	if t.next.Seq != s.last.Seq {
		m.Position = t.next.Seq
		if mark = t.now-s.lastMark >= markEvery || t.now < s.lastMark; mark {
			if err := t.set(timeKey(t.now), binary.BigEndian.AppendUint64(nil, s.last.Seq)); err != nil {
				return err
			}
		}
	}
	for name, d := range t.counts {
		last := max(s.PositionOf(name), t.ends[name])
		if err := t.put(streamKey(kCount, name), kept{s.Counts(name).plus(d), last}); err != nil {
			return err
		}
	}
	if err := t.writeLost(); err != nil {
		return err
	}
	if err := t.put([]byte{kMeta}, m); err != nil {
		return err
	}
	if err := t.txn.Commit(); err != nil {
		// What reached the log shows only when the store is opened again.
		err = fmt.Errorf("%w (%w)", ErrFailed, err)
		s.fail(err)
		return err
	}
	failpoint.Hit(failpoint.Committed)
	if mark {
		s.lastMark = t.now
	}
	s.committed(t, m)
	failpoint.Hit(failpoint.Noted)
	if m.Commits == 1 {
		// From here on an empty folder is one that was emptied.
		// That it cannot be told is no reason to call the commit, which is on
		// disk, failed: the floor is written behind.
		if err := s.writeFloor(); err != nil {
			s.o.Logger.Warn("the anchor cannot be written", "error", err)
		}
	}
	return nil
}

// committed moves what is in memory after what is on disk.
func (s *Store) committed(t *Tx, m meta) {
	s.last = t.next
	maps.Copy(s.tails, t.tails)
	maps.Copy(s.newRuns, t.newRuns)
	s.keep(t.notes)
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, d := range t.counts {
		s.counts[name] = s.counts[name].plus(d)
		s.ends[name] = max(s.ends[name], t.ends[name])
	}
	s.repairs = s.repairs[t.repaired:]
	s.noteLost(t.lost)
	s.position.Store(m.Position)
	s.commits.Store(m.Commits)
	for ch := range s.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Discard lets the transaction go; after Commit it does nothing.
func (t *Tx) Discard() {
	if t.ended {
		return
	}
	t.ended = true
	for name, b := range t.open {
		delete(t.open, name)
		t.s.giveBack(b)
	}
	t.view.giveBack(t.s)
	t.txn.Discard()
	if t.before != nil {
		t.before.Discard()
	}
	t.leave()
}
