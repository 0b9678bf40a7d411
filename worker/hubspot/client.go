// Package hubspot speaks to HubSpot's API for one portal: it paces itself by
// the limits that HubSpot names, tries again what mends itself, and tells what
// does not apart from it.
package hubspot

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
)

// Bounds of what comes from outside.
const (
	maxBody    = 64 << 20
	maxAddress = 7500 // HubSpot answers 414 somewhere above 8,000 characters
	callTime   = 2 * time.Minute
)

// Blocked is an error that a person has to mend.
type Blocked struct{ Type, Detail, Hint string }

func (e *Blocked) Error() string { return e.Detail }

// Failing is an answer that does not mend itself by asking again.
type Failing struct {
	Status  int
	Message string
}

func (e *Failing) Error() string { return fmt.Sprintf("HubSpot answered %d: %s", e.Status, e.Message) }

// ErrNotFound is returned for a record that HubSpot does not have.
var ErrNotFound = errors.New("HubSpot has no such record")

// Wait is why a call is not getting on. The zero value says that it is.
type Wait struct {
	Kind   string // throttled or failing
	Reason string
	Until  time.Time
}

// Options are what a Client needs.
type Options struct {
	BaseURL string
	Version string // of the API, 2026-09
	Token   func() string
	HTTP    http.RoundTripper
	Logger  hclog.Logger
	// SearchRate is how many searches a second (4 of the account's 5).
	SearchRate float64
	// Unpaced switches pacing off, for benchmarks against a simulator.
	Unpaced bool
	// Rereads are the waits before records that were missing or old are asked
	// for again (5 s and 60 s).
	Rereads [2]time.Duration
	Sleep   func(ctx context.Context, d time.Duration) error
}

// Client is one portal's. It is safe for concurrent use.
type Client struct {
	*portal
	wait func(Wait)
}

// portal is what all that call HubSpot for one portal share.
type portal struct {
	o      Options
	http   *http.Client
	burst  *rate.Limiter
	search *rate.Limiter

	requests atomic.Uint64
	mu       sync.Mutex
	date     time.Time // HubSpot's, of the last reply
	dateAt   time.Time // ours, when it came
}

// New returns a client that begins at a pace that every kind of account bears,
// and learns its own from the first reply.
func New(o Options) *Client {
	if o.Version == "" {
		o.Version = "2026-09"
	}
	if o.SearchRate == 0 {
		o.SearchRate = 4
	}
	if o.Rereads == [2]time.Duration{} {
		o.Rereads = [2]time.Duration{5 * time.Second, time.Minute}
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.HTTP == nil {
		o.HTTP = &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 32, DisableCompression: true,
			TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true}
	}
	c := &Client{portal: &portal{o: o, burst: rate.NewLimiter(9, 9), search: rate.NewLimiter(rate.Limit(o.SearchRate), 1)}}
	if o.Unpaced {
		c.burst.SetLimit(rate.Inf)
		c.search.SetLimit(rate.Inf)
	}
	c.http = &http.Client{Transport: o.HTTP, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if r.URL.Host != via[0].URL.Host || len(via) > 3 {
			return errors.New("HubSpot sent a redirect to another host")
		}
		return nil
	}}
	return c
}

// Requests counts the requests that were made.
func (c *Client) Requests() uint64 { return c.requests.Load() }

// Close gives back idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Reporting returns the same client with its waits reported to f.
func (c *Client) Reporting(f func(Wait)) *Client { return &Client{portal: c.portal, wait: f} }

func (c *Client) report(w Wait) {
	if c.wait != nil {
		c.wait(w)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reply is a good answer: its body, and HubSpot's time when it was asked and
// when it answered, in ms.
type reply struct {
	body []byte
	asOf int64
	date int64
}

// kind says which limit a call counts against.
type kind int

const (
	burstCall kind = iota
	searchCall
)

// call asks until there is an answer, the context ends, or asking again is of
// no use.
func (c *Client) call(ctx context.Context, k kind, method, path string, query url.Values, body any) (reply, error) {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return reply{}, fmt.Errorf("encode request: %w", err)
		}
	}
	address := c.o.BaseURL + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	waited := false
	unauthorized := 0
	for try := 0; ; try++ {
		limiter := c.burst
		if k == searchCall {
			limiter = c.search
		}
		if err := limiter.Wait(ctx); err != nil {
			return reply{}, err
		}
		r, again, err := c.once(ctx, method, address, payload)
		if err == nil {
			if waited {
				c.report(Wait{})
			}
			return r, nil
		}
		if ctx.Err() != nil {
			return reply{}, ctx.Err()
		}
		if again == nil {
			return reply{}, err
		}
		if again.unauthorized {
			if unauthorized++; unauthorized >= 3 {
				return reply{}, &Blocked{Type: "token", Detail: "HubSpot refuses the token: " + err.Error(),
					Hint: "make a new token in HubSpot and put it where the configuration takes it from"}
			}
		}
		d := again.after
		if d == 0 {
			d = min(30*time.Second, 250*time.Millisecond<<min(try, 8))
			d += time.Duration(rand.Int64N(int64(d)/2 + 1))
		}
		waited = true
		c.report(Wait{Kind: again.kind, Reason: err.Error(), Until: time.Now().Add(d)})
		if err := c.o.Sleep(ctx, d); err != nil {
			return reply{}, err
		}
	}
}

