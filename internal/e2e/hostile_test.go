package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What kills or fills other brokers leaves the daemon running, small and at
// work.
func TestHostilePackets(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "500", "--deals", "50", "--limits=false")
	daemon := s.daemon()
	s.worker()
	token := s.token()
	announced := []byte{0x30, 0xff, 0xff, 0xff, 0x7f} // a PUBLISH of 256 MB
	var all sync.WaitGroup
	for name, c := range map[string]struct {
		login bool
		send  []byte
	}{
		"truncated SUBSCRIBE":               {true, packet(0x82, 0, 1, 0, 0, 1, 'a')},
		"256 MB before login":               {false, announced},
		"256 MB after login":                {true, announced},
		"256 MB for a first packet":         {false, []byte{0x10, 0xff, 0xff, 0xff, 0x7f}},
		"a length that does not end":        {true, []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0xff}},
		"nothing, that is, a silent socket": {false, nil},
	} {
		conn := dial(t, s.mqtt)
		if c.login {
			login(t, conn, token)
		}
		all.Go(func() {
			if err := closes(conn, c.send); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
	if !daemon.running() {
		t.Fatal("the daemon has ended")
	}
	s.change("contacts", `{"change":20,"create":5}`)
	s.becomesEqual("contacts", "deals")
	if kb := resident(t, daemon); kb > 400<<10 {
		t.Errorf("the daemon holds %d MB", kb>>10)
	}
}

// closes sends something and holds that the connection is closed for it.
func closes(conn net.Conn, send []byte) error {
	if _, err := conn.Write(send); err != nil {
		return err
	}
	// The login's deadline is 10 s.
	if err := conn.SetReadDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the connection stays open")
	}
	return nil
}

func packet(kind byte, body ...byte) []byte { return append([]byte{kind, byte(len(body))}, body...) }

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// login sends a CONNECT of MQTT 5 by hand and reads that it was let in.
func login(t testing.TB, conn net.Conn, token string) {
	t.Helper()
	if _, err := conn.Write(connectPacket(conn, token)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil || head[0] != 0x20 || head[3] != 0 {
		t.Fatalf("login: %v % x", err, head)
	}
	if _, err := io.CopyN(io.Discard, conn, int64(head[1])-2); err != nil { // its properties
		t.Fatal(err)
	}
}

// connectPacket is a CONNECT of MQTT 5 of the owner.
func connectPacket(conn net.Conn, token string) []byte {
	text := func(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }
	body := bytes.Join([][]byte{text("MQTT"), {5, 0xc2, 0, 60, 0}, text("somebody-" + strings.ReplaceAll(conn.LocalAddr().String(), ":", "-")),
		text("hubpipe"), text(token)}, nil)
	return append([]byte{0x10, byte(len(body)&0x7f | 0x80), byte(len(body) >> 7)}, body...)
}

// resident is the memory of a process in KB, 0 where the system does not say.
func resident(t testing.TB, p *process) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	n, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return n
}
