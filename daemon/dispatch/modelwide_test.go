package dispatch

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// The wide model: the one of model_test.go, in which besides people give
// commands, workers decline and fail, pages are undecodable, the store comes
// back without its newest commits, in another epoch, and a destination follows
// the feed with a place of its own.

// rollback is what the store had some commits ago.
type rollback struct {
	streams map[string]*stream.Stream
	runs    map[string]*stream.Run
	ranges  map[string]map[uint32]*stream.Range
	records map[string]stream.Head
	schemas map[string][]byte
	seq     uint64
	rest    memStore // the numbers
}

const keptCommits = 8

// remember keeps what is stored now, for a rollback.
func (w *world) remember() {
	m := w.store
	r := rollback{streams: maps.Clone(m.streams), runs: maps.Clone(m.runs), ranges: map[string]map[uint32]*stream.Range{},
		records: maps.Clone(m.records), schemas: maps.Clone(m.schemas), seq: m.seq,
		rest: memStore{attempts: m.attempts, runSeq: m.runSeq, seq: m.seq}}
	for id, g := range m.ranges {
		r.ranges[id] = maps.Clone(g)
	}
	w.past = append(w.past, r)
	if len(w.past) > keptCommits {
		w.past = w.past[1:]
	}
}

// loseTail has the store come back without its newest commits: the epoch grows,
// and numbers go on above all that were given.
func (w *world) loseTail() {
	if len(w.past) < keptCommits {
		return
	}
	w.faults++
	w.rollbacks++
	to := w.past[w.rng.IntN(keptCommits-1)]
	m := w.store
	for key := range m.records { // HubSpot forgets, too, some that were new
		if _, there := to.records[key]; !there && w.rng.IntN(2) == 0 {
			delete(w.hub, idOf(key))
		}
	}
	m.streams, m.runs, m.ranges, m.records, m.schemas = to.streams, to.runs, to.ranges, to.records, to.schemas
	w.past = nil
	w.seen = transitions{edges: w.seen.edges} // it goes back without a transition
	w.seen.look(m)
	if w.bug == "a rollback gives numbers again" {
		m.attempts, m.runSeq, m.seq = to.rest.attempts, to.rest.runSeq, to.rest.seq
		w.once = map[string]bool{} // what is noticed has to be noticed otherwise
	}
	if w.bug == "a rollback keeps its epoch" {
		m.attempts, m.runSeq, m.seq = to.rest.attempts, to.rest.runSeq, m.seq+1000
		return
	}
	m.epoch++
	if w.bug != "a rollback gives numbers again" {
		m.attempts, m.runSeq, m.seq = m.attempts+1000, m.runSeq+1000, m.seq+1000
	}
}

func idOf(key string) (id int) {
	_, _ = fmt.Sscanf(key, modelStream+"/%d", &id)
	return id
}

// people give commands, and in the end let the stream run.
func (w *world) people() {
	if !w.down {
		var outs []Out
		var err error
		switch n := w.rng.IntN(6); {
		case w.quiet:
			outs, err = w.d.Start(w.now, modelStream, "", "api")
			if err == nil {
				w.send(outs)
				return
			}
		case n == 0:
			w.stop()
		case n == 1:
			_, outs, err = w.d.Resync(w.now, modelStream)
		case n == 2:
			_, outs, err = w.d.Sync(w.now, modelStream, "")
		case n == 3:
			_, outs, err = w.d.Sync(w.now, modelStream, fmt.Sprint(10+3*w.rng.IntN(40)))
		case n == 4: // and at once the end of it
			_, outs, err = w.d.Sync(w.now, modelStream, fmt.Sprint(10+3*w.rng.IntN(40)))
			w.after(w.upTo(1500), w.stop)
		}
		if err == nil {
			w.send(outs)
		}
	}
	w.after(time.Duration(2000+w.rng.IntN(30000))*time.Millisecond, w.people)
}

func (w *world) stop() {
	if w.down || w.quiet {
		return
	}
	if outs, err := w.d.Stop(w.now, modelStream, "api"); err == nil {
		w.send(outs)
	}
	w.after(time.Duration(1+w.rng.IntN(20))*time.Second, w.start)
}

func (w *world) start() {
	if !w.down {
		if outs, err := w.d.Start(w.now, modelStream, "", "api"); err == nil {
			w.send(outs)
			return
		}
	}
	w.after(time.Second, w.start)
}

