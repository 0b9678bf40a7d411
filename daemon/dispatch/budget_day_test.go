package dispatch

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/budget"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// fixedSchedule is an interval that says so, as the daemon's is.
type fixedSchedule struct{ everySchedule }

func (f fixedSchedule) Interval() time.Duration { return time.Duration(f.everySchedule) }

// sizedStore has as many live records as it is told.
type sizedStore struct {
	*memStore
	sizes map[string]int64
}

func (s *sizedStore) Live(name string) uint64 { return uint64(s.sizes[name]) }

// works is a portal with streams, and a worker that spends requests as HubSpot
// lets it, in virtual time.
type works struct {
	t       *testing.T
	now     time.Time
	zone    *time.Location
	d       *Dispatcher
	sizes   map[string]int64
	changes map[string]int64 // of each run
	daily   int64

	day    string
	used   map[string]map[string]uint64
	spent  map[string]map[budget.Work]int64 // by day
	most   map[string]int64                 // requests of a day
	runs   map[string]map[string]int        // that ended, by day and kind
	open   map[uint64]*protocol.Fetch
	left   map[string]float64 // requests that a range still costs, by run and range
	states map[string]map[string]bool
}

// workStep is less than a lease.
const workStep = 10 * time.Second

func newWorks(t *testing.T, daily int64, interval time.Duration) *works {
	t.Helper()
	w := &works{t: t, daily: daily, changes: map[string]int64{}, used: map[string]map[string]uint64{}, spent: map[string]map[budget.Work]int64{},
		most: map[string]int64{}, runs: map[string]map[string]int{}, open: map[uint64]*protocol.Fetch{}, left: map[string]float64{}, states: map[string]map[string]bool{},
		sizes: map[string]int64{"contacts": 1_000_000, "companies": 200_000, "deals": 500_000, "calls": 400_000, "meetings": 400_000, "notes": 400_000, "tasks": 400_000, "emails": 400_000}}
	w.zone, _ = time.LoadLocation("America/New_York")
	w.now = time.Date(2026, 11, 2, 5, 0, 0, 0, time.UTC) // midnight there
	st := &sizedStore{newMemStore(), w.sizes}
	st.portals["main"] = &stream.Portal{Name: "main", Account: 7, TimeZone: w.zone.String()}
	var config []StreamConfig
	for _, name := range slices.Sorted(maps.Keys(w.sizes)) {
		w.changes[name] = 2000 * w.sizes[name] / 3_700_000
		config = append(config, StreamConfig{Name: name, Portal: "main", Object: name, Interval: interval.String(), Schedule: fixedSchedule{everySchedule(interval)},
			Autostart: true, Properties: []string{"*"}, Tail: 2 * time.Minute, Settle: []time.Duration{15 * time.Minute, 75 * time.Minute},
			ArchivedEvery: 6 * time.Hour, ReconcileEvery: 24 * time.Hour, MaxDeletes: 0.02, DailyReserve: 0.2})
	}
	w.d = New(w.now, st, st.load(), config, Options{})
	if _, err := w.d.Reload(w.now, config); err != nil {
		t.Fatal(err)
	}
	return w
}

// live lets time pass.
func (w *works) live(d time.Duration) {
	w.t.Helper()
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(workStep) {
		if day := w.now.In(w.zone).Format(time.DateOnly); day != w.day {
			w.day, w.used = day, map[string]map[string]uint64{}
			w.spent[day], w.runs[day], w.states[day] = map[budget.Work]int64{}, map[string]int{}, map[string]bool{}
		}
		hb := &protocol.Heartbeat{Worker: "w", Process: "p1", Portals: []string{"main"}, Capacity: 40}
		for n := range w.open {
			hb.Attempts = append(hb.Attempts, protocol.AttemptReport{Attempt: n, Progress: uint64(w.now.Unix()), Account: &protocol.Account{ID: 7},
				Ranges: []protocol.RangeReport{{}, {ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}, {ID: 5}, {ID: 6}, {ID: 7}}})
		}
		hb.Usage = []protocol.PortalUsage{{Portal: "main", Day: w.day, Daily: w.daily, Remaining: w.daily - w.most[w.day], SearchRate: 4, Requests: w.used}}
		w.hear(w.d.Heartbeat(w.now, hb))
		w.hear(w.d.Tick(w.now))
		w.spend()
		v, err := w.d.View(w.now, "contacts")
		if err != nil {
			w.t.Fatal(err)
		}
		w.states[w.day][v.State] = true
	}
}

