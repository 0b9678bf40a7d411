package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

func (c *command) usage() *cobra.Command {
	return c.talking("usage [PORTAL]", "Show what was asked of HubSpot today, and what remains",
		func(cmd *cobra.Command, d *client.Client, args []string) error {
			ps, err := d.Portals(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				ps = slices.DeleteFunc(ps, func(p client.Portal) bool { return p.Name != args[0] })
				if len(ps) == 0 {
					return usageError("there is no portal %q\n  hint: see `hubpipe usage`", args[0])
				}
			}
			return c.show(map[string]any{"portals": ps}, func(w io.Writer) error { return usageTable(w, ps) })
		})
}

func usageTable(w io.Writer, ps []client.Portal) error {
	rows := [][]string{{"PORTAL", "ACCOUNT", "DAY", "USED", "REMAINING", "DAILY LIMIT", "DAY ENDS", "PROBLEM"}}
	work := [][]string{{"PORTAL", "STREAM", "WORK", "REQUESTS"}}
	shares := [][]string{{"PORTAL", "SHARE OF THE DAY", "USED", "MAY USE", "WANTED A DAY", "PROBLEM"}}
	for _, p := range ps {
		for _, s := range p.Shares {
			shares = append(shares, []string{p.Name, s.Kind, fmt.Sprint(s.Used), fmt.Sprint(s.Limit), fmt.Sprint(s.Wanted), s.Spent})
		}
		remaining, daily, problem, account := "-", "-", "", "not asked yet"
		if p.Account != 0 {
			account = fmt.Sprint(p.Account)
		}
		if p.Remaining != nil {
			remaining, daily = fmt.Sprint(*p.Remaining), fmt.Sprint(p.Limits.Daily)
		}
		switch {
		case p.Error != nil:
			problem = p.Error.Error()
		case p.Throttled != nil:
			problem = p.Throttled.Reason
			if p.Throttled.Until != nil {
				problem += " until " + p.Throttled.Until.Format(time.RFC3339)
			}
		case p.Journal != nil && p.Journal.Error != nil:
			problem = p.Journal.Error.Error()
		}
		rows = append(rows, []string{p.Name, account, p.Day, fmt.Sprint(p.UsedToday), remaining, daily, p.DayEnds.Format(time.RFC3339), problem})
		for _, name := range slices.Sorted(maps.Keys(p.UsedByStream)) {
			for _, kind := range slices.Sorted(maps.Keys(p.UsedByStream[name])) {
				work = append(work, []string{p.Name, name, kind, fmt.Sprint(p.UsedByStream[name][kind])})
			}
		}
	}
	// A portal that was never asked has no shares and no work: no heads of
	// nothing.
	all := [][][]string{rows}
	for _, t := range [][][]string{shares, work} {
		if len(t) > 1 {
			all = append(all, t)
		}
	}
	if err := tables(w, all...); err != nil || len(work) > 1 || len(ps) == 0 {
		return err
	}
	_, err := fmt.Fprintln(w, "\nnothing was asked of HubSpot today")
	return err
}

// tables writes tables below each other.
func tables(w io.Writer, all ...[][]string) error {
	for i, rows := range all {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return fmt.Errorf("write a table: %w", err)
			}
		}
		if err := table(w, rows); err != nil {
			return err
		}
	}
	return nil
}
