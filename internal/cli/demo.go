package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// demoTime bounds the first full sync of a demo.
const demoTime = 2 * time.Minute

func (c *command) demo() *cobra.Command {
	var once bool
	cmd := &cobra.Command{Use: "demo", Short: "See it work, without an account: daemon, worker and a simulated HubSpot",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runDemo(cmd.Context(), once || !c.terminal) }}
	cmd.Flags().BoolVar(&once, "once", false, "end after the first full sync, with a summary")
	return cmd
}

func (c *command) runDemo(ctx context.Context, once bool) (err error) {
	begun := time.Now()
	w := newDemoWatch(c.env.Stdout)
	dir, err := os.MkdirTemp("", "hubpipe-demo")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(dir))
		if errors.Is(err, context.Canceled) {
			w.closing(time.Since(begun))
		}
	}()
	o := simulator.Options{Token: "demo", Seed: 1, Limits: true, Properties: 40,
		Sizes: map[string]int{"contacts": 3000, "companies": 800, "deals": 800, "tickets": 400}}
	if !once {
		o.ChangeRate = 2
	}
	sim, err := serveSimulator(ctx, "127.0.0.1:0", o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.stop()) }()
	cfg, err := demoConfig(dir, sim.url)
	if err != nil {
		return err
	}
	log, err := c.logger("warn")
	if err != nil {
		return err
	}
	d := daemon.New(daemon.Options{Config: cfg, Version: c.env.Version, Logger: log})
	if err := d.Start(ctx); err != nil {
		return err
	}
	end := context.WithoutCancel(ctx)
	defer func() { err = errors.Join(err, d.Stop(end)) }()
	worker, err := startWorker(ctx, cfg, "demo", d.Token(), c.env.Version, log, false)
	if err != nil {
		return err
	}
	defer worker.stop(end)
	api := client.New(client.Options{Addr: filepath.Join(dir, "http.sock")})
	defer api.Close()
	fmt.Fprintf(c.env.Stdout, "simulated HubSpot at %s, API at http://%s, MQTT at %s\n", sim.url, d.Addr(), d.BrokerAddr())
	if !once {
		fmt.Fprintf(c.env.Stdout, demoHelp, dir, d.Token(), cfg.Path, d.Token(), d.Addr())
	}
	if err := w.watch(ctx, api, once); err != nil || !once {
		return err // what goes on changing is equal to no truth
	}
	return c.summary(ctx, api, sim, begun)
}

// demoHelp is what one can do beside a demo that goes on: its folder, token and
// configuration, and its token and address once more.
const demoHelp = `its data is in %s, until it ends; its token is %s
from another terminal:
  hubpipe status --config %s
  curl -N -H "Authorization: Bearer %s" "http://%s/v1/streams/contacts/changes?follow=true"
Ctrl-C ends it.

`

// demoConfig is a configuration of the demo's own: its folder, free ports, so
// that it is in nobody's way, and streams that are quick to see.
func demoConfig(dir, url string) (*config.Config, error) {
	path := filepath.Join(dir, "hubpipe.hcl")
	text := fmt.Sprintf(`data_dir = %q
http { listen = "127.0.0.1:0" }
broker { listen = "127.0.0.1:0" }
portal "demo" {
  token    = env("TOKEN")
  base_url = %q
}
defaults {
  interval = "2s"
  tail     = "10s"
}
stream "contacts" {}
stream "companies" {}
stream "deals" {}
stream "tickets" {}
`, dir, url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the demo's configuration: %w", err)
	}
	cfg, diags, err := config.Load(config.Options{Path: path, Env: func(string) (string, bool) { return "demo", true }})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, diags)
	}
	return cfg, nil
}

// summary counts what was done and holds the store against the truth.
func (c *command) summary(ctx context.Context, api *client.Client, sim *simulated, begun time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	records, differ := 0, 0
	for _, name := range []string{"contacts", "companies", "deals", "tickets"} {
		n, bad, err := compare(ctx, api, sim.sim, name)
		if err != nil {
			return err
		}
		records, differ = records+n, differ+bad
	}
	st := sim.sim.Stats()
	requests := int64(0)
	for _, n := range st.Requests {
		requests += n
	}
	fmt.Fprintf(c.env.Stdout, "%d records, %d requests (%d over the limit), %.1f s\n", records, requests, st.Refused.Burst+st.Refused.Search+st.Refused.Daily, time.Since(begun).Seconds())
	if differ > 0 {
		return fmt.Errorf("%d records differ from HubSpot's truth", differ)
	}
	fmt.Fprintln(c.env.Stdout, "the store equals HubSpot's truth")
	return nil
}

// compare counts the records of a stream and those that are not as HubSpot has
// them: missing, too many, or of other content.
func compare(ctx context.Context, api *client.Client, sim *simulator.Simulator, name string) (records, differ int, err error) {
	stored := map[string]map[string]*string{}
	for r, err := range api.Changes(ctx, name, client.ChangeQuery{}) {
		if err != nil {
			return 0, 0, err
		}
		var properties map[string]*string
		if err := json.Unmarshal(r.Properties, &properties); err != nil {
			return 0, 0, fmt.Errorf("decode a record: %w", err)
		}
		if _, twice := stored[r.ID]; twice {
			differ++
		}
		if r.State == "live" {
			stored[r.ID] = properties
		}
	}
	truth := sim.Truth(name)
	for _, t := range truth {
		got, ok := stored[t.ID]
		same := ok
		for p, want := range t.Properties {
			have := got[p]
			if (want == nil) != (have == nil) || want != nil && *want != *have {
				same = false
			}
		}
		if !same {
			differ++
		}
		delete(stored, t.ID)
	}
	return len(truth), differ + len(stored), nil
}
