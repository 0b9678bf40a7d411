package store

import (
	"fmt"
	"runtime"
	"testing"
	"time"

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
