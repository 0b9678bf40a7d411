package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// states are those that a record may have, as --state names them.
func states() []string { return []string{"live", "archived", "purged", "merged", "all"} }

// recordForm is how records are printed; it is a flag of its own, since lines
// of JSON are what one wants of them.
func recordForm(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("output", "o", "json", "json (NDJSON: a record a line) or table (id, seq, state, time, and --fields)")
}

// printRecords writes records as they come, at most limit of them where that is
// not 0. A table has a column for each of the fields, if there are any.
func printRecords(w io.Writer, form string, limit int, fields []string, records iter.Seq2[client.Record, error]) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // values go out as they came
	// The head comes once it is known that there is something to print.
	head := func() error {
		if form != "table" {
			return nil
		}
		return printRow(w, []string{"ID", "SEQ", "STATE", "UPDATED"}, fields)
	}
	n := 0
	for r, err := range records {
		if err == nil && n == 0 {
			err = head()
		}
		if err != nil {
			return err
		}
		if form == "table" {
			seq := "-" // of what is not stored
			if r.Seq != 0 {
				seq = strconv.FormatUint(r.Seq, 10)
			}
			err = printRow(w, []string{r.ID, seq, r.State, orDash(r.UpdatedAt)}, valuesOf(r.Properties, fields))
		} else {
			err = enc.Encode(r)
		}
		if err != nil {
			return err
		}
		if n++; n == limit {
			return nil
		}
	}
	if n == 0 {
		return head()
	}
	return nil
}

// fieldWidth is how much of a value a table of records shows: its rows come one by
// one, and nobody knows how wide the next will be.
const fieldWidth = 28

// printRow writes a row of a table of records: what each has, and values.
func printRow(w io.Writer, own, values []string) error {
	var line strings.Builder
	fmt.Fprintf(&line, "%-20s  %10s  %-8s  %-24s", clean(own[0]), own[1], clean(own[2]), clean(own[3]))
	for _, v := range values {
		fmt.Fprintf(&line, "  %-*s", fieldWidth, shorten(clean(v), fieldWidth))
	}
	_, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	return err
}

