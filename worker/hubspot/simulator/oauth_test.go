package simulator

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"
)

type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int    `json:"expires_in"`
	HubID        int64  `json:"hub_id"`
	Error        string `json:"error"`
	Status       string `json:"status"`
}

func (p *portal) token(status int, kv ...string) tokenAnswer {
	p.t.Helper()
	f := url.Values{"grant_type": {"refresh_token"}, "client_id": {"app"}, "client_secret": {"shh"}, "refresh_token": {"first"}}
	for i := 0; i+1 < len(kv); i += 2 {
		f.Set(kv[i], kv[i+1])
	}
	a := p.do("POST", "/oauth/2026-09/token", f.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Authorization", "")
	var got tokenAnswer
	if err := json.Unmarshal(a.body, &got); err != nil || a.status != status {
		p.t.Fatalf("%v: status %d, want %d: %s", kv, a.status, status, a.body)
	}
	return got
}

func newApp(t *testing.T, rotate bool) *portal {
	t.Helper()
	return newPortal(t, Options{PortalID: 7, OAuth: &OAuth{ClientID: "app", ClientSecret: "shh", RefreshToken: "first", Rotate: rotate}})
}

func TestOAuthTokens(t *testing.T) {
	t.Parallel()
	p := newApp(t, false)
	got := p.token(200)
	if got.ExpiresIn != 1800 || got.HubID != 7 || got.RefreshToken != "first" {
		t.Errorf("%+v", got)
	}
	bearer := []string{"Authorization", "Bearer " + got.AccessToken}
	p.ok(200, "GET", contactsPath, nil, bearer...)
	p.ok(200, "GET", contactsPath, nil)
	p.ok(401, "GET", contactsPath, nil, "Authorization", "Bearer other")
	p.clock.add(30*time.Minute - time.Second)
	p.ok(200, "GET", contactsPath, nil, bearer...)
	p.clock.add(time.Second)
	if pg := p.ok(401, "GET", contactsPath, nil, bearer...); pg.Category != "EXPIRED_AUTHENTICATION" {
		t.Errorf("%+v", pg)
	}
	next := p.token(200)
	if next.AccessToken == got.AccessToken {
		t.Error("the same token again")
	}
	p.ok(200, "POST", "/_simulator/faults", `{"expire_tokens":true}`)
	p.ok(401, "GET", contactsPath, nil, "Authorization", "Bearer "+next.AccessToken)
	p.ok(404, "POST", "/oauth/2031-09/token", "")
	a := p.do("POST", "/oauth/v1/token", "grant_type=refresh_token&client_id=app&client_secret=shh&refresh_token=first", "Content-Type", "application/x-www-form-urlencoded")
	if a.status != 200 || p.Stats().Requests["token"] != 3 {
		t.Errorf("status %d, %v", a.status, p.Stats().Requests)
	}
}

func TestOAuthRefusals(t *testing.T) {
	t.Parallel()
	p := newApp(t, false)
	for _, tt := range []struct{ field, value, code, status string }{
		{"grant_type", "password", "unsupported_grant_type", "BAD_GRANT_TYPE"},
		{"client_id", "x", "invalid_client", "BAD_CLIENT_ID"},
		{"client_secret", "x", "invalid_client", "BAD_CLIENT_ID"},
		{"refresh_token", "", "invalid_request", "BAD_REFRESH_TOKEN"},
		{"refresh_token", "x", "invalid_grant", "BAD_REFRESH_TOKEN"},
	} {
		if got := p.token(400, tt.field, tt.value); got.Error != tt.code || got.Status != tt.status {
			t.Errorf("%s=%s: %+v", tt.field, tt.value, got)
		}
	}
	p.ok(200, "POST", "/_simulator/faults", `{"revoke_refresh":true}`)
	p.token(400)
	none := newPortal(t, Options{})
	none.ok(404, "POST", "/oauth/2026-09/token", "", "Authorization", "Bearer secret")
}

func TestRefreshTokenRotates(t *testing.T) {
	t.Parallel()
	p := newApp(t, true)
	second := p.token(200)
	if second.RefreshToken == "first" {
		t.Fatal("it stays")
	}
	p.token(400)
	third := p.token(200, "refresh_token", second.RefreshToken)
	p.ok(200, "POST", "/_simulator/faults", `{"rotate_refresh":false}`)
	if got := p.token(200, "refresh_token", third.RefreshToken); got.RefreshToken != third.RefreshToken {
		t.Errorf("%q after %q", got.RefreshToken, third.RefreshToken)
	}
}
