package budget

import (
	"math"
	"testing"
	"time"
)

// portal is one of a million contacts; its streams are read every five minutes,
// its associations in six pairs.
func portal() []Stream {
	one := func(name string, records int64, pairs int) Stream {
		return Stream{Name: name, Records: records, Archived: Bin(records), Pairs: pairs, Interval: 5 * time.Minute,
			ArchivedEvery: 6 * time.Hour, ReconcileEvery: day, AssociationsEvery: day}
	}
	return []Stream{one("contacts", 1_000_000, 1), one("companies", 200_000, 0), one("deals", 500_000, 2),
		one("calls", 400_000, 3), one("meetings", 400_000, 3), one("notes", 400_000, 3), one("tasks", 400_000, 3), one("emails", 400_000, 3)}
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > want*0.03 {
		t.Errorf("%s: %.0f, want about %.0f", what, got, want)
	}
}

func TestCosts(t *testing.T) {
	t.Parallel()
	var narrow, wide, past, reconcile, associations, archived float64
	idle := 0.0
	for _, s := range portal() {
		narrow += float64(FirstLoad(s))
		if s.Name == "contacts" || s.Name == "deals" {
			s.Wide = true
		}
		wide += float64(FirstLoad(s))
		s.History = s.Wide
		past += float64(FirstLoad(s))
		reconcile += float64(ReconcileWalk(s))
		associations += float64(AssociationSweep(s))
		archived += float64(ArchivedSweep(s))
		idle += perDay(Incremental, s)
	}
	near(t, "first load", narrow, 47_000)
	near(t, "first load of wide ones", wide, 62_000)
	near(t, "first load of wide ones with history", past, 92_000)
	near(t, "reconcile", reconcile, 39_000)
	near(t, "associations", associations, 8_000)
	near(t, "archived", archived, 1_860)
	near(t, "idle", idle, 8*288)
	search, walk := BulkEdit(portal()[2], 500_000)
	near(t, "bulk edit by search", float64(search), 7_500)
	near(t, "bulk edit by list", float64(walk), 5_000)
	for _, tt := range []struct {
		name string
		s    Stream
		from float64
	}{
		{"a third", Stream{Records: 300_000}, 100_000},
		{"where pages take two requests, two thirds", Stream{Records: 300_000, Wide: true}, 200_000},
		{"with history, which both read of what changed, half", Stream{Records: 300_000, History: true}, 150_000},
	} {
		from := ByList(tt.s)
		near(t, tt.name, float64(from), tt.from)
		if search, walk := BulkEdit(tt.s, from); search+(scarce-1)*requests(from, searched) <= walk {
			t.Errorf("%s: at %d the list costs more: %d and %d", tt.name, from, search, walk)
		}
	}
	if ByList(Stream{}) != 0 {
		t.Error("a list of which nothing is known is read")
	}
	near(t, "a new property at most", float64(FillAtMost(portal()[0], 4)), 10_002)
	if all, searches := Run(Stream{Pairs: 6}, 2000); searches != 31 || all != 31+20+6*3*2 {
		t.Errorf("a run with 2000 changes: %d requests, %d searches", all, searches)
	}
	if n := perDay(Incremental, Stream{}); n != 0 {
		t.Errorf("a stream that is never read costs %v", n)
	}
}

