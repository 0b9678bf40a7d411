package exact

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// rowSeeds is how many seeds it takes until each stream was among those read.
const rowSeeds = 5

// rowStreams are all streams outside the CRM's contract but those that tell of
// the reader, and an object that the portal has defined, in turn.
func rowStreams() (names []string) {
	for _, o := range catalogue.All() {
		if o.Ready && o.Strategy != catalogue.StrategyObjects && o.Name != "account" && o.Name != "api_usage" {
			names = append(names, o.Name)
		}
	}
	return append(names, cars)
}

const cars = "p_cars"

// TestRandomRows is TestRandomEvents for the streams that are no objects of the
// CRM: what is read whole, by parents, by windows of time and from the newest
// row back; and for objects that the portal has defined. Five seeds come to each
// of them.
func TestRandomRows(t *testing.T) { //nolint:tparallel // the group ends with its last seed
	t.Parallel()
	seeds, _ := seedsOf(t, rowSeeds)
	happened := &counts{of: map[string]int64{}}
	t.Run("seed", func(t *testing.T) {
		for _, seed := range seeds {
			t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
				t.Parallel()
				newRowWorld(t, seed, happened).live()
			})
		}
	})
	t.Logf("%d seeds: %s", len(seeds), happened)
	if len(seeds) < rowSeeds {
		return
	}
	for _, what := range slices.Concat(rowStreams(), []string{"appear", "change", "vanish", "archive", "restore", "parent", "tie", "define", "label", "restart", "weather", "fault"}) {
		if happened.of[what] == 0 {
			t.Errorf("%s: it never happened", what)
		}
	}
}

// rowWorld is a portal whose streams outside the CRM's contract live.
type rowWorld struct {
	*world
	names []string // of the streams
}

// rowObjects are the objects that the streams' rows belong to.
func rowObjects() []string { return []string{"contacts", "companies", "deals", "tickets", cars} }

func newRowWorld(t *testing.T, seed uint64, happened *counts) *rowWorld {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0x726f777321)) //nolint:gosec // any will do
	w := &rowWorld{world: &world{seed: seed, rng: rng, happened: happened, own: &counts{of: map[string]int64{}}, merged: map[string]bool{},
		counted: map[string][]string{}, objects: rowObjects(), mended: true}}
	for i, name := range rowStreams() {
		if uint64(i)%rowSeeds == seed%rowSeeds { //nolint:gosec // no index is below 0
			w.names = append(w.names, name)
			w.happened.add(name, 1)
		}
	}
	o := simulator.Options{Seed: int64(seed), Properties: 14, //nolint:gosec // any seed will do
		Sizes:           map[string]int{"contacts": 60 + rng.IntN(150), "companies": 20 + rng.IntN(40), "deals": 30 + rng.IntN(80), "tickets": 5, cars: 10 + rng.IntN(60)},
		Associations:    map[string]float64{"contacts-companies": 1.2, "p_cars-contacts": 1},
		AssociationPage: w.one(3, 20, 500),
		Limits:          rng.IntN(3) == 0, FaultRate: w.upTo(0.1), ShortPages: w.upTo(0.5), Unordered: w.upTo(1),
		StaleReads: w.upTo(0.3), StaleFor: 800 * time.Millisecond,
		Missing:          []simulator.Missing{simulator.MissingAs207, simulator.MissingAs200, simulator.MissingSilent}[rng.IntN(3)],
		RestoreKeepsTime: rng.IntN(2) == 0, StrictBodies: rng.IntN(2) == 0, OpaqueAfter: map[string]bool{"companies": rng.IntN(2) == 0},
	}
	w.rig = newRig(t, o, w.config())
	return w
}

