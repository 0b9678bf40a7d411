package api_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// fill stores so many records of a few hundred bytes.
func fill(b *bundle, n int) {
	for i := range n {
		b.d.add("contacts", stream.Record{Head: stream.Head{ID: fmt.Sprintf("%04d", i)},
			Properties: fmt.Appendf(nil, `{"email":"%d@example.com","about":%q}`, i, strings.Repeat("word ", 60))})
	}
}

// unpacked reads an answer that says how it is packed.
func unpacked(t *testing.T, res *http.Response) string {
	t.Helper()
	var r io.Reader = res.Body
	switch res.Header.Get("Content-Encoding") {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = z
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAnswersArePacked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fill(b, 500)
	for _, path := range []string{"/v1/streams/contacts/records?limit=400", "/v1/streams/contacts/changes", "/v1/streams/contacts/export?format=csv", "/openapi.json", "/docs"} {
		plain := unpacked(t, do(t, b, "GET", path, "", "Accept-Encoding", "identity"))
		for accept, want := range map[string]string{"gzip": "gzip", "zstd": "zstd", "gzip, zstd": "zstd", "zstd;q=0.5, gzip": "gzip", "br": "", "gzip;q=0": "",
			"GZIP ; q=0.1": "gzip"} {
			res := do(t, b, "GET", path, "", "Accept-Encoding", accept)
			if got := res.Header.Get("Content-Encoding"); got != want || !strings.Contains(strings.Join(res.Header.Values("Vary"), ","), "Accept-Encoding") {
				t.Errorf("%s for %q: packed as %q, vary %q", path, accept, got, res.Header.Values("Vary"))
			}
			if got := unpacked(t, res); got != plain {
				t.Errorf("%s as %q is another: %d bytes, not %d", path, accept, len(got), len(plain))
			}
		}
	}
	for _, path := range []string{"/v1/streams/contacts/records?limit=1&fields=email", "/v1/backup", "/v1/streams/nobody"} {
		if res := do(t, b, "GET", path, "", "Accept-Encoding", "zstd"); res.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s is packed", path)
		}
	}
}

// What is followed comes at once, however it is packed.
func TestWhatIsFollowedIsFlushed(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"identity", "gzip", "zstd"} {
		for _, accept := range []string{"application/x-ndjson", "text/event-stream"} {
			t.Run(encoding+" "+accept, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				fill(b, 1)
				res := do(t, b, "GET", "/v1/streams/contacts/changes?follow=true", "", "Accept-Encoding", encoding, "Accept", accept)
				var r io.Reader = res.Body
				var err error
				switch encoding {
				case "gzip":
					r, err = gzip.NewReader(r)
				case "zstd":
					r, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
				}
				if err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewScanner(r)
				for _, id := range []string{"0000", "new", "newer"} {
					if id != "0000" {
						b.d.add("contacts", stream.Record{Head: stream.Head{ID: id}})
					}
					for lines.Scan() && !strings.Contains(lines.Text(), `"id":"`+id+`"`) {
					}
					if !strings.Contains(lines.Text(), id) {
						t.Fatalf("%s never came: %v", id, lines.Err())
					}
				}
			})
		}
	}
}

