// Package protocol is what daemon and workers say to each other: the messages,
// their encoding and the topics. Any message may be lost, repeated, reordered
// or late; the numbers in it (store, epoch, attempt, process, range, seq) are
// what makes that harmless.
package protocol

// Heartbeat is the state of a worker process, sent on connecting, on every
// change and every few seconds. It is what the daemon decides by.
type Heartbeat struct {
	Worker  string `json:"worker"`
	Process string `json:"process"`
	Version string `json:"version,omitempty"`
	Time    string `json:"time,omitempty"` // for people; never compared
	Beat    uint64 `json:"beat,omitempty"` // grows with each heartbeat of the process
	// Store is the one whose messages the worker last heard; "" at first.
	Store string `json:"store,omitempty"`
	// Portals are those whose credentials the worker has; Capacity is how
	// many attempts it takes at once.
	Portals  []string `json:"portals,omitempty"`
	Capacity int      `json:"capacity,omitempty"`
	// Leaving says that the process stops: it holds nothing any more.
	Leaving  bool             `json:"leaving,omitempty"`
	Attempts []AttemptReport  `json:"attempts,omitempty"`
	Declined []uint64         `json:"declined,omitempty"`
	Failed   []AttemptFailure `json:"failed,omitempty"`
	// Usage is what the process has asked of its portals today.
	Usage []PortalUsage `json:"usage,omitempty"`
	// Journals are those that the process has credentials for.
	Journals []PortalJournal `json:"journals,omitempty"`
}

// PortalUsage is what a process has asked of a portal in the portal's own day,
// and what it knows of the limits. Numbers that are not known are 0.
type PortalUsage struct {
	Portal string `json:"portal"`
	// Day is the date where the portal is, DayEnds its midnight, RFC 3339, by
	// HubSpot's clock.
	Day     string `json:"day"`
	DayEnds string `json:"day_ends,omitempty"`
	// Ceiling is how many requests HubSpot lets through in WindowSeconds, Rate
	// how many a second are made at most now, SearchRate the same of searches.
	Ceiling       int64   `json:"ceiling,omitempty"`
	WindowSeconds float64 `json:"window_seconds,omitempty"`
	Rate          float64 `json:"rate,omitempty"`
	SearchRate    float64 `json:"search_rate,omitempty"`
	// BurstUsed is how many of the Ceiling are used of the window until now.
	BurstUsed int64 `json:"burst_used,omitempty"`
	// Daily is the account's limit of a day, Remaining what is left of it for
	// everybody.
	Daily     int64 `json:"daily,omitempty"`
	Remaining int64 `json:"remaining,omitempty"`
	// Throttled says why nothing is asked now, or nothing searched, and until when.
	Throttled *Wait `json:"throttled,omitempty"`
	// Requests are counted by stream and kind of work since the day or the
	// process began; they only grow.
	Requests map[string]map[string]uint64 `json:"requests,omitempty"`
	// Replies are counted likewise, by what they were: ok, limited, refused or
	// failed.
	Replies map[string]uint64 `json:"replies,omitempty"`
}

// AttemptReport is how one attempt stands at its worker.
type AttemptReport struct {
	Attempt uint64 `json:"attempt"`
	// Began is HubSpot's time of the attempt's first reply, ms; 0 before.
	Began    int64         `json:"began,omitempty"`
	Account  *Account      `json:"account,omitempty"`
	Progress uint64        `json:"progress"` // grows with each reply and answer
	Requests uint64        `json:"requests"`
	Ranges   []RangeReport `json:"ranges,omitempty"`
	Wait     *Wait         `json:"wait,omitempty"`
}

// RangeReport is the seq of the next page that the worker would make.
type RangeReport struct {
	ID  uint32 `json:"id"`
	Seq uint64 `json:"seq"`
}

// Wait says why an attempt makes no progress: "throttled" by HubSpot's limits,
// or "failing" and trying again.
type Wait struct {
	Kind   string `json:"kind"`
	Reason string `json:"reason"`
	Until  string `json:"until,omitempty"` // RFC 3339, by HubSpot's clock
	// Hint is what a person can do about it, "" where it goes by itself.
	Hint string `json:"hint,omitempty"`
}

// AttemptFailure is an attempt that the worker gave up; it is listed until a
// cancel confirms it.
type AttemptFailure struct {
	Attempt uint64  `json:"attempt"`
	Problem Problem `json:"problem"`
}

