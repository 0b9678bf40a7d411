// Package listen opens the ports and unix sockets of hubpipe's servers, and says
// what to do where one cannot be opened.
package listen

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

// Server is who listens: its name, which begins each error, and the block of the
// configuration that says where.
type Server struct{ Name, Block string }

// Loopback tells of host:port whether only this machine can reach it.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// TCP opens host:port, port 0 for a free one; away from loopback only where that
// is safe.
func (s Server) TCP(ctx context.Context, address string, safe bool) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf(`%s: %q is not an address to listen on; write it like "127.0.0.1:8377"`, s.Name, address)
	}
	if !safe && !Loopback(address) {
		return nil, fmt.Errorf("%s: %s is not an address of this machine alone, and hubpipe does not leave it without TLS and credentials; "+
			`set %s { tls { … } }, or use "127.0.0.1:%s" and a reverse proxy`, s.Name, address, s.Block, port)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf(`%s: port %s of %s is in use: stop the program that has it, or choose another one (%s { listen = "%s" })`,
			s.Name, port, host, s.Block, net.JoinHostPort(host, "0"))
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s: port %s of %s needs more rights; choose one above 1023", s.Name, port, host)
	case err != nil:
		return nil, fmt.Errorf("%s: listen on %s: %w", s.Name, address, err)
	}
	return l, nil
}

const (
	// maxPath is what macOS allows; Linux has room for four bytes more.
	maxPath = 103
	// inFolder is the longest name under which a socket is made.
	inFolder = "/.s4294967295/s"

	// MaxFolder is how long the path of a folder may be for a socket in it.
	MaxFolder = maxPath - len(inFolder)
)

// Socket is a unix socket that only its owner can open. Closing it removes its
// file, unless that is another's by then.
type Socket struct {
	*net.UnixListener
	path string
	info os.FileInfo
}

// Addr is where it is reached, not where it was made.
func (u *Socket) Addr() net.Addr { return &net.UnixAddr{Name: u.path, Net: "unix"} }

// Close ends it.
func (u *Socket) Close() error {
	if now, err := os.Lstat(u.path); err == nil && os.SameFile(now, u.info) {
		_ = os.Remove(u.path)
	}
	return u.UnixListener.Close()
}

// Unix makes the socket in a folder that only its owner can enter and moves it to
// its place when its mode is right: there is no moment at which another user
// could connect. What a process that was killed has left there is removed; a
// socket that answers, and a file that is none, are errors.
func (s Server) Unix(ctx context.Context, path string) (*Socket, error) {
	if folder := filepath.Dir(path); len(folder) > MaxFolder || len(path) > maxPath {
		return nil, fmt.Errorf("%s: the path of the socket is too long: %s; choose a data_dir of at most %d bytes", s.Name, path, MaxFolder)
	}
	if err := s.clearStale(ctx, path); err != nil {
		return nil, err
	}
	u, err := make0600(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("%s: make the socket %s: %w", s.Name, path, err)
	}
	return u, nil
}

func make0600(ctx context.Context, path string) (*Socket, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s") // 0700
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is empty by then
	temp := filepath.Join(dir, "s")
	l, err := new(net.ListenConfig).Listen(ctx, "unix", temp)
	if err != nil {
		return nil, err
	}
	ul, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("it is no unix socket"), l.Close())
	}
	ul.SetUnlinkOnClose(false)
	u := &Socket{UnixListener: ul, path: path}
	err = os.Chmod(temp, 0o600)
	if err == nil {
		u.info, err = os.Lstat(temp)
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return nil, errors.Join(err, ul.Close())
	}
	return u, nil
}

func (s Server) clearStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: look at the socket %s: %w", s.Name, path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s: %s is in the way of the socket and is none: move it away", s.Name, path)
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("%s: another daemon answers on %s: stop it first", s.Name, path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("%s: remove the old socket %s: %w", s.Name, path, err)
	}
	return nil
}
