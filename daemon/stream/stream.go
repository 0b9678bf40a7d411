// Package stream is the domain of the daemon: streams, runs, ranges and
// records, and the rules that need nothing but them. It knows no store, no
// broker and no HTTP.
package stream

import (
	"maps"
	"time"
)

// Stream is what the ledger durably knows of a stream, its configuration and
// its counters apart. Times of HubSpot are milliseconds since 1970 by
// HubSpot's clock; times of ours are time.Time.
type Stream struct {
	Name string `json:"name"`
	// Portal names the HubSpot account that the data came from.
	Portal string `json:"portal"`
	Object string `json:"object"`

	// Active says that the schedule runs. SetBy says who decided last: "file"
	// or "api"; FileActive and FileInterval, which may be a cron expression, are
	// what the file said when it was last read, so that a reload changes only what
	// changed there.
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
	DueAt time.Time `json:"due_at,omitzero"`
	// DueAgain is the same for what was heard of while DueAt was set, zero for
	// nothing.
	DueAgain time.Time `json:"due_again,omitzero"`
	RetryAt  time.Time `json:"retry_at"` // nothing is started before
	Fails    int       `json:"fails,omitempty"`
	LastRun  string    `json:"last_run,omitempty"`
	Error    *Problem  `json:"error,omitempty"`

	// ArchivedAt and ReconciledAt are when the last walk of that kind began;
	// ReconcileNow asks for one as soon as no other walk runs, and AcceptNext
	// for one that takes every absence for a deletion. ReconcileAsked says that
	// somebody has asked for it: it is made of a stopped stream, too.
	ArchivedAt   time.Time `json:"archived_at,omitzero"`
	ReconciledAt time.Time `json:"reconciled_at,omitzero"`
	AssociatedAt time.Time `json:"associated_at,omitzero"`
	ReconcileNow bool      `json:"reconcile_now,omitempty"`

	ReconcileAsked bool `json:"reconcile_asked,omitempty"`
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
