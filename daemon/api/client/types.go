// Package client is the typed client of hubpipe's HTTP API, and the words that
// it and the server share. It depends on no part of the daemon, so that the
// command line, the dashboard and programs of others can use it.
package client

import (
	"encoding/json"
	"time"
)

// States of a stream, as Status.State has them.
const (
	StateStopped   = "stopped"
	StateWaiting   = "waiting"
	StateRunning   = "running"
	StateThrottled = "throttled"
	StateFailing   = "failing"
	StateBlocked   = "blocked"
)

// States of a run, as Run.State has them. Only a running one changes.
const (
	RunRunning = "running"
	RunDone    = "done"
	RunFailed  = "failed"
	RunStopped = "stopped"
)

// States of a worker, as Worker.State has them.
const (
	WorkerOnline  = "online"
	WorkerOffline = "offline"
)

// Who set a stream's schedule last, as Status.SetBy has it.
const (
	SetByFile = "file"
	SetByAPI  = "api"
)

// Status is how a stream stands. Durations are text as people write them
// ("5m"), times RFC 3339 in UTC; what there is not is null.
type Status struct {
	Name   string `json:"name"`
	Portal string `json:"portal"`
	Object string `json:"object"`
	// State is one of the State constants: the first that is so of blocked,
	// failing, throttled, running and waiting, or stopped.
	State string `json:"state"`
	// Interval is what was asked for ("" for a stream with a cron schedule),
	// EffectiveInterval what the budget leaves of it.
	Interval          string `json:"interval"`
	EffectiveInterval string `json:"effective_interval"`
	// EffectiveReason says why it is longer than Interval, "" where it is not;
	// Budget says the same of other work: "reconcile every 37h: daily limit".
	EffectiveReason string   `json:"effective_reason,omitempty"`
	Budget          []string `json:"budget,omitempty"`
	Cron            string   `json:"cron,omitempty"`
	SetBy           string   `json:"set_by"`
	// Records counts the live ones, Tombstones all others.
	Records    uint64 `json:"records"`
	Tombstones uint64 `json:"tombstones"`
	// LagSeconds is the time since the cursor in whole seconds, null before the
	// first one.
	LagSeconds *int64 `json:"lag_seconds"`
	// CompleteUntil is HubSpot's time up to which every change is here, null
	// before the first backfill ended.
	CompleteUntil *time.Time `json:"complete_until"`
	// OpenIDs counts the records that HubSpot named and would not hand out.
	OpenIDs int        `json:"open_ids"`
	NextRun *time.Time `json:"next_run"`
	// Until is when HubSpot's limit ends for a throttled stream, and when a
	// failing one tries again.
	Until *time.Time `json:"until,omitempty"`
	// Run is the incremental run while it runs, else the walk.
	Run     *Run     `json:"run"`
	LastRun *Run     `json:"last_run"`
	Error   *Problem `json:"error"`
	// Failures is how many runs in a row have failed; there is no number at which
	// they are given up.
	Failures int `json:"failures"`
	// Bytes is what the records take in the store, packed and without their index;
	// null before it was measured, which is some time ago where much is stored.
	Bytes *uint64 `json:"bytes"`
}

// Run is one fetch of a stream.
type Run struct {
	ID     string `json:"id"`
	Stream string `json:"stream"`
	Kind   string `json:"kind"`
	// State is one of the Run constants.
	State    string     `json:"state"`
	Started  time.Time  `json:"started"`
	Ended    *time.Time `json:"ended"`
	Records  uint64     `json:"records"`
	Pages    uint64     `json:"pages"`
	Requests uint64     `json:"requests"`
	// Attempt counts the attempts since the last page that was stored, this one
	// too; after Attempts of them in vain the run fails. Both are 0 when it has
	// ended.
	Attempt  int `json:"attempt"`
	Attempts int `json:"attempts"`
	// Report is what a walk found that held the store against HubSpot: checked,
	// missing, stale, candidates, gone, merged, restored, archived, repaired,
	// requests, seconds, and untyped: by property, how many values are not of the
	// property's type, such as text in a number (they are kept as they are). A run
	// that fills says properties, which; an incremental
	// run that read windows again, settled and late, how many and how many records
	// of theirs HubSpot had not named before; a run that read the whole list since
	// that cost less, by_list, why. Null where there is nothing of the kind.
	Report json.RawMessage `json:"report"`
	Error  *Problem        `json:"error"`
}

