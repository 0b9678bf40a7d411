package hubspot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// OAuth are the credentials of an app that a portal has installed. No log, no
// error and no other message shows any of them.
type OAuth struct {
	ClientID string
	// ClientSecret and RefreshToken return what the configuration has.
	ClientSecret, RefreshToken func() string
	// File is where the refresh token that HubSpot gives back is kept, readable
	// by its owner alone, in a folder of the same kind; "" keeps it in memory.
	// A configured token that is another one than before replaces it.
	File string
}

// Bounds of an access token's life.
const (
	// usualLife is assumed where HubSpot names none.
	usualLife = 30 * time.Minute
	// leastEarly and mostEarly are how long before its end a token is
	// exchanged; in between it is drawn, so that portals do not do it together.
	leastEarly, mostEarly = 3 * time.Minute, 6 * time.Minute
	// graceEnd is how long before its end a token is not sent any more.
	graceEnd = 10 * time.Second
	// tokenGrace is how long an exchange may go on after its caller has gone:
	// HubSpot may have made the refresh token void and told nobody yet.
	tokenGrace = 3 * time.Second
	// maxTokenReply bounds the reply of the token endpoint.
	maxTokenReply = 1 << 16
)

// renewer holds a portal's access token and exchanges it in time, one exchange
// at a time.
type renewer struct {
	o    OAuth
	own  bool          // the app asks in its own name: see Journal
	turn chan struct{} // held during an exchange

	mu     sync.Mutex // under it: all of the following
	access string
	end    time.Time // of access, by the monotonic clock
	early  time.Duration
	kept   string // the refresh token that came back last
	tries  uint64 // exchanges that ended
	fails  int    // of them in a row, for reasons that pass
	until  time.Time
	reason string
	denied *Blocked // what the last exchange ended with, where that was a no
}

func newRenewer(o OAuth) *renewer {
	if o.ClientSecret == nil {
		o.ClientSecret = func() string { return "" }
	}
	if o.RefreshToken == nil {
		o.RefreshToken = func() string { return "" }
	}
	return &renewer{o: o, turn: make(chan struct{}, 1)}
}

// bearer returns the token to send: the portal's own, or one that was
// exchanged. It waits for an exchange where there is none to send meanwhile.
func (c *Client) bearer(ctx context.Context) (string, error) {
	if c.renewer == nil {
		return c.token(), nil
	}
	return c.renewer.get(ctx, c)
}

func (r *renewer) get(ctx context.Context, c *Client) (string, error) {
	r.mu.Lock()
	entered := r.tries
	r.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		r.mu.Lock()
		token, until, reason, now := r.access, r.until, r.reason, time.Now()
		usable := token != "" && now.Before(r.end.Add(-graceEnd))
		fresh := usable && now.Before(r.end.Add(-r.early))
		denied := r.denied
		if r.tries == entered {
			denied = nil // of an exchange before this call
		}
		r.mu.Unlock()
		paused := now.Before(until)
		switch {
		case fresh || usable && paused:
			return token, nil
		case denied != nil:
			return "", denied
		case paused:
			c.report(Wait{Kind: WaitFailing, Reason: reason, Until: until})
			if err := sleep(ctx, until.Sub(now)); err != nil {
				return "", err
			}
			continue
		case usable:
			select {
			case r.turn <- struct{}{}:
			default:
				return token, nil // another is about to exchange it
			}
		default:
			select {
			case r.turn <- struct{}{}:
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		r.exchangeOnce(ctx, c, entered)
		<-r.turn
	}
}

// refused drops a token that HubSpot does not accept, unless another one has
// taken its place already.
func (r *renewer) refused(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.access == token {
		r.access = ""
	}
}

// exchangeOnce exchanges the refresh token, unless somebody has done so since
// the caller entered, and notes what came of it. The turn is held.
func (r *renewer) exchangeOnce(ctx context.Context, c *Client, entered uint64) {
	r.mu.Lock()
	now := time.Now()
	done := r.access != "" && now.Before(r.end.Add(-r.early)) || now.Before(r.until) || r.denied != nil && r.tries != entered
	r.mu.Unlock()
	if done {
		return
	}
	// The caller's end must not lose a refresh token that is on its way.
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(tokenGrace, cancel) })
	defer stop()
	grant, err := r.exchange(own, c)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries++
	r.denied = nil
	var pass *passing
	switch {
	case err == nil:
		r.access, r.fails, r.until = grant.Access, 0, time.Time{}
		r.end = grant.asked.Add(grant.life())
		r.early = grant.early(c.rand())
	case errors.As(err, &r.denied):
		r.until, r.fails = time.Time{}, 0
		r.access = ""
	case errors.As(err, &pass):
		r.fails++
		r.reason = pass.Error()
		r.until = time.Now().Add(max(pass.wait, c.backOff(r.fails)))
	}
}

