package enginetest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// columns is how many properties contacts of a benchmark have.
const columns = 40

// DefineMany defines contacts as PutMany commits them.
func (r *Rig) DefineMany() {
	names := make([]string, columns)
	for i := range names {
		names[i] = fmt.Sprintf("property_%02d string", i)
	}
	names[7], names[8], names[9] = "property_07 number", "property_08 datetime", "property_09 bool"
	r.Define("contacts", names...)
}

// PutMany commits n contacts of a kilobyte each, whose texts begin with a mark.
func (r *Rig) PutMany(n int, mark string) {
	r.t.Helper()
	var batch []*stream.Record
	for i := range n {
		var p bytes.Buffer
		p.WriteByte('{')
		for j := range columns {
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
		batch = append(batch, Record(strconv.Itoa(1000000+i), p.String()))
		if len(batch) == 400 || i == n-1 {
			r.Put("contacts", batch...)
			batch = batch[:0]
		}
	}
}

// WatchMemory follows the anonymous memory of this process until stop.
func WatchMemory() (peak func() uint64, stop func()) {
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

// CPU is the time that this process has had.
func CPU(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
