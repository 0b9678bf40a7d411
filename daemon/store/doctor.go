package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Finding is one thing that is wrong with a data folder, and what to do about
// it; Mended says that it was put right.
type Finding struct {
	What   string `json:"what"`
	Todo   string `json:"todo,omitempty"`
	Mended bool   `json:"mended"`
}

// Diagnosis is what Examine found. Streams are as they are when everything that
// can be mended is.
type Diagnosis struct {
	Store    string
	Epoch    uint64
	Findings []Finding
	Streams  []StreamReport
}

const (
	byRepair = "`hubpipe doctor --repair`"
	refetch  = byRepair + " lets go what is broken, and the next start fetches it from HubSpot"
)

// Examine reads all of a store that no daemon has: its files, then, as a
// starting daemon would find them, anchor, values, feed, index and counts. With
// repair it mends what can be mended and notes what has to be fetched again;
// without it, it does the same beside the store and changes nothing of it. A
// *LockedError where a daemon has the folder.
func Examine(ctx context.Context, o Options, repair bool) (d Diagnosis, err error) {
	o = o.withDefaults()
	if _, err := os.Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return d, nil // nothing was ever stored
	}
	s := newStore(o)
	if err := s.takeLock(); err != nil {
		return s.cannotWrite(d, err)
	}
	if free, err := freeSpace(o.Dir); err == nil && free < o.FreeMark {
		d.find(false, "free some space; the daemon goes on by itself", "the disk has %d MiB free, and nothing is taken in below %d", free>>20, o.FreeMark>>20)
	}
	if repair {
		return d, s.treat(ctx, &d, true)
	}
	defer s.release()
	room := o
	room.Dir = filepath.Join(o.Dir, "examining")
	// Its free-space mark is for what is written, and here is hardly anything.
	room.FreeMark = min(o.FreeMark, freeNeed)
	defer func() { err = errors.Join(err, os.RemoveAll(room.Dir)) }()
	if err := furnish(o.Dir, room.Dir); err != nil {
		return s.cannotWrite(d, err)
	}
	in := newStore(room)
	if err := in.takeLock(); err != nil {
		return d, err
	}
	err = in.treat(ctx, &d, false)
	for i := range d.Findings { // of what is looked at, not of where
		d.Findings[i].What = strings.ReplaceAll(d.Findings[i].What, room.Dir, o.Dir)
	}
	if a, err := readAnchor(s.anchorPath()); err == nil {
		d.Epoch = a.Epoch
	}
	return d, err
}

// cannotWrite makes a finding of a folder that is not ours to write in.
func (s *Store) cannotWrite(d Diagnosis, err error) (Diagnosis, error) {
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.ENOSPC) {
		return d, err
	}
	d.Findings = append(d.Findings, Finding{What: fmt.Sprintf("%s cannot be written: %v", s.o.Dir, err),
		Todo: "let it, and all in it, belong to the user that runs hubpipe, on a disk that can be written and has room"})
	return d, nil
}