// A request that comes again under its key is answered again and not done again.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	post := func(path, body string, headers ...string) (int, string, bool) {
		res := do(t, b, "POST", path, body, headers...)
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text), res.Header.Get("Idempotency-Replayed") != ""
	}
	const sync = "/v1/streams/contacts/sync"
	code, first, replayed := post(sync, `{"record":"7"}`, "Idempotency-Key", "one")
	if code != 202 || replayed {
		t.Fatalf("%d %s %v", code, first, replayed)
	}
	before := len(b.d.called())
	if code, again, replayed := post(sync, ` {"record":"7"} `, "Idempotency-Key", "one"); code != 202 || again != first || !replayed {
		t.Errorf("again: %d %s %v", code, again, replayed)
	}
	for _, other := range [][2]string{{sync, `{"record":"8"}`}, {sync + "?wait=1s", `{"record":"7"}`}, {"/v1/streams/deals/sync", `{"record":"7"}`}} {
		code, text, _ := post(other[0], other[1], "Idempotency-Key", "one")
		if code != 409 || !strings.Contains(text, client.TypeIDUsed) {
			t.Errorf("%s %s under a key that was used: %d %s", other[0], other[1], code, text)
		}
	}
	if after := b.d.called(); len(after) != before {
		t.Errorf("something was done: %v", after[before:])
	}
	// Another caller's key is another one; one of a request that was refused is used.
	if code, _, replayed := post(sync, `{"record":"7"}`, "Idempotency-Key", "two"); code != 202 || replayed {
		t.Errorf("another key: %d %v", code, replayed)
	}
	for _, want := range []bool{false, true} {
		if code, _, replayed := post("/v1/streams/nobody/sync", "", "Idempotency-Key", "three"); code != 404 || replayed != want {
			t.Errorf("a refusal: %d %v", code, replayed)
		}
	}
	for _, bad := range []string{strings.Repeat("k", 256), "a b"} {
		if p := problem(t, do(t, b, "POST", sync, "", "Idempotency-Key", bad)); p.Status != 400 || !strings.Contains(p.Detail, "Idempotency-Key") || p.Hint == "" {
			t.Errorf("%q: %+v", bad, p)
		}
	}
	// What failed inside is tried again.
	b.d.err = errFull
	if code, _, _ := post(sync, "", "Idempotency-Key", "four"); code != 507 {
		t.Errorf("a full disk: %d", code)
	}
	b.d.err = nil
	if code, _, replayed := post(sync, "", "Idempotency-Key", "four"); code != 202 || replayed {
		t.Errorf("after it: %d %v", code, replayed)
	}
}

// What was answered is answered again after a restart, for a day and for a
// thousand keys; what failed inside is not kept.
func TestIdempotencyKeyOverARestart(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	kept := map[string]api.Repeated{}
	order := []string{}
	var forgotten []string
	begin := func() *bundle {
		mu.Lock()
		defer mu.Unlock()
		return setup(t, func(o *api.Options) {
			for _, k := range order {
				o.Kept = append(o.Kept, kept[k])
			}
			o.Keep = func(ctx context.Context, answers []api.Repeated, forget []string) error {
				mu.Lock()
				defer mu.Unlock()
				for _, a := range answers {
					kept[a.Key], order = a, append(order, a.Key)
				}
				forgotten = append(forgotten, forget...)
				return ctx.Err()
			}
		})
	}
	post := func(b *bundle, body, key string) (int, string, bool) {
		res := do(t, b, "POST", "/v1/streams/contacts/sync", body, "Idempotency-Key", key)
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text), res.Header.Get("Idempotency-Replayed") != ""
	}
	b := begin()
	b.d.err = errFull
	if code, _, _ := post(b, "", "failed"); code != 507 || len(order) != 0 {
		t.Errorf("%d, %d are kept", code, len(order))
	}
	b.d.err = nil
	_, first, _ := post(b, `{"record":"7"}`, "one")
	b = begin()
	if code, again, replayed := post(b, `{"record":"7"}`, "one"); code != 202 || again != first || !replayed || len(b.d.called()) != 0 {
		t.Errorf("after a restart: %d %s %t, done: %v", code, again, replayed, b.d.called())
	}
	if code, text, _ := post(b, `{"record":"8"}`, "one"); code != 409 || !strings.Contains(text, client.TypeIDUsed) {
		t.Errorf("another request: %d %s", code, text)
	}
	// A day later, and behind a thousand others, it is a new one.
	key := order[0]
	old := kept[key]
	old.At = old.At.Add(-24 * time.Hour)
	kept[key] = old
	b = begin()
	if _, _, replayed := post(b, `{"record":"7"}`, "one"); replayed || len(b.d.called()) != 1 {
		t.Errorf("after a day: %t, done: %v", replayed, b.d.called())
	}
	if !slices.Contains(forgotten, key) {
		t.Errorf("%v are forgotten, not %s", forgotten, key)
	}
	order, forgotten = order[:1], nil
	for i := range 1000 {
		k := fmt.Sprint("k", i)
		kept[k], order = api.Repeated{Key: k, At: time.Now(), Status: 200}, append(order, k)
	}
	b = begin()
	if _, _, replayed := post(b, `{"record":"7"}`, "one"); replayed || !slices.Equal(forgotten, []string{key, "k0"}) {
		t.Errorf("behind a thousand: %t, %v are forgotten", replayed, forgotten)
	}
}

