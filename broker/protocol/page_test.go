package protocol

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

func newCodec(t testing.TB) *Codec {
	t.Helper()
	c, err := NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
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
	listing.Kind, listing.Listing = ListingPage, []Listed{{ID: "1", Version: 5}, {ID: "x-2", Digest: [16]byte{1}}}
	empty := base
	empty.Kind = ListingPage
	schema := base
	schema.Kind, schema.Schema = SchemaPage, []byte(`[{"name":"a"}]`)
	split := base
	split.Kind, split.SplitAt = SplitPage, 12
	return []*Page{&records, &listing, &empty, &schema, &split}
}

func TestPageTravels(t *testing.T) {
	t.Parallel()
	c := newCodec(t)
	for _, want := range samples() {
		b, err := c.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Decode(b)
		if err != nil {
			t.Fatalf("%s: %v", want.Kind, err)
		}
		want.Count = len(want.Records) + len(want.Listing)
		if want.Schema != nil {
			want.Count = 1
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s came back different (-sent +got):\n%s", want.Kind, diff)
		}
	}
}

// A page that is cut or changed anywhere must not pass for another page.
func TestCutAndFlippedPagesAreRefused(t *testing.T) {
	t.Parallel()
	c := newCodec(t)
	b, err := c.Encode(samples()[0])
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(b) {
		if _, err := c.Decode(b[:n]); err == nil {
			t.Fatalf("a page cut to %d of %d bytes decodes", n, len(b))
		}
		flipped := bytes.Clone(b)
		flipped[n] ^= 0x40
		if p, err := c.Decode(flipped); err == nil {
			if again, _ := c.Encode(p); !bytes.Equal(again, b) && n > 6 {
				t.Fatalf("byte %d flipped: the page decodes to another", n)
			}
		}
	}
}

func TestBadPagesAreRefused(t *testing.T) {
	t.Parallel()
	c := newCodec(t)
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
		"record fields":      `{"kind":"records","count":1}` + "\n1\tlive\n",
		"record not object":  `{"kind":"records","count":1}` + "\n1\tlive\t1\t1\t" + strings.Repeat("0", 32) + "\t\t\t\t\t\t[1]\n",
		"record broken JSON": `{"kind":"records","count":1}` + "\n1\tlive\t1\t1\t" + strings.Repeat("0", 32) + "\t\t\t\t\t\t{\"a\":\n",
		"digest":             `{"kind":"records","count":1}` + "\n1\tlive\t1\t1\tzz\t\t\t\t\t\t{}\n",
		"definitions":        `{"kind":"schema","count":1}` + "\n{\n",
		"too many ids":       `{"kind":"listing","count":2001}` + "\n" + strings.Repeat("1\t2\n", MaxListed+1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			enc, _ := zstd.NewWriter(nil)
			defer func() { _ = enc.Close() }()
			if _, err := c.Decode(enc.EncodeAll([]byte(raw), nil)); !errors.Is(err, ErrUndecodable) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestBombsAreRefused(t *testing.T) {
	t.Parallel()
	c := newCodec(t)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = enc.Close() }()
	bomb := enc.EncodeAll(make([]byte, 4*MaxRawPage), nil)
	if _, err := c.Decode(bomb); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("a page that unfolds to %d bytes: %v", 4*MaxRawPage, err)
	}
}

func TestWhatWouldBreakALineIsNotEncoded(t *testing.T) {
	t.Parallel()
	c := newCodec(t)
	for _, p := range []*Page{
		{Kind: RecordsPage, Records: []Record{{ID: "1\t2"}}},
		{Kind: RecordsPage, Records: []Record{{ID: "1", Properties: []byte("{\n}")}}},
		{Kind: ListingPage, Listing: []Listed{{ID: "1\n"}}},
		{Kind: SchemaPage, Schema: []byte("[\n]")},
	} {
		if _, err := c.Encode(p); !errors.Is(err, ErrUndecodable) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func FuzzDecodePage(f *testing.F) {
	c := newCodec(f)
	for _, p := range samples() {
		b, err := c.Encode(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := c.Decode(b)
		if err != nil {
			return
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
