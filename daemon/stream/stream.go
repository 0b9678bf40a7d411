// Package stream is the domain of the daemon: streams, runs, ranges and
// records, and the rules that need nothing but them. It knows no store, no
// broker and no HTTP.
package stream

import (
	"encoding/json"
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

// Problem is why something does not work, in the words of problem+json: what
// happened (Detail) and what to do about it (Hint). It never holds a secret.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status,omitempty"`
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
	// Blocked says that a person has to act before another try makes sense.
	Blocked bool `json:"blocked,omitempty"`
}

// Stream is what the ledger durably knows of a stream, its configuration and
// its counters apart. Times of HubSpot are milliseconds since 1970 by
// HubSpot's clock; times of ours are time.Time.
type Stream struct {
	Name string `json:"name"`
	// Portal names the HubSpot account that the data came from.
	Portal string `json:"portal"`
	Object string `json:"object"`

	// Active says that the schedule runs. SetBy says who decided last: "file"
	// or "api"; FileActive and FileInterval are what the file said when it was
	// last read, so that a reload changes only what changed there.
	Active       bool   `json:"active"`
	Interval     string `json:"interval,omitempty"` // set by "start … every D"; empty: the file's
	SetBy        string `json:"set_by"`
	FileActive   bool   `json:"file_active"`
	FileInterval string `json:"file_interval"`

	// Since is the start date that was configured last, in ms of modification
	// times: what is older was left out. 0 is none.
	Since int64 `json:"since,omitempty"`

	// Cursor is where the next incremental run continues; 0 until a backfill
	// has begun.
	Cursor int64 `json:"cursor"`
	// CursorAt is a time by our clock at which HubSpot's was past Cursor.
	CursorAt time.Time `json:"cursor_at,omitzero"`
	// Windows are those below Cursor that are still to be read again, oldest
	// first, without overlap.
	Windows    []Window `json:"windows,omitempty"`
	Backfilled bool     `json:"backfilled"`
	// Open are ids that HubSpot named and would not hand out.
	Open []OpenID `json:"open,omitempty"`
	// Hints are records that HubSpot says have changed, as far as no run reads
	// them yet. They are dropped with the schedule: what they name is found by
	// search, the archived sweep and the reconcile all the same.
	Hints []Listed `json:"hints,omitempty"`
	// Unfinished is the stopped or failed walk whose ranges the next walk of
	// its kind takes over.
	Unfinished string `json:"unfinished,omitempty"`

	// Lists are the hashes of the property lists that records were read with,
	// oldest first; the last is the current one. SchemaAsOf is when the
	// definitions were last read (HubSpot's clock).
	Lists      []string `json:"lists,omitempty"`
	ListBase   uint32   `json:"list_base"` // generation of Lists[0]
	SchemaAsOf int64    `json:"schema_as_of,omitempty"`

	LastStarted time.Time `json:"last_started"` // of the incremental run
	// DueAt is when an incremental run is due besides the schedule, zero for never:
	// HubSpot could not tell what has changed, or it was too much.
	DueAt   time.Time `json:"due_at,omitzero"`
	RetryAt time.Time `json:"retry_at"` // nothing is started before
	Fails   int       `json:"fails,omitempty"`
	LastRun string    `json:"last_run,omitempty"`
	Error   *Problem  `json:"error,omitempty"`

	// ArchivedAt and ReconciledAt are when the last walk of that kind began;
	// ReconcileNow asks for one as soon as no other walk runs, and AcceptNext
	// for one that takes every absence for a deletion.
	ArchivedAt   time.Time `json:"archived_at,omitzero"`
	ReconciledAt time.Time `json:"reconciled_at,omitzero"`
	AssociatedAt time.Time `json:"associated_at,omitzero"`
	ReconcileNow bool      `json:"reconcile_now,omitempty"`
	// Counted is how many live records HubSpot had at CountedAt, by our clock; nil
	// before it was asked. Fallen says that there were fewer than the time before:
	// some were archived, and the archived ones are read early.
	Counted    *int64    `json:"counted,omitempty"`
	CountedAt  time.Time `json:"counted_at,omitzero"`
	Fallen     bool      `json:"fallen,omitempty"`
	AcceptNext bool      `json:"accept_next,omitempty"`
	// ReconcileOwed says that the last one did not come to its end: it is made
	// again, but not at once.
	ReconcileOwed bool `json:"reconcile_owed,omitempty"`
	// ListAt is when the property list changed last, and Fresh the generation
	// with which every record has been compared since: below it none is stale.
	ListAt time.Time `json:"list_at,omitzero"`
	Fresh  uint32    `json:"fresh,omitempty"`
	// Vanished are properties that HubSpot's definitions do not have any more,
	// with HubSpot's time (ms) of the definitions that lacked them first. Records
	// keep the last values of them.
	Vanished map[string]int64 `json:"vanished,omitempty"`
	// Choice is by which patterns the property list in use was chosen, nil where
	// that is not known. Wide says that its names are too long for an address:
	// reading a list takes two requests a page then. Fill are those that came to
	// the list and that no run has brought to the records yet.
	Choice *Choice  `json:"choice,omitempty"`
	Wide   bool     `json:"wide,omitempty"`
	Fill   []string `json:"fill,omitempty"`
	// Linked are the objects with which the associations that are stored were
	// read, sorted.
	Linked []string `json:"linked,omitempty"`
	// History is which history the stream keeps, nil for none; HistoryRead says
	// that it has been read of every record, and HistoryFrom is the id up to
	// which a run has that did not end.
	History     *HistoryChoice `json:"history,omitempty"`
	HistoryRead bool           `json:"history_read,omitempty"`
	HistoryFrom string         `json:"history_from,omitempty"`
	// HistoryOwed says that a history run that goes on, or goes on from there, does
	// not read it of every record: of some it may be missing behind its place.
	HistoryOwed bool `json:"history_owed,omitempty"`
	// Missing counts the records that the store has lost and that no reconcile
	// has brought back yet.
	Missing uint64 `json:"missing,omitempty"`
	// Brake is why a walk ended no record: too many were absent. It holds
	// nothing else up.
	Brake *Problem `json:"brake,omitempty"`

	// LastReport is what the last reconcile that came to its end found, and
	// ReportedAt when that was: runs themselves are not kept for ever. It is
	// replaced, never changed in place.
	LastReport *Report   `json:"last_report,omitempty"`
	ReportedAt time.Time `json:"reported_at,omitzero"`

	// Notes are what the last run that ended has left to the next, in the
	// worker's words.
	Notes string `json:"notes,omitempty"`

	Regressed uint64 `json:"regressed,omitempty"` // older versions that HubSpot confirmed
	Dropped   uint64 `json:"dropped,omitempty"`   // readings older than what was stored
}

