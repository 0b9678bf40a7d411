package exact

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// counts are of what happened, over all seeds.
type counts struct {
	mu sync.Mutex
	of map[string]int64
}

func (c *counts) add(what string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[what] += n
}

func (c *counts) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, _ := json.Marshal(c.of) // sorted by name
	return string(b)
}

// seedsOf are those to run: HUBPIPE_SEED names one, HUBPIPE_SEEDS says how many,
// else there are as many as usual.
func seedsOf(t *testing.T, usual uint64) (seeds []uint64, all bool) {
	t.Helper()
	number := func(name string) uint64 {
		if os.Getenv(name) == "" {
			return 0
		}
		n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
		if err != nil || n == 0 {
			t.Fatalf("%s is %q and has to be a number from 1 on", name, os.Getenv(name))
		}
		return n
	}
	if one := number("HUBPIPE_SEED"); one > 0 {
		return []uint64{one}, false
	}
	n := number("HUBPIPE_SEEDS")
	all = true // are there, so that each kind of event has to happen
	switch {
	case n > 0:
		all = n >= 8
	case testing.Short() || slowly:
		n, all = 2, false
	default:
		n = usual
	}
	for i := range n {
		seeds = append(seeds, i+1)
	}
	return seeds, all
}

// TestRandomEvents lets happen what can happen to a portal, while HubSpot fails
// and lags and both processes begin anew, under schedules that are drawn, too.
// After quiet the store equals the truth. HUBPIPE_SEED=7 repeats a seed; what
// processes do at the same moment differs all the same.
func TestRandomEvents(t *testing.T) { //nolint:tparallel // the group ends with its last seed
	t.Parallel()
	seeds, all := seedsOf(t, 8)
	happened := &counts{of: map[string]int64{}}
	t.Run("seed", func(t *testing.T) {
		for _, seed := range seeds {
			t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
				t.Parallel()
				newWorld(t, seed, happened).live()
			})
		}
	})
	t.Logf("%d seeds: %s", len(seeds), happened)
	if !all {
		return
	}
	for _, what := range append(kindsOfEvent(), "fault") {
		if happened.of[what] == 0 {
			t.Errorf("%s: it never happened", what)
		}
	}
}

// world is a portal whose life is drawn.
type world struct {
	*rig
	seed     uint64
	rng      *rand.Rand
	happened *counts
	own      *counts
	objects  []string
	// mended says that a reconcile holds the store against HubSpot in the end.
	// Otherwise only that happens which windows and sweeps have to find by
	// themselves.
	mended  bool
	bulk    bool
	merged  map[string]bool     // who has had part in a merge
	added   int                 // properties
	counted map[string][]string // those of them that HubSpot calculates, by object
	down    bool                // the worker
}

func newWorld(t *testing.T, seed uint64, happened *counts) *world {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0x6875627069706521))
	w := &world{seed: seed, rng: rng, happened: happened, own: &counts{of: map[string]int64{}}, merged: map[string]bool{}, counted: map[string][]string{},
		objects: []string{"contacts", "companies", "deals"}, mended: seed%2 == 0, bulk: seed%20 == 5}
	o := simulator.Options{Seed: int64(seed), Properties: 14 + rng.IntN(10), //nolint:gosec // any seed will do
		Sizes:           map[string]int{"contacts": 150 + rng.IntN(500), "companies": 60 + rng.IntN(150), "deals": 80 + rng.IntN(200)},
		Associations:    map[string]float64{"deals-contacts": 1.3, "contacts-companies": 0.7},
		AssociationPage: w.one(3, 20, 500),
		Limits:          rng.IntN(3) == 0, FaultRate: w.upTo(0.15), ShortPages: w.upTo(0.5),
		StaleReads: w.upTo(0.3), StaleFor: 800 * time.Millisecond,
		SearchLateness:   time.Duration(rng.IntN(5500)) * time.Millisecond, // longer than the tail, shorter than settling
		Missing:          []simulator.Missing{simulator.MissingAs207, simulator.MissingAs200, simulator.MissingSilent}[rng.IntN(3)],
		RestoreKeepsTime: rng.IntN(2) == 0, BatchGivesSurvivor: rng.IntN(2) == 0, StrictBodies: rng.IntN(2) == 0,
		OpaqueAfter: map[string]bool{"companies": rng.IntN(2) == 0},
	}
	if w.bulk {
		o.Sizes["contacts"], o.Properties, o.Limits = 10700, 14, false
	}
	if w.mended {
		o.SearchNever = w.upTo(0.05)
	}
	w.rig = newRig(t, o, w.streams(`"contacts"`))
	return w
}

