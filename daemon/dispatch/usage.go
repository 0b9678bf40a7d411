package dispatch

import (
	"maps"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// usageEvery is how often the use of a portal is written down while it goes on:
// processes say all that they used in each heartbeat, so that what is lost is
// lost only where both ends end at once.
const usageEvery = 10 * time.Second

// keptProcesses bounds the processes of a day whose counts are told apart. One
// that comes after that many others is counted again.
const keptProcesses = 8

// portalUse is what is known of a portal's day, ahead of the ledger.
type portalUse struct {
	stream.Usage
	written   time.Time
	throttled *protocol.Wait
	burst     int64     // of the ceiling, in the window that ended at heard
	heard     time.Time // when a process said so
}

// uses takes in what a process says of its portals.
func (c *change) uses(hb *protocol.Heartbeat) {
	for i := range hb.Usage {
		u := &hb.Usage[i]
		day, err := time.Parse(time.DateOnly, u.Day)
		if err != nil || c.now.Sub(day).Abs() > 3*24*time.Hour || !slices.Contains(hb.Portals, u.Portal) {
			continue // no day of a clock that is anywhere near right
		}
		known := c.d.used[u.Portal]
		own := portalUse{}
		if known != nil {
			own = *known
		}
		own.Usage = took(own.Usage, hb.Process, u, func(name string) bool { return c.d.streams[name] != nil })
		own.throttled, own.burst, own.heard = u.Throttled, u.BurstUsed, c.now
		if own.written.IsZero() || c.now.Sub(own.written) >= usageEvery || known.Day != own.Day {
			own.written = c.now
			p := c.portal(u.Portal)
			kept := own.Usage
			p.Usage = &kept
		}
		c.after = append(c.after, func() { c.d.used[u.Portal] = &own })
	}
}

// took is a portal's use after a report, which says everything that its process
// used of the day. Nothing of the old one is changed in place.
func took(old stream.Usage, process string, u *protocol.PortalUsage, known func(streamName string) bool) stream.Usage {
	next := old
	switch {
	case u.Day < old.Day:
		return old // from before midnight
	case u.Day > old.Day:
		next.Gone, next.GoneReplies, next.Processes = nil, nil, nil
	}
	next.Day = u.Day
	next.Processes = slices.Clone(next.Processes)
	i := slices.IndexFunc(next.Processes, func(p stream.ProcessUsage) bool { return p.Process == process })
	if i < 0 {
		next.Processes = append(next.Processes, stream.ProcessUsage{Process: process})
		i = len(next.Processes) - 1
	}
	requests := stream.Requests{}
	requests.Raise(next.Processes[i].Requests) // a heartbeat may overtake another
	requests.Raise(u.Requests)
	maps.DeleteFunc(requests, func(name string, _ map[string]uint64) bool { return !known(name) })
	replies := stream.Replies{}
	replies.Raise(next.Processes[i].Replies)
	replies.Raise(countedReplies(u.Replies))
	next.Processes[i].Requests, next.Processes[i].Replies = requests, replies
	if drop := len(next.Processes) - keptProcesses; drop > 0 {
		gone, replies := stream.Requests{}, stream.Replies{}
		gone.Add(next.Gone)
		replies.Add(next.GoneReplies)
		for _, p := range next.Processes[:drop] {
			gone.Add(p.Requests)
			replies.Add(p.Replies)
		}
		next.Gone, next.GoneReplies, next.Processes = gone, replies, next.Processes[drop:]
	}
	if u.Ceiling > 0 {
		next.Ceiling, next.WindowSeconds = u.Ceiling, u.WindowSeconds
	}
	if u.Daily > 0 {
		next.Daily, next.Remaining = u.Daily, u.Remaining
	}
	next.Rate, next.SearchRate = u.Rate, u.SearchRate
	return next
}

// countedReplies leaves out what no version of hubpipe counts: whoever may write
// to the bus could name any number of words.
func countedReplies(given map[string]uint64) stream.Replies {
	out := stream.Replies{}
	for _, word := range ReplyOutcomes() {
		if n := given[word]; n > 0 {
			out[word] = n
		}
	}
	return out
}

// ReplyOutcomes are what a reply of HubSpot may be.
func ReplyOutcomes() []string { return []string{"ok", "limited", "refused", "failed"} }

// PortalView is how a portal stands.
type PortalView struct {
	stream.Portal
	// Problem is why nothing can be read from it, nil where something can.
	Problem *stream.Problem
	// Use is of the portal's Day, which is today where the portal is and ends at
	// DayEnds; its counts are zero where nothing was asked today.
	Use     stream.Usage
	DayEnds time.Time
	// Used is what Use counts, by stream and kind of work.
	Used stream.Requests
	// Replies are what these requests came to; BurstUsed is how many of the
	// ceiling are used of its window, 0 where nobody has said so lately.
	Replies   stream.Replies
	BurstUsed int64
	// Reserve is the share of the day that is left to others, Shares what the
	// kinds of work may use, in the order in which they come; none where HubSpot
	// names no daily limit.
	Reserve float64
	Shares  []ShareView
	// Throttled says why nothing is asked now, or nothing searched; nil where both
	// may be.
	Throttled *protocol.Wait
	// Journal is how its journal stands, nil where none is read.
	Journal *JournalView
}

// Portals lists the portals that are configured or that data was read from, by
// name.
func (d *Dispatcher) Portals(now time.Time) []PortalView {
	names := map[string]bool{}
	for name := range d.portals {
		names[name] = true
	}
	for _, cfg := range d.config {
		names[cfg.Portal] = true
	}
	blocks := d.blocks(now)
	out := make([]PortalView, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		v := PortalView{Portal: stream.Portal{Name: name}, Problem: blocks[name].problem}
		if p := d.portals[name]; p != nil {
			v.Portal = *p
		}
		for _, cfg := range d.config {
			if cfg.Portal == name && cfg.Problem != nil {
				v.Problem = cfg.Problem
			}
		}
		v.Journal = d.journalOf(name)
		v.Use, v.DayEnds = d.today(name, now)
		v.Used, v.Replies = v.Use.Total(), v.Use.Answered()
		v.Reserve, v.Shares = d.purse(name, now).plan.Reserve, d.shares(name, now)
		if u := d.used[name]; u != nil && u.throttled != nil && stillHolds(u.throttled, now) {
			v.Throttled = u.throttled
		}
		if u := d.used[name]; u != nil && now.Sub(u.heard).Seconds() <= max(u.WindowSeconds, 1) {
			v.BurstUsed = u.burst
		}
		out = append(out, v)
	}
	return out
}

func stillHolds(w *protocol.Wait, now time.Time) bool {
	until, err := time.Parse(time.RFC3339, w.Until)
	return err != nil || until.After(now)
}

// today is what a portal has used of the day that it is there now, and when that
// day ends. Where HubSpot has not said what remains since the day began, all of
// it does.
func (d *Dispatcher) today(portal string, now time.Time) (stream.Usage, time.Time) {
	local := now.In(d.zone(portal))
	day := local.Format(time.DateOnly)
	ends := time.Date(local.Year(), local.Month(), local.Day()+1, 0, 0, 0, 0, local.Location()).UTC()
	var use stream.Usage
	if u := d.used[portal]; u != nil {
		use = u.Usage
	}
	if use.Day < day {
		use.Day, use.Gone, use.Processes, use.Remaining = day, nil, nil, use.Daily
		use.GoneReplies = nil
	}
	return use, ends
}

// moved notes that an account has another time zone or currency than before: its
// day begins and ends there.
func (c *change) moved(portal string, a *protocol.Account) {
	p := c.d.portals[portal]
	if p == nil || p.Account != a.ID || a.TimeZone == "" || p.TimeZone == a.TimeZone && p.Currency == a.Currency {
		return
	}
	own := c.portal(portal)
	own.TimeZone, own.Currency = a.TimeZone, a.Currency
}

// zone is where a portal's day begins and ends.
func (d *Dispatcher) zone(portal string) *time.Location {
	name := ""
	if p := d.portals[portal]; p != nil {
		name = p.TimeZone
	}
	if z := d.zones[name]; z != nil {
		return z
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		z = time.UTC
	}
	d.zones[name] = z
	return z
}
