package broker

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Bounds of the guard.
const (
	maxClients    = 1000
	connectTime   = 10 * time.Second
	maxBeforeAuth = 16 << 10
)

// errFrame is why the guard hangs up.
var errFrame = errors.New("a frame that the guard refuses")

// guard stands between the sockets and the broker, whose decoder can be ended
// by one truncated packet and allocates what a packet announces. It hands on
// whole frames only, within bounds, which the broker's own decoder has taken.
type guard struct {
	net.Listener
	max  int
	open atomic.Int64
}

func newGuard(l net.Listener, maxPacket int) net.Listener { return &guard{Listener: l, max: maxPacket} }

// Accept takes the next connection; those above the cap are closed at once.
func (g *guard) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if g.open.Add(1) > maxClients {
			g.open.Add(-1)
			_ = c.Close()
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(connectTime))
		return &guarded{Conn: c, g: g}, nil
	}
}

// guarded is one connection. Reads come from the frame that was checked last.
type guarded struct {
	net.Conn
	g       *guard
	once    sync.Once
	frame   []byte // what is left of it
	version byte
	known   bool // CONNECT has come
}

func (c *guarded) Close() error {
	c.once.Do(func() { c.g.open.Add(-1) })
	return c.Conn.Close()
}

// SetDeadline is the broker's; until CONNECT has come the guard's stands.
func (c *guarded) SetDeadline(t time.Time) error {
	if !c.known {
		return c.Conn.SetWriteDeadline(t)
	}
	return c.Conn.SetDeadline(t)
}

func (c *guarded) Read(p []byte) (int, error) {
	if len(c.frame) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.frame)
	c.frame = c.frame[n:]
	return n, nil
}

// next reads and checks one whole frame.
func (c *guarded) next() error {
	var head [5]byte
	if _, err := io.ReadFull(c.Conn, head[:2]); err != nil {
		return err
	}
	n, length, shift := 2, int(head[1]&0x7f), 7
	for head[n-1]&0x80 != 0 {
		if n == len(head) {
			return errFrame
		}
		if _, err := io.ReadFull(c.Conn, head[n:n+1]); err != nil {
			return err
		}
		length |= int(head[n]&0x7f) << shift
		shift += 7
		n++
	}
	limit := c.g.max
	if !c.known {
		limit = maxBeforeAuth
	}
	if length > limit {
		return errFrame
	}
	frame := make([]byte, n+length)
	copy(frame, head[:n])
	if _, err := io.ReadFull(c.Conn, frame[n:]); err != nil {
		return err
	}
	if err := c.check(frame[0], frame[n:]); err != nil {
		return err
	}
	c.frame = frame
	return nil
}

// check tries a frame with the broker's own decoder, where a panic ends
// nothing.
func (c *guarded) check(first byte, body []byte) (err error) {
	defer func() {
		if recover() != nil {
			err = errFrame
		}
	}()
	pk := packets.Packet{ProtocolVersion: c.version}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return errFrame
	}
	pk.FixedHeader.Remaining = len(body)
	body = bytes.Clone(body) // the decoder keeps pieces of it
	if !c.known && pk.FixedHeader.Type != packets.Connect {
		return errFrame
	}
	switch pk.FixedHeader.Type {
	case packets.Connect:
		if c.known {
			return errFrame
		}
		if err := pk.ConnectDecode(body); err != nil {
			return errFrame
		}
		c.version, c.known = pk.ProtocolVersion, true
		return c.Conn.SetReadDeadline(time.Time{})
	case packets.Publish:
		err = pk.PublishDecode(body)
		if err == nil && pk.Properties.TopicAliasFlag {
			return errFrame // an alias hides the topic from the rules
		}
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Pubrec:
		err = pk.PubrecDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	case packets.Pubcomp:
		err = pk.PubcompDecode(body)
	case packets.Subscribe:
		err = pk.SubscribeDecode(body)
	case packets.Unsubscribe:
		err = pk.UnsubscribeDecode(body)
	case packets.Pingreq:
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	case packets.Auth:
		err = pk.AuthDecode(body)
	default:
		return errFrame
	}
	if err != nil {
		return errFrame
	}
	return nil
}
