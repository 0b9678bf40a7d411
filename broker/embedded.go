// Package broker is the bus between hubpipe's processes: the embedded broker
// with its guard and access rules, and the client session that daemon and
// workers share.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
)

// EmbeddedOptions are how the embedded broker listens and whom it knows.
type EmbeddedOptions struct {
	Listen string // TCP; port 0 is a free one, empty none
	Socket string // unix socket, for its owner alone
	Prefix string
	// MaxPacket is the greatest packet taken (1 MiB).
	MaxPacket int
	// Authenticate judges a user that comes over TCP.
	Authenticate func(username, password string) (Identity, bool)
	Logger       hclog.Logger
}

// Embedded is mochi behind the guard. Its limits are set on purpose: few and
// small messages wait, since all that is lost is said again.
type Embedded struct {
	o      EmbeddedOptions
	server *mqtt.Server
	tcp    net.Listener
}

// NewEmbedded returns a broker that has not begun.
func NewEmbedded(o EmbeddedOptions) (*Embedded, error) {
	if o.MaxPacket == 0 {
		o.MaxPacket = 1 << 20
	}
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClients = maxClients
	caps.MaximumSessionExpiryInterval = 3600
	caps.MaximumMessageExpiryInterval = 3600
	caps.MaximumClientWritesPending = 1024
	caps.MaximumInflight = 1024
	caps.TopicAliasMaximum = 0
	caps.SharedSubAvailable = 0
	caps.MaximumPacketSize = uint32(o.MaxPacket)
	caps.Compatibilities.NoInheritedPropertiesOnAck = true
	e := &Embedded{o: o, server: mqtt.New(&mqtt.Options{Capabilities: caps, Logger: slog.New(slog.DiscardHandler),
		SysTopicResendInterval: 3600})}
	if err := e.server.AddHook(&rules{o: o}, nil); err != nil {
		return nil, fmt.Errorf("set up the broker's rules: %w", err)
	}
	return e, nil
}

// Start binds and serves; it returns when clients can connect.
func (e *Embedded) Start(ctx context.Context) error {
	var lc net.ListenConfig
	if e.o.Listen != "" {
		l, err := lc.Listen(ctx, "tcp", e.o.Listen)
		if err != nil {
			return fmt.Errorf("the broker cannot listen on %s: %w; is another program there? set broker { listen }", e.o.Listen, err)
		}
		e.tcp = l
		if err := e.server.AddListener(listeners.NewNet("tcp", newGuard(l, e.o.MaxPacket))); err != nil {
			return errors.Join(fmt.Errorf("add the broker's listener: %w", err), l.Close())
		}
	}
	if err := e.listenUnix(ctx); err != nil {
		if e.tcp != nil {
			_ = e.tcp.Close()
		}
		return err
	}
	if err := e.server.Serve(); err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	return nil
}

// listenUnix opens the socket; one that nobody answers any more is removed.
func (e *Embedded) listenUnix(ctx context.Context) error {
	if e.o.Socket == "" {
		return nil
	}
	d := net.Dialer{Timeout: time.Second}
	if c, err := d.DialContext(ctx, "unix", e.o.Socket); err == nil {
		_ = c.Close()
		return fmt.Errorf("another broker answers on %s", e.o.Socket)
	}
	_ = os.Remove(e.o.Socket)
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", e.o.Socket)
	if err != nil {
		return fmt.Errorf("the broker cannot listen on %s: %w", e.o.Socket, err)
	}
	if err := os.Chmod(e.o.Socket, 0o600); err != nil {
		return errors.Join(fmt.Errorf("close %s to others: %w", e.o.Socket, err), l.Close())
	}
	return e.server.AddListener(listeners.NewNet("unix", newGuard(l, e.o.MaxPacket)))
}

// Stop disconnects everybody and closes the listeners. It may be called twice.
func (e *Embedded) Stop(context.Context) error {
	return e.server.Close()
}

// Addr is where the broker listens over TCP, "" where it does not.
func (e *Embedded) Addr() string {
	if e.tcp == nil {
		return ""
	}
	return e.tcp.Addr().String()
}
