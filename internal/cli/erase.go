package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

func (c *command) erase() *cobra.Command {
	var yes, force bool
	cmd := c.talking("erase [STREAM] [RECORD]", "Take away all that is held of a record, for good; without names list what was", func(cmd *cobra.Command, d *client.Client, args []string) error {
		switch len(args) {
		case 0:
			return c.showErasures(cmd, d)
		case 1:
			return usageError("erase takes a stream and the id of a record")
		}
		if err := holds(cmd.Context(), d, args[0], args[1], force); err != nil {
			return err
		}
		if !yes {
			if sure, err := c.sure(cmd.Context(), "all that is held of %s of %s goes for good, its history and associations too", args[1], args[0]); err != nil || !sure {
				return err
			}
		}
		if err := d.Erase(cmd.Context(), args[0], args[1]); err != nil {
			return err
		}
		fmt.Fprintf(c.env.Stderr, "erased %s of %s; HubSpot's own copy is not touched, and is not taken in again\n", args[1], args[0])
		return nil
	})
	cmd.Long = `Take away all that is held of a record, for good: every version, its history and
its associations. HubSpot's own copy is not touched, and is not taken in again.
Without names it lists what was erased.

On a terminal it asks first; a script is taken at its word. An id that is not held
is refused, since it is most likely another one; --force notes it all the same, so
that the record is never taken in.`
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&force, "force", false, "an id that is not held, too")
	return cmd
}

// holds refuses the id of a record of which nothing is held, unless that is
// meant.
func holds(ctx context.Context, d *client.Client, name, id string, force bool) error {
	_, err := d.Record(ctx, name, id)
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Type == client.TypeUnknownRecord {
		if force {
			return nil
		}
		return &client.Problem{Type: p.Type, Title: "nothing was erased", Detail: fmt.Sprintf("%s holds no record %q", name, id),
			Hint: "look for the id with `hubpipe records " + name + "`; --force erases an id that is not held, so that it is never taken in"}
	}
	return err
}

// sure asks on a terminal whether something is meant; y alone means it. Where
// nobody can be asked it is.
func (c *command) sure(ctx context.Context, format string, args ...any) (bool, error) {
	in := c.keyboard()
	if in == nil {
		return true, nil
	}
	fmt.Fprintf(c.env.Stderr, format+"\ny does it, anything else does not: ", args...)
	line, _ := await(ctx, func() ([]byte, error) { return bufio.NewReader(in).ReadBytes('\n') }) // what could not be read is no y
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if strings.TrimSpace(string(line)) == "y" {
		return true, nil
	}
	fmt.Fprintln(c.env.Stderr, "nothing was done")
	return false, errReported
}

func (c *command) showErasures(cmd *cobra.Command, d *client.Client) error {
	list, err := d.Erasures(cmd.Context())
	if err != nil {
		return err
	}
	return c.show(map[string]any{"erasures": list}, func(w io.Writer) error {
		rows := [][]string{{"STREAM", "RECORD", "ERASED"}}
		still := slices.ContainsFunc(list, func(e client.Erasure) bool { return len(e.Pending) > 0 })
		if still {
			rows[0] = append(rows[0], "STILL IN")
		}
		now := time.Now()
		for _, e := range list {
			row := []string{e.Stream, e.Record, moment(e.At, now)}
			if still {
				row = append(row, strings.Join(e.Pending, ", "))
			}
			rows = append(rows, row)
		}
		return table(w, rows)
	})
}
