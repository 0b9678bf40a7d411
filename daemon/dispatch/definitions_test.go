package dispatch

import (
	"slices"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// schema sends definitions on the first range of an attempt.
func (b *bench) schema(attempt, seq uint64, list, definitions string) {
	b.t.Helper()
	p := protocol.Page{Attempt: attempt, Seq: seq, Kind: protocol.SchemaPage, Schema: []byte(definitions), AsOf: b.now.UnixMilli()}
	p.Store, p.Epoch, p.Process, p.List, p.Began = "store", 1, "p1", list, b.now.UnixMilli()
	outs, _, err := b.d.Pages(b.now, []Incoming{{Worker: "w", Page: &p, Digest: jsonDigest(p)}})
	if err != nil || outs[0].Answer == nil || outs[0].Answer.Type != protocol.Committed {
		b.t.Fatalf("definitions: %+v, %v", outs, err)
	}
}

// A property that is gone from the definitions keeps its last values, a new one
// has everything held against HubSpot, and one that the configuration leaves out
// has not vanished.
func TestPropertiesComeAndGo(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	b.d.config[modelStream].Exclude = []string{"secret_*"}
	b.now = b.now.Add(30 * time.Second)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	b.schema(attempt, 0, "one", `[{"name":"a"},{"name":"b"},{"name":"secret_x"}]`)
	v := b.now.UnixMilli()
	bring := func(attempt uint64, seq uint64, version int64, properties string) {
		t.Helper()
		a := b.page(protocol.Page{Attempt: attempt, Seq: seq, Kind: protocol.ListingPage, To: "x", Last: true, Listing: []protocol.Listed{{ID: "1", Version: version}}})
		if len(a.Want) != 1 {
			t.Fatalf("nothing is wanted: %+v", a)
		}
		b.page(protocol.Page{Attempt: attempt, Seq: seq + 1, Kind: protocol.RecordsPage,
			Records: []protocol.Record{{ID: "1", State: "live", Version: version, AsOf: version, Properties: []byte(properties)}}})
	}
	bring(attempt, 1, v, `{"a":"1","b":"2","c":null}`)
	b.now = b.now.Add(30 * time.Second)
	attempt = fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	b.schema(attempt, 0, "two", `[{"name":"a"},{"name":"n"}]`)
	s := b.store.streams[modelStream]
	if len(s.Vanished) != 1 || s.Vanished["b"] == 0 || !s.ReconcileNow {
		t.Fatalf("vanished: %v, reconcile now: %v", s.Vanished, s.ReconcileNow)
	}
	bring(attempt, 1, v+1, `{"a":"1","n":"new"}`)
	if got := string(b.store.bodies[recordKey(modelStream, "1")]); got != `{"a":"1","n":"new","b":"2"}` {
		t.Errorf("the record is %s", got)
	}
	b.now = b.now.Add(30 * time.Second)
	outs := fetches(b.beat(protocol.Heartbeat{}))
	if outs["reconcile"] == 0 {
		t.Fatalf("nothing is held against HubSpot: %v", outs)
	}
	b.schema(outs["reconcile"], 0, "three", `[{"name":"a"},{"name":"b"},{"name":"n"}]`)
	if s := b.store.streams[modelStream]; len(s.Vanished) != 0 {
		t.Errorf("what is back has vanished: %v", s.Vanished)
	}
}

// A first load that is taken up again has read its beginning with the properties
// that there were then: those records are stale, and the next reconcile wants them.
func TestAFirstLoadTakenUpAgainIsNotFresh(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]int{"once": 1, "twice": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
			b.schema(attempt, 0, "one", `[{"name":"a"}]`)
			v := b.now.UnixMilli()
			// Read with the list "list", which nobody knows: the oldest there is.
			b.page(protocol.Page{Attempt: attempt, Seq: 1, Kind: protocol.RecordsPage,
				Records: []protocol.Record{{ID: "7", State: "live", Version: v, AsOf: v, Properties: []byte(`{"a":"1"}`)}}})
			b.now = b.now.Add(time.Minute)
			b.schema(attempt, 2, "two", `[{"name":"a"},{"name":"n"}]`)
			for range again {
				b.now = b.now.Add(time.Minute)
				b.must(b.d.Stop(b.now, modelStream, "api"))
				b.restart()
				b.now = b.now.Add(time.Minute)
				outs := b.must(b.d.Start(b.now, modelStream, "", "api"))
				attempt = fetches(append(outs, b.beat(protocol.Heartbeat{})...))["backfill"]
			}
			b.page(protocol.Page{Attempt: attempt, To: "18", Kind: protocol.RecordsPage, Last: true})
			if a := b.page(protocol.Page{Attempt: attempt, Range: 1, Kind: protocol.ListingPage, Last: true}); !a.RunEnded {
				t.Fatalf("%+v", a)
			}
			_, outs, err := b.d.Reconcile(b.now, modelStream, false)
			attempt = fetches(b.must(outs, err))["reconcile"]
			a := b.page(protocol.Page{Attempt: attempt, Range: 1, Kind: protocol.ListingPage, Last: true, Listing: []protocol.Listed{{ID: "7", Version: v}}})
			if len(a.Want) != 1 {
				t.Errorf("wanted: %+v", a.Want)
			}
		})
	}
}

