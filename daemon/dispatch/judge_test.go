package dispatch

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What becomes of a page: a row for each reason. The page before each is one
// that was committed, so that the next is number 1 from "17".
func TestWhatBecomesOfAPage(t *testing.T) {
	t.Parallel()
	type sent struct {
		worker, digest string
		err            error
		page           protocol.Page
	}
	for name, c := range map[string]struct {
		change func(*sent)
		want   protocol.AnswerType // "" for none
		says   string
		open   bool // the attempt goes on
		fails  bool // the run has failed
	}{
		"the next one":                {func(*sent) {}, protocol.Committed, "", true, false},
		"of another store":            {func(s *sent) { s.page.Store = "other" }, "", "", true, false},
		"of another epoch":            {func(s *sent) { s.page.Epoch = 2 }, protocol.Fenced, "epoch", true, false},
		"of no attempt":               {func(s *sent) { s.page.Attempt = 99 }, protocol.Fenced, "closed or unknown", true, false},
		"of another process":          {func(s *sent) { s.page.Process = "p2" }, protocol.Fenced, "another process", true, false},
		"from another worker's topic": {func(s *sent) { s.worker = "v" }, protocol.Fenced, "another process", true, false},
		"of no range":                 {func(s *sent) { s.page.Range = 9 }, protocol.Fenced, "no such range", false, false},
		"a repeat":                    {func(s *sent) { s.page.Seq, s.page.From, s.digest = 0, "", "first" }, protocol.Committed, "", true, false},
		"a repeat with other content": {func(s *sent) { s.page.Seq, s.page.From, s.digest = 0, "", "other" }, protocol.Fenced, "other content", false, false},
		"a number too far":            {func(s *sent) { s.page.Seq = 2 }, protocol.Fenced, `page 1 from "17"`, false, false},
		"from another place":          {func(s *sent) { s.page.From = "16" }, protocol.Fenced, `page 1 from "17"`, false, false},
		"that does not decode":        {func(s *sent) { s.err = errors.New("cut short") }, protocol.Refused, "cut short", false, true},
		"of which the name alone is known": {func(s *sent) {
			s.err = errors.New("no header")
			s.page = protocol.Page{Store: s.page.Store, Epoch: 1, Process: "p1", Attempt: s.page.Attempt, Seq: 1}
		}, protocol.Refused, "no header", false, true},
		"of another account":              {func(s *sent) { s.page.Account = &protocol.Account{ID: 8} }, protocol.Refused, "account 8", false, true},
		"with a record in no state":       {func(s *sent) { s.page.Records = []protocol.Record{{ID: "1", State: "odd"}} }, protocol.Refused, `"odd"`, false, true},
		"a listing where records belong":  {func(s *sent) { s.page.Kind = protocol.ListingPage }, protocol.Refused, "listing", false, true},
		"gone where none was asked for":   {func(s *sent) { s.page.Gone = []string{"1"} }, protocol.Refused, "gone", false, true},
		"definitions that move the place": {func(s *sent) { s.page.Kind = protocol.SchemaPage }, protocol.Refused, "definitions", false, true},
		"a walk instead of a list": {func(s *sent) { s.page.Kind, s.page.To = protocol.SweepPage, "17" }, protocol.Refused,
			"only a search window", false, true},
		"a split outside of the list": {func(s *sent) { s.page.Kind, s.page.To, s.page.SplitID = protocol.SplitPage, "17", 17 }, protocol.Refused,
			"cannot be split", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
			good := protocol.Page{Store: "store", Epoch: 1, Process: "p1", Attempt: attempt, To: "17", Kind: protocol.RecordsPage, Began: 5, List: "l",
				Account: &protocol.Account{ID: 7}}
			b.must(first(b.d.Pages(b.now, []Incoming{{Worker: "w", Page: &good, Digest: "first"}})))
			s := sent{worker: "w", digest: "second", page: good}
			s.page.Seq, s.page.From, s.page.To = 1, "17", "18"
			c.change(&s)
			run := b.d.runOf(modelStream, true)
			outs := b.must(first(b.d.Pages(b.now, []Incoming{{Worker: s.worker, Page: &s.page, Digest: s.digest, Err: s.err}})))
			var a protocol.Answer
			for _, o := range outs {
				if o.Answer != nil {
					a = *o.Answer
				}
			}
			if a.Type != c.want || !strings.Contains(a.Reason, c.says) {
				t.Errorf("%s: %q, want %s that says %q", a.Type, a.Reason, c.want, c.says)
			}
			outcome := map[protocol.AnswerType]string{protocol.Committed: PageCommitted, protocol.Fenced: PageFenced, protocol.Refused: PageRefused, "": PageForeign}[c.want]
			if name == "a repeat" {
				outcome = PageRepeated
			}
			want := map[string]uint64{PageCommitted: 1}
			want[outcome]++
			if diff := cmp.Diff(want, b.d.Counts().Pages); diff != "" {
				t.Errorf("counted:\n%s", diff)
			}
			stored := b.store.runs[run.ID]
			if open := stored.Attempt == attempt && b.d.attempts[attempt] == run.ID; open != c.open || (stored.State == stream.Failed) != c.fails {
				t.Errorf("open %v, the run is %s: %v", open, stored.State, stored.Error)
			}
			place, pages := "17", uint64(1)
			if c.want == protocol.Committed && s.page.Seq == 1 {
				place, pages = "18", 2
			}
			if g := b.store.ranges[run.ID][0]; g.Cursor != place || stored.Pages != pages {
				t.Errorf("the place is %q after %d pages", g.Cursor, stored.Pages)
			}
		})
	}
}