// config has the streams of the seed in a hurry, and those that they belong to
// as slow as can be.
func (w *rowWorld) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, `defaults {
  interval    = "%ds"
  tail        = "%ds"
  settle      = ["3s", "8s"]
  max_deletes = "60%%"
  archived_interval  = "%ds"
  reconcile_interval = "24h"
}
`, 1+w.rng.IntN(3), 1+w.rng.IntN(2), 1+w.rng.IntN(3))
	for _, o := range rowObjects() {
		switch {
		case o == cars && slices.Contains(w.names, cars):
			fmt.Fprintf(&b, "stream %q { history = [\"*\"] }\n", cars)
		case o == "contacts":
			b.WriteString("stream \"contacts\" {\n  interval = \"1h\"\n  archived_interval = \"1h\"\n  associations = [\"companies\", \"p_cars\"]\n}\n")
		default:
			fmt.Fprintf(&b, "stream %q {\n  interval = \"1h\"\n  archived_interval = \"1h\"\n}\n", o)
		}
	}
	for _, name := range w.names {
		switch name {
		case cars:
		case "associations":
			b.WriteString("stream \"associations\" {\n  associations = [\"companies/contacts\", \"contacts/companies\", \"contacts/p_cars\", \"p_cars/contacts\"]\n}\n")
		default:
			fmt.Fprintf(&b, "stream %q {}\n", name)
		}
	}
	return b.String()
}

func (w *rowWorld) live() {
	w.t.Cleanup(func() { w.t.Logf("seed %d: %v %s", w.seed, w.names, w.own) })
	w.start()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for range 30 + w.rng.IntN(40) {
		if err := w.happen(); err != nil {
			w.t.Fatal(err)
		}
		pause.Reset(time.Duration(w.rng.IntN(300)) * time.Millisecond)
		<-pause.C
	}
	w.quiet()
}

func (w *rowWorld) did(what string) {
	w.happened.add(what, 1)
	w.own.add(what, 1)
}

