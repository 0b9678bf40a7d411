package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Status is what the checks found, of the opening and since.
type Status struct {
	// Checking is true until those of the opening have ended.
	Checking bool
	// LostTail says that commits are missing; the cursors went with them, so
	// that what is missing is fetched again.
	LostTail bool
	// LostBetween counts commits that are missing between others. Any record may
	// be an older one, and is held against HubSpot.
	LostBetween uint64
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

// Report is what Verify found. Unreadable counts the entries of the ledger that
// do not decode.
type Report struct {
	Streams    []StreamReport
	Unreadable int

	unreadable [][]byte // their keys
}

// OK tells whether nothing is missing, unreadable or counted wrong.
func (r Report) OK() bool {
	for _, s := range r.Streams {
		if !s.OK() {
			return false
		}
	}
	return r.Unreadable == 0
}

// StreamReport is what there is of a stream. Counted is by its counters, Found
// by its index, Feed by its feed; Dead are superseded copies that still lie in
// blocks. Unreadable are blocks that do not decode, Unfound ids that lead to no
// living record, Stray living records to which no id leads. Versions are put
// aside, and BadVersions of them of no use.
type StreamReport struct {
	Stream                     string
	Counted, Found             Counts
	Feed, Blocks, Dead         uint64
	Unreadable, Unfound, Stray uint64
	Versions, BadVersions      uint64

	repairs []repair
	back    uint64 // versions that were let go and came back
}

// OK tells whether the stream is whole.
func (r StreamReport) OK() bool {
	return r.Counted == r.Found && r.Feed == r.Found.All() && r.Unreadable+r.Unfound+r.Stray+r.BadVersions == 0
}

// repair is one thing that the writer puts right in its next commit: a record
// to let go (where it says nothing else), a copy of one that has to die, a
// block to drop, a version that is of no use, or counts that were off (drift).
type repair struct {
	stream string
	id     string
	at     copyAt
	stray  bool
	drop   bool
	drift  delta

	version []byte // the key of one that is let go
}

// Verify reads everything: tables and values by their checksums, blocks against
// their notes, index against feed, counters against the index. It changes nothing. ErrDamaged says that
// Badger's tables cannot be trusted.
func (s *Store) Verify(ctx context.Context) (Report, error) {
	leave, err := s.enter()
	if err != nil {
		return Report{}, err
	}
	defer leave()
	return s.verify(ctx)
}

// alone waits until nobody else looks for what the writer is to put right: two
// that find the same would have it counted, and put right, twice.
func (s *Store) alone(ctx context.Context) (leave func(), err error) {
	select {
	case s.looking <- struct{}{}:
		return func() { <-s.looking }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Recheck is Verify, and has the writer put right what it finds, as after an
// opening; Status then counts what is missing.
func (s *Store) Recheck(ctx context.Context) (Report, error) {
	leave, err := s.alone(ctx)
	if err != nil {
		return Report{}, err
	}
	defer leave()
	if s.unmended() > 0 {
		return s.Verify(ctx)
	}
	report, err := s.Verify(ctx)
	for _, r := range report.Streams {
		s.toRepair(r)
	}
	return report, err
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
		if report.unreadable, err = unreadable(txn); err != nil {
			return err
		}
		report.Unreadable = len(report.unreadable)
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
	return namesOf(txn, kCount, kIndex, kFeed)
}

// namesOf names the streams that have keys of some kinds.
func namesOf(txn *badger.Txn, kinds ...byte) ([]string, error) {
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	found := map[string]bool{}
	for _, kind := range kinds {
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
	var drops []repair
	good, err := s.inspectFeed(ctx, txn, &r, func(first uint64) {
		drops = append(drops, repair{stream: name, at: copyAt{block: first}, drop: true})
	})
	if err != nil {
		return r, err
	}
	found := delta{}
	err = scan(txn, streamKey(kIndex, name), true, func(key []byte, item *badger.Item) error {
		if err := s.going(ctx); err != nil {
			return err
		}
		e, err := entryOf(item)
		if err != nil {
			return fmt.Errorf("%w (the index of %s does not decode at %x)", ErrDamaged, name, key)
		}
		found = found.plus(of(e.head.State, 1))
		if _, ok := slices.BinarySearch(good, e.head.Seq); !ok {
			r.Unfound++
			r.repairs = append(r.repairs, repair{stream: name, id: e.head.ID, at: copyAt{e.head.Seq, e.block}})
		}
		return nil
	})
	r.Found = Counts{}.plus(found)
	// Their records have to go first.
	r.repairs = append(r.repairs, drops...)
	if drift := r.Found.from(r.Counted); drift != (delta{}) {
		r.repairs = append(r.repairs, repair{stream: name, drift: drift})
	}
	if err == nil {
		err = s.inspectVersions(ctx, txn, &r)
	}
	return r, err
}

// inspectFeed returns the positions at which a record lives to which the index
// leads, ascending.
func (s *Store) inspectFeed(ctx context.Context, txn *badger.Txn, r *StreamReport, unreadable func(first uint64)) (good []uint64, err error) {
	var b block
	err = s.blocks(ctx, txn, r.Stream, 0, func(first uint64, n *note, item *badger.Item) error {
		r.Blocks++
		if err := s.load(item, first, n, &b); err != nil {
			r.Unreadable++
			unreadable(first)
			return nil //nolint:nilerr // it is counted, and the rest is looked at
		}
		r.Dead += uint64(len(n.dead))
		for i := range b.rows {
			w := &b.rows[i]
			if w.gone {
				continue
			}
			r.Feed++
			var h stream.Head
			err := b.head(w, &h)
			if err == nil {
				h.By, h.ReadBy = stream.Origin{}, stream.Origin{} // which the index does not have
				e, errE := entryAt(txn, r.Stream, h.ID)
				if errE == nil && e != nil && e.block == first && e.head == h {
					good = append(good, w.seq)
					continue
				}
			}
			r.Stray++
			r.repairs = append(r.repairs, repair{stream: r.Stream, id: h.ID, at: copyAt{w.seq, first}, stray: true})
		}
		return nil
	})
	return good, err
}

// scrubEvery is how often everything is read: disks forget without a word.
const scrubEvery = 24 * time.Hour

// checkAll checks the store: before it is ready where the end before was not
// clean, else behind, and once a day. What is wrong is put right by the writer.
func (s *Store) checkAll(thorough bool) {
	if thorough {
		s.check()
	}
	done := s.alive.Err() != nil
	s.mu.Lock()
	s.stopped = thorough && done
	s.mu.Unlock()
	close(s.checked)
	again := time.NewTicker(scrubEvery)
	defer again.Stop()
	for {
		if !thorough {
			s.check()
		}
		thorough = false
		select {
		case <-s.alive.Done():
			return
		case <-again.C:
		}
	}
}

// check reads everything, once what was found before is put right.
func (s *Store) check() {
	leave, err := s.alone(s.alive)
	if err != nil {
		return
	}
	defer leave()
	if s.unmended() > 0 || s.failure() != nil {
		return
	}
	report, err := s.verify(s.alive)
	switch {
	case s.alive.Err() != nil:
	case err != nil:
		s.damaged(err)
	default:
		for _, r := range report.Streams {
			s.toRepair(r)
		}
		if report.Unreadable > 0 {
			s.o.Logger.Error("entries of the ledger cannot be read; stop the daemon and let `hubpipe doctor --repair` let them go",
				"entries", report.Unreadable)
		}
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
	if r.OK() && r.back == 0 {
		return
	}
	missing := r.Unfound
	if have, should := r.Found.All(), r.Counted.All(); have < should {
		missing += should - have
	}
	if r.BadVersions > 0 {
		s.o.Logger.Error("versions that were kept cannot be read; they are let go", "stream", r.Stream, "versions", r.BadVersions)
	}
	if len(r.repairs) > int(r.BadVersions+r.back) || missing > 0 {
		s.o.Logger.Error("records were lost or cannot be read; they are let go, and a reconcile brings them back", "stream", r.Stream,
			"records", missing, "stray", r.Stray)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if missing > 0 {
		if s.status.Missing == nil {
			s.status.Missing = map[string]uint64{}
		}
		s.status.Missing[r.Stream] += missing
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
		if err := t.mend(r); err != nil {
			return err
		}
	}
	t.repaired = len(todo)
	return nil
}

func (t *Tx) mend(r repair) error {
	if r.version != nil {
		return t.mendVersion(r)
	}
	if r.drop {
		delete(t.notes, blockKey{r.stream, r.at.block})
		return errors.Join(t.delete(feedKey(r.stream, r.at.block, noteKind)), t.delete(feedKey(r.stream, r.at.block, blockKind)))
	}
	e, err := t.entry(r.stream, r.id)
	if err != nil {
		return err
	}
	t.asked = asked{}
	leads := e != nil && e.head.Seq == r.at.seq
	if leads == r.stray {
		return nil // it was written anew since
	}
	// Where an index leads there may be nothing to let die; a note that names
	// as dead what its block does not have would make the block unreadable.
	there, err := t.holds(r.stream, r.at)
	if err == nil && there {
		_, err = t.kill(r.stream, r.at)
	}
	if err != nil || r.stray {
		return err
	}
	t.counts[r.stream] = t.counts[r.stream].plus(of(e.head.State, -1))
	return t.delete(indexKey(r.stream, r.id))
}

// holds tells whether a block can be read and has a record at a position.
func (t *Tx) holds(name string, at copyAt) (bool, error) {
	n, err := t.noteOf(name, at.block)
	if n == nil || err != nil {
		return false, err
	}
	b := t.s.block()
	defer t.s.giveBack(b)
	switch err := t.s.readBlock(t.txn, name, at.block, n, b); {
	case errors.Is(err, errBlock) || errors.Is(err, badger.ErrKeyNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read block %d of %s: %w", at.block, name, err)
	}
	return b.find(at.seq) != nil, nil
}
