package store

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

func TestOneDaemonAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	_, err := Open(context.Background(), testOptions(dir))
	var locked *LockedError
	if !errors.As(err, &locked) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Fatalf("a second daemon gets %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestAFullDiskStopsTheIntake(t *testing.T) {
	t.Parallel()
	o := testOptions(t.TempDir())
	o.FreeMark = 1 << 62
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Begin(); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v", err)
	}
	s.o.FreeMark = 1
	put(t, s, "contacts", "1") // it goes on by itself
}

// filled makes a store of n records in several tables and closes it.
func filled(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	for i := 0; i < n; i += 50 {
		commit(t, s, func(tx *Tx) error {
			for j := i; j < i+50; j++ {
				r := record(fmt.Sprint(j), 1, stream.Live)
				r.Properties = []byte(fmt.Sprintf(`{"a":"%d","b":"%x"}`, j, strings.Repeat(fmt.Sprint(j*j), 60)))
				if err := tx.Put("contacts", r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "badger", pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("no file is like %s: %v", pattern, err)
	}
	return found
}

func edit(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte { b[at%len(b)] ^= 0x55; return b }
}

// What is missing or unreadable as a whole is refused, and the refusal says
// what to do.
func TestRefused(t *testing.T) {
	t.Parallel()
	whole := filled(t, 200)
	for _, c := range []struct {
		name string
		harm func(t *testing.T, dir string)
		says string
	}{
		{"manifest", func(t *testing.T, dir string) { t.Helper(); remove(t, filepath.Join(dir, "badger", "MANIFEST")) }, "MANIFEST"},
		{"folder", func(t *testing.T, dir string) { t.Helper(); remove(t, filepath.Join(dir, "badger")) }, "missing"},
		{"emptied", func(t *testing.T, dir string) {
			t.Helper()
			remove(t, filepath.Join(dir, "badger"))
			other := t.TempDir()
			if err := open(t, other).Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(other, "badger"), filepath.Join(dir, "badger")); err != nil {
				t.Fatal(err)
			}
		}, "empty"},
		{"another store's", func(t *testing.T, dir string) {
			t.Helper()
			remove(t, filepath.Join(dir, "badger"))
			if err := os.Rename(filepath.Join(filled(t, 50), "badger"), filepath.Join(dir, "badger")); err != nil {
				t.Fatal(err)
			}
		}, "another store"},
		{"table", func(t *testing.T, dir string) { t.Helper(); remove(t, files(t, dir, "*.sst")[0]) }, "restore a backup"},
		{"manifest flipped", func(t *testing.T, dir string) {
			t.Helper()
			edit(t, filepath.Join(dir, "badger", "MANIFEST"), flip(20))
		}, "restore a backup"},
		{"older", func(t *testing.T, dir string) {
			t.Helper()
			edit(t, filepath.Join(dir, "anchor.json"), func([]byte) []byte { return []byte(`{"format":1,"store":"x","epoch":1}`) })
		}, "older"},
		{"newer", func(t *testing.T, dir string) {
			t.Helper()
			edit(t, filepath.Join(dir, "anchor.json"), func([]byte) []byte { return []byte(`{"format":99,"store":"x","epoch":1}`) })
		}, "newer"},
		{"no anchor, no store", func(t *testing.T, dir string) {
			t.Helper()
			edit(t, filepath.Join(dir, "anchor.json"), func([]byte) []byte { return []byte(`{"for`) })
			remove(t, filepath.Join(dir, "badger"))
		}, "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := copyOf(t, whole)
			c.harm(t, dir)
			s, err := Open(context.Background(), testOptions(dir))
			if err == nil {
				_ = s.Close()
				t.Fatal("opened as if nothing were missing")
			}
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("says %q", err)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// A store that lost its tail begins another epoch, and gives no number twice.
func TestALostTailBeginsAnEpoch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "contacts", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old := copyOf(t, dir)
	s = open(t, dir)
	var attempt uint64
	var run string
	commit(t, s, func(tx *Tx) error {
		var err, err2 error
		attempt, err = tx.NextAttempt()
		run, err2 = tx.NextRun()
		return errors.Join(err, err2, tx.Put("contacts", record("2", 1, stream.Live)))
	})
	lost, epoch, id := s.Position(), s.Epoch(), s.ID()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Badger of before, anchor of after.
	edit(t, filepath.Join(old, "anchor.json"), func([]byte) []byte {
		b, err := os.ReadFile(filepath.Join(dir, "anchor.json"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
	s = open(t, old)
	if s.Epoch() != epoch+1 || s.ID() != id || !s.Status().LostTail {
		t.Fatalf("epoch %d after %d, store %s after %s", s.Epoch(), epoch, s.ID(), id)
	}
	if s.Position() >= lost {
		t.Fatalf("position %d is shown, which is lost", s.Position())
	}
	for range 2 { // before and after another opening
		commit(t, s, func(tx *Tx) error {
			a, err := tx.NextAttempt()
			if err != nil || a <= attempt {
				t.Errorf("attempt %d after %d: %v", a, attempt, err)
			}
			r, err := tx.NextRun()
			if err != nil || r <= run {
				t.Errorf("run %s after %s: %v", r, run, err)
			}
			attempt, run = a, r
			return tx.Put("contacts", record("3", 1, stream.Live))
		})
		if s.Position() <= lost {
			t.Fatalf("position %d was given before (%d)", s.Position(), lost)
		}
		lost = s.Position()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, old)
	}
	if s.Epoch() != epoch+1 {
		t.Fatalf("epoch %d: it grew without a loss", s.Epoch())
	}
	verified(t, s)
}

// Without an anchor the store is what it was, in another epoch; readers begin
// anew, and no number is given twice.
func TestALostAnchorBeginsAnEpoch(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(*testing.T, string){
		"missing": remove,
		"damaged": func(t *testing.T, path string) {
			t.Helper()
			edit(t, path, func(b []byte) []byte { return b[:len(b)/2] })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir)
			put(t, s, "contacts", "1", "2")
			id, at := s.ID(), s.Position()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			harm(t, filepath.Join(dir, "anchor.json"))
			s = open(t, dir)
			if s.ID() != id || s.Epoch() != 2 {
				t.Fatalf("store %s after %s, epoch %d", s.ID(), id, s.Epoch())
			}
			put(t, s, "contacts", "3")
			if s.Position() <= at || len(feed(t, s, "contacts", 0)) != 3 {
				t.Fatalf("position %d after %d", s.Position(), at)
			}
		})
	}
}

// A log that is cut under a daemon that was killed loses its end: what is left
// is whole, and the next numbers are above all that were given.
func TestACutLog(t *testing.T) {
	t.Parallel()
	for name, pattern := range map[string]string{"memtable": "*.mem", "values": "*.vlog"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, all := t.TempDir(), 1
			s := open(t, dir)
			for range 20 {
				commit(t, s, func(tx *Tx) error {
					for range tailRecords { // a block that stands for itself
						all++
						noise := make([]byte, 40+all%32) // which stays as large as it is
						_, _ = rand.Read(noise)
						r := record(fmt.Sprint(all), 1, stream.Live)
						r.Properties = []byte(fmt.Sprintf(`{"noise":"%x"}`, noise))
						if err := tx.Put("contacts", r); err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err := s.writeFloor(); err != nil {
				t.Fatal(err)
			}
			killed := copyOf(t, dir) // as it is on disk at this moment
			for _, f := range files(t, killed, pattern) {
				edit(t, f, func(b []byte) []byte {
					used := len(strings.TrimRight(string(b), "\x00"))
					clear(b[used/2:])
					return b
				})
			}
			given := s.Position()
			s = open(t, killed)
			<-s.Ready()
			st := s.Status()
			for range 1 + len(s.repairs)/repairsPerCommit {
				put(t, s, "contacts", "x")
			}
			if s.Position() <= given {
				t.Errorf("position %d was given before (%d)", s.Position(), given)
			}
			n := len(feed(t, s, "contacts", 0))
			if n < 2 || n >= all {
				t.Errorf("%d records are left of %d", n, all)
			}
			switch {
			case pattern == "*.mem" && (!st.LostTail || s.Epoch() != 2):
				t.Errorf("a lost tail is not noticed: %+v, epoch %d", st, s.Epoch())
			case pattern == "*.vlog" && st.Missing["contacts"] != uint64(all-n):
				t.Errorf("%d records were let go, it says %+v", all-n, st)
			}
			verified(t, s)
		})
	}
}

// One flipped byte anywhere is noticed: by a refusal, by the checks, or by a
// count of what was let go. Never are there fewer records without a word.
func TestAFlippedByteIsNoticed(t *testing.T) {
	t.Parallel()
	whole := filled(t, filledWith)
	noticed, all := 0, 0
	for _, pattern := range []string{"*.sst", "*.vlog"} {
		size := 0
		if st, err := os.Stat(files(t, whole, pattern)[0]); err == nil {
			size = int(st.Size())
		}
		for i := range 12 {
			dir := copyOf(t, whole)
			at := 32 + i*(size-32)/12
			edit(t, files(t, dir, pattern)[0], flip(at))
			all++
			if err := reopened(t, dir); err != nil {
				noticed++
				t.Logf("%s at %d of %d: %.120v", pattern, at, size, err)
			}
		}
	}
	if noticed < all*3/4 { // the others hit padding, and lost nothing
		t.Errorf("%d of %d were noticed", noticed, all)
	}
}

const filledWith = 1000

// reopened returns how the store says that something is wrong; silence with
// fewer records than there were fails the test.
func reopened(t *testing.T, dir string) error {
	t.Helper()
	s, err := Open(context.Background(), testOptions(dir))
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	<-s.Ready()
	tx, err := s.Begin()
	if err != nil {
		return err
	}
	tx.Discard()
	if st := s.Status(); st.Missing["contacts"] > 0 {
		return fmt.Errorf("%d records let go", st.Missing["contacts"])
	}
	if n := len(feed(t, s, "contacts", 0)); n != filledWith {
		t.Errorf("%d records of %d, and not a word", n, filledWith)
	}
	return nil
}

const crashDir = "HUBPIPE_STORE_CRASH_DIR"

// writeUntilKilled is the body of the child of TestKilled.
func writeUntilKilled(dir string) {
	s, err := Open(context.Background(), testOptions(dir))
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	for i := 0; ; i++ {
		tx, err := s.Begin()
		if err != nil {
			fmt.Println("begin:", err)
			return
		}
		var line strings.Builder
		for j := range 20 {
			r := record(fmt.Sprint((i*7+j*13)%500), int64(i+1), stream.Live)
			if j%5 == 0 {
				r.State = stream.Archived
			}
			if err := tx.Put("contacts", r); err != nil {
				fmt.Println("put:", err)
				return
			}
			fmt.Fprintf(&line, "%s %d ", r.ID, r.Seq)
		}
		if err := tx.Commit(); err != nil {
			fmt.Println("commit:", err)
			return
		}
		fmt.Println("ok", line.String())
	}
}

// A daemon that is killed while it commits loses nothing that was
// acknowledged, and gives no position twice.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acked := map[string]uint64{} // id: newest acknowledged position
	last := uint64(0)
	for round := range 4 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		n := 0
		for lines.Scan() {
			line, ok := strings.CutPrefix(lines.Text(), "ok ")
			if !ok {
				t.Fatal(lines.Text())
			}
			for f := strings.Fields(line); len(f) > 1; f = f[2:] {
				var seq uint64
				if _, err := fmt.Sscan(f[1], &seq); err != nil {
					t.Fatal(err)
				}
				if seq <= last {
					t.Fatalf("round %d: position %d after %d", round, seq, last)
				}
				acked[f[0]], last = seq, seq
			}
			if n++; n == 5+20*round {
				_ = child.Process.Kill()
			}
		}
		_ = child.Wait()
		if n < 5+20*round {
			t.Fatalf("only %d commits", n)
		}
		s := open(t, dir)
		<-s.Ready()
		if st := s.Status(); st.LostTail || len(st.Missing) > 0 || st.Damage != "" {
			t.Fatalf("a kill lost something: %+v", st)
		}
		for id, seq := range acked {
			r, err := s.Record("contacts", id)
			if err != nil || r.Seq < seq {
				t.Fatalf("round %d: record %s at %d is lost: %+v %v", round, id, seq, r, err)
			}
		}
		verified(t, s)
		last = max(last, s.Position())
		if s.Epoch() != 1 {
			t.Fatalf("epoch %d", s.Epoch())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
