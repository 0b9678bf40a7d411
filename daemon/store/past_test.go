package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// by stores a version that a run brought on a road.
func by(t testing.TB, s *Store, id string, version int64, o stream.Origin) {
	t.Helper()
	r := record(id, version, stream.Live)
	r.By = o
	commit(t, s, func(tx *Tx) error { return tx.Put("contacts", r) })
}

// told is what is left of a record, as "version road run", newest first.
func told(t testing.TB, s *Store, id string, limit int) (out []string) {
	t.Helper()
	heads, err := s.VersionsOf(context.Background(), "contacts", id, limit)
	if err != nil {
		t.Fatal(err)
	}
	for i := range heads {
		if heads[i].ID != id || i > 0 && heads[i].Seq >= heads[i-1].Seq {
			t.Fatalf("%+v", heads)
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%d %s %s", heads[i].Version, heads[i].By.Road, heads[i].By.Run)))
	}
	return out
}

// A store that an older hubpipe wrote opens as it is, says that it does not know
// who brought its records, and knows of those that come now; that hubpipe refuses
// it from then on.
func TestAStoreFromBeforeOrigins(t *testing.T) {
	t.Parallel()
	// Made by the hubpipe before: twenty contacts, the seventh of them twice.
	old, err := os.ReadFile(filepath.Join("testdata", "format2.backup"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	restore(t, dir, old, false)
	// What it would have found: its own anchor, and its own numbers.
	path := filepath.Join(dir, "anchor.json")
	a, err := readAnchor(path)
	if err != nil {
		t.Fatal(err)
	}
	a.Format = 2
	db, err := badger.Open(badgerOptions(filepath.Join(dir, "badger"), &badgerLog{log: Options{}.withDefaults().Logger}))
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(txn *badger.Txn) error {
		var m meta
		if err := getJSON(txn, []byte{kMeta}, &m); err != nil {
			return err
		}
		m.Format = 2
		return setJSON(txn, []byte{kMeta}, m)
	})
	if err := errors.Join(err, db.Close(), writeAnchor(path, a)); err != nil {
		t.Fatal(err)
	}

	s := open(t, dir)
	<-s.Ready()
	if n := len(feed(t, s, "contacts", 0)); n != 20 {
		t.Fatalf("%d records", n)
	}
	if got := told(t, s, "7", 10); !slices.Equal(got, []string{"2", "1"}) {
		t.Errorf("of what was there: %q", got)
	}
	o := stream.Origin{Run: "r000000000009", Road: stream.SettleRoad}
	by(t, s, "7", 3, o)
	by(t, s, "99", 1, o) // beside those that were there, in their block
	if got := told(t, s, "7", 1); !slices.Equal(got, []string{"3 settle r000000000009"}) {
		t.Errorf("of what came: %q", got)
	}
	if got := told(t, s, "8", 2); !slices.Equal(got, []string{"1"}) {
		t.Errorf("of its neighbour: %q", got)
	}
	verified(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if a, err := readAnchor(path); err != nil || a.Format != format {
		t.Errorf("the anchor has format %d, %v", a.Format, err)
	}
	s = open(t, dir)
	if got := told(t, s, "99", 2); !slices.Equal(got, []string{"1 settle r000000000009"}) {
		t.Errorf("after a restart: %q", got)
	}
}

// Of a record all is told that is left: what somebody keeps, and else what lies in
// blocks that were not written anew. What was erased is not.
func TestVersionsOf(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprint("kept ", kept), func(t *testing.T) {
			t.Parallel()
			s := open(t, t.TempDir())
			<-s.Ready()
			if kept {
				s.KeepVersions(map[string]Keep{"contacts": {For: time.Hour, Readers: map[string]uint64{"warehouse": 0}}})
			}
			// Blocks of their own, that have others to live for.
			var want []string
			for n := range 6 {
				o := stream.Origin{Run: runID(uint64(40 + n)), Road: stream.HintRoad}
				commit(t, s, func(tx *Tx) error {
					for i := range 20 {
						if err := tx.Put("contacts", record(fmt.Sprint(1000*n+i+100), 1, stream.Live)); err != nil {
							return err
						}
					}
					r := record("1", int64(n+1), stream.Live)
					r.By = o
					return tx.Put("contacts", r)
				})
				want = append([]string{fmt.Sprintf("%d hint %s", n+1, o.Run)}, want...)
			}
			if got := told(t, s, "1", 100); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			if got := told(t, s, "1", 2); !slices.Equal(got, want[:2]) {
				t.Errorf("two of them: %q", got)
			}
			gone := record("1", 7, stream.Purged)
			gone.By = stream.Origin{Road: stream.EraseRoad}
			commit(t, s, func(tx *Tx) error { return tx.Put("contacts", gone) })
			if got := told(t, s, "1", 100); !slices.Equal(got, []string{"7 erase"}) {
				t.Errorf("erased, and %q", got)
			}
			if _, err := s.VersionsOf(t.Context(), "contacts", "2", 1); !errors.Is(err, ErrNotFound) {
				t.Errorf("what was never there: %v", err)
			}
		})
	}
}

// What a backup holds says who brought it, and a store that was restored from it.
func TestOriginsAreBackedUp(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	by(t, s, "1", 1, stream.Origin{Run: "r000000000003", Road: stream.BackfillRoad})
	dir := filepath.Join(t.TempDir(), "data")
	restore(t, dir, backup(t, s), false)
	if got := told(t, open(t, dir), "1", 9); !slices.Equal(got, []string{"1 backfill r000000000003"}) {
		t.Errorf("%q", got)
	}
}

// A hundred records that one run brought say so in a few bytes, all together.
func TestOriginsAreSmall(t *testing.T) {
	t.Parallel()
	size := func(o stream.Origin) int {
		var b block
		b.reset(1)
		for i := range blockRecords {
			r := pageRecord(i, int64(i))
			r.Seq, r.By, r.ReadBy = uint64(i)+1, o, o
			if err := b.add(&r.Head, contentOf(r)); err != nil {
				t.Fatal(err)
			}
		}
		return len(b.append(nil))
	}
	none, all := size(stream.Origin{}), size(stream.Origin{Run: "r000000123456", Road: stream.SearchRoad})
	if all-none > 4 {
		t.Errorf("%d bytes more", all-none)
	}
}

// Ids are numbers on disk where they are those that the store hands out.
func TestRunIDs(t *testing.T) {
	t.Parallel()
	for n, want := range map[uint64]string{0: "r000000000000", 1: "r000000000001", 999_999_999_999: "r999999999999", 1e12: "r1000000000000",
		1<<64 - 1: "r18446744073709551615"} {
		if got := runID(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
		if back, ok := numberOfRun(want); !ok || back != n {
			t.Errorf("%s is %d, %t", want, back, ok)
		}
	}
	for _, other := range []string{"", "r", "r1", "x000000000001", "r00000000000x", "r0000000000001", "r+00000000001", "r99999999999999999999"} {
		if n, ok := numberOfRun(other); ok {
			t.Errorf("%q is run %d", other, n)
		}
	}
}
