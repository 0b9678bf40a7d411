package dispatch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// hub is HubSpot for one object: its clock is its own, search knows of a
// change later than the record does, and reads by id lag now and then.
type hub struct {
	m       *meeting
	skew    time.Duration
	records map[int]*hubRecord
	list    int // the generation of its property list

	rows    map[string]*hubRow // of a stream outside the CRM's contract
	nrow    int
	refused string // whose rows are not handed out
}

type hubRecord struct {
	version  int64 // when it was last modified
	before   int64 // and before that, 0 where it was made
	changed  time.Time
	listedAt time.Time

	state   stream.State
	was     stream.State // before it changed last, for replicas that lag
	movedAt time.Time
	into    int   // where it went, if it was merged
	took    []int // what was merged into it
	calc    byte  // a value that changes without a new time
	link    byte  // with what it is associated, which changes without one, too
}

// How far reads may lag: the list by less than a tail, batches by less than a
// worker waits before it believes an older version.
const (
	listLag  = 3 * time.Second
	batchLag = 8 * time.Second
)

func newHub(m *meeting, skew time.Duration, records int) *hub {
	h := &hub{m: m, skew: skew, records: map[int]*hubRecord{}}
	for i := range records {
		h.records[10+i*3] = &hubRecord{state: stream.Live, version: h.ms() - int64(m.rng.IntN(100000)) - 10000}
	}
	return h
}

// newRowHub has rows that are there from the start.
func newRowHub(m *meeting, skew time.Duration) *hub {
	h := &hub{m: m, skew: skew, rows: map[string]*hubRow{}}
	for range 12 + m.rng.IntN(20) {
		h.grow(m.between(1000, 600_000))
	}
	return h
}

// historyIn is the digest of the history that a record has in a version.
func historyIn(version int64) [16]byte {
	return [16]byte{2, byte(version), byte(version >> 8), byte(version >> 16)}
}

func (h *hub) ms() int64 { return h.m.now.Add(h.skew).UnixMilli() }

// change edits a record or makes it. Search is late by less than the first
// settle pass.
func (h *hub) change(id int) {
	r := h.records[id]
	if r == nil {
		r = &hubRecord{state: stream.Live}
		h.records[id] = r
	}
	if r.state != stream.Live {
		return // nobody edits it
	}
	if h.m.now.After(r.listedAt) {
		r.before = r.version // what search has meanwhile
	}
	r.version, r.changed, r.listedAt = h.ms(), h.m.now, h.m.now.Add(h.m.between(0, 20000))
}

// read gives a record, now and then from a replica that lags; false where
// HubSpot has it neither live nor archived.
func (h *hub) read(id int, lag time.Duration) (protocol.Record, bool) {
	r := h.records[id]
	out := protocol.Record{ID: fmt.Sprint(id), State: string(r.state), Version: r.version, AsOf: h.ms()}
	if r.was != "" && h.m.now.Sub(r.movedAt) < lag && h.m.chance(4, "stale state") {
		out.State = string(r.was)
		out.AsOf -= 1000
	}
	switch stream.State(out.State) {
	case stream.Purged:
		return out, false
	case stream.Merged:
		s := h.survivor(id)
		out.MergedInto, out.Version = fmt.Sprint(s), max(r.version, h.records[s].version)
		return out, true
	}
	if len(r.took) > 0 {
		ids := make([]string, len(r.took))
		for i, id := range r.took {
			ids[i] = fmt.Sprint(id)
		}
		out.Properties = []byte(`{"hs_merged_object_ids":"` + strings.Join(ids, ";") + `"}`)
	}
	if r.before != 0 && h.m.now.Sub(r.changed) < lag && h.m.chance(4, "stale read") {
		out.Version = r.before
		out.AsOf -= 1000
	}
	out.Digest[0], out.Digest[1], out.Digest[2], out.Digest[3] = byte(out.Version), byte(out.Version>>8), byte(h.list), r.calc
	return out, true
}

