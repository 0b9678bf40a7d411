package failpoint

// Point is the name of a step: who does it and what has been done.
type Point string

// The steps, in the order in which a page takes them.
const (
	Fetched   Point = "worker.fetched"   // HubSpot has answered, and the page is not sent
	Published Point = "worker.published" // the broker has acknowledged the page
	Received  Point = "daemon.received"  // the page has reached the daemon
	Applied   Point = "daemon.applied"   // the page is in the transaction
	Raised    Point = "store.raised"     // the anchor allows its positions
	Committed Point = "store.committed"  // it is on disk with its places in the feed
	Noted     Point = "store.noted"      // memory has followed the disk
	Answered  Point = "daemon.answered"  // the worker has been told
	Heard     Point = "worker.heard"     // the worker knows, and has moved on
)

// The steps of a destination's batch.
const (
	Staged    Point = "destination.staged"    // rows and place are in the transaction
	Manifest  Point = "destination.manifest"  // of files: they are committed, and readers are not shown them
	Delivered Point = "destination.delivered" // the warehouse has committed it
)

// Points are all that a page passes.
func Points() []Point {
	return []Point{Fetched, Published, Received, Applied, Raised, Committed, Noted, Answered, Heard}
}
