package dispatch

import (
	"maps"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What becomes of a page, as Counts has it.
const (
	PageCommitted = "committed"
	PageRepeated  = "repeated" // the same again, answered as before
	PageLate      = "late"     // the one before the last: nobody waits for it
	PageFenced    = "fenced"   // of an attempt that has ended, or out of turn
	PageRefused   = "refused"  // it cannot be applied, and the run failed
	PageForeign   = "foreign"  // of another store
)

// Why an attempt is taken from its worker, as Counts has it.
const (
	LapseLease    = "lease"       // its process was not heard of
	LapseProgress = "no_progress" // it named no wait and got nowhere
)

// Reading is what becomes of a record that a page brings: one of the verdicts.
type Reading struct {
	Stream  string
	Verdict stream.Verdict
}

// RunKind is one kind of run of a stream.
type RunKind struct {
	Stream string
	Kind   stream.Kind
}

// Ended counts the runs of a kind that have ended.
type Ended struct {
	By      map[stream.RunState]uint64
	Seconds float64
	// Requests and Records are of all of them, Last is the last one.
	Requests, Records uint64
	Last              *stream.Run
}

// Counts are what the dispatcher has done since it began: what was committed,
// and nothing of what failed. They begin at zero with the daemon.
type Counts struct {
	Pages    map[string]uint64
	Readings map[Reading]uint64
	Attempts uint64 // handed out
	Lapsed   map[string]uint64
	Runs     map[RunKind]Ended
}

func newCounts() Counts {
	return Counts{Pages: map[string]uint64{}, Readings: map[Reading]uint64{}, Lapsed: map[string]uint64{}, Runs: map[RunKind]Ended{}}
}

// Counts returns a copy of what was counted.
func (d *Dispatcher) Counts() Counts {
	c := d.counts
	c.Pages, c.Readings, c.Lapsed = maps.Clone(c.Pages), maps.Clone(c.Readings), maps.Clone(c.Lapsed)
	c.Runs = maps.Clone(c.Runs)
	for k, e := range c.Runs {
		e.By = maps.Clone(e.By)
		c.Runs[k] = e
	}
	return c
}

// Leases counts the attempts that workers hold.
func (d *Dispatcher) Leases() int { return len(d.attempts) }

// counts notes something once the change is committed.
func (c *change) counts(f func(*Counts)) {
	c.after = append(c.after, func() { f(&c.d.counts) })
}

func (c *change) countPage(outcome string) {
	c.counts(func(n *Counts) { n.Pages[outcome]++ })
}

// countEnd counts a run that ends with this change, as it stands then.
func (c *change) countEnd(run *stream.Run) {
	c.counts(func(n *Counts) {
		k := RunKind{run.Stream, run.Kind}
		e := n.Runs[k]
		if e.By == nil {
			e.By = map[stream.RunState]uint64{}
		}
		e.By[run.State]++
		e.Seconds += max(0, run.Ended.Sub(run.Started)).Seconds()
		e.Requests += run.Requests
		e.Records += run.Records
		e.Last = run
		n.Runs[k] = e
	})
}
