package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/metrics"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// serve opens the HTTP API; it comes last, so that what answers is ready.
func (d *Daemon) serve(ctx, own context.Context) error {
	s := api.New(api.Options{Listen: d.o.Config.HTTP.Listen, MaxConnections: d.peers, Socket: d.socket("http.sock"), Authenticate: d.httpLogin, TLS: listenTLS(d.httpTLS),
		AllowedHosts: d.o.Config.HTTP.Hosts, IsHost: func(name string) bool { return d.httpTLS != nil && d.httpTLS.Names(name) },
		Control: apiControl{d}, Data: dataAdapter{Store: d.store, shown: &d.shown, destinations: d.destinations, version: d.o.Version}, Health: d, Events: d.events, Logs: d.events, Webhooks: d, Metrics: metrics.New(d.reading), Version: d.o.Version,
		Epoch: fmt.Sprintf("%s/%d", d.store.ID(), d.store.Epoch()), Logger: d.log.Named("http"),
		Known: knownErrors(), Kept: repeated(d.answers), Keep: d.keepRepeated})
	d.answers = nil // both doors have theirs, and let go of what is too much
	if err := s.Start(ctx); err != nil {
		return err
	}
	d.server = s
	d.events.start(own)
	d.onClose("stop the events", func(context.Context) error { d.events.stop(); return nil })
	addr := s.Addr()
	d.address.Store(&addr)
	d.onClose("stop the API", s.Stop)
	d.publisher.reconnected() // the status now has an address
	return nil
}

// ask reads from the dispatcher on its own goroutine.
func (d *Daemon) ask(ctx context.Context, f func(x *dispatch.Dispatcher, now time.Time) error) error {
	return d.loop.Do(ctx, func(x *dispatch.Dispatcher, now time.Time) ([]dispatch.Out, error) { return nil, f(x, now) })
}

// Streams is how all streams stand.
func (d *Daemon) Streams(ctx context.Context) (out []client.Status, err error) {
	out = []client.Status{}
	err = d.ask(ctx, func(x *dispatch.Dispatcher, now time.Time) error {
		for _, name := range x.Names() {
			v, err := x.View(now, name)
			if err != nil {
				return err
			}
			out = append(out, d.status(v, now))
		}
		return nil
	})
	return out, err
}

// Stream is how one stands.
func (d *Daemon) Stream(ctx context.Context, name string) (out client.Status, err error) {
	err = d.ask(ctx, func(x *dispatch.Dispatcher, now time.Time) error {
		v, err := x.View(now, name)
		if err == nil {
			out = d.status(v, now)
		}
		return err
	})
	return out, err
}

// StartStream begins a stream's schedule.
func (d *Daemon) StartStream(ctx context.Context, name, interval string) (client.Status, error) {
	err := d.loop.Do(ctx, func(x *dispatch.Dispatcher, now time.Time) ([]dispatch.Out, error) {
		return x.Start(now, name, interval, "api")
	})
	if err != nil {
		return client.Status{}, err
	}
	return d.Stream(ctx, name)
}

// StopStream ends a stream's schedule and its runs.
func (d *Daemon) StopStream(ctx context.Context, name string) (client.Status, error) {
	err := d.loop.Do(ctx, func(x *dispatch.Dispatcher, now time.Time) ([]dispatch.Out, error) {
		return x.Stop(now, name, "api")
	})
	if err != nil {
		return client.Status{}, err
	}
	return d.Stream(ctx, name)
}

// Sync makes one run now.
func (d *Daemon) Sync(ctx context.Context, name, record string) (run string, err error) {
	return d.makeRun(ctx, func(x *dispatch.Dispatcher, now time.Time) (string, []dispatch.Out, error) {
		return x.Sync(now, name, record)
	})
}

// Resync reads everything again.
func (d *Daemon) Resync(ctx context.Context, name string) (run string, err error) {
	return d.makeRun(ctx, func(x *dispatch.Dispatcher, now time.Time) (string, []dispatch.Out, error) {
		return x.Resync(now, name)
	})
}

// Reconcile holds everything against HubSpot; accept lets absence end however
// many records.
func (d *Daemon) Reconcile(ctx context.Context, name string, accept bool) (run string, err error) {
	return d.makeRun(ctx, func(x *dispatch.Dispatcher, now time.Time) (string, []dispatch.Out, error) {
		return x.Reconcile(now, name, accept)
	})
}

