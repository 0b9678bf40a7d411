package store

import (
	"errors"
	"os"
	"testing"
)

// The newest place of a stream outlives a restart, and a commit that failed
// leaves it where it was.
func TestPositionOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if n := s.PositionOf("contacts"); n != 0 {
		t.Errorf("%d before anything was written", n)
	}
	put(t, s, "contacts", "1", "2")
	put(t, s, "deals", "1")
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Put("contacts", record("3", 1, "live")); err != nil {
		t.Fatal(err)
	}
	tx.Discard()
	check := func(s *Store) {
		t.Helper()
		for _, name := range []string{"contacts", "deals"} {
			all := feed(t, s, name, 0)
			if last := all[len(all)-1].Seq; s.PositionOf(name) != last {
				t.Errorf("%s: %d, the feed ends at %d", name, s.PositionOf(name), last)
			}
		}
	}
	check(s)
	commits := s.Commits()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	check(s)
	if s.Commits() < commits || s.Counts("contacts").Live != 2 {
		t.Errorf("%d commits, were %d; %+v", s.Commits(), commits, s.Counts("contacts"))
	}
}

func TestDisk(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, "contacts", "1", "2", "3")
	d, err := s.Disk()
	if err != nil || d.Free == 0 || d.FreeMark != 1 || d.Tree == 0 || d.Log == 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	// Its files are mapped at their later size, which they do not take yet.
	if d.Tree+d.Log > 16<<20 {
		t.Errorf("three records take %d bytes", d.Tree+d.Log)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.badgerDir()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Disk(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
