package hubspot

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire carries requests to a handler without a network, so that time can be
// virtual. Like a server, it dates replies that have no date.
type wire struct{ http.Handler }

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	in.RequestURI = r.URL.RequestURI()
	w.ServeHTTP(rec, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp := rec.Result()
	resp.Request = r
	if resp.Header.Get("Date") == "" {
		resp.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	return resp, nil
}

const testToken = "pat-eu1-not-a-secret"

func contacts(tb testing.TB) catalogue.Object {
	tb.Helper()
	o, ok := catalogue.Lookup("contacts")
	if !ok {
		tb.Fatal("no contacts in the catalogue")
	}
	return o
}

// clientOf returns a client of a handler, in whichever time the caller runs.
func clientOf(tb testing.TB, h http.Handler, change func(*Options)) *Client {
	tb.Helper()
	o := Options{Token: func() string { return testToken }, Transport: wire{h}, Rand: func() float64 { return 0.5 }}
	if change != nil {
		change(&o)
	}
	c := New(o)
	tb.Cleanup(c.Close)
	return c
}

// roundTrip is a transport that is a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// step is one scripted reply.
type step struct {
	status int
	header map[string]string
	body   string
	fail   error // instead of a reply
	hang   bool  // until the request's context ends
}

// script answers requests one after the other; the last step repeats.
type script struct {
	mu    sync.Mutex
	steps []step
	asked []asked
}

type asked struct {
	at            time.Time
	method, path  string
	query, body   string
	authorization string
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	s.mu.Lock()
	n := min(len(s.asked), len(s.steps)-1)
	next := s.steps[n]
	s.asked = append(s.asked, asked{time.Now(), r.Method, r.URL.Path, r.URL.RawQuery, string(body), r.Header.Get("Authorization")})
	s.mu.Unlock()
	if next.hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if next.fail != nil {
		return nil, next.fail
	}
	h := http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}}
	for k, v := range next.header {
		h.Set(k, v)
		if v == "" {
			h.Del(k)
		}
	}
	return &http.Response{
		StatusCode: next.status, Header: h, Request: r, ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(next.body)), Body: io.NopCloser(strings.NewReader(next.body)),
	}, nil
}

func (s *script) requests() []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]asked(nil), s.asked...)
}

func scripted(tb testing.TB, change func(*Options), steps ...step) (*Client, *script) {
	tb.Helper()
	s := &script{steps: steps}
	return clientOf(tb, nil, func(o *Options) {
		o.Transport = s
		if change != nil {
			change(o)
		}
	}), s
}

func ok(body string) step { return step{status: 200, body: body} }

// pageOf returns a page of contacts with these ids, all of one version.
func pageOf(after string, ids ...string) string {
	var b bytes.Buffer
	b.WriteString(`{"results":[`)
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"%s","properties":{"hs_object_id":"%s","lastmodifieddate":"2026-11-01T10:00:00.123Z"},"createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-11-01T10:00:00.123Z","archived":false}`, id, id)
	}
	b.WriteString(`]`)
	if after != "" {
		fmt.Fprintf(&b, `,"paging":{"next":{"after":"%s","link":"ignored"}}`, after)
	}
	b.WriteString(`}`)
	return b.String()
}

func list(ctx context.Context, tb testing.TB, c *Client) (ListPage, error) {
	tb.Helper()
	return c.List(ctx, contacts(tb), ListRequest{Properties: []string{"email"}})
}

// pass lets virtual time go by; only a synctest bubble may call it, where it
// takes none.
func pass(d time.Duration) { <-time.After(d) }
