package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
)

// screen is how wide a table may be; its last column gives way.
const screen = 80

// leastLast is what the last column keeps at least.
const leastLast = 14

// show prints a value as JSON, or by f as a table.
func (c *command) show(v any, f func(w io.Writer) error) error {
	if c.output == "json" {
		enc := json.NewEncoder(c.env.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	return f(c.env.Stdout)
}

// table writes rows below each other, the first as the head.
func table(w io.Writer, rows [][]string) error {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i := range r {
			r[i] = clean(r[i])
			widths[i] = max(widths[i], len([]rune(r[i])))
		}
	}
	before := 0
	for _, n := range widths[:len(widths)-1] {
		before += n + 2
	}
	var b strings.Builder
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range r[:len(r)-1] {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+2))
		}
		line.WriteString(shorten(r[len(r)-1], max(leastLast, screen-before)))
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// clean keeps what comes from outside from moving the cursor.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, s)
}

// wrap breaks text into lines of at most n letters, where it has spaces.
func wrap(text string, n int) []string {
	var out []string
	line := ""
	for word := range strings.FieldsSeq(clean(text)) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > n {
			out, line = append(out, line), ""
		}
		line = strings.TrimLeft(line+" "+word, " ")
	}
	if line != "" {
		out = append(out, line)
	}
	return out
}

// problems gathers what a table has room for only the title of.
type problems struct {
	order []client.Problem
	where map[client.Problem][]string
}

func (p *problems) add(x *client.Problem, where string) string {
	if x == nil {
		return ""
	}
	if p.where == nil {
		p.where = map[client.Problem][]string{}
	}
	if p.where[*x] == nil {
		p.order = append(p.order, *x)
	}
	if !slices.Contains(p.where[*x], where) {
		p.where[*x] = append(p.where[*x], where)
	}
	return x.Title
}

