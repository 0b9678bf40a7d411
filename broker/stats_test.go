package broker

import (
	"testing"
	"time"
)

// Each thing that is turned away is counted once, under its reason, and a
// client that behaves under none.
func TestStats(t *testing.T) {
	t.Parallel()
	b := startBroker(t, func(o *EmbeddedOptions) {
		o.MaxPacket, o.Limits.LoginTimeout = 4<<10, 300*time.Millisecond
	})
	good := func() *raw {
		r := dialRaw(t, "tcp", b.Addr()).send(connect(5, "", "hubpipe", testToken, ""))
		r.want("CONNACK", 0x20, 1, 0)
		return r
	}
	for _, tt := range []struct {
		reason string
		do     func()
	}{
		{RefusedTimeout, func() { dialRaw(t, "tcp", b.Addr()).wantClosed("silent") }},
		{RefusedFirst, func() { dialRaw(t, "tcp", b.Addr()).send(frame(0xc0)).wantClosed("a ping first") }},
		{RefusedPassword, func() {
			dialRaw(t, "tcp", b.Addr()).send(connect(5, "", "hubpipe", "wrong", "")).wantClosed("a wrong password")
		}},
		{RefusedClient, func() {
			dialRaw(t, "tcp", b.Addr()).send(connect(5, "hubpipe-daemon", "hubpipe", testToken, "")).wantClosed("another's client id")
		}},
		{RefusedLogin, func() {
			dialRaw(t, "tcp", b.Addr()).send(connect(5, "me", "hubpipe", testToken, "hubpipe/status")).wantClosed("a will that may not be")
		}},
		{RefusedSize, func() { good().send([]byte{0x30, 0xff, 0xff, 0x7f}).wantClosed("a large packet") }},
		{RefusedType, func() { good().send(frame(0x20, []byte{0, 0})).wantClosed("a CONNACK") }},
		{RefusedMalformed, func() { good().send(frame(0x82, []byte{0})).wantClosed("a short SUBSCRIBE") }},
		{RefusedPublish, func() {
			good().send(frame(0x30, []byte{0, 14}, []byte("hubpipe/status\x00x")), frame(0xc0)).want("a ping", 0xd0, -1, 0)
		}},
	} {
		before := b.Stats().Refused
		tt.do()
		eventually(t, tt.reason+" counted", func() bool { return b.Stats().Refused[tt.reason] > before[tt.reason] })
		for reason, n := range b.Stats().Refused {
			want := before[reason]
			if reason == tt.reason {
				want++
			}
			if n != want {
				t.Errorf("after %s: %d of %s, want %d", tt.reason, n, reason, want)
			}
		}
	}
	good() // its connection goes with the test
	eventually(t, "a connection counted", func() bool {
		s := b.Stats()
		return s.Connections >= 1 && s.Pending == 0 && s.Sessions >= 1
	})
}

// A client that has gone and left no session is none, nor is one whose session
// it ended itself.
func TestSessionsThatHaveEndedAreNone(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	for _, version := range []byte{4, 5} {
		for _, end := range []func(*raw){
			func(r *raw) { r.send(frame(0xe0)).wantClosed("a goodbye") },
			func(r *raw) { _ = r.conn.Close() },
		} {
			r := dialRaw(t, "tcp", b.Addr()).send(connect(version, "", "hubpipe", testToken, ""))
			r.want("CONNACK", 0x20, 1, 0)
			end(r)
		}
	}
	r := dialRaw(t, "tcp", b.Addr()).send(keepSession("kept", "hubpipe"))
	r.want("a session", 0x20, 1, 0)
	_ = r.conn.Close()
	eventually(t, "one session is left", func() bool { s := b.Stats(); return s.Connections == 0 && s.Sessions == 1 })
}
