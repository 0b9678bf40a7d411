package simulator

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestToken(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	for _, auth := range []string{"", "Bearer ", "Bearer wrong", "secret"} {
		if pg := p.ok(401, "GET", contactsPath, nil, "Authorization", auth); pg.Category != "INVALID_AUTHENTICATION" {
			t.Errorf("%q: %+v", auth, pg)
		}
	}
	p.ok(401, "GET", contactsPath, nil, "Authorization", "Bearer pat-eu1-wrong")
	for _, nowhere := range []string{"pat-", "pat-wrong", "pat-e11-1", "pat-00000000-1111"} {
		if a := p.do("GET", contactsPath, nil, "Authorization", "Bearer "+nowhere); a.status != 530 {
			t.Errorf("%q: %d", nowhere, a.status)
		}
	}
	p.ok(200, "POST", "/_simulator/faults", `{"unauthorized":true}`)
	if pg := p.ok(401, "GET", contactsPath, nil); pg.Category != "EXPIRED_AUTHENTICATION" {
		t.Errorf("%+v", pg)
	}
	p.ok(200, "POST", "/_simulator/faults", `{"unauthorized":false,"token":"new"}`)
	p.ok(401, "GET", contactsPath, nil)
	p.ok(200, "GET", contactsPath, nil, "Authorization", "Bearer new")
	if n := p.Stats().Unauthorized; n != 11 {
		t.Errorf("%d unauthorized counted", n)
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	p.ok(200, "POST", "/_simulator/faults", `{"scopes_missing":{"contacts":["crm.objects.contacts.read"]}}`)
	for _, path := range []string{contactsPath, "/crm/properties/2026-09/contacts"} {
		pg := p.ok(403, "GET", path, nil)
		if pg.Category != "MISSING_SCOPES" || len(pg.Errors) != 1 || !cmp.Equal(pg.Errors[0].Context["requiredGranularScopes"], []string{"crm.objects.contacts.read"}) {
			t.Errorf("%s: %+v", path, pg)
		}
	}
	p.ok(200, "GET", "/crm/objects/2026-09/deals", nil)
	p.ok(200, "POST", "/_simulator/faults", `{"scopes_missing":{}}`)
	p.ok(200, "GET", contactsPath, nil)
}

func TestLongAddress(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	fit := contactsPath + "?properties=" + strings.Repeat("x", 8000-len(contactsPath+"?properties="))
	p.ok(200, "GET", fit, nil)
	a := p.do("GET", fit+"x", nil)
	if a.status != 414 || !strings.HasPrefix(string(a.body), "<html>") || a.header.Get("Content-Type") != "text/html" {
		t.Fatalf("status %d, %q", a.status, a.body)
	}
}

func TestBurstLimit(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Limits: true, BurstPer10s: 5, SearchPerSecond: 1000})
	for i := range 5 {
		a := p.do("GET", contactsPath, nil)
		for name, want := range map[string]string{
			"Daily": "625000", "Daily-Remaining": fmt.Sprint(625000 - i - 1), "Interval-Milliseconds": "10000", "Max": "5", "Remaining": fmt.Sprint(4 - i),
		} {
			if got := a.header.Get("X-HubSpot-RateLimit-" + name); got != want {
				t.Errorf("request %d: %s is %q, want %q", i, name, got, want)
			}
		}
		p.clock.add(time.Second)
	}
	if pg := p.ok(429, "GET", contactsPath, nil); pg.PolicyName != "TEN_SECONDLY_ROLLING" {
		t.Fatalf("%+v", pg)
	}
	p.ok(200, "POST", searchPath, m{"limit": 1})
	p.ok(207, "POST", "/crm/associations/2026-09/contacts/deals/batch/read", m{"inputs": inputs("1")})
	p.clock.add(5*time.Second - time.Millisecond)
	p.ok(429, "GET", contactsPath, nil)
	p.clock.add(time.Millisecond)
	p.ok(200, "GET", contactsPath, nil)
	p.ok(429, "GET", contactsPath, nil) // the window rolls: one left it, one entered
	if n := p.Stats().Refused; n != (Refused{Burst: 3}) {
		t.Errorf("refused %+v", n)
	}
}

func TestRetryAfterIsUsuallyAbsent(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Limits: true, BurstPer10s: 1})
	p.ok(200, "GET", contactsPath, nil)
	named := 0
	for range 100 {
		if p.do("GET", contactsPath, nil).header.Get("Retry-After") != "" {
			named++
		}
	}
	if named == 0 || named > 30 {
		t.Errorf("%d of 100 replies name a time", named)
	}
}

