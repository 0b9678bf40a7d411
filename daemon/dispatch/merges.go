package dispatch

import (
	"encoding/json"
	"fmt"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// mergers ends what the records of a page have taken in, in the same commit.
// HubSpot's word counts at once.
func (c *change) mergers(p *protocol.Page, run *stream.Run, s *stream.Stream) error {
	for _, m := range p.Merges {
		into, err := c.tx.Head(s.Name, m.Into)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Name, m.Into, err)
		}
		switch {
		case into == nil || into.State == stream.Purged:
			continue
		case into.State == stream.Merged: // taken in itself before it was read
			if into, err = c.chainEnd(s, into); err != nil {
				return err
			}
			into = &stream.Head{ID: into.MergedInto, Version: into.Version, AsOf: into.AsOf}
		}
		if err := c.merge(run, s, into, m.From); err != nil {
			return err
		}
	}
	return nil
}

// merge ends records as parts of another; those that they had taken in before
// follow, to the end of the chain.
func (c *change) merge(run *stream.Run, s *stream.Stream, into *stream.Head, from []string) error {
	for ; len(from) > 0; from = from[1:] {
		id := from[0]
		if id == into.ID || id == "" {
			continue
		}
		if !c.tx.HasRoom(1, 0) {
			return nil // a long chain; the reconcile misses the rest and asks for it
		}
		h, err := c.tx.Head(s.Name, id)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Name, id, err)
		}
		if h == nil {
			// Never read: a late reading of it must not bring it to life.
			h = &stream.Head{ID: id}
		}
		erased, err := c.isErased(s, h)
		if err != nil {
			return err
		}
		if erased || h.State == stream.Merged && h.MergedInto == into.ID {
			continue
		}
		r, err := c.tx.Record(s.Name, id)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Name, id, err)
		}
		if r == nil {
			r = &stream.Record{Head: *h}
		}
		from = append(from, losers(r.Properties)...)
		end := tombstone(&r.Head, stream.Merged, into.ID, into.AsOf)
		end.Version = max(end.Version, into.Version)
		if err := c.put(s, run, end); err != nil {
			return err
		}
		if run.Report != nil {
			run.Report.Merged++
		}
	}
	return nil
}

// follow takes along those that a record had taken in, when it is read as merged
// into another itself.
func (c *change) follow(run *stream.Run, s *stream.Stream, stored *stream.Head, r *stream.Record) error {
	if r.State != stream.Merged || stored == nil || stored.State == stream.Merged {
		return nil
	}
	old, err := c.tx.Record(s.Name, r.ID)
	if err != nil {
		return fmt.Errorf("read %s %s: %w", s.Name, r.ID, err)
	}
	return c.merge(run, s, &stream.Head{ID: r.MergedInto, Version: r.Version, AsOf: r.AsOf}, losers(old.Properties))
}

// longestChain bounds how far merges are followed: HubSpot merges at most 250
// records into one.
const longestChain = 250

// unchain leads merged records to where what they were merged into has gone
// since. A record that was merged away before its last change was read has not
// said whom it had taken in.
func (c *change) unchain(run *stream.Run, s *stream.Stream, ids []string) error {
	for _, id := range ids {
		h, err := c.tx.Head(s.Name, id)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Name, id, err)
		}
		into, err := c.chainEnd(s, h)
		if err != nil {
			return err
		}
		if into.ID == h.ID {
			continue
		}
		if !c.tx.HasRoom(1, 0) {
			return nil // the next walk meets the rest
		}
		if err := c.put(s, run, tombstone(h, stream.Merged, into.MergedInto, into.AsOf)); err != nil {
			return err
		}
	}
	return nil
}

// chainEnd is the last of a chain of merged records, whose MergedInto is what
// they all are part of.
func (c *change) chainEnd(s *stream.Stream, h *stream.Head) (*stream.Head, error) {
	for range longestChain {
		next, err := c.tx.Head(s.Name, h.MergedInto)
		if err != nil {
			return nil, fmt.Errorf("read %s %s: %w", s.Name, h.MergedInto, err)
		}
		if next == nil || next.State != stream.Merged {
			break
		}
		h = next
	}
	return h, nil
}

// losers reads from a stored record which others it had taken in.
func losers(properties []byte) []string {
	var p map[string]json.RawMessage
	if len(properties) == 0 || json.Unmarshal(properties, &p) != nil {
		return nil
	}
	text := func(name string) (s string) {
		if json.Unmarshal(p[name], &s) != nil {
			return ""
		}
		return s
	}
	return catalogue.MergedIDs(text(catalogue.MergedObjects), text(catalogue.MergedVids))
}
