package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/daemon/webhook"
	"github.com/hubpipe/hubpipe/internal/listen"
)

// Bounds of what comes in and of how long an answer may take to be taken.
const (
	maxHeader     = 32 << 10
	maxBody       = 64 << 10
	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	// writeTimeout is for a piece of an answer, so that a reader that has gone
	// quiet holds nothing for longer.
	writeTimeout = 30 * time.Second
	keepAlive    = 15 * time.Second
	grace        = 3 * time.Second
)

// Options are what a server is made of.
type Options struct {
	Control Control
	Data    Data
	Health  Health
	// Events and Logs may be nil: their routes are then absent. So are those of
	// Metrics and Webhooks.
	Events   Events
	Logs     Logs
	Metrics  http.Handler
	Webhooks Webhooks

	// Listen is the TCP address ("" for none); port 0 takes a free one. Without
	// TLS and Authenticate it must be a loopback address. Socket is the path of the unix socket ("" for
	// none), which only its owner can open and which needs no token.
	Listen string
	TLS    *tls.Config
	Socket string
	// Authenticate says who asks over TCP; where it is nil, every request is
	// refused there but those for health.
	Authenticate func(Credentials) (Caller, bool)
	// AllowedHosts are names that a Host header may have besides those of this
	// machine, and IsHost tells of further ones; it may be nil.
	AllowedHosts []string
	IsHost       func(name string) bool

	// MaxConnections is how many connections a listener has at most, 1024 by
	// default; half of them, at least one, may be of one address.
	MaxConnections int

	Version string
	// Epoch names the store and its epoch to those that read the feed.
	Epoch  string
	Logger hclog.Logger
	// Known gives the daemon's own errors their meaning.
	Known []Known
	// KeepAlive is how often a quiet event stream gives a sign of life; 15 s by
	// default.
	KeepAlive time.Duration
	// Kept are the answers to requests with a key that outlasted the process before,
	// oldest first; Keep makes some outlast this one, in place of those to forget. It
	// may be nil.
	Kept []Repeated
	Keep func(ctx context.Context, answers []Repeated, forget []string) error
	// Grace is how long requests may go on when the server stops; 3 s by default.
	Grace time.Duration
}

// Server is the HTTP server. As a handler it is what TCP gets, with credentials
// asked for. Start and Stop are called once each; Stop is safe without Start.
type Server struct {
	o     Options
	log   hclog.Logger
	hosts map[string]bool
	mux   *http.ServeMux

	document    *document // of the routes, and the page that shows it
	docsPage    []byte
	describeErr error

	life  context.Context //nolint:containedctx // the server's own; it ends when what lasts has to end
	leave context.CancelCauseFunc
	quit  <-chan struct{} // the end of life

	wg      sync.WaitGroup
	tcp     net.Listener
	unix    *listen.Socket
	servers []*http.Server

	crowds  []*crowd
	packers packers
	repeats repeats

	mu     sync.Mutex
	visits map[*visit]struct{} // requests over TCP, for Recheck
}

// New returns a server that does not listen yet.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = maxConnections
	}
	if o.KeepAlive <= 0 {
		o.KeepAlive = keepAlive
	}
	if o.Grace <= 0 {
		o.Grace = grace
	}
	s := &Server{o: o, log: o.Logger, hosts: map[string]bool{"localhost": true},
		visits: map[*visit]struct{}{}, repeats: repeats{now: time.Now, known: map[string]*repeated{}}}
	s.repeats.recall(o.Kept)
	s.o.Kept = nil // what is too much of it is let go of
	s.life, s.leave = context.WithCancelCause(context.Background())
	s.quit = s.life.Done()
	for _, h := range o.AllowedHosts {
		s.hosts[hostName(h)] = true
	}
	s.mux = s.newMux()
	routes := s.Routes()
	if s.document, s.describeErr = newDocument(o.Version, routes); s.describeErr == nil {
		s.docsPage = newPage(s.document, o.Version, routes)
	}
	return s
}

// ServeHTTP answers a request as it is answered over TCP.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.serve(w, r, true)
}

