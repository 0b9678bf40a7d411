package hubspot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// call is one thing to ask of HubSpot.
type call struct {
	kind      string // for counting: see Usage.ByKind
	method    string
	family    string // endpoints that have a version together
	preferred string // the family's own version
	path      func(version string) string
	query     string
	body      []byte
	single    bool // a 404 speaks of the record, not of the endpoint
	optional  bool // a refusal is an answer: errWithheld
	// decode reads the reply. Its error means that the reply is cut or
	// garbled, and the request is made again, except for a *Failing.
	decode func(reply) error
}

// reply is a body with the times that belong to it, in ms of HubSpot's clock.
type reply struct {
	body []byte
	asOf int64 // when the request began
}

// Bounds of retrying.
const (
	firstBackOff   = 500 * time.Millisecond
	longestBackOff = 8 * time.Second // work goes on soon after a fault has ended
	maxGarbled     = 8               // replies of 200 that cannot be read
	unknownDay     = 15 * time.Minute
)

// verdict is what to do about a reply that did not bring what was asked for.
type verdict struct {
	err    error         // final
	again  bool          // at once: another version is tried
	wait   time.Duration // before the next try
	all    bool          // the wait holds for every request of its kind
	day    bool          // the wait holds for every request at all
	kind   string        // of Wait
	reason string
	hint   string // of what a person can do; it is said at once
	late   bool   // it took longer than a back-off to come
}

// do makes a request until there is an answer, asking again is of no use, or
// the context ends.
func (c *Client) do(ctx context.Context, q call) error {
	if c.base == nil {
		return c.noAddress()
	}
	pace := c.burst
	if q.kind == "search" {
		pace = c.search
	}
	var failures, refusals, garbled int
	var blocked *Blocked
	var renewed bool
	for {
		// Before a place in the rhythm is taken, and after what may have been a
		// long wait for it.
		if _, err := c.bearer(ctx); err != nil {
			return err
		}
		if err := pace.wait(ctx, c.outlast); err != nil {
			return err
		}
		token, err := c.bearer(ctx)
		if err != nil {
			return err
		}
		version := c.versionOf(q.family, q.preferred)
		asked := time.Now()
		status, header, rep, err := c.once(ctx, q, version, token)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && (status == http.StatusOK || status == http.StatusMultiStatus) {
			err = q.decode(rep)
			c.came(ctx, status, err)
			if err == nil {
				c.refused.Store(false)
				c.report(Wait{})
				c.onReply()
				return nil
			}
			if _, ok := errors.AsType[*Failing](err); ok {
				return err
			}
			if garbled++; garbled >= maxGarbled {
				return &Failing{Status: status, Detail: fmt.Sprintf("HubSpot's reply to %s cannot be read, %d times: %v", q.path(version), garbled, err)}
			}
			err = fmt.Errorf("reply cannot be read: %w", err)
		} else {
			c.came(ctx, status, err)
		}
		var v verdict
		switch {
		case errors.Is(err, errTooLarge) || errors.As(err, &blocked):
			return err
		case err != nil:
			failures++
			v = verdict{wait: c.backOff(failures), kind: WaitFailing, reason: err.Error()}
		case status == http.StatusUnauthorized && c.renewer != nil && !renewed:
			// It may have been ended before its time.
			renewed = true
			c.renewer.refused(token)
			continue
		default:
			if status == http.StatusUnauthorized {
				refusals++
			}
			failures++
			v = c.judge(q, version, status, header, rep.body, failures, refusals)
		}
		if v.err != nil {
			return v.err
		}
		if v.again {
			continue
		}
		v.late = time.Since(asked) > longestBackOff
		if err := c.hold(ctx, pace, v, failures); err != nil {
			return fmt.Errorf("%w, after: %s", err, v.reason)
		}
	}
}

func (s *shared) noAddress() *Failing {
	return &Failing{Detail: fmt.Sprintf("the address of HubSpot %q is none: want one such as %s", s.address, DefaultBaseURL)}
}

// at is a path below the base address.
func (s *shared) at(path string) url.URL {
	address := *s.base
	address.Path = strings.TrimSuffix(address.Path, "/") + path
	return address
}

