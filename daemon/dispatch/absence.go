package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Absence proves nothing. A walk that lacks what the store has makes it a
// candidate; candidates are asked for by id when the walk has ended in order,
// and what HubSpot has neither live nor archived is purged. Too many of them
// say more of the walk than of the records: then none is asked for.

// The phases of a walk: what is live, then what is archived, so that nothing
// slips from the one into the other unseen, then the candidates.
const (
	livePhase uint16 = iota
	archivedPhase
	askPhase
)

const (
	// neverBraked is how many records absence may end in any case.
	neverBraked = 100
	// askedAtOnce is how many ranges of candidates are at work together: what
	// they want travels in one message.
	askedAtOnce = 4
	// chunk is how many known ids are wanted at a time.
	chunk = 1000
)

// errEnough ends a scan of the store.
var errEnough = errors.New("enough")

// holds tells whether a range's listings are complete for the ids that they
// pass, so that what they lack is absent.
func holds(run *stream.Run, g *stream.Range) bool {
	return run.Kind != stream.Incremental && (g.Kind == stream.SweepRange || g.Kind == stream.ArchivedRange)
}

// absent notes what the store has, in the state that a walk lists, between the
// end of the listing before and the end of this one, and the listing has not.
func (c *change) absent(p *protocol.Page, run *stream.Run, g *stream.Range, s *stream.Stream) error {
	if !holds(run, g) || g.Disorder {
		return nil
	}
	listed, reached := make(map[string]bool, len(p.Listing)), g.Reached
	for _, l := range p.Listing {
		if reached != "" && protocol.CompareIDs(l.ID, reached) <= 0 {
			g.Disorder, run.Report.Disorder = true, true
			return nil
		}
		listed[l.ID], reached = true, l.ID
	}
	upTo := reached
	if p.Last {
		upTo = ""
	}
	after := g.Reached
	g.Reached = reached
	if run.Braked || upTo == after && !p.Last {
		return nil
	}
	state := stream.Live
	if g.Kind == stream.ArchivedRange {
		if c.d.store.Archived(s.Name) == 0 {
			// What this commit adds was heard of since the run began: the whole
			// index, in one commit where the bin is empty, need not be read.
			return nil
		}
		state = stream.Archived
	}
	var chained []string
	err := c.missing(run, s, after, upTo, func(h *stream.Head) bool {
		if h.State == stream.Merged && state == stream.Live {
			chained = append(chained, h.ID)
		}
		return h.State == state && !listed[h.ID]
	})
	if err != nil {
		return err
	}
	return c.unchain(run, s, chained)
}

