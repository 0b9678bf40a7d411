package api_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

func TestRecordShape(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.add("contacts", stream.Record{Head: stream.Head{ID: "1", CreatedAt: "2026-01-02T03:04:05Z", UpdatedAt: "2026-01-02T03:04:05.6Z"},
		Properties: []byte(`{"b":"\u00e9 <&> 1.50","a":null}`)})
	b.d.add("contacts", stream.Record{Head: stream.Head{ID: `2"`, State: stream.Merged, ArchivedAt: "2026-02-02T00:00:00Z", MergedInto: "1"}})
	b.d.add("contacts", stream.Record{Head: stream.Head{ID: "bad\xff"}, Properties: []byte("{\n \"a\": \"1\"\n}")})
	for _, c := range []struct{ path, want string }{
		{"/v1/streams/contacts/records/1", `{"id":"1","seq":1,"state":"live","createdAt":"2026-01-02T03:04:05Z","updatedAt":"2026-01-02T03:04:05.6Z",` +
			`"archivedAt":null,"mergedInto":null,"properties":{"b":"\u00e9 <&> 1.50","a":null},"associations":{}}`},
		{"/v1/streams/contacts/records/1?fields=a,zz,b,a", `{"id":"1","seq":1,"state":"live","createdAt":"2026-01-02T03:04:05Z","updatedAt":"2026-01-02T03:04:05.6Z",` +
			`"archivedAt":null,"mergedInto":null,"properties":{"a":null,"zz":null,"b":"\u00e9 <&> 1.50"},"associations":{}}`},
		{"/v1/streams/contacts/records/2%22", `{"id":"2\"","seq":2,"state":"merged","createdAt":null,"updatedAt":null,` +
			`"archivedAt":"2026-02-02T00:00:00Z","mergedInto":"1","properties":{},"associations":{}}`},
		{"/v1/streams/contacts/records/bad%ff", `{"id":"bad` + "\ufffd" + `","seq":3,"state":"live","createdAt":null,"updatedAt":null,` +
			`"archivedAt":null,"mergedInto":null,"properties":{"a":"1"},"associations":{}}`},
	} {
		res, body := get(t, b, c.path, "")
		if body != c.want+"\n" || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s", c.path, cmp.Diff(c.want+"\n", body))
		}
	}
	b.d.add("deals", stream.Record{Head: stream.Head{ID: "1"}, Properties: []byte(`[1]`)})
	for _, path := range []string{"/records/1?fields=a", "/records?fields=a", "/export?fields=a", "/export?format=csv"} {
		if p := problem(t, do(t, b, "GET", "/v1/streams/deals"+path, "")); p.Type != client.TypeInternal {
			t.Errorf("properties that are none: %+v", p)
		}
	}
}

func TestRecordPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.fill("contacts", 250)
	b.d.add("contacts", stream.Record{Head: stream.Head{ID: "251", State: stream.Purged, Version: 1}})
	b.d.add("contacts", stream.Record{Head: stream.Head{ID: "252", State: stream.Archived, Version: 1}, Properties: []byte(`{}`)})
	ctx := t.Context()
	page, err := b.c.Records(ctx, "contacts", client.RecordQuery{})
	if err != nil || len(page.Records) != 100 || page.Next == "" || page.Records[99].ID != "100" {
		t.Fatalf("the first page: %d %q %v", len(page.Records), page.Next, err)
	}
	ids := func(q client.RecordQuery) string {
		t.Helper()
		n, first, last := 0, "", ""
		for r, err := range b.c.AllRecords(ctx, "contacts", q) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 1 {
				first = r.ID
			}
			last = r.ID
		}
		return fmt.Sprintf("%d %s-%s", n, first, last)
	}
	for _, c := range []struct {
		q    client.RecordQuery
		want string
	}{
		{client.RecordQuery{}, "250 1-250"},
		{client.RecordQuery{Limit: 1000}, "250 1-250"},
		{client.RecordQuery{Limit: 7, Cursor: page.Next}, "150 101-250"},
		{client.RecordQuery{States: []string{"all"}}, "252 1-252"},
		{client.RecordQuery{States: []string{"archived", "purged"}}, "2 251-252"},
		{client.RecordQuery{Since: "200"}, "50 201-250"},
		{client.RecordQuery{Since: "1970-01-01T00:03:21Z"}, "50 201-250"},      // the commit of 201
		{client.RecordQuery{Since: "1970-01-01T01:03:21 01:00"}, "50 201-250"}, // a plus that became a space
		{client.RecordQuery{ModifiedSince: "1970-01-01T00:04:00.000Z"}, "11 240-250"},
		{client.RecordQuery{Since: "9999"}, "0 -"},
	} {
		if got := ids(c.q); got != c.want {
			t.Errorf("%+v: %s, want %s", c.q, got, c.want)
		}
	}
	res, body := get(t, b, "/v1/streams/contacts/records?limit=30", "text/html, application/x-ndjson;q=0.9, application/json;q=0.1")
	if res.Header.Get("Content-Type") != "application/x-ndjson" || strings.Count(body, "\n") != 30 || res.Trailer.Get("Hubpipe-Next") == "" {
		t.Errorf("NDJSON: %v, trailer %v", res.Header, res.Trailer)
	}
	for r, err := range b.c.AllRecords(ctx, "nobody", client.RecordQuery{}) {
		if !isProblem(err, client.TypeUnknownStream) {
			t.Errorf("%v %v", r, err)
		}
	}
	if r, err := b.c.Record(ctx, "contacts", "7"); err != nil || r.ID != "7" || *r.CreatedAt != "2026-01-02T03:04:05Z" || r.MergedInto != nil {
		t.Errorf("one record: %+v %v", r, err)
	}
	res, body = get(t, b, "/v1/streams/deals/records", "")
	if body != `{"records":[],"next":""}`+"\n" {
		t.Errorf("no records: %s %s", res.Status, body)
	}
}

