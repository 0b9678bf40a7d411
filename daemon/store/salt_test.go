package store

import (
	"bytes"
	"sync"
	"testing"
)

// The salt is made once, whoever asks, beside a writer; it outlives the process
// and goes with the backup.
func TestSalt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "contacts", "1")
	salts := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range salts {
		wg.Go(func() {
			var err error
			if salts[i], err = s.Salt(); err != nil {
				t.Error(err)
			}
		})
	}
	for range 20 {
		put(t, s, "contacts", "1", "2")
	}
	wg.Wait()
	salt := salts[0]
	for _, other := range salts {
		if !bytes.Equal(salt, other) || len(salt) != 32 {
			t.Fatalf("%x and %x", salt, other)
		}
	}
	file := backup(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got, err := s.Salt(); err != nil || !bytes.Equal(got, salt) {
		t.Errorf("after a restart it is %x, not %x: %v", got, salt, err)
	}
	if r, err := s.Verify(t.Context()); err != nil || !r.OK() {
		t.Errorf("the store is not whole: %+v %v", r, err)
	}
	elsewhere := t.TempDir()
	restore(t, elsewhere, file, false)
	if got, err := open(t, elsewhere).Salt(); err != nil || !bytes.Equal(got, salt) {
		t.Errorf("restored it is %x, not %x: %v", got, salt, err)
	}
	if got, err := open(t, t.TempDir()).Salt(); err != nil || bytes.Equal(got, salt) {
		t.Errorf("another store has the same: %v", err)
	}
}
