package dispatch

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
	cores "github.com/hubpipe/hubpipe/worker"
)

// drive is an attempt in a process's hands: what the goroutines of a worker do
// around its core, by events.
type drive struct {
	p        *process
	n        uint64
	f        protocol.Fetch
	list     string
	prepared bool
	schema   bool // the definitions are in flight
	began    int64
	ranges   map[uint32]*driveRange
}

type driveRange struct {
	g       protocol.Range
	waiting bool // a page is in flight
	parts   []protocol.Listed
	listed  bool // parts is the window's listing, as far as it is not sent
	doubted map[string]doubt
	ahead   *protocol.Page
	sent    protocol.Page
	rows    *rowReading
}

// doubt is a reading that the daemon does not believe yet.
type doubt struct {
	rec   protocol.Record
	reads int
}

func (a *drive) hub() *hub { return a.p.m.hubs[a.f.Stream] }

func (a *drive) add(ranges []protocol.Range) {
	for _, g := range ranges {
		if a.ranges[g.ID] == nil {
			g.Want = slices.Clone(g.Want)
			a.ranges[g.ID] = &driveRange{g: g, doubted: map[string]doubt{}}
			a.later(g.ID)
		}
	}
}

// later asks HubSpot for a range's next page, when the request has come back.
func (a *drive) later(id uint32) {
	a.p.after(a.p.m.between(30, 700), func() { a.next(id) })
}

// next reads the range's next page and puts it in flight.
func (a *drive) next(id uint32) {
	p, m := a.p, a.p.m
	r := a.ranges[id]
	if p.drives[a.n] != a || r == nil || r.waiting {
		return
	}
	if !p.core.MayFetch(m.now) && m.bug != "a silent daemon is no reason to stop" {
		m.seen["gate closed"]++
		p.after(500*time.Millisecond, func() { a.next(id) })
		return
	}
	m.asked(a.f.Portal, p, a.n)
	p.core.Progress(a.n)
	switch {
	case m.chance(250, "attempt failed"):
		a.give(func() {
			p.core.Failed(a.n, protocol.Problem{Type: "fetch-failed", Title: "x", Blocked: m.rng.IntN(3) == 0})
		})
		return
	case m.chance(400, "attempt declined"):
		a.give(func() { p.core.Declined(a.n) })
		return
	}
	if !a.prepared && !a.prepare(id) {
		if !r.waiting {
			a.later(id)
		}
		return
	}
	a.make(r)
}

func (a *drive) give(f func()) {
	delete(a.p.drives, a.n)
	f()
	a.p.soon()
}

// prepare learns whose data it is, the run's beginning and the definitions.
// It returns false while a page with definitions is on its way.
func (a *drive) prepare(id uint32) bool {
	if a.schema {
		return false
	}
	h := a.hub()
	began := h.ms()
	newest := slices.ContainsFunc(a.f.Ranges, func(g protocol.Range) bool { return g.Newest })
	if a.f.Kind == string(stream.Backfill) || !newest {
		began -= 2000
	}
	a.began = a.p.core.Began(a.n, began)
	account := int64(1)
	if a.f.Portal == "second" {
		account = 2
	}
	a.p.core.Account(a.n, protocol.Account{ID: account})
	a.list = fmt.Sprintf("list%d", h.list)
	if a.f.SchemaHash == a.list || h.rows != nil {
		a.prepared = true
		return true
	}
	a.schema = true
	page, ok := a.p.core.Head(a.n, id)
	if !ok {
		a.p.m.fail("attempt %d has no range %d", a.n, id)
		return false
	}
	page.Kind, page.Schema, page.List, page.AsOf = protocol.SchemaPage, []byte("[]"), a.list, h.ms()
	a.send(a.ranges[id], page)
	return false
}

func (a *drive) send(r *driveRange, page protocol.Page) {
	for i := range page.Records {
		if from := losers(page.Records[i].Properties); len(from) > 0 {
			page.Merges = append(page.Merges, protocol.Merge{Into: page.Records[i].ID, From: from})
		}
	}
	r.sent, r.waiting = page, true
	a.p.send(page)
}

