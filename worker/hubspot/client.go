// Package hubspot reads HubSpot so that nothing is missed: it keeps within a
// portal's limits, retries what may be retried, proves what search says, and
// hands over values as they were sent.
package hubspot

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// The families of endpoints that are about the portal as such.
const (
	accountFamily = "account-info"
	oauthFamily   = "oauth"
)

// DefaultBaseURL is where HubSpot's API lives.
const DefaultBaseURL = "https://api.hubapi.com"

// Options configure a Client. Only Token or OAuth is needed.
type Options struct {
	// BaseURL is the scheme and host of the API; default DefaultBaseURL.
	BaseURL string
	// Token returns the token to send. It is called for every request, so
	// that a token may be exchanged at run time.
	Token func() string
	// OAuth, where it is set, is exchanged for tokens, and Token is not called.
	OAuth *OAuth
	// Version is the API version; default catalogue.DefaultVersion. Pinned
	// forbids to fall back to another one where a portal lacks it: what has an
	// address in the version is asked there alone. What has none is read where
	// the catalogue says. Whose account it is, and its tokens, come from wherever
	// they are served.
	Version string
	Pinned  bool
	// Transport carries the requests; the default is one of the client's own,
	// which Close shuts.
	Transport http.RoundTripper
	// Rand returns jitter in [0, 1).
	Rand func() float64
	// Logger gets falls back of versions, skew of clocks and limits learned.
	Logger hclog.Logger
	// Timeout bounds one request, its body included; default 60 s.
	Timeout time.Duration
	// BurstRate is the requests a second until HubSpot has named its limit;
	// default 9, which the smallest account grants. SearchRate is the searches
	// a second; default 4 of the 5 that an account has.
	BurstRate, SearchRate float64
	// Unpaced sends requests as they come, for measuring against a simulator
	// without limits.
	Unpaced bool
	// MaxBody bounds a reply, in bytes, as sent and unpacked; default 32 MiB.
	MaxBody int64
	// MaxAddress bounds a request's address in bytes; default 7,500. A 414
	// lowers it.
	MaxAddress int
	// Reread is after how long ids are read again that a batch read lacked or
	// gave in an old version; default 5 s, 60 s.
	Reread []time.Duration
	// Concurrency is the batch reads of one ReadAll at the same time; default 4.
	Concurrency int
	// OnWait hears why the client waits; see Reporting.
	OnWait func(Wait)
}

// Wait says why a request is not answered yet. The zero value says that work
// goes on.
type Wait struct {
	// Kind is "throttled" where a limit of HubSpot holds, "failing" where
	// HubSpot or the way to it does not work, "" where work goes on.
	Kind   string
	Reason string
	// Until is when the next request is made, by this machine's clock.
	Until time.Time
	// Hint is what a person can do about it, "" where it goes by itself.
	Hint string
}

// The kinds of Wait.
const (
	WaitThrottled = "throttled"
	WaitFailing   = "failing"
)

// Client speaks to one portal. It is safe for concurrent use; all clients
// that Reporting derives from one share its limits.
type Client struct {
	*shared
	onWait   func(Wait)
	onReply  func()
	quiet    map[string]bool // see Quiet
	mu       sync.Mutex      // orders the calls of onWait; guards the next two
	waiting  bool
	rests    int // requests that wait for longer than a back-off
	requests atomic.Uint64
}

// shared is what belongs to the portal.
type shared struct {
	base        *url.URL // nil where address is none
	address     string
	token       func() string
	renewer     *renewer // nil without OAuth
	http        *http.Client
	own         *http.Transport
	rand        func() float64
	log         hclog.Logger
	timeout     time.Duration
	maxBody     int64
	reread      []time.Duration
	concurrency int

	burst, search *pacer
	refused       atomic.Bool // the token, three times over a minute
	clock         serverClock
	unpackers     sync.Pool
	bodies        bodies

	mu         sync.Mutex
	version    string
	pinned     bool
	fallback   string
	fellBack   map[string]string // family of endpoints: version
	wide       map[string]int    // object: an address too long for HubSpot
	maxAddress int
	zone       *time.Location
	askedZone  bool // zone is what the account has, or it has none that is one
	held       Wait
	// warnedUntil is the end of the wait that the log has last warned of.
	warnedUntil time.Time
	byKind      map[string]uint64
	replies     map[string]uint64 // by what they came to
	sizes       map[string]int    // kind of request: size of its last reply
}

