package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/budget"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// planFor is how long what was worked out about a portal's budget is used again:
// sizes and counts do not change much in it, and each stream asks.
const planFor = 2 * time.Second

// purse is a portal's budget at a moment.
type purse struct {
	at   time.Time
	plan budget.Plan
	day  budget.Day
	ends time.Time
	// by and why are the stretch of each kind of work.
	by  map[budget.Work]float64
	why map[budget.Work]string
	// shut are the kinds of work that have nothing left today, and why. What is
	// shut stays so until the day ends: else it would stop and go at the brink.
	shut map[purseKey]string
}

type purseKey struct {
	work  budget.Work
	asked bool
}

// purse gives a portal's budget.
func (d *Dispatcher) purse(portal string, now time.Time) *purse {
	old := d.purses[portal]
	if old != nil && now.Sub(old.at).Abs() < planFor {
		return old
	}
	use, ends := d.today(portal, now)
	p := &purse{at: now, ends: ends, plan: budget.Plan{Daily: use.Daily, SearchRate: use.SearchRate},
		by: map[budget.Work]float64{}, why: map[budget.Work]string{}, shut: map[purseKey]string{}}
	for name, cfg := range d.config {
		s := d.streams[name]
		if cfg.Portal != portal || s == nil || !s.Active || cfg.Problem != nil {
			continue
		}
		p.plan.Reserve = max(p.plan.Reserve, cfg.DailyReserve)
		live := int64(d.store.Live(name))
		b := budget.Stream{Name: name, Records: live, Interval: d.interval(s, now), Whole: d.wholeRead(cfg)}
		if cfg.reconciles() {
			b.ReconcileEvery = cfg.ReconcileEvery
		}
		if cfg.ofCRM() { // nothing else has a bin, associations or a history
			b.Archived, b.ArchivedEvery = budget.Bin(live), cfg.ArchivedEvery
			b.Pairs, b.AssociationsEvery, b.History = len(cfg.Associations), cfg.AssociateEvery, len(cfg.History) > 0
		}
		p.plan.Streams = append(p.plan.Streams, b)
	}
	p.day = budget.Day{Remaining: use.Remaining, Left: ends.Sub(now), Used: map[budget.Work]int64{}}
	for kind, n := range use.Total().ByKind() {
		p.day.Used[budget.Work(kind)] = int64(n)
	}
	for _, w := range append(budget.Shared(), budget.Incremental) {
		p.by[w], p.why[w] = p.plan.Stretch(w)
	}
	if old != nil && old.ends.Equal(ends) && old.plan.Daily == use.Daily {
		p.shut = old.shut
	}
	d.purses[portal] = p
	return p
}

// wholeRead is what a run costs that asks for what belongs to records of other
// streams, 0 for all other streams. Where nobody copies those records, it is
// counted for as many as it has rows itself.
func (d *Dispatcher) wholeRead(cfg *StreamConfig) (n int64) {
	e := cfg.row.Endpoint
	if e.Inputs == 0 {
		return 0
	}
	objects := []string{e.Parent.Stream}
	if e.Parent.Kind == catalogue.ParentPairRecords {
		objects = nil
		for _, pair := range cfg.Parents {
			from, _, _ := strings.Cut(pair, "/")
			objects = append(objects, from)
		}
	}
	for _, object := range objects {
		of := cfg.Name
		for name, other := range d.config {
			if other.Portal == cfg.Portal && other.row.Name == object {
				of = name
			}
		}
		n += budget.WholeRead(int64(d.store.Live(of)), e.Inputs)
	}
	return n
}

// spent says why a kind of work has to wait until the portal's day ends, "" where
// it need not.
func (p *purse) spent(w budget.Work, asked bool) string {
	key := purseKey{w, asked}
	if why := p.shut[key]; why != "" {
		return why
	}
	why := p.plan.Spent(w, p.day, asked)
	if why != "" {
		p.shut[key] = why
	}
	return why
}

// spent is the same of a run.
func (d *Dispatcher) spent(run *stream.Run, now time.Time) string {
	return d.purse(run.Portal, now).spent(workOf(run.Kind), run.Asked)
}

// workOf is what a run's requests count as. What is hinted at is what an
// incremental run would read.
func workOf(k stream.Kind) budget.Work {
	if k == stream.Hinted {
		return budget.Incremental
	}
	return budget.Work(k)
}

// interval is what is wanted between two incremental runs, 0 where nobody can
// tell.
func (d *Dispatcher) interval(s *stream.Stream, now time.Time) time.Duration {
	sc := d.schedule(s)
	if fixed, ok := sc.(interface{ Interval() time.Duration }); ok && fixed.Interval() > 0 {
		return fixed.Interval()
	}
	if sc == nil {
		return 0
	}
	next := sc.Next(now.Add(-time.Nanosecond), now)
	return max(0, sc.Next(next, next).Sub(next))
}

// stretched is an interval as the budget pays for it, with the reason where that
// is longer than wanted.
func (d *Dispatcher) stretched(portal string, w budget.Work, wanted time.Duration, now time.Time) (time.Duration, string) {
	p := d.purse(portal, now)
	if wanted <= 0 || p.by[w] <= 1 {
		return wanted, ""
	}
	return time.Duration(float64(wanted) * p.by[w]), p.why[w]
}