// missing makes candidates of what the store has between two ids and is says is
// absent, unless something was heard of it since the run began.
func (c *change) missing(run *stream.Run, s *stream.Stream, after, upTo string, is func(*stream.Head) bool) error {
	limit, more := c.brake(run, s), false
	var candidates []string
	err := c.tx.Heads(s.Name, after, upTo, func(h *stream.Head) error {
		if !is(h) || heard(h, run) {
			return nil
		}
		if run.Report.Candidates++; expired(h, run) {
			run.Expired++
		}
		switch {
		case !run.Accept && run.Report.Candidates-run.Expired > limit:
			run.Braked = true
			return errEnough
		case len(candidates) < protocol.MaxListed:
			candidates = append(candidates, h.ID)
			return nil
		}
		// The rest is asked for as it comes, by the store's own ids. Who counts
		// for the brake is counted all the same.
		if more = true; run.Accept {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("look for what %s lacks: %w", s.Name, err)
	}
	if run.Braked {
		return nil
	}
	c.candidates(run, candidates)
	if more {
		c.addLast(run, &stream.Range{Kind: stream.KnownRange, Ask: true, Cursor: candidates[len(candidates)-1], UpTo: upTo})
	}
	return nil
}

// keptArchived is how long HubSpot keeps what is archived, less a day.
const keptArchived = 89 * 24 * time.Hour

// expired tells whether HubSpot was to let an archived record go by now: a bin
// that is emptied 90 days after a great deal was thrown away is no surprise.
func expired(h *stream.Head, run *stream.Run) bool {
	at := h.ArchivedMS()
	return at != 0 && run.Began-at > keptArchived.Milliseconds()
}

// brake is how many records a run may end by absence.
func (c *change) brake(run *stream.Run, s *stream.Stream) uint64 {
	share := 0.0
	if cfg := c.d.config[s.Name]; cfg != nil {
		share = cfg.MaxDeletes
	}
	return max(neverBraked, uint64(share*float64(c.d.store.Live(s.Name))))
}

// candidates puts ids with those that are asked for when the walk has ended.
func (c *change) candidates(run *stream.Run, ids []string) { c.later(run, ids, true) }

// doubt puts ids with those that are read again when the walk has ended: its
// list gave an older version than is stored.
func (c *change) doubt(run *stream.Run, ids []string) { c.later(run, ids, false) }

func (c *change) later(run *stream.Run, ids []string, ask bool) {
	if len(ids) == 0 {
		return
	}
	var open *stream.Range
	keeps := c.d.historyOf(run.Stream) != nil
	for _, g := range c.allRanges(run.ID) {
		if g.Kind == stream.IdsRange && g.Phase >= askPhase && g.Phase > run.Phase && g.Ask == ask && len(g.Want) < protocol.MaxListed {
			open = c.rangeOf(run.ID, g.ID)
		}
	}
	for _, id := range ids {
		if open == nil || len(open.Want) == protocol.MaxListed {
			open = c.addLast(run, &stream.Range{Kind: stream.IdsRange, Ask: ask})
		}
		open.Want = append(open.Want, stream.Listed{ID: id, Past: keeps})
	}
}

// addLast adds a range of named ids, in a phase after the walk that is not full.
func (c *change) addLast(run *stream.Run, g *stream.Range) *stream.Range {
	asking := 0
	for _, other := range c.allRanges(run.ID) {
		if other.Phase >= askPhase && other.Guest == nil {
			asking++
		}
	}
	g.ID, g.Phase, g.Last = run.NextRange, askPhase+uint16(asking/askedAtOnce), g.Kind == stream.IdsRange
	run.NextRange++
	return c.setRange(run.ID, g)
}

// nextPhase goes on to the next ranges of a run whose ranges at work have all
// ended; over says that there are none. Candidates that the run has met since
// are candidates no more.
func (c *change) nextPhase(run *stream.Run) (over bool, err error) {
	s := c.stream(run.Stream)
	for {
		next := uint16(0)
		for _, g := range c.allRanges(run.ID) {
			if !g.Ended && g.Phase > run.Phase && (next == 0 || g.Phase < next) {
				next = g.Phase
			}
		}
		if next == 0 {
			return true, nil
		}
		run.Phase = next
		for _, g := range c.allRanges(run.ID) {
			if g.Phase != next || g.Ended || !g.Ask && g.Kind != stream.KnownRange {
				continue
			}
			if err := c.ready(s, run, c.rangeOf(run.ID, g.ID)); err != nil {
				return false, err
			}
		}
		if !c.phaseEnded(run) {
			return false, nil
		}
	}
}

// ready looks once more at what a range of candidates asks for.
func (c *change) ready(s *stream.Stream, run *stream.Run, g *stream.Range) error {
	if g.Ask && (run.Braked || run.Report != nil && run.Report.Disorder) {
		g.Ended, g.Want = true, nil
		return nil
	}
	if g.Kind == stream.KnownRange {
		return c.refill(s, run, g)
	}
	kept := g.Want[:0:0]
	for _, w := range g.Want {
		h, err := c.tx.Head(s.Name, w.ID)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Name, w.ID, err)
		}
		if h == nil || stillThere(h, run) {
			kept = append(kept, w)
		}
	}
	g.Want = kept
	g.Ended = len(kept) == 0
	return nil
}

// stillThere tells whether a record may be ended for being absent: it is held
// for there, and nothing was heard of it since the walk began.
func stillThere(h *stream.Head, run *stream.Run) bool {
	return (h.State == stream.Live || h.State == stream.Archived) && !heard(h, run)
}

// heard tells whether a record was heard of since a run began. Associations are
// read apart from it, and of what is gone HubSpot gives none instead of saying so:
// where they alone have changed, nothing was heard. A history comes with its
// record, and says that it is there. All these times are HubSpot's.
func heard(h *stream.Head, run *stream.Run) bool {
	if h.Seq <= run.Feed {
		return false
	}
	return h.AssociationsPart.AsOf <= h.AsOf || max(h.AsOf, h.HistoryPart.AsOf) >= run.Began
}

