// Package store keeps records, the change feed and the ledger in Badger. The
// feed is the primary storage: a record stands in it once, at its newest
// position, and an index leads from its id there. One goroutine writes;
// readers are concurrent.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Errors of the store.
var (
	ErrNotFound = errors.New("not found")
	ErrFull     = errors.New("the data folder's disk is nearly full: free some space, the daemon goes on by itself")
	ErrFailed   = errors.New("an earlier write failed")
)

// LockedError is returned where another daemon has the data folder.
type LockedError struct{ Dir, By string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("the data folder %s is in use by another daemon (%s): stop it, or set another data_dir", e.Dir, e.By)
}

// Options are where and how a store lives.
type Options struct {
	Dir    string
	Logger hclog.Logger
	Now    func() time.Time
	// FreeMark is how many bytes must stay free on the disk (512 MiB).
	FreeMark uint64
}

// Counts are how many records of a stream there are.
type Counts struct {
	Live       uint64 `json:"live"`
	Tombstones uint64 `json:"tombstones"`
}

// Ledger is all that is durable besides the records.
type Ledger struct {
	Streams []*stream.Stream
	Runs    []*stream.Run
	Ranges  map[string][]*stream.Range
	Workers []*stream.Worker
	Portals []*stream.Portal
	Counts  map[string]Counts
}

// counters are the numbers that are handed out, as of the last commit.
type counters struct {
	Seq     uint64 `json:"seq"`
	Attempt uint64 `json:"attempt"`
	Run     uint64 `json:"run"`
}

// Store is one data folder, open.
type Store struct {
	o     Options
	db    *badger.DB
	codec *codec
	lock  *os.File

	// used by the writer
	anchor anchor
	last   counters

	mu       sync.Mutex
	counts   map[string]Counts
	watchers map[chan struct{}]struct{}
	closed   bool

	position atomic.Uint64
	quit     chan struct{}
	wg       sync.WaitGroup
}

// Badger's bounds for a small daemon: memtables that hold a whole group of
// pages in a transaction, bodies in the value log so that compaction does not
// rewrite them, no caches, since reads are scans.
func badgerOptions(dir string, log hclog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(badgerLog{log}).
		WithSyncWrites(true).WithDetectConflicts(false).WithMetricsEnabled(false).
		WithMemTableSize(16 << 20).WithNumMemtables(2).WithNumLevelZeroTables(4).WithNumLevelZeroTablesStall(10).
		WithBaseTableSize(4 << 20).WithBaseLevelSize(32 << 20).WithNumCompactors(2).
		WithBlockCacheSize(0).WithIndexCacheSize(0).WithCompression(0).
		WithValueThreshold(192).WithValueLogFileSize(64 << 20).
		WithVerifyValueChecksum(true).WithNumGoroutines(2).WithCompactL0OnClose(false)
}

// Open opens or makes the store of a data folder. Every failure is one line
// that says what to do.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FreeMark == 0 {
		o.FreeMark = 512 << 20
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	s := &Store{o: o, counts: map[string]Counts{}, watchers: map[chan struct{}]struct{}{}, quit: make(chan struct{})}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		s.release()
		return nil, err
	}
	s.wg.Go(s.background)
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	a, known, err := readAnchor(s.anchorPath())
	if err != nil {
		return err
	}
	dir := filepath.Join(s.o.Dir, "badger")
	if known && a.HeldRecords {
		if _, err := os.Stat(filepath.Join(dir, "MANIFEST")); err != nil {
			return fmt.Errorf("the store in %s is damaged or emptied: its MANIFEST is missing while %s says that it held records; "+
				"restore a backup, or move the folder away to begin anew", dir, s.anchorPath())
		}
	}
	s.db, err = badger.Open(badgerOptions(dir, s.o.Logger))
	if err != nil {
		return fmt.Errorf("open the store in %s: %w", dir, err)
	}
	if s.codec, err = newCodec(); err != nil {
		return errors.Join(err, s.db.Close())
	}
	if err := s.recover(ctx, a, known); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// recover takes over the numbers, counts what has to be counted, and notes in
