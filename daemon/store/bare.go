package store

import (
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// bare tells whether a store that was closed in order has nothing in it: no
// record, no run, no erasure, as a daemon leaves it that could not begin. What
// cannot be looked at is none.
func (s *Store) bare(a anchor) bool {
	if !a.Clean {
		return false
	}
	db, err := badger.Open(badgerOptions(s.badgerDir(), &badgerLog{log: s.o.Logger}).WithReadOnly(true))
	if err != nil {
		return false
	}
	empty, committed := true, false
	err = db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid() && empty; it.Next() {
			kind := it.Item().Key()[0]
			empty = !slices.Contains([]byte{kFeed, kIndex, kRun, kErased}, kind)
			committed = committed || kind == kMeta
		}
		return nil
	})
	// One that lost its files has nothing in it, too, and that is another matter.
	return err == nil && db.Close() == nil && empty && committed == a.Written
}
