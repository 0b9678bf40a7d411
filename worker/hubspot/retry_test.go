package hubspot

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

const (
	scopesBody = `{"status":"error","message":"This app hasn't been granted all required scopes to make this call.","errors":[{"message":"One or more of the following scopes are required.","context":{"requiredGranularScopes":["crm.objects.contacts.read","crm.schemas.contacts.read"]}}],"category":"MISSING_SCOPES"}`
	rollBody   = `{"status":"error","message":"You have reached your ten_secondly_rolling limit.","errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"}`
	dailyBody  = `{"status":"error","message":"You have reached your daily limit.","errorType":"RATE_LIMIT","correlationId":"c","policyName":"DAILY","requestId":"r"}`
	secondBody = `{"status":"error","message":"You have reached your secondly limit.","category":"RATE_LIMITS"}`
	htmlBody   = "<html><head><title>502</title></head><body>Bad Gateway</body></html>"
)

func packed(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

func repeated(s step, n int) []step {
	out := make([]step, n)
	for i := range out {
		out[i] = s
	}
	return out
}

// TestRetries holds what is asked again, and when: jitter is fixed in the
// middle, so that times are exact.
func TestRetries(t *testing.T) {
	t.Parallel()
	good := ok(pageOf("", "1", "2"))
	whole := packed(pageOf("", "1", "2"))
	head := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	const soon, later = 250 * time.Millisecond, time.Second
	for _, tt := range []struct {
		name  string
		steps []step
		least time.Duration // from the first request to the last
		most  time.Duration
	}{
		{"nothing wrong", []step{good}, 0, 0},
		{"500", []step{{status: 500}, good}, soon, later},
		{"502 in HTML", []step{{status: 502, body: htmlBody}, good}, soon, later},
		{"a minute of 503", append(repeated(step{status: 503}, 10), good), 20 * time.Second, 80 * time.Second},
		{"530 of a proxy", []step{{status: 530, body: htmlBody}, good}, soon, later},
		{"503 that names a time", []step{{status: 503, header: head("Retry-After", "30")}, good}, 30 * time.Second, 31 * time.Second},
		{"reset", []step{{fail: errors.New("connection reset by peer")}, good}, soon, later},
		{"silence", []step{{hang: true}, good}, time.Minute, 62 * time.Second},
		{"cut", []step{ok(pageOf("", "1")[:50]), good}, soon, later},
		{"HTML with 200", []step{ok(htmlBody), good}, soon, later},
		{"empty object with 200", []step{ok(`{}`), good}, soon, later},
		{"null results", []step{ok(`{"results":null}`), good}, soon, later},
		{"record without id", []step{ok(`{"results":[{"properties":{}}]}`), good}, soon, later},
		{"204", []step{{status: 204}, good}, soon, later},
		{"no date ever", []step{{status: 200, body: pageOf("", "1"), header: head("Date", "")}, good}, soon, later},
		{"gzip", []step{{status: 200, body: whole, header: head("Content-Encoding", "gzip")}}, 0, 0},
		{"gzip cut", []step{{status: 200, body: whole[:40], header: head("Content-Encoding", "gzip")}, good}, soon, later},
		{"gzip that is none", []step{{status: 200, body: pageOf("", "1"), header: head("Content-Encoding", "gzip")}, good}, soon, later},
		{"423", []step{{status: 423}, good}, 2 * time.Second, 3 * time.Second},
		{"477", []step{{status: 477, header: head("Retry-After", "3600")}, good}, time.Hour, time.Hour + time.Second},
		{"429 without a word", []step{{status: 429, body: htmlBody}, good}, 10 * time.Second, 11 * time.Second},
		{"429 rolling", []step{{status: 429, body: rollBody}, good}, 10 * time.Second, 11 * time.Second},
		{"429 secondly", []step{{status: 429, body: secondBody}, good}, time.Second, 2 * time.Second},
		{"429 that names a time", []step{{status: 429, body: rollBody, header: head("Retry-After", "25")}, good}, 25 * time.Second, 26 * time.Second},
		{"429 that names a date", []step{{status: 429, body: rollBody, header: head("Retry-After", "Sat, 01 Jan 2000 00:01:40 GMT", "Date", "Sat, 01 Jan 2000 00:00:00 GMT")}, good}, 100 * time.Second, 101 * time.Second},
		{"429 daily, zone unknown", []step{{status: 429, body: dailyBody}, good}, 15 * time.Minute, 15*time.Minute + time.Second},
		{"401 twice", []step{{status: 401}, {status: 401}, good}, time.Minute, time.Minute},
		{"403 that names nothing", []step{{status: 403, body: `{"message":"no"}`}, {status: 403}, good}, 750 * time.Millisecond, 3 * time.Second},
		{"404 of the version", []step{{status: 404}, good}, 0, later},
		{"410 of the version", []step{{status: 410}, good}, 0, later},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, s := scripted(t, nil, tt.steps...)
				p, err := list(t.Context(), t, c)
				if err != nil || len(p.Records) != 2 {
					t.Fatalf("%d records, %v", len(p.Records), err)
				}
				asked := s.requests()
				if len(asked) != len(tt.steps) {
					t.Errorf("%d requests for %d replies", len(asked), len(tt.steps))
				}
				if took := asked[len(asked)-1].at.Sub(asked[0].at); took < tt.least || took > tt.most {
					t.Errorf("asked for the last time after %v, want %v to %v", took, tt.least, tt.most)
				}
			})
		})
	}
}

