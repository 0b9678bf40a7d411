package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
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

// versionKey is where a version is put aside: its position, when it was
// superseded (ms) and its id, so that a sweep reads keys alone.
func versionKey(name, id string, seq uint64, ms int64) []byte {
	k := binary.BigEndian.AppendUint64(streamKey(kVersion, name), seq)
	return appendID(binary.BigEndian.AppendUint64(k, uint64(max(ms, 0))), id)
}

// readVersionKey is the inverse of versionKey.
func readVersionKey(key []byte) (name, id string, seq uint64, ms int64, ok bool) {
	name, rest, ok := nameOf(key)
	if !ok || len(rest) < 16 {
		return "", "", 0, 0, false
	}
	id, ok = readID(rest[16:])
	return name, id, binary.BigEndian.Uint64(rest), int64(binary.BigEndian.Uint64(rest[8:])), ok
}

// pastPrefix is of the keys that lead from an id to its versions. The id's
// length comes first, so that none is the beginning of another's.
func pastPrefix(name, id string) []byte {
	own := appendID(nil, id)
	return append(append(streamKey(kPast, name), byte(len(own))), own...)
}

func pastKey(name, id string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(pastPrefix(name, id), seq)
}

func voidKey(name, id string) []byte { return appendID(streamKey(kVoid, name), id) }

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

// Versions is Changes with every version that is aside: it calls fn for all that
// were ever stored above since and not let go, in the order of their positions,
// from one snapshot, and returns the position that it reached. A record may come
// more than once.
func (s *Store) Versions(ctx context.Context, streamName string, since uint64, limit int, fn func(*stream.Record) error) (last uint64, err error) {
	last = since
	if since == math.MaxUint64 {
		return last, nil
	}
	n := 0
	give := func(r *stream.Record) error {
		if limit > 0 && n == limit {
			return errFound
		}
		if err := fn(r); err != nil {
			return err
		}
		last = r.Seq
		n++
		return nil
	}
	err = s.view(func(txn *badger.Txn) error {
		past, err := s.past(txn, streamName, since)
		if err != nil {
			return err
		}
		defer past.it.Close()
		var free []byte
		if err := s.feedIn(ctx, txn, streamName, since, func(b *block, w *row) error {
			if err := past.upTo(ctx, w.seq, give); err != nil {
				return err
			}
			var r *stream.Record
			var err error
			if r, free, err = b.record(w, free, arena); err != nil {
				return fmt.Errorf("read the feed of %s at %d: %w", streamName, w.seq, err)
			}
			return give(r)
		}); err != nil {
			return err
		}
		return past.upTo(ctx, math.MaxUint64, give)
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return last, err
}

// past reads what is aside of a stream, in order.
type past struct {
	s     *Store
	name  string
	txn   *badger.Txn
	it    *badger.Iterator
	voids map[string]uint64
	b     *block
}

func (s *Store) past(txn *badger.Txn, name string, since uint64) (*past, error) {
	gone, err := voids(txn, name)
	if err != nil {
		return nil, err
	}
	p := &past{s: s, name: name, txn: txn, it: txn.NewIterator(badger.IteratorOptions{Prefix: streamKey(kVersion, name)}), voids: gone, b: new(block)}
	p.it.Seek(binary.BigEndian.AppendUint64(streamKey(kVersion, name), since+1))
	return p, nil
}

// upTo gives the versions below a position. One that cannot be read is left
// out: the checks find it, and count it for whom it was kept.
func (p *past) upTo(ctx context.Context, end uint64, fn func(*stream.Record) error) error {
	for ; p.it.Valid(); p.it.Next() {
		if err := p.s.going(ctx); err != nil {
			return err
		}
		_, id, seq, _, ok := readVersionKey(p.it.Item().Key())
		switch {
		case ok && seq >= end:
			return nil
		case !ok || seq <= p.voids[id]:
			continue
		}
		if there, err := led(p.txn, p.name, id, seq); err != nil {
			return fmt.Errorf("look for a version of %s: %w", p.name, err)
		} else if !there {
			continue
		}
		r, err := readVersion(p.it.Item(), seq, id, p.b)
		if err != nil {
			p.s.o.Logger.Error("a version cannot be read", "stream", p.name, "record", id, "position", seq, "error", err)
			continue
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// led tells whether an id leads to a version. Where none does, it was let go, and
// the collection of the value log has written it again, as it may with whatever
// is deleted and large enough to lie there: it is not there, and is no damage.
func led(txn *badger.Txn, name, id string, seq uint64) (bool, error) {
	_, err := txn.Get(pastKey(name, id, seq))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

func readVersion(item *badger.Item, seq uint64, id string, b *block) (r *stream.Record, err error) {
	if err := item.Value(func(v []byte) error { return unpack(seq, v, b) }); err != nil {
		return nil, err
	}
	w := b.find(seq)
	if w == nil || len(b.rows) != 1 {
		return nil, errBlock
	}
	if r, _, err = b.record(w, nil, 0); err == nil && r.ID != id {
		err = errBlock
	}
	return r, err
}

// VersionsBehind counts the versions of a stream that are aside above since.
func (s *Store) VersionsBehind(ctx context.Context, streamName string, since uint64) (n uint64, err error) {
	err = s.view(func(txn *badger.Txn) error {
		p, err := s.past(txn, streamName, since)
		if err != nil {
			return err
		}
		defer p.it.Close()
		for ; p.it.Valid(); p.it.Next() {
			if err := s.going(ctx); err != nil {
				return err
			}
			_, id, seq, _, ok := readVersionKey(p.it.Item().Key())
			if !ok || seq <= p.voids[id] {
				continue
			}
			there, err := led(txn, streamName, id, seq)
			if err != nil {
				return fmt.Errorf("look for a version of %s: %w", streamName, err)
			}
			if there {
				n++
			}
		}
		return nil
	})
	return n, err
}