// Start binds the address and the socket and serves them; it returns when both
// are open, or with one clear error and neither.
func (s *Server) Start(ctx context.Context) error {
	server := listen.Server{Name: "http", Block: "http"}
	if s.o.Listen != "" {
		l, err := server.TCP(ctx, s.o.Listen, s.o.TLS != nil && s.o.Authenticate != nil)
		if err != nil {
			return err
		}
		s.tcp = l
	}
	if s.o.Socket != "" {
		u, err := server.Unix(ctx, s.o.Socket)
		if err != nil {
			if s.tcp != nil {
				_ = s.tcp.Close()
				s.tcp = nil
			}
			return err
		}
		s.unix = u
	}
	if s.tcp != nil {
		l := s.tcp
		if s.o.TLS != nil {
			l = tls.NewListener(l, s.o.TLS)
		}
		s.run(l, s)
	}
	if s.unix != nil {
		s.run(s.unix, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, false) }))
	}
	return nil
}

func (s *Server) run(l net.Listener, h http.Handler) {
	c := newCrowd(s.o.MaxConnections, max(1, s.o.MaxConnections/2))
	s.crowds = append(s.crowds, c)
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ConnState: c.state, ErrorLog: s.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})}
	s.servers = append(s.servers, srv)
	s.wg.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the HTTP server ended", "address", l.Addr().String(), "error", err)
		}
	})
}

// Stop takes no more connections, ends what lasts, lets other requests finish
// for a while, and returns when all has ended. Readers that take nothing are cut
// off then: what stops after the server needs time as well.
func (s *Server) Stop(ctx context.Context) error {
	s.leave(errStopping)
	for _, c := range s.crowds {
		c.close()
	}
	within, cancel := context.WithTimeout(ctx, s.o.Grace)
	defer cancel()
	var errs []error
	for _, srv := range s.servers {
		err := srv.Shutdown(within)
		if err == nil {
			continue
		}
		_ = srv.Close()
		if ctx.Err() == nil {
			s.log.Warn("requests that did not end were cut off", "after", s.o.Grace)
			continue
		}
		errs = append(errs, fmt.Errorf("stop the HTTP server: %w", err))
	}
	s.wg.Wait()
	return errors.Join(errs...)
}

// lasting is a context for what may take long: it ends with ctx, and when the
// server stops. The caller ends it, too.
func (s *Server) lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	undo := context.AfterFunc(s.life, func() { cancel(errStopping) })
	return ctx, func() { undo(); cancel(context.Canceled) }
}

// Addr is the TCP address that is listened on, "" when there is none.
func (s *Server) Addr() string {
	if s.tcp == nil {
		return ""
	}
	return s.tcp.Addr().String()
}

// serve is what every request passes: bounds, guard, log, and the mending of a
// handler that panics.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, remote bool) {
	began := time.Now()
	rec := &recorder{ResponseWriter: w}
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p) // net/http's way of cutting an answer short
			}
			s.log.Error("a request failed badly", "method", r.Method, "path", r.URL.Path, "panic", p)
			if rec.status != 0 {
				panic(http.ErrAbortHandler)
			}
			s.problem(rec, internalProblem())
		}
		s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", rec.status, "took", time.Since(began))
	}()
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(began.Add(writeTimeout))
	if r.Body != nil && r.Body != http.NoBody {
		_ = rc.SetReadDeadline(began.Add(bodyTimeout))
		most := int64(maxBody)
		if isWebhook(r) {
			most = webhook.MaxBody
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
	}
	h := rec.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if remote {
		caller, p := s.guard(r)
		if p != nil {
			if p.Status == http.StatusUnauthorized {
				h.Set("WWW-Authenticate", `Bearer realm="hubpipe"`)
			}
			h.Set("Connection", "close") // a stranger's does not stay
			s.problem(rec, p)
			return
		}
		var leave func()
		r, leave = s.enter(r, caller)
		defer leave()
	}
	if path.Clean("/"+r.URL.Path) != r.URL.Path {
		s.noRoute(rec, r) // the mux would redirect it
		return
	}
	if r.Method != http.MethodHead {
		h.Add("Vary", "Accept-Encoding")
	}
	pack := &packed{ResponseWriter: rec, packers: &s.packers, encoding: encodingOf(r)}
	s.mux.ServeHTTP(pack, r)
	pack.close()
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
