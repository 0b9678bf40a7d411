package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// worthCounting is how many records a run has to name before it is asked whether
// the list costs less: below it search has hardly begun.
const worthCounting = 2000

// byList looks, before anything is listed, whether reading the whole list costs
// less than searching for what windows hold and reading it by name, and wishes
// that in the run's first window: after a bulk edit or a week's stop, or where a
// property that is new is filled in most records. Only what is read for the first
// time is looked at. What settles was read, so that little of it is wanted, and
// it is how a list that lacked something is found out. A window that has been
// divided has been judged.
func (a *attempt) byList(windows []*ranger) error {
	var first []*ranger
	for _, r := range windows {
		if _, known := a.found[r.g.ID]; !known && (r.g.Newest || len(r.g.Has) > 0) {
			first = append(first, r)
		}
	}
	newest := len(first) == 1 && first[0].g.Newest
	switch {
	case a.fetch.ByList == 0 || len(first) == 0 || !newest && first[0].g.Newest:
		return nil
	case a.total > 0 && int64(a.total) < max(worthCounting, a.fetch.ByList):
		return nil
	case slices.ContainsFunc(first, func(r *ranger) bool { return r.g.IDLo != 0 || r.g.IDHi != 0 }):
		return nil
	}
	changed := 0
	for _, r := range first {
		w := r.asked(r.upper())
		w.Lo = max(w.Lo, a.fetch.From) // what was read before is named again, and not wanted
		if w.Hi <= w.Lo {
			continue
		}
		n, err := ask(a.ctx, a, func(ctx context.Context) (int, error) { return a.source.Count(ctx, a.fetch.Object, w) })
		if refusedBy(err) && !newest {
			return nil // so it says to who lists it, who reads the list then
		}
		if err != nil {
			return fmt.Errorf("count what has changed of %s: %w", a.fetch.Object, err)
		}
		changed += n
	}
	if int64(changed) < max(worthCounting, a.fetch.ByList) {
		return nil
	}
	reason := fmt.Sprintf("search names %d records: the whole list costs less than to read them by name", changed)
	a.log.Info("the whole list is read", "object", a.fetch.Object, "named", changed, "from", a.fetch.ByList)
	if _, err := first[0].send(protocol.Page{Kind: protocol.WalkPage, Reason: reason}, false); err != nil || newest {
		return err
	}
	// All of its ranges have become one: the run goes on under another attempt.
	return a.superseded()
}

// superseded waits for the end of an attempt that has asked for another.
func (a *attempt) superseded() error {
	select {
	case <-a.ctx.Done():
		return errOver
	case <-a.w.gate.stopped():
		return errStopping
	}
}

// unknown takes out of windows the properties that HubSpot has no more: to search
// for one that it does not know is an error.
func (a *attempt) unknown(windows []*ranger) {
	for _, r := range windows {
		if len(r.g.Has) == 0 {
			continue
		}
		r.g.Has = slices.DeleteFunc(slices.Clone(r.g.Has), func(name string) bool {
			_, ok := slices.BinarySearch(a.names, name)
			return !ok
		})
		if len(r.g.Has) == 0 {
			if a.found == nil {
				a.found = map[uint32][]protocol.Listed{}
			}
			a.found[r.g.ID] = []protocol.Listed{}
		}
	}
}

// refusedBy tells whether HubSpot calls a request wrong: it need not search by
// every property, sensitive ones for one.
func refusedBy(err error) bool {
	p, ok := errors.AsType[*ProblemError](err)
	return ok && p.Type == refusedProblem
}

// refusedProblem is the type of the problem of a request that HubSpot calls wrong.
const refusedProblem = "hubspot-refused"
