package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/durable"
)

// ErrOccupied says that a data folder holds a store already.
var ErrOccupied = errors.New("the data folder holds a store already: --force moves that aside")

// Restored is what Restore did.
type Restored struct {
	Backup BackupHeader
	Epoch  uint64
	Counts map[string]Counts
	// Missing counts per stream the records that the backup itself lacked.
	Missing map[string]uint64
	// Aside is where the store went that was there before, "" where none was.
	Aside string
}

// beyond is how far above all that a backup knows the numbers go on after it
// was restored. What was handed out between the backup and the loss is not
// known; it is less than this.
func beyond() counters { return counters{Seq: 1 << 32, Attempt: 1 << 32, Run: 100_000_000} }

// Restore makes the store of a data folder from a backup. Nothing of the folder
// is replaced before the backup has been read to its end and found whole. A store
// that is there and has nothing in it is moved aside, with force any other too;
// without it ErrOccupied; a *LockedError where a daemon has the folder.
func Restore(ctx context.Context, o Options, from io.Reader, force bool) (r Restored, err error) {
	o = o.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return r, fmt.Errorf("make the data folder: %w", err)
	}
	s := &Store{o: o}
	defer s.release()
	if err := s.takeLock(); err != nil {
		return r, err
	}
	old, err := readAnchor(s.anchorPath())
	anchored := !errors.Is(err, fs.ErrNotExist)
	_, err = os.Lstat(s.badgerDir())
	if held := anchored || err == nil; held && !force && !s.bare(old) {
		return r, ErrOccupied
	}
	made := o
	made.Dir = filepath.Join(o.Dir, "restoring")
	if err := os.RemoveAll(made.Dir); err != nil {
		return r, fmt.Errorf("remove what an earlier restore left: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(made.Dir)) }()
	a, err := loadBackup(ctx, made, from, old, &r)
	if err != nil {
		return r, err
	}
	if err := settle(ctx, made, &r); err != nil {
		return r, err
	}
	r.Aside, err = s.replace(made.Dir, a)
	return r, err
}

// loadBackup reads a backup into a new folder, and gives the anchor that belongs to
// it. Its numbers, and its epoch, are above any that a reader may have seen:
// old is of the store that is replaced, or nothing; of one that is gone nobody
// knows how far it came. Hence the time in the epoch, and the wide step.
func loadBackup(ctx context.Context, o Options, from io.Reader, old anchor, r *Restored) (anchor, error) {
	in, h, err := newBackupReader(from)
	if err != nil {
		return anchor{}, err
	}
	r.Backup = h
	a := anchor{Format: format, Store: h.Store, Epoch: h.Epoch, Ceiling: h.Ceiling, Written: true}
	if old.Store == a.Store {
		a.Epoch = max(a.Epoch, old.Epoch)
		a.Ceiling = a.Ceiling.max(old.Ceiling)
	}
	a.Epoch = max(a.Epoch+1, uint64(max(0, o.Now().Unix())))
	a.Ceiling = a.Ceiling.plus(beyond())
	r.Epoch = a.Epoch
	if err := os.MkdirAll(filepath.Join(o.Dir, "badger"), 0o700); err != nil {
		return a, fmt.Errorf("make the folder to restore into: %w", err)
	}
	db, err := badger.Open(badgerOptions(filepath.Join(o.Dir, "badger"), &badgerLog{log: o.Logger}).WithSyncWrites(false))
	if err != nil {
		return a, fmt.Errorf("make the store: %w", err)
	}
	if err := errors.Join(copyInto(ctx, o, db, in), db.Sync(), db.Close()); err != nil {
		return a, err
	}
	return a, writeAnchor(filepath.Join(o.Dir, "anchor.json"), a)
}

func copyInto(ctx context.Context, o Options, db *badger.DB, in *backupReader) error {
	batch := db.NewWriteBatch()
	defer batch.Cancel()
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Badger writes to mapped files, which a full disk ends.
		if n%1000 == 0 {
			if free, err := freeSpace(o.Dir); err == nil && free < o.FreeMark {
				return ErrFull
			}
		}
		key, value, err := in.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		// Both are kept until the batch is written.
		if err := batch.Set(append([]byte(nil), key...), append([]byte(nil), value...)); err != nil {
			return fmt.Errorf("write to the store: %w", err)
		}
	}
	if err := batch.Flush(); err != nil {
		return fmt.Errorf("write to the store: %w", err)
	}
	return nil
}

