package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// doubts bounds how often a reading that the daemon does not believe is made
// again before the id is given back as open.
const doubts = 3

// errBrought ends a reading whose rest is not wanted any more.
var errBrought = errors.New("nothing is wanted any more")

// bring reads what is wanted and sends it until nothing is.
func (r *ranger) bring(want []protocol.Listed) error {
	if err := r.bringAll(want); !errors.Is(err, errBrought) {
		return err
	}
	return nil
}

// bringAll reads the records, and then the associations of those that HubSpot
// has, and of those whose associations alone are wanted.
func (r *ranger) bringAll(want []protocol.Listed) error {
	var records []protocol.Listed
	r.linked = nil
	for _, l := range want {
		if l.Known {
			r.linked = append(r.linked, l.ID)
		} else {
			records = append(records, l)
		}
	}
	wanted := map[string]bool{}
	for _, l := range records {
		wanted[l.ID] = l.Parts
	}
	r.links = wanted
	if len(records) > 0 {
		if err := r.bringRecords(records); err != nil || r.ended {
			return err
		}
	}
	return r.bringLinks(r.linked)
}

// bringLinks reads associations, as many at once as HubSpot gives, and sends
// them in pages within bounds.
func (r *ranger) bringLinks(ids []string) error {
	a := r.a
	if len(ids) == 0 || len(a.fetch.Associations) == 0 {
		return nil
	}
	return r.ahead(func(ctx context.Context, emit func(context.Context, batch) error) error {
		for some := range slices.Chunk(ids, linksAtOnce) {
			parts, err := ask(ctx, a, func(ctx context.Context) ([]protocol.Part, error) {
				return a.as(associationsWork).Associations(ctx, a.fetch.Object, a.fetch.Associations, some)
			})
			if err != nil {
				return fmt.Errorf("read associations of %d %s: %w", len(some), a.fetch.Object, err)
			}
			if err := emit(ctx, batch{parts: parts}); err != nil {
				return err
			}
		}
		return nil
	}, func(b batch) error {
		for len(b.parts) > 0 && !r.ended {
			n, size := 0, 0
			for n < min(len(b.parts), protocol.MaxParts) && (n == 0 || size+len(b.parts[n].Associations)+80 <= protocol.MaxPageBytes) {
				size += len(b.parts[n].Associations) + 80 // with id, time and digest
				n++
			}
			p := protocol.Page{Kind: protocol.PartsPage, Parts: b.parts[:n]}
			if _, err := r.send(p, false); err != nil {
				return err
			}
			if b.parts = b.parts[n:]; r.brought {
				return errBrought
			}
		}
		return nil
	})
}

// linksAtOnce is how many records one request for associations may name.
const linksAtOnce = catalogue.AssociationsLimit

// bringRecords reads records: what cannot be read is named as open, and what the
// daemon does not believe is read again.
func (r *ranger) bringRecords(want []protocol.Listed) error {
	doubted := map[string]protocol.Record{}
	err := r.read(want, func(b batch) error {
		return r.deliver(b, doubted)
	})
	for n := 0; err == nil && len(doubted) > 0 && !r.ended; n++ {
		if n == doubts {
			return r.surrender(doubted)
		}
		doubted, err = r.confirm(doubted)
	}
	return err
}

// deliver sends what was read and notes what is not believed.
func (r *ranger) deliver(b batch, doubted map[string]protocol.Record) error {
	again, err := r.records(b, false)
	if err != nil {
		return err
	}
	for _, id := range again {
		for i := range b.records {
			if b.records[i].ID == id {
				doubted[id] = b.records[i]
			}
		}
	}
	for i := range b.records {
		if rec := &b.records[i]; r.links[rec.ID] && rec.State == "live" && !slices.Contains(again, rec.ID) {
			r.linked = append(r.linked, rec.ID)
		}
	}
	if r.brought {
		return errBrought
	}
	return nil
}

// read reads the wanted records by and by, one batch ahead of what is sent.
func (r *ranger) read(want []protocol.Listed, send func(batch) error) error {
	a := r.a
	left := make(map[string]bool, len(want))
	for _, l := range want {
		left[l.ID] = true
	}
	return r.ahead(func(ctx context.Context, emit func(context.Context, batch) error) error {
		unread, err := ask(ctx, a, func(ctx context.Context) (Unread, error) {
			// Where the call was broken off, it is made again for the rest.
			var rest []protocol.Listed
			for _, l := range want {
				if left[l.ID] {
					rest = append(rest, l)
				}
			}
			return r.source().ReadAll(ctx, a.fetch.Object, rest, a.names, r.g.Kind == archivedRange, func(records []protocol.Record) error {
				if err := emit(ctx, batch{records: records}); err != nil {
					return err
				}
				for i := range records {
					delete(left, records[i].ID)
				}
				return nil
			})
		})
		if err != nil {
			return fmt.Errorf("read %d %s: %w", len(want), a.fetch.Object, err)
		}
		if len(unread.Open)+len(unread.Gone) > 0 {
			return emit(ctx, batch{records: unread.Old, open: unread.Open, gone: unread.Gone})
		}
		return nil
	}, send)
}

// confirm reads twice more, some time apart, what was older than what is
// stored. A reading that is newer by then goes out at once, one that stands
// goes out as confirmed. It returns what is still not believed.
func (r *ranger) confirm(doubted map[string]protocol.Record) (map[string]protocol.Record, error) {
	still := map[string]protocol.Record{}
	first, err := r.reread(doubted, 0, still, func(rec *protocol.Record) bool {
		return rec.Version > doubted[rec.ID].Version
	})
	if err != nil || r.ended || len(first) == 0 {
		return still, err
	}
	_, err = r.reread(first, 1, still, func(rec *protocol.Record) bool {
		was := first[rec.ID]
		rec.Confirmed = was.Version == rec.Version && was.Digest == rec.Digest
		return true
	})
	return still, err
}

// reread reads records again after a delay, sends those for which ready says
// so, notes in still what is not believed, and returns the others.
func (r *ranger) reread(records map[string]protocol.Record, delay int, still map[string]protocol.Record,
	ready func(*protocol.Record) bool,
) (map[string]protocol.Record, error) {
	if err := r.a.sleep(r.a.w.o.RereadDelays[delay]); err != nil {
		return nil, err
	}
	want := make([]protocol.Listed, 0, len(records))
	for id := range records {
		want = append(want, protocol.Listed{ID: id})
	}
	others := map[string]protocol.Record{}
	err := r.read(want, func(b batch) error {
		out := batch{open: b.open, gone: b.gone}
		for _, rec := range b.records {
			if ready(&rec) {
				out.records = append(out.records, rec)
			} else {
				others[rec.ID] = rec
			}
		}
		if len(out.records)+len(out.open)+len(out.gone) == 0 {
			return nil
		}
		return r.deliver(out, still)
	})
	return others, err
}

// surrender gives ids back as open whose readings never agreed.
func (r *ranger) surrender(doubted map[string]protocol.Record) error {
	var open []protocol.OpenID
	for id, rec := range doubted {
		open = append(open, protocol.OpenID{ID: id, Version: rec.Version, Reason: "HubSpot answers with versions that do not agree"})
	}
	_, err := r.records(batch{open: open}, false)
	return err
}