// Pages that wait are judged each against what the ones before it did, and
// committed at once; what is wrong with one is its own matter. Where the commit
// fails nobody is answered, and all of it comes again.
func TestPagesAreCommittedTogether(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	page := func(attempt, seq uint64, from, to string) Incoming {
		return Incoming{Worker: "w", Digest: fmt.Sprint(attempt, seq), Page: &protocol.Page{Store: "store", Epoch: 1, Process: "p1", Attempt: attempt, Seq: seq, From: from,
			To: to, Kind: protocol.RecordsPage, Began: 5, List: "l", Account: &protocol.Account{ID: 7}}}
	}
	batch := []Incoming{page(99, 0, "", "9"), page(attempt, 0, "", "17"), page(attempt, 0, "", "17"), page(attempt, 1, "17", "18"), {Worker: "w"}, page(attempt, 2, "18", "19")}
	b.store.failCommit = func() bool { return true }
	if outs, _, err := b.d.Pages(b.now, batch); err == nil || len(outs) > 0 {
		t.Fatalf("%d are answered although nothing was committed: %v", len(outs), err)
	}
	b.store.failCommit = nil
	commits := 0
	b.store.committed = func() { commits++ }
	outs, taken, err := b.d.Pages(b.now, batch)
	if err != nil || taken != len(batch) || commits != 1 {
		t.Fatalf("%d of %d pages in %d commits: %v", taken, len(batch), commits, err)
	}
	var got []string
	for _, o := range outs {
		if o.Answer != nil {
			got = append(got, fmt.Sprintf("%s %d/%d", o.Answer.Type, o.Answer.Attempt, o.Answer.Seq))
		}
	}
	want := []string{"fenced 99/0"}
	for _, seq := range []int{0, 0, 1, 2} {
		want = append(want, fmt.Sprintf("committed %d/%d", attempt, seq))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The last page of a run is answered as often as it comes, though nothing is left
// of the run but that; other bytes under its number are not.
func TestTheLastPageAgain(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	b.must(b.d.Tick(b.now))
	id, outs, err := b.d.Reconcile(b.now, modelStream, false)
	attempt := fetches(b.must(outs, err))["reconcile"]
	a := b.page(protocol.Page{Attempt: attempt, Kind: protocol.ListingPage, Last: true})
	last := protocol.Page{Store: "store", Epoch: 1, Process: "p1", Attempt: attempt, Range: a.Ranges[0].ID, Kind: protocol.ListingPage, Last: true, List: "list"}
	send := func(p protocol.Page, digest string) protocol.Answer {
		t.Helper()
		for _, o := range b.must(first(b.d.Pages(b.now, []Incoming{{Worker: "w", Page: &p, Digest: digest}}))) {
			if o.Answer != nil {
				return *o.Answer
			}
		}
		t.Fatal("no answer")
		return protocol.Answer{}
	}
	for n := range 3 {
		if a := send(last, "d"); a.Type != protocol.Committed || !a.RangeEnded || !a.RunEnded || b.store.runs[id].State != stream.Done {
			t.Fatalf("the last page, for the %d. time: %+v", n+1, a)
		}
	}
	foreign := last
	foreign.Process = "p2"
	for what, a := range map[string]protocol.Answer{"with other bytes": send(last, "e"), "of another process": send(foreign, "d")} {
		if a.Type != protocol.Fenced {
			t.Errorf("the last page %s: %+v", what, a)
		}
	}
}

func first(outs []Out, _ int, err error) ([]Out, error) { return outs, err }

// A run begins once, by HubSpot's clock: no later page, heartbeat or attempt
// replaces it, and no page is committed before.
func TestARunBeginsOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	run := b.d.runOf(modelStream, true).ID
	report := func(attempt uint64, began int64) {
		b.beat(protocol.Heartbeat{Attempts: []protocol.AttemptReport{{Attempt: attempt, Began: began, Ranges: []protocol.RangeReport{{ID: 0}}}}})
	}
	report(attempt, 1000)
	b.beat(protocol.Heartbeat{Declined: []uint64{attempt}})
	next := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	if next == 0 {
		next = b.d.runOf(modelStream, true).Attempt
	}
	report(next, 2000)
	b.page(protocol.Page{Attempt: next, Kind: protocol.RecordsPage, To: "17", Began: 3000})
	if got := b.store.runs[run].Began; next == attempt || got != 1000 || b.store.streams[modelStream].Cursor != 1000 {
		t.Errorf("attempt %d after %d: the run began at %d, the cursor is %d", next, attempt, got, b.store.streams[modelStream].Cursor)
	}
	other := newBench(t)
	attempt = fetches(other.beat(protocol.Heartbeat{}))["backfill"]
	p := protocol.Page{Store: "store", Epoch: 1, Process: "p1", Attempt: attempt, Kind: protocol.RecordsPage, List: "l"}
	outs := other.must(first(other.d.Pages(other.now, []Incoming{{Worker: "w", Page: &p, Digest: "d"}})))
	if a := outs[0].Answer; a.Type != protocol.Refused || !strings.Contains(a.Reason, "no beginning") {
		t.Errorf("a page of a run without a beginning: %+v", a)
	}
}

// An attempt that neither gets on nor names a wait ends; its worker lives.
func TestAttemptsThatMakeNoProgress(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		report func(n int, a *protocol.AttemptReport)
		ends   bool
	}{
		"nothing":  {func(int, *protocol.AttemptReport) {}, true},
		"progress": {func(n int, a *protocol.AttemptReport) { a.Progress = uint64(n) }, false},
		"a wait":   {func(_ int, a *protocol.AttemptReport) { a.Wait = &protocol.Wait{Kind: StateThrottled} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
			for n := range 50 {
				b.now = b.now.Add(2500 * time.Millisecond)
				a := protocol.AttemptReport{Attempt: attempt, Ranges: []protocol.RangeReport{{ID: 0}}}
				c.report(n+1, &a)
				b.beat(protocol.Heartbeat{Attempts: []protocol.AttemptReport{a}})
				if open := b.d.attempts[attempt] != ""; !open && b.now.Sub(epochStart) <= 2*time.Minute {
					t.Fatalf("it ends after %s", b.now.Sub(epochStart))
				}
			}
			if ended := b.d.attempts[attempt] == ""; ended != c.ends {
				t.Fatalf("after %s it has ended: %v", b.now.Sub(epochStart), ended)
			}
			if w := b.d.Workers(); len(w) != 1 || !w[0].Live {
				t.Errorf("its worker: %+v", w)
			}
		})
	}
}

