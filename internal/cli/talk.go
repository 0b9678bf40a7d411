package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
)

// talking makes a verb that asks a daemon.
func (c *command) talking(use, short string, args cobra.PositionalArgs, f func(cmd *cobra.Command, d *client.Client, args []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		if c.output != "table" && c.output != "json" {
			return usageError("--output is table or json, not %q", c.output)
		}
		d, err := c.client()
		if err != nil {
			return err
		}
		defer d.Close()
		return f(cmd, d, args)
	}}
	cmd.Flags().StringVar(&c.addr, "addr", "", "the daemon's address, http://host:port; the token then comes from HUBPIPE_TOKEN")
	cmd.Flags().StringVarP(&c.output, "output", "o", "table", "table or json")
	return cmd
}

// client finds the daemon: where --addr says, by its socket where that is
// here, else at the configured address.
func (c *command) client() (*client.Client, error) {
	if c.addr != "" {
		token, _ := c.env.Getenv("HUBPIPE_TOKEN")
		return client.New(client.Options{Addr: c.addr, Token: token}), nil
	}
	cfg, err := config.LoadClient(c.options())
	if err != nil {
		return nil, configError(err)
	}
	socket := filepath.Join(cfg.DataDir, "http.sock")
	if _, err := os.Stat(socket); err == nil {
		return client.New(client.Options{Addr: socket}), nil
	}
	token, _ := daemon.LoadToken(cfg.DataDir, false) // without one the daemon says what is missing
	return client.New(client.Options{Addr: "http://" + cfg.HTTPListen, Token: token}), nil
}

// show prints a value as JSON, or by f as a table.
func (c *command) show(v any, f func(w *tabwriter.Writer)) error {
	if c.output == "json" {
		enc := json.NewEncoder(c.env.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(c.env.Stdout, 0, 4, 2, ' ', 0)
	f(w)
	return w.Flush()
}

func (c *command) statuses(ss []client.Status) error {
	return c.show(map[string]any{"streams": ss}, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "STREAM\tSTATE\tRECORDS\tINTERVAL\tLAG\tNEXT RUN\tPROBLEM")
		for _, s := range ss {
			lag, next, problem := "-", "-", ""
			if s.LagSeconds != nil {
				lag = config.FormatDuration(time.Duration(*s.LagSeconds) * time.Second)
			}
			if s.NextRun != nil {
				next = s.NextRun.Format("15:04:05Z")
			}
			if s.Error != nil {
				problem = s.Error.Error()
				if s.Error.Hint != "" {
					problem += " (" + s.Error.Hint + ")"
				}
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", s.Name, s.State, s.Records, s.Interval, lag, next, strconv.QuoteToGraphic(problem)[1:max(1, len(strconv.QuoteToGraphic(problem))-1)])
		}
	})
}

func (c *command) status() *cobra.Command {
	return c.talking("status [STREAM]", "Show how the streams stand", cobra.MaximumNArgs(1), c.showStatus)
}

func (c *command) streams() *cobra.Command {
	return c.talking("streams", "List the streams", cobra.NoArgs, c.showStatus)
}

func (c *command) showStatus(cmd *cobra.Command, d *client.Client, args []string) error {
	if len(args) == 1 {
		s, err := d.Stream(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if c.output == "json" {
			return c.show(s, nil)
		}
		return c.statuses([]client.Status{s})
	}
	ss, err := d.Streams(cmd.Context())
	if err != nil {
		return err
	}
	return c.statuses(ss)
}

// names turns `all` into the streams that there are.
func names(ctx context.Context, d *client.Client, arg string) ([]string, error) {
	if arg != "all" {
		return []string{arg}, nil
	}
	ss, err := d.Streams(ctx)
	out := make([]string, 0, len(ss))
	for _, s := range ss {
		out = append(out, s.Name)
	}
	return out, err
}

// eachStream does something to the named stream, or all, and shows them.
func (c *command) eachStream(cmd *cobra.Command, d *client.Client, arg string, f func(name string) (client.Status, error)) error {
	ns, err := names(cmd.Context(), d, arg)
	if err != nil {
		return err
	}
	var ss []client.Status
	for _, n := range ns {
		s, err := f(n)
		if err != nil {
			return err
		}
		ss = append(ss, s)
	}
	return c.statuses(ss)
}

func (c *command) start() *cobra.Command {
	var every string
	cmd := c.talking("start STREAM|all", "Begin fetching on the interval, the first run at once", cobra.ExactArgs(1),
		func(cmd *cobra.Command, d *client.Client, args []string) error {
			return c.eachStream(cmd, d, args[0], func(n string) (client.Status, error) { return d.Start(cmd.Context(), n, every) })
		})
	cmd.Flags().StringVar(&every, "every", "", "the interval, such as 30s or 5m")
	return cmd
}

func (c *command) stop() *cobra.Command {
	return c.talking("stop STREAM|all", "End the schedule and what runs; what was stored stays", cobra.ExactArgs(1),
		func(cmd *cobra.Command, d *client.Client, args []string) error {
			return c.eachStream(cmd, d, args[0], func(n string) (client.Status, error) { return d.Stop(cmd.Context(), n) })
		})
}

func (c *command) sync() *cobra.Command {
	var record string
	cmd := c.run("sync STREAM|all", "Make one run now", func(ctx context.Context, d *client.Client, n string) (string, error) {
		return d.Sync(ctx, n, record)
	})
	cmd.Flags().StringVar(&record, "record", "", "read this one record")
	return cmd
}

func (c *command) resync() *cobra.Command {
	return c.run("resync STREAM|all", "Read everything again; empties nothing", func(ctx context.Context, d *client.Client, n string) (string, error) {
		return d.Resync(ctx, n)
	})
}

func (c *command) reconcile() *cobra.Command {
	var accept bool
	cmd := c.run("reconcile STREAM|all", "Hold everything against HubSpot, and report", func(ctx context.Context, d *client.Client, n string) (string, error) {
		return d.Reconcile(ctx, n, accept)
	})
	cmd.Flags().BoolVar(&accept, "accept-deletes", false, "take what HubSpot does not list any more for deleted, however much it is")
	return cmd
}

// run makes a verb that starts work; with --wait it ends as the work does.
func (c *command) run(use, short string, f func(context.Context, *client.Client, string) (string, error)) *cobra.Command {
	var wait bool
	cmd := c.talking(use, short, cobra.ExactArgs(1), func(cmd *cobra.Command, d *client.Client, args []string) error {
		ns, err := names(cmd.Context(), d, args[0])
		if err != nil {
			return err
		}
		var runs []client.Run
		failed := false
		for _, n := range ns {
			id, err := f(cmd.Context(), d, n)
			if err != nil {
				return err
			}
			r, err := d.Run(cmd.Context(), id)
			for wait && err == nil && r.Ended == nil {
				if err = pause(cmd.Context(), 100*time.Millisecond); err == nil {
					r, err = d.Run(cmd.Context(), id)
				}
			}
			if err != nil {
				return err
			}
			failed = failed || r.State == "failed" || r.State == "stopped" && wait
			runs = append(runs, r)
		}
		if err := c.showRuns(runs); err != nil {
			return err
		}
		if failed {
			return errReported
		}
		return nil
	})
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the end; the exit code is the run's")
	return cmd
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *command) showRuns(rs []client.Run) error {
	return c.show(map[string]any{"runs": rs}, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "RUN\tSTREAM\tKIND\tSTATE\tRECORDS\tREQUESTS\tSTARTED\tPROBLEM")
		for _, r := range rs {
			problem := ""
			if r.Error != nil {
				problem = r.Error.Error()
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", r.ID, r.Stream, r.Kind, r.State, r.Records, r.Requests, r.Started.Format(time.RFC3339), problem)
		}
	})
}

func (c *command) runs() *cobra.Command {
	var state string
	cmd := c.talking("runs [STREAM]", "List runs, newest first", cobra.MaximumNArgs(1), func(cmd *cobra.Command, d *client.Client, args []string) error {
		name := ""
		if len(args) == 1 {
			name = args[0]
		}
		rs, err := d.Runs(cmd.Context(), client.RunQuery{Stream: name, State: state})
		if err != nil {
			return err
		}
		return c.showRuns(rs)
	})
	cmd.Flags().StringVar(&state, "state", "", "running, done, failed or stopped")
	return cmd
}

func (c *command) workers() *cobra.Command {
	return c.talking("workers", "List the workers", cobra.NoArgs, func(cmd *cobra.Command, d *client.Client, _ []string) error {
		ws, err := d.Workers(cmd.Context())
		if err != nil {
			return err
		}
		return c.show(map[string]any{"workers": ws}, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "WORKER\tSTATE\tPORTALS\tRUNS\tLAST SEEN")
			for _, x := range ws {
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", x.ID, x.State, len(x.Portals), len(x.Runs), x.LastSeen.Format(time.RFC3339))
			}
		})
	})
}