// A stream whose entry in the ledger was lost knows no list any more that its
// records were read with: those that come are newer than all of them.
func TestListsOfAStreamThatBeginsAnew(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	for _, id := range span(1, 3) {
		h := b.store.records[recordKey(modelStream, id)]
		h.List = 3
		b.store.records[recordKey(modelStream, id)] = h
	}
	delete(b.store.streams, modelStream)
	clear(b.store.runs)
	b.restart()
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	b.schema(attempt, 0, "list", `[{"name":"a"},{"name":"n"}]`)
	v := b.now.UnixMilli()
	b.page(protocol.Page{Attempt: attempt, Seq: 1, Kind: protocol.RecordsPage, Last: true,
		Records: []protocol.Record{{ID: "2", State: "live", Version: 5, AsOf: v, Digest: [16]byte{7}, Properties: []byte(`{"a":"1","n":"new"}`)}}})
	if h := b.store.records[recordKey(modelStream, "2")]; h.Digest != [16]byte{7} || h.List <= 3 {
		t.Errorf("%+v", h)
	}
}

// What was compared with a list of properties in whole is not stale for having
// been read with another.
func TestStaleLists(t *testing.T) {
	t.Parallel()
	stored := &stream.Head{State: stream.Live, Version: 5, Digest: [16]byte{1}}
	whole, other := protocol.Listed{ID: "1", Version: 5, Digest: [16]byte{1}}, protocol.Listed{ID: "1", Version: 5, Digest: [16]byte{2}}
	plain := protocol.Listed{ID: "1", Version: 5}
	for name, c := range map[string]struct {
		l           protocol.Listed
		stale, want bool
	}{
		"whole, the same":       {whole, true, false},
		"whole, another":        {other, false, true},
		"a version, not stale":  {plain, false, false},
		"a version, stale":      {plain, true, true},
		"another version":       {protocol.Listed{ID: "1", Version: 6}, false, true},
		"an older version, too": {protocol.Listed{ID: "1", Version: 4}, false, true},
	} {
		if got := differs(stored, c.l, stream.SweepRange, c.stale); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Records that were last modified before the stream's start are left out, unless
// they are in the store, or a person asks for one.
func TestStartDate(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	b.d.config[modelStream].StartDate = 100
	for i, id := range []string{"1", "2"} {
		b.store.seq++
		b.store.records[recordKey(modelStream, id)] = stream.Head{ID: id, Seq: b.store.seq, State: stream.Live, Version: int64(50 + 100*i), AsOf: 5}
	}
	b.now = b.now.Add(30 * time.Second)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, To: "x", Last: true, Listing: []protocol.Listed{
		{ID: "1", Version: 60}, {ID: "2", Version: 160}, {ID: "3", Version: 99}, {ID: "4", Version: 100}}})
	var want []string
	for _, w := range a.Want {
		want = append(want, w.ID)
	}
	if !slices.Equal(want, []string{"1", "2", "4"}) {
		t.Errorf("wanted: %v", want)
	}
	id, outs, err := b.d.Sync(b.now, modelStream, "3")
	attempt = fetches(b.must(outs, err))["record"]
	b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, Records: []protocol.Record{{ID: "3", State: "live", Version: 99, AsOf: 99}}})
	if b.store.runs[id].State != stream.Done || b.store.records[recordKey(modelStream, "3")].Version != 99 {
		t.Errorf("the record that was asked for: %+v", b.store.runs[id])
	}
	id, outs, err = b.d.Resync(b.now, modelStream)
	attempt = fetches(b.must(outs, err))["backfill"]
	b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, Last: true, Records: []protocol.Record{
		{ID: "5", State: "live", Version: 99, AsOf: 99}, {ID: "6", State: "live", Version: 100, AsOf: 100}}})
	if _, ok := b.store.records[recordKey(modelStream, "5")]; ok {
		t.Error("a record from before the start is stored")
	}
	if _, ok := b.store.records[recordKey(modelStream, "6")]; !ok {
		t.Errorf("one from the start on is not: %+v", b.store.runs[id])
	}
}
