package broker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// keepBuffer is the greatest frame buffer that a connection keeps: a page's.
const keepBuffer = frameStep + 16<<10

// guardConn is a connection as the broker sees it: what it reads are whole
// packets that were checked, one after another. Only the broker's reader calls
// Read; the rest is safe from several goroutines.
type guardConn struct {
	net.Conn
	wire         net.Conn            // below TLS; Conn itself where there is none
	certificates []*x509.Certificate // of the client, verified by TLS
	trusted      bool                // the socket says who may come: no password is asked
	limit        int                 // bytes of a packet, after login
	writeTimeout time.Duration
	closed       func(*guardConn)

	// Of the reader alone.
	in      *bufio.Reader
	frame   bytes.Buffer
	pending []byte // checked, not yet read
	version byte

	hurry atomic.Bool // the broker is stopping
	gone  atomic.Bool // the peer has closed its side
	once  sync.Once
	mu    sync.Mutex // guards what follows
	who   Grant
	claim string // the client id whose session this connection holds
	why   error
}

// shake has TLS come about, within the deadline that is set.
func (c *guardConn) shake(ctx context.Context) error {
	secure, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	if err := secure.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	if chains := secure.ConnectionState().VerifiedChains; len(chains) > 0 {
		c.certificates = chains[0]
	}
	return nil
}

// login reads and checks the CONNECT, before the broker hears of the
// connection at all.
func (c *guardConn) login(limit int) error {
	body, err := readFrame(c.in, &c.frame, limit, true)
	if err != nil {
		return err
	}
	frame := c.frame.Bytes()
	pk, err := checkFrame(frame[0], frame[body:], 0)
	if err != nil {
		return err
	}
	c.version, c.pending = pk.ProtocolVersion, frame
	return nil
}

// Read hands on what was checked, and reads and checks the next packet where
// there is nothing left. A packet that fails ends the connection.
func (c *guardConn) Read(p []byte) (int, error) {
	if len(c.pending) == 0 {
		if c.frame.Cap() > keepBuffer {
			c.frame = bytes.Buffer{}
		}
		body, err := readFrame(c.in, &c.frame, c.limit, false)
		if err != nil {
			return 0, c.fail(err)
		}
		frame := c.frame.Bytes()
		if _, err := checkFrame(frame[0], frame[body:], c.version); err != nil {
			return 0, c.fail(err)
		}
		c.pending = frame
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

func (c *guardConn) fail(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == nil {
		c.why = err
	}
	return err
}

// lastWords is how long what a peer sent before it went may take to be read.
const lastWords = time.Second

// Write gives up on a peer that does not read: while one write waits, every
// publisher to that peer's topics does. Where the peer has gone, what it sent
// before is read to its end first: the broker would take a failed write for the
// end, and publish the last will of a client that has said goodbye.
func (c *guardConn) Write(p []byte) (int, error) {
	if c.gone.Load() {
		return len(p), nil
	}
	if !c.hurry.Load() {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Write(p)
	switch {
	case errors.Is(err, syscall.EPIPE):
		c.gone.Store(true)
		return len(p), c.Conn.SetReadDeadline(time.Now().Add(lastWords))
	case err != nil:
		// The broker would go on with the next packet, in the middle of this one.
		_ = c.wire.Close()
	}
	return n, err
}

// SetDeadline is the broker's keep-alive; it is about reading alone.
func (c *guardConn) SetDeadline(t time.Time) error {
	if c.gone.Load() {
		return nil // it ends soon
	}
	return c.Conn.SetReadDeadline(t)
}

// Close closes the connection and gives up its place. TLS has no last word: it
// could wait seconds for a peer that does not read.
func (c *guardConn) Close() error {
	err := c.wire.Close()
	c.once.Do(func() { c.closed(c) })
	return err
}

func (c *guardConn) identity() Identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.who.Identity
}

// allowed tells whether what let the connection in still does.
func (c *guardConn) allowed() bool {
	c.mu.Lock()
	valid := c.who.Valid
	c.mu.Unlock()
	return valid == nil || valid()
}

func (c *guardConn) setIdentity(who Grant, claim string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.who, c.claim = who, claim
}

func (c *guardConn) claimed() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.claim
}

// gate counts the connections of a listener and holds their bounds. Those that
// have not logged in yet are a queue of which the oldest makes room: a client
// that says who it is gets through, however many are silent. An address that
// has half of the queue makes room for itself, and takes nobody else's.
type gate struct {
	pendingMax, total, perAddress int

	mu      sync.Mutex // guards what follows
	closed  bool
	pending []*guardConn // oldest first
	open    map[*guardConn]string
	byAddr  map[string]int
}

func newGate(l Limits) *gate {
	return &gate{pendingMax: l.Pending, total: l.Connections, perAddress: l.PerAddress,
		open: map[*guardConn]string{}, byAddr: map[string]int{}}
}

// enter takes a connection in that has not logged in; false where the gate is
// closed. The caller closes what it gets back.
func (g *gate) enter(c *guardConn) (evicted *guardConn, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, false
	}
	oldest, own, addr := 0, 0, address(c.Conn)
	for i := len(g.pending) - 1; addr != "" && i >= 0; i-- {
		if address(g.pending[i].Conn) == addr {
			oldest, own = i, own+1
		}
	}
	full := len(g.pending) >= g.pendingMax
	if crowded := own > 0 && own >= g.pendingMax/2; full || crowded {
		if !crowded {
			oldest = 0
		}
		evicted = g.pending[oldest]
		g.pending = slices.Delete(g.pending, oldest, oldest+1)
	}
	g.pending = append(g.pending, c)
	return evicted, true
}

// admit moves a connection from those that wait to those that are in; false
// where there is no room for it.
func (g *gate) admit(c *guardConn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.unqueue(c) || g.closed || len(g.open) >= g.total {
		return false
	}
	addr := address(c.Conn)
	if addr != "" && g.byAddr[addr] >= g.perAddress {
		return false
	}
	g.open[c] = addr
	g.byAddr[addr]++
	return true
}

func (g *gate) unqueue(c *guardConn) bool {
	i := slices.Index(g.pending, c)
	if i >= 0 {
		g.pending = slices.Delete(g.pending, i, i+1)
	}
	return i >= 0
}

// leave forgets a connection.
func (g *gate) leave(c *guardConn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unqueue(c)
	addr, ok := g.open[c]
	if !ok {
		return
	}
	delete(g.open, c)
	if g.byAddr[addr]--; g.byAddr[addr] == 0 {
		delete(g.byAddr, addr)
	}
}

// close lets nobody in from now on, and returns who is there.
func (g *gate) close() []*guardConn {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	all := append([]*guardConn(nil), g.pending...)
	for c := range g.open {
		all = append(all, c)
	}
	return all
}

// members are those that are in.
func (g *gate) members() []*guardConn {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.open))
}

// counts says how many wait and how many are in.
func (g *gate) counts() (pending, open int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.pending), len(g.open)
}

// address is the peer's address without its port, empty for unix sockets.
func address(c net.Conn) string {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.IP.String()
	}
	return ""
}

// shorten makes writes that wait, and those to come, give up soon.
func (c *guardConn) shorten(d time.Duration) {
	c.hurry.Store(true)
	_ = c.Conn.SetWriteDeadline(time.Now().Add(d))
}
