package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/tui"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// demoTime bounds the first full sync of a demo, and what follows a scenario.
const demoTime = 5 * time.Minute

func (c *command) demo() *cobra.Command {
	var once, plain bool
	var scenario, warehouse string
	cmd := &cobra.Command{Use: "demo", Short: "See it work, without an account: daemon, worker and a simulated HubSpot", Annotations: map[string]string{judging: "yes"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.plain = plain
			return c.runDemo(cmd.Context(), once || !c.terminal, scenario, warehouse)
		}}
	cmd.Flags().BoolVar(&once, "once", false, "end after the first full sync, with a summary; with a scenario, after its last step")
	cmd.Flags().BoolVar(&plain, "plain", false, "lines instead of the dashboard")
	cmd.Flags().StringVar(&warehouse, "postgres", "", "copy everything into this PostgreSQL too, into the schema "+demoSchema+": postgres://user@host/database, or env:NAME where the variable NAME has the address, so that no list of processes shows its password")
	cmd.Flags().StringVar(&scenario, "scenario", "", "read everything that HubSpot has, and hold it against the truth after "+scenarioUsage())
	return cmd
}

func (c *command) runDemo(ctx context.Context, once bool, scenario, warehouse string) (err error) {
	ownFiles()
	begun := time.Now()
	w := newDemoWatch(c.env.Stdout)
	o, err := demoHubSpot(scenario, once)
	if err != nil {
		return err
	}
	if warehouse != "" {
		if warehouse, err = c.warehouseURL(warehouse); err != nil {
			return err
		}
		if err := c.clearWarehouse(ctx, warehouse); err != nil {
			return err
		}
	}
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
	sim, err := serveSimulator(ctx, "127.0.0.1:0", o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.stop()) }()
	cfg, err := demoConfig(dir, sim.url, warehouse, o)
	if err != nil {
		return err
	}
	screen := !once && !c.plain && c.fullScreen()
	log, err := c.logger("warn")
	if err != nil {
		return err
	}
	if screen { // the dashboard shows the log, and has the screen to itself
		log = hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "hubpipe", Level: hclog.Info, Output: io.Discard})
	}
	d := daemon.New(daemon.Options{Config: cfg, Version: c.env.Version, Logger: log})
	if err := d.Start(ctx); err != nil {
		return err
	}
	end := context.WithoutCancel(ctx)
	defer func() { err = errors.Join(err, d.Stop(end)) }()
	tempo := tempo{}
	if o.Scenario != nil {
		tempo.schemaEvery = time.Second // a scenario changes definitions
	}
	worker, err := startWorker(ctx, cfg, "demo", d.Token(), c.env.Version, log, tempo)
	if err != nil {
		return err
	}
	defer worker.stop(end)
	api := client.New(client.Options{Addr: filepath.Join(dir, "http.sock")})
	defer api.Close()
	if screen {
		help := fmt.Sprintf(demoNotes, sim.url, dir, d.Addr(), d.Token())
		o := tui.Options{Blocks: c.drawsBlocks(), Notes: strings.Split(help, "\n")}
		if err := c.openDashboard(ctx, api, o); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.env.Stdout, "the demo ran for %s; its folder is removed\n", time.Since(begun).Round(time.Second))
		return err
	}
	fmt.Fprintf(c.env.Stdout, "simulated HubSpot at %s, API at http://%s, MQTT at %s\n", sim.url, d.Addr(), d.BrokerAddr())
	if !once {
		fmt.Fprintf(c.env.Stdout, demoHelp, dir, d.Token(), cfg.Path, d.Token(), d.Addr())
	}
	if err := w.watch(ctx, api, once); err != nil || !once {
		return err // what goes on changing is equal to no truth
	}
	if o.Scenario != nil {
		p := play{api: api, sim: sim.sim, streams: cfg.Streams, out: c.env.Stdout}
		if err := p.run(ctx); err != nil {
			return err
		}
	}
	if err := c.summary(ctx, api, sim, cfg.Streams, begun); err != nil || warehouse == "" {
		return err
	}
	return c.checkWarehouse(ctx, api)
}