func (a *drive) make(r *driveRange) {
	page, ok := a.p.core.Head(a.n, r.g.ID)
	if !ok {
		a.p.m.fail("%s: attempt %d has no range %d any more", a.p.name, a.n, r.g.ID)
		return
	}
	page.List = a.list
	switch {
	case len(r.g.Want) > 0 && a.hub().rows != nil:
		a.bringRows(r, &page)
	case ofRows(stream.RangeKind(r.g.Kind)):
		a.ofRows(r, &page)
	case len(r.g.Want) > 0:
		a.bring(r, &page)
	case r.g.Kind == "list" && r.ahead != nil:
		page.Kind, page.Records, page.To, page.Last = r.ahead.Kind, r.ahead.Records, r.ahead.To, r.ahead.Last
		r.ahead = nil
	case r.g.Kind == "list" && !a.f.Whole && a.p.m.chance(60, "join"):
		page.Kind = protocol.JoinPage
	case r.g.Kind == "list" && a.divide(r, &page):
	case r.g.Kind == "list":
		a.walk(r.g, page.From, &page)
	case r.g.Kind == "sweep", r.g.Kind == "archived":
		a.sweep(r.g, &page)
	case r.g.Kind == "window":
		a.window(r, &page)
	default:
		a.p.m.fail("range %d of kind %s did not end with what it wants", r.g.ID, r.g.Kind)
		return
	}
	a.send(r, page)
	if r.g.Kind == "list" && page.Kind == protocol.RecordsPage && !page.Last && a.p.m.rng.IntN(2) == 0 {
		a.p.after(a.p.m.between(10, 400), func() { a.readAhead(r, page.Seq, page.To) })
	}
}

// readAhead fetches the page after the one that is in flight.
func (a *drive) readAhead(r *driveRange, seq uint64, cursor string) {
	head, ok := a.p.core.Head(a.n, r.g.ID)
	if a.p.drives[a.n] != a || !ok || head.Seq != seq || !a.p.core.MayFetch(a.p.m.now) {
		return
	}
	a.p.m.asked(a.f.Portal, a.p, a.n)
	r.ahead = &protocol.Page{}
	a.walk(r.g, cursor, r.ahead)
}

// divide wishes for another walker on the upper part of a list, now and then.
func (a *drive) divide(r *driveRange, page *protocol.Page) bool {
	at, _ := strconv.ParseUint(page.From, 10, 64)
	if a.f.Whole || a.p.m.rng.IntN(4) > 0 {
		return false
	}
	id := max(at, r.g.IDLo) + 2 + uint64(a.p.m.rng.IntN(60))
	if r.g.IDHi != 0 && id >= r.g.IDHi {
		return false
	}
	page.Kind, page.SplitID = protocol.SplitPage, id
	a.p.m.seen["list divided"]++
	return true
}

func (a *drive) size(lo, hi, wide int) int {
	if a.p.m.wide {
		return wide
	}
	return lo + a.p.m.rng.IntN(hi-lo+1)
}

// walk reads records of the list; the last page of a whole list leads nowhere.
func (a *drive) walk(g protocol.Range, cursor string, page *protocol.Page) {
	from, _ := strconv.Atoi(cursor)
	ids, last := a.hub().after(stream.Live, from, g.IDHi, a.size(2, 8, protocol.MaxPageRecords))
	page.Kind, page.To, page.Last = protocol.RecordsPage, "", last
	for _, id := range ids {
		if rec, ok := a.hub().read(id, listLag); ok {
			page.Records = append(page.Records, rec)
		}
		if !last {
			page.To = strconv.Itoa(id)
		}
	}
}

func (a *drive) sweep(g protocol.Range, page *protocol.Page) {
	from, _ := strconv.Atoi(page.From)
	state := stream.Live
	if g.Kind == "archived" {
		state = stream.Archived
	}
	ids, last := a.hub().after(state, from, 0, a.size(3, 12, protocol.MaxListed))
	page.Kind, page.To, page.Last = protocol.ListingPage, "", last
	for _, id := range ids {
		l := protocol.Listed{ID: strconv.Itoa(id), Version: a.hub().records[id].version}
		if rec, ok := a.hub().read(id, 0); ok && a.f.Kind == string(stream.Reconcile) && state == stream.Live {
			l.Digest = rec.Digest
		}
		page.Listing = append(page.Listing, l)
		if !last {
			page.To = strconv.Itoa(id)
		}
	}
}

