package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// ErrUnreachable is wrapped by errors that mean that no daemon answered.
var ErrUnreachable = errors.New("the daemon cannot be reached")

// Options say where the daemon is.
type Options struct {
	// Addr is http://host:port, or the path of the unix socket.
	Addr  string
	Token string
}

// Client asks one daemon. It is safe for concurrent use.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// New returns a client; it does not connect yet.
func New(o Options) *Client {
	t := &http.Transport{}
	c := &Client{base: strings.TrimSuffix(o.Addr, "/"), token: o.Token, http: &http.Client{Transport: t}}
	if strings.HasPrefix(o.Addr, "/") {
		c.base = "http://localhost"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", o.Addr)
		}
	}
	return c
}

// Close gives back idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) ask(ctx context.Context, method, path string, body any, accept string) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", accept)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	p := &Problem{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(p); err != nil || p.Title == "" {
		p = &Problem{Type: "http", Title: resp.Status}
	}
	p.Status = resp.StatusCode
	return nil, p
}

func get[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var v T
	resp, err := c.ask(ctx, method, path, body, "application/json")
	if err != nil {
		return v, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return v, fmt.Errorf("decode the daemon's answer: %w", err)
	}
	return v, nil
}

func path(name, rest string) string { return "/v1/streams/" + url.PathEscape(name) + rest }

// Streams lists how all streams stand.
func (c *Client) Streams(ctx context.Context) ([]Status, error) {
	v, err := get[struct{ Streams []Status }](ctx, c, "GET", "/v1/streams", nil)
	return v.Streams, err
}

// Stream is how one stands.
func (c *Client) Stream(ctx context.Context, name string) (Status, error) {
	return get[Status](ctx, c, "GET", path(name, ""), nil)
}

// Start begins a stream's schedule; every "" keeps the interval.
func (c *Client) Start(ctx context.Context, name, every string) (Status, error) {
	body := map[string]string{}
	if every != "" {
		body["interval"] = every
	}
	return get[Status](ctx, c, "POST", path(name, "/start"), body)
}

// Stop ends a stream's schedule and its runs.
func (c *Client) Stop(ctx context.Context, name string) (Status, error) {
	return get[Status](ctx, c, "POST", path(name, "/stop"), map[string]string{})
}

// Sync makes one run now, of one record where it is named, and returns its id.
func (c *Client) Sync(ctx context.Context, name, record string) (string, error) {
	body := map[string]string{}
	if record != "" {
		body["record"] = record
	}
	v, err := get[struct{ Run string }](ctx, c, "POST", path(name, "/sync"), body)
	return v.Run, err
}

// Resync reads everything again.
func (c *Client) Resync(ctx context.Context, name string) (string, error) {
	v, err := get[struct{ Run string }](ctx, c, "POST", path(name, "/resync"), map[string]string{})
	return v.Run, err
}

// Run returns a run.
func (c *Client) Run(ctx context.Context, id string) (Run, error) {
	return get[Run](ctx, c, "GET", "/v1/runs/"+url.PathEscape(id), nil)
}

// Runs lists runs, newest first.
func (c *Client) Runs(ctx context.Context, stream, state string) ([]Run, error) {
	q := url.Values{}
	if stream != "" {
		q.Set("stream", stream)
	}
	if state != "" {
		q.Set("state", state)
	}
	v, err := get[struct{ Runs []Run }](ctx, c, "GET", "/v1/runs?"+q.Encode(), nil)
	return v.Runs, err
}

// Workers lists the workers.
func (c *Client) Workers(ctx context.Context) ([]Worker, error) {
	v, err := get[struct{ Workers []Worker }](ctx, c, "GET", "/v1/workers", nil)
	return v.Workers, err
}

// Records calls f with each record, as a line of JSON, following the pages to
// their end.
func (c *Client) Records(ctx context.Context, name string, q url.Values, f func(line []byte) error) error {
	for {
		v, err := get[struct {
			Records []json.RawMessage `json:"records"`
			Next    string            `json:"next"`
		}](ctx, c, "GET", path(name, "/records?"+q.Encode()), nil)
		if err != nil {
			return err
		}
		for _, r := range v.Records {
			if err := f(r); err != nil {
				return err
			}
		}
		if v.Next == "" || q.Get("limit") != "" && len(v.Records) == 0 {
			return nil
		}
		q.Set("cursor", v.Next)
	}
}

// Changes calls f with each line of a stream's change feed after since.
func (c *Client) Changes(ctx context.Context, name string, since uint64, f func(line []byte) error) error {
	resp, err := c.ask(ctx, "GET", path(name, fmt.Sprintf("/changes?since=%d", since)), nil, "application/x-ndjson")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, 32<<20)
	for sc.Scan() {
		if err := f(sc.Bytes()); err != nil {
			return err
		}
	}
	return sc.Err()
}