// New returns a client. It makes no request; a base address that is none is
// what every call says.
func New(o Options) *Client {
	if o.BaseURL == "" {
		o.BaseURL = DefaultBaseURL
	}
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		base = nil
	}
	s := &shared{
		base: base, address: o.BaseURL, token: o.Token, rand: o.Rand, log: o.Logger,
		timeout: o.Timeout, maxBody: o.MaxBody, maxAddress: o.MaxAddress,
		reread: o.Reread, concurrency: o.Concurrency, version: o.Version, pinned: o.Pinned,
		fellBack: map[string]string{}, wide: map[string]int{},
		byKind: map[string]uint64{}, replies: map[string]uint64{}, sizes: map[string]int{},
	}
	if o.OAuth != nil {
		s.renewer = newRenewer(*o.OAuth)
	}
	s.defaults(o)
	transport := o.Transport
	if transport == nil {
		s.own = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 32,
			IdleConnTimeout:     90 * time.Second,
			TLSHandshakeTimeout: 10 * time.Second,
			DisableCompression:  true, // unpacked here, within a bound
		}
		transport = s.own
	}
	s.http = &http.Client{
		Transport: transport,
		// HubSpot redirects nothing, and a token must not go where a reply points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Client{shared: s, onWait: o.OnWait, onReply: func() {}}
}

func (s *shared) defaults(o Options) {
	if s.token == nil {
		s.token = func() string { return "" }
	}
	if s.rand == nil {
		s.rand = rand.Float64
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.timeout <= 0 {
		s.timeout = time.Minute
	}
	if s.maxBody <= 0 {
		s.maxBody = 32 << 20
	}
	if s.maxAddress <= 0 {
		s.maxAddress = catalogue.AddressLimit
	}
	if s.reread == nil {
		s.reread = []time.Duration{5 * time.Second, time.Minute}
	}
	if s.concurrency <= 0 {
		s.concurrency = 4
	}
	if s.version == "" {
		s.version = catalogue.DefaultVersion
	}
	if s.version != catalogue.FallbackVersion {
		s.fallback = catalogue.FallbackVersion
	}
	burst, search := o.BurstRate, o.SearchRate
	if burst <= 0 {
		burst = 9
	}
	if search <= 0 {
		search = 4
	}
	s.burst = newPacer(burst, burst/4)
	s.search = newPacer(search, 0)
	s.burst.unpaced, s.search.unpaced = o.Unpaced, o.Unpaced
}

// Close ends the connections that are kept for later; requests under way are
// ended by their contexts.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// Reporting returns a client of the same portal, with the same limits, that
// tells onWait why its own requests wait, and the zero Wait when they go on, and
// calls onReply for each reply that brought what was asked for. Neither may
// block; onWait is not called twice at once.
func (c *Client) Reporting(onWait func(Wait), onReply func()) *Client {
	return &Client{shared: c.shared, onWait: onWait, onReply: onReply}
}

// Quiet names properties whose values do not count in digests, since they change
// by the clock. It holds for this client and is called before it reads records.
func (c *Client) Quiet(names []string) {
	c.quiet = make(map[string]bool, len(names))
	for _, n := range names {
		c.quiet[n] = true
	}
}

// Requests returns the requests that this client has made, those of others of
// the same portal left out.
func (c *Client) Requests() uint64 { return c.requests.Load() }

// Crowded tells whether requests wait for HubSpot's limit: more of them at once
// bring nothing sooner.
func (c *Client) Crowded() bool { return c.burst.crowded() }

// Usage is what is known of a portal's limits and what was used of them.
type Usage struct {
	// ByKind counts requests: account, properties, list, search, batch, get,
	// rows, associations, token, journal, probe.
	ByKind map[string]uint64
	// Replies counts what requests came to: ReplyOK and the others.
	Replies map[string]uint64
	// BurstRate and SearchRate are the requests and the searches a second that
	// are made at most now; SearchRate is 0 where nothing is paced.
	BurstRate, SearchRate float64
	// Ceiling is how many requests HubSpot lets through in Window; 0 before it
	// said so.
	Ceiling int64
	Window  time.Duration
	// Used is how many requests of the Ceiling are used of the window until now,
	// with those that others of the account made, as far as HubSpot said.
	Used int64
	// Daily and DailyRemaining are as HubSpot said last; 0 before it did. When
	// another day has begun since, all of it remains.
	Daily, DailyRemaining int64
	// Day is the date where the account is and DayEnds its midnight, by
	// HubSpot's clock; "" and zero before the account was asked for.
	Day     string
	DayEnds time.Time
	// Held is the wait that holds for all requests now, or for all searches; zero
	// where there is none.
	Held Wait
}

// Usage returns a copy of what is known now.
func (c *Client) Usage() Usage {
	u := Usage{ByKind: map[string]uint64{}, Replies: map[string]uint64{}}
	c.shared.mu.Lock()
	maps.Copy(u.ByKind, c.byKind)
	maps.Copy(u.Replies, c.replies)
	zone, asked := c.zone, c.askedZone
	if c.held.Until.After(time.Now()) {
		u.Held = c.held
	}
	c.shared.mu.Unlock()
	if zone == nil {
		zone = time.UTC
	}
	if !c.search.unpaced {
		u.SearchRate, _, _ = c.search.known()
	}
	u.BurstRate, u.Daily, u.DailyRemaining = c.burst.known()
	var learned time.Time
	u.Ceiling, u.Window, learned = c.burst.named()
	u.Used = c.burst.used()
	now, ok := c.clock.now()
	if !ok || !asked {
		return u
	}
	local := now.In(zone)
	u.Day = local.Format(time.DateOnly)
	u.DayEnds = midnight(local)
	if begins := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, zone); now.Add(-time.Since(learned)).Before(begins) {
		u.DailyRemaining = u.Daily
	}
	return u
}

