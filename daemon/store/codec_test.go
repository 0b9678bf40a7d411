package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

func FuzzEntry(f *testing.F) {
	for _, h := range []stream.Head{record("1", 5, stream.Archived).Head, {State: stream.Merged, MergedInto: "7", ArchivedAt: "2026-13-01", Version: -1, List: 1<<32 - 1},
		{State: stream.Live, Seq: 1 << 40, AssociationsPart: stream.Part{AsOf: 7}, HistoryPart: stream.Part{AsOf: -7, Digest: [16]byte{9}}}} {
		b, err := appendEntry(nil, &entry{head: h, block: 3, old: []copyAt{{2, 1}, {1, 1}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, back entry
		if err := readEntry(b, &e); err != nil {
			return
		}
		again, err := appendEntry(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		if err := readEntry(again, &back); err != nil || !cmp.Equal(back, e, cmp.AllowUnexported(entry{}, copyAt{})) {
			t.Fatalf("%+v became %+v: %v", e, back, err)
		}
	})
}

// Times come back as they were, and those that have one of the usual forms are
// read as the standard library reads them.
func FuzzTimes(f *testing.F) {
	for _, s := range []string{"", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.006Z", "2026-01-02T03:04:05.06Z", "2026-02-30T03:04:05Z", "x",
		"0000-02-29T00:00:00Z", "1900-02-29T23:59:59.999Z", "2000-02-29T23:59:59.999Z", "1969-12-31T23:59:59.999Z", "9999-12-31T23:59:59Z", "2026-01-02T03:04:05z"} {
		f.Add(s, int64(len(s)))
	}
	f.Fuzz(func(t *testing.T, s string, version int64) {
		r := reader{b: appendTime(nil, s, version)}
		if got := r.time(version); got != s || r.bad || len(r.b) != 0 {
			t.Fatalf("%q came back as %q", s, got)
		}
		for _, layout := range []string{layoutMillis, layoutSeconds} {
			if len(s) != len(layout) {
				continue
			}
			want, err := time.Parse(layout, s)
			usual := err == nil && want.Format(layout) == s
			if ms, ok := parseTime(s); ok != usual || ok && ms != want.UnixMilli() {
				t.Fatalf("%q is read as %d (%t), want %v", s, ms, ok, want)
			}
		}
		if ms := version; ms >= minTime && ms <= maxTime {
			if got, want := formatTime(layoutMillis, ms), time.UnixMilli(ms).UTC().Format(layoutMillis); got != want {
				t.Fatalf("%d is written as %q, want %q", ms, got, want)
			}
		}
	})
}

// Every id comes back from its key, and keys stand in the order of numbers,
// then of text.
func FuzzIDs(f *testing.F) {
	f.Add("7", "10")
	f.Add("007", "18446744073709551615")
	f.Add("18446744073709551616", "")
	f.Fuzz(func(t *testing.T, a, b string) {
		ka, kb := indexKey("contacts", a), indexKey("contacts", b)
		for id, k := range map[string][]byte{a: ka, b: kb} {
			name, rest, ok := nameOf(k)
			got, valid := readID(rest)
			if !ok || !valid || name != "contacts" || got != id {
				t.Fatalf("%q came back as %q of %q", id, got, name)
			}
		}
		if (a == b) != bytes.Equal(ka, kb) {
			t.Fatalf("%q and %q: keys %x and %x", a, b, ka, kb)
		}
	})
}

// randomProperties are about 1.8 KB of JSON, as HubSpot sends a contact with
// 45 properties.
func randomProperties(rng *rand.Rand) []byte {
	var b strings.Builder
	n := rng.IntN(100_000)
	fmt.Fprintf(&b, `{"email":"first%d.last%d@company-%d.example","firstname":"First%d","lastname":"Last%d","phone":"+49%d",`,
		n, n, rng.IntN(5000), n, n, rng.Int64N(1e10))
	fmt.Fprintf(&b, `"createdate":"2024-%02d-%02dT%02d:%02d:%02d.%03dZ","lastmodifieddate":"2025-%02d-%02dT%02d:%02d:%02d.%03dZ"`,
		1+rng.IntN(12), 1+rng.IntN(28), rng.IntN(24), rng.IntN(60), rng.IntN(60), rng.IntN(1000),
		1+rng.IntN(12), 1+rng.IntN(28), rng.IntN(24), rng.IntN(60), rng.IntN(60), rng.IntN(1000))
	words := []string{"lead", "customer", "true", "false", "subscriber", "opportunity", "Some longer value of a select box"}
	for i := range 38 {
		fmt.Fprintf(&b, `,"hs_property_number_%d":`, i)
		switch rng.IntN(4) {
		case 0:
			b.WriteString("null")
		case 1:
			fmt.Fprintf(&b, `"%d"`, rng.IntN(100_000))
		default:
			fmt.Fprintf(&b, `"%s"`, words[rng.IntN(len(words))])
		}
	}
	b.WriteString("}")
	return []byte(b.String())
}
