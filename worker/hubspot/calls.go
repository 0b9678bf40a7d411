package hubspot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Account is whose data the token reads.
type Account struct {
	PortalID int64  `json:"portalId"`
	TimeZone string `json:"timeZone"`
	Currency string `json:"companyCurrency"`
	Date     int64  `json:"-"` // HubSpot's time of the reply, ms
}

// Account asks whose token this is.
func (c *Client) Account(ctx context.Context) (Account, error) {
	r, err := c.call(ctx, burstCall, "GET", "/account-info/"+c.o.Version+"/details", nil, nil)
	if err != nil {
		return Account{}, fmt.Errorf("read the account: %w", err)
	}
	var a Account
	if err := json.Unmarshal(r.body, &a); err != nil || a.PortalID == 0 {
		return Account{}, fmt.Errorf("read the account: HubSpot names none: %w", errors.Join(errRecord, err))
	}
	a.Date = r.date
	return a, nil
}

// Property is a property definition.
type Property struct {
	Name       string `json:"name"`
	Label      string `json:"label,omitempty"`
	Type       string `json:"type"`
	FieldType  string `json:"fieldType,omitempty"`
	Group      string `json:"groupName,omitempty"`
	Calculated bool   `json:"calculated,omitempty"`
}

// Properties reads an object's definitions; asOf is HubSpot's time, in ms.
func (c *Client) Properties(ctx context.Context, o catalogue.Object) (ps []Property, asOf int64, err error) {
	r, err := c.call(ctx, burstCall, "GET", "/crm/properties/"+c.o.Version+"/"+o.Name, nil, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("read the properties of %s: %w", o.Name, err)
	}
	var out struct {
		Results []Property `json:"results"`
	}
	if err := json.Unmarshal(r.body, &out); err != nil {
		return nil, 0, fmt.Errorf("read the properties of %s: %w", o.Name, err)
	}
	return out.Results, r.asOf, nil
}

func (c *Client) objects(o catalogue.Object) string {
	return "/crm/objects/" + c.o.Version + "/" + o.Name
}

// Page is a page of a list.
type Page struct {
	Records []Record
	Next    string // "" at the end
	Date    int64
}

// List reads a page of the list of an object, live or archived. Where the
// names do not fit the address it lists ids and reads the properties by batch:
// two requests instead of one.
func (c *Client) List(ctx context.Context, o catalogue.Object, after string, props []string, archived bool) (Page, error) {
	q := url.Values{"limit": {strconv.Itoa(o.ListPage)}}
	if after != "" {
		q.Set("after", after)
	}
	if archived {
		q.Set("archived", "true")
	}
	names := strings.Join(props, ",")
	wide := len(c.o.BaseURL)+len(c.objects(o))+len(url.QueryEscape(names))+200 > maxAddress
	if wide {
		q.Set("properties", o.Cursor)
	} else {
		q.Set("properties", names)
	}
	r, err := c.call(ctx, burstCall, "GET", c.objects(o), q, nil)
	if err != nil {
		return Page{}, fmt.Errorf("list %s: %w", o.Name, err)
	}
	res, err := decodePage(r.body, o.Cursor, r.asOf)
	if err != nil {
		return Page{}, fmt.Errorf("list %s: %w", o.Name, err)
	}
	if res.Next != "" && res.Next == after {
		return Page{}, fmt.Errorf("list %s: HubSpot's cursor %q repeats", o.Name, after)
	}
	p := Page{Records: res.Records, Next: res.Next, Date: r.date}
	if !wide || len(p.Records) == 0 {
		return p, nil
	}
	want := make([]Hit, len(p.Records))
	for i, rec := range p.Records {
		want[i] = Hit{ID: rec.ID, Version: rec.Version}
	}
	p.Records = p.Records[:0]
	open, err := c.ReadAll(ctx, o, want, props, func(rs []Record) error {
		p.Records = append(p.Records, rs...)
		return nil
	})
	if err != nil {
		return Page{}, err
	}
	if len(open) > 0 {
		c.o.Logger.Warn("listed records cannot be read; the next listing asks for them again", "object", o.Name, "ids", len(open))
	}
	return p, nil
}

