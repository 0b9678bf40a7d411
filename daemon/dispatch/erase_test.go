package dispatch

import (
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What was erased stays away, whatever HubSpot says of it later.
func TestErase(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	b.store.bodies[recordKey(modelStream, "2")] = []byte(`{"email":"a@example.com"}`)
	for range 2 {
		b.must(b.d.Erase(b.now, modelStream, "2"))
	}
	h := b.store.records[recordKey(modelStream, "2")]
	if h.State != stream.Purged || h.CreatedAt+h.UpdatedAt != "" || len(b.store.bodies[recordKey(modelStream, "2")]) != 0 || b.store.versions[recordKey(modelStream, "2")] != 1 {
		t.Fatalf("after the erasure: %+v", h)
	}
	if h.By != (stream.Origin{Road: stream.EraseRoad}) {
		t.Errorf("it came by %+v", h.By)
	}
	b.must(b.d.Erase(b.now, modelStream, "99")) // never read, and never to be
	b.restart()
	b.now = b.now.Add(30 * time.Second)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	v := b.now.UnixMilli()
	a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, To: "x", Last: true, Listing: []protocol.Listed{
		{ID: "1", Version: v}, {ID: "2", Version: v}, {ID: "99", Version: v}}})
	if len(a.Want) != 1 || a.Want[0].ID != "1" {
		t.Fatalf("wanted: %+v", a.Want)
	}
	b.page(protocol.Page{Attempt: attempt, Seq: 1, Kind: protocol.RecordsPage, Merges: []protocol.Merge{{Into: "1", From: []string{"2"}}},
		Records: []protocol.Record{{ID: "1", State: "live", Version: v, AsOf: v}}})
	_, outs, err := b.d.Resync(b.now, modelStream)
	attempt = fetches(b.must(outs, err))["backfill"]
	b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, Last: true, Records: []protocol.Record{
		{ID: "2", State: "live", Version: v + 9, AsOf: v + 9, Properties: []byte(`{}`)}, {ID: "99", State: "live", Version: v, AsOf: v}}})
	for _, id := range []string{"2", "99"} {
		if h := b.store.records[recordKey(modelStream, id)]; h.State != stream.Purged {
			t.Errorf("record %s is back: %+v", id, h)
		}
	}
	for _, bad := range [][2]string{{"nope", "1"}, {modelStream, "x y"}} {
		if _, err := b.d.Erase(b.now, bad[0], bad[1]); err == nil {
			t.Errorf("%v is erased", bad)
		}
	}
}

// What was erased is asked for by name no more: neither what HubSpot had named and
// not handed out, nor what it hinted at, nor what a run asks for meanwhile.
func TestWhatWasErasedIsNotOpen(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	s := b.d.streams[modelStream]
	s.Open = []stream.OpenID{{ID: "2", Version: 99, Reason: "no"}, {ID: "3", Version: 99, Reason: "no"}}
	s.Hints = []stream.Listed{{ID: "2"}, {ID: "1"}}
	b.now = b.now.Add(30 * time.Second)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	s = b.d.streams[modelStream]
	s.Hints = []stream.Listed{{ID: "2"}, {ID: "1"}}
	b.must(b.d.Erase(b.now, modelStream, "2"))
	s = b.d.streams[modelStream]
	if len(s.Open) != 1 || s.Open[0].ID != "3" || len(s.Hints) != 1 || s.Hints[0].ID != "1" {
		t.Errorf("open: %+v, hints: %+v", s.Open, s.Hints)
	}
	a := b.page(protocol.Page{Attempt: attempt, Range: 1, Kind: protocol.RecordsPage, Last: true,
		Open: []protocol.OpenID{{ID: "2", Reason: "no"}, {ID: "3", Reason: "no"}}})
	if s = b.d.streams[modelStream]; a.Type != protocol.Committed || len(s.Open) != 1 || s.Open[0].ID != "3" {
		t.Errorf("%s, open: %+v", a.Type, s.Open)
	}
}
