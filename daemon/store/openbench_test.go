package store

import (
	"os"
	"strconv"
	"testing"
)

// openRecordsVar is of how many records BenchmarkOpen's store is: 1000000 is
// what docs/BENCHMARKS.md promises for.
const openRecordsVar = "HUBPIPE_OPEN_RECORDS"

// BenchmarkOpen opens a store after a clean stop, and one that was killed until
// it is ready; the looking at files that comes first is timed by itself.
func BenchmarkOpen(b *testing.B) {
	n := 40_000
	if v, err := strconv.Atoi(os.Getenv(openRecordsVar)); err == nil {
		n = v
	}
	dir := b.TempDir()
	s := open(b, dir)
	bodies := contacts(b)
	for id := 0; id < n; {
		commit(b, s, func(tx *Tx) error {
			for range 400 {
				r := pageRecord(id, int64(id))
				r.Properties = bodies[id%len(bodies)]
				id++
				if err := tx.Put("contacts", r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("clean", func(b *testing.B) {
		for b.Loop() {
			s, err := Open(b.Context(), testOptions(dir))
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("files", func(b *testing.B) {
		for b.Loop() {
			if found, lost, err := faults(s.badgerDir(), anchor{}); err != nil || len(found) > 0 || lost > 0 {
				b.Fatal(found, lost, err)
			}
		}
	})
	b.Run("killed", func(b *testing.B) {
		for b.Loop() {
			a, err := readAnchor(s.anchorPath())
			if err != nil {
				b.Fatal(err)
			}
			a.Clean = false
			if err := writeAnchor(s.anchorPath(), a); err != nil {
				b.Fatal(err)
			}
			s, err := Open(b.Context(), testOptions(dir))
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			<-s.checked
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}
