package dispatch

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// proc is a worker process of the model.
type proc struct {
	w        *world
	worker   string
	name     string
	dead     bool
	attempts map[uint64]*mattempt
	gone     map[uint64]bool
	heard    time.Time
	epoch    uint64
	declined map[uint64]bool // and failed: until a cancel
	failed   map[uint64]bool
}

// admits tells whether a message counts; one of a newer epoch ends what runs.
func (p *proc) admits(process string, epoch uint64) bool {
	if process != p.name || epoch < p.epoch {
		return false
	}
	if epoch > p.epoch {
		clear(p.attempts)
		clear(p.declined)
		clear(p.failed)
		p.epoch = epoch
	}
	p.heard = p.w.now
	return true
}

type mattempt struct {
	n        uint64
	fetch    protocol.Fetch
	began    int64
	progress uint64
	ranges   map[uint32]*mrange
	defs     bool
}

type mrange struct {
	protocol.Range
	page     *protocol.Page
	digest   string
	again    map[string]bool
	versions map[string]int64
	listed   map[string]bool // of a window, in parts before this one
}

func (w *world) spawn(worker string) {
	w.nproc++
	p := &proc{w: w, worker: worker, name: fmt.Sprintf("p%d", w.nproc), attempts: map[uint64]*mattempt{}, gone: map[uint64]bool{},
		declined: map[uint64]bool{}, failed: map[uint64]bool{}}
	w.procs = append(w.procs, p)
	p.beat()
}

func (p *proc) beat() {
	if p.dead {
		return
	}
	hb := &protocol.Heartbeat{Worker: p.worker, Process: p.name, Portals: []string{"main"}, Capacity: 4}
	for _, n := range slices.Sorted(maps.Keys(p.attempts)) {
		a := p.attempts[n]
		r := protocol.AttemptReport{Attempt: a.n, Began: a.began, Progress: a.progress, Account: &protocol.Account{ID: 7}}
		for _, id := range slices.Sorted(maps.Keys(a.ranges)) {
			r.Ranges = append(r.Ranges, protocol.RangeReport{ID: id, Seq: a.ranges[id].Seq})
		}
		hb.Attempts = append(hb.Attempts, r)
	}
	hb.Declined = slices.Sorted(maps.Keys(p.declined))
	for _, n := range slices.Sorted(maps.Keys(p.failed)) {
		hb.Failed = append(hb.Failed, protocol.AttemptFailure{Attempt: n, Problem: protocol.Problem{Type: "failed", Title: "it cannot be read"}})
	}
	p.w.net(func() {
		if p.w.down {
			return
		}
		outs, err := p.w.d.Heartbeat(p.w.now, hb)
		if p.w.bug == "heartbeats repair nothing" {
			outs = slices.DeleteFunc(outs, func(o Out) bool { return o.Command != nil })
		}
		if err == nil {
			p.w.send(outs)
		}
	})
	p.w.after(3*time.Second, p.beat)
}

func (p *proc) command(c protocol.Command) {
	if !p.admits(c.Process, c.Epoch) {
		return
	}
	if c.Type == protocol.CancelCommand {
		delete(p.attempts, c.Attempt)
		delete(p.declined, c.Attempt)
		delete(p.failed, c.Attempt)
		p.gone[c.Attempt] = true
		return
	}
	if p.gone[c.Attempt] {
		return
	}
	a := p.attempts[c.Attempt]
	if a == nil && p.w.wide && p.w.chance(40) {
		p.w.faults++
		p.gone[c.Attempt], p.declined[c.Attempt] = true, true
		return
	}
	if a == nil {
		a = &mattempt{n: c.Attempt, fetch: *c.Fetch, began: c.Fetch.Began, ranges: map[uint32]*mrange{}}
		p.attempts[c.Attempt] = a
	}
	p.add(a, c.Fetch.Ranges)
}

func (p *proc) add(a *mattempt, ranges []protocol.Range) {
	for _, g := range ranges {
		if a.ranges[g.ID] != nil {
			continue
		}
		a.ranges[g.ID] = &mrange{Range: g, again: map[string]bool{}, versions: map[string]int64{}}
		p.later(a, g.ID)
	}
}

func (p *proc) later(a *mattempt, id uint32) {
	p.w.after(time.Duration(50+p.w.rng.IntN(800))*time.Millisecond, func() {
		if g := a.ranges[id]; g != nil && !p.dead && p.attempts[a.n] == a && g.page == nil {
			p.make(a, g)
		}
	})
}

// make reads the next page of a range and puts it in flight.
func (p *proc) make(a *mattempt, g *mrange) {
	if a.began == 0 {
		a.began = p.w.ms()
	}
	a.progress++
	if p.w.wide && p.w.chance(300) {
		p.w.faults++
		delete(p.attempts, a.n)
		p.gone[a.n], p.failed[a.n] = true, true
		return
	}
	page := protocol.Page{Store: "store", Epoch: p.epoch, Process: p.name, Attempt: a.n, Range: g.ID, Seq: g.Seq,
		From: g.Cursor, To: g.Cursor, Began: a.began, Account: &protocol.Account{ID: 7}, List: "list"}
	switch {
	case !a.defs && a.fetch.SchemaHash == "" && g.ID == 0 && len(g.Want) == 0:
		a.defs = true
		page.Kind, page.Schema = protocol.SchemaPage, []byte("[]")
	case g.Kind == "list":
		p.list(g, &page)
	case len(g.Want) > 0:
		page.Kind = protocol.RecordsPage
		for _, want := range g.Want[:min(len(g.Want), 1+p.w.rng.IntN(5))] {
			// In the wide model replicas have caught up when it is read once more.
			r := p.w.read(want.ID, !p.w.wide || !g.again[want.ID])
			if r.Version < want.Version {
				r = p.w.read(want.ID, false) // older than search named: read again
			}
			r.Confirmed = g.again[want.ID]
			page.Records = append(page.Records, r)
		}
	default:
		p.window(a, g, &page)
	}
	g.page, g.digest = &page, jsonDigest(page)
	p.publish(a, g, g.page)
}