// What changes while somebody goes through the pages of what has changed is
// there in a later one; by ids it would lie behind them.
func TestSinceMissesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.fill("contacts", 30)
	q := client.RecordQuery{Since: "10", Limit: 5, States: []string{"live", "purged"}}
	var seqs []uint64
	ids := map[string]int{}
	for n := 0; ; n++ {
		page, err := b.c.Records(t.Context(), "contacts", q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			seqs = append(seqs, r.Seq)
			ids[r.ID]++
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
		if n == 1 {
			b.d.add("contacts", stream.Record{Head: stream.Head{ID: "3", State: stream.Purged}})
			b.d.add("contacts", stream.Record{Head: stream.Head{ID: "12"}, Properties: []byte(`{}`)})
			b.d.add("contacts", stream.Record{Head: stream.Head{ID: "4", State: stream.Archived}})
		}
	}
	if !slices.IsSorted(seqs) || len(seqs) != 22 || seqs[0] != 11 || seqs[21] != 32 || ids["3"] != 1 || ids["12"] != 2 {
		t.Errorf("places %v", seqs)
	}
	first, err := b.c.Records(t.Context(), "contacts", client.RecordQuery{Limit: 5})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.c.Records(t.Context(), "contacts", client.RecordQuery{Limit: 5, Since: "10", Cursor: first.Next}); !isProblem(err, client.TypeBadParameter) {
		t.Errorf("a cursor of ids for places: %v", err)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.fill("contacts", 2000)
	b.d.add("contacts", stream.Record{Head: stream.Head{ID: "5", State: stream.Purged}})
	ctx := t.Context()
	n, last := 0, uint64(0)
	for r, err := range b.c.Changes(ctx, "contacts", client.ChangeQuery{Since: "10"}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Seq <= last || r.Seq <= 10 {
			t.Fatalf("seq %d after %d", r.Seq, last)
		}
		n, last = n+1, r.Seq
	}
	if n != 1991 || last != 2001 {
		t.Fatalf("%d changes to %d", n, last)
	}
	n = 0
	for _, err := range b.c.Changes(ctx, "contacts", client.ChangeQuery{Limit: 3, Follow: true}) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != 3 {
		t.Fatalf("%d of 3 changes", n)
	}
	_, body := get(t, b, "/v1/streams/contacts/changes?since=1999&limit=1", "text/event-stream")
	if !strings.HasPrefix(body, "event: change\nid: 2000\ndata: {\"id\":\"2000\"") || !strings.HasSuffix(body, "}\n\n") {
		t.Errorf("server-sent events: %q", body)
	}
	res := do(t, b, "GET", "/v1/streams/contacts/changes?since=0", "", "Accept", "text/event-stream", "Last-Event-ID", "2000")
	if all, _ := io.ReadAll(res.Body); strings.Count(string(all), "event: change") != 1 {
		t.Errorf("an event source that goes on: %q", all)
	}
	var buf strings.Builder
	if err := b.c.CopyChanges(ctx, "contacts", client.ChangeQuery{Since: "1990", Follow: true, Limit: 11}, &buf); err != nil || strings.Count(buf.String(), "\n") != 11 {
		t.Errorf("a copy: %v %q", err, buf.String())
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.fill("contacts", 3000)
	b.d.add("contacts", stream.Record{Head: stream.Head{ID: "3001", State: stream.Archived}, Properties: []byte(`{"email":"gone@example.com"}`)})
	ctx := t.Context()
	n := 0
	for r, err := range b.c.ExportRecords(ctx, "contacts", client.RecordQuery{Fields: []string{"email"}}) {
		if n++; err != nil || !strings.HasPrefix(string(r.Properties), `{"email":"p`) || r.State != "live" {
			t.Fatal(r, err)
		}
	}
	if n != 3000 {
		t.Fatalf("%d records", n)
	}
	var all strings.Builder
	if err := b.c.Export(ctx, "contacts", "csv", client.RecordQuery{States: []string{"all"}}, &all); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(all.String())).ReadAll()
	if err != nil || len(rows) != 3002 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	head := []string{"id", "seq", "state", "createdAt", "updatedAt", "archivedAt", "mergedInto", "email", "note", "score"}
	if !cmp.Equal(rows[0], head) {
		t.Error(cmp.Diff(head, rows[0]))
	}
	if want := []string{"3001", "3001", "archived", "", "", "", "", "gone@example.com", "", ""}; !cmp.Equal(rows[3001], want) {
		t.Error(cmp.Diff(want, rows[3001]))
	}
	res, _ := get(t, b, "/v1/streams/contacts/export?format=csv&fields=email", "")
	if got := res.Header.Get("Content-Disposition"); got != `attachment; filename="contacts.csv"` {
		t.Error(got)
	}
}

// A property that is called as one of a file's own columns has another name
// there, and its values stand under it; half a surrogate pair spoils nothing else.
func TestExportOfOurNames(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.add("deals", stream.Record{Head: stream.Head{ID: "1"}, Properties: []byte(`{"id":"other","state":"TX","_property_id":"third","x":"half \ud800 \u00e9"}`)})
	_, body := get(t, b, "/v1/streams/deals/export?format=csv", "")
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	want := [][]string{{"id", "seq", "state", "createdAt", "updatedAt", "archivedAt", "mergedInto", "_property_id", "_property__property_id", "_property_state", "x"},
		{"1", "1", "live", "", "", "", "", "third", "other", "TX", "half \ufffd é"}}
	if err != nil || !cmp.Equal(rows, want) {
		t.Error(err, cmp.Diff(want, rows))
	}
}

// A spreadsheet that opens an export runs nothing.
func TestExportIsHarmless(t *testing.T) {
	t.Parallel()
	b := setup(t)
	values := map[string]string{"=HYPERLINK(1)": "'=HYPERLINK(1)", "+cmd|x": "'+cmd|x", "-5.5": "-5.5", "@SUM": "'@SUM", "\tx": "'\tx",
		"+49 (30) 1234-56/7": "+49 (30) 1234-56/7", "+1-800-FLOWERS": "'+1-800-FLOWERS", "+": "'+", "+1+A1": "'+1+A1",
		"a=b": "a=b", "-": "'-", "two\nlines": "two\nlines", "\"q\",": "\"q\","}
	want := map[string]string{}
	i := 0
	for in, out := range values {
		i++
		p, err := json.Marshal(map[string]string{"=name": in})
		if err != nil {
			t.Fatal(err)
		}
		want[fmt.Sprint(i)] = out
		b.d.add("deals", stream.Record{Head: stream.Head{ID: fmt.Sprint(i)}, Properties: p})
	}
	_, body := get(t, b, "/v1/streams/deals/export?format=csv", "")
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil || rows[0][7] != "'=name" {
		t.Fatal(rows, err)
	}
	for _, row := range rows[1:] {
		if row[7] != want[row[0]] {
			t.Errorf("%q, want %q", row[7], want[row[0]])
		}
	}
	_, body = get(t, b, "/v1/streams/deals/export?format=csv&formulas=keep", "")
	if rows, err = csv.NewReader(strings.NewReader(body)).ReadAll(); err != nil || rows[0][7] != "=name" {
		t.Fatal(rows, err)
	}
	for _, row := range rows[1:] {
		if _, ok := values[row[7]]; !ok {
			t.Errorf("%q is no value", row[7])
		}
	}
	res, body := get(t, b, "/v1/streams/deals/export?format=csv&formulas=maybe", "")
	if res.StatusCode != http.StatusBadRequest || !strings.Contains(body, "or keep (every value as it is)") || res.Header.Get("Content-Disposition") != "" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// A property that there is not is said, with the one that was meant, where
// definitions have been read.
func TestFieldsThatThereAreNot(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.add("contacts", stream.Record{Head: stream.Head{ID: "1"}, Properties: []byte(`{"email":"a"}`)})
	paths := []string{"records?limit=1", "export?format=csv", "export?format=ndjson", "records/1?fields=email"}
	asks := func(path, fields string) (int, string) {
		t.Helper()
		path, _, _ = strings.Cut(path, "fields=")
		sep := "?"
		if strings.HasSuffix(path, "?") {
			sep = ""
		} else if strings.Contains(path, "?") {
			sep = "&"
		}
		res, body := get(t, b, "/v1/streams/contacts/"+path+sep+"fields="+fields, "")
		return res.StatusCode, body
	}
	for _, schema := range []string{"", "[]"} {
		b.d.mu.Lock()
		b.d.schema = nil
		if schema != "" {
			b.d.schema = []byte(schema)
		}
		b.d.mu.Unlock()
		for _, path := range paths {
			if code, body := asks(path, "nope"); code != 200 {
				t.Errorf("%s with definitions %q: %d %s", path, schema, code, body)
			}
		}
	}
	b.d.mu.Lock()
	b.d.schema = []byte(`[{"name":"email"},{"name":"firstname"}]`)
	b.d.mu.Unlock()
	for _, path := range paths {
		if code, body := asks(path, "email,fristname"); code != 400 || !strings.Contains(body, `did you mean \"firstname\"?`) || !strings.Contains(body, `has no property \"fristname\"`) {
			t.Errorf("%s: %d %s", path, code, body)
		}
		if code, body := asks(path, "hs_object_source_label"); code != 400 || strings.Contains(body, "did you mean") || !strings.Contains(body, "/v1/streams/contacts/schema lists them") {
			t.Errorf("%s: %d %s", path, code, body)
		}
		if code, body := asks(path, "firstname,email"); code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

// What breaks in the middle is no whole answer; what breaks before it is an
// error.
func TestBrokenStore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.fill("contacts", 3000)
	for _, path := range []string{"records?limit=1000", "changes", "export", "export?format=csv", "export?format=csv&fields=email"} {
		b.d.breakAt = "1"
		if p := problem(t, do(t, b, "GET", "/v1/streams/contacts/"+path, "")); p.Type != client.TypeInternal {
			t.Errorf("%s: %+v", path, p)
		}
		b.d.breakAt = "990"
		if strings.Contains(path, "format=csv") {
			b.d.breakAt = "2990"
		}
		if path == "export?format=csv" || path == "records?limit=1000" {
			// The columns are read first, and a page is sent when it is whole: an
			// error before the first byte.
			if p := problem(t, do(t, b, "GET", "/v1/streams/contacts/"+path, "")); p.Type != client.TypeInternal {
				t.Errorf("%s: %+v", path, p)
			}
			continue
		}
		res := do(t, b, http.MethodGet, "/v1/streams/contacts/"+path, "")
		if _, err := io.ReadAll(res.Body); err == nil || res.StatusCode != http.StatusOK {
			t.Errorf("%s: a part looks like the whole (%s)", path, res.Status)
		}
	}
	b.d.breakAt = "2990"
	var last error
	for _, last = range b.c.Changes(t.Context(), "contacts", client.ChangeQuery{}) {
	}
	if last == nil {
		t.Error("the client takes a part for the whole")
	}
	if err := b.c.Export(t.Context(), "contacts", "ndjson", client.RecordQuery{}, io.Discard); err == nil {
		t.Error("a copy takes a part for the whole")
	}
	until(t, "the log says so", func() bool { return strings.Contains(b.log.String(), "checksum") })
}

func TestFollow(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.KeepAlive = 10 * time.Millisecond })
	b.d.fill("contacts", 3)
	got := make(chan client.Record)
	done := make(chan error, 1)
	go func() {
		defer close(got)
		for r, err := range b.c.Changes(t.Context(), "contacts", client.ChangeQuery{Since: "1", Follow: true}) {
			if err != nil {
				done <- err
				return
			}
			got <- r
		}
		done <- nil
	}()
	for _, want := range []string{"2", "3"} {
		if r := <-got; r.ID != want {
			t.Fatalf("record %s, want %s", r.ID, want)
		}
	}
	for i := range 50 {
		b.d.add("contacts", stream.Record{Head: stream.Head{ID: "2"}, Properties: []byte(`{}`)})
		if r := <-got; r.ID != "2" || r.Seq != uint64(4+i) {
			t.Fatalf("record %s at %d", r.ID, r.Seq)
		}
	}
	// A quiet one gets signs of life, and ends with the server.
	res := do(t, b, "GET", "/v1/streams/contacts/changes?follow=true&since=99999", "", "Accept", "text/event-stream")
	buf := make([]byte, 32)
	if n, err := io.ReadAtLeast(res.Body, buf, 14); err != nil || !strings.HasPrefix(string(buf[:n]), ": still here\n\n") {
		t.Fatalf("a sign of life: %q %v", buf[:n], err)
	}
	if err := b.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatalf("a follower that the server ends: %v", err)
	}
	if b.d.watching() != 0 {
		t.Error("somebody watches still")
	}
}

