package dispatch

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// View is how a stream stands, for those who only look.
type View struct {
	Config      StreamConfig
	Stream      *stream.Stream
	Incremental *stream.Run // nil when none runs
	Walk        *stream.Run
	State       string
	Next        time.Time // zero when nothing is due
	Error       *stream.Problem
	Wait        *protocol.Wait
	// Unheard says that a run goes on of which no worker has told yet how it gets
	// on, as after a start of the daemon or of the worker.
	Unheard bool
	// Stretched are the intervals that are longer than wanted; Every is the one
	// between two incremental runs, 0 where nobody can tell.
	Stretched []Stretched
	Every     time.Duration
	// Attempts is how many in a row may bring nothing before a run fails.
	Attempts int
}

// The states of a stream, in the order in which they are shown.
const (
	StateBlocked   = "blocked"
	StateFailing   = "failing"
	StateThrottled = "throttled"
	StateRunning   = "running"
	StateWaiting   = "waiting"
	StateStopped   = "stopped"
)

// View returns how a configured stream stands.
func (d *Dispatcher) View(now time.Time, name string) (View, error) {
	cfg, s := d.config[name], d.streams[name]
	if cfg == nil || s == nil {
		return View{}, d.notFound(name)
	}
	v := View{Config: *cfg, Stream: s.Clone(), Attempts: d.opts.MaxFruitless, Incremental: d.viewRun(name, false), Walk: d.viewRun(name, true)}
	blocked := d.blocks(now)[s.Portal]
	waits, replied := false, false
	for _, run := range []*stream.Run{v.Incremental, v.Walk} {
		if run == nil {
			continue
		}
		var r *report
		if w := d.workers[run.Worker]; w != nil {
			r = w.reports[run.Attempt]
		}
		switch {
		case run.Attempt == 0:
			waits = true
		case r == nil || r.wait == nil && r.progress == 0:
			v.Unheard = true
		default:
			replied = true
		}
		if r != nil && v.Wait == nil {
			v.Wait = r.wait
		}
	}
	v.Unheard = v.Unheard || waits && !replied
	if v.Wait == nil {
		v.Wait = d.budgetWait(v, now)
	}
	v.Stretched, v.Every = d.stretches(s, now), d.every(s, now)
	v.Error = cmp.Or(cfg.Problem, s.Error, blocked.problem, s.Brake, tooLarge(s), d.unknownProperty(s, cfg), refusedPairs(s), d.unserved(now, v))
	v.State = stateOf(v)
	switch {
	case !s.Active || v.Incremental != nil || cfg.Problem != nil:
	case blocked.problem != nil && v.Walk == nil:
		v.Next = blocked.until
	case s.Cursor != 0:
		v.Next = d.dueAt(s, now)
	case v.Walk == nil:
		v.Next = d.retryAt(s, now)
	}
	return v, nil //nolint:nilerr // the stream's problem is part of the view
}

// tooLarge is the problem of a stream with a record that the broker cannot
// carry; all else of the stream goes on.
func tooLarge(s *stream.Stream) *stream.Problem {
	for _, o := range s.Open {
		if o.TooLarge {
			return &stream.Problem{Type: "record-too-large", Title: "a record is larger than the broker takes",
				Detail: "record " + o.ID + ": " + o.Reason, Hint: "raise broker { max_packet } and restart; everything else goes on"}
		}
	}
	return nil
}

