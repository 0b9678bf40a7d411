// Package destination copies the change feed into warehouses. Each destination
// has a goroutine of its own, goes at its own pace and keeps its places in the
// feed with the data that it wrote, so that one that is slow or down holds
// nobody back. What kind of warehouse it is, is the business of an Engine.
package destination

import (
	"context"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Source is the store as destinations read it, from any goroutine.
type Source interface {
	// ID and Epoch name the store and its life.
	ID() string
	Epoch() uint64
	// Position is the newest place in the feed, PositionOf that of a stream.
	Position() uint64
	PositionOf(streamName string) uint64
	// Changes gives what stands in the feed above since, in order, each record
	// once, from one snapshot; it returns the position that it reached. The
	// records are fn's to keep.
	Changes(ctx context.Context, streamName string, since uint64, limit int, fn func(*stream.Record) error) (last uint64, err error)
	// Versions is Changes with every superseded version that is kept.
	Versions(ctx context.Context, streamName string, since uint64, limit int, fn func(*stream.Record) error) (last uint64, err error)
	// Behind counts what stands in the feed above since, VersionsBehind the
	// superseded versions that are kept; VersionsLost counts by destination those
	// that were let go before they were read.
	VersionsBehind(ctx context.Context, streamName string, since uint64) (uint64, error)
	VersionsLost(streamName string) map[string]uint64
	Behind(ctx context.Context, streamName string, since uint64) (uint64, error)
	// Record returns one record. Seqs gives the place of each id, 0 where there
	// is no such record.
	Record(streamName, id string) (*stream.Record, error)
	Seqs(ctx context.Context, streamName string, ids []string) ([]uint64, error)
	// Definitions are those of the properties that are copied, none before they
	// were first read. The list is the caller's.
	Definitions(streamName string) ([]stream.Property, error)
	// Standing tells how a stream stands.
	Standing(ctx context.Context, streamName string) (Standing, error)
	// Watch returns a channel that receives after commits; stop gives it back.
	Watch() (changed <-chan struct{}, stop func())
}

// Standing is how a stream stands, for the readers of a warehouse.
type Standing struct {
	Stream, Object, Portal, State string
	LagSeconds                    *int64
	CompleteUntil, ReconciledAt   time.Time
	TimeZone, Currency            string
	// Settled says that nothing is owed that was lost or restored: what the store
	// lacks now, HubSpot lacks too.
	Settled bool
}

// Stream is what a destination is told of a stream that it follows.
type Stream struct {
	Name, Object, Portal string
	// Associations and History say whether records come with them.
	Associations, History bool
	// Versions says for how long versions are kept for the destination at most, 0
	// that it wants none but the newest.
	Versions time.Duration
}

// Spec is one destination of the configuration.
type Spec struct {
	Name, Kind string
	// Blocked says why it cannot be used, "" where it can.
	Blocked string
	Engine  Engine
	Streams []Stream
	// Gather is how long what is new waits for more, so that it is written
	// together; 0 is not at all.
	Gather time.Duration
	// Choice says what of the properties it gets.
	Choice Choice
	// Key differs where anything of the configuration does.
	Key string
}

// Engine is one warehouse. Errors that a person should read are
// *stream.Problem.
type Engine interface {
	// Target is where it writes, without credentials.
	Target() string
	// Connect opens a session for a store's life.
	Connect(ctx context.Context, o Origin) (Session, error)
}

// Origin names the store, and its life, whose records are written.
type Origin struct {
	Store string
	Epoch uint64
}

// Session is an open connection. It is used by one goroutine, Pack apart.
type Session interface {
	// Prepare makes a stream's tables fit its definitions and returns its place.
	Prepare(ctx context.Context, t Table) (Place, error)
	// Pack makes of records what Write takes. It may be called beside everything
	// else, and what it returns holds until the next Prepare.
	Pack(streamName string, records []*stream.Record) Packed
	// Write writes a batch and moves the place, both or neither, and returns where
	// it now is.
	Write(ctx context.Context, streamName string, b *Batch) (Place, error)
	// Reread begins a reading of the feed from its beginning up to a place,
	// beside what is new.
	Reread(ctx context.Context, streamName string, r Reread) (Place, error)
	// Sweep looks at the rows behind after, some of them, in the order of their
	// ids. What seqs does not know ends as of the position given. It returns where
	// to go on ("" behind the last) and the rows that are ahead of the store.
	Sweep(ctx context.Context, streamName, after string, at uint64, seqs func([]string) ([]uint64, error)) (next string, ahead []string, err error)
	// Reread that was swept ends with Swept.
	Swept(ctx context.Context, streamName string) (Place, error)
	// Describe writes how the streams stand.
	Describe(ctx context.Context, standings []Standing) error
	// Digest counts the rows of a stream by state, and digests them; Expect does
	// so for records as they should stand there.
	Digest(ctx context.Context, streamName string) (Digest, error)
	Expect(streamName string, each func(func(*stream.Record) error) error) (Digest, error)
	// Broken says that the session is of no use any more.
	Broken() bool
	Close()
}

// Gatherer is a session that takes batches in and commits many at once. Until it
// has, the place that Write returns stays, but for what is Held.
type Gatherer interface {
	Session
	// Flush commits what was taken in of a stream.
	Flush(ctx context.Context, streamName string) (Place, error)
	// Tend does what is due without a change, and may begin a rereading up to head.
	Tend(ctx context.Context, streamName string, head uint64) (Place, error)
}

// Remarker is a session that has something to say of the shape of tables, to a
// person.
type Remarker interface {
	Session
	// Remarks are of the shape that Prepare found or made.
	Remarks(streamName string) []string
}

// Versioned is a session that keeps versions.
type Versioned interface {
	Session
	// CheckVersions holds a table of versions against the store: newest gives each
	// record as it is, superseded the versions before that the store still has.
	CheckVersions(ctx context.Context, streamName string, newest, superseded func(func(*stream.Record) error) error) (CheckedVersions, error)
}

// Table is what Prepare makes a stream's tables of.
type Table struct {
	Stream
	// Definitions are those of the properties that come, as they come: hashed ones
	// are text. Rules say what is done with them, nil for nothing. What the tables
	// have of a property whose mark was another is taken away before anything is
	// written, and the feed is read again.
	Definitions []stream.Property
	Rules       *Rules
	// Head is the stream's newest place in the feed.
	Head uint64
	// Look says that nothing may be written: where the tables do not fit, Prepare
	// says Unready.
	Look bool
}

// Unready is why a table that may only be looked at cannot be.
func (t *Table) Unready() error {
	return &stream.Problem{Type: "destination-paused", Title: "the destination is paused, and its tables have to be changed first",
		Detail: "resume it, and check " + t.Name + " again"}
}

// Packed is a batch's records as an engine writes them.
type Packed any

// Mode says which rows a batch replaces.
type Mode int

// The modes. Newer replaces rows of a lower place; Again those of the same, too;
// Force all of them.
const (
	Newer Mode = iota
	Again
	Force
)

// Batch is records of one stream, in the order of their positions: each once, and
// where versions are wanted each version.
type Batch struct {
	Packed Packed
	// Every is Packed with what was superseded, where the rereading is for versions,
	// too; else nil.
	Every Packed
	Count int
	Mode  Mode
	// Place is where the destination has to be found, else nothing is written; To
	// is where it goes, Reread that it is the rereading that goes there.
	Place  Place
	To     uint64
	Reread bool
}

// Place is how far a destination has come with a stream, as it is written
// beside the rows.
type Place struct {
	Table    string
	Position uint64
	Reread   *Reread
	// Held is how far batches were taken in that are not committed, of the reading
	// that is written just now; 0 where none is.
	Held uint64
	// Cleared is up to where what was erased cannot be found in the warehouse any
	// more; 0 is all up to Position.
	Cleared uint64
	// Rows and Unparsed count what was ever written, and what was no value of its
	// column's type.
	Rows, Unparsed uint64
	LastCommit     time.Time
	// Untidy is why what nobody needs is not taken away, nil where it is. Nothing that
	// is written waits for that; what was erased does.
	Untidy *stream.Problem
}

// Reread is a second reading of the feed, up to Until.
type Reread struct {
	Reason          string // one of the Reason constants
	Position, Until uint64
	// Sweep says that rows that the store has not end behind it, Every that a Gatherer
	// needs what was superseded, too: versions begin with it.
	Sweep, Every bool
	// Anew counts how often it has begun anew, Why says after what, where that is not
	// the Reason.
	Anew uint64
	Why  string
}

// Why a feed is read again.
const (
	ReasonResync  = "resync"
	ReasonEpoch   = "epoch"
	ReasonColumns = "columns"
	// Of its own accord: so that each record stands there once, and so that nothing
	// is left of one that was erased.
	ReasonSnapshot = "snapshot"
	ReasonErasure  = "erasure"
)

// Digest is what a stream's rows come to, however they are ordered.
type Digest struct {
	Position uint64            // the place in the feed that they are of
	Rows     map[string]uint64 // by state
	Digest   string
}
