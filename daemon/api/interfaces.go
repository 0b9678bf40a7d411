// Package api is the daemon's HTTP face: commands, data, events and health.
// What it needs of the daemon it declares here; what it says is in the package
// client, so that both sides use the same words.
package api

import (
	"context"
	"io"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/daemon/webhook"
)

// Control is the daemon's set of commands. A method that changes something
// returns when the ledger has it. Errors that are a *client.Problem or a
// *stream.Problem are shown as they are; an unknown stream is one of those. What
// others mean Options.Known says: that there is no such run, record or schema is
// one of status 404.
type Control interface {
	Streams(ctx context.Context) ([]client.Status, error)
	Stream(ctx context.Context, name string) (client.Status, error)
	// Start begins fetching; an empty interval is the configured one.
	Start(ctx context.Context, name, interval string) (client.Status, error)
	Stop(ctx context.Context, name string) (client.Status, error)
	// Sync makes a run or joins one; with a record's id it reads that one.
	Sync(ctx context.Context, name, record string) (client.Run, error)
	Resync(ctx context.Context, name string) (client.Run, error)
	// Reconcile holds everything against HubSpot; accept lets absence end
	// however many records.
	Reconcile(ctx context.Context, name string, accept bool) (client.Run, error)
	// Erase takes away all that is held of a record but its id.
	Erase(ctx context.Context, name, record string) error
	Erasures(ctx context.Context) ([]client.Erasure, error)
	// Run returns an error of status 404 for an id that there is not.
	Run(ctx context.Context, id string) (client.Run, error)
	Runs(ctx context.Context, q client.RunQuery) ([]client.Run, error)
	Workers(ctx context.Context) ([]client.Worker, error)
	Portals(ctx context.Context) ([]client.Portal, error)
	// Figures are as of some seconds ago at most.
	Figures(ctx context.Context) (client.Figures, error)
	// Destinations is how the warehouses stand that follow the change feed; the
	// others pause one, let it go on, or have it write a stream ("" for all) again.
	Destinations(ctx context.Context) ([]client.Destination, error)
	Destination(ctx context.Context, name string) (client.Destination, error)
	PauseDestination(ctx context.Context, name string) (client.Destination, error)
	ResumeDestination(ctx context.Context, name string) (client.Destination, error)
	ResyncDestination(ctx context.Context, name, streamName string) (client.Destination, error)
	// CheckDestination reads all that one has and holds it against the store.
	CheckDestination(ctx context.Context, name string) (client.DestinationCheck, error)
	// DestinationTables is what the tables of one look like.
	DestinationTables(ctx context.Context, name string) (client.DestinationTables, error)
	// Notifications is how those stand who are told what is wrong.
	Notifications(ctx context.Context) ([]client.Notification, error)
	// TestNotification sends one of them a message, and returns when it arrived.
	TestNotification(ctx context.Context, name string) error
	// Doctor reads all that is stored, and says what is wrong.
	Doctor(ctx context.Context) (client.Diagnosis, error)
	// LogLevel is how much is logged; SetLogLevel changes it, to one of the words
	// that it knows, until a reload changes it or the daemon is restarted.
	LogLevel() client.LogLevel
	SetLogLevel(level string) client.LogLevel
	// Shutdown begins the end of the daemon and does not wait for it.
	Shutdown()
	// Reload reads the configuration again and says what that does; what is wrong
	// with it is an error. Plan says the same and does nothing.
	Reload(ctx context.Context) (client.Plan, error)
	Plan(ctx context.Context) (client.Plan, error)
}

// RecordQuery selects records, in order of their ids.
type RecordQuery struct {
	After         string         // the cursor of the page before
	Limit         int            // 0: all
	States        []stream.State // none: all
	ModifiedSince int64          // only those that HubSpot changed at or after (ms)
}

// Data is what the store holds. Readings are of one snapshot each; what fn gets
// is used before it returns and not kept.
type Data interface {
	// Record returns an error of status 404 where there is none.
	Record(streamName, id string) (*stream.Record, error)
	// VersionsOf gives the heads of what is left of a record, the newest first and
	// at most limit; errors as of Record.
	VersionsOf(ctx context.Context, streamName, id string, limit int) ([]stream.Head, error)
	// Records gives records in order of their ids; next is "" at the end.
	Records(ctx context.Context, streamName string, q RecordQuery, fn func(*stream.Record) error) (next string, err error)
	// Changes gives what stands in the feed above since, in order; a limit of 0
	// is no limit. last is the position that it reached.
	Changes(ctx context.Context, streamName string, since uint64, limit int, fn func(*stream.Record) error) (last uint64, err error)
	// PositionOf is the stream's newest position in the feed, 0 before the first:
	// while it stays, and Shown, nothing that is read of the stream changes.
	PositionOf(streamName string) uint64
	// Shown differs where the same records are shown otherwise, as after a reload
	// with another history.
	Shown(streamName string) string
	// PositionAt is the greatest position that was committed before t.
	PositionAt(ctx context.Context, streamName string, t time.Time) (uint64, error)
	// Schema is the JSON list of property definitions, an error of status 404
	// before they were first read.
	Schema(streamName string) ([]byte, error)
	// As is the store as a destination gets the stream.
	As(destination, streamName string) (View, error)
	// Backup writes all that is held, as of one moment; where it fails, what
	// was written is not to be taken for a whole. An error of w is its own.
	Backup(ctx context.Context, w io.Writer) error
	// Watch wakes after commits; stop ends it.
	Watch() (changed <-chan struct{}, stop func())
}

// View is what an export is made of: Data, or a part of it.
type View interface {
	Changes(ctx context.Context, streamName string, since uint64, limit int, fn func(*stream.Record) error) (last uint64, err error)
	Schema(streamName string) ([]byte, error)
}

// Health tells whether the daemon lives and whether it can work; an error is
// the reason why not, and is shown to anyone who can reach the port.
type Health interface {
	Live() error
	Ready() error
}

// Events gives what happens in the daemon. The channel begins with the daemon
// itself and goes on after the event lastID (0: with what comes now): a thing
// that changed several times comes once, as it is now, and the log's lines as
// far as they are kept. It is closed when ctx ends or its reader is too slow.
type Events interface {
	Subscribe(ctx context.Context, lastID uint64) <-chan client.Event
}

// Webhooks takes what HubSpot sends by itself.
type Webhooks interface {
	// Receive returns when the ledger has what a request says, with an error of
	// the package webhook where it is not HubSpot's.
	Receive(ctx context.Context, portal string, s webhook.Signed) error
}

// Logs gives the last lines of the daemon's log, oldest first: at most limit of
// those that belong to the stream ("" for all) and are at least of the level
// ("" for all).
type Logs interface {
	Lines(streamName, level string, limit int) []client.Line
}