// refusedPairs is the problem of a stream with pairs of objects that HubSpot
// does not let be read; its other pairs go on.
func refusedPairs(s *stream.Stream) *stream.Problem {
	var says []string
	for _, o := range s.Open {
		if ofPair(o) {
			says = append(says, strings.TrimSuffix(o.ID, "/")+": "+o.Reason)
		}
	}
	if len(says) == 0 {
		return nil
	}
	if !slices.ContainsFunc(s.Open, func(o stream.OpenID) bool { return ofPair(o) && strings.Count(o.ID, "/") > 1 }) {
		return &stream.Problem{Type: "object-refused", Title: "HubSpot does not hand out what belongs to an object",
			Detail: strings.Join(says, "; "), Hint: "mend what HubSpot says; what it has kept back is read then, everything else goes on"}
	}
	return &stream.Problem{Type: "pair-refused", Title: "HubSpot does not hand out the associations of a pair of objects",
		Detail: strings.Join(says, "; "), Hint: "mend what HubSpot says, or take the pair out of associations; its rows stay as they are, everything else goes on"}
}

// unservedAfter is how long a run may wait for a worker before people are told.
const unservedAfter = 5 * time.Second

// unserved is the problem of a run that no worker takes, nil where one may.
func (d *Dispatcher) unserved(now time.Time, v View) *stream.Problem {
	waiting := false
	for _, run := range []*stream.Run{v.Incremental, v.Walk} {
		if run != nil && d.spent(run, now) != "" {
			continue
		}
		waiting = waiting || run != nil && run.Attempt == 0 && now.Sub(run.Started) > unservedAfter
	}
	for _, w := range d.workers {
		if w.live && slices.Contains(w.portals, v.Config.Portal) {
			return nil
		}
	}
	if !waiting {
		return nil
	}
	return &stream.Problem{Type: "no-worker", Title: "no worker serves the portal", Detail: "portal " + v.Config.Portal,
		Hint: "start `hubpipe worker` where the portal's token is known; `hubpipe workers` lists those that are here"}
}

func (d *Dispatcher) viewRun(name string, walk bool) *stream.Run {
	run := d.runOf(name, walk)
	if run == nil {
		return nil
	}
	own := *run
	own.Requests = d.requests(run)
	return &own
}

// requests are those of a run, as far as pages and heartbeats have told.
func (d *Dispatcher) requests(run *stream.Run) uint64 {
	if w := d.workers[run.Worker]; w != nil && w.reports[run.Attempt] != nil {
		return max(run.Requests, run.RequestsBefore+w.reports[run.Attempt].requests)
	}
	return run.Requests
}

// stateOf shows the first that is so of blocked, failing, throttled, running
// and waiting; a stream without schedule and without a run is stopped,
// whatever it was before.
func stateOf(v View) string {
	runs := v.Incremental != nil || v.Walk != nil
	switch {
	case !v.Stream.Active && !runs:
		return StateStopped
	case v.Error != nil && v.Error.Blocked:
		return StateBlocked
	case v.Error != nil || v.Wait != nil && v.Wait.Kind == StateFailing:
		return StateFailing
	case v.Wait != nil && v.Wait.Kind == StateThrottled:
		return StateThrottled
	case runs:
		return StateRunning
	}
	return StateWaiting
}

// WorkerView is how a worker stands.
type WorkerView struct {
	ID, Process, Version string
	Live                 bool
	Portals              []string
	Capacity             int
	Heard                time.Time
	Runs                 []string
}

// Workers lists the workers that were heard of, by name.
func (d *Dispatcher) Workers() []WorkerView {
	out := []WorkerView{}
	for _, w := range d.workers {
		v := WorkerView{ID: w.id, Process: w.process, Version: w.version, Live: w.live, Portals: w.portals,
			Capacity: w.capacity, Heard: w.heard, Runs: []string{}}
		for _, run := range d.openRuns() {
			if run.Attempt != 0 && run.Process == w.process {
				v.Runs = append(v.Runs, run.ID)
			}
		}
		out = append(out, v)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// Run returns a run that goes on.
func (d *Dispatcher) Run(id string) (*stream.Run, bool) {
	if guest := d.guest(id); guest != nil {
		return guest, true
	}
	run := d.runs[id]
	if run == nil || run.State != stream.Running {
		return nil, false
	}
	return d.viewRun(run.Stream, run.Kind.Walk()), true
}