// makeRun has the dispatcher make a run or join one, and gives its id.
func (d *Daemon) makeRun(ctx context.Context, f func(*dispatch.Dispatcher, time.Time) (string, []dispatch.Out, error)) (run string, err error) {
	err = d.loop.Do(ctx, func(x *dispatch.Dispatcher, now time.Time) (outs []dispatch.Out, err error) {
		run, outs, err = f(x, now)
		return outs, err
	})
	return run, err
}

// Erase takes away all that is held of a record but its id.
func (d *Daemon) Erase(ctx context.Context, name, record string) error {
	return d.loop.Do(ctx, func(x *dispatch.Dispatcher, now time.Time) ([]dispatch.Out, error) {
		return x.Erase(now, name, record)
	})
}

// Erasures lists what was erased.
func (d *Daemon) Erasures(ctx context.Context) ([]client.Erasure, error) {
	list, err := d.store.Erasures()
	if err != nil {
		return nil, err
	}
	destinations := d.destinations.Status(ctx)
	out := make([]client.Erasure, 0, len(list))
	for _, e := range list {
		seqs, err := d.store.Seqs(ctx, e.Stream, []string{e.Record})
		if err != nil {
			return nil, err
		}
		out = append(out, client.Erasure{Stream: e.Stream, Record: e.Record, At: e.At.UTC(), Pending: pending(destinations, e.Stream, seqs[0])})
	}
	return out, nil
}

// Run returns a run, whether it goes on or has ended.
func (d *Daemon) Run(ctx context.Context, id string) (client.Run, error) {
	var open *stream.Run
	if err := d.ask(ctx, func(x *dispatch.Dispatcher, _ time.Time) error { open, _ = x.Run(id); return nil }); err != nil {
		return client.Run{}, err
	}
	if open != nil {
		return *api.RunOf(open), nil
	}
	r, err := d.store.Run(id)
	if err != nil {
		return client.Run{}, err
	}
	return *api.RunOf(r), nil
}

// Runs lists runs, newest first.
func (d *Daemon) Runs(ctx context.Context, q client.RunQuery) ([]client.Run, error) {
	rs, err := d.store.Runs(ctx, q.Stream, stream.RunState(q.State), q.Limit, q.Before)
	out := make([]client.Run, 0, len(rs))
	for _, r := range rs {
		out = append(out, *api.RunOf(r))
	}
	return out, err
}

// Workers lists the workers that were heard of.
func (d *Daemon) Workers(ctx context.Context) (out []client.Worker, err error) {
	out = []client.Worker{}
	err = d.ask(ctx, func(x *dispatch.Dispatcher, _ time.Time) error {
		for _, w := range x.Workers() {
			state := "offline"
			if w.Live {
				state = "online"
			}
			out = append(out, client.Worker{ID: w.ID, Process: w.Process, Version: w.Version, State: state, Portals: w.Portals,
				Capacity: w.Capacity, LastSeen: w.Heard.UTC(), Runs: w.Runs})
		}
		return nil
	})
	return out, err
}

// Live says that the dispatcher works; what it waits for, room on the disk
// too, is Ready's: a restart would not bring it.
func (d *Daemon) Live() error {
	if err := d.loop.Err(); !errors.Is(err, store.ErrFull) {
		return err
	}
	return nil
}

// Ready says why the daemon cannot do its work, nil when it can.
func (d *Daemon) Ready() error {
	if err := d.loop.Err(); err != nil {
		return err
	}
	if st := d.store.Status(); st.Damage != "" {
		return errors.New("the store is damaged: " + st.Damage)
	} else if st.Checking {
		return errors.New("the store is being checked after an unclean end; work goes on meanwhile")
	}
	if !d.bus.session.Connected() {
		return errors.New("the broker cannot be reached")
	}
	if info := d.brokerSays.Load(); info != nil {
		for _, topic := range info.Refused {
			if slices.ContainsFunc(d.bus.subscriptions(), func(s broker.Subscription) bool { return s.Topic == topic }) {
				return fmt.Errorf("the broker refuses the subscription to %s: see its access rules", topic)
			}
		}
	}
	return nil
}

// Shutdown asks for the daemon's end.
func (d *Daemon) Shutdown() {
	if d.o.Shutdown != nil {
		d.o.Shutdown()
	}
}

// apiControl gives the API the daemon under the names of its own interface.
type apiControl struct{ *Daemon }

func (a apiControl) Start(ctx context.Context, name, interval string) (client.Status, error) {
	return a.StartStream(ctx, name, interval)
}

func (a apiControl) Stop(ctx context.Context, name string) (client.Status, error) {
	return a.StopStream(ctx, name)
}

