package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// rawBlocks are the blocks of a stream as they are stored, by their keys.
func rawBlocks(t *testing.T, s *Store, name string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := s.db.View(func(txn *badger.Txn) error {
		return scan(txn, streamKey(kFeed, name), true, func(key []byte, item *badger.Item) error {
			if key[len(key)-1] != blockKind {
				return nil
			}
			v, err := item.ValueCopy(nil)
			out[string(key)] = v
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// write changes keys behind the store's back; nil deletes one.
func write(t *testing.T, s *Store, values map[string][]byte) {
	t.Helper()
	err := s.db.Update(func(txn *badger.Txn) error {
		for key, v := range values {
			err := txn.Delete([]byte(key))
			if v != nil {
				err = txn.Set([]byte(key), v)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A block that was dropped, and that Badger brings back when it collects its
// value log, is not seen, wherever it is read from, and goes with the next
// commit. A block that lost its note is damage all the same.
func TestADroppedBlockThatComesBack(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	<-s.Ready()
	again := func(version int64) {
		commit(t, s, func(tx *Tx) error {
			var err error
			for id := range blockRecords {
				err = errors.Join(err, tx.Put("contacts", record(fmt.Sprint(id), version, stream.Live)))
			}
			return err
		})
	}
	again(1)
	old := rawBlocks(t, s, "contacts")
	again(2)
	put(t, s, "contacts", "last")
	now := rawBlocks(t, s, "contacts")
	for key := range now {
		delete(old, key)
	}
	if len(old) != 1 {
		t.Fatalf("%d blocks of the first were dropped", len(old))
	}
	want := feed(t, s, "contacts", 0)
	write(t, s, old)
	verified(t, s)
	for since := range want[len(want)-1].Seq + 1 {
		got, behind := feed(t, s, "contacts", since), 0
		for _, r := range want {
			if r.Seq > since {
				behind++
			}
		}
		if n, err := s.Behind(t.Context(), "contacts", since); len(got) != behind || n != uint64(behind) || err != nil {
			t.Errorf("above %d there are %d, and %d behind, want %d: %v", since, len(got), n, behind, err)
		}
	}
	s.survey()
	if n, ok := s.Bytes("contacts"); !ok || n == 0 || n > 64<<10 {
		t.Errorf("a hundred records take %d bytes, counted: %v", n, ok)
	}
	put(t, s, "contacts", "more")
	for key := range old {
		if rawBlocks(t, s, "contacts")[key] != nil {
			t.Error("it is still there")
		}
	}
	verified(t, s)

	for key := range rawBlocks(t, s, "contacts") {
		note := []byte(key)
		note[len(note)-1] = noteKind
		write(t, s, map[string][]byte{string(note): nil})
	}
	if _, err := s.Changes(t.Context(), "contacts", 0, 0, func(*stream.Record) error { return nil }); !errors.Is(err, errBlock) {
		t.Errorf("without notes the feed is read: %v", err)
	}
	if r, err := s.Verify(t.Context()); err != nil || r.OK() {
		t.Errorf("without notes all is well: %+v %v", r, err)
	}
	s.survey()
	if s.unmended() > 0 {
		t.Error("blocks that lost their notes are dropped")
	}
}

// So it is with a run that was let go.
func TestARunThatComesBack(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	<-s.Ready()
	putRun := func(n int, state stream.RunState) {
		commit(t, s, func(tx *Tx) error {
			return tx.PutRun(&stream.Run{ID: fmt.Sprintf("r%012d", n), Stream: "contacts", Kind: stream.Incremental, State: state})
		})
	}
	putRun(1, stream.Running)
	key, old := string(textKey(kRun, "r000000000001")), []byte(nil)
	if err := s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte(key))
		if err == nil {
			old, err = item.ValueCopy(nil)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for n := range 10 * pruneEvery {
		putRun(n+1, stream.Done)
	}
	before, err := s.Runs(t.Context(), "", "", 0, "")
	if err != nil || before[len(before)-1].ID == "r000000000001" {
		t.Fatalf("the first was not let go: %v", err)
	}
	write(t, s, map[string][]byte{key: old})
	after, err := s.Runs(t.Context(), "", "", 0, "")
	if err != nil || len(after) != len(before) {
		t.Errorf("%d runs, were %d: %v", len(after), len(before), err)
	}
	if _, err := s.Run("r000000000001"); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is there: %v", err)
	}
}
