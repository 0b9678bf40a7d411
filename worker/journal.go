package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot"
)

// The journal of a portal's account is read entry by entry. What an entry names
// is in each heartbeat until the daemon says that it is in the ledger; only then
// is the next entry asked for. So the worker keeps nothing that lasts here either:
// where to go on from comes with each answer.

const (
	// badFiles is how often an entry is asked for whose file cannot be used: its
	// address may have ended. After that it is left out, as a gap.
	badFiles = 5
	// failingFiles is the same where storage fails, about half an hour.
	failingFiles = 30
	// journalPatience bounds one try, file included.
	journalPatience = 2 * time.Minute
	// journalBlocked is how often a journal is tried that a person has to mend,
	// journalFailing the longest wait after other failures.
	journalBlocked = 30 * time.Second
	journalFailing = time.Minute
	// journalBeat is how many records one heartbeat names of several journals.
	journalBeat = 10_000
)

// Journal reads HubSpot's journal; see hubspot.Journal.
type Journal interface {
	Next(ctx context.Context, place string, account int64) (hubspot.JournalEntry, error)
}

// journaling is how the journal of a portal is read. What is below the first
// fields is under the worker's mu.
type journaling struct {
	portal string
	source Journal
	wake   chan struct{}
	fails  int    // in a row; of the goroutine that reads
	bad    int    // of them for a file of one entry
	failed int    // and for one whose storage fails
	lost   string // the place that HubSpot did not know when it was last asked

	pull    bool
	place   string
	account int64
	asked   uint64
	problem *protocol.Problem
	report  *protocol.PortalJournal // what waits to be in the ledger
}

func journals(of map[string]Journal) map[string]*journaling {
	out := map[string]*journaling{}
	for portal, source := range of {
		out[portal] = &journaling{portal: portal, source: source, wake: make(chan struct{}, 1)}
	}
	return out
}

// pulling is what heartbeats say of the journals; w.mu is held. What does not fit
// into one heartbeat is in the next, each journal being the first in turn.
func (w *Worker) pulling() []protocol.PortalJournal {
	portals := slices.Sorted(maps.Keys(w.pulls))
	out, named := make([]protocol.PortalJournal, 0, len(portals)), 0
	if w.turn++; w.turn >= len(portals) {
		w.turn = 0
	}
	for i := range portals {
		j := w.pulls[portals[(w.turn+i)%len(portals)]]
		one := protocol.PortalJournal{Portal: j.portal}
		if n := namedIn(j.report); j.report != nil && (named == 0 || named+n <= journalBeat) {
			one, named = *j.report, named+n
		}
		one.Asked, one.Problem = j.asked, j.problem
		out = append(out, one)
	}
	return out
}

func namedIn(r *protocol.PortalJournal) (n int) {
	if r == nil {
		return 0
	}
	for _, h := range r.Hints {
		n += len(h.IDs) + len(h.Linked)
	}
	return n
}

// places takes up what the daemon says; w.mu is held.
func (w *Worker) places(all []protocol.JournalPlace) {
	for _, at := range all {
		j := w.pulls[at.Portal]
		if j == nil {
			continue
		}
		switch {
		case j.report == nil:
		case j.report.To == at.Place, j.report.From != at.Place, !at.Pull:
			j.report = nil // it is in the ledger, or is of no use any more
		}
		changed := j.pull != at.Pull || j.place != at.Place || j.account != at.Account
		j.pull, j.place, j.account = at.Pull, at.Place, at.Account
		if changed {
			wake(j.wake)
		}
	}
}

// pull reads a journal for as long as the worker lives.
func (w *Worker) pull(j *journaling) {
	for {
		w.mu.Lock()
		place, account, ready := j.place, j.account, j.pull && j.report == nil
		w.mu.Unlock()
		wait := w.o.HeartbeatEvery
		if ready {
			wait = w.pullOnce(j, place, account)
		}
		if !pause(w.ctx, wait, j.wake) {
			return
		}
	}
}

