package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Any file of the store flipped, cut or deleted, of a daemon that was killed or
// stopped: the next start says what is wrong or mends it, `hubpipe doctor
// --repair` mends what a start does not, and in the end everything is as in
// HubSpot. HUBPIPE_DAMAGES is how many (12), HUBPIPE_SEED which.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	seed, n := number(t, "HUBPIPE_SEED", 5), number(t, "HUBPIPE_DAMAGES", 12)
	t.Logf("HUBPIPE_SEED=%d, %d damages", seed, n)
	s := newSystem(t, "--contacts", "2500", "--deals", "200", "--limits=false")
	daemon, worker := s.daemon(), s.worker()
	s.becomesEqual("contacts", "deals")
	s.change("contacts", `{"change":300,"create":50}`)
	s.becomesEqual("contacts")
	worker.kill(syscall.SIGTERM)
	daemon.kill(syscall.SIGKILL)
	store := filepath.Join(s.dir, "data", "store")
	killed := filepath.Join(s.dir, "killed")
	copyTree(t, store, killed)
	// Once more, stopped in order.
	daemon = s.daemon()
	daemon.kill(syscall.SIGTERM)
	random := rand.New(rand.NewPCG(uint64(seed), 0)) //nolint:gosec // a seed
	for i := range n {
		from, state := store, "stopped"
		if i%2 == 0 {
			from, state = killed, "killed"
		}
		draw := rand.New(rand.NewPCG(random.Uint64(), 0)) //nolint:gosec // a seed
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			o := s.another()
			o.t = t
			o.configure(settings{})
			if err := os.MkdirAll(filepath.Join(o.dir, "data"), 0o700); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(o.dir, "data", "store")
			copyTree(t, from, dir)
			t.Logf("%s, then %s", state, harm(t, dir, draw))
			o.mends()
		})
	}
}

// mends starts a daemon on a folder that may be damaged. One that refuses says
// why, and starts when the doctor was there.
func (s *system) mends() {
	s.t.Helper()
	looked, sick := s.doctor()
	if sick != (len(looked.Findings) > 0) {
		s.t.Errorf("doctor ends with %t and finds %v", sick, looked.Findings)
	}
	daemon := run(s.t, s.dir, s.bin, "daemon")
	until(s.t, "the daemon", func() error {
		if log := daemon.log.String(); daemon.running() && !strings.Contains(log, "ready: http=") {
			return fmt.Errorf("it neither is ready nor ends:\n%s", tail(log))
		}
		return nil
	})
	if !daemon.running() {
		refused(s.t, daemon, 1, "the store is damaged", "hubpipe doctor --repair")
		if !sick {
			s.t.Error("the daemon refuses what doctor finds well")
		}
		if mended, sick := s.doctor("--repair"); sick {
			s.t.Fatalf("not mended: %+v", mended)
		}
		daemon = run(s.t, s.dir, s.bin, "daemon")
		daemon.says(s.t, "ready: http=")
	}
	worker := s.worker()
	s.becomesEqual("contacts", "deals")
	if d, sick := s.doctor(); sick {
		s.t.Errorf("the daemon itself finds %+v", d)
	}
	worker.kill(syscall.SIGTERM)
	daemon.kill(syscall.SIGTERM)
	if d, sick := s.doctor(); sick {
		s.t.Errorf("in the end: %+v", d)
	}
}

// doctor asks it, and says whether it finds something wrong.
func (s *system) doctor(args ...string) (client.Diagnosis, bool) {
	s.t.Helper()
	out, err := s.hubpipe(append([]string{"doctor", "--output", "json"}, args...)...)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1 || out == "") {
		s.t.Fatalf("doctor: %v", err)
	}
	return decode[client.Diagnosis](s.t, out), err != nil
}

func number(t *testing.T, variable string, usual int) int {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		return usual
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := errors.Join(os.CopyFS(to, os.DirFS(from)), os.Chmod(to, 0o700)); err != nil {
		t.Fatal(err)
	}
}

// harm does one thing to one file, and says what.
func harm(t *testing.T, dir string, random *rand.Rand) string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.EqualFold(d.Name(), "lock") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	path := paths[random.IntN(len(paths))]
	b := read(t, path)
	used := max(1, len(strings.TrimRight(string(b), "\x00"))) // what is behind is nothing
	at := random.IntN(used)
	var what string
	switch kind := random.IntN(3); {
	case kind == 0 && len(b) > 0:
		b[at] ^= 1 << random.IntN(8)
		what = fmt.Sprintf("byte %d of %d flipped", at, used)
	case kind == 1:
		b = b[:min(at, len(b))]
		what = fmt.Sprintf("cut at %d of %d", at, used)
	default:
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return filepath.Base(path) + " deleted"
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Base(path) + " " + what
}
