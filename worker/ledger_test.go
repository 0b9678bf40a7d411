package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// ledger is a daemon in memory, and the bus to it: it commits pages by the
// ledger's rules and says when something came that must not.
type ledger struct {
	t     *testing.T
	codec *protocol.Codec
	top   protocol.Topics

	mu        sync.Mutex
	w         *Worker
	rng       *rand.Rand
	lossy     bool // loses and repeats a third of everything
	mute      bool // hears nothing
	off       bool // not connected
	busy      int  // so many pages are answered busy
	maxPacket int
	// out carries what the ledger says, where it does not go to w at once.
	out func(topic string, payload []byte)

	fetch    *protocol.Fetch // nil when no run is open
	ranges   map[uint32]*lrange
	next     uint32
	attempt  uint64
	held     uint64 // attempt that is open, 0 when none
	process  string
	records  map[string]protocol.Record
	pasts    map[string]string // the history of properties
	open     map[string]string
	gone     []string
	merged   map[string]string // into what
	listed   []string          // in all listings, one after the other
	kinds    map[protocol.PageKind]int
	problem  *protocol.Problem
	leaving  int
	presence []string
	lists    []string
	confirm  int
	absent   []string // in a whole reading
	notes    string
	stored   int // records that changed what was there
	changed  chan struct{}
}

type lrange struct {
	protocol.Range
	ended  bool
	digest string
	to     string
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	return &ledger{t: t, codec: new(protocol.Codec), top: protocol.Topics{Prefix: "hubpipe"}, rng: rand.New(rand.NewPCG(1, 1)),
		records: map[string]protocol.Record{}, open: map[string]string{}, merged: map[string]string{}, pasts: map[string]string{}, kinds: map[protocol.PageKind]int{},
		changed: make(chan struct{})}
}

// start begins a worker process for the hub, at a pace for tests.
func (l *ledger) start(h *hub, change ...func(*Options)) *Worker {
	l.t.Helper()
	o := Options{Name: "w", Portals: map[string]Portal{"main": h.portal}, Topics: l.top, Codec: l.codec, Bus: l,
		Lease: 400 * time.Millisecond, HeartbeatEvery: 10 * time.Millisecond, RepeatMin: 10 * time.Millisecond,
		RepeatMax: 40 * time.Millisecond, RereadDelays: [2]time.Duration{time.Millisecond, 2 * time.Millisecond}}
	for _, f := range change {
		f(&o)
	}
	w, err := New(o)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.w = w
	l.mu.Unlock()
	if err := w.Start(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	w.Up()
	l.t.Cleanup(func() { _ = w.Stop(context.Background()) })
	return w
}

// run opens a run with these ranges.
func (l *ledger) run(f protocol.Fetch, ranges ...protocol.Range) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.Portal, f.Stream = "main", "contacts"
	if f.Object == "" {
		f.Object = "contacts"
	}
	f.Run = fmt.Sprint("run", l.attempt)
	l.fetch, l.ranges, l.next, l.held = &f, map[uint32]*lrange{}, uint32(len(ranges)), 0
	for i, g := range ranges {
		g.ID = uint32(i)
		l.ranges[g.ID] = &lrange{Range: g}
	}
}

// await waits until ok, which is called under the lock, says so.
func (l *ledger) await(what string, ok func() bool) {
	l.t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		l.mu.Lock()
		good, changed := ok(), l.changed
		l.mu.Unlock()
		if good {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			l.mu.Lock()
			defer l.mu.Unlock()
			l.t.Fatalf("%s did not come: problem %+v, kinds %v, ranges %+v", what, l.problem, l.kinds, l.ranges)
		}
	}
}

func (l *ledger) done() {
	l.t.Helper()
	l.await("the run's end", func() bool { return l.fetch == nil })
}

func (l *ledger) MaxPacket() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.maxPacket
}

func (l *ledger) Connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.off
}

func (l *ledger) Publish(_ context.Context, topic string, payload, _ []byte, qos byte, retain bool, expiry time.Duration) error {
	l.mu.Lock()
	l.carried(topic, payload, qos, retain, expiry)
	l.mu.Unlock()
	return l.take(topic, payload)
}

