package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hubpipe/hubpipe/internal/listen"
	mqtt "github.com/mochi-mqtt/server/v2"
)

// Limits bound what clients can cost. A zero value takes its default.
type Limits struct {
	LoginTimeout time.Duration // from connection to CONNECT: 10 s
	LoginPacket  int           // bytes of a CONNECT: 8 KiB
	WriteTimeout time.Duration // for a peer that does not read: 5 s
	Pending      int           // connections that have not logged in, a listener: 128; half of them of one address
	Connections  int           // that have, a listener: 1024
	PerAddress   int           // of one address: 512
	Sessions     int           // of control users, connected or kept: 1024
	Inflight     int           // messages kept for a client: 2048
	Session      time.Duration // how long a session is kept: 1 h
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	span := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	span(&l.LoginTimeout, 10*time.Second)
	span(&l.WriteTimeout, 5*time.Second)
	span(&l.Session, time.Hour)
	set(&l.LoginPacket, 8<<10)
	set(&l.Pending, 128)
	set(&l.Connections, 1024)
	set(&l.PerAddress, 512)
	set(&l.Sessions, 1024)
	set(&l.Inflight, 2048)
	l.Inflight = min(l.Inflight, math.MaxUint16)
	return l
}

// defaultMaxPacket is the greatest packet where nothing else is asked for.
const defaultMaxPacket = 1 << 20

// EmbeddedOptions say where the broker listens and whom it lets in.
type EmbeddedOptions struct {
	Listen    string      // host:port, port 0 for a free one; empty for no TCP
	Socket    string      // path of a unix socket, mode 0600; empty for none
	TLS       *tls.Config // over TCP; nil for none, on loopback alone
	Prefix    string      // of hubpipe's topics and client ids
	MaxPacket int         // bytes of a whole packet; 1 MiB by default

	// Authenticate says who logs in over TCP. Nobody is the daemon there.
	// Whoever can open the unix socket is who its client id says.
	Authenticate Authenticator

	Logger hclog.Logger
	Limits Limits
}

// Embedded is an MQTT broker within the process, behind the guard and the
// access rules. It keeps nothing across restarts.
type Embedded struct {
	o      EmbeddedOptions
	log    hclog.Logger
	server *mqtt.Server
	hook   *hook

	mu        sync.Mutex // guards what follows
	listeners []*listener
	started   bool
	stopped   bool
	done      chan struct{} // closed when all has ended
}

// NewEmbedded checks the options; it opens nothing.
func NewEmbedded(o EmbeddedOptions) (*Embedded, error) {
	if o.Listen == "" && o.Socket == "" {
		return nil, errors.New("the broker has neither an address nor a socket to listen on")
	}
	if o.Prefix == "" || !validTopic(o.Prefix, false) || o.Prefix[0] == '$' {
		return nil, fmt.Errorf("the broker's prefix %q cannot begin a topic", o.Prefix)
	}
	if o.Listen != "" && o.Authenticate == nil {
		return nil, errors.New("a broker that listens on TCP needs to know whom to let in")
	}
	if o.TLS == nil && o.Listen != "" && !listen.Loopback(o.Listen) {
		return nil, fmt.Errorf("the broker does not leave this machine without TLS: %s is no loopback address", o.Listen)
	}
	if o.Authenticate == nil {
		o.Authenticate = func(Login) (Grant, bool) { return Grant{}, false }
	}
	if o.MaxPacket <= 0 {
		o.MaxPacket = defaultMaxPacket
	}
	o.MaxPacket = min(o.MaxPacket, 256<<20)
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	o.Limits = o.Limits.withDefaults()
	return &Embedded{o: o, log: o.Logger, done: make(chan struct{})}, nil
}

// capabilities are the limits of the broker behind the guard, each on purpose.
func (e *Embedded) capabilities() *mqtt.Capabilities {
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumSessionExpiryInterval = seconds(e.o.Limits.Session)
	c.MaximumMessageExpiryInterval = 0                  // else retained messages would end too
	c.MaximumInflight = uint16(e.o.Limits.Inflight)     // beyond it messages are dropped, and said again
	c.MaximumClientWritesPending = 2048                 // a slot for each client is made at its login
	c.MaximumPacketSize = uint32(e.o.MaxPacket)         // the guard's limit, once more
	c.TopicAliasMaximum = 0                             // an alias hides the topic from the rules
	c.SharedSubAvailable = 0                            // gives work to members that are gone
	c.Compatibilities.NoInheritedPropertiesOnAck = true // else PUBACKs echo the publisher's
	return c
}

