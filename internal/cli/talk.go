package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon"
	"github.com/hubpipe/hubpipe/daemon/access"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
)

// talking makes a verb that asks a daemon and prints a table or JSON.
func (c *command) talking(use, short string, f func(cmd *cobra.Command, d *client.Client, args []string) error) *cobra.Command {
	cmd := c.asking(use, short, func(cmd *cobra.Command, d *client.Client, args []string) error {
		if err := c.checkOutput(); err != nil {
			return err
		}
		return f(cmd, d, args)
	})
	c.outputFlag(cmd)
	return cmd
}

// outputFlag gives a verb the flag that chooses between a table and JSON.
func (c *command) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.output, "output", "o", "table", "table or json")
	offers(cmd, "output", "table", "json")
}

// checkOutput holds that flag against what there is.
func (c *command) checkOutput() error {
	if c.output != "table" && c.output != "json" {
		return usageError("--output is table or json, not %q", c.output)
	}
	return nil
}

// asking makes a verb that asks a daemon; how it prints is its own.
func (c *command) asking(use, short string, f func(cmd *cobra.Command, d *client.Client, args []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, RunE: func(cmd *cobra.Command, args []string) error {
		d, err := c.client()
		if err != nil {
			return err
		}
		defer d.Close()
		return f(cmd, d, args)
	}}
	c.completes(cmd)
	cmd.Flags().StringVar(&c.addr, "addr", "", "the daemon's address, http://host:port; the token then comes from "+tokenVariable)
	cmd.Flags().StringVar(&c.ca, "ca", "", "who signs the certificate of --addr, a PEM file (default: the system's authorities)")
	cmd.Flags().StringVar(&c.certificate, "cert", "", "your own certificate for --addr, a PEM file")
	cmd.Flags().StringVar(&c.key, "key", "", "the key of --cert, a PEM file")
	return cmd
}

// client finds the daemon: where --addr says, by its socket where that is
// here, else at the configured address.
func (c *command) client() (*client.Client, error) {
	if c.addr != "" {
		if !isAddress(c.addr) {
			if strings.Contains(c.addr, "@") {
				return nil, usageError("--addr takes no credentials: the token comes from %s", tokenVariable)
			}
			return nil, usageError("--addr %q is not the address of a daemon; write it like http://127.0.0.1:8377, or the path of its socket", c.addr)
		}
		token, _ := c.env.Getenv(tokenVariable)
		addr, err := c.secured(c.addr)
		if err != nil {
			return nil, err
		}
		c.asked = addr
		secure, err := access.ClientTLS(c.ca, c.certificate, c.key)
		if err != nil {
			return nil, usageError("%s", err)
		}
		return client.New(client.Options{Addr: addr, Token: token, TLS: secure}), nil
	}
	cfg, err := config.LoadClient(c.options())
	if err != nil {
		return nil, configError(err)
	}
	socket := filepath.Join(cfg.DataDir, "http.sock")
	if _, err := os.Stat(socket); err == nil {
		return client.New(client.Options{Addr: socket}), nil
	}
	token, err := daemon.LoadToken(cfg.DataDir, false) // where there is none the daemon says so
	if _, there := errors.AsType[*fs.PathError](err); there {
		c.unread = err
	}
	c.asked = "http://" + cfg.HTTPListen
	if cfg.HTTPS {
		c.asked = "https://" + cfg.HTTPListen
	}
	return client.New(client.Options{Addr: c.asked, Token: token}), nil
}

// secured is an address with https, where flags name who signs it.
func (c *command) secured(addr string) (string, error) {
	_, _, plain := net.SplitHostPort(addr)
	switch {
	case c.ca == "" && c.certificate == "" && c.key == "", strings.HasPrefix(addr, "https://"):
		return addr, nil
	case plain == nil && !strings.Contains(addr, "/") && !strings.HasPrefix(addr, "unix:"):
		return "https://" + addr, nil
	}
	return "", usageError("--ca, --cert and --key are for https, and --addr %s is not", addr)
}

// isAddress tells whether a client can make something of an address.
func isAddress(addr string) bool {
	if strings.HasPrefix(addr, "http://") || strings.HasPrefix(addr, "https://") {
		u, err := url.Parse(addr)
		return err == nil && u.Host != "" && u.User == nil
	}
	_, _, err := net.SplitHostPort(addr)
	return err == nil || strings.HasPrefix(addr, "unix:") || strings.Contains(addr, "/")
}