// write puts each problem below the table, once, with what to do about it.
func (p *problems) write(w io.Writer) error {
	var b strings.Builder
	for _, x := range p.order {
		head := x.Title
		if x.Detail != "" {
			head += ": " + x.Detail
		}
		b.WriteByte('\n')
		for _, part := range []struct{ text, first, rest string }{
			{strings.Join(p.where[x], ", ") + ": " + head, "", "  "}, {x.Hint, "  hint: ", "        "},
		} {
			indent := part.first
			for _, line := range wrap(part.text, screen-len(part.rest)) {
				b.WriteString(indent + line + "\n")
				indent = part.rest
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// moment is a time as a table shows it: the day only when it is not today.
func moment(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04:05Z")
	}
	return t.Format("2006-01-02 15:04Z")
}

func (c *command) statuses(ss []client.Status) error {
	if ss == nil {
		ss = []client.Status{}
	}
	return c.show(map[string]any{"streams": ss}, func(w io.Writer) error {
		if len(ss) == 0 {
			fmt.Fprintln(c.env.Stderr, "there are no streams; add stream \"contacts\" {} to the configuration")
			return nil
		}
		return statusTable(w, ss, time.Now())
	})
}

func statusTable(w io.Writer, ss []client.Status, now time.Time) error {
	rows := [][]string{{"STREAM", "STATE", "RECORDS", "INTERVAL", "LAG", "NEXT RUN", "PROBLEM"}}
	var p problems
	for _, s := range ss {
		lag, next, interval := "-", "-", s.Interval
		if s.LagSeconds != nil {
			lag = config.FormatDuration(time.Duration(*s.LagSeconds) * time.Second)
		}
		if s.NextRun != nil {
			next = moment(*s.NextRun, now)
		}
		if interval == "" {
			interval = s.Cron
		}
		if s.EffectiveReason != "" {
			interval = s.EffectiveInterval + " (" + s.EffectiveReason + ")"
		}
		rows = append(rows, []string{s.Name, s.State, fmt.Sprint(s.Records), interval, lag, next, p.add(s.Error, s.Name)})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, s := range ss {
		for _, line := range s.Budget {
			if _, err := fmt.Fprintf(w, "%s: %s\n", s.Name, clean(line)); err != nil {
				return fmt.Errorf("write a table: %w", err)
			}
		}
	}
	return p.write(w)
}

func (c *command) showRuns(rs []client.Run) error {
	if rs == nil {
		rs = []client.Run{}
	}
	return c.show(map[string]any{"runs": rs}, func(w io.Writer) error {
		if len(rs) == 0 {
			fmt.Fprintln(c.env.Stderr, "there are no such runs")
			return nil
		}
		rows := [][]string{{"RUN", "STREAM", "KIND", "STATE", "RECORDS", "REQUESTS", "STARTED", "PROBLEM"}}
		var p problems
		now := time.Now()
		for _, r := range rs {
			rows = append(rows, []string{r.ID, r.Stream, r.Kind, r.State, fmt.Sprint(r.Records), fmt.Sprint(r.Requests),
				moment(r.Started, now), p.add(r.Error, r.Stream)})
		}
		if err := table(w, rows); err != nil {
			return err
		}
		if err := reports(w, rs); err != nil {
			return err
		}
		return p.write(w)
	})
}

// reports prints what runs have to say besides their figures, a line each: what
// those found that held the store against HubSpot, what HubSpot had named late,
// and why one read a whole list.
func reports(w io.Writer, rs []client.Run) error {
	for _, r := range rs {
		var f map[string]any
		if json.Unmarshal(r.Report, &f) != nil || f == nil {
			continue
		}
		var parts []string
		if r.Ended != nil && r.Kind == "reconcile" {
			for _, name := range []string{"checked", "missing", "stale", "candidates", "gone", "merged", "restored", "archived", "repaired"} {
				parts = append(parts, fmt.Sprintf("%v %s", f[name], name))
			}
		}
		if odd, _ := f["untyped"].(map[string]any); r.Ended != nil && len(odd) > 0 {
			names := slices.Sorted(maps.Keys(odd))
			for i, name := range names {
				names[i] = fmt.Sprintf("%v of %s", odd[name], name)
			}
			if more := len(names) - 5; more > 0 {
				names = append(names[:5], fmt.Sprintf("and of %d more properties", more))
			}
			parts = append(parts, "values that are not of their property's type: "+strings.Join(names, ", "))
		}
		if n, _ := f["late"].(float64); n > 0 {
			parts = append(parts, fmt.Sprintf("%v windows read again, %v records in them that HubSpot had not named before", f["settled"], n))
		}
		if names, _ := f["properties"].([]any); len(names) > 0 {
			parts = append(parts, fmt.Sprintf("fills %v", names[0]))
			if len(names) > 1 {
				parts[len(parts)-1] += fmt.Sprintf(" and %d more properties", len(names)-1)
			}
		}
		if why, _ := f["by_list"].(string); why != "" {
			parts = append(parts, why)
		}
		if len(parts) == 0 {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s of %s: %s\n", r.ID, r.Stream, strings.Join(parts, ", ")); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) workers() *cobra.Command {
	return c.talking("workers", "List the workers", func(cmd *cobra.Command, d *client.Client, _ []string) error {
		ws, err := d.Workers(cmd.Context())
		if err != nil {
			return err
		}
		if ws == nil {
			ws = []client.Worker{}
		}
		if len(ws) == 0 {
			fmt.Fprintln(c.env.Stderr, "no worker has been heard of, so nothing is fetched; start one with `hubpipe worker`")
		}
		return c.show(map[string]any{"workers": ws}, func(w io.Writer) error {
			if len(ws) == 0 {
				return nil
			}
			rows := [][]string{{"WORKER", "STATE", "PORTALS", "RUNS", "LAST SEEN"}}
			now := time.Now()
			for _, x := range ws {
				rows = append(rows, []string{x.ID, x.State, fmt.Sprint(len(x.Portals)), fmt.Sprint(len(x.Runs)), moment(x.LastSeen, now)})
			}
			return table(w, rows)
		})
	})
}
