package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker"
	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// stopTime bounds a clean stop.
const stopTime = 10 * time.Second

func (c *command) options() config.Options {
	o := config.Options{Path: c.config, Env: c.env.Getenv}
	for _, x := range catalogue.Objects() {
		o.Objects = append(o.Objects, x.Name)
	}
	return o
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
	for _, line := range append(blockOAuth(cfg), unread(cfg)...) {
		fmt.Fprintln(c.env.Stderr, "note:", line)
	}
	if c.level == "" {
		c.level = cfg.Log.Level
	}
	c.json = cfg.Log.Format == "json"
	return cfg, nil
}

func (c *command) daemon() *cobra.Command {
	return &cobra.Command{Use: "daemon", Short: "Run the daemon alone; workers are processes of their own", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runDaemon(cmd.Context(), false) }}
}

func (c *command) up() *cobra.Command {
	return &cobra.Command{Use: "up", Short: "Run the daemon with a worker in it: what most people run", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runDaemon(cmd.Context(), true) }}
}

func (c *command) runDaemon(ctx context.Context, withWorker bool) error {
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
			cfg, _, err := config.Load(c.options())
			if err == nil {
				blockOAuth(cfg)
				select {
				case reloaded <- cfg:
				default: // the one before is still being taken over
				}
			}
			return cfg, err
		}})
	if err := d.Start(ctx); err != nil {
		return err
	}
	var w *workerProcess
	if withWorker {
		name := cmp.Or(cfg.Worker.Name, "up")
		if w, err = startWorker(ctx, cfg, name, d.Token(), c.env.Version, log, false); err != nil {
			return errors.Join(err, d.Stop(context.WithoutCancel(ctx)))
		}
	}
	for running := true; running; {
		select {
		case <-ctx.Done():
			running = false
		case <-c.env.Reload:
			if err := d.Reload(ctx); err != nil {
				log.Error("the configuration was not taken over", "error", err)
			}
		case next := <-reloaded:
			// A worker reads its credentials once: it is made anew with them.
			if w == nil {
				continue
			}
			w.stop(ctx)
			if w, err = startWorker(ctx, next, cmp.Or(next.Worker.Name, "up"), d.Token(), c.env.Version, log, false); err != nil {
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

func (c *command) worker() *cobra.Command {
	var name string
	var unpaced bool
	cmd := &cobra.Command{Use: "worker", Short: "Run a worker process", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			log, err := c.logger(cfg.Log.Level)
			if err != nil {
				return err
			}
			if name == "" {
				name = cfg.Worker.Name
			}
			token, err := daemon.LoadToken(cfg.DataDir, false)
			if err != nil && cfg.Broker.URL == "" {
				return err
			}
			taken, release, err := takeName(cfg.DataDir, name)
			if err != nil {
				return err
			}
			defer release()
			w, err := startWorker(cmd.Context(), cfg, taken, token, c.env.Version, log, unpaced)
			if err != nil {
				return err
			}
			select {
			case <-cmd.Context().Done():
			case <-w.w.Done():
			}
			end, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), stopTime)
			defer cancel()
			w.stop(end)
			return w.w.Err()
		}}
	cmd.Flags().StringVar(&name, "name", "", "the worker's name (default: the host's)")
	// Against HubSpot it would only earn refusals, so that it is not shown.
	cmd.Flags().BoolVar(&unpaced, "unpaced", false, "ask as fast as answers come; for benchmarks against a simulator without limits alone")
	_ = cmd.Flags().MarkHidden("unpaced") // the flag is there
	return cmd
}

var notInName = regexp.MustCompile(`[^a-z0-9_-]`)

// takeName gives a worker its name: the one it asks for, or the host's, with a
// number behind it where that one is taken on this machine.
func takeName(dataDir, asked string) (string, func(), error) {
	name := asked
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "worker"
		}
		host, _, _ = strings.Cut(host, ".")
		name = notInName.ReplaceAllString(strings.ToLower(host), "-")
	}
	dir := filepath.Join(dataDir, "workers")
	if asked != "" {
		return name, func() {}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("make the folder of workers' names: %w; give this one a --name", err)
	}
	for n := 1; n <= 1000; n++ {
		try := name
		if n > 1 {
			try = fmt.Sprintf("%s-%d", name, n)
		}
		f, err := os.OpenFile(filepath.Join(dir, try+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return "", nil, fmt.Errorf("take the name %s: %w", try, err)
		}
		if lockFile(f) == nil {
			return try, func() { _ = f.Close() }, nil
		}
		_ = f.Close()
	}
	return "", nil, errors.New("a thousand workers run on this machine: give this one a --name")
}

// workerProcess is a worker with its connection.
type workerProcess struct {
	w       *worker.Service
	clients []*hubspot.Client
	once    sync.Once
}

// startWorker connects a worker where the configuration says: to the broker
// that it names, else to the embedded one, by its socket where that is here.
// An unpaced one asks as fast as it is answered.
func startWorker(ctx context.Context, cfg *config.Config, name, token, version string, log hclog.Logger, unpaced bool) (*workerProcess, error) {
	p := &workerProcess{}
	portals := map[string]worker.Portal{}
	for _, x := range cfg.Portals {
		if x.Problem != "" || x.OAuth != nil {
			continue
		}
		client := hubspot.New(hubspot.Options{BaseURL: x.BaseURL, Version: x.APIVersion, Token: x.Token.Reveal,
			Logger: log.Named("hubspot"), Unpaced: unpaced})
		portals[x.Name] = worker.HubSpot(client)
		p.clients = append(p.clients, client)
	}
	topics := protocol.Topics{Prefix: cfg.Broker.Prefix}
	o := broker.SessionOptions{Logger: log.Named("mqtt")}
	socket := filepath.Join(cfg.DataDir, "mqtt.sock")
	_, statErr := os.Stat(socket)
	here := statErr == nil
	switch {
	case cfg.Broker.URL != "":
		o.URL, o.Username, o.Password = cfg.Broker.URL, cfg.Broker.Username, cfg.Broker.Password.Reveal()
	case here:
		o.URL = "unix://" + socket
	default:
		o.URL, o.Username, o.Password = "mqtt://"+cfg.Broker.Listen, topics.WorkerClient(name), token
	}
	var err error
	p.w, err = worker.NewService(worker.Options{Name: name, Version: version, Portals: portals, Concurrency: cfg.Worker.Concurrency,
		Topics: topics, Codec: new(protocol.Codec), Logger: log.Named("worker")}, o)
	if err != nil {
		return nil, err
	}
	if err := p.w.Start(ctx); err != nil {
		p.stop(ctx)
		return nil, err
	}
	log.Info("worker is running", "name", name, "portals", len(portals))
	return p, nil
}

func (p *workerProcess) stop(ctx context.Context) {
	p.once.Do(func() {
		_ = p.w.Stop(ctx) // it is left either way
		for _, c := range p.clients {
			c.Close()
		}
	})
}
