package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Open opens or makes the store of a data folder. An error is one line that
// says what is wrong and what to do; *LockedError where another daemon has the
// folder.
func Open(ctx context.Context, o Options) (*Store, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	s := newStore(o)
	if err := s.takeLock(); err != nil {
		s.release()
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

func newStore(o Options) *Store {
	s := &Store{o: o, counts: map[string]Counts{}, ends: map[string]uint64{}, watchers: map[chan struct{}]struct{}{},
		newRuns: map[string]int{}, notes: map[blockKey]*note{}, tails: map[string]uint64{}, ages: map[string]ages{},
		lost: map[string]map[string]uint64{}, checked: make(chan struct{}), looking: make(chan struct{}, 1)}
	s.alive, s.end = context.WithCancel(context.Background())
	return s
}

// begin opens a store whose folder is locked.
func (s *Store) begin(ctx context.Context) error {
	thorough, err := s.open()
	if err != nil {
		return err
	}
	thorough = thorough || s.o.examining
	s.wg.Go(s.background)
	s.wg.Go(func() { s.checkAll(thorough) })
	if !thorough {
		return nil
	}
	wait := time.NewTimer(s.o.CheckWait)
	defer wait.Stop()
	select {
	case <-s.checked:
	case <-wait.C:
	case <-ctx.Done():
		return errors.Join(ctx.Err(), s.Close())
	}
	return nil
}

// open returns whether the store has to be checked in full.
func (s *Store) open() (thorough bool, err error) {
	if free, err := freeSpace(s.o.Dir); err == nil && free < min(s.o.FreeMark, freeNeed) {
		return false, fmt.Errorf("the disk of %s has %d MiB free, the store needs %d: free some space",
			s.o.Dir, free>>20, min(s.o.FreeMark, freeNeed)>>20)
	}
	a, err := readAnchor(s.anchorPath())
	anchored := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errAnchor) {
		return false, err
	}
	damaged := errors.Is(err, errAnchor)
	before, err := s.lookFor(a, anchored || damaged)
	if err != nil {
		return false, err
	}
	lost, err := s.lookAtFiles(a)
	if err != nil {
		return false, err
	}
	log := &badgerLog{log: s.o.Logger}
	s.db, err = badger.Open(s.badgerOptions(log))
	if scarce(err) {
		return false, fmt.Errorf("open the store %s: %w: nothing is wrong with it; raise what this process may have, and start again", s.badgerDir(), err)
	}
	if err != nil {
		return false, broken("%s cannot be opened: %w", s.badgerDir(), err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.db.Close())
		}
	}()
	if log.ignored.Load() {
		return false, broken("a table in %s is damaged", s.badgerDir())
	}
	if err := s.takeOver(a, anchored, damaged, lost); err != nil {
		return false, err
	}
	return !anchored || !a.Clean || s.status.LostTail || lost > 0 || s.shrunk(a.Files, before), nil
}

// lookFor refuses a Badger folder that lacks what the anchor says it had:
// Badger would begin anew without a word. It returns the files that there are.
func (s *Store) lookFor(a anchor, expected bool) (map[string]int64, error) {
	dir := s.badgerDir()
	files, err := tableFiles(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	_, manifest := files[manifestFile]
	switch {
	case manifest || len(files) > 0: // without a MANIFEST it is a fault
	case expected && (a.Written || a.Store == ""):
		return nil, broken("%s is missing while %s says that it held something", dir, filepath.Base(s.anchorPath()))
	}
	return files, nil
}

// errBroken says what helps where a store cannot be opened.
var errBroken = errors.New("restore a backup, or let `hubpipe doctor --repair` mend what can be mended and HubSpot bring back the rest")

// broken is an error about a store that is not as it has to be.
func broken(format string, args ...any) error {
	return fmt.Errorf("the store is damaged: "+format+"; %w", append(args, errBroken)...)
}

// scarce tells whether the process, and not the store, lacks something: files
// that it may open, or memory. Badger does not keep all causes.
func scarce(err error) bool {
	if err == nil {
		return false
	}
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, e) || strings.Contains(err.Error(), e.Error()) {
			return true
		}
	}
	return false
}

