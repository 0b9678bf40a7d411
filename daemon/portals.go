package daemon

import (
	"context"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
)

// Portals lists the accounts that are configured or that data was read from.
func (d *Daemon) Portals(ctx context.Context) (out []client.Portal, err error) {
	out = []client.Portal{}
	err = d.ask(ctx, func(x *dispatch.Dispatcher, now time.Time) error {
		for _, p := range x.Portals(now) {
			out = append(out, portalOf(p))
		}
		return nil
	})
	return out, err
}

// portalOf is a portal as it travels.
func portalOf(p dispatch.PortalView) client.Portal {
	out := client.Portal{Name: p.Name, Account: p.Account, TimeZone: p.TimeZone, Currency: p.Currency, Error: wireProblem(p.Problem),
		Limits: client.Limits{Burst: p.Use.Ceiling, Rate: p.Use.Rate, SearchRate: p.Use.SearchRate, Daily: p.Use.Daily},
		Day:    p.Use.Day, DayEnds: p.DayEnds, UsedToday: p.Used.Sum(), UsedByKind: p.Used.ByKind(), UsedByStream: p.Used,
		Throttled: throttledOf(p.Throttled)}
	if p.Use.Ceiling > 0 {
		out.Limits.BurstWindow = config.FormatDuration(time.Duration(p.Use.WindowSeconds * float64(time.Second)))
	}
	if p.Use.Daily > 0 {
		out.Remaining = &p.Use.Remaining
	}
	return out
}

func throttledOf(w *protocol.Wait) *client.Throttled {
	if w == nil {
		return nil
	}
	out := &client.Throttled{Reason: w.Reason}
	if until, err := time.Parse(time.RFC3339, w.Until); err == nil {
		out.Until = &until
	}
	return out
}
