package stream

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
