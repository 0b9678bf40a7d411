package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var (
	errFull   = errors.New("the disk is nearly full")
	errNone   = errors.New("not found")
	errSecret = errors.New("dial with password hunter2")
)

// daemon is a daemon in memory: two streams, a feed that grows by add, runs
// that end by finish.
type daemon struct {
	mu       sync.Mutex
	err      error // what every command fails with
	status   map[string]*client.Status
	runs     []client.Run
	erased   []client.Erasure
	records  map[string][]stream.Record // in order of seq
	seq      uint64
	watchers map[chan struct{}]bool
	schema   []byte
	calls    []string
	unwell   error
	events   chan client.Event
	breakAt  string        // a record's id at which reading fails
	shown    string        // which of the history, as it were
	before   []stream.Head // what is left of older versions of any record
	meantime func()        // what happens while a record that was read is on its way; nil for nothing
}

func newDaemon() *daemon {
	d := &daemon{status: map[string]*client.Status{}, records: map[string][]stream.Record{}, watchers: map[chan struct{}]bool{},
		events: make(chan client.Event, 16)}
	for _, name := range []string{"contacts", "deals"} {
		d.status[name] = &client.Status{Name: name, Portal: "main", Object: name, State: client.StateStopped, Interval: "5m",
			EffectiveInterval: "5m", SetBy: client.SetByFile}
	}
	return d
}

func (d *daemon) wake() {
	for w := range d.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// add commits a record at the next position.
func (d *daemon) add(name string, r stream.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seq++
	r.Seq = d.seq
	if r.State == "" {
		r.State = stream.Live
	}
	list := slices.DeleteFunc(d.records[name], func(o stream.Record) bool { return o.ID == r.ID })
	d.records[name] = append(list, r)
	d.wake()
}

// show shows another part of the history from here on.
func (d *daemon) show(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shown = what
}

// fill commits n live records with ids from 1.
func (d *daemon) fill(name string, n int) {
	for i := range n {
		id := fmt.Sprint(i + 1)
		d.add(name, stream.Record{Head: stream.Head{ID: id, Version: int64(i+1) * 1000, Synced: int64(i+1) * 1000, CreatedAt: "2026-01-02T03:04:05Z",
			UpdatedAt: "2026-01-02T03:04:05.678Z"}, Properties: fmt.Appendf(nil, `{"email":"p%s@example.com","score":"%d","note":null}`, id, i)})
	}
}

func (d *daemon) find(name string) (*client.Status, error) {
	if d.err != nil {
		return nil, d.err
	}
	s := d.status[name]
	if s == nil {
		return nil, &stream.Problem{Type: "unknown-stream", Title: "unknown stream", Status: 404, Detail: fmt.Sprintf("there is no stream %q", name), Hint: "list them"}
	}
	return s, nil
}

func (d *daemon) call(format string, args ...any) {
	d.calls = append(d.calls, fmt.Sprintf(format, args...))
}

func (d *daemon) called() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

func (d *daemon) Streams(context.Context) ([]client.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return nil, d.err
	}
	return []client.Status{*d.status["contacts"], *d.status["deals"]}, nil
}

func (d *daemon) Stream(_ context.Context, name string) (client.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.find(name)
	if err != nil {
		return client.Status{}, err
	}
	return *s, nil
}

func (d *daemon) Start(_ context.Context, name, interval string) (client.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.find(name)
	if err != nil {
		return client.Status{}, err
	}
	if _, err := time.ParseDuration(interval); interval != "" && err != nil {
		return client.Status{}, &stream.Problem{Type: "bad-interval", Title: "that is not an interval", Status: 400, Detail: "it is text"}
	}
	d.call("start %s %s", name, interval)
	s.State, s.SetBy = client.StateWaiting, client.SetByAPI
	if interval != "" {
		s.Interval = interval
	}
	return *s, nil
}

func (d *daemon) Stop(_ context.Context, name string) (client.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.find(name)
	if err != nil {
		return client.Status{}, err
	}
	if s.State == client.StateBlocked {
		return client.Status{}, &client.Problem{Type: client.TypePortalBlocked, Title: "blocked", Status: 409}
	}
	d.call("stop %s", name)
	s.State = client.StateStopped
	return *s, nil
}

func (d *daemon) begin(name, kind, record string) (client.Run, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.find(name); err != nil {
		return client.Run{}, err
	}
	d.call("%s %s %s", kind, name, record)
	run := client.Run{ID: fmt.Sprintf("r%03d", len(d.runs)+1), Stream: name, Kind: kind, State: client.RunRunning, Started: time.Unix(1e9, 0).UTC()}
	d.runs = append(d.runs, run)
	return run, nil
}

func (d *daemon) Sync(_ context.Context, name, record string) (client.Run, error) {
	return d.begin(name, "incremental", record)
}

func (d *daemon) Resync(_ context.Context, name string) (client.Run, error) {
	return d.begin(name, "backfill", "")
}

