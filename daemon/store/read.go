package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Query chooses records, in the order of their ids: numbers first, by value,
// then the others as text.
type Query struct {
	After         string // the cursor of the page before, "" for the first
	Limit         int    // 0: all
	States        []stream.State
	Since         uint64 // only those changed after this position
	ModifiedSince int64  // only those with a version of at least this
}

func (q Query) takes(h *stream.Head) bool {
	return (len(q.States) == 0 || slices.Contains(q.States, h.State)) && (q.Since == 0 || h.Seq > q.Since) &&
		(q.ModifiedSince == 0 || h.Version >= q.ModifiedSince)
}

// Record returns one record, ErrNotFound where there is none.
func (s *Store) Record(streamName, id string) (*stream.Record, error) {
	var r *stream.Record
	err := s.view(func(txn *badger.Txn) error {
		h, err := headAt(txn, streamName, id)
		if err != nil {
			return err
		}
		if h == nil {
			return ErrNotFound
		}
		r, err = s.at(txn, streamName, h)
		return err
	})
	return r, err
}

// at reads the record to which an entry of the index leads.
func (s *Store) at(txn *badger.Txn, name string, h *stream.Head) (*stream.Record, error) {
	var r *stream.Record
	item, err := txn.Get(feedKey(name, h.Seq))
	if err == nil {
		err = item.Value(func(v []byte) error {
			r, err = s.codec.decode(v)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read record %s of %s: %w", h.ID, name, err)
	}
	return r, nil
}

// Records calls fn for records in the order of their ids, from one snapshot,
// and returns the cursor of the next page, "" after the last. The records are
// fn's to keep.
func (s *Store) Records(ctx context.Context, streamName string, q Query, fn func(*stream.Record) error) (next string, err error) {
	prefix := streamKey(kIndex, streamName)
	err = s.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: true, PrefetchSize: prefetch(q.Limit)})
		defer it.Close()
		start := prefix
		if q.After != "" {
			start = append(appendID(slices.Clone(prefix), q.After), 0)
		}
		n, last := 0, ""
		for it.Seek(start); it.Valid(); it.Next() {
			if err := s.going(ctx); err != nil {
				return err
			}
			h, err := headOf(it.Item())
			if err != nil {
				return fmt.Errorf("read the index of %s: %w", streamName, err)
			}
			if !q.takes(h) {
				continue
			}
			if q.Limit > 0 && n == q.Limit {
				next = last
				return nil
			}
			r, err := s.at(txn, streamName, h)
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

// headOf reads an entry of the index.
func headOf(item *badger.Item) (*stream.Head, error) {
	_, rest, _ := nameOf(item.Key())
	id, ok := readID(rest)
	if !ok {
		return nil, errHead
	}
	h := &stream.Head{ID: id}
	return h, item.Value(func(v []byte) error { _, err := readHead(v, h); return err })
}

// prefetch is how many values an iterator reads ahead.
func prefetch(limit int) int {
	if limit > 0 {
		return min(limit, 64)
	}
	return 64
}

// Changes calls fn for what stands in the feed above since, in order, from one
// snapshot, and returns the position that it reached. Each record is there
// once, at its newest place. The records are fn's to keep.
func (s *Store) Changes(ctx context.Context, streamName string, since uint64, limit int, fn func(*stream.Record) error) (last uint64, err error) {
	last = since
	err = s.feed(ctx, streamName, since, limit, func(v []byte) error {
		r, err := s.codec.decode(v)
		if err != nil {
			return fmt.Errorf("read the feed of %s after %d: %w", streamName, last, err)
		}
		if err := fn(r); err != nil {
			return err
		}
		last = r.Seq
		return nil
	})
	return last, err
}

func (s *Store) feed(ctx context.Context, name string, since uint64, limit int, fn func(value []byte) error) error {
	if since == math.MaxUint64 {
		return nil
	}
	return s.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: streamKey(kFeed, name), PrefetchValues: true, PrefetchSize: prefetch(limit)})
		defer it.Close()
		n := 0
		for it.Seek(feedKey(name, since+1)); it.Valid() && (limit <= 0 || n < limit); it.Next() {
			if err := s.going(ctx); err != nil {
				return err
			}
			if err := it.Item().Value(fn); err != nil {
				return err
			}
			n++
		}
		return nil
	})
}

var errFound = errors.New("found")

// PositionAt returns the greatest position that is known to have been
// committed before a time, 0 where none was: what came at or after it stands
// above that position.
func (s *Store) PositionAt(ctx context.Context, streamName string, t time.Time) (uint64, error) {
	at := uint64(0)
	err := s.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Reverse: true})
		defer it.Close()
		it.Seek(timeKey(t.UnixMilli()))
		if !it.ValidForPrefix([]byte{kTime}) {
			return nil
		}
		return it.Item().Value(func(v []byte) error {
			if len(v) == 8 {
				at = binary.BigEndian.Uint64(v)
			}
			return nil
		})
	})
	if err != nil {
		return 0, fmt.Errorf("read the positions by time: %w", err)
	}
	err = s.feed(ctx, streamName, at, 0, func(v []byte) error {
		var h stream.Head
		if _, err := readRecord(v, &h); err != nil {
			return fmt.Errorf("read the feed of %s after %d: %w", streamName, at, err)
		}
		if h.Synced >= t.UnixMilli() {
			return errFound
		}
		at = h.Seq
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return at, err
}
