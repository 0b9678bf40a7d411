package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"
	"pgregory.net/rapid"
)

// packed is a zstd stream of these bytes, as any other program would make it.
func packed(raw []byte) []byte {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return enc.EncodeAll(raw, nil)
}

// unpacked is what any other program reads.
func unpacked(tb testing.TB, b []byte) []byte {
	tb.Helper()
	dec, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	defer dec.Close()
	raw, err := io.ReadAll(dec)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// A page is one zstd stream: a header line of JSON, then its lines. Scripts read
// it with the tools that they have.
func TestPagesAreZstdOfLines(t *testing.T) {
	t.Parallel()
	var c Codec
	for _, p := range samples() {
		b, err := c.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(unpacked(t, b)), "\n"), "\n")
		var head Page
		if err := json.Unmarshal([]byte(lines[0]), &head); err != nil || head.Kind != p.Kind || head.Count != len(lines)-1 {
			t.Errorf("%s: %v in %q", p.Kind, err, lines)
		}
	}
}

func samples() []*Page {
	base := Page{Store: "s", Epoch: 2, Process: "p", Attempt: 7, Range: 1, Seq: 3, From: "a", To: "b", Last: true,
		Began: 1700000000000, Account: &Account{ID: 5, TimeZone: "UTC"}, Requests: 9, List: "l"}
	records := base
	records.Kind, records.Open = RecordsPage, []OpenID{{ID: "9", Version: 4, Reason: "gone"}}
	records.Records = []Record{
		{ID: "1", State: "live", Version: 5, AsOf: 6, Digest: [16]byte{1, 2}, CreatedAt: "2026-01-01T00:00:00Z",
			UpdatedAt: "2026-01-02T00:00:00Z", Properties: []byte(`{"a":"tab\tand\nline","b":null}`)},
		{ID: "2", State: "merged", MergedInto: "1", Confirmed: true},
	}
	listing := base
	listing.Kind, listing.Listing = ListingPage, []Listed{{ID: "1", Version: 5}, {ID: "x-2", Digest: [16]byte{1}}, {ID: "3", Version: 6, ArchivedAt: 1764028800123}}
	empty := base
	empty.Kind = ListingPage
	schema := base
	schema.Kind, schema.Schema = SchemaPage, []byte(`[{"name":"a"}]`)
	split := base
	split.Kind, split.SplitAt = SplitPage, 12
	parts := base
	parts.Kind, parts.Parts = PartsPage, []Part{{ID: "1", AsOf: 7, Digest: [16]byte{9}, Body: []byte(`{"companies":[{"id":"4"}]}`)}, {ID: "x", Body: []byte(`{}`)}}
	past := parts
	past.PartKind = HistoryPart
	both := records
	both.Parts = []Part{{ID: "1", AsOf: 6, Digest: [16]byte{3}, Body: []byte(`{"a":[{"value":"x"}]}`)}}
	return []*Page{&records, &listing, &empty, &schema, &split, &parts, &past, &both}
}

func TestPageTravels(t *testing.T) {
	t.Parallel()
	var c Codec
	for _, want := range samples() {
		b, err := c.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Decode(b)
		if err != nil {
			t.Fatalf("%s: %v", want.Kind, err)
		}
		want.Count = len(want.Records) + len(want.Listing) + len(want.Parts)
		if want.Kind == RecordsPage {
			want.PartLines = len(want.Parts)
		}
		if want.Schema != nil {
			want.Count = 1
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s came back different (-sent +got):\n%s", want.Kind, diff)
		}
	}
}

// What was packed before is the same page with another header.
func TestPackedBefore(t *testing.T) {
	t.Parallel()
	var c Codec
	for _, p := range samples() {
		want, err := c.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		early := Page{Kind: p.Kind, Records: p.Records, Listing: p.Listing, Parts: p.Parts, Schema: p.Schema}
		if err := c.Pack(&early); err != nil {
			t.Fatal(err)
		}
		late := *p
		late.Packed = early.Packed
		if got, err := c.Encode(&late); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v; differs: %v", p.Kind, err, !bytes.Equal(got, want))
		}
	}
}

// A page that is cut or changed anywhere must not pass for another page.
func TestCutAndFlippedPagesAreRefused(t *testing.T) {
	t.Parallel()
	var c Codec
	b, err := c.Encode(samples()[0])
	if err != nil {
		t.Fatal(err)
	}
	whole, err := c.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(b) {
		if _, err := c.Decode(b[:n]); err == nil {
			t.Fatalf("a page cut to %d of %d bytes decodes", n, len(b))
		}
		flipped := bytes.Clone(b)
		flipped[n] ^= 0x40
		// A few bits say how much memory may serve, and not what is in it.
		if p, err := c.Decode(flipped); err == nil && !cmp.Equal(p, whole) {
			t.Fatalf("byte %d flipped: the page decodes to %+v", n, p)
		}
	}
}

