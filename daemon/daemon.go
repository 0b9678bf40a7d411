// Package daemon puts the daemon together: store, broker, dispatcher, control
// topic and HTTP, and the order in which they start and stop.
package daemon

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/access"
	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Options are what a daemon is made of.
type Options struct {
	Config  *config.Config
	Version string
	Logger  hclog.Logger
	// Reload reads the configuration again, for SIGHUP, POST /v1/reload and
	// POST /v1/plan. TakenOver is told of one that counts from now on.
	Reload    func() (*config.Config, error)
	TakenOver func(*config.Config)
	// Shutdown is called when someone asks the daemon to stop.
	Shutdown func()
	Lease    time.Duration // 15 s by default; tests shorten it
}

// Daemon is one running daemon. Start returns when it is ready or has failed
// and closed all that it had opened; Stop returns when it has stopped.
type Daemon struct {
	o       Options
	log     hclog.Logger
	topics  protocol.Topics
	process string
	token   string
	keys    *access.Keys
	httpTLS *access.TLS // nil where the listener has none
	busTLS  *access.TLS
	// brokerTLS is for a broker of others, nil for the system's authorities.
	brokerTLS *tls.Config

	codec        *protocol.Codec
	store        *store.Store
	loop         *dispatch.Loop
	embedded     *broker.Embedded
	bus          *bus
	control      *control
	answers      []*stream.Answered // that the store remembers, for the control topic
	server       *api.Server
	publisher    *publisher
	notifier     *notifier
	destinations *destination.Manager
	events       *events
	began        time.Time
	address      atomic.Pointer[string]
	presences    presences
	reloading    sync.Mutex     // held by the one reload that goes on
	running      *config.Config // taken over last; of the dispatcher's goroutine
	shown        shown

	peers         int // connections that a listener may have
	figures       figures
	logConfigured atomic.Pointer[string] // the level that the configuration names

	brokerSays atomic.Pointer[broker.ConnInfo] // of itself, on the newest connection

	cancel  context.CancelFunc
	closers []closer
}

// closer undoes one step of the start.
type closer struct {
	name string
	f    func(context.Context) error
}

// New returns a daemon that has not begun.
func New(o Options) *Daemon {
	if o.Lease == 0 {
		o.Lease = 15 * time.Second
	}
	d := &Daemon{o: o, running: o.Config, log: o.Logger, topics: protocol.Topics{Prefix: o.Config.Broker.Prefix}}
	d.logConfigured.Store(&o.Config.Log.Level)
	return d
}

// Start opens the store, then the broker, then the connections, then the
// ports. Any failure ends it with one line and leaves nothing half open.
func (d *Daemon) Start(ctx context.Context) (err error) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancel, d.began = cancel, time.Now()
	d.events = newEvents(d.things)
	undo := followLog(d.log, d.events)
	d.onClose("keep the log", func(context.Context) error { undo(); return nil })
	defer func() {
		if err != nil {
			_ = d.close(context.WithoutCancel(ctx))
		}
	}()
	if d.process, err = newProcess(); err != nil {
		return err
	}
	for _, step := range []func(context.Context, context.Context) error{
		d.haveMemory, d.shareDescriptors, d.openAccess, d.openStore, d.startBroker, d.startLoop, d.connect, d.announce,
		d.startControl, d.startDestinations, d.startNotifier, d.serve, d.watchAccess,
	} {
		if err := step(ctx, own); err != nil {
			return err
		}
	}
	d.log.Info("ready", "http", d.server.Addr(), "mqtt", d.BrokerAddr(), "store", d.store.ID(), "epoch", d.store.Epoch())
	return nil
}

// Stop ends the daemon: the API takes no more work, nothing new is started,
// pages in flight are committed, the broker closes, the store closes last.
// Open attempts stay; their leases carry them over a restart.
func (d *Daemon) Stop(ctx context.Context) error {
	d.Closing(ctx)
	return d.close(ctx)
}

// Closing keeps the daemon from starting or handing out anything more; what
// runs goes on. A worker in the same process drains after it and before Stop.
func (d *Daemon) Closing(ctx context.Context) {
	_ = d.loop.Do(ctx, func(x *dispatch.Dispatcher, _ time.Time) ([]dispatch.Out, error) {
		x.Closing()
		return nil, nil
	})
}

