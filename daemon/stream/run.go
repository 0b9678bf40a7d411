package stream

import (
	"maps"
	"time"
)

// Kind is what a run does.
type Kind string

// The kinds of run. Incremental is the one that moves a stream's cursor, Hinted
// reads in its place, and at once, what HubSpot says has changed; all others are
// walks, of which a stream has at most one at a time.
const (
	Incremental Kind = "incremental"
	Backfill    Kind = "backfill"
	// ArchivedSweep reads the list of archived records, and what left it.
	ArchivedSweep Kind = "archived"
	// Reconcile holds everything against HubSpot, an archived sweep included.
	Reconcile Kind = "reconcile"
	// Associations reads the associations of every record.
	Associations Kind = "associations"
	// History reads the history of properties of every record.
	History Kind = "history"
	// Fill reads the records that have a value of a new property.
	Fill      Kind = "fill"
	OneRecord Kind = "record"
	// Hinted reads the records that HubSpot's webhooks or its journal have named.
	Hinted Kind = "hint"
)

// Walk tells whether a run of this kind is a walk (everything that is neither
// incremental nor hinted): a stream has at most one of these and one walk.
func (k Kind) Walk() bool { return k != Incremental && k != Hinted }

// RunState is how a run stands.
type RunState string

// The states of a run. Only Running has attempts.
const (
	Running RunState = "running"
	Done    RunState = "done"
	Failed  RunState = "failed"
	Stopped RunState = "stopped"
)

// Run is one fetch of a stream.
type Run struct {
	ID      string    `json:"id"`
	Stream  string    `json:"stream"`
	Portal  string    `json:"portal"`
	Kind    Kind      `json:"kind"`
	State   RunState  `json:"state"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	// WalkSince is when the first of the walks was made that this one goes on with,
	// zero where it began anew; see Since.
	WalkSince time.Time `json:"walk_since,omitzero"`
	// Began is HubSpot's time (ms) of the run's first reply: the upper end of
	// its newest window. Written once, before any of its pages.
	Began int64 `json:"began,omitempty"`

	// Attempt is the attempt that holds the run, 0 when none does; Worker and
	// Process are its holder.
	Attempt uint64 `json:"attempt,omitempty"`
	Worker  string `json:"worker,omitempty"`
	Process string `json:"process,omitempty"`
	// Fruitless counts attempts in a row that committed nothing; NotBefore is
	// when the next may begin.
	Fruitless int       `json:"fruitless,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`

	// Settle are the windows that this run reads again; From is the lower end
	// of what it reads for the first time.
	Settle []Window `json:"settle,omitempty"`
	From   int64    `json:"from,omitempty"`
	// NextRange is the id that the next range of a split gets; Phase is that of
	// the ranges at work: the next begins when all of them have ended.
	NextRange uint32 `json:"next_range"`
	Phase     uint16 `json:"phase,omitempty"`

	// Whole says that the list is read by one walker, since its ids did not come
	// in their order.
	Whole bool `json:"whole,omitempty"`
	// Feed is the feed's position when the run was made: a record that stands
	// above it was read since, and is not missing, unless only its associations
	// were. Accept says that absence ends records however many they are;
	// Braked, that it ends none, because they are too many.
	Feed   uint64 `json:"feed,omitempty"`
	Accept bool   `json:"accept,omitempty"`
	Braked bool   `json:"braked,omitempty"`
	// Expired counts the candidates that do not count for that: archived so long
	// ago that HubSpot was to let them go.
	Expired uint64  `json:"expired,omitempty"`
	Report  *Report `json:"report,omitempty"`
	// Linked are the objects whose associations the run reads of every record.
	Linked []string `json:"linked,omitempty"`
	// Fill are the properties that a Fill brings to the records; ByList says why a
	// run reads the whole list instead of what search names.
	Fill   []string `json:"fill,omitempty"`
	ByList string   `json:"by_list,omitempty"`
	// Pass is what an incremental run found in windows that it read again, nil
	// where it read none again.
	Pass *Pass `json:"pass,omitempty"`

	// Asked says that a person asked for the run: it does not wait for its
	// share of the portal's day.
	Asked bool `json:"asked,omitempty"`

	Records  uint64 `json:"records"`
	Pages    uint64 `json:"pages"`
	Requests uint64 `json:"requests"` // of all attempts
	// RequestsBefore are those of the attempts before this one, each of which
	// counts from nothing.
	RequestsBefore uint64   `json:"requests_before,omitempty"`
	Error          *Problem `json:"error,omitempty"`
}

// Since is from when on what the run has read may be: a walk that was taken up
// again has read its beginning before it was made.
func (r *Run) Since() time.Time {
	if r.WalkSince.IsZero() {
		return r.Started
	}
	return r.WalkSince
}

// Clone returns a copy that shares nothing that is changed in place.
func (r *Run) Clone() *Run {
	c := *r
	if r.Report != nil {
		report := *r.Report
		c.Report = &report
	}
	if r.Pass != nil {
		pass := *r.Pass
		c.Pass = &pass
	}
	return &c
}

// Pass is what came of reading windows again that had been read when they were
// fresh.
type Pass struct {
	Settled uint64 `json:"settled"` // windows
	Late    uint64 `json:"late"`    // records of theirs that HubSpot had not named before
}

// Report is what a walk found when it held the store against HubSpot.
type Report struct {
	Checked    uint64 `json:"checked"`    // records that HubSpot listed
	Missing    uint64 `json:"missing"`    // of them not in the store
	Stale      uint64 `json:"stale"`      // of them in the store otherwise
	Candidates uint64 `json:"candidates"` // in the store and not listed
	Gone       uint64 `json:"gone"`       // of them not in HubSpot any more: purged
	Merged     uint64 `json:"merged"`
	Restored   uint64 `json:"restored"`
	Archived   uint64 `json:"archived"`
	Repaired   uint64 `json:"repaired"` // records that the run wrote
	Requests   uint64 `json:"requests"`
	Seconds    uint64 `json:"seconds"`
	// Disorder says that ids came out of their order: the walk proves no
	// absence.
	Disorder bool `json:"disorder,omitempty"`
	// Untyped counts, by property, the values that are not of the property's type:
	// text in a number. It is replaced, never changed in place.
	Untyped map[string]uint64 `json:"untyped,omitempty"`
}

// MaxUntyped bounds the properties of which a report counts untyped values.
const MaxUntyped = 1000

// AddUntyped adds counts.
func (r *Report) AddUntyped(counts map[string]uint64) {
	if len(counts) == 0 {
		return
	}
	sum := maps.Clone(r.Untyped)
	if sum == nil {
		sum = map[string]uint64{}
	}
	for name, n := range counts {
		if _, known := sum[name]; known || len(sum) < MaxUntyped {
			sum[name] += n
		}
	}
	r.Untyped = sum
}
