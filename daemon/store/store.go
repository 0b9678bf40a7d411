// Package store keeps records, the change feed and the ledger in Badger. The
// feed is the primary storage: blocks of records in the order of their
// positions. A record is alive in it once, at its newest position, and an index
// leads from its id there. One goroutine writes;
// readers are concurrent. A file outside Badger, the anchor, proves whether
// something was lost, so that no number is given twice.
package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Errors of the store. ErrFull passes by itself; after ErrFailed and
// ErrDamaged nothing is written until the store is opened again.
var (
	ErrNotFound = errors.New("not found")
	ErrFull     = errors.New("the data folder's disk is nearly full: free some space, hubpipe goes on by itself")
	ErrFailed   = errors.New("an earlier write to the store failed: mend the disk, then restart the daemon")
	ErrDamaged  = errors.New("the store is damaged: restore a backup of the data folder, or move it away to fetch everything anew")
	ErrClosed   = errors.New("the store is closed")
)

// LockedError is returned where another daemon has the data folder; By names
// it as far as known.
type LockedError struct{ Dir, By string }

func (e *LockedError) Error() string {
	by := e.By
	if by == "" {
		by = "unknown process"
	}
	return fmt.Sprintf("the data folder %s is in use by another daemon (%s): stop it, or set another data_dir", e.Dir, by)
}

// Options are where and how a store lives. The zero value of each but Dir
// means its default.
type Options struct {
	Dir    string
	Logger hclog.Logger
	Now    func() time.Time
	// FreeMark is how many bytes must stay free on the disk: more than Badger
	// may allocate before the writer looks again.
	FreeMark uint64
	// KeepRuns is how many runs of a stream are kept (1000).
	KeepRuns int
	// CheckWait is how long Open waits for the checks after an end that was
	// not clean; they go on behind (250 ms).
	CheckWait time.Duration

	// tune changes Badger's options; tests fill smaller files with it.
	tune func(badger.Options) badger.Options
	// examining says that the store is opened to be checked in full and mended,
	// maybe beside the real one, with which it shares files then.
	examining bool
}

// Sizes of Badger's parts. A transaction holds 15 % of a memtable: some 25
// pages of 100 new records, half of that where they replace others.
const (
	memTable     = 4 << 20
	valueLogFile = 32 << 20
	// freeNeed is what opening may allocate at once: a value log file (mapped
	// at twice its size) and two memtables' logs (likewise).
	freeNeed = 2*valueLogFile + 4*memTable
	// valueThreshold keeps index, notes and the ledger in the tree and blocks
	// out of it, so that compaction does not rewrite them.
	valueThreshold = 320
)

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FreeMark == 0 {
		o.FreeMark = 2*freeNeed + 64<<20 // and one compaction
	}
	if o.KeepRuns == 0 {
		o.KeepRuns = 1000
	}
	if o.CheckWait == 0 {
		o.CheckWait = 250 * time.Millisecond
	}
	return o
}

// badgerOptions are for a small daemon: no caches, since reads are scans, and
// no conflict detection, since there is one writer.
func badgerOptions(dir string, log *badgerLog) badger.Options {
	o := badger.DefaultOptions(dir).
		WithLogger(log).
		WithSyncWrites(true).WithDetectConflicts(false).WithMetricsEnabled(false).
		WithMemTableSize(memTable).WithNumMemtables(2).WithNumLevelZeroTables(4).WithNumLevelZeroTablesStall(10).
		WithBaseTableSize(2 << 20).WithBaseLevelSize(16 << 20).WithNumCompactors(2).WithNumGoroutines(2).
		WithBlockCacheSize(0).WithIndexCacheSize(0).WithCompression(options.None).
		WithValueThreshold(valueThreshold).WithValueLogFileSize(valueLogFile).
		WithVerifyValueChecksum(true).WithChecksumVerificationMode(options.OnBlockRead).
		// Whoever opens it has the data folder's own lock (takeLock). Badger's goes
		// with the last copy of its descriptor, and a process that is just being
		// forked has one: the store that was closed a moment ago could not be opened.
		WithBypassLockGuard(true)
	// What builds a table takes twice its size and is kept for the next: tables
	// that grow from level to level would grow it too.
	o.TableSizeMultiplier = 1
	return o
}

// Counts are how many records of a stream there are, by their state.
type Counts struct {
	Live     uint64 `json:"live"`
	Archived uint64 `json:"archived"`
	Purged   uint64 `json:"purged"`
	Merged   uint64 `json:"merged"`
}

// Tombstones counts the records that are not live.
func (c Counts) Tombstones() uint64 { return c.Archived + c.Purged + c.Merged }

// All counts the records.
func (c Counts) All() uint64 { return c.Live + c.Tombstones() }

// delta is a change of counts.
type delta struct{ live, archived, purged, merged int64 }

func (d delta) plus(e delta) delta {
	return delta{d.live + e.live, d.archived + e.archived, d.purged + e.purged, d.merged + e.merged}
}

func (c Counts) plus(d delta) Counts {
	return Counts{uint64(int64(c.Live) + d.live), uint64(int64(c.Archived) + d.archived),
		uint64(int64(c.Purged) + d.purged), uint64(int64(c.Merged) + d.merged)}
}

// kept is what is written down of a stream: its counts, and its newest position.
type kept struct {
	Counts
	Last uint64 `json:"last,omitempty"`
}

