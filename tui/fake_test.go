package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// noon is the time in these tests.
var noon = time.Date(2026, 11, 23, 12, 4, 30, 0, time.UTC)

// fake is a daemon in memory.
type fake struct {
	mu     sync.Mutex
	err    error
	calls  []string
	runs   []client.Run
	listed []client.Status
	asked  func() // while runs are asked for
}

func (f *fake) call(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fake) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Clone(f.calls)
	slices.Sort(out)
	return out
}

func (f *fake) Addr() string                  { return "127.0.0.1:8377" }
func (f *fake) Healthy(context.Context) error { return f.err }

func (f *fake) Streams(context.Context) ([]client.Status, error)           { return f.listed, f.err }
func (f *fake) Workers(context.Context) ([]client.Worker, error)           { return nil, f.err }
func (f *fake) Portals(context.Context) ([]client.Portal, error)           { return nil, f.err }
func (f *fake) Figures(context.Context) (client.Figures, error)            { return client.Figures{}, f.err }
func (f *fake) Destinations(context.Context) ([]client.Destination, error) { return nil, f.err }
func (f *fake) PauseDestination(_ context.Context, name string) (client.Destination, error) {
	d := someDestinations()[0]
	d.Name, d.State = name, client.DestinationPaused
	return d, f.call("pause %s", name)
}
func (f *fake) ResumeDestination(_ context.Context, name string) (client.Destination, error) {
	d := someDestinations()[0]
	d.Name, d.State = name, client.DestinationRunning
	return d, f.call("resume %s", name)
}
func (f *fake) ResyncDestination(_ context.Context, name, streamName string) (client.Destination, error) {
	return client.Destination{}, f.call("rewrite %s %s", name, streamName)
}
func (f *fake) Runs(_ context.Context, q client.RunQuery) ([]client.Run, error) {
	if f.asked != nil {
		f.asked()
	}
	return f.runs, f.call("runs %s %d", q.Stream, q.Limit)
}
func (f *fake) Logs(context.Context, string, string, int) ([]client.Line, error) { return nil, f.err }
func (f *fake) Start(_ context.Context, name, _ string) (client.Status, error) {
	return client.Status{Name: name, State: client.StateWaiting}, f.call("start %s", name)
}
func (f *fake) Stop(_ context.Context, name string) (client.Status, error) {
	return client.Status{Name: name, State: client.StateStopped}, f.call("stop %s", name)
}
func (f *fake) Sync(_ context.Context, name, _ string) (string, error) {
	return "r1", f.call("sync %s", name)
}
func (f *fake) Resync(_ context.Context, name string) (string, error) {
	return "r1", f.call("resync %s", name)
}
func (f *fake) Reconcile(_ context.Context, name string, _ bool) (string, error) {
	return "r1", f.call("reconcile %s", name)
}
func (f *fake) Shutdown(context.Context) error              { return f.call("shutdown") }
func (f *fake) Reload(context.Context) (client.Plan, error) { return client.Plan{}, f.call("reload") }

// bench is a dashboard without a terminal.
type bench struct {
	*model
	f   *fake
	now time.Time
}

// tester is what of a test these helpers need; a property has it too.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
}

func newBench(t tester, w, h int) *bench {
	t.Helper()
	return newBenchWith(t, w, h, Options{})
}

func newBenchWith(t tester, w, h int, o Options) *bench {
	t.Helper()
	o.Version, o.Blocks = "devel", true
	b := &bench{f: &fake{}, now: noon}
	feed := newFeed(b.f, nil, func() time.Time { return b.now })
	spawn := func(f func(context.Context) tea.Msg) tea.Cmd {
		return func() tea.Msg { return f(context.Background()) }
	}
	b.model = newModel(o, b.f, feed, spawn, func() time.Time { return b.now })
	b.Update(tea.WindowSizeMsg{Width: w, Height: h})
	return b
}

// connect gives it a whole picture.
func (b *bench) connect(ss ...client.Status) *bench {
	b.take(news{at: b.now, link: &link{up: true, since: b.now}})
	b.take(news{at: b.now, daemon: &client.Daemon{State: "online", Version: "devel", Started: b.now.Add(-3*time.Hour - 12*time.Minute)},
		whole: &snapshot{at: b.now, streams: ss, workers: someWorkers(), portals: somePortals(), runs: someRuns(), lines: someLines(),
			figures: &client.Figures{StoreBytes: 412 << 20, FreeBytes: 80 << 30, BrokerConnections: new(5)}}})
	b.settle()
	return b
}

// press types keys and does what comes of it, but for what waits.
func (b *bench) press(keys ...string) {
	for _, k := range keys {
		_, cmd := b.Update(keyOf(k))
		b.do(cmd)
	}
}

