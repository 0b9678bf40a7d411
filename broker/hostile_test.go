package broker

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// everyPacket is each of the fifteen types of a version, with everything that
// it may hold, those that only a server sends included.
func everyPacket(version byte) map[string][]byte {
	id := []byte{0, 1}
	text := func(code byte, s string) []byte { return append([]byte{code}, str(s)...) }
	pair := append(text(38, "name"), str("value")...)
	p := func(parts ...[]byte) []byte { return props(version, bytes.Join(parts, nil)...) }
	all := map[string][]byte{
		"connect": frame(0x10, str("MQTT"), []byte{version, 0xf6, 0, 30}, p([]byte{17, 0, 0, 0, 9}, []byte{33, 0, 9}, []byte{39, 0, 1, 0, 0}, []byte{25, 1}, []byte{23, 1}, pair),
			str("me"), p([]byte{24, 0, 0, 0, 1}, []byte{1, 1}, []byte{2, 0, 0, 0, 9}, text(3, "text"), text(8, "answer"), text(9, "data"), pair),
			str("my/will"), str("gone"), str("hubpipe"), str(testToken)),
		"connack":  frame(0x20, []byte{0, 0}, p([]byte{17, 0, 0, 0, 9})),
		"publish0": frame(0x30, str("a/b"), p([]byte{1, 1}, []byte{2, 0, 0, 0, 9}, text(3, "text"), text(8, "answer"), text(9, "data"), pair), []byte("payload")),
		"publish1": frame(0x3b, str("a/b"), id, p([]byte{2, 0, 0, 0, 9}), []byte("payload")),
		"publish2": frame(0x35, str("a/b"), id, p(pair), []byte("payload")),
		"subscribe": frame(0x82, id, p([]byte{11, 0x81, 1}, pair), str("a/+"), []byte{2},
			str("b/#"), []byte{1}),
		"suback":      frame(0x90, id, p(text(31, "reason")), []byte{1}),
		"unsubscribe": frame(0xa2, id, p(pair), str("a/+"), str("b/#")),
		"unsuback":    frame(0xb0, id, p(text(31, "reason")), []byte{0}),
		"pingreq":     frame(0xc0, []byte{0, 0}), // it has no body; this one has
		"pingresp":    frame(0xd0, []byte{0}),
	}
	for name, first := range map[string]byte{"puback": 0x40, "pubrec": 0x50, "pubrel": 0x62, "pubcomp": 0x70} {
		all[name] = frame(first, id)
		if version == 5 {
			all[name] = frame(first, id, []byte{0x10}, p(text(31, "reason"), pair))
		}
	}
	all["disconnect"] = frame(0xe0)
	all["auth"] = frame(0xf0)
	if version == 5 {
		all["disconnect"] = frame(0xe0, []byte{4}, p([]byte{17, 0, 0, 0, 9}, text(31, "reason"), text(28, "server"), pair))
		all["auth"] = frame(0xf0, []byte{0x18}, p(text(21, "method"), text(22, "data"), pair))
	}
	return all
}

// Every type of packet, cut at every length, before a login and after it, once
// as it is and once with a length that says that it is whole: the broker stays,
// and serves a good client all the while.
func TestEveryPacketCutAtEveryLength(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	before := memory()
	stop, served := make(chan struct{}), make(chan []time.Duration)
	go func() { served <- serveGood(t, b, stop) }()
	work := make(chan [][]byte)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for frames := range work {
				hostile(t, b, frames)
			}
		})
	}
	cut := 0
	for _, version := range []byte{4, 5} {
		login := connect(version, "", "hubpipe", testToken, "")
		for _, f := range everyPacket(version) {
			head := 2
			if len(f) > 0x7f+2 {
				head = 3
			}
			for n := 1; n <= len(f); n++ {
				whole := frame(f[0], f[head:max(n, head)])
				work <- [][]byte{f[:n]}
				work <- [][]byte{whole}
				work <- [][]byte{login, f[:n]}
				work <- [][]byte{login, whole}
				cut++
			}
		}
	}
	close(work)
	wg.Wait()
	close(stop)
	times := <-served
	slices.Sort(times)
	if len(times) == 0 {
		t.Fatal("no good client was served")
	}
	if p99 := times[len(times)*99/100]; p99 > 5*time.Second {
		t.Errorf("of %d good clients one in a hundred waited %s", len(times), p99)
	}
	if cut < 700 {
		t.Errorf("%d cuts: these are not all", cut)
	}
	alive(t, b)
	if grown := int64(memory()) - int64(before); grown > 64<<20 {
		t.Errorf("memory grew by %d MB", grown>>20)
	}
}

