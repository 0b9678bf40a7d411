package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
)

func (c *command) destinations() *cobra.Command {
	cmd := c.talking("destinations [NAME]", "Show how the warehouses stand that follow the change feed", func(cmd *cobra.Command, d *client.Client, args []string) error {
		if len(args) == 1 {
			x, err := d.Destination(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.show(x, func(w io.Writer) error { return destinationStreams(w, x, time.Now()) })
		}
		list, err := d.Destinations(cmd.Context())
		if err != nil {
			return err
		}
		if list == nil {
			list = []client.Destination{}
		}
		return c.show(map[string]any{"destinations": list}, func(w io.Writer) error {
			if len(list) == 0 {
				fmt.Fprintln(c.env.Stderr, `there are none: add destination "postgres" "warehouse" { url = env("WAREHOUSE_URL") } to the configuration`)
				return nil
			}
			return destinationTable(w, list, time.Now())
		})
	})
	cmd.AddCommand(
		c.toDestination("pause NAME", "Keep one from writing, until it is resumed", func(cmd *cobra.Command, d *client.Client, name, _ string) (client.Destination, error) {
			return d.PauseDestination(cmd.Context(), name)
		}),
		c.toDestination("resume NAME", "Let one go on, or try again at once", func(cmd *cobra.Command, d *client.Client, name, _ string) (client.Destination, error) {
			return d.ResumeDestination(cmd.Context(), name)
		}),
		c.toDestination("resync NAME [STREAM]", "Write every row of a stream, or of all, again", func(cmd *cobra.Command, d *client.Client, name, streamName string) (client.Destination, error) {
			return d.ResyncDestination(cmd.Context(), name, streamName)
		}),
		c.talking("check NAME", "Hold a destination's tables against the store, value by value", func(cmd *cobra.Command, d *client.Client, args []string) error {
			x, err := d.CheckDestination(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := c.show(x, func(w io.Writer) error { return checkTable(w, x) }); err != nil {
				return err
			}
			if !x.Equal {
				return errReported
			}
			return nil
		}),
		c.warehouseSQL(),
	)
	return cmd
}

// toDestination makes a sub-verb that does something to one, and prints how it
// stands then.
func (c *command) toDestination(use, short string, do func(cmd *cobra.Command, d *client.Client, name, streamName string) (client.Destination, error)) *cobra.Command {
	return c.talking(use, short, func(cmd *cobra.Command, d *client.Client, args []string) error {
		streamName := ""
		if len(args) == 2 {
			streamName = args[1]
		}
		x, err := do(cmd, d, args[0], streamName)
		if err != nil {
			return err
		}
		return c.show(x, func(w io.Writer) error { return destinationTable(w, []client.Destination{x}, time.Now()) })
	})
}

func destinationTable(w io.Writer, list []client.Destination, now time.Time) error {
	rows := [][]string{{"DESTINATION", "KIND", "STATE", "BEHIND", "LAG", "ROWS", "LAST WRITE", "PROBLEM"}}
	var p problems
	for _, d := range list {
		lag, last := "-", "-"
		if d.LagSeconds != nil {
			lag = config.FormatDuration(time.Duration(*d.LagSeconds) * time.Second)
		}
		if d.LastCommit != nil {
			last = moment(*d.LastCommit, now)
		}
		rows = append(rows, []string{d.Name, d.Kind, d.State, fmt.Sprint(d.Behind), lag, fmt.Sprint(d.RowsWritten), last, p.add(d.Error, d.Name)})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, d := range list {
		if d.NextTry != nil {
			if _, err := fmt.Fprintf(w, "%s is tried again at %s\n", d.Name, moment(*d.NextTry, now)); err != nil {
				return fmt.Errorf("write a table: %w", err)
			}
		}
	}
	return p.write(w)
}

func destinationStreams(w io.Writer, d client.Destination, now time.Time) error {
	if err := destinationTable(w, []client.Destination{d}, now); err != nil {
		return err
	}
	rows := [][]string{{"STREAM", "TABLE", "POSITION", "HEAD", "BEHIND", "ROWS", "UNPARSED", "REREADING", "PROBLEM"}}
	var p problems
	for _, s := range d.Streams {
		reread := "-"
		if s.Reread != nil {
			reread = fmt.Sprintf("%s, %d of %d", s.Reread.Reason, s.Reread.Position, s.Reread.Until)
			if s.Reread.Anew > 0 {
				reread += fmt.Sprintf(", begun %d times", s.Reread.Anew+1)
			}
		}
		rows = append(rows, []string{s.Stream, s.Table, fmt.Sprint(s.Position), fmt.Sprint(s.Head), fmt.Sprint(s.Behind), fmt.Sprint(s.RowsWritten),
			fmt.Sprint(s.Unparsed), reread, p.add(cmp.Or(s.Error, s.Untidy), s.Stream)})
	}
	if _, err := fmt.Fprintf(w, "\nit writes to %s\n", clean(d.Target)); err != nil {
		return fmt.Errorf("write a table: %w", err)
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, s := range d.Streams {
		said := ""
		if s.VersionsLost > 0 {
			said = fmt.Sprintf("dropped %d versions of %s that %s had not read: it was behind for longer than keep_versions\n", s.VersionsLost, s.Stream, d.Name)
		}
		if s.Reread != nil && s.Reread.Why != "" {
			said += fmt.Sprintf("%s is written anew from the beginning once more: %s\n", s.Stream, clean(s.Reread.Why))
		}
		if _, err := io.WriteString(w, said); err != nil {
			return fmt.Errorf("write a table: %w", err)
		}
	}
	return p.write(w)
}

// checkTable says of each table whether it is as the store is, and below what to
// do where it is not.
func checkTable(w io.Writer, x client.DestinationCheck) error {
	rows := [][]string{{"STREAM", "TABLE", "STORED", "WRITTEN", "RESULT"}}
	var said []string
	for _, s := range x.Streams {
		add := func(name, stored, written, note string, equal bool) {
			result := "equal"
			switch {
			case note != "":
				result = "not compared"
				said = append(said, cmp.Or(name, s.Stream)+": "+note)
			case !equal && stored == written:
				result = "other values"
			case !equal:
				result = "differs"
			}
			rows = append(rows, []string{s.Stream, name, stored, written, result})
		}
		add(s.Table, counted(s.Stored), counted(s.Written), s.Note, s.StoredDigest == s.WrittenDigest && maps.Equal(s.Stored, s.Written))
		for _, r := range s.Remarks {
			said = append(said, s.Table+": "+r)
		}
		if v := s.Versions; v != nil {
			add(v.Table, counted(v.Stored), counted(v.Written), v.Note, v.StoredDigest == v.WrittenDigest && maps.Equal(v.Stored, v.Written))
			if v.StoredBefore > 0 {
				add(v.Table, fmt.Sprintf("%d superseded", v.StoredBefore), fmt.Sprintf("%d superseded", v.WrittenBefore), "", v.EqualBefore && v.StoredBefore == v.WrittenBefore)
			}
			if v.Beyond > 0 {
				said = append(said, fmt.Sprintf("%s: %d superseded versions of which the store has nothing any more are not compared", v.Table, v.Beyond))
			}
			if len(v.Skipped) > 0 {
				said = append(said, fmt.Sprintf("%s: not compared, since the type is another than in %s: %s", v.Table, s.Table, strings.Join(v.Skipped, ", ")))
			}
		}
		if s.Note == "" && !s.Equal {
			said = append(said, s.Table+": what differs is mended by `hubpipe destinations resync "+x.Name+" "+s.Stream+"`")
		}
	}
	if err := table(w, rows); err != nil {
		return err
	}
	var b strings.Builder
	for i, text := range said {
		if i == 0 {
			b.WriteByte('\n')
		}
		for n, line := range wrap(clean(text), screen-2) {
			b.WriteString(strings.Repeat("  ", min(n, 1)) + line + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// counted is how many records there are, the live ones first.
func counted(by map[string]uint64) string {
	parts := []string{fmt.Sprintf("%d live", by["live"])}
	for _, state := range slices.Sorted(maps.Keys(by)) {
		if state != "live" {
			parts = append(parts, fmt.Sprintf("%d %s", by[state], state))
		}
	}
	return strings.Join(parts, ", ")
}