// badgerOptions are those of badgerOptions. One that is only looked at shares
// files with the store itself, and Badger cuts what it deletes.
func (s *Store) badgerOptions(log *badgerLog) badger.Options {
	o := badgerOptions(s.badgerDir(), log)
	if s.o.tune != nil {
		o = s.o.tune(o)
	}
	if s.o.examining {
		o = o.WithNumCompactors(0).WithNumLevelZeroTables(1 << 20).WithNumLevelZeroTablesStall(1<<20 + 1)
	}
	return o
}

// lookAtFiles refuses files that Badger would not survive, or would open with
// less than there was. It counts the commits that are missing between others.
func (s *Store) lookAtFiles(a anchor) (lost uint64, err error) {
	dir := s.badgerDir()
	found, lost, err := faults(dir, a)
	if err != nil {
		return 0, err
	}
	for _, f := range found {
		if !f.trifle {
			return 0, broken("%s", filepath.Join(dir, f.String()))
		}
		s.o.Logger.Warn("a file of the store is damaged and made anew; nothing is lost with it", "file", f.file)
	}
	return lost, mendFiles(dir, found, "")
}

// shrunk tells whether a file is not what it was at the clean stop, or what it
// was before Badger opened it: Badger cuts its log at the first byte that does
// not fit, and what followed is lost.
func (s *Store) shrunk(stop, before map[string]int64) bool {
	now, err := tableFiles(s.badgerDir())
	if err != nil {
		return true
	}
	for name, size := range stop {
		was, there := before[name]
		if filepath.Ext(name) == ".vlog" && (!there || was != size || now[name] < size) {
			return true
		}
	}
	return false
}

// takeOver takes the numbers from Badger and anchor, whichever is above, and
// notes that the store is in use. lost are commits that are missing between
// others: what stood before them shows again.
func (s *Store) takeOver(a anchor, anchored, damaged bool, lost uint64) error {
	var m meta
	var names []string // of all streams
	err := s.db.View(func(txn *badger.Txn) error {
		err := getJSON(txn, []byte{kMeta}, &m)
		if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
			return fmt.Errorf("read the numbers in use: %w", err)
		}
		err = scan(txn, []byte{kStream}, false, func(key []byte, _ *badger.Item) error {
			name, _, _ := nameOf(key)
			names = append(names, name)
			return nil
		})
		if err != nil {
			return err
		}
		if err := scan(txn, []byte{kCount}, true, func(key []byte, item *badger.Item) error {
			name, _, ok := nameOf(key)
			var c kept
			if err := itemJSON(item, &c); err != nil || !ok {
				return fmt.Errorf("read the counts of %q: %w", name, err)
			}
			s.counts[name], s.ends[name] = c.Counts, c.Last
			return nil
		}); err != nil {
			return err
		}
		return s.loadVersions(txn)
	})
	if err != nil {
		return err
	}
	switch {
	case m.Commits > 0 && m.Format < oldest:
		return oldFormat(s.badgerDir(), m.Format)
	case m.Format > format:
		return newFormat(s.badgerDir())
	}
	last, before := m.Last, max(a.Epoch, m.Epoch)
	jump := false
	switch {
	case m.Commits == 0 && (damaged || anchored && a.Written):
		return broken("%s is empty while %s says that it held something", s.badgerDir(), filepath.Base(s.anchorPath()))
	case m.Commits == 0 && !anchored:
		a = newAnchor()
	case m.Commits == 0:
		last = a.Ceiling // of a store that was given up and begun anew
	case !anchored:
		// Everything that the anchor knew is in Badger too, but for how much
		// there should be.
		s.o.Logger.Error("the anchor is missing or damaged; a new one is made, and readers begin anew", "store", m.Store)
		a = newAnchor()
		a.Store, a.Epoch = m.Store, m.Epoch+1
		last, jump = m.Ceiling.plus(step()), true
	case m.Store != a.Store:
		return fmt.Errorf("%s belongs to another store than %s: put the folders back as they were", s.anchorPath(), s.badgerDir())
	case m.Commits < a.Floor:
		s.o.Logger.Error("the store has lost what was committed last; it is fetched again", "commits", a.Floor-m.Commits)
		s.status.LostTail = true
		a.Epoch = max(a.Epoch, m.Epoch) + 1
		last, jump = a.Ceiling, true
	default:
		a.Epoch = max(a.Epoch, m.Epoch)
		if !a.Clean {
			// The floor is written behind: what was lost above it shows
			// nowhere. Gaps are cheap.
			last, jump = a.Ceiling, true
		}
	}
	if lost > 0 {
		s.o.Logger.Error("commits in the middle of the store are lost; every stream is held against HubSpot", "commits", lost)
		s.status.LostBetween = lost
		s.status.Missing = map[string]uint64{}
		for _, name := range names {
			s.status.Missing[name] = lost // at least one record each
		}
		a.Epoch = max(a.Epoch, before+1)
		last, jump = last.max(a.Ceiling), true
	}
	s.id, s.epoch, s.last = a.Store, a.Epoch, last
	s.position.Store(m.Position)
	if jump {
		// In Badger first: until the anchor agrees, the next opening finds the
		// epoch here and the same ceiling there.
		m.Format, m.Store, m.Epoch, m.Last, m.Ceiling = format, s.id, s.epoch, last, last
		m.Commits = max(m.Commits, a.Floor) + 1
		if err := s.db.Update(func(txn *badger.Txn) error { return setJSON(txn, []byte{kMeta}, m) }); err != nil {
			return fmt.Errorf("write the numbers in use: %w", err)
		}
	}
	s.commits.Store(m.Commits)
	a.Format, a.Ceiling = format, last.plus(step())
	a.Floor, a.Written, a.Clean, a.Files = m.Commits, m.Commits > 0, false, nil
	a.Manifest = manifestSize(s.badgerDir())
	s.ceiling = a.Ceiling
	return s.moveAnchor(func(was *anchor) { *was = a })
}

