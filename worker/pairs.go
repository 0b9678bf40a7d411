package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Associations belong to the records of the first object of a pair. The records
// are listed by id, pair by pair, and asked for together, as many as HubSpot
// takes. A pair that it refuses keeps its rows and holds up no other.

// maxPairRecords bounds the ids of an object that are kept in memory.
const maxPairRecords = 5_000_000

// pairName is what ids call the pair of a parent, "" where it has none.
func (p parent) pairName() string {
	if p.pair == "" {
		return ""
	}
	return strings.TrimSuffix(p.name, "/"+p.path)
}

// recordOf is a record of a pair's first object.
func (p parent) recordOf(id string) parent {
	return parent{name: p.prefix() + id, path: id, pair: p.path}
}

// pairs are those of the stream, in the order of their ids.
func (a *attempt) pairs() []parent {
	out := make([]parent, len(a.fetch.Parents))
	for i, name := range a.fetch.Parents {
		out[i] = parent{name: name, path: pathOf(name)}
	}
	return inOrder(out)
}

// refusedError says that HubSpot does not let a pair of objects be read.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// readPairs reads the pairs in turn.
func (r *ranger) readPairs(ctx context.Context, h *holding) error {
	a := r.a
	read, refused := 0, error(nil)
	for _, pair := range a.pairs() {
		if h.passed(pair) {
			read++
			continue
		}
		err := r.readPair(ctx, pair, h)
		if no, ok := errors.AsType[*refusedError](err); ok {
			a.log.Warn("a pair of objects is left as it is", "object", a.row.Name, "pair", pair.name, "error", err)
			refused = no.err
			h.except = append(h.except, pair.prefix())
			h.open = append(h.open, protocol.OpenID{ID: pair.prefix(), Reason: inWords(no.err)})
		} else if err != nil {
			return err
		} else {
			read++
		}
		h.to = pair.end()
		if err := h.flush(false); err != nil {
			return err
		}
	}
	if refused != nil && read == 0 {
		return refused // of all of them
	}
	return h.flush(true)
}

// passed tells whether an attempt before this one has read a parent.
func (h *holding) passed(p parent) bool {
	return h.from != "" && protocol.CompareIDs(p.end(), h.from) <= 0
}

// inWords is what people are told of a refusal.
func inWords(err error) string {
	if p, ok := errors.AsType[*ProblemError](err); ok && p.Detail != "" {
		return p.Detail
	}
	return err.Error()
}

// readPair reads the associations of all records of a pair's first object.
func (r *ranger) readPair(ctx context.Context, pair parent, h *holding) error {
	a := r.a
	object, _, _ := strings.Cut(pair.name, "/")
	ids, err := a.recordIDs(ctx, object)
	if err != nil {
		return fmt.Errorf("list %s: %w", object, err)
	}
	for some := range slices.Chunk(ids, a.row.Endpoint.Inputs) {
		of := make([]parent, len(some))
		for i, id := range some {
			of[i] = pair.recordOf(id)
		}
		last := of[len(of)-1]
		if h.passed(last) {
			continue
		}
		got, err := a.readOfPair(ctx, of)
		if err != nil {
			return err
		}
		h.except = append(h.except, got.except...)
		h.add(got.records)
		h.to = last.end()
		if err := h.flush(false); err != nil {
			return err
		}
	}
	return nil
}

// readOfPair reads what belongs to records of a pair. Where HubSpot refuses the
// first and the last of them alone, too, it is the pair that it refuses.
func (a *attempt) readOfPair(ctx context.Context, of []parent) (some, error) {
	got, err := a.readTogether(ctx, of)
	switch {
	case errors.Is(err, ErrTooMany):
		return a.readSome(ctx, of)
	case !errors.Is(err, ErrUnreadable):
		return got, err
	}
	for _, one := range []parent{of[0], of[len(of)-1]} {
		_, alone := a.readTogether(ctx, []parent{one})
		switch {
		case alone == nil:
			return a.readSome(ctx, of)
		case !errors.Is(alone, ErrUnreadable):
			return some{}, alone
		}
	}
	return some{}, &refusedError{err}
}