// passing is a failure of the token endpoint that passes by itself.
type passing struct {
	reason string
	wait   time.Duration // at least, as HubSpot named it
}

func (e *passing) Error() string { return e.reason }

// grant is what the token endpoint gives.
type grant struct {
	Access  string  `json:"access_token"`
	Refresh string  `json:"refresh_token"`
	Expires float64 `json:"expires_in"` // seconds
	asked   time.Time
}

func (g grant) life() time.Duration {
	if g.Expires < 1 || g.Expires > 30*24*3600 {
		return usualLife
	}
	return seconds(g.Expires)
}

// early is how long before the end of its life the token is exchanged.
func (g grant) early(chance float64) time.Duration {
	return min(leastEarly+time.Duration(chance*float64(mostEarly-leastEarly)), g.life()/3)
}

// exchange asks for an access token: with the refresh token that came back
// last, and with the configured one where that one is not accepted. Its error
// is a *Blocked or a *passing.
func (r *renewer) exchange(ctx context.Context, c *Client) (grant, error) {
	configured := r.o.RefreshToken()
	if configured == "" || r.o.ClientID == "" || r.o.ClientSecret() == "" {
		return grant{}, &Blocked{Type: "token", Detail: "the portal's oauth lacks a client id, a client secret or a refresh token",
			Hint: "set all three of them and reload"}
	}
	stored, err := loadRefresh(r.o.File, r.fingerprint(configured))
	if err != nil {
		c.log.Warn("the kept refresh token cannot be read, the configured one is used", "error", err)
	}
	r.mu.Lock()
	kept := r.kept
	r.mu.Unlock()
	var refusal error
	tried := map[string]bool{"": true}
	for _, refresh := range []string{stored, kept, configured} {
		if tried[refresh] {
			continue
		}
		tried[refresh] = true
		g, err := r.post(ctx, c, refresh)
		if err == nil {
			r.keep(c, stored, configured, cmp.Or(g.Refresh, refresh))
			return g, nil
		}
		if refusal = err; !errors.Is(err, errRefreshRefused) {
			break
		}
	}
	if errors.Is(refusal, errRefreshRefused) {
		return grant{}, &Blocked{Type: "token", Detail: refusal.Error(),
			Hint: "install the app in the account again, set the portal's refresh_token to the new one and reload"}
	}
	return grant{}, refusal
}

// keep notes the refresh token to use next, on disk where it is another one
// than what is there.
func (r *renewer) keep(c *Client, stored, configured, next string) {
	r.mu.Lock()
	r.kept = next
	r.mu.Unlock()
	if r.o.File == "" || next == stored || stored == "" && next == configured {
		return
	}
	if err := storeRefresh(r.o.File, r.fingerprint(configured), next); err != nil {
		c.log.Error("the refresh token that HubSpot gave cannot be kept: after a restart the configured one is used, which may be void", "error", err)
	}
}

// errRefreshRefused says that a refresh token is void; another may not be.
var errRefreshRefused = errors.New("HubSpot does not accept the refresh token")

