package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// The streams outside the CRM's contract have no search and cannot be asked by
// id. What was read of them is kept until it is known what the daemon wants of
// it: a listing of ids with digests goes first, and from memory what is wanted.

// Bounds of what is kept in memory of one reading.
const (
	maxReadRows  = 500_000
	maxReadBytes = 256 << 20
)

// beginning makes sure that the run's beginning is known: HubSpot's time, where
// nothing has been asked in this run yet.
func (a *attempt) beginning() error {
	if a.source.Now() == 0 {
		if _, err := ask(a.ctx, a, a.source.Account); err != nil {
			return fmt.Errorf("ask HubSpot for its time: %w", err)
		}
	}
	a.began(a.source.Now())
	return nil
}

// parent is one of those that a stream's rows are read for. A stream that is
// read as one has a single one without a name.
type parent struct {
	name string // in ids
	path string // in addresses, or among the inputs
	pair string // of objects, in addresses, where it is a record of the first
	mark string // differs when what belongs to it may have changed
	time int64  // when it changed last, in ms, where it says so
	busy bool   // HubSpot still works out what belongs to it
}

// prefix is what the ids of a parent's rows begin with.
func (p parent) prefix() string {
	if p.name == "" {
		return ""
	}
	return p.name + "/"
}

// end is where the ids of a parent's rows end.
func (p parent) end() string { return p.prefix() + protocol.AfterAll }

// parents are all that the stream is read for, in the order of their ids.
func (a *attempt) parents(ctx context.Context) ([]parent, error) {
	of := a.row.Endpoint.Parent
	var out []parent
	switch of.Kind {
	case catalogue.ParentNone:
		return []parent{{}}, nil
	case catalogue.ParentObjectTypes, catalogue.ParentPairs:
		for _, name := range a.fetch.Parents {
			out = append(out, parent{name: name, path: pathOf(name)})
		}
	case catalogue.ParentStream:
		row, ok := catalogue.Lookup(of.Stream)
		if !ok {
			return nil, fmt.Errorf("%s belong to %q, which is not in the catalogue", a.row.Name, of.Stream)
		}
		records, err := a.parentRows(ctx, row)
		if err != nil {
			return nil, fmt.Errorf("read the %s that %s belong to: %w", row.Name, a.row.Name, err)
		}
		for i := range records {
			if p := parentOf(&records[i], of); p.name != "" && records[i].State == "live" {
				out = append(out, p)
			}
		}
	}
	return inOrder(out), nil
}

// inOrder are parents in the order of their rows' ids, each once.
func inOrder(all []parent) []parent {
	slices.SortFunc(all, func(x, y parent) int { return protocol.CompareIDs(x.prefix(), y.prefix()) })
	return slices.CompactFunc(all, func(x, y parent) bool { return x.name == y.name })
}

// pathOf is how addresses call an object, or a pair of them.
func pathOf(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		if o, ok := catalogue.Lookup(p); ok && o.PathName != "" {
			parts[i] = o.PathName
		}
	}
	return strings.Join(parts, "/")
}

func parentOf(rec *protocol.Record, of catalogue.Parent) parent {
	p := parent{name: rec.ID, path: rec.ID, time: rec.Version}
	if of.Field != "" {
		p.path = valueAt(rec.Properties, of.Field)
		p.name = p.path
	}
	var marks []string
	for _, field := range of.Changed {
		marks = append(marks, valueAt(rec.Properties, field))
	}
	if len(marks) > 0 {
		p.mark = fmt.Sprintf("%08x", uint32(xxh3.HashString(strings.Join(marks, "\x00"))))
	}
	if of.Settled.Name != "" {
		says := valueAt(rec.Properties, of.Settled.Name)
		p.busy = says != "" && says != of.Settled.Value
	}
	return p
}