// valuesOf are properties as text; "-" is none.
func valuesOf(properties json.RawMessage, names []string) []string {
	if len(names) == 0 {
		return nil
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(properties, &all) != nil {
		all = nil // of a tombstone
	}
	out := make([]string, len(names))
	for i, n := range names {
		var text *string
		switch err := json.Unmarshal(all[n], &text); {
		case err != nil && len(all[n]) > 0: // a number, or a list
			out[i] = string(all[n])
		default:
			out[i] = orDash(text)
		}
	}
	return out
}

func checkLimit(limit int) error {
	if limit < 0 {
		return usageError("--limit is how many at most, not %d; 0 is all", limit)
	}
	return nil
}

func (c *command) records() *cobra.Command {
	var limit int
	var state, since string
	var fields []string
	var form *string
	cmd := c.asking("records STREAM [ID]", "Print records, a line of JSON each", func(cmd *cobra.Command, d *client.Client, args []string) error {
		for _, err := range []error{oneOf("output", *form, "json", "table"), checkLimit(limit), oneOf("state", state, states()...), checkSince(since)} {
			if err != nil {
				return err
			}
		}
		if len(args) == 2 {
			for _, name := range []string{"limit", "state", "since"} {
				if cmd.Flags().Changed(name) {
					return usageError("--%s selects among records, and %s names one already", name, args[1])
				}
			}
			r, err := d.Record(cmd.Context(), args[0], args[1], fields...)
			return printRecords(c.env.Stdout, *form, 1, fields, func(yield func(client.Record, error) bool) { yield(r, err) })
		}
		q := client.RecordQuery{States: []string{state}, Since: since, Fields: fields, Limit: 1000}
		if limit > 0 {
			q.Limit = min(limit, 1000)
		}
		return printRecords(c.env.Stdout, *form, limit, fields, d.AllRecords(cmd.Context(), args[0], q))
	})
	form = recordForm(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (0: all)")
	cmd.Flags().StringVar(&state, "state", "live", "live, archived, purged, merged or all; several with commas")
	cmd.Flags().StringVar(&since, "since", "", "only what changed after this feed position or time")
	cmd.Flags().StringSliceVar(&fields, "fields", nil, "names of properties, with commas (default: all)")
	return cmd
}

func (c *command) changes() *cobra.Command {
	var q client.ChangeQuery
	var form *string
	cmd := c.asking("changes STREAM", "Print the change feed: each record once, at its newest place", func(cmd *cobra.Command, d *client.Client, args []string) error {
		for _, err := range []error{oneOf("output", *form, "json", "table"), checkLimit(q.Limit), checkSince(q.Since)} {
			if err != nil {
				return err
			}
		}
		if *form == "json" { // as it comes, unread
			return d.CopyChanges(cmd.Context(), args[0], q, c.env.Stdout)
		}
		return printRecords(c.env.Stdout, *form, 0, nil, d.Changes(cmd.Context(), args[0], q))
	})
	form = recordForm(cmd)
	cmd.Flags().StringVar(&q.Since, "since", "", "only what comes after this seq, or after this time (default: from the beginning)")
	cmd.Flags().IntVar(&q.Limit, "limit", 0, "at most so many (0: all)")
	cmd.Flags().BoolVar(&q.Follow, "follow", false, "go on with the changes as they come, until Ctrl-C")
	return cmd
}

func formats() []string { return []string{"ndjson", "csv", "parquet", "singer", "airbyte"} }

func (c *command) export() *cobra.Command {
	var format, state, formulas, since, as string
	var fields []string
	cmd := c.asking("export STREAM", "Write all records of a stream as NDJSON, CSV or Parquet, or for a loader", func(cmd *cobra.Command, d *client.Client, args []string) error {
		for _, err := range []error{oneOf("format", format, formats()...), oneOf("formulas", formulas, "safe", "keep"), oneOf("state", state, states()...), checkSince(since)} {
			if err != nil {
				return err
			}
		}
		loader, isLoader := map[string]exchange{"singer": singer{}, "airbyte": airbyte{}}[format]
		switch {
		case isLoader && as != "":
			return usageError("--as goes with ndjson, csv and parquet, not with --format %s", format)
		case isLoader && cmd.Flags().Changed("state"):
			return usageError("--format %s has records of every state: loaders have to hear of what has gone", format)
		case isLoader:
			return writeExchange(cmd.Context(), c.env.Stdout, d, args[0], loader, client.ChangeQuery{Since: since}, fields)
		case since != "":
			return usageError("--since goes with --format singer and airbyte; `hubpipe changes %s --since %s` prints what is new", args[0], since)
		case format == "parquet" && c.terminal:
			return usageError("a Parquet file is nothing for a terminal: `hubpipe export %s --format parquet > %s.parquet`", args[0], args[0])
		}
		return d.Export(cmd.Context(), args[0], format, client.RecordQuery{States: []string{state}, Fields: fields, Formulas: formulas, As: as}, c.env.Stdout)
	})
	cmd.Long = `Write all records of a stream, as of one moment, to stdout.

singer and airbyte are the lines that loaders of those names read from a pipe:
the schema, then the change feed with tombstones, and after each thousand records
the place behind them, as state. --since takes that place for the next time.`
	cmd.Flags().StringVar(&format, "format", "ndjson", strings.Join(formats(), ", "))
	offers(cmd, "format", formats()...)
	cmd.Flags().StringVar(&since, "since", "", "with singer and airbyte: only what changed after this seq or time")
	cmd.Flags().StringVar(&as, "as", "", "the name of a destination: hashed, cut and without what is excluded, as it gets it")
	cmd.Flags().StringVar(&formulas, "formulas", "safe", "in CSV: safe (an apostrophe before what a spreadsheet would run) or keep (every value as it is)")
	cmd.Flags().StringVar(&state, "state", "live", "live, archived, purged, merged or all; several with commas")
	cmd.Flags().StringSliceVar(&fields, "fields", nil, "names of properties, with commas (default: all)")
	return cmd
}