func TestBadPagesAreRefused(t *testing.T) {
	t.Parallel()
	var c Codec
	for name, raw := range map[string]string{
		"nothing":            "",
		"no header":          "x",
		"header not JSON":    "{\n",
		"unknown kind":       `{"kind":"news","count":0}` + "\n",
		"lines of no kind":   `{"kind":"split","count":1}` + "\nx\n",
		"fewer lines":        `{"kind":"listing","count":2}` + "\n1\t2\n",
		"more lines":         `{"kind":"listing","count":1}` + "\n1\t2\n2\t3\n",
		"last line cut":      `{"kind":"listing","count":1}` + "\n1\t2",
		"listed without id":  `{"kind":"listing","count":1}` + "\n\t2\n",
		"listed version":     `{"kind":"listing","count":1}` + "\n1\tx\n",
		"listed since":       `{"kind":"listing","count":1}` + "\n1\t5\t@x\n",
		"record fields":      `{"kind":"records","count":1}` + "\n1\tlive\n",
		"record not object":  `{"kind":"records","count":1}` + "\n1\tlive\t1\t1\t" + strings.Repeat("0", 32) + "\t\t\t\t\t\t[1]\n",
		"record broken JSON": `{"kind":"records","count":1}` + "\n1\tlive\t1\t1\t" + strings.Repeat("0", 32) + "\t\t\t\t\t\t{\"a\":\n",
		"digest":             `{"kind":"records","count":1}` + "\n1\tlive\t1\t1\tzz\t\t\t\t\t\t{}\n",
		"definitions":        `{"kind":"schema","count":1}` + "\n{\n",
		"listed control":     `{"kind":"listing","count":1}` + "\n1\x1b\t2\n",
		"record control":     `{"kind":"records","count":1}` + "\n1\tlive\t1\t1\t" + strings.Repeat("0", 32) + "\t\t\t\t7\x00\t\t{}\n",
		"part control":       `{"kind":"parts","count":1}` + "\n1\r\t5\t" + strings.Repeat("0", 32) + "\t{}\n",
		"part fields":        `{"kind":"parts","count":1}` + "\n1\t5\n",
		"part not object":    `{"kind":"parts","count":1}` + "\n1\t5\t" + strings.Repeat("0", 32) + "\t[]\n",
		"parts of none":      `{"kind":"records","count":0,"part_lines":1}` + "\n",
		"parts less than 0":  `{"kind":"records","count":0,"part_lines":-1}` + "\n",
		"parts elsewhere":    `{"kind":"listing","count":1,"part_lines":1}` + "\n1\t5\t" + strings.Repeat("0", 32) + "\t{}\n",
		"a record as a part": `{"kind":"records","count":1,"part_lines":1}` + "\n1\tlive\t1\t1\t" + strings.Repeat("0", 32) + "\t\t\t\t\t\t{}\n",
		"too many ids":       `{"kind":"listing","count":2001}` + "\n" + strings.Repeat("1\t2\n", MaxListed+1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := c.Decode(packed([]byte(raw))); !errors.Is(err, ErrUndecodable) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// What a page may bring is bounded before it is taken apart, also by its header.
func TestTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	var c Codec
	many := func(n int) []string { return make([]string, n) }
	for name, raw := range map[string]string{
		"lines":  `{"kind":"listing","count":2001}` + "\n" + strings.Repeat("1\t2\n", MaxListed+1),
		"gone":   header(t, Page{Kind: RecordsPage, Gone: many(MaxGone + 1)}),
		"open":   header(t, Page{Kind: RecordsPage, Open: make([]OpenID, MaxListed+1)}),
		"merged": header(t, Page{Kind: RecordsPage, Merges: []Merge{{From: many(MaxMerged / 2)}, {From: many(MaxMerged/2 + 1)}}}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.Decode(packed([]byte(raw)))
			if !errors.Is(err, ErrTooLarge) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func header(t *testing.T, p Page) string {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

func TestBombsAreRefused(t *testing.T) {
	t.Parallel()
	var c Codec
	if _, err := c.Decode(packed(append([]byte("{}\n"), make([]byte, 4*MaxRawPage)...))); !errors.Is(err, ErrTooLarge) || !errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		t.Fatalf("a page that unfolds to %d bytes is refused when it has: %v", 4*MaxRawPage, err)
	}
}

func TestWhatWouldBreakALineIsNotEncoded(t *testing.T) {
	t.Parallel()
	var c Codec
	for _, p := range []*Page{
		{Kind: RecordsPage, Records: []Record{{ID: "1\t2"}}},
		{Kind: RecordsPage, Records: []Record{{ID: "1", Properties: []byte("{\n}")}}},
		{Kind: ListingPage, Listing: []Listed{{ID: "1\n"}}},
		{Kind: ListingPage, Listing: []Listed{{ID: "1", Digest: [16]byte{1}, ArchivedAt: 5}}},
		{Kind: SchemaPage, Schema: []byte("[\n]")},
	} {
		if _, err := c.Encode(p); !errors.Is(err, ErrUndecodable) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// FuzzDecodePage tries the lines of pages, which it packs, and then the bytes as
// they are.
func FuzzDecodePage(f *testing.F) {
	var c Codec
	for _, p := range samples() {
		b, err := c.Encode(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(unpacked(f, b))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = c.Decode(b)
		p, err := c.Decode(packed(b))
		if err != nil {
			return
		}
		for _, r := range p.Records {
			if len(r.Properties) > 0 && (r.Properties[0] != '{' || !json.Valid(r.Properties)) {
				t.Fatalf("properties %q", r.Properties)
			}
		}
		again, err := c.Encode(p)
		if err != nil {
			t.Fatalf("what decodes must encode: %v", err)
		}
		if _, err := c.Decode(again); err != nil {
			t.Fatal(err)
		}
	})
}

// benchPage has records of the length that HubSpot's have.
func benchPage() *Page {
	p := &Page{Store: "s", Kind: RecordsPage, To: "100"}
	rng, words := rand.New(rand.NewPCG(1, 2)), strings.Fields("alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa")
	for i := range MaxPageRecords {
		props := fmt.Appendf(nil, `{"hs_object_id":"%d","lastmodifieddate":"2026-11-01T10:00:00.%03dZ"`, i*17+1000, i)
		for j := range 38 {
			props = fmt.Appendf(props, `,"property_%02d":"%s %s %d"`, j, words[rng.IntN(16)], words[rng.IntN(16)], rng.IntN(100_000))
		}
		p.Records = append(p.Records, Record{ID: fmt.Sprint(i*17 + 1000), State: "live", Version: 1700000000000 + int64(i)*7919, AsOf: 1700000000000,
			Digest: xxh3.Hash128(props).Bytes(), CreatedAt: "2026-01-01T00:00:00Z", UpdatedAt: "2026-11-01T10:00:00Z", Properties: append(props, '}')})
	}
	return p
}

func BenchmarkEncode(b *testing.B) {
	var c Codec
	p := benchPage()
	encoded, err := c.Encode(p)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Encode(p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/MaxPageRecords/1000, "us/record")
	b.ReportMetric(float64(len(encoded))/MaxPageRecords, "bytes/record")
}

func BenchmarkDecode(b *testing.B) {
	var c Codec
	encoded, err := c.Encode(benchPage())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Decode(encoded); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/MaxPageRecords/1000, "us/record")
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte(`{"worker":"w","attempts":[{"attempt":1}]}`))
	f.Add([]byte(`{} {}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = Unmarshal[Heartbeat](b)
		_, _ = Unmarshal[Command](b)
		_, _ = Unmarshal[Answer](b)
	})
}

func TestUnmarshalTakesOneValue(t *testing.T) {
	t.Parallel()
	if _, err := Unmarshal[Answer]([]byte(`{"type":"seen"}`)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{``, `{`, `{}{}`, `[]`, `{"seq":"x"}`} {
		if _, err := Unmarshal[Answer]([]byte(bad)); err == nil {
			t.Errorf("%q decodes", bad)
		}
	}
}

func TestTopics(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		topics := Topics{Prefix: rapid.StringMatching(`[a-z]{1,8}(/[a-z]{1,3})?`).Draw(t, "prefix")}
		id := rapid.StringMatching(`[a-z0-9_-]{1,64}`).Draw(t, "id")
		for topic, rest := range map[string]string{topics.Worker(id): "", topics.Pages(id): "pages",
			topics.Heartbeat(id): "heartbeat", topics.Commands(id): "commands", topics.Answers(id): "answers"} {
			gotID, gotRest, ok := topics.ParseWorker(topic)
			if !ok || gotID != id || gotRest != rest {
				t.Fatalf("%s gives %q %q %v", topic, gotID, gotRest, ok)
			}
		}
	})
	topics := Topics{Prefix: "hubpipe"}
	for _, bad := range []string{"hubpipe/workers/", "hubpipe/control", "other/workers/w", "hubpipe/workers/w/pages/x"} {
		if _, _, ok := topics.ParseWorker(bad); ok {
			t.Errorf("%s is taken for a worker's topic", bad)
		}
	}
}