// post makes one request to the token endpoint, in the version that there is.
func (r *renewer) post(ctx context.Context, c *Client, refresh string) (grant, error) {
	for {
		version := c.versionOf(oauthFamily, "")
		g := grant{asked: time.Now()}
		status, header, body, err := r.send(ctx, c, version, refresh)
		if err != nil {
			return grant{}, &passing{reason: "exchange the refresh token: " + err.Error()}
		}
		if status == http.StatusNotFound || status == http.StatusGone {
			if c.fallBack(oauthFamily, version) {
				continue
			}
			return grant{}, &passing{reason: fmt.Sprintf("HubSpot has no token endpoint here (status %d)", status), wait: time.Minute}
		}
		if status == http.StatusOK {
			if json.Unmarshal(body, &g) != nil || g.Access == "" {
				return grant{}, &passing{reason: "the reply of HubSpot's token endpoint cannot be read"}
			}
			return g, nil
		}
		return grant{}, r.judge(status, header, body, refresh)
	}
}

func (r *renewer) send(ctx context.Context, c *Client, version, refresh string) (int, http.Header, []byte, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {r.o.ClientID}, "client_secret": {r.o.ClientSecret()}, "refresh_token": {refresh}}
	if r.own {
		form = url.Values{"grant_type": {"client_credentials"}, "client_id": {r.o.ClientID}, "client_secret": {r.o.ClientSecret()}, "scope": {journalScope}}
	}
	address := c.at(catalogue.TokenPath(version))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("build request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "hubpipe")
	c.count("token")
	began := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, nil, plainError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	c.hear(resp.Header, time.Since(began))
	bound := &bounded{r: resp.Body, left: maxTokenReply}
	body, err := c.gather(bound, "token")
	return resp.StatusCode, resp.Header, body, err
}

// judge says what a refusal of the token endpoint means.
func (r *renewer) judge(status int, h http.Header, body []byte, refresh string) error {
	var e struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Status      string `json:"status"`
		Message     string `json:"message"`
	}
	_ = json.Unmarshal(body, &e) // an error page says what its status says
	words := envelope{Message: r.scrub(cmp.Or(e.Message, e.Description, e.Error), refresh)}.words()
	if words == "" {
		words = fmt.Sprintf("status %d", status)
	}
	block := func(detail, hint string) error {
		return &Blocked{Type: "token", Detail: detail + ": " + words, Hint: hint}
	}
	switch {
	case e.Status == "BAD_REFRESH_TOKEN" || e.Error == "invalid_grant":
		return fmt.Errorf("%w: %s", errRefreshRefused, words)
	case e.Status == "BAD_CLIENT_ID" || e.Status == "BAD_CLIENT_SECRET" || e.Error == "invalid_client":
		return block("HubSpot does not know the app", "set the portal's client_id and client_secret as the app's page shows them and reload")
	case e.Status == "BAD_HUB" || e.Error == "access_denied" || e.Error == "unauthorized_client":
		return block("HubSpot does not let the app into the account", "install the app in the account again, set the portal's refresh_token and reload")
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout ||
		status == http.StatusTooEarly || status == http.StatusLocked || status == 477:
		wait, _ := retryAfter(h)
		return &passing{reason: fmt.Sprintf("HubSpot's token endpoint answers with status %d", status), wait: wait}
	case status >= 300 && status < 400:
		return block("HubSpot's token endpoint answers with a redirect, which is not followed", "check the portal's base_url")
	}
	return block("HubSpot refuses to give a token", "check the portal's oauth block, install the app in the account again and reload")
}

// scrub takes secrets out of what HubSpot says, should it repeat them.
func (r *renewer) scrub(words, refresh string) string {
	for _, secret := range []string{r.o.ClientSecret(), refresh} {
		if secret != "" {
			words = strings.ReplaceAll(words, secret, "[secret]")
		}
	}
	return words
}