func (c *command) records() *cobra.Command {
	var limit int
	var state, since string
	cmd := c.talking("records STREAM [ID]", "Print records, a line of JSON each", cobra.RangeArgs(1, 2), func(cmd *cobra.Command, d *client.Client, args []string) error {
		enc := json.NewEncoder(c.env.Stdout)
		enc.SetEscapeHTML(false) // values go out as they came
		if len(args) == 2 {
			r, err := d.Record(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return enc.Encode(r)
		}
		n := 0
		q := client.RecordQuery{States: []string{state}, Since: since, Limit: 1000}
		for r, err := range d.AllRecords(cmd.Context(), args[0], q) {
			if err != nil {
				return err
			}
			if n++; limit > 0 && n > limit {
				return nil
			}
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	})
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (0: all)")
	cmd.Flags().StringVar(&state, "state", "live", "live, archived, purged, merged or all")
	cmd.Flags().StringVar(&since, "since", "", "only what changed after this feed position or time")
	return cmd
}

func (c *command) token() *cobra.Command {
	return &cobra.Command{Use: "token", Short: "Print hubpipe's own token, for HTTP and MQTT", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := config.LoadClient(c.options())
			if err != nil {
				return configError(err)
			}
			t, err := daemon.LoadToken(cfg.DataDir, false)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.env.Stdout, t)
			return err
		}}
}

func (c *command) check() *cobra.Command {
	return &cobra.Command{Use: "check", Short: "Check the configuration", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			where := cfg.Path
			if where == "" {
				where = "no file"
			}
			fmt.Fprintf(c.env.Stdout, "%s: %d streams of %d portals; data in %s\n", where, len(cfg.Streams), len(cfg.Portals), cfg.DataDir)
			if len(cfg.Blocked()) > 0 {
				return configError(errReported)
			}
			return nil
		}}
}