// TestRefusals holds what is not asked again for ever.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		steps    []step
		requests int
		took     time.Duration
		blocked  *Blocked
		failing  string
	}{
		{"401 for a minute", []step{{status: 401, body: `{"message":"expired"}`}}, 3, time.Minute,
			&Blocked{Type: "token", Detail: "HubSpot does not accept the token: expired", Hint: "make a new one and set it as the portal's token"}, ""},
		{"403 with scopes", []step{{status: 403, body: scopesBody}}, 1, 0,
			&Blocked{Type: "scope", Detail: "the token lacks one of the scopes crm.objects.contacts.read, crm.schemas.contacts.read", Hint: "add the scope to the token and reload"}, ""},
		{"403 with a scope that rings", []step{{status: 403, body: `{"context":{"requiredScopes":["a\u0007b\nc"]}}`}}, 1, 0,
			&Blocked{Type: "scope", Detail: "the token lacks one of the scopes ab c", Hint: "add the scope to the token and reload"}, ""},
		{"400", []step{{status: 400, body: `{"message":"Property values\n were not valid","correlationId":"c-1"}`}}, 1, 0, nil,
			"HubSpot refused the request with status 400: Property values were not valid (correlation c-1)"},
		{"400 that moves the cursor", []step{{status: 400, body: `{"message":"no\u001b[2Jneither \u202egnp.exe","correlationId":"c\u0007-1"}`}}, 1, 0, nil,
			"HubSpot refused the request with status 400: no[2Jneither gnp.exe (correlation c-1)"},
		{"400 of odd types", []step{{status: 400, body: `{"message":"no","correlationId":7,"errors":"x"}`}}, 1, 0, nil, "HubSpot refused the request with status 400: no"},
		{"404 of both versions", []step{{status: 404, body: `{"message":"nothing here"}`}}, 2, 0, nil, "HubSpot refused the request with status 404: nothing here"},
		{"a redirect", []step{{status: 307, header: map[string]string{"Location": "https://elsewhere.example/steal"}}}, 1, 0, nil,
			"HubSpot's address answers with a redirect (status 307), which is not followed"},
		{"a place that repeats", []step{ok(pageOf("500", "1", "2"))}, 1, 0, nil, `HubSpot's list repeats its place "500": reading on would never end`},
		{"garbled for good", []step{ok(`{"results":[`)}, maxGarbled, 40 * time.Second, nil, "HubSpot's reply to /crm/objects/2026-09/contacts cannot be read, 8 times: decode list: not JSON"},
		{"414 however short", []step{{status: 414, body: htmlBody}}, 2, 0, nil, "HubSpot, or a proxy before it, finds even a short address too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, s := scripted(t, nil, tt.steps...)
				_, err := c.List(t.Context(), contacts(t), ListRequest{After: "500"})
				var blocked *Blocked
				var failing *Failing
				errors.As(err, &blocked)
				if diff := cmp.Diff(tt.blocked, blocked); diff != "" {
					t.Errorf("blocked (-want +got):\n%s", diff)
				}
				if tt.failing != "" && (!errors.As(err, &failing) || failing.Detail != tt.failing) {
					t.Errorf("got  %v\nwant %s", err, tt.failing)
				}
				asked := s.requests()
				if took := asked[len(asked)-1].at.Sub(asked[0].at); len(asked) != tt.requests || took > tt.took || took < tt.took/2 {
					t.Errorf("%d requests in %v, want %d in %v", len(asked), took, tt.requests, tt.took)
				}
				if strings.Contains(fmt.Sprint(err), testToken) {
					t.Errorf("the token shows: %v", err)
				}
			})
		})
	}
}

