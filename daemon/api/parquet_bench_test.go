package api

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// BenchmarkParquet writes records of 60 properties, a third of them null.
func BenchmarkParquet(b *testing.B) {
	var names []string
	defined := map[string]string{}
	var body strings.Builder
	for i := range 60 {
		name := fmt.Sprintf("property_%d", i)
		names = append(names, name)
		value := "null"
		switch i % 6 {
		case 0:
			value = fmt.Sprintf("%q", strings.Repeat("word ", i%11))
		case 1:
			defined[name], value = "number", fmt.Sprintf(`"%d.5"`, i*1000)
		case 2:
			defined[name], value = "datetime", `"2024-07-31T08:04:34.171Z"`
		case 3:
			defined[name], value = "enumeration", `"lead"`
		}
		fmt.Fprintf(&body, ",%q:%s", name, value)
	}
	r := &stream.Record{Head: stream.Head{ID: "1", Seq: 1, State: stream.Live, CreatedAt: "2024-07-31T08:04:34.171Z"},
		Properties: []byte("{" + body.String()[1:] + "}")}
	x := newRows(io.Discard, names, defined, true)
	b.ReportAllocs()
	for b.Loop() {
		if err := x.write(r); err != nil {
			b.Fatal(err)
		}
	}
	if err := x.close(); err != nil {
		b.Fatal(err)
	}
}