// recordIDs are the ids of an object's live records, in their order within a
// row's id.
func (a *attempt) recordIDs(ctx context.Context, object string) ([]string, error) {
	var ids []string
	round := new(circle)
	for cursor := ""; ; {
		page, err := a.listPage(ctx, round, object, cursor, nil, false)
		if p, ok := errors.AsType[*ProblemError](err); ok && p.Type != "token" {
			return nil, &refusedError{err}
		}
		if err != nil {
			return nil, err
		}
		for i := range page.Records {
			ids = append(ids, strings.Clone(page.Records[i].ID))
		}
		for _, o := range page.Open { // named, and not readable: what it is associated with may be
			ids = append(ids, o.ID)
		}
		next := page.Next
		if page.Release != nil {
			page.Release()
		}
		switch {
		case len(ids) > maxPairRecords:
			return nil, tooMuch(object)
		case next == "":
			slices.Sort(ids)
			return slices.Compact(ids), nil
		}
		cursor = strings.Clone(next)
	}
}

// lookUpInputs is lookUp where an endpoint takes many parents at once.
func (r *ranger) lookUpInputs(want []protocol.Listed) error {
	of, err := r.parentsOf(want)
	if err != nil {
		return err
	}
	var all []parent
	for _, p := range of {
		if p.name != "" {
			all = append(all, p)
		}
	}
	all = inOrder(all)
	there, except := map[string]protocol.Record{}, map[string]bool{}
	for len(all) > 0 {
		n := 1
		for n < min(len(all), r.a.row.Endpoint.Inputs) && all[n].pair == all[0].pair {
			n++
		}
		got, err := r.a.readAgain(all[:n])
		if err != nil {
			return err
		}
		for i := range got.records {
			there[got.records[i].ID] = got.records[i]
		}
		for _, prefix := range got.except {
			except[prefix] = true
		}
		all = all[n:]
	}
	var b batch
	for i, l := range want {
		rec, ok := there[l.ID]
		switch {
		case ok:
			b.records = append(b.records, rec)
		case of[i].name == "" && r.a.row.Endpoint.Parent.Kind == catalogue.ParentPairRecords:
			b.open = append(b.open, protocol.OpenID{ID: l.ID, Version: l.Version, Reason: "it belongs to none of the pairs that are read"})
		case except[of[i].prefix()]:
			b.open = append(b.open, protocol.OpenID{ID: l.ID, Version: l.Version, Reason: "HubSpot does not hand out what it belongs to"})
		default:
			b.gone = append(b.gone, protocol.OpenID{ID: l.ID, Version: l.Version, Reason: "HubSpot does not list it"})
		}
	}
	_, err = r.records(b, false)
	return err
}

// readAgain reads what belongs to some parents once more. A pair that is refused
// says nothing of its rows.
func (a *attempt) readAgain(of []parent) (some, error) {
	if of[0].pair == "" {
		return a.readSome(a.ctx, of)
	}
	got, err := a.readOfPair(a.ctx, of)
	if _, refused := errors.AsType[*refusedError](err); refused {
		return some{except: prefixes(of)}, nil
	}
	return got, err
}

// parentsOf are what rows belong to by their ids, one without a name where that
// is not there any more.
func (r *ranger) parentsOf(want []protocol.Listed) ([]parent, error) {
	known := map[string]parent{}
	if r.a.row.Endpoint.Parent.Kind == catalogue.ParentPairRecords {
		for _, p := range r.a.pairs() {
			known[p.prefix()] = p
		}
	} else {
		all, err := r.a.parents(r.a.ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range all {
			known[p.prefix()] = p
		}
	}
	out := make([]parent, len(want))
	for i, l := range want {
		p, ok := belongs(l.ID, known)
		if ok && r.a.row.Endpoint.Parent.Kind == catalogue.ParentPairRecords {
			id, _, _ := strings.Cut(strings.TrimPrefix(l.ID, p.prefix()), "/")
			p = p.recordOf(id)
		}
		out[i] = p
	}
	return out, nil
}
