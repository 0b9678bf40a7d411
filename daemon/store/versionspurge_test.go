package store

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Purging many in one transaction takes memory, and time, in proportion: what is
// written already is not gone through for each. No other test runs beside it.
func TestManyPurgesAreLevel(t *testing.T) { //nolint:paralleltest // it measures all that is allocated
	r := newReaders(t, time.Hour, "w")
	const many = 2000
	name := func(i int) string { return fmt.Sprint("n", i) }
	for range 2 {
		commit(t, r.s, func(tx *Tx) error {
			for i := range many {
				if err := tx.Put("contacts", record(name(i), 1, stream.Live)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var before, after runtime.MemStats
	commit(t, r.s, func(tx *Tx) error {
		runtime.ReadMemStats(&before)
		for i := range many {
			if err := tx.Put("contacts", record(name(i), 1, stream.Purged)); err != nil {
				return err
			}
		}
		runtime.ReadMemStats(&after)
		return nil
	})
	if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 24 {
		t.Errorf("%d purges took %d MB", many, got)
	}
	verified(t, r.s)
}

// What a transaction itself has put aside goes with its record, too.
func TestErasedInTheSameTransaction(t *testing.T) {
	t.Parallel()
	r := newReaders(t, time.Hour, "w")
	put(t, r.s, "contacts", "1", "2")
	commit(t, r.s, func(tx *Tx) error {
		for n := range int64(3) {
			for _, id := range []string{"1", "2", "12"} {
				if err := tx.Put("contacts", record(id, n, stream.Live)); err != nil {
					return err
				}
			}
		}
		return tx.Put("contacts", record("1", 3, stream.Purged))
	})
	got, _ := r.read(0, 0)
	for _, x := range got {
		if x.ID == "1" && x.State != stream.Purged {
			t.Errorf("a version of what was purged is read: %d", x.Seq)
		}
	}
	if n := keysOf(t, r.s, kVersion, kPast); len(got) != 8 || n != 10 {
		t.Errorf("%d versions are read of 8, from %d keys", len(got), n)
	}
	// One that has more of them than are taken away at once.
	commit(t, r.s, func(tx *Tx) error {
		for n := range int64(erasedInOne + 10) {
			if err := tx.Put("contacts", record("2", n, stream.Live)); err != nil {
				return err
			}
		}
		return tx.Put("contacts", record("2", 3, stream.Purged))
	})
	if got, _ := r.read(0, 0); len(got) != 5 {
		t.Errorf("%d versions are read of 5", len(got))
	}
	if r.sweep(); keysOf(t, r.s, kVersion, kPast) != 4 || keysOf(t, r.s, kVoid, kLost) != 0 {
		t.Error("the sweep leaves something, or takes too much")
	}
	verified(t, r.s)
}

// A version that was let go, and that Badger brings back when it collects its
// value log, is given to nobody, is no damage, is lost to nobody, and goes.
func TestAVersionThatComesBack(t *testing.T) {
	t.Parallel()
	r := newReaders(t, time.Hour, "w")
	put(t, r.s, "contacts", "1", "2")
	put(t, r.s, "contacts", "1", "2")
	old := map[string][]byte{}
	if err := r.s.db.View(func(txn *badger.Txn) error {
		return scan(txn, streamKey(kVersion, "contacts"), true, func(key []byte, item *badger.Item) error {
			v, err := item.ValueCopy(nil)
			old[string(key)] = v
			return err
		})
	}); err != nil || len(old) != 2 {
		t.Fatalf("%d versions are aside: %v", len(old), err)
	}
	commit(t, r.s, func(tx *Tx) error {
		return errors.Join(tx.Put("contacts", record("1", 1, stream.Purged)), tx.Put("contacts", record("2", 1, stream.Purged)))
	})
	write(t, r.s, old)
	n, behind := 0, uint64(0)
	_, err := r.s.Versions(t.Context(), "contacts", 0, 0, func(rec *stream.Record) error {
		n++
		if rec.State != stream.Purged {
			t.Errorf("%s is given as it was: %s %s", rec.ID, rec.State, rec.Properties)
		}
		return nil
	})
	if err == nil {
		behind, err = r.s.VersionsBehind(t.Context(), "contacts", 0)
	}
	if n != 2 || behind != 0 || err != nil {
		t.Errorf("%d versions are given, %d are behind: %v", n, behind, err)
	}
	verified(t, r.s)
	r.c.at = r.c.at.Add(2 * time.Hour)
	r.sweep()
	if n := keysOf(t, r.s, kVersion, kPast); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	if lost := r.s.VersionsLost("contacts"); len(lost) > 0 {
		t.Errorf("lost: %v", lost)
	}
	// Where nobody looks for what is due, the daily reading finds them.
	write(t, r.s, old)
	if _, err := r.s.Recheck(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, r.s, "contacts", "3")
	if n := keysOf(t, r.s, kVersion); n != 0 {
		t.Errorf("%d versions are left", n)
	}
	if lost, missing := r.s.VersionsLost("contacts"), r.s.Status().Missing; len(lost) > 0 || len(missing) > 0 {
		t.Errorf("lost: %v, missing: %v", lost, missing)
	}
}
