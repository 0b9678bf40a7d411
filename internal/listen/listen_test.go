package listen_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hubpipe/hubpipe/internal/listen"
)

func server() listen.Server { return listen.Server{Name: "mqtt", Block: "broker"} }

// shortDir is a folder whose path is short enough for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hp") //nolint:usetesting // TempDir's path is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// A socket is its owner's whatever mask the process has, bears the name that it
// is reached by, and goes with its listener.
func TestUnix(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := shortDir(t)
	path := filepath.Join(dir, "mqtt.sock")
	l, err := server().Unix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 || l.Addr().String() != path {
		t.Errorf("%v at %s: %v", info, l.Addr(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
	if _, err := server().Unix(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another daemon answers") {
		t.Errorf("a socket that answers: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("a socket that is closed is still there")
	}
}

// A folder that the configuration lets through has room for a socket.
func TestLongestFolder(t *testing.T) {
	t.Parallel()
	dir := shortDir(t) + "/"
	for _, more := range []int{0, 1} {
		folder := dir + strings.Repeat("d", listen.MaxFolder+more-len(dir))
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := server().Unix(t.Context(), filepath.Join(folder, "mqtt.sock"))
		if fits := err == nil; fits != (more == 0) {
			t.Errorf("a folder of %d bytes: %v", len(folder), err)
		}
		if err == nil {
			_ = l.Close()
		}
	}
}

// One that is closed late takes nobody else's away.
func TestUnixLeavesAnothers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "mqtt.sock")
	first, err := server().Unix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := server().Unix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket of the second: %v", err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(shortDir(t), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open, err := server().TCP(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	for want, f := range map[string]func() error{
		"a data_dir of at most":  func() error { _, err := server().Unix(t.Context(), "/"+strings.Repeat("d", 103)); return err },
		"is in the way":          func() error { _, err := server().Unix(t.Context(), file); return err },
		"make the socket":        func() error { _, err := server().Unix(t.Context(), "/nowhere/s"); return err },
		`broker { listen = "127`: func() error { _, err := server().TCP(t.Context(), open.Addr().String(), false); return err },
		"of this machine alone":  func() error { _, err := server().TCP(t.Context(), "0.0.0.0:0", false); return err },
		"is not an address":      func() error { _, err := server().TCP(t.Context(), "8377", false); return err },
	} {
		if err := f(); err == nil || !strings.HasPrefix(err.Error(), "mqtt: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q, want %q", err, want)
		}
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "0.0.0.0:1": false,
		":1": false, "10.0.0.1:1": false, "example.org:1": false, "127.0.0.1": false, "": false} {
		if listen.Loopback(address) != want {
			t.Errorf("%q: %v", address, !want)
		}
	}
}
