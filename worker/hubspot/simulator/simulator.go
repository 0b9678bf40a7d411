// Package simulator is a strict stand-in for HubSpot's CRM API: it keeps
// records in memory, answers as HubSpot does (limits, late search, stale
// replicas, failures) and knows the truth that a sync has to reach. What no
// source could verify about HubSpot is an option, with both behaviours.
package simulator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Missing says how a batch read tells of ids that it cannot find.
type Missing string

// The three ways in which missing ids are told.
const (
	MissingAs207  Missing = "207"    // status 207 with errors[] (the default)
	MissingAs200  Missing = "200"    // status 200 with errors[]
	MissingSilent Missing = "silent" // status 200, nothing said
)

// Options configure a Simulator. The zero value of a number that has a default
// means the default.
type Options struct {
	Token string // the bearer token that is valid; empty takes any
	Seed  int64  // the same seed and sizes give the same records
	// Sizes is how many records there are of each object; one that is absent
	// has none. A name that begins with p_ makes an object that the portal has
	// defined.
	Sizes map[string]int
	// Associations is how many associations a record of the first object has
	// with the second, on average: "contacts-companies": 1.2. What names an
	// object that does not exist is left out.
	Associations    map[string]float64
	AssociationPage int // of one record in a batch read; default 500
	Properties      int // per object, the standard ones included; default 40

	ChangeRate float64 // changes a second over all objects between Start and Stop
	// LifeRate is the share of those changes, 0 to 1, that archive, restore,
	// purge or merge records instead.
	LifeRate       float64
	Latency        time.Duration // added to every reply
	SearchLateness time.Duration // the latest that a change becomes visible to search; drawn for each
	FaultRate      float64       // share of requests, 0 to 1, that fail by a drawn fault

	Limits          bool // refuse what is over a limit
	BurstPer10s     int  // default 190
	SearchPerSecond int  // default 5
	Daily           int  // default 625000; a day ends at midnight UTC

	StaleReads float64       // share of records, 0 to 1, that batch read takes from a stale replica
	StaleFor   time.Duration // for how long after a change a replica may be stale

	OpaqueAfter map[string]bool // objects whose list cursor is not a record id
	MaxURL      int             // characters of an address above which 414 is answered; default 8000
	PortalID    int64           // default 4711001
	Versions    []string        // API versions that exist; default 2026-09, 2026-03 and v3
	// NoAssociations are pairs ("contacts-taxes") that HubSpot has no associations
	// between, whichever comes first: it calls a request for them wrong.
	NoAssociations []string
	Missing        Missing // default MissingAs207
	// What is not known of HubSpot, one way unless set: after a restore the
	// modification time is the one before; losers of a merge stand among the
	// archived records; a batch read gives survivors for losers.
	RestoreKeepsTime, MergedArchived, BatchGivesSurvivor bool

	ShortPages float64 // share of lists and searches, 0 to 1, with fewer records than asked for before the last page
	// Unordered is the share of replies, 0 to 1, of streams outside the CRM's
	// contract whose rows come in any order within their page.
	Unordered   float64
	SearchNever float64 // share of records, 0 to 1, that search never shows
	OAuth       *OAuth  // nil for none

	// Webhooks are sent between Start and Stop; nil for none.
	Webhooks *Webhooks

	// Journal is an app's journal of everything that changes; nil for none.
	Journal *Journal

	// Scenario is what happens by and by: see Scenario.Apply. A step is done
	// each ScenarioEvery after Start; 0 leaves it to NextStep.
	Scenario      *Scenario
	ScenarioEvery time.Duration

	StrictBodies bool // refuse bodies that lack fields which the specification requires

	Now func() time.Time // default time.Now
	// PreRendered makes every record one of a few hundred, told apart by its
	// id alone: pages cost almost nothing, for benchmarks.
	PreRendered bool
}