func (d *Daemon) close(ctx context.Context) error {
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		if err := d.closers[i].f(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d.closers[i].name, err))
		}
	}
	d.closers = nil
	d.cancel()
	return errors.Join(errs...)
}

func (d *Daemon) onClose(name string, f func(context.Context) error) {
	d.closers = append(d.closers, closer{name, f})
}

// background runs f until the daemon stops; its context ends then.
func (d *Daemon) background(own context.Context, name string, f func(context.Context)) {
	ctx, stop := context.WithCancel(own)
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	d.onClose(name, func(context.Context) error { stop(); wg.Wait(); return nil })
}

func (d *Daemon) openStore(ctx, _ context.Context) error {
	d.codec = new(protocol.Codec)
	var err error
	d.store, err = store.Open(ctx, store.Options{Dir: filepath.Join(d.o.Config.DataDir, "store"), Logger: d.log.Named("store")})
	if err != nil {
		return err
	}
	d.onClose("close store", func(context.Context) error { return d.store.Close() })
	// Before anything is committed: what a destination has is known later.
	d.tellKept(destination.Keeps(destinationSpecs(d.o.Config)))
	return nil
}

func (d *Daemon) startLoop(ctx, own context.Context) error {
	l, err := d.store.Load(ctx)
	if err != nil {
		return err
	}
	streams, err := streamConfigs(d.o.Config)
	if err != nil {
		return err
	}
	d.answers = l.Answers
	now := time.Now()
	x := dispatch.New(now, storeAdapter{d.store}, dispatch.Ledger{Streams: l.Streams, Runs: l.Runs, Ranges: l.Ranges,
		Workers: l.Workers, Portals: l.Portals}, streams, dispatch.Options{Lease: d.o.Lease, ParseInterval: parseInterval})
	if _, err := x.Reload(now, streams); err != nil {
		return fmt.Errorf("take over the configuration: %w", err)
	}
	d.shown.choose(streams)
	d.bus = newBus(d.topics, d.codec, d.o.Lease, d.log.Named("bus"))
	d.publisher = newPublisher(d, x.Names())
	d.loop = dispatch.NewLoop(dispatch.LoopOptions{Dispatcher: x, Send: d.bus.send, Logger: d.log.Named("dispatch"),
		Changed: func() { d.publisher.wake(); d.events.wake() }})
	d.bus.loop = d.loop
	d.loop.Start()
	d.onClose("loop", func(context.Context) error { d.loop.Stop(); return nil })
	d.background(own, "mend store", d.mendStore)
	return nil
}

// startBroker opens the embedded broker, unless the configuration names one
// that exists already.
func (d *Daemon) startBroker(ctx, _ context.Context) error {
	c := d.o.Config
	if c.Broker.URL != "" {
		return nil
	}
	e, err := broker.NewEmbedded(broker.EmbeddedOptions{Listen: c.Broker.Listen, Socket: d.socket("mqtt.sock"),
		Prefix: c.Broker.Prefix, TLS: listenTLS(d.busTLS), MaxPacket: int(c.Broker.MaxPacket),
		Authenticate: d.busLogin, Limits: broker.Limits{Connections: d.peers, PerAddress: (d.peers + 1) / 2, Pending: min(d.peers, 128)},
		Logger: d.log.Named("broker")})
	if err != nil {
		return err
	}
	if err := e.Start(ctx); err != nil {
		return err
	}
	d.embedded = e
	d.onClose("stop broker", e.Stop)
	return nil
}

// Addr is where the HTTP API listens, for those that asked for port 0.
func (d *Daemon) Addr() string { return d.server.Addr() }

// BrokerAddr is where the embedded broker listens over TCP, or the URL of the
// one in use.
func (d *Daemon) BrokerAddr() string {
	if d.embedded != nil {
		return d.embedded.Addr()
	}
	return d.o.Config.Broker.URL
}

// Token is the owner's: what HTTP and MQTT over TCP take for everything.
func (d *Daemon) Token() string { return d.token }

func (d *Daemon) socket(name string) string { return filepath.Join(d.o.Config.DataDir, name) }

func newProcess() (string, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("name the process: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}
