package budget

import (
	"slices"
	"time"
)

// Work is a kind of work, as requests are counted by.
type Work string

// The kinds of work. Settle is what Incremental does again, Record one record by
// hand.
const (
	History      Work = "history"
	Fill         Work = "fill" // a property that is new
	Reconcile    Work = "reconcile"
	Associations Work = "associations"
	Archived     Work = "archived"
	Backfill     Work = "backfill"
	Incremental  Work = "incremental"
	Settle       Work = "settle"
	Record       Work = "record"
)

// Share is the part of a portal's daily limit that a kind of work may use, 0
// where it has no bound of its own.
func Share(w Work) float64 {
	switch w {
	case Reconcile, Associations, History, Fill:
		return 0.10
	case Archived:
		return 0.05
	}
	return 0
}

// Shared are the kinds of work that have a share, in the order in which they
// stop when the day is spent. History and Fill have one together.
func Shared() []Work { return []Work{History, Reconcile, Associations, Archived} }

// rank is when a kind of work stops: those of a lower one stop earlier.
func rank(w Work) int {
	order := []Work{History, Reconcile, Associations, Archived, Backfill}
	if w == Fill {
		w = History
	}
	if i := slices.Index(order, w); i >= 0 {
		return i
	}
	return len(order)
}

// Plan is a portal with its streams.
type Plan struct {
	// Daily is HubSpot's limit of requests a day, 0 for none; Reserve is the
	// share of it that is left to others.
	Daily   int64
	Reserve float64
	// SearchRate is how many searches a second are made at most, 0 for no bound.
	SearchRate float64
	Streams    []Stream
}

// PerDay is what a kind of work of all streams costs in a day as it is wanted.
func (p Plan) PerDay(w Work) (n float64) {
	for _, s := range p.Streams {
		n += perDay(w, s)
	}
	return n
}

// The reasons of a stretched interval.
const (
	ByDay    = "daily limit"
	BySearch = "search limit"
)

// Stretch is by how much the intervals of a kind of work have to be longer than
// wanted, 1 where they need not, and why.
func (p Plan) Stretch(w Work) (by float64, reason string) {
	by = 1
	if w == Incremental && p.SearchRate > 0 {
		rate := 0.0
		for _, s := range p.Streams {
			rate += times(s.Interval) / day.Seconds()
		}
		if over := rate / p.SearchRate; over > by {
			by, reason = over, BySearch
		}
	}
	if p.Daily <= 0 {
		return by, reason
	}
	pays := Share(w)
	if w == Incremental {
		pays = 1 - p.Reserve
	}
	if pays <= 0 {
		return by, reason
	}
	if over := p.PerDay(w) / (pays * float64(p.Daily)); over > by {
		by, reason = over, ByDay
	}
	return by, reason
}

// Day is how a portal's day stands.
type Day struct {
	// Remaining is what is left of the daily limit for everybody.
	Remaining int64
	// Used are the requests made so far, by kind of work.
	Used map[Work]int64
	// Left is how long the day still lasts.
	Left time.Duration
}

// bin is what Archived leaves to Backfill, as a share of the daily limit.
const bin = 0.01

// unknown is the least that the incremental runs of a day are kept, as a share
// of the daily limit.
const unknown = 0.10

// The reasons for which a kind of work has nothing left.
const (
	ShareUsed = "its share of the day is used"
	DayUsed   = "the day's requests are used"
)

// Spent says why a kind of work has to wait for the next day, "" where it need
// not. Work that a person asked for goes on as long as anything is left.
func (p Plan) Spent(w Work, d Day, asked bool) string {
	if p.Daily <= 0 {
		return ""
	}
	left := float64(d.Remaining) - p.Reserve*float64(p.Daily)
	if asked {
		w = Incremental
	}
	if share := Share(w); share > 0 && float64(d.used(w)) >= share*float64(p.Daily) {
		return ShareUsed
	}
	if left <= p.kept(w, d) {
		return DayUsed
	}
	return ""
}

// used counts what goes on the share of a kind of work.
func (d Day) used(w Work) int64 {
	if w == History || w == Fill {
		return d.Used[History] + d.Used[Fill]
	}
	return d.Used[w]
}

// kept is what must remain for the kinds of work that stop later than w, until
// the end of the day.
func (p Plan) kept(w Work, d Day) (n float64) {
	rest := min(1, max(0, float64(d.Left)/float64(day)))
	own := rank(w)
	if own < rank(Incremental) {
		// Nobody knows how much will change: a tenth is kept in any case.
		need := max(p.PerDay(Incremental), unknown*float64(p.Daily)) * rest
		if past := day - d.Left; past >= time.Hour {
			// Runs in which much changed cost more than what was planned.
			rate := float64(d.Used[Incremental]+d.Used[Settle]) / float64(past)
			need = max(need, rate*float64(d.Left))
		}
		n += min(need, (1-p.Reserve)*float64(p.Daily)/2)
	}
	if own < rank(Backfill) {
		n += bin * float64(p.Daily)
	}
	for _, v := range Shared() {
		if rank(v) > own {
			n += max(0, min(p.PerDay(v)*rest, Share(v)*float64(p.Daily)-float64(d.used(v))))
		}
	}
	return n
}
