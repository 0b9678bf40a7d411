// Package api is the daemon's HTTP: control, data and health. What it needs of
// the daemon comes through the interfaces declared here.
package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Control is the daemon's set of commands. Each returns when the ledger has
// it; what is wrong comes as a *stream.Problem.
type Control interface {
	Streams(ctx context.Context) ([]client.Status, error)
	Stream(ctx context.Context, name string) (client.Status, error)
	Start(ctx context.Context, name, interval string) (client.Status, error)
	Stop(ctx context.Context, name string) (client.Status, error)
	Sync(ctx context.Context, name, record string) (run string, err error)
	Resync(ctx context.Context, name string) (run string, err error)
	Run(ctx context.Context, id string) (client.Run, error)
	Runs(ctx context.Context, name, state string) ([]client.Run, error)
	Workers(ctx context.Context) ([]client.Worker, error)
	Portals(ctx context.Context) ([]client.Portal, error)
	Ready() error
	Shutdown()
	Reload(ctx context.Context) error
}

// Query chooses records; see store.Query.
type Query struct {
	After         string
	Limit         int
	States        []stream.State
	Since         uint64
	ModifiedSince int64
}

// Data is what the store lets readers see.
type Data interface {
	Record(name, id string) (*stream.Record, error) // nil, nil where there is none
	Records(ctx context.Context, name string, q Query, fn func(*stream.Record) error) (next string, err error)
	Changes(ctx context.Context, name string, since uint64, limit int, fn func(*stream.Record) error) (uint64, error)
	PositionAt(ctx context.Context, name string, t time.Time) (uint64, error)
	Schema(name string) ([]byte, error)
	Watch() (<-chan struct{}, func())
}

// Options are what a Server needs.
type Options struct {
	Listen  string // TCP
	Socket  string // unix; no token is asked for there
	Token   string
	Control Control
	Data    Data
	Logger  hclog.Logger
}

// Server is the daemon's HTTP server.
type Server struct {
	o      Options
	tcp    net.Listener
	server []*http.Server
	wg     sync.WaitGroup
	quit   chan struct{}
}

// Bounds of what comes in.
const (
	maxBody    = 64 << 10
	headerTime = 5 * time.Second
)

// New returns a server that has not begun.
func New(o Options) *Server { return &Server{o: o, quit: make(chan struct{})} }

// Start binds and serves.
func (s *Server) Start(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.o.Listen)
	if err != nil {
		return fmt.Errorf("the API cannot listen on %s: %w; is another program there? set http { listen }", s.o.Listen, err)
	}
	s.tcp = l
	_ = os.Remove(s.o.Socket)
	u, err := lc.Listen(ctx, "unix", s.o.Socket)
	if err == nil {
		err = os.Chmod(s.o.Socket, 0o600)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the API cannot listen on %s: %w", s.o.Socket, err), l.Close())
	}
	s.serve(l, s.guard(s.routes()))
	s.serve(u, s.routes())
	return nil
}

func (s *Server) serve(l net.Listener, h http.Handler) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10, ErrorLog: s.o.Logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})}
	s.server = append(s.server, srv)
	s.wg.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.o.Logger.Error("the API ended", "error", err)
		}
	})
}

// Addr is where the server listens over TCP.
func (s *Server) Addr() string { return s.tcp.Addr().String() }

// Stop ends it: streams to readers end, requests in work are finished.
func (s *Server) Stop(ctx context.Context) error {
	close(s.quit)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var errs []error
	for _, srv := range s.server {
		if err := srv.Shutdown(ctx); err != nil {
			errs = append(errs, srv.Close())
		}
	}
	s.wg.Wait()
	return errors.Join(errs...)
}

// guard asks for the token, and keeps web pages out: their requests carry
// another host or an origin.
func (s *Server) guard(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte("Bearer " + s.o.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.ownHost(r.Host) {
			problem(w, &stream.Problem{Type: "foreign-host", Title: "unknown host", Status: 403, Detail: r.Host})
			return
		}
		if o := r.Header.Get("Origin"); o != "" {
			if u, err := url.Parse(o); err != nil || u.Host != r.Host {
				problem(w, &stream.Problem{Type: "foreign-origin", Title: "foreign origin", Status: 403})
				return
			}
		}
		got := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		if r.URL.Path != "/healthz" && r.URL.Path != "/readyz" && subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			problem(w, &stream.Problem{Type: "unauthorized", Title: "the token is missing or wrong", Status: 401,
				Hint: "send it as `Authorization: Bearer TOKEN`; `hubpipe token` prints it"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) ownHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	own, _, _ := net.SplitHostPort(s.o.Listen)
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return name == "localhost" || name == own || ip != nil && ip.IsLoopback()
}

// problem writes an error as problem+json.
func problem(w http.ResponseWriter, err error) {
	p := &stream.Problem{}
	if !errors.As(err, &p) {
		p = &stream.Problem{Type: "internal", Title: "the daemon could not do that", Status: 500, Detail: err.Error(),
			Hint: "see the daemon's log"}
	}
	w.Header().Set("Content-Type", "application/problem+json")
	if p.Status == 0 {
		p.Status = http.StatusConflict
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(client.Problem{Type: p.Type, Title: p.Title, Status: p.Status, Detail: p.Detail, Hint: p.Hint})
}

func bad(detail, hint string) error {
	return &stream.Problem{Type: "bad-request", Title: "bad request", Status: 400, Detail: detail, Hint: hint}
}

// answer writes a value, or the error.
func answer(w http.ResponseWriter, status int, v any, err error) {
	if err != nil {
		problem(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// body reads a JSON object; nothing is the empty one, and what it does not
// know is an error.
func body(r *http.Request, v any) error {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(b) > maxBody {
		return bad("the body cannot be read or is too large", "a command is a small JSON object")
	}
	if len(strings.TrimSpace(string(b))) == 0 {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return bad(strings.TrimPrefix(err.Error(), "json: "), `the body is a JSON object such as {"interval":"5m"}`)
	}
	if d.More() {
		return bad("more follows after the JSON object", "send one object")
	}
	return nil
}