// the anchor that the store is in use.
func (s *Store) recover(ctx context.Context, a anchor, known bool) error {
	err := s.db.View(func(txn *badger.Txn) error {
		if err := getJSON(txn, []byte{kMeta}, &s.last); err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
			return fmt.Errorf("read the counters: %w", err)
		}
		return scan(txn, []byte{kCount}, false, func(key []byte, item *badger.Item) error {
			var c Counts
			if err := itemJSON(item, &c); err != nil {
				return err
			}
			s.counts[string(key[2:])] = c
			return nil
		})
	})
	if err != nil {
		return err
	}
	if !known {
		a = newAnchor()
	}
	if known && a.HeldRecords && s.last.Seq == 0 {
		return fmt.Errorf("the store in %s is empty while %s says that it held records: restore a backup, "+
			"or move the folder away to begin anew", s.o.Dir, s.anchorPath())
	}
	if s.last.Seq < a.Floor {
		s.o.Logger.Error("the store has lost its tail; what went with it is fetched again", "have", s.last.Seq, "had", a.Floor)
		a.Epoch++
		s.last = counters{Seq: a.Ceiling.Seq, Attempt: a.Ceiling.Attempt, Run: a.Ceiling.Run}
	}
	if known && !a.Clean {
		if err := s.count(ctx); err != nil {
			return err
		}
	}
	a.Clean = false
	s.anchor = a
	s.position.Store(s.last.Seq)
	return s.raise()
}

// count holds the index keys of each stream against its counters.
func (s *Store) count(ctx context.Context) error {
	for name, c := range s.counts {
		n, live := uint64(0), uint64(0)
		err := s.db.View(func(txn *badger.Txn) error {
			return scan(txn, streamKey(kIndex, name), true, func(_ []byte, item *badger.Item) error {
				if n%4096 == 0 && ctx.Err() != nil {
					return ctx.Err()
				}
				n++
				return item.Value(func(v []byte) error {
					var h stream.Head
					if _, err := readHead(v, &h); err != nil {
						return err
					}
					if h.State == stream.Live {
						live++
					}
					return nil
				})
			})
		})
		if err != nil {
			return fmt.Errorf("count %s: %w", name, err)
		}
		if n != c.Live+c.Tombstones || live != c.Live {
			s.o.Logger.Error("records are missing from the store; a resync brings them back", "stream", name,
				"have", n, "should", c.Live+c.Tombstones)
			s.counts[name] = Counts{Live: live, Tombstones: n - live}
		}
	}
	return nil
}

func (s *Store) takeLock() error {
	path := filepath.Join(s.o.Dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the lock of the data folder: %w", err)
	}
	if err := flock(f); err != nil {
		by, _ := os.ReadFile(path)
		_ = f.Close()
		return &LockedError{Dir: s.o.Dir, By: strings.TrimSpace(string(by))}
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte("process "+strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	s.lock = f
	return nil
}

func (s *Store) release() {
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

// Close ends the store cleanly. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.quit)
	s.wg.Wait()
	err := s.db.Close()
	s.anchor.Floor = s.position.Load()
	s.anchor.HeldRecords = s.anchor.Floor > 0
	s.anchor.Clean = err == nil
	err = errors.Join(err, writeAnchor(s.anchorPath(), s.anchor))
	s.codec.close()
	s.release()
	return err
}

// ID names the store, for ever.
func (s *Store) ID() string { return s.anchor.Store }

// Epoch grows with each repair.
func (s *Store) Epoch() uint64 { return s.anchor.Epoch }

// Position is the newest place in the feed.
func (s *Store) Position() uint64 { return s.position.Load() }

// Counts are the records of a stream as of the last commit.
func (s *Store) Counts(name string) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[name]
}

// Watch returns a channel that is woken after commits, several at once where
// the reader is slower; stop gives it back.
func (s *Store) Watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, ch)
	}
}

// background writes the floor behind and lets Badger clean its value log.
func (s *Store) background() {
	floor, gc := time.NewTicker(time.Second), time.NewTicker(5*time.Minute)
	defer floor.Stop()
	defer gc.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-floor.C:
			s.mu.Lock()
			a, p := s.anchor, s.position.Load()
			if p > a.Floor {
				s.anchor.Floor, s.anchor.HeldRecords = p, true
				if err := writeAnchor(s.anchorPath(), s.anchor); err != nil {
					s.o.Logger.Warn("write the anchor", "error", err)
				}
			}
			s.mu.Unlock()
		case <-gc.C:
			for s.db.RunValueLogGC(0.5) == nil {
			}
		}
	}
}

func getJSON(txn *badger.Txn, key []byte, v any) error {
	item, err := txn.Get(key)
	if err != nil {
		return err
	}
	return itemJSON(item, v)
}

func itemJSON(item *badger.Item, v any) error {
	return item.Value(func(b []byte) error { return json.Unmarshal(b, v) })
}

// scan calls f for every key with the prefix, in order.
func scan(txn *badger.Txn, prefix []byte, values bool, f func(key []byte, item *badger.Item) error) error {
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues, o.PrefetchSize = prefix, values, 64
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := f(it.Item().Key(), it.Item()); err != nil {
			return err
		}
	}
	return nil
}