// unknown holds that no attempt is open for long that its living holder does
// not know: what was lost on the way is said again with the next heartbeat.
func (w *world) unknown() {
	open := map[uint64]time.Time{}
	if w.quiet && !w.down {
		for _, r := range w.store.runs {
			i := slices.IndexFunc(w.procs, func(p *proc) bool { return p.name == r.Process && !p.dead })
			if r.Attempt == 0 || r.State != stream.Running || i < 0 || w.procs[i].attempts[r.Attempt] != nil || w.procs[i].gone[r.Attempt] {
				continue
			}
			since, was := w.unheard[r.Attempt]
			if !was {
				since = w.now
			}
			open[r.Attempt] = since
			if w.now.Sub(since) > 20*time.Second {
				w.broken = fmt.Sprintf("attempt %d is unknown to its holder for 20 s", r.Attempt)
			}
		}
	}
	w.unheard = open
	w.after(time.Second, w.unknown)
}

// spoil breaks a rule around a page, before and after it is judged.
func (w *world) spoil(d *Dispatcher, p *protocol.Page, in *Incoming) (after func()) {
	after = func() {}
	if w.wide && w.chance(250) {
		w.faults++
		in.Err = errors.New("it is cut")
	}
	switch w.bug {
	case "what is wanted is not in the ledger":
		if p.Kind == protocol.ListingPage {
			after = func() {
				for id, gs := range w.store.ranges {
					for n, g := range gs {
						if len(g.Want) == 0 || g.Kind != stream.SpanRange {
							continue
						}
						own := g.Clone()
						own.Want, own.Cursor, own.Ended = nil, g.To, g.Last
						gs[n] = own
						_ = id
					}
				}
			}
		}
	case "a split forgets its upper half":
		if run := d.runs[d.attempts[p.Attempt]]; p.Kind == protocol.SplitPage && run != nil {
			before := maps.Clone(w.store.ranges[run.ID])
			after = func() {
				for n := range w.store.ranges[run.ID] {
					if before[n] == nil {
						delete(w.store.ranges[run.ID], n)
						delete(d.ranges[run.ID], n)
					}
				}
			}
		}
	}
	return after
}

// destination follows the feed as ledger.md says: batch and place in one
// transaction, on the row that holds the place.
type destination struct {
	w    *world
	rows map[string]stream.Head
	// The place: where it is in the feed of which epoch, and how far the feed is
	// read again since that is another.
	epoch, at     uint64
	again, until  uint64
	swept         bool
	applied       map[uint64]int // how often what stands at a position was written
	lock          uint64         // grows with each transaction
	written, lost int
}

func newDestination(w *world) *destination {
	return &destination{w: w, rows: map[string]stream.Head{}, applied: map[uint64]int{}, epoch: 1, swept: true}
}

// follow reads a page of the feed and sends it, as long as its daemon lives.
func (x *destination) follow(life int) {
	w := x.w
	if w.down || life != w.lives {
		return // the daemon of this reader has ended; what it sent may still come
	}
	if x.epoch != w.store.epoch {
		x.epoch = w.store.epoch
		if w.bug != "a destination goes on in another epoch" {
			x.again, x.until, x.swept = 0, w.store.seq, false
		}
	}
	lock, after, again := x.lock, x.at, false
	if x.again < x.until {
		after, again = x.again, true
	}
	var batch []stream.Head
	for _, h := range w.store.records {
		if h.Seq > after && (!again || h.Seq <= x.until) {
			batch = append(batch, h)
		}
	}
	slices.SortFunc(batch, func(a, b stream.Head) int { return int(a.Seq) - int(b.Seq) })
	batch = batch[:min(len(batch), 1+w.rng.IntN(8))]
	to := x.until
	if len(batch) > 0 {
		to = batch[len(batch)-1].Seq
	}
	next := func() { x.follow(life) }
	switch {
	case len(batch) > 0 || again:
		w.after(w.upTo(400), func() {
			x.write(lock, batch, to, again, func() { w.after(w.upTo(300), next) })
		})
		return
	case !x.swept && w.quiet && w.now.Sub(epochStart) > 9*time.Minute: // nothing is owed any more
		x.sweep()
	}
	w.after(w.upTo(2000), next)
}

func (w *world) upTo(ms int) time.Duration { return time.Duration(w.rng.IntN(ms)) * time.Millisecond }

// write is the warehouse's transaction. It may fail before it, and the answer
// may be lost behind it; both look the same. A write that is late comes after
// its reader's end.
func (x *destination) write(lock uint64, batch []stream.Head, to uint64, again bool, answered func()) {
	w := x.w
	if w.chance(8) {
		w.faults++
		w.after(w.upTo(20000), func() { x.write(lock, batch, to, again, func() {}) })
		answered() // the connection is lost: it asks where it is, and goes on
		return
	}
	if w.bug != "a destination's place is not locked" && lock != x.lock {
		answered() // it is read anew
		return
	}
	x.lock++
	for _, h := range batch {
		if was, there := x.rows[h.ID]; !there || was.Seq < h.Seq {
			x.rows[h.ID] = h
			x.applied[h.Seq]++
		} else if was.Seq == h.Seq && !again && h.Seq > x.until { // else the second reading has brought it
			x.applied[h.Seq]++
		}
	}
	x.written += len(batch)
	place := func() {
		if again {
			x.again = to
		} else {
			x.at = to
		}
	}
	switch {
	case w.bug == "a destination notes its place apart" && w.chance(10):
		w.faults++ // it ends between the two
	default:
		place()
	}
	answered()
}

