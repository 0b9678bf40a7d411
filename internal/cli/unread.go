package cli

import (
	"fmt"

	"github.com/hubpipe/hubpipe/daemon/config"
)

// blockOAuth blocks the portals that would need a way in that is not spoken
// yet, and says which.
func blockOAuth(cfg *config.Config) []string {
	var out []string
	for i := range cfg.Portals {
		if p := &cfg.Portals[i]; p.OAuth != nil && p.Problem == "" {
			p.Problem = "oauth is not spoken yet; give the portal a token of a private app or service key"
			out = append(out, "portal "+p.Name+" is blocked: "+p.Problem)
		}
	}
	return out
}

// unread names the settings that are understood and that nothing reads yet, so
// that nobody waits for what will not come.
func unread(cfg *config.Config) []string {
	var out []string
	say := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Sprintf(format, args...)+" has no effect yet")
		}
	}
	say(cfg.Broker.Changes, "broker { changes }")
	for _, d := range cfg.Destinations {
		say(true, "destination %q %q", d.Type, d.Name)
	}
	for _, p := range cfg.Portals {
		say(p.Journal != nil, "the journal of portal %s", p.Name)
		say(p.Webhook != nil, "the webhook of portal %s", p.Name)
		say(p.DailyReserve != config.DefaultDailyReserve, "daily_reserve of portal %s", p.Name)
	}
	for _, s := range cfg.Streams {
		say(len(s.History) > 0, "history of stream %s", s.Name)
	}
	return out
}
