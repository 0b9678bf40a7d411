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

// bringAll reads the records, with their history where that is wanted; then the
// history of those that it did not come with; and then the associations of those
// that HubSpot has. Of what is known already it reads these two alone.
func (r *ranger) bringAll(want []protocol.Listed) error {
	var records []protocol.Listed
	r.linked, r.behind, r.withAll = nil, nil, false
	r.wanted = make(map[string]protocol.Listed, len(want))
	for _, l := range want {
		switch {
		case !l.Known:
			records = append(records, l)
			r.wanted[l.ID] = l
			r.withAll = r.withAll || l.Past
		default:
			r.follow(l)
		}
	}
	if len(records) > 0 {
		if err := r.bringRecords(records); err != nil || r.ended {
			return err
		}
	}
	if err := r.bringPast(r.behind); err != nil || r.ended {
		return err
	}
	return r.bringLinks(r.linked)
}

// follow notes what is to be read of a record that is known.
func (r *ranger) follow(l protocol.Listed) {
	if l.Past {
		r.behind = append(r.behind, l)
	}
	if l.Parts {
		r.linked = append(r.linked, l.ID)
	}
}

// bringPast reads the history of records alone, with no more of the records
// than tells whether it is of the version that is wanted.
func (r *ranger) bringPast(want []protocol.Listed) error {
	a := r.a
	if len(want) == 0 {
		return nil
	}
	if len(a.past) == 0 {
		// The properties that it is kept of are none of the object's.
		parts := make([]protocol.Part, len(want))
		for i, l := range want {
			parts[i] = protocol.Part{ID: l.ID, AsOf: a.source.Now(), Body: []byte("{}")}
		}
		return r.sendParts(protocol.HistoryPart, batch{parts: parts})
	}
	return r.read(want, ReadRequest{History: a.past}, func(b batch) error {
		for i := range b.records {
			if b.records[i].State == "merged" { // it has none, and ends by what its survivor says
				b.gone = append(b.gone, protocol.OpenID{ID: b.records[i].ID})
			}
		}
		return r.sendParts(protocol.HistoryPart, b)
	})
}

// bringLinks reads associations, as many at once as HubSpot gives.
func (r *ranger) bringLinks(ids []string) error {
	a := r.a
	if len(ids) == 0 {
		return nil
	}
	if len(a.fetch.Associations) == 0 { // they were wanted when the range was made
		for some := range slices.Chunk(ids, protocol.MaxParts) {
			b := batch{open: make([]protocol.OpenID, len(some))}
			for i, id := range some {
				b.open[i] = protocol.OpenID{ID: id, Reason: "its associations are not wanted any more"}
			}
			if err := r.sendParts(protocol.AssociationsPart, b); err != nil || r.ended {
				return err
			}
		}
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
			b := batch{parts: parts, open: untold(some, parts)}
			if len(b.open) > 0 {
				a.log.Warn("HubSpot does not say what some records are associated with, what is known of them stands", "records", len(b.open), "first", b.open[0].ID)
			}
			if err := emit(ctx, b); err != nil {
				return err
			}
		}
		return nil
	}, func(b batch) error { return r.sendParts(protocol.AssociationsPart, b) })
}

// untold are the ids that have no part: what is known of them stands.
func untold(ids []string, parts []protocol.Part) (open []protocol.OpenID) {
	if len(parts) == len(ids) {
		return nil
	}
	told := byID(parts)
	for _, id := range ids {
		if _, ok := told[id]; !ok {
			open = append(open, protocol.OpenID{ID: id, Reason: "HubSpot does not say what it is associated with"})
		}
	}
	return open
}

// linksAtOnce is how many records one request for associations may name.
const linksAtOnce = catalogue.AssociationsLimit

// sendParts sends parts in pages within bounds, and at the end the ids of which
// none are to be had. One that the broker cannot carry is among them.
func (r *ranger) sendParts(kind protocol.PartKind, b batch) error {
	open, gone := b.open, make([]string, len(b.gone))
	for i, o := range b.gone {
		gone[i] = o.ID
	}
	for most := protocol.MaxParts; len(b.parts) > 0 && !r.ended; {
		n, size := 0, 0
		for n < min(len(b.parts), most) && (n == 0 || size+len(b.parts[n].Body)+80 <= protocol.MaxPageBytes) {
			size += len(b.parts[n].Body) + 80 // with id, time and digest
			n++
		}
		_, err := r.send(protocol.Page{Kind: protocol.PartsPage, PartKind: kind, Parts: b.parts[:n]}, false)
		switch {
		case errors.Is(err, errTooLarge) && n > 1:
			most = n / 2
			continue
		case errors.Is(err, errTooLarge):
			open = append(open, r.unfit(b.parts[0].ID, r.wanted[b.parts[0].ID].Version, "a part of the record", len(b.parts[0].Body)))
		case err != nil:
			return err
		case r.brought:
			return errBrought
		}
		b.parts, most = b.parts[n:], protocol.MaxParts
	}
	for len(open)+len(gone) > 0 && !r.ended {
		n := min(len(gone), protocol.MaxGone)
		if _, err := r.send(protocol.Page{Kind: protocol.PartsPage, PartKind: kind, Open: open, Gone: gone[:n]}, false); err != nil {
			return err
		}
		open, gone = nil, gone[n:]
	}
	return nil
}

