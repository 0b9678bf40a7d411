package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// ages is when the versions of a stream have to be looked at for their age
// again: who looks knows how old the oldest is.
type ages struct {
	keep time.Duration // what that was reckoned with
	at   int64         // ms
}

// DueVersions finds at most limit of what may be let go, for Tx.DropVersions:
// what all have read, what has been aside for long enough, what is for nobody any
// more, and what belongs to records that have lost their content. One goroutine
// calls it.
func (s *Store) DueVersions(ctx context.Context, limit int) (due [][]byte, err error) {
	if !s.aside.Load() && s.keeps.Load() == nil {
		return nil, nil
	}
	now := s.o.Now().UnixMilli()
	err = s.view(func(txn *badger.Txn) error {
		if err := s.dueVoids(txn, limit, &due); err != nil {
			return err
		}
		names, err := namesOf(txn, kVersion)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := s.dueOf(ctx, txn, name, now, limit, &due); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for versions to drop: %w", err)
	}
	return due, nil
}

// dueVoids finds what belongs to records without content. The note of it goes
// behind the last of that.
func (s *Store) dueVoids(txn *badger.Txn, limit int, due *[][]byte) error {
	return scan(txn, []byte{kVoid}, true, func(key []byte, item *badger.Item) error {
		name, rest, ok := nameOf(key)
		id, okID := readID(rest)
		if !ok || !okID {
			return nil
		}
		upTo, err := voidOf(txn, name, id)
		if err != nil {
			return err
		}
		keys, more, err := s.pastOf(txn, name, id, upTo, limit-len(*due))
		if err != nil {
			return err
		}
		if *due = append(*due, keys...); more || len(*due) >= limit {
			return errFound
		}
		*due = append(*due, item.KeyCopy(nil))
		return nil
	})
}

// dueOf finds what is due of a stream. What all have read stands first; for the
// age of the others all keys are read, when one of them may have come to it.
func (s *Store) dueOf(ctx context.Context, txn *badger.Txn, name string, now int64, limit int, due *[][]byte) error {
	k, wanted := s.keepOf(name)
	aged := s.ages[name]
	look := aged.keep != k.For || now >= aged.at
	oldest := now
	it := txn.NewIterator(badger.IteratorOptions{Prefix: streamKey(kVersion, name)})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := s.going(ctx); err != nil {
			return err
		}
		key := it.Item().Key()
		_, _, seq, ms, ok := readVersionKey(key)
		switch {
		case !ok || !wanted || seq <= k.floor || look && ms <= now-k.For.Milliseconds():
			if len(*due) >= limit {
				return errFound
			}
			*due = append(*due, it.Item().KeyCopy(nil))
		case !look:
			return nil
		default:
			oldest = min(oldest, ms)
		}
	}
	if look {
		s.ages[name] = ages{k.For, oldest + k.For.Milliseconds()}
	}
	return nil
}

// inspectVersions reads what is aside of a stream, and finds what leads nowhere.
func (s *Store) inspectVersions(ctx context.Context, txn *badger.Txn, r *StreamReport) error {
	bad := func(key []byte) {
		r.BadVersions++
		r.repairs = append(r.repairs, repair{stream: r.Stream, version: append([]byte(nil), key...)})
	}
	b := new(block)
	if err := scan(txn, streamKey(kVersion, r.Stream), false, func(key []byte, item *badger.Item) error {
		if err := s.going(ctx); err != nil {
			return err
		}
		_, id, seq, _, ok := readVersionKey(key)
		if ok {
			there, err := led(txn, r.Stream, id, seq)
			if err != nil {
				return err
			}
			if !there {
				r.back++
				r.repairs = append(r.repairs, repair{stream: r.Stream, version: append([]byte(nil), key...)})
				return nil
			}
			_, err = readVersion(item, seq, id, b)
			ok = err == nil
		}
		r.Versions++
		if !ok {
			bad(key)
		}
		return nil
	}); err != nil {
		return err
	}
	return scan(txn, streamKey(kPast, r.Stream), true, func(key []byte, item *badger.Item) error {
		if err := s.going(ctx); err != nil {
			return err
		}
		if there, err := leads(txn, r.Stream, key, item); err != nil || there {
			return err
		}
		bad(key)
		return nil
	})
}

// leads tells whether a version is where an id leads.
func leads(txn *badger.Txn, name string, key []byte, item *badger.Item) (there bool, err error) {
	_, rest, _ := nameOf(key)
	if len(rest) < 9 || len(rest) != 9+int(rest[0]) {
		return false, nil
	}
	id, ok := readID(rest[1 : len(rest)-8])
	if !ok {
		return false, nil
	}
	seq := binary.BigEndian.Uint64(rest[len(rest)-8:])
	err = item.Value(func(v []byte) error {
		if len(v) != 8 {
			return nil
		}
		_, err := txn.Get(versionKey(name, id, seq, int64(binary.BigEndian.Uint64(v))))
		there = err == nil
		if errors.Is(err, badger.ErrKeyNotFound) {
			err = nil
		}
		return err
	})
	return there, err
}

// mendVersion lets go a version that is of no use, or what leads to none.
func (t *Tx) mendVersion(r repair) error {
	if name, id, seq, _, ok := readVersionKey(r.version); ok && r.version[0] == kVersion {
		there, err := led(t.txn, name, id, seq)
		if err != nil {
			return err
		}
		if there {
			t.lose(r.stream, seq)
		}
		return t.dropVersion(r.version)
	}
	return t.delete(r.version)
}