// Running tells whether the run may still change.
func (r *Run) Running() bool { return r.State == RunRunning }

// Notification is how a target of messages stands.
type Notification struct {
	Name  string   `json:"name"`
	On    []string `json:"on"`    // kinds
	After string   `json:"after"` // how long a thing must be wrong
	// Sent is when the last message arrived, null before the first; Failed is how
	// often the next one could not be sent.
	Sent   *time.Time `json:"sent"`
	Failed int        `json:"failed"`
	// Problem says why it cannot be used, "" when it can.
	Problem string        `json:"problem,omitempty"`
	Open    []NotifyEvent `json:"open"` // what is wrong, or was and its end is not told yet
}

// NotifyEvent is one thing that is wrong.
type NotifyEvent struct {
	Kind    string    `json:"kind"`
	Subject string    `json:"subject"` // the stream, or "daemon"
	Title   string    `json:"title"`
	Since   time.Time `json:"since"`
	Told    bool      `json:"told"`
}

// Worker is a process that fetches from HubSpot, or the last that bore its
// name.
type Worker struct {
	ID      string `json:"id"`
	Process string `json:"process"`
	Version string `json:"version"`
	// State is online while its heartbeats come, else offline; LastSeen is the
	// time of the last.
	State    string    `json:"state"`
	LastSeen time.Time `json:"last_seen"`
	// Portals are those that it has credentials for, Capacity how many runs it
	// takes at a time, Runs the ids of those that it has.
	Portals  []string `json:"portals"`
	Capacity int      `json:"capacity"`
	Runs     []string `json:"runs"`
}

// Portal is one HubSpot account.
type Portal struct {
	Name string `json:"name"`
	// Account is HubSpot's own number of it, 0 before the first contact.
	Account  int64    `json:"account"`
	TimeZone string   `json:"time_zone"`
	Currency string   `json:"currency"`
	Error    *Problem `json:"error"`
	// Limits are HubSpot's, as far as it has named them.
	Limits Limits `json:"limits"`
	// Day is today's date where the portal is; at DayEnds the daily limit
	// begins anew.
	Day     string    `json:"day"`
	DayEnds time.Time `json:"day_ends"`
	// UsedToday is what hubpipe has asked today, in all, by kind of work
	// (incremental, settle, backfill, reconcile, archived, associations, history,
	// record) and by stream and kind.
	UsedToday    uint64                       `json:"used_today"`
	UsedByKind   map[string]uint64            `json:"used_by_kind"`
	UsedByStream map[string]map[string]uint64 `json:"used_by_stream"`
	// RepliesToday is what came of them: ok, limited (429), refused (another 4xx)
	// or failed (5xx, no reply, or one that cannot be read).
	RepliesToday map[string]uint64 `json:"replies_today"`
	// Remaining is what is left today for everybody who uses the account, null
	// where HubSpot names no daily limit.
	Remaining *int64 `json:"remaining"`
	// Reserve is the share of the daily limit that is left to others, Shares
	// what each kind of work may use, in the order in which they come; empty where
	// HubSpot names no daily limit.
	Reserve float64 `json:"reserve"`
	Shares  []Share `json:"shares"`
	// Throttled says why nothing is asked now, or nothing searched, and until
	// when; null where both may be.
	Throttled *Throttled `json:"throttled"`
	// Journal is how HubSpot's journal of the portal's changes is read, null where
	// none is.
	Journal *Journal `json:"journal"`
}

// Journal is how HubSpot's journal of a portal's changes is read.
type Journal struct {
	// PulledAt is when HubSpot last said what is in it, to the minute; null before
	// it did.
	PulledAt *time.Time `json:"pulled_at"`
	// Gap is why something in it was missing last, and GapAt when that was seen: the
	// streams have asked for all that had changed then. Null where nothing was.
	Gap   *string    `json:"gap"`
	GapAt *time.Time `json:"gap_at"`
	// Error is why it is not read, null where it is.
	Error *Problem `json:"error"`
}

