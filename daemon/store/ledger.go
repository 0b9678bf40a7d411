package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Ledger is all that is durable besides the records: Runs are the running ones
// and those that a stream names as unfinished, with their Ranges by run id.
type Ledger struct {
	Streams []*stream.Stream
	Runs    []*stream.Run
	Ranges  map[string][]*stream.Range
	Workers []*stream.Worker
	Portals []*stream.Portal
	Answers []*stream.Answered // oldest first
	Counts  map[string]Counts
}

// Load reads the ledger from one snapshot, streams by name.
func (s *Store) Load(ctx context.Context) (Ledger, error) {
	l := Ledger{Ranges: map[string][]*stream.Range{}, Counts: map[string]Counts{}}
	err := s.view(func(txn *badger.Txn) error {
		var wanted []string
		if err := load(txn, kStream, func(v *stream.Stream) {
			l.Streams = append(l.Streams, v)
			if v.Unfinished != "" {
				wanted = append(wanted, v.Unfinished)
			}
		}); err != nil {
			return err
		}
		if err := scan(txn, []byte{kActive}, false, func(key []byte, _ *badger.Item) error {
			wanted = append(wanted, string(key[1:]))
			return nil
		}); err != nil {
			return err
		}
		if err := loadRuns(ctx, txn, wanted, &l); err != nil {
			return err
		}
		if err := load(txn, kWorker, func(v *stream.Worker) { l.Workers = append(l.Workers, v) }); err != nil {
			return err
		}
		if err := load(txn, kPortal, func(v *stream.Portal) { l.Portals = append(l.Portals, v) }); err != nil {
			return err
		}
		return load(txn, kAnswer, func(v *stream.Answered) { l.Answers = append(l.Answers, v) })
	})
	if err != nil && ctx.Err() == nil {
		return Ledger{}, broken("read the ledger: %w", err)
	}
	if err != nil {
		return Ledger{}, fmt.Errorf("read the ledger: %w", err)
	}
	slices.SortFunc(l.Streams, func(a, b *stream.Stream) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(l.Answers, func(a, b *stream.Answered) int { return a.At.Compare(b.At) })
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(l.Counts, s.counts)
	return l, nil
}

func loadRuns(ctx context.Context, txn *badger.Txn, ids []string, l *Ledger) error {
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		if err := ctx.Err(); err != nil {
			return err
		}
		r := new(stream.Run)
		err := getJSON(txn, textKey(kRun, id), r)
		if errors.Is(err, badger.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		l.Runs = append(l.Runs, r)
		if err := scan(txn, rangePrefix(id), true, func(_ []byte, item *badger.Item) error {
			g := new(stream.Range)
			l.Ranges[id] = append(l.Ranges[id], g)
			return itemJSON(item, g)
		}); err != nil {
			return err
		}
	}
	return nil
}

func load[T any](txn *badger.Txn, kind byte, f func(*T)) error {
	return scan(txn, []byte{kind}, true, func(_ []byte, item *badger.Item) error {
		v := new(T)
		if err := itemJSON(item, v); err != nil {
			return err
		}
		f(v)
		return nil
	})
}

// PutStream writes what the ledger knows of a stream.
func (t *Tx) PutStream(s *stream.Stream) error { return t.put(streamKey(kStream, s.Name), s) }

// PutRange writes a range of a run.
func (t *Tx) PutRange(runID string, r *stream.Range) error { return t.put(rangeKey(runID, r.ID), r) }

// PutWorker writes what the ledger knows of a worker's id.
func (t *Tx) PutWorker(w *stream.Worker) error { return t.put(textKey(kWorker, w.ID), w) }

// PutPortal writes what the ledger knows of a portal.
func (t *Tx) PutPortal(p *stream.Portal) error { return t.put(textKey(kPortal, p.Name), p) }

// PutAnswer keeps the answer to a command; DropAnswer lets one go.
func (t *Tx) PutAnswer(a *stream.Answered) error { return t.put(textKey(kAnswer, a.ID), a) }

// DropAnswer lets the answer to a command go.
func (t *Tx) DropAnswer(id string) error { return t.delete(textKey(kAnswer, id)) }

// PutErasure notes that a record was erased.
func (t *Tx) PutErasure(e *stream.Erasure) error {
	return t.put(appendID(streamKey(kErased, e.Stream), e.Record), e)
}

// Erased tells whether a record was.
func (t *Tx) Erased(streamName, id string) (bool, error) {
	return t.has(appendID(streamKey(kErased, streamName), id))
}

// Erasures lists what was erased, by stream and id.
func (s *Store) Erasures() ([]*stream.Erasure, error) {
	out := []*stream.Erasure{}
	err := s.view(func(txn *badger.Txn) error {
		return load(txn, kErased, func(e *stream.Erasure) { out = append(out, e) })
	})
	if err != nil {
		return nil, fmt.Errorf("read the erasures: %w", err)
	}
	return out, nil
}

// PutSchema writes the property definitions of a stream, as they are.
func (t *Tx) PutSchema(streamName string, definitions []byte) error {
	return t.set(streamKey(kSchema, streamName), definitions)
}

// PutRun writes a run. Of a stream the newest runs are kept, besides those
// that are running or unfinished; the others go, some at a time. Those for what
// HubSpot hints at, which may be thousands a day, go first.
func (t *Tx) PutRun(r *stream.Run) error {
	if err := t.put(textKey(kRun, r.ID), r); err != nil {
		return err
	}
	active := textKey(kActive, r.ID)
	was, err := t.has(active)
	if err != nil {
		return fmt.Errorf("read the runs: %w", err)
	}
	switch running := r.State == stream.Running; {
	case running && !was:
		err = t.set(active, nil)
	case !running && was:
		err = t.delete(active)
	}
	if err != nil {
		return err
	}
	own := append(streamKey(kOfRun, r.Stream), r.ID...)
	known, err := t.has(own)
	if err != nil {
		return fmt.Errorf("read the runs: %w", err)
	}
	if known {
		return nil
	}
	if err := t.set(own, []byte(r.Kind)); err != nil {
		return err
	}
	return t.countRun(r.Stream)
}

// pruneEvery is after how many new runs of a stream the old ones are looked
// at, so that a run does not cost a scan.
const pruneEvery = 16

// hintsOfRuns is which part of the runs that are kept may be of hints where there
// are others that would have to go.
const hintsOfRuns = 10

func (t *Tx) countRun(name string) error {
	n, ok := t.newRuns[name]
	if !ok {
		n = t.s.newRuns[name]
	}
	n++
	if n < pruneEvery && n < t.s.o.KeepRuns {
		t.newRuns[name] = n
		return nil
	}
	t.newRuns[name] = 0
	return t.prune(name)
}

func (t *Tx) prune(name string) error {
	prefix := streamKey(kOfRun, name)
	var ids, hints []string
	if err := scan(t.txn, prefix, true, func(key []byte, item *badger.Item) error {
		ids = append(ids, string(key[len(prefix):]))
		return item.Value(func(kind []byte) error {
			if stream.Kind(kind) == stream.Hinted {
				hints = append(hints, ids[len(ids)-1])
			}
			return nil
		})
	}); err != nil {
		return fmt.Errorf("read the runs of %s: %w", name, err)
	}
	surplus := len(ids) - t.s.o.KeepRuns
	if surplus <= 0 {
		return nil
	}
	var st stream.Stream
	if err := getJSON(t.txn, streamKey(kStream, name), &st); err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return fmt.Errorf("read stream %s: %w", name, err)
	}
	if n := min(surplus, len(hints)-t.s.o.KeepRuns/hintsOfRuns); n > 0 {
		ids = slices.Concat(hints[:n], slices.DeleteFunc(ids, func(id string) bool {
			_, first := slices.BinarySearch(hints[:n], id)
			return first
		}))
	}
	for _, id := range ids[:min(surplus, 4*pruneEvery)] {
		active, err := t.has(textKey(kActive, id))
		if err != nil {
			return fmt.Errorf("read the runs of %s: %w", name, err)
		}
		if active || id == st.Unfinished {
			continue
		}
		if err := errors.Join(t.DropRanges(id), t.delete(textKey(kRun, id)), t.delete(append(slices.Clip(prefix), id...))); err != nil {
			return err
		}
	}
	return nil
}