// batchRead reads up to a hundred records by id.
func (c *Client) batchRead(ctx context.Context, o catalogue.Object, ids, props []string, archived bool) ([]Record, error) {
	type input struct {
		ID string `json:"id"`
	}
	body := struct {
		Inputs     []input  `json:"inputs"`
		Properties []string `json:"properties"`
		History    []string `json:"propertiesWithHistory"`
	}{make([]input, len(ids)), props, []string{}}
	for i, id := range ids {
		body.Inputs[i].ID = id
	}
	q := url.Values{"archived": {strconv.FormatBool(archived)}}
	r, err := c.call(ctx, burstCall, "POST", c.objects(o)+"/batch/read", q, body)
	if err != nil {
		return nil, fmt.Errorf("read %d %s: %w", len(ids), o.Name, err)
	}
	res, err := decodePage(r.body, o.Cursor, r.asOf)
	if err != nil {
		return nil, fmt.Errorf("read %d %s: %w", len(ids), o.Name, err)
	}
	return res.Records, nil
}

// get reads one record; after a merge it has another id.
func (c *Client) get(ctx context.Context, o catalogue.Object, id string, props []string) (Record, error) {
	q := url.Values{"properties": {o.Cursor}}
	if len(url.QueryEscape(strings.Join(props, ",")))+300 < maxAddress {
		q.Set("properties", strings.Join(props, ","))
	}
	r, err := c.call(ctx, burstCall, "GET", c.objects(o)+"/"+url.PathEscape(id), q, nil)
	if err != nil {
		return Record{}, fmt.Errorf("read %s %s: %w", o.Name, id, err)
	}
	res, err := decodePage([]byte(`{"results":[`+string(r.body)+`]}`), o.Cursor, r.asOf)
	if err != nil || len(res.Records) != 1 {
		return Record{}, fmt.Errorf("read %s %s: %w", o.Name, id, errors.Join(errRecord, err))
	}
	return res.Records[0], nil
}

// OpenID is a wanted record that HubSpot does not hand out.
type OpenID struct {
	ID      string
	Version int64
	Reason  string
}

// ReadAll reads the wanted records by batch and emits them as they come. Every
// id is accounted for: one that is missing or older than was named is asked
// for again after 5 s and 60 s, then among the archived, then singly; what
// remains is returned as open.
func (c *Client) ReadAll(ctx context.Context, o catalogue.Object, want []Hit, props []string, emit func([]Record) error) ([]OpenID, error) {
	left := want
	for try := 0; try < 4 && len(left) > 0; try++ {
		if d := c.rereads(try); d > 0 {
			if err := c.o.Sleep(ctx, d); err != nil {
				return nil, err
			}
		}
		var again []Hit
		for len(left) > 0 {
			n := min(len(left), o.BatchPage)
			missed, err := c.readSome(ctx, o, left[:n], props, try == 3, emit)
			if err != nil {
				return nil, err
			}
			again = append(again, missed...)
			left = left[n:]
		}
		left = again
	}
	var open []OpenID
	for _, h := range left {
		r, err := c.get(ctx, o, h.ID, props)
		switch {
		case err == nil && r.ID != h.ID:
			err = emit([]Record{{ID: h.ID, Version: max(h.Version, 1), AsOf: r.AsOf, MergedInto: r.ID, Digest: [16]byte{1}}})
			if err != nil {
				return nil, err
			}
		case err == nil && r.Version >= h.Version:
			if err := emit([]Record{r}); err != nil {
				return nil, err
			}
		case err == nil:
			open = append(open, OpenID{h.ID, h.Version, "HubSpot hands out an older version than it lists"})
		case errors.Is(err, ErrNotFound):
			open = append(open, OpenID{h.ID, h.Version, "HubSpot lists it and does not hand it out"})
		default:
			return nil, err
		}
	}
	return open, nil
}

// rereads is how long to wait before a try.
func (c *Client) rereads(try int) time.Duration {
	if try >= 1 && try <= 2 {
		return c.o.Rereads[try-1]
	}
	return 0
}

func (c *Client) readSome(ctx context.Context, o catalogue.Object, want []Hit, props []string, archived bool, emit func([]Record) error) ([]Hit, error) {
	ids, named := make([]string, len(want)), make(map[string]int64, len(want))
	for i, h := range want {
		ids[i], named[h.ID] = h.ID, h.Version
	}
	got, err := c.batchRead(ctx, o, ids, props, archived)
	if err != nil {
		return nil, err
	}
	fresh := got[:0]
	for _, r := range got {
		v, ok := named[r.ID]
		if !ok || r.Version < v {
			continue // not asked for, or from a replica that lags
		}
		delete(named, r.ID)
		fresh = append(fresh, r)
	}
	if len(fresh) > 0 {
		if err := emit(fresh); err != nil {
			return nil, err
		}
	}
	var missed []Hit
	for _, h := range want {
		if _, ok := named[h.ID]; ok {
			missed = append(missed, h)
		}
	}
	return missed, nil
}