// What came of a request, as Portal.RepliesToday counts it.
const (
	ReplyOK      = "ok"
	ReplyLimited = "limited"
	ReplyRefused = "refused"
	ReplyFailed  = "failed"
)

// Limits are what HubSpot grants a portal; 0 is not known.
type Limits struct {
	// Burst is how many requests are let through in BurstWindow, BurstUsed how
	// many of them are used of the last one, by all who use the account as far as
	// HubSpot has said; searches have a limit of their own. Rate and SearchRate are
	// how many a second hubpipe makes at most, now.
	Burst       int64   `json:"burst"`
	BurstUsed   int64   `json:"burst_used"`
	BurstWindow string  `json:"burst_window"`
	Rate        float64 `json:"rate"`
	SearchRate  float64 `json:"search_rate"`
	Daily       int64   `json:"daily"`
}

// Share is what one kind of work may use of a portal's day.
type Share struct {
	Kind string `json:"kind"`
	// Limit and Used are requests of today; Wanted is what the configured
	// intervals would cost in a day.
	Limit  int64 `json:"limit"`
	Used   int64 `json:"used"`
	Wanted int64 `json:"wanted"`
	// Spent says why this kind of work waits until the day ends, "" where it
	// does not.
	Spent string `json:"spent,omitempty"`
}

// Throttled is why a portal is not asked, until a time that may be null.
type Throttled struct {
	Reason string     `json:"reason"`
	Until  *time.Time `json:"until"`
}

// Record is one HubSpot object as hubpipe holds it. Times are as HubSpot sent
// them, null where there are none; so are property values: strings or null. A
// tombstone of a purged or merged record has no properties.
type Record struct {
	ID string `json:"id"`
	// Seq is its place in the change feed.
	Seq        uint64  `json:"seq"`
	State      string  `json:"state"`
	CreatedAt  *string `json:"createdAt"`
	UpdatedAt  *string `json:"updatedAt"`
	ArchivedAt *string `json:"archivedAt"`
	MergedInto *string `json:"mergedInto"`
	// Properties and Associations are JSON objects, kept as they came.
	Properties   json.RawMessage `json:"properties"`
	Associations json.RawMessage `json:"associations"`
	// History is what the properties have been of which the stream keeps that:
	// of each an array as HubSpot gave it, newest first. nil where it keeps none,
	// or has not read it yet.
	History json.RawMessage `json:"history,omitempty"`
}

// RecordPage is a page of records; Next is the cursor of the page after it, ""
// at the end.
type RecordPage struct {
	Records []Record `json:"records"`
	Next    string   `json:"next"`
}

// Property is one of HubSpot's properties of a stream.
type Property struct {
	Name       string `json:"name"`
	Label      string `json:"label"`
	Type       string `json:"type"`
	FieldType  string `json:"fieldType"`
	Group      string `json:"groupName"`
	Calculated bool   `json:"calculated"`
}

// Line is one line of the daemon's log.
type Line struct {
	Time    time.Time `json:"time"`
	Level   string    `json:"level"`
	Name    string    `json:"name"`
	Message string    `json:"message"`
	// Stream is "" where the line belongs to none.
	Stream string            `json:"stream,omitempty"`
	Fields map[string]string `json:"fields,omitempty"`
}

// Types of event, as Event.Type has them; the data is the object as its route
// gives it, a Line for a log event, and a Daemon for the daemon's own, which
// comes first, and again when streams, workers or portals have gone.
const (
	EventStream = "stream"
	EventRun    = "run"
	EventWorker = "worker"
	EventPortal = "portal"
	EventDaemon = "daemon"
	EventLog    = "log"
	// EventFigures comes when they have changed, at most once in ten seconds.
	EventFigures = "figures"
	// EventDestination comes when more than its figures changed, and of those at
	// most once in a second.
	EventDestination = "destination"
)

// Daemon is the process that answers.
type Daemon struct {
	State   string    `json:"state"`
	Version string    `json:"version"`
	Address string    `json:"address"`
	Store   string    `json:"store"`
	Epoch   uint64    `json:"epoch"`
	Process string    `json:"process"`
	Started time.Time `json:"started"`
}

