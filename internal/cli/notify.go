package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

func (c *command) notify() *cobra.Command {
	cmd := c.talking("notify", "Show whom the daemon tells what is wrong", func(cmd *cobra.Command, d *client.Client, _ []string) error {
		list, err := d.Notifications(cmd.Context())
		if err != nil {
			return err
		}
		return c.show(map[string]any{"notify": list}, func(w io.Writer) error {
			if len(list) == 0 {
				fmt.Fprintln(c.env.Stderr, `nobody: add notify "ops" { webhook = env("SLACK_URL") } to the configuration`)
				return nil
			}
			return notifyTables(w, list)
		})
	})
	cmd.AddCommand(c.talking("test NAME", "Send a message that says that it is a test", func(cmd *cobra.Command, d *client.Client, args []string) error {
		if len(args) != 1 {
			return usageError("notify test takes a name\n  hint: see `hubpipe notify`")
		}
		if err := d.TestNotification(cmd.Context(), args[0]); err != nil {
			return err
		}
		fmt.Fprintf(c.env.Stderr, "the message to %s has arrived\n", args[0])
		return nil
	}))
	return cmd
}

func notifyTables(w io.Writer, list []client.Notification) error {
	now := time.Now()
	rows := [][]string{{"NAME", "ON", "AFTER", "LAST MESSAGE", "PROBLEM"}}
	open := [][]string{{"NAME", "KIND", "OF", "SINCE", "TOLD", "WHAT"}}
	for _, n := range list {
		sent, problem := "-", n.Problem
		if n.Sent != nil {
			sent = moment(*n.Sent, now)
		}
		if n.Failed > 0 {
			problem = fmt.Sprintf("%d messages could not be sent", n.Failed)
		}
		rows = append(rows, []string{n.Name, strings.Join(n.On, ","), n.After, sent, problem})
		for _, e := range n.Open {
			told := "no"
			if e.Told {
				told = "yes"
			}
			open = append(open, []string{n.Name, e.Kind, e.Subject, moment(e.Since, now), told, e.Title})
		}
	}
	if len(open) == 1 {
		return tables(w, rows)
	}
	return tables(w, rows, open)
}
