package hubspot

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Bounds of a search, as HubSpot enforces them.
const (
	maxResults    = 10_000 // of one search, however it is paged
	maxGroups     = 5
	maxSearchBody = 3000 // characters
)

// Filter is one condition of a search. Times are ms since 1970 as digits.
type Filter struct {
	Property string `json:"propertyName"`
	Operator string `json:"operator"`
	Value    string `json:"value,omitempty"`
}

// SearchRequest asks for the ids of records. The filters of a group hold
// together, the groups are alternatives.
type SearchRequest struct {
	Groups [][]Filter
	// Sort is a property to sort by, "" leaves HubSpot's order; ascending, or
	// Descending.
	Sort       string
	Descending bool
	// After is the Next of the page before, 0 for the first.
	After int
	// Limit is at most the object's; 0 means that.
	Limit int
}

// Hit is what search says of a record: its id, and the version that search
// knew, which may be older than the newest.
type Hit struct {
	ID      string
	Version int64
}

// SearchPage is a page of hits.
type SearchPage struct {
	Hits  []Hit
	Total int
	// Next is the After of the next page, -1 at the end.
	Next int
	// Date is HubSpot's time when the request began, in ms.
	Date int64
}

type searchBody struct {
	Groups     []searchGroup `json:"filterGroups"`
	Properties []string      `json:"properties"`
	Sorts      []searchSort  `json:"sorts"`
	Limit      int           `json:"limit"`
	After      string        `json:"after"`
}

type searchGroup struct {
	Filters []Filter `json:"filters"`
}

type searchSort struct {
	Property  string `json:"propertyName"`
	Direction string `json:"direction"`
}

// Search reads one page of hits. The order within it and between pages is not
// to be relied on, see ProveWindow. A Next that does not go forward is an
// error.
func (c *Client) Search(ctx context.Context, obj catalogue.Object, r SearchRequest) (SearchPage, error) {
	if r.Limit <= 0 || r.Limit > obj.SearchLimit {
		r.Limit = obj.SearchLimit
	}
	if len(r.Groups) > maxGroups {
		return SearchPage{}, fmt.Errorf("search %s: %d groups of filters, at most %d are allowed", obj.Name, len(r.Groups), maxGroups)
	}
	body := searchBody{
		Groups: []searchGroup{}, Properties: []string{obj.Cursor}, Sorts: []searchSort{},
		Limit: r.Limit, After: strconv.Itoa(r.After),
	}
	for _, g := range r.Groups {
		body.Groups = append(body.Groups, searchGroup{Filters: g})
	}
	if r.Sort != "" {
		direction := "ASCENDING"
		if r.Descending {
			direction = "DESCENDING"
		}
		body.Sorts = append(body.Sorts, searchSort{r.Sort, direction})
	}
	text, err := json.Marshal(body)
	if err != nil {
		return SearchPage{}, fmt.Errorf("encode search: %w", err)
	}
	if len(text) > maxSearchBody {
		return SearchPage{}, fmt.Errorf("search %s: body of %d characters, at most %d are allowed", obj.Name, len(text), maxSearchBody)
	}
	var out SearchPage
	err = c.do(ctx, call{
		kind: "search", method: http.MethodPost, family: "objects/" + obj.Name, preferred: obj.Version,
		path: func(version string) string { return obj.Path(version) + "/search" },
		body: text,
		decode: func(rep reply) error {
			var err error
			out, err = decodeSearch(obj, r, rep)
			return err
		},
	})
	if err != nil {
		return SearchPage{}, fmt.Errorf("search %s: %w", obj.Name, final(err))
	}
	return out, nil
}

func decodeSearch(obj catalogue.Object, r SearchRequest, rep reply) (SearchPage, error) {
	rd := reading{cursor: obj.Cursor, asOf: rep.asOf, limit: r.Limit}
	p, err := rd.page(rep.body)
	if err != nil {
		return SearchPage{}, fmt.Errorf("decode search: %w", err)
	}
	if !p.hasTotal {
		return SearchPage{}, fmt.Errorf("decode search: no total in it")
	}
	out := SearchPage{Hits: make([]Hit, len(p.records)), Total: p.total, Next: -1, Date: rep.asOf}
	for i, rec := range p.records {
		out.Hits[i] = Hit{ID: rec.ID, Version: rec.Version}
	}
	if p.after != "" {
		out.Next, err = strconv.Atoi(p.after)
		if err != nil {
			return SearchPage{}, fmt.Errorf("decode search: next place %q is no number", p.after)
		}
		if out.Next <= r.After {
			return SearchPage{}, &Failing{Detail: fmt.Sprintf("HubSpot's search repeats its place %q: reading on would never end", p.after)}
		}
	}
	return out, nil
}