func (w *works) hear(outs []Out, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range outs {
		switch {
		case o.Command == nil:
		case o.Command.Type == protocol.CancelCommand:
			delete(w.open, o.Command.Attempt)
		default:
			w.open[o.Command.Attempt] = o.Command.Fetch
		}
	}
}

// cost is what a range takes, in requests, and what they count as.
func (w *works) cost(f *protocol.Fetch, g *protocol.Range) (float64, string) {
	n, c := float64(w.sizes[f.Stream]), float64(w.changes[f.Stream])
	switch g.Kind {
	case "list", "sweep":
		return n / 100, f.Kind
	case "archived":
		return float64(budget.Bin(w.sizes[f.Stream])) / 100, f.Kind
	case "window":
		if g.Newest {
			return 1 + c/200 + c/100, f.Kind
		}
		return 1 + c/200, "settle"
	}
	return 1, f.Kind
}

// spend makes the requests of a step, evenly over the attempts, and ends the
// ranges that are paid for.
func (w *works) spend() {
	for _, n := range slices.Sorted(maps.Keys(w.open)) {
		rate := 19 * workStep.Seconds() / float64(max(1, len(w.open)))
		for f := w.open[n]; rate >= 1 && f != nil && len(f.Ranges) > 0; f = w.open[n] {
			g := &f.Ranges[0]
			key := fmt.Sprint(f.Run, "/", g.ID)
			all, work := w.cost(f, g)
			if _, begun := w.left[key]; !begun {
				w.left[key] = math.Ceil(all)
			}
			k := min(w.left[key], math.Floor(rate), float64(w.daily-w.most[w.day]))
			if w.used[f.Stream] == nil {
				w.used[f.Stream] = map[string]uint64{}
			}
			w.used[f.Stream][work] += uint64(k)
			w.spent[w.day][budget.Work(work)] += int64(k)
			w.most[w.day] += int64(k)
			w.left[key] -= k
			if rate -= k; w.left[key] > 0 {
				break
			}
			w.last(n, f, g)
		}
	}
}

// last sends the last page of a range.
func (w *works) last(n uint64, f *protocol.Fetch, g *protocol.Range) {
	w.t.Helper()
	p := protocol.Page{Store: "store", Epoch: 1, Process: "p1", List: "list", Attempt: n, Range: g.ID, Seq: g.Seq, From: g.Cursor, Last: true,
		Began: w.now.UnixMilli(), Kind: protocol.ListingPage}
	if g.Kind == "list" {
		p.Kind = protocol.RecordsPage
	}
	outs, _, err := w.d.Pages(w.now, []Incoming{{Worker: "w", Page: &p, Digest: jsonDigest(p)}})
	if err != nil {
		w.t.Fatal(err)
	}
	f.Ranges = f.Ranges[1:]
	for _, o := range outs {
		switch {
		case o.Answer == nil:
		case o.Answer.Type != protocol.Committed:
			w.t.Fatalf("%s of %s: %+v", g.Kind, f.Kind, o.Answer)
		case o.Answer.RunEnded:
			w.runs[w.day][f.Kind]++
			delete(w.open, n)
		default:
			f.Ranges = append(f.Ranges, o.Answer.Ranges...)
			slices.SortFunc(f.Ranges, func(a, b protocol.Range) int { return int(a.ID) - int(b.ID) })
			f.Ranges = slices.CompactFunc(f.Ranges, func(a, b protocol.Range) bool { return a.ID == b.ID })
		}
	}
}