func TestNoTokenIsNotSent(t *testing.T) {
	t.Parallel()
	c, s := scripted(t, func(o *Options) { o.Token = nil }, ok(pageOf("", "1")))
	_, err := list(t.Context(), t, c)
	var blocked *Blocked
	if !errors.As(err, &blocked) || blocked.Type != "token" || len(s.requests()) != 0 {
		t.Errorf("%v after %d requests", err, len(s.requests()))
	}
}

func TestAddressThatIsNone(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"api.hubapi.com", "ftp://x", "://", "https://"} {
		c := New(Options{BaseURL: base, Token: func() string { return "x" }})
		var failing *Failing
		if _, err := c.Account(t.Context()); !errors.As(err, &failing) {
			t.Errorf("%q gives %v", base, err)
		}
	}
}

// TestFallBack: one endpoint falls back, once, and the others do not; a pinned
// version stays.
func TestFallBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := scripted(t, nil, step{status: 404}, ok(pageOf("", "1")))
		for range 2 {
			if _, err := list(t.Context(), t, c); err != nil {
				t.Fatal(err)
			}
		}
		deals, _ := catalogue.Lookup("deals")
		if _, err := c.List(t.Context(), deals, ListRequest{}); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range s.requests() {
			got = append(got, a.path)
		}
		want := []string{"/crm/objects/2026-09/contacts", "/crm/v3/objects/contacts", "/crm/v3/objects/contacts", "/crm/objects/2026-09/deals"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("asked for (-want +got):\n%s", diff)
		}
		c, s = scripted(t, func(o *Options) { o.Pinned = true }, step{status: 404})
		if _, err := list(t.Context(), t, c); err == nil || len(s.requests()) != 1 {
			t.Errorf("a pinned version: %v after %d requests", err, len(s.requests()))
		}
	})
}

// TestDayEndsAtThePortalsMidnight: Berlin's day, told by HubSpot's clock.
func TestDayEndsAtThePortalsMidnight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := scripted(t, nil,
			ok(`{"portalId":7,"timeZone":"Europe/Berlin","companyCurrency":"EUR"}`),
			step{status: 429, body: dailyBody}, ok(pageOf("", "1")))
		if a, err := c.Account(t.Context()); err != nil || a != (Account{7, "Europe/Berlin", "EUR"}) {
			t.Fatalf("%+v, %v", a, err)
		}
		if _, err := list(t.Context(), t, c); err != nil {
			t.Fatal(err)
		}
		asked := s.requests()
		// The bubble's clock begins at midnight UTC, an hour into Berlin's day.
		if took := asked[2].at.Sub(asked[1].at); took < 23*time.Hour || took > 23*time.Hour+time.Minute {
			t.Errorf("asked again after %v", took)
		}
	})
}

// TestLimitHoldsEverybody: one request's 429 holds back all others of its
// kind, and searches only where the limit is theirs too.
func TestLimitHoldsEverybody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := scripted(t, nil, step{status: 429, body: rollBody}, ok(`{"total":0,`+pageOf("", "1")[1:]))
		var all sync.WaitGroup
		all.Go(func() { _, _ = list(t.Context(), t, c) })
		synctest.Wait()
		for range 5 {
			all.Go(func() { _, _ = list(t.Context(), t, c) })
		}
		all.Go(func() { _, _ = c.Search(t.Context(), contacts(t), SearchRequest{}) })
		all.Wait()
		asked := s.requests()
		for _, a := range asked[1:] {
			after := a.at.Sub(asked[0].at)
			if search := strings.HasSuffix(a.path, "/search"); search != (after < 10*time.Second) {
				t.Errorf("%s was asked for %v after the limit", a.path, after)
			}
		}
		if len(asked) != 8 {
			t.Errorf("%d requests, want 8", len(asked))
		}
	})
}

