package e2e

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// hostile sends frames that are noise, or packets with noise in them, before a
// login and after it, and requests that do not end, until ctx ends. It counts
// what it sent.
func (v *victim) hostile(ctx context.Context, token string, seed uint64, sent *atomic.Int64) {
	rng := rand.New(rand.NewPCG(v.seed, seed)) //nolint:gosec // repeatable
	whole := [][]byte{
		packet(0x82, 0, 1, 0, 0, 3, 'a', '/', 'b', 1), packet(0x32, 0, 3, 'a', '/', 'b', 0, 1, 0, 'x'), packet(0xa2, 0, 1, 0, 0, 3, 'a', '/', 'b'),
		packet(0x40, 0, 1), packet(0x50, 0, 1), packet(0x62, 0, 1), packet(0x70, 0, 1), packet(0xc0), packet(0xe0), packet(0xf0, 0x18, 0),
		{0x10, 0xff, 0xff, 0xff, 0x7f}, {0x30, 0xff, 0xff, 0xff, 0x7f}, []byte("GET / HTTP/1.1\r\nHost: localhost\r\nX: "),
	}
	for ctx.Err() == nil {
		addr := v.mqtt
		if rng.IntN(6) == 0 {
			addr = strings.TrimPrefix(v.http, "http://")
		}
		d := net.Dialer{Timeout: 5 * time.Second}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			continue
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		in := addr == v.mqtt && rng.IntN(2) == 0
		if in {
			_, _ = c.Write(connectPacket(c, token))
		}
		for n := range 1 + rng.IntN(20) {
			b, how := slices.Clone(whole[rng.IntN(len(whole))]), rng.IntN(5)
			if in && n == 0 { // nothing before it has ended the connection
				b, how = whole[rng.IntN(3)], 3
			}
			switch how {
			case 0:
				b = make([]byte, 1+rng.IntN(300))
				for i := range b {
					b[i] = byte(rng.Uint32())
				}
			case 1:
				b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			case 2:
				b = b[:1+rng.IntN(len(b))]
			case 3: // whole by its length, and with less in it than its type has
				b = packet(b[0], b[2:max(2, len(b)-1-rng.IntN(3))]...)
			}
			if _, err := c.Write(b); err != nil {
				break
			}
			sent.Add(1)
		}
		if rng.IntN(3) == 0 {
			_, _ = io.CopyN(io.Discard, c, 64)
		}
		_ = c.Close()
		<-time.After(time.Duration(rng.IntN(20)) * time.Millisecond)
	}
}

// Random frames for five minutes from several connections at once, among silent
// ones: the same process serves a good client all the while, and does not grow.
func TestTortureFrames(t *testing.T) {
	t.Parallel()
	v := victimised(t)
	daemon, worker := v.ready(), v.worker()
	v.becomesEqual("contacts", "deals")
	token := v.token()
	before := daemon.status(t, "RssAnon")
	// They take room from one another, never from who has logged in.
	silent := v.crowd(often(60, 1000))
	good := dial(t, v.mqtt)
	login(t, good, token)
	var sent atomic.Int64
	// Until there were enough of them, too: a busy machine sends fewer.
	least, begun, lasts := int64(often(200, 20_000)), time.Now(), time.Duration(often(3, 300))*time.Second
	enough := func() bool {
		past := time.Since(begun) - lasts
		return past > 0 && sent.Load() >= least || past > 4*time.Minute
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for n := range 6 {
		all.Go(func() { v.hostile(ctx, token, uint64(n), &sent) }) //nolint:gosec // a few
	}
	var took []time.Duration
	most := before
	for !enough() {
		began := time.Now()
		_ = good.SetDeadline(began.Add(time.Minute))
		if _, err := good.Write(packet(0xc0)); err != nil {
			t.Fatalf("the good client, after %d pings: %v", len(took), err)
		}
		var pong [2]byte
		if _, err := io.ReadFull(good, pong[:]); err != nil || pong[0] != 0xd0 {
			t.Fatalf("the good client, after %d pings: % x %v", len(took), pong, err)
		}
		took = append(took, time.Since(began))
		most = max(most, daemon.status(t, "RssAnon"))
		<-time.After(100 * time.Millisecond)
	}
	cancel()
	all.Wait()
	for _, c := range silent {
		_ = c.Close()
	}
	if !daemon.running() {
		t.Fatal("the daemon has ended")
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%d frames; a good client was served in %s (99 of 100 times); memory %.0f MiB, at most %.0f", sent.Load(), p99.Round(time.Millisecond),
		before/1024, most/1024)
	if grown := (most - before) / 1024; grown > 64 {
		t.Errorf("the daemon has grown by %.0f MiB", grown)
	}
	if tortured := often(0, 1) == 1; tortured && p99 > time.Second {
		t.Errorf("a good client waits %s", p99)
	}
	if sent.Load() < least {
		t.Errorf("%d frames are too few, wanted %d", sent.Load(), least)
	}
	v.change("contacts", `{"change":50,"create":5}`)
	v.faults = int(sent.Load())
	v.exact(200, 1) // the first load is among older runs by now
	for _, p := range []*process{worker, daemon} {
		p.kill(syscall.SIGTERM)
	}
}
