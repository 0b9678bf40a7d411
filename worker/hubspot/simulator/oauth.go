package simulator

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// OAuth is an app that the portal has installed. While it is set, tokens that
// the token endpoint gave are valid beside Options.Token, and no others.
type OAuth struct {
	ClientID, ClientSecret, RefreshToken string
	// Rotate gives a new refresh token with each access token; the one before
	// is void then.
	Rotate bool
	// Lifetime is how long an access token is valid; default 30 minutes.
	Lifetime time.Duration
}

// grants are the tokens that were given.
type grants struct {
	mu      sync.Mutex // guards all
	refresh string
	access  map[string]time.Time // when each ends
	given   int
}

// tokenRoute reads the address of the token endpoint.
func (s *Simulator) tokenRoute(p []string, w *switches) (route, bool) {
	if s.o.OAuth == nil && s.o.Journal == nil || len(p) != 3 || p[0] != "oauth" || p[2] != "token" {
		return route{}, false
	}
	if !slices.Contains(w.versions, p[1]) && p[1] != "v1" {
		return route{}, false
	}
	return route{kind: kindOfToken, known: true, method: http.MethodPost, do: (*call).token}, true
}

// token gives an access token for a refresh token.
func (c *call) token() {
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, 1<<16)
	if err := c.r.ParseForm(); err != nil {
		c.refuseToken("invalid_request", "BAD_REQUEST", "the form cannot be read")
		return
	}
	app, f := c.s.o.OAuth, c.r.PostForm
	if c.s.o.Journal != nil && (app == nil || f.Get("grant_type") == "client_credentials") {
		c.journalToken()
		return
	}
	g := &c.s.grants
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case f.Get("grant_type") != "refresh_token":
		c.refuseToken("unsupported_grant_type", "BAD_GRANT_TYPE", "grant_type has to be refresh_token")
		return
	case f.Get("client_id") != app.ClientID || f.Get("client_secret") != app.ClientSecret:
		c.refuseToken("invalid_client", "BAD_CLIENT_ID", "missing or unknown client id")
		return
	case f.Get("refresh_token") == "":
		c.refuseToken("invalid_request", "BAD_REFRESH_TOKEN", "missing or unknown refresh token")
		return
	case f.Get("refresh_token") != g.refresh:
		c.refuseToken("invalid_grant", "BAD_REFRESH_TOKEN", "refresh token is invalid, expired or revoked")
		return
	}
	g.given++
	access := fmt.Sprintf("access-%d-%08x", g.given, uint32(mix(uint64(c.s.o.Seed)^uint64(g.given))))
	life := app.Lifetime
	if life <= 0 {
		life = 30 * time.Minute
	}
	if g.access == nil {
		g.access = map[string]time.Time{}
	}
	g.access[access] = c.now.Add(life)
	if c.sw.rotateRefresh {
		g.refresh = fmt.Sprintf("refresh-%d-%08x", g.given, uint32(mix(uint64(c.s.o.Seed)+uint64(g.given))))
	}
	c.send(200, "application/json;charset=utf-8", fmt.Appendf(nil,
		`{"access_token":%q,"refresh_token":%q,"expires_in":%d,"token_type":"bearer","token_use":"access_token","hub_id":%d,"user_id":1,"scopes":["oauth"]}`,
		access, g.refresh, int(life.Seconds()), c.s.o.PortalID))
}

func (c *call) refuseToken(code, status, message string) {
	c.send(400, "application/json;charset=utf-8", fmt.Appendf(nil, `{"error":%q,"error_description":%q,"status":%q,"message":%q,"correlationId":%q}`,
		code, message, status, message, c.correlation()))
}

// granted says whether a token was given and when it ended, where it has.
func (s *Simulator) granted(token string, now time.Time) (known bool, ended time.Duration) {
	s.grants.mu.Lock()
	defer s.grants.mu.Unlock()
	end, ok := s.grants.access[token]
	return ok, now.Sub(end)
}

// expire ends all access tokens, revoke the refresh token too.
func (s *Simulator) expire(now time.Time, revoke bool) {
	s.grants.mu.Lock()
	defer s.grants.mu.Unlock()
	for t := range s.grants.access {
		s.grants.access[t] = now.Add(-time.Second)
	}
	if revoke {
		s.grants.refresh = "revoked-" + strconv.Itoa(s.grants.given)
	}
}
