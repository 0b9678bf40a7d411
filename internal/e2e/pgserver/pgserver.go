// Package pgserver runs a PostgreSQL of a test's own: in a temporary folder, on
// a free port of loopback, as a user that is not root.
package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// User and Password are the server's superuser; Database is empty at first.
const (
	User     = "owner"
	Password = "secret-canary-password"
	Database = "warehouse"
)

// patience is how long a server may take to start or to stop.
const patience = 2 * time.Minute

// Server is a PostgreSQL. Its methods are called by one goroutine.
type Server struct {
	t    testing.TB
	dir  string
	bin  string
	port int
	cred *syscall.Credential
	cmd  *exec.Cmd
	done chan struct{}
	more []string
}

// Start starts a server that ends with the test. Where PostgreSQL is missing the
// test is skipped, and fails where everything is required. Settings are as on
// its command line: "fsync=on".
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	bin, err := find()
	if err != nil {
		if os.Getenv("HUBPIPE_TEST_REQUIRE") == "all" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "hubpipe-pg") //nolint:usetesting // its path is short enough for a socket, and another user may enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{t: t, dir: dir, bin: bin, more: settings}
	if os.Getuid() == 0 {
		if s.cred, err = nobody(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	pw := filepath.Join(dir, "pw")
	// Its mode by itself: a verb that keeps files to their owner may have set the
	// umask of the test's process.
	if err := errors.Join(os.WriteFile(pw, []byte(Password+"\n"), 0o600), os.Chmod(pw, 0o644)); err != nil { //nolint:gosec // a test's password, read by another user
		t.Fatal(err)
	}
	s.run("initdb", "-D", s.data(), "-U", User, "--pwfile="+pw, "--auth=scram-sha-256", "--auth-local=trust", "-E", "UTF8", "--locale=C", "--no-sync")
	t.Cleanup(func() { s.end(syscall.SIGQUIT) })
	s.Up()
	s.SQL("postgres", "CREATE DATABASE "+Database)
	return s
}

func find() (string, error) {
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(all) > 0 {
		slices.Sort(all)
		return filepath.Dir(all[len(all)-1]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errors.New("PostgreSQL is missing (initdb): install the package postgresql")
	}
	return filepath.Dir(path), nil
}

// nobody is a user who may run a server, which root may not.
func nobody() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
	}
	return nil, errors.New("there is no user postgres or nobody to run a server as")
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	return cmd
}

func (s *Server) run(name string, args ...string) {
	s.t.Helper()
	if out, err := s.command(name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Up starts the server again after Kill or Down, on the port that it had.
func (s *Server) Up() {
	s.t.Helper()
	for range 5 {
		if s.port == 0 {
			s.port = free(s.t)
		}
		if s.start() {
			return
		}
		switch log := s.log(); {
		case bytes.Contains(log, []byte("could not bind")):
			s.port = 0 // somebody else took it meanwhile
		case !bytes.Contains(log, []byte("File exists")): // seen once after Kill, while what it had left was still going
			s.t.Fatalf("PostgreSQL does not start:\n%s", log)
		}
	}
	s.t.Fatalf("PostgreSQL does not start:\n%s", s.log())
}

// log is what the server has said since it was started last.
func (s *Server) log() []byte {
	b, _ := os.ReadFile(filepath.Join(s.dir, "log")) // for people, and for what is tried again
	return b
}

func (s *Server) start() bool {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	args := []string{"-D", s.data(), "-k", s.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(s.port)}
	for _, set := range append([]string{"fsync=off", "max_connections=30", "log_min_messages=fatal"}, s.more...) {
		args = append(args, "-c", set)
	}
	s.cmd, s.done = s.command("postgres", args...), make(chan struct{})
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, done := s.cmd, s.done
	go func() {
		_ = cmd.Wait() // how it ends is the test's doing
		close(done)
	}()
	end := time.Now().Add(patience)
	for time.Now().Before(end) {
		ask := s.command("pg_isready", "-q", "-h", s.dir, "-p", strconv.Itoa(s.port))
		if ask.Run() == nil {
			return true
		}
		select {
		case <-s.done:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}

func free(t testing.TB) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port //nolint:errcheck // it listens on tcp
}

func (s *Server) end(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.done:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// Kill ends the server without a goodbye: what was not committed is lost, and
// what was is in its log.
func (s *Server) Kill() { s.end(syscall.SIGQUIT) }

// Down ends it in order, and ends the connections that there are.
func (s *Server) Down() { s.end(syscall.SIGINT) }

// URL is the address of a database as a user; "" is the superuser's, and the
// test's.
func (s *Server) URL(database, name, password string) string {
	if database == "" {
		database = Database
	}
	if name == "" {
		name, password = User, Password
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(name, password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), Path: "/" + database}
	return u.String()
}

// SQL runs statements and returns what they print, a row a line, columns parted
// by "|".
func (s *Server) SQL(database, sql string) string {
	s.t.Helper()
	out, err := s.Try(database, sql)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// Dump is all that is in a schema, as pg_dump writes it.
func (s *Server) Dump(schema string) string {
	s.t.Helper()
	out, err := s.command("pg_dump", "-h", s.dir, "-p", strconv.Itoa(s.port), "-U", User, "-n", schema, Database).CombinedOutput()
	if err != nil {
		s.t.Fatalf("pg_dump: %v\n%s", err, out)
	}
	return string(out)
}

// Try is SQL that may fail.
func (s *Server) Try(database, sql string) (string, error) {
	if database == "" {
		database = Database
	}
	cmd := s.command("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", s.dir, "-p", strconv.Itoa(s.port), "-U", User, "-d", database, "-c", sql)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}

// CPU is the time that the server's processes have had, those that have ended
// included.
func (s *Server) CPU() (all time.Duration) {
	s.t.Helper()
	own := strconv.Itoa(s.cmd.Process.Pid)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		fields, err := stat(pid)
		if err != nil || fields[1] != own && strconv.Itoa(pid) != own {
			continue
		}
		d, _ := ProcessCPU(pid) // one that has ended meanwhile
		all += d
	}
	return all
}

// ProcessCPU is the time that a process and its children that have ended have
// had, as Linux counts it.
func ProcessCPU(pid int) (time.Duration, error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, err
	}
	ticks := 0
	for _, f := range fields[11:15] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// stat is what follows the name in /proc/PID/stat: state, parent and so on.
func stat(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 15 {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields, nil
}
