package exact

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// TestWhatOthersMissed are the ways in which other programs that copy HubSpot
// have lost records, doubled work or stood still, each named after what went
// wrong, with a HubSpot that would do it to us.
func TestWhatOthersMissed(t *testing.T) {
	t.Parallel()
	type row struct {
		name string
		test func(scene)
	}
	// What the first have, the tests beside this one have not: processes that end in
	// the middle, requests that wait, and what comes while others are read.
	meet := []row{
		{"a place within a window of search, which is not in order", missedOutOfOrder},
		{"what search shows late", missedLate},
		{"a first load that begins anew after each failure", missedFirstLoad},
		{"what is merged while it is read", missedMergedMeanwhile},
		{"what HubSpot hands out in an old version", missedOldReading},
		{"what changes while the list is read", missedMeanwhile},
		{"where it was, after an upgrade", missedUpgrade},
		{"all of it, for one refusal of a request that nobody retries", missedRefusal},
		{"the day's limit, which is not the second's", missedDaily},
	}
	for i, c := range slices.Concat(meet, []row{
		{"a page that is short or empty and not the last", missedShortPages},
		{"ids of different lengths put in order as text", missedIDLengths},
		{"an overlap that is nothing unless it is set", missedNoOverlap},
		{"a list that ends at ten thousand without a word", missedCap},
		{"thousands of records, and nobody counts", missedNobodyCounts},
		{"ten thousand changes in one millisecond", missedOneMillisecond},
		{"every deal, when an edit of their pipeline touches them all", missedTouched},
		{"everything is read again in every run", missedEveryRun},
		{"a start date that makes another path", missedStartDate},
		{"an address too long for nine hundred properties", missedTooLong},
		{"associations that change no time", missedAssociated},
		{"associations after the first page", missedManyAssociated},
		{"what is archived stays", missedArchived},
		{"what is merged stays", missedMerged},
		{"a list that HubSpot still works out", missedProcessing},
		{"the rest of the stream, for one bad value", missedBadValue},
		{"an object of one's own with a name of HubSpot's", missedOwnName},
		{"what was not to be copied, once it is new", missedSchemaPolicy},
		{"memory, in catching up with everything at once", missedMemory},
		{"statistics that a pass leaves out", missedStatistics},
		{"an account's higher limit", missedHigherLimit},
	}) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if i >= len(meet) {
				ordinarily(t)
			}
			c.test(scene{t})
		})
	}
}

// scene is the test of one row.
type scene struct{ *testing.T }

// alone is a configuration in which nothing mends what the newest window
// misses: no settle pass, no sweep, no reconcile within the test.
const alone = `defaults {
  interval = "1s"
  tail     = "2s"
  settle   = ["1h"]
  archived_interval  = "24h"
  reconcile_interval = "24h"
}
stream "contacts" {}
`

// The worker ends after a few pages of a window whose results are in no order:
// who had taken the last time seen for a place would go on behind what is left.
func missedOutOfOrder(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 1500}}, alone).start()
	r.becomesEqual("contacts")
	var searches atomic.Int64
	full := make(chan struct{})
	r.between(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if kind(q) == "search" && searches.Add(1) == 5 {
			close(full)
		}
		next.ServeHTTP(w, q)
	})
	for range 15 { // over many milliseconds
		r.change("contacts", simulator.Change{Change: 100})
	}
	<-full
	r.stopWorker()
	r.startWorker()
	r.becomesEqual("contacts")
}

func missedShortPages(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 1200}, ShortPages: 0.6}, alone).start()
	r.becomesEqual("contacts")
	r.change("contacts", simulator.Change{Change: 700})
	r.becomesEqual("contacts")
}

// A portal's ids go from two digits to eleven; they are listed, shared among
// walkers, held against a reconcile and split within a millisecond.
func missedIDLengths(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 2400}}, alone).start()
	r.becomesEqual("contacts")
	ids := r.live("contacts")
	if len(ids[0]) == len(ids[len(ids)-1]) {
		t.Fatalf("all ids are as long as %s", ids[0])
	}
	if _, rep := r.reconcile("contacts"); rep.Checked != 2400 || rep.Candidates != 0 || rep.Missing != 0 {
		t.Errorf("%+v", rep)
	}
	r.becomesEqual("contacts")
}

func missedLate(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 300}},
		`defaults {
  interval = "1s"
  tail     = "1s"
  settle   = ["3s", "9s"]
  reconcile_interval = "24h"
}
stream "contacts" {}
`).start()
	r.becomesEqual("contacts")
	late := 5 * time.Second // of the first pass, not of the last
	r.change("contacts", simulator.Change{Change: 100, Create: 10, VisibleAfter: &late})
	r.settles("contacts")
}

// Nothing but HubSpot is set: what comes to light a little later is found by
// the next run, without a settle pass.
func missedNoOverlap(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 300}}, "stream \"contacts\" {}\n").start()
	cfg, err := r.config()
	if err != nil {
		t.Fatal(err)
	}
	if s := cfg.Streams[0]; s.Tail < time.Minute || len(s.Settle) < 2 {
		t.Errorf("unset, tail is %s and settle %v", s.Tail, s.Settle)
	}
	r.becomesEqual("contacts")
	late := 3 * time.Second
	if slowly {
		late *= 4
	}
	hidden := time.Now().Add(late)
	ids := r.change("contacts", simulator.Change{Change: 50, Create: 5, VisibleAfter: &late})
	r.sync("contacts")
	// What search shows at once moves the cursor beyond what it does not.
	r.change("contacts", simulator.Change{Create: 1})
	r.sync("contacts")
	if r.equal("contacts") == nil && time.Now().Before(hidden) {
		t.Fatalf("%d records are there before search shows them", len(ids))
	}
	until(t, "what was late", func() error { r.sync("contacts"); return r.equal("contacts") })
}

