package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// clock is a time that a test sets.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// readers is a store whose versions are kept for somebody.
type readers struct {
	t    *testing.T
	c    clock
	dir  string
	s    *Store
	keep time.Duration
	at   map[string]uint64 // by reader
}

func newReaders(t *testing.T, keep time.Duration, names ...string) *readers {
	t.Helper()
	r := &readers{t: t, c: clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, dir: t.TempDir(), keep: keep, at: map[string]uint64{}}
	for _, name := range names {
		r.at[name] = 0
	}
	r.open()
	return r
}

func (r *readers) open() {
	r.t.Helper()
	o := testOptions(r.dir)
	o.Now = r.c.now
	s, err := Open(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = s.Close() })
	r.s = s
	<-s.Ready()
	r.told()
}

// told tells the store how far everybody has come.
func (r *readers) told() {
	r.s.KeepVersions(map[string]Keep{"contacts": {For: r.keep, Readers: maps.Clone(r.at)}})
}

// sweep drops what is due, a little at a time.
func (r *readers) sweep() (n int) {
	r.t.Helper()
	for {
		due, err := r.s.DueVersions(r.t.Context(), 7)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(due) == 0 {
			return n
		}
		n += len(due)
		commit(r.t, r.s, func(tx *Tx) error { return tx.DropVersions(due) })
	}
}

// read gives what stands above a position, versions included.
func (r *readers) read(since uint64, limit int) (out []*stream.Record, last uint64) {
	r.t.Helper()
	last, err := r.s.Versions(context.Background(), "contacts", since, limit, func(x *stream.Record) error { out = append(out, x); return nil })
	if err != nil {
		r.t.Fatal(err)
	}
	return out, last
}

// keysOf counts the keys of a kind.
func keysOf(t *testing.T, s *Store, kinds ...byte) (n int) {
	t.Helper()
	for _, kind := range kinds {
		if err := s.view(func(txn *badger.Txn) error {
			return scan(txn, []byte{kind}, false, func([]byte, *badger.Item) error { n++; return nil })
		}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// Whatever is committed, and however often the daemon is killed: each of two
// readers gets every version once, in the order of positions, and nothing of what
// has lost its content before it was read.
func TestEveryVersionReachesAReader(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			r := newReaders(t, 24*time.Hour, "a", "b")
			var all []*stream.Record // every version, in order
			var given int
			for step := range 150 {
				r.c.at = r.c.at.Add(time.Second)
				switch n := rng.IntN(10); {
				case n < 6:
					commit(t, r.s, func(tx *Tx) error {
						for range 1 + rng.IntN(30) {
							state := []stream.State{stream.Live, stream.Live, stream.Live, stream.Live, stream.Archived, stream.Purged, stream.Merged}[rng.IntN(7)]
							x := record([]string{fmt.Sprint(rng.IntN(25)), strings.Repeat("t", 1+rng.IntN(12))}[rng.IntN(6)/5], int64(step), state)
							if rng.IntN(3) == 0 {
								x.Associations = []byte(fmt.Sprintf(`{"companies":[{"id":"%d"}]}`, rng.Int()))
							}
							if err := tx.Put("contacts", x); err != nil {
								return err
							}
							if x.State.Bare() {
								all = slices.DeleteFunc(all, func(v *stream.Record) bool { return v.ID == x.ID })
							}
							own := *x
							all = append(all, &own)
						}
						return nil
					})
				case n < 8:
					name := []string{"a", "b", "b", "b"}[rng.IntN(4)]
					limit := rng.IntN(40)
					got, last := r.read(r.at[name], limit)
					var want []*stream.Record
					for _, v := range all {
						if v.Seq > r.at[name] && (limit == 0 || len(want) < limit) {
							want = append(want, v)
						}
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("seed %d, step %d, %s from %d (-want +got):\n%s", seed, step, name, r.at[name], diff)
					}
					given += len(got)
					if r.at[name] = last; rng.IntN(3) > 0 {
						r.told()
					}
				case n < 9:
					r.sweep()
				default:
					before, err := os.ReadFile(r.s.anchorPath())
					if err = errors.Join(err, r.s.Close()); err == nil && rng.IntN(2) == 0 {
						err = os.WriteFile(r.s.anchorPath(), before, 0o600) // as a kill would leave it
					}
					if err != nil {
						t.Fatal(err)
					}
					r.open()
				}
			}
			if given < 200 {
				t.Errorf("only %d versions were read", given)
			}
			verified(t, r.s)
			for name := range r.at {
				_, r.at[name] = r.read(r.at[name], 0)
			}
			r.told()
			r.sweep()
			if n := keysOf(t, r.s, kVersion, kPast, kVoid, kLost); n != 0 {
				t.Errorf("%d keys stay for nobody", n)
			}
			verified(t, r.s)
		})
	}
}

