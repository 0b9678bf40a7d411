package hubspot

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

const (
	appID      = "app-id"
	appSecret  = "app-canary-secret"
	appRefresh = "refresh-canary-token"
)

func fixed(s string) func() string { return func() string { return s } }

// installed is a simulated account that has installed the app.
func installed(rotate bool, change func(*simulator.Options)) *simulator.Simulator {
	o := simulator.Options{Seed: 5, Sizes: map[string]int{"contacts": 30}, Properties: 8,
		OAuth: &simulator.OAuth{ClientID: appID, ClientSecret: appSecret, RefreshToken: appRefresh, Rotate: rotate}}
	if change != nil {
		change(&o)
	}
	return simulator.New(o)
}

// faults turns a switch of the simulator.
func faults(t *testing.T, sim http.Handler, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	sim.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/_simulator/faults", strings.NewReader(body)))
	if w.Code != http.StatusOK {
		t.Fatalf("switch %s: %d %s", body, w.Code, w.Body)
	}
}

// appClient is a client of the app; what it logs is searched for secrets.
func appClient(t *testing.T, h http.Handler, file string, change func(*OAuth)) *Client {
	t.Helper()
	var log lockedBuffer
	t.Cleanup(func() {
		for _, secret := range []string{appSecret, appRefresh, "refresh-1-", "access-1-"} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("the log shows %s", secret)
			}
		}
	})
	app := OAuth{ClientID: appID, ClientSecret: fixed(appSecret), RefreshToken: fixed(appRefresh), File: file}
	if change != nil {
		change(&app)
	}
	return clientOf(t, h, func(o *Options) {
		o.Token, o.OAuth = nil, &app
		o.Logger = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace})
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A day of work needs a token every half hour; none is sent after its end, and
// none is exchanged twice.
func TestTokensAreRenewedBeforeTheyEnd(t *testing.T) {
	t.Parallel()
	for _, rotate := range []bool{false, true} {
		t.Run(fmt.Sprintf("rotate %v", rotate), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sim := installed(rotate, nil)
				file := filepath.Join(t.TempDir(), "credentials", "main.json")
				c := appClient(t, sim, file, nil)
				for range 24 * 60 {
					if _, err := list(t.Context(), t, c); err != nil {
						t.Fatal(err)
					}
					pass(time.Minute)
				}
				st := sim.Stats()
				if n := st.Requests["token"]; n < 48 || n > 60 {
					t.Errorf("%d exchanges in a day", n)
				}
				if st.Unauthorized != 0 {
					t.Errorf("%d requests with a token that had ended", st.Unauthorized)
				}
				kept, err := os.Stat(file)
				if !rotate {
					if !errors.Is(err, os.ErrNotExist) {
						t.Errorf("a token that never changes was kept: %v", err)
					}
					return
				}
				if err != nil || kept.Mode().Perm() != 0o600 {
					t.Fatalf("the kept token: %v, %v", kept, err)
				}
				if dir, err := os.Stat(filepath.Dir(file)); err != nil || dir.Mode().Perm() != 0o700 {
					t.Errorf("the folder: %v, %v", dir, err)
				}
				if rest, _ := filepath.Glob(file + "?*"); len(rest) != 0 {
					t.Errorf("left over: %v", rest)
				}
				again := appClient(t, sim, file, nil)
				if _, err := list(t.Context(), t, again); err != nil {
					t.Errorf("after a restart, with the kept token: %v", err)
				}
			})
		})
	}
}

func TestOneExchangeForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := installed(true, func(o *simulator.Options) { o.Latency = 300 * time.Millisecond })
		c := appClient(t, sim, "", nil)
		all := func() (failed []error) {
			var wg sync.WaitGroup
			var mu sync.Mutex
			for range 20 {
				wg.Go(func() {
					if _, err := list(t.Context(), t, c); err != nil {
						mu.Lock()
						failed = append(failed, err)
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			return failed
		}
		if failed := all(); failed != nil {
			t.Fatal(failed)
		}
		if n := sim.Stats().Requests["token"]; n != 1 {
			t.Errorf("%d exchanges at the beginning", n)
		}
		faults(t, sim, `{"expire_tokens":true}`)
		if failed := all(); failed != nil {
			t.Fatal(failed)
		}
		if n := sim.Stats().Requests["token"]; n != 2 {
			t.Errorf("%d exchanges after the token was ended", n)
		}
		faults(t, sim, `{"expire_tokens":true,"revoke_refresh":true}`)
		failed := all()
		if len(failed) != 20 {
			t.Fatalf("%d of 20 failed", len(failed))
		}
		for _, err := range failed {
			blocked, ok := errors.AsType[*Blocked](err)
			if !ok || blocked.Type != "token" || !strings.Contains(blocked.Hint, "refresh_token") || strings.Contains(err.Error(), "canary") {
				t.Errorf("%+v", err)
			}
		}
		// What came back last, and what is configured: not for each of them.
		if n := sim.Stats().Requests["token"]; n > 8 {
			t.Errorf("%d exchanges in all", n)
		}
	})
}

// Which refresh token is used when the one that was kept is void, or follows
// from another configured one.
func TestKeptRefreshTokens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		kept string // the file
		asks []string
	}{
		{"none", "", []string{appRefresh}},
		{"void", `{"configured":"%s","refresh_token":"void"}`, []string{"void", appRefresh}},
		{"of another configured one", `{"configured":"x","refresh_token":"void"}`, []string{appRefresh}},
		{"damaged", `{"configured":`, []string{appRefresh}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "main.json")
			if tt.kept != "" {
				own := newRenewer(OAuth{ClientID: appID}).fingerprint(appRefresh)
				if err := os.WriteFile(file, []byte(strings.ReplaceAll(tt.kept, "%s", own)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			sim := installed(false, nil)
			var asks []string
			c := appClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/token") {
					_ = r.ParseForm()
					asks = append(asks, r.PostForm.Get("refresh_token"))
				}
				sim.ServeHTTP(w, r)
			}), file, nil)
			if _, err := list(t.Context(), t, c); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(asks) != fmt.Sprint(tt.asks) {
				t.Errorf("asked with %v, want %v", asks, tt.asks)
			}
		})
	}
}

// What the token endpoint says, and what becomes of it.
func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	good := step{status: 200, body: `{"access_token":"a","expires_in":1800}`}
	page := ok(pageOf("", "1"))
	refusal := func(text string) step { return step{status: 400, body: text} }
	for _, tt := range []struct {
		name     string
		steps    []step
		blocked  string // what the error says; "" for none
		requests int
	}{
		{"good", []step{good, page}, "", 2},
		{"500 and 503", []step{{status: 500}, {status: 503, body: htmlBody}, good, page}, "", 4},
		{"no connection", []step{{fail: errors.New("connection refused")}, good, page}, "", 3},
		{"429", []step{{status: 429, header: map[string]string{"Retry-After": "7"}}, good, page}, "", 3},
		{"a reply without a token", []step{ok(`{}`), good, page}, "", 3},
		{"the old version", []step{{status: 404}, good, page}, "", 3},
		{"void", []step{refusal(`{"error":"invalid_grant","error_description":"refresh token is invalid, expired or revoked","status":"BAD_REFRESH_TOKEN","message":"refresh token is invalid, expired or revoked"}`)}, "refresh token is invalid", 1},
		{"void, named otherwise", []step{refusal(`{"error":"invalid_request","status":"BAD_REFRESH_TOKEN","message":"missing or unknown refresh token"}`)}, "does not accept the refresh token", 1},
		{"unknown app", []step{refusal(`{"error":"invalid_client","status":"BAD_CLIENT_ID","message":"missing or unknown client id"}`)}, "does not know the app", 1},
		{"removed", []step{refusal(`{"error":"access_denied","status":"BAD_HUB","message":"no"}`)}, "into the account", 1},
		{"repeats what it got", []step{refusal(`{"message":"bad ` + appSecret + ` with ` + appRefresh + `"}`)}, "bad [secret] with [secret]", 1},
		{"refused still", []step{good, {status: 401}, good, {status: 401}, {status: 401}, {status: 401}}, "does not accept the token", 6},
		{"ended early", []step{good, {status: 401}, good, page}, "", 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{steps: tt.steps}
				app := OAuth{ClientID: appID, ClientSecret: fixed(appSecret), RefreshToken: fixed(appRefresh)}
				c := clientOf(t, nil, func(o *Options) { o.Token, o.OAuth, o.Transport = nil, &app, s })
				_, err := list(t.Context(), t, c)
				blocked, is := errors.AsType[*Blocked](err)
				switch {
				case tt.blocked == "" && err != nil:
					t.Error(err)
				case tt.blocked != "" && (!is || blocked.Type != "token" || blocked.Hint == "" || !strings.Contains(blocked.Detail, tt.blocked)):
					t.Errorf("%+v, want it to say %q", err, tt.blocked)
				}
				asked := s.requests()
				if len(asked) != tt.requests {
					t.Errorf("%d requests, want %d", len(asked), tt.requests)
				}
				if tt.name == "the old version" && asked[1].path != "/oauth/v1/token" {
					t.Errorf("then asked %s", asked[1].path)
				}
				if took := asked[len(asked)-1].at.Sub(asked[0].at); tt.name == "429" && took < 7*time.Second {
					t.Errorf("asked again after %v", took)
				}
			})
		})
	}
}