// pullOnce asks for what lies behind a place and returns how long to wait after
// it.
func (w *Worker) pullOnce(j *journaling, place string, account int64) time.Duration {
	inside, leave, err := w.gate.enter(w.ctx)
	if err != nil {
		return w.o.HeartbeatEvery // it ends
	}
	defer leave()
	ctx, cancel := context.WithTimeout(inside, journalPatience)
	defer cancel()
	gap := ""
	entry, err := j.source.Next(ctx, place, account)
	if !errors.Is(err, hubspot.ErrPlaceLost) {
		j.lost = ""
	} else if j.lost != place {
		j.lost = place
		return w.o.JournalEvery // one such answer alone is not believed
	} else {
		// What came behind it is asked for otherwise; the newest entry is a place
		// that there is.
		gap = "HubSpot does not know the place in its journal any more: it keeps three days"
		entry, err = j.source.Next(ctx, "", account)
	}
	if context.Cause(inside) != nil {
		return 0 // the gate has closed: it is entered again
	}
	if file := (*hubspot.JournalFileError)(nil); errors.As(err, &file) {
		if file.Passing {
			j.failed++
		} else {
			j.bad++
		}
		if (j.bad >= badFiles || j.failed >= failingFiles) && file.Place != "" {
			gap, entry, err = file.Error(), hubspot.JournalEntry{Place: file.Place}, nil
		}
	} else {
		j.bad, j.failed = 0, 0
	}
	if err != nil {
		return w.pullFailed(j, err)
	}
	j.fails, j.bad, j.failed = 0, 0, 0
	switch {
	case entry.Place == "" && (place == "" || gap != ""):
		entry.Place = hubspot.JournalEarliest // it is empty: all that comes counts
	case entry.Place == place:
		gap = "" // it is the newest, known or not: nothing has come behind it
	}
	w.mu.Lock()
	mended, moved := j.problem != nil, entry.Place != "" && entry.Place != place
	j.asked++
	j.problem = nil
	if moved && j.place == place {
		j.report = reportOf(j.portal, place, gap, entry)
	}
	w.mu.Unlock()
	if mended {
		w.log.Info("HubSpot's journal is read again", "portal", j.portal)
	}
	if gap != "" {
		w.log.Warn("the journal has a gap: the portal's streams are asked for all that has changed", "portal", j.portal, "reason", gap)
	}
	if moved && entry.Unread > 0 {
		w.log.Warn("events of HubSpot's journal are not understood: what they name comes with the interval", "portal", j.portal,
			"events", entry.Events, "unread", entry.Unread)
	}
	if moved {
		w.log.Debug("an entry of the journal", "portal", j.portal, "events", entry.Events, "named", len(entry.Hints),
			"others", entry.Others, "unread", entry.Unread, "published", entry.Published)
	}
	if moved || mended {
		wake(w.beats)
	}
	if moved {
		return w.o.HeartbeatEvery // the answer comes first
	}
	return w.o.JournalEvery
}

// pullFailed notes why a journal is not read, and says when it is tried again.
func (w *Worker) pullFailed(j *journaling, err error) time.Duration {
	j.fails++
	p := &protocol.Problem{Type: "journal", Title: "HubSpot's journal is not read", Detail: err.Error(),
		Hint: "it is tried again by itself; meanwhile changes come with the interval"}
	wait := min(journalFailing, w.o.JournalEvery<<min(j.fails, 10))
	if blocked, ok := errors.AsType[*hubspot.Blocked](err); ok {
		p.Hint, p.Blocked = blocked.Hint, true
		wait = min(journalBlocked, w.o.JournalEvery<<min(j.fails, 10))
	}
	w.mu.Lock()
	news := j.problem == nil || j.problem.Detail != p.Detail
	// One failure among many successes is not worth saying.
	if news = news && (p.Blocked || j.fails > 2); news {
		j.problem = p
	}
	w.mu.Unlock()
	if news {
		w.log.Warn("HubSpot's journal is not read", "portal", j.portal, "error", err, "hint", p.Hint)
		wake(w.beats)
	}
	return wait
}

// reportOf is what lies between two places.
func reportOf(portal, from, gap string, e hubspot.JournalEntry) *protocol.PortalJournal {
	r := &protocol.PortalJournal{Portal: portal, From: from, To: e.Place, Gap: gap, Many: e.Many}
	at := map[string]int{}
	for _, h := range e.Hints {
		i, ok := at[h.Object]
		if !ok {
			i = len(r.Hints)
			at[h.Object] = i
			r.Hints = append(r.Hints, protocol.JournalHints{Object: h.Object})
		}
		if h.Associations {
			r.Hints[i].Linked = append(r.Hints[i].Linked, h.Record)
		} else {
			r.Hints[i].IDs = append(r.Hints[i].IDs, h.Record)
		}
	}
	return r
}

var _ Journal = (*hubspot.Journal)(nil)
