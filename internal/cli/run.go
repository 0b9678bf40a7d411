package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/tui"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// stopTime bounds a clean stop.
const stopTime = 10 * time.Second

func (c *command) options() config.Options {
	return config.Options{Path: c.config, Env: c.env.Getenv, Objects: catalogue.Names(), Themes: tui.Themes(), CheckKeys: tui.CheckKeys, Iceberg: daemon.WritesIceberg}
}

// setLevel has the level of the flag, where there is one, be that of the
// configuration.
func (c *command) setLevel(cfg *config.Config) {
	if c.level != "" {
		cfg.Log.Level = strings.ToLower(c.level)
	}
}

// load reads the configuration; what is wrong with it is printed, all of it.
// What only blocks a portal is no error here.
func (c *command) load() (*config.Config, error) {
	cfg, diags, err := config.Load(c.options())
	if len(diags) > 0 {
		fmt.Fprintln(c.env.Stderr, strings.TrimSpace(diags.String()))
	}
	if invalid := (*config.InvalidError)(nil); errors.As(err, &invalid) {
		return nil, configError(errReported)
	}
	if err != nil {
		return nil, configError(err)
	}
	c.setLevel(cfg)
	c.json = cfg.Log.Format == "json"
	return cfg, nil
}

func (c *command) daemon() *cobra.Command {
	return &cobra.Command{Use: "daemon", Short: "Run the daemon alone; workers are processes of their own", Annotations: services(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runDaemon(cmd.Context(), false) }}
}

func (c *command) up() *cobra.Command {
	return &cobra.Command{Use: "up", Short: "Run the daemon with a worker in it: what most people run", Annotations: services(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runDaemon(cmd.Context(), true) }}
}

// replace puts a configuration into a channel with room for one, in place of the
// one before where that was not taken out yet. It never waits.
func replace(to chan *config.Config, next *config.Config) {
	for {
		select {
		case to <- next:
			return
		default:
		}
		select {
		case <-to:
		default:
		}
	}
}

// ownFiles has all files that a service makes be its user's alone, those of
// libraries too, whatever mask it was started with.
func ownFiles() { syscall.Umask(0o077) }

func (c *command) runDaemon(ctx context.Context, withWorker bool) error {
	ownFiles()
	c.outlives() // where it was offered
	cfg, err := c.load()
	if err != nil {
		return err
	}
	log, err := c.logger(cfg.Log.Level)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	reloaded := make(chan *config.Config, 1)
	d := daemon.New(daemon.Options{Config: cfg, Version: c.env.Version, Logger: log, Shutdown: stop,
		Reload: func() (*config.Config, error) {
			next, _, err := config.Load(c.options())
			if next != nil {
				c.setLevel(next)
			}
			return next, err
		},
		TakenOver: func(next *config.Config) { replace(reloaded, next) }})
	if err := d.Start(ctx); err != nil {
		return ended(ctx, err)
	}
	var w *workerProcess
	if withWorker {
		name := cmp.Or(cfg.Worker.Name, "up")
		if w, err = startWorker(ctx, cfg, name, d.Token(), c.env.Version, log, tempo{}); err != nil {
			return errors.Join(err, d.Stop(context.WithoutCancel(ctx)))
		}
	}
	for running := true; running; {
		select {
		case <-ctx.Done():
			running = false
		case <-c.env.Hangup:
			if _, err := d.Reload(ctx); err != nil {
				log.Error("the configuration was not taken over", "error", err)
			}
		case next := <-reloaded:
			log.Info("the configuration was read again", "streams", len(next.Streams), "portals", len(next.Portals))
			// A worker reads its credentials once: it is made anew with them.
			if w == nil {
				continue
			}
			own := *next
			own.DataDir, own.Broker = cfg.DataDir, cfg.Broker // which wait for a restart
			made, err := newWorker(&own, cmp.Or(next.Worker.Name, "up"), d.Token(), c.env.Version, log, tempo{})
			if err != nil {
				log.Error("the worker goes on as it was, with the credentials of before: restart to take the new ones over", "error", err)
				continue
			}
			w.stop(ctx)
			w = made
			if err := w.start(ctx); err != nil {
				return errors.Join(err, d.Stop(context.WithoutCancel(ctx)))
			}
		}
	}
	log.Info("stopping")
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	d.Closing(end)
	if w != nil {
		w.stop(end)
	}
	return d.Stop(end)
}
