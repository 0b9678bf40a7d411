package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// VersionsOf gives the heads of what the store still has of a record, the newest
// first and at most limit of them: the one in the feed, those that are put aside,
// and superseded copies that lie in a block which was not written anew since. It
// returns ErrNotFound where there is none.
func (s *Store) VersionsOf(ctx context.Context, streamName, id string, limit int) (heads []stream.Head, err error) {
	err = s.view(func(txn *badger.Txn) error {
		e, err := entryAt(txn, streamName, id)
		if err != nil {
			return err
		}
		if e == nil {
			return ErrNotFound
		}
		var blocks view
		defer blocks.giveBack(s)
		r, err := blocks.record(s, txn, streamName, e)
		if err != nil {
			return err
		}
		heads = append(heads, r.Head)
		if r.State.Bare() {
			return nil // nothing before it is left, or to be read
		}
		if err := s.asideOf(ctx, txn, streamName, id, limit, func(h stream.Head) { heads = append(heads, h) }); err != nil {
			return err
		}
		for _, c := range e.old {
			// A copy is let go without a word, and may be in a file that is damaged: it
			// is nobody's data any more.
			old := entry{head: stream.Head{ID: id, Seq: c.seq}, block: c.block}
			if _, err := txn.Get(feedKey(streamName, c.block, noteKind)); err != nil {
				continue
			}
			if r, err := blocks.record(s, txn, streamName, &old); err == nil {
				heads = append(heads, r.Head)
			}
		}
		return nil
	})
	slices.SortFunc(heads, func(a, b stream.Head) int { return cmp.Compare(b.Seq, a.Seq) })
	heads = slices.CompactFunc(heads, func(a, b stream.Head) bool { return a.Seq == b.Seq })
	return heads[:min(len(heads), limit)], err
}

// asideOf calls fn for the heads of the newest versions of a record that are put
// aside.
func (s *Store) asideOf(ctx context.Context, txn *badger.Txn, name, id string, limit int, fn func(stream.Head)) error {
	if !s.aside.Load() {
		return nil
	}
	upTo, err := voidOf(txn, name, id)
	if err != nil {
		return err
	}
	prefix := pastPrefix(name, id)
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
	defer it.Close()
	b := s.block()
	defer s.giveBack(b)
	for it.Seek(binary.BigEndian.AppendUint64(bytes.Clone(prefix), math.MaxUint64)); it.Valid() && limit > 0; it.Next() {
		if err := s.going(ctx); err != nil {
			return err
		}
		key := it.Item().Key()
		ms, err := it.Item().ValueCopy(nil)
		if err != nil || len(ms) != 8 || len(key) != len(prefix)+8 {
			continue
		}
		seq := binary.BigEndian.Uint64(key[len(prefix):])
		if seq <= upTo {
			return nil
		}
		item, err := txn.Get(versionKey(name, id, seq, int64(binary.BigEndian.Uint64(ms))))
		if errors.Is(err, badger.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if r, err := readVersion(item, seq, id, b); err == nil {
			fn(r.Head)
			limit--
		}
	}
	return nil
}
