package hubspot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// RowsRequest asks for a page of the rows of a stream outside the CRM's
// contract.
type RowsRequest struct {
	// Parent is what the rows belong to, as its address has it
	// ("contacts/companies" for a pair); Name is what their ids call it, the same
	// where it is empty. Inputs are several parents at once, where the endpoint
	// takes them in a body.
	Parent, Name string
	Inputs       []string
	// Place is the Next of the page before, "" for the first.
	Place string
	// Archived asks for the archived rows instead of the live ones.
	Archived bool
	// From and To bound the rows' time where the endpoint can, in ms, both
	// included; 0 for none.
	From, To int64
}

// RowsPage is a page of rows. A row's Properties are the row as HubSpot sent it.
type RowsPage struct {
	Rows []Record
	// Unnamed counts rows that lack what would name them, and are left out.
	Unnamed int
	// Unread are inputs for which HubSpot answers with an error: what belongs to
	// them may be there.
	Unread []string
	// Next is the Place of the next page, "" at the end.
	Next string
	// AsOf is HubSpot's time when the request began, in ms.
	AsOf int64
}

// name is what ids call the parent.
func (r RowsRequest) name() string { return cmp.Or(r.Name, r.Parent) }

// Rows reads a page, in the first version of the API that the portal serves.
// Of Inputs it reads all pages. It returns ErrNotFound where HubSpot knows no such
// parent, and *Blocked where the portal has nothing of the kind.
func (c *Client) Rows(ctx context.Context, obj catalogue.Object, r RowsRequest) (RowsPage, error) {
	for _, a := range alsoIn(c.addresses(obj), obj.Endpoint.Parent.Kind, r.Parent) {
		p, err := c.rowsAt(ctx, obj, a, r)
		if failing, ok := errors.AsType[*Failing](err); errors.Is(err, ErrNotFound) || ok && failing.Status == http.StatusGone {
			continue // another version may have it
		}
		if err != nil {
			return RowsPage{}, fmt.Errorf("read %s: %w", obj.Name, final(err))
		}
		c.speaks(obj, a.Version)
		return p, nil
	}
	if r.Parent != "" {
		return RowsPage{}, fmt.Errorf("read %s of %s: %w", obj.Name, r.Parent, ErrNotFound)
	}
	return RowsPage{}, &Blocked{Type: "not-available",
		Detail: "this HubSpot account has no " + strings.ReplaceAll(obj.Name, "_", " ") + ": HubSpot answers with status 404",
		Hint:   "it may come with another edition of HubSpot; leave the stream out until then" + c.unpin()}
}

// rowsFamily names the endpoint of a row among those that fall back.
func rowsFamily(obj catalogue.Object) string { return "rows/" + obj.Name }

// addresses are those to try, in this order. One that has answered is the only
// one from then on.
func (c *Client) addresses(obj catalogue.Object) []catalogue.Address {
	e := obj.Endpoint
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	if v, ok := c.fellBack[rowsFamily(obj)]; ok {
		if a, ok := e.In(v); ok {
			return []catalogue.Address{a}
		}
	}
	set, ok := e.In(c.version)
	switch {
	case ok && c.pinned:
		return []catalogue.Address{set}
	case ok && set.Version != e.Addresses[0].Version:
		return append([]catalogue.Address{set}, e.Addresses...)
	}
	return e.Addresses
}

// speaks notes the version in which a row's endpoint has answered.
func (c *Client) speaks(obj catalogue.Object, version string) {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	if _, ok := c.fellBack[rowsFamily(obj)]; ok {
		return
	}
	c.fellBack[rowsFamily(obj)] = version
	if first := obj.Endpoint.Addresses[0].Version; version != first && c.version == catalogue.DefaultVersion {
		c.log.Warn("portal lacks this version of the API, falling back", "endpoint", obj.Name, "version", first, "instead", version)
	}
}

// alsoIn adds the addresses for an object that is served in a version of its own:
// what belongs to it may be there alone.
func alsoIn(addresses []catalogue.Address, kind catalogue.ParentKind, parent string) []catalogue.Address {
	of, ok := catalogue.Lookup(parent)
	if kind != catalogue.ParentObjectTypes || !ok || of.Version == "" {
		return addresses
	}
	out := slices.Clone(addresses)
	for _, a := range addresses {
		if a.Version == catalogue.DefaultVersion {
			a.Path = strings.Replace(a.Path, a.Version, of.Version, 1)
			out = append(out, a)
		}
	}
	return out
}

