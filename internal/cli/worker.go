package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon"
	"github.com/hubpipe/hubpipe/daemon/access"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker"
	"github.com/hubpipe/hubpipe/worker/hubspot"
)

func (c *command) worker() *cobra.Command {
	var name string
	var unpaced bool
	var reread time.Duration
	cmd := &cobra.Command{Use: "worker", Short: "Run a worker process", Annotations: services(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name != "" && !goodName(name) {
				return usageError("--name %q has to be 1 to 64 of a-z, 0-9, _ and -", name)
			}
			ownFiles()
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
			token := ""
			if cfg.Broker.URL == "" {
				if token, err = awaitToken(cmd.Context(), cfg.DataDir, log); err != nil {
					return ended(cmd.Context(), err)
				}
			}
			taken, release, err := takeName(cfg.DataDir, name)
			if err != nil {
				return err
			}
			defer release()
			w, err := startWorker(cmd.Context(), cfg, taken, token, c.env.Version, log, tempo{unpaced: unpaced, reread: reread})
			if err != nil {
				return err
			}
			another := make(chan error, 1)
			waits, over := context.WithCancel(cmd.Context())
			defer over()
			var wg sync.WaitGroup
			wg.Go(func() {
				if e, ok := errors.AsType[broker.ErrRefused](w.w.AwaitUp(waits)); ok && e.Name() {
					another <- fmt.Errorf("the broker: %w\n  hint: this worker is %s, and its token or certificate was made for another; name that one with --name", e, taken)
				}
			})
			var mistaken error
			for running := true; running; {
				select {
				case mistaken = <-another:
					running = false
				case <-cmd.Context().Done():
					running = false
				case <-w.w.Done():
					running = false
				case <-c.env.Hangup:
					log.Info("a worker reads its configuration at its start alone; restart it to take over a new one")
				}
			}
			end, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), stopTime)
			defer cancel()
			over()
			w.stop(end)
			wg.Wait()
			if mistaken != nil {
				return mistaken
			}
			if errors.Is(w.w.Err(), worker.ErrDisplaced) {
				return fmt.Errorf("%w: %s; this one ends", worker.ErrDisplaced, taken)
			}
			return w.w.Err()
		}}
	cmd.Flags().StringVar(&name, "name", "", "the worker's name (default: the host's)")
	// Against HubSpot it would only earn refusals, so that it is not shown.
	cmd.Flags().BoolVar(&unpaced, "unpaced", false, "ask as fast as answers come; for benchmarks against a simulator without limits alone")
	_ = cmd.Flags().MarkHidden("unpaced") // the flag is there
	// Its replicas catch up in their own time, those of a simulator when told to.
	cmd.Flags().DurationVar(&reread, "reread", 0, "how long after an old reading it is made once more, for tests against a simulator alone")
	_ = cmd.Flags().MarkHidden("reread") // the flag is there
	return cmd
}

