package stream

import "testing"

// Every road has a number of its own, which is what is on disk: none may change.
func TestRoadsAreNumbered(t *testing.T) {
	t.Parallel()
	for n, want := range []Road{"", "backfill", "search", "settle", "list", "archived", "reconcile", "associations", "history", "fill",
		"record", "hint", "retry", "erase"} {
		road, ok := RoadOf(byte(n))
		back, known := road.Number()
		if road != want || !ok || !known || int(back) != n {
			t.Errorf("%d is %q, %t, which is %d, %t; want %q", n, road, ok, back, known, want)
		}
	}
	if _, ok := RoadOf(14); ok {
		t.Error("14 is a road")
	}
	if _, ok := Road("ferry").Number(); ok {
		t.Error("a ferry has a number")
	}
}

// What a page brings came by its run, and on the road of its range.
func TestOrigins(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		kind  Kind
		g     *Range
		want  Road
		guest bool
	}{
		"the newest window":        {kind: Incremental, g: &Range{Kind: SpanRange, Newest: true}, want: SearchRoad},
		"a window read again":      {kind: Incremental, g: &Range{Kind: SpanRange}, want: SettleRoad},
		"the newest events":        {kind: Incremental, g: &Range{Kind: EventsRange, Newest: true}, want: SearchRoad},
		"events read again":        {kind: Incremental, g: &Range{Kind: EventsRange}, want: SettleRoad},
		"the list instead":         {kind: Incremental, g: &Range{Kind: ListRange, Newest: true}, want: ListRoad},
		"the list beside search":   {kind: Incremental, g: &Range{Kind: SweepRange}, want: ListRoad},
		"rows read whole":          {kind: Incremental, g: &Range{Kind: WholeRange}, want: ListRoad},
		"hints beside search":      {kind: Incremental, g: &Range{Kind: IdsRange, Hinted: true}, want: HintRoad},
		"what could not be had":    {kind: Incremental, g: &Range{Kind: IdsRange}, want: RetryRoad},
		"associations after":       {kind: Incremental, g: &Range{Kind: KnownRange, Parts: true}, want: AssociationsRoad},
		"history after":            {kind: Incremental, g: &Range{Kind: KnownRange, Past: true}, want: HistoryRoad},
		"hints":                    {kind: Hinted, g: &Range{Kind: IdsRange, Hinted: true}, want: HintRoad},
		"the list of the first":    {kind: Backfill, g: &Range{Kind: ListRange}, want: BackfillRoad},
		"the archived ones":        {kind: ArchivedSweep, g: &Range{Kind: ArchivedRange}, want: ArchivedRoad},
		"candidates":               {kind: Reconcile, g: &Range{Kind: IdsRange, Ask: true}, want: ReconcileRoad},
		"associations":             {kind: Associations, g: &Range{Kind: KnownRange, Parts: true}, want: AssociationsRoad},
		"history":                  {kind: History, g: &Range{Kind: KnownRange, Past: true}, want: HistoryRoad},
		"a new property":           {kind: Fill, g: &Range{Kind: SpanRange}, want: FillRoad},
		"one record":               {kind: OneRecord, g: &Range{Kind: IdsRange}, want: RecordRoad},
		"one record beside a walk": {kind: Reconcile, g: &Range{Kind: IdsRange, Guest: &Run{ID: "guest"}}, want: RecordRoad, guest: true},
	} {
		want := Origin{"r1", x.want}
		if x.guest {
			want.Run = "guest"
		}
		if got := OriginOf(&Run{ID: "r1", Kind: x.kind}, x.g); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