// A follower that goes leaves nothing behind.
func TestFollowerGoes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.fill("contacts", 1)
	for range b.c.Changes(t.Context(), "contacts", client.ChangeQuery{Follow: true}) {
		break
	}
	until(t, "nobody watches", func() bool { return b.d.watching() == 0 })
}

func TestEvents(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.KeepAlive = 5 * time.Millisecond })
	b.d.events <- client.Event{ID: 8, Type: client.EventStream, Data: []byte(`{"name":"contacts"}`)}
	var got []client.Event
	for e, err := range b.c.Events(t.Context(), 7) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e); len(got) == 1 {
			b.d.events <- client.Event{ID: 9, Type: client.EventLog, Data: []byte(`{}`)}
			close(b.d.events)
		}
	}
	want := []client.Event{{ID: 8, Type: "stream", Data: []byte(`{"name":"contacts"}`)}, {ID: 9, Type: "log", Data: []byte(`{}`)}}
	if !cmp.Equal(got, want) {
		t.Fatal(cmp.Diff(want, got))
	}
	if calls := b.d.called(); !cmp.Equal(calls, []string{"subscribe 7"}) {
		t.Fatal(calls)
	}
}

func TestEventsEndWithTheServer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	done := make(chan error, 1)
	go func() {
		var last error
		for _, last = range b.c.Events(t.Context(), 0) {
		}
		done <- last
	}()
	until(t, "it has subscribed", func() bool { return len(b.d.called()) == 1 })
	if err := b.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// What a hint says can be typed as it stands, whatever the record is called.
func TestHintOfARecordThatIsNotStored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for id, want := range map[string]string{"4711": "`hubpipe sync contacts --record 4711`", "a'b;c": "`hubpipe sync contacts --record 'a'\\''b;c'`",
		"x y": "an id is what HubSpot shows"} {
		for _, end := range []string{"", "/explain"} {
			p := problem(t, do(t, b, "GET", "/v1/streams/contacts/records/"+url.PathEscape(id)+end, ""))
			if p.Status != 404 || p.Type != client.TypeUnknownRecord || !strings.Contains(p.Hint, want) {
				t.Errorf("%s%s: %+v", id, end, p)
			}
		}
	}
}
