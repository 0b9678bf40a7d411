package daemon

import (
	"context"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/budget"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// reread reads the configuration as it now is.
func (d *Daemon) reread() (*config.Config, []dispatch.StreamConfig, error) {
	if d.o.Reload == nil {
		return nil, nil, &stream.Problem{Type: "no-configuration", Title: "there is no configuration to read again", Status: 409}
	}
	c, err := d.o.Reload()
	if err != nil {
		return nil, nil, &stream.Problem{Type: client.TypeBadConfiguration, Title: "the configuration is wrong; the old one stays", Status: 409,
			Detail: err.Error(), Hint: "see `hubpipe check`"}
	}
	streams, err := streamConfigs(c)
	return c, streams, err
}

// Plan says what a reload would do now.
func (d *Daemon) Plan(ctx context.Context) (plan client.Plan, err error) {
	next, streams, err := d.reread()
	if err != nil {
		return plan, err
	}
	read, err := d.certificatesOf(next)
	if err != nil {
		return plan, err
	}
	err = d.ask(ctx, func(x *dispatch.Dispatcher, now time.Time) error {
		plan = d.planOf(x, now, next, read, streams)
		return nil
	})
	return plan, err
}

// Reload takes over the configuration as it now is, and says what that does. All
// of it takes effect, or nothing: the certificates are read before the dispatcher
// is asked, and count once it has agreed. One that comes meanwhile waits, so that
// none takes over what was read before another's.
func (d *Daemon) Reload(ctx context.Context) (plan client.Plan, err error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	next, streams, err := d.reread()
	if err != nil {
		return plan, err
	}
	read, err := d.certificatesOf(next)
	if err != nil {
		return plan, err
	}
	err = d.loop.Do(ctx, func(x *dispatch.Dispatcher, now time.Time) ([]dispatch.Out, error) {
		plan = d.planOf(x, now, next, read, streams)
		outs, err := x.Reload(now, streams)
		if err == nil {
			d.running = next
			d.shown.choose(streams)
			d.setAccess(next, read)
		}
		return outs, err
	})
	if err != nil {
		return client.Plan{}, err
	}
	d.notifier.set(next)
	d.destinations.Set(destinationSpecs(next)) //nolint:contextcheck // destinations live in the manager's
	d.tellKept(d.destinations.Keeps())
	d.configureLog(next.Log.Level)
	d.tell(plan)
	if d.o.TakenOver != nil {
		d.o.TakenOver(next)
	}
	return plan, nil
}

// tell writes into the log what a reload has done.
func (d *Daemon) tell(plan client.Plan) {
	for _, p := range plan.Portals {
		d.log.Info("a portal is configured otherwise", "portal", p.Portal, "change", p.Change, "settings", p.Settings)
	}
	for _, s := range plan.Streams {
		log := d.log.With("stream", s.Stream)
		log.Info("a stream is configured otherwise", "change", s.Change, "settings", s.Settings, "notes", s.Notes)
		for _, w := range s.Work {
			args := []any{"work", w.Work, "reason", w.Reason}
			if w.Requests != nil {
				args = append(args, "requests", *w.Requests)
			}
			log.Info("what has to be read is read", args...)
		}
	}
	if len(plan.Settings) > 0 {
		d.log.Info("other settings are taken over", "settings", plan.Settings)
	}
	if len(plan.Restart) > 0 {
		d.log.Warn("settings wait for a restart", "settings", plan.Restart)
	}
}

// planOf holds a configuration against the one that is running. It is called on
// the dispatcher's goroutine, which owns d.running.
func (d *Daemon) planOf(x *dispatch.Dispatcher, now time.Time, next *config.Config, read certificates, streams []dispatch.StreamConfig) client.Plan {
	plan := client.Plan{Config: next.Path, Portals: d.portalChanges(next), Streams: []client.PlannedStream{},
		Settings: append(takenOver(d.o.Config, d.running, next), d.renewed(read)...),
		Restart:  differing(settingsOfProcess(d.o.Config), settingsOfProcess(next))}
	uses := map[string]stream.Usage{}
	for _, p := range x.Portals(now) {
		uses[p.Name] = p.Use
	}
	before, after := byName(d.running), byName(next)
	for _, c := range x.Plan(streams) {
		s := client.PlannedStream{Stream: c.Stream, Portal: c.Portal, Object: c.Object, Change: client.ChangeChanged,
			Work: []client.PlannedWork{}, Settings: []string{}, Notes: append([]string{}, c.Notes...)}
		switch c.Kind {
		case dispatch.ChangeNew:
			s.Change = client.ChangeNew
		case dispatch.ChangeRemoved:
			s.Change = client.ChangeRemoved
		case dispatch.ChangeRefused:
			s.Change = client.ChangeRefused
		case dispatch.ChangeKept:
			if was, ok := before[c.Stream]; ok {
				s.Settings = differing(settingsOf(was), settingsOf(after[c.Stream]))
			}
			if len(s.Settings)+len(c.Works) == 0 {
				continue
			}
		}
		for _, w := range c.Works {
			one := costOf(c, w)
			one.Cost(uses[c.Portal].Rate, uses[c.Portal].Daily, budget.Share(budget.Work(w.Kind)))
			s.Work = append(s.Work, one)
		}
		plan.Streams = append(plan.Streams, s)
	}
	return plan
}

func byName(c *config.Config) map[string]config.Stream {
	out := make(map[string]config.Stream, len(c.Streams))
	for _, s := range c.Streams {
		out[s.Name] = s
	}
	return out
}

// costOf reckons what a work costs from what the store has of the stream. Of
// what is new, and of rows, nobody has counted anything.
func costOf(c dispatch.Change, w dispatch.Work) client.PlannedWork {
	out := client.PlannedWork{Work: string(w.Kind), Reason: w.Reason}
	if !c.OfCRM || w.Cause == dispatch.CauseNew {
		return out
	}
	records, requests := c.Size.Records, budget.ReconcileWalk(c.Size)
	switch w.Cause {
	case dispatch.CauseProperties:
		requests, out.Bound = budget.Reread(c.Size), client.AtMost // should every record differ
		if w.Kind == stream.Fill {
			requests = budget.FillAtMost(c.Size, int64(w.New))
		}
	case dispatch.CauseAssociations:
		requests = budget.AssociationSweep(c.Size)
	case dispatch.CauseHistory:
		requests = budget.HistoryWalk(c.Size)
	case dispatch.CauseStart:
		out.Bound = client.AtLeast // and a request for each hundred that it finds
	case dispatch.CauseNew:
	}
	out.Records, out.Requests = &records, &requests
	return out
}

// portalChanges says which portals differ.
func (d *Daemon) portalChanges(next *config.Config) []client.PlannedPortal {
	out := []client.PlannedPortal{}
	for _, p := range next.Portals {
		was, ok := d.running.PortalByName(p.Name)
		if !ok {
			out = append(out, client.PlannedPortal{Portal: p.Name, Change: client.ChangeNew, Settings: []string{}})
			continue
		}
		if diff := differing(settingsOfPortal(was), settingsOfPortal(p)); len(diff) > 0 {
			out = append(out, client.PlannedPortal{Portal: p.Name, Change: client.ChangeChanged, Settings: diff})
		}
	}
	for _, p := range d.running.Portals {
		if _, ok := next.PortalByName(p.Name); !ok {
			out = append(out, client.PlannedPortal{Portal: p.Name, Change: client.ChangeRemoved, Settings: []string{}})
		}
	}
	return out
}
