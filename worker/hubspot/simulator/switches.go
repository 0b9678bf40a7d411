package simulator

import (
	"sync/atomic"
	"time"
)

// switches can be changed while the simulator runs. A value is never written
// to once it is in place.
type switches struct {
	token          string
	journalSecret  string
	unauthorized   bool
	limits         bool
	strictBodies   bool
	faultRate      float64
	staleReads     float64
	latency        time.Duration
	searchLateness time.Duration
	missing        Missing
	opaqueAfter    map[string]bool
	versions       []string
	scopesMissing  map[string][]string

	restoreKeepsTime, mergedArchived, batchGivesSurvivor bool
	sensitiveScope, rotateRefresh                        bool
	newestJoinedFirst                                    bool
	shortPages, repeatCursor, unordered                  float64
}

func switchesOf(o Options) *switches {
	w := &switches{
		token: o.Token, limits: o.Limits, strictBodies: o.StrictBodies, faultRate: o.FaultRate, staleReads: o.StaleReads,
		latency: o.Latency, searchLateness: o.SearchLateness, missing: o.Missing, opaqueAfter: o.OpaqueAfter, versions: o.Versions,
		restoreKeepsTime: o.RestoreKeepsTime, mergedArchived: o.MergedArchived, batchGivesSurvivor: o.BatchGivesSurvivor,
		shortPages: o.ShortPages, unordered: o.Unordered,
	}
	if o.Journal != nil {
		w.journalSecret = o.Journal.ClientSecret
	}
	if o.OAuth != nil {
		w.rotateRefresh = o.OAuth.Rotate
	}
	return w
}

func (s *Simulator) change(f func(*switches)) {
	s.switchMu.Lock()
	defer s.switchMu.Unlock()
	next := *s.switches.Load()
	f(&next)
	s.switches.Store(&next)
}

type counters struct {
	kinds                                   [kinds]atomic.Int64
	overBurst, overSearch, overDaily        atomic.Int64
	unauthorized, forbidden, tooLong, stale atomic.Int64
	faultKinds                              [faultKinds]atomic.Int64
}

// Refused counts requests over a limit, by limit.
type Refused struct {
	Burst  int64 `json:"burst"`
	Search int64 `json:"search"`
	Daily  int64 `json:"daily"`
}

// Stats are what happened since the simulator was made. Requests of the
// control addresses are not counted.
type Stats struct {
	Requests     map[string]int64 `json:"requests"` // by kind: list, get, batch_read, search, properties, account, associations, linked, schemas, token, set, journal, other
	Total        int64            `json:"total"`    // of all kinds, refused and failed ones included
	Refused      Refused          `json:"refused"`
	Faults       map[string]int64 `json:"faults"` // injected ones by kind: 500, 502, 503, 423, 477, cut, invalid, reset
	Unauthorized int64            `json:"unauthorized"`
	Forbidden    int64            `json:"forbidden"`
	TooLong      int64            `json:"tooLong"`    // addresses refused with 414
	StaleReads   int64            `json:"staleReads"` // records that a replica answered with an older version
}

// Stats returns the counts so far.
func (s *Simulator) Stats() Stats {
	c := &s.count
	st := Stats{
		Requests:     make(map[string]int64, kinds),
		Faults:       make(map[string]int64, faultKinds),
		Refused:      Refused{Burst: c.overBurst.Load(), Search: c.overSearch.Load(), Daily: c.overDaily.Load()},
		Unauthorized: c.unauthorized.Load(), Forbidden: c.forbidden.Load(),
		TooLong: c.tooLong.Load(), StaleReads: c.stale.Load(),
	}
	for k := range kinds {
		n := c.kinds[k].Load()
		st.Requests[k.String()] = n
		st.Total += n
	}
	for f := range faultKinds {
		st.Faults[f.String()] = c.faultKinds[f].Load()
	}
	return st
}
