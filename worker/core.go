package worker

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// remembered bounds how many attempts and runs that are over are told apart
// from new ones.
const remembered = 1000

// CoreOptions describes a worker process. Worker and Process are required;
// what else is zero gets the defaults of the ledger's rules.
type CoreOptions struct {
	Worker, Process, Version string
	// Portals are those whose credentials the process has.
	Portals []string
	// Capacity is how many attempts the process takes at once.
	Capacity int
	// Lease and HeartbeatEvery are the daemon's: 15 s and 3 s.
	Lease, HeartbeatEvery time.Duration
	// RepeatMin and RepeatMax bound the wait before a page is sent again: 1 s
	// and 10 s.
	RepeatMin, RepeatMax time.Duration
	// Jitter gives numbers in [0, 1); nil means 0.5 each time.
	Jitter func() float64
}

// Event is what the owner of a Core has to do: Start, AddRanges, Cancel,
// Answered, Journals or Displaced.
type Event interface{ event() }

// Start begins an attempt.
type Start struct {
	Attempt uint64
	Fetch   *protocol.Fetch
}

// AddRanges gives a running attempt ranges that it did not have.
type AddRanges struct {
	Attempt uint64
	Ranges  []protocol.Range
}

// Cancel ends a running attempt; nothing more of it is sent.
type Cancel struct {
	Attempt uint64
	Reason  string
}

// Answered resolves the page that the range had in flight: Answer is
// committed, fenced or refused. Fenced and refused are followed by Cancel;
// committed with RunEnded is the attempt's last event.
type Answered struct {
	Attempt uint64
	Range   uint32
	Answer  protocol.Answer
}

// Displaced says that another process has taken the worker's name: this one
// has to end.
type Displaced struct{ Reason string }

// Journals says where the process's journals are to be read on from.
type Journals struct{ Places []protocol.JournalPlace }

func (Start) event()     {}
func (Journals) event()  {}
func (AddRanges) event() {}
func (Cancel) event()    {}
func (Answered) event()  {}
func (Displaced) event() {}

// Outgoing is a page to publish now.
type Outgoing struct {
	Attempt uint64
	Range   uint32
	Seq     uint64
	Encoded []byte
	Name    []byte // travels beside it
}

// Core holds what a worker process knows: its attempts, the page in flight of
// each range, what it gave up, and when it last heard the daemon. It is not
// safe for concurrent use.
type Core struct {
	o         CoreOptions
	store     string
	epoch     uint64
	left      map[string]time.Time // stores that another took the place of
	heard     time.Time            // when the newest heartbeat that was answered was sent
	beat      uint64
	named     bool                      // the daemon names heartbeats
	beats     memory[uint64, time.Time] // when the last ones were sent
	displaced bool
	leaving   bool

	attempts map[uint64]*coreAttempt
	failed   map[uint64]protocol.Problem
	declined map[uint64]bool
	over     memory[attemptKey, bool]
	newest   memory[runKey, uint64]
}

// Numbers are given by a store, so another store's are other attempts.
type (
	attemptKey struct {
		store   string
		attempt uint64
	}
	runKey struct{ store, run string }
)

type coreAttempt struct {
	number   uint64
	run      string
	began    int64
	account  *protocol.Account
	progress uint64
	requests uint64
	wait     *protocol.Wait
	ranges   map[uint32]*coreRange
}

type coreRange struct {
	seq    uint64
	cursor string
	ended  bool
	page   *coreFlight
}

// coreFlight is the page that waits for its answer.
type coreFlight struct {
	encoded []byte
	name    []byte
	sent    int // how often
	due     time.Time
}

// NewCore returns the state of a process that has heard of nobody yet.
func NewCore(o CoreOptions) *Core {
	o.Lease = cmp.Or(o.Lease, 15*time.Second)
	o.HeartbeatEvery = cmp.Or(o.HeartbeatEvery, 3*time.Second)
	o.RepeatMin = cmp.Or(o.RepeatMin, time.Second)
	o.RepeatMax = max(o.RepeatMin, cmp.Or(o.RepeatMax, 10*time.Second))
	o.Capacity = max(1, o.Capacity)
	if o.Jitter == nil {
		o.Jitter = func() float64 { return 0.5 }
	}
	o.Portals = slices.Sorted(slices.Values(o.Portals))
	return &Core{o: o, left: map[string]time.Time{}, attempts: map[uint64]*coreAttempt{},
		failed: map[uint64]protocol.Problem{}, declined: map[uint64]bool{}}
}

// MayFetch tells whether HubSpot may be asked: an answer of the daemon was
// heard within the last half of a lease. Beyond it another process may soon
// hold the portal.
func (c *Core) MayFetch(now time.Time) bool {
	return !c.leaving && c.up(now)
}

