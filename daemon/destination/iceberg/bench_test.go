//go:build iceberg

package iceberg_test

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
	"github.com/hubpipe/hubpipe/internal/e2e/enginetest"
)

// BenchmarkIceberg copies HUBPIPE_ICEBERG_ROWS contacts (100,000) of a kilobyte each
// into a table in a folder: new ones, all of them changed, and all written again.
// It is run once: -benchtime=1x.
func BenchmarkIceberg(b *testing.B) {
	n := 100_000
	if text := os.Getenv("HUBPIPE_ICEBERG_ROWS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	for _, mode := range modes() {
		b.Run(mode, func(b *testing.B) {
			for range b.N {
				benchmark(b, n, mode)
			}
		})
	}
}

func benchmark(b *testing.B, n int, mode string) {
	b.Helper()
	r, _ := rested(b, iceberg.Options{Mode: mode})
	r.Gather = time.Millisecond // turns are as long as they are for people
	r.DefineMany()
	written := uint64(0)
	for _, round := range []string{"new", "updated", "again"} {
		if round != "again" {
			r.PutMany(n, round)
		}
		written += uint64(n) //nolint:gosec // far below
		runtime.GC()
		peak, stop := enginetest.WatchMemory()
		begin, mine := time.Now(), enginetest.CPU(b)
		switch round {
		case "new":
			r.Start()
		case "again":
			if err := r.M.Resync("lake", ""); err != nil {
				b.Fatal(err)
			}
		}
		if round != "new" {
			if err := r.M.Resume("lake"); err != nil {
				b.Fatal(err)
			}
		}
		r.Until(func(s destination.Status) bool {
			return s.State == destination.Current && s.Streams[0].Place.Rows >= written
		})
		took := time.Since(begin)
		stop()
		b.ReportMetric(float64(n)/took.Seconds(), round+"-rows/s")
		b.ReportMetric(float64((enginetest.CPU(b)-mine).Microseconds())/float64(n), round+"-us/row")
		b.ReportMetric(float64(peak())/(1<<20), round+"-anon-MiB")
		if round == "new" {
			if err := r.M.Pause("lake"); err != nil {
				b.Fatal(err)
			}
		}
	}
	begin := time.Now()
	r.Equal()
	b.ReportMetric(float64(n)/time.Since(begin).Seconds(), "checked-rows/s")
}