// Choice is which properties a configuration asks for, by patterns over their
// names. It is replaced, never changed in place.
type Choice struct {
	Properties []string `json:"properties,omitempty"`
	Exclude    []string `json:"exclude,omitempty"`
}

// Window is a half-open span of modification times [Lo, Hi) that was read when
// it was fresh. Level counts the settle passes that it has had.
type Window struct {
	Lo    int64 `json:"lo"`
	Hi    int64 `json:"hi"`
	Level int   `json:"level"`
}

// OpenID is a record that HubSpot named in a listing but could not be read.
type OpenID struct {
	ID      string `json:"id"`
	Version int64  `json:"version"`
	Reason  string `json:"reason"`
	// TooLarge says that the broker cannot carry the record: a person has to
	// raise its limit.
	TooLarge bool `json:"too_large,omitempty"`
}

// CompleteUntil is the end of the last window that had its last pass, in ms of
// HubSpot's time; 0 while the first backfill has not ended.
func (s *Stream) CompleteUntil() int64 {
	switch {
	case !s.Backfilled:
		return 0
	case len(s.Windows) > 0:
		return s.Windows[0].Lo
	}
	return s.Cursor
}

// Generation returns the number of the property list with this hash, and
// whether the stream has ever used it. Later lists have higher numbers.
func (s *Stream) Generation(hash string) (uint32, bool) {
	for i := len(s.Lists) - 1; i >= 0; i-- {
		if s.Lists[i] == hash {
			return s.ListBase + uint32(i), true
		}
	}
	return 0, false
}

// keptLists bounds how many old property lists are told apart: a record made
// from an older one than these is as stale as from any other old one.
const keptLists = 16

