package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// What a page brings is stored 8 pages of 100 a transaction. CPU is that of the
// whole process, what Badger does behind included.
const perCommit = 800

// BenchmarkCommit stores records that are new, and records that replace others
// in a random order; "random" are bodies whose values hardly repeat.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		name   string
		bodies func(testing.TB) [][]byte
		among  int // 0: each record is new
		each   int // records a commit
		keep   bool
	}{
		{"new", contacts, 0, perCommit, false},
		{"update", contacts, 40_000, perCommit, false},
		{"update kept", contacts, 40_000, perCommit / 4, true},
		{"single", contacts, 2000, 1, false},
		{"new/random", randomBodies, 0, perCommit, false},
		{"update/random", randomBodies, 40_000, perCommit, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			s := open(b, dir)
			rng := rand.New(rand.NewPCG(1, 1))
			bodies := c.bodies(b)
			n, raw := 0, 0
			page := func(id func() int, each int) {
				commit(b, s, func(tx *Tx) error {
					for range each {
						r := pageRecord(id(), int64(n))
						r.Properties = bodies[rng.IntN(len(bodies))]
						raw += len(r.Properties)
						n++
						if _, err := tx.Head("contacts", r.ID); err != nil {
							return err
						}
						if err := tx.Put("contacts", r); err != nil {
							return err
						}
					}
					return nil
				})
			}
			id := func() int { return n }
			for n < c.among {
				page(id, perCommit)
			}
			if c.keep { // nobody has read what is superseded
				s.KeepVersions(map[string]Keep{"contacts": {For: time.Hour, Readers: map[string]uint64{"warehouse": 0}}})
			}
			if c.among > 0 {
				id = func() int { return rng.IntN(c.among) }
			}
			n, raw = 0, 0
			at := cpu()
			for b.Loop() {
				page(id, c.each)
			}
			report(b, n, at)
			b.ReportMetric(float64(raw)/float64(n), "raw-B/record")
			s.collect()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			if c.among > 0 {
				n = c.among
			}
			b.ReportMetric(float64(diskUse(b, dir))/float64(n), "disk-B/record")
		})
	}
}

func report(b *testing.B, n int, since time.Duration) {
	b.Helper()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64((cpu()-since).Nanoseconds())/1e3/float64(n), "cpu-µs/record")
}

// cpu is what the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func pageRecord(n int, version int64) *stream.Record {
	at := 1_760_000_000_000 + 1237*version
	r := &stream.Record{Head: stream.Head{ID: strconv.Itoa(100_000 + 51*n), State: stream.Live, Version: at,
		AsOf: 1_770_000_000_000 + version/100, By: stream.Origin{Run: runID(uint64(version) / perCommit), Road: stream.SearchRoad}, CreatedAt: formatTime(layoutMillis, at-int64(n)*60_000), UpdatedAt: formatTime(layoutMillis, at)}}
	r.ReadBy = r.By
	rng := rand.NewPCG(uint64(n), uint64(version))
	binary.LittleEndian.PutUint64(r.Digest[:], rng.Uint64())
	binary.LittleEndian.PutUint64(r.Digest[8:], rng.Uint64())
	return r
}

// contacts are the properties of contacts as the simulator shows them.
func contacts(t testing.TB) (out [][]byte) {
	t.Helper()
	sim := simulator.New(simulator.Options{Seed: 1, Sizes: map[string]int{"contacts": 5000}})
	get := func(path string, into any) {
		t.Helper()
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer benchmark")
		sim.ServeHTTP(w, r)
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %v %.200s", path, w.Code, err, w.Body)
		}
	}
	var schema struct{ Results []struct{ Name string } }
	get("/crm/v3/properties/contacts", &schema)
	var names []string
	for _, p := range schema.Results {
		names = append(names, p.Name)
	}
	after := ""
	for {
		var page struct {
			Results []struct{ Properties json.RawMessage }
			Paging  struct{ Next struct{ After string } }
		}
		get("/crm/v3/objects/contacts?limit=100&properties="+strings.Join(names, ",")+after, &page)
		for _, r := range page.Results {
			out = append(out, r.Properties)
		}
		if page.Paging.Next.After == "" {
			return out
		}
		after = "&after=" + page.Paging.Next.After
	}
}

func randomBodies(testing.TB) (out [][]byte) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		out = append(out, randomProperties(rng))
	}
	return out
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

// stored makes a store of 40,000 records; half of them replace others where it
// is mixed.
func stored(b *testing.B, mixed bool) *Store {
	b.Helper()
	s := open(b, b.TempDir())
	bodies := contacts(b)
	rng := rand.New(rand.NewPCG(1, 1))
	for n := 0; n < 40_000; {
		commit(b, s, func(tx *Tx) error {
			for range 400 {
				id := n
				if mixed && n >= 20_000 {
					id = rng.IntN(20_000)
				}
				r := pageRecord(id, int64(n))
				r.Properties = bodies[n%len(bodies)]
				n++
				if err := tx.Put("contacts", r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return s
}

// BenchmarkFeed reads everything in the order of the feed.
func BenchmarkFeed(b *testing.B) {
	for _, mixed := range []bool{false, true} {
		b.Run(map[bool]string{false: "fresh", true: "changed"}[mixed], func(b *testing.B) {
			s := stored(b, mixed)
			n, at := 0, cpu()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Changes(context.Background(), "contacts", 0, 0, func(*stream.Record) error { n++; return nil }); err != nil {
					b.Fatal(err)
				}
			}
			report(b, n, at)
		})
	}
}

// BenchmarkRecords reads everything in the order of ids, as an export by id
// does; BenchmarkRecord one after the other.
func BenchmarkRecords(b *testing.B) {
	s := stored(b, true)
	n, at := 0, cpu()
	for b.Loop() {
		if _, err := s.Records(context.Background(), "contacts", Query{}, func(*stream.Record) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	report(b, n, at)
}

// BenchmarkRecord reads single records.
func BenchmarkRecord(b *testing.B) {
	s := stored(b, false)
	rng := rand.New(rand.NewPCG(1, 1))
	n, at := 0, cpu()
	for b.Loop() {
		if _, err := s.Record("contacts", fmt.Sprint(100_000+51*rng.IntN(40_000))); err != nil {
			b.Fatal(err)
		}
		n++
	}
	report(b, n, at)
}
