package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Tx is one transaction of the one writer.
type Tx struct {
	s      *Store
	txn    *badger.Txn
	next   counters
	counts map[string]Counts
	dicts  map[string]*dictionary
	count  int
	size   int
	dirty  bool
}

// Begin begins a transaction. It returns ErrFull below the free-space mark.
func (s *Store) Begin() (*Tx, error) {
	free, err := freeSpace(s.o.Dir)
	if err == nil && free < s.o.FreeMark {
		return nil, ErrFull
	}
	return &Tx{s: s, txn: s.db.NewTransaction(true), next: s.last, counts: map[string]Counts{}, dicts: map[string]*dictionary{}}, nil
}

// Head returns what is stored of a record, nil where there is nothing. It sees
// what this transaction wrote.
func (t *Tx) Head(name, id string) (*stream.Head, error) {
	item, err := t.txn.Get(indexKey(name, id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	h := &stream.Head{ID: id}
	err = item.Value(func(v []byte) error { _, err := readHead(v, h); return err })
	return h, err
}

// Put stores a reading at the next position; the record's old place in the
// feed goes in the same transaction. Purged and merged records keep no
// properties.
func (t *Tx) Put(name string, r *stream.Record) error {
	old, err := t.Head(name, r.ID)
	if err != nil {
		return err
	}
	t.next.Seq++
	r.Seq, r.Synced = t.next.Seq, t.s.o.Now().UnixMilli()
	if r.State == stream.Purged || r.State == stream.Merged {
		r.Properties = nil
	}
	c := t.countsOf(name)
	if old != nil {
		if err := t.delete(feedKey(name, old.Seq)); err != nil {
			return err
		}
		if old.State == stream.Live {
			c.Live--
		} else {
			c.Tombstones--
		}
	}
	if r.State == stream.Live {
		c.Live++
	} else {
		c.Tombstones++
	}
	t.counts[name] = c
	body, err := t.s.codec.encode(t, name, r)
	if err != nil {
		return err
	}
	if err := t.set(indexKey(name, r.ID), appendHead(nil, &r.Head)); err != nil {
		return err
	}
	return t.set(feedKey(name, r.Seq), body)
}

func (t *Tx) countsOf(name string) Counts {
	if c, ok := t.counts[name]; ok {
		return c
	}
	return t.s.Counts(name)
}

func (t *Tx) set(key, value []byte) error {
	t.count++
	t.size += len(key) + min(len(value), 192) + 64
	t.dirty = true
	return t.txn.Set(key, value)
}

func (t *Tx) delete(key []byte) error {
	t.count++
	t.size += len(key) + 64
	t.dirty = true
	return t.txn.Delete(key)
}

func (t *Tx) put(key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.set(key, b)
}

// PutStream writes what the ledger knows of a stream.
func (t *Tx) PutStream(s *stream.Stream) error { return t.put(streamKey(kStream, s.Name), s) }

// PutRun writes a run.
func (t *Tx) PutRun(r *stream.Run) error { return t.put(textKey(kRun, r.ID), r) }

// PutRange writes a range of a run.
func (t *Tx) PutRange(run string, g *stream.Range) error { return t.put(rangeKey(run, g.ID), g) }

// PutWorker writes which process has a worker's name.
func (t *Tx) PutWorker(w *stream.Worker) error { return t.put(textKey(kWorker, w.ID), w) }

// PutPortal writes whose data a portal's is.
func (t *Tx) PutPortal(p *stream.Portal) error { return t.put(textKey(kPortal, p.Name), p) }

// PutSchema writes a stream's property definitions, as JSON.
func (t *Tx) PutSchema(name string, definitions []byte) error {
	return t.set(streamKey(kSchema, name), definitions)
}

// DropRanges lets the ranges of a run go.
func (t *Tx) DropRanges(run string) error {
	var keys [][]byte
	it := t.txn.NewIterator(badger.IteratorOptions{Prefix: append(textKey(kRange, run), '/')})
	for it.Rewind(); it.Valid(); it.Next() {
		keys = append(keys, it.Item().KeyCopy(nil))
	}
	it.Close()
	for _, k := range keys {
		if err := t.delete(k); err != nil {
			return err
		}
	}
	return nil
}

// NextAttempt hands out a number of the one counter.
func (t *Tx) NextAttempt() (uint64, error) {
	t.next.Attempt++
	t.dirty = true
	return t.next.Attempt, nil
}

// NextRun hands out a run's id; ids sort in the order in which they were made.
func (t *Tx) NextRun() (string, error) {
	t.next.Run++
	t.dirty = true
	return fmt.Sprintf("r%012d", t.next.Run), nil
}

// HasRoom tells whether that much more surely fits.
func (t *Tx) HasRoom(records, bytes int) bool {
	return int64(t.count+3*records+64) < t.s.db.MaxBatchCount()/2 &&
		int64(t.size+400*records+min(bytes, 1<<20)) < t.s.db.MaxBatchSize()/2
}

// Commit makes it durable: it is on disk when nil is returned. After an error
// nothing of it is.
func (t *Tx) Commit() error {
	defer t.txn.Discard()
	if !t.dirty {
		return nil
	}
	if err := t.s.raiseTo(t.next); err != nil {
		return err
	}
	for name, c := range t.counts {
		if err := t.put(streamKey(kCount, name), c); err != nil {
			return err
		}
	}
	if err := t.put([]byte{kMeta}, t.next); err != nil {
		return err
	}
	if err := t.txn.Commit(); err != nil {
		return fmt.Errorf("write the store: %w", err)
	}
	t.s.codec.adopt(t.dicts)
	t.s.committed(t)
	return nil
}

// Discard lets the transaction go.
func (t *Tx) Discard() { t.txn.Discard() }

func (s *Store) committed(t *Tx) {
	s.last = t.next
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.counts, t.counts)
	if s.position.Swap(t.next.Seq) == t.next.Seq {
		return
	}
	for ch := range s.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