// SilentAt is when MayFetch ends unless the daemon is heard before.
func (c *Core) SilentAt() time.Time { return c.heard.Add(c.o.Lease / 2) }

// given counts what the next heartbeat lists as failed or declined.
func (c *Core) given() int { return len(c.failed) + len(c.declined) }

func (c *Core) up(now time.Time) bool {
	return !c.displaced && !c.heard.IsZero() && now.Sub(c.heard) < c.o.Lease/2
}

// Heartbeat is the process's state as the daemon has to know it.
func (c *Core) Heartbeat(now time.Time) protocol.Heartbeat {
	c.beat++
	c.beats.put(c.beat, now)
	hb := protocol.Heartbeat{Beat: c.beat, Worker: c.o.Worker, Process: c.o.Process, Version: c.o.Version,
		Time: now.UTC().Format(time.RFC3339Nano), Store: c.store,
		Portals: c.o.Portals, Capacity: c.o.Capacity, Leaving: c.leaving}
	if c.leaving {
		return hb
	}
	for _, n := range slices.Sorted(maps.Keys(c.attempts)) {
		a := c.attempts[n]
		r := protocol.AttemptReport{Attempt: n, Began: a.began, Account: a.account,
			Progress: a.progress, Requests: a.requests, Wait: a.wait}
		for _, id := range slices.Sorted(maps.Keys(a.ranges)) {
			if g := a.ranges[id]; !g.ended {
				r.Ranges = append(r.Ranges, protocol.RangeReport{ID: id, Seq: g.seq})
			}
		}
		hb.Attempts = append(hb.Attempts, r)
	}
	hb.Declined = slices.Sorted(maps.Keys(c.declined))
	for _, n := range slices.Sorted(maps.Keys(c.failed)) {
		hb.Failed = append(hb.Failed, protocol.AttemptFailure{Attempt: n, Problem: c.failed[n]})
	}
	return hb
}

// Leave makes every later heartbeat say that the process holds nothing any
// more; no attempt is started and nothing is sent from then on.
func (c *Core) Leave() {
	c.leaving = true
	for n := range c.attempts {
		c.drop(n)
	}
}

// Progress notes that an attempt got on: a reply of HubSpot came.
func (c *Core) Progress(attempt uint64) {
	if a := c.attempts[attempt]; a != nil {
		a.progress++
	}
}

// Requests notes how many requests an attempt has made in all.
func (c *Core) Requests(attempt, total uint64) {
	if a := c.attempts[attempt]; a != nil {
		a.requests = max(a.requests, total)
	}
}

// Began notes HubSpot's time, in ms, of a run's first reply; once it is known
// nothing replaces it. It returns the one that counts.
func (c *Core) Began(attempt uint64, ms int64) int64 {
	a := c.attempts[attempt]
	if a == nil {
		return ms
	}
	if a.began == 0 {
		a.began = ms
	}
	return a.began
}

// Account notes whose data the attempt reads.
func (c *Core) Account(attempt uint64, account protocol.Account) {
	if a := c.attempts[attempt]; a != nil {
		a.account = &account
	}
}

// Wait notes why an attempt makes no progress, nil when it goes on.
func (c *Core) Wait(attempt uint64, w *protocol.Wait) {
	if a := c.attempts[attempt]; a != nil {
		a.wait = w
	}
}

// Failed gives an attempt up. It is listed with the problem until a cancel
// confirms it, and never started again.
func (c *Core) Failed(attempt uint64, p protocol.Problem) {
	if c.attempts[attempt] == nil {
		return
	}
	c.drop(attempt)
	c.failed[attempt] = p
}

// Declined gives an attempt back without a fault of the data; it is listed
// until a cancel confirms it.
func (c *Core) Declined(attempt uint64) {
	if c.attempts[attempt] == nil {
		return
	}
	c.drop(attempt)
	c.declined[attempt] = true
}

// Finished ends an attempt whose run has ended. One that has been ended already,
// with its store for one, changes nothing.
func (c *Core) Finished(attempt uint64) {
	if c.attempts[attempt] != nil {
		c.drop(attempt)
	}
}

// drop forgets an attempt but for its number, under which nothing starts again.
func (c *Core) drop(attempt uint64) {
	delete(c.attempts, attempt)
	c.over.put(attemptKey{c.store, attempt}, true)
}

// memory is a map that forgets the oldest of what it was given.
type memory[K comparable, V any] struct {
	m     map[K]V
	order []K
}

func (m *memory[K, V]) put(k K, v V) {
	if m.m == nil {
		m.m = map[K]V{}
	}
	if _, ok := m.m[k]; !ok {
		m.order = append(m.order, k)
		if len(m.order) > remembered {
			delete(m.m, m.order[0])
			m.order = m.order[1:]
		}
	}
	m.m[k] = v
}

func (m *memory[K, V]) get(k K) V { return m.m[k] }
