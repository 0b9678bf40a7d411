package simulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxSearchPage   = 200
	maxResults      = 10000
	maxSearchBody   = 3000
	maxGroups       = 5
	maxGroupFilters = 6
	maxFilters      = 18
	// disorder is over how many neighbours results are shuffled: a number that
	// divides no page, so that some are on another page than in order.
	disorder = 7
)

type filterBody struct {
	Property string   `json:"propertyName"`
	Operator string   `json:"operator"`
	Value    string   `json:"value"`
	High     string   `json:"highValue"`
	Values   []string `json:"values"`
}

type groupBody struct {
	Filters []filterBody `json:"filters"`
}

type searchBody struct {
	Groups     []groupBody       `json:"filterGroups"`
	Filters    []filterBody      `json:"filters"`
	Properties []string          `json:"properties"`
	Sorts      []json.RawMessage `json:"sorts"`
	Limit      *int              `json:"limit"`
	After      json.RawMessage   `json:"after"`
}

// order is the one sort.
type order struct {
	prop int
	desc bool
}

// found is a result: the record and the version that search knows.
type found struct {
	rec *record
	ver *version
}

func (c *call) search(st *store) {
	body, ok := c.body()
	if !ok {
		return
	}
	if n := utf8.RuneCount(body); n > maxSearchBody {
		c.invalid(fmt.Sprintf("The request body is too long: %d characters of at most %d", n, maxSearchBody))
		return
	}
	var in searchBody
	if err := json.Unmarshal(body, &in); err != nil {
		c.invalid("Invalid input JSON on line 1: " + err.Error())
		return
	}
	if c.sw.strictBodies {
		if f, ok := has(body, "filterGroups", "properties", "sorts", "limit", "after"); !ok {
			c.invalid("Some required fields were not set: [" + f + "]")
			return
		}
	}
	limit, after, message := in.paging()
	if message != "" {
		c.invalid(message)
		return
	}
	groups, status, message := st.sc.filters(in)
	if status == 500 {
		c.fail(500, "", message, "")
		return
	} else if status != 0 {
		c.invalid(message)
		return
	}
	ord, message := st.sc.sort(in.Sorts)
	if message != "" {
		c.invalid(message)
		return
	}
	all := st.match(groups, c.now.UnixMilli())
	st.arrange(all, ord, c.s.o.Seed)
	limit = c.short(limit, false)
	b := fmt.Appendf(nil, `{"total":%d,"results":[`, len(all))
	p := st.planOf(strings.Join(in.Properties, ","))
	page := all[min(after, len(all)):min(after+limit, len(all))]
	for i, f := range page {
		if i > 0 {
			b = append(b, ',')
		}
		b = p.appendItem(b, item{rec: f.rec, ver: f.ver})
	}
	b = append(b, ']')
	if after > 0 && after+limit < len(all) && c.repeats() {
		limit = 0
	}
	if after+limit < len(all) {
		b = fmt.Appendf(b, `,"paging":{"next":{"after":"%d"}}`, after+limit)
	}
	c.reply(200, append(b, '}'))
}

func (in *searchBody) paging() (limit, after int, message string) {
	limit = 10
	if in.Limit != nil {
		limit = *in.Limit
	}
	if limit < 0 || limit > maxSearchPage {
		return 0, 0, "Invalid input: limit has to be between 0 and 200"
	}
	if limit == 0 {
		limit = 10
	}
	v := strings.Trim(string(in.After), `"`)
	if v != "" && v != "null" {
		var err error
		if after, err = strconv.Atoi(v); err != nil || after < 0 {
			return 0, 0, "Invalid input: after has to be an integer"
		}
	}
	if after+limit > maxResults {
		return 0, 0, "Cannot page beyond 10000 results of a search"
	}
	return limit, after, ""
}

func (sc *schema) sort(raw []json.RawMessage) (order, string) {
	ord := order{prop: 1}
	if len(raw) > 1 {
		return ord, "Only one sort is supported"
	}
	if len(raw) == 0 {
		return ord, ""
	}
	var full struct {
		Property  string `json:"propertyName"`
		Direction string `json:"direction"`
	}
	var name string
	if json.Unmarshal(raw[0], &name) == nil {
		full.Property, ord.desc = strings.CutPrefix(name, "-")
	} else if json.Unmarshal(raw[0], &full) == nil {
		ord.desc = full.Direction == "DESCENDING"
	}
	i, ok := sc.index[full.Property]
	if !ok {
		return ord, "There was a problem with the sort: unknown property " + full.Property
	}
	ord.prop = i
	return ord, ""
}

// match is the live result set: what search knows at this moment.
func (st *store) match(groups [][]test, now int64) []found {
	st.mu.RLock()
	defer st.mu.RUnlock()
	var out []found
	for _, r := range st.order {
		if r.state != live {
			continue
		}
		v := r.searched(now)
		if v != nil && matches(groups, st.sc, r, v) {
			out = append(out, found{r, v})
		}
	}
	return out
}

func matches(groups [][]test, sc *schema, r *record, v *version) bool {
	if len(groups) == 0 {
		return true
	}
	return slices.ContainsFunc(groups, func(g []test) bool {
		for i := range g {
			if !g[i].holds(sc, r, v) {
				return false
			}
		}
		return true
	})
}

// arrange sorts the results and then, save where the sort is by id, shuffles
// neighbours: HubSpot does not keep its order.
func (st *store) arrange(all []found, ord order, seed int64) {
	compare := func(a, b found) int {
		switch ord.prop {
		case 0:
			return cmp.Compare(a.rec.id, b.rec.id)
		case 1:
			return cmp.Compare(a.rec.created, b.rec.created)
		case 2:
			return cmp.Compare(a.ver.at, b.ver.at)
		}
		x, y := st.sc.text(a.rec, a.ver, ord.prop), st.sc.text(b.rec, b.ver, ord.prop)
		if x == nil || y == nil {
			return cmp.Compare(btoi(x != nil), btoi(y != nil))
		}
		return cmp.Compare(*x, *y)
	}
	slices.SortFunc(all, func(a, b found) int {
		d := compare(a, b)
		if ord.desc {
			d = -d
		}
		return cmp.Or(d, cmp.Compare(a.rec.id, b.rec.id))
	})
	if ord.prop == 0 {
		return
	}
	for block := range slices.Chunk(all, disorder) {
		slices.SortFunc(block, func(a, b found) int {
			return cmp.Compare(mix(a.rec.id^uint64(seed)), mix(b.rec.id^uint64(seed)))
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// parseMoment reads a filter's value for a time: epoch ms or ISO.
func parseMoment(v string) (int64, bool) {
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		return n, true
	}
	if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
		return t.UnixMilli(), true
	}
	t, err := time.Parse(time.DateOnly, v)
	return t.UnixMilli(), err == nil
}
