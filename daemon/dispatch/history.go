package dispatch

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// The history of properties is a part, as associations are; but no value changes
// without a new version of its record, so that it comes with the record, in the
// same page, and no sweep looks for what was missed. A history run reads it of
// the records that are there already: after the first backfill, and where more
// is chosen than was (docs/adr/0013).

// historyTurn is how long a history run goes on before it makes way for another
// walk of its stream: it may take days, where it has little of each.
const historyTurn = time.Hour

// KeepsHistory tells whether the earlier values of a property are kept: of one
// that the stream copies.
func (cfg *StreamConfig) KeepsHistory(property string) bool {
	return chosen(cfg, property) && matchesAny(cfg.History, property)
}

// historyOf is which history a stream keeps.
func (d *Dispatcher) historyOf(name string) *stream.HistoryChoice {
	cfg := d.config[name]
	if cfg == nil {
		return nil
	}
	return cfg.history()
}

// history is which history the configuration chooses, nil for none.
func (cfg *StreamConfig) history() *stream.HistoryChoice {
	if len(cfg.History) == 0 {
		return nil
	}
	return &stream.HistoryChoice{Of: cfg.History, Properties: cfg.Properties, Exclude: cfg.Exclude}
}

// chooseHistory takes up what the configuration says now. What is asked of
// HubSpot from then on is by the new choice: pages by the old one, which lack
// what is new, are fenced. A history run goes on where it stands, unless it has
// passed records of which more is wanted now.
func (c *change) chooseHistory(s *stream.Stream) {
	choice := c.d.historyOf(s.Name)
	if choice.Equal(s.History) {
		return
	}
	for _, run := range c.d.openRuns() {
		if run.Stream != s.Name {
			continue
		}
		own := c.run(run.ID)
		switch {
		case own.Kind == stream.History:
			c.stopRun(s, own)
		case own.Attempt != 0:
			c.closeAttempt(own, false)
		}
	}
	if !choice.Within(s.History) {
		s.HistoryRead, s.HistoryFrom = false, ""
	}
	s.History = choice
}

// sweepHistory makes a run that reads the history of every live record, from
// where the one before stood that did not end.
func (c *change) sweepHistory(s *stream.Stream) (*stream.Run, error) {
	g := &stream.Range{Kind: stream.KnownRange, Past: true, Cursor: s.HistoryFrom}
	s.HistoryOwed = s.HistoryOwed && s.HistoryFrom != ""
	run, err := c.newRun(s, stream.History, g)
	if err != nil {
		return nil, err
	}
	if err := c.refill(s, run, g); err != nil {
		return nil, err
	}
	if g.Ended {
		c.finish(run)
	}
	return run, nil
}

// historyPlace notes how far a history run has come that does not end.
func (c *change) historyPlace(s *stream.Stream, run *stream.Run) {
	for _, g := range c.allRanges(run.ID) {
		if g.Past {
			s.HistoryFrom = g.Cursor
		}
	}
}

// pastsOf are the histories of a page of records, by id; none where the stream
// keeps none.
func (c *change) pastsOf(s *stream.Stream, p *protocol.Page) map[string]*protocol.Part {
	if len(p.Parts) == 0 || c.d.historyOf(s.Name) == nil {
		return nil
	}
	out := make(map[string]*protocol.Part, len(p.Parts))
	for i := range p.Parts {
		out[p.Parts[i].ID] = &p.Parts[i]
	}
	return out
}

// takePast gives a record the history that was read with it. What properties
// that have vanished had been stays. Which of two is later the versions say: the
// times of reading are HubSpot's, to the second, and would not tell.
func (c *change) takePast(s *stream.Stream, r *stream.Record, part *protocol.Part) {
	if part == nil || r.State.Bare() {
		return
	}
	had := stream.Record{Properties: r.History}
	has := stream.Record{Properties: part.Body}
	keepVanished(s, &had, &has)
	r.History, r.HistoryPart = has.Properties, stream.Part{AsOf: part.AsOf, Digest: part.Digest}
}

// putPast stores a history alone, of the version that is stored, where it is
// another one than is stored.
func (c *change) putPast(s *stream.Stream, run *stream.Run, h *stream.Head, part *protocol.Part) error {
	if h == nil || h.State.Bare() || h.HistoryPart.AsOf != 0 && h.HistoryPart.Digest == part.Digest {
		return nil
	}
	r, err := c.tx.Record(s.Name, part.ID)
	if err != nil {
		return fmt.Errorf("read %s %s: %w", s.Name, part.ID, err)
	}
	c.takePast(s, r, part)
	if err := c.putPart(s, run, r); err != nil {
		return err
	}
	note(run.Report, h, &r.Head)
	return nil
}

// pasts stores histories that came without their records. Of a record that is
// newer by now than the one that was wanted the history came with it, and this
// one may be older, whatever its time.
func (c *change) pasts(p *protocol.Page, run *stream.Run, g *stream.Range, s *stream.Stream) error {
	got := make(map[string]bool, len(p.Parts)+len(p.Open)+len(p.Gone))
	wanted := make(map[string]int64, len(g.Want))
	for _, w := range g.Want {
		if w.Past {
			wanted[w.ID] = w.Version
		}
	}
	keeps := c.d.historyOf(s.Name) != nil
	for i := range p.Parts {
		part := &p.Parts[i]
		got[part.ID] = true
		h, err := c.tx.Head(s.Name, part.ID)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Name, part.ID, err)
		}
		version, ok := wanted[part.ID]
		if !keeps || !ok || h != nil && h.Version > version {
			continue
		}
		if err := c.putPast(s, run, h, part); err != nil {
			return err
		}
	}
	for _, o := range p.Open {
		got[o.ID] = true
	}
	for _, id := range p.Gone {
		got[id] = true // to be found by those who look for what is gone
	}
	if err := c.openIDs(s, p.Open, nil, byHand(run, g)); err != nil {
		return err
	}
	for i := range g.Want {
		if got[g.Want[i].ID] {
			g.Want[i].Past = false
		}
	}
	return c.satisfied(run, g, s)
}

// satisfied takes off what a range wants the records of which all is there.
func (c *change) satisfied(run *stream.Run, g *stream.Range, s *stream.Stream) error {
	g.Want = slices.DeleteFunc(g.Want, func(w stream.Listed) bool { return w.Known && !w.Parts && !w.Past })
	return c.brought(s, run, g)
}

// keptOf are the members of an object whose names are kept.
func keptOf(object []byte, keeps func(name string) bool) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return nil
	}
	out := []byte{'{'}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		key, err := json.Marshal(name)
		if err != nil || !keeps(name) {
			continue // a name always encodes
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, key...), ':'), members[name]...)
	}
	return append(out, '}')
}

// ShowHistory is what is shown of a record's history: of the properties that are
// chosen now. Others that are still stored go when it is read next. Nil where
// none is chosen.
func (cfg *StreamConfig) ShowHistory(history []byte) []byte {
	if len(cfg.History) == 0 {
		return nil
	}
	if len(history) == 0 || slices.Equal(cfg.History, []string{"*"}) && slices.Equal(cfg.Properties, []string{"*"}) && len(cfg.Exclude) == 0 {
		return history
	}
	return keptOf(history, cfg.KeepsHistory)
}
