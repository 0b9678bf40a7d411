// Package dispatch decides which worker does what and what a page may do. The
// Dispatcher is the ledger's one writer: a state machine without goroutines,
// driven with times from outside, so that a model can run it in virtual time.
// Loop gives it its goroutine.
package dispatch

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Store is what the dispatcher needs of the store: the durable ledger, written
// in transactions by nobody else.
type Store interface {
	ID() string
	Epoch() uint64
	Begin() (Tx, error)
	// Position is the newest place in the feed; Live and Archived count a
	// stream's records in these states.
	Position() uint64
	Live(streamName string) uint64
	Archived(streamName string) uint64
	// Schema is the list of definitions that was written last, an error where
	// there is none.
	Schema(streamName string) ([]byte, error)
	// Missing counts per stream the records that the checks of the opening
	// found lost so far.
	Missing() map[string]uint64
}

// Tx is one transaction: all of it becomes durable in Commit, or nothing.
type Tx interface {
	Head(streamName, id string) (*stream.Head, error)
	// Ahead says whose heads will be asked for, before anything is put.
	Ahead(streamName string, ids []string) error
	// Record is the whole of what is stored, nil where there is nothing.
	Record(streamName, id string) (*stream.Record, error)
	// Heads calls fn in the order of ids for those above after, up to and with
	// upTo ("" for the last); an error of fn ends it and is returned.
	Heads(streamName, after, upTo string, fn func(*stream.Head) error) error
	Put(streamName string, r *stream.Record) error
	PutStream(*stream.Stream) error
	PutRun(*stream.Run) error
	PutRange(runID string, r *stream.Range) error
	DropRanges(runID string) error
	PutWorker(*stream.Worker) error
	PutPortal(*stream.Portal) error
	PutSchema(streamName string, definitions []byte) error
	PutErasure(*stream.Erasure) error
	Erased(streamName, id string) (bool, error)
	PutAnswer(*stream.Answered) error
	DropAnswer(id string) error
	// DropVersions lets superseded versions go, by their keys in the store.
	DropVersions(due [][]byte) error
	NextAttempt() (uint64, error)
	NextRun() (string, error)
	HasRoom(records, bytes int) bool
	Commit() error
	Discard()
}

// Schedule says when the run after the one started at last is due.
type Schedule interface {
	Next(last, now time.Time) time.Time
}

// StreamConfig is what the configuration says of a stream.
type StreamConfig struct {
	Name, Portal, Object string
	Interval             string // as shown; empty with a cron expression
	Cron                 string // as shown; empty with an interval
	Schedule             Schedule
	Autostart            bool
	Properties, Exclude  []string
	// Named are properties that HubSpot has to have, else a person is told.
	Named []string
	// StartDate leaves out records that were last modified before it and were
	// never stored, in ms; 0 for none.
	StartDate int64
	// Volatile are patterns of properties that never make a change by themselves.
	Volatile []string
	// Associations are the objects with which associations are kept, read of
	// every record each AssociateEvery.
	Associations   []string
	AssociateEvery time.Duration
	// History are patterns over the properties that the stream copies: of which
	// of them the earlier values are kept.
	History []string
	Tail    time.Duration
	Settle  []time.Duration
	// ArchivedEvery and ReconcileEvery are how often the walks are made, 0 for
	// never. MaxDeletes is the share of live records above which absence ends
	// none.
	ArchivedEvery, ReconcileEvery time.Duration
	MaxDeletes                    float64
	// DailyReserve is the share of the portal's daily limit that is left to
	// others.
	DailyReserve float64
	// Parents are the objects, or pairs of objects, that the stream is read
	// for, where it is read for objects.
	Parents []string
	// Problem blocks the stream: its portal cannot be used as configured.
	Problem *stream.Problem

	row catalogue.Object // what the object is; set by the dispatcher
}

// Options are the dispatcher's bounds. The zero value of each means its
// default.
type Options struct {
	Lease      time.Duration // 15 s
	NoProgress time.Duration // 2 min
	// MaxFruitless attempts in a row that commit nothing fail the run (5).
	MaxFruitless int
	BlockedRetry time.Duration // 15 min
	FailedRetry  time.Duration // first wait after a failed run, doubling to 5 min (5 s)
	// ParseInterval makes a schedule of what someone typed, and says how it is
	// written: the same for all ways of typing it.
	ParseInterval func(interval string) (s Schedule, text string, err error)
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Lease, 15*time.Second)
	def(&o.NoProgress, 2*time.Minute)
	def(&o.BlockedRetry, 15*time.Minute)
	def(&o.FailedRetry, 5*time.Second)
	if o.MaxFruitless == 0 {
		o.MaxFruitless = 5
	}
	return o
}

// Ledger is what a store holds when the dispatcher begins.
type Ledger struct {
	Streams []*stream.Stream
	Runs    []*stream.Run
	Ranges  map[string][]*stream.Range
	Workers []*stream.Worker
	Portals []*stream.Portal
}

// Out is a message for a worker: one of Command and Answer is set.
type Out struct {
	Worker  string
	Command *protocol.Command
	Answer  *protocol.Answer
}

