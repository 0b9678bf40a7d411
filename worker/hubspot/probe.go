package hubspot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Finding is what an account was found to do at a point that HubSpot does not
// document. Assumed is what hubpipe takes for granted there, or in which ways it
// goes on; As says whether what was found is among them.
type Finding struct {
	Point   string `json:"point"`
	Found   string `json:"found"`
	Assumed string `json:"assumed"`
	As      bool   `json:"as_assumed"`
}

// probing asks a portal what no source could verify. It only reads, in about
// thirty requests, and shows no value of a record.
type probing struct {
	c     *Client
	obj   catalogue.Object
	first ListPage // with as many records as a page has
	out   []Finding
}

// Probe asks about an object of the CRM what HubSpot does not document. What
// cannot be asked is said in its place; an error says that nothing can.
func (c *Client) Probe(ctx context.Context, obj catalogue.Object) ([]Finding, error) {
	first, err := c.List(ctx, obj, ListRequest{})
	if err != nil {
		return nil, err
	}
	p := &probing{c: c, obj: obj, first: first}
	for _, look := range []func(context.Context) error{p.places, p.middle, p.searchOrder, p.tooFar, p.longBody, p.largePage, p.empty, p.addresses, p.losers, p.sensitive, p.limits, p.joined} {
		n := len(p.out)
		if err := look(ctx); err != nil {
			if ctx.Err() != nil {
				return p.out, fmt.Errorf("probe %s: %w", obj.Name, ctx.Err())
			}
			p.out = p.out[:n]
			p.note(pointOf(n), "it cannot be asked: "+strings.Join(strings.Fields(err.Error()), " "), "", true)
		}
	}
	return p.out, nil
}

// points are what is asked, in this order.
func points() []string {
	return []string{"a place in a list", "beginning a list in its middle", "the order of search", "a search beyond 10,000 results", "a search of more than 3,000 characters",
		"a page of more than 100 records", "properties without a value", "the longest address", "merged records among the archived", "sensitive properties", "limits in the headers", "members of a list in the order of joining"}
}

func pointOf(n int) string { return points()[min(n, len(points())-1)] }

func (p *probing) note(point, found, assumed string, as bool) {
	p.out = append(p.out, Finding{Point: point, Found: found, Assumed: assumed, As: as})
}

// numbersOf are the ids of records, where they are numbers.
func numbersOf(records []Record) (out []uint64, ok bool) {
	for _, r := range records {
		id, err := strconv.ParseUint(r.ID, 10, 64)
		if err != nil {
			return nil, false
		}
		out = append(out, id)
	}
	return out, true
}

// places tells what leads from one page of a list to the next.
func (p *probing) places(ctx context.Context) error {
	const assumed = "the next record's id, the last one's, or anything that leads on"
	one, err := p.c.List(ctx, p.obj, ListRequest{Limit: 1})
	if err != nil {
		return err
	}
	found := "there is but one record"
	if one.Next != "" && len(one.Records) > 0 {
		next, err := p.c.List(ctx, p.obj, ListRequest{Limit: 1, After: one.Next})
		if err != nil {
			return err
		}
		switch {
		case len(next.Records) > 0 && one.Next == next.Records[0].ID:
			found = "the id of the next record"
		case one.Next == one.Records[0].ID:
			found = "the id of the last record"
		default:
			found = "no id that is on either page"
		}
	}
	p.note(pointOf(0), found, assumed, true)
	return nil
}

// middle tells whether a list can be read from an id on, and whether ids grow.
func (p *probing) middle(ctx context.Context) error {
	const assumed = "it begins at that id or after it, and ids grow; else one walker reads the list"
	numbers, ok := numbersOf(p.first.Records)
	if !ok || len(numbers) < 3 {
		p.note(pointOf(1), "there are too few records, or their ids are no numbers", assumed, true)
		return nil
	}
	grow := slices.IsSorted(numbers)
	at := numbers[len(numbers)/2]
	page, err := p.c.List(ctx, p.obj, ListRequest{After: strconv.FormatUint(at, 10), Limit: 10})
	if f, refused := errors.AsType[*Failing](err); refused {
		p.note(pointOf(1), f.Detail, assumed, true)
		return nil
	}
	if err != nil {
		return err
	}
	after, ok := numbersOf(page.Records)
	found := map[bool]string{true: "ids grow along the list", false: "ids do not grow along the list"}[grow]
	if ok && len(after) > 0 {
		found += map[bool]string{true: "; it begins at the id or after it", false: "; it begins elsewhere"}[after[0] >= at]
	}
	p.note(pointOf(1), found, assumed, true)
	return nil
}