func (c *Client) rowsAt(ctx context.Context, obj catalogue.Object, a catalogue.Address, r RowsRequest) (RowsPage, error) {
	e := obj.Endpoint
	if n, err := strconv.Atoi(r.Place); err == nil && e.MaxOffset > 0 && n > e.MaxOffset {
		return RowsPage{}, &Blocked{Type: "too-many",
			Detail: fmt.Sprintf("this account has more %s than the %d that HubSpot hands out", strings.ReplaceAll(obj.Name, "_", " "), e.MaxOffset),
			Hint:   "delete those that nobody needs, or leave the stream out; what has been copied stays as it is, and other streams go on"}
	}
	if len(r.Inputs) > 0 {
		return c.rowsOfInputs(ctx, obj, a, r)
	}
	p, _, err := c.rowsOnce(ctx, obj, a, r, nil)
	return p, err
}

// rowsOnce makes one request; more are the inputs that have more than its reply.
func (c *Client) rowsOnce(ctx context.Context, obj catalogue.Object, a catalogue.Address, r RowsRequest, inputs []input) (out RowsPage, more []input, err error) {
	e := obj.Endpoint
	body, err := rowsBody(e, a, r, inputs)
	if err != nil {
		return RowsPage{}, nil, err
	}
	err = c.do(ctx, call{
		kind: "rows", method: e.Method, single: true, body: body, query: rowsQuery(e, a, r),
		path: func(string) string { return a.For(r.Parent) },
		decode: func(rep reply) error {
			rd := rowReading{e: e, address: a, parent: r.name(), inputs: inputs, archived: r.Archived, asOf: rep.asOf}
			p, further, err := rd.page(rep.body)
			if err != nil {
				return fmt.Errorf("decode %s: %w", obj.Name, err)
			}
			if p.Next != "" && p.Next == r.Place {
				return &Failing{Detail: fmt.Sprintf("HubSpot's %s repeat their place %q: reading on would never end", obj.Name, r.Place)}
			}
			out, more = p, further
			return nil
		},
	})
	return out, more, err
}

func rowsQuery(e catalogue.Endpoint, a catalogue.Address, r RowsRequest) string {
	q := url.Values{}
	for _, p := range e.Query {
		q.Set(p.Name, p.Value)
	}
	if e.ParentQuery != "" && r.Parent != "" {
		q.Set(e.ParentQuery, r.Parent)
	}
	if a.PageSize > 0 && !e.PageInBody {
		q.Set("limit", strconv.Itoa(a.PageSize))
	}
	if r.Place != "" && !e.PageInBody {
		q.Set(placeName(a), r.Place)
	}
	if r.Archived {
		q.Set("archived", "true")
	}
	for _, bound := range []struct {
		name string
		ms   int64
	}{{e.From, r.From}, {e.To, r.To}} {
		if bound.name != "" && bound.ms != 0 {
			q.Set(bound.name, written(e.Clock, bound.ms))
		}
	}
	return q.Encode()
}

func placeName(a catalogue.Address) string {
	if a.Paging == catalogue.PagingOffset {
		return "offset"
	}
	return "after"
}

// written is a time as an endpoint wants it.
func written(clock catalogue.Clock, ms int64) string {
	if clock == catalogue.Milli {
		return strconv.FormatInt(ms, 10)
	}
	return moments(ms)
}

// rowsBody is the body of a POST, nil for a GET.
func rowsBody(e catalogue.Endpoint, a catalogue.Address, r RowsRequest, inputs []input) ([]byte, error) {
	if e.Method != http.MethodPost {
		return nil, nil
	}
	body := map[string]any{}
	for _, p := range e.Body {
		body[p.Name] = json.RawMessage(p.Value)
	}
	if e.PageInBody {
		body["count"], body[placeName(a)] = a.PageSize, 0
		if n, err := strconv.Atoi(r.Place); err == nil {
			body[placeName(a)] = n
		} else if r.Place != "" {
			body[placeName(a)] = r.Place
		}
	}
	if len(inputs) > 0 {
		body["inputs"] = inputsBody(e, inputs)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return b, nil
}
