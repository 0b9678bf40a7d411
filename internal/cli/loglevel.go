package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// logLevel shows or changes how much a daemon logs.
func (c *command) logLevel() *cobra.Command {
	return c.talking("log-level [LEVEL]", "Show how much the daemon logs, or change it until the next reload or restart",
		func(cmd *cobra.Command, d *client.Client, args []string) error {
			if len(args) > 1 || len(args) == 1 && !slices.Contains(client.LogLevels(), strings.ToLower(args[0])) {
				return usageError("log-level takes trace, debug, info, warn or error, or nothing\n  usage: hubpipe log-level [LEVEL]")
			}
			var now client.LogLevel
			var err error
			if len(args) == 1 {
				now, err = d.SetLogLevel(cmd.Context(), args[0])
			} else {
				now, err = d.LogLevel(cmd.Context())
			}
			if err != nil {
				return err
			}
			return c.show(now, func(w io.Writer) error {
				if now.Level == now.Configured {
					_, err := fmt.Fprintln(w, now.Level)
					return err
				}
				_, err := fmt.Fprintf(w, "%s (configured: %s)\n", now.Level, now.Configured)
				return err
			})
		})
}
