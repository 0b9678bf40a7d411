package hubspot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// journalOf serves a simulated journal behind f, where that is not nil.
func journalOf(t *testing.T, o simulator.Options, f func(w http.ResponseWriter, r *http.Request, next http.Handler)) (*simulator.Simulator, *Journal) {
	t.Helper()
	if o.Journal == nil {
		o.Journal = &simulator.Journal{ClientID: "app", ClientSecret: "app-secret", Every: time.Nanosecond}
	}
	o.PortalID = 4711
	sim := simulator.New(o)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f != nil {
			f(w, r, sim)
			return
		}
		sim.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	c := New(Options{BaseURL: srv.URL, Unpaced: true, MaxBody: 1 << 20})
	t.Cleanup(c.Close)
	return sim, c.Journal(JournalApp{ClientID: "app", ClientSecret: func() string { return "app-secret" }})
}

func TestJournalIsReadInOrder(t *testing.T) {
	t.Parallel()
	var shown atomic.Int64
	sim, j := journalOf(t, simulator.Options{Sizes: map[string]int{"contacts": 10}}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasPrefix(r.URL.Path, "/_storage/") && r.Header.Get("Authorization") != "" {
			shown.Add(1)
		}
		next.ServeHTTP(w, r)
	})
	change := func(c simulator.Change) []string {
		t.Helper()
		ids, err := sim.Change("contacts", c)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	next := func(place string) JournalEntry {
		t.Helper()
		e, err := j.Next(t.Context(), place, 4711)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, place := range []string{"", JournalEarliest} {
		if e := next(place); e.Place != "" {
			t.Errorf("an empty journal has %+v", e)
		}
	}
	made := change(simulator.Change{Create: 2})
	first := next(JournalEarliest)
	if d := cmp.Diff([]JournalHint{{"0-1", made[0], true}, {"0-1", made[1], true}}, first.Hints); d != "" || first.Published.IsZero() {
		t.Error(d)
	}
	if e := next(first.Place); e.Place != "" {
		t.Errorf("nothing has happened, and there is %+v", e)
	}
	change(simulator.Change{IDs: made[:1]})
	second := next(first.Place)
	if d := cmp.Diff([]JournalHint{{"0-1", made[0], false}}, second.Hints); d != "" {
		t.Error(d)
	}
	change(simulator.Change{Archive: made[:1]})
	third := next(second.Place)
	if again := next(first.Place); !cmp.Equal(again, second) {
		t.Errorf("read again it is %+v", again)
	}
	if latest := next(""); latest.Place != third.Place {
		t.Errorf("the newest is %+v", latest)
	}
	for place, want := range map[string]error{"00000000-0000-4000-8000-000000000000": ErrPlaceLost} {
		if _, err := j.Next(t.Context(), place, 4711); !errors.Is(err, want) {
			t.Errorf("%s: %v", place, err)
		}
	}
	if n := sim.JournalStats(); n.Tokens != 1 || shown.Load() != 0 {
		t.Errorf("%+v, storage was shown a token %d times", n, shown.Load())
	}
}

// A token is kept until it nearly ends, and one exchange serves all who ask.
func TestJournalTokens(t *testing.T) {
	t.Parallel()
	now := atomic.Pointer[time.Time]{}
	begin := time.Now()
	now.Store(&begin)
	sim, j := journalOf(t, simulator.Options{Now: func() time.Time { return *now.Load() }}, nil)
	failed := make(chan error, 8)
	for range cap(failed) {
		go func() { failed <- j.Ready(t.Context()) }()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if n := sim.JournalStats().Tokens; n != 1 {
		t.Errorf("%d tokens", n)
	}
	later := begin.Add(time.Hour) // by HubSpot's clock it has ended, by ours it has not
	now.Store(&later)
	if _, err := j.Next(t.Context(), "", 0); err != nil {
		t.Error(err)
	}
	if n := sim.JournalStats().Tokens; n != 2 {
		t.Errorf("%d tokens", n)
	}
	j.mu.Lock()
	if left := time.Until(j.until); left > 27*time.Minute || left < 20*time.Minute {
		t.Errorf("it is kept for %v of 30 minutes", left)
	}
	j.mu.Unlock()
}

func TestJournalRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status  int
		path    string // of what is answered so
		body    string
		blocked bool
		says    string
	}{
		"an unknown app":          {400, "/oauth", `{"status":"BAD_CLIENT_ID","message":"unknown app app-secret"}`, true, "does not know the app"},
		"an unknown scope":        {400, "/oauth", `{"status":"BAD_SCOPE","message":"the scope could not be recognized"}`, true, "could not be recognized"},
		"a broken endpoint":       {503, "/oauth", ``, false, "503"},
		"a token refused":         {401, "/webhooks-journal", `{"message":"no"}`, true, "does not accept"},
		"a missing scope":         {403, "/webhooks-journal", `{"message":"no"}`, true, "may not read"},
		"too often":               {429, "/webhooks-journal", `{"message":"no"}`, false, "too often"},
		"no journal":              {404, "/webhooks-journal", `{"message":"no"}`, false, "404"},
		"a fault":                 {500, "/webhooks-journal", ``, false, "500"},
		"a redirect":              {302, "/webhooks-journal", ``, false, "302"},
		"no address":              {200, "/webhooks-journal", `{"currentOffset":"a"}`, false, "cannot be read"},
		"no place":                {200, "/webhooks-journal", `{"url":"http://127.0.0.1:1/"}`, false, "names no place"},
		"a place elsewhere":       {200, "/webhooks-journal", `{"url":"http://127.0.0.1:1/","currentOffset":"../../crm"}`, false, "names no place"},
		"an address that is none": {200, "/webhooks-journal", `{"url":"file:///etc/passwd","currentOffset":"a"}`, false, "not one of https"},
	} {
		_, j := journalOf(t, simulator.Options{}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.HasPrefix(r.URL.Path, c.path) {
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
				return
			}
			next.ServeHTTP(w, r)
		})
		_, err := j.Next(t.Context(), "", 4711)
		blocked, isBlocked := errors.AsType[*Blocked](err)
		switch {
		case err == nil || isBlocked != c.blocked || !strings.Contains(err.Error(), c.says):
			t.Errorf("%s: %v", name, err)
		case isBlocked && (blocked.Type != "journal" || blocked.Hint == ""):
			t.Errorf("%s: %+v", name, blocked)
		case strings.Contains(err.Error(), "app-secret"):
			t.Errorf("%s shows the secret: %v", name, err)
		}
	}
}

