package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/internal/e2e/weather"
	"github.com/hubpipe/hubpipe/internal/failpoint"
)

// The torture of docs/RELIABILITY.md: a few faults of each kind in every run of
// the tests, and as many as are promised in `make torture`.
const (
	tortureVar = "HUBPIPE_TORTURE" // any value: all of it
	seedVar    = "HUBPIPE_SEED"    // repeats what a seed drew
)

// often is how often something happens.
func often(now, torture int) int {
	if os.Getenv(tortureVar) != "" {
		return torture
	}
	return now
}

// victim is a system under torture, and what was done to it.
type victim struct {
	*system
	seed    uint64
	rng     *rand.Rand
	known   map[string][]string // records that nothing has ended yet
	ended   map[string][]string // archived ones
	faults  int
	changes int
	slowest time.Duration // from a daemon's start until it was ready
}

// victimised starts a simulator; nothing else runs yet.
func victimised(t testing.TB, sim ...string) *victim {
	t.Helper()
	seed := uint64(time.Now().UnixNano()) % 1e6
	if s, err := strconv.ParseUint(os.Getenv(seedVar), 10, 64); err == nil {
		seed = s
	}
	t.Logf("seed %d (%s=%d repeats it)", seed, seedVar, seed)
	sim = append([]string{"--seed", strconv.FormatUint(seed, 10), "--limits=false", "--contacts", "1500", "--deals", "300", "--properties", "20",
		"--search-lateness", "2s", "--fault-rate", "0.02", "--short-pages", "0.1", "--stale-reads", "0.05", "--stale-for", "1s"}, sim...)
	v := &victim{system: newSystem(t, sim...), seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // repeatable
		known: map[string][]string{}, ended: map[string][]string{}}
	v.reread = "3s" // the simulator's replicas lag by one
	v.configure(settings{defaults: `archived_interval = "3s"`})
	for _, o := range []string{"contacts", "deals"} {
		truth, err := v.truth(o)
		if err != nil {
			t.Fatal(err)
		}
		for id := range truth {
			v.known[o] = append(v.known[o], id)
		}
		slices.Sort(v.known[o])
	}
	return v
}

// take takes one at random out of a list.
func (v *victim) take(of map[string][]string, object string) (string, bool) {
	l := of[object]
	if len(l) == 0 {
		return "", false
	}
	i := v.rng.IntN(len(l))
	id := l[i]
	of[object] = slices.Delete(l, i, i+1)
	return id, true
}

// happens lets something happen in HubSpot.
func (v *victim) happens() {
	v.t.Helper()
	v.changes++
	o := []string{"contacts", "contacts", "deals"}[v.rng.IntN(3)]
	switch v.rng.IntN(8) {
	case 0:
		if id, ok := v.take(v.known, o); ok {
			v.change(o, fmt.Sprintf(`{"archive":[%q]}`, id))
			v.ended[o] = append(v.ended[o], id)
		}
	case 1:
		if id, ok := v.take(v.ended, o); ok {
			v.change(o, fmt.Sprintf(`{"restore":[%q]}`, id))
			v.known[o] = append(v.known[o], id)
		}
	case 2:
		into, ok := v.take(v.known, o)
		if from, more := v.take(v.known, o); ok && more {
			v.change(o, fmt.Sprintf(`{"merge":[{"into":%q,"from":[%q],"new_id":%t}]}`, into, from, v.rng.IntN(2) == 0))
		}
	default:
		v.change(o, fmt.Sprintf(`{"change":%d,"create":%d}`, v.rng.IntN(40), v.rng.IntN(4)))
	}
}

// pause lets a while pass that the seed draws.
func (v *victim) pause(most time.Duration) {
	<-time.After(time.Duration(v.rng.Int64N(int64(most))))
}

// ready starts a daemon and notes how long that took.
func (v *victim) ready(args ...string) *process {
	v.t.Helper()
	began := time.Now()
	p := v.daemon(args...)
	v.slowest = max(v.slowest, time.Since(began))
	return p
}

// exact waits until the store is what HubSpot has, and fails where too little
// was done for that to mean anything.
func (v *victim) exact(faults, records int) {
	v.t.Helper()
	began := time.Now()
	for _, o := range []string{"contacts", "deals"} {
		said := false
		until(v.t, o+" equal the truth", func() error {
			err := v.equal(o)
			if err != nil && !said && time.Since(began) > 25*time.Second {
				said = true
				v.t.Logf("after %s: %v\n%s\n%s", time.Since(began), err, v.get("/v1/streams"), v.get("/v1/runs?limit=8"))
			}
			return err
		})
	}
	took := time.Since(began)
	acknowledged := 0
	for _, o := range []string{"contacts", "deals"} {
		for _, r := range v.runs(o) {
			acknowledged += int(r.Records) //nolint:gosec // far below
		}
	}
	v.t.Logf("seed %d: %d faults, %d changes, at least %d records acknowledged; exact %s after the last fault; slowest start %s", v.seed, v.faults,
		v.changes, acknowledged, took.Round(100*time.Millisecond), v.slowest.Round(10*time.Millisecond))
	if v.faults < faults || acknowledged < records {
		v.t.Errorf("that was too little: wanted %d faults and %d records", faults, records)
	}
	if bound := time.Minute; took > bound && os.Getenv(tortureVar) != "" {
		v.t.Errorf("exact after %s, later than %s", took, bound)
	}
}

