package store

import (
	"testing"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// A record stands in the feed once, also when one transaction asks for it and
// then stores it more than once.
func TestPutAfterHead(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for version := range int64(2) {
		commit(t, s, func(tx *Tx) error {
			if _, err := tx.Head("contacts", "7"); err != nil {
				return err
			}
			for range 2 {
				if err := tx.Put("contacts", record("7", version, stream.Live)); err != nil {
					return err
				}
			}
			return nil
		})
		if got := feed(t, s, "contacts", 0); len(got) != 1 || got[0].Version != version {
			t.Fatalf("the feed holds %d records of one", len(got))
		}
		if got := s.Counts("contacts").Live; got != 1 {
			t.Fatalf("%d are counted of one", got)
		}
	}
}