func (b *bench) do(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case resultMsg, destinationMsg:
		b.Update(msg)
	}
}

func keyOf(name string) tea.KeyPressMsg {
	codes := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "space": tea.KeySpace, "tab": tea.KeyTab, "up": tea.KeyUp, "down": tea.KeyDown,
		"backspace": tea.KeyBackspace, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "right": tea.KeyRight, "left": tea.KeyLeft, "home": tea.KeyHome, "end": tea.KeyEnd}
	if c, ok := codes[name]; ok {
		k := tea.KeyPressMsg{Code: c}
		if name == "space" {
			k.Text = " "
		}
		return k
	}
	if len(name) > 1 && name[0] == 'f' {
		return tea.KeyPressMsg{Code: tea.KeyF1 + rune(name[1]-'1')}
	}
	if name == "shift+tab" {
		return tea.KeyPressMsg{Code: tea.KeyTab, Mod: tea.ModShift}
	}
	if len(name) > 5 && name[:5] == "ctrl+" {
		return tea.KeyPressMsg{Code: rune(name[5]), Mod: tea.ModCtrl}
	}
	r := []rune(name)[0]
	return tea.KeyPressMsg{Code: r, Text: name}
}

func at(d time.Duration) *time.Time {
	t := noon.Add(d)
	return &t
}

func stream(name, state string, records uint64) client.Status {
	return client.Status{Name: name, Portal: "main", Object: name, State: state, Interval: "5m", EffectiveInterval: "5m", SetBy: "file",
		Records: records, Bytes: new(records * 230), LagSeconds: new(int64(180)), CompleteUntil: at(-3 * time.Minute), NextRun: at(130 * time.Second)}
}

// everyState is a stream of each state, as they come.
func everyState() []client.Status {
	contacts := stream("contacts", client.StateRunning, 182340)
	contacts.LagSeconds, contacts.NextRun = new(int64(4)), nil
	contacts.Run = &client.Run{ID: "r8f2c", Stream: "contacts", Kind: "incremental", State: "running", Started: noon.Add(-51 * time.Second), Records: 10812, Pages: 108, Requests: 109,
		Attempt: 2, Attempts: 5}
	companies := stream("companies", client.StateRunning, 41007)
	companies.Run = &client.Run{ID: "r8f2d", Stream: "companies", Kind: "reconcile", State: "running", Started: noon.Add(-20 * time.Second), Pages: 41, Requests: 41,
		Report: []byte(`{"checked":8201}`)}
	deals := stream("deals", client.StateBlocked, 12880)
	deals.LagSeconds, deals.NextRun, deals.Until = new(int64(8040)), nil, at(41*time.Second)
	deals.Error = &client.Problem{Type: "missing-scope", Title: "403 missing scope", Detail: "crm.objects.deals.read is not granted to the private app of account 4711001",
		Hint: "add the scope to the private app, then press s to try at once"}
	deals.Failures = 7
	deals.LastRun = &client.Run{ID: "r8e91", Stream: "deals", Kind: "incremental", State: "failed", Started: noon.Add(-2 * time.Minute), Ended: at(-119 * time.Second), Requests: 1}
	tickets := stream("tickets", client.StateThrottled, 9412)
	tickets.Until, tickets.Error = at(7*time.Second), &client.Problem{Type: "throttled", Title: "HubSpot's limits make it wait", Detail: "ten_secondly_rolling", Hint: "it goes on by itself"}
	calls := stream("calls", client.StateFailing, 77310)
	calls.Until, calls.Error = at(9*time.Second), &client.Problem{Type: "failing", Title: "HubSpot does not answer", Detail: "502 Bad Gateway", Hint: "nothing: it tries again"}
	quotes := stream("quotes", client.StateStopped, 0)
	quotes.LagSeconds, quotes.NextRun, quotes.CompleteUntil, quotes.SetBy = nil, nil, nil, "api"
	emails := stream("emails", client.StateWaiting, 310442)
	emails.EffectiveInterval, emails.EffectiveReason = "9m", "daily limit"
	emails.LastRun = &client.Run{ID: "r8e90", Stream: "emails", Kind: "incremental", State: "done", Started: noon.Add(-4 * time.Minute), Ended: at(-3 * time.Minute), Records: 310, Pages: 4, Requests: 4}
	owners := stream("owners", client.StateWaiting, 64)
	owners.Interval, owners.EffectiveInterval, owners.Cron = "", "", "0 * * * *"
	return []client.Status{contacts, companies, deals, tickets, calls, quotes, emails, owners}
}

