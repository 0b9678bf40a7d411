package store

import (
	"bytes"
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
	ModifiedSince int64 // only those with a version of at least this
}

func (q Query) takes(h *stream.Head) bool {
	return (len(q.States) == 0 || slices.Contains(q.States, h.State)) && (q.ModifiedSince == 0 || h.Version >= q.ModifiedSince)
}

// Record returns one record, ErrNotFound where there is none.
func (s *Store) Record(streamName, id string) (*stream.Record, error) {
	var r *stream.Record
	err := s.view(func(txn *badger.Txn) error {
		e, err := entryAt(txn, streamName, id)
		if err != nil {
			return err
		}
		if e == nil {
			return ErrNotFound
		}
		var blocks view
		defer blocks.giveBack(s)
		r, err = blocks.record(s, txn, streamName, e)
		return err
	})
	return r, err
}

// view keeps the blocks that were read last for single records: those with
// ids side by side mostly lie in the same ones.
type view struct {
	keys   [viewed]blockKey
	blocks [viewed]*block
	next   int
}

const viewed = 8

// record reads the record to which an entry of the index leads.
func (w *view) record(s *Store, txn *badger.Txn, name string, e *entry) (*stream.Record, error) {
	k := blockKey{name, e.block}
	i := slices.Index(w.keys[:], k)
	if i < 0 || w.blocks[i] == nil {
		i = w.next
		w.next = (w.next + 1) % viewed
		if w.blocks[i] == nil {
			w.blocks[i] = s.block()
		}
		w.keys[i] = blockKey{}
		if err := s.readBlock(txn, name, e.block, nil, w.blocks[i]); err != nil {
			return nil, fmt.Errorf("read record %s of %s: %w", e.head.ID, name, err)
		}
		w.keys[i] = k
	}
	row := w.blocks[i].find(e.head.Seq)
	if row == nil {
		return nil, fmt.Errorf("read record %s of %s: %w", e.head.ID, name, errBlock)
	}
	r, _, err := w.blocks[i].record(row, nil, 0)
	if err == nil && r.ID != e.head.ID {
		err = errBlock
	}
	if err != nil {
		return nil, fmt.Errorf("read record %s of %s: %w", e.head.ID, name, err)
	}
	return r, nil
}

// forget lets a block go that is written anew.
func (w *view) forget(k blockKey) {
	if i := slices.Index(w.keys[:], k); i >= 0 {
		w.keys[i] = blockKey{}
	}
}

