package hubspot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// DailyUsage asks what of the account's daily limit is used. Apps that were
// installed from outside have no such limit, and get an error.
func (c *Client) DailyUsage(ctx context.Context) (limit, used int64, err error) {
	err = c.do(ctx, call{
		kind: "account", method: http.MethodGet, family: accountFamily + "/api-usage", path: catalogue.DailyUsagePath,
		decode: func(rep reply) error {
			var body struct {
				Results []struct {
					Limit int64 `json:"usageLimit"`
					Used  int64 `json:"currentUsage"`
				} `json:"results"`
			}
			if err := json.Unmarshal(rep.body, &body); err != nil {
				return fmt.Errorf("decode usage: %w", err)
			}
			if len(body.Results) == 0 || body.Results[0].Limit <= 0 {
				return &Failing{Detail: "HubSpot names no daily limit"}
			}
			limit, used = body.Results[0].Limit, body.Results[0].Used
			return nil
		},
	})
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the day's usage: %w", err)
	}
	return limit, used, nil
}

// Impatient lets the next refusal of the token be the last word, where it is asked
// again for a minute otherwise: a person waits.
func (c *Client) Impatient() { c.refused.Store(true) }

// Count asks how many records of an object there are that were modified at or
// after since, in ms; all of them where that is 0.
func (c *Client) Count(ctx context.Context, obj catalogue.Object, since int64) (int64, error) {
	if obj.Strategy != catalogue.StrategyObjects {
		return 0, errors.New("search does not know " + obj.Name)
	}
	r := SearchRequest{Limit: 1}
	if since > 0 {
		r.Groups = [][]Filter{{{Property: obj.Cursor, Operator: "GTE", Value: strconv.FormatInt(since, 10)}}}
	}
	p, err := c.Search(ctx, obj, r)
	return int64(p.Total), err
}

// Fits tells whether a page of records with these properties can be asked for in
// one request.
func (c *Client) Fits(obj catalogue.Object, properties []string) bool {
	return c.fits(obj, ListRequest{Limit: obj.ListLimit, After: "000000000000"}, withCursor(properties, obj))
}