func (d *daemon) Erase(_ context.Context, name, record string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.find(name); err != nil {
		return err
	}
	d.call("erase %s %s", name, record)
	d.erased = append(d.erased, client.Erasure{Stream: name, Record: record, At: time.Unix(1e9, 0).UTC()})
	return nil
}

func (d *daemon) Erasures(context.Context) ([]client.Erasure, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.erased, nil
}

func (d *daemon) Reconcile(_ context.Context, name string, accept bool) (client.Run, error) {
	return d.begin(name, "reconcile", fmt.Sprint(accept))
}

func (d *daemon) finish(state string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.runs {
		end := time.Unix(2e9, 0).UTC()
		d.runs[i].State, d.runs[i].Ended = state, &end
	}
	d.wake()
}

func (d *daemon) Run(ctx context.Context, id string) (client.Run, error) {
	if ctx.Err() != nil {
		return client.Run{}, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.runs {
		if r.ID == id {
			return r, nil
		}
	}
	return client.Run{}, fmt.Errorf("read run: %w", errNone)
}

func (d *daemon) Runs(_ context.Context, q client.RunQuery) ([]client.Run, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []client.Run
	for _, r := range slices.Backward(d.runs) {
		if (q.Stream == "" || r.Stream == q.Stream) && (q.State == "" || r.State == q.State) && (q.Before == "" || r.ID < q.Before) && len(out) < q.Limit {
			out = append(out, r)
		}
	}
	return out, d.err
}

func (d *daemon) Workers(context.Context) ([]client.Worker, error) {
	return []client.Worker{{ID: "up", State: client.WorkerOnline, Portals: []string{"main"}, Capacity: 8, Runs: []string{}}}, d.err
}

func (d *daemon) Figures(context.Context) (client.Figures, error) {
	return client.Figures{StoreBytes: 4096, FreeBytes: 1 << 30, BrokerConnections: new(3)}, d.err
}

func (d *daemon) Portals(context.Context) ([]client.Portal, error) {
	return []client.Portal{{Name: "main", Account: 77}}, d.err
}

func (d *daemon) Shutdown() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("shutdown")
}

func (d *daemon) Reload(context.Context) (client.Plan, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("reload")
	return onePlan(), d.err
}

func (d *daemon) Plan(context.Context) (client.Plan, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("plan")
	return onePlan(), d.err
}

func onePlan() client.Plan {
	n := int64(70)
	w := client.PlannedWork{Work: "reconcile", Reason: "properties", Records: &n, Requests: &n}
	w.Cost(7, 700, 0.1)
	return client.Plan{Config: "hubpipe.hcl", Portals: []client.PlannedPortal{}, Settings: []string{}, Restart: []string{},
		Streams: []client.PlannedStream{{Stream: "contacts", Portal: "main", Object: "contacts", Change: client.ChangeChanged,
			Work: []client.PlannedWork{w}, Settings: []string{}, Notes: []string{}}}}
}

func (d *daemon) Live() error  { return d.unwell }
func (d *daemon) Ready() error { return d.unwell }

func (d *daemon) Record(name, id string) (*stream.Record, error) {
	if d.meantime != nil {
		defer d.meantime()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.records[name] {
		if r.ID == id {
			return &r, nil
		}
	}
	return nil, errNone
}

func (d *daemon) VersionsOf(_ context.Context, name, id string, _ int) ([]stream.Head, error) {
	r, err := d.Record(name, id)
	if err != nil {
		return nil, err
	}
	return append([]stream.Head{r.Head}, d.before...), nil
}

func (d *daemon) snapshot(name string) []stream.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.records[name])
}

var errBroken = errors.New("a value does not match its checksum")

func (d *daemon) give(r stream.Record, fn func(*stream.Record) error) error {
	if r.ID == d.breakAt {
		return errBroken
	}
	return fn(&r)
}

func (d *daemon) Records(_ context.Context, name string, q api.RecordQuery, fn func(*stream.Record) error) (string, error) {
	list := d.snapshot(name)
	slices.SortFunc(list, func(a, b stream.Record) int {
		if len(a.ID) != len(b.ID) {
			return len(a.ID) - len(b.ID)
		}
		return int(a.Seq) - int(b.Seq)
	})
	after := 0
	if q.After != "" {
		after = slices.IndexFunc(list, func(r stream.Record) bool { return r.ID == q.After }) + 1
	}
	n, last := 0, ""
	for _, r := range list[after:] {
		if q.States != nil && !slices.Contains(q.States, r.State) || r.Version < q.ModifiedSince {
			continue
		}
		if n == q.Limit {
			return last, nil
		}
		if err := d.give(r, fn); err != nil {
			return "", err
		}
		n, last = n+1, r.ID
	}
	return "", nil
}

func (d *daemon) Changes(ctx context.Context, name string, since uint64, limit int, fn func(*stream.Record) error) (uint64, error) {
	last := since
	n := 0
	for _, r := range d.snapshot(name) {
		if r.Seq <= since {
			continue
		}
		if limit > 0 && n == limit || ctx.Err() != nil {
			return last, ctx.Err()
		}
		if err := d.give(r, fn); err != nil {
			return last, err
		}
		last = r.Seq
		n++
	}
	return last, nil
}