// A daemon that stood still gives the time back, to leases and to attempts.
func TestStandingStillCostsNobodyAnything(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	b.now = b.now.Add(10 * time.Minute)
	b.must(b.d.Tick(b.now))
	if w := b.d.Workers(); !w[0].Live || b.d.attempts[attempt] == "" {
		t.Fatalf("after standing still: %+v", w)
	}
	b.beat(protocol.Heartbeat{Attempts: []protocol.AttemptReport{{Attempt: attempt, Ranges: []protocol.RangeReport{{ID: 0}}}}})
	if b.d.attempts[attempt] == "" {
		t.Fatal("an attempt ends for what it did not do while the daemon stood still")
	}
	for range 16 {
		b.now = b.now.Add(time.Second)
		b.must(b.d.Tick(b.now))
	}
	if w := b.d.Workers(); w[0].Live || b.d.attempts[attempt] != "" {
		t.Fatalf("16 s without a heartbeat, which the daemon saw pass: %+v", w)
	}
}

// A heartbeat from a worker of another store is heard; what it lists is not
// ours, though its numbers are.
func TestHeartbeatsOfAnotherStore(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	b.beat(protocol.Heartbeat{Store: "other", Failed: []protocol.AttemptFailure{{Attempt: attempt, Problem: protocol.Problem{Type: "x", Title: "x"}}},
		Declined: []uint64{attempt}, Attempts: []protocol.AttemptReport{{Attempt: attempt, Began: 7, Account: &protocol.Account{ID: 9}}}})
	run := b.d.runOf(modelStream, true)
	if run == nil || run.Attempt != attempt || run.Began != 0 || b.d.portals["main"] != nil {
		t.Fatalf("another store's attempt counts for ours: %+v", run)
	}
	b.beat(protocol.Heartbeat{Store: "store", Declined: []uint64{attempt}})
	if run := b.d.runOf(modelStream, true); run.Attempt == attempt {
		t.Fatal("our own store's does not count")
	}
}

