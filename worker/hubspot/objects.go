package hubspot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	// A portal's midnight must be known on machines without zone files too.
	_ "time/tzdata"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Account says whose data a token reads.
type Account struct {
	PortalID int64
	TimeZone string
	Currency string
}

// Account asks whose data the token reads. It also teaches the client when
// the portal's day ends.
func (c *Client) Account(ctx context.Context) (Account, error) {
	var a Account
	err := c.do(ctx, call{
		kind: "account", method: http.MethodGet, family: accountFamily,
		path: catalogue.AccountPath,
		decode: func(rep reply) error {
			var body struct {
				PortalID int64  `json:"portalId"`
				TimeZone string `json:"timeZone"`
				Currency string `json:"companyCurrency"`
			}
			if err := json.Unmarshal(rep.body, &body); err != nil {
				return fmt.Errorf("decode account: %w", err)
			}
			if body.PortalID <= 0 {
				return errors.New("decode account: it has no portalId")
			}
			a = Account(body)
			return nil
		},
	})
	if err != nil {
		return Account{}, fmt.Errorf("ask for the account: %w", err)
	}
	// A name that is no zone leaves the midnight unknown, which costs waiting
	// in steps.
	zone, err := time.LoadLocation(a.TimeZone)
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	c.askedZone = true
	if err == nil && a.TimeZone != "" {
		c.zone = zone
	}
	return a, nil
}

// Property is the definition of one property of an object.
type Property struct {
	Name       string `json:"name"`
	Label      string `json:"label"`
	Type       string `json:"type"`
	FieldType  string `json:"fieldType"`
	Group      string `json:"groupName"`
	Calculated bool   `json:"calculated,omitempty"`
	Hidden     bool   `json:"hidden,omitempty"`
	Sensitive  bool   `json:"sensitive,omitempty"`
	// Options are the values of an enumeration, in HubSpot's order. Unlisted says
	// that they were left out, since all together would be too long.
	Options  []Option `json:"options,omitempty"`
	Unlisted bool     `json:"unlisted,omitempty"`
}

// Option is a value that a property may have.
type Option struct {
	Value  string `json:"value"`
	Label  string `json:"label"`
	Hidden bool   `json:"hidden,omitempty"`
}

// listedOption is an option as HubSpot gives it.
type listedOption struct {
	Option

	Order int64 `json:"displayOrder"`
}

// maxOptions is how many bytes the options of an object's properties may have:
// definitions are one page, and one value of the store.
const maxOptions = 200 << 10

// bound leaves options out from where they become too long.
func bound(ps []Property) {
	size := 0
	for i := range ps {
		for _, o := range ps[i].Options {
			size += len(o.Value) + len(o.Label) + 32
		}
		if size > maxOptions {
			ps[i].Options, ps[i].Unlisted = nil, len(ps[i].Options) > 0
		}
	}
}

// sensitivities are what definitions are asked for beside the ordinary ones: what
// HubSpot holds back from those without a scope of its own.
func sensitivities() []string { return []string{"sensitive", "highly_sensitive"} }

// Properties returns the definitions that the token may see, each name once: the
// ordinary ones in HubSpot's order, then the sensitive and the highly sensitive
// ones, where the token has their scopes. It is an error where some cannot be
// asked for: what is left out would have vanished.
func (c *Client) Properties(ctx context.Context, obj catalogue.Object) ([]Property, error) {
	out, err := c.properties(ctx, obj, "")
	if refused(err) {
		return nil, &Blocked{Type: "not-available",
			Detail: fmt.Sprintf("this HubSpot account has no object %q%s: %v", obj.Name, c.pin(), err),
			Hint:   "see how HubSpot calls it (a custom object is p_name, or 2-123), and whether this edition has it; then reload" + c.unpin()}
	}
	if err != nil {
		return nil, fmt.Errorf("read properties of %s: %w", obj.Name, err)
	}
	known := make(map[string]bool, len(out))
	for _, p := range out {
		known[p.Name] = true
	}
	for _, sensitivity := range sensitivities() {
		more, err := c.properties(ctx, obj, sensitivity)
		if errors.Is(err, errWithheld) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s properties of %s: %w", sensitivity, obj.Name, err)
		}
		for _, p := range more {
			// One that has just become sensitive may be in both.
			if !known[p.Name] {
				known[p.Name] = true
				out = append(out, p)
			}
		}
	}
	bound(out)
	return out, nil
}

// properties asks for the definitions of a sensitivity, "" for the ordinary ones.
func (c *Client) properties(ctx context.Context, obj catalogue.Object, sensitivity string) ([]Property, error) {
	query := "archived=false"
	if sensitivity != "" {
		query += "&dataSensitivity=" + sensitivity
	}
	var out []Property
	err := c.do(ctx, call{
		kind: "properties", method: http.MethodGet, family: "properties/" + obj.Name, preferred: obj.Version,
		path: obj.PropertiesPath, query: query, optional: sensitivity != "",
		decode: func(rep reply) error {
			var body struct {
				Results *[]struct {
					Property
					Listed          []listedOption `json:"options"`
					DataSensitivity string         `json:"dataSensitivity"`
					Archived        bool           `json:"archived"`
				} `json:"results"`
			}
			if err := json.Unmarshal(rep.body, &body); err != nil {
				return fmt.Errorf("decode properties: %w", err)
			}
			if body.Results == nil || len(*body.Results) == 0 && sensitivity == "" {
				// Every object has some: an empty list would end all columns.
				return errors.New("decode properties: there are none in it")
			}
			out = make([]Property, 0, len(*body.Results))
			for _, p := range *body.Results {
				if p.Name == "" {
					return errors.New("decode properties: one has no name")
				}
				if p.Archived {
					continue
				}
				slices.SortStableFunc(p.Listed, func(a, b listedOption) int { return cmp.Compare(a.Order, b.Order) })
				p.Options = nil
				for _, o := range p.Listed {
					p.Options = append(p.Options, o.Option)
				}
				p.Sensitive = sensitivity != "" || p.DataSensitivity != "" && p.DataSensitivity != "non_sensitive"
				out = append(out, p.Property)
			}
			return nil
		},
	})
	return out, err
}