// survivor is where a record is now: itself, or what it was merged into.
func (h *hub) survivor(id int) int {
	for h.records[id].state == stream.Merged {
		id = h.records[id].into
	}
	return id
}

// move archives, restores or purges a record.
func (h *hub) move(id int, to stream.State) {
	r := h.records[id]
	r.was, r.state, r.movedAt = r.state, to, h.m.now
	if to == stream.Purged {
		r.was = "" // gone for good everywhere
	}
	h.m.seen[string(to)]++
}

// merge makes one record of two. The survivor may forget whom the other had
// taken in before.
func (h *hub) merge(id, into int) {
	a, b := h.records[id], h.records[into]
	if id == into || a.state != stream.Live || b.state != stream.Live {
		return
	}
	a.state, a.into, a.was, a.movedAt = stream.Merged, into, "", h.m.now
	b.took = append(b.took, id)
	if h.m.rng.IntN(2) == 0 {
		b.took = append(b.took, a.took...)
	}
	h.change(into)
	h.m.seen["merged"]++
}

// search lists what is in a window, as far as search knows it.
func (h *hub) search(g protocol.Range, hi int64) []protocol.Listed {
	var out []protocol.Listed
	for id, r := range h.records {
		v := r.version
		if r.listedAt.After(h.m.now) {
			v = r.before
		}
		if r.state == stream.Live && v != 0 && v >= g.Lo && v < hi && uint64(id) >= g.IDLo && (g.IDHi == 0 || uint64(id) < g.IDHi) {
			out = append(out, protocol.Listed{ID: fmt.Sprint(id), Version: v})
		}
	}
	slices.SortFunc(out, func(a, b protocol.Listed) int {
		return len(a.ID) - len(b.ID) + 2*slices.Compare([]byte(a.ID), []byte(b.ID))
	})
	return out
}

