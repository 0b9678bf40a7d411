package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

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
