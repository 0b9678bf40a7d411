package postgres_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/internal/e2e/enginetest"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// BenchmarkWarehouse copies HUBPIPE_WAREHOUSE_ROWS contacts (100,000) of a
// kilobyte each into a PostgreSQL of its own: new ones, then all of them changed.
// It is run once: -benchtime=1x.
func BenchmarkWarehouse(b *testing.B) { copyAll(b, 0) }

// BenchmarkVersions does so with a table of versions, which then has two of each.
func BenchmarkVersions(b *testing.B) { copyAll(b, time.Hour) }

func copyAll(b *testing.B, versions time.Duration) {
	b.Helper()
	n := 100_000
	if text := os.Getenv("HUBPIPE_WAREHOUSE_ROWS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	for range b.N {
		r := newRig(b, pgserver.Start(b, "fsync=on", "max_wal_size=4GB"), postgres.Options{})
		r.Streams[0].Versions = versions
		r.DefineMany()
		for _, round := range []string{"new", "updated"} {
			r.PutMany(n, round)
			runtime.GC()
			peak, stop := enginetest.WatchMemory()
			begin, mine, theirs := time.Now(), cpu(b, os.Getpid()), r.pg.CPU()
			if r.M == nil {
				r.Start()
			} else if err := r.M.Resume("warehouse"); err != nil {
				b.Fatal(err)
			}
			r.UntilWithin(time.Hour, func(s destination.Status) bool { return s.State == destination.Current })
			took := time.Since(begin)
			stop()
			b.ReportMetric(float64(n)/took.Seconds(), round+"-rows/s")
			b.ReportMetric(float64(peak())/(1<<20), round+"-anon-MiB")
			// On a machine that has other work, what a row costs says more than a rate.
			b.ReportMetric(float64((cpu(b, os.Getpid())-mine).Microseconds())/float64(n), round+"-own-us/row")
			b.ReportMetric(float64((r.pg.CPU()-theirs).Microseconds())/float64(n), round+"-server-us/row")
			if err := r.M.Pause("warehouse"); err != nil {
				b.Fatal(err)
			}
		}
		r.is(fmt.Sprintf("%d|%d", n, n), "SELECT count(*), count(*) FILTER (WHERE property_01 LIKE 'updated%%') FROM contacts")
	}
}

// cpu is the time that a process has had.
func cpu(t testing.TB, pid int) time.Duration {
	t.Helper()
	d, err := pgserver.ProcessCPU(pid)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
