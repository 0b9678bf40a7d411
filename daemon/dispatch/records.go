package dispatch

import (
	"fmt"
	"slices"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

func (c *change) records(p *protocol.Page, run *stream.Run, g *stream.Range, s *stream.Stream) error {
	generation, _ := s.Generation(p.List)
	got, seen := make(map[string]bool, len(p.Records)+len(p.Open)), make(map[string]int64, len(p.Records))
	live, past := make(map[string]bool, len(p.Records)), c.pastsOf(s, p)
	var doubted []string
	readings := map[stream.Verdict]uint64{}
	for i := range p.Records {
		r := domainRecord(&p.Records[i], generation)
		stored, err := c.tx.Head(s.Name, r.ID)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Name, r.ID, err)
		}
		erased, err := c.isErased(s, stored)
		if err != nil {
			return err
		}
		if erased || stored == nil && c.tooOld(s.Name, r.Version) && !byHand(run, g) {
			got[r.ID] = true
			continue
		}
		verdict := stream.Judge(stored, &r.Head, p.Records[i].Confirmed)
		readings[verdict]++
		if verdict.Stores() {
			if err := c.follow(run, s, stored, r); err != nil {
				return err
			}
			if err := c.keepParts(s, stored, r); err != nil {
				return err
			}
			c.takePast(s, r, past[r.ID])
			if err := c.put(s, run, r); err != nil {
				return err
			}
			note(run.Report, stored, &r.Head)
		}
		if part := past[r.ID]; verdict == stream.Same && part != nil {
			if err := c.putPast(s, run, stored, part); err != nil {
				return err
			}
		}
		if verdict == stream.Regress {
			s.Regressed++
		}
		if verdict == stream.Older {
			s.Dropped++
			// Not as new as what is stored: believed only when a second read
			// says the same. A list is not held up for it, and one that was
			// read before what is stored is only late.
			switch {
			case p.Records[i].Confirmed || stored.Version <= r.Version:
			case g.Kind != stream.ListRange:
				g.Again = append(g.Again, r.ID)
				continue
			case r.AsOf > stored.AsOf:
				doubted = append(doubted, r.ID)
			}
		}
		got[r.ID], seen[r.ID], live[r.ID] = true, r.Version, r.State == stream.Live
	}
	c.counts(func(n *Counts) {
		for v, k := range readings {
			n.Readings[Reading{run.Stream, v}] += k
		}
	})
	for _, o := range p.Open {
		got[o.ID] = true
	}
	if err := c.openIDs(s, p.Open, seen, byHand(run, g)); err != nil {
		return err
	}
	if err := c.mergers(p, run, s); err != nil {
		return err
	}
	if err := c.gone(p, run, g, s, got); err != nil {
		return err
	}
	if g.Kind == stream.ListRange {
		c.doubt(run, doubted)
		g.Cursor, g.Ended = p.To, p.Last
		return nil
	}
	for i := range g.Want {
		w := &g.Want[i]
		if !got[w.ID] {
			continue
		}
		// What is not live keeps the parts that it has.
		w.Known, w.Parts, w.Past = true, w.Parts && live[w.ID], w.Past && live[w.ID] && past[w.ID] == nil && !isOpen(p, w.ID)
		w.Version = max(w.Version, seen[w.ID])
	}
	return c.satisfied(run, g, s)
}

// isOpen tells whether a page says that there is something of a record that it
// does not bring.
func isOpen(p *protocol.Page, id string) bool {
	return slices.ContainsFunc(p.Open, func(o protocol.OpenID) bool { return o.ID == id })
}

// tooOld tells whether a record was last modified before the stream's start.
func (c *change) tooOld(name string, version int64) bool {
	cfg := c.d.config[name]
	return cfg != nil && version < cfg.StartDate
}

// openIDs takes off the stream's list what was read in the version that was
// named, and puts on it what cannot be read, but what was erased.
func (c *change) openIDs(s *stream.Stream, open []protocol.OpenID, seen map[string]int64, byHand bool) error {
	s.Open = slices.DeleteFunc(s.Open, func(o stream.OpenID) bool {
		v, ok := seen[o.ID]
		return ok && v >= o.Version
	})
	if byHand {
		return nil // a person named it, not HubSpot
	}
	for _, o := range open {
		h, err := c.tx.Head(s.Name, o.ID)
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Name, o.ID, err)
		}
		erased, err := c.isErased(s, h)
		if err != nil {
			return err
		}
		if erased {
			continue
		}
		i := slices.IndexFunc(s.Open, func(x stream.OpenID) bool { return x.ID == o.ID })
		if i < 0 {
			s.Open = append(s.Open, stream.OpenID(o))
			continue
		}
		s.Open[i] = stream.OpenID{ID: o.ID, Version: max(s.Open[i].Version, o.Version), Reason: o.Reason, TooLarge: o.TooLarge}
	}
	return nil
}

// byHand tells whether a range reads what a person asked for by name.
func byHand(run *stream.Run, g *stream.Range) bool {
	return run.Kind == stream.OneRecord || g.Guest != nil
}

// brought moves a range on when it wants nothing any more.
func (c *change) brought(s *stream.Stream, run *stream.Run, g *stream.Range) error {
	if len(g.Want) > 0 {
		return nil
	}
	g.Cursor, g.Ended = g.To, g.Last
	if g.Kind == stream.KnownRange && !g.Ended {
		return c.refill(s, run, g)
	}
	return nil
}