func TestWaitsAreReportedAndCleared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := scripted(t, nil, step{status: 429, body: rollBody}, step{status: 500}, step{status: 500}, ok(pageOf("", "1")))
		var got []string
		replies := 0
		view := c.Reporting(func(w Wait) { got = append(got, w.Kind+" "+w.Reason) }, func() { replies++ })
		for range 2 {
			if _, err := list(t.Context(), t, view); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{
			"throttled HubSpot's limit of requests a second",
			"failing HubSpot answers with status 500", "failing HubSpot answers with status 500", " ",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("waits (-want +got):\n%s", diff)
		}
		if replies != 2 {
			t.Errorf("%d replies were told", replies)
		}
		if view.Requests() != 5 || c.Requests() != 0 {
			t.Errorf("requests: %d by the view, %d by its origin", view.Requests(), c.Requests())
		}
	})
}

// TestLongWaitsAreNamedByAllWhoWait: whoever is held up by what another request
// was told says so, too, and the reply to one that was under way takes nobody's
// wait away. An attempt that names none and does not get on is taken for dead.
func TestLongWaitsAreNamedByAllWhoWait(t *testing.T) {
	t.Parallel()
	moved := step{status: 477, header: map[string]string{"Retry-After": "3600"}}
	synctest.Test(t, func(t *testing.T) {
		slow := make(chan struct{})
		s := &script{steps: []step{ok(pageOf("", "1")), moved, ok(pageOf("", "1"))}}
		c := New(Options{Token: func() string { return testToken }, Rand: func() float64 { return 0.5 },
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				resp, err := s.RoundTrip(r)
				if len(s.requests()) == 1 {
					<-slow // it was let through, and takes its time
				}
				return resp, err
			})})
		t.Cleanup(c.Close)
		waits := make([]atomic.Pointer[Wait], 2)
		views := make([]*Client, len(waits))
		for i := range views {
			views[i] = c.Reporting(func(w Wait) { waits[i].Store(&w) }, func() {})
		}
		var all sync.WaitGroup
		ask := func(view *Client) {
			all.Go(func() { _, _ = list(t.Context(), t, view) })
			synctest.Wait()
		}
		ask(views[0])
		ask(views[0]) // it is told to wait
		close(slow)
		synctest.Wait()
		ask(views[1])
		_ = sleep(t.Context(), time.Minute)
		for i := range waits {
			if w := waits[i].Load(); w == nil || w.Kind != WaitThrottled || time.Until(w.Until) < 58*time.Minute {
				t.Errorf("view %d names the wait %+v", i, w)
			}
		}
		all.Wait()
		for i := range waits {
			if w := waits[i].Load(); w == nil || w.Kind != "" {
				t.Errorf("view %d goes on and names the wait %+v", i, w)
			}
		}
	})
}

// TestNoAnswerIsNamed: a request that is not answered ends after a minute, and two
// of them are longer than an attempt may get nowhere without a word.
func TestNoAnswerIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := scripted(t, nil, step{hang: true}, step{hang: true}, ok(pageOf("", "1")))
		var wait atomic.Pointer[Wait]
		view := c.Reporting(func(w Wait) { wait.Store(&w) }, func() {})
		var asked sync.WaitGroup
		asked.Go(func() { _, _ = list(t.Context(), t, view) })
		_ = sleep(t.Context(), 100*time.Second)
		if w := wait.Load(); w == nil || w.Kind != WaitFailing {
			t.Errorf("the wait that is named is %+v", w)
		}
		asked.Wait()
		if w := wait.Load(); w == nil || w.Kind != "" {
			t.Errorf("it is answered, and the wait that is named is %+v", w)
		}
	})
}

func TestContextEndsEverything(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]step{
		"a request": {hang: true}, "a long wait": {status: 477, header: map[string]string{"Retry-After": "86400"}},
		"a back-off": {status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, _ := scripted(t, nil, s)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				_, err := list(ctx, t, c)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
					t.Errorf("%v after %v", err, time.Since(began))
				}
			})
		})
	}
}