func TestSearchLimit(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Limits: true})
	for range 5 {
		for name := range p.do("POST", searchPath, m{"limit": 1}).header {
			if strings.Contains(strings.ToLower(name), "ratelimit") {
				t.Fatalf("a search names %s", name)
			}
		}
	}
	if pg := p.ok(429, "POST", searchPath, m{"limit": 1}); pg.Message != "You have reached your secondly limit." {
		t.Fatalf("%+v", pg)
	}
	p.ok(429, "POST", "/crm/objects/2026-09/deals/search", m{"limit": 1}) // one limit for all objects
	p.ok(200, "GET", contactsPath, nil)
	p.clock.add(time.Second)
	p.ok(200, "POST", searchPath, m{"limit": 1})
}

func TestDailyLimit(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Limits: true, Daily: 3})
	for range 3 {
		p.ok(200, "POST", searchPath, m{"limit": 1})
	}
	if pg := p.ok(429, "GET", contactsPath, nil); pg.PolicyName != "DAILY" || pg.Message != "You have reached your daily limit." {
		t.Fatalf("%+v", pg)
	}
	p.ok(429, "POST", searchPath, m{"limit": 1})
	p.clock.add(14 * time.Hour)
	p.ok(200, "GET", contactsPath, nil)
	p.ok(200, "POST", "/_simulator/faults", `{"daily_remaining":0}`)
	p.ok(429, "GET", contactsPath, nil)
	p.ok(200, "POST", "/_simulator/faults", `{"daily_remaining":1}`)
	p.ok(200, "GET", contactsPath, nil)
	p.ok(429, "GET", contactsPath, nil)
}

func TestNoLimits(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{BurstPer10s: 1, SearchPerSecond: 1})
	for range 5 {
		p.ok(200, "GET", contactsPath, nil)
		p.ok(200, "POST", searchPath, m{"limit": 1})
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{FaultRate: 1})
	seen := map[string]int{}
	for range 200 {
		a, err := p.try("GET", contactsPath+"?limit=100", nil)
		switch {
		case err != nil && a.status == 200:
			seen["cut"]++
		case err != nil:
			seen["reset"]++
		case a.status == 200 && json.Valid(a.body):
			t.Fatal("a reply without a fault at a rate of 1")
		case a.status == 200:
			seen["invalid"]++
		default:
			seen[fmt.Sprint(a.status)]++
		}
		if a.status == 477 && a.header.Get("Retry-After") != "1" {
			t.Fatalf("477 with Retry-After %q", a.header.Get("Retry-After"))
		}
		if a.status == 502 && json.Valid(a.body) {
			t.Fatal("502 is JSON")
		}
	}
	want := map[string]int{}
	for k, n := range p.Stats().Faults {
		want[k] = int(n)
	}
	// The client repeats a GET by itself when a connection that was used
	// before is reset.
	if seen["reset"] == 0 || seen["reset"] > want["reset"] || len(seen) != int(faultKinds) {
		t.Errorf("seen %v, counted %v", seen, want)
	}
	p.ok(200, "GET", "/_simulator/stats", nil)
	p.ok(200, "POST", "/_simulator/faults", `{"rate":0}`)
	for range 20 {
		p.ok(200, "GET", contactsPath, nil)
	}
}

func TestFaultRate(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{FaultRate: 0.2})
	for range 300 {
		_, _ = p.try("POST", searchPath, m{"limit": 1})
	}
	n := int64(0)
	for _, k := range p.Stats().Faults {
		n += k
	}
	if n < 30 || n > 90 {
		t.Errorf("%d faults in 300 requests", n)
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Latency: 30 * time.Millisecond})
	began := time.Now()
	p.ok(200, "GET", contactsPath, nil)
	if d := time.Since(began); d < 30*time.Millisecond {
		t.Errorf("answered after %v", d)
	}
}