func (d *daemon) PositionAt(_ context.Context, name string, t time.Time) (uint64, error) {
	at := uint64(0)
	for _, r := range d.snapshot(name) {
		if r.Synced >= t.UnixMilli() {
			break
		}
		at = r.Seq
	}
	return at, nil
}

func (d *daemon) Schema(string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.schema == nil {
		return nil, errNone
	}
	return d.schema, nil
}

func (d *daemon) As(destination, _ string) (api.View, error) {
	if destination != "warehouse" {
		return nil, &stream.Problem{Type: "unknown-destination", Title: "unknown destination", Status: 404}
	}
	return d, nil
}

func (d *daemon) Doctor(context.Context) (client.Diagnosis, error) {
	out := client.Diagnosis{Store: "s", Epoch: 1}
	if d.unwell != nil {
		out.Findings = []client.Finding{{What: d.unwell.Error()}}
	}
	return out, nil
}

func (d *daemon) PositionOf(name string) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := uint64(0)
	for i := range d.records[name] {
		last = max(last, d.records[name][i].Seq)
	}
	return last
}

func (d *daemon) Shown(string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shown
}

func (d *daemon) Backup(_ context.Context, w io.Writer) error {
	for range 4 {
		if _, err := w.Write(make([]byte, 50_000)); err != nil {
			return err
		}
	}
	return d.unwell
}

func (d *daemon) Watch() (<-chan struct{}, func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := make(chan struct{}, 1)
	d.watchers[w] = true
	return w, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, w)
	}
}

func (d *daemon) watching() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.watchers)
}

func (d *daemon) Notifications(context.Context) ([]client.Notification, error) {
	return []client.Notification{{Name: "ops", On: []string{"blocked"}, After: "10m", Open: []client.NotifyEvent{}}}, nil
}

func (d *daemon) LogLevel() client.LogLevel {
	return client.LogLevel{Level: "info", Configured: "warn"}
}

func (d *daemon) SetLogLevel(level string) client.LogLevel {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("log %s", level)
	return client.LogLevel{Level: level, Configured: "warn"}
}

func (d *daemon) TestNotification(_ context.Context, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("test notification %s", name)
	return nil
}

func (d *daemon) Subscribe(_ context.Context, last uint64) <-chan client.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("subscribe %d", last)
	return d.events
}

func (d *daemon) Lines(name, level string, limit int) []client.Line {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("lines %s %s %d", name, level, limit)
	return []client.Line{{Level: "info", Message: "ready", Stream: name}}
}

var (
	_ api.Control = (*daemon)(nil)
	_ api.Data    = (*daemon)(nil)
	_ api.Health  = (*daemon)(nil)
	_ api.Events  = (*daemon)(nil)
	_ api.Logs    = (*daemon)(nil)
)

// bundle is a daemon in memory behind a real server on TCP and a unix socket.
type bundle struct {
	d      *daemon
	server *api.Server
	base   string
	socket string
	c      *client.Client // over TCP
	log    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, b...)
	return len(b), nil
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

func setup(t *testing.T, change ...func(*api.Options)) *bundle {
	t.Helper()
	b := &bundle{d: newDaemon(), socket: filepath.Join(t.TempDir(), "h"), log: &lockedBuffer{}}
	o := api.Options{Control: b.d, Data: b.d, Health: b.d, Epoch: "s/1", Events: b.d, Logs: b.d, Listen: "127.0.0.1:0", Socket: b.socket,
		Authenticate: authenticate, Version: "test", Logger: hclog.New(&hclog.LoggerOptions{Output: b.log, Level: hclog.Trace}),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1\n")) }),
		Known: []api.Known{{Err: errFull, Problem: client.Problem{Type: client.TypeDiskFull, Title: "no room", Status: 507}},
			{Err: errNone, Problem: client.Problem{Type: client.TypeNotFound, Title: "there is no such thing", Status: 404}}}}
	for _, f := range change {
		f(&o)
	}
	b.server = api.New(o)
	if err := b.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.base = "http://" + b.server.Addr()
	b.c = client.New(client.Options{Addr: b.base, Token: token})
	t.Cleanup(func() {
		b.c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := b.server.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return b
}

// problem reads a problem of an answer.
func problem(t *testing.T, res *http.Response) client.Problem {
	t.Helper()
	defer res.Body.Close()
	var p client.Problem
	if got := res.Header.Get("Content-Type"); got != client.MediaProblem {
		t.Fatalf("%s: an error as %q", res.Status, got)
	}
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if p.Status != res.StatusCode || p.Type == "" || p.Title == "" {
		t.Fatalf("a problem that says too little: %s %+v", res.Status, p)
	}
	return p
}

// until polls a condition, for far longer than it takes: a busy machine may be
// several times slower.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}
