package api_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// authenticate knows the token, a reader and a worker by bearer tokens of their
// own, and a reader with a password.
func authenticate(c api.Credentials) (api.Caller, bool) {
	switch {
	case c.Bearer == token:
		return api.Caller{Role: api.RoleControl}, true
	case c.Bearer == "readers", c.Username == "ann" && c.Password == "her password":
		return api.Caller{Role: api.RoleReader}, true
	case c.Bearer == "workers":
		return api.Caller{}, true
	}
	return api.Caller{}, false
}

// Each route, by each role: written down here, so that a new route is a
// decision about who may call it.
func TestRolesOnEveryRoute(t *testing.T) {
	t.Parallel()
	b := setup(t)
	readers := map[string]bool{
		"GET /v1/erasures": true, "GET /v1/streams": true, "GET /v1/streams/{stream}": true, "GET /v1/streams/{stream}/records": true,
		"GET /v1/streams/{stream}/records/{id}": true, "GET /v1/streams/{stream}/changes": true, "GET /v1/streams/{stream}/export": true,
		"GET /v1/streams/{stream}/schema": true, "GET /v1/runs": true, "GET /v1/runs/{id}": true, "GET /v1/workers": true, "GET /v1/portals": true, "GET /v1/figures": true,
		"GET /v1/events": true, "GET /v1/logs": true, "GET /metrics": true, "GET /v1/notify": true, "GET /v1/doctor": true,
		"GET /v1/destinations": true, "GET /v1/destinations/{name}": true, "GET /v1/destinations/{name}/check": true, "GET /v1/destinations/{name}/tables": true, "POST /v1/destinations/{name}/pause": false,
		"POST /v1/destinations/{name}/resume": false, "POST /v1/destinations/{name}/resync": false,
		"GET /v1/log": true, "PUT /v1/log": false,
		"GET /debug/pprof": false, "GET /debug/pprof/{profile}": false, // they cost time and show the inside
		"GET /v1/streams/{stream}/records/{id}/explain": true, "GET /openapi.json": true, "GET /docs": true,
		"GET /v1/backup":                  true, // it holds no more than what they may read
		"POST /v1/streams/{stream}/start": false, "POST /v1/streams/{stream}/stop": false, "POST /v1/streams/{stream}/sync": false,
		"POST /v1/streams/{stream}/resync": false, "POST /v1/streams/{stream}/reconcile": false, "POST /v1/streams/{stream}/erase": false,
		"POST /v1/shutdown": false, "POST /v1/reload": false, "POST /v1/plan": false, "POST /v1/notify/{name}/test": false,
	}
	basic := "Basic YW5uOmhlciBwYXNzd29yZA==" // ann:her password
	for _, route := range b.server.Routes() {
		if route.Pattern == "/healthz" || route.Pattern == "/readyz" {
			continue
		}
		name := route.Method + " " + route.Pattern
		may, known := readers[name]
		if !known {
			t.Errorf("%s: nobody has decided whether a reader may", name)
			continue
		}
		path := strings.NewReplacer("{stream}", "contacts", "{id}", "1", "{profile}", "goroutine").Replace(route.Pattern)
		method := route.Method
		if method == http.MethodGet {
			method = http.MethodHead // a stream of events would not end
		}
		before := len(b.d.called())
		for _, auth := range []string{"Bearer readers", basic} {
			if res := do(t, b, method, path, "", "Authorization", auth); (res.StatusCode == http.StatusForbidden) == may {
				t.Errorf("%s by a reader: %s", name, res.Status)
			}
		}
		if res := do(t, b, method, path, "", "Authorization", "Bearer workers"); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s by a worker: %s", name, res.Status)
		}
		if !may && len(b.d.called()) != before {
			t.Errorf("%s did something before it was refused: %q", name, b.d.called()[before:])
		}
	}
	for _, auth := range []string{"Basic YW5uOg==", "Basic YW5uOm5v", "Basic !", "Bearer Readers"} {
		if p := problem(t, do(t, b, "GET", "/v1/streams", "", "Authorization", auth)); p.Status != http.StatusUnauthorized || p.Type != client.TypeUnauthorized {
			t.Errorf("%s: %+v", auth, p)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", api.Credentials{Bearer: token}, api.Credentials{Password: token}, &api.Credentials{Bearer: token}); strings.Contains(text, token) {
		t.Errorf("credentials print as %s", text)
	}
	if p := problem(t, do(t, b, "PUT", "/v1/streams", "", "Authorization", "Bearer readers")); p.Type != client.TypeForbidden || p.Hint == "" {
		t.Errorf("a method that there is not, by a reader: %+v", p)
	}
}

// Who follows a stream is cut off when the credentials hold no longer, and the
// others are not.
func TestRecheckEndsStreams(t *testing.T) {
	t.Parallel()
	var revoked atomic.Bool
	b := setup(t, func(o *api.Options) {
		o.Authenticate = func(c api.Credentials) (api.Caller, bool) {
			if c.Bearer == "readers" {
				return api.Caller{Role: api.RoleReader, Valid: func() bool { return !revoked.Load() }}, true
			}
			return authenticate(c)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	follow := func(bearer string) *http.Response {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+"/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(err, res)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || line != ": hubpipe\n" {
			t.Fatalf("%q %v", line, err)
		}
		return res
	}
	theirs, ours := follow("readers"), follow(token)
	b.server.Recheck() // nothing has changed
	revoked.Store(true)
	b.server.Recheck()
	if _, err := theirs.Body.Read(make([]byte, 64)); err == nil {
		t.Error("the stream goes on")
	}
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		_, _ = ours.Body.Read(make([]byte, 64))
	}()
	select {
	case <-cut:
		t.Error("another's stream was cut")
	case <-time.After(100 * time.Millisecond):
	}
	cancel()
	<-cut
}

// A client certificate counts where nothing else is shown, and a certificate's
// names are names of the host.
func TestCertificates(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) {
		o.IsHost = func(name string) bool { return name == "hubpipe.example" }
		o.Authenticate = func(c api.Credentials) (api.Caller, bool) {
			if len(c.Certificates) > 0 {
				return api.Caller{Role: api.RoleReader}, c.Certificates[0].Subject.CommonName == "Ann"
			}
			return authenticate(c)
		}
	})
	for _, c := range []struct {
		host, common, header string
		want                 int
	}{
		{"hubpipe.example", "Ann", "", 200},
		{"hubpipe.example:8377", "Ann", "", 200},
		{"evil.example", "Ann", "", 403},
		{"", "Ann", "", 403},
		{"localhost", "Bob", "", 401},
		{"localhost", "", "", 401},
		{"localhost", "Ann", "Bearer wrong", 401},
		{"localhost", "Bob", "Bearer " + token, 200},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/streams", nil)
		r.Host, r.TLS = c.host, &tls.ConnectionState{}
		if c.common != "" {
			r.TLS.VerifiedChains = [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: c.common}}}}
		}
		if c.header != "" {
			r.Header.Set("Authorization", c.header)
		}
		w := httptest.NewRecorder()
		b.server.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
}
