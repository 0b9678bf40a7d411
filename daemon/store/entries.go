package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// unreadable finds the entries of the ledger that do not decode: like blocks,
// those that are long lie in value logs.
func unreadable(txn *badger.Txn) (keys [][]byte, err error) {
	for _, kind := range []byte{kStream, kSchema, kRun, kRange, kWorker, kPortal, kAnswer, kErased, kLost} {
		if err := scan(txn, []byte{kind}, true, func(_ []byte, item *badger.Item) error {
			if err := item.Value(func(v []byte) error {
				if !json.Valid(v) {
					return errBlock
				}
				return nil
			}); err != nil {
				keys = append(keys, item.KeyCopy(nil))
			}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
	}
	return keys, nil
}

// letEntriesGo deletes what cannot be read, and what leads there. It tells
// whether work that was under way is lost with it: then nobody knows any more
// how far its stream had come.
func (s *Store) letEntriesGo(keys [][]byte) (underWay bool, err error) {
	const inOne = 200
	for len(keys) > 0 {
		tx, err := s.Begin()
		if err != nil {
			return underWay, err
		}
		n := min(len(keys), inOne)
		for _, key := range keys[:n] {
			lost, err := tx.letEntryGo(key)
			if err != nil {
				tx.Discard()
				return underWay, err
			}
			underWay = underWay || lost
		}
		if err := tx.Commit(); err != nil {
			return underWay, fmt.Errorf("let entries of the ledger go: %w", err)
		}
		keys = keys[n:]
	}
	return underWay, nil
}

func (t *Tx) letEntryGo(key []byte) (underWay bool, err error) {
	if err := t.delete(key); err != nil {
		return false, err
	}
	switch key[0] {
	case kStream, kRange:
		return true, nil
	case kRun:
	default:
		return false, nil
	}
	id := key[1:]
	var listed [][]byte
	if err := scan(t.txn, []byte{kOfRun}, false, func(_ []byte, item *badger.Item) error {
		if bytes.HasSuffix(item.Key(), id) {
			listed = append(listed, item.KeyCopy(nil))
		}
		return nil
	}); err != nil {
		return false, fmt.Errorf("read the runs: %w", err)
	}
	active := textKey(kActive, string(id))
	underWay, err = t.has(active)
	// A walk that was broken off may be taken up again by its ranges.
	kept := false
	errRanges := scan(t.txn, rangePrefix(string(id)), false, func([]byte, *badger.Item) error { kept = true; return nil })
	for _, k := range append(listed, active) {
		err = errors.Join(err, t.delete(k))
	}
	return underWay || kept, errors.Join(err, errRanges, t.DropRanges(string(id)))
}