// valueAt is a plain value in an object, where dots reach into it.
func valueAt(object []byte, path string) string {
	var v any
	if json.Unmarshal(object, &v) != nil {
		return ""
	}
	for part := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = m[part]
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// parentRows reads the live rows of the stream that others belong to.
func (a *attempt) parentRows(ctx context.Context, row catalogue.Object) ([]protocol.Record, error) {
	if row.Strategy != catalogue.StrategyObjects {
		got, err := a.readPass(ctx, row, RowsRequest{})
		return got.records, err
	}
	var field []string
	if f := a.row.Endpoint.Parent.Field; f != "" {
		field = []string{f}
	}
	var out []protocol.Record
	round := new(circle)
	for cursor := ""; ; {
		page, err := a.listPage(ctx, round, row.Name, cursor, field, false)
		if err != nil {
			return nil, err
		}
		if out = append(out, page.Records...); len(out) > maxReadRows {
			return nil, tooMuch(row.Name)
		}
		if page.Next == "" {
			return out, nil
		}
		cursor = page.Next
	}
}

// reading is all that was read of some parents.
type reading struct {
	of       string // names what it is of, where it is kept
	records  []protocol.Record
	unread   []string // inputs that HubSpot answered with an error
	complete bool     // what is not in it was not there
}

// read reads all rows of some parents, of which there is one unless the endpoint
// takes several: the live ones, then the archived, so that what is archived
// meanwhile is in one or both. They come in the order of their ids, each once.
func (a *attempt) read(ctx context.Context, of []parent) (reading, error) {
	req := RowsRequest{Parent: of[0].path, Name: of[0].name}
	if a.row.Endpoint.Inputs > 0 {
		req = RowsRequest{Parent: of[0].pair, Name: of[0].pairName()}
		for _, p := range of {
			req.Inputs = append(req.Inputs, p.path)
		}
	}
	got, err := a.readPass(ctx, a.row, req)
	if err == nil && a.row.Endpoint.End == catalogue.EndArchivedPass {
		req.Archived = true
		var archived reading
		archived, err = a.readPass(ctx, a.row, req)
		got.records, got.complete = append(got.records, archived.records...), got.complete && archived.complete
	}
	if err != nil {
		return reading{}, err
	}
	if a.row.Endpoint.Partial {
		got.complete = false
	}
	slices.SortStableFunc(got.records, func(x, y protocol.Record) int { return protocol.CompareIDs(x.ID, y.ID) })
	// Of a row that moved while it was read, the last reading counts.
	kept := got.records[:0]
	for i := range got.records {
		if n := len(kept); n > 0 && kept[n-1].ID == got.records[i].ID {
			kept[n-1] = got.records[i]
			continue
		}
		kept = append(kept, got.records[i])
	}
	got.records = kept
	return got, nil
}

// readPass reads the pages of one request to their end.
func (a *attempt) readPass(ctx context.Context, row catalogue.Object, req RowsRequest) (reading, error) {
	out := reading{complete: true}
	size := 0
	for seen := map[string]bool{}; ; {
		page, err := a.rowsPage(ctx, row.Name, req)
		if err != nil {
			return reading{}, err
		}
		out.complete = out.complete && page.Unnamed == 0
		out.unread = append(out.unread, page.Unread...)
		out.records = append(out.records, page.Records...)
		for i := range page.Records {
			size += len(page.Records[i].Properties)
		}
		switch {
		case len(out.records) > maxReadRows || size > maxReadBytes:
			return reading{}, tooMuch(row.Name)
		case page.Next == "":
			return out, nil
		case seen[page.Next]:
			return reading{}, fmt.Errorf("read %s: HubSpot's cursor %q leads back", row.Name, page.Next)
		}
		seen[page.Next], req.Place = true, page.Next
	}
}

// rowsPage reads a page of rows, and says what is not among them.
func (a *attempt) rowsPage(ctx context.Context, object string, req RowsRequest) (RowsPage, error) {
	page, err := ask(ctx, a, func(ctx context.Context) (RowsPage, error) { return a.source.Rows(ctx, object, req) })
	if page.Unnamed > 0 {
		a.log.Warn("rows that nothing names are left out", "object", object, "of", req.Parent, "rows", page.Unnamed)
	}
	if len(page.Unread) > 0 {
		a.log.Warn("HubSpot does not hand out what belongs to some", "object", object, "of", req.Parent, "inputs", len(page.Unread), "first", page.Unread[0])
	}
	return page, err
}

func tooMuch(object string) error {
	return &ProblemError{protocol.Problem{Type: "too-much", Title: "there is more than a worker keeps in memory",
		Detail:  fmt.Sprintf("%s: more than %d rows, or %d MiB, that have to be read as one", object, maxReadRows, maxReadBytes>>20),
		Blocked: true, Hint: "leave the stream out if you can do without it; what has been copied stays as it is, and other streams go on"}}
}

// lookUp answers what became of rows that are wanted by their ids: it reads what
// they belong to once more, and what is not there then has gone.
func (r *ranger) lookUp(want []protocol.Listed) error {
	a := r.a
	if s := a.row.Strategy; s != catalogue.StrategyWhole && s != catalogue.StrategyPerParent {
		return r.notAlone(want, "rows of "+a.row.Name+" cannot be read one by one")
	}
	if a.row.Endpoint.Inputs > 0 {
		return r.lookUpInputs(want)
	}
	a.looking.Lock()
	defer a.looking.Unlock()
	all, err := a.parents(a.ctx)
	if err != nil {
		return err
	}
	known := make(map[string]parent, len(all))
	for _, p := range all {
		known[p.prefix()] = p
	}
	var b batch
	for _, l := range want {
		p, ok := belongs(l.ID, known)
		if !ok && a.row.Endpoint.Parent.Kind != catalogue.ParentStream {
			b.open = append(b.open, protocol.OpenID{ID: l.ID, Version: l.Version, Reason: "it belongs to none of the objects that are read"})
			continue
		}
		if p.busy {
			b.open = append(b.open, protocol.OpenID{ID: l.ID, Version: l.Version, Reason: "HubSpot still works out what belongs to " + p.name})
			continue
		}
		var rec *protocol.Record
		if ok {
			if rec, err = a.look(p, l.ID); err != nil {
				return err
			}
		}
		if rec == nil {
			b.gone = append(b.gone, protocol.OpenID{ID: l.ID, Version: l.Version, Reason: "HubSpot does not list it"})
			continue
		}
		b.records = append(b.records, *rec)
	}
	_, err = r.records(b, false)
	return err
}

// notAlone gives wanted ids back as unread.
func (r *ranger) notAlone(want []protocol.Listed, reason string) error {
	var b batch
	for _, l := range want {
		b.open = append(b.open, protocol.OpenID{ID: l.ID, Version: l.Version, Reason: reason})
	}
	_, err := r.records(b, false)
	return err
}

// belongs finds the parent that an id begins with.
func belongs(id string, known map[string]parent) (parent, bool) {
	if p, ok := known[""]; ok {
		return p, true
	}
	for i := range len(id) {
		if id[i] == '/' {
			if p, ok := known[id[:i+1]]; ok {
				return p, true
			}
		}
	}
	return parent{}, false
}

// look finds a row among its parent's, which are read where they are not those
// that were looked at last; nil where it is not there. a.looking is held.
func (a *attempt) look(p parent, id string) (*protocol.Record, error) {
	if a.looked == nil || a.looked.of != p.prefix() {
		got, err := a.read(a.ctx, []parent{p})
		if err != nil {
			return nil, fmt.Errorf("read %s of %s again: %w", a.row.Name, p.name, err)
		}
		got.of = p.prefix()
		a.looked = &got
	}
	i, ok := slices.BinarySearchFunc(a.looked.records, id, func(rec protocol.Record, id string) int { return protocol.CompareIDs(rec.ID, id) })
	switch {
	case ok:
		return &a.looked.records[i], nil
	case !a.looked.complete:
		return nil, errors.New("HubSpot does not hand out all rows of " + a.row.Name + ": what is missing may be there")
	}
	return nil, nil
}
