package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// The same records written again and again take no more of the disk: what is
// superseded in the value log is collected, once the tree has let go of the keys
// that led there. Badger's files are a sixteenth of their size and more here, so
// that several are filled.
func TestOverwrittenStoreIsLevel(t *testing.T) {
	t.Parallel()
	o := testOptions(t.TempDir())
	o.tune = func(o badger.Options) badger.Options {
		return o.WithMemTableSize(memTable / 16).WithBaseTableSize(128 << 10).WithBaseLevelSize(1 << 20).WithValueLogFileSize(1 << 20)
	}
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	<-s.Ready()
	rng := rand.NewChaCha8([32]byte{})
	// How far compaction is behind depends on the machine, so the size is waited
	// for to fall, again and again.
	const records, each, size, rounds, falls = 500, 50, 1200, 400, 3
	most, fallen := uint64(0), 0
	for round := 1; fallen < falls; round++ {
		for from := 0; from < records; from += each {
			commit(t, s, func(tx *Tx) error {
				for id := from; id < from+each; id++ {
					noise := make([]byte, size/2)
					_, _ = rng.Read(noise)
					r := record(fmt.Sprint(id), int64(round), stream.Live)
					r.Properties = fmt.Appendf(nil, `{"note":"%x"}`, noise)
					if err := tx.Put("contacts", r); err != nil {
						return err
					}
				}
				return nil
			})
		}
		s.collect()
		d, err := s.Disk()
		if err != nil {
			t.Fatal(err)
		}
		if now := d.Tree + d.Log; now < most/2 {
			fallen, most = fallen+1, now
		} else {
			most = max(most, now)
		}
		if round == rounds {
			t.Fatalf("%d KiB of records, written %d times, take %d KiB; that has fallen %d times", records*size>>10, rounds, most>>10, fallen)
		}
	}
	verified(t, s)
}