func (c *command) status() *cobra.Command {
	var watch bool
	cmd := c.talking("status [STREAM]", "Show how the streams stand", func(cmd *cobra.Command, d *client.Client, args []string) error {
		switch {
		case !watch:
			return c.showStatus(cmd, d, args)
		case c.output == "json":
			return usageError("--watch prints lines for people; follow GET /v1/events for JSON")
		case len(args) == 1:
			if _, err := d.Stream(cmd.Context(), args[0]); err != nil {
				return err
			}
			return c.watchStatus(cmd.Context(), d, args[0])
		}
		return c.watchStatus(cmd.Context(), d, "")
	})
	cmd.Flags().BoolVar(&watch, "watch", false, "go on with a plain line for each change, until Ctrl-C")
	return cmd
}

func (c *command) streams() *cobra.Command {
	var all bool
	cmd := c.talking("streams", "List the streams", c.showStatus)
	listed := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !all {
			return listed(cmd, args)
		}
		if err := c.checkOutput(); err != nil {
			return err
		}
		return c.showAvailable()
	}
	cmd.Flags().BoolVar(&all, "available", false, "what can be copied, how, and what a token needs for it; asks no daemon")
	return cmd
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

// eachStream does something to the named stream, or to all at once, and shows
// them. Those of all for which it did not work are said on stderr.
func (c *command) eachStream(d *client.Client, arg string, one func(d *client.Client, name string) (client.Status, error),
	all func(d *client.Client) (client.Statuses, error),
) error {
	if arg != client.All {
		s, err := one(d, arg)
		if err != nil {
			return err
		}
		return c.statuses([]client.Status{s})
	}
	ss, err := all(d)
	if err != nil {
		return err
	}
	if err := c.statuses(ss.Streams); err != nil {
		return err
	}
	return c.failures(ss.Failed)
}

// failures says for which streams a command for all did not work; it is an
// error that has been said where there are any.
func (c *command) failures(failed []client.Failure) error {
	for _, f := range failed {
		fmt.Fprintf(c.env.Stderr, "hubpipe: %s: %v\n", f.Stream, f.Error)
		if f.Error != nil && f.Error.Hint != "" {
			fmt.Fprintf(c.env.Stderr, "  hint: %s\n", f.Error.Hint)
		}
	}
	if len(failed) > 0 {
		return errReported
	}
	return nil
}

func (c *command) start() *cobra.Command {
	var every string
	var wait bool
	cmd := c.talking("start STREAM|all", "Begin fetching on the interval, the first run at once",
		func(cmd *cobra.Command, d *client.Client, args []string) error {
			if cmd.Flags().Changed("every") {
				if err := checkInterval(every); err != nil {
					return err
				}
			}
			one := func(d *client.Client, n string) (client.Status, error) { return d.Start(cmd.Context(), n, every) }
			all := func(d *client.Client) (client.Statuses, error) { return d.StartAll(cmd.Context(), every) }
			var err error
			if wait {
				err = c.startAndWait(cmd.Context(), d, args[0], one, all)
			} else {
				err = c.eachStream(d, args[0], one, all)
			}
			if err != nil {
				return err
			}
			if every == "" {
				fmt.Fprintln(c.env.Stderr, "fetched as the configuration says; --every sets another interval, which holds until the next start or stop")
			} else {
				fmt.Fprintf(c.env.Stderr, "fetched every %s, over restarts too, until the next start or stop\n", every)
			}
			return nil
		})
	cmd.Long = `Begin fetching on the interval, the first run at once.

With --every on that interval, over restarts of the daemon too; without it on the
configured one, also where an earlier start set another: a stop and a start without
--every are the way back to the configuration. With --wait it ends with the run
that goes on then; of a stream that was started before, that may be none.`
	waits(cmd, &wait)
	cmd.Flags().StringVar(&every, "every", "", "the interval, such as 30s or 5m (default: the configured one)")
	return cmd
}

// startAndWait starts streams and waits for the runs that go on then. A stream that
// has none, and a problem instead, has failed.
func (c *command) startAndWait(ctx context.Context, d *client.Client, arg string, one func(*client.Client, string) (client.Status, error),
	all func(*client.Client) (client.Statuses, error),
) error {
	var started client.Statuses
	var err error
	if arg == client.All {
		started, err = all(d)
	} else {
		started.Streams = make([]client.Status, 1)
		started.Streams[0], err = one(d, arg)
	}
	if err != nil {
		return err
	}
	var ids []string
	for i := range started.Streams {
		switch s := &started.Streams[i]; {
		case s.Run != nil:
			ids = append(ids, s.Run.ID)
		case s.Error != nil:
			started.Failed = append(started.Failed, client.Failure{Stream: s.Name, Error: s.Error})
		default:
			fmt.Fprintf(c.env.Stderr, "%s: no run goes on; `hubpipe sync %s --wait` makes one\n", s.Name, s.Name)
		}
	}
	return c.ended(ctx, d, ids, started.Failed, true)
}