// Problem is the reason of a failure, in the words of problem+json. Blocked
// says that a person has to act.
type Problem struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Detail  string `json:"detail,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Blocked bool   `json:"blocked,omitempty"`
}

// Account is whose data a token reads.
type Account struct {
	ID       int64  `json:"id"`
	TimeZone string `json:"time_zone,omitempty"`
	Currency string `json:"currency,omitempty"`
}

// CommandType is what a command asks of a worker.
type CommandType string

// The commands. Cancel also confirms what was declined or failed.
const (
	FetchCommand  CommandType = "fetch"
	CancelCommand CommandType = "cancel"
)

// Command is an order of the daemon to one worker process.
type Command struct {
	Type    CommandType `json:"type"`
	Store   string      `json:"store"`
	Epoch   uint64      `json:"epoch"`
	Process string      `json:"process"`
	Attempt uint64      `json:"attempt"`
	Beat    uint64      `json:"beat,omitempty"` // the newest that was heard of the process
	Fetch   *Fetch      `json:"fetch,omitempty"`
}

// Fetch is everything that an attempt needs, credentials excepted.
type Fetch struct {
	Run    string `json:"run"`
	Stream string `json:"stream"`
	Kind   string `json:"kind"`
	Portal string `json:"portal"`
	Object string `json:"object"`
	// Properties and Exclude are patterns over property names; Volatile names
	// those that never make a change by themselves.
	Properties []string `json:"properties,omitempty"`
	Exclude    []string `json:"exclude,omitempty"`
	Volatile   []string `json:"volatile,omitempty"`
	// Associations are the objects with which the records' associations are
	// kept.
	Associations []string `json:"associations,omitempty"`
	// History are patterns over the names of the properties that are read: of
	// which of them the earlier values are kept.
	History []string `json:"history,omitempty"`
	// Account is the HubSpot account that the stream's data came from, 0 when
	// none was read yet. Another one must not be read.
	Account int64 `json:"account,omitempty"`
	// SchemaHash names the property list in use, SchemaAsOf when it was read.
	SchemaHash string `json:"schema_hash,omitempty"`
	SchemaAsOf int64  `json:"schema_as_of,omitempty"`
	Began      int64  `json:"began,omitempty"`
	// Whole says that the list is not to be shared by several walkers: it has
	// been tried, and ids did not come in their order.
	Whole bool `json:"whole,omitempty"`
	// ByList is the number of records from which on the whole list costs less than
	// to search for them and read them by name, 0 where it never does.
	ByList int64 `json:"by_list,omitempty"`
	// From is the lower end of what the run reads for the first time: the newest
	// window begins a little before it.
	From int64 `json:"from,omitempty"`
	// Count asks how many live records there are in all.
	Count bool `json:"count,omitempty"`
	// Parents are the objects, or pairs of objects ("contacts/companies"), that
	// the stream is read for, where that is for the configuration to say.
	Parents []string `json:"parents,omitempty"`
	// Notes are what the last run that ended left for this one; see Page.
	Notes  string  `json:"notes,omitempty"`
	Ranges []Range `json:"ranges"`
}

// Range is a range as the ledger has it.
type Range struct {
	ID     uint32 `json:"id"`
	Kind   string `json:"kind"` // list, sweep, archived, window, ids, known, whole, events, log
	Lo     int64  `json:"lo,omitempty"`
	Hi     int64  `json:"hi,omitempty"` // 0: until Began
	IDLo   uint64 `json:"id_lo,omitempty"`
	IDHi   uint64 `json:"id_hi,omitempty"`
	Newest bool   `json:"newest,omitempty"`
	// Has, of a window, are properties one of which its records have.
	Has    []string `json:"has,omitempty"`
	Seq    uint64   `json:"seq"`
	Cursor string   `json:"cursor"`
	Want   []Listed `json:"want,omitempty"`
	Again  []string `json:"again,omitempty"`
	Last   bool     `json:"last,omitempty"` // when Want is empty the range ends
	// Ask says that what is wanted may be gone, and that this is an answer.
	Ask bool `json:"ask,omitempty"`
}

// Listed is an id with the version that HubSpot named (0: any).
type Listed struct {
	ID      string `json:"id"`
	Version int64  `json:"v"`
	// Parts says that the record's associations are wanted, Past, that the
	// history of its properties is; Known, that they alone are.
	Parts bool `json:"p,omitempty"`
	Past  bool `json:"h,omitempty"`
	Known bool `json:"k,omitempty"`
	// Digest names the content where a listing of whole records was read; it
	// is zero where only versions were.
	Digest [16]byte `json:"-"`
	// ArchivedAt, of a listing of what is archived, is since when (ms; 0 where
	// HubSpot does not say): a record that was restored and archived again
	// between two listings has nothing else that moved.
	ArchivedAt int64 `json:"-"`
}

// Merge says that HubSpot made one record of several: those From are now part
// of Into.
type Merge struct {
	Into string   `json:"into"`
	From []string `json:"from"`
}

// AnswerType is what an answer says.
type AnswerType string

// The answers: Seen and Displaced to heartbeats, the others to pages.
const (
	Seen      AnswerType = "seen"
	Displaced AnswerType = "displaced"
	Committed AnswerType = "committed"
	Fenced    AnswerType = "fenced"
	Refused   AnswerType = "refused"
	Busy      AnswerType = "busy"
)

// Answer is what the daemon says to a heartbeat or a page.
type Answer struct {
	Type    AnswerType `json:"type"`
	Store   string     `json:"store"`
	Epoch   uint64     `json:"epoch"`
	Process string     `json:"process"`
	Attempt uint64     `json:"attempt,omitempty"`
	Range   uint32     `json:"range"`
	Seq     uint64     `json:"seq"`
	Beat    uint64     `json:"beat,omitempty"` // as in Command
	// Want answers a listing: what has to be fetched. Again answers records:
	// those of them that were older than what is stored and have to be read
	// again, later, to be believed.
	Want  []Listed `json:"want,omitempty"`
	Again []string `json:"again,omitempty"`
	// Brought answers records and parts: nothing more of what was wanted before
	// is. A merge may make it so before all of it was read.
	Brought bool `json:"brought,omitempty"`
	// Cursor is the range's position after the page; RangeEnded and RunEnded
	// say what else its commit did.
	Cursor     string `json:"cursor,omitempty"`
	RangeEnded bool   `json:"range_ended,omitempty"`
	RunEnded   bool   `json:"run_ended,omitempty"`
	// Ranges, after a split and after the end of a range, are the run's ranges
	// as they now are.
	Ranges []Range `json:"ranges,omitempty"`
	Reason string  `json:"reason,omitempty"`
	// Journals answer those of a heartbeat.
	Journals []JournalPlace `json:"journals,omitempty"`
}