// Start opens the sockets and serves; it returns when clients can connect, or
// with an error that names the address, and then nothing is left open.
func (e *Embedded) Start(ctx context.Context) (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.started || e.stopped {
		return errors.New("the broker was started or stopped already")
	}
	server := listen.Server{Name: "mqtt", Block: "broker"}
	var open []net.Listener
	defer func() {
		if err != nil {
			for _, ln := range open {
				_ = ln.Close()
			}
		}
	}()
	e.server = mqtt.New(&mqtt.Options{
		Capabilities:           e.capabilities(),
		Logger:                 slog.New(logBridge{log: e.log}),
		SysTopicResendInterval: 24 * 60 * 60,
	})
	e.hook = &hook{prefix: e.o.Prefix, maxPacket: uint32(e.o.MaxPacket), maxExpiry: seconds(e.o.Limits.Session),
		maxSessions: e.o.Limits.Sessions, maxKeepAlive: 40_000, authenticate: e.o.Authenticate, server: e.server,
		log: e.log, refused: &refusals{}, owners: map[string]*owner{}}
	if err := e.server.AddHook(e.hook, nil); err != nil {
		return fmt.Errorf("prepare the broker: %w", err)
	}
	if e.o.Socket != "" {
		ln, err := server.Unix(ctx, e.o.Socket)
		if err != nil {
			return err
		}
		open = append(open, ln)
		e.attach("socket", ln, true, nil)
	}
	if e.o.Listen != "" {
		ln, err := server.TCP(ctx, e.o.Listen, e.o.TLS != nil)
		if err != nil {
			return err
		}
		open = append(open, ln)
		e.attach("tcp", ln, false, e.o.TLS)
	}
	for _, l := range e.listeners {
		if err := e.server.AddListener(l); err != nil {
			return fmt.Errorf("prepare the broker: %w", err)
		}
		l.wg.Add(1) // for Serve, which the broker calls
	}
	// The broker counts its clients and waits for them when it closes: a count
	// that could rise from nothing while it waits is a race. Ours keeps it up
	// until no connection is left that could log in; see close.
	e.server.Listeners.ClientsWg.Add(1)
	if err := e.server.Serve(); err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	e.started = true
	return nil
}

func (e *Embedded) attach(id string, ln net.Listener, trusted bool, secure *tls.Config) {
	e.listeners = append(e.listeners, &listener{id: id, ln: ln, trusted: trusted, tls: secure, limits: e.o.Limits, packet: e.o.MaxPacket,
		gate: newGate(e.o.Limits), release: e.hook.released, goodbye: e.hook.goodbye, refused: e.hook.refused, log: e.log, end: make(chan struct{})})
}

// Addr is the TCP address that the broker listens on, with its real port, or
// the socket's path where there is no TCP; empty before Start.
func (e *Embedded) Addr() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.listeners) == 0 {
		return ""
	}
	return e.listeners[len(e.listeners)-1].Address()
}

// Recheck cuts off whoever has come in by a grant that holds no longer.
func (e *Embedded) Recheck() {
	e.mu.Lock()
	listeners := e.listeners
	e.mu.Unlock()
	for _, l := range listeners {
		for _, c := range l.gate.members() {
			if !c.allowed() {
				e.log.Info("cut off a connection: its credentials hold no longer", "remote", c.RemoteAddr(), "client", c.claimed())
				e.hook.cutOff(c)
			}
		}
	}
}

// Stop says goodbye to all clients, closes the sockets and returns when
// everything has ended, or when ctx has. It may be called more than once, and
// without Start.
func (e *Embedded) Stop(ctx context.Context) error {
	e.mu.Lock()
	if !e.started {
		e.stopped = true
		e.mu.Unlock()
		return nil
	}
	if !e.stopped {
		e.stopped = true
		go e.close()
	}
	e.mu.Unlock()
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the broker: %w", ctx.Err())
	}
}

// close ends at the latest when the last write to a client gives up, a second
// or so after it began; Stop waits for it.
func (e *Embedded) close() {
	defer close(e.done)
	go func() {
		defer e.server.Listeners.ClientsWg.Done()
		for _, l := range e.listeners {
			l.wg.Wait()
		}
	}()
	if err := e.server.Close(); err != nil {
		e.log.Warn("the broker did not close cleanly", "error", err)
	}
}