// Whatever storage answers with: bounded, not followed, and named.
func TestJournalFilesAreBounded(t *testing.T) {
	t.Parallel()
	packed := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = z.Write(b)
		_ = z.Close()
		return out.Bytes()
	}
	good := []byte(`{"journalEvents":[{"portalId":4711,"action":"UPDATE","objectTypeId":"0-1","objectId":7}]}`)
	for name, c := range map[string]struct {
		status int
		body   []byte
		says   string // "" for a file that is read
	}{
		"a file":           {200, good, ""},
		"packed, unmarked": {200, packed(good), ""},
		"packed, cut":      {200, packed(good)[:40], "unexpected EOF"},
		"packed, spoilt":   {200, append(packed(good)[:10:10], 0xff, 0xff, 0xff, 0xff), "corrupt"},
		"failing":          {503, nil, "status 503"},
		"cut on its way":   {0, good, "EOF"},
		"too large":        {200, bytes.Repeat([]byte(" "), 2<<20), "above the bound"},
		"too large packed": {200, packed(bytes.Repeat([]byte(" "), 64<<20)), "above the bound"},
		"moved":            {302, nil, "status 302"},
		"expired":          {403, nil, "status 403"},
		"no list":          {200, []byte("<xml/>"), "no list of events"},
		"cut":              {200, good[:30], "no list of events"},
		"nothing of it":    {200, []byte(`{"journalEvents":[{"portalId":4711,"action":"UPDATE","objectTypeId":"contact","objectId":7},{"portalId":4711,"action":"UPDATE","id":7}]}`), "none of its 2 events"},
		"without events":   {200, []byte(`{"offset":"x"}`), "no journalEvents"},
	} {
		sim, j := journalOf(t, simulator.Options{}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.HasPrefix(r.URL.Path, "/_storage/") {
				w.Header().Set("Location", "http://"+r.Host+"/elsewhere")
				if c.status == 0 {
					w.Header().Set("Content-Length", "1000")
				} else {
					w.WriteHeader(c.status)
				}
				_, _ = w.Write(c.body)
				return
			}
			next.ServeHTTP(w, r)
		})
		if _, err := sim.Change("contacts", simulator.Change{Create: 1}); err != nil {
			t.Fatal(err)
		}
		e, err := j.Next(t.Context(), "", 4711)
		bad := (*JournalFileError)(nil)
		switch {
		case c.says == "" && (err != nil || len(e.Hints) != 1):
			t.Errorf("%s: %+v, %v", name, e, err)
		case c.says != "" && (!errors.As(err, &bad) || bad.Place == "" || !strings.Contains(bad.Reason, c.says) || bad.Passing != (c.status == 0 || c.status >= 500)):
			t.Errorf("%s: %v", name, err)
		case err != nil && strings.Contains(err.Error(), "signature"):
			t.Errorf("%s shows the address: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, j := journalOf(t, simulator.Options{}, nil); j.Ready(ctx) == nil {
		t.Error("it goes on after its end")
	}
}