// searchOrder tells whether search keeps the order that was asked for.
func (p *probing) searchOrder(ctx context.Context) error {
	page, err := p.c.Search(ctx, p.obj, SearchRequest{Sort: p.obj.Cursor})
	if err != nil {
		return err
	}
	kept := slices.IsSortedFunc(page.Hits, func(a, b Hit) int { return cmp.Compare(a.Version, b.Version) })
	p.note(pointOf(2), map[bool]string{true: "kept on a page of ", false: "not kept on a page of "}[kept]+strconv.Itoa(len(page.Hits)), "it is not relied on", true)
	return nil
}

// said is how a request is answered: its words where it is refused.
func (p *probing) said(ctx context.Context, q call) (answered bool, words string, err error) {
	q.kind, q.family, q.preferred = cmp.Or(q.kind, "probe"), cmp.Or(q.family, "objects/"+p.obj.Name), p.obj.Version
	if q.decode == nil {
		q.decode = func(reply) error { return nil }
	}
	err = p.c.do(ctx, q)
	switch failing, refused := errors.AsType[*Failing](err); {
	case err == nil:
		return true, "it is answered", nil
	case errors.Is(err, errTooLong):
		return false, "it is refused with status 414", nil
	case errors.Is(err, errWithheld):
		return false, "it is refused", nil
	case refused:
		return false, failing.Detail, nil
	}
	return false, "", err
}

// searched asks a search as it stands.
func (p *probing) searched(ctx context.Context, after, value string) (bool, string, error) {
	body := searchBody{Groups: []searchGroup{{Filters: []Filter{{p.obj.Cursor, "GTE", "1"}}}}, Properties: []string{p.obj.Cursor}, Sorts: []searchSort{}, Limit: 10, After: after}
	if value != "" {
		body.Groups[0].Filters = append(body.Groups[0].Filters, Filter{"hs_object_id", "EQ", value})
	}
	text, err := json.Marshal(body)
	if err != nil {
		return false, "", fmt.Errorf("encode a search: %w", err)
	}
	return p.said(ctx, call{kind: "search", method: http.MethodPost, path: func(version string) string { return p.obj.Path(version) + "/search" }, body: text})
}

func (p *probing) tooFar(ctx context.Context) error {
	answered, words, err := p.searched(ctx, "9999", "")
	if err != nil {
		return err
	}
	p.note(pointOf(3), words, "it is refused; no search is read so far", !answered)
	return nil
}

func (p *probing) longBody(ctx context.Context) error {
	_, words, err := p.searched(ctx, "0", "1"+strings.Repeat("0", maxSearchBody))
	if err != nil {
		return err
	}
	p.note(pointOf(4), words, "it is refused; no search is so long", true)
	return nil
}

func (p *probing) largePage(ctx context.Context) error {
	_, words, err := p.said(ctx, call{method: http.MethodGet, path: p.obj.Path, query: "limit=101&archived=false"})
	if err != nil {
		return err
	}
	p.note(pointOf(5), words, "no page of more than 100 is asked for", true)
	return nil
}

// empty tells whether a property that was asked for and has no value is null or
// absent.
func (p *probing) empty(ctx context.Context) error {
	const assumed = "null or absent: they are the same"
	if len(p.first.Records) == 0 {
		p.note(pointOf(6), "there are no records", assumed, true)
		return nil
	}
	props, err := p.c.Properties(ctx, p.obj)
	if err != nil {
		return err
	}
	var names []string
	for _, one := range props[:min(len(props), 60)] {
		names = append(names, one.Name)
	}
	got, _, err := p.c.BatchRead(ctx, p.obj, []string{p.first.Records[0].ID}, names, false)
	if err != nil {
		return err
	}
	var has map[string]*string
	nulls := 0
	if err := json.Unmarshal(got[p.first.Records[0].ID].Properties, &has); err != nil {
		return fmt.Errorf("decode a record: %w", err)
	}
	for _, v := range has {
		if v == nil {
			nulls++
		}
	}
	p.note(pointOf(6), fmt.Sprintf("a batch read of %d properties gives %d values, %d nulls, and leaves %d out", len(names), len(has)-nulls, nulls, max(0, len(names)-len(has))), assumed, true)
	return nil
}

