package dispatch

import (
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// chooses takes over a configuration in which the stream keeps a history.
func (b *bench) chooses(patterns ...string) {
	b.t.Helper()
	cfg := modelConfig()
	cfg[0].History = patterns
	b.must(b.d.Reload(b.now, cfg))
}

func (b *bench) past(id string) string { return string(b.store.pasts[recordKey(modelStream, id)]) }

// pastOf is the history of a record as a page brings it.
func pastOf(id string, digest byte, asOf int64, body string) []protocol.Part {
	return []protocol.Part{{ID: id, AsOf: asOf, Digest: [16]byte{digest}, Body: []byte(body)}}
}

// remembers is a bench with records whose history has been read.
func remembers(t *testing.T, records int) *bench {
	t.Helper()
	b := filled(t, records)
	b.chooses("a*")
	attempt := fetches(b.beat(protocol.Heartbeat{}))["history"]
	if attempt == 0 {
		t.Fatal("nothing reads the history of what is there")
	}
	w := b.walk(attempt)
	for i := range records {
		id := string(rune('1' + i))
		a := w.send(0, protocol.Page{Kind: protocol.PartsPage, PartKind: protocol.HistoryPart, Parts: pastOf(id, 1, 9, `{"a":[{"value":"1"}]}`)})
		if a.RunEnded != (i == records-1) {
			t.Fatalf("after record %s: %+v", id, a)
		}
	}
	if s := b.store.streams[modelStream]; !s.HistoryRead || b.past("1") == "" {
		t.Fatalf("%+v, history %q", s, b.past("1"))
	}
	return b
}

// History comes with its record, in one place of the feed; alone it takes one
// where it is another, and none where it is the same.
func TestHistoryComesWithItsRecord(t *testing.T) {
	t.Parallel()
	b := remembers(t, 3)
	b.now = b.now.Add(30 * time.Second)
	w := b.walk(fetches(b.beat(protocol.Heartbeat{}))["incremental"])
	v := b.now.UnixMilli()
	a := w.send(0, protocol.Page{Kind: protocol.ListingPage, To: "x", Listing: []protocol.Listed{{ID: "1", Version: 5}, {ID: "2", Version: v}, {ID: "3", Version: v}}})
	if len(a.Want) != 2 || !a.Want[0].Past || a.Want[0].Known {
		t.Fatalf("wanted: %+v", a.Want)
	}
	before := b.store.seq
	record := func(id string, version int64) []protocol.Record {
		return []protocol.Record{{ID: id, State: "live", Version: version, AsOf: 7, Properties: []byte(`{"a":"2"}`)}}
	}
	// The times of reading are not what says which is later.
	w.send(0, protocol.Page{Kind: protocol.RecordsPage, Records: record("2", v), Parts: pastOf("2", 2, 7, `{"a":[{"value":"2"},{"value":"1"}]}`)})
	if b.store.seq != before+1 || b.past("2") != `{"a":[{"value":"2"},{"value":"1"}]}` {
		t.Errorf("%d places, history %s", b.store.seq-before, b.past("2"))
	}
	// One that did not come is still wanted, and is what it was until it comes.
	w.send(0, protocol.Page{Kind: protocol.RecordsPage, Records: record("3", v+1)})
	if g := b.store.ranges[b.d.attempts[w.attempt]][0]; len(g.Want) != 1 || !g.Want[0].Known || !g.Want[0].Past || g.Want[0].Version != v+1 || b.past("3") != `{"a":[{"value":"1"}]}` {
		t.Fatalf("wanted: %+v, history %s", g.Want, b.past("3"))
	}
	w.send(0, protocol.Page{Kind: protocol.PartsPage, PartKind: protocol.HistoryPart, Parts: pastOf("3", 3, 8, `{"a":[]}`)})
	if b.past("3") != `{"a":[]}` {
		t.Errorf("history %s", b.past("3"))
	}
	// Who brought the record is not who brought its history, or comes in later.
	known := b.store.records[recordKey(modelStream, "2")]
	if known.By != known.ReadBy {
		t.Errorf("one page brought both, by %+v and %+v", known.By, known.ReadBy)
	}
	for places, digest := range []byte{2, 4} { // the same, then another
		id := b.asks("2")
		own := b.walk(fetches(b.beat(protocol.Heartbeat{}))["record"])
		before = b.store.seq
		a = own.send(0, protocol.Page{Kind: protocol.RecordsPage, Records: record("2", v), Parts: pastOf("2", digest, 20, `{"a":[{"value":"3"}]}`)})
		if !a.RunEnded || b.store.seq != before+uint64(places) || b.store.runs[id].State != stream.Done {
			t.Errorf("digest %d: %+v, %d places", digest, a, b.store.seq-before)
		}
		if h := b.store.records[recordKey(modelStream, "2")]; places == 1 && (h.By != (stream.Origin{Run: id, Road: stream.RecordRoad}) || h.ReadBy != known.ReadBy) {
			t.Errorf("the history came by %+v, to what %+v had brought and now %+v", h.By, known.ReadBy, h.ReadBy)
		}
	}
}

// A history run stores nothing of a record that is newer than it was wanted: its
// history came with it.
func TestHistoryOfWhatChanged(t *testing.T) {
	t.Parallel()
	b := filled(t, 2)
	b.chooses("a")
	w := b.walk(fetches(b.beat(protocol.Heartbeat{}))["history"])
	h := b.store.records[recordKey(modelStream, "1")]
	h.Version, b.store.pasts[recordKey(modelStream, "1")] = 6, []byte(`{"a":[{"value":"new"}]}`)
	b.store.records[recordKey(modelStream, "1")] = h
	w.send(0, protocol.Page{Kind: protocol.PartsPage, PartKind: protocol.HistoryPart, Parts: pastOf("1", 1, 99, `{"a":[{"value":"old"}]}`)})
	if b.past("1") != `{"a":[{"value":"new"}]}` {
		t.Errorf("history %s", b.past("1"))
	}
	// What the broker cannot carry is named, and what has gone holds nothing up.
	if a := w.send(0, protocol.Page{Kind: protocol.PartsPage, PartKind: protocol.HistoryPart, Open: []protocol.OpenID{{ID: "2", TooLarge: true}}}); !a.RunEnded {
		t.Errorf("%+v", a)
	}
	if s := b.store.streams[modelStream]; len(s.Open) != 1 || !s.Open[0].TooLarge {
		t.Errorf("open: %+v", s.Open)
	}
}

// Less of what was chosen needs no reading; more ends what asks by the old
// choice, and is read of all. A run that did not end goes on where it stood.
func TestHistoryIsChosen(t *testing.T) {
	t.Parallel()
	b := remembers(t, 3)
	b.chooses("a*")
	b.now = b.now.Add(30 * time.Second)
	incremental := fetches(b.beat(protocol.Heartbeat{}))["incremental"]
	b.chooses("a*", "b")
	if a := b.page(protocol.Page{Attempt: incremental, Kind: protocol.ListingPage, Last: true}); a.Type != protocol.Fenced {
		t.Errorf("a page by the old choice is %s", a.Type)
	}
	w := b.walk(fetches(b.beat(protocol.Heartbeat{}))["history"])
	w.send(0, protocol.Page{Kind: protocol.PartsPage, PartKind: protocol.HistoryPart, Parts: pastOf("1", 2, 99, `{}`)})
	b.chooses("b")
	if s := b.store.streams[modelStream]; s.HistoryRead {
		t.Error("what was never read to its end is read")
	}
	if again := fetches(b.beat(protocol.Heartbeat{}))["history"]; again == 0 || again == w.attempt {
		t.Errorf("attempt %d goes on", again)
	}
	b.chooses()
	if s := b.store.streams[modelStream]; s.History != nil || b.d.runOf(modelStream, true) != nil {
		t.Errorf("%+v", s)
	}
}

// A history run may take days. After an hour it makes way for another walk that
// is due, and goes on behind it where it stood.
func TestHistoryMakesWay(t *testing.T) {
	t.Parallel()
	b := filled(t, 3)
	b.chooses("a")
	attempt := fetches(b.beat(protocol.Heartbeat{}))["history"]
	id := b.d.runOf(modelStream, true).ID
	b.d.streams[modelStream].ReconcileNow = true
	b.now = b.now.Add(time.Second)
	if b.beat(protocol.Heartbeat{}); b.d.runOf(modelStream, true).ID != id {
		t.Fatal("it makes way at once")
	}
	b.d.ranges[id][0].Cursor = "2"
	b.d.runs[id].Started = b.now.Add(-historyTurn)
	got := fetches(b.beat(protocol.Heartbeat{Attempts: []protocol.AttemptReport{{Attempt: attempt}}}))
	if got["reconcile"] == 0 || b.store.runs[id].State != stream.Stopped || b.store.streams[modelStream].HistoryFrom != "2" {
		t.Fatalf("%v, the run is %+v, its place %q", got, b.store.runs[id], b.store.streams[modelStream].HistoryFrom)
	}
}

// What a property had been that has vanished stays with its record.
func TestHistoryOfWhatVanished(t *testing.T) {
	t.Parallel()
	b := remembers(t, 1)
	c := b.d.begin(b.now)
	s := c.stream(modelStream)
	s.Vanished = map[string]int64{"a": 5}
	r := &stream.Record{Head: stream.Head{State: stream.Live}, History: []byte(`{"a":[{"value":"1"}],"b":[]}`)}
	c.takePast(s, r, &pastOf("1", 7, 9, `{"n":[]}`)[0])
	if string(r.History) != `{"n":[],"a":[{"value":"1"}]}` || r.HistoryPart.AsOf != 9 {
		t.Errorf("%s %+v", r.History, r.HistoryPart)
	}
	r.State = stream.Purged
	if c.takePast(s, r, &pastOf("1", 8, 10, `{}`)[0]); r.HistoryPart.AsOf != 9 {
		t.Error("what is purged takes a history")
	}
}

// What is shown is what is chosen now, of the properties that are copied.
func TestHistoryAsShown(t *testing.T) {
	t.Parallel()
	const stored = `{"a":[1],"b":[2],"secret":[3]}`
	for name, c := range map[string]struct {
		cfg  StreamConfig
		want string
	}{
		"none":     {StreamConfig{}, ""},
		"all":      {StreamConfig{History: []string{"*"}, Properties: []string{"*"}}, stored},
		"some":     {StreamConfig{History: []string{"a", "s*"}}, `{"a":[1],"secret":[3]}`},
		"excluded": {StreamConfig{History: []string{"*"}, Exclude: []string{"secret"}}, `{"a":[1],"b":[2]}`},
	} {
		if got := string(c.cfg.ShowHistory([]byte(stored))); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