// Figures is what the daemon takes and who is connected to it.
type Figures struct {
	// StoreBytes is what the store takes of its disk, FreeBytes what is free
	// there, to 16 MiB.
	StoreBytes uint64 `json:"store_bytes"`
	FreeBytes  uint64 `json:"free_bytes"`
	// BrokerConnections are those to hubpipe's own broker that have logged in, the
	// daemon's own two among them; null with a broker of others.
	BrokerConnections *int `json:"broker_connections"`
}

// Event is something that changed in the daemon.
type Event struct {
	// ID grows with each event, over restarts of the daemon too.
	ID   uint64          `json:"id"`
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// Started is the answer to a command that makes a run.
type Started struct {
	// Stream is left out where the command named it.
	Stream string `json:"stream,omitempty"`
	Run    string `json:"run"`
}

// Failure is a stream for which a command given to all of them did not work.
type Failure struct {
	Stream string   `json:"stream"`
	Error  *Problem `json:"error"`
}

// Statuses is the answer to GET /v1/streams, and to start and stop of all;
// Failed are those for which the command did not work.
type Statuses struct {
	Streams []Status  `json:"streams"`
	Failed  []Failure `json:"failed,omitempty"`
}

// AllStarted is the answer to sync, resync and reconcile of all streams.
type AllStarted struct {
	Runs   []Started `json:"runs"`
	Failed []Failure `json:"failed,omitempty"`
}

// AllRuns is the answer to sync, resync and reconcile of all streams when they
// were waited for.
type AllRuns struct {
	Runs   []Run     `json:"runs"`
	Failed []Failure `json:"failed,omitempty"`
}

// StartBody is the body of start; an empty Interval is the configured one.
type StartBody struct {
	Interval string `json:"interval,omitempty"`
}

// SyncBody is the body of sync; an empty Record is the whole stream.
type SyncBody struct {
	Record string `json:"record,omitempty"`
}

// ReconcileBody is the body of reconcile. AcceptDeletes lets the absence of
// records end however many of them.
type ReconcileBody struct {
	AcceptDeletes bool `json:"accept_deletes,omitempty"`
}

// EraseBody is the body of erase.
type EraseBody struct {
	Record string `json:"record"`
}

// Erasure is a record of which nothing is held any more but its id. What HubSpot
// may still have of it is not taken in again.
type Erasure struct {
	Stream string    `json:"stream"`
	Record string    `json:"record"`
	At     time.Time `json:"at"`
	// Pending are the destinations that may still have something of it.
	Pending []string `json:"pending,omitempty"`
}

// Finding is one thing that is wrong with a data folder, and what to do about
// it; Mended says that it was put right.
type Finding struct {
	What   string `json:"what"`
	Todo   string `json:"todo,omitempty"`
	Mended bool   `json:"mended"`
}

// StreamCheck is what there is of a stream, when all of it has been read:
// Unreadable blocks of records, Unfound ids that lead to none, Stray records to
// which no id leads; none of these where it is whole.
type StreamCheck struct {
	Name       string `json:"name"`
	Records    uint64 `json:"records"`
	Tombstones uint64 `json:"tombstones"`
	Unreadable uint64 `json:"unreadable"`
	Unfound    uint64 `json:"unfound"`
	Stray      uint64 `json:"stray"`
}

// Diagnosis is what `hubpipe doctor` found.
type Diagnosis struct {
	Store    string        `json:"store"`
	Epoch    uint64        `json:"epoch"`
	Findings []Finding     `json:"findings"`
	Streams  []StreamCheck `json:"streams"`
}

// Well tells whether nothing is wrong, or nothing any more.
func (d Diagnosis) Well() bool {
	for _, f := range d.Findings {
		if !f.Mended {
			return false
		}
	}
	return true
}

// RunQuery selects runs, newest first; what is empty does not select. Before
// is the id of the last one seen; Limit is 100 by default, to 1,000.
type RunQuery struct {
	Stream string
	State  string
	Limit  int
	Before string
}
