package api

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// maxConnections bounds the connections of a listener, half of which may be of
// one address. Streams that somebody follows count too.
const maxConnections = 1024

// crowd keeps the connections of a listener within bounds. One too many makes
// the one go that has been quiet for longest: silent, slow with its header, or
// idle between two requests. While there is one, a newcomer is let in.
type crowd struct {
	most, perAddress int

	mu     sync.Mutex // guards what follows
	closed bool
	quiet  *list.List // of net.Conn, the quietest first
	open   map[net.Conn]*guest
	byAddr map[string]int
}

// guest is a connection in the crowd.
type guest struct {
	addr  string
	fresh bool          // it has not asked anything yet
	quiet *list.Element // nil while it is answered
}

func newCrowd(most, perAddress int) *crowd {
	return &crowd{most: most, perAddress: perAddress, quiet: list.New(), open: map[net.Conn]*guest{}, byAddr: map[string]int{}}
}

// state is http.Server.ConnState.
func (c *crowd) state(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.open[conn]
	switch state {
	case http.StateNew:
		if c.closed {
			_ = conn.Close()
			return
		}
		g = &guest{addr: hostName(conn.RemoteAddr().String()), fresh: true}
		if len(c.open) >= c.most && !c.makeRoom("") || c.byAddr[g.addr] >= c.perAddress && !c.makeRoom(g.addr) {
			_ = conn.Close()
			return
		}
		c.open[conn] = g
		c.byAddr[g.addr]++
		g.quiet = c.quiet.PushBack(conn)
	case http.StateActive:
		if g != nil {
			c.loud(g)
			g.fresh = false
		}
	case http.StateIdle:
		if g != nil && g.quiet == nil {
			g.quiet = c.quiet.PushBack(conn)
		}
	case http.StateClosed, http.StateHijacked:
		c.leave(conn)
	}
}

func (c *crowd) loud(g *guest) {
	if g.quiet != nil {
		c.quiet.Remove(g.quiet)
		g.quiet = nil
	}
}

func (c *crowd) leave(conn net.Conn) {
	g := c.open[conn]
	if g == nil {
		return
	}
	c.loud(g)
	delete(c.open, conn)
	if c.byAddr[g.addr]--; c.byAddr[g.addr] == 0 {
		delete(c.byAddr, g.addr)
	}
}

// makeRoom closes the quietest connection, of an address where one is given;
// false where all of them are answered at this moment.
func (c *crowd) makeRoom(addr string) bool {
	for e := c.quiet.Front(); e != nil; e = e.Next() {
		conn, ok := e.Value.(net.Conn)
		if !ok || addr != "" && c.open[conn].addr != addr {
			continue
		}
		c.leave(conn)
		_ = conn.Close()
		return true
	}
	return false
}

// close lets nobody in any more, and closes those that have not asked anything:
// net/http would wait five seconds for them.
func (c *crowd) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn, g := range c.open {
		if g.fresh {
			_ = conn.Close()
		}
	}
}
