package store

import (
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// A survey of the feed goes by its keys alone. It is made again after a while,
// and after so many times as long as it took.
const (
	surveyEvery = 20 * time.Second
	surveyRest  = 200
)

// Bytes is what the records of a stream take in the log, packed, with those that
// are superseded and not let go yet; false before they were counted.
func (s *Store) Bytes(streamName string) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.bytes[streamName]
	return n, ok || s.surveyed && s.counts[streamName].All() == 0
}

// survey counts what each stream takes, and has ghosts dropped. It returns when
// it is to be made again.
func (s *Store) survey() time.Duration {
	if s.o.examining || s.failure() != nil {
		return surveyEvery
	}
	began := time.Now()
	var drops []repair
	bytes := map[string]uint64{}
	err := s.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{kFeed}})
		defer it.Close()
		noted := blockKey{}
		for it.Rewind(); it.Valid(); it.Next() {
			if err := s.going(s.alive); err != nil {
				return err
			}
			name, rest, ok := nameOf(it.Item().Key())
			first, kind, valid := readFeedKey(rest)
			switch key := (blockKey{name, first}); {
			case !ok || !valid: // the checks say so
			case kind == noteKind:
				noted = key
			case noted != key && ghost(txn, name, first, it.Item()):
				drops = append(drops, repair{stream: name, at: copyAt{block: first}, drop: true})
			default:
				bytes[name] += uint64(it.Item().EstimatedSize())
			}
		}
		return nil
	})
	if err != nil {
		if s.alive.Err() == nil && !errors.Is(err, ErrClosed) {
			s.o.Logger.Warn("what the streams take of the disk cannot be counted", "error", err)
		}
		return surveyEvery
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes, s.surveyed = bytes, true
	if len(s.repairs) == 0 { // else they are found again
		s.repairs = append(s.repairs, drops...)
	}
	return max(surveyEvery, surveyRest*time.Since(began))
}

// ghost tells whether a block without a note is one that was dropped. Badger's
// collection of the value log writes every version again that the tree still
// has, superseded and deleted ones too, and above the mark of the deletion; when
// that mark is compacted away the block is back (rewrite in value.go of v4.9.6
// asks for the version alone). A note is too small for the value log and does
// not come back. To no record of a dropped block leads the index; where it leads
// to one, the note is lost, which is damage.
func ghost(txn *badger.Txn, name string, first uint64, item *badger.Item) bool {
	var b block
	if err := item.Value(func(v []byte) error { return unpack(first, v, &b) }); err != nil {
		return false
	}
	var h stream.Head
	for i := range b.rows {
		if err := b.head(&b.rows[i], &h); err != nil {
			return false
		}
		e, err := entryAt(txn, name, h.ID)
		if err != nil || e != nil && e.block == first {
			return false
		}
	}
	return true
}