func (c *command) stopStream() *cobra.Command {
	return c.talking("stop STREAM|all", "End the schedule and what runs; what was stored stays",
		func(cmd *cobra.Command, d *client.Client, args []string) error {
			return c.eachStream(d, args[0],
				func(d *client.Client, n string) (client.Status, error) { return d.Stop(cmd.Context(), n) },
				func(d *client.Client) (client.Statuses, error) { return d.StopAll(cmd.Context()) })
		})
}

func (c *command) sync() *cobra.Command {
	var record string
	cmd := c.run("sync STREAM|all", "Make one run now", func(ctx context.Context, d *client.Client, n string) (string, error) {
		return d.Sync(ctx, n, record)
	}, func(ctx context.Context, d *client.Client) (client.AllStarted, error) { return d.SyncAll(ctx) })
	one := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if record != "" && args[0] == client.All {
			return usageError("--record is a record of one stream; name the stream instead of all")
		}
		return one(cmd, args)
	}
	cmd.Flags().StringVar(&record, "record", "", "read this one record")
	return cmd
}

func (c *command) resync() *cobra.Command {
	return c.run("resync STREAM|all", "Read everything again; empties nothing", func(ctx context.Context, d *client.Client, n string) (string, error) {
		return d.Resync(ctx, n)
	}, func(ctx context.Context, d *client.Client) (client.AllStarted, error) { return d.ResyncAll(ctx) })
}

func (c *command) reconcile() *cobra.Command {
	var accept bool
	cmd := c.run("reconcile STREAM|all", "Hold everything against HubSpot, and report", func(ctx context.Context, d *client.Client, n string) (string, error) {
		return d.Reconcile(ctx, n, accept)
	}, func(ctx context.Context, d *client.Client) (client.AllStarted, error) {
		return d.ReconcileAll(ctx, accept)
	})
	cmd.Flags().BoolVar(&accept, "accept-deletes", false, "take what HubSpot does not list any more for deleted, however much it is")
	return cmd
}

// run makes a verb that starts work; with --wait it ends as the work does.
func (c *command) run(use, short string, one func(context.Context, *client.Client, string) (string, error),
	all func(context.Context, *client.Client) (client.AllStarted, error),
) *cobra.Command {
	var wait bool
	cmd := c.talking(use, short, func(cmd *cobra.Command, d *client.Client, args []string) error {
		var ids []string
		var refused []client.Failure
		var err error
		if args[0] == client.All {
			var begun client.AllStarted
			begun, err = all(cmd.Context(), d)
			refused = begun.Failed
			for _, r := range begun.Runs {
				ids = append(ids, r.Run)
			}
		} else {
			var id string
			id, err = one(cmd.Context(), d, args[0])
			ids = []string{id}
		}
		if err != nil {
			return err
		}
		return c.ended(cmd.Context(), d, ids, refused, wait)
	})
	waits(cmd, &wait)
	return cmd
}

func waits(cmd *cobra.Command, wait *bool) {
	cmd.Flags().BoolVar(wait, "wait", false, "wait for the end; the exit code is the run's")
}

// ended shows runs, with wait when they have ended, and what refused to begin one.
// It is an error that has been said where one of them failed.
func (c *command) ended(ctx context.Context, d *client.Client, ids []string, refused []client.Failure, wait bool) error {
	var runs []client.Run
	failed := false
	for _, id := range ids {
		r, err := d.Run(ctx, id)
		for wait && err == nil && r.Ended == nil {
			if err = pause(ctx, 100*time.Millisecond); err == nil {
				r, err = d.Run(ctx, id)
			}
		}
		if err != nil {
			return err
		}
		failed = failed || r.State == "failed" || r.State == "stopped" && wait
		runs = append(runs, r)
	}
	if len(runs) > 0 || c.output == "json" {
		if err := c.showRuns(runs); err != nil {
			return err
		}
	}
	if err := c.failures(refused); err != nil || !failed {
		return err
	}
	return errReported
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

func (c *command) runs() *cobra.Command {
	var state string
	var limit int
	cmd := c.talking("runs [STREAM]", "List runs, newest first", func(cmd *cobra.Command, d *client.Client, args []string) error {
		name := ""
		if len(args) == 1 {
			name = args[0]
		}
		if limit < 1 || limit > 1000 {
			return usageError("--limit is 1 to 1000, not %d", limit)
		}
		if state != "" {
			if err := oneOf("state", state, client.RunRunning, client.RunDone, client.RunFailed, client.RunStopped); err != nil {
				return err
			}
		}
		rs, err := d.Runs(cmd.Context(), client.RunQuery{Stream: name, State: state, Limit: limit})
		if err != nil {
			return err
		}
		return c.showRuns(rs)
	})
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many, 1 to 1000")
	cmd.Flags().StringVar(&state, "state", "", "running, done, failed or stopped")
	return cmd
}