// More changes than one search gives, at as many times, are all brought, and
// none of what did not change is written again.
func missedCap(t scene) {
	const changed, all = 10600, 11000
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": all}, Properties: 8}, alone).start()
	r.becomesEqual("contacts")
	r.stopWorker()
	before := r.position("contacts")
	at := time.Now().UnixMilli()
	ids := r.live("contacts")[:changed]
	value := "changed"
	for n, i := 530, 0; i*n < changed; i++ { // in twenty milliseconds
		r.change("contacts", simulator.Change{IDs: ids[i*n : (i+1)*n], At: at + int64(i), Properties: map[string]*string{"firstname": &value}})
	}
	r.startWorker()
	r.becomesEqual("contacts")
	if got := r.position("contacts"); got-before != changed {
		t.Errorf("%d positions for %d changes", got-before, changed)
	}
}

// Search never shows fifty new records. No run fails; the reconcile says so.
func missedNobodyCounts(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 500}}, alone).start()
	r.becomesEqual("contacts")
	r.stopWorker()
	hidden := r.change("contacts", simulator.Change{Create: 50})
	r.change("contacts", simulator.Change{Hide: hidden})
	seen := r.change("contacts", simulator.Change{Create: 1})
	r.startWorker()
	until(t, "what search shows", func() error { _, err := r.api.Record(t.Context(), "contacts", seen[0]); return err })
	if n := r.status("contacts").Records; n != 501 {
		t.Fatalf("%d records before the reconcile", n)
	}
	if run, rep := r.reconcile("contacts"); run.State != client.RunDone || rep.Missing != 50 || rep.Checked != 551 {
		t.Errorf("%s: %+v", run.State, rep)
	}
	if err := r.equal("contacts"); err != nil {
		t.Error(err)
	}
}

// The window has to reach back to that millisecond on a slow machine too, where
// the simulator takes seconds to make the changes.
// Of so many the list costs less than search; with a start date, where nobody
// knows how much of the list is wanted, search goes on.
func missedOneMillisecond(t scene) {
	t.Run("by search", func(t *testing.T) { t.Parallel(); oneMillisecond(scene{t}, `{ start_date = "2000-01-01" }`, false) })
	t.Run("by list", func(t *testing.T) { t.Parallel(); oneMillisecond(scene{t}, "{}", true) })
}

func oneMillisecond(t scene, block string, list bool) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 11000}, Properties: 6},
		strings.NewReplacer(`tail     = "2s"`, `tail     = "30s"`, `"contacts" {}`, `"contacts" `+block).Replace(alone)).start()
	r.becomesEqual("contacts")
	before := r.position("contacts")
	r.change("contacts", simulator.Change{Change: 10500, At: time.Now().UnixMilli()})
	r.becomesEqual("contacts")
	if got := r.position("contacts") - before; got > 10500 {
		t.Errorf("%d positions for 10,500 changes", got)
	}
	if byList := strings.Contains(r.log.String(), "the whole list is read"); byList != list {
		t.Errorf("read by list: %v", byList)
	}
}

// All deals have a new time and nothing else, with HubSpot's limits on: no
// search is refused, and the runs end.
func missedTouched(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"deals": 1600}, Limits: true},
		strings.ReplaceAll(alone, "contacts", "deals")).start()
	r.becomesEqual("deals")
	for i := range 8 {
		stage := "open"
		r.change("deals", simulator.Change{IDs: r.live("deals")[i*200 : (i+1)*200], Properties: map[string]*string{"dealstage": &stage}})
	}
	for range 3 {
		if run := r.sync("deals"); run.State != client.RunDone {
			t.Fatalf("%+v", run)
		}
	}
	r.becomesEqual("deals")
	if s := r.sim.Stats().Refused; s.Search+s.Burst > 0 {
		t.Errorf("refused: %+v", s)
	}
}

func missedEveryRun(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 600}}, alone).start()
	r.becomesEqual("contacts")
	r.change("contacts", simulator.Change{Change: 40})
	r.becomesEqual("contacts")
	before := r.sim.Stats().Requests
	position := r.position("contacts")
	for range 3 {
		r.change("contacts", simulator.Change{Change: 1})
		r.sync("contacts")
	}
	after := r.sim.Stats().Requests
	if after["list"] != before["list"] || after["batch_read"]-before["batch_read"] > 6 {
		t.Errorf("three changes cost %d lists and %d batch reads", after["list"]-before["list"], after["batch_read"]-before["batch_read"])
	}
	if got := r.position("contacts") - position; got > 3 {
		t.Errorf("three changes took %d positions", got)
	}
}

// The worker and the daemon end three times each in the middle of the first
// load, which goes on each time where it was.
func missedFirstLoad(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 6000}}, alone)
	var lists atomic.Int64
	slow := func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if kind(q) == "list" {
			lists.Add(1)
			select { // so that there is a middle
			case <-time.After(50 * time.Millisecond):
			case <-q.Context().Done():
			}
		}
		next.ServeHTTP(w, q)
	}
	r.between(slow)
	r.start()
	for i := range 3 {
		least := int64(12 * (i + 1))
		until(t, "progress", func() error {
			if n := lists.Load(); n < least {
				return problem("%d pages", n)
			}
			return nil
		})
		r.stopWorker()
		r.stopDaemon()
		r.startDaemon()
		r.startWorker()
	}
	r.becomesEqual("contacts")
	// 60 pages, the probes of those who share them, and what was in flight.
	if n := lists.Load(); n > 130 {
		t.Errorf("%d lists for 60 pages", n)
	}
}