// hold waits as a verdict says.
func (c *Client) hold(ctx context.Context, pace *pacer, v verdict, failures int) error {
	until := time.Now().Add(v.wait)
	if v.day || v.all && v.wait >= time.Second {
		c.shared.mu.Lock()
		if until.After(c.held.Until) { // the reply to another request may have named a longer one
			c.held = Wait{Kind: v.kind, Reason: v.reason, Until: until}
		}
		c.shared.mu.Unlock()
	}
	switch {
	case v.day:
		c.burst.pause(until)
		c.search.pause(until)
	case v.all:
		pace.pause(until)
	}
	var named Wait
	// One failure among many successes is not worth a state of its own, unless
	// nothing was heard for long.
	if v.kind == WaitThrottled || failures > 1 || v.wait > longestBackOff || v.hint != "" || v.late {
		named = Wait{Kind: v.kind, Reason: v.reason, Until: until, Hint: v.hint}
	}
	// Each stream meets it: one line says it for all.
	if v.hint != "" && c.warned(until) {
		c.log.Warn(v.reason, "again_in", v.wait, "hint", v.hint)
	}
	c.log.Debug("HubSpot is asked again", "reason", v.reason, "wait", v.wait)
	return c.rest(ctx, v.wait, named)
}

// outlast waits for the end of a pause that holds for all requests of a kind,
// whoever's reply began it.
func (c *Client) outlast(ctx context.Context, d time.Duration) error {
	if d <= longestBackOff {
		return sleep(ctx, d)
	}
	c.shared.mu.Lock()
	w := c.held
	c.shared.mu.Unlock()
	if now := time.Now(); !w.Until.After(now) {
		w = Wait{Kind: WaitThrottled, Reason: "HubSpot's limit of requests", Until: now.Add(d)}
	}
	return c.rest(ctx, d, w)
}

// rest waits, and tells why where there is a reason to. What gets no reply and
// names no wait is taken for dead: so a wait of more than a back-off is named for
// as long as it lasts, whatever is answered to others meanwhile.
func (c *Client) rest(ctx context.Context, d time.Duration, w Wait) error {
	if d > longestBackOff {
		c.resting(1)
		defer c.resting(-1)
	}
	if w.Kind != "" {
		c.report(w)
	}
	return sleep(ctx, d)
}

func (c *Client) resting(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rests += n
}

// warned tells whether nobody has warned of a wait that still lasts, and notes
// this one.
func (c *Client) warned(until time.Time) bool {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	first := time.Now().After(c.warnedUntil)
	if first {
		c.warnedUntil = until.Add(-time.Second)
	}
	return first
}

