package worker

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

func TestUsageBeginsAnewEachDay(t *testing.T) {
	t.Parallel()
	day, replies := "", map[string]uint64{"ok": 2}
	u := newUsage(map[string]func() protocol.PortalUsage{"main": func() protocol.PortalUsage {
		return protocol.PortalUsage{Day: day, Daily: 9, Replies: replies}
	}})
	u.add("main", "contacts", "incremental", 2)
	u.add("other", "contacts", "incremental", 2)
	if got := u.report(); len(got) != 0 {
		t.Errorf("before the day is known: %+v", got)
	}
	day = "2026-11-25"
	u.add("main", "contacts", "incremental", 1)
	u.add("main", "contacts", "settle", 4)
	u.add("main", "deals", "incremental", 0)
	want := protocol.PortalUsage{Portal: "main", Day: day, Daily: 9, Requests: map[string]map[string]uint64{"contacts": {"incremental": 3, "settle": 4}}}
	replies = map[string]uint64{"ok": 6, "limited": 1}
	want.Replies = replies
	if diff := cmp.Diff([]protocol.PortalUsage{want}, u.report()); diff != "" {
		t.Error(diff)
	}
	day = "2026-11-26"
	want.Day, want.Requests, want.Replies = day, map[string]map[string]uint64{}, nil
	if diff := cmp.Diff([]protocol.PortalUsage{want}, u.report()); diff != "" {
		t.Error(diff)
	}
	replies = map[string]uint64{"ok": 9, "limited": 1}
	want.Replies = map[string]uint64{"ok": 3}
	if diff := cmp.Diff([]protocol.PortalUsage{want}, u.report()); diff != "" {
		t.Error(diff)
	}
}
