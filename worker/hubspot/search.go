package hubspot

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Bounds of HubSpot's search.
const (
	maxResults = 10000
	// splitAt is the place in a window that is too full at which it is cut.
	splitAt = 5000
	tries   = 3
)

// ErrDoesNotAddUp says that search contradicts itself: the range has to be
// read by list.
var ErrDoesNotAddUp = errors.New("the parts of a search window do not add up to the whole")

// Hit is an id that search named, with its version.
type Hit struct {
	ID      string
	Version int64
}

// Window is a half-open span of modification times, in ms, and of ids. Hi 0 is
// open; IDLo and IDHi 0 are unbounded.
type Window struct {
	Lo, Hi     int64
	IDLo, IDHi uint64
}

// Split is where a window wants to be divided: one of the two is set.
type Split struct {
	At int64
	ID uint64
}

type filter struct {
	Property string `json:"propertyName"`
	Operator string `json:"operator"`
	Value    string `json:"value"`
}

type group struct {
	Filters []filter `json:"filters"`
}

func (w Window) group(o catalogue.Object) group {
	fs := []filter{{o.Cursor, "GTE", strconv.FormatInt(max(1, w.Lo), 10)}}
	if w.Hi != 0 {
		fs = append(fs, filter{o.Cursor, "LT", strconv.FormatInt(w.Hi, 10)})
	}
	if w.IDLo != 0 {
		fs = append(fs, filter{"hs_object_id", "GTE", strconv.FormatUint(w.IDLo, 10)})
	}
	if w.IDHi != 0 {
		fs = append(fs, filter{"hs_object_id", "LT", strconv.FormatUint(w.IDHi, 10)})
	}
	return group{fs}
}

type searchRequest struct {
	Groups     []group  `json:"filterGroups"`
	Properties []string `json:"properties"`
	Sorts      []string `json:"sorts"`
	Limit      int      `json:"limit"`
	After      string   `json:"after"`
}

type found struct {
	hits  []Hit
	total int
	next  string
	date  int64
}

func (c *Client) searchPage(ctx context.Context, o catalogue.Object, groups []group, sort string, after, limit int) (found, error) {
	body := searchRequest{Groups: groups, Properties: []string{o.Cursor}, Sorts: []string{sort}, Limit: limit, After: strconv.Itoa(after)}
	r, err := c.call(ctx, searchCall, "POST", c.objects(o)+"/search", nil, body)
	if err != nil {
		return found{}, fmt.Errorf("search %s: %w", o.Name, err)
	}
	res, err := decodePage(r.body, o.Cursor, r.asOf)
	if err != nil {
		return found{}, fmt.Errorf("search %s: %w", o.Name, err)
	}
	f := found{total: res.Total, next: res.Next, date: r.date}
	for _, rec := range res.Records {
		f.hits = append(f.hits, Hit{rec.ID, rec.Version})
	}
	return f, nil
}

// Newest is what one search over the newest window and those that settle said.
type Newest struct {
	Hits []Hit
	// Began is HubSpot's time of the reply, less 2 s, in ms.
	Began int64
	// Proved says that all of the windows came on this one page.
	Proved bool
}

// clockSlack is taken from HubSpot's Date, which has whole seconds.
const clockSlack = 2000

// SearchNewest asks for the newest window, open at its upper end, and for up
// to four others, in one request.
func (c *Client) SearchNewest(ctx context.Context, o catalogue.Object, windows []Window) (Newest, error) {
	groups := make([]group, len(windows))
	for i, w := range windows {
		groups[i] = w.group(o)
	}
	f, err := c.searchPage(ctx, o, groups, o.Cursor, 0, o.SearchPage)
	if err != nil {
		return Newest{}, err
	}
	return Newest{Hits: f.hits, Began: f.date - clockSlack, Proved: f.next == "" && len(distinct(f.hits)) >= f.total}, nil
}

// ProveWindow lists a window completely, or says where it has to be split. A
// listing is proved: its distinct ids reach the total that the first and the
// last page named. One that does not is read again, and after three tries
// split; where that cannot be, ErrDoesNotAddUp is returned.
func (c *Client) ProveWindow(ctx context.Context, o catalogue.Object, w Window) ([]Hit, *Split, error) {
	for range tries {
		hits, total, err := c.readWindow(ctx, o, w)
		if err != nil {
			return nil, nil, err
		}
		if total >= maxResults {
			break
		}
		if all := distinct(hits); len(all) >= total {
			return all, nil, nil
		}
	}
	s, err := c.split(ctx, o, w)
	return nil, s, err
}