// Dispatcher holds the ledger in memory as it was last committed. It is used
// by one goroutine.
type Dispatcher struct {
	store  Store
	opts   Options
	config map[string]*StreamConfig

	streams map[string]*stream.Stream
	runs    map[string]*stream.Run              // those that run, and unfinished walks
	ranges  map[string]map[uint32]*stream.Range // by run
	durable map[string]*stream.Worker
	portals map[string]*stream.Portal

	attempts map[uint64]string // open attempts: their runs
	over     []endedRun        // the last runs that ended, to answer repeats
	workers  map[string]*worker
	holders  map[string]holder // by portal
	unread   map[string]bool   // workers whose pages wait to be read
	// blockedAs is the newest attempt that there was when a portal was found
	// blocked: what it knew of the account proves nothing.
	blockedAs map[string]uint64
	purses    map[string]*purse
	lastTick  time.Time
	stopping  bool
	missing   map[string]uint64         // of the store's, what the streams know of
	used      map[string]*portalUse     // by portal, ahead of the ledger
	zones     map[string]*time.Location // by name
	counts    Counts
	unknown   map[string]unknown // by stream
	pulls     map[string]*pull   // by portal
}

// endedRun remembers what the last pages of a run were, so that a repeat is
// answered however late it comes.
type endedRun struct {
	attempt uint64
	process string
	last    map[uint32]lastPage
}

type lastPage struct {
	seq    uint64
	digest string
}

// keptEnded bounds the memory of ended runs; a repeat that comes later is
// fenced, which drops the attempt just the same.
const keptEnded = 256

// worker is a process that the daemon has heard of.
type worker struct {
	id, process, version string
	portals              []string
	capacity             int
	deadline             time.Time
	live                 bool
	heard                time.Time
	beat                 uint64 // the newest heartbeat
	reports              map[uint64]*report
}

// holder is the process that serves a portal.
type holder struct{ worker, process string }

// report is the last that was heard of an attempt.
type report struct {
	progress uint64
	moved    time.Time
	requests uint64
	wait     *protocol.Wait
}

// New returns a dispatcher that goes on from what the store holds. Every
// attempt that was open gets a fresh lease.
func New(now time.Time, st Store, l Ledger, config []StreamConfig, o Options) *Dispatcher {
	d := &Dispatcher{
		store: st, opts: o.withDefaults(),
		config: map[string]*StreamConfig{}, streams: map[string]*stream.Stream{},
		runs: map[string]*stream.Run{}, ranges: map[string]map[uint32]*stream.Range{},
		durable: map[string]*stream.Worker{}, portals: map[string]*stream.Portal{},
		attempts: map[uint64]string{}, workers: map[string]*worker{}, holders: map[string]holder{},
		unread: map[string]bool{}, blockedAs: map[string]uint64{}, purses: map[string]*purse{}, lastTick: now,
		missing: map[string]uint64{}, used: map[string]*portalUse{}, zones: map[string]*time.Location{},
		counts: newCounts(), unknown: map[string]unknown{}, pulls: map[string]*pull{},
	}
	for _, s := range l.Streams {
		d.streams[s.Name] = s
		if s.Interval == "" || o.ParseInterval == nil {
			continue
		}
		if _, text, err := o.ParseInterval(s.Interval); err == nil {
			s.Interval = text // it may have been kept as it was typed
		}
	}
	for _, p := range l.Portals {
		d.portals[p.Name] = p
		if p.Usage != nil {
			d.used[p.Name] = &portalUse{Usage: *p.Usage}
		}
	}
	for _, w := range l.Workers {
		d.durable[w.ID] = w
	}
	for _, r := range l.Runs {
		d.runs[r.ID] = r
		d.ranges[r.ID] = map[uint32]*stream.Range{}
		for _, g := range l.Ranges[r.ID] {
			d.ranges[r.ID][g.ID] = g
		}
		if r.Attempt == 0 || r.State != stream.Running {
			continue
		}
		d.attempts[r.Attempt] = r.ID
		w := d.workers[r.Worker]
		if w == nil || w.process != r.Process {
			w = &worker{id: r.Worker, process: r.Process, live: true, heard: now,
				deadline: now.Add(d.opts.Lease), portals: []string{}, reports: map[uint64]*report{}}
			d.workers[r.Worker] = w
		}
		if !slices.Contains(w.portals, r.Portal) {
			w.portals = append(w.portals, r.Portal)
		}
		w.reports[r.Attempt] = &report{moved: now}
		d.holders[r.Portal] = holder{worker: r.Worker, process: r.Process}
	}
	d.configure(config)
	return d
}

// openRuns lists the runs that run, oldest first.
func (d *Dispatcher) openRuns() []*stream.Run {
	var out []*stream.Run
	for _, r := range d.runs {
		if r.State == stream.Running {
			out = append(out, r)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// runOf finds the running run of a stream: the incremental one or the walk.
func (d *Dispatcher) runOf(name string, walk bool) *stream.Run {
	for _, r := range d.runs {
		if r.Stream == name && r.State == stream.Running && r.Kind.Walk() == walk {
			return r
		}
	}
	return nil
}

// Names lists the configured streams, sorted.
func (d *Dispatcher) Names() []string { return slices.Sorted(maps.Keys(d.config)) }

func (d *Dispatcher) notFound(name string) error {
	hint := "list them with `hubpipe streams` or GET /v1/streams"
	if near := stream.Nearest(name, d.Names()); near != "" {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	return &stream.Problem{Type: "unknown-stream", Title: "unknown stream", Status: 404,
		Detail: fmt.Sprintf("there is no stream %q", name), Hint: hint}
}
