package hubspot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// ListRequest asks for a page of an object's records, in the order of their
// ids.
type ListRequest struct {
	// After is the Next of the page before, "" for the first.
	After string
	// Limit is at most the object's; 0 means that.
	Limit int
	// Properties are the names to read. The object's cursor property is read
	// in any case.
	Properties []string
	// Archived asks for the archived records instead of the live ones.
	Archived bool
}

// ListPage is a page of records.
type ListPage struct {
	Records []Record
	// Open are ids that the list named and that could not be read, where
	// reading took a second request.
	Open []OpenID
	// Next is the After of the next page, "" at the end.
	Next string
	// AsOf is HubSpot's time when the request began, in ms.
	AsOf int64

	body []byte // of the reply
	used *bodies
}

// Release gives the memory of the page's records back, for the next page. It
// may be left out; after it no record of the page may be looked at.
func (p *ListPage) Release() {
	if p.used != nil {
		p.used.put(p.body)
	}
	p.Records, p.body, p.used = nil, nil, nil
}

// List reads one page. Where the names are too many for an address it lists
// ids and reads their properties by batch: two requests instead of one. Names
// may not repeat the place: a page whose Next is its After is an error.
func (c *Client) List(ctx context.Context, obj catalogue.Object, r ListRequest) (ListPage, error) {
	if r.Limit <= 0 || r.Limit > obj.ListLimit {
		r.Limit = obj.ListLimit
	}
	wanted := withCursor(r.Properties, obj)
	for {
		names := wanted
		twoSteps := !c.fits(obj, r, wanted)
		if twoSteps {
			names = []string{obj.Cursor}
		}
		p, err := c.listPage(ctx, obj, r, names)
		switch {
		case errors.Is(err, errTooLong) && !twoSteps:
			c.tooLong(obj, address(obj, r, wanted))
			continue
		case errors.Is(err, errTooLarge) && r.Limit > 1:
			r.Limit /= 2
			continue
		case err != nil:
			return ListPage{}, fmt.Errorf("list %s: %w", obj.Name, final(err))
		}
		if twoSteps && len(p.Records) > 0 {
			if err := c.fill(ctx, obj, &p, wanted, r.Archived); err != nil {
				return ListPage{}, fmt.Errorf("list %s: %w", obj.Name, err)
			}
		}
		return p, nil
	}
}

func (c *Client) listPage(ctx context.Context, obj catalogue.Object, r ListRequest, names []string) (ListPage, error) {
	var out ListPage
	err := c.do(ctx, call{
		kind: "list", method: http.MethodGet, family: "objects/" + obj.Name, preferred: obj.Version,
		path: obj.Path, query: listQuery(r, names),
		decode: func(rep reply) error {
			rd := reading{cursor: obj.Cursor, quiet: c.quiet, digest: true, asOf: rep.asOf, limit: r.Limit}
			p, err := rd.page(rep.body)
			if err != nil {
				return fmt.Errorf("decode list: %w", err)
			}
			if p.after != "" && p.after == r.After {
				return &Failing{Detail: fmt.Sprintf("HubSpot's list repeats its place %q: reading on would never end", r.After)}
			}
			for i := range p.records {
				p.records[i].Archived = p.records[i].Archived || r.Archived
			}
			out = ListPage{Records: p.records, Next: p.after, AsOf: rep.asOf, body: rep.body, used: &c.bodies}
			return nil
		},
	})
	return out, err
}

// fill replaces the records of a page, which have but a version, by whole
// ones.
func (c *Client) fill(ctx context.Context, obj catalogue.Object, p *ListPage, names []string, archived bool) error {
	want := make([]Hit, len(p.Records))
	for i, rec := range p.Records {
		want[i] = Hit{ID: rec.ID, Version: rec.Version}
	}
	p.Records = p.Records[:0]
	open, err := c.readAll(ctx, obj, want, selection{names: names}, archived, func(recs []Record) error {
		p.Records = append(p.Records, recs...)
		return nil
	})
	p.Open = open
	// In the list's order, so that a page reads the same in both ways.
	place := make(map[string]int, len(want))
	for i, h := range want {
		place[h.ID] = i
	}
	slices.SortStableFunc(p.Records, func(a, b Record) int { return place[a.ID] - place[b.ID] })
	return err
}

// withCursor adds the cursor property, which every version depends on.
func withCursor(names []string, obj catalogue.Object) []string {
	if slices.Contains(names, obj.Cursor) {
		return names
	}
	return append(slices.Clone(names), obj.Cursor)
}

func listQuery(r ListRequest, names []string) string {
	var b strings.Builder
	b.WriteString("limit=")
	b.WriteString(strconv.Itoa(r.Limit))
	b.WriteString("&archived=")
	b.WriteString(strconv.FormatBool(r.Archived))
	if r.After != "" {
		b.WriteString("&after=")
		b.WriteString(url.QueryEscape(r.After))
	}
	b.WriteString("&properties=")
	for i, n := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(url.QueryEscape(n))
	}
	return b.String()
}

// address returns the length of the request's target.
func address(obj catalogue.Object, r ListRequest, names []string) int {
	return len(obj.Path(catalogue.DefaultVersion)) + 1 + len(listQuery(r, names))
}

func (c *Client) fits(obj catalogue.Object, r ListRequest, names []string) bool {
	n := address(obj, r, names)
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	tooLong, known := c.wide[obj.Name]
	return n <= c.maxAddress && (!known || n < tooLong)
}

// tooLong notes an address that was refused. Places in the list differ by a
// few digits, so that a little less is refused as well.
func (c *Client) tooLong(obj catalogue.Object, length int) {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	c.wide[obj.Name] = length - 64
	c.log.Info("address is too long for HubSpot, properties are read by batch", "object", obj.Name, "bytes", length)
}

// final turns the errors that only this package reacts to into one that says
// what to do.
func final(err error) error {
	switch {
	case errors.Is(err, errTooLong):
		return &Failing{Status: http.StatusRequestURITooLong, Detail: "HubSpot, or a proxy before it, finds even a short address too long"}
	case errors.Is(err, errTooLarge):
		return &Failing{Detail: "a single record is larger than the bound of a reply: " + err.Error()}
	}
	return err
}
