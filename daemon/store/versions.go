package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// The feed has each record once, at its newest position. Where somebody wants
// every version, one that is superseded before all of those have read it is put
// aside in the transaction that supersedes it: under the position that it had,
// so that aside and feed together are every version in the order of positions.

// Keep says for how long superseded versions of a stream are put aside at most,
// and for whom: by name, the position up to which each has read.
type Keep struct {
	For     time.Duration
	Readers map[string]uint64
}

// keeping is a Keep, and the position up to which all have read.
type keeping struct {
	Keep

	floor uint64
}

// KeepVersions says what is put aside from the next transaction on, by stream.
// What is aside and for nobody any more is due. It may be called from any
// goroutine; the maps are the store's.
func (s *Store) KeepVersions(keep map[string]Keep) {
	if len(keep) == 0 {
		s.keeps.Store(nil)
		return
	}
	all := make(map[string]keeping, len(keep))
	for name, k := range keep {
		if len(k.Readers) == 0 {
			continue
		}
		floor := uint64(math.MaxUint64)
		for _, at := range k.Readers {
			floor = min(floor, at)
		}
		all[name] = keeping{k, floor}
	}
	s.keeps.Store(&all)
}

// keepOf returns what is put aside of a stream, false where nothing is.
func (s *Store) keepOf(name string) (keeping, bool) {
	all := s.keeps.Load()
	if all == nil {
		return keeping{}, false
	}
	k, ok := (*all)[name]
	return k, ok
}

// putAside keeps the version that an entry leads to, where somebody has not
// read it yet. One that cannot be read is lost to them, and nothing else is.
func (t *Tx) putAside(name string, old *entry) error {
	k, ok := (*t.keeps)[name]
	if !ok || old.head.Seq <= k.floor {
		return nil
	}
	r, err := t.stored(name, old)
	if err != nil {
		if !errors.Is(err, errBlock) && !errors.Is(err, badger.ErrKeyNotFound) {
			return err
		}
		t.s.o.Logger.Error("a version cannot be read before it is superseded", "stream", name, "record", old.head.ID, "error", err)
		t.lose(name, old.head.Seq)
		return nil
	}
	b := t.s.block()
	defer t.s.giveBack(b)
	b.reset(r.Seq)
	err = b.add(&r.Head, contentOf(r))
	var value []byte
	if err == nil {
		value, err = t.s.packer.pack(b)
	}
	if err != nil {
		return fmt.Errorf("put a version of %s of %s aside: %w", r.ID, name, err)
	}
	t.raw += len(value)
	key, past := versionKey(name, r.ID, r.Seq, t.now), string(pastPrefix(name, r.ID))
	if t.own == nil {
		t.own = map[string][][]byte{}
	}
	t.own[past] = append(t.own[past], key)
	return errors.Join(t.set(key, value),
		t.set(pastKey(name, r.ID, r.Seq), binary.BigEndian.AppendUint64(nil, uint64(t.now))))
}

// loadVersions reads whether anything is aside, and what was lost.
func (s *Store) loadVersions(txn *badger.Txn) error {
	it := txn.NewIterator(badger.IteratorOptions{})
	for _, kind := range []byte{kVersion, kPast, kVoid} {
		it.Seek([]byte{kind})
		if it.ValidForPrefix([]byte{kind}) {
			s.aside.Store(true)
		}
	}
	it.Close()
	return scan(txn, []byte{kLost}, true, func(key []byte, item *badger.Item) error {
		name, _, ok := nameOf(key)
		sum := map[string]uint64{}
		if ok && item.Value(func(v []byte) error { return json.Unmarshal(v, &sum) }) == nil {
			s.lost[name] = sum
		}
		return nil
	})
}