func (w *view) giveBack(s *Store) {
	for _, b := range w.blocks {
		if b != nil {
			s.giveBack(b)
		}
	}
	*w = view{}
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
		n, last, blocks := 0, "", view{}
		defer blocks.giveBack(s)
		for it.Seek(start); it.Valid(); it.Next() {
			if err := s.going(ctx); err != nil {
				return err
			}
			e, err := entryOf(it.Item())
			if err != nil {
				return fmt.Errorf("read the index of %s: %w", streamName, err)
			}
			if !q.takes(&e.head) {
				continue
			}
			if q.Limit > 0 && n == q.Limit {
				next = last
				return nil
			}
			r, err := blocks.record(s, txn, streamName, e)
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

// entryOf reads an entry of the index.
func entryOf(item *badger.Item) (*entry, error) {
	_, rest, _ := nameOf(item.Key())
	id, ok := readID(rest)
	if !ok {
		return nil, errHead
	}
	e := &entry{head: stream.Head{ID: id}}
	return e, item.Value(func(v []byte) error { return readEntry(v, e) })
}

// Heads calls fn for the heads of records with after < id <= upTo in the order
// of their ids (numbers first, by value); "" is no bound. It sees what this
// transaction wrote before, and not what fn writes. The heads are fn's to keep.
func (t *Tx) Heads(streamName, after, upTo string, fn func(*stream.Head) error) error {
	prefix := streamKey(kIndex, streamName)
	it := t.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	start, end := prefix, []byte(nil)
	if after != "" {
		start = append(appendID(slices.Clone(prefix), after), 0)
	}
	if upTo != "" {
		end = appendID(slices.Clone(prefix), upTo)
	}
	for it.Seek(start); it.Valid(); it.Next() {
		if end != nil && bytes.Compare(it.Item().Key(), end) > 0 {
			return nil
		}
		e, err := entryOf(it.Item())
		if err != nil {
			return fmt.Errorf("read the index of %s: %w", streamName, err)
		}
		if err := fn(&e.head); err != nil {
			return err
		}
	}
	return nil
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
	var free []byte
	n := 0
	err = s.feed(ctx, streamName, since, func(b *block, w *row) error {
		if limit > 0 && n == limit {
			return errFound
		}
		var r *stream.Record
		chunk := arena
		if limit > 0 {
			chunk = min(arena, (limit-n)*2048)
		}
		var err error
		if r, free, err = b.record(w, free, chunk); err != nil {
			return fmt.Errorf("read the feed of %s at %d: %w", streamName, w.seq, err)
		}
		if err := fn(r); err != nil {
			return err
		}
		last = r.Seq
		n++
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return last, err
}

// feed calls fn for the records of a stream above a position, in order.
func (s *Store) feed(ctx context.Context, name string, since uint64, fn func(*block, *row) error) error {
	if since == math.MaxUint64 {
		return nil
	}
	return s.view(func(txn *badger.Txn) error { return s.feedIn(ctx, txn, name, since, fn) })
}

// feedIn is feed on a snapshot.
func (s *Store) feedIn(ctx context.Context, txn *badger.Txn, name string, since uint64, fn func(*block, *row) error) error {
	b := s.block()
	defer s.giveBack(b)
	return s.blocks(ctx, txn, name, since, func(first uint64, n *note, item *badger.Item) error {
		if n != nil && (n.live() == 0 || first+n.last <= since) {
			return nil
		}
		if err := s.load(item, first, n, b); err != nil {
			return fmt.Errorf("read the feed of %s from %d: %w", name, first, err)
		}
		for i := range b.rows {
			w := &b.rows[i]
			if w.gone || w.seq <= since {
				continue
			}
			if err := s.going(ctx); err != nil {
				return err
			}
			if err := fn(b, w); err != nil {
				return err
			}
		}
		return nil
	})
}

// blocks calls fn for the blocks of a stream, from the one on that may hold the
// position that follows since, with what their notes say; note and item hold
// until it returns. A block whose note is missing or does not decode is given
// none; what was dropped and is back (see ghost) is passed over.
func (s *Store) blocks(ctx context.Context, txn *badger.Txn, name string, since uint64, fn func(uint64, *note, *badger.Item) error) error {
	prefix := streamKey(kFeed, name)
	start := prefix
	if since > 0 {
		start = blockBefore(txn, name, since)
	}
	// Values are not fetched ahead: they lie in mapped memory, and are read
	// from there without a copy.
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	var n note
	noted, ok := uint64(0), false
	for it.Seek(start); it.Valid(); it.Next() {
		if err := s.going(ctx); err != nil {
			return err
		}
		item := it.Item()
		first, kind, valid := readFeedKey(item.Key()[len(prefix):])
		switch {
		case !valid:
			return fmt.Errorf("read the feed of %s: %w", name, errBlock)
		case kind == noteKind:
			noted, ok = first, item.Value(n.read) == nil
			continue
		}
		given := &n
		if !ok || noted != first {
			if given = nil; noted != first && ghost(txn, name, first, item) {
				continue
			}
		}
		ok = false
		if err := fn(first, given, item); err != nil {
			return err
		}
	}
	return nil
}

// blockBefore is the key of the note of the last block that begins at or below
// the position that follows since, or where the feed begins.
func blockBefore(txn *badger.Txn, name string, since uint64) []byte {
	prefix := streamKey(kFeed, name)
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
	defer it.Close()
	for it.Seek(feedKey(name, since+1, blockKind)); it.Valid(); it.Next() {
		// A block without a note may be none.
		if first, kind, _ := readFeedKey(it.Item().Key()[len(prefix):]); kind == noteKind {
			return feedKey(name, first, noteKind)
		}
	}
	return prefix
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
	var h stream.Head
	err = s.feed(ctx, streamName, at, func(b *block, w *row) error {
		if err := b.head(w, &h); err != nil {
			return fmt.Errorf("read the feed of %s at %d: %w", streamName, w.seq, err)
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

// Behind counts the records of a stream that stand in the feed above since.
func (s *Store) Behind(ctx context.Context, streamName string, since uint64) (n uint64, err error) {
	err = s.view(func(txn *badger.Txn) error {
		b := s.block()
		defer s.giveBack(b)
		return s.blocks(ctx, txn, streamName, since, func(first uint64, x *note, item *badger.Item) error {
			switch {
			case x != nil && first > since:
				n += uint64(x.live())
				return nil
			case x != nil && first+x.last <= since:
				return nil
			}
			// The block in which the reader stands, or one without a note.
			if err := s.load(item, first, x, b); err != nil {
				return fmt.Errorf("read the feed of %s from %d: %w", streamName, first, err)
			}
			for i := range b.rows {
				if w := &b.rows[i]; !w.gone && w.seq > since {
					n++
				}
			}
			return nil
		})
	})
	return n, err
}

// Seqs gives the place in the feed of each id, 0 where there is no such record.
func (s *Store) Seqs(ctx context.Context, streamName string, ids []string) ([]uint64, error) {
	out := make([]uint64, len(ids))
	err := s.view(func(txn *badger.Txn) error {
		for i, id := range ids {
			if err := s.going(ctx); err != nil {
				return err
			}
			e, err := entryAt(txn, streamName, id)
			if err != nil {
				return err
			}
			if e != nil {
				out[i] = e.head.Seq
			}
		}
		return nil
	})
	return out, err
}