func TestStretch(t *testing.T) {
	t.Parallel()
	every := func(n int, d time.Duration) (out []Stream) {
		for range n {
			out = append(out, Stream{Records: 1, Interval: d})
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		plan   Plan
		work   Work
		by     float64
		reason string
	}{
		{"reconcile, as wanted", Plan{Daily: 625_000, Streams: portal()}, Reconcile, 1, ""},
		{"reconcile, a small limit", Plan{Daily: 250_000, Streams: portal()}, Reconcile, 37.3 / 24, ByDay},
		{"archived, a small limit", Plan{Daily: 100_000, Streams: portal()}, Archived, 1.49, ByDay},
		{"no limit", Plan{Streams: portal()}, Reconcile, 1, ""},
		{"every minute", Plan{Daily: 625_000, Reserve: 0.2, SearchRate: 4, Streams: every(40, time.Minute)}, Incremental, 1, ""},
		{"every second", Plan{Daily: 625_000, Reserve: 0.2, Streams: every(8, time.Second)}, Incremental, 1.38, ByDay},
		{"more searches than there are", Plan{Daily: 625_000, Reserve: 0.2, SearchRate: 4, Streams: every(8, time.Second)}, Incremental, 2, BySearch},
		{"backfill", Plan{Daily: 1000, Streams: portal()}, Backfill, 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			by, reason := tt.plan.Stretch(tt.work)
			if math.Abs(by-tt.by) > 0.02 || reason != tt.reason {
				t.Errorf("%.3f %q, want %.3f %q", by, reason, tt.by, tt.reason)
			}
		})
	}
}

// As less and less remains, work stops in its order.
func TestOrderOfStopping(t *testing.T) {
	t.Parallel()
	p := Plan{Daily: 625_000, Reserve: 0.2, Streams: portal()}
	d := Day{Left: 12 * time.Hour, Used: map[Work]int64{}}
	var order []Work
	stopped := map[Work]bool{}
	for d.Remaining = p.Daily; d.Remaining > 0; d.Remaining -= 100 {
		for _, w := range []Work{Incremental, Backfill, Archived, Associations, Reconcile, History} {
			if !stopped[w] && p.Spent(w, d, false) != "" {
				stopped[w] = true
				order = append(order, w)
			}
		}
	}
	want := []Work{History, Reconcile, Associations, Archived, Backfill, Incremental}
	for i := range want {
		if i >= len(order) || order[i] != want[i] {
			t.Fatalf("stopped as %v, want %v", order, want)
		}
	}
	d.Remaining = int64(0.2 * float64(p.Daily))
	if p.Spent(Incremental, d, false) == "" || p.Spent(Reconcile, d, true) == "" {
		t.Error("what is left to others is used")
	}
	d = Day{Left: 12 * time.Hour, Remaining: p.Daily, Used: map[Work]int64{Reconcile: 62_500, Fill: 40_000, History: 30_000, Archived: 31_000}}
	for w, spent := range map[Work]bool{Reconcile: true, History: true, Fill: true, Archived: false, Backfill: false, Incremental: false} {
		if (p.Spent(w, d, false) != "") != spent {
			t.Errorf("%s: spent is not %v", w, spent)
		}
	}
	if p.Spent(Reconcile, d, true) != "" {
		t.Error("what a person asked for waits for its share")
	}
	p.Daily = 0
	if p.Spent(Reconcile, d, false) != "" {
		t.Error("without a limit something is spent")
	}
}

// TestWholeReads cost what they list and ask for in each run, and nothing else.
func TestWholeReads(t *testing.T) {
	t.Parallel()
	s := Stream{Records: 50_000, Pairs: 3, Whole: WholeRead(100_000, 1000) + WholeRead(1, 1000), Interval: 12 * time.Hour,
		ArchivedEvery: time.Hour, ReconcileEvery: time.Hour, AssociationsEvery: time.Hour}
	if s.Whole != 1102 || FirstLoad(s) != 1102 || perDay(Incremental, s) != 2204 {
		t.Errorf("%d at first, %d a run, %.0f a day", FirstLoad(s), s.Whole, perDay(Incremental, s))
	}
	if n := ReconcileWalk(s) + ArchivedSweep(s) + AssociationSweep(s); n != 0 {
		t.Errorf("%d for what it has not", n)
	}
	for _, w := range []Work{Reconcile, Associations, Archived} {
		if n := perDay(w, s); n != 0 {
			t.Errorf("%s: %.0f", w, n)
		}
	}
}