// Without anybody to keep them for, nothing is written of versions.
func TestNothingIsPutAsideForNobody(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, "contacts", "1", "2")
	put(t, s, "contacts", "1", "2")
	s.KeepVersions(map[string]Keep{"deals": {For: time.Hour, Readers: map[string]uint64{"w": 0}}, "contacts": {For: time.Hour}})
	put(t, s, "contacts", "1", "2")
	// Who has read a version needs it no more.
	s.KeepVersions(map[string]Keep{"contacts": {For: time.Hour, Readers: map[string]uint64{"w": s.Position(), "v": s.Position() - 1}}})
	put(t, s, "contacts", "1")
	if n := keysOf(t, s, kVersion, kPast, kVoid, kLost); n != 0 {
		t.Errorf("%d keys", n)
	}
	put(t, s, "contacts", "2")
	if n := keysOf(t, s, kVersion, kPast); n != 2 {
		t.Errorf("%d keys of the one that v has not read", n)
	}
}

// What is aside for too long goes, and for each reader it is counted what it had
// not read. The count outlives the store's closing.
func TestDroppedByAge(t *testing.T) {
	t.Parallel()
	r := newReaders(t, time.Hour, "fast", "slow")
	put(t, r.s, "contacts", "1", "2", "3") // 1 to 3
	r.at["fast"] = 2
	r.told()
	put(t, r.s, "contacts", "1", "2") // 1 and 2 are superseded
	r.c.at = r.c.at.Add(30 * time.Minute)
	put(t, r.s, "contacts", "3", "1") // 3 and 4 are
	if n := r.sweep(); n != 0 {
		t.Fatalf("%d dropped too early", n)
	}
	r.c.at = r.c.at.Add(31 * time.Minute)
	if n := r.sweep(); n != 2 {
		t.Fatalf("%d dropped of the first hour, not 2", n)
	}
	if diff := cmp.Diff(map[string]uint64{"slow": 2}, r.s.VersionsLost("contacts")); diff != "" {
		t.Error(diff)
	}
	r.c.at = r.c.at.Add(30 * time.Minute)
	if n := r.sweep(); n != 2 {
		t.Fatalf("%d dropped of the second", n)
	}
	want := map[string]uint64{"slow": 4, "fast": 2}
	for range 2 {
		if diff := cmp.Diff(want, r.s.VersionsLost("contacts")); diff != "" {
			t.Error(diff)
		}
		if err := r.s.Close(); err != nil {
			t.Fatal(err)
		}
		r.open()
	}
	if got, _ := r.read(0, 0); len(got) != 3 {
		t.Errorf("%d versions are left, not the three of the feed", len(got))
	}
	// A stream that is not kept any more leaves nothing, and nobody has lost it.
	put(t, r.s, "contacts", "1")
	r.s.KeepVersions(nil)
	if n := r.sweep(); n != 1 || keysOf(t, r.s, kVersion, kPast) != 0 {
		t.Errorf("%d dropped of what is kept no more", n)
	}
	if diff := cmp.Diff(want, r.s.VersionsLost("contacts")); diff != "" {
		t.Error(diff)
	}
}