// midnight is the end of a moment's day where it was taken.
func midnight(local time.Time) time.Time {
	return time.Date(local.Year(), local.Month(), local.Day()+1, 0, 0, 0, 0, local.Location())
}

// HubSpotNow returns HubSpot's time in ms since 1970, less the 2 s by which
// its servers may differ: its last Date, and what has gone by since then. It
// is 0 before the first reply.
func (c *Client) HubSpotNow() int64 {
	now, ok := c.clock.now()
	if !ok {
		return 0
	}
	return now.Add(-dateDoubt).UnixMilli()
}

// report tells why a request waits.
func (c *Client) report(w Wait) {
	if c.onWait == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.Kind == "" && (!c.waiting || c.rests > 0) {
		return
	}
	c.waiting = w.Kind != ""
	c.onWait(w)
}

// versionOf returns the version that a family of endpoints is spoken to in.
func (s *shared) versionOf(family, preferred string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.fellBack[family]; ok {
		return v
	}
	if preferred != "" && s.version == catalogue.DefaultVersion {
		return preferred
	}
	return s.version
}

// fallBack changes the version of a family of endpoints, once, and says
// whether there is a reason to ask again. What is of no family chooses its
// version itself.
func (s *shared) fallBack(family, from string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.fellBack[family]; ok {
		return v != from // another request was first
	}
	if family == "" || s.fallback == "" || s.fallback == from || s.pinned && !ofPortal(family) {
		return false
	}
	s.fellBack[family] = s.fallback
	s.log.Warn("portal lacks this version of the API, falling back", "endpoint", family, "version", from, "instead", s.fallback)
	return true
}

// pin names the version that the client is pinned to, as the rest of a sentence,
// and unpin what to do about it; both are "" where it may choose.
func (s *shared) pin() string {
	if !s.pinned {
		return ""
	}
	return " in version " + s.version + " of the API"
}

func (s *shared) unpin() string {
	if !s.pinned {
		return ""
	}
	return ", or take api_version out of the portal"
}

// ofPortal tells whether a family is about the account and its tokens, which no
// version of the data depends on.
func ofPortal(family string) bool {
	return family == oauthFamily || strings.HasPrefix(family, accountFamily)
}

func (c *Client) count(kind string) {
	c.requests.Add(1)
	c.shared.mu.Lock()
	c.byKind[kind]++
	c.shared.mu.Unlock()
}

// What a request came to, as Usage.Replies counts it.
const (
	ReplyOK      = "ok"
	ReplyLimited = "limited" // 429
	ReplyRefused = "refused" // any other 4xx
	ReplyFailed  = "failed"  // 5xx, none at all, or one that cannot be read
)

// came counts what a request came to, the status 0 for no reply at all. What was
// given up here is none of HubSpot's.
func (c *Client) came(ctx context.Context, status int, err error) {
	word := ReplyFailed
	switch {
	case ctx.Err() != nil:
		return
	case err != nil || status >= http.StatusInternalServerError:
	case status == http.StatusTooManyRequests:
		word = ReplyLimited
	case status >= http.StatusBadRequest:
		word = ReplyRefused
	case status >= http.StatusOK && status < http.StatusMultipleChoices:
		word = ReplyOK
	}
	c.shared.mu.Lock()
	c.replies[word]++
	c.shared.mu.Unlock()
}
