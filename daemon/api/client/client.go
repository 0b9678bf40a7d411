package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ErrUnreachable is wrapped by the error of every call that found no daemon, or
// lost it before the answer began.
var ErrUnreachable = errors.New("the daemon cannot be reached")

// Bounds of what is taken from a daemon.
const (
	dialTimeout = 5 * time.Second
	maxAnswer   = 256 << 20
	maxLine     = 64 << 20
)

// Options say where the daemon is.
type Options struct {
	// Addr is http://host:port, host:port, or the path of a unix socket, with
	// unix: before it or not.
	Addr string
	// Token is what the daemon asks for over TCP; the socket needs none.
	Token string
	// TLS is for https; nil for the system's authorities.
	TLS *tls.Config
	// HTTP replaces the client that is used otherwise; it has to reach the
	// socket by itself.
	HTTP *http.Client
}

// Client calls the API of one daemon. It may be used by several goroutines. Its
// methods return a *Problem for an answer that is not a success, an error that
// wraps ErrUnreachable where there was none, and the context's own where that
// ended.
type Client struct {
	base  string
	shown string // the address as people know it
	token string
	http  *http.Client
	err   error // what is wrong with the address
}

// New returns a client and opens no connection; an address that is none comes
// as the error of each call.
func New(o Options) *Client {
	c := &Client{token: o.Token, http: o.HTTP, shown: o.Addr}
	socket := ""
	addr := strings.TrimRight(o.Addr, "/")
	switch {
	case strings.HasPrefix(o.Addr, "unix:"):
		socket = strings.TrimPrefix(strings.TrimPrefix(o.Addr, "unix:"), "//")
	case strings.HasPrefix(o.Addr, "http://") || strings.HasPrefix(o.Addr, "https://"):
		u, err := url.Parse(addr)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			c.err = badAddress(o.Addr)
			return c
		}
		c.base = addr
	case strings.ContainsAny(o.Addr, `/\`):
		socket = o.Addr
	default:
		if _, _, err := net.SplitHostPort(o.Addr); err != nil {
			c.err = badAddress(o.Addr)
			return c
		}
		c.base = "http://" + addr
	}
	if socket != "" {
		c.base, c.shown, c.token = "http://localhost", socket, ""
	}
	if c.http == nil {
		c.http = newHTTP(socket, socket != "" || isLocal(c.base), o.TLS)
	}
	return c
}

// isLocal tells whether an address is of this machine.
func isLocal(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func badAddress(addr string) error {
	if u, err := url.Parse(addr); err == nil {
		addr = u.Redacted()
	}
	return fmt.Errorf("%q is not the address of a daemon; write it like http://127.0.0.1:8377, or the path of its socket", addr)
}

func newHTTP(socket string, local bool, secure *tls.Config) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: dialTimeout, TLSClientConfig: secure,
		// On one machine packing costs more than it saves.
		DisableCompression: local}
	if socket != "" {
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	}
	// A redirect would carry the token to where nobody meant it to go.
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Close closes the connections that wait for a next call.
func (c *Client) Close() {
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
}

// Addr is where the daemon is, as people know it.
func (c *Client) Addr() string { return c.shown }

// open makes a call and returns the answer of a success; its body is closed by
// the caller.
func (c *Client) open(ctx context.Context, method, path string, q url.Values, accept string, body any) (*http.Response, error) {
	if c.err != nil {
		return nil, c.err
	}
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		r = bytes.NewReader(b)
	}
	target := c.base + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, r)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Accept", accept)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// The URL says nothing that the address does not.
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, fmt.Errorf("%w at %s: %w", ErrUnreachable, c.shown, err)
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		return nil, problemOf(res)
	}
	return res, nil
}

// problemOf reads the problem of an answer; one that comes from something else
// than a daemon is described.
func problemOf(res *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	p := new(Problem)
	if strings.HasPrefix(res.Header.Get("Content-Type"), MediaProblem) && json.Unmarshal(b, p) == nil && p.Title != "" {
		p.Status = res.StatusCode
		return p
	}
	return &Problem{Type: TypeInternal, Title: "the answer is not hubpipe's", Status: res.StatusCode,
		Detail: "it is " + res.Status, Hint: "see whether the address is that of a daemon"}
}

// call makes a call and reads its JSON answer into out, unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, q url.Values, body, out any) (status int, err error) {
	res, err := c.open(ctx, method, path, q, "application/json", body)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil:
		return 0, fmt.Errorf("%w at %s: the answer ended early: %w", ErrUnreachable, c.shown, err)
	case len(b) > maxAnswer:
		return 0, fmt.Errorf("the answer of %s is too large", c.shown)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			return 0, fmt.Errorf("read the answer of %s: %w", c.shown, err)
		}
	}
	return res.StatusCode, nil
}

// get asks for a thing, and post has something done that is answered with one.
func get[T any](ctx context.Context, c *Client, path string, q url.Values) (out T, err error) {
	_, err = c.call(ctx, http.MethodGet, path, q, nil, &out)
	return out, err
}

func post[T any](ctx context.Context, c *Client, path string, body any) (out T, err error) {
	_, err = c.call(ctx, http.MethodPost, path, nil, body, &out)
	return out, err
}

func streamPath(name, rest string) string {
	return "/v1/streams/" + url.PathEscape(name) + rest
}

// values makes a query of pairs of name and value, leaving out empty ones.
func values(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
