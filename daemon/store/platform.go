package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// takeLock holds the data folder for this process; the lock goes with it,
// however it ends.
func (s *Store) takeLock() error {
	path := filepath.Join(s.o.Dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the lock of the data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("lock the data folder %s: %w", s.o.Dir, err)
		}
		by, _ := os.ReadFile(path) // its name is a courtesy
		return &LockedError{Dir: s.o.Dir, By: strings.TrimSpace(string(by))}
	}
	s.lock = f
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write the lock of the data folder: %w", err)
	}
	if _, err := f.WriteAt([]byte("process "+strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write the lock of the data folder: %w", err)
	}
	return nil
}

func (s *Store) release() {
	if s.lock != nil {
		// Closing is not enough while a process that is just being forked has a
		// copy of the descriptor.
		_ = syscall.Flock(int(s.lock.Fd()), syscall.LOCK_UN)
		_ = s.lock.Close()
	}
}

// freeSpace is how many bytes an ordinary user may still write.
func freeSpace(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("read the free space of %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// allocated is what a file takes of the disk.
func allocated(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Blocks) * 512 //nolint:gosec // a count
	}
	return uint64(info.Size())
}