// A record that loses its content loses its versions with it, however many there
// are: no reader gets one from that commit on, and the sweep leaves none.
func TestErasedVersions(t *testing.T) {
	t.Parallel()
	r := newReaders(t, time.Hour, "w")
	for n := range erasedInOne*2 + 50 {
		commit(t, r.s, func(tx *Tx) error {
			x := record("1", int64(n), stream.Live)
			x.Properties = []byte(`{"a":"canary"}`)
			return errors.Join(tx.Put("contacts", x), tx.Put("contacts", record("12", int64(n), stream.Live)))
		})
	}
	commit(t, r.s, func(tx *Tx) error { return tx.Put("contacts", record("1", 1, stream.Purged)) })
	canary := func(when string) {
		t.Helper()
		got, _ := r.read(0, 0)
		others := 0
		for _, x := range got {
			if x.ID == "12" {
				others++
			} else if x.State != stream.Purged {
				t.Fatalf("%s: a version of what was erased is read: %+v", when, x)
			}
		}
		if others != erasedInOne*2+50 {
			t.Errorf("%s: %d versions of another record", when, others)
		}
	}
	canary("at once")
	if n, err := r.s.VersionsBehind(t.Context(), "contacts", 0); err != nil || n != erasedInOne*2+49 {
		t.Errorf("%d versions are counted: %v", n, err)
	}
	if n := keysOf(t, r.s, kVoid); n != 1 {
		t.Errorf("%d notes of what is void", n)
	}
	r.sweep()
	canary("swept")
	if n := keysOf(t, r.s, kVoid, kLost); n != 0 {
		t.Errorf("%d notes are left", n)
	}
	if n := keysOf(t, r.s, kVersion); n != erasedInOne*2+49 {
		t.Errorf("%d versions are left", n)
	}
	verified(t, r.s)
}

// Versions go with their record also where the index has lost it.
func TestErasedWithoutEntry(t *testing.T) {
	t.Parallel()
	r := newReaders(t, time.Hour, "w")
	put(t, r.s, "contacts", "1", "2")
	put(t, r.s, "contacts", "1", "2")
	if err := r.s.db.Update(func(txn *badger.Txn) error { return txn.Delete(indexKey("contacts", "1")) }); err != nil {
		t.Fatal(err)
	}
	commit(t, r.s, func(tx *Tx) error { return tx.Put("contacts", record("1", 1, stream.Purged)) })
	if n := keysOf(t, r.s, kVersion, kPast); n != 2 {
		t.Errorf("%d keys, and not the two of the other's version", n)
	}
}

// Between the look for what is due and its drop a record is erased: what went
// with it is not counted as lost, and what is void since then is not forgotten.
func TestDueIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	r := newReaders(t, time.Hour, "w")
	many := func() {
		t.Helper()
		for n := range erasedInOne + 20 {
			commit(t, r.s, func(tx *Tx) error { return tx.Put("contacts", record("1", int64(n), stream.Live)) })
		}
	}
	purge := func() {
		t.Helper()
		commit(t, r.s, func(tx *Tx) error { return tx.Put("contacts", record("1", 1, stream.Purged)) })
	}
	look := func() [][]byte {
		t.Helper()
		due, err := r.s.DueVersions(t.Context(), 10*erasedInOne)
		if err != nil {
			t.Fatal(err)
		}
		return due
	}
	put(t, r.s, "contacts", "2")
	put(t, r.s, "contacts", "2")
	r.c.at = r.c.at.Add(2 * time.Hour)
	due := look()
	commit(t, r.s, func(tx *Tx) error { return tx.Put("contacts", record("2", 1, stream.Purged)) })
	commit(t, r.s, func(tx *Tx) error { return tx.DropVersions(due) })
	if lost := r.s.VersionsLost("contacts"); len(due) != 1 || len(lost) != 0 {
		t.Errorf("of %d that were erased some are called lost: %v", len(due), lost)
	}
	many()
	purge()
	due = look() // all that is void, and the note of it
	many()
	purge() // and a later one
	commit(t, r.s, func(tx *Tx) error { return tx.DropVersions(due) })
	if got, _ := r.read(0, 0); len(got) != 2 {
		t.Errorf("%d versions are read of two that are purged", len(got))
	}
	if r.sweep(); keysOf(t, r.s, kVersion, kPast, kVoid, kLost) != 0 {
		t.Error("the sweep leaves something")
	}
	verified(t, r.s)
}

