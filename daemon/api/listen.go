package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxSocketPath leaves room below the 104 to 108 bytes that systems allow.
const maxSocketPath = 90

// listenTCP opens a port; away from loopback only where it is safe there.
func listenTCP(ctx context.Context, address string, safe bool) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf(`http: %q is not an address to listen on; write it like "127.0.0.1:8377"`, address)
	}
	if ip := net.ParseIP(host); !safe && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("http: %s is not an address of this machine alone, and hubpipe does not leave it without TLS and credentials; "+
			`set http { tls { … } }, or use "127.0.0.1:%s" and a reverse proxy`, address, port)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf(`http: port %s of %s is in use: stop the program that has it, or choose another one (http { listen = "%s" })`,
			port, host, net.JoinHostPort(host, "0"))
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("http: port %s of %s needs more rights; choose one above 1023", port, host)
	case err != nil:
		return nil, fmt.Errorf("http: listen on %s: %w", address, err)
	}
	return l, nil
}

// unixSocket removes its file when it is closed, unless it is another's by
// then.
type unixSocket struct {
	*net.UnixListener
	path string
	info os.FileInfo
}

func (u *unixSocket) Close() error {
	if now, err := os.Lstat(u.path); err == nil && os.SameFile(now, u.info) {
		_ = os.Remove(u.path)
	}
	return u.UnixListener.Close()
}

// listenUnix makes the socket in a folder that only its owner can enter and
// moves it to its place when its mode is right: there is no moment at which
// another user could connect.
func listenUnix(ctx context.Context, path string) (*unixSocket, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("http: the path of the socket has %d bytes, and %d are possible: %s; choose a shorter data_dir",
			len(path), maxSocketPath, path)
	}
	if err := clearStale(ctx, path); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s") // 0700
	if err != nil {
		return nil, fmt.Errorf("http: make the socket %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	temp := filepath.Join(dir, "s")
	l, err := new(net.ListenConfig).Listen(ctx, "unix", temp)
	if err != nil {
		return nil, fmt.Errorf("http: make the socket %s: %w", path, err)
	}
	ul, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("http: the socket %s is not a unix one", path), l.Close())
	}
	u := &unixSocket{UnixListener: ul, path: path}
	u.SetUnlinkOnClose(false)
	err = os.Chmod(temp, 0o600)
	if err == nil {
		u.info, err = os.Lstat(temp)
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = u.UnixListener.Close()
		return nil, fmt.Errorf("http: make the socket %s: %w", path, err)
	}
	return u, nil
}

// clearStale removes what a daemon that was killed left behind; a socket that
// answers, and a file that is none, are errors.
func clearStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("http: look at the socket %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("http: %s is in the way of the socket and is none: move it away", path)
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("http: another daemon answers on %s: stop it first", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("http: remove the old socket %s: %w", path, err)
	}
	return nil
}
