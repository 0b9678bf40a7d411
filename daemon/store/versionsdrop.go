package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"github.com/dgraph-io/badger/v4"
)

// What is aside goes when all have read it, when it is older than anybody keeps it,
// and when its record loses its content.

// lose counts a version for those that have not read it.
func (t *Tx) lose(name string, seq uint64) {
	if t.keeps == nil {
		return
	}
	for reader, at := range (*t.keeps)[name].Readers {
		if at >= seq {
			continue
		}
		if t.lost == nil {
			t.lost = map[string]map[string]uint64{}
		}
		if t.lost[name] == nil {
			t.lost[name] = map[string]uint64{}
		}
		t.lost[name][reader]++
	}
}

// erasedInOne is how many versions a transaction takes away at once because
// their records have lost their content.
const erasedInOne = 256

// void takes away what is aside of a record that loses its content. Of more than
// a transaction may hold it is noted that nobody reads it any more, and the
// sweep takes it away.
func (t *Tx) void(name, id string, upTo uint64) error {
	// Badger sorts all that a transaction has written for each look along its keys:
	// what was there before is looked for beside it, and its own is known.
	if t.before == nil {
		t.before = t.s.db.NewTransaction(false)
	}
	limit := erasedInOne - t.voided
	keys, more, err := t.s.pastOf(t.before, name, id, upTo, limit)
	if err != nil {
		return err
	}
	past := string(pastPrefix(name, id))
	keys = append(keys, t.own[past]...)
	delete(t.own, past)
	if len(keys) > limit {
		keys, more = keys[:limit], true
	}
	for _, key := range keys {
		t.voided++
		if err := t.dropVersion(key); err != nil {
			return err
		}
	}
	if !more {
		return nil
	}
	return t.set(voidKey(name, id), binary.BigEndian.AppendUint64(nil, upTo))
}

// pastOf finds what is aside of a record up to a position, at most limit of it.
func (s *Store) pastOf(txn *badger.Txn, name, id string, upTo uint64, limit int) (keys [][]byte, more bool, err error) {
	prefix := pastPrefix(name, id)
	err = scan(txn, prefix, true, func(key []byte, item *badger.Item) error {
		if len(key) != len(prefix)+8 {
			return nil
		}
		seq := binary.BigEndian.Uint64(key[len(prefix):])
		switch {
		case seq > upTo:
			return errFound
		case len(keys) >= limit:
			more = true
			return errFound
		}
		return item.Value(func(v []byte) error {
			if len(v) == 8 {
				keys = append(keys, versionKey(name, id, seq, int64(binary.BigEndian.Uint64(v))))
			}
			return nil
		})
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("read the versions of %s of %s: %w", id, name, err)
	}
	return keys, more, err
}

// dropVersion lets one go by its key.
func (t *Tx) dropVersion(key []byte) error {
	name, id, seq, _, ok := readVersionKey(key)
	if !ok {
		return t.delete(key)
	}
	return errors.Join(t.delete(key), t.delete(pastKey(name, id, seq)))
}

// DropVersions lets go what DueVersions found, and counts for each reader what
// it had not read. Since it was found, some may have gone, and some been put
// aside.
func (t *Tx) DropVersions(due [][]byte) error {
	for _, key := range due {
		name, id, seq, _, ok := readVersionKey(key)
		if key[0] != kVersion || !ok {
			if err := t.dropVoid(key); err != nil {
				return err
			}
			continue
		}
		there, err := led(t.txn, name, id, seq)
		if err != nil {
			return fmt.Errorf("look for a version of %s: %w", name, err)
		}
		upTo, err := voidOf(t.txn, name, id)
		if err != nil {
			return err
		}
		if there && seq > upTo {
			t.lose(name, seq)
		}
		if err := t.dropVersion(key); err != nil {
			return err
		}
	}
	return nil
}

// dropVoid lets go the note that a record's versions are void, where none of
// them is left.
func (t *Tx) dropVoid(key []byte) error {
	name, rest, ok := nameOf(key)
	if id, okID := readID(rest); ok && okID && key[0] == kVoid {
		upTo, err := voidOf(t.txn, name, id)
		if err != nil {
			return err
		}
		if left, more, err := t.s.pastOf(t.txn, name, id, upTo, 1); err != nil || more || len(left) > 0 {
			return err
		}
	}
	return t.delete(key)
}

// voidOf is up to which position nobody reads a record's versions any more.
func voidOf(txn *badger.Txn, name, id string) (upTo uint64, err error) {
	item, err := txn.Get(voidKey(name, id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, nil
	}
	if err == nil {
		err = item.Value(func(v []byte) error {
			if len(v) == 8 {
				upTo = binary.BigEndian.Uint64(v)
			}
			return nil
		})
	}
	if err != nil {
		return 0, fmt.Errorf("read what is void of %s: %w", name, err)
	}
	return upTo, nil
}

// voids are all of a stream, by id.
func voids(txn *badger.Txn, name string) (map[string]uint64, error) {
	prefix := streamKey(kVoid, name)
	var out map[string]uint64
	err := scan(txn, prefix, true, func(key []byte, item *badger.Item) error {
		id, ok := readID(key[len(prefix):])
		if !ok {
			return nil
		}
		return item.Value(func(v []byte) error {
			if len(v) == 8 {
				if out == nil {
					out = map[string]uint64{}
				}
				out[id] = binary.BigEndian.Uint64(v)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read what is void of %s: %w", name, err)
	}
	return out, nil
}

// writeLost writes down what was lost to whom.
func (t *Tx) writeLost() error {
	for name, by := range t.lost {
		sum := t.s.VersionsLost(name)
		if sum == nil {
			sum = map[string]uint64{}
		}
		for reader, n := range by {
			sum[reader] += n
		}
		if err := t.put(streamKey(kLost, name), sum); err != nil {
			return err
		}
	}
	return nil
}

// noteLost says it, and takes it over; s.mu is held.
func (s *Store) noteLost(lost map[string]map[string]uint64) {
	for name, by := range lost {
		if s.lost[name] == nil {
			s.lost[name] = map[string]uint64{}
		}
		for reader, n := range by {
			s.lost[name][reader] += n
			s.o.Logger.Warn("versions were dropped that a destination had not read", "stream", name, "destination", reader, "versions", n)
		}
	}
}

// VersionsLost counts the versions of a stream that were ever let go before
// somebody had read them, by reader.
func (s *Store) VersionsLost(streamName string) map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.lost[streamName])
}