func (w *world) one(of ...int) int { return of[w.rng.IntN(len(of))] }

// upTo draws a share, which is often none.
func (w *world) upTo(most float64) float64 {
	if w.rng.IntN(3) == 0 {
		return 0
	}
	return most * w.rng.Float64()
}

func (w *world) streams(dealsWith string) string {
	rng := rand.New(rand.NewPCG(w.seed, 1)) // the same each time
	return fmt.Sprintf(`defaults {
  interval = "%ds"
  tail     = "%ds"
  settle   = %s
  archived_interval  = "%ds"
  reconcile_interval = "24h"
}
stream "contacts" { associations = ["companies"] }
stream "companies" { history = ["*"] }
stream "deals" {
  associations = [%s]
  history      = ["dealstage", "amount"]
}
`, 1+rng.IntN(2), 1+rng.IntN(2), []string{`["8s"]`, `["2s", "8s"]`, `["3s", "5s", "9s"]`}[rng.IntN(3)], 1+rng.IntN(3), dealsWith)
}

// live lets things happen, and then looks.
func (w *world) live() {
	w.t.Cleanup(func() { w.t.Logf("seed %d: %s", w.seed, w.own) })
	w.start()
	if w.keepsTime && !w.mended {
		// Who is in the bin while the first load reads what is live, and out of
		// it when that reads the bin, with a time of long ago, is a reconcile's.
		for _, o := range w.objects {
			until(w.t, "the first load of "+o, func() error { return w.equal(o) })
		}
	}
	events := 30 + w.rng.IntN(40)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for range events {
		what := w.draw()
		if err := w.event(what); err != nil {
			w.t.Fatalf("%s: %v", what, err)
		}
		w.happened.add(what, 1)
		w.own.add(what, 1)
		pause.Reset(time.Duration(w.rng.IntN(250)) * time.Millisecond)
		<-pause.C
	}
	w.quiet()
}

// quiet ends what disturbs, waits until the streams say that they are complete,
// and holds them to it.
func (w *world) quiet() {
	if w.down {
		w.startWorker()
	}
	w.turn(`{"rate":0,"stale_reads":0,"search_lateness":"0s","latency":"0s"}`)
	for _, n := range w.sim.Stats().Faults {
		w.happened.add("fault", n)
		w.own.add("fault", n)
	}
	quiet := time.Now()
	w.complete(w.objects...)
	if w.mended {
		w.holdsAgain(w.objects...)
	} else {
		// A sweep that begins after what search settled.
		for _, o := range w.objects {
			until(w.t, "a sweep of "+o, func() error { return w.equal(o) })
		}
	}
	// The associations of all are read where others are chosen.
	w.reload(strings.Replace(w.streams(`"contacts", "companies"`), `["companies"]`, `["companies", "deals"]`, 1))
	until(w.t, "quiet", func() error {
		var errs []error
		for _, o := range w.objects {
			errs = append(errs, w.equal(o))
		}
		return errors.Join(append(errs, w.linked("deals", "contacts"), w.linked("contacts", "companies"),
			w.remembered("deals", "deals", "dealstage", "amount"), w.remembered("companies", "companies", w.lasting("companies")...))...)
	})
	for _, o := range w.objects {
		until(w.t, "the table of "+o, func() error { return w.indexed(o) })
	}
	if took := time.Since(quiet); took > patience() {
		w.t.Errorf("it took %s", took)
	}
}

// holdsAgain holds all against HubSpot, twice: who asks for a reconcile while
// one runs joins it, and that one may have passed what changed since.
func (w *world) holdsAgain(streams ...string) {
	for range 2 {
		var asked []string
		for _, s := range streams {
			id, err := w.api.Reconcile(w.t.Context(), s, false)
			if err != nil {
				w.t.Fatal(err)
			}
			asked = append(asked, id)
		}
		for _, id := range asked {
			w.ended(id)
		}
	}
	w.recalculated = true
}

// some are up to n records of an object in a state, drawn.
func (w *world) some(object, state string, n int) []string {
	var ids []string
	for _, o := range w.sim.Truth(object) {
		if o.State == state {
			ids = append(ids, o.ID)
		}
	}
	w.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids[:min(n, len(ids))]
}

// fresh are those of them that have had no part in a merge.
func (w *world) fresh(ids []string) []string {
	return slices.DeleteFunc(ids, func(id string) bool { return w.merged[id] })
}
