package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

func backup(t testing.TB, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Backup(context.Background(), "test", &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restore(t testing.TB, dir string, file []byte, force bool) Restored {
	t.Helper()
	r, err := Restore(context.Background(), testOptions(dir), bytes.NewReader(file), force)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What is restored is what there was when the backup was made, whatever was
// written meanwhile; readers see another epoch, and no number is given twice.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	commit(t, s, func(tx *Tx) error { return tx.PutStream(&stream.Stream{Name: "contacts", Cursor: 7, Backfilled: true}) })
	for i := range 300 {
		put(t, s, "contacts", fmt.Sprint(i), "same")
	}
	before, counts := feed(t, s, "contacts", 0), s.Counts("contacts")
	stop, wrote, ended := make(chan struct{}), make(chan struct{}, 1), make(chan error, 1)
	write := func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			tx, err := s.Begin()
			if err == nil {
				err = errors.Join(tx.Put("later", record(fmt.Sprint(i), 1, stream.Live)), tx.Commit())
			}
			if err != nil {
				ended <- err
				return
			}
			select {
			case wrote <- struct{}{}:
			default:
			}
		}
	}
	var file bytes.Buffer
	err := s.Backup(t.Context(), "test", writerFunc(func(p []byte) (int, error) {
		if file.Len() == 0 { // the snapshot is taken: what is written now is not in it
			go write()
		}
		select {
		case <-wrote:
		case err := <-ended:
			return 0, err
		}
		return file.Write(p)
	}))
	close(stop)
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
	// It came far before it was lost: over several openings.
	s.last = s.last.plus(step()).plus(step()).plus(step())
	put(t, s, "contacts", "far")
	var run string
	commit(t, s, func(tx *Tx) (err error) {
		run, err = tx.NextRun()
		return err
	})
	lost := s.Position()
	h, err := VerifyBackup(bytes.NewReader(file.Bytes()))
	if err != nil || h.Store != s.ID() || h.Epoch != 1 || h.Version != "test" || h.Position == 0 || h.Position >= lost {
		t.Fatalf("%+v %v", h, err)
	}

	to := filepath.Join(t.TempDir(), "store")
	r := restore(t, to, file.Bytes(), false)
	if r.Aside != "" || r.Counts["contacts"] != counts || len(r.Missing) > 0 {
		t.Fatalf("%+v", r)
	}
	back := open(t, to)
	if back.ID() != s.ID() || back.Epoch() <= s.Epoch() || back.Epoch() != r.Epoch {
		t.Fatalf("store %s epoch %d of %s epoch %d", back.ID(), back.Epoch(), s.ID(), s.Epoch())
	}
	if d := cmp.Diff(before, feed(t, back, "contacts", 0)); d != "" {
		t.Fatal(d)
	}
	if back.Counts("later").All() != 0 || s.Counts("later").All() == 0 {
		t.Error("it holds what was written after it was begun")
	}
	verified(t, back)
	l, err := back.Load(t.Context())
	if err != nil || len(l.Streams) != 1 || l.Streams[0].Cursor != 7 || !l.Streams[0].ReconcileNow {
		t.Fatalf("the ledger is %+v %v", l.Streams, err)
	}
	put(t, back, "contacts", "new")
	commit(t, back, func(tx *Tx) error {
		next, err := tx.NextRun()
		if next <= run {
			t.Errorf("run %s after %s", next, run)
		}
		return err
	})
	if back.Position() <= lost {
		t.Fatalf("position %d after %d", back.Position(), lost)
	}
	if got := feed(t, back, "contacts", lost); len(got) != 1 || got[0].ID != "new" {
		t.Fatalf("a reader that stood at the end gets %v", got)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Two restores of one backup are two epochs, and that of a store which has come
// further is above it.
func TestARestoreIsAnEpochOfItsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "contacts", "1")
	file := backup(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o := testOptions(dir)
	now := time.Unix(1_800_000_000, 0)
	o.Now = func() time.Time { return now }
	last := uint64(0)
	for range 3 {
		r, err := Restore(t.Context(), o, bytes.NewReader(file), true)
		if err != nil || r.Epoch <= last {
			t.Fatalf("epoch %d after %d: %v", r.Epoch, last, err)
		}
		last = r.Epoch
		now = now.Add(-time.Hour) // clocks are set back
	}
}

// A store in which nothing is, as a daemon leaves it that could not begin, is in
// nobody's way; one that was not closed in order, or lost what it had, is.
func TestRestoreOverNothing(t *testing.T) {
	t.Parallel()
	from := open(t, t.TempDir())
	put(t, from, "contacts", "1", "2")
	file := backup(t, from)
	for name, c := range map[string]struct {
		leave func(t *testing.T, s *Store)
		held  bool
	}{
		"never written": {func(*testing.T, *Store) {}, false},
		"a ledger": {func(t *testing.T, s *Store) {
			t.Helper()
			commit(t, s, func(tx *Tx) error { return tx.PutStream(&stream.Stream{Name: "contacts"}) })
		}, false},
		"a record": {func(t *testing.T, s *Store) { t.Helper(); put(t, s, "contacts", "3") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir)
			c.leave(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := Restore(t.Context(), testOptions(dir), bytes.NewReader(file), false)
			if errors.Is(err, ErrOccupied) != c.held || !c.held && (err != nil || r.Counts["contacts"].Live != 2 || r.Aside == "") {
				t.Errorf("%v, %+v", err, r)
			}
		})
	}
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "contacts", "1", "2")
	file := backup(t, s)
	_, err := Restore(t.Context(), testOptions(dir), bytes.NewReader(file), true)
	if _, locked := errors.AsType[*LockedError](err); !locked {
		t.Fatalf("beside a daemon: %v", err)
	}
	put(t, s, "contacts", "3")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), testOptions(dir), bytes.NewReader(file), false); !errors.Is(err, ErrOccupied) {
		t.Fatalf("over a store: %v", err)
	}
	if _, err := Restore(t.Context(), testOptions(dir), bytes.NewReader(file[:len(file)-1]), true); !errors.Is(err, ErrNoBackup) {
		t.Fatalf("what is cut: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "restoring")); err == nil {
		t.Fatal("what was not restored still lies there")
	}
	s = open(t, dir)
	if n := s.Counts("contacts").Live; n != 3 {
		t.Fatalf("a refused restore left %d records of 3", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r := restore(t, dir, file, true)
	if !strings.HasPrefix(r.Aside, dir+".before-") {
		t.Fatalf("moved to %q", r.Aside)
	}
	t.Cleanup(func() { _ = os.RemoveAll(r.Aside) })
	if n := open(t, dir).Counts("contacts").Live; n != 2 {
		t.Fatalf("%d records are restored", n)
	}
	if n := open(t, r.Aside).Counts("contacts").Live; n != 3 {
		t.Fatalf("%d records lie aside", n)
	}
}

// A restore that ends between any two steps leaves a folder that is refused, or
// whole, and another restore mends it.
func TestARestoreThatEndsInTheMiddle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "contacts", "1", "2")
	file := backup(t, s)
	put(t, s, "contacts", "3")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(t.TempDir(), "store")
	restore(t, restored, file, false)
	whole := func(t *testing.T, dir string) {
		t.Helper()
		t.Cleanup(func() {
			aside, _ := filepath.Glob(dir + ".before-*")
			for _, path := range aside {
				_ = os.RemoveAll(path)
			}
		})
		r := restore(t, dir, file, true)
		s := open(t, dir)
		if s.Epoch() != r.Epoch || s.Counts("contacts").Live != 2 {
			t.Fatalf("epoch %d, %+v", s.Epoch(), s.Counts("contacts"))
		}
		verified(t, s)
	}
	for _, c := range []struct {
		name string
		harm func(t *testing.T, dir string)
		says string
	}{
		{"anchor written", func(t *testing.T, dir string) {
			t.Helper()
			remove(t, filepath.Join(dir, "badger"))
			move(t, filepath.Join(copyOf(t, restored), "anchor.json"), filepath.Join(dir, "anchor.json"))
		}, "missing"},
		{"store moved", func(t *testing.T, dir string) {
			t.Helper()
			remove(t, filepath.Join(dir, "badger"))
			move(t, filepath.Join(copyOf(t, restored), "badger"), filepath.Join(dir, "badger"))
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := copyOf(t, dir)
			c.harm(t, dir)
			s, err := Open(t.Context(), testOptions(dir))
			if err == nil {
				<-s.Ready()
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Fatalf("says %v", err)
			}
			whole(t, dir)
		})
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// However a backup is damaged, it is no backup.
func TestADamagedBackup(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for i := range 40 {
		put(t, s, "contacts", fmt.Sprint(i))
	}
	file := backup(t, s)
	if _, err := VerifyBackup(bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	for i := range file {
		damaged := bytes.Clone(file)
		damaged[i] ^= 1 << (i % 8)
		if _, err := VerifyBackup(bytes.NewReader(damaged)); err == nil {
			t.Fatalf("byte %d of %d is flipped, and nobody says so", i, len(file))
		}
		if _, err := VerifyBackup(bytes.NewReader(file[:i])); !errors.Is(err, ErrNoBackup) {
			t.Fatalf("cut at %d of %d: %v", i, len(file), err)
		}
	}
	if _, err := VerifyBackup(bytes.NewReader(append(file, 0))); !errors.Is(err, ErrNoBackup) {
		t.Fatalf("with a byte behind it: %v", err)
	}
}

// A store with a value that cannot be read gives no backup that hides it.
func TestABackupOfADamagedStore(t *testing.T) {
	t.Parallel()
	dir := filled(t, 200)
	edit(t, files(t, dir, "*.vlog")[0], flip(4000))
	s := open(t, dir)
	<-s.Ready()
	if err := s.Backup(t.Context(), "test", io.Discard); !errors.Is(err, ErrUnreadable) {
		t.Fatalf("got %v", err)
	}
}

func FuzzBackup(f *testing.F) {
	s := open(f, f.TempDir())
	put(f, s, "contacts", "1")
	file := backup(f, s)
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add([]byte(backupMagic + "\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := VerifyBackup(bytes.NewReader(in)); err == nil && !bytes.HasPrefix(in, []byte(backupMagic)) {
			t.Fatal("something else is a backup")
		}
	})
}