// background writes the floor behind and lets Badger clean its value log.
func (s *Store) background() {
	floor, gc := time.NewTicker(time.Second), time.NewTicker(5*time.Minute)
	survey := time.NewTimer(0)
	defer floor.Stop()
	defer gc.Stop()
	defer survey.Stop()
	said := false
	for {
		select {
		case <-s.alive.Done():
			return
		case <-floor.C:
			err := s.writeFloor()
			if err != nil && !said {
				s.o.Logger.Warn("the anchor cannot be written", "error", err)
			}
			said = err != nil
		case <-gc.C:
			s.collect()
		case <-survey.C:
			survey.Reset(s.survey())
		}
	}
}

func (s *Store) writeFloor() error {
	s.anchorMu.Lock()
	floor, known := s.anchor.Floor, s.anchor.Manifest
	s.anchorMu.Unlock()
	// The size first: what is committed meanwhile may make the list longer.
	size := manifestSize(s.badgerDir())
	commits := s.commits.Load()
	if commits <= floor && size == known {
		return nil
	}
	return s.moveAnchor(func(a *anchor) { a.Floor, a.Written, a.Manifest = commits, commits > 0, size })
}

// collect frees value log files of which half is superseded, until there is
// none. It stays away from a store that may be damaged.
func (s *Store) collect() {
	if s.o.examining {
		return
	}
	for s.alive.Err() == nil && s.failure() == nil {
		if err := s.db.RunValueLogGC(0.5); err != nil {
			if !errors.Is(err, badger.ErrNoRewrite) && !errors.Is(err, badger.ErrRejected) {
				s.o.Logger.Warn("the value log cannot be cleaned", "error", err)
			}
			return
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

func setJSON(txn *badger.Txn, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return txn.Set(key, b)
}

// scan calls f for every key with the prefix, in order. The key holds until f
// returns.
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
