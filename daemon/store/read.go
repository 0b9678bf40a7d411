package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Query chooses records, in the order of their ids.
type Query struct {
	After         string // the cursor of the page before
	Limit         int
	States        []stream.State // none: all
	Since         uint64         // only those changed after this position
	ModifiedSince int64          // only those with a version of at least this
}

// Load reads the ledger.
func (s *Store) Load(context.Context) (Ledger, error) {
	l := Ledger{Ranges: map[string][]*stream.Range{}, Counts: map[string]Counts{}}
	err := s.db.View(func(txn *badger.Txn) error {
		unfinished := map[string]bool{}
		if err := load(txn, kStream, func(v *stream.Stream) {
			l.Streams = append(l.Streams, v)
			unfinished[v.Unfinished] = true
		}); err != nil {
			return err
		}
		if err := load(txn, kRun, func(v *stream.Run) {
			if v.State == stream.Running || unfinished[v.ID] {
				l.Runs = append(l.Runs, v)
			}
		}); err != nil {
			return err
		}
		for _, r := range l.Runs {
			prefix := append(textKey(kRange, r.ID), '/')
			if err := scan(txn, prefix, true, func(_ []byte, item *badger.Item) error {
				g := new(stream.Range)
				l.Ranges[r.ID] = append(l.Ranges[r.ID], g)
				return itemJSON(item, g)
			}); err != nil {
				return err
			}
		}
		if err := load(txn, kWorker, func(v *stream.Worker) { l.Workers = append(l.Workers, v) }); err != nil {
			return err
		}
		return load(txn, kPortal, func(v *stream.Portal) { l.Portals = append(l.Portals, v) })
	})
	if err != nil {
		return Ledger{}, fmt.Errorf("read the ledger: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(l.Counts, s.counts)
	return l, nil
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

// Record returns one record, ErrNotFound where there is none.
func (s *Store) Record(name, id string) (r *stream.Record, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(indexKey(name, id))
		if err != nil {
			return err
		}
		var h stream.Head
		if err := item.Value(func(v []byte) error { _, err := readHead(v, &h); return err }); err != nil {
			return err
		}
		r, err = s.at(txn, name, h.Seq)
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	return r, err
}

func (s *Store) at(txn *badger.Txn, name string, seq uint64) (r *stream.Record, err error) {
	item, err := txn.Get(feedKey(name, seq))
	if err != nil {
		return nil, err
	}
	err = item.Value(func(v []byte) error {
		r, err = s.codec.decode(txn, name, v)
		return err
	})
	return r, err
}

// Records gives records in the order of their ids from one snapshot, and where
// to go on, "" at the end.
func (s *Store) Records(ctx context.Context, name string, q Query, fn func(*stream.Record) error) (next string, err error) {
	prefix := streamKey(kIndex, name)
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: true, PrefetchSize: 100})
		defer it.Close()
		start := prefix
		if q.After != "" {
			start = append(appendID(slices.Clone(prefix), q.After), 0)
		}
		n, last := 0, ""
		for it.Seek(start); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			var h stream.Head
			if err := it.Item().Value(func(v []byte) error { _, err := readHead(v, &h); return err }); err != nil {
				return err
			}
			if len(q.States) > 0 && !slices.Contains(q.States, h.State) || h.Seq <= q.Since && q.Since > 0 || h.Version < q.ModifiedSince {
				continue
			}
			if q.Limit > 0 && n == q.Limit {
				next = last
				return nil
			}
			r, err := s.at(txn, name, h.Seq)
			if err != nil {
				return err
			}
			if err := fn(r); err != nil {
				return err
			}
			n, last = n+1, r.ID
		}
		return nil
	})
	return next, err
}

// Changes gives what stands in the feed above since, in order, from one
// snapshot; last is the position that it reached.
func (s *Store) Changes(ctx context.Context, name string, since uint64, limit int, fn func(*stream.Record) error) (last uint64, err error) {
	last = since
	prefix := streamKey(kFeed, name)
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: true, PrefetchSize: 64})
		defer it.Close()
		n := 0
		for it.Seek(feedKey(name, since+1)); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if limit > 0 && n == limit {
				return nil
			}
			err := it.Item().Value(func(v []byte) error {
				r, err := s.codec.decode(txn, name, v)
				if err != nil {
					return err
				}
				last = r.Seq
				return fn(r)
			})
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return last, err
}

// PositionAt is the greatest position that was committed before a time.
func (s *Store) PositionAt(ctx context.Context, name string, t time.Time) (uint64, error) {
	at := uint64(0)
	stop := errors.New("found")
	_, err := s.Changes(ctx, name, 0, 0, func(r *stream.Record) error {
		if r.Synced >= t.UnixMilli() {
			return stop
		}
		at = r.Seq
		return nil
	})
	if errors.Is(err, stop) {
		err = nil
	}
	return at, err
}

// Run returns a run by its id.
func (s *Store) Run(id string) (*stream.Run, error) {
	r := new(stream.Run)
	err := s.db.View(func(txn *badger.Txn) error { return getJSON(txn, textKey(kRun, id), r) })
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	return r, err
}

// Runs lists runs, newest first; before is the id of the last one seen.
func (s *Store) Runs(_ context.Context, name string, state stream.RunState, limit int, before string) ([]*stream.Run, error) {
	out := []*stream.Run{}
	err := s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Reverse: true, PrefetchValues: true, PrefetchSize: 20})
		defer it.Close()
		start := []byte{kRun, 0xff}
		if before != "" {
			start = textKey(kRun, before)
		}
		for it.Seek(start); it.ValidForPrefix([]byte{kRun}) && len(out) < limit; it.Next() {
			r := new(stream.Run)
			if err := itemJSON(it.Item(), r); err != nil {
				return err
			}
			if r.ID == before || name != "" && r.Stream != name || state != "" && r.State != state {
				continue
			}
			out = append(out, r)
		}
		return nil
	})
	return out, err
}

// Schema returns the definitions as they were last read.
func (s *Store) Schema(name string) (b []byte, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(streamKey(kSchema, name))
		if err != nil {
			return err
		}
		b, err = item.ValueCopy(nil)
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	return b, err
}
