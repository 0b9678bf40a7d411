package postgres

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// BenchmarkPack is what a record of forty properties costs before it is sent.
func BenchmarkPack(b *testing.B) {
	l := &layout{stream: "contacts", table: "contacts", byProperty: map[string]int{}, defined: true}
	var p bytes.Buffer
	p.WriteByte('{')
	for i := range 40 {
		name, k, v := fmt.Sprintf("property_%02d", i), text, fmt.Sprintf("updated %08d of number %03d", i, i)
		switch i {
		case 7:
			k, v = numeric, "1234.50"
		case 8:
			k, v = timestamp, "2026-01-02T03:04:05.678Z"
		case 9:
			k, v = boolean, "true"
		}
		l.byProperty[name] = i
		l.columns = append(l.columns, column{property: name, name: name, kind: k, defined: true})
		if i > 0 {
			p.WriteByte(',')
		}
		fmt.Fprintf(&p, "%q:%q", name, v)
	}
	p.WriteByte('}')
	records := make([]*stream.Record, 1000)
	for i := range records {
		records[i] = &stream.Record{Head: stream.Head{ID: fmt.Sprint(i), Seq: uint64(i), State: stream.Live, CreatedAt: "2026-01-01T00:00:00Z", UpdatedAt: "2026-01-02T03:04:05.678Z", Synced: 1764103445678}, Properties: p.Bytes()}
	}
	b.ReportAllocs()
	for b.Loop() {
		if out := pack(l, records, false); !out.fits() {
			b.Fatal("it does not fit")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(records)), "ns/record")
}
