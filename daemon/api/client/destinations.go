package client

import (
	"context"
	"net/url"
	"time"
)

// States of a destination, as Destination.State has them: the first that is so
// of paused, blocked, failing and running, else current. A blocked one needs a
// person; it is tried again all the same, so that it goes on by itself when it
// was mended.
const (
	DestinationPaused  = "paused"
	DestinationBlocked = "blocked"
	DestinationFailing = "failing"
	DestinationRunning = "running"
	DestinationCurrent = "current"
)

// Why a destination reads a stream again, as Reread.Reason has it.
const (
	RereadResync  = "resync"  // somebody asked for it
	RereadEpoch   = "epoch"   // the store was restored, or has lost something
	RereadColumns = "columns" // columns were added or changed their type
)

// Destination is a warehouse that follows the change feed, and how it stands.
type Destination struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // "postgres"
	// Target is where it writes, without credentials: "db.example:5432/crm, schema
	// hubspot"; "" before the first attempt.
	Target string `json:"target"`
	// State is one of the Destination constants.
	State string `json:"state"`
	// Streams are those that it follows, by name.
	Streams []DestinationStream `json:"streams"`
	// LagSeconds is the age of the oldest change that it has not written, 0 where
	// it has all; null before it was first reached.
	LagSeconds *int64 `json:"lag_seconds"`
	// Behind is how many changes it has not written, RowsWritten how many rows it
	// has ever written, over all streams.
	Behind      uint64 `json:"behind"`
	RowsWritten uint64 `json:"rows_written"`
	// LastCommit is when it last wrote something, null before.
	LastCommit *time.Time `json:"last_commit"`
	// Error is the destination's own, else the first of its streams; null where
	// nothing is wrong. NextTry is when it is tried again, null where it works.
	Error   *Problem   `json:"error"`
	NextTry *time.Time `json:"next_try"`
	// Failures counts the attempts that failed since the daemon began.
	Failures uint64 `json:"failures"`
}

// DestinationStream is how a destination stands with one stream.
type DestinationStream struct {
	Stream string `json:"stream"`
	Table  string `json:"table"`
	// Position is its place in the stream's change feed, Head the feed's newest,
	// Behind how many changes lie between.
	Position uint64 `json:"position"`
	Head     uint64 `json:"head"`
	Behind   uint64 `json:"behind"`
	// RowsWritten is how many rows it has ever written, rows written again
	// included.
	RowsWritten uint64     `json:"rows_written"`
	LastCommit  *time.Time `json:"last_commit"`
	// Unparsed counts the values that were no value of their column's type, and
	// were written as null. They are listed in the table hubpipe_properties.
	Unparsed uint64 `json:"unparsed"`
	// VersionsLost counts the versions that were dropped before they were written:
	// it was behind for longer than keep_versions.
	VersionsLost uint64 `json:"versions_lost"`
	// Reread is null unless the feed is read again beside what is new.
	Reread *Reread  `json:"reread"`
	Error  *Problem `json:"error"`
	// Untidy is why what nobody needs is not taken away there, absent where it is. It
	// is the Error, too, where something that was erased waits for it.
	Untidy *Problem `json:"untidy,omitempty"`
}

// Reread is a stream's feed being read again, from its beginning to Until.
type Reread struct {
	Reason   string `json:"reason"` // one of the Reread constants
	Position uint64 `json:"position"`
	Until    uint64 `json:"until"`
	// Anew counts how often that has begun from the beginning once more, Why says
	// after what, where that is not the Reason.
	Anew uint64 `json:"anew,omitempty"`
	Why  string `json:"why,omitempty"`
}

// ResyncDestinationBody is the body of a destination's resync; an empty Stream
// is all of them.
type ResyncDestinationBody struct {
	Stream string `json:"stream,omitempty"`
}

// Destinations lists how the destinations stand.
func (c *Client) Destinations(ctx context.Context) ([]Destination, error) {
	out, err := get[Destinations](ctx, c, "/v1/destinations", nil)
	return out.Destinations, err
}

// Destination tells how one stands.
func (c *Client) Destination(ctx context.Context, name string) (Destination, error) {
	return get[Destination](ctx, c, destinationPath(name, ""), nil)
}

// PauseDestination keeps one from writing, over restarts too, and returns when
// it has stopped.
func (c *Client) PauseDestination(ctx context.Context, name string) (Destination, error) {
	return post[Destination](ctx, c, destinationPath(name, "/pause"), nil)
}