// retry says how an error is tried again: after a time, or with back-off.
type retry struct {
	kind         string
	after        time.Duration
	unauthorized bool
}

func (c *Client) once(ctx context.Context, method, address string, payload []byte) (reply, *retry, error) {
	failing := &retry{kind: "failing"}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var body io.Reader
	if payload != nil {
		body = bytes.NewReader(payload)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return reply{}, nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.o.Token())
	req.Header.Set("Accept-Encoding", "gzip")
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	c.requests.Add(1)
	begun := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return reply{}, failing, fmt.Errorf("ask HubSpot: %w", withoutURL(err))
	}
	defer func() { _ = resp.Body.Close() }()
	date := c.note(resp)
	b, err := readBody(resp)
	if err != nil {
		return reply{}, failing, fmt.Errorf("read HubSpot's answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusMultiStatus {
		if !json.Valid(b) {
			return reply{}, failing, errors.New("HubSpot's answer is not JSON")
		}
		return reply{body: b, date: date.UnixMilli(), asOf: date.Add(-time.Since(begun)).UnixMilli()}, nil, nil
	}
	again, err := classify(resp, b)
	return reply{}, again, err
}

// withoutURL drops the address from an error: it is long and says nothing.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func readBody(resp *http.Response) ([]byte, error) {
	var r io.Reader = resp.Body
	if resp.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		r = z
	}
	b, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err == nil && len(b) > maxBody {
		err = fmt.Errorf("it has more than %d bytes", maxBody)
	}
	return b, err
}

// note learns HubSpot's time and the account's limits from a reply.
func (c *Client) note(resp *http.Response) time.Time {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		date = c.date.Add(time.Since(c.dateAt))
	} else {
		c.date, c.dateAt = date, time.Now()
	}
	limit, err1 := strconv.Atoi(resp.Header.Get("X-HubSpot-RateLimit-Max"))
	interval, err2 := strconv.Atoi(resp.Header.Get("X-HubSpot-RateLimit-Interval-Milliseconds"))
	if err1 == nil && err2 == nil && limit > 0 && interval > 0 && !c.o.Unpaced {
		// Evenly paced, a little below: a window of HubSpot's must never hold
		// more than its limit, the second's worth at once included.
		perSecond := float64(limit) / (float64(interval) / 1000)
		burst := max(1, int(perSecond/2))
		c.burst.SetLimit(rate.Limit(perSecond - float64(burst)/(float64(interval)/1000)))
		c.burst.SetBurst(burst)
	}
	return date
}

// envelope is the body of an error; every field is optional.
type envelope struct {
	Message    string `json:"message"`
	Category   string `json:"category"`
	PolicyName string `json:"policyName"`
	Errors     []struct {
		Context map[string][]string `json:"context"`
	} `json:"errors"`
}

// classify tells what is tried again from what is not.
func classify(resp *http.Response, body []byte) (*retry, error) {
	var e envelope
	_ = json.Unmarshal(body, &e)
	if e.Message == "" {
		e.Message = http.StatusText(resp.StatusCode)
	}
	err := &Failing{Status: resp.StatusCode, Message: e.Message}
	named := time.Duration(0)
	if s, errNum := strconv.Atoi(resp.Header.Get("Retry-After")); errNum == nil {
		named = time.Duration(s) * time.Second
	}
	switch s := resp.StatusCode; {
	case s == http.StatusUnauthorized:
		return &retry{kind: "failing", after: 20 * time.Second, unauthorized: true}, err
	case s == http.StatusForbidden:
		var scopes []string
		for _, x := range e.Errors {
			scopes = append(scopes, x.Context["requiredGranularScopes"]...)
			scopes = append(scopes, x.Context["requiredScopes"]...)
		}
		if len(scopes) > 0 {
			return nil, &Blocked{Type: "scope", Detail: "the token lacks a scope: one of " + strings.Join(scopes, ", "),
				Hint: "add the scope to the app or service key in HubSpot"}
		}
		return &retry{kind: "failing", after: named}, err
	case s == http.StatusTooManyRequests:
		return &retry{kind: "throttled", after: throttle(e, named)}, err
	case s == http.StatusLocked:
		return &retry{kind: "throttled", after: max(named, 2*time.Second)}, err
	case s == 477:
		return &retry{kind: "throttled", after: max(named, time.Second)}, err
	case s >= 500 || s == http.StatusRequestTimeout:
		return &retry{kind: "failing", after: named}, err
	case s == http.StatusNotFound:
		return nil, ErrNotFound
	}
	return nil, err
}

// throttle is how long a 429 asks to wait: what it names, or its window.
func throttle(e envelope, named time.Duration) time.Duration {
	switch {
	case named > 0:
		return named
	case e.PolicyName == "DAILY" || strings.Contains(e.Message, "daily limit"):
		return 5 * time.Minute
	case strings.Contains(e.Message, "secondly"):
		return time.Second
	}
	return 10 * time.Second
}