// furnish makes of a folder what Open may do anything with. Tables and value
// logs are linked, since nothing is written to them or deleted without
// compaction and collection; what an opening changes is copied.
func furnish(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("remove what an earlier look left: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(to, "badger"), 0o700); err != nil {
		return fmt.Errorf("make a folder to look in: %w", err)
	}
	if err := copyFile(filepath.Join(from, "anchor.json"), filepath.Join(to, "anchor.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(from, "badger"))
	if errors.Is(err, fs.ErrNotExist) {
		return os.Remove(filepath.Join(to, "badger"))
	}
	if err != nil {
		return fmt.Errorf("list the store's files: %w", err)
	}
	last := "" // the value log that an opening cuts to what is whole
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".vlog" {
			last = max(last, e.Name())
		}
	}
	for _, e := range entries {
		name, put := e.Name(), copyFile
		if ext := filepath.Ext(name); ext == ".sst" || ext == ".vlog" && name != last {
			put = os.Link
		}
		if err := put(filepath.Join(from, "badger", name), filepath.Join(to, "badger", name)); err != nil {
			return fmt.Errorf("look at %s: %w", name, err)
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (d *Diagnosis) find(mended bool, todo, format string, args ...any) {
	d.Findings = append(d.Findings, Finding{What: fmt.Sprintf(format, args...), Todo: todo, Mended: mended})
}

// treat examines and mends a store that is locked and not open; it closes it.
// really says that what is found is mended where it counts.
func (s *Store) treat(ctx context.Context, d *Diagnosis, really bool) error {
	s.o.examining = true
	aside := s.o.Dir + ".damaged-" + s.o.Now().UTC().Format("20060102T150405")
	if !really {
		aside = filepath.Join(s.o.Dir, "aside")
	}
	a, lost, err := s.treatFiles(d, aside, really)
	if err != nil {
		s.release()
		return err
	}
	if err := s.begin(ctx); err != nil {
		s.release()
		if !errors.Is(err, errBroken) {
			_, err := s.cannotWrite(*d, err)
			return err
		}
		d.find(really, "restore a backup by `hubpipe restore --force`; without one "+byRepair+" moves the store aside and begins it anew: "+
			"everything is fetched again, but what HubSpot does not have any more, the list of what was erased and what was set by hand",
			"%s; nothing of it can be used", strings.TrimSuffix(err.Error(), "; "+errBroken.Error()))
		if s, err = s.anew(ctx, a, aside); err != nil {
			return err
		}
	}
	return errors.Join(s.treatContent(ctx, d, lost, really), s.Close())
}

// doubt is how far the ledger can be trusted.
type doubt int

const (
	none   doubt = iota
	some         // streams have to be held against HubSpot
	ledger       // and read again from the beginning
)

// treatFiles mends the files that Badger would not survive.
func (s *Store) treatFiles(d *Diagnosis, aside string, really bool) (anchor, doubt, error) {
	lost := none
	a, err := readAnchor(s.anchorPath())
	_, noStore := os.Lstat(s.badgerDir())
	switch {
	case errors.Is(err, errAnchor):
		d.find(really, byRepair+", or the next start, makes a new one; readers begin anew", "anchor.json is damaged")
		lost = some
	case errors.Is(err, fs.ErrNotExist):
		if noStore == nil {
			d.find(really, byRepair+", or the next start, makes a new one; readers begin anew", "anchor.json is missing")
			lost = some
		}
	case err != nil:
		return a, lost, err
	}
	found, _, err := faults(s.badgerDir(), a)
	if err != nil {
		return a, lost, err
	}
	for _, f := range found {
		todo := refetch
		switch {
		case f.trifle:
			todo = byRepair + ", or the next start, makes it anew; nothing is lost"
		case filepath.Ext(f.file) == ".sst":
			lost = ledger
		default:
			lost = max(lost, some)
		}
		d.find(really, todo, "badger/%s", f)
	}
	if lost == none || a.Store == "" {
		return a, lost, mendFiles(s.badgerDir(), found, aside)
	}
	// The anchor first: whatever ends us, what is opened next is another epoch.
	a.Epoch, a.Clean, a.Files, a.Manifest = a.Epoch+1, false, nil, 0
	if err := writeAnchor(s.anchorPath(), a); err != nil {
		return a, lost, err
	}
	return a, lost, mendFiles(s.badgerDir(), found, aside)
}

// anew begins a store that cannot be opened, under its name and above its
// numbers, so that readers notice. What there was is moved aside.
func (s *Store) anew(ctx context.Context, a anchor, aside string) (*Store, error) {
	fresh := newAnchor()
	if a.Store != "" {
		fresh.Store, fresh.Epoch, fresh.Ceiling = a.Store, a.Epoch+1, a.Ceiling.plus(step())
	}
	n := newStore(s.o)
	if err := n.takeLock(); err != nil {
		return nil, err
	}
	err := os.MkdirAll(aside, 0o700)
	if err == nil {
		err = os.Rename(s.badgerDir(), filepath.Join(aside, "badger"))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.release()
		return nil, fmt.Errorf("move the store aside: %w", err)
	}
	if err := writeAnchor(s.anchorPath(), fresh); err != nil {
		n.release()
		return nil, err
	}
	if err := n.begin(ctx); err != nil {
		n.release()
		return nil, fmt.Errorf("begin the store anew: %w", err)
	}
	return n, nil
}

// treatContent has an open store checked and mended, and says what was wrong.
func (s *Store) treatContent(ctx context.Context, d *Diagnosis, lost doubt, really bool) error {
	select {
	case <-s.checked:
	case <-ctx.Done():
		return ctx.Err()
	}
	d.Store, d.Epoch = s.id, s.epoch
	st := s.Status()
	if st.LostTail {
		d.find(really, byRepair+", or the next start, begins another epoch; the cursors went with them, and what is missing is fetched again",
			"the newest commits are lost")
	}
	if st.LostBetween > 0 {
		d.find(really, byRepair+", or the next start, begins another epoch and holds every stream against HubSpot",
			"%d commits are lost between others: what was before may show again", st.LostBetween)
		lost = max(lost, some)
	}
	for _, name := range slices.Sorted(maps.Keys(st.Missing)) {
		d.find(really, refetch, "%s: %d records are missing or cannot be read", name, st.Missing[name])
	}
	if n := s.unmended(); n > 0 && len(st.Missing) == 0 {
		d.find(really, byRepair+", or the next start, puts it right", "feed, index and counts do not agree in %d places", n)
	}
	if st.Damage != "" {
		d.find(false, "restore a backup by `hubpipe restore --force`", "%s", st.Damage)
		return nil
	}
	var keys [][]byte
	err := s.view(func(txn *badger.Txn) (err error) {
		keys, err = unreadable(txn)
		return err
	})
	if err != nil {
		return err
	}
	if len(keys) > 0 {
		d.find(really, byRepair+" lets them go; a stream whose entry is lost begins anew, with what it has, and its settings are the file's again",
			"%d entries of the ledger (streams, runs, definitions) cannot be read", len(keys))
		underWay, err := s.letEntriesGo(keys)
		if err != nil {
			return err
		}
		if underWay {
			lost = ledger
		}
	}
	if lost == ledger {
		if err := s.forgetProgress(); err != nil {
			return err
		}
	}
	if st.LostTail {
		lost = max(lost, some)
	}
	if err := s.mendAll(ctx, func(*stream.Stream) bool { return lost > none }); err != nil {
		return err
	}
	report, err := s.Verify(ctx)
	d.Streams = report.Streams
	if err == nil && !report.OK() {
		err = ErrDamaged
	}
	if err != nil && ctx.Err() == nil {
		d.find(false, "restore a backup by `hubpipe restore --force`", "what could not be mended: %v", err)
		return nil
	}
	return err
}

// forgetProgress has every stream read from the beginning: where a table is
// lost, what stood in it before shows again, cursors too.
func (s *Store) forgetProgress() error {
	tx, err := s.Begin()
	if err != nil {
		return err
	}
	defer tx.Discard()
	var l Ledger
	if l, err = s.Load(s.alive); err != nil {
		return err
	}
	for _, r := range l.Runs {
		r.State, r.Ended, r.Attempt = stream.Stopped, s.o.Now(), 0
		if err := errors.Join(tx.DropRanges(r.ID), tx.PutRun(r)); err != nil {
			return err
		}
	}
	for _, st := range l.Streams {
		st.Cursor, st.CursorAt, st.Windows, st.Backfilled, st.Unfinished = 0, time.Time{}, nil, false, ""
		st.Open, st.Linked = nil, nil
		if err := tx.PutStream(st); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Well tells whether nothing is wrong, or nothing any more.
func (d Diagnosis) Well() bool {
	return !slices.ContainsFunc(d.Findings, func(f Finding) bool { return !f.Mended })
}

// String gives the findings, a line each.
func (d Diagnosis) String() string {
	var b strings.Builder
	for _, f := range d.Findings {
		fmt.Fprintf(&b, "%s (mended: %t)\n", f.What, f.Mended)
	}
	return b.String()
}