// settle opens what was restored, has it checked and mended as after any other
// loss, and notes that every stream has to be held against HubSpot.
func settle(ctx context.Context, o Options, r *Restored) error {
	s, err := Open(ctx, o)
	if err != nil {
		return fmt.Errorf("open what was restored: %w", err)
	}
	err = s.mendAll(ctx, func(*stream.Stream) bool { return true })
	r.Missing = s.Status().Missing
	s.mu.Lock()
	r.Counts = s.counts
	s.mu.Unlock()
	return errors.Join(err, s.Close())
}

// mendAll waits for the checks, puts right what they found, and notes in the
// ledger what is missing; of that, and of the streams that doubt names, it
// notes that a reconcile is due.
func (s *Store) mendAll(ctx context.Context, doubt func(*stream.Stream) bool) error {
	select {
	case <-s.checked:
	case <-ctx.Done():
		return ctx.Err()
	}
	missing := s.Status().Missing
	for first := true; first || s.unmended() > 0; first = false {
		tx, err := s.Begin()
		if err != nil {
			return err
		}
		if first {
			err = tx.owe(missing, doubt)
		}
		tx.dirty = true
		if err == nil {
			err = tx.Commit()
		}
		tx.Discard()
		if err != nil {
			return fmt.Errorf("mend the store: %w", err)
		}
	}
	return nil
}

func (s *Store) unmended() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.repairs)
}

// owe notes with the streams what is missing of them.
func (t *Tx) owe(missing map[string]uint64, doubt func(*stream.Stream) bool) error {
	var owing []*stream.Stream
	if err := load(t.txn, kStream, func(st *stream.Stream) {
		if n := missing[st.Name]; n > 0 || doubt(st) {
			st.Missing += n
			st.ReconcileNow = true
			owing = append(owing, st)
		}
	}); err != nil {
		return fmt.Errorf("read the streams: %w", err)
	}
	for _, st := range owing {
		if err := t.PutStream(st); err != nil {
			return err
		}
	}
	return nil
}

// replace puts what lies in a folder in the place of the store. The anchor goes
// first: from then on a folder without its store is refused, whatever ends us
// between two steps, and never taken for an empty one.
func (s *Store) replace(made string, a anchor) (aside string, err error) {
	if aside, err = s.moveAside(); err != nil {
		return aside, err
	}
	if err := writeAnchor(s.anchorPath(), a); err != nil {
		return aside, err
	}
	if aside != "" {
		if err := os.Rename(s.badgerDir(), filepath.Join(aside, "badger")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return aside, fmt.Errorf("move the old store aside: %w", err)
		}
	}
	if err := os.Rename(filepath.Join(made, "badger"), s.badgerDir()); err != nil {
		return aside, fmt.Errorf("put the restored store in its place: %w", err)
	}
	if err := os.Rename(filepath.Join(made, "anchor.json"), s.anchorPath()); err != nil {
		return aside, fmt.Errorf("put the restored anchor in its place: %w", err)
	}
	return aside, durable.SyncFolder(s.o.Dir)
}

// moveAside makes a folder for what is there and copies the anchor to it, so
// that both can be put back; "" where nothing is there.
func (s *Store) moveAside() (string, error) {
	anchored, err := os.ReadFile(s.anchorPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the old anchor: %w", err)
	}
	if _, err := os.Lstat(s.badgerDir()); errors.Is(err, fs.ErrNotExist) && anchored == nil {
		return "", nil
	}
	aside := s.o.Dir + ".before-" + s.o.Now().UTC().Format("20060102T150405")
	for n := 2; ; n++ {
		made := os.Mkdir(aside, 0o700)
		if made == nil {
			break
		}
		if !errors.Is(made, fs.ErrExist) {
			return "", fmt.Errorf("move the old store aside: %w", made)
		}
		aside = fmt.Sprintf("%s.before-%s-%d", s.o.Dir, s.o.Now().UTC().Format("20060102T150405"), n)
	}
	if anchored == nil {
		return aside, nil
	}
	if err := durable.Replace(filepath.Join(aside, "anchor.json"), anchored); err != nil {
		return aside, fmt.Errorf("move the old anchor aside: %w", err)
	}
	return aside, nil
}