// within tests that no day used more than the shares and the reserve allow: the
// worker is heard each few seconds, so that a little more may be under way.
func (w *works) within() {
	w.t.Helper()
	slack := 0.01 * float64(w.daily)
	for day, spent := range w.spent {
		for _, work := range budget.Shared() {
			if most := budget.Share(work)*float64(w.daily) + slack; float64(spent[work]) > most {
				w.t.Errorf("%s: %d requests of %s, its share is %.0f", day, spent[work], work, most)
			}
		}
		if most := 0.8*float64(w.daily) + slack; float64(w.most[day]) > most {
			w.t.Errorf("%s: %d requests, others are to keep a fifth of %d", day, w.most[day], w.daily)
		}
		w.t.Logf("%s: %d requests %v, ended %v, states %v", day, w.most[day], spent, w.runs[day], slices.Sorted(maps.Keys(w.states[day])))
	}
}

func (w *works) says() string {
	w.t.Helper()
	v, err := w.d.View(w.now, "contacts")
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, s := range v.Stretched {
		out = append(out, fmt.Sprintf("%s every %s: %s", s.Work, s.Every.Round(time.Hour), s.Reason))
	}
	return strings.Join(out, "; ")
}

// Days of a portal with a million contacts stay within each share, at the limit
// that fits it and at smaller ones.
func TestDaysStayWithinTheirShares(t *testing.T) {
	t.Parallel()
	const dayLong = 24 * time.Hour
	t.Run("625,000 a day", func(t *testing.T) {
		t.Parallel()
		skipWithDetector(t)
		w := newWorks(t, 625_000, 5*time.Minute)
		w.live(3 * dayLong)
		w.within()
		third := w.spent["2026-11-04"]
		if n := w.runs["2026-11-04"]; n["reconcile"] != 8 || n["archived"] < 16 || n["incremental"] < 8*280 {
			t.Errorf("of an ordinary day: %v", n)
		}
		if third["incremental"] > 40_000 || third["reconcile"] < 38_000 {
			t.Errorf("an ordinary day: %v", third)
		}
		if said := w.says(); said != "" {
			t.Errorf("nothing is stretched, and it says %q", said)
		}
		if w.states["2026-11-04"][StateThrottled] {
			t.Error("an ordinary day is throttled")
		}
	})
	t.Run("250,000 a day", func(t *testing.T) {
		t.Parallel()
		skipWithDetector(t)
		w := newWorks(t, 250_000, 5*time.Minute)
		w.live(5 * dayLong)
		w.within()
		if said := w.says(); said != "reconcile every 37h0m0s: daily limit" {
			t.Errorf("it says %q", said)
		}
		reconciled := 0
		for day, n := range w.runs {
			reconciled += n["reconcile"]
			if n["incremental"] < 8*280 {
				t.Errorf("%s: %d incremental runs", day, n["incremental"])
			}
		}
		if reconciled < 16 || reconciled > 24 {
			t.Errorf("%d walks in five days, want one of each of 8 streams every 37 hours", reconciled)
		}
	})
	t.Run("45,000 a day", func(t *testing.T) {
		t.Parallel()
		w := newWorks(t, 45_000, 5*time.Minute)
		w.live(3 * dayLong)
		w.within()
		if !w.states["2026-11-02"][StateThrottled] {
			t.Error("a first load that fills the day is not throttled")
		}
		if n := w.runs["2026-11-02"]; n["incremental"] < 300 || n["backfill"] == 8 {
			t.Errorf("beside a load that fills the day: %v", n)
		}
		if n := w.runs["2026-11-03"]; n["incremental"] < 8*250 || w.runs["2026-11-02"]["backfill"]+n["backfill"] != 8 {
			t.Errorf("the day after: %v", n)
		}
	})
	t.Run("every second", func(t *testing.T) {
		t.Parallel()
		w := newWorks(t, 625_000, time.Second)
		w.live(3 * time.Hour)
		if said := w.says(); !strings.Contains(said, "incremental every") || !strings.Contains(said, budget.BySearch) {
			t.Errorf("it says %q", said)
		}
	})
}
