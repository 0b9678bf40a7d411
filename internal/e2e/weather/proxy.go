// Package weather stands between a client and a server and makes the network
// what networks are, for the tests.
package weather

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy stands between the two. Of what passes it never changes a byte: it
// holds, slices, cuts, and where it reads MQTT repeats a message or lets the
// next one overtake it.
type Proxy struct {
	t      testing.TB
	to     string // where it leads
	listen net.Listener
	mqtt   bool
	foul   atomic.Bool
	faults atomic.Int64

	mu    sync.Mutex
	rng   *rand.Rand
	conns map[net.Conn]bool
	done  sync.WaitGroup
}

// New listens on a free port of loopback and leads to an address, in fair
// weather at first, until the test ends. The seed draws the weather.
func New(t testing.TB, to string, seed uint64, mqtt bool) *Proxy {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{t: t, to: to, listen: l, mqtt: mqtt, rng: rand.New(rand.NewPCG(seed, 7)), conns: map[net.Conn]bool{}} //nolint:gosec // repeatable
	p.done.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() // it may be closed
		p.Cut()
		p.done.Wait()
	})
	return p
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.listen.Addr().String() }

// Foul makes the weather bad, or fair again: then everything passes as it comes.
func (p *Proxy) Foul(bad bool) { p.foul.Store(bad) }

// Faults counts what the weather did.
func (p *Proxy) Faults() int { return int(p.faults.Load()) }

// Cut ends all connections at once, as a reset does, and says how many.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.conns)
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, not an orderly end
		}
		_ = c.Close()
		delete(p.conns, c)
	}
	return n / 2
}

func (p *Proxy) draw(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rng.IntN(n)
}

func (p *Proxy) accept() {
	for {
		c, err := p.listen.Accept()
		if err != nil {
			return
		}
		var d net.Dialer
		s, err := d.DialContext(p.t.Context(), "tcp", p.to)
		if err != nil {
			_ = c.Close()
			if p.t.Context().Err() != nil {
				return
			}
			continue // the server is down
		}
		p.mu.Lock()
		p.conns[c], p.conns[s] = true, true
		p.mu.Unlock()
		p.done.Go(func() { p.pass(c, s) })
		p.done.Go(func() { p.pass(s, c) })
	}
}

// pass carries one direction until either side ends.
func (p *Proxy) pass(from, to net.Conn) {
	defer func() {
		_, _ = from.Close(), to.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, from)
		delete(p.conns, to)
	}()
	if !p.mqtt {
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 && p.send(to, buf[:n]) != nil || err != nil {
				return
			}
		}
	}
	r, held := bufio.NewReaderSize(from, 64<<10), []byte(nil)
	for {
		frame, err := readPacket(r)
		if err != nil {
			return
		}
		out := [][]byte{frame}
		if publish := frame[0]>>4 == 3; publish && p.foul.Load() {
			switch p.draw(12) {
			case 0: // once more
				p.faults.Add(1)
				out = append(out, frame)
			case 1: // behind the next one
				if held == nil && r.Buffered() > 0 {
					p.faults.Add(1)
					held = frame
					continue
				}
			}
		}
		if held != nil {
			out, held = append(out, held), nil
		}
		for _, f := range out {
			if p.send(to, f) != nil {
				return
			}
		}
	}
}

var errCut = errors.New("cut")

// send writes in the weather of the moment.
func (p *Proxy) send(to net.Conn, b []byte) error {
	if !p.foul.Load() {
		_, err := to.Write(b)
		return err
	}
	switch p.draw(60) {
	case 0: // half of it, then nothing more
		p.faults.Add(1)
		_, _ = to.Write(b[:len(b)/2])
		return errCut
	case 1: // it stands still for a while
		p.faults.Add(1)
		<-time.After(time.Duration(200+p.draw(1500)) * time.Millisecond)
	case 2, 3, 4: // tiny slices
		p.faults.Add(1)
		for len(b) > 64 {
			n := 1 + p.draw(63)
			if _, err := to.Write(b[:n]); err != nil {
				return err
			}
			b = b[n:]
		}
	default:
		<-time.After(time.Duration(p.draw(8)) * time.Millisecond)
	}
	_, err := to.Write(b)
	return err
}

// readPacket reads one packet of MQTT, whatever it is.
func readPacket(r *bufio.Reader) ([]byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	b, n := []byte{first}, 0
	for shift := 0; ; shift += 7 {
		c, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		b = append(b, c)
		if n |= int(c&0x7f) << shift; c&0x80 == 0 || shift > 21 {
			break
		}
	}
	at := len(b)
	b = append(b, make([]byte, n)...)
	_, err = io.ReadFull(r, b[at:])
	return b, err
}