// window lists a search window in parts; now and then it is too full, and cut
// by time or by id, or contradicts itself and is read by list.
func (a *drive) window(r *driveRange, page *protocol.Page) {
	m := a.p.m
	hi := r.g.Hi
	if hi == 0 {
		hi = max(a.began, r.g.Lo)
	}
	if !r.listed {
		full := !m.quiet && m.rng.IntN(6) == 0
		mid := (r.g.Lo + hi) / 2
		byID := r.g.IDLo + 5 + uint64(m.rng.IntN(60))
		if m.wide {
			byID = r.g.IDLo + 6000
			full = full || len(a.hub().search(r.g, hi)) > 3000
			mid = 0
		}
		switch {
		case full && mid > r.g.Lo && mid < hi && m.rng.IntN(3) > 0:
			page.Kind, page.SplitAt = protocol.SplitPage, mid
			m.seen["split by time"]++
			return
		case full && (r.g.IDHi == 0 || byID < r.g.IDHi) && (m.wide || m.rng.IntN(2) == 0):
			page.Kind, page.SplitID = protocol.SplitPage, byID
			m.seen["split by id"]++
			return
		case a.f.ByList > 0 && r.g.Newest && a.f.Kind == string(stream.Incremental) && m.chance(40, "walk"):
			page.Kind = protocol.WalkPage
			return
		case m.chance(60, "sweep"):
			page.Kind = protocol.SweepPage
			return
		}
		r.parts, r.listed = a.hub().search(r.g, hi), true
	}
	n := min(len(r.parts), a.size(3, 20, protocol.MaxListed))
	page.Kind, page.Listing = protocol.ListingPage, r.parts[:n:n]
	if r.parts = r.parts[n:]; len(r.parts) == 0 {
		page.To, page.Last = strconv.FormatInt(hi, 10), true
		r.listed = false
	}
}

// bring reads what is wanted; what is not believed is read until two readings
// agree, and what cannot be read is named.
func (a *drive) bring(r *driveRange, page *protocol.Page) {
	m := a.p.m
	page.Kind = protocol.RecordsPage
	want := slices.DeleteFunc(slices.Clone(r.g.Want), func(w protocol.Listed) bool { return w.Known })
	if len(want) == 0 {
		a.parts(r, page)
		return
	}
	if len(r.doubted) < len(want) { // what is doubted is read again at the end
		want = slices.DeleteFunc(want, func(w protocol.Listed) bool { _, doubted := r.doubted[w.ID]; return doubted })
	}
	for _, w := range want[:min(len(want), a.size(1, 9, protocol.MaxPageRecords))] {
		n, _ := strconv.Atoi(w.ID)
		rec, there := a.hub().read(n, batchLag)
		if there && rec.Version < w.Version {
			rec, there = a.hub().read(n, 0) // older than search named: read again
		}
		was, doubted := r.doubted[w.ID]
		switch {
		case !there && r.g.Ask:
			m.seen["gone"]++
			page.Gone, page.AsOf = append(page.Gone, w.ID), a.hub().ms()
			continue
		case !there:
			page.Open = append(page.Open, protocol.OpenID{ID: w.ID, Version: w.Version, Reason: "gone"})
			continue
		case doubted && was.reads > 3, !doubted && m.chance(60, "not read"):
			page.Open = append(page.Open, protocol.OpenID{ID: w.ID, Version: w.Version, Reason: "x"})
			continue
		case doubted && rec.Version == was.rec.Version:
			rec.Confirmed = true
			m.seen["confirmed"]++
		}
		page.Records = append(page.Records, rec)
		if w.Past && rec.State == "live" {
			page.Parts = append(page.Parts, a.past(n, rec))
		}
	}
}

// past is the history that comes with a reading of a record.
func (a *drive) past(id int, rec protocol.Record) protocol.Part {
	of := rec.Version
	if before := a.hub().records[id].before; before != 0 && a.p.m.bug == "a history may be of another version" {
		of = before
	}
	a.p.m.seen["history"]++
	return protocol.Part{ID: rec.ID, AsOf: rec.AsOf, Digest: historyIn(of), Body: []byte("{}")}
}

// pasts reads histories alone, each with as much of its record as tells of which
// version it is.
func (a *drive) pasts(want []protocol.Listed, page *protocol.Page) {
	page.PartKind = protocol.HistoryPart
	for _, w := range want[:min(len(want), a.size(1, 12, protocol.MaxParts))] {
		n, _ := strconv.Atoi(w.ID)
		rec, there := a.hub().read(n, batchLag)
		if there && rec.Version < w.Version {
			rec, there = a.hub().read(n, 0)
		}
		if !there || rec.State == string(stream.Merged) {
			page.Gone = append(page.Gone, w.ID)
			continue
		}
		a.p.m.seen["history alone"]++
		page.Parts = append(page.Parts, a.past(n, rec))
	}
}