// demoNotes are the same for the dashboard, in lines that no terminal breaks: its
// HubSpot, its folder, and its address and token.
const demoNotes = `this is a demo, with a simulated HubSpot at %s
from another terminal, see what it has and how it changes:
  cd %s
  hubpipe status
  hubpipe changes contacts --follow
its API is at http://%s, with the token
  %s
q ends it, and takes its folder away`

// demoHelp is what one can do beside a demo that goes on: its folder, token and
// configuration, and its token and address once more.
const demoHelp = `its data is in %s, until it ends; its token is %s
from another terminal:
  hubpipe status --config %s
  curl -N -H "Authorization: Bearer %s" "http://%s/v1/streams/contacts/changes?follow=true"
Ctrl-C ends it.

`

// demoHubSpot is the HubSpot of a demo. One with a scenario answers faster than
// HubSpot would: it has everything, and a person waits.
func demoHubSpot(scenario string, once bool) (simulator.Options, error) {
	o := simulator.Options{Token: "demo", Seed: 1, Limits: true, Properties: 40,
		Sizes: map[string]int{"contacts": 3000, "companies": 800, "deals": 800, "tickets": 400}}
	if scenario == "" {
		if !once {
			o.ChangeRate = 2
		}
		return o, nil
	}
	sc, err := simulator.FindScenario(scenario)
	if err != nil {
		return o, &exitError{ExitUsage, fmt.Errorf("--scenario: %w", err)}
	}
	if sc.Midnight && once {
		return o, usageError("--scenario %s ends at the portal's midnight: watch it without --once, on a terminal", scenario)
	}
	o.BurstPer10s = 5000
	for _, name := range simulator.Objects() {
		o.Sizes[name] = max(o.Sizes[name], 10)
	}
	o.Associations = map[string]float64{"contacts-companies": 1.2}
	sc.Apply(&o)
	if !once {
		o.ScenarioEvery = 5 * time.Second
	}
	return o, nil
}

// demoConfig is a configuration of the demo's own: its folder, free ports, so
// that it is in nobody's way, and streams that are quick to see.
func demoConfig(dir, url, warehouse string, o simulator.Options) (*config.Config, error) {
	path := filepath.Join(dir, "hubpipe.hcl")
	text := fmt.Sprintf(`data_dir = %q
http { listen = "127.0.0.1:0" }
broker { listen = "127.0.0.1:0" }
portal "demo" {
  token    = env("TOKEN")
  base_url = %q
}
`, dir, url)
	if o.Scenario == nil {
		text += `defaults {
  interval = "2s"
  tail     = "10s"
}
stream "contacts" {}
stream "companies" {}
stream "deals" {}
stream "tickets" {}
`
	} else {
		text += everyStream(o)
	}
	if warehouse != "" {
		text += demoWarehouse
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the demo's configuration: %w", err)
	}
	cfg, diags, err := config.Load(config.Options{Path: path, Env: func(name string) (string, bool) {
		if name == demoVariable {
			return warehouse, true
		}
		return "demo", true
	}, Objects: catalogue.Names()})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, diags)
	}
	return cfg, nil
}

// summary counts what was done and holds the store against the truth, a line a
// stream.
func (c *command) summary(ctx context.Context, api *client.Client, sim *simulated, streams []config.Stream, begun time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	records, width := 0, 0
	for _, s := range streams {
		width = max(width, len(s.Name))
	}
	var wrong []string
	for _, s := range streams {
		v, err := judge(ctx, api, sim.sim, s)
		if err != nil {
			return err
		}
		for _, n := range v.states {
			records += n
		}
		if len(v.wrong) > 0 {
			wrong = append(wrong, s.Name)
		}
		fmt.Fprintf(c.env.Stdout, "%-*s  %s\n", width, s.Name, v)
	}
	st := sim.sim.Stats()
	requests := int64(0)
	for _, n := range st.Requests {
		requests += n
	}
	fmt.Fprintf(c.env.Stdout, "%d records, %d requests (%d over the limit), %.1f s\n", records, requests, st.Refused.Burst+st.Refused.Search+st.Refused.Daily, time.Since(begun).Seconds())
	if len(wrong) > 0 {
		return fmt.Errorf("the store differs from HubSpot's truth in %s", strings.Join(wrong, ", "))
	}
	fmt.Fprintln(c.env.Stdout, "the store equals HubSpot's truth")
	return nil
}