// from is the change that makes c of b.
func (c Counts) from(b Counts) delta {
	return delta{int64(c.Live - b.Live), int64(c.Archived - b.Archived), int64(c.Purged - b.Purged), int64(c.Merged - b.Merged)}
}

// of counts one record n times.
func of(state stream.State, n int64) delta {
	switch state {
	case stream.Archived:
		return delta{archived: n}
	case stream.Purged:
		return delta{purged: n}
	case stream.Merged:
		return delta{merged: n}
	}
	return delta{live: n}
}

// Store is one data folder, open.
type Store struct {
	o    Options
	db   *badger.DB
	lock *os.File

	// id and epoch do not change while the store is open.
	id    string
	epoch uint64

	// These are the writer's.
	last     counters // handed out, as of the last commit
	ceiling  counters // on disk in the anchor
	newRuns  map[string]int
	lastMark int64 // when a position was last noted under its time, ms
	notes    map[blockKey]*note
	tails    map[string]uint64 // the last block of a stream
	packer   packer

	ages map[string]ages // of who looks for versions that are due

	keeps atomic.Pointer[map[string]keeping] // nil where no versions are put aside
	aside atomic.Bool                        // there may be some

	spare sync.Pool // of *block

	position atomic.Uint64
	commits  atomic.Uint64

	saltMu sync.Mutex // guards the salt, nil until it is known
	salt   []byte

	anchorMu sync.Mutex
	anchor   anchor

	mu       sync.Mutex
	counts   map[string]Counts
	ends     map[string]uint64 // the newest position of a stream
	bytes    map[string]uint64 // by stream, as of the last survey
	surveyed bool
	watchers map[chan struct{}]struct{}
	status   Status
	repairs  []repair
	lost     map[string]map[string]uint64 // versions, by stream and reader
	stopped  bool                         // Close came before the checks had ended
	failed   error                        // ErrFailed or ErrDamaged, with what happened
	closed   bool
	users    sync.WaitGroup // readers and the writer, at work

	// alive ends when Close begins; it stops scans and what runs behind.
	alive   context.Context //nolint:containedctx // the store's own life; it ends with Close
	end     context.CancelFunc
	checked chan struct{}
	looking chan struct{} // held by who looks for what is to be put right
	wg      sync.WaitGroup
}

// ID names the store for as long as it exists: it is random.
func (s *Store) ID() string { return s.id }

// Epoch grows whenever something that was committed is known to be lost.
func (s *Store) Epoch() uint64 { return s.epoch }

// Position is the newest place in the feed that readers see.
func (s *Store) Position() uint64 { return s.position.Load() }

// Counts are the records of a stream as of the last commit.
func (s *Store) Counts(streamName string) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[streamName]
}

// PositionOf is the newest place of a stream in the feed, 0 where nothing was
// written of it since the store keeps that.
func (s *Store) PositionOf(streamName string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ends[streamName]
}

// Commits counts the transactions that were ever committed.
func (s *Store) Commits() uint64 { return s.commits.Load() }

// Disk is what a store takes of its disk, in bytes.
type Disk struct {
	Tree, Log uint64 // tables of keys, and blocks of records
	Free      uint64 // what an ordinary user may still write
	FreeMark  uint64 // below which nothing is written
}

// Disk looks at the folder: what is reserved and not written yet, of sparse
// files, takes none of it.
func (s *Store) Disk() (Disk, error) {
	d := Disk{FreeMark: s.o.FreeMark}
	entries, err := os.ReadDir(s.badgerDir())
	if err != nil {
		return d, fmt.Errorf("look at the store's files: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // compacted away meanwhile
		}
		if filepath.Ext(e.Name()) == ".vlog" {
			d.Log += allocated(info)
		} else {
			d.Tree += allocated(info)
		}
	}
	d.Free, err = freeSpace(s.o.Dir)
	return d, err
}

// Watch returns a channel that receives after commits, once for several where
// its reader is slower; stop gives it back.
func (s *Store) Watch() (changed <-chan struct{}, stop func()) {
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

// Ready is closed when the checks of the opening have ended; Status says what
// they found.
func (s *Store) Ready() <-chan struct{} { return s.checked }

// enter keeps the store open until the caller leaves: closing it under a
// reader would take mapped memory away.
func (s *Store) enter() (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.users.Add(1)
	return s.users.Done, nil
}

// view runs f on one snapshot.
func (s *Store) view(f func(*badger.Txn) error) error {
	leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	return s.db.View(f)
}

// going returns why a scan has to stop.
func (s *Store) going(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.alive.Err() != nil {
		return ErrClosed
	}
	return nil
}

// Close ends the store cleanly, after the readers and the writer that are at
// work; scans are stopped with ErrClosed. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.users.Wait()
	s.wg.Wait()
	defer s.release()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	files, err := tableFiles(s.badgerDir())
	if err != nil {
		return err
	}
	return s.moveAnchor(func(a *anchor) {
		a.Floor = s.commits.Load()
		a.Written = a.Floor > 0
		// A store that is not in order is checked when it is opened.
		a.Clean = s.sound()
		a.Files, a.Manifest = files, files[manifestFile]
	})
}

// sound tells whether all checks have ended and left nothing to do.
func (s *Store) sound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.checked:
		return s.failed == nil && !s.stopped && len(s.repairs) == 0
	default:
		return false
	}
}

func (s *Store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}