// bringRecords reads records: what cannot be read is named as open, and what the
// daemon does not believe is read again.
func (r *ranger) bringRecords(want []protocol.Listed) error {
	doubted := map[string]protocol.Record{}
	err := r.read(want, r.wholeRecords(), func(b batch) error {
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

// deliver sends what was read and notes what is not believed. What is known to be
// old, and named as open, is not looked at again: it may well agree with itself.
func (r *ranger) deliver(b batch, doubted map[string]protocol.Record) error {
	again, err := r.records(b, false)
	if err != nil {
		return err
	}
	for _, id := range again {
		if slices.ContainsFunc(b.open, func(o protocol.OpenID) bool { return o.ID == id }) {
			continue
		}
		for i := range b.records {
			if b.records[i].ID == id {
				doubted[id] = b.records[i]
			}
		}
	}
	past := byID(b.parts)
	for i := range b.records {
		rec := &b.records[i]
		if rec.State != "live" || slices.Contains(again, rec.ID) {
			continue
		}
		l := r.wanted[rec.ID]
		_, came := past[rec.ID]
		l.Past = l.Past && !came && !older(rec, l)
		r.follow(l)
	}
	if r.brought {
		return errBrought
	}
	return nil
}

// older tells whether a record came in a version older than wanted: it is named
// as open then, and read again in another run.
func older(rec *protocol.Record, l protocol.Listed) bool { return rec.Version < l.Version }

// wholeRecords asks for all that is wanted of records.
func (r *ranger) wholeRecords() ReadRequest {
	req := ReadRequest{Properties: r.a.names, Archived: r.g.Kind == archivedRange}
	if r.withAll {
		req.History = r.a.past
	}
	return req
}

// read reads the wanted records by and by, one batch ahead of what is sent.
func (r *ranger) read(want []protocol.Listed, req ReadRequest, send func(batch) error) error {
	a := r.a
	left := make(map[string]bool, len(want))
	for _, l := range want {
		left[l.ID] = true
	}
	return r.ahead(func(ctx context.Context, emit func(context.Context, batch) error) error {
		all := func(want []protocol.Listed) (Unread, error) {
			return ask(ctx, a, func(ctx context.Context) (Unread, error) {
				// Where the call was broken off, it is made again for the rest.
				var rest []protocol.Listed
				for _, l := range want {
					if left[l.ID] {
						rest = append(rest, l)
					}
				}
				return r.source().ReadAll(ctx, a.fetch.Object, rest, req, func(records []protocol.Record, parts []protocol.Part) error {
					if err := emit(ctx, batch{records: records, parts: parts}); err != nil {
						return err
					}
					for i := range records {
						delete(left, records[i].ID)
					}
					return nil
				})
			})
		}
		unread, err := all(want)
		if err == nil && len(unread.Gone) > 0 && fresh(a.fetch.Kind) {
			unread, err = r.lookAgain(unread, all)
		}
		if err != nil {
			return fmt.Errorf("read %d %s: %w", len(want), a.fetch.Object, err)
		}
		if len(unread.Open)+len(unread.Gone) > 0 {
			return emit(ctx, batch{records: unread.Old, open: unread.Open, gone: unread.Gone})
		}
		return nil
	}, send)
}

// fresh tells whether a run of a kind is told of records a moment after they have
// changed.
func fresh(kind string) bool { return kind == hintRun || kind == incrementalRun }

// lookAgain asks once more, later, for what HubSpot has nowhere: of what has been
// archived a moment ago one of its servers may know that it lives no more, and
// another not yet that it is in the bin.
func (r *ranger) lookAgain(unread Unread, all func([]protocol.Listed) (Unread, error)) (Unread, error) {
	if err := r.a.sleep(r.a.w.o.RereadDelays[0]); err != nil {
		return Unread{}, err
	}
	want := make([]protocol.Listed, len(unread.Gone))
	for i, o := range unread.Gone {
		want[i] = protocol.Listed{ID: o.ID, Version: o.Version}
	}
	again, err := all(want)
	again.Open, again.Old = slices.Concat(unread.Open, again.Open), slices.Concat(unread.Old, again.Old)
	return again, err
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
	err := r.read(want, r.wholeRecords(), func(b batch) error {
		out := batch{open: b.open, gone: b.gone, parts: b.parts}
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