// DropRanges lets the ranges of a run go.
func (t *Tx) DropRanges(runID string) error {
	var keys [][]byte
	if err := scan(t.txn, rangePrefix(runID), false, func(_ []byte, item *badger.Item) error {
		keys = append(keys, item.KeyCopy(nil))
		return nil
	}); err != nil {
		return fmt.Errorf("read the ranges of run %s: %w", runID, err)
	}
	for _, k := range keys {
		if err := t.delete(k); err != nil {
			return err
		}
	}
	return nil
}

// getRun reads a run. One that was let go may be back without its place among
// those of its stream, which is too small for the value log (see ghost).
func getRun(txn *badger.Txn, id string, r *stream.Run) error {
	if err := getJSON(txn, textKey(kRun, id), r); err != nil {
		return err
	}
	_, err := txn.Get(append(streamKey(kOfRun, r.Stream), id...))
	return err
}

// Run returns a run by its id, ErrNotFound where there is none.
func (s *Store) Run(id string) (*stream.Run, error) {
	r := new(stream.Run)
	err := s.view(func(txn *badger.Txn) error { return getRun(txn, id, r) })
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read run %s: %w", id, err)
	}
	return r, nil
}

// Runs lists runs, newest first: those of one stream, or of all where
// streamName is ""; those in one state, or in any where state is ""; at most
// limit where it is above 0; those older than the run before, where it is not
// "".
func (s *Store) Runs(ctx context.Context, streamName string, state stream.RunState, limit int, before string) ([]*stream.Run, error) {
	out := []*stream.Run{}
	prefix := []byte{kRun}
	if streamName != "" {
		prefix = streamKey(kOfRun, streamName)
	}
	err := s.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Reverse: true})
		defer it.Close()
		start := append(slices.Clip(prefix), 0xff)
		if before != "" {
			start = append(slices.Clip(prefix), before...)
		}
		for it.Seek(start); it.ValidForPrefix(prefix) && (limit <= 0 || len(out) < limit); it.Next() {
			if err := s.going(ctx); err != nil {
				return err
			}
			id := string(it.Item().Key()[len(prefix):])
			if id == before {
				continue
			}
			r := new(stream.Run)
			err := getRun(txn, id, r)
			if errors.Is(err, badger.ErrKeyNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if state == "" || r.State == state {
				out = append(out, r)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the runs: %w", err)
	}
	return out, nil
}

// Schema returns the property definitions as they were last written,
// ErrNotFound before.
func (s *Store) Schema(streamName string) ([]byte, error) {
	var b []byte
	err := s.view(func(txn *badger.Txn) error {
		item, err := txn.Get(streamKey(kSchema, streamName))
		if err != nil {
			return err
		}
		if b, err = item.ValueCopy(nil); err == nil && len(b) == 0 && item.ValueSize() > 0 {
			return errBlock // Badger gives nothing, and no error, for a value that it cannot read
		}
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", streamName, err)
	}
	return b, nil
}