// ended makes nothing of an error that is only the end that was asked for.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// awaitToken reads the token of the daemon on this machine. One that starts at
// the same moment for the first time has still to make it.
func awaitToken(ctx context.Context, dataDir string, log hclog.Logger) (string, error) {
	path, said := filepath.Join(dataDir, "token"), false
	for {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return daemon.LoadToken(dataDir, false)
		}
		if !said {
			said = true
			log.Info("waiting for the daemon: it makes the token at its first start", "token", path)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// goodName tells whether a worker may be called so, as the configuration does.
func goodName(name string) bool {
	return len(name) >= 1 && len(name) <= 64 && !notInName.MatchString(name)
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
		name = name[:min(len(name), 60)] // with its number it has to fit
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
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
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
	log     hclog.Logger
}

// portalOptions are how a portal is spoken to. The refresh token that OAuth gives
// back is kept in the data folder.
func portalOptions(x config.Portal, dataDir string) hubspot.Options {
	o := hubspot.Options{BaseURL: x.BaseURL, Version: x.APIVersion, Pinned: x.APIVersion != "", Token: x.Token.Reveal}
	if x.OAuth != nil {
		o.OAuth = &hubspot.OAuth{ClientID: x.OAuth.ClientID, ClientSecret: x.OAuth.ClientSecret.Reveal,
			RefreshToken: x.OAuth.RefreshToken.Reveal, File: filepath.Join(dataDir, "credentials", x.Name+".json")}
	}
	return o
}

// journalOf are the credentials of a portal's journal.
func journalOf(x config.Journal) hubspot.JournalApp {
	return hubspot.JournalApp{ClientID: x.ClientID, ClientSecret: x.ClientSecret.Reveal}
}

// tempo is what a worker does at another speed than against HubSpot: one that is
// unpaced asks as fast as it is answered, schemaEvery is how old what it knows of
// definitions may be, reread how long it waits before it believes an old reading
// (0: as ever).
type tempo struct {
	unpaced     bool
	schemaEvery time.Duration
	reread      time.Duration
}

// startWorker makes a worker and connects it.
func startWorker(ctx context.Context, cfg *config.Config, name, token, version string, log hclog.Logger, t tempo) (*workerProcess, error) {
	p, err := newWorker(cfg, name, token, version, log, t)
	if err != nil {
		return nil, err
	}
	return p, p.start(ctx)
}

// newWorker makes a worker that will connect where the configuration says: to the
// broker that it names, else to the embedded one, by its socket where that is
// here. It does nothing before start.
func newWorker(cfg *config.Config, name, token, version string, log hclog.Logger, t tempo) (*workerProcess, error) {
	p := &workerProcess{}
	portals, limits := map[string]worker.Portal{}, map[string]func() protocol.PortalUsage{}
	journals := map[string]worker.Journal{}
	for _, x := range cfg.Portals {
		if x.Problem != "" {
			continue
		}
		o := portalOptions(x, cfg.DataDir)
		o.Logger, o.Unpaced = log.Named("hubspot").With("portal", x.Name), t.unpaced
		if t.reread > 0 {
			o.Reread = []time.Duration{t.reread / 2, t.reread}
		}
		client := hubspot.New(o)
		portals[x.Name], limits[x.Name] = worker.HubSpot(client), worker.Limits(client)
		if x.Journal != nil {
			journals[x.Name] = client.Journal(journalOf(*x.Journal))
		}
		p.clients = append(p.clients, client)
	}
	topics := protocol.Topics{Prefix: cfg.Broker.Prefix}
	o := broker.SessionOptions{Logger: log.Named("mqtt")}
	socket := filepath.Join(cfg.DataDir, "mqtt.sock")
	_, statErr := os.Stat(socket)
	// A daemon that takes any free port is found by its socket alone, which comes
	// with it; one with TLS too, whose certificate is not of this address.
	here := statErr == nil || strings.HasSuffix(cfg.Broker.Listen, ":0") || cfg.Broker.TLS != nil
	switch {
	case cfg.Broker.URL != "":
		o.URL, o.Username, o.Password = cfg.Broker.URL, cfg.Broker.Username, cfg.Broker.Password.Reveal()
		if t := cfg.Broker.TLS; t != nil {
			secure, err := access.ClientTLS(t.CA, t.Certificate, t.Key)
			if err != nil {
				return nil, fmt.Errorf("broker: %w", err)
			}
			o.TLS = secure
		}
	case here:
		o.URL = "unix://" + socket
	default:
		o.URL, o.Username, o.Password = "mqtt://"+cfg.Broker.Listen, topics.WorkerClient(name), token
	}
	var err error
	p.w, err = worker.NewService(worker.Options{Name: name, Version: version, Portals: portals, Limits: limits, Journals: journals, Concurrency: cfg.Worker.Concurrency,
		SchemaEvery: t.schemaEvery, RereadDelays: [2]time.Duration{t.reread / 2, t.reread}, Topics: topics, Codec: new(protocol.Codec), Logger: log.Named("worker")}, o)
	if err != nil {
		return nil, err
	}
	p.log = log.With("name", name, "portals", len(portals))
	return p, nil
}

// start lets it connect, in the background. Where that cannot begin it is
// stopped.
func (p *workerProcess) start(ctx context.Context) error {
	if err := p.w.Start(ctx); err != nil {
		p.stop(ctx)
		return err
	}
	p.log.Info("worker is running")
	return nil
}

func (p *workerProcess) stop(ctx context.Context) {
	p.once.Do(func() {
		_ = p.w.Stop(ctx) // it is left either way
		for _, c := range p.clients {
			c.Close()
		}
	})
}