// Daemon and worker are killed at any moment, a hundred times each.
func TestTortureKilled(t *testing.T) {
	t.Parallel()
	v := victimised(t)
	daemon, worker := v.ready(), v.worker()
	n := often(3, 100)
	for range n {
		v.happens()
		v.pause(1500 * time.Millisecond)
		daemon.kill(syscall.SIGKILL)
		v.happens()
		daemon = v.ready()
		v.pause(700 * time.Millisecond)
		worker.kill(syscall.SIGKILL)
		worker = v.worker()
		v.faults += 2
	}
	v.exact(2*n, 1800)
	if v.slowest > 5*time.Second && os.Getenv(tortureVar) != "" {
		t.Errorf("a daemon was ready after %s", v.slowest)
	}
}

// Processes die at each step that a page takes, the first time and later ones.
func TestTortureFailpoints(t *testing.T) {
	t.Parallel()
	bin := withFailpoints(t)
	v := victimised(t)
	v.bin = bin
	rounds := often(1, 8)
	for range rounds {
		points := failpoint.Points()
		v.rng.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
		for _, p := range points {
			last := "HUBPIPE_FAILPOINT=" + string(p) + ":" + strconv.Itoa(1+v.rng.IntN(6))
			var daemon, worker, dies *process
			if strings.HasPrefix(string(p), "worker.") {
				daemon, worker = v.ready(), runWith(t, v.dir, bin, []string{last}, "worker")
				dies = worker
			} else {
				// It may die before it says that it is ready.
				daemon, worker = runWith(t, v.dir, bin, []string{last}, "daemon"), v.worker()
				dies = daemon
			}
			until(t, "the end at "+last, func() error {
				if dies.running() {
					v.happens() // so that there is a page to die of
					return fmt.Errorf("it still runs")
				}
				return nil
			})
			if s, ok := dies.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
				t.Fatalf("at %s it ended with %s:\n%s", last, dies.cmd.ProcessState, tail(dies.log.String()))
			}
			v.faults++
			daemon.kill(syscall.SIGKILL)
			worker.kill(syscall.SIGKILL)
		}
	}
	v.ready()
	v.worker()
	v.exact(rounds*len(failpoint.Points()), 1800)
}

// withFailpoints builds the program, by more tags where there are, so that a step
// can be made the last one.
func withFailpoints(t testing.TB, tags ...string) (bin string) {
	t.Helper()
	worthDetecting(t)
	bin = filepath.Join(t.TempDir(), "hubpipe")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", strings.Join(append(tags, "failpoints"), ","), "-o", bin, "../..").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// through has the worker reach the daemon's broker and HubSpot by ways that
// have weather.
func (v *victim) through(mqtt, hubspot *weather.Proxy) *system {
	v.t.Helper()
	w := v.another()
	w.configure(settings{broker: fmt.Sprintf("url = \"mqtt://%s\"\n  username = \"hubpipe-worker-far\"\n  password = file(\"token\")", mqtt.Addr())})
	if err := os.WriteFile(filepath.Join(w.dir, "token"), []byte(v.token()), 0o600); err != nil {
		v.t.Fatal(err)
	}
	w.replace(v.sim, "http://"+hubspot.Addr())
	return w
}

// Both ways are slow, cut, sliced, stand still, repeat and overtake.
func TestTortureWeather(t *testing.T) {
	t.Parallel()
	v := victimised(t)
	v.ready()
	ways := []*weather.Proxy{weather.New(t, v.mqtt, v.seed, true), weather.New(t, strings.TrimPrefix(v.sim, "http://"), v.seed, false)}
	far := v.through(ways[0], ways[1])
	far.worker("--name", "far")
	for range often(2, 10) {
		for _, w := range ways {
			w.Foul(true)
		}
		for end := time.Now().Add(time.Duration(often(4, 20)) * time.Second); time.Now().Before(end); {
			v.happens()
			v.pause(400 * time.Millisecond)
		}
		for _, w := range ways {
			w.Foul(false)
		}
		v.happens()
		v.pause(2 * time.Second)
	}
	v.faults = ways[0].Faults() + ways[1].Faults()
	v.exact(often(20, 300), 1800)
}