// addresses finds out how long an address may be.
func (p *probing) addresses(ctx context.Context) error {
	longest, words := 0, ""
	for _, n := range []int{4000, catalogue.AddressLimit, 12_000, 16_000, 24_000} {
		answered, said, err := p.said(ctx, call{method: http.MethodGet, path: p.obj.Path, query: "limit=1&properties=" + strings.Repeat("hubpipe_probe,", n/14)})
		if err != nil {
			return err
		}
		if words = said; !answered {
			break
		}
		longest = n
	}
	found := fmt.Sprintf("%d characters are answered", longest)
	if longest < 24_000 {
		found += ", more: " + words
	}
	p.note(pointOf(7), found, fmt.Sprintf("%d are; what is longer is read in two steps", catalogue.AddressLimit), longest >= catalogue.AddressLimit)
	return nil
}

// losers tells whether those that were merged away are listed as archived.
func (p *probing) losers(ctx context.Context) error {
	const assumed = "either: whoever is merged stays so"
	page, err := p.c.List(ctx, p.obj, ListRequest{Archived: true})
	if err != nil {
		return err
	}
	merged, asked := 0, 0
	for _, r := range page.Records[:min(len(page.Records), 5)] {
		asked++
		got, err := p.c.Get(ctx, p.obj, r.ID, nil, false)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return err
		case got.ID != r.ID:
			merged++
		}
	}
	p.note(pointOf(8), fmt.Sprintf("%d of %d archived records answer with another id", merged, asked), assumed, true)
	return nil
}

func (p *probing) sensitive(ctx context.Context) error {
	n := 0
	_, words, err := p.said(ctx, call{method: http.MethodGet, family: "properties/" + p.obj.Name, path: p.obj.PropertiesPath, query: "archived=false&dataSensitivity=sensitive", optional: true,
		decode: func(rep reply) error {
			var body struct {
				Results []json.RawMessage `json:"results"`
			}
			err := json.Unmarshal(rep.body, &body)
			n = len(body.Results)
			return err //nolint:wrapcheck // it says that the reply is garbled
		}})
	if err != nil {
		return err
	}
	if words == "it is answered" {
		words = fmt.Sprintf("it is answered, with %d of them", n)
	}
	p.note(pointOf(9), words, "a token without the scope is refused, or gets none", true)
	return nil
}

func (p *probing) limits(context.Context) error {
	u := p.c.Usage()
	found := fmt.Sprintf("a ceiling of %d in %s, and %d a day", u.Ceiling, u.Window.Round(time.Second), u.Daily)
	if u.Daily == 0 {
		found = fmt.Sprintf("a ceiling of %d in %s, and none of the day", u.Ceiling, u.Window.Round(time.Second))
	}
	p.note(pointOf(10), found, "they are followed; without one of the day nothing is held back", true)
	return nil
}

// joined tells in which order the members of a list are given.
func (p *probing) joined(ctx context.Context) error {
	const assumed = "either: all of them are read"
	lists, _ := catalogue.Lookup("lists")
	members, _ := catalogue.Lookup("list_memberships")
	page, err := p.c.Rows(ctx, lists, RowsRequest{})
	if err != nil {
		return err
	}
	for _, l := range page.Rows[:min(len(page.Rows), 5)] {
		got, err := p.c.Rows(ctx, members, RowsRequest{Parent: l.ID})
		if err != nil {
			return err
		}
		if len(got.Rows) < 2 || got.Rows[0].Version == got.Rows[len(got.Rows)-1].Version {
			continue
		}
		newest := got.Rows[0].Version > got.Rows[len(got.Rows)-1].Version
		p.note(pointOf(11), map[bool]string{true: "newest first", false: "oldest first"}[newest], assumed, true)
		return nil
	}
	p.note(pointOf(11), "none of the first lists has members of different times", assumed, true)
	return nil
}