func (a apiControl) Sync(ctx context.Context, name, record string) (client.Run, error) {
	id, err := a.Daemon.Sync(ctx, name, record)
	return a.made(ctx, id, err)
}

func (a apiControl) Resync(ctx context.Context, name string) (client.Run, error) {
	id, err := a.Daemon.Resync(ctx, name)
	return a.made(ctx, id, err)
}

func (a apiControl) Reconcile(ctx context.Context, name string, accept bool) (client.Run, error) {
	id, err := a.Daemon.Reconcile(ctx, name, accept)
	return a.made(ctx, id, err)
}

// made is the run that a command has made or joined.
func (a apiControl) made(ctx context.Context, id string, err error) (client.Run, error) {
	if err != nil {
		return client.Run{}, err
	}
	return a.Run(ctx, id)
}

// status is a view as it travels.
func (d *Daemon) status(v dispatch.View, now time.Time) client.Status {
	s, c := v.Stream, d.store.Counts(v.Config.Name)
	out := client.Status{Name: s.Name, Portal: s.Portal, Object: s.Object, State: v.State, Interval: v.Config.Interval, Cron: v.Config.Cron,
		SetBy: s.SetBy, Records: c.Live, Tombstones: c.Tombstones(), OpenIDs: len(s.Open), Error: wireProblem(v.Error), Failures: s.Fails}
	if n, ok := d.store.Bytes(v.Config.Name); ok {
		out.Bytes = &n
	}
	if s.Interval != "" {
		out.Interval, out.Cron = s.Interval, ""
	}
	out.EffectiveInterval = out.Interval
	stretch(&out, v.Stretched)
	if s.Cursor > 0 {
		lag := max(0, now.UnixMilli()-s.Cursor) / 1000
		out.LagSeconds = &lag
	}
	out.CompleteUntil, out.NextRun = api.MillisOf(s.CompleteUntil()), api.TimeOf(v.Next)
	for _, r := range []*stream.Run{v.Incremental, v.Walk} {
		if r != nil && out.Run == nil {
			out.Run = api.RunOf(r)
			out.Run.Attempt, out.Run.Attempts = r.Fruitless+1, v.Attempts
		}
	}
	if s.Fails > 0 && s.RetryAt.After(now) {
		out.Until = api.TimeOf(s.RetryAt)
	}
	if v.Wait != nil {
		if t, err := time.Parse(time.RFC3339, v.Wait.Until); err == nil {
			out.Until = &t
		}
	}
	if out.Error == nil && v.Wait != nil {
		title := "HubSpot's limits make it wait"
		if v.Wait.Kind == dispatch.StateFailing {
			title = "HubSpot does not answer as it should"
		}
		hint := v.Wait.Hint
		switch {
		case hint != "": // nothing else that is asked for again is for a person to mend
			title = "HubSpot refuses the token"
		default:
			hint = "it goes on by itself at " + v.Wait.Until
		}
		out.Error = &client.Problem{Type: v.Wait.Kind, Title: title, Detail: v.Wait.Reason, Hint: hint}
	}
	if s.LastRun != "" {
		if r, err := d.store.Run(s.LastRun); err == nil && r.State != stream.Running {
			out.LastRun = api.RunOf(r)
		}
	}
	return out
}

func wireProblem(p *stream.Problem) *client.Problem {
	if p == nil {
		return nil
	}
	return &client.Problem{Type: p.Type, Title: p.Title, Detail: p.Detail, Hint: p.Hint}
}

// dataAdapter gives the API the store by the interface it declares.
type dataAdapter struct {
	*store.Store

	shown        *shown
	destinations *destination.Manager
	version      string
}

func (a dataAdapter) Backup(ctx context.Context, w io.Writer) error {
	return a.Store.Backup(ctx, a.version, w)
}

func (a dataAdapter) Shown(name string) string { return a.shown.key(name) }

func (a dataAdapter) Record(name, id string) (*stream.Record, error) {
	r, err := a.Store.Record(name, id)
	if err == nil {
		a.shown.of(name, r)
	}
	return r, err
}

func (a dataAdapter) Records(ctx context.Context, name string, q api.RecordQuery, fn func(*stream.Record) error) (string, error) {
	query := store.Query{After: q.After, Limit: q.Limit, States: q.States, ModifiedSince: q.ModifiedSince}
	return a.Store.Records(ctx, name, query, a.shown.each(name, fn))
}

func (a dataAdapter) Changes(ctx context.Context, name string, since uint64, limit int, fn func(*stream.Record) error) (uint64, error) {
	return a.Store.Changes(ctx, name, since, limit, a.shown.each(name, fn))
}
