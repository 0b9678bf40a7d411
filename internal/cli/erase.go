package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

func (c *command) erase() *cobra.Command {
	return c.talking("erase [STREAM] [RECORD]", "Take away all that is held of a record, for good; without names list what was", func(cmd *cobra.Command, d *client.Client, args []string) error {
		switch len(args) {
		case 0:
			return c.showErasures(cmd, d)
		case 1:
			return usageError("erase takes a stream and the id of a record")
		}
		if err := d.Erase(cmd.Context(), args[0], args[1]); err != nil {
			return err
		}
		fmt.Fprintf(c.env.Stderr, "erased %s of %s; HubSpot's own copy is not touched, and is not taken in again\n", args[1], args[0])
		return nil
	})
}

func (c *command) showErasures(cmd *cobra.Command, d *client.Client) error {
	list, err := d.Erasures(cmd.Context())
	if err != nil {
		return err
	}
	return c.show(map[string]any{"erasures": list}, func(w io.Writer) error {
		rows := [][]string{{"STREAM", "RECORD", "ERASED"}}
		now := time.Now()
		for _, e := range list {
			rows = append(rows, []string{e.Stream, e.Record, moment(e.At, now)})
		}
		return table(w, rows)
	})
}
