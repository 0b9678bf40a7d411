package dispatch

import (
	"fmt"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Erase takes away all that is held of a record but its id, in one commit, and
// notes it. What HubSpot may still have of it is not taken in again. Repeated,
// it changes nothing. A record that was never stored can be erased, too: none
// of it will be.
func (d *Dispatcher) Erase(now time.Time, name, id string) ([]Out, error) {
	if d.config[name] == nil {
		return nil, d.notFound(name)
	}
	if p := stream.BadRecord(id); p != nil {
		return nil, p
	}
	c := d.begin(now)
	if err := c.open(); err != nil {
		return nil, err
	}
	if err := c.erase(c.stream(name), id); err != nil {
		return nil, c.abandon(err)
	}
	return c.commit()
}

func (c *change) erase(s *stream.Stream, id string) error {
	was, err := c.tx.Erased(s.Name, id)
	if err != nil {
		return fmt.Errorf("read the erasure of %s %s: %w", s.Name, id, err)
	}
	h, err := c.tx.Head(s.Name, id)
	if err != nil {
		return fmt.Errorf("read %s %s: %w", s.Name, id, err)
	}
	s.Open = slices.DeleteFunc(s.Open, func(o stream.OpenID) bool { return o.ID == id })
	s.Hints = slices.DeleteFunc(s.Hints, func(l stream.Listed) bool { return l.ID == id })
	if was && h != nil && h.State == stream.Purged {
		return nil
	}
	if h == nil {
		h = &stream.Head{ID: id}
	}
	gone := tombstone(h, stream.Purged, "", 0)
	// Not even when it was, or how it was called.
	gone.CreatedAt, gone.UpdatedAt, gone.ArchivedAt = "", "", ""
	gone.By = stream.Origin{Road: stream.EraseRoad}
	gone.ReadBy = gone.By
	if err := c.tx.Put(s.Name, gone); err != nil {
		return fmt.Errorf("erase %s %s: %w", s.Name, id, err)
	}
	if err := c.tx.PutErasure(&stream.Erasure{Stream: s.Name, Record: id, At: c.now.Round(0).UTC()}); err != nil {
		return fmt.Errorf("note the erasure of %s %s: %w", s.Name, id, err)
	}
	return nil
}

// isErased tells whether a record was erased; only what is purged can be.
func (c *change) isErased(s *stream.Stream, h *stream.Head) (bool, error) {
	if h == nil || h.State != stream.Purged {
		return false, nil
	}
	erased, err := c.tx.Erased(s.Name, h.ID)
	if err != nil {
		return false, fmt.Errorf("read the erasure of %s %s: %w", s.Name, h.ID, err)
	}
	return erased, nil
}
