package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// soiled makes a store with several tables and value logs, of records that were
// written, changed and archived, and returns its folder: closed in order, or as
// a kill would leave it.
func soiled(t *testing.T, killed bool) (dir string, want map[string]*stream.Record) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir)
	defer func() { _ = s.Close() }()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a seed
	version := int64(0)
	for round := range 4 {
		commit(t, s, func(tx *Tx) error {
			return tx.PutStream(&stream.Stream{Name: "contacts", Portal: "main", Object: "contacts", Cursor: int64(round + 1), Backfilled: true})
		})
		for range 12 {
			commit(t, s, func(tx *Tx) error {
				for range 40 {
					version++
					r := record(strconv.Itoa(random.IntN(900)), version, stream.Live)
					if random.IntN(20) == 0 {
						r.State = stream.Archived
					}
					r.Properties = []byte(fmt.Sprintf(`{"v":"%d","noise":"%x%x"}`, version, random.Uint64(), random.Uint64()))
					if err := tx.Put("contacts", r); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if round == 3 {
			break
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
	}
	want = map[string]*stream.Record{}
	for _, r := range feed(t, s, "contacts", 0) {
		want[r.ID] = r
	}
	if killed {
		if err := s.writeFloor(); err != nil {
			t.Fatal(err)
		}
		return copyOf(t, dir), want
	}
	return dir, want
}

// damage does one thing to one file; it says what.
func damage(t *testing.T, dir string, random *rand.Rand) string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "lock" && d.Name() != "LOCK" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	path := paths[random.IntN(len(paths))]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := max(1, len(strings.TrimRight(string(b), "\x00"))) // what is behind is nothing
	var what string
	switch at := random.IntN(used); random.IntN(3) {
	case 0:
		if len(b) == 0 {
			return damage(t, dir, random)
		}
		b[at] ^= 1 << random.IntN(8)
		what = fmt.Sprintf("byte %d of %d is flipped", at, used)
	case 1:
		b = b[:min(at, len(b))]
		what = fmt.Sprintf("cut at %d of %d", at, used)
	default:
		remove(t, path)
		return filepath.Base(path) + ": deleted"
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Base(path) + ": " + what
}

// sums are those of all files of a folder but its lock.
func sums(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	out := map[string][32]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "lock" {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// shows compares a store with what there was. It returns "" where all is there
// as it was.
func shows(s *Store, want map[string]*stream.Record) string {
	got := map[string]*stream.Record{}
	_, err := s.Changes(context.Background(), "contacts", 0, 0, func(r *stream.Record) error { got[r.ID] = r; return nil })
	switch {
	case err != nil:
		return "the feed ends with " + err.Error()
	case len(got) != len(want):
		return fmt.Sprintf("%d records of %d", len(got), len(want))
	}
	return cmp.Diff(want, got)
}

// owes tells whether the ledger knows that the stream has to be held against
// HubSpot, or read from the beginning.
func owes(s *Store) (bool, error) {
	l, err := s.Load(context.Background())
	if err != nil {
		return false, err
	}
	for _, st := range l.Streams {
		if st.Name == "contacts" {
			return st.ReconcileNow || !st.Backfilled, nil
		}
	}
	return true, nil // it is a new one
}

// Any file flipped, cut or deleted: the store refuses and says why, or opens
// and says what is lost; never is there less than there was without a word, and
// never a panic. A look changes nothing; a repair leaves a whole store that
// knows what it has to fetch again, in an epoch in which no number is given
// twice.
func TestDamages(t *testing.T) {
	t.Parallel()
	seed, n := uint64(7), 12
	if v := os.Getenv("HUBPIPE_DAMAGES"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	if v := os.Getenv("HUBPIPE_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d, %d damages", seed, n)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a seed
	for _, killed := range []bool{false, true} {
		whole, want := soiled(t, killed)
		untouched(t, whole, want)
		harmless := 0
		for range n / 2 {
			dir := copyOf(t, whole)
			what := damage(t, dir, random)
			if killed {
				what += " after a kill"
			}
			if !damaged(t, what, dir, want) {
				harmless++
			}
		}
		if harmless > n/4 {
			t.Errorf("%d of %d damages did nothing", harmless, n/2)
		}
	}
}

// untouched shows that a whole store is not called damaged.
func untouched(t *testing.T, whole string, want map[string]*stream.Record) {
	t.Helper()
	for _, repair := range []bool{false, true} {
		dir := copyOf(t, whole)
		d, err := Examine(t.Context(), testOptions(dir), repair)
		if err != nil || len(d.Findings) > 0 || len(d.Streams) != 1 || !d.Streams[0].OK() {
			t.Fatalf("a whole store: %v\n%s", err, d)
		}
		s := open(t, dir)
		if lacks := shows(s, want); lacks != "" || s.Epoch() != 1 {
			t.Fatalf("a whole store, epoch %d: %s", s.Epoch(), lacks)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// damaged tries a damaged store, and tells whether the damage mattered.
func damaged(t *testing.T, what, dir string, want map[string]*stream.Record) bool {
	t.Helper()
	opened := copyOf(t, dir)
	before := sums(t, dir)
	looked, err := Examine(t.Context(), testOptions(dir), false)
	if err != nil {
		t.Errorf("%s: the look fails: %v", what, err)
	}
	if d := cmp.Diff(before, sums(t, dir)); d != "" {
		t.Fatalf("%s: a look changed the store: %s", what, d)
	}

	// Just opened.
	said := ""
	s, err := Open(t.Context(), testOptions(opened))
	if err != nil {
		said = err.Error()
		if !errors.Is(err, errBroken) {
			t.Errorf("%s: refused without a way out: %v", what, err)
		}
	} else {
		<-s.Ready()
		s.check()
		st := s.Status()
		if len(st.Missing) > 0 || st.LostTail || st.Damage != "" || s.Epoch() > 1 {
			said = fmt.Sprintf("%+v, epoch %d", st, s.Epoch())
		}
		if st.Damage == "" {
			put(t, s, "other", "1") // with it what was found is put right
		}
		if lacks := shows(s, want); said == "" && lacks != "" {
			t.Errorf("%s: it opens without a word: %s", what, lacks)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}

	d, err := Examine(t.Context(), testOptions(dir), true)
	t.Cleanup(func() {
		aside, _ := filepath.Glob(dir + ".damaged-*")
		for _, path := range aside {
			_ = os.RemoveAll(path)
		}
	})
	if err != nil || !d.Well() {
		t.Errorf("%s: not mended: %v\n%s", what, err, d)
		return true
	}
	if len(d.Findings) != len(looked.Findings) {
		t.Errorf("%s: looked at it says\n%sand mended\n%s", what, looked, d)
	}
	s, err = Open(t.Context(), testOptions(dir))
	if err != nil {
		t.Errorf("%s: does not open after it was mended: %v\n%s", what, err, d)
		return true
	}
	defer func() { _ = s.Close() }()
	verified(t, s)
	lacks := shows(s, want)
	owing, err := owes(s)
	if err != nil || lacks != "" && !owing {
		t.Errorf("%s: nobody knows that it has to be fetched: %v %s\n%s", what, err, lacks, d)
	}
	if lacks != "" && len(d.Findings) == 0 {
		t.Errorf("%s: nothing is found: %s", what, lacks)
	}
	last := uint64(0)
	for _, r := range want {
		last = max(last, r.Seq)
	}
	put(t, s, "contacts", "new")
	if s.Position() <= last && s.Epoch() == 1 {
		t.Errorf("%s: position %d is given again", what, s.Position())
	}
	if testing.Verbose() {
		t.Logf("%s\n  opened: %.150s\n  mended: %s  lacks: %.60q, owes %t", what, said, d, lacks, owing)
	}
	return said != "" || len(d.Findings) > 0
}

// Whoever looks at the same time finds the same damage: it is counted and put
// right once.
func TestChecksAtTheSameTime(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for i := range 20 {
		put(t, s, "contacts", strconv.Itoa(i))
	}
	<-s.checked
	if err := s.db.Update(func(txn *badger.Txn) error { return txn.Delete(indexKey("contacts", "7")) }); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if r, err := s.Recheck(t.Context()); err != nil || r.OK() {
				t.Errorf("it found %+v, %v", r, err)
			}
		})
	}
	wg.Wait()
	if st := s.Status(); st.Missing["contacts"] != 1 {
		t.Errorf("missing are %v", st.Missing)
	}
	put(t, s, "deals", "1")
	verified(t, s)
}
