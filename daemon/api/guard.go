package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// guard refuses a request over TCP that may not come in. A web page can make a
// browser call a local port, and can point a name of its own at it: so Host
// must be a name of this machine, and Origin, where there is one, the same.
func (s *Server) guard(r *http.Request) *client.Problem {
	if !s.allowedHost(r.Host) {
		return &client.Problem{Type: client.TypeForeignHost, Title: "that host is not this daemon", Status: http.StatusForbidden,
			Detail: "the Host header names another machine", Hint: "use http://127.0.0.1 or http://localhost, with the daemon's port"}
	}
	if !sameOrigin(r) {
		return &client.Problem{Type: client.TypeForeignOrigin, Title: "no web page may call this daemon", Status: http.StatusForbidden,
			Detail: "the request comes from a page of another origin", Hint: "call it from the command line or from a program"}
	}
	if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
		return nil
	}
	return s.tokenProblem(r.Header.Get("Authorization"))
}

// tokenProblem is the problem of a request without the token, or with a wrong
// one; nil where it is right.
func (s *Server) tokenProblem(header string) *client.Problem {
	scheme, token, _ := strings.Cut(header, " ")
	given := sha256.Sum256([]byte(strings.TrimSpace(token)))
	// Digests have one length, so that the comparison tells nothing of it.
	equal := subtle.ConstantTimeCompare(given[:], s.token[:]) == 1
	p := &client.Problem{Type: client.TypeUnauthorized, Title: "a token is needed", Status: http.StatusUnauthorized,
		Detail: "there is no Authorization header", Hint: `send "Authorization: Bearer TOKEN"; ` + "`hubpipe token` prints it"}
	switch {
	case header == "":
	case !strings.EqualFold(scheme, "Bearer"):
		p.Detail = "the Authorization header holds no bearer token"
	case s.o.Token == "" || !equal:
		p.Title, p.Detail = "the token is wrong", "the Authorization header has a token that is not this daemon's"
		p.Hint = "`hubpipe token`, with the configuration of this daemon, prints the right one"
	default:
		return nil
	}
	return p
}

func (s *Server) allowedHost(host string) bool {
	name := hostName(host)
	if s.hosts[name] {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
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