// What is kept of answers is bounded, here and where they outlast the process:
// the oldest large ones go first, small ones stay. A repeat of what is not kept
// is told so, and is not done again.
func TestIdempotencyKeyOfLargeAnswers(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	kept := map[string]api.Repeated{}
	begin := func() *bundle {
		mu.Lock()
		defer mu.Unlock()
		before := slices.SortedFunc(maps.Values(kept), func(a, b api.Repeated) int { return a.At.Compare(b.At) })
		return setup(t, func(o *api.Options) {
			o.Kept = before
			o.Keep = func(_ context.Context, answers []api.Repeated, forget []string) error {
				mu.Lock()
				defer mu.Unlock()
				for _, key := range forget {
					delete(kept, key)
				}
				for _, a := range answers {
					kept[a.Key] = a
				}
				return nil
			}
		})
	}
	b := begin()
	post := func(key string) (int, string, bool) {
		res := do(t, b, "POST", "/v1/streams/contacts/stop", "", "Idempotency-Key", key)
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text), res.Header.Get("Idempotency-Replayed") != ""
	}
	holds := func() {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		sum := 0
		for _, a := range kept {
			sum += stream.Large(len(a.Body))
		}
		if sum > stream.LargeAnswers || sum < stream.LargeAnswers/2 {
			t.Errorf("%d bytes of large answers are kept", sum)
		}
	}
	again := func(keys map[string]int) {
		t.Helper()
		before := len(b.d.called())
		for key, want := range keys {
			code, text, replayed := post(key)
			if gone := strings.Contains(text, client.TypeAnswerGone); code != want || replayed != (code == 200) || gone != (code == 410) {
				t.Errorf("%s again: %d %t %s", key, code, replayed, text[:min(len(text), 300)])
			}
		}
		if after := b.d.called(); len(after) != before {
			t.Errorf("done again: %v", after[before:])
		}
	}
	answersOf := func(size int) { b.d.status["contacts"].Portal = strings.Repeat("x", size) }
	post("small")
	answersOf(200 << 10)
	const many = stream.LargeAnswers/(200<<10) + 10
	for n := range many {
		post(fmt.Sprint("n", n))
	}
	holds()
	answersOf(stream.LargestAnswer)
	post("largest")
	want := map[string]int{"small": 200, "n0": 410, fmt.Sprint("n", many-1): 200, "largest": 410}
	again(want)
	b = begin()
	again(want)
	// What an older hubpipe has kept of them is too much.
	mu.Lock()
	for key, a := range kept {
		a.Gone, a.Body = false, make([]byte, 200<<10)
		kept[key] = a
	}
	mu.Unlock()
	b = begin()
	post("next")
	holds()
	again(map[string]int{"small": 410, "next": 200})
}

// Who gives up waiting is the one who comes again with the same key: what it
// asked for goes on, and is done once.
func TestIdempotencyKeyOfOneWhoGaveUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const path = "/v1/streams/contacts/resync?wait=30s"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req := httptest.NewRequestWithContext(ctx, "POST", b.base+path, nil)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Idempotency-Key", "k")
	var wg sync.WaitGroup
	wg.Go(func() { b.server.ServeHTTP(httptest.NewRecorder(), req) })
	until(t, "it is begun", func() bool { return len(b.d.called()) == 1 })
	cancel()
	b.d.finish(client.RunDone)
	wg.Wait()
	res := do(t, b, "POST", path, "", "Idempotency-Key", "k")
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Idempotency-Replayed") == "" || !strings.Contains(string(text), `"r001"`) {
		t.Errorf("the second: %s %s %v", res.Status, text, err)
	}
	if calls := b.d.called(); len(calls) != 1 {
		t.Errorf("it was done %d times: %v", len(calls), calls)
	}
}

// Of many at once one is done, and all get its answer.
func TestIdempotencyKeyAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	answers := make([]string, 8)
	for i := range answers {
		wg.Go(func() {
			res := do(t, b, "POST", "/v1/streams/contacts/sync", "", "Idempotency-Key", "k")
			text, _ := io.ReadAll(res.Body)
			answers[i] = string(text)
		})
	}
	wg.Wait()
	for _, a := range answers {
		if a != answers[0] || a == "" {
			t.Errorf("%q and %q", a, answers[0])
		}
	}
	if n := len(b.d.called()); n != 1 {
		t.Errorf("it was done %d times: %v", n, b.d.called())
	}
}

