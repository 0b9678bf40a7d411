// Package budget says what work costs in requests and what of a portal's day it
// may use. It is pure: sizes, limits and times come in, numbers go out.
package budget

import (
	"sort"
	"time"
)

// What one request brings at most.
const (
	listed     = 100  // records of a list or of a batch read
	searched   = 200  // hits of a search
	withPast   = 50   // records with the history of their properties
	associated = 1000 // records whose associations are read together
	hasAtOnce  = 3    // properties that a search looks for
)

// Passes is how often a window is read: when it is new, and twice when it has
// settled.
const Passes = 3

// Bin is how many archived records are assumed for so many live ones, where
// nobody has counted: HubSpot keeps them for 90 days.
func Bin(live int64) int64 { return live / 20 }

// Stream is what the cost of a stream depends on.
type Stream struct {
	Name string
	// Records are the live ones, Archived those in HubSpot's recycle bin.
	Records, Archived int64
	// Wide says that the names of the properties do not fit into an address:
	// records are listed by id and read by batch.
	Wide bool
	// Pairs is with how many other objects associations are read; History says
	// that the past of some properties is.
	Pairs   int
	History bool
	// Whole is what a run costs that reads everything each time, 0 where runs ask
	// for what has changed. All else of the stream costs nothing then.
	Whole int64
	// Changes is how many records change in a day.
	Changes int64
	// How often each kind of work is wanted; 0 is never.
	Interval, ArchivedEvery, ReconcileEvery, AssociationsEvery time.Duration
}

// requests is how many it takes to read n, one at least.
func requests(n, each int64) int64 { return max(1, (n+each-1)/each) }

// FirstLoad is what the first reading of everything costs, the archived records
// included.
func FirstLoad(s Stream) int64 {
	if s.Whole > 0 {
		return s.Whole
	}
	n := requests(s.Records, listed) + ArchivedSweep(s) + AssociationSweep(s)
	if s.Wide {
		n += requests(s.Records, listed)
	}
	if s.History {
		n += HistoryWalk(s)
	}
	return n
}

// HistoryWalk is what reading the history of all live records costs.
func HistoryWalk(s Stream) int64 { return requests(s.Records, withPast) }

// ReconcileWalk is what holding everything against HubSpot costs, the archived
// records included.
func ReconcileWalk(s Stream) int64 {
	if s.Whole > 0 {
		return 0
	}
	return requests(s.Records, listed) + ArchivedSweep(s)
}

// Reread is what it costs at most to hold everything against HubSpot and find that
// all of it has to be read again: by batch, with its associations.
func Reread(s Stream) int64 {
	return ReconcileWalk(s) + requests(s.Records+s.Archived, listed) + AssociationSweep(s)
}

// ArchivedSweep is what reading the list of archived records costs.
func ArchivedSweep(s Stream) int64 {
	if s.Whole > 0 {
		return 0
	}
	return requests(s.Archived, listed)
}

// AssociationSweep is what reading all associations costs, 0 without pairs.
func AssociationSweep(s Stream) int64 {
	if s.Whole > 0 {
		return 0
	}
	return int64(s.Pairs) * requests(s.Records, associated)
}

// WholeRead is what it costs to list so many records by id and to ask for what
// belongs to them, so many at once.
func WholeRead(records int64, atOnce int) int64 {
	return requests(records, listed) + requests(records, int64(atOnce))
}

// FillAtMost is what so many new properties of a stream cost at most: to look how
// many records have one, and, should most have, to read the whole list.
func FillAtMost(s Stream, properties int64) int64 {
	_, walk := BulkEdit(s, s.Records)
	return requests(properties, hasAtOnce) + walk
}

// BulkEdit is what so many changes at once cost: by search and batch read, of
// which a third are searches, and by walking a list of all records. What a list
// brings comes without history, which is read then of what has changed.
func BulkEdit(s Stream, changed int64) (search, walk int64) {
	search, walk = requests(changed, searched)+requests(changed, s.batch()), requests(s.Records, listed)
	if s.Wide {
		walk *= 2
	}
	if s.History {
		walk += requests(changed, withPast)
	}
	return search, walk
}

// scarce is how many other requests one search counts as: an account has four or
// five of them a second, for all of its streams, and about nineteen others.
const scarce = 4

// ByList is from how many changes on walking the list costs less than to search
// for them and read them by name, 0 where nothing is known to list.
func ByList(s Stream) int64 {
	if s.Records == 0 {
		return 0
	}
	return 1 + int64(sort.Search(int(4*s.Records), func(n int) bool {
		changed := int64(n) + 1
		search, walk := BulkEdit(s, changed)
		return search+(scarce-1)*requests(changed, searched) > walk
	}))
}

// batch is how many records a batch read brings: history comes with them.
func (s Stream) batch() int64 {
	if s.History {
		return withPast
	}
	return listed
}

// Run is what an incremental run over so many changes costs, with what its
// windows cost when they settle, and how many of these are searches. A run in
// which nothing changed is one search.
func Run(s Stream, changes int64) (all, searches int64) {
	if changes == 0 {
		return 1, 1
	}
	searches = 1 + Passes*((changes+searched-1)/searched)
	all = searches + requests(changes, s.batch())
	all += int64(s.Pairs) * Passes * requests(changes, associated)
	return all, searches
}

// day is what a day has.
const day = 24 * time.Hour

// times is how often something comes in a day, 0 for never.
func times(every time.Duration) float64 {
	if every <= 0 {
		return 0
	}
	return float64(day) / float64(every)
}

// perDay is what a kind of work of a stream costs in a day at the intervals that
// are wanted; 0 for work that comes once.
func perDay(w Work, s Stream) float64 {
	if s.Whole > 0 {
		if w != Incremental {
			return 0
		}
		return times(s.Interval) * float64(s.Whole)
	}
	switch w {
	case Incremental:
		runs := times(s.Interval)
		if runs == 0 {
			return 0
		}
		idle := runs // one search each
		if s.Changes == 0 {
			return idle
		}
		// The runs in which something changed bring that besides; there are no
		// more of them than changes.
		busy := min(runs, float64(s.Changes))
		all, _ := Run(s, max(1, int64(float64(s.Changes)/busy)))
		return idle + busy*float64(all-1)
	case Reconcile:
		return times(s.ReconcileEvery) * float64(ReconcileWalk(s))
	case Associations:
		return times(s.AssociationsEvery) * float64(AssociationSweep(s))
	case Archived:
		return times(s.ArchivedEvery) * float64(ArchivedSweep(s))
	}
	return 0
}
