//go:build iceberg

package iceberg_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
	"github.com/hubpipe/hubpipe/daemon/stream"
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
	r.gather = time.Millisecond // turns are as long as they are for people
	names := make([]string, 40)
	for i := range names {
		names[i] = fmt.Sprintf("property_%02d string", i)
	}
	names[7], names[8], names[9] = "property_07 number", "property_08 datetime", "property_09 bool"
	r.define("contacts", names...)
	written := uint64(0)
	for _, round := range []string{"new", "updated", "again"} {
		if round != "again" {
			r.contacts(n, round)
		}
		written += uint64(n) //nolint:gosec // far below
		runtime.GC()
		peak, stop := watchMemory()
		begin, mine := time.Now(), cpu(b)
		switch round {
		case "new":
			r.start()
		case "again":
			if err := r.m.Resync("lake", ""); err != nil {
				b.Fatal(err)
			}
		}
		if round != "new" {
			if err := r.m.Resume("lake"); err != nil {
				b.Fatal(err)
			}
		}
		r.until(func(s destination.Status) bool {
			return s.State == destination.Current && s.Streams[0].Place.Rows >= written
		})
		took := time.Since(begin)
		stop()
		b.ReportMetric(float64(n)/took.Seconds(), round+"-rows/s")
		b.ReportMetric(float64((cpu(b)-mine).Microseconds())/float64(n), round+"-us/row")
		b.ReportMetric(float64(peak())/(1<<20), round+"-anon-MiB")
		if round == "new" {
			if err := r.m.Pause("lake"); err != nil {
				b.Fatal(err)
			}
		}
	}
	begin := time.Now()
	r.equal()
	b.ReportMetric(float64(n)/time.Since(begin).Seconds(), "checked-rows/s")
}

// contacts commits n of them.
func (r *rig) contacts(n int, mark string) {
	r.t.Helper()
	var batch []*stream.Record
	for i := range n {
		var p bytes.Buffer
		p.WriteByte('{')
		for j := range 40 {
			v := fmt.Sprintf("%s %08d of number %03d", mark, i, j)
			switch j {
			case 7:
				v = fmt.Sprintf("%d.50", i)
			case 8:
				v = "2026-01-02T03:04:05.678Z"
			case 9:
				v = "true"
			}
			if j > 0 {
				p.WriteByte(',')
			}
			fmt.Fprintf(&p, `"property_%02d":"%s"`, j, v)
		}
		p.WriteByte('}')
		batch = append(batch, record(strconv.Itoa(1000000+i), p.String()))
		if len(batch) == 400 || i == n-1 {
			r.put("contacts", batch...)
			batch = batch[:0]
		}
	}
}

// watchMemory follows the anonymous memory of this process.
func watchMemory() (peak func() uint64, stop func()) {
	var top uint64
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(50 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-quit:
				return
			case <-t.C:
				top = max(top, resident())
			}
		}
	}()
	return func() uint64 { return top }, func() { close(quit); <-done }
}

// resident is the anonymous memory of this process, 0 where it cannot be told.
func resident() uint64 {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// cpu is the time that this process has had.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
