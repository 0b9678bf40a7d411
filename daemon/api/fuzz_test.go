package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// isClients tells whether an error blames the request, and says for what.
func isClients(err error) bool {
	var p *client.Problem
	return errors.As(err, &p) && p.Status == 400 && p.Detail != "" && p.Hint != "" && len(p.Detail) < 2000
}

// Any query is either understood or refused as the request's own mistake.
func FuzzParams(f *testing.F) {
	for _, s := range []string{"", "limit=5&cursor=cjox&since=7&state=live,merged&fields=a,b", "since=2026-01-02T03:04:05+02:00",
		"limit=%", "a=b;c", "wait=1m&follow=true", "state=all", "modified_since=2026-01-02T03:04:05.678Z"} {
		f.Add(s)
	}
	allowed := []string{"limit", "cursor", "since", "modified_since", "state", "fields", "wait", "follow"}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseParams(raw, allowed, false)
		if err != nil {
			if !isClients(err) {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		limit, err1 := q.limit(defaultLimit, maxLimit)
		id, err2 := q.cursor(idMark)
		states, err3 := q.states()
		fields, err4 := q.fields()
		wait, err5 := q.wait()
		_, _, err6 := q.since()
		_, err7 := q.modifiedSince()
		_, err8 := q.bool("follow")
		for _, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8} {
			if err != nil && !isClients(err) {
				t.Fatalf("%q: %v", raw, err)
			}
		}
		if err1 == nil && (limit < 1 || limit > maxLimit) || err5 == nil && (wait < 0 || wait > maxWait) || len(fields) > maxFields {
			t.Fatalf("%q is out of bounds: %d %v %d", raw, limit, wait, len(fields))
		}
		for _, s := range states {
			if !s.Valid() {
				t.Fatalf("%q: state %q", raw, s)
			}
		}
		if err2 == nil && id != "" && makeCursor(idMark, id) != q["cursor"] {
			t.Fatalf("cursor %q is also written %q", q["cursor"], makeCursor(idMark, id))
		}
	})
}

// Any body is either understood or refused as the request's own mistake.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", "{}", `{"interval":"5m"}`, `{"interval":5}`, `{"x":{"y":[1]}}`, "{\"interval\":\"\xff\"}", `{"interval":null}`, "[", "{", "5m"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var body struct {
			Interval *string `json:"interval"`
		}
		err := decodeBody(b, startBody, &body)
		if err != nil && !isClients(err) {
			t.Fatalf("%q: %v", b, err)
		}
		if err == nil && body.Interval != nil && !bytes.Contains(b, []byte("interval")) && !bytes.Contains(b, []byte(`\u`)) {
			t.Fatalf("%q gives an interval", b)
		}
	})
}

// Whatever a record holds, it is one line of valid JSON that gives back what is
// in it.
func FuzzRecord(f *testing.F) {
	f.Add("1", "2026-01-02T03:04:05Z", []byte(`{"a":"b","c":null}`), "a")
	f.Add("\"\n\x00\xff", "\u2028", []byte("{\n\"a\" : \"\\u0000\"}"), "=x")
	f.Fuzz(func(t *testing.T, id, at string, properties []byte, field string) {
		var object map[string]json.RawMessage
		if json.Unmarshal(properties, &object) != nil || object == nil {
			properties = nil
		}
		for _, fields := range [][]string{nil, {field, "a"}} {
			line, err := AppendRecord(nil, &stream.Record{Head: stream.Head{ID: id, State: stream.Live, CreatedAt: at}, Properties: properties}, fields)
			if err != nil {
				continue // what is more lenient than JSON in the old decoder
			}
			if bytes.ContainsAny(line, "\n\r") {
				t.Fatalf("more than a line: %q", line)
			}
			var got client.Record
			if err := json.Unmarshal(line, &got); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if strings.ToValidUTF8(id, "") == id && got.ID != id {
				t.Fatalf("id %q became %q", id, got.ID)
			}
		}
	})
}

// Whatever a request over TCP shows: it passes the guard only with what is
// right, from a host of ours and no page of others.
func FuzzGuard(f *testing.F) {
	f.Add("GET", "/v1/streams", "localhost", "", "Bearer right")
	f.Add("POST", "/v1/shutdown", "127.0.0.1:8377", "http://127.0.0.1:8377", "bearer  right ")
	f.Add("HEAD", "/healthz", "[::1]:80", "null", "")
	f.Add("GET", "/healthz/../v1/streams", "localhost.", "", "Basic YW5uOnJpZ2h0")
	f.Add("PUT", "//healthz", "evil.example", "file://", "Basic OnJpZ2h0")
	s := New(Options{Authenticate: func(c Credentials) (Caller, bool) {
		switch {
		case c.Bearer == "right":
			return Caller{Role: RoleControl}, true
		case c.Username == "ann" && c.Password == "right":
			return Caller{Role: RoleReader}, true
		}
		return Caller{}, false
	}})
	f.Fuzz(func(t *testing.T, method, path, host, origin, auth string) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path}, Host: host, Header: http.Header{}}
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		caller, p := s.guard(r)
		if p != nil {
			if p.Status != 401 && p.Status != 403 || p.Hint == "" || auth != "" && len(auth) > 8 && strings.Contains(p.Detail+p.Hint, auth) {
				t.Fatalf("%+v", p)
			}
			return
		}
		if name := hostName(host); name != "localhost" && (net.ParseIP(name) == nil || !net.ParseIP(name).IsLoopback()) {
			t.Fatalf("host %q passes", host)
		}
		if u, err := url.Parse(origin); origin != "" && (err != nil || !strings.EqualFold(u.Host, host)) {
			t.Fatalf("origin %q passes for %q", origin, host)
		}
		if path == "/healthz" || path == "/readyz" {
			return
		}
		_, basic, _ := r.BasicAuth()
		reads := caller.Role == RoleReader && basic == "right" && (method == "GET" || method == "HEAD")
		if !reads && (caller.Role != RoleControl || !strings.Contains(auth, "right")) {
			t.Fatalf("%s %s with %q passes as %+v", method, path, auth, caller)
		}
	})
}
