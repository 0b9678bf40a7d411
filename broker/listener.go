package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/mochi-mqtt/server/v2/listeners"
)

// listener is the guard's door: it accepts, has each connection log in within
// bounds, and only then shows it to the broker.
type listener struct {
	id      string
	ln      net.Listener
	trusted bool
	tls     *tls.Config // nil for none
	limits  Limits
	packet  int
	gate    *gate
	release func(*guardConn) // what the access rules keep of a connection
	goodbye func(*guardConn) // ends one, and says why
	refused *refusals
	log     hclog.Logger
	wg      sync.WaitGroup // connections, and Serve itself
	end     chan struct{}
	once    sync.Once
}

var _ listeners.Listener = (*listener)(nil)

// Init does nothing: the socket is open already, so that Start could fail.
func (l *listener) Init(*slog.Logger) error { return nil }

// ID names the listener.
func (l *listener) ID() string { return l.id }

// Address is where it listens.
func (l *listener) Address() string { return l.ln.Addr().String() }

// Protocol is the network it listens on.
func (l *listener) Protocol() string { return l.ln.Addr().Network() }

// acceptPause is how long to wait where a connection cannot be accepted, as
// for want of file descriptors.
const acceptPause = 50 * time.Millisecond

// Serve accepts until Close. Its caller has added it to the wait group.
func (l *listener) Serve(establish listeners.EstablishFn) {
	defer l.wg.Done()
	for {
		conn, err := l.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			l.log.Warn("cannot accept a connection", "error", err)
			select {
			case <-l.end:
				return
			case <-time.After(acceptPause):
				continue
			}
		}
		c := &guardConn{Conn: conn, wire: conn, trusted: l.trusted, limit: l.packet, writeTimeout: l.limits.WriteTimeout,
			closed: func(c *guardConn) { l.gate.leave(c); l.release(c) }}
		if l.tls != nil {
			c.Conn = tls.Server(conn, l.tls)
		}
		evicted, ok := l.gate.enter(c)
		if evicted != nil {
			l.refused.add(RefusedEvicted)
			l.log.Debug("closed a connection that did not log in, to make room", "remote", evicted.RemoteAddr())
			_ = evicted.Close()
		}
		if !ok {
			_ = conn.Close()
			continue
		}
		l.wg.Go(func() { l.handle(c, establish) })
	}
}

// handle is the life of one connection. What the broker's own code panics
// over ends the connection and nothing else.
func (l *listener) handle(c *guardConn, establish listeners.EstablishFn) {
	defer func() {
		if r := recover(); r != nil {
			l.log.Error("a connection made the broker panic", "remote", c.RemoteAddr(), "panic", r, "stack", string(debug.Stack()))
		}
		_ = c.Close()
	}()
	if err := c.Conn.SetDeadline(time.Now().Add(l.limits.LoginTimeout)); err != nil {
		return
	}
	c.in = bufio.NewReaderSize(c.Conn, 1024)
	err := c.shake(context.Background()) // the deadline bounds it, and Close ends it
	if err == nil {
		err = c.login(min(l.limits.LoginPacket, l.packet))
	}
	if err != nil {
		l.refused.add(ofFrame(err, true))
		l.log.Debug("a connection did not log in", "remote", c.RemoteAddr(), "error", err)
		return
	}
	if !l.gate.admit(c) {
		l.refused.add(RefusedFull)
		l.log.Warn("too many connections: one was refused", "remote", c.RemoteAddr())
		_, _ = c.Write(busy(c.version))
		return
	}
	err = establish(l.id, c)
	c.mu.Lock()
	why := c.why
	c.mu.Unlock()
	l.refused.add(ofFrame(why, false))
	if why != nil && !errors.Is(why, io.EOF) && !errors.Is(why, net.ErrClosed) {
		err = fmt.Errorf("the guard: %w", why)
	}
	if err != nil {
		l.log.Debug("a connection ended", "remote", c.RemoteAddr(), "client", c.claimed(), "error", err)
	}
}

// busy is the CONNACK of a broker that has no room.
func busy(version byte) []byte {
	if version == 5 {
		return []byte{0x20, 3, 0, 0x89, 0}
	}
	return []byte{0x20, 2, 0, 3}
}

// farewell is how long a client may take to take its DISCONNECT.
const farewell = time.Second

// Close lets nobody in any more, says goodbye to those who are in and closes
// what is left. It does not wait for their goroutines. The broker's own way to
// close the clients of a listener is not taken: it locks the list of clients
// for reading twice (Clients.GetByListener of mochi v2.7.9), and stands still for
// ever where somebody logs in between the two.
func (l *listener) Close(listeners.CloseFn) {
	l.once.Do(func() {
		close(l.end)
		_ = l.ln.Close()
		all := l.gate.close()
		for _, c := range all {
			c.shorten(farewell)
		}
		for _, c := range all {
			l.goodbye(c)
		}
	})
}
