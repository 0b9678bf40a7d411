package dispatch

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// The model runs the real dispatcher against workers and a network that lose,
// repeat, reorder and delay, in virtual time, with crashes of every part. It
// is told a bug to have; each must be found.

type event struct {
	at time.Time
	n  int
	f  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if e[i].at.Equal(e[j].at) {
		return e[i].n < e[j].n
	}
	return e[i].at.Before(e[j].at)
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

const modelStream = "contacts"

type world struct {
	rng    *rand.Rand
	now    time.Time
	n      int
	queue  events
	store  *memStore
	d      *Dispatcher
	other  *Dispatcher // the second writer, where the bug is to have one
	down   bool
	quiet  bool // faults have ended
	hub    map[int]int64
	procs  []*proc
	nproc  int
	bug    string
	faults int
	broken string
	once   map[string]bool // the pages that were committed

	// Of the wide model.
	wide      bool
	dest      *destination
	past      []rollback // what the store had before
	rollbacks int
	seen      transitions
	unheard   map[uint64]time.Time // attempts that their holder does not know
	lives     int                  // of daemons
}

var epochStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type everySchedule time.Duration

func (e everySchedule) Next(last, now time.Time) time.Time {
	if last.IsZero() || last.After(now) {
		return now
	}
	return last.Add(time.Duration(e))
}

func modelConfig() []StreamConfig {
	return []StreamConfig{{Name: modelStream, Portal: "main", Object: "contacts", Interval: "20s",
		Schedule: everySchedule(20 * time.Second), Autostart: true, Properties: []string{"*"},
		Tail: 4 * time.Second, Settle: []time.Duration{30 * time.Second, 60 * time.Second}, MaxDeletes: 0.02}}
}

func newWorld(seed int64, bug string) *world {
	w := &world{rng: rand.New(rand.NewPCG(uint64(seed), 1)), now: epochStart, store: newMemStore(), hub: map[int]int64{}, bug: bug, once: map[string]bool{}}
	for i := range 40 {
		w.hub[10+i*3] = w.ms() - int64(w.rng.IntN(100000)) - 10000
	}
	switch bug {
	case "noted before the commit":
		w.store.loseRecords = func() bool { return !w.quiet && w.rng.IntN(6) == 0 }
	default:
		w.store.failCommit = func() bool { return !w.quiet && w.rng.IntN(25) == 0 }
	}
	return w
}

func (w *world) ms() int64 { return w.now.UnixMilli() }

func (w *world) after(d time.Duration, f func()) {
	w.n++
	heap.Push(&w.queue, event{w.now.Add(d), w.n, f})
}

func (w *world) chance(n int) bool { return !w.quiet && w.rng.IntN(n) == 0 }

// net carries a message: lost, repeated, late, and so out of order.
func (w *world) net(f func()) {
	copies := 1
	switch {
	case w.chance(8):
		copies, w.faults = 0, w.faults+1
	case w.chance(6):
		copies, w.faults = 2, w.faults+1
	}
	for range copies {
		delay := time.Duration(w.rng.IntN(300)) * time.Millisecond
		if w.chance(10) {
			delay = time.Duration(w.rng.IntN(25000)) * time.Millisecond
			w.faults++
		}
		w.after(delay, f)
	}
}

func (w *world) startDaemon() {
	w.down = false
	if w.wide {
		if w.chance(3) {
			w.loseTail()
		}
		w.lives++
		life := w.lives
		w.after(0, func() { w.dest.follow(life) })
	}
	w.d = New(w.now, w.store, w.store.load(), modelConfig(), Options{FailedRetry: time.Second})
	w.retry(func() error { _, err := w.d.Reload(w.now, modelConfig()); return err })
	if w.bug == "a second writer" {
		w.other = New(w.now, w.store, w.store.load(), modelConfig(), Options{FailedRetry: time.Second})
	}
}

func (w *world) retry(f func() error) {
	for range 50 {
		if f() == nil {
			return
		}
	}
	w.broken = "the store never works"
}

func (w *world) send(outs []Out) {
	for _, o := range outs {
		w.net(func() {
			for _, p := range w.procs {
				if p.worker != o.Worker || p.dead {
					continue
				}
				if o.Command != nil {
					p.command(*o.Command)
				} else {
					p.answer(*o.Answer)
				}
			}
		})
	}
}

func (w *world) tick() {
	if !w.down {
		outs, err := w.d.Tick(w.now)
		if err == nil {
			w.send(outs)
		}
		if w.chance(60) {
			w.faults++
			w.down = true
			w.after(time.Duration(w.rng.IntN(20000))*time.Millisecond, w.startDaemon)
		}
	}
	w.after(500*time.Millisecond, w.tick)
}

// page hands a page to the daemon, or to what the bug makes of it.
func (w *world) page(worker string, p protocol.Page, digest string) {
	if w.down {
		return
	}
	d := w.d
	in := Incoming{Worker: worker, Page: &p, Digest: digest}
	asSent, before := p, w.pagesApplied()
	open := false
	if id, ok := w.store.openAttempt(p.Attempt); ok {
		open = w.store.runs[id].Process == p.Process
	}
	defer func() {
		if w.pagesApplied() > before {
			w.applied(asSent, open)
		}
	}()
	run := d.runOf(modelStream, true)
	if id, ok := d.attempts[p.Attempt]; ok {
		run = d.runs[id]
	}
	switch w.bug {
	case "no fencing":
		if run != nil && run.Attempt != 0 && run.Attempt != p.Attempt {
			p.Attempt, p.Process, in.Worker = run.Attempt, run.Process, run.Worker
			w.fitIn(run, &p)
		}
	case "no repeat detection":
		if run != nil && p.Attempt == run.Attempt {
			w.fitIn(run, &p)
		}
	case "attempts by worker id":
		if run != nil && run.Worker == worker && run.Attempt != p.Attempt {
			p.Attempt, p.Process = run.Attempt, run.Process
			w.fitIn(run, &p)
		}
	case "one cursor for all ranges":
		if run != nil && p.Attempt == run.Attempt && p.Kind == protocol.RecordsPage && run.Kind == stream.Backfill {
			for _, g := range sortedRanges(w.store.ranges[run.ID]) {
				if g.ID != p.Range && !g.Ended && w.rng.IntN(2) == 0 {
					g.Cursor = p.To
					d.ranges[run.ID][g.ID].Cursor = p.To
				}
			}
		}
	case "done as a message of its own":
		if p.Last && run != nil && p.Attempt == run.Attempt {
			done := p
			done.Records, done.Listing = nil, nil
			w.net(func() {
				if cur := w.d.runs[run.ID]; cur != nil && cur.Attempt != 0 && !w.down {
					done.Attempt, done.Process = cur.Attempt, cur.Process
					w.fitIn(cur, &done)
					done.To = done.From
					if outs, _, err := w.d.Pages(w.now, []Incoming{{Worker: cur.Worker, Page: &done, Digest: "done"}}); err == nil {
						w.send(outs)
					}
				}
			})
			p.Last = false
		}
	case "acknowledged before the commit":
		if w.chance(6) && run != nil && p.Attempt == run.Attempt {
			if g := d.ranges[run.ID][p.Range]; g != nil && g.Seq == p.Seq {
				w.send([]Out{{Worker: worker, Answer: &protocol.Answer{Type: protocol.Committed, Store: "store",
					Epoch: 1, Process: p.Process, Attempt: p.Attempt, Range: p.Range, Seq: p.Seq, Cursor: p.To}}})
				w.faults++
				g.Seq, g.Cursor, g.Digest = p.Seq+1, p.To, digest
				g.Ended = p.Last
				return
			}
		}
	case "a second writer":
		if w.other != nil && w.chance(3) {
			d = w.other
		}
	}
	after := w.spoil(d, &p, &in)
	outs, taken, err := d.Pages(w.now, []Incoming{in})
	if err == nil && taken == 1 {
		after()
		w.send(outs)
	}
}

// pagesApplied counts the pages that the store holds the effect of.
func (w *world) pagesApplied() (n uint64) {
	for _, r := range w.store.runs {
		n += r.Pages
	}
	return n
}

// applied holds a committed page against what may be committed at all: pages
// of the attempt that is open and of its holder, each once.
func (w *world) applied(p protocol.Page, open bool) {
	key := fmt.Sprintf("%d/%d/%d/%d", p.Epoch, p.Attempt, p.Range, p.Seq)
	switch {
	case !open:
		w.broken = "a page of a closed attempt or of another process was committed: " + key
	case w.once[key]:
		w.broken = "a page was committed twice: " + key
	}
	w.once[key] = true
}

// fitIn makes a page pass for the next one of its range.
func (w *world) fitIn(run *stream.Run, p *protocol.Page) {
	if g := w.d.ranges[run.ID][p.Range]; g != nil {
		if p.To == p.From {
			p.To = g.Cursor
		}
		p.Seq, p.From = g.Seq, g.Cursor
	}
}

// run plays one schedule and says what went wrong, "" when nothing did.
func (w *world) run() string {
	w.startDaemon()
	// Two ranges, as a probed backfill has them.
	w.splitBackfill()
	for i := range 2 {
		w.spawn(fmt.Sprintf("w%d", i+1))
	}
	w.tick()
	w.after(time.Second, w.edit)
	w.after(5*time.Second, w.kill)
	w.after(5*time.Second, w.supervise)
	w.play(epochStart.Add(4 * time.Minute))
	w.quiet = true
	if w.down {
		w.startDaemon()
	}
	w.play(epochStart.Add(12 * time.Minute))
	if w.broken != "" {
		return w.broken
	}
	return w.check()
}

func (w *world) splitBackfill() {
	w.retry(func() error {
		outs, err := w.d.Tick(w.now)
		w.send(outs)
		return err
	})
	run := w.d.runOf(modelStream, true)
	if run == nil {
		w.broken = "no backfill was started"
		return
	}
	for _, m := range []map[uint32]*stream.Range{w.d.ranges[run.ID], w.store.ranges[run.ID]} {
		m[0].IDHi = 70
		m[1] = &stream.Range{ID: 1, Kind: stream.ListRange, IDLo: 70, Cursor: "70"}
	}
	w.d.runs[run.ID].NextRange, w.store.runs[run.ID].NextRange = 2, 2
}

func (w *world) play(until time.Time) {
	for w.broken == "" && len(w.queue) > 0 && !w.queue[0].at.After(until) {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.f()
	}
	w.now = until
}

// edit changes records and makes new ones, while everything runs.
func (w *world) edit() {
	if w.quiet {
		return
	}
	for range 1 + w.rng.IntN(3) {
		if w.rng.IntN(4) == 0 {
			w.hub[10+w.rng.IntN(140)] = w.ms()
		} else {
			w.hub[10+3*w.rng.IntN(40)] = w.ms()
		}
	}
	w.after(time.Duration(1000+w.rng.IntN(6000))*time.Millisecond, w.edit)
}

// kill ends a worker's process at once, or starts a second one under its name.
func (w *world) kill() {
	if w.quiet {
		return
	}
	w.faults++
	i := w.rng.IntN(len(w.procs))
	p := w.procs[i]
	if !p.dead {
		if w.rng.IntN(3) > 0 {
			p.dead = true
		}
		w.after(time.Duration(w.rng.IntN(8000))*time.Millisecond, func() { w.spawn(p.worker) })
	}
	w.after(time.Duration(3000+w.rng.IntN(20000))*time.Millisecond, w.kill)
}

// supervise starts a worker again that nobody runs: a process that was told it
// is displaced ends, even where the one that displaced it is long dead and
// only its last heartbeat was late.
func (w *world) supervise() {
	for _, id := range []string{"w1", "w2"} {
		if !slices.ContainsFunc(w.procs, func(p *proc) bool { return p.worker == id && !p.dead }) {
			w.spawn(id)
		}
	}
	w.after(10*time.Second, w.supervise)
}

func (w *world) check() string {
	for _, id := range slices.Sorted(maps.Keys(w.hub)) {
		version := w.hub[id]
		h, ok := w.store.records[recordKey(modelStream, strconv.Itoa(id))]
		if !ok {
			return fmt.Sprintf("record %d is missing", id)
		}
		if h.Version != version {
			return fmt.Sprintf("record %d has version %d, HubSpot %d", id, h.Version, version)
		}
	}
	s := w.d.streams[modelStream]
	if !s.Backfilled {
		return "the backfill never ended"
	}
	if w.ms()-s.Cursor > 90_000 {
		return fmt.Sprintf("the cursor stands %d ms back", w.ms()-s.Cursor)
	}
	if cu := s.CompleteUntil(); w.ms()-cu > 4*60_000 {
		return fmt.Sprintf("complete only until %d ms ago", w.ms()-cu)
	}
	if !slices.IsSortedFunc(s.Windows, func(a, b stream.Window) int { return int(a.Lo - b.Lo) }) {
		return "windows are out of order"
	}
	live := 0
	for _, p := range w.procs {
		if !p.dead {
			live++
		}
	}
	if live > 2 {
		return fmt.Sprintf("%d processes live on under two names", live)
	}
	return ""
}

func jsonDigest(p protocol.Page) string {
	b, err := json.Marshal(struct {
		P protocol.Page
		R []protocol.Record
		L []protocol.Listed
	}{p, p.Records, p.Listing})
	if err != nil {
		panic(err)
	}
	return protocol.Digest(b)
}

func schedules(t *testing.T, bug string, seeds int) (failed int, first string, faults int) {
	t.Helper()
	for seed := range seeds {
		w := newWorld(int64(seed)+1, bug)
		if why := w.run(); why != "" {
			failed++
			if first == "" {
				first = fmt.Sprintf("seed %d: %s", seed+1, why)
			}
		}
		faults += w.faults
		if failed > 0 && bug != "" {
			break // it was found
		}
	}
	return failed, first, faults
}

func TestModelLosesNothing(t *testing.T) {
	t.Parallel()
	seeds := 1000
	if testing.Short() || raceEnabled {
		seeds = 50
	}
	failed, first, faults := schedules(t, "", seeds)
	t.Logf("%d schedules, %d faults", seeds, faults)
	if failed > 0 {
		t.Fatalf("%d of %d schedules failed; first: %s", failed, seeds, first)
	}
	if faults < seeds*20 {
		t.Fatalf("only %d faults in %d schedules: the model tests nothing", faults, seeds)
	}
}

// TestModelFindsBrokenVariants breaks the protocol on purpose; a model that
// does not notice proves nothing.
func TestModelFindsBrokenVariants(t *testing.T) {
	t.Parallel()
	skipWithDetector(t)
	for _, bug := range []string{
		"no fencing", "no repeat detection", "acknowledged before the commit", "noted before the commit",
		"a second writer", "attempts by worker id", "one cursor for all ranges", "done as a message of its own",
	} {
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			const seeds = 150
			failed, first, _ := schedules(t, bug, seeds)
			t.Logf("%s", first)
			if failed == 0 {
				t.Fatalf("the model does not notice %q", bug)
			}
		})
	}
}
