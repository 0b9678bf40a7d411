package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Status is what the checks of the opening found.
type Status struct {
	// Checking is true until they have ended.
	Checking bool
	// LostTail says that commits are missing; the cursors went with them, so
	// that what is missing is fetched again.
	LostTail bool
	// Missing counts per stream the records that are gone or were let go since
	// they could not be read: a reconcile or a resync brings them back.
	Missing map[string]uint64
	// Damage is why nothing is written any more, "" where all is well.
	Damage string
}

// Status returns what the checks of the opening found so far.
func (s *Store) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Missing = maps.Clone(st.Missing)
	select {
	case <-s.checked:
	default:
		st.Checking = true
	}
	if s.failed != nil {
		st.Damage = s.failed.Error()
	}
	return st
}

// Report is what Verify found.
type Report struct{ Streams []StreamReport }

// OK tells whether nothing is missing, unreadable or counted wrong.
func (r Report) OK() bool {
	for _, s := range r.Streams {
		if !s.OK() {
			return false
		}
	}
	return true
}

// StreamReport is what there is of a stream. Counted is by its counters, Live
// and Tombstones by its index, Feed by its feed. Unreadable are values that do
// not decode, Unfound ids without their place in the feed, Stray places in the
// feed to which no id leads.
type StreamReport struct {
	Stream                     string
	Counted                    Counts
	Live, Tombstones, Feed     uint64
	Unreadable, Unfound, Stray uint64

	repairs []repair
}

// OK tells whether the stream is whole.
func (r StreamReport) OK() bool {
	return r.Counted == Counts{r.Live, r.Tombstones} && r.Feed == r.Live+r.Tombstones && r.Unreadable+r.Unfound+r.Stray == 0
}

// repair is one thing that the writer puts right in its next commit: a record
// to let go, a stray place to clear (stray), or counts that were off (drift).
type repair struct {
	stream string
	id     string
	seq    uint64
	stray  bool
	drift  delta
}

// Verify reads everything: blocks and values by their checksums, index against
// feed, counters against the index. It changes nothing. ErrDamaged says that
// Badger's tables cannot be trusted.
func (s *Store) Verify(ctx context.Context) (Report, error) {
	leave, err := s.enter()
	if err != nil {
		return Report{}, err
	}
	defer leave()
	return s.verify(ctx)
}

func (s *Store) verify(ctx context.Context) (Report, error) {
	if err := s.verifyTables(); err != nil {
		return Report{}, err
	}
	var report Report
	err := s.db.View(func(txn *badger.Txn) error {
		names, err := streamsOf(txn)
		if err != nil {
			return err
		}
		for _, name := range names {
			r, err := s.inspect(ctx, txn, name)
			if err != nil {
				return fmt.Errorf("verify %s: %w", name, err)
			}
			report.Streams = append(report.Streams, r)
		}
		return nil
	})
	return report, err
}

// verifyTables reads every table's blocks. Badger skips a block that it cannot
// read as if its keys had never been, and panics when it verifies one; both are
// damage.
func (s *Store) verifyTables() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w (a table's block does not decode)", ErrDamaged)
		}
	}()
	if err := s.db.VerifyChecksum(); err != nil {
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	return nil
}

