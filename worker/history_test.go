package worker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// remembered holds a history against the hub's.
func (l *ledger) remembered(h *hub, names string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, version := range h.records {
		got := l.pasts[fmt.Sprint(id)]
		if l.open[fmt.Sprint(id)] == "" && got != fmt.Sprintf(`{%q:"%s%d"}`, names, strings.Repeat("x", h.pasts[id]), version) {
			l.t.Errorf("the history of %d is %.60q, the version %d", id, got, version)
		}
	}
}

// The history of what is wanted is read with it and goes in the same pages; the
// names are those that are copied.
func TestHistoryWithRecords(t *testing.T) {
	t.Parallel()
	h, l := newHub(45), newLedger(t)
	l.run(protocol.Fetch{Kind: "incremental", History: []string{"*"}, Exclude: []string{"secret_*"}},
		protocol.Range{Kind: windowRange, Newest: true, Lo: 1})
	l.start(h)
	l.done()
	l.exact(h)
	l.remembered(h, "a,b")
	if h.called("read") > 6 || l.kinds[protocol.PartsPage] != 0 {
		t.Errorf("%d requests, pages %v", h.called("read"), l.kinds)
	}
}

// A history that the broker cannot carry stays out and is named; its record, and
// all else, goes without it.
func TestHistoryTooLarge(t *testing.T) {
	t.Parallel()
	h, l := newHub(25), newLedger(t)
	h.pasts = map[int]int{9: 100 << 10, 10: 100 << 10, 11: 100 << 10}
	l.maxPacket = 8 << 10 // what is packed is mostly one letter
	h.noise = map[int]int{5: 20 << 10}
	l.run(protocol.Fetch{Kind: "incremental", History: []string{"a"}}, protocol.Range{Kind: windowRange, Newest: true, Lo: 1})
	l.start(h)
	l.done()
	l.exact(h)
	if len(l.open) != 1 || !strings.Contains(l.open["5"], "the record's history") || l.records["5"].ID == "" || l.pasts["5"] != "" {
		t.Errorf("open %v, record %+v", l.open, l.records["5"])
	}
	l.remembered(h, "a")
}

// A history run reads nothing but that, in pages within bounds; what has gone,
// or cannot be carried, holds nothing up, and another process goes on where the
// one before stood.
func TestHistoryAlone(t *testing.T) {
	t.Parallel()
	for name, history := range map[string][]string{"chosen": {"b", "a"}, "of no property": {"nothing"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, l := newHub(60), newLedger(t)
			h.pasts, h.missing = map[int]int{3: 90 << 10, 4: 90 << 10, 5: 90 << 10}, map[int]bool{30: true}
			h.noise = map[int]int{8: 30 << 10}
			l.maxPacket = 8 << 10
			g := protocol.Range{Kind: "known", Last: true}
			for id, v := range h.records {
				l.records[fmt.Sprint(id)] = protocol.Record{ID: fmt.Sprint(id), Version: v}
				g.Want = append(g.Want, protocol.Listed{ID: fmt.Sprint(id), Version: v, Past: true, Known: true})
			}
			l.run(protocol.Fetch{Kind: "history", History: history}, g)
			l.start(h)
			l.done()
			if len(history) == 1 {
				if len(l.pasts) != 60 || l.pasts["7"] != "{}" || h.called("read") != 0 {
					t.Errorf("%d histories, %d requests", len(l.pasts), h.called("read"))
				}
				return
			}
			if l.kinds[protocol.RecordsPage] != 0 || len(l.open) != 2 || l.open["8"] == "" || l.open["30"] == "" {
				t.Errorf("pages %v, open %v", l.kinds, l.open)
			}
			l.remembered(h, "a,b")
		})
	}
}