// every is what is meant to lie between two incremental runs of a stream, as
// the budget leaves it; 0 where nobody can tell.
func (d *Dispatcher) every(s *stream.Stream, now time.Time) time.Duration {
	every, _ := d.stretched(s.Portal, budget.Incremental, d.interval(s, now), now)
	return every
}

// pacedAt is when an incremental run is due that the schedule wants at a time:
// later where the budget does not pay for so many.
func (d *Dispatcher) pacedAt(s *stream.Stream, at, now time.Time) time.Time {
	wanted := d.interval(s, now)
	if every, why := d.stretched(s.Portal, budget.Incremental, wanted, now); why != "" && !s.LastStarted.After(now) {
		if paid := s.LastStarted.Add(every); paid.After(at) {
			at = paid
		}
	}
	if p := d.purse(s.Portal, now); p.spent(budget.Incremental, false) != "" && p.ends.After(at) {
		at = p.ends
	}
	return at
}

// unpaid tells whether a run of this kind is not to begin today.
func (d *Dispatcher) unpaid(s *stream.Stream, kind stream.Kind, now time.Time) bool {
	return d.purse(s.Portal, now).spent(workOf(kind), false) != ""
}

// rest lets go of the runs that have nothing left today; they go on from where
// they stand when the day ends.
func (c *change) rest() {
	for _, run := range c.d.openRuns() {
		if own := c.peek(run.ID); own.Attempt != 0 && own.State == stream.Running && c.d.spent(own, c.now) != "" {
			c.closeAttempt(c.run(run.ID), false)
		}
	}
}

// budgetWait is why a stream waits for the end of the portal's day, nil where it
// does not.
func (d *Dispatcher) budgetWait(v View, now time.Time) *protocol.Wait {
	p := d.purse(v.Stream.Portal, now)
	wait := func(kind stream.Kind, why string) *protocol.Wait {
		return &protocol.Wait{Kind: StateThrottled, Reason: fmt.Sprintf("HubSpot's daily limit: %s waits, %s", kind, why),
			Until: p.ends.Format(time.RFC3339)}
	}
	for _, run := range []*stream.Run{v.Incremental, v.Walk} {
		if run == nil {
			continue
		}
		if why := d.spent(run, now); why != "" {
			return wait(run.Kind, why)
		}
	}
	// What is owed and has not begun, since nothing is left for it.
	if s := v.Stream; s.Active && s.Backfilled && v.Walk == nil {
		for _, owed := range []struct {
			kind stream.Kind
			is   bool
		}{{stream.Fill, len(s.Fill) > 0}, {stream.History, !s.HistoryRead && d.historyOf(s.Name) != nil}} {
			if why := p.spent(workOf(owed.kind), false); owed.is && why != "" {
				return wait(owed.kind, why)
			}
		}
	}
	if why := p.spent(budget.Incremental, false); why != "" && v.Stream.Active {
		return wait(stream.Incremental, why)
	}
	return nil
}

// Stretched is an interval that the budget makes longer than it is wanted.
type Stretched struct {
	Work          budget.Work
	Wanted, Every time.Duration
	Reason        string
}

// stretches are the intervals of a stream that the budget makes longer.
func (d *Dispatcher) stretches(s *stream.Stream, now time.Time) (out []Stretched) {
	cfg := d.config[s.Name]
	for _, one := range []Stretched{
		{Work: budget.Incremental, Wanted: d.interval(s, now)},
		{Work: budget.Reconcile, Wanted: cfg.ReconcileEvery},
		{Work: budget.Associations, Wanted: cfg.AssociateEvery},
		{Work: budget.Archived, Wanted: cfg.ArchivedEvery},
	} {
		if one.Every, one.Reason = d.stretched(s.Portal, one.Work, one.Wanted, now); one.Reason != "" {
			out = append(out, one)
		}
	}
	return out
}

// ShareView is how a share of a portal's day stands.
type ShareView struct {
	Work        budget.Work
	Limit, Used int64 // requests of the day
	Wanted      int64 // in a day, at the intervals that are wanted
	Spent       string
}

// shares are the shares of a portal's day, none where HubSpot names no limit.
func (d *Dispatcher) shares(portal string, now time.Time) (out []ShareView) {
	p := d.purse(portal, now)
	if p.plan.Daily <= 0 {
		return nil
	}
	for _, w := range append(budget.Shared(), budget.Backfill, budget.Incremental) {
		v := ShareView{Work: w, Limit: int64(budget.Share(w) * float64(p.plan.Daily)), Used: p.day.Used[w],
			Wanted: int64(p.plan.PerDay(w)), Spent: p.spent(w, false)}
		switch w {
		case budget.Incremental:
			v.Used += p.day.Used[budget.Settle] + p.day.Used[budget.Record]
		case budget.History:
			v.Used += p.day.Used[budget.Fill]
		}
		if budget.Share(w) == 0 {
			v.Limit = int64((1 - p.plan.Reserve) * float64(p.plan.Daily))
		}
		out = append(out, v)
	}
	slices.Reverse(out)
	return out
}