func TestArchiveRestoreDelete(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	id := p.Truth("contacts")[9].ID
	search := func() int { return p.ok(200, "POST", searchPath, query(filter("hs_object_id", "EQ", id))).Total }
	state := func() string { return p.Truth("contacts")[9].State }
	change := func(c Change) {
		t.Helper()
		if got, err := p.Change("contacts", c); err != nil || !cmp.Equal(got, []string{id}) {
			t.Fatalf("%v, %v", got, err)
		}
	}
	change(Change{Archive: []string{id}})
	rows := p.walk(contactsPath, "&archived=true")
	if len(rows) != 1 || rows[0].ID != id || !*rows[0].Archived || !rows[0].ArchivedAt.Equal(p.clock.now()) || state() != "archived" {
		t.Fatalf("archived: %+v", rows)
	}
	if n := len(p.walk(contactsPath, "")); n != 249 || search() != 0 {
		t.Errorf("%d live, search finds %d", n, search())
	}
	p.ok(404, "GET", contactsPath+"/"+id, nil)
	p.one(contactsPath + "/" + id + "?archived=true")
	p.ok(207, "POST", batchPath, m{"inputs": inputs(id)})
	if n := len(p.ok(200, "POST", batchPath+"?archived=true", m{"inputs": inputs(id)}).Results); n != 1 {
		t.Errorf("%d archived read", n)
	}
	change(Change{Restore: []string{id}})
	if p.one(contactsPath + "/" + id); search() != 1 || state() != "live" {
		t.Error("not restored")
	}
	change(Change{Delete: []string{id}})
	p.ok(404, "GET", contactsPath+"/"+id, nil)
	p.ok(404, "GET", contactsPath+"/"+id+"?archived=true", nil)
	if state() != "purged" {
		t.Error(state())
	}
	if _, err := p.Change("contacts", Change{Archive: []string{id}}); !errors.Is(err, ErrUnknownRecord) {
		t.Error(err)
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{Limits: true, BurstPer10s: 1, Daily: 1, FaultRate: 1, Latency: time.Hour})
	type touched struct{ IDs []string }
	post := func(object, body string) []string {
		t.Helper()
		a := p.do("POST", "/_simulator/"+object, body, "Authorization", "")
		var got touched
		if err := json.Unmarshal(a.body, &got); err != nil || a.status != 200 {
			t.Fatalf("%s: status %d, %s", body, a.status, a.body)
		}
		return got.IDs
	}
	truth := func() (out []Object) {
		t.Helper()
		sc := bufio.NewScanner(bytes.NewReader(p.do("GET", "/_simulator/truth/contacts", nil).body))
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			var o Object
			if err := json.Unmarshal(sc.Bytes(), &o); err != nil {
				t.Fatal(err)
			}
			out = append(out, o)
		}
		return out
	}
	find := func(id string) Object {
		t.Helper()
		for _, o := range truth() {
			if o.ID == id {
				return o
			}
		}
		t.Fatalf("no %s", id)
		return Object{}
	}
	if got := post("contacts", `{"create":3}`); len(got) != 3 || !find(got[0]).UpdatedAt.Equal(p.clock.now()) {
		t.Errorf("created %v", got)
	}
	at := p.clock.now().Add(-time.Hour)
	got := post("contacts", fmt.Sprintf(`{"change":40,"at":%d,"visible_after":"5s"}`, at.UnixMilli()))
	if len(got) != 40 {
		t.Fatalf("%d changed", len(got))
	}
	for _, id := range got {
		if o := find(id); !o.UpdatedAt.Equal(at) {
			t.Fatalf("%s changed at %v", id, o.UpdatedAt)
		}
	}
	if got := post("contacts", `{"change":100000}`); len(got) != 253 {
		t.Errorf("%d changed of 253", len(got))
	}
	id := got[0]
	value := "two \"lines\"\nand ü \u0001"
	raw, _ := json.Marshal(value)
	post("contacts", `{"ids":["`+id+`"],"properties":{"city":`+string(raw)+`,"email":null}}`)
	if o := find(id); *o.Properties["city"] != value || o.Properties["email"] != nil {
		t.Errorf("%v", o.Properties)
	}
	post("contacts", `{"archive":["`+id+`"]}`)
	post("contacts", `{"delete":["`+got[1]+`"]}`)
	if find(id).State != "archived" || find(got[1]).State != "purged" {
		t.Error("neither archived nor purged")
	}
	if d := cmp.Diff(p.Truth("contacts"), truth()); d != "" {
		t.Error(d)
	}
	for path, bodies := range map[string][]string{
		"contacts": {`{"ids":["5"]}`, `{"ids":["` + got[3] + `"],"properties":{"nothing":"x"}}`, `{"visible_after":5}`, `{"chnage":1}`, `{`},
		"faults":   {`{"rte":1}`},
	} {
		for _, b := range bodies {
			if a := p.do("POST", "/_simulator/"+path, b); a.status != 400 {
				t.Errorf("%s: status %d", b, a.status)
			}
		}
	}
	for _, path := range []string{"truth/llamas", "llamas", "stats/x"} {
		if a := p.do("GET", "/_simulator/"+path, nil); a.status != 404 {
			t.Errorf("%s: status %d", path, a.status)
		}
	}
	var st Stats
	if err := json.Unmarshal(p.do("GET", "/_simulator/stats", nil).body, &st); err != nil || st.Total != 0 {
		t.Errorf("control counts: %+v, %v", st, err)
	}
}