// TestLargeRepliesAreCut: what is above the bound is asked for in parts, as
// sent and unpacked; one record above it is said to be so.
func TestLargeRepliesAreCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		large := pageOf("", strings.Split(strings.Repeat("1,", 99)+"1", ",")...)
		c, s := scripted(t, func(o *Options) { o.MaxBody = 4000 }, ok(large), ok(large), ok(pageOf("9", "1")))
		p, err := list(t.Context(), t, c)
		if err != nil || p.Next != "9" {
			t.Fatalf("%+v, %v", p, err)
		}
		for i, want := range []string{"limit=100&", "limit=50&", "limit=25&"} {
			if q := s.requests()[i].query; !strings.HasPrefix(q, want) {
				t.Errorf("request %d asks for %s", i, q)
			}
		}
		bomb := packed(strings.Repeat(" ", 1<<20))
		c, _ = scripted(t, func(o *Options) { o.MaxBody = 4000 }, step{status: 200, body: bomb, header: map[string]string{"Content-Encoding": "gzip"}})
		var failing *Failing
		if _, err := list(t.Context(), t, c); !errors.As(err, &failing) {
			t.Errorf("a body of 1 MiB in %d bytes gives %v", len(bomb), err)
		}
		c, s = scripted(t, func(o *Options) { o.MaxBody = 600 }, ok(large), ok(pageOf("", "1")), ok(pageOf("", "2")))
		got, _, err := c.BatchRead(t.Context(), contacts(t), []string{"1", "2"}, nil, false)
		if err != nil || len(got) != 2 || len(s.requests()) != 3 {
			t.Errorf("%d records, %v after %d requests", len(got), err, len(s.requests()))
		}
	})
}

func TestClockFollowsHubSpot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		date := time.Now().Add(3 * time.Hour)
		c, _ := scripted(t, nil, step{status: 200, body: pageOf("", "1"), header: map[string]string{"Date": date.UTC().Format(http.TimeFormat)}})
		if c.HubSpotNow() != 0 {
			t.Error("a time before the first reply")
		}
		p, err := list(t.Context(), t, c)
		if err != nil {
			t.Fatal(err)
		}
		if p.AsOf != date.UnixMilli() || p.Records[0].AsOf != p.AsOf {
			t.Errorf("as of %d and %d, want %d", p.AsOf, p.Records[0].AsOf, date.UnixMilli())
		}
		pass(90 * time.Second)
		if got, want := c.HubSpotNow(), date.Add(88*time.Second).UnixMilli(); got != want {
			t.Errorf("now %d, want %d", got, want)
		}
	})
}

// A token that is refused is said to be from the first refusal on, with what to do.
func TestRefusedTokenIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := scripted(t, nil, step{status: 401, body: `{"message":"expired"}`}, ok(pageOf("", "1")))
		var said []Wait
		if _, err := list(t.Context(), t, c.Reporting(func(w Wait) { said = append(said, w) }, func() {})); err != nil {
			t.Fatal(err)
		}
		if len(said) == 0 || said[0].Kind != WaitFailing || !strings.Contains(said[0].Reason, "status 401): expired") || !strings.Contains(said[0].Hint, "token") {
			t.Errorf("%+v", said)
		}
	})
}

// A token that was refused for a minute costs one request until it is accepted
// again, and then a minute's patience again.
func TestRefusedTokenIsAskedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		no, good := step{status: 401}, ok(pageOf("", "1"))
		c, s := scripted(t, nil, no, no, no, no, no, good, no, no, good)
		for i, want := range []int{3, 4, 5, 6, 9} {
			_, err := list(t.Context(), t, c)
			if _, blocked := errors.AsType[*Blocked](err); blocked != (i < 3) {
				t.Errorf("call %d: %v", i, err)
			}
			if n := len(s.requests()); n != want {
				t.Errorf("%d requests after call %d, want %d", n, i, want)
			}
		}
	})
}

// A refused token is warned of once, however many streams meet it.
func TestOneWarningOfARefusedToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c, _ := scripted(t, func(o *Options) {
			o.Logger = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn})
		}, step{status: 401, body: `{"message":"expired"}`})
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if _, err := list(t.Context(), t, c); err == nil {
					t.Error("the token is taken")
				}
			})
		}
		all.Wait()
		if n := strings.Count(log.String(), "does not accept the token"); n != 2 { // after the first and the second refusal
			t.Errorf("%d warnings:\n%s", n, log.String())
		}
	})
}

// What holds everything for long is not forgotten over the reply to another
// request that names a shorter wait.
func TestHeldIsTheLongest(t *testing.T) {
	t.Parallel()
	c := New(Options{})
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_ = c.hold(over, c.burst, verdict{day: true, wait: time.Hour, kind: WaitThrottled, reason: "the day"}, 1)
	_ = c.hold(over, c.search, verdict{all: true, wait: time.Second, kind: WaitThrottled, reason: "searches"}, 1)
	if held := c.Usage().Held; held.Reason != "the day" {
		t.Errorf("it is held by %q", held.Reason)
	}
}