// refill wants the next of the ids that the store has.
func (c *change) refill(s *stream.Stream, run *stream.Run, g *stream.Range) error {
	g.To, g.Last, g.Refilled = g.Cursor, true, true
	keeps := c.d.historyOf(s.Name) != nil
	err := c.tx.Heads(s.Name, g.Cursor, g.UpTo, func(h *stream.Head) error {
		if len(g.Want) == chunk {
			g.Last = false
			return errEnough
		}
		g.To = h.ID
		switch {
		case g.New && h.Seq <= run.Feed:
		case g.Parts && h.State == stream.Live:
			g.Want = append(g.Want, stream.Listed{ID: h.ID, Parts: true, Known: true})
		case g.Past && h.State == stream.Live:
			g.Want = append(g.Want, stream.Listed{ID: h.ID, Version: h.Version, Past: true, Known: true})
		case g.Ask && stillThere(h, run):
			g.Want = append(g.Want, stream.Listed{ID: h.ID, Past: keeps})
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("read the ids of %s: %w", s.Name, err)
	}
	if len(g.Want) == 0 {
		g.Cursor, g.Ended = g.To, true
	}
	return nil
}

// put stores a record at its new place, as what the page brings that is being
// applied.
func (c *change) put(s *stream.Stream, run *stream.Run, r *stream.Record) error {
	r.ReadBy = c.by
	return c.putPart(s, run, r)
}

// putPart is put where the page brings a part of the record, and not its properties.
func (c *change) putPart(s *stream.Stream, run *stream.Run, r *stream.Record) error {
	r.By = c.by
	if err := c.tx.Put(s.Name, r); err != nil {
		return fmt.Errorf("write %s %s: %w", s.Name, r.ID, err)
	}
	run.Records++
	return nil
}

// gone purges what HubSpot has not any more. Where something was heard of a
// record since the run began, it stays.
func (c *change) gone(p *protocol.Page, run *stream.Run, g *stream.Range, s *stream.Stream, got map[string]bool) error {
	since := *run
	if g.Guest != nil {
		since.Feed = g.Guest.Feed // asked for later than the walk began
	}
	for _, id := range p.Gone {
		got[id] = true
		s.Open = slices.DeleteFunc(s.Open, func(o stream.OpenID) bool { return o.ID == id })
		h, err := c.tx.Head(s.Name, id)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Name, id, err)
		}
		if h == nil || !stillThere(h, &since) {
			continue
		}
		if err := c.put(s, run, tombstone(h, stream.Purged, "", p.AsOf)); err != nil {
			return err
		}
		if run.Report != nil {
			run.Report.Gone++
		}
	}
	return nil
}

// tombstone is what stays of a record that has ended.
func tombstone(h *stream.Head, state stream.State, into string, asOf int64) *stream.Record {
	return &stream.Record{Head: stream.Head{ID: h.ID, State: state, Version: h.Version, AsOf: max(asOf, h.AsOf), List: h.List,
		CreatedAt: h.CreatedAt, UpdatedAt: h.UpdatedAt, ArchivedAt: h.ArchivedAt, MergedInto: into}}
}

// hold counts what a listing says of a record.
func hold(r *stream.Report, stored *stream.Head, wanted bool) {
	if r == nil {
		return
	}
	r.Checked++
	switch {
	case wanted && stored == nil:
		r.Missing++
	case wanted:
		r.Stale++
	}
}

// note counts what the reading of a record changes.
func note(r *stream.Report, stored, read *stream.Head) {
	if r == nil {
		return
	}
	r.Repaired++
	switch {
	case read.State == stream.Merged:
		r.Merged++
	case read.State == stream.Archived && (stored == nil || stored.State != stream.Archived):
		r.Archived++
	case read.State == stream.Live && stored != nil && stored.State != stream.Live:
		r.Restored++
	}
}

// TooManyDeletes is the type of the problem of a stream whose brake has held.
const TooManyDeletes = "too-many-deletes"

// brakedBy says what to type where a walk ended none for being too many.
func (c *change) brakedBy(run *stream.Run, s *stream.Stream) *stream.Problem {
	return &stream.Problem{Type: TooManyDeletes, Title: "too many records are missing in HubSpot's list", Blocked: true,
		Detail: fmt.Sprintf("%s: more than %d records of the store are not in what HubSpot lists; none was ended", run.Kind, c.brake(run, s)),
		Hint: fmt.Sprintf("if they were deleted: `hubpipe reconcile %s --accept-deletes`; else look why HubSpot lists so few (scopes, the token's user). New data goes on",
			run.Stream)}
}
