// Package exact runs the whole program in one process, against a simulated
// HubSpot that can be held, hurried and lied for, and holds what is stored
// against the simulator's truth.
package exact

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker"
	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// TestMain lets more tests run side by side than there are processors: they
// wait, most of the time. With the race detector they do not.
func TestMain(m *testing.M) {
	flag.Parse()
	parallel := "8"
	if slowly {
		parallel = "4"
	}
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// ordinarily skips, with the race detector, what differs from a test beside it by
// one answer of HubSpot's, or by how many records there are: the same goroutines
// meet in both, and the ordinary run shows what it shows in a tenth of the time.
// GOFLAGS=-race runs all with it.
func ordinarily(t *testing.T) {
	t.Helper()
	if slowly && !strings.Contains(os.Getenv("GOFLAGS"), "-race") {
		t.Skip("it runs without the race detector; GOFLAGS=-race runs it with")
	}
}

const token = "secret-canary-token"

// front stands before the simulator and may answer in its place.
type front func(w http.ResponseWriter, r *http.Request, next http.Handler)

// rig is a daemon and a worker in this process, beside a simulated HubSpot.
type rig struct {
	t    testing.TB
	sim  *simulator.Simulator
	hub  *httptest.Server
	dir  string
	log  *lines
	api  *client.Client
	hook atomic.Pointer[front]
	bad  atomic.Pointer[string] // the last request that HubSpot calls wrong: status 400 or 414

	paced        bool
	keepsTime    bool                   // a restored record has the time that it had
	schemaEvery  time.Duration          // how old definitions may be
	text         atomic.Pointer[string] // of the streams
	portal       string                 // what else the portal's block says
	recalculated bool                   // a reconcile has brought what HubSpot calculated last

	journal hubspot.JournalApp    // of which the worker reads the journal; without an id none
	session broker.SessionOptions // the worker's; without an address over the socket

	d       *daemon.Daemon
	w       *worker.Service
	hubspot *hubspot.Client
}

// lines is a log that shows where a test failed.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bytes.Contains(p, []byte(" daemon.store: ")) || bytes.Contains(p, []byte(" daemon.http: request: ")) {
		return len(p), nil // it speaks of its tables, and of those who ask whether it is equal by now
	}
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// pace is how often a stream runs and how its windows settle, in hundredths of
// what is usual, so that what takes an hour and a quarter is over in seconds.
const pace = `defaults {
  interval = "1s"
  tail     = "3s"
  settle   = ["2s", "5s"]
  archived_interval  = "1s"
  reconcile_interval = "24h"
}
`

// newRig makes a simulator and the folder of a daemon; it starts nothing else.
// streams is the rest of the configuration: a defaults block and streams.
func newRig(t testing.TB, o simulator.Options, streams string) *rig {
	t.Helper()
	o.Token = token
	if o.Properties == 0 {
		o.Properties = 16
	}
	// Sockets have short paths; the tests have long names.
	dir, err := os.MkdirTemp("", "exact") //nolint:usetesting // it would have the test's name in it
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, sim: simulator.New(o), dir: dir, log: &lines{}, paced: o.Limits, keepsTime: o.RestoreKeepsTime, schemaEvery: 2 * time.Second}
	r.text.Store(&streams)
	r.hub = httptest.NewServer(http.HandlerFunc(r.serve))
	r.api = client.New(client.Options{Addr: filepath.Join(r.dir, "http.sock")})
	t.Cleanup(func() {
		r.stopWorker()
		r.stopDaemon()
		r.api.Close()
		r.hub.Close()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		log := r.log.String()
		if strings.Contains(log, token) {
			t.Error("the log holds the token")
		}
		if says := r.bad.Load(); says != nil {
			t.Errorf("HubSpot calls a request wrong: %s", *says)
		}
		if t.Failed() {
			t.Logf("…%s", log[max(0, len(log)-20000):])
		}
	})
	return r
}