// hostile sends something and waits until the broker has closed.
func hostile(t *testing.T, b *Embedded, frames [][]byte) {
	t.Helper()
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(soon))
	_, _ = conn.Write(bytes.Join(frames, nil))
	_ = conn.(*net.TCPConn).CloseWrite()
	if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
		t.Errorf("after % x the connection stays open", bytes.Join(frames, nil))
	}
}

// serveGood logs in and pings, again and again, and gives how long each took.
func serveGood(t *testing.T, b *Embedded, stop <-chan struct{}) (times []time.Duration) {
	t.Helper()
	for {
		select {
		case <-stop:
			return times
		default:
		}
		began := time.Now()
		conn, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Error(err)
			return times
		}
		_ = conn.SetDeadline(began.Add(patience))
		_, _ = conn.Write(append(connect(4, "", "hubpipe", testToken, ""), 0xc0, 0))
		answer := make([]byte, 6)
		if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 0x20 || answer[4] != 0xd0 {
			t.Errorf("a good client: % x %v", answer, err)
		}
		_ = conn.Close()
		times = append(times, time.Since(began))
	}
}

// Whatever comes, before a login and after it, the broker stays.
func FuzzBroker(f *testing.F) {
	b := startBroker(f, func(o *EmbeddedOptions) { o.Limits.LoginTimeout, o.MaxPacket = time.Second, 1<<16 })
	for _, version := range []byte{4, 5} {
		for _, p := range everyPacket(version) {
			f.Add(p, version)
			f.Add(p[:len(p)-1], byte(0))
			f.Add(slices.Concat(p, p), version)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, version byte) {
		var frames [][]byte
		if version == 4 || version == 5 {
			frames = append(frames, connect(version, "", "hubpipe", testToken, ""))
		}
		hostile(t, b, append(frames, data))
		alive(t, b)
	})
}

// An address that is full of silence takes no room from another; here the
// addresses are those of one machine.
func TestSilenceOfOneAddress(t *testing.T) {
	t.Parallel()
	b := startBroker(t, func(o *EmbeddedOptions) { o.Limits.Pending = 8 })
	_, port, err := net.SplitHostPort(b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	from := func(host string) net.Conn {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}).DialContext(testContext(t), "tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Skipf("this machine has no %s: %v", host, err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	slow := from("127.0.0.2")
	eventually(t, "the slow one is there", func() bool { pending, _ := b.listeners[1].gate.counts(); return pending == 1 })
	for range 50 {
		from("127.0.0.3")
	}
	eventually(t, "the silent ones make room for themselves", func() bool { pending, _ := b.listeners[1].gate.counts(); return pending == 5 })
	_ = slow.SetDeadline(time.Now().Add(patience))
	_, _ = slow.Write(connect(4, "", "hubpipe", testToken, ""))
	answer := make([]byte, 4)
	if _, err := io.ReadFull(slow, answer); err != nil || answer[3] != 0 {
		t.Errorf("the slow one of another address: % x %v", answer, err)
	}
	if pending, open := b.listeners[1].gate.counts(); fmt.Sprint(pending, open) != "4 1" {
		t.Errorf("%d wait, %d are in", pending, open)
	}
}
