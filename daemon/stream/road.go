package stream

import "slices"

// Road is the way on which a version of a record came.
type Road string

// The roads. Their order is how they are numbered on disk, from 1 on: it never
// changes, and new ones come last.
const (
	BackfillRoad Road = "backfill"
	// SearchRoad is the newest window of an incremental run, SettleRoad one that was
	// read again, ListRoad a list that is read as a whole instead.
	SearchRoad       Road = "search"
	SettleRoad       Road = "settle"
	ListRoad         Road = "list"
	ArchivedRoad     Road = "archived"
	ReconcileRoad    Road = "reconcile"
	AssociationsRoad Road = "associations"
	HistoryRoad      Road = "history"
	FillRoad         Road = "fill"
	// RecordRoad is that of a record which somebody asked for by name, HintRoad of
	// one that HubSpot named by itself, RetryRoad of one that it had named and not
	// handed out.
	RecordRoad Road = "record"
	HintRoad   Road = "hint"
	RetryRoad  Road = "retry"
	// EraseRoad is no run's.
	EraseRoad Road = "erase"
)

func roads() [13]Road {
	return [...]Road{BackfillRoad, SearchRoad, SettleRoad, ListRoad, ArchivedRoad, ReconcileRoad, AssociationsRoad,
		HistoryRoad, FillRoad, RecordRoad, HintRoad, RetryRoad, EraseRoad}
}

// Number is the road's on disk, 0 for none; ok is false for a word that is no
// road.
func (r Road) Number() (n byte, ok bool) {
	if r == "" {
		return 0, true
	}
	all := roads()
	i := slices.Index(all[:], r)
	return byte(i + 1), i >= 0
}

// RoadOf is the inverse of Number.
func RoadOf(n byte) (r Road, ok bool) {
	all := roads()
	if n == 0 || int(n) > len(all) {
		return "", n == 0
	}
	return all[n-1], true
}

// Origin says who brought a version of a record: a run, and on which road. The
// zero Origin is that of a version from before this was kept.
type Origin struct {
	Run  string
	Road Road
}

// OriginOf is the origin of what a page of a range brings.
func OriginOf(run *Run, g *Range) Origin {
	if g.Guest != nil {
		return Origin{g.Guest.ID, RecordRoad}
	}
	return Origin{run.ID, roadOf(run, g)}
}

func roadOf(run *Run, g *Range) Road {
	switch run.Kind {
	case Incremental:
		return roadOfPart(g)
	case Backfill:
		return BackfillRoad
	case ArchivedSweep:
		return ArchivedRoad
	case Reconcile:
		return ReconcileRoad
	case Associations:
		return AssociationsRoad
	case History:
		return HistoryRoad
	case Fill:
		return FillRoad
	case OneRecord:
		return RecordRoad
	case Hinted:
		return HintRoad
	}
	return ""
}

// roadOfPart is the road of a range of an incremental run.
func roadOfPart(g *Range) Road {
	switch {
	case g.Hinted:
		return HintRoad
	case g.Kind == IdsRange:
		return RetryRoad
	case g.Kind == ArchivedRange:
		return ArchivedRoad
	case g.Kind == KnownRange && g.Parts:
		return AssociationsRoad
	case g.Kind == KnownRange && g.Past:
		return HistoryRoad
	case g.Kind != SpanRange && g.Kind != EventsRange:
		return ListRoad
	case g.Newest:
		return SearchRoad
	}
	return SettleRoad
}
