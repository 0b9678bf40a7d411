package postgres_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/stream"
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
		r.streams[0].Versions = versions
		names := make([]string, 40)
		for i := range names {
			names[i] = fmt.Sprintf("property_%02d string", i)
		}
		names[7], names[8], names[9] = "property_07 number", "property_08 datetime", "property_09 bool"
		r.define("contacts", names...)
		for _, round := range []string{"new", "updated"} {
			r.fill(n, round)
			runtime.GC()
			peak, stop := watchMemory()
			begin, mine, theirs := time.Now(), cpu(b, os.Getpid()), r.pg.CPU()
			if r.m == nil {
				r.start()
			} else if err := r.m.Resume("warehouse"); err != nil {
				b.Fatal(err)
			}
			r.untilWithin(time.Hour, func(s destination.Status) bool { return s.State == destination.Current })
			took := time.Since(begin)
			stop()
			b.ReportMetric(float64(n)/took.Seconds(), round+"-rows/s")
			b.ReportMetric(float64(peak())/(1<<20), round+"-anon-MiB")
			// On a machine that has other work, what a row costs says more than a rate.
			b.ReportMetric(float64((cpu(b, os.Getpid())-mine).Microseconds())/float64(n), round+"-own-us/row")
			b.ReportMetric(float64((r.pg.CPU()-theirs).Microseconds())/float64(n), round+"-server-us/row")
			if err := r.m.Pause("warehouse"); err != nil {
				b.Fatal(err)
			}
		}
		r.is(fmt.Sprintf("%d|%d", n, n), "SELECT count(*), count(*) FILTER (WHERE property_01 LIKE 'updated%%') FROM contacts")
	}
}

// fill commits n contacts.
func (r *rig) fill(n int, mark string) {
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

// watchMemory follows how much of the heap is in use, and resident.
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

// cpu is the time that a process has had.
func cpu(t testing.TB, pid int) time.Duration {
	t.Helper()
	d, err := pgserver.ProcessCPU(pid)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
