package worker

import (
	"maps"
	"slices"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// Kinds of work for which requests are counted apart from the run that makes
// them; the others are called as the run is.
const (
	incrementalWork  = "incremental"
	settleWork       = "settle"
	associationsWork = "associations"
)

// usage counts what the process has asked of HubSpot in each portal's day. Under
// the worker's mu.
type usage struct {
	limits  map[string]func() protocol.PortalUsage
	portals map[string]*portalDay
}

type portalDay struct {
	day  string // "" until the portal's own is known
	used map[string]map[string]uint64
	// before are the replies of the days before, of all that the process counts.
	before map[string]uint64
}

func newUsage(limits map[string]func() protocol.PortalUsage) *usage {
	return &usage{limits: limits, portals: map[string]*portalDay{}}
}

// add counts requests of a stream.
func (u *usage) add(portal, stream, work string, n uint64) {
	if n == 0 {
		return
	}
	p, _ := u.today(portal)
	if p.used[stream] == nil {
		p.used[stream] = map[string]uint64{}
	}
	p.used[stream][work] += n
}

// today gives what is counted of the portal's day, begun anew when another one
// has begun, and what is known of its limits.
func (u *usage) today(portal string) (*portalDay, protocol.PortalUsage) {
	known := protocol.PortalUsage{Portal: portal}
	if f := u.limits[portal]; f != nil {
		known = f()
		known.Portal = portal
	}
	p := u.portals[portal]
	if p == nil {
		p = &portalDay{used: map[string]map[string]uint64{}}
		u.portals[portal] = p
	}
	if known.Day != "" && known.Day != p.day {
		// What was asked before anything was known of the day is of this one.
		if p.day != "" {
			p.used = map[string]map[string]uint64{}
			p.before = maps.Clone(known.Replies)
		}
		p.day = known.Day
	}
	return p, known
}

// report is how the portals stand, those that were never asked left out.
func (u *usage) report() []protocol.PortalUsage {
	var out []protocol.PortalUsage
	for _, portal := range slices.Sorted(maps.Keys(u.portals)) {
		p, known := u.today(portal)
		if p.day == "" {
			continue
		}
		known.Day, known.Requests = p.day, map[string]map[string]uint64{}
		for stream, kinds := range p.used {
			known.Requests[stream] = maps.Clone(kinds)
		}
		known.Replies = since(p.before, known.Replies)
		out = append(out, known)
	}
	return out
}

// since is what counts have grown by, nil where by nothing.
func since(before, now map[string]uint64) map[string]uint64 {
	out := maps.Clone(now)
	maps.DeleteFunc(out, func(word string, n uint64) bool { return n <= before[word] })
	for word := range out {
		out[word] -= before[word]
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// counted is a Source with what was counted of it.
type counted struct {
	Source
	noted uint64
}

// as gives the attempt's source for a kind of work.
func (a *attempt) as(work string) Source {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	s := a.sources[work]
	if s == nil {
		s = &counted{Source: a.w.o.Portals[a.fetch.Portal](a.wait, a.got)}
		if a.sources == nil {
			a.sources = map[string]*counted{}
		}
		s.Quiet(a.quiet)
		a.sources[work] = s
	}
	return s.Source
}

// hush names to every source what never makes a change by itself.
func (a *attempt) hush(names []string) {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	a.quiet = names
	for _, s := range a.sources {
		s.Quiet(names)
	}
}

// source is what the range reads HubSpot with.
func (r *ranger) source() Source {
	if r.a.fetch.Kind == incrementalWork && r.g.Kind == windowRange && !r.g.Newest {
		return r.a.as(settleWork)
	}
	return r.a.source
}

// spent notes the requests that were made since the last time; w.mu is held. It
// returns those of the attempt in all.
func (a *attempt) spent() (total uint64) {
	for work, s := range a.sources {
		n := s.Requests()
		a.w.use.add(a.fetch.Portal, a.fetch.Stream, work, n-s.noted)
		s.noted = n
		total += n
	}
	return total
}

// got notes that a reply came: an attempt that gets some gets on.
func (a *attempt) got() {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	total := a.spent()
	if a.ctx.Err() == nil {
		a.w.core.Progress(a.n)
		a.w.core.Requests(a.n, total)
	}
}
