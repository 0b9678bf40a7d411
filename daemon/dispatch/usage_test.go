package dispatch

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// uses is a heartbeat that says what a process has used.
func uses(t *testing.T, d *Dispatcher, now time.Time, process, day string, requests map[string]map[string]uint64) {
	t.Helper()
	hb := &protocol.Heartbeat{Worker: "w of " + process, Process: process, Portals: []string{"main"}, Capacity: 4,
		Usage: []protocol.PortalUsage{{Portal: "main", Day: day, Daily: 1000, Remaining: 900, Requests: requests}}}
	if _, err := d.Heartbeat(now, hb); err != nil {
		t.Fatal(err)
	}
}

// What came of requests is counted as they are; how much of a burst is used, for
// as long as its window.
func TestRepliesOfADay(t *testing.T) {
	t.Parallel()
	_, st := desk(t)
	d := New(epochStart, st, st.load(), meetingConfig(), Options{})
	now := epochStart
	says := func(process string, burst int64, replies map[string]uint64) {
		t.Helper()
		hb := &protocol.Heartbeat{Worker: "w of " + process, Process: process, Portals: []string{"main"}, Capacity: 4,
			Usage: []protocol.PortalUsage{{Portal: "main", Day: now.Format(time.DateOnly), Ceiling: 190, WindowSeconds: 10, BurstUsed: burst, Replies: replies}}}
		if _, err := d.Heartbeat(now, hb); err != nil {
			t.Fatal(err)
		}
	}
	want := func(step string, burst int64, replies stream.Replies) {
		t.Helper()
		p := d.Portals(now)[0]
		if diff := cmp.Diff(replies, p.Replies); diff != "" || p.BurstUsed != burst {
			t.Errorf("%s: %d of the burst\n%s", step, p.BurstUsed, diff)
		}
	}
	says("p1", 12, map[string]uint64{"ok": 10, "limited": 2, "nonsense": 9})
	says("p1", 11, map[string]uint64{"ok": 9, "limited": 2})
	want("one process", 11, stream.Replies{"ok": 10, "limited": 2})
	says("p2", 20, map[string]uint64{"ok": 1, "failed": 1})
	want("two", 20, stream.Replies{"ok": 11, "limited": 2, "failed": 1})
	now = now.Add(11 * time.Second)
	want("later", 0, stream.Replies{"ok": 11, "limited": 2, "failed": 1})
	for _, p := range []string{"p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11"} {
		says(p, 1, map[string]uint64{"ok": 1})
	}
	want("many", 1, stream.Replies{"ok": 20, "limited": 2, "failed": 1})
	now = now.Add(usageEvery)
	says("p11", 1, map[string]uint64{"ok": 1})
	d = New(now, st, st.load(), meetingConfig(), Options{})
	want("after a restart", 0, stream.Replies{"ok": 20, "limited": 2, "failed": 1})
	now = now.Add(24 * time.Hour)
	want("the day after", 0, stream.Replies{})
	says("p1", 1, map[string]uint64{"ok": 3})
	want("and its first", 1, stream.Replies{"ok": 3})
}

func used(d *Dispatcher, now time.Time) stream.Requests {
	for _, p := range d.Portals(now) {
		if p.Name == "main" {
			return p.Used
		}
	}
	return nil
}

// Reports that come twice, late, or from several processes count once; a
// restart of the daemon loses none; another day begins at the portal's midnight.
func TestUsageOfADay(t *testing.T) {
	t.Parallel()
	_, st := desk(t)
	st.portals["main"] = &stream.Portal{Name: "main", Account: 7, TimeZone: "America/New_York"}
	d := New(epochStart, st, st.load(), meetingConfig(), Options{})
	// Three in the morning, where it is still the day before.
	now := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	const day, next = "2026-11-25", "2026-11-26"
	type counts = map[string]map[string]uint64
	want := func(step string, w stream.Requests) {
		t.Helper()
		if diff := cmp.Diff(w, used(d, now)); diff != "" {
			t.Errorf("%s:\n%s", step, diff)
		}
	}
	uses(t, d, now, "p1", day, counts{"contacts": {"incremental": 5}, "nobody": {"incremental": 5}})
	uses(t, d, now, "p1", day, counts{"contacts": {"incremental": 7, "settle": 1}})
	uses(t, d, now, "p1", day, counts{"contacts": {"incremental": 6}})
	want("one process", stream.Requests{"contacts": {"incremental": 7, "settle": 1}})
	uses(t, d, now, "p2", day, counts{"contacts": {"incremental": 2}, "companies": {"backfill": 3}})
	uses(t, d, now, "p1", day, counts{"contacts": {"incremental": 8, "settle": 1}})
	both := stream.Requests{"contacts": {"incremental": 10, "settle": 1}, "companies": {"backfill": 3}}
	want("two processes", both)
	now = now.Add(usageEvery)
	uses(t, d, now, "p1", day, counts{"contacts": {"incremental": 8, "settle": 1}})
	d = New(now, st, st.load(), meetingConfig(), Options{})
	if _, err := d.Reload(now, meetingConfig()); err != nil {
		t.Fatal(err)
	}
	want("after a restart", both)
	for _, p := range []string{"p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10"} {
		uses(t, d, now, p, day, counts{"contacts": {"incremental": 1}})
	}
	if n := used(d, now).Sum(); n != 22 {
		t.Errorf("%d of many processes, want 22", n)
	}
	now = now.Add(3 * time.Hour)
	if p := d.Portals(now)[0]; p.Used.Sum() != 0 || p.Use.Day != next || p.Use.Remaining != 1000 || !p.DayEnds.Equal(time.Date(2026, 11, 27, 5, 0, 0, 0, time.UTC)) {
		t.Errorf("after midnight: %+v", p)
	}
	uses(t, d, now, "p2", next, counts{"contacts": {"incremental": 2}})
	uses(t, d, now, "p1", day, counts{"contacts": {"incremental": 9}})
	want("the day after", stream.Requests{"contacts": {"incremental": 2}})
	if c := d.begin(now); true {
		c.moved("main", &protocol.Account{ID: 7, TimeZone: "Europe/Berlin", Currency: "EUR"})
		if _, err := c.commit(); err != nil {
			t.Fatal(err)
		}
	}
	if p := d.Portals(now)[0]; p.TimeZone != "Europe/Berlin" || !p.DayEnds.Equal(time.Date(2026, 11, 26, 23, 0, 0, 0, time.UTC)) {
		t.Errorf("after the account has moved: %+v", p)
	}
	uses(t, d, now, "p2", "9999-01-01", counts{"contacts": {"incremental": 100}})
	want("a day that is none", stream.Requests{"contacts": {"incremental": 2}})
}
