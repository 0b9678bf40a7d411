package cli

import (
	"fmt"

	"github.com/hubpipe/hubpipe/daemon/config"
)

// unread names the settings that are understood and that nothing reads yet, so
// that nobody waits for what will not come.
func unread(cfg *config.Config) []string {
	var out []string
	say := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Sprintf(format, args...)+" has no effect yet")
		}
	}
	for _, p := range cfg.Portals {
		say(p.Journal != nil, "the journal of portal %s", p.Name)
	}
	return out
}
