package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// BenchmarkCommit commits pages of 100 records of 1.8 KB, 8 pages a
// transaction. "new" never replaces a record, "update" always.
func BenchmarkCommit(b *testing.B) {
	for _, update := range []bool{false, true} {
		b.Run(map[bool]string{false: "new", true: "update"}[update], func(b *testing.B) {
			dir := b.TempDir()
			s := open(b, dir)
			rng := rand.New(rand.NewPCG(1, 1))
			bodies, raw := make([][]byte, 1000), 0
			for i := range bodies {
				bodies[i] = randomProperties(rng)
			}
			n := 0
			for b.Loop() {
				commit(b, s, func(tx *Tx) error {
					for range 800 {
						id := n
						if update {
							id = n % 8000
						}
						r := record(fmt.Sprint(100_000+51*id), int64(n), stream.Live)
						r.Properties = bodies[rng.IntN(len(bodies))]
						raw += len(r.Properties)
						n++
						if err := tx.Put("contacts", r); err != nil {
							return err
						}
					}
					return nil
				})
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(raw)/float64(n), "raw-B/record")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/record")
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(diskUse(b, dir))/float64(n), "disk-B/record")
		})
	}
}

func diskUse(b *testing.B, dir string) (total int64) {
	b.Helper()
	if err := filepath.Walk(dir, func(_ string, i os.FileInfo, err error) error {
		if err != nil || i.IsDir() {
			return err
		}
		if st, ok := i.Sys().(*syscall.Stat_t); ok {
			total += st.Blocks * 512
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	return total
}

// BenchmarkFeed reads 40,000 records of 1.8 KB.
func BenchmarkFeed(b *testing.B) {
	s := open(b, b.TempDir())
	rng := rand.New(rand.NewPCG(1, 1))
	for page := range 100 {
		commit(b, s, func(tx *Tx) error {
			for i := range 400 {
				r := record(fmt.Sprint(100_000+51*(400*page+i)), 1, stream.Live)
				r.Properties = randomProperties(rng)
				if err := tx.Put("contacts", r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Changes(context.Background(), "contacts", 0, 0, func(*stream.Record) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