// ResumeDestination lets one go on that was paused, and makes one try at once
// that waits for its next try.
func (c *Client) ResumeDestination(ctx context.Context, name string) (Destination, error) {
	return post[Destination](ctx, c, destinationPath(name, "/resume"), nil)
}

// ResyncDestination writes every row of a stream again ("" for all streams), and
// takes away what the store has not. It empties nothing, and does not wait.
func (c *Client) ResyncDestination(ctx context.Context, name, streamName string) (Destination, error) {
	return post[Destination](ctx, c, destinationPath(name, "/resync"), ResyncDestinationBody{streamName})
}

func destinationPath(name, verb string) string {
	return "/v1/destinations/" + url.PathEscape(name) + verb
}

// DestinationCheck is a destination held against the store.
type DestinationCheck struct {
	Name    string               `json:"name"`
	Equal   bool                 `json:"equal"`
	Streams []DestinationChecked `json:"streams"`
}

// DestinationChecked is a stream's table held against the store at a place in
// the feed: records by state, and a digest of what is in them.
type DestinationChecked struct {
	Stream        string            `json:"stream"`
	Table         string            `json:"table"`
	Equal         bool              `json:"equal"`
	Position      uint64            `json:"position"`
	Stored        map[string]uint64 `json:"stored"`
	Written       map[string]uint64 `json:"written"`
	StoredDigest  string            `json:"stored_digest"`
	WrittenDigest string            `json:"written_digest"`
	// Note says why they were not held against each other, "" where they were.
	Note string `json:"note,omitempty"`
	// Remarks are what a person should know of the table besides.
	Remarks []string `json:"remarks,omitempty"`
	// Versions is the table of versions, absent where there is none.
	Versions *DestinationCheckedVersions `json:"versions,omitempty"`
}

// DestinationCheckedVersions is a table of versions held against the store:
// Stored and Written are the newest versions by state, StoredBefore superseded
// ones that the store still has, and WrittenBefore those of them that stand in the
// table. Beyond counts the versions in the table of which the store has nothing
// any more.
type DestinationCheckedVersions struct {
	Table         string            `json:"table"`
	Equal         bool              `json:"equal"`
	Stored        map[string]uint64 `json:"stored"`
	Written       map[string]uint64 `json:"written"`
	StoredDigest  string            `json:"stored_digest"`
	WrittenDigest string            `json:"written_digest"`
	StoredBefore  uint64            `json:"stored_before"`
	WrittenBefore uint64            `json:"written_before"`
	// EqualBefore says that these have the same values.
	EqualBefore bool   `json:"equal_before"`
	Beyond      uint64 `json:"beyond"`
	// Skipped are columns that were not compared.
	Skipped []string `json:"skipped,omitempty"`
	Note    string   `json:"note,omitempty"`
}

// CheckDestination reads all that a destination has, holds it against the store
// and returns what it found.
func (c *Client) CheckDestination(ctx context.Context, name string) (DestinationCheck, error) {
	return get[DestinationCheck](ctx, c, destinationPath(name, "/check"), nil)
}

// DestinationTables is what the tables of a destination look like.
type DestinationTables struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Database and Schema say where they are, Location the folder of files; "" for
	// what it does not have.
	Database string             `json:"database,omitempty"`
	Schema   string             `json:"schema,omitempty"`
	Location string             `json:"location,omitempty"`
	Tables   []DestinationTable `json:"tables"`
}

// DestinationTable is a stream's table. Associations, History and Versions are
// tables beside it, "" for none; Versions of files is what such a table is called
// where they are loaded.
type DestinationTable struct {
	Stream       string              `json:"stream"`
	Object       string              `json:"object"`
	Table        string              `json:"table"`
	Associations string              `json:"associations,omitempty"`
	History      string              `json:"history,omitempty"`
	Versions     string              `json:"versions,omitempty"`
	Columns      []DestinationColumn `json:"columns"`
}

// DestinationColumn is a column. Type is string, double, int64, boolean, date,
// timestamp, list<string> or json; Property is "" for hubpipe's own.
type DestinationColumn struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Property string `json:"property,omitempty"`
	Label    string `json:"label,omitempty"`
}

// DestinationTables describes the tables of a destination.
func (c *Client) DestinationTables(ctx context.Context, name string) (DestinationTables, error) {
	return get[DestinationTables](ctx, c, destinationPath(name, "/tables"), nil)
}