// read gives a record, now and then from a replica that lags.
func (w *world) read(id string, stale bool) protocol.Record {
	n, _ := strconv.Atoi(id)
	r := protocol.Record{ID: id, State: "live", Version: w.hub[n], AsOf: w.ms()}
	if stale && w.chance(12) {
		r.Version -= 5
		r.AsOf -= 1000
	}
	r.Digest[0], r.Digest[1] = byte(r.Version), byte(r.Version>>8)
	return r
}

func (p *proc) list(g *mrange, page *protocol.Page) {
	from, _ := strconv.Atoi(g.Cursor)
	ids := []int{}
	for id := range p.w.hub {
		if id > from && (g.IDHi == 0 || id <= int(g.IDHi)) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	page.Kind = protocol.RecordsPage
	n := min(len(ids), 2+p.w.rng.IntN(4))
	for _, id := range ids[:n] {
		page.Records = append(page.Records, p.w.read(strconv.Itoa(id), false))
		page.To = strconv.Itoa(id)
	}
	page.Last = n == len(ids)
}

// window lists what was modified in it; now and then it wishes for a split.
func (p *proc) window(a *mattempt, g *mrange, page *protocol.Page) {
	hi := g.Hi
	if hi == 0 {
		hi = max(a.began, g.Lo)
	}
	if mid := (g.Lo + hi) / 2; mid > g.Lo && mid < hi && p.w.chance(5) {
		page.Kind, page.SplitAt = protocol.SplitPage, mid
		return
	}
	page.Kind, page.To, page.Last = protocol.ListingPage, strconv.FormatInt(hi, 10), true
	for _, id := range slices.Sorted(maps.Keys(p.w.hub)) {
		if v := p.w.hub[id]; v >= g.Lo && v < hi {
			page.Listing = append(page.Listing, protocol.Listed{ID: strconv.Itoa(id), Version: v})
		}
	}
	if !p.w.wide {
		return
	}
	// A long listing goes in parts, each with what is wanted of it.
	page.Listing = slices.DeleteFunc(page.Listing, func(l protocol.Listed) bool { return g.listed[l.ID] })
	if n := len(page.Listing); n > 1 && p.w.rng.IntN(3) == 0 {
		page.Listing, page.To, page.Last = page.Listing[:n/2], page.From, false
	}
}

// publish sends the page, again and again until it is answered.
func (p *proc) publish(a *mattempt, g *mrange, page *protocol.Page) {
	if p.dead || p.attempts[a.n] != a || g.page != page {
		return
	}
	digest := g.digest
	p.w.net(func() { p.w.page(p.worker, *page, digest) })
	p.w.after(time.Duration(2000+p.w.rng.IntN(1000))*time.Millisecond, func() { p.publish(a, g, page) })
}

func (p *proc) answer(an protocol.Answer) {
	if !p.admits(an.Process, an.Epoch) {
		return
	}
	if an.Type == protocol.Displaced {
		p.dead = true
		return
	}
	a := p.attempts[an.Attempt]
	if a == nil {
		return
	}
	g := a.ranges[an.Range]
	if g == nil || g.page == nil || an.Seq != g.page.Seq {
		return
	}
	switch an.Type {
	case protocol.Fenced, protocol.Refused:
		delete(p.attempts, an.Attempt)
		p.gone[an.Attempt] = true
	case protocol.Committed:
		p.committed(a, g, an)
	}
}

func (p *proc) committed(a *mattempt, g *mrange, an protocol.Answer) {
	a.progress++
	page := g.page
	g.page = nil
	g.Seq, g.Cursor = an.Seq+1, an.Cursor
	switch page.Kind {
	case protocol.ListingPage:
		g.Want = an.Want
		if g.listed == nil {
			g.listed = map[string]bool{}
		}
		for _, l := range page.Listing {
			g.listed[l.ID] = true
		}
	case protocol.RecordsPage:
		if g.Kind != "list" {
			for _, r := range page.Records {
				if slices.Contains(an.Again, r.ID) {
					g.again[r.ID] = true
				} else {
					g.Want = slices.DeleteFunc(g.Want, func(l protocol.Listed) bool { return l.ID == r.ID })
				}
			}
		}
	case protocol.SplitPage:
		for _, n := range an.Ranges {
			if n.ID == g.ID {
				g.Lo, g.Hi, g.IDLo, g.IDHi = n.Lo, n.Hi, n.IDLo, n.IDHi
			}
		}
		p.add(a, an.Ranges)
	}
	if an.RunEnded {
		delete(p.attempts, a.n)
		p.gone[a.n] = true
		return
	}
	if an.RangeEnded {
		delete(a.ranges, g.ID)
		return
	}
	p.later(a, g.ID)
}