// UseList makes hash the current property list.
func (s *Stream) UseList(hash string) {
	if n := len(s.Lists); n > 0 && s.Lists[n-1] == hash {
		return
	}
	s.Lists = append(append([]string(nil), s.Lists...), hash)
	if drop := len(s.Lists) - keptLists; drop > 0 {
		s.Lists = s.Lists[drop:]
		s.ListBase += uint32(drop)
	}
}

// CurrentList is the hash of the list in use, "" before the definitions were
// first read.
func (s *Stream) CurrentList() string {
	if len(s.Lists) == 0 {
		return ""
	}
	return s.Lists[len(s.Lists)-1]
}

// Clone returns a copy that shares nothing that is changed in place.
func (s *Stream) Clone() *Stream {
	c := *s
	c.Windows = append([]Window(nil), s.Windows...)
	c.Open = append([]OpenID(nil), s.Open...)
	c.Hints = append([]Listed(nil), s.Hints...)
	c.Lists = append([]string(nil), s.Lists...)
	c.Linked = append([]string(nil), s.Linked...)
	c.Fill = append([]string(nil), s.Fill...)
	c.Vanished = maps.Clone(s.Vanished)
	return &c
}

// Run is one fetch of a stream.
type Run struct {
	ID      string    `json:"id"`
	Stream  string    `json:"stream"`
	Portal  string    `json:"portal"`
	Kind    Kind      `json:"kind"`
	State   RunState  `json:"state"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
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
	// above it was read since, and is not missing. Accept says that absence
	// ends records however many they are; Braked, that it ends none, because
	// they are too many.
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

// RangeKind is how a range is fetched.
type RangeKind string

// The kinds of range. The cursor of a List is HubSpot's `after`; of a Sweep
// (ids with versions, by list) and of an Archived (the same of the archived)
// too; of a Span (a search window) it is "" until the window has ended; Ids
// have none. Known are the ids that the store has, from Cursor to UpTo, a
// chunk at a time. The streams outside the CRM's contract have Whole (every row,
// in the order of ids; its cursor is the id that it has come to), Events (a
// span of time; its cursor is the time that it has come to) and Log (newest
// first, of each form; its cursor is the worker's).
const (
	ListRange     RangeKind = "list"
	SweepRange    RangeKind = "sweep"
	ArchivedRange RangeKind = "archived"
	SpanRange     RangeKind = "window"
	IdsRange      RangeKind = "ids"
	KnownRange    RangeKind = "known"
	WholeRange    RangeKind = "whole"
	EventsRange   RangeKind = "events"
	LogRange      RangeKind = "log"
)

// Listed is an id with the version that HubSpot named for it (0: whatever it
// has now).
type Listed struct {
	ID      string `json:"id"`
	Version int64  `json:"version"`
	// Parts says that the record's associations are wanted, too, Past, that the
	// history of its properties is; Known, that they alone are.
	Parts bool `json:"parts,omitempty"`
	Past  bool `json:"past,omitempty"`
	Known bool `json:"known,omitempty"`
}

// Range is a part of a run with its own cursor and sequence of pages.
type Range struct {
	ID     uint32    `json:"id"`
	Kind   RangeKind `json:"kind"`
	Lo     int64     `json:"lo,omitempty"`
	Hi     int64     `json:"hi,omitempty"` // 0: until the run's Began
	IDLo   uint64    `json:"id_lo,omitempty"`
	IDHi   uint64    `json:"id_hi,omitempty"` // 0: unbounded
	Newest bool      `json:"newest,omitempty"`
	// Has, of a window, are properties one of which its records have.
	Has []string `json:"has,omitempty"`
	// Phase is when the range is at work; see Run.
	Phase uint16 `json:"phase,omitempty"`
	// Ask says that what is wanted may be gone: what HubSpot has neither live
	// nor archived comes back as that.
	Ask bool `json:"ask,omitempty"`
	// Hinted says that an Ids range reads what HubSpot has named by itself.
	Hinted bool `json:"hinted,omitempty"`
	// Parts says that a Known range wants the records' associations, Past, that
	// it wants their history.
	Parts bool `json:"parts,omitempty"`
	Past  bool `json:"past,omitempty"`
	// New says that a Known range is about the records that the stream has read
	// since the run was made alone.
	New bool `json:"new,omitempty"`
	// Reached is the id up to which the listings of a walk have come, and
	// Disorder that they went back: from then on nothing counts as absent.
	Reached  string `json:"reached,omitempty"`
	Disorder bool   `json:"disorder,omitempty"`
	UpTo     string `json:"up_to,omitempty"` // the last id of a Known range, "" for all
	// Refilled says that the last page brought the rest of what a Known range
	// wanted, and that Want is the next of it.
	Refilled bool `json:"refilled,omitempty"`
	// Notes are what the run leaves to the next when it ends; see Stream.
	Notes string `json:"notes,omitempty"`

	// Guest is the run of a record that somebody asked for while another walk
	// went on: it is this range, and ends with it.
	Guest *Run `json:"guest,omitempty"`

	Seq    uint64 `json:"seq"` // of the next page
	Cursor string `json:"cursor"`
	Ended  bool   `json:"ended,omitempty"`
	// Digest is of the last committed page, so that a repeat is known.
	Digest string `json:"digest,omitempty"`
	// Want is what a listing left to fetch; To and Last are what happens when
	// it is empty. Again are those of the last page that have to be read
	// again, since what came was older than what is stored.
	Want  []Listed `json:"want,omitempty"`
	Again []string `json:"again,omitempty"`
	To    string   `json:"to,omitempty"`
	Last  bool     `json:"last,omitempty"`
}

// Clone returns a copy that shares nothing that is changed in place.
func (r *Range) Clone() *Range {
	c := *r
	c.Want = append([]Listed(nil), r.Want...)
	c.Again = append([]string(nil), r.Again...)
	if r.Guest != nil {
		c.Guest = r.Guest.Clone()
	}
	return &c
}

// Worker is what the ledger durably knows of a worker id: the process that
// has it, and those that lost it.
type Worker struct {
	ID        string   `json:"id"`
	Process   string   `json:"process"`
	Displaced []string `json:"displaced,omitempty"`
}

// Answered is a command that was done, with its answer as it was sent: the same
// command under the same id is answered again and not done again. Digest names
// the command; "" is one that was kept before there were digests. Door is where
// it came in: "" is the control topic.
type Answered struct {
	ID     string          `json:"id"`
	Door   string          `json:"door,omitempty"`
	Digest string          `json:"digest,omitempty"`
	At     time.Time       `json:"at"`
	Answer json.RawMessage `json:"answer"`
}

// Erasure is a record that a person had erased: all that was held of it but its
// id has gone, and what HubSpot may still have of it is not taken in again.
type Erasure struct {
	Stream string    `json:"stream"`
	Record string    `json:"record"`
	At     time.Time `json:"at"`
}

// Portal is what the ledger durably knows of a portal.
type Portal struct {
	Name     string `json:"name"`
	Account  int64  `json:"account"` // HubSpot's portal id; 0 until first contact
	TimeZone string `json:"time_zone,omitempty"`
	Currency string `json:"currency,omitempty"`
	// Usage is replaced, never changed in place; nil before the first report.
	Usage *Usage `json:"usage,omitempty"`
	// Journal likewise; nil before one was read.
	Journal *Journal `json:"journal,omitempty"`
}

// Journal is how far HubSpot's journal of changes has been read.
type Journal struct {
	Place string `json:"place,omitempty"`
	// PulledAt is when HubSpot last said what lies behind Place, by our clock and
	// some minutes late.
	PulledAt time.Time `json:"pulled_at,omitzero"`
	// Gap is why something was missing last, and GapAt when that was seen.
	Gap   string    `json:"gap,omitempty"`
	GapAt time.Time `json:"gap_at,omitzero"`
}

// Property is one property definition of HubSpot.
type Property struct {
	Name       string `json:"name"`
	Label      string `json:"label,omitempty"`
	Type       string `json:"type"`
	FieldType  string `json:"fieldType,omitempty"`
	Group      string `json:"groupName,omitempty"`
	Calculated bool   `json:"calculated,omitempty"`
	Sensitive  bool   `json:"sensitive,omitempty"`
	// Options are the values of an enumeration, in HubSpot's order; Unlisted says
	// that there are some, and too many to be kept.
	Options  []Option `json:"options,omitempty"`
	Unlisted bool     `json:"unlisted,omitempty"`
}

// Option is a value that a property may have.
type Option struct {
	Value  string `json:"value"`
	Label  string `json:"label"`
	Hidden bool   `json:"hidden,omitempty"`
}

// Error makes a Problem an error: its title and detail.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}