func (r *rig) serve(w http.ResponseWriter, q *http.Request) {
	watched, sent := &status{ResponseWriter: w}, body(q)
	defer func() {
		// To ask whether a list can be shared is no mistake, nor is what a test's
		// configuration names and HubSpot lacks: a form that has no submissions, an app.
		probe := slices.ContainsFunc([]string{"is not a cursor of this list", "There are no associations between", "This form type is not allowed", "missing or unknown client id"},
			func(s string) bool { return bytes.Contains(watched.said, []byte(s)) })
		if watched.code == http.StatusBadRequest && !probe || watched.code == http.StatusRequestURITooLong {
			says := fmt.Sprintf("%d %s %.3000s: %s", watched.code, q.URL, sent, watched.said)
			r.bad.Store(&says)
		}
	}()
	if f := r.hook.Load(); f != nil && !strings.HasPrefix(q.URL.Path, "/_simulator/") {
		(*f)(watched, q, r.sim)
		return
	}
	r.sim.ServeHTTP(watched, q)
}

// status remembers what was answered.
type status struct {
	http.ResponseWriter
	code int
	said []byte // of an error
}

func (s *status) Write(b []byte) (int, error) {
	if s.code >= http.StatusBadRequest {
		s.said = append(s.said, b...)
	}
	return s.ResponseWriter.Write(b)
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// between puts something before HubSpot; nil takes it away.
func (r *rig) between(f front) {
	if f == nil {
		r.hook.Store(nil)
		return
	}
	r.hook.Store(&f)
}

// body reads a request's body and leaves it as it was.
func body(q *http.Request) string {
	b, _ := io.ReadAll(q.Body) // the simulator's own error then
	q.Body = io.NopCloser(bytes.NewReader(b))
	return string(b)
}

// kind tells what a request of an object asks for.
func kind(q *http.Request) string {
	p := q.URL.Path
	switch {
	case strings.HasSuffix(p, "/search"):
		return "search"
	case strings.Contains(p, "/associations/"):
		return "associations"
	case strings.HasSuffix(p, "/batch/read"):
		return "batch"
	case strings.Contains(p, "/objects/") && q.Method == http.MethodGet && q.URL.Query().Get("limit") != "":
		return "list"
	}
	return ""
}

// config reads the configuration as it is now.
func (r *rig) config() (*config.Config, error) {
	path := filepath.Join(r.dir, "hubpipe.hcl")
	text := fmt.Sprintf(`data_dir = %q
http { listen = "127.0.0.1:0" }
broker { listen = "127.0.0.1:0" }
portal "main" {
  token    = env("TOKEN")
  base_url = %q
%s}
%s`, r.dir, r.hub.URL, r.portal, *r.text.Load())
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cfg, diags, err := config.Load(config.Options{Path: path, Env: func(string) (string, bool) { return token, true }})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, diags)
	}
	return cfg, nil
}

// reload changes the streams while they run.
func (r *rig) reload(streams string) {
	r.t.Helper()
	r.text.Store(&streams)
	if _, err := r.api.Reload(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) start() *rig {
	r.t.Helper()
	r.startDaemon()
	r.startWorker()
	return r
}

func (r *rig) logger(name string) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Debug, Output: r.log})
}

func (r *rig) startDaemon() {
	r.t.Helper()
	cfg, err := r.config()
	if err != nil {
		r.t.Fatal(err)
	}
	r.d = daemon.New(daemon.Options{Config: cfg, Version: "test", Logger: r.logger("daemon"), Reload: r.config, Lease: 4 * time.Second})
	if err := r.d.Start(context.WithoutCancel(r.t.Context())); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) startWorker() {
	r.t.Helper()
	r.hubspot = hubspot.New(hubspot.Options{BaseURL: r.hub.URL, Token: func() string { return token },
		Logger: r.logger("hubspot"), Unpaced: !r.paced, Reread: []time.Duration{100 * time.Millisecond, 500 * time.Millisecond}})
	session := r.session
	session.Logger = r.logger("mqtt")
	if session.URL == "" {
		session.URL = "unix://" + filepath.Join(r.dir, "mqtt.sock")
	}
	journals := map[string]worker.Journal{}
	if r.journal.ClientID != "" {
		journals["main"] = r.hubspot.Journal(r.journal)
	}
	var err error
	r.w, err = worker.NewService(worker.Options{Journals: journals, JournalEvery: 100 * time.Millisecond, Name: "one", Version: "test", Portals: map[string]worker.Portal{"main": worker.HubSpot(r.hubspot)},
		Topics: protocol.Topics{Prefix: config.DefaultPrefix}, Codec: new(protocol.Codec), Logger: r.logger("worker"),
		Lease: 4 * time.Second, HeartbeatEvery: time.Second, SchemaEvery: r.schemaEvery,
		RereadDelays: [2]time.Duration{100 * time.Millisecond, 500 * time.Millisecond}}, session)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.w.Start(context.WithoutCancel(r.t.Context())); err != nil {
		r.t.Fatal(err)
	}
}