// once makes one request and reads its reply.
func (c *Client) once(ctx context.Context, q call, version, token string) (int, http.Header, reply, error) {
	if token == "" {
		return 0, nil, reply{}, &Blocked{
			Type:   "token",
			Detail: "there is no token to read HubSpot with",
			Hint:   "set the portal's token",
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	address := c.at(q.path(version))
	address.RawQuery = q.query
	var body io.Reader
	if q.body != nil {
		body = strings.NewReader(string(q.body))
	}
	req, err := http.NewRequestWithContext(ctx, q.method, address.String(), body)
	if err != nil {
		return 0, nil, reply{}, fmt.Errorf("build request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("User-Agent", "hubpipe")
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	c.count(q.kind)
	began := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, reply{}, plainError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if q.kind != "search" {
		c.burst.learn(resp.Header)
	}
	rep := reply{asOf: c.hear(resp.Header, time.Since(began))}
	rep.body, err = c.read(resp, q.kind)
	if err != nil {
		if resp.StatusCode >= 300 {
			return resp.StatusCode, resp.Header, reply{}, nil // the status says enough
		}
		return 0, nil, reply{}, err
	}
	if rep.asOf == 0 && resp.StatusCode < 300 {
		return 0, nil, reply{}, errors.New("reply has no date")
	}
	return resp.StatusCode, resp.Header, rep, nil
}

// hear follows HubSpot's clock and returns when the request began by it, in
// ms; 0 where that is not known.
func (c *Client) hear(h http.Header, took time.Duration) int64 {
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		if skew, warn := c.clock.hear(date); warn {
			c.log.Warn("this machine's clock differs from HubSpot's", "by", skew.Round(time.Second))
		}
	}
	now := c.clock.reading()
	if now.IsZero() {
		return 0
	}
	return now.Add(-took).UnixMilli()
}

// statusNowhere is what HubSpot's proxy answers with where nobody is behind it
// for a request: it finds the data centre by what stands in the token.
const statusNowhere = 530

// judge says what a status means.
func (c *Client) judge(q call, version string, status int, h http.Header, body []byte, failures, refusals int) verdict {
	e := parseEnvelope(body)
	after, named := retryAfter(h)
	v := verdict{wait: c.backOff(failures), kind: WaitFailing, reason: fmt.Sprintf("HubSpot answers with status %d", status)}
	if words := e.words(); words != "" {
		v.reason += ": " + words
	}
	switch {
	case q.optional && (status == http.StatusBadRequest || status == http.StatusForbidden || status == http.StatusNotFound):
		c.log.Debug("HubSpot withholds what was asked for besides", "kind", q.kind, "reason", v.reason)
		return verdict{err: errWithheld}
	case status == http.StatusTooManyRequests:
		return c.throttled(q, e, after, named, failures)
	case status == http.StatusUnauthorized:
		// What was refused for a minute is not asked for a minute again.
		if refusals >= 3 || c.refused.Load() {
			c.refused.Store(true)
			return verdict{err: &Blocked{
				Type:   "token",
				Detail: "HubSpot does not accept the token: " + cmp.Or(e.words(), "status 401"),
				Hint:   "make a new one and set it as the portal's token",
			}}
		}
		v.wait = time.Duration(refusals) * 20 * time.Second
		v.reason = "HubSpot does not accept the token (status 401): " + cmp.Or(e.words(), "it does not say why")
		v.hint = "look whether the portal's token is right and still there; it is asked again, and after a minute of refusals the portal is blocked"
		return v
	case status == statusNowhere:
		// A proxy that is not well says the same, so that it is asked again; only a
		// person who waits is told at once what is most likely.
		v.reason += ", as it does to a token that is not whole"
		if c.refused.Load() && failures >= 3 {
			return verdict{err: &Blocked{
				Type:   "token",
				Detail: "HubSpot does not accept the token: status 530, which it answers with to one that is not whole",
				Hint:   "copy the token again, from its beginning to its end",
			}}
		}
	case status == http.StatusForbidden:
		if scopes := e.scopes(); len(scopes) > 0 {
			return verdict{err: &Blocked{
				Type:   "scope",
				Detail: "the token lacks one of the scopes " + strings.Join(scopes, ", "),
				Hint:   "add the scope to the token and reload",
			}}
		}
	case status == http.StatusNotFound && q.single:
		return verdict{err: ErrNotFound}
	case status == http.StatusNotFound || status == http.StatusGone:
		if c.fallBack(q.family, version) {
			return verdict{again: true}
		}
		return verdict{err: e.failing(status)}
	case status == http.StatusRequestURITooLong:
		return verdict{err: errTooLong}
	case status == http.StatusLocked:
		v.wait = max(v.wait, 2*time.Second)
	case status == 477:
		v.kind, v.day, v.reason = WaitThrottled, named, "HubSpot moves this account to another data centre"
	case status >= 300 && status < 400:
		return verdict{err: &Failing{Status: status, Detail: fmt.Sprintf("HubSpot's address answers with a redirect (status %d), which is not followed", status)}}
	case status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooEarly:
		return verdict{err: e.failing(status)}
	}
	if named {
		v.wait = max(after, v.wait)
	}
	return v
}

// throttled says how long a limit holds.
func (c *Client) throttled(q call, e envelope, after time.Duration, named bool, failures int) verdict {
	v := verdict{kind: WaitThrottled, all: true, reason: "HubSpot's limit of requests a second"}
	switch {
	case e.daily():
		v.day, v.reason = true, "HubSpot's daily limit"
		v.wait = c.untilMidnight()
		c.burst.spent()
	case q.kind == "search" || e.secondly():
		v.reason = "HubSpot's limit of searches a second"
		// Others of the account search too: each refusal makes room for them.
		v.wait = seconds(float64(min(failures, 8))) + seconds(c.rand()/4)
	default:
		v.wait = 10*time.Second + seconds(c.rand()/4)
	}
	if named {
		v.wait = after + seconds(c.rand()/4)
	}
	return v
}

// untilMidnight returns how long the portal's day still lasts.
func (c *Client) untilMidnight() time.Duration {
	c.shared.mu.Lock()
	zone := c.zone
	c.shared.mu.Unlock()
	now, ok := c.clock.now()
	if zone == nil || !ok {
		return unknownDay
	}
	return midnight(now.In(zone)).Sub(now) + dateDoubt + seconds(30*c.rand())
}

// backOff returns the wait before try n+1: doubling, bounded, and spread so
// that those who failed together do not come back together.
func (c *Client) backOff(n int) time.Duration {
	d := longestBackOff
	if n <= 5 {
		d = min(longestBackOff, firstBackOff<<max(n-1, 0))
	}
	return d/2 + time.Duration(c.rand()*float64(d/2))
}

// retryAfter reads the wait that a reply names, in seconds or as a date.
func retryAfter(h http.Header) (time.Duration, bool) {
	text := h.Get("Retry-After")
	if text == "" {
		return 0, false
	}
	const longest = 48 * time.Hour // HubSpot names up to 24 h
	if s, err := strconv.ParseFloat(text, 64); err == nil && s >= 0 {
		return seconds(min(s, longest.Seconds())), true
	}
	at, err := http.ParseTime(text)
	date, derr := http.ParseTime(h.Get("Date"))
	if err != nil || derr != nil {
		return 0, false
	}
	return min(max(at.Sub(date), 0), longest), true
}
