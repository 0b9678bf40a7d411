package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk mounts one in memory as the data folder of a system.
func smallDisk(t *testing.T, s *system, megabytes int) string {
	t.Helper()
	dir := filepath.Join(s.dir, "data")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", megabytes)); err != nil {
		// No program is missing here but a right, which many machines do not give.
		t.Skipf("a small disk needs the right to mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount the small disk: %v", err)
		}
	})
	return dir
}

// fill makes a file so large that about so much is left.
func fill(t *testing.T, dir string, leave int64) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	piece := make([]byte, 1<<20)
	for n := int64(st.Bavail)*st.Bsize - leave; n > 0; n -= int64(len(piece)) {
		if _, err := f.Write(piece[:min(n, int64(len(piece)))]); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// The data disk fills up to its end while records come, again and again: the
// daemon says so, takes nothing in, serves what it has, and goes on by itself
// when there is room. HUBPIPE_DISKS is how often (2).
func TestFullDisk(t *testing.T) {
	t.Parallel()
	seed := number(t, "HUBPIPE_SEED", 3)
	t.Logf("HUBPIPE_SEED=%d", seed)
	random := rand.New(rand.NewPCG(uint64(seed), 0)) //nolint:gosec // a seed
	s := newSystem(t, "--contacts", "3000", "--deals", "200", "--limits=false", "--latency", "10ms")
	dir := smallDisk(t, s, 400)
	daemon := s.daemon()
	worker := s.worker()
	for round := range number(t, "HUBPIPE_DISKS", 2) {
		s.change("contacts", `{"change":500,"create":400}`)
		began := s.status("contacts").Records
		until(t, "records", func() error {
			if n := s.status("contacts").Records; n < min(began+uint64(random.IntN(200)), 3000) {
				return fmt.Errorf("%d records", n)
			}
			return nil
		})
		fill(t, dir, int64(random.IntN(150)+20)<<20) // below the mark
		until(t, "the daemon to say so", func() error {
			code, body := fetch(t, http.MethodGet, s.http+"/readyz", "", "")
			if code != http.StatusServiceUnavailable || !strings.Contains(body, "nearly full") {
				return fmt.Errorf("%d %s", code, body)
			}
			return nil
		})
		fill(t, dir, 0)
		before := s.status("contacts").Records
		if out, err := s.hubpipe("records", "contacts", "--limit", "10"); err != nil || strings.Count(out, "\n") != 10 {
			t.Errorf("round %d: what is stored is not served: %v", round, err)
		}
		if _, err := s.hubpipe("backup", filepath.Join(dir, "full.backup")); err == nil {
			t.Error("a backup onto a full disk goes well")
		}
		if left, err := filepath.Glob(filepath.Join(dir, ".hubpipe-backup-*")); err != nil || len(left) > 0 {
			t.Errorf("it leaves %v", left)
		}
		if d, sick := s.doctor(); !sick || !strings.Contains(fmt.Sprint(d.Findings), "nearly full") {
			t.Errorf("the doctor finds %v", d.Findings)
		}
		if now := s.status("contacts").Records; now != before {
			t.Errorf("round %d: %d records were %d: something is taken in", round, now, before)
		}
		if !daemon.running() {
			t.Fatalf("round %d: the daemon is gone", round)
		}
		if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
			t.Fatal(err)
		}
		s.becomesEqual("contacts", "deals")
	}
	worker.kill(syscall.SIGTERM)
	daemon.kill(syscall.SIGTERM)
	if code := daemon.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the daemon ends with %d", code)
	}

	// And it does not start where there is hardly any room.
	fill(t, dir, 20<<20)
	refused(t, run(t, s.dir, s.bin, "daemon"), 1, "MiB free")
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	if d, sick := s.doctor(); sick {
		t.Errorf("in the end: %+v", d)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	refused(t, run(t, s.dir, s.bin, "daemon"), 1, "read-only")
	if d, sick := s.doctor(); !sick || !strings.Contains(fmt.Sprint(d.Findings), "cannot be written") {
		t.Errorf("of a read-only disk: %+v", d)
	}
}