func TestDecodeJournal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		want JournalEntry
	}{
		"as documented": {`{"offset":"x","publishedAt":"2026-03-01T10:00:00Z","journalEvents":[
			{"type":"crmObject","portalId":62515,"occurredAt":"2026-03-01T09:59:58Z","action":"CREATE","objectTypeId":"0-1","objectId":1},
			{"type":"crmObject","portalId":62515,"action":"UPDATE","objectTypeId":"0-3","objectId":2,"propertyChanges":{"amount":"1"}},
			{"type":"crmObject","portalId":62515,"action":"DELETE","objectTypeId":"2-77","objectId":3}]}`,
			JournalEntry{Events: 3, Hints: []JournalHint{{"0-1", "1", true}, {"0-3", "2", false}, {"2-77", "3", false}},
				Published: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}},
		"each once, with all that changed": {`[{"portalId":"62515","action":"UPDATE","objectTypeId":"0-1","objectId":"9007199254740993"},
			{"portalId":62515,"action":"RESTORE","objectTypeId":"0-1","objectId":9007199254740993}]`,
			JournalEntry{Events: 2, Hints: []JournalHint{{"0-1", "9007199254740993", true}}}},
		"a merge": {`{"journalEvents":[{"portalId":62515,"action":"MERGE","objectTypeId":"0-1","objectId":1,"primaryObjectId":1,"mergedObjectIds":[2,"3"],"newObjectId":4}]}`,
			JournalEntry{Events: 1, Hints: []JournalHint{{"0-1", "1", true}, {"0-1", "4", true}, {"0-1", "2", true}, {"0-1", "3", true}}}},
		"associations": {`{"journalEvents":[{"type":"association","portalId":62515,"action":"ASSOCIATION_REMOVED","fromObjectTypeId":"0-3","fromObjectId":1,"toObjectTypeId":"0-1","toObjectId":2},
			{"type":"association","portalId":62515,"action":"ASSOCIATION_ADDED","objectTypeId":"0-3","objectId":5,"associatedObjectTypeId":"0-1","associatedObjectId":6}]}`,
			JournalEntry{Events: 2, Hints: []JournalHint{{"0-3", "1", true}, {"0-1", "2", true}, {"0-3", "5", true}, {"0-1", "6", true}}}},
		"a privacy deletion": {`{"journalEvents":[{"type":"gdprPrivacyDeletion","portalId":62515,"action":"GDPR_DELETE","objectTypeId":"0-1","objectId":5}]}`,
			JournalEntry{Events: 1, Hints: []JournalHint{{"0-1", "5", false}}}},
		"what changes no record": {`{"journalEvents":[{"type":"app_lifecycle_event","portalId":62515,"action":"APP_INSTALL"},
			{"portalId":62515,"action":"SNAPSHOT","objectTypeId":"0-1","objectId":5},{"portalId":62515,"action":"ADDED_TO_LIST","objectTypeId":"0-1","objectId":5}]}`,
			JournalEntry{Events: 3}},
		"another account's": {`{"journalEvents":[{"portalId":7,"action":"UPDATE","objectTypeId":"0-1","objectId":5}]}`, JournalEntry{Events: 1, Others: 1}},
		"events that are none": {`{"journalEvents":[1,null,{"portalId":62515,"objectTypeId":"0-1","objectId":-1},{"portalId":62515,"objectTypeId":"../x","objectId":1},{"objectTypeId":"0-1","objectId":4}]}`,
			JournalEntry{Events: 5, Unread: 4, Hints: []JournalHint{{"0-1", "4", false}}}},
		"none": {`{"journalEvents":[]}`, JournalEntry{}},
	} {
		got, err := decodeJournal([]byte(c.file), 62515)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// Of an import no more is read by name than the daemon lets wait; the object is
// named.
func TestManyOfAnObject(t *testing.T) {
	t.Parallel()
	events := make([]string, journalMany+5)
	for i := range events {
		events[i] = fmt.Sprintf(`{"portalId":1,"action":"UPDATE","objectTypeId":"0-1","objectId":%d}`, i+1)
	}
	e, err := decodeJournal([]byte(`{"journalEvents":[`+strings.Join(events, ",")+`,{"portalId":1,"objectTypeId":"0-2","objectId":1}]}`), 1)
	if err != nil || len(e.Hints) != journalMany+1 || !slices.Equal(e.Many, []string{"0-1"}) {
		t.Errorf("%d named, many of %v, %v", len(e.Hints), e.Many, err)
	}
}

// However many records, objects and events a file has, what is made of it is
// bounded, and what is left out is named.
func TestEntriesAreBounded(t *testing.T) {
	t.Parallel()
	file := func(n int, event func(i int) string) []byte {
		events := make([]string, n)
		for i := range events {
			events[i] = event(i)
		}
		return []byte(`{"journalEvents":[` + strings.Join(events, ",") + `]}`)
	}
	event := func(object, id int) string {
		return fmt.Sprintf(`{"portalId":1,"action":"UPDATE","objectTypeId":"0-%d","objectId":%d}`, object, id)
	}
	e, err := decodeJournal(file(journalNamed+3000, func(i int) string { return event(i/1000, i) }), 1)
	if err != nil || len(e.Hints) != journalNamed || !slices.Equal(e.Many, []string{"0-8", "0-9", "0-10"}) || e.Unread != 0 {
		t.Errorf("of many records: %d named, many of %v, %d unread, %v", len(e.Hints), e.Many, e.Unread, err)
	}
	e, err = decodeJournal(file(journalNamed+journalObjects+7, func(i int) string { return event(i, i) }), 1)
	if err != nil || len(e.Hints) != journalNamed || len(e.Many) != journalObjects || e.Unread != 7 {
		t.Errorf("of many objects: %d named, many of %d, %d unread, %v", len(e.Hints), len(e.Many), e.Unread, err)
	}
	e, err = decodeJournal(file(2, func(i int) string {
		return strings.Replace(event(1, i), "{", `{"of":"`+strings.Repeat("x", i*journalEventSize)+`",`, 1)
	}), 1)
	if err != nil || len(e.Hints) != 1 || e.Unread != 1 {
		t.Errorf("of a large event: %d named, %d unread, %v", len(e.Hints), e.Unread, err)
	}
	for n, bad := range map[int]bool{journalEvents: false, journalEvents + 1: true} {
		for _, cut := range []string{``, `{"journalEvents":`} {
			list := file(n, func(i int) string { return [...]string{event(1, 1), "1"}[min(i, 1)] })
			if cut == "" {
				list = bytes.TrimSuffix(bytes.TrimPrefix(list, []byte(`{"journalEvents":`)), []byte("}"))
			}
			if _, err := decodeJournal(list, 1); errors.Is(err, errManyEvents) != bad || !bad && err != nil {
				t.Errorf("%d events: %v", n, err)
			}
		}
	}
	sim, j := journalOf(t, simulator.Options{}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasPrefix(r.URL.Path, "/_storage/") {
			z := gzip.NewWriter(w)
			_, _ = z.Write(append([]byte(`{"journalEvents":[]}`), bytes.Repeat([]byte(" "), journalBytes)...))
			_ = z.Close()
			return
		}
		next.ServeHTTP(w, r)
	})
	j.c = New(Options{BaseURL: j.c.address, Unpaced: true})
	t.Cleanup(j.c.Close)
	if _, err := sim.Change("contacts", simulator.Change{Create: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Next(t.Context(), "", 4711); err == nil || !strings.Contains(err.Error(), "above the bound") {
		t.Errorf("a large file: %v", err)
	}
}

// Whatever comes: no panic, and only types and ids that are some, each once.
func FuzzDecodeJournal(f *testing.F) {
	f.Add([]byte(`{"journalEvents":[{"portalId":1,"action":"MERGE","objectTypeId":"0-1","objectId":1,"mergedObjectIds":[2,"3"]}],"publishedAt":"x"}`))
	f.Add([]byte(`[{"fromObjectTypeId":"0-3","fromObjectId":1,"toObjectTypeId":"0-1","toObjectId":null}]`))
	f.Add([]byte("\xef\xbb\xbf {\"journalEvents\":[null,[],{}]}"))
	f.Fuzz(func(t *testing.T, file []byte) {
		e, err := decodeJournal(file, 1)
		if err != nil && !cmp.Equal(e, JournalEntry{}) {
			t.Fatal("events beside an error")
		}
		seen := map[string]bool{}
		for _, h := range e.Hints {
			key := h.Object + "/" + h.Record
			if seen[key] || !typePattern.MatchString(h.Object) || h.Record == "" || len(h.Record) > 20 || strings.Trim(h.Record, "0123456789") != "" {
				t.Fatalf("%+v", h)
			}
			seen[key] = true
		}
	})
}