// readWindow follows the pages to their end; total is the greater of what the
// first and the last of them named.
func (c *Client) readWindow(ctx context.Context, o catalogue.Object, w Window) (hits []Hit, total int, err error) {
	groups := []group{w.group(o)}
	after := 0
	for {
		f, err := c.searchPage(ctx, o, groups, o.Cursor, after, o.SearchPage)
		if err != nil {
			return nil, 0, err
		}
		hits = append(hits, f.hits...)
		if after == 0 || f.next == "" {
			total = max(total, f.total)
		}
		if f.next == "" || f.total >= maxResults {
			return hits, max(total, f.total), nil
		}
		n, err := strconv.Atoi(f.next)
		if err != nil || n <= after {
			return nil, 0, fmt.Errorf("search %s: HubSpot's cursor %q after %d leads nowhere", o.Name, f.next, after)
		}
		if after = n; after >= maxResults {
			return hits, maxResults, nil
		}
	}
}

// distinct keeps the newest version of each id, in the order of first sight.
func distinct(hits []Hit) []Hit {
	at := make(map[string]int, len(hits))
	out := make([]Hit, 0, len(hits))
	for _, h := range hits {
		if i, ok := at[h.ID]; ok {
			out[i].Version = max(out[i].Version, h.Version)
			continue
		}
		at[h.ID] = len(out)
		out = append(out, h)
	}
	return out
}

// split finds where to divide a window, and makes sure that the two parts hold
// as much as the whole.
func (c *Client) split(ctx context.Context, o catalogue.Object, w Window) (*Split, error) {
	hi := w.Hi
	if hi == 0 {
		return nil, fmt.Errorf("split an open window of %s", o.Name)
	}
	s, err := c.place(ctx, o, w, hi)
	if err != nil {
		return nil, err
	}
	low, high := w, w
	if s.At != 0 {
		low.Hi, high.Lo = s.At, s.At
	} else {
		low.IDHi, high.IDLo = s.ID, s.ID
	}
	for range tries {
		whole, err := c.total(ctx, o, w)
		if err != nil {
			return nil, err
		}
		a, err := c.total(ctx, o, low)
		if err != nil {
			return nil, err
		}
		b, err := c.total(ctx, o, high)
		if err != nil {
			return nil, err
		}
		// Records leave a window when they are edited; none may be missing
		// from both parts that the whole has.
		if again, err := c.total(ctx, o, w); err != nil {
			return nil, err
		} else if a+b >= min(whole, again) || min(whole, again) >= maxResults && a+b >= maxResults {
			return s, nil
		}
	}
	return nil, ErrDoesNotAddUp
}

func (c *Client) total(ctx context.Context, o catalogue.Object, w Window) (int, error) {
	f, err := c.searchPage(ctx, o, []group{w.group(o)}, o.Cursor, 0, 1)
	return f.total, err
}

// place chooses the time or, within one millisecond, the id that stands in the
// middle of what search can page through. Any place strictly inside will do:
// each part is proved on its own.
func (c *Client) place(ctx context.Context, o catalogue.Object, w Window, hi int64) (*Split, error) {
	if hi-w.Lo > 1 {
		f, err := c.searchPage(ctx, o, []group{w.group(o)}, o.Cursor, splitAt, 1)
		if err != nil {
			return nil, err
		}
		at := (w.Lo + hi) / 2
		if len(f.hits) > 0 {
			at = f.hits[0].Version
		}
		return &Split{At: min(max(at, w.Lo+1), hi-1)}, nil
	}
	f, err := c.searchPage(ctx, o, []group{w.group(o)}, "hs_object_id", splitAt, 1)
	if err != nil {
		return nil, err
	}
	if len(f.hits) == 0 {
		return nil, ErrDoesNotAddUp
	}
	id, err := strconv.ParseUint(f.hits[0].ID, 10, 64)
	if err != nil || id <= w.IDLo || w.IDHi != 0 && id >= w.IDHi {
		return nil, ErrDoesNotAddUp
	}
	return &Split{ID: id}, nil
}