// after lists at most n ids in a state above from and up to the range's end;
// last tells whether there are no more.
func (h *hub) after(state stream.State, from int, hi uint64, n int) (ids []int, last bool) {
	for id, r := range h.records {
		if r.state == state && id > from && (hi == 0 || uint64(id) <= hi) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids[:min(n, len(ids))], n >= len(ids)
}

// overlapBound is how long a process that comes back from a standstill may go
// on: its heartbeat is answered with a cancel for each attempt, and where one
// of them is lost and another arrives, the next heartbeat brings it again.
const overlapBound = 2 * meetingBeat

// asked notes that a process asks HubSpot under an attempt. A portal is served
// by one process at a time: once the next has begun, the one before is silent,
// unless its name was taken: the portal goes on at once then, and it is told.
func (m *meeting) asked(portal string, p *process, attempt uint64) {
	last := m.calls[portal]
	switch {
	case attempt >= last.attempt:
		m.calls[portal] = call{attempt, p.name}
	case last.process == p.name || m.store.workers[p.worker].Process != p.name:
	case m.overlap[p.name].IsZero():
		m.overlap[p.name] = m.now
		m.seen["overlap"]++
	case m.now.Sub(m.overlap[p.name]) > overlapBound:
		m.fail("portal %s is served by %s as attempt %d, and by %s as attempt %d already", portal, p.name, attempt, last.process, last.attempt)
	}
}

// edit changes records and makes new ones, while everything runs.
func (m *meeting) edit() {
	if m.quiet {
		return
	}
	c := m.config[m.rng.IntN(len(m.config))]
	h := m.hubs[c.Name]
	ids := slices.Sorted(maps.Keys(h.records))
	switch n := m.rng.IntN(60); {
	case h.rows != nil:
		h.editRows(c.Object == "marketing_event_participants")
	case n == 0:
		h.list++
		m.seen["property list"]++
	case n < 9:
		m.hint(c, m.life(h, ids))
	case n < 12: // an import: all at once
		m.seen["import"]++
		for _, id := range ids {
			h.change(id)
		}
	case n < 22:
		id := 10 + m.rng.IntN(140)
		h.change(id)
		m.hint(c, id)
	default:
		for range 1 + m.rng.IntN(3) {
			id := ids[m.rng.IntN(len(ids))]
			h.change(id)
			m.hint(c, id)
		}
	}
	m.after(m.between(200, 3000), m.edit)
}

// life ends records, and brings some of them back. It returns which.
func (m *meeting) life(h *hub, ids []int) (id int) {
	id = ids[m.rng.IntN(len(ids))]
	switch r := h.records[id]; {
	case r.state == stream.Live && m.rng.IntN(3) == 0:
		h.merge(id, ids[m.rng.IntN(len(ids))])
	case r.state == stream.Live && m.rng.IntN(3) == 0:
		r.link++
		m.seen["associated"]++
	case r.state == stream.Live && m.rng.IntN(2) == 0:
		r.calc++
		m.seen["calculated"]++
	case r.state == stream.Live && m.rng.IntN(4) > 0:
		h.move(id, stream.Archived)
	case r.state == stream.Archived && m.rng.IntN(2) == 0:
		h.move(id, stream.Live)
		m.seen["restored"]++
	case r.state == stream.Live || r.state == stream.Archived:
		h.move(id, stream.Purged)
	}
	return id
}

// command does what people do: stop, start, sync, resync, sync of a record.
func (m *meeting) command() {
	if m.quiet {
		return
	}
	m.after(m.between(2000, 15000), m.command)
	if m.down || m.frozen {
		return
	}
	name := m.config[m.rng.IntN(len(m.config))].Name
	switch m.rng.IntN(9) {
	case 8:
		m.ask(name, "reconcile", func() ([]Out, error) {
			_, outs, err := m.d.Reconcile(m.clock(), name, m.rng.IntN(2) == 0)
			return outs, err
		})
	case 0, 1:
		m.halt(name)
		m.after(m.between(100, 20000), func() {
			if !m.down && !m.frozen && !m.quiet {
				m.begin(name)
			}
		})
	case 2, 3:
		m.begin(name)
	case 4:
		m.ask(name, "sync", func() ([]Out, error) { _, outs, err := m.d.Sync(m.clock(), name, ""); return outs, err })
	case 5:
		m.ask(name, "resync", func() ([]Out, error) { _, outs, err := m.d.Resync(m.clock(), name); return outs, err })
	default:
		ids := slices.Sorted(maps.Keys(m.hubs[name].records))
		if len(ids) == 0 {
			return
		}
		id := fmt.Sprint(ids[m.rng.IntN(len(ids))])
		m.ask(name, "sync record", func() ([]Out, error) { _, outs, err := m.d.Sync(m.clock(), name, id); return outs, err })
	}
}

// ask gives an order after which a stream runs again. An order that the disk
// refuses is not given: the person sees it.
func (m *meeting) ask(name, what string, f func() ([]Out, error)) {
	was := m.halted[name]
	delete(m.halted, name)
	outs, err := f()
	if err != nil {
		if was {
			m.halted[name] = true
		}
		return
	}
	m.seen[what]++
	m.send(outs)
}

func (m *meeting) begin(name string) {
	interval := ""
	if m.rng.IntN(4) == 0 {
		interval = "15s"
	}
	m.ask(name, "start", func() ([]Out, error) { return m.d.Start(m.clock(), name, interval, "api") })
}

// halt stops a stream. From the commit on no page of it counts.
func (m *meeting) halt(name string) {
	open := []uint64{}
	for _, r := range m.store.runs {
		if r.Stream == name && r.State == "running" && r.Attempt != 0 {
			open = append(open, r.Attempt)
		}
	}
	stop := func() ([]Out, error) { return m.d.Stop(m.clock(), name, "api") }
	if m.bug == "a stop that is only announced" {
		stop = func() ([]Out, error) { return nil, nil }
	}
	outs, err := stop()
	if err != nil {
		return
	}
	m.seen["stop"]++
	m.forgetHints(name)
	m.halted[name] = true
	for _, n := range open {
		m.closed[n] = true
	}
	m.send(outs)
}