// Whoever follows the Link of each page gets all there is, once.
func TestPagesAreLinked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fill(b, 25)
	for _, accept := range []string{"application/json", "application/x-ndjson"} {
		for _, query := range []string{"limit=10&fields=email", "limit=10&since=0&fields=email"} {
			var got []string
			pages := 0
			for next := "/v1/streams/contacts/records?" + query; next != ""; pages++ {
				res := do(t, b, "GET", next, "", "Accept", accept, "Accept-Encoding", "identity")
				text, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != http.StatusOK {
					t.Fatalf("%s: %s %v", next, res.Status, err)
				}
				for part := range strings.SplitSeq(string(text), `"id":"`) {
					if id, _, ok := strings.Cut(part, `"`); ok && len(id) == 4 {
						got = append(got, id)
					}
				}
				link := res.Header.Get("Link")
				next = ""
				if link != "" {
					target, rel, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
					if u, err := url.Parse(target); err != nil || rel != `; rel="next"` || u.Query().Get("fields") != "email" {
						t.Fatalf("%q", link)
					}
					next = target
				}
			}
			var want []string
			for i := range 25 {
				want = append(want, fmt.Sprintf("%04d", i))
			}
			if diff := cmp.Diff(want, got); diff != "" || pages != 3 {
				t.Errorf("%s %s: %d pages %s", accept, query, pages, diff)
			}
		}
	}
	for range 3 {
		do(t, b, "POST", "/v1/streams/contacts/sync", "")
	}
	if link := do(t, b, "GET", "/v1/runs?limit=2", "").Header.Get("Link"); link != `</v1/runs?before=r002&limit=2>; rel="next"` {
		t.Errorf("runs: %q", link)
	}
}

// What has not changed is not sent again; what has, is.
func TestRecordsAreNotSentTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fill(b, 3)
	for _, path := range []string{"/v1/streams/contacts/records?limit=2", "/v1/streams/contacts/records/0001"} {
		etag := do(t, b, "GET", path, "").Header.Get("ETag")
		if res := do(t, b, "GET", path, "", "If-None-Match", etag); res.StatusCode != http.StatusNotModified || etag == "" {
			t.Errorf("%s: %s with %q", path, res.Status, etag)
		}
		b.d.add("contacts", stream.Record{Head: stream.Head{ID: "0001"}})
		if res := do(t, b, "GET", path, "", "If-None-Match", etag); res.StatusCode != http.StatusOK {
			t.Errorf("%s after a change: %s", path, res.Status)
		}
		etag = do(t, b, "GET", path, "").Header.Get("ETag")
		b.d.show(path)
		if res := do(t, b, "GET", path, "", "If-None-Match", etag); res.StatusCode != http.StatusOK {
			t.Errorf("%s when other history is shown: %s", path, res.Status)
		}
	}
	res := do(t, b, "GET", "/v1/streams/contacts/records/none", "", "If-None-Match", "*")
	if p := problem(t, res); p.Status != 404 || res.Header.Get("ETag") != "" {
		t.Errorf("a record that there is not: %+v", p)
	}
	var page client.RecordPage
	if err := json.NewDecoder(do(t, b, "GET", "/v1/streams/contacts/records", "").Body).Decode(&page); err != nil || len(page.Records) != 3 {
		t.Errorf("%+v %v", page, err)
	}
}

// A record that changes while it is answered has the tag of what is answered: it
// is not taken for the newer one.
func TestATagIsOfWhatWasRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fill(b, 3)
	const path = "/v1/streams/contacts/records/0001"
	b.d.meantime = func() { b.d.add("contacts", stream.Record{Head: stream.Head{ID: "0001", State: stream.Archived}}) }
	res := do(t, b, "GET", path, "")
	b.d.meantime = nil
	var was client.Record
	if err := json.NewDecoder(res.Body).Decode(&was); err != nil || was.State != "live" {
		t.Fatalf("%+v %v", was, err)
	}
	if res := do(t, b, "GET", path, "", "If-None-Match", res.Header.Get("ETag")); res.StatusCode != http.StatusOK {
		t.Errorf("what changed in between: %s", res.Status)
	}
}
