package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/budget"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
)

// Portals lists the accounts that are configured or that data was read from.
func (d *Daemon) Portals(ctx context.Context) (out []client.Portal, err error) {
	out = []client.Portal{}
	err = d.ask(ctx, func(x *dispatch.Dispatcher, now time.Time) error {
		for _, p := range x.Portals(now) {
			one := portalOf(p)
			if cfg, ok := d.running.PortalByName(p.Name); (!ok || cfg.Journal == nil) && (p.Journal == nil || !p.Journal.Live) {
				one.Journal = nil // it was read once
			}
			out = append(out, one)
		}
		return nil
	})
	return out, err
}

// portalOf is a portal as it travels.
func portalOf(p dispatch.PortalView) client.Portal {
	out := client.Portal{Name: p.Name, Account: p.Account, TimeZone: p.TimeZone, Currency: p.Currency, Error: wireProblem(p.Problem),
		Limits: client.Limits{Burst: p.Use.Ceiling, BurstUsed: p.BurstUsed, Rate: p.Use.Rate, SearchRate: p.Use.SearchRate, Daily: p.Use.Daily},
		Day:    p.Use.Day, DayEnds: p.DayEnds, UsedToday: p.Used.Sum(), UsedByKind: p.Used.ByKind(), UsedByStream: p.Used,
		Reserve: p.Reserve, Shares: []client.Share{}, Throttled: throttledOf(p.Throttled), Journal: journalOf(p.Journal), RepliesToday: map[string]uint64{}}
	for _, word := range dispatch.ReplyOutcomes() {
		out.RepliesToday[word] = p.Replies[word]
	}
	if p.Use.Ceiling > 0 {
		out.Limits.BurstWindow = config.FormatDuration(time.Duration(p.Use.WindowSeconds * float64(time.Second)))
	}
	if p.Use.Daily > 0 {
		out.Remaining = &p.Use.Remaining
	}
	for _, s := range p.Shares {
		out.Shares = append(out.Shares, client.Share{Kind: string(s.Work), Limit: s.Limit, Used: s.Used, Wanted: s.Wanted, Spent: s.Spent})
	}
	return out
}

// journalOf is a journal as it travels.
func journalOf(j *dispatch.JournalView) *client.Journal {
	if j == nil {
		return nil
	}
	out := &client.Journal{Error: wireProblem(j.Problem)}
	if !j.PulledAt.IsZero() {
		out.PulledAt = &j.PulledAt
	}
	if j.Gap != "" {
		out.Gap, out.GapAt = &j.Gap, &j.GapAt
	}
	return out
}

// stretch puts into a status what the budget makes of its intervals.
func stretch(out *client.Status, stretched []dispatch.Stretched) {
	for _, s := range stretched {
		every := readable(s.Every)
		if s.Work == budget.Incremental {
			out.EffectiveInterval, out.EffectiveReason = every, s.Reason
			continue
		}
		out.Budget = append(out.Budget, fmt.Sprintf("%s every %s: %s", s.Work, every, s.Reason))
	}
}

// readable leaves of a duration what people want to read: 37h, 90m, 1400ms.
func readable(d time.Duration) string {
	for _, grain := range []time.Duration{time.Hour, time.Minute, time.Second} {
		if d >= 10*grain {
			d = d.Round(grain)
			if d < 100*time.Hour && d%time.Hour == 0 {
				return fmt.Sprintf("%dh", d/time.Hour)
			}
			return config.FormatDuration(d)
		}
	}
	return config.FormatDuration(d.Round(100 * time.Millisecond))
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
