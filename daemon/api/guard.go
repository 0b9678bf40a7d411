package api

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Role says what a caller may do; the zero value may do nothing.
type Role uint8

// The roles over HTTP.
const (
	RoleNone    Role = iota
	RoleReader       // GET and HEAD, of every route but the profiles
	RoleControl      // everything
)

// Credentials are what a request over TCP shows: a bearer token, a name with its
// password, or a certificate.
type Credentials struct {
	Bearer             string
	Username, Password string
	// Certificates are the client's that TLS has verified, its own first. They
	// count where nothing else is shown.
	Certificates []*x509.Certificate
}

// Format writes "[secret]", however credentials are printed.
func (Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// Caller is who asks, for as long as Valid says so; a nil Valid holds for ever.
type Caller struct {
	Role  Role
	Valid func() bool
}

// visit is a request over TCP that is being answered.
type visit struct {
	valid func() bool
	end   context.CancelFunc
}

// enter notes a request until leave is called, so that Recheck can end it.
func (s *Server) enter(r *http.Request, c Caller) (_ *http.Request, leave func()) {
	if c.Valid == nil {
		return r, func() {}
	}
	ctx, cancel := context.WithCancel(r.Context())
	v := &visit{c.Valid, cancel}
	s.mu.Lock()
	s.visits[v] = struct{}{}
	s.mu.Unlock()
	return r.WithContext(ctx), func() {
		s.mu.Lock()
		delete(s.visits, v)
		s.mu.Unlock()
		cancel()
	}
}

// Recheck ends the answers, such as streams of events, of callers whose
// credentials hold no longer.
func (s *Server) Recheck() {
	s.mu.Lock()
	visits := slices.Collect(maps.Keys(s.visits))
	s.mu.Unlock()
	for _, v := range visits {
		if !v.valid() {
			v.end()
		}
	}
}

// guard refuses a request over TCP that may not come in. A web page can make a
// browser call a local port, and can point a name of its own at it: so Host
// must be a name of this machine, and Origin, where there is one, the same.
func (s *Server) guard(r *http.Request) (Caller, *client.Problem) {
	if isWebhook(r) {
		return Caller{}, nil
	}
	if !s.allowedHost(r.Host) {
		return Caller{}, &client.Problem{Type: client.TypeForeignHost, Title: "that host is not this daemon", Status: http.StatusForbidden,
			Detail: "the Host header names another machine", Hint: "use http://127.0.0.1 or http://localhost, with the daemon's port"}
	}
	if !sameOrigin(r) {
		return Caller{}, &client.Problem{Type: client.TypeForeignOrigin, Title: "no web page may call this daemon", Status: http.StatusForbidden,
			Detail: "the request comes from a page of another origin", Hint: "call it from the command line or from a program"}
	}
	if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
		return Caller{}, nil
	}
	caller, p := s.caller(r)
	if p == nil {
		p = mayCall(caller, r.Method, strings.HasPrefix(r.URL.Path, debugPrefix))
	}
	return caller, p
}

// caller is who asks, or what is wrong with what he shows.
func (s *Server) caller(r *http.Request) (Caller, *client.Problem) {
	header := r.Header.Get("Authorization")
	scheme, token, _ := strings.Cut(header, " ")
	c := Credentials{}
	p := &client.Problem{Type: client.TypeUnauthorized, Title: "a token is needed", Status: http.StatusUnauthorized,
		Detail: "there is no Authorization header", Hint: `send "Authorization: Bearer TOKEN"; ` + "`hubpipe token` prints it"}
	if strings.EqualFold(scheme, "Bearer") {
		c.Bearer = strings.TrimSpace(token)
	} else {
		c.Username, c.Password, _ = r.BasicAuth()
	}
	switch {
	case header == "" && r.TLS != nil && len(r.TLS.VerifiedChains) > 0:
		c.Certificates = r.TLS.VerifiedChains[0]
		p.Detail = "there is no Authorization header, and no user has the certificate that was shown"
	case header == "":
		return Caller{}, p
	case c.Bearer == "" && c.Password == "":
		p.Detail = "the Authorization header holds neither a bearer token nor a name with its password"
		return Caller{}, p
	}
	if s.o.Authenticate != nil {
		if caller, ok := s.o.Authenticate(c); ok {
			return caller, nil
		}
	}
	if header == "" {
		return Caller{}, p
	}
	p.Title, p.Detail = "the token is wrong", "the Authorization header has a token that is not this daemon's"
	p.Hint = "`hubpipe token`, with the configuration of this daemon, prints the right one"
	if c.Bearer == "" {
		p.Title, p.Detail = "the name or the password is wrong", "this daemon has no user of that name with that password"
		p.Hint = "see the user blocks of its configuration, and `hubpipe token list`"
	}
	return Caller{}, p
}

// mayCall holds a method against a role: whoever may read may use GET and HEAD,
// but not look inside the process.
func mayCall(c Caller, method string, inside bool) *client.Problem {
	p := &client.Problem{Type: client.TypeForbidden, Title: "you may not do that", Status: http.StatusForbidden,
		Detail: "your token is a reader's: it reads everything and changes nothing",
		Hint:   "use a token of the role control: `hubpipe token create --role control --name NAME`"}
	switch {
	case c.Role == RoleControl, c.Role == RoleReader && !inside && (method == http.MethodGet || method == http.MethodHead):
		return nil
	case c.Role != RoleReader:
		p.Detail, p.Hint = "your token is a worker's: it is for the message bus alone",
			"use a token of the role reader or control: `hubpipe token create --role reader --name NAME`"
	}
	return p
}

func (s *Server) allowedHost(host string) bool {
	name := hostName(host)
	if s.hosts[name] {
		return true
	}
	if ip := net.ParseIP(name); ip != nil && ip.IsLoopback() {
		return true
	}
	return name != "" && s.o.IsHost != nil && s.o.IsHost(name)
}

// hostName is a Host header without its port, in lower case.
func hostName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// sameOrigin tells whether a request comes from no web page, or from one of
// this very server.
func sameOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return false
	}
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return true
	}
	u, err := url.Parse(values[0])
	return len(values) == 1 && err == nil && (u.Scheme == "http" || u.Scheme == "https") && strings.EqualFold(u.Host, r.Host)
}