// Who asks what can be told gets lines that do what they say.
func TestControlListsItself(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	all := p.Truth("contacts")
	ids := strings.NewReplacer("OTHER", all[1].ID, "ID", all[0].ID)
	said := strings.Split(strings.TrimSpace(string(p.do("GET", "/_simulator/", nil).body)), "\n")
	for _, line := range said {
		line, _, _ = strings.Cut(line, "  ")
		method, rest, _ := strings.Cut(line, " ")
		address, body, _ := strings.Cut(rest, " ")
		if strings.Contains(line, `"archive"`) || strings.Contains(line, `"merge"`) {
			all = slices.DeleteFunc(p.Truth("contacts"), func(o Object) bool { return o.State != "live" })
			ids = strings.NewReplacer("OTHER", all[1].ID, "ID", all[0].ID)
		}
		before := p.Truth("contacts")
		if a := p.do(method, address, ids.Replace(body)); a.status != 200 {
			t.Errorf("%s: %d %s", line, a.status, a.body)
		}
		if changed := !cmp.Equal(before, p.Truth("contacts")); changed != (method == "POST" && (address == "/_simulator/contacts" || strings.HasSuffix(address, "/properties"))) {
			t.Errorf("%s: records changed: %t", line, changed)
		}
	}
	if len(said) < 10 {
		t.Errorf("%q", said)
	}
	if a := p.do("GET", "/_simulator/nothing", nil); a.status != 404 || !strings.Contains(string(a.body), "GET /_simulator/") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestChangesWithTime(t *testing.T) {
	t.Parallel()
	s := New(Options{ChangeRate: 2000, Sizes: map[string]int{"contacts": 50, "deals": 10}})
	before := s.Truth("contacts")
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); !errors.Is(err, ErrRunning) {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for len(s.Truth("contacts")) == len(before) || len(s.Truth("deals")) == 10 {
		if time.Now().After(deadline) {
			t.Fatal("nothing is created")
		}
		<-time.After(time.Millisecond)
	}
	s.Stop()
	s.Stop()
	after := s.Truth("contacts")
	if cmp.Equal(before, after[:len(before)]) {
		t.Error("nothing is changed")
	}
	for i, o := range before {
		if after[i].UpdatedAt.Before(o.UpdatedAt) || !cmp.Equal(o.Properties, after[i].Properties) == after[i].UpdatedAt.Equal(o.UpdatedAt) {
			t.Fatalf("%s: content and time disagree", o.ID)
		}
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Stop()
}

func FuzzSearchBody(f *testing.F) {
	f.Add([]byte(`{"filterGroups":[{"filters":[{"propertyName":"email","operator":"EQ","value":"x"}]}],"sorts":["-email"],"after":"5","limit":3}`))
	f.Add([]byte(`{"sorts":[{"propertyName":"createdate","direction":"DESCENDING"}],"after":null}`))
	s := New(Options{Sizes: map[string]int{"contacts": 20}})
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest(http.MethodPost, searchPath, bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) || w.Code != 200 && w.Code != 400 && w.Code != 500 {
			t.Fatalf("status %d: %q", w.Code, w.Body)
		}
	})
}

// discard drops a reply, so that a benchmark pays for its making only.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

func BenchmarkList(b *testing.B) {
	for _, o := range []Options{{}, {PreRendered: true}, {Properties: 367}} {
		b.Run(fmt.Sprintf("prerendered=%t,properties=%d", o.PreRendered, o.Properties), func(b *testing.B) {
			o.Sizes, o.MaxURL = map[string]int{"contacts": 10000}, 20000
			s := New(o)
			var names []string
			for _, p := range s.stores["contacts"].sc.props {
				names = append(names, p.name)
			}
			r := httptest.NewRequest(http.MethodGet, contactsPath+"?limit=100&properties="+strings.Join(names, ","), nil)
			r.Header.Set("Authorization", "Bearer x")
			b.ReportAllocs()
			for b.Loop() {
				w := discard{header: http.Header{}}
				if s.ServeHTTP(&w, r); w.status != 200 {
					b.Fatal(w.status)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/record")
		})
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{
		Now: time.Now, ChangeRate: 3000, SearchLateness: 20 * time.Millisecond,
		StaleReads: 0.3, StaleFor: 20 * time.Millisecond, Limits: true, BurstPer10s: 1e6, SearchPerSecond: 1e6,
	})
	first := p.Truth("contacts")[0].ID
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 40 {
				for _, r := range []struct {
					method, path string
					body         any
				}{
					{"GET", contactsPath + "?limit=100&properties=" + p.all(), nil},
					{"POST", searchPath, query(filter("lastmodifieddate", "GTE", "5"))},
					{"POST", batchPath, m{"inputs": inputs(first), "properties": []string{"email"}}},
					{"POST", "/_simulator/contacts", `{"change":2}`},
				} {
					a, err := p.try(r.method, r.path, r.body)
					if err != nil || a.status != 200 || !json.Valid(a.body) {
						t.Errorf("%s: status %d, %v", r.path, a.status, err)
					}
				}
			}
		})
	}
	wg.Wait()
}