func (o Options) withDefaults() Options {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&o.Properties, 40)
	def(&o.AssociationPage, maxLinked)
	def(&o.BurstPer10s, 190)
	def(&o.SearchPerSecond, 5)
	def(&o.Daily, 625000)
	def(&o.MaxURL, 8000)
	if o.PortalID == 0 {
		o.PortalID = 4711001
	}
	if len(o.Versions) == 0 {
		o.Versions = []string{"2026-09", "2026-03", "v3"}
	}
	if o.Missing == "" {
		o.Missing = MissingAs207
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Simulator is an http.Handler that behaves like HubSpot's API. It is safe for
// concurrent use.
type Simulator struct {
	o      Options
	stores map[string]*store
	byName map[string]*store // by each name that an address may have
	names  []string          // the objects, in a fixed order
	sets   sets
	grants grants

	progress progress

	hooks   hooks
	journal journal
	graphs  graphs
	limits  limits
	count   counters
	drawn   atomic.Uint64 // requests so far: the place in the sequence of draws

	reuse

	schemaMu sync.RWMutex // written to while definitions change; read by whatever reads them
	switchMu sync.Mutex   // held while switches are replaced
	switches atomic.Pointer[switches]

	rngMu sync.Mutex // guards rng
	rng   *rand.Rand

	runMu sync.Mutex // guards stop and done
	stop  context.CancelFunc
	done  chan struct{}
}

// New makes a simulator with its records. It starts nothing.
func New(o Options) *Simulator {
	o = o.withDefaults()
	s := &Simulator{
		o:      o,
		stores: make(map[string]*store),
		rng:    rand.New(rand.NewPCG(uint64(o.Seed), 0x9e3779b97f4a7c15)),
	}
	s.limits.day = dayOf(o.Now())
	s.switches.Store(switchesOf(o))
	for _, d := range objects(o) {
		s.names = append(s.names, d.name)
		s.stores[d.name] = newStore(d, o)
	}
	if o.OAuth != nil {
		s.grants.refresh = o.OAuth.RefreshToken
	}
	s.known()
	s.populate(o.Associations)
	s.setUp()
	return s
}

// ErrRunning says that Start was called twice.
var ErrRunning = errors.New("the simulator's changes are already running")

// Start begins to change records at the rate of the options, until ctx ends or
// Stop is called. It returns at once.
func (s *Simulator) Start(ctx context.Context) error {
	s.runMu.Lock()
	defer s.runMu.Unlock()
	if s.stop != nil {
		return ErrRunning
	}
	if s.o.ChangeRate <= 0 && s.o.ScenarioEvery <= 0 && s.o.Webhooks == nil {
		return nil
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.done = make(chan struct{})
	go s.run(ctx, s.done)
	return nil
}

// Stop ends the changes and waits for the last one. It may be called again,
// and without Start.
func (s *Simulator) Stop() {
	s.runMu.Lock()
	defer s.runMu.Unlock()
	if s.stop == nil {
		return
	}
	s.stop()
	<-s.done
	s.stop, s.done = nil, nil
}

// run makes the changes that are due, a tenth of them new records.
func (s *Simulator) run(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	if s.o.Webhooks != nil {
		var posting sync.WaitGroup
		defer posting.Wait()
		posting.Go(func() { s.post(ctx) })
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	began, made := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.duePlay(time.Since(began))
		due := int(time.Since(began).Seconds() * s.o.ChangeRate)
		for ; made < due && ctx.Err() == nil; made++ {
			s.changeOne()
		}
	}
}

func (s *Simulator) changeOne() {
	s.schemaMu.RLock()
	defer s.schemaMu.RUnlock()
	total := 0
	for _, n := range s.names {
		total += s.stores[n].size()
	}
	if total == 0 {
		return
	}
	at := s.intN(total)
	for _, n := range s.names {
		st := s.stores[n]
		if at -= st.size(); at >= 0 {
			continue
		}
		if s.o.LifeRate > 0 && s.float() < s.o.LifeRate {
			st.end(s)
			return
		}
		if len(s.o.Associations) > 0 && s.intN(10) == 0 {
			s.relink()
			return
		}
		if s.intN(10) == 0 {
			s.tell(st, "creation", st.create(s, 1, 0, nil), nil)
		} else {
			s.tell(st, "propertyChange", st.changeRandom(s, 1, 0, nil), nil)
		}
		return
	}
}

func (s *Simulator) intN(n int) int {
	s.rngMu.Lock()
	defer s.rngMu.Unlock()
	return s.rng.IntN(n)
}

func (s *Simulator) float() float64 {
	s.rngMu.Lock()
	defer s.rngMu.Unlock()
	return s.rng.Float64()
}

// lateness draws when a change made now becomes visible to search: most are
// quick, some are almost as late as it gets.
func (s *Simulator) lateness() time.Duration {
	most := s.switches.Load().searchLateness
	if most <= 0 {
		return 0
	}
	f := s.float()
	return time.Duration(f * f * f * float64(most))
}

// Change says what to change; the parts are done in the order of the fields.
type Change struct {
	Create int // so many new records
	Change int // so many live records, drawn
	// At is the one modification time, in ms, of all that is created or
	// changed; 0 is now, and then each version of a record is newer than the last.
	At           int64
	VisibleAfter *time.Duration // search sees it after this long; nil draws it

	IDs        []string           // these records get Properties
	Properties map[string]*string // nil clears a property
	Archive    []string           // to the recycle bin
	Restore    []string           // back from it
	Delete     []string           // for good
	Hide       []string           // out of search's sight, for ever
	Merge      []Merge            // in their order
}

// Errors of Change.
var (
	ErrUnknownObject   = errors.New("no such object")
	ErrUnknownRecord   = errors.New("no such record")
	ErrUnknownProperty = errors.New("no such property")
)

// Change changes records as a user of the portal would and returns the ids
// that it touched. Where an id or property does not exist it stops there, and
// what came before stays done.
func (s *Simulator) Change(object string, c Change) ([]string, error) {
	st, ok := s.stores[object]
	if !ok {
		return nil, fmt.Errorf("change %q: %w", object, ErrUnknownObject)
	}
	s.schemaMu.RLock()
	defer s.schemaMu.RUnlock()
	var ids []string
	if c.Create > 0 {
		ids = append(ids, st.create(s, c.Create, c.At, c.VisibleAfter)...)
		s.tell(st, "creation", ids, nil)
	}
	if c.Change > 0 {
		got := st.changeRandom(s, c.Change, c.At, c.VisibleAfter)
		ids = append(ids, got...)
		s.tell(st, "propertyChange", got, nil)
	}
	for _, step := range []struct {
		what string // "" for what HubSpot tells nobody
		ids  []string
		do   func(*record) error
	}{
		{"propertyChange", c.IDs, st.setter(s, c)},
		{"", c.Hide, st.hide},
		{"deletion", c.Archive, st.mover(s, archived)},
		{"restore", c.Restore, st.mover(s, live)},
		{st.purging(), c.Delete, st.mover(s, purged)},
	} {
		got, err := st.each(step.ids, step.do)
		ids = append(ids, got...)
		if step.what != "" {
			s.tell(st, step.what, got, nil)
		}
		if err != nil {
			return ids, fmt.Errorf("change %s: %w", object, err)
		}
	}
	for _, m := range c.Merge {
		got, err := s.merge(st, m, c.At, c.VisibleAfter)
		ids = append(ids, got...)
		if err != nil {
			return ids, fmt.Errorf("change %s: %w", object, err)
		}
	}
	return ids, nil
}

// Object is a record as it truly is.
type Object struct {
	ID         string             `json:"id"`
	State      string             `json:"state"`     // live, archived, purged or merged
	UpdatedAt  time.Time          `json:"updatedAt"` // whole milliseconds, UTC
	ArchivedAt *time.Time         `json:"archivedAt,omitempty"`
	MergedInto string             `json:"mergedInto,omitempty"` // the next of the chain
	Properties map[string]*string `json:"properties"`
}

// Truth returns all records of an object in the order of their ids, purged
// and merged ones without properties; nil for an object that does not exist.
func (s *Simulator) Truth(object string) []Object {
	st, ok := s.stores[object]
	if !ok {
		return nil
	}
	s.schemaMu.RLock()
	defer s.schemaMu.RUnlock()
	return st.truth()
}
