package dispatch

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// hub is HubSpot for one object: its clock is its own, search knows of a
// change later than the record does, and reads by id lag now and then.
type hub struct {
	m       *meeting
	skew    time.Duration
	records map[int]*hubRecord
	list    int // the generation of its property list
}

type hubRecord struct {
	version  int64 // when it was last modified
	before   int64 // and before that, 0 where it was made
	changed  time.Time
	listedAt time.Time
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
		h.records[10+i*3] = &hubRecord{version: h.ms() - int64(m.rng.IntN(100000)) - 10000}
	}
	return h
}

func (h *hub) ms() int64 { return h.m.now.Add(h.skew).UnixMilli() }

// change edits a record or makes it. Search is late by less than the first
// settle pass.
func (h *hub) change(id int) {
	r := h.records[id]
	if r == nil {
		r = &hubRecord{}
		h.records[id] = r
	}
	if h.m.now.After(r.listedAt) {
		r.before = r.version // what search has meanwhile
	}
	r.version, r.changed, r.listedAt = h.ms(), h.m.now, h.m.now.Add(h.m.between(0, 20000))
}

// read gives a record, now and then from a replica that lags.
func (h *hub) read(id int, lag time.Duration) protocol.Record {
	r := h.records[id]
	out := protocol.Record{ID: fmt.Sprint(id), State: "live", Version: r.version, AsOf: h.ms()}
	if r.before != 0 && h.m.now.Sub(r.changed) < lag && h.m.chance(4, "stale read") {
		out.Version = r.before
		out.AsOf -= 1000
	}
	out.Digest[0], out.Digest[1], out.Digest[2] = byte(out.Version), byte(out.Version>>8), byte(h.list)
	return out
}

// search lists what is in a window, as far as search knows it.
func (h *hub) search(g protocol.Range, hi int64) []protocol.Listed {
	var out []protocol.Listed
	for id, r := range h.records {
		v := r.version
		if r.listedAt.After(h.m.now) {
			v = r.before
		}
		if v != 0 && v >= g.Lo && v < hi && uint64(id) >= g.IDLo && (g.IDHi == 0 || uint64(id) < g.IDHi) {
			out = append(out, protocol.Listed{ID: fmt.Sprint(id), Version: v})
		}
	}
	slices.SortFunc(out, func(a, b protocol.Listed) int {
		return len(a.ID) - len(b.ID) + 2*slices.Compare([]byte(a.ID), []byte(b.ID))
	})
	return out
}

// after lists at most n ids above from and up to the range's end; last tells
// whether there are no more.
func (h *hub) after(from int, hi uint64, n int) (ids []int, last bool) {
	for id := range h.records {
		if id > from && (hi == 0 || uint64(id) <= hi) {
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
	case n == 0:
		h.list++
		m.seen["property list"]++
	case n < 4: // an import: all at once
		m.seen["import"]++
		for _, id := range ids {
			h.change(id)
		}
	case n < 15:
		h.change(10 + m.rng.IntN(140))
	default:
		for range 1 + m.rng.IntN(3) {
			h.change(ids[m.rng.IntN(len(ids))])
		}
	}
	m.after(m.between(200, 3000), m.edit)
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
	switch m.rng.IntN(8) {
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
		m.ask(name, "sync", func() ([]Out, error) { _, outs, err := m.d.Sync(m.now, name, ""); return outs, err })
	case 5:
		m.ask(name, "resync", func() ([]Out, error) { _, outs, err := m.d.Resync(m.now, name); return outs, err })
	default:
		ids := slices.Sorted(maps.Keys(m.hubs[name].records))
		id := fmt.Sprint(ids[m.rng.IntN(len(ids))])
		m.ask(name, "sync record", func() ([]Out, error) { _, outs, err := m.d.Sync(m.now, name, id); return outs, err })
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
	m.ask(name, "start", func() ([]Out, error) { return m.d.Start(m.now, name, interval, "api") })
}

// halt stops a stream. From the commit on no page of it counts.
func (m *meeting) halt(name string) {
	open := []uint64{}
	for _, r := range m.store.runs {
		if r.Stream == name && r.State == "running" && r.Attempt != 0 {
			open = append(open, r.Attempt)
		}
	}
	stop := func() ([]Out, error) { return m.d.Stop(m.now, name, "api") }
	if m.bug == "a stop that is only announced" {
		stop = func() ([]Out, error) { return nil, nil }
	}
	outs, err := stop()
	if err != nil {
		return
	}
	m.seen["stop"]++
	m.halted[name] = true
	for _, n := range open {
		m.closed[n] = true
	}
	m.send(outs)
}
