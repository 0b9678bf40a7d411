package dispatch

import (
	"slices"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// moved gives a record the next place in the feed, with what was read of it.
func (b *bench) moved(id string, read func(h *stream.Head)) {
	b.t.Helper()
	key := recordKey(modelStream, id)
	h := b.store.records[key]
	b.store.seq++
	h.Seq = b.store.seq
	read(&h)
	b.store.records[key] = h
}

// A record of which a walk has heard itself is not missing, whenever that was:
// before its listing passed, before it was asked for, or before the answer came.
// Of one whose associations alone were read it has heard nothing: what is gone
// has none, and HubSpot does not say why.
func TestAssociationsAloneSayNothingOfTheirRecord(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		read  func(h *stream.Head, now int64)
		keeps bool
	}{
		"nothing":      {nil, false},
		"associations": {func(h *stream.Head, now int64) { h.AssociationsPart.AsOf = now + 10 }, false},
		"associations, and the record before the walk": {func(h *stream.Head, now int64) {
			h.AsOf, h.AssociationsPart.AsOf = now-1, now+10
		}, false},
		"the record": {func(h *stream.Head, now int64) { h.AsOf = now }, true},
		"the record, late, whose associations are older": {func(h *stream.Head, now int64) {
			h.AsOf, h.AssociationsPart.AsOf = now-10, now-20
		}, true},
		"the record, and its associations": {func(h *stream.Head, now int64) {
			h.AsOf, h.AssociationsPart.AsOf = now+5, now+10
		}, true},
		"its history, with the record, and its associations": {func(h *stream.Head, now int64) {
			h.HistoryPart.AsOf, h.AssociationsPart.AsOf = now+5, now+10
		}, true},
	} {
		for i, when := range []string{"before the listing", "before it is asked for", "before the answer"} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				b := filled(t, 3)
				_, attempt := b.reconcile(false)
				w, began := b.walk(attempt), b.now.UnixMilli()
				b.now = b.now.Add(time.Second)
				read := func(at int) {
					if at == i && c.read != nil {
						b.moved("2", func(h *stream.Head) { c.read(h, began) })
					}
				}
				// The first page says when the walk began.
				w.send(archivedOf, protocol.Page{Kind: protocol.ListingPage, To: "0", Began: began})
				read(0)
				w.list(liveOf, true, "1", "3")
				read(1)
				a := w.list(archivedOf, true)
				g, ids := asked(a)
				if asks := !c.keeps || i == 2; slices.Contains(ids, "2") != asks {
					t.Fatalf("asked for %v", ids)
				}
				if len(ids) > 0 {
					read(2)
					a = w.send(g, protocol.Page{Kind: protocol.RecordsPage, AsOf: began + 500, Gone: ids})
				}
				want := stream.Purged
				if c.keeps {
					want = stream.Live
				}
				if got := b.state(2); !a.RunEnded || got != want {
					t.Errorf("the record is %s, the run ended %v", got, a.RunEnded)
				}
			})
		}
	}
}

// Who asks for a record while a walk goes on hears no more of it by its
// associations, either.
func TestAssociationsAloneSayNothingToWhoAsks(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	_, attempt := b.reconcile(false)
	w, began := b.walk(attempt), b.now.UnixMilli()
	w.send(archivedOf, protocol.Page{Kind: protocol.ListingPage, To: "0", Began: began})
	id := b.asks("2")
	b.moved("2", func(h *stream.Head) { h.AssociationsPart.AsOf = began + 10 })
	w.send(2, protocol.Page{Kind: protocol.RecordsPage, Gone: []string{"2"}, AsOf: began + 500})
	if r := b.store.runs[id]; b.state(2) != stream.Purged || r == nil || r.State != stream.Done {
		t.Errorf("record 2 is %s, the run %+v", b.state(2), r)
	}
}