// An attempt that ends by its own fault costs the run a wait that doubles from
// the second on, and the run fails after five that brought nothing; a page
// begins the count anew.
func TestFruitlessAttempts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var waits []time.Duration
	var began time.Time
	attempt := fetches(b.beat(protocol.Heartbeat{}))["backfill"]
	lose := func() {
		t.Helper()
		began = b.now
		b.beat(protocol.Heartbeat{Declined: []uint64{attempt}})
		for {
			run := b.d.runOf(modelStream, true)
			if run == nil {
				return
			}
			if run.Attempt != 0 {
				attempt = run.Attempt
				waits = append(waits, b.now.Sub(began).Round(time.Second))
				return
			}
			if b.now.Sub(began) > time.Minute {
				t.Fatal("no other attempt is made")
			}
			b.now = b.now.Add(500 * time.Millisecond)
			b.beat(protocol.Heartbeat{})
		}
	}
	lose()
	lose()
	b.page(protocol.Page{Attempt: attempt, Kind: protocol.RecordsPage, To: "17"})
	for range 4 {
		lose()
	}
	want := []time.Duration{0, time.Second, 0, time.Second, 2 * time.Second, 4 * time.Second}
	if len(waits) != len(want) {
		t.Fatalf("waits %v", waits)
	}
	for i := range want {
		if waits[i] != want[i] {
			t.Fatalf("waits %v, want %v", waits, want)
		}
	}
	lose()
	if v := b.view(); v.Walk != nil || v.State != StateFailing || v.Error.Type != "attempts-exhausted" {
		t.Fatalf("after five: %s, %v", v.State, v.Error)
	}
}