// Many that are purged in one page, with more versions than a transaction holds,
// are purged in it all the same.
func TestManyErased(t *testing.T) {
	t.Parallel()
	r := newReaders(t, time.Hour, "w")
	for n := range int64(60) {
		commit(t, r.s, func(tx *Tx) error { return putHundred(tx, n, stream.Live) })
	}
	commit(t, r.s, func(tx *Tx) error { return putHundred(tx, 100, stream.Purged) })
	if got, _ := r.read(0, 0); len(got) != 100 {
		t.Errorf("%d versions are read of 100 that were purged", len(got))
	}
	if r.sweep(); keysOf(t, r.s, kVersion, kPast, kVoid, kLost) != 0 {
		t.Error("the sweep leaves something")
	}
	verified(t, r.s)
}

func putHundred(tx *Tx, version int64, state stream.State) error {
	for i := range 100 {
		if err := tx.Put("contacts", record(fmt.Sprint(i), version, state)); err != nil {
			return err
		}
	}
	return nil
}

// What HasRoom admits is committed where versions are put aside, too.
func TestHasRoomForVersions(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	name := strings.Repeat("n", 255)
	s.KeepVersions(map[string]Keep{name: {For: time.Hour, Readers: map[string]uint64{"w": 0}}})
	rng := rand.New(rand.NewPCG(1, 1))
	for round := range 3 {
		tx := begin(t, s)
		n := 0
		for ; n == 0 || tx.HasRoom(100, 50_000); n += 100 {
			for i := range 100 {
				r := record(strings.Repeat("i", 150)+fmt.Sprint(n+i), 1, stream.Live)
				if round > 0 {
					r.Properties = randomProperties(rng)[:500]
				}
				if err := tx.Put(name, r); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i := range erasedInOne {
			if err := tx.Put(name, record(strings.Repeat("i", 150)+fmt.Sprint(i), 1, stream.Purged)); err != nil && round < 2 {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if n < 100 {
			t.Fatalf("a transaction takes only %d records", n)
		}
	}
}

// A version that cannot be read is found, counted for whom it was kept, and let
// go; the records are as they were, and a backup has what is aside.
func TestDamagedVersions(t *testing.T) {
	t.Parallel()
	r := newReaders(t, time.Hour, "w")
	for range 3 {
		put(t, r.s, "contacts", "1", "2")
	}
	file := backup(t, r.s)
	var keys [][]byte
	if err := r.s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{kVersion}, false, func(_ []byte, item *badger.Item) error {
			keys = append(keys, item.KeyCopy(nil))
			return nil
		})
	}); err != nil || len(keys) != 4 {
		t.Fatalf("%d versions: %v", len(keys), err)
	}
	if err := r.s.db.Update(func(txn *badger.Txn) error {
		_, id, seq, _, _ := readVersionKey(keys[2])
		return errors.Join(txn.Set(keys[0], []byte{packed, 1, 2, 3}), txn.Delete(keys[1]), txn.Delete(pastKey("contacts", id, seq)))
	}); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.read(0, 0); len(got) != 3 {
		t.Errorf("%d versions are read, not the one that can be, and to which an id leads, and the two of the feed", len(got))
	}
	report, err := r.s.Recheck(t.Context())
	if err != nil || report.OK() || report.Streams[0].BadVersions != 2 || report.Streams[0].Versions != 2 {
		t.Fatalf("it found %+v, %v", report, err)
	}
	if st := r.s.Status(); len(st.Missing) != 0 {
		t.Errorf("records are missing: %v", st.Missing)
	}
	put(t, r.s, "deals", "1")
	verified(t, r.s)
	if n := keysOf(t, r.s, kVersion, kPast); n != 2 {
		t.Errorf("%d keys are left of one version", n)
	}
	if n := r.s.VersionsLost("contacts")["w"]; n != 1 {
		t.Errorf("%d are counted as lost", n)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	restore(t, dir, file, false)
	back := open(t, dir)
	verified(t, back)
	n := 0
	if _, err := back.Versions(t.Context(), "contacts", 0, 0, func(*stream.Record) error { n++; return nil }); err != nil || n != 6 {
		t.Errorf("a backup gave %d versions back: %v", n, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}
