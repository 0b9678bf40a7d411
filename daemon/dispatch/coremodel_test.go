package dispatch

import (
	"container/heap"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// The meeting lets the real dispatcher and real worker cores meet: what the
// model's own worker takes for granted of a worker is here what the code does.
// Virtual time, one seed a schedule, a network and processes as bad as the
// ledger's rules allow for, and people who start and stop things meanwhile.

// Times of the ledger's rules that the network keeps to: a message lives no
// longer than its expiry.
const (
	meetingLease    = 15 * time.Second
	meetingBeat     = 3 * time.Second
	meetingFaults   = 100 * time.Second
	meetingRecovery = 6 * time.Minute
)

type meeting struct {
	rng     *rand.Rand
	now     time.Time
	jump    time.Duration // of the daemon's clock, against all others
	n       int
	queue   events
	store   *memStore
	d       *Dispatcher
	config  []StreamConfig
	hubs    map[string]*hub      // by stream
	calls   map[string]call      // the newest attempt that asked, by portal
	overlap map[string]time.Time // when a process first asked that no longer holds the portal
	procs   []*process
	nproc   int
	bug     string
	quiet   bool
	wide    bool
	down    bool
	frozen  bool
	backlog []func()
	intake  []Incoming
	drained bool // a drain of the intake is under way

	faults  int
	seen    map[string]int // what happened, so that nobody believes in what did not
	broken  string
	once    map[string]string // digests of committed pages
	closed  map[uint64]bool   // attempts that a stop has closed
	halted  map[string]bool   // streams that were stopped and not asked for since
	cursors map[string]int64
	proven  map[string]int64             // complete until, by stream
	hinted  map[string]time.Time         // what was hinted at and not read since
	made    map[*protocol.Page]time.Time // when what is in it was read
	byHint  map[*protocol.Page]bool
}

// call is who asked HubSpot last under the highest attempt of a portal.
type call struct {
	attempt uint64
	process string
}

func newMeeting(seed uint64, bug string) *meeting {
	m := &meeting{rng: rand.New(rand.NewPCG(seed, 2)), now: epochStart, store: newMemStore(), config: slices.Concat(meetingConfig(), rowConfig()),
		hubs: map[string]*hub{}, calls: map[string]call{}, overlap: map[string]time.Time{}, bug: bug, wide: seed%400 == 7, seen: map[string]int{},
		once: map[string]string{}, closed: map[uint64]bool{}, halted: map[string]bool{},
		cursors: map[string]int64{}, proven: map[string]int64{}, hinted: map[string]time.Time{}, made: map[*protocol.Page]time.Time{}, byHint: map[*protocol.Page]bool{}}
	skew := map[string]time.Duration{}
	for _, p := range []string{"main", "second"} {
		skew[p] = time.Duration(m.rng.IntN(7200)-3600) * time.Second
	}
	for i, c := range m.config {
		if c.Properties == nil {
			m.hubs[c.Name] = newRowHub(m, skew[c.Portal])
			continue
		}
		records := 6 + m.rng.IntN(20)
		if m.wide && i == 0 {
			records = 9000
		}
		m.hubs[c.Name] = newHub(m, skew[c.Portal], records)
	}
	m.config[2].History = []string{"*"}
	m.store.failCommit = func() bool { return m.chance(40, "disk error") }
	m.store.committed = m.audit
	return m
}

func (m *meeting) after(d time.Duration, f func()) {
	m.n++
	heap.Push(&m.queue, event{m.now.Add(d), m.n, f})
}

// between is a random time from lo to hi, in ms.
func (m *meeting) between(lo, hi int) time.Duration {
	return time.Duration(lo+m.rng.IntN(hi-lo+1)) * time.Millisecond
}

// chance is one in n that a fault happens, while faults do.
func (m *meeting) chance(n int, what string) bool {
	if m.quiet || m.rng.IntN(n) > 0 {
		return false
	}
	m.faults++
	m.seen[what]++
	return true
}

func (m *meeting) fail(format string, args ...any) {
	if m.broken == "" {
		m.broken = fmt.Sprintf("%s: %s", m.now.Sub(epochStart), fmt.Sprintf(format, args...))
	}
}

// net carries a message: lost, repeated, late up to its expiry, and so out of
// order.
func (m *meeting) net(expiry time.Duration, f func()) {
	copies := 1
	switch {
	case m.chance(9, "loss"):
		copies = 0
	case m.chance(9, "repeat"):
		copies = 2
	}
	for range copies {
		delay := m.between(1, 250)
		if m.chance(12, "late") {
			delay = m.between(250, int(expiry.Milliseconds()))
		}
		m.after(delay, f)
	}
}

// hear gives the daemon a message: not while it is down, later where it stands
// still.
func (m *meeting) hear(f func()) {
	switch {
	case m.down:
	case m.frozen:
		m.backlog = append(m.backlog, f)
	default:
		f()
	}
}

func (m *meeting) options() Options {
	return Options{Lease: meetingLease, FailedRetry: time.Second, BlockedRetry: 20 * time.Second,
		NoProgress: 40 * time.Second, ParseInterval: func(string) (Schedule, string, error) { return everySchedule(15 * time.Second), "15s", nil }}
}

// clock is the daemon's. It is set while the daemon is down, forward and back:
// while it runs its own counting of time goes on evenly.
func (m *meeting) clock() time.Time { return m.now.Add(m.jump) }

func (m *meeting) startDaemon() {
	if m.chance(3, "clock set") {
		m.jump = m.between(-6*3600_000, 3*3600_000)
	}
	m.down, m.frozen, m.backlog, m.intake = false, false, nil, nil
	m.d = New(m.clock(), m.store, m.store.load(), m.config, m.options())
	m.insist(func() error { _, err := m.d.Reload(m.clock(), m.config); return err })
}

// insist is for what a person would try again.
func (m *meeting) insist(f func() error) {
	for range 100 {
		err := f()
		if err == nil {
			return
		}
		if !errors.Is(err, errDisk) {
			m.fail("not the disk: %v", err)
			return
		}
	}
	m.fail("the disk never works")
}

// send carries what the dispatcher says. A seen is worth an interval, all else
// a lease.
func (m *meeting) send(outs []Out) {
	for _, o := range outs {
		expiry := meetingLease
		if o.Answer != nil && o.Answer.Type == protocol.Seen {
			expiry = meetingBeat
		}
		m.net(expiry, func() {
			for _, p := range m.procs {
				if p.worker == o.Worker {
					p.message(o)
				}
			}
		})
	}
}

// step runs the dispatcher's tick, as the loop does after everything.
func (m *meeting) step() {
	if m.down || m.frozen {
		return
	}
	if outs, err := m.d.Tick(m.clock()); err == nil {
		m.send(outs)
	}
}

func (m *meeting) tick() {
	m.step()
	if !m.down && !m.frozen {
		switch {
		case m.chance(120, "daemon crash"):
			m.down = true
			m.after(m.between(0, 22000), m.startDaemon)
		case m.chance(150, "daemon stood still"):
			m.frozen = true
			d := m.d
			m.after(m.between(500, 40000), func() { m.thaw(d) })
		}
	}
	m.after(500*time.Millisecond, m.tick)
}

// thaw lets a daemon that stood still go on: with its clock or with what
// waits, whichever comes first.
func (m *meeting) thaw(d *Dispatcher) {
	if m.down || m.d != d {
		return
	}
	m.frozen = false
	waiting := m.backlog
	m.backlog = nil
	if m.rng.IntN(2) == 0 {
		m.step()
	}
	for _, f := range waiting {
		m.hear(f)
	}
	m.step()
}

func (m *meeting) heartbeat(hb *protocol.Heartbeat) {
	m.d.Heard(hb.Worker, hb.Process, m.clock())
	if outs, err := m.d.Heartbeat(m.clock(), hb); err == nil {
		m.send(outs)
	}
	m.step()
}

// page takes a page in; those that come within a moment are committed
// together.
func (m *meeting) page(in Incoming) {
	m.d.Heard(in.Worker, in.Page.Process, m.clock())
	if m.chance(30, "busy") {
		p := in.Page
		m.send([]Out{{Worker: in.Worker, Answer: &protocol.Answer{Type: protocol.Busy, Store: p.Store, Epoch: p.Epoch,
			Process: p.Process, Attempt: p.Attempt, Range: p.Range, Seq: p.Seq}}})
		return
	}
	m.intake = append(m.intake, in)
	if !m.drained {
		m.drained = true
		m.after(m.between(0, 60), func() { m.drained = false; m.hear(m.drain) })
	}
}

func (m *meeting) drain() {
	batch := m.intake
	m.intake = nil
	for len(batch) > 0 {
		pages := m.runPages()
		may := make([]bool, len(batch))
		streams := map[uint64]string{}
		for i, in := range batch {
			id, ok := m.store.openAttempt(in.Page.Attempt)
			if ok {
				streams[in.Page.Attempt] = m.store.runs[id].Stream
				if g := m.store.ranges[id][in.Page.Range]; g != nil && g.Hinted {
					m.byHint[in.Page] = true
				}
			}
			may[i] = ok && m.store.runs[id].Process == in.Page.Process && m.store.runs[id].Worker == in.Worker
		}
		outs, taken, err := m.d.Pages(m.clock(), batch)
		if err != nil {
			return // nobody is answered; the workers repeat
		}
		m.judge(batch[:taken], may, streams, outs, m.runPages()-pages)
		m.send(outs)
		batch = batch[taken:]
	}
	m.step()
}

func (m *meeting) runPages() (n uint64) {
	for _, r := range m.store.runs {
		if r.NextRange > 0 { // that of a guest counts with its host
			n += r.Pages
		}
	}
	return n
}

// judge holds what was committed against what may be: pages of the open
// attempt's holder, each once, and never one of an attempt that was stopped.
func (m *meeting) judge(batch []Incoming, may []bool, streams map[uint64]string, outs []Out, applied uint64) {
	committed := map[string]bool{}
	for _, o := range outs {
		if a := o.Answer; a != nil && a.Type == protocol.Committed {
			committed[fmt.Sprintf("%s/%d/%d/%d", a.Process, a.Attempt, a.Range, a.Seq)] = true
		}
	}
	fresh := uint64(0)
	for i, in := range batch {
		p := in.Page
		key := fmt.Sprintf("%s/%d/%d/%d", p.Process, p.Attempt, p.Range, p.Seq)
		if !committed[key] {
			continue
		}
		switch digest, again := m.once[key]; {
		case again && digest != in.Digest:
			m.fail("page %s was committed with two contents", key)
		case again:
			continue
		case !may[i]:
			m.fail("page %s was committed, and its attempt is not open or not its own", key)
		case m.closed[p.Attempt]:
			m.fail("page %s was committed after the stop", key)
		}
		m.once[key] = in.Digest
		fresh++
		m.stored(p, streams[p.Attempt])
		m.readByHint(p, streams[p.Attempt])
	}
	if fresh != applied {
		m.fail("%d pages were applied and %d answered for the first time", applied, fresh)
	}
}

// stored checks that what is answered is in the store.
func (m *meeting) stored(p *protocol.Page, name string) {
	for i := range p.Records {
		if _, ok := m.store.records[recordKey(name, p.Records[i].ID)]; !ok {
			m.fail("record %s of %s is answered and not stored", p.Records[i].ID, name)
		}
	}
}

// audit looks at the ledger after each commit.
func (m *meeting) audit() {
	type kind struct {
		stream string
		walk   bool
	}
	running := map[kind]string{}
	holders := map[string]string{}
	for _, r := range m.store.runs {
		if r.State != stream.Running {
			continue
		}
		k := kind{r.Stream, r.Kind.Walk()}
		if other, two := running[k]; two {
			m.fail("%s has runs %s and %s of one kind", r.Stream, other, r.ID)
		}
		running[k] = r.ID
		if m.halted[r.Stream] {
			m.fail("%s runs %s after it was stopped", r.Stream, r.ID)
		}
		if r.Attempt == 0 {
			continue
		}
		if other := holders[r.Portal]; other != "" && other != r.Process {
			m.fail("portal %s is held by %s and %s", r.Portal, other, r.Process)
		}
		holders[r.Portal] = r.Process
	}
	for name, s := range m.store.streams {
		if why := windowsProblem(s); why != "" {
			m.fail("%s: %s", name, why)
		}
		m.auditRows(name, m.hubs[name])
		m.auditHints(name, s)
		if was, now := m.proven[name], m.hubs[name].ms(); was != 0 && m.d.config[name].settles() && s.CompleteUntil() > was && now-s.CompleteUntil() < m.lastPass() {
			m.fail("%s is complete until %d ms ago: the last pass is made after %d", name, now-s.CompleteUntil(), m.lastPass())
		}
		if s.Cursor < m.cursors[name] || s.CompleteUntil() < m.proven[name] {
			m.fail("%s went back: cursor %d of %d, complete until %d of %d", name, s.Cursor, m.cursors[name], s.CompleteUntil(), m.proven[name])
		}
		m.cursors[name], m.proven[name] = s.Cursor, s.CompleteUntil()
	}
}

// lastPass is how old a window is at its last settle pass, in ms.
func (m *meeting) lastPass() int64 {
	settle := m.config[0].Settle
	return settle[len(settle)-1].Milliseconds()
}

// windowsProblem says what is wrong with the windows that are still to settle.
func windowsProblem(s *stream.Stream) string {
	for i, w := range s.Windows {
		switch {
		case w.Lo >= w.Hi:
			return fmt.Sprintf("window %d to %d holds nothing", w.Lo, w.Hi)
		case i > 0 && s.Windows[i-1].Hi > w.Lo:
			return fmt.Sprintf("window %d overlaps the one before or is out of order: %v", i, s.Windows)
		case w.Hi > s.Cursor:
			return fmt.Sprintf("window %d to %d lies beyond the cursor %d", w.Lo, w.Hi, s.Cursor)
		}
	}
	return ""
}

func (m *meeting) play(until time.Time) {
	for m.broken == "" && len(m.queue) > 0 && !m.queue[0].at.After(until) {
		e := heap.Pop(&m.queue).(event)
		m.now = e.at
		e.f()
	}
	m.now = until
}

// run plays one schedule and says what went wrong, "" when nothing did.
func (m *meeting) run() string {
	m.startDaemon()
	m.cutBackfill("contacts")
	for _, id := range []string{"w1", "w2"} {
		m.spawn(id)
	}
	m.tick()
	m.after(time.Second, m.edit)
	m.after(2*time.Second, m.disturb)
	m.after(4*time.Second, m.command)
	m.after(5*time.Second, m.supervise)
	m.play(epochStart.Add(meetingFaults))
	m.calm()
	// Twice a minute, whether all has settled already.
	why := "the schedule was broken off"
	for end := m.now.Add(meetingRecovery); m.broken == "" && m.now.Before(end); {
		m.play(m.now.Add(30 * time.Second))
		if why = m.check(); why == "" {
			break
		}
	}
	if m.broken != "" {
		return m.broken
	}
	return why
}

// calm ends the faults, and starts what somebody stopped.
func (m *meeting) calm() {
	m.quiet = true
	if m.down || m.frozen {
		m.startDaemon()
	}
	for _, c := range m.config {
		m.begin(c.Name)
	}
}

// cutBackfill divides the first backfill in two, as a probe of the ids would.
func (m *meeting) cutBackfill(name string) {
	m.insist(func() error { _, err := m.d.Tick(m.clock()); return err })
	run := m.d.runOf(name, true)
	if run == nil {
		m.fail("no backfill was started")
		return
	}
	cut := 10 + 3*uint64(len(m.hubs[name].records)/2)
	for _, ranges := range []map[uint32]*stream.Range{m.d.ranges[run.ID], m.store.ranges[run.ID]} {
		ranges[0].IDHi = cut
		ranges[2] = &stream.Range{ID: 2, Kind: stream.ListRange, IDLo: cut, Cursor: fmt.Sprint(cut)}
	}
	m.d.runs[run.ID].NextRange, m.store.runs[run.ID].NextRange = 3, 3
}

// compare holds one record against HubSpot. What ended before it was ever read
// need not be there.
func (m *meeting) compare(name string, id int, h *hub) string {
	stored, ok := m.store.records[recordKey(name, fmt.Sprint(id))]
	r := h.records[id]
	ended := r.state == stream.Purged || r.state == stream.Merged
	switch {
	case !ok && (ended || r.state == stream.Merged):
		return ""
	case !ok:
		return fmt.Sprintf("record %d of %s is missing", id, name)
	case stored.State != r.state:
		return fmt.Sprintf("record %d of %s is %s, in HubSpot %s", id, name, stored.State, r.state)
	case r.state == stream.Merged && stored.MergedInto != fmt.Sprint(h.survivor(id)):
		return fmt.Sprintf("record %d of %s went into %s, in HubSpot into %d", id, name, stored.MergedInto, h.survivor(id))
	case ended:
		return ""
	case stored.Version != r.version:
		return fmt.Sprintf("record %d of %s has version %d, HubSpot %d", id, name, stored.Version, r.version)
	case r.state == stream.Live && len(m.d.linkedWith(name)) > 0 && stored.AssociationsPart.Digest != [16]byte{1, r.link}:
		return fmt.Sprintf("record %d of %s has old associations", id, name)
	case r.state == stream.Live && stored.Digest[3] != r.calc:
		return fmt.Sprintf("record %d of %s has an old calculated value", id, name)
	case r.state == stream.Live && m.d.historyOf(name) != nil && stored.HistoryPart.Digest != historyIn(r.version):
		return fmt.Sprintf("record %d of %s has the history of another version", id, name)
	}
	return ""
}

// check holds the store against HubSpot.
func (m *meeting) check() string {
	for _, c := range m.config {
		h, s := m.hubs[c.Name], m.d.streams[c.Name]
		for _, id := range slices.Sorted(maps.Keys(h.records)) {
			if why := m.compare(c.Name, id, h); why != "" {
				return why
			}
		}
		for _, id := range slices.Sorted(maps.Keys(h.rows)) {
			if why := m.compareRow(c.Name, id, h.rows[id]); why != "" {
				return why
			}
		}
		switch now := h.ms(); {
		case !s.Backfilled:
			return c.Name + ": the backfill never ended"
		case now-s.Cursor > 60_000:
			return fmt.Sprintf("%s: the cursor stands %d ms back", c.Name, now-s.Cursor)
		case now-s.CompleteUntil() > 4*60_000:
			return fmt.Sprintf("%s: complete only until %d ms ago", c.Name, now-s.CompleteUntil())
		case s.Error != nil:
			return fmt.Sprintf("%s: %v", c.Name, s.Error)
		}
	}
	for key := range m.hinted {
		return key + " was hinted at and never read"
	}
	for _, id := range []string{"w1", "w2"} {
		if n := len(m.living(id)); n != 1 {
			return fmt.Sprintf("%d processes live under %s", n, id)
		}
	}
	return ""
}