// take is what has come, however it was carried.
func (l *ledger) take(topic string, payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off {
		return errors.New("no connection")
	}
	times := 1
	if l.lossy {
		times = l.rng.IntN(3)
	}
	for range times {
		l.deliver(topic, payload)
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

// carried fails where a message would wait in a broker for longer than it is good
// for, or is carried with less care than it needs.
func (l *ledger) carried(topic string, payload []byte, qos byte, retain bool, expiry time.Duration) {
	name, kind, _ := l.top.ParseWorker(topic)
	ok := false
	switch o := l.w.o; kind {
	case "": // what people see of the worker stays
		ok = qos == 1 && retain && expiry == 0
	case "pages":
		ok = qos == 1 && !retain && expiry == o.Lease
	case "heartbeat": // the last one, which lets go, is worth an acknowledgement
		ok = (qos == 0 || bytes.Contains(payload, []byte(`"leaving":true`))) && !retain && expiry == o.HeartbeatEvery
	}
	if !ok {
		l.t.Errorf("%s of %s: QoS %d, retained %t, expires after %s", kind, name, qos, retain, expiry)
	}
}

func (l *ledger) deliver(topic string, payload []byte) {
	_, rest, _ := l.top.ParseWorker(topic)
	if rest == "" {
		l.presence = append(l.presence, string(payload))
		return
	}
	if l.mute {
		return
	}
	if rest == "heartbeat" {
		hb, err := protocol.Unmarshal[protocol.Heartbeat](payload)
		if err != nil {
			l.t.Errorf("heartbeat: %v", err)
		}
		l.heartbeat(hb)
		return
	}
	p, err := l.codec.Decode(payload)
	if err != nil {
		l.t.Errorf("page: %v", err)
		return
	}
	l.judge(p, protocol.Digest(payload))
}

func (l *ledger) say(topic string, v any) {
	if l.lossy && l.rng.IntN(3) == 0 {
		return
	}
	b, _ := json.Marshal(v)
	if l.out != nil {
		l.out(topic, b)
		return
	}
	l.w.Message(topic, b)
}

func (l *ledger) answer(a protocol.Answer) {
	a.Store, a.Epoch = "s", 1
	l.say(l.top.Answers("w"), a)
}

func (l *ledger) command(kind protocol.CommandType, process string, attempt uint64) {
	c := protocol.Command{Type: kind, Store: "s", Epoch: 1, Process: process, Attempt: attempt}
	if kind == protocol.FetchCommand {
		f := *l.fetch
		f.Ranges = l.wire()
		c.Fetch = &f
	}
	l.say(l.top.Commands("w"), c)
}

func (l *ledger) wire() []protocol.Range {
	var out []protocol.Range
	for _, id := range slices.Sorted(maps.Keys(l.ranges)) {
		if g := l.ranges[id]; !g.ended {
			out = append(out, g.Range)
		}
	}
	return out
}

func (l *ledger) heartbeat(hb protocol.Heartbeat) {
	if hb.Leaving {
		l.leaving++
		l.held = 0
		return
	}
	if hb.Process != l.process {
		l.process, l.held = hb.Process, 0
	}
	said := false
	listed := map[uint64]bool{}
	for _, a := range hb.Attempts {
		listed[a.Attempt] = true
		if a.Attempt != l.held || l.fetch == nil {
			l.command(protocol.CancelCommand, hb.Process, a.Attempt)
			said = true
		} else if len(a.Ranges) < len(l.wire()) {
			l.command(protocol.FetchCommand, hb.Process, a.Attempt)
			said = true
		}
	}
	for _, f := range hb.Failed {
		if f.Attempt == l.held {
			l.problem, l.held, l.fetch = &f.Problem, 0, nil
		}
		l.command(protocol.CancelCommand, hb.Process, f.Attempt)
		said = true
	}
	for _, n := range hb.Declined {
		if n == l.held {
			l.held = 0
		}
		l.command(protocol.CancelCommand, hb.Process, n)
		said = true
	}
	if l.fetch != nil && l.held == 0 {
		l.attempt++
		l.held = l.attempt
	}
	if l.fetch != nil && !listed[l.held] {
		l.command(protocol.FetchCommand, hb.Process, l.held)
		said = true
	}
	if !said {
		l.answer(protocol.Answer{Type: protocol.Seen, Process: hb.Process})
	}
}

func (l *ledger) judge(p *protocol.Page, digest string) {
	a := protocol.Answer{Type: protocol.Committed, Process: p.Process, Attempt: p.Attempt, Range: p.Range, Seq: p.Seq}
	g := l.ranges[p.Range]
	known := g != nil && g.Seq == p.Seq+1 && g.digest == digest
	switch {
	case l.busy > 0:
		l.busy--
		a.Type = protocol.Busy
		l.answer(a)
		return
	case known:
	case l.fetch == nil || p.Attempt != l.held || p.Process != l.process || g == nil:
		a.Type, a.Reason = protocol.Fenced, "closed or unknown"
		l.answer(a)
		return
	case p.Seq < g.Seq:
		return
	case p.Seq > g.Seq || p.From != g.Cursor || g.ended || p.Began == 0 || p.Account == nil:
		l.t.Errorf("page %d of range %d from %q to %q, expected %d from %q; began %d", p.Seq, p.Range, p.From, p.To, g.Seq, g.Cursor, p.Began)
		return
	default:
		l.apply(p, g)
		g.Seq, g.digest = p.Seq+1, digest
	}
	if g.ended {
		a.Ranges = l.askForAbsent()
	}
	a.Cursor, a.RangeEnded, a.RunEnded = g.Cursor, g.ended, len(l.wire()) == 0
	switch p.Kind {
	case protocol.ListingPage:
		a.Want = g.Want
	case protocol.RecordsPage:
		a.Again = g.Again
	case protocol.SplitPage, protocol.SweepPage, protocol.WalkPage:
		if a.Ranges = l.wire(); p.Kind == protocol.SplitPage || l.fetch.Kind != fillRun {
			break
		}
		l.answer(a)
		l.held = 0
		return
	case protocol.JoinPage:
		l.answer(a)
		l.held = 0 // the next heartbeat is answered with a cancel, and another attempt
		return
	}
	if a.RunEnded {
		l.fetch, l.held = nil, 0
	}
	l.answer(a)
}

func (l *ledger) apply(p *protocol.Page, g *lrange) {
	l.kinds[p.Kind]++
	g.Again = nil
	if l.fetch.Began == 0 {
		l.fetch.Began = p.Began
		for _, r := range l.ranges {
			if r.Newest && r.Hi == 0 {
				r.Hi = max(p.Began, r.Lo)
			}
		}
	}
	switch p.Kind {
	case protocol.SchemaPage:
		l.fetch.SchemaHash, l.fetch.SchemaAsOf = p.List, p.AsOf
		l.lists = append(l.lists, p.List)
	case protocol.SplitPage:
		g.Want = nil
		upper := *g
		upper.ID, upper.Seq = l.next, 0
		l.next++
		switch {
		case g.Kind == "list":
			if at, _ := strconv.ParseUint(g.Cursor, 10, 64); p.SplitID <= at || g.IDHi != 0 && p.SplitID >= g.IDHi || l.fetch.Whole {
				l.t.Errorf("a list from %q to %d is split at %d", g.Cursor, g.IDHi, p.SplitID)
			}
			g.IDHi, upper.IDLo, upper.Cursor = p.SplitID, p.SplitID, strconv.FormatUint(p.SplitID-1, 10)
		case p.SplitAt != 0:
			if hi := max(g.Hi, l.fetch.Began); p.SplitAt <= g.Lo || p.SplitAt >= hi {
				l.t.Errorf("a split at %d outside of %d to %d", p.SplitAt, g.Lo, g.Hi)
			}
			g.Hi, upper.Lo = p.SplitAt, p.SplitAt
		default:
			g.IDHi, upper.IDLo = p.SplitID, p.SplitID
		}
		l.ranges[upper.ID] = &upper
	case protocol.JoinPage:
		for _, r := range l.ranges {
			r.ended = r != g
		}
		g.Cursor, g.IDLo, g.IDHi, g.Want, l.fetch.Whole = "", 0, 0, nil, true
	case protocol.SweepPage, protocol.WalkPage:
		if g.Kind = "sweep"; p.Kind == protocol.SweepPage && l.fetch.Kind != fillRun {
			break
		}
		for _, r := range l.ranges {
			r.ended = r != g && l.fetch.Kind == fillRun
		}
		g.Kind, g.Has = "list", nil
	case protocol.ListingPage:
		if len(g.Want) > 0 {
			l.t.Errorf("a listing while %d are wanted", len(g.Want))
		}
		g.to, g.Last = p.To, p.Last
		for _, o := range p.Open {
			l.open[o.ID] = o.Reason
		}
		for _, h := range p.Listing {
			l.listed = append(l.listed, h.ID)
			r, ok := l.records[h.ID]
			if !ok || r.Version != h.Version || h.Digest != [16]byte{} && h.Digest != r.Digest {
				h.Past = len(l.fetch.History) > 0
				g.Want = append(g.Want, h)
			}
		}
		if g.Kind == wholeRange {
			l.absentRows(p)
		}
		if p.Notes != "" {
			l.notes = p.Notes
		}
		if len(g.Want) == 0 {
			g.Cursor, g.ended = p.To, p.Last
		}
	case protocol.RecordsPage:
		l.bring(p, g)
	case protocol.PartsPage:
		if len(g.Want) == 0 {
			l.t.Errorf("%d parts of kind %q where nothing is wanted", len(p.Parts), p.PartKind)
		}
		if said := l.past(p); p.PartKind == protocol.HistoryPart {
			l.satisfied(g, said, nil)
		} else {
			for i := range g.Want {
				g.Want[i].Parts = g.Want[i].Parts && !said[g.Want[i].ID]
			}
			l.satisfied(g, nil, nil)
		}
	}
}

// past takes parts up, and gives the ids that a page says something of.
func (l *ledger) past(p *protocol.Page) map[string]bool {
	said := map[string]bool{}
	for _, part := range p.Parts {
		said[part.ID], l.pasts[part.ID] = true, string(part.Body)
	}
	for _, o := range p.Open {
		said[o.ID], l.open[o.ID] = true, o.Reason
	}
	for _, id := range p.Gone {
		said[id] = true
	}
	return said
}

// satisfied takes off what a range wants what has come: got are the records
// that a page brings, past those whose history is known by now.
func (l *ledger) satisfied(g *lrange, past, got map[string]bool) {
	g.Want = slices.DeleteFunc(g.Want, func(w protocol.Listed) bool {
		return (w.Known || got[w.ID]) && (!w.Past || past[w.ID]) && !w.Parts
	})
	for i := range g.Want {
		g.Want[i].Known = g.Want[i].Known || got[g.Want[i].ID]
	}
	if len(g.Want) == 0 {
		g.Cursor, g.ended = g.to, g.Last
	}
}

func (l *ledger) bring(p *protocol.Page, g *lrange) {
	if p.List != l.fetch.SchemaHash {
		l.t.Errorf("records of list %q, the schema is %q", p.List, l.fetch.SchemaHash)
	}
	got := map[string]bool{}
	for _, r := range p.Records {
		old, had := l.records[r.ID]
		switch {
		case !had || r.Version >= old.Version:
			if l.records[r.ID] = r; r.Digest != old.Digest {
				l.stored++
			}
		case r.Confirmed:
			l.records[r.ID] = r
			l.confirm++
		case g.Kind != "list":
			g.Again = append(g.Again, r.ID)
			continue
		}
		got[r.ID] = true
		delete(l.open, r.ID)
	}
	for _, m := range p.Merges {
		if !got[m.Into] {
			l.t.Errorf("%s is said to have taken others in on a page that it is not on", m.Into)
		}
		for _, id := range m.From {
			l.merged[id] = m.Into
		}
	}
	for _, id := range p.Gone {
		if got[id] = true; !g.Ask {
			l.t.Errorf("%s is gone, and was not asked for", id)
		}
		l.gone = append(l.gone, id)
		delete(l.records, id)
		l.stored++
	}
	for _, o := range p.Open {
		got[o.ID] = true
		l.open[o.ID] = o.Reason
	}
	if g.Kind == "list" {
		g.Cursor, g.ended = p.To, p.Last
		return
	}
	if len(g.Want) == 0 || p.To != p.From {
		l.t.Errorf("records where %d are wanted, from %q to %q", len(g.Want), p.From, p.To)
	}
	l.satisfied(g, l.past(p), got)
}

// exact compares the ledger's records with the hub's.
func (l *ledger) exact(h *hub) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, version := range h.records {
		if got := l.records[strconv.Itoa(id)]; got.Version != version && l.open[strconv.Itoa(id)] == "" {
			l.t.Errorf("record %d has version %d, HubSpot %d", id, got.Version, version)
		}
	}
}