// sweep ends what the store has not, and takes what the store has otherwise.
func (x *destination) sweep() {
	for id, row := range x.rows {
		h, ok := x.w.store.records[recordKey(modelStream, id)]
		switch {
		case !ok:
			delete(x.rows, id)
			x.lost++
		case h.Seq < row.Seq:
			x.rows[id] = h
		}
	}
	x.swept = true
}

// check holds the destination against the store.
func (x *destination) check() string {
	w := x.w
	for key, h := range w.store.records {
		if row := x.rows[h.ID]; row.Version != h.Version || row.Seq != h.Seq {
			return fmt.Sprintf("the destination has %s in version %d of place %d, the store %d of %d", key, row.Version, row.Seq, h.Version, h.Seq)
		}
	}
	for id := range x.rows {
		if _, ok := w.store.records[recordKey(modelStream, id)]; !ok {
			return "the destination has record " + id + ", and the store has not"
		}
	}
	for seq, n := range x.applied {
		if n > 1 {
			return fmt.Sprintf("the destination has written what stands at place %d %d times", seq, n)
		}
	}
	return ""
}

func wideSchedules(t *testing.T, bug string, seeds int) (failed int, first string, sum *world) {
	t.Helper()
	sum = &world{seen: transitions{edges: map[string]int{}}}
	for seed := range seeds {
		w := newWorld(int64(seed)+1, bug)
		w.widen()
		why := w.run()
		if why == "" {
			why = w.dest.check()
		}
		if why != "" {
			failed++
			if first == "" {
				first = fmt.Sprintf("seed %d: %s", seed+1, why)
			}
		}
		sum.faults, sum.rollbacks = sum.faults+w.faults, sum.rollbacks+w.rollbacks
		for e, n := range w.seen.edges {
			sum.seen.edges[e] += n
		}
		if failed > 0 && bug != "" {
			break // it was found
		}
	}
	return failed, first, sum
}

// widen has all of it happen that the wide model has.
func (w *world) widen() {
	w.wide = true
	w.dest = newDestination(w)
	w.seen = transitions{edges: map[string]int{}}
	w.store.committed = func() {
		w.remember()
		w.seen.look(w.store)
		w.behind()
	}
	w.after(10*time.Second, w.people)
	w.after(time.Second, w.unknown)
}

// behind holds the records against the cursor: no record is behind it. What the
// model's search shows it shows at once, so that this holds after each commit.
func (w *world) behind() {
	s := w.store.streams[modelStream]
	if s == nil || !s.Backfilled || w.broken != "" {
		return
	}
	for id, version := range w.hub {
		if h := w.store.records[recordKey(modelStream, fmt.Sprint(id))]; version < s.Cursor && h.Version < version {
			w.broken = fmt.Sprintf("record %d has version %d, HubSpot %d, and the cursor stands at %d", id, h.Version, version, s.Cursor)
		}
	}
}

func TestWideModelLosesNothing(t *testing.T) {
	t.Parallel()
	seeds := 150
	if testing.Short() || raceEnabled {
		seeds = 30
	}
	failed, first, sum := wideSchedules(t, "", seeds)
	t.Logf("%d schedules, %d faults, %d rollbacks of the store", seeds, sum.faults, sum.rollbacks)
	if failed > 0 {
		t.Fatalf("%d of %d schedules failed; first: %s", failed, seeds, first)
	}
	if sum.faults < seeds*20 || sum.rollbacks < seeds {
		t.Fatalf("only %d faults and %d rollbacks in %d schedules: the model tests nothing", sum.faults, sum.rollbacks, seeds)
	}
	asDrawn(t, sum.seen.edges, seeds >= 150)
}

// TestWideModelFindsBrokenVariants breaks the rules that the wide model is for.
func TestWideModelFindsBrokenVariants(t *testing.T) {
	t.Parallel()
	skipWithDetector(t)
	for _, bug := range []string{
		"what is wanted is not in the ledger", "a split forgets its upper half", "heartbeats repair nothing",
		"a rollback keeps its epoch", "a rollback gives numbers again",
		"a destination notes its place apart", "a destination's place is not locked", "a destination goes on in another epoch",
	} {
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			const seeds = 60
			failed, first, _ := wideSchedules(t, bug, seeds)
			t.Logf("%s", first)
			if failed == 0 {
				t.Fatalf("the model does not notice %q", bug)
			}
		})
	}
}
