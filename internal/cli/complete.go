package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// completePatience bounds what a shell waits for after a tab.
const completePatience = 2 * time.Second

// completes says what a verb that asks a daemon may be called with: the names
// of the streams that the daemon has, and the values of its flags. Where none
// runs nothing is offered, and nothing said.
func (c *command) completes(cmd *cobra.Command) {
	names := strings.Fields(cmd.Use)[1:]
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(names) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		name := strings.Trim(names[len(args)], "[]")
		word, _, _ := strings.Cut(name, "|")
		ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
		defer cancel()
		var found []string
		switch word {
		case "STREAM":
			found = c.ask(func(d *client.Client) []string {
				list, _ := d.Streams(ctx) // what cannot be asked is not offered
				out := make([]string, len(list))
				for i := range list {
					out[i] = list[i].Name + "\t" + list[i].State
				}
				return out
			})
			if strings.HasSuffix(name, "|all") && len(found) > 0 {
				found = append(found, client.All+"\tevery stream")
			}
		case "FILE":
			return nil, cobra.ShellCompDirectiveDefault
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// ask asks the daemon that is configured; nil where there is none.
func (c *command) ask(f func(*client.Client) []string) []string {
	d, err := c.client()
	if err != nil {
		return nil
	}
	defer d.Close()
	return f(d)
}

// offers says what values a flag has.
func offers(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // fails where there is no such flag
}
