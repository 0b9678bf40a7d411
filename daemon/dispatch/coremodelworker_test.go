package dispatch

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	cores "github.com/hubpipe/hubpipe/worker"
)

// process is a worker process around a real core. It may be killed, stopped
// for a while with what it hears kept for it, told to leave, and started a
// second time under its name.
type process struct {
	m      *meeting
	worker string
	name   string
	core   *cores.Core
	dead   bool
	paused bool
	cut    bool // from the network
	held   []func()
	drives map[uint64]*drive
	pages  []*protocol.Page // by the bytes that name them
	pumpAt time.Time
	told   bool // a heartbeat is about to leave
}

func (m *meeting) spawn(id string) {
	m.nproc++
	p := &process{m: m, worker: id, name: fmt.Sprintf("p%d", m.nproc), drives: map[uint64]*drive{}}
	p.core = cores.NewCore(cores.CoreOptions{Worker: id, Process: p.name, Portals: []string{"main", "second"},
		Capacity: 2 + m.rng.IntN(3), Lease: meetingLease, HeartbeatEvery: meetingBeat, Jitter: m.rng.Float64})
	m.procs = append(m.procs, p)
	p.beats()
}

// do runs f as the process would: not when it is dead, later when it stands
// still.
func (p *process) do(f func()) {
	switch {
	case p.dead:
	case p.paused:
		p.held = append(p.held, f)
	default:
		f()
	}
}

func (p *process) after(d time.Duration, f func()) { p.m.after(d, func() { p.do(f) }) }

func (p *process) beats() {
	p.beat()
	p.after(meetingBeat, p.beats)
}

func (p *process) beat() {
	hb := p.core.Heartbeat(p.m.now)
	if p.cut {
		return
	}
	p.m.net(meetingBeat, func() { p.m.hear(func() { p.m.heartbeat(&hb) }) })
}

// soon sends a heartbeat for a change; several changes at once make one.
func (p *process) soon() {
	if !p.told {
		p.told = true
		p.after(time.Millisecond, func() { p.told = false; p.beat() })
	}
}

// message is what the daemon says to whoever has the worker's name.
func (p *process) message(o Out) {
	if p.cut {
		return
	}
	p.do(func() {
		if o.Command != nil {
			p.take(p.core.Command(p.m.now, *o.Command))
		} else {
			p.take(p.core.Answer(p.m.now, *o.Answer))
		}
	})
}

func (p *process) take(events []cores.Event) {
	for _, e := range events {
		switch e := e.(type) {
		case cores.Start:
			a := &drive{p: p, n: e.Attempt, f: *e.Fetch, ranges: map[uint32]*driveRange{}}
			p.drives[e.Attempt] = a
			a.add(e.Fetch.Ranges)
			p.soon()
		case cores.AddRanges:
			if a := p.drives[e.Attempt]; a != nil {
				a.add(e.Ranges)
			}
			p.soon()
		case cores.Answered:
			if a := p.drives[e.Attempt]; a != nil {
				a.answered(e)
			}
		case cores.Cancel:
			delete(p.drives, e.Attempt)
			p.soon()
		case cores.Displaced:
			p.m.seen["displaced"]++
			p.dead = true
			return
		}
	}
	p.pump()
}

// send puts a page in flight under bytes that name it.
func (p *process) send(page protocol.Page) {
	encoded := binary.BigEndian.AppendUint64(nil, uint64(len(p.pages)))
	if err := p.core.Send(p.m.now, &page, encoded); err != nil {
		p.m.fail("%s: %v", p.name, err)
		return
	}
	p.pages = append(p.pages, &page)
	p.m.made[&page] = p.m.now
	p.pump()
}

// pump publishes what is due, and comes again for what will be.
func (p *process) pump() {
	due, next := p.core.Due(p.m.now)
	for _, o := range due {
		page := p.pages[binary.BigEndian.Uint64(o.Encoded)]
		if p.cut {
			continue
		}
		digest := fmt.Sprintf("%s/%x", p.name, o.Encoded)
		p.m.net(meetingLease, func() {
			p.m.hear(func() { p.m.page(Incoming{Worker: p.worker, Page: page, Digest: digest, Bytes: 100}) })
		})
	}
	if !next.IsZero() && (!p.pumpAt.After(p.m.now) || next.Before(p.pumpAt)) {
		p.pumpAt = next
		p.after(next.Sub(p.m.now), p.pump)
	}
}

// disturb does to the processes what happens to processes.
func (m *meeting) disturb() {
	if m.quiet {
		return
	}
	p := m.procs[m.rng.IntN(len(m.procs))]
	if alive := slices.Concat(m.living("w1"), m.living("w2")); len(alive) > 0 {
		p = alive[m.rng.IntN(len(alive))]
	}
	again := func() { m.after(m.between(0, 8000), func() { m.spawn(p.worker) }) }
	switch {
	case p.dead || p.paused:
	case m.chance(3, "killed"):
		p.dead = true
		again()
	case m.chance(6, "second process"):
		again()
	case m.chance(3, "stopped for a while"):
		p.paused = true
		m.after(m.between(1000, 45000), p.resume)
	case m.chance(3, "cut off"):
		p.cut = true
		m.after(m.between(1000, 45000), func() { p.cut = false })
	case m.chance(4, "left"):
		p.core.Leave()
		p.beat()
		p.dead = true
		again()
	case m.chance(2, "reconnected"):
		p.core.Reconnected(m.now)
		p.beat()
		p.pump()
	}
	m.after(m.between(2000, 14000), m.disturb)
}

// resume lets a process go on that stood still: its timers and what it was
// told meanwhile are all there at once.
func (p *process) resume() {
	p.paused = false
	held := p.held
	p.held = nil
	for _, f := range held {
		p.do(f)
	}
}

func (m *meeting) living(id string) []*process {
	var out []*process
	for _, p := range m.procs {
		if p.worker == id && !p.dead {
			out = append(out, p)
		}
	}
	return out
}

// supervise starts a worker that nobody runs any more.
func (m *meeting) supervise() {
	for _, id := range []string{"w1", "w2"} {
		if len(m.living(id)) == 0 {
			m.spawn(id)
		}
	}
	m.after(5*time.Second, m.supervise)
}