// happen lets one thing happen: to a stream, to what its rows belong to, or to
// how they are read.
func (w *rowWorld) happen() error {
	switch w.rng.IntN(20) {
	case 0:
		w.did("weather")
		w.turn(fmt.Sprintf(`{"rate":%.3f,"stale_reads":%.3f,"short_pages":%.3f,"repeat_cursor":%.3f,"unordered":%.3f,"newest_joined_first":%t,"latency":"%dms"}`,
			w.upTo(0.25), w.upTo(0.3), w.upTo(0.5), w.upTo(0.1), w.upTo(1), w.rng.IntN(2) == 0, w.rng.IntN(20)))
		return nil
	case 1:
		w.did("restart")
		w.restart([]string{"worker", "worker", "daemon"}[w.rng.IntN(3)])
		return nil
	}
	name := w.names[w.rng.IntN(len(w.names))]
	if err := w.touch(name); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// touch changes what a stream shows.
func (w *rowWorld) touch(name string) error {
	switch name {
	case cars:
		return w.record(cars)
	case "associations":
		if w.rng.IntN(2) == 0 {
			return w.tie()
		}
		return w.record([]string{"contacts", "companies", cars}[w.rng.IntN(3)])
	case "deal_splits":
		if w.rng.IntN(3) == 0 {
			w.did("parent")
			return w.record("deals")
		}
	case "subscription_statuses":
		w.did("parent")
		if w.rng.IntN(2) == 0 {
			return w.record("contacts")
		}
		return w.row("subscription_definitions")
	case "marketing_email_statistics":
		return w.row("marketing_emails")
	case "properties":
		w.did("define")
		return w.define(rowObjects()[w.rng.IntN(5)], "define")
	case "schemas":
		w.did("define")
		return w.define(cars, "define")
	case "association_labels":
		w.did("label")
		pair := [][2]string{{"contacts", "companies"}, {"companies", "contacts"}, {cars, "contacts"}}[w.rng.IntN(3)]
		return w.sim.ChangeLabels(pair[0], pair[1], w.rng.IntN(3), []string{"", "buyer", "seller", "guest"}[w.rng.IntN(4)])
	}
	if o, _ := catalogue.Lookup(name); o.Endpoint.Parent.Kind == catalogue.ParentStream && w.rng.IntN(4) == 0 && name != "deal_splits" {
		w.did("parent")
		return w.row(o.Endpoint.Parent.Stream)
	}
	return w.row(name)
}

// record lets something happen to a record that rows belong to.
func (w *rowWorld) record(object string) error {
	c := simulator.Change{}
	switch w.rng.IntN(7) {
	case 0, 1:
		c.Create = 1 + w.rng.IntN(4)
	case 2:
		c.Change = 1 + w.rng.IntN(10)
	case 3:
		c.Archive = w.some(object, "live", 1+w.rng.IntN(3))
	case 4:
		c.Restore = w.some(object, "archived", 1+w.rng.IntN(3))
	case 5:
		c.Delete = w.some(object, []string{"live", "archived"}[w.rng.IntN(2)], 1)
	default:
		return w.merge(object)
	}
	_, err := w.sim.Change(object, c)
	return err
}

// tie associates records, and parts others.
func (w *rowWorld) tie() error {
	pair := [][2]string{{"contacts", "companies"}, {cars, "contacts"}}[w.rng.IntN(2)]
	c := simulator.AssociationChange{}
	from, to := w.some(pair[0], "live", 3), w.some(pair[1], "live", 6)
	for i := range to {
		if len(from) > 0 {
			c.Associate = append(c.Associate, simulator.Link{From: from[i%len(from)], To: to[i], Label: []string{"", "Billing; accounts"}[w.rng.IntN(2)]})
		}
	}
	all := w.sim.TruthAssociations(pair[0], pair[1])
	for range min(len(all), 3) {
		a := all[w.rng.IntN(len(all))]
		c.Dissociate = append(c.Dissociate, simulator.Link{From: a.From, To: a.To})
	}
	w.did("tie")
	_, _, err := w.sim.ChangeAssociations(pair[0], pair[1], c)
	return err
}

// rows are up to n rows of a stream in a state, drawn.
func (w *rowWorld) rowsIn(name, state string, n int) []string {
	var ids []string
	for _, o := range w.sim.TruthSet(name) {
		if o.State == state {
			ids = append(ids, o.ID)
		}
	}
	w.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids[:min(n, len(ids))]
}

// row lets something happen to the rows of a stream. Events only happen, the
// bin is for what has one, and a portal has one currency.
func (w *rowWorld) row(name string) error {
	o, _ := catalogue.Lookup(name)
	e, c, what := o.Endpoint, simulator.SetChange{}, "appear"
	bin := e.End == catalogue.EndArchivedPass || e.End == catalogue.EndField
	switch n := w.rng.IntN(10); {
	case name == "currencies" || n < 3 && e.End != catalogue.EndNever:
		c.Change, what = 1+w.rng.IntN(5), "change"
	case e.End == catalogue.EndNever || n < 6:
		c.Create = 1 + w.rng.IntN(5)
		if o.Strategy == catalogue.StrategyWindowed { // it is late, and settles
			c.Late = w.rng.Int64N(5000)
		}
	case n == 6 && bin:
		c.Archive, what = w.rowsIn(name, "live", 1+w.rng.IntN(2)), "archive"
	case n == 7 && bin:
		c.Restore, what = w.rowsIn(name, "archived", 1+w.rng.IntN(2)), "restore"
	case len(w.rowsIn(name, "live", 9)) < 4:
		return nil // a stream of which nothing is left is kept until a person says so
	default:
		c.Delete, what = w.rowsIn(name, "live", 1+w.rng.IntN(2)), "vanish"
	}
	w.did(what)
	ids, err := w.sim.ChangeSet(name, c)
	if err != nil || name != "forms" || c.Create == 0 {
		return err
	}
	// A form that stays empty is asked for seldom, as it is to be.
	for _, id := range ids {
		if _, err := w.sim.ChangeSet("form_submissions", simulator.SetChange{Create: 2, Parent: id}); err != nil {
			return err
		}
	}
	return nil
}

// quiet ends what disturbs, and holds every stream to the truth.
func (w *rowWorld) quiet() {
	if w.down {
		w.startWorker()
	}
	w.turn(`{"rate":0,"stale_reads":0,"repeat_cursor":0,"latency":"0s"}`)
	for _, n := range w.sim.Stats().Faults {
		w.happened.add("fault", n)
		w.own.add("fault", n)
	}
	for _, name := range w.names {
		o, _ := catalogue.Lookup(name)
		if o.Strategy == catalogue.StrategyObjects || o.Endpoint.Parent.Changed != nil {
			w.holdsAgain(name)
		}
	}
	equal := func() error {
		var errs []error
		for _, name := range w.names {
			errs = append(errs, w.true(name))
		}
		return errors.Join(errs...)
	}
	until(w.t, "quiet", equal)
	for _, name := range w.names {
		until(w.t, "the table of "+name, func() error { return w.indexed(name) })
		for range 2 { // the first may be one that runs already
			if _, err := w.api.SyncWait(w.t.Context(), name, "", patience()); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if err := equal(); err != nil {
		w.t.Errorf("after a run more: %v", err)
	}
}
