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
	const records, each, size, rounds = 500, 50, 1200, 60
	most := uint64(0)
	for round := range rounds {
		for from := 0; from < records; from += each {
			commit(t, s, func(tx *Tx) error {
				for id := from; id < from+each; id++ {
					noise := make([]byte, size/2)
					_, _ = rng.Read(noise)
					r := record(fmt.Sprint(id), int64(round+1), stream.Live)
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
		if round >= rounds/2 {
			most = max(most, d.Tree+d.Log)
		}
	}
	verified(t, s)
	if written := uint64(records * size * rounds); most > written/2 {
		t.Errorf("%d KiB of records, written %d times, take up to %d KiB", records*size>>10, rounds, most>>10)
	}
}