// streamsOf names every stream that has counts, records or a feed.
func streamsOf(txn *badger.Txn) ([]string, error) {
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	found := map[string]bool{}
	for _, kind := range []byte{kCount, kIndex, kFeed} {
		for it.Seek([]byte{kind}); it.ValidForPrefix([]byte{kind}); {
			name, _, ok := nameOf(it.Item().Key())
			if !ok {
				return nil, fmt.Errorf("a key does not decode: %x", it.Item().Key())
			}
			found[name] = true
			it.Seek(append(streamKey(kind, name), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// inspect looks at one stream on one snapshot, so that what the writer does
// meanwhile does not show.
func (s *Store) inspect(ctx context.Context, txn *badger.Txn, name string) (StreamReport, error) {
	r := StreamReport{Stream: name}
	if err := getJSON(txn, streamKey(kCount, name), &r.Counted); err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return r, err
	}
	broken := map[uint64]bool{}
	err := scan(txn, streamKey(kFeed, name), true, func(key []byte, item *badger.Item) error {
		if err := s.going(ctx); err != nil {
			return err
		}
		r.Feed++
		seq := seqOf(key)
		var h stream.Head
		err := item.Value(func(v []byte) error {
			got, err := s.codec.decode(v)
			if err == nil {
				h = got.Head
			}
			return err
		})
		if err != nil || h.Seq != seq {
			r.Unreadable++
			broken[seq] = true
			return nil //nolint:nilerr // it is counted, and the rest is looked at
		}
		at, err := headAt(txn, name, h.ID)
		if err != nil || at == nil || at.Seq != seq {
			r.Stray++
			r.repairs = append(r.repairs, repair{stream: name, id: h.ID, seq: seq, stray: true})
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	err = scan(txn, streamKey(kIndex, name), true, func(key []byte, item *badger.Item) error {
		if err := s.going(ctx); err != nil {
			return err
		}
		_, rest, _ := nameOf(key)
		id, ok := readID(rest)
		h := stream.Head{ID: id}
		err := item.Value(func(v []byte) error { _, err := readHead(v, &h); return err })
		if err != nil || !ok {
			return fmt.Errorf("%w (the index of %s does not decode at %q)", ErrDamaged, name, id)
		}
		if h.State == stream.Live {
			r.Live++
		} else {
			r.Tombstones++
		}
		if _, err := txn.Get(feedKey(name, h.Seq)); errors.Is(err, badger.ErrKeyNotFound) {
			r.Unfound++
		} else if err != nil {
			return err
		} else if !broken[h.Seq] {
			return nil
		}
		delete(broken, h.Seq)
		r.repairs = append(r.repairs, repair{stream: name, id: id, seq: h.Seq})
		return nil
	})
	for seq := range broken { // unreadable, and nothing leads there
		r.repairs = append(r.repairs, repair{stream: name, seq: seq, stray: true})
	}
	drift := delta{int64(r.Live) - int64(r.Counted.Live), int64(r.Tombstones) - int64(r.Counted.Tombstones)}
	if drift != (delta{}) {
		r.repairs = append(r.repairs, repair{stream: name, drift: drift})
	}
	return r, err
}

// checkAll is the check of an opening: tables always, everything when the end
// before was not clean. What is wrong is put right by the writer.
func (s *Store) checkAll(thorough bool) {
	defer close(s.checked)
	if !thorough {
		if err := s.verifyTables(); err != nil {
			s.damaged(err)
		}
		return
	}
	report, err := s.verify(s.alive)
	if s.alive.Err() != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stopped = true
		return
	}
	if err != nil {
		s.damaged(err)
		return
	}
	for _, r := range report.Streams {
		s.toRepair(r)
	}
}

func (s *Store) damaged(err error) {
	s.o.Logger.Error("the store is damaged; nothing more is written", "error", err)
	if !errors.Is(err, ErrDamaged) {
		err = fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	s.fail(err)
}

func (s *Store) toRepair(r StreamReport) {
	if r.OK() {
		return
	}
	missing := r.Unreadable + r.Unfound
	if have, should := r.Live+r.Tombstones, r.Counted.Live+r.Counted.Tombstones; have < should {
		missing += should - have
	}
	s.o.Logger.Error("records were lost or cannot be read; they are let go, and a resync brings them back", "stream", r.Stream,
		"records", missing, "stray", r.Stray)
	s.mu.Lock()
	defer s.mu.Unlock()
	if missing > 0 {
		if s.status.Missing == nil {
			s.status.Missing = map[string]uint64{}
		}
		s.status.Missing[r.Stream] = missing
	}
	s.repairs = append(s.repairs, r.repairs...)
}

// repairsPerCommit leaves room for what the commit is for.
const repairsPerCommit = 200

// repair puts right what the checks found, some of it in each commit.
func (t *Tx) repair() error {
	t.s.mu.Lock()
	todo := t.s.repairs[:min(len(t.s.repairs), repairsPerCommit)]
	t.s.mu.Unlock()
	for _, r := range todo {
		if r.drift != (delta{}) {
			t.counts[r.stream] = t.counts[r.stream].plus(r.drift)
			t.dirty = true
			continue
		}
		h, err := t.Head(r.stream, r.id)
		if err != nil {
			return err
		}
		leads := h != nil && h.Seq == r.seq
		if leads == r.stray {
			continue // it was written anew since
		}
		if err := t.delete(feedKey(r.stream, r.seq)); err != nil {
			return err
		}
		if r.stray {
			continue
		}
		if err := t.delete(indexKey(r.stream, r.id)); err != nil {
			return err
		}
		t.counts[r.stream] = t.counts[r.stream].plus(of(h.State, -1))
	}
	t.repaired = len(todo)
	return nil
}