// stopping bounds how long an orderly end may take.
const stopping = 20 * time.Second

func (r *rig) stopWorker() {
	if r.w == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopping)
	defer cancel()
	_ = r.w.Stop(ctx) // the daemon may have gone first
	r.hubspot.Close()
	r.w = nil
}

func (r *rig) stopDaemon() {
	if r.d == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopping)
	defer cancel()
	if err := r.d.Stop(ctx); err != nil {
		r.t.Errorf("stop the daemon: %v", err)
	}
	r.d = nil
}

// patience is how long a test waits for what has to come: far longer than it
// takes, since a busy machine may be several times slower.
func patience() time.Duration {
	if slowly {
		return 8 * time.Minute
	}
	return 4 * time.Minute
}

// until polls until f is happy. It rests for longer than it looks: to read a
// whole store takes the time of what is waited for, here and in the tests beside.
func until(t testing.TB, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience())
	for {
		began := time.Now()
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-time.After(min(max(50*time.Millisecond, 3*time.Since(began)), time.Second))
	}
}

// change changes records and gives the ids.
func (r *rig) change(object string, c simulator.Change) []string {
	r.t.Helper()
	ids, err := r.sim.Change(object, c)
	if err != nil {
		r.t.Fatal(err)
	}
	return ids
}

// turn turns switches of the simulator.
func (r *rig) turn(switches string) {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.sim.ServeHTTP(w, httptest.NewRequestWithContext(r.t.Context(), http.MethodPost, "/_simulator/faults", strings.NewReader(switches)))
	if w.Code != http.StatusOK {
		r.t.Fatal(w.Body)
	}
}

// live are the ids of an object's live records, in order.
func (r *rig) live(object string) []string {
	var ids []string
	for _, o := range r.sim.Truth(object) {
		if o.State == "live" {
			ids = append(ids, o.ID)
		}
	}
	return ids
}

func (r *rig) status(stream string) client.Status {
	r.t.Helper()
	st, err := r.api.Stream(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	return st
}

// report is what a walk found.
type report struct {
	Checked, Missing, Stale, Candidates, Gone, Merged, Restored, Archived, Repaired int
	Untyped                                                                         map[string]int
}

// reconcile runs one to its end.
func (r *rig) reconcile(stream string) (client.Run, report) {
	r.t.Helper()
	// Asked for during the first load, it would be that, which may go on for a
	// moment after its last record.
	until(r.t, "the end of the first load", func() error {
		if run := r.status(stream).Run; run != nil && run.Kind == "backfill" {
			return fmt.Errorf("%s goes on", run.ID)
		}
		return nil
	})
	id, err := r.api.Reconcile(r.t.Context(), stream, false)
	if err != nil {
		r.t.Fatal(err)
	}
	run := r.ended(id)
	var rep report
	if err := json.Unmarshal(run.Report, &rep); err != nil {
		r.t.Fatalf("run %s ended without a report: %v: %+v", id, err, run)
	}
	return run, rep
}

// ended waits for a run's end.
func (r *rig) ended(id string) (run client.Run) {
	r.t.Helper()
	until(r.t, "the run's end", func() error {
		var err error
		if run, err = r.api.Run(r.t.Context(), id); err == nil && run.Running() {
			err = fmt.Errorf("run %s of %s goes on", id, run.Stream)
		}
		return err
	})
	return run
}

// sync makes an incremental run and waits for its end. One that goes on already
// may have read what was changed since, and is not joined.
func (r *rig) sync(stream string) client.Run {
	r.t.Helper()
	until(r.t, "the end of what runs", func() error {
		if run := r.status(stream).Run; run != nil && run.Kind == "incremental" {
			return problem("run %s goes on", run.ID)
		}
		return nil
	})
	run, err := r.api.SyncWait(r.t.Context(), stream, "", patience())
	if err != nil {
		r.t.Fatal(err)
	}
	return run
}
