package metrics

import "github.com/hubpipe/hubpipe/daemon/dispatch"

func portalRows() []row {
	one := []string{"portal"}
	// What HubSpot has not named is 0, and left out.
	of := func(f func(*dispatch.PortalView) float64) func(*Reading, func(float64, ...string)) {
		return func(r *Reading, put func(float64, ...string)) {
			for i := range r.Portals {
				if v := f(&r.Portals[i]); v != 0 {
					put(v, r.Portals[i].Name)
				}
			}
		}
	}
	always := func(f func(*dispatch.PortalView) float64) func(*Reading, func(float64, ...string)) {
		return func(r *Reading, put func(float64, ...string)) {
			for i := range r.Portals {
				put(f(&r.Portals[i]), r.Portals[i].Name)
			}
		}
	}
	shares := func(f func(dispatch.ShareView) int64) func(*Reading, func(float64, ...string)) {
		return func(r *Reading, put func(float64, ...string)) {
			for _, p := range r.Portals {
				for _, s := range p.Shares {
					put(float64(f(s)), p.Name, string(s.Work))
				}
			}
		}
	}
	return []row{
		{"hubpipe_hubspot_requests_total", counter, "Requests to HubSpot by stream and kind of work, as its workers report them. Begins at zero at the portal's midnight, and is kept over restarts.", []string{"portal", "stream", "kind"},
			func(r *Reading, put func(float64, ...string)) {
				for _, p := range r.Portals {
					for stream, kinds := range p.Used {
						for kind, n := range kinds {
							put(float64(n), p.Name, stream, kind)
						}
					}
				}
			}},
		{"hubpipe_hubspot_replies_total", counter, "What came of the requests to HubSpot: ok, limited (429), refused (another 4xx) or failed (5xx, no reply, or one that cannot be read). Begins at zero at the portal's midnight, and is kept over restarts.", []string{"portal", "outcome"},
			func(r *Reading, put func(float64, ...string)) {
				for _, p := range r.Portals {
					for _, outcome := range dispatch.ReplyOutcomes() {
						put(float64(p.Replies[outcome]), p.Name, outcome)
					}
				}
			}},
		{"hubpipe_portal_used_today_requests", gauge, "Requests of the portal's day that hubpipe has made.", one,
			always(func(p *dispatch.PortalView) float64 { return float64(p.Used.Sum()) })},
		{"hubpipe_portal_daily_limit_requests", gauge, "HubSpot's limit of a day. Absent where HubSpot names none.", one,
			of(func(p *dispatch.PortalView) float64 { return float64(p.Use.Daily) })},
		{"hubpipe_portal_remaining_requests", gauge, "What is left of the day's limit for everybody who asks the portal. Absent where HubSpot names none.", one,
			func(r *Reading, put func(float64, ...string)) {
				for _, p := range r.Portals {
					if p.Use.Daily > 0 {
						put(float64(p.Use.Remaining), p.Name)
					}
				}
			}},
		{"hubpipe_portal_day_ends_timestamp_seconds", gauge, "The portal's next midnight, at which the day's limit begins anew.", one,
			always(func(p *dispatch.PortalView) float64 { return unix(p.DayEnds) })},
		{"hubpipe_portal_reserve_ratio", gauge, "Share of the day's limit that is left to others, 0 to 1.", one,
			always(func(p *dispatch.PortalView) float64 { return p.Reserve })},
		{"hubpipe_portal_share_limit_requests", gauge, "What a kind of work may use of the day's limit.", []string{"portal", "kind"},
			shares(func(s dispatch.ShareView) int64 { return s.Limit })},
		{"hubpipe_portal_share_used_requests", gauge, "What a kind of work has used of it.", []string{"portal", "kind"},
			shares(func(s dispatch.ShareView) int64 { return s.Used })},
		{"hubpipe_portal_burst_limit_requests", gauge, "Requests that HubSpot lets through in one window. Absent before HubSpot names it.", one,
			of(func(p *dispatch.PortalView) float64 { return float64(p.Use.Ceiling) })},
		{"hubpipe_portal_burst_used_requests", gauge, "Requests of that limit that are used of the window until now, by all who use the account, as far as HubSpot has said.", one,
			always(func(p *dispatch.PortalView) float64 { return float64(p.BurstUsed) })},
		{"hubpipe_portal_burst_window_seconds", gauge, "How long that window is.", one,
			of(func(p *dispatch.PortalView) float64 { return p.Use.WindowSeconds })},
		{"hubpipe_portal_pace_requests_per_second", gauge, "How fast requests are made at most now: all of them, and those of search among them.", []string{"portal", "of"},
			func(r *Reading, put func(float64, ...string)) {
				for _, p := range r.Portals {
					if p.Use.Rate > 0 {
						put(p.Use.Rate, p.Name, "all")
					}
					if p.Use.SearchRate > 0 {
						put(p.Use.SearchRate, p.Name, "search")
					}
				}
			}},
		{"hubpipe_portal_throttled", gauge, "1 while HubSpot's limits let nothing through, or no search.", one,
			always(func(p *dispatch.PortalView) float64 { return bit(p.Throttled != nil) })},
		{"hubpipe_portal_blocked", gauge, "1 while nothing can be read from the portal until a person acts: a bad token, another account.", one,
			always(func(p *dispatch.PortalView) float64 { return bit(p.Problem != nil) })},
		{"hubpipe_portal_journal_pulled_timestamp_seconds", gauge, "When HubSpot last said what is in its journal of the portal's changes, to the minute. Absent where none was read.", one,
			of(func(p *dispatch.PortalView) float64 {
				if p.Journal == nil || p.Journal.PulledAt.IsZero() {
					return 0
				}
				return unix(p.Journal.PulledAt)
			})},
	}
}
