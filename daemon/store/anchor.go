package store

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// anchor is what is kept outside Badger: who the store is, and bounds that
// prove whether anything of it is lost.
type anchor struct {
	Store string `json:"store"`
	Epoch uint64 `json:"epoch"`
	// Ceiling is above every number that was ever handed out; it is on disk
	// before one of them is used.
	Ceiling counters `json:"ceiling"`
	// Floor is a position known to be on disk, written behind.
	Floor       uint64 `json:"floor"`
	HeldRecords bool   `json:"held_records"`
	Clean       bool   `json:"clean"`
}

// step is how far the ceiling is raised at once.
const step = 1 << 20

func newAnchor() anchor {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails, by its own documentation
	return anchor{Store: hex.EncodeToString(b[:]), Epoch: 1}
}

func (s *Store) anchorPath() string { return filepath.Join(s.o.Dir, "anchor.json") }

func readAnchor(path string) (anchor, bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return anchor{}, false, nil
	}
	if err != nil {
		return anchor{}, false, fmt.Errorf("read the anchor: %w", err)
	}
	var a anchor
	if err := json.Unmarshal(b, &a); err != nil || a.Store == "" {
		return anchor{}, false, fmt.Errorf("the anchor %s is damaged: restore it from a backup", path)
	}
	return a, true, nil
}

func writeAnchor(path string, a anchor) error {
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode the anchor: %w", err)
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write the anchor: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the anchor: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write the anchor: %w", err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("sync the data folder: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// raise lifts the ceiling above what is in use.
func (s *Store) raise() error {
	s.anchor.Ceiling = counters{Seq: s.last.Seq + step, Attempt: s.last.Attempt + step, Run: s.last.Run + step}
	return writeAnchor(s.anchorPath(), s.anchor)
}

// raiseTo makes sure that numbers up to next may be used.
func (s *Store) raiseTo(next counters) error {
	c := s.anchor.Ceiling
	if next.Seq < c.Seq && next.Attempt < c.Attempt && next.Run < c.Run {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.anchor.Ceiling = counters{Seq: next.Seq + step, Attempt: next.Attempt + step, Run: next.Run + step}
	return writeAnchor(s.anchorPath(), s.anchor)
}

func flock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

func freeSpace(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}
