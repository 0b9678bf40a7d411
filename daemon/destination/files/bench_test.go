package files_test

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/internal/e2e/enginetest"
)

// BenchmarkFiles copies HUBPIPE_FILES_ROWS contacts (100,000) of a kilobyte each
// into a folder: new ones, all of them changed, and a snapshot. It is run once:
// -benchtime=1x.
func BenchmarkFiles(b *testing.B) {
	n := 100_000
	if text := os.Getenv("HUBPIPE_FILES_ROWS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	for _, format := range []string{files.Parquet, files.NDJSON} {
		b.Run(format, func(b *testing.B) {
			for range b.N {
				benchmark(b, n, format)
			}
		})
	}
}

func benchmark(b *testing.B, n int, format string) {
	b.Helper()
	r := newRig(b, local(b), files.Options{Format: format})
	r.Gather = time.Millisecond // turns are as long as they are for people
	r.DefineMany()
	for _, round := range []string{"new", "updated", "snapshot"} {
		if round != "snapshot" {
			r.PutMany(n, round)
		}
		runtime.GC()
		peak, stop := enginetest.WatchMemory()
		begin, mine := time.Now(), enginetest.CPU(b)
		switch {
		case r.M == nil:
			r.Start()
		case round == "snapshot":
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
			return s.State == destination.Current && (round != "snapshot" || r.manifest("contacts").Snapshots > 0)
		})
		took := time.Since(begin)
		stop()
		b.ReportMetric(float64(n)/took.Seconds(), round+"-rows/s")
		b.ReportMetric(float64((enginetest.CPU(b)-mine).Microseconds())/float64(n), round+"-us/row")
		b.ReportMetric(float64(peak())/(1<<20), round+"-anon-MiB")
		if round == "updated" {
			if err := r.M.Resume("lake"); err != nil {
				b.Fatal(err)
			}
			continue
		}
		if round == "new" {
			if err := r.M.Pause("lake"); err != nil {
				b.Fatal(err)
			}
		}
	}
	m, bytes, rows := r.manifest("contacts"), int64(0), uint64(0)
	for _, f := range m.Files {
		bytes, rows = bytes+f.Bytes, rows+f.Rows
	}
	b.ReportMetric(float64(bytes)/float64(rows), "bytes/row")
	b.ReportMetric(float64(len(m.Files)), "files")
	if rows != uint64(n) { //nolint:gosec // far below
		b.Errorf("the snapshot has %d rows of %d", rows, n)
	}
}
