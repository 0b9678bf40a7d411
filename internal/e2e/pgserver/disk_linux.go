package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// SmallDisk mounts one in memory, which is the server's. Where that may not be
// done the test is skipped: no program is missing then but a right.
func (s *Server) SmallDisk(name string, megabytes int) string {
	s.t.Helper()
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	options := fmt.Sprintf("size=%dm,mode=0700", megabytes)
	if s.cred != nil {
		options += fmt.Sprintf(",uid=%d,gid=%d", s.cred.Uid, s.cred.Gid)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		s.t.Skipf("a small disk needs the right to mount one: %v", err)
	}
	s.t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			s.t.Errorf("unmount the small disk: %v", err)
		}
	})
	return dir
}

// Fill leaves a disk without room until free is called.
func (s *Server) Fill(dir string) (free func()) {
	s.t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	piece := make([]byte, 1<<20)
	for len(piece) > 0 {
		if _, err := f.Write(piece); errors.Is(err, syscall.ENOSPC) {
			piece = piece[:len(piece)/2] // what is left may be less than a piece
		} else if err != nil {
			s.t.Fatal(err)
		}
	}
	return func() {
		s.t.Helper()
		if err := os.Remove(path); err != nil {
			s.t.Fatal(err)
		}
	}
}

// MoveLog moves the log of a server that is down to another disk, in files of a
// megabyte.
func (s *Server) MoveLog(dir string) {
	s.t.Helper()
	s.run("pg_resetwal", "--wal-segsize=1", "-D", s.data())
	from, to := filepath.Join(s.data(), "pg_wal"), filepath.Join(dir, "pg_wal")
	if out, err := exec.CommandContext(s.t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		s.t.Fatalf("cp: %v\n%s", err, out)
	}
	if err := os.RemoveAll(from); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Symlink(to, from); err != nil {
		s.t.Fatal(err)
	}
}