// parts reads histories, and then associations, of some at a time.
func (a *drive) parts(r *driveRange, page *protocol.Page) {
	page.Kind = protocol.PartsPage
	if past := slices.DeleteFunc(slices.Clone(r.g.Want), func(w protocol.Listed) bool { return !w.Past }); len(past) > 0 {
		a.pasts(past, page)
		return
	}
	page.PartKind = protocol.AssociationsPart
	for _, w := range r.g.Want[:min(len(r.g.Want), a.size(1, 12, protocol.MaxParts))] {
		n, _ := strconv.Atoi(w.ID)
		page.Parts = append(page.Parts, protocol.Part{ID: w.ID, AsOf: a.hub().ms(), Digest: [16]byte{1, a.hub().records[n].link}, Body: []byte("{}")})
		a.p.m.seen["part"]++
	}
}

// answered goes on from what the daemon made of the page.
func (a *drive) answered(e cores.Answered) {
	m, an := a.p.m, e.Answer
	r := a.ranges[e.Range]
	if an.Type != protocol.Committed || r == nil {
		if an.Type == protocol.Refused {
			m.fail("a page was refused: %s", an.Reason)
		}
		return // the cancel follows
	}
	if an.RunEnded {
		delete(a.p.drives, a.n)
		a.p.soon()
		return
	}
	if an.RangeEnded {
		delete(a.ranges, e.Range)
		return
	}
	r.g.Cursor, r.waiting = an.Cursor, false
	switch r.sent.Kind {
	case protocol.SchemaPage:
		a.prepared = true
	case protocol.ListingPage:
		r.g.Want = slices.Clone(an.Want)
		m.seen["want"] += len(an.Want)
		if r.sent.Last && len(an.Want) == 0 {
			m.fail("range %d did not end with its last listing", e.Range)
		}
	case protocol.PartsPage:
		a.parted(r)
		if len(an.Want) > 0 {
			r.g.Want = slices.Clone(an.Want)
		}
	case protocol.RecordsPage:
		a.brought(r, an)
		if len(an.Want) > 0 {
			r.g.Want = slices.Clone(an.Want)
		}
	case protocol.JoinPage:
		return // the attempt is cancelled
	case protocol.SweepPage, protocol.SplitPage, protocol.WalkPage:
		for _, g := range an.Ranges {
			if g.ID == r.g.ID {
				r.g.Lo, r.g.Hi, r.g.IDLo, r.g.IDHi, r.g.Kind = g.Lo, g.Hi, g.IDLo, g.IDHi, g.Kind
			}
		}
	}
	if len(r.g.Want) > 0 && len(r.doubted) == len(r.g.Want) {
		a.p.after(batchLag, func() { a.next(e.Range) })
		return
	}
	a.later(e.Range)
}

// brought strikes from what is wanted all but what is not believed.
func (a *drive) brought(r *driveRange, an protocol.Answer) {
	got := map[string]bool{}
	for i := range r.sent.Records {
		rec := r.sent.Records[i]
		if slices.Contains(an.Again, rec.ID) {
			a.p.m.seen["again"]++
			r.doubted[rec.ID] = doubt{rec, r.doubted[rec.ID].reads + 1}
			continue
		}
		got[rec.ID] = true
	}
	for _, o := range r.sent.Open {
		got[o.ID] = true
	}
	for _, id := range r.sent.Gone {
		got[id] = true
	}
	maps.DeleteFunc(r.doubted, func(id string, _ doubt) bool { return got[id] })
	live := map[string]bool{}
	for i := range r.sent.Records {
		live[r.sent.Records[i].ID] = r.sent.Records[i].State == "live"
	}
	came := map[string]bool{}
	for i := range r.sent.Parts {
		came[r.sent.Parts[i].ID] = true
	}
	kept := r.g.Want[:0]
	for _, l := range r.g.Want {
		if got[l.ID] {
			l.Known, l.Past, l.Parts = true, l.Past && live[l.ID] && !came[l.ID], l.Parts && live[l.ID]
			if !l.Past && !l.Parts {
				continue
			}
		}
		kept = append(kept, l)
	}
	r.g.Want = kept
}

// parted strikes those whose parts of a kind were brought.
func (a *drive) parted(r *driveRange) {
	got := map[string]bool{}
	for i := range r.sent.Parts {
		got[r.sent.Parts[i].ID] = true
	}
	for _, id := range r.sent.Gone {
		got[id] = true
	}
	for i := range r.g.Want {
		if w := &r.g.Want[i]; w.Known && got[w.ID] {
			w.Past, w.Parts = w.Past && r.sent.PartKind != protocol.HistoryPart, w.Parts && r.sent.PartKind != protocol.AssociationsPart
		}
	}
	r.g.Want = slices.DeleteFunc(r.g.Want, func(l protocol.Listed) bool { return l.Known && !l.Past && !l.Parts })
}
