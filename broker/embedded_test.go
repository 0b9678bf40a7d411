package broker

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEmbeddedStart(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	info, err := os.Stat(b.o.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v", info.Mode())
	}
	start := func(o EmbeddedOptions) error {
		o.Prefix, o.Authenticate = "hubpipe", b.o.Authenticate
		e, err := NewEmbedded(o)
		if err != nil {
			t.Fatal(err)
		}
		err = e.Start(testContext(t))
		if err == nil {
			t.Cleanup(func() { _ = e.Stop(context.Background()) })
		}
		return err
	}
	dir := shortDir(t)
	other := filepath.Join(dir, "other.sock")
	if err := start(EmbeddedOptions{Listen: b.Addr(), Socket: other}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a port in use: %v", err)
	}
	if _, err := os.Lstat(other); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a start that failed left its socket: %v", err)
	}
	if err := start(EmbeddedOptions{Socket: b.o.Socket}); err == nil || !strings.Contains(err.Error(), "another daemon answers") {
		t.Errorf("a socket in use: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := start(EmbeddedOptions{Socket: file}); err == nil || !strings.Contains(err.Error(), "is in the way") {
		t.Errorf("a file in the socket's place: %v", err)
	}
	stale := filepath.Join(dir, "stale.sock")
	ln, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = ln.Close()
	if err := start(EmbeddedOptions{Socket: stale}); err != nil {
		t.Errorf("a stale socket: %v", err)
	}
	for _, o := range []EmbeddedOptions{{Prefix: "p"}, {Socket: "x"}, {Socket: "x", Prefix: "a/#"}, {Socket: "x", Prefix: "$p"}, {Listen: "x", Prefix: "p"}} {
		if _, err := NewEmbedded(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// Where somebody logs in while the broker stops, the broker's own closing of
// clients stands still for ever; it is not used, and all the same each hears why.
func TestStopClosesClientsByItself(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	r := dialRaw(t, "tcp", b.Addr()).send(connect(5, "", "hubpipe", testToken, ""))
	r.want("login", 0x20, 1, 0)
	for _, l := range b.listeners {
		l.Close(func(string) { t.Error("the broker's list of clients is taken") })
	}
	first, body, err := r.next()
	if err != nil || first != 0xe0 || len(body) < 1 || body[0] != 0x8b {
		t.Errorf("it hears %#x %x %v", first, body, err)
	}
	r.wantClosed("stopped")
}

// Stop leaves nothing, with clients in every state, also when it comes twice.
func TestEmbeddedStop(t *testing.T) {
	t.Parallel()
	for i := range 20 {
		b := startBroker(t, nil)
		dialRaw(t, "tcp", b.Addr())
		dialRaw(t, "tcp", b.Addr()).send(connect(5, "", "hubpipe", testToken, "")[:5])
		r := dialRaw(t, "tcp", b.Addr()).send(connect(5, "", "hubpipe", testToken, ""))
		if i%2 == 0 {
			r.want("login", 0x20, 1, 0)
		}
		for range 2 {
			if err := b.Stop(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
		r.wantClosed("stopped")
		if _, err := os.Lstat(b.o.Socket); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("the socket is still there: %v", err)
		}
	}
	never, err := NewEmbedded(EmbeddedOptions{Socket: "x", Prefix: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if err := never.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}