func someRuns() []client.Run {
	var out []client.Run
	for i := range 10 {
		end := noon.Add(-time.Duration(i) * time.Minute)
		out = append(out, client.Run{ID: fmt.Sprintf("r8e%02d", 80-i), Stream: "contacts", Kind: "incremental", State: "done", Started: end.Add(-30 * time.Second), Ended: &end,
			Records: uint64(1000 * (i + 1)), Pages: uint64(10 * (i + 1)), Requests: uint64(11 * (i + 1))})
	}
	return out
}

func someWorkers() []client.Worker {
	return []client.Worker{{ID: "up", State: client.WorkerOnline, Version: "devel", Capacity: 8, Portals: []string{"main"}, Runs: []string{"r8f2c", "r8f2d"}},
		{ID: "berlin-2", State: client.WorkerOffline, Version: "devel", Capacity: 8, Portals: []string{"main"}, LastSeen: noon.Add(-2 * time.Hour)}}
}

func somePortals() []client.Portal {
	remaining := int64(442660)
	return []client.Portal{{Name: "main", Account: 4711001, TimeZone: "Europe/Berlin", Limits: client.Limits{Burst: 190, BurstUsed: 112, BurstWindow: "10s", Rate: 18, SearchRate: 4, Daily: 625000},
		Day: "2026-11-23", DayEnds: noon.Add(11 * time.Hour), UsedToday: 182340, Remaining: &remaining, Reserve: 0.2,
		RepliesToday: map[string]uint64{"ok": 182300, "limited": 2, "failed": 31, "refused": 7},
		UsedByStream: map[string]map[string]uint64{"contacts": {"incremental": 1204}, "deals": {"incremental": 9}},
		Shares:       []client.Share{{Kind: "incremental", Limit: 500000, Used: 182000, Wanted: 129600}, {Kind: "reconcile", Limit: 300, Used: 300, Wanted: 900, Spent: "its share of the day is used"}}}}
}

func someDestinations() []client.Destination {
	lag := int64(3)
	late := int64(5400)
	return []client.Destination{
		{Name: "lake", Kind: "parquet", Target: "s3://crm-lake/hubspot", State: client.DestinationPaused, LagSeconds: &late, Behind: 12400, RowsWritten: 4100000, LastCommit: at(-90 * time.Minute)},
		{Name: "warehouse", Kind: "postgres", Target: "db.example:5432/crm, schema hubspot", State: client.DestinationRunning, LagSeconds: &lag, Behind: 312, RowsWritten: 633210,
			LastCommit: at(-2 * time.Second), Streams: []client.DestinationStream{
				{Stream: "contacts", Table: "contacts", Position: 90, Head: 100, Behind: 312, RowsWritten: 182340},
				{Stream: "deals", Table: "deals", RowsWritten: 12880, Unparsed: 3},
				{Stream: "emails", Table: "emails", RowsWritten: 310442, Reread: &client.Reread{Reason: client.RereadColumns, Position: 40, Until: 100}}}}}
}

// failing has a destination that does not work.
func failingDestination() client.Destination {
	d := someDestinations()[1]
	d.State, d.Failures, d.NextTry = client.DestinationFailing, 4, at(9*time.Second)
	d.Error = &client.Problem{Title: "the warehouse cannot be reached", Detail: "connection refused at db.example:5432", Hint: "see whether it runs and lets this machine in"}
	return d
}

func someLines() []client.Line {
	return []client.Line{
		{Time: noon.Add(-3 * time.Second), Level: "info", Name: "hubpipe.worker", Message: "the attempt ends", Stream: "contacts", Fields: map[string]string{"reason": "done", "attempt": "11"}},
		{Time: noon.Add(-2 * time.Second), Level: "warn", Name: "hubpipe.worker", Message: "HubSpot asks for patience", Stream: "tickets", Fields: map[string]string{"until": "12:04:37Z"}},
		{Time: noon.Add(-time.Second), Level: "error", Name: "hubpipe", Message: "a line with \x1b[31mcodes\x07 in it\nand a break", Stream: "deals"},
		{Time: noon, Level: "debug", Name: "hubpipe.http", Message: "request"},
	}
}

var errRefused = errors.New("the daemon cannot be reached at 127.0.0.1:8377: connection refused")

// lose takes the daemon away.
func (b *bench) lose() {
	b.take(news{at: b.now, link: &link{since: b.now, next: b.now.Add(4 * time.Second), tries: 5, problem: errRefused}})
	b.now = b.now.Add(42 * time.Second)
	b.model.link.next = b.now.Add(4 * time.Second)
	b.Update(tickMsg(b.now))
}
