package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/store"
)

// A backup that is made while a first load runs is restored into an empty
// folder, as on another machine. What the lost store had fetched since, and
// what has changed since, comes from HubSpot, at places above all that a reader
// of the lost one may have seen.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "4000", "--deals", "300", "--limits=false", "--latency", "20ms", "--fault-rate", "0.02")
	s.configure(settings{defaults: `archived_interval = "2s"`})
	daemon, worker := s.daemon(), s.worker()
	until(t, "the first load", func() error {
		if n := s.status("contacts").Records; n < 400 {
			return fmt.Errorf("%d records", n)
		}
		return nil
	})
	if s.status("contacts").CompleteUntil != nil {
		t.Fatal("the first load is over before the backup")
	}
	file := filepath.Join(s.dir, "early.backup")
	if _, err := s.hubpipe("backup", file); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the backup: %v %v", info.Mode(), err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	early, err := store.VerifyBackup(f)
	if err != nil {
		t.Fatal(err)
	}
	s.becomesEqual("contacts", "deals")
	late, err := s.hubpipe("backup", "-")
	if err != nil || len(late) < 1000 {
		t.Fatalf("%d bytes on stdout: %v", len(late), err)
	}
	s.change("contacts", `{"create":60}`)
	ids := s.change("contacts", `{"change":200}`)
	archived, gone := ids[:20], ids[20:30]
	s.change("contacts", fmt.Sprintf(`{"archive":["%s"],"delete":["%s"]}`, strings.Join(archived, `","`), strings.Join(gone, `","`)))
	s.becomesEqual("deals")
	top := position(t, s, "contacts")
	if early.Position == 0 || early.Position >= top {
		t.Fatalf("the backup goes up to %d, the feed to %d", early.Position, top)
	}
	var exit *exec.ExitError
	if _, err := s.hubpipe("restore", file); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(err.Error(), "in use by another daemon") {
		t.Errorf("restored beside a daemon: %v", err)
	}
	worker.kill(syscall.SIGKILL)
	daemon.kill(syscall.SIGKILL)

	for name, backup := range map[string][]byte{"early": read(t, file), "late": []byte(late)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := s.another()
			o.t = t
			o.configure(settings{defaults: `archived_interval = "2s"`})
			path := filepath.Join(o.dir, "its.backup")
			if err := os.WriteFile(path, backup[:len(backup)-1], 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := o.hubpipe("restore", path); err == nil || !strings.Contains(err.Error(), "not a whole backup") {
				t.Errorf("a cut file is restored: %v", err)
			}
			if err := os.WriteFile(path, backup, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := o.hubpipe("restore", path); err != nil {
				t.Fatal(err)
			}
			if _, err := o.hubpipe("restore", path); err == nil || !strings.Contains(err.Error(), "--force") {
				t.Errorf("restored over what is there: %v", err)
			}
			o.daemon()
			o.worker()
			// Who had not come when the backup was made, and is gone since, need
			// not be known.
			unknown := gone
			if name == "late" {
				unknown = nil
			}
			until(t, "contacts equal the truth", func() error { return o.equal("contacts", unknown...) })
			o.becomesEqual("deals")
			if at := position(t, o, "contacts"); at <= top {
				t.Errorf("the feed goes on at %d, below %d", at, top)
			}
			if n := len(o.runs("contacts")); n == 0 {
				t.Error("the runs are gone")
			}
		})
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// position is the newest in a stream's feed.
func position(t testing.TB, s *system, stream string) (top uint64) {
	t.Helper()
	out, err := s.hubpipe("changes", stream)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		top = max(top, decode[struct{ Seq uint64 }](t, line).Seq)
	}
	return top
}

// A backup that is broken off leaves no file that looks like one.
func TestBackupIsBrokenOff(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "1500", "--deals", "0", "--limits=false")
	s.configure(settings{streams: []string{"contacts"}})
	daemon, worker := s.daemon(), s.worker()
	s.becomesEqual("contacts")
	worker.kill(syscall.SIGTERM)
	// Nobody reads stdout: the daemon sends until the pipe is full, and stops
	// all the same when it is told to.
	cmd := exec.CommandContext(t.Context(), s.bin, "backup", "-")
	cmd.Dir = s.dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var says bytes.Buffer
	cmd.Stderr = &says
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 1000)
	if _, err := out.Read(first); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	daemon.kill(syscall.SIGTERM)
	if code := daemon.cmd.ProcessState.ExitCode(); code != 0 || time.Since(began) > 30*time.Second {
		t.Errorf("the daemon ends with %d after %s", code, time.Since(began))
	}
	out.Close()
	if err := cmd.Wait(); err == nil {
		t.Error("what was broken off ends well")
	}
	path := filepath.Join(s.dir, "none.backup")
	if _, err := s.hubpipe("backup", path); err == nil {
		t.Error("a backup without a daemon")
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "*backup*"))
	if hidden, _ := filepath.Glob(filepath.Join(s.dir, ".hubpipe-*")); err != nil || len(left)+len(hidden) > 0 {
		t.Errorf("it leaves %v %v", left, hidden)
	}
}
