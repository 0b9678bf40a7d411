package simulator

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	maxList  = 100
	maxBatch = 100
	maxPlans = 64
)

// planOf is the plan for a list of names separated by commas; those used
// before are kept.
func (st *store) planOf(names string) *plan {
	st.plansMu.Lock()
	defer st.plansMu.Unlock()
	if p := st.plans[names]; p != nil {
		return p
	}
	if len(st.plans) >= maxPlans {
		clear(st.plans)
	}
	p := st.sc.newPlan(strings.SplitSeq(names, ","))
	st.plans[strings.Clone(names)] = p
	return p
}

// names joins a query's values: properties may be repeated or separated by
// commas.
func names(q url.Values, key string) string { return strings.Join(q[key], ",") }

func (c *call) list(st *store) {
	q := c.r.URL.Query()
	n := 10
	if v := q.Get("limit"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < 1 || n > maxList {
			c.invalid("Invalid input: limit has to be between 1 and 100")
			return
		}
	}
	var from uint64
	if v := q.Get("after"); v != "" {
		var ok bool
		if from, ok = c.parseAfter(st, v); !ok {
			c.invalid("Invalid input: after is not a cursor of this list")
			return
		}
	}
	want, other := live, live
	if q.Get("archived") == "true" {
		want, other = archived, archived
		if c.sw.mergedArchived {
			other = merged
		}
	}
	p := st.planOf(names(q, "properties"))
	more := c.asked(st, names(q, "associations"), names(q, "propertiesWithHistory"))
	if len(more.history) > 0 && n > maxWithHistory {
		c.invalid("Invalid input: limit has to be between 1 and 50 with propertiesWithHistory")
		return
	}
	items, next := st.list(from, c.short(n, from == 0), want, other)
	if from != 0 && next != 0 && c.repeats() {
		next = from
	}
	buf := c.s.buffer()
	b := append(*buf, `{"results":[`...)
	if !more.plain() {
		b = c.appendRich(b, st, p, items, more)
	} else {
		b = st.appendItems(b, p, items)
	}
	b = append(b, ']')
	b = append(c.appendPaging(b, st, next), '}')
	c.reply(200, b)
	c.s.recycle(buf, b)
}

// appendPaging names the next page. Its link is of another host and version,
// as HubSpot's are: only after is to be followed.
func (c *call) appendPaging(b []byte, st *store, next uint64) []byte {
	if next == 0 {
		return b
	}
	after := strconv.FormatUint(next, 10)
	if c.sw.opaqueAfter[st.sc.name] {
		after = base64.URLEncoding.EncodeToString([]byte("id:" + after))
	}
	b = append(b, `,"paging":{"next":{"after":"`...)
	b = append(b, after...)
	b = append(b, `","link":"https://api.hubapi.com/crm/v3/objects/`...)
	b = append(b, st.sc.name...)
	b = append(b, `?after=`...)
	b = append(b, url.QueryEscape(after)...)
	return append(b, `"}}`...)
}

func (c *call) parseAfter(st *store, v string) (uint64, bool) {
	if c.sw.opaqueAfter[st.sc.name] {
		b, err := base64.URLEncoding.DecodeString(v)
		id, ok := strings.CutPrefix(string(b), "id:")
		if err != nil || !ok {
			return 0, false
		}
		v = id
	}
	n, err := strconv.ParseUint(v, 10, 64)
	return n, err == nil
}

func (c *call) get(st *store, id string) {
	q := c.r.URL.Query()
	want := live
	if q.Get("archived") == "true" {
		want = archived
	}
	items, _ := c.pick(st, []string{id}, want, false)
	if s := st.survivorOf(id); len(items) == 0 && want == live && s != "" {
		items, _ = c.pick(st, []string{s}, want, false)
	}
	if len(items) == 0 {
		c.fail(404, "OBJECT_NOT_FOUND", "resource not found", "")
		return
	}
	p := st.planOf(names(q, "properties"))
	if more := c.asked(st, names(q, "associations"), names(q, "propertiesWithHistory")); !more.plain() {
		c.reply(200, c.appendRich(nil, st, p, items[:1], more))
		return
	}
	c.reply(200, p.appendItem(nil, items[0]))
}

// pick finds records by id, each once, some of them as a lagging replica has
// them; missing are the ids that are not there in that state. Where it may lack
// some, a replica does not have those yet that have just been made.
func (c *call) pick(st *store, ids []string, want state, lacks bool) (items []item, missing []string) {
	now := c.now.UnixMilli()
	st.mu.RLock()
	defer st.mu.RUnlock()
	seen := make(map[uint64]bool, len(ids))
	for i, id := range ids {
		n, err := strconv.ParseUint(id, 10, 64)
		if seen[n] {
			continue
		}
		r := st.find(n)
		if err != nil || r == nil || r.state != want && !(want == archived && r.state == merged && c.sw.mergedArchived) {
			missing = append(missing, id)
			continue
		}
		seen[n] = true
		it := r.item()
		if share := c.sw.staleReads; share > 0 && float64(mix(c.draw+uint64(i))>>11)/(1<<53) < share {
			old, made := r.stale(now, st.staleFor)
			if lacks && !made {
				c.s.count.stale.Add(1)
				missing = append(missing, id)
				continue
			}
			if old != it.ver {
				it.ver = old
				c.s.count.stale.Add(1)
			}
		}
		items = append(items, it)
	}
	return items, missing
}

// has says whether a body has all of the fields.
func has(body []byte, fields ...string) (string, bool) {
	var m map[string]json.RawMessage
	if json.Unmarshal(body, &m) != nil {
		return "", false
	}
	for _, f := range fields {
		if _, ok := m[f]; !ok {
			return f, false
		}
	}
	return "", true
}

func (c *call) batch(st *store) {
	body, ok := c.body()
	if !ok {
		return
	}
	var in struct {
		Inputs []struct {
			ID string `json:"id"`
		} `json:"inputs"`
		Properties []string `json:"properties"`
		History    []string `json:"propertiesWithHistory"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		c.invalid("Invalid input JSON on line 1: " + err.Error())
		return
	}
	if c.sw.strictBodies {
		if f, ok := has(body, "inputs", "properties", "propertiesWithHistory"); !ok {
			c.invalid("Some required fields were not set: [" + f + "]")
			return
		}
	}
	more := rich{history: st.historyOf(strings.Join(in.History, ","))}
	if len(more.history) > 0 && len(in.Inputs) > maxWithHistory {
		c.invalid(fmt.Sprintf("The maximum number of inputs supported in a batch request with the history of properties is %d", maxWithHistory))
		return
	}
	if len(in.Inputs) > maxBatch {
		c.invalid(fmt.Sprintf("The maximum number of inputs supported in a batch request for property reads is %d", maxBatch))
		return
	}
	ids := make([]string, len(in.Inputs))
	for i := range in.Inputs {
		ids[i] = in.Inputs[i].ID
	}
	want := live
	if c.r.URL.Query().Get("archived") == "true" {
		want = archived
	}
	if c.sw.batchGivesSurvivor && want == live {
		ids = st.withSurvivors(ids)
	}
	items, missing := c.pick(st, ids, want, true)
	// The order is nobody's: what comes back goes by the id that it carries.
	slices.SortFunc(items, func(a, b item) int {
		x, y := mix(a.rec.id^c.draw), mix(b.rec.id^c.draw)
		if x < y {
			return -1
		}
		return 1
	})
	buf := c.s.buffer()
	b := append(*buf, `{"status":"COMPLETE","results":[`...)
	if p := st.planOf(strings.Join(in.Properties, ",")); more.plain() {
		b = st.appendItems(b, p, items)
	} else {
		b = c.appendRich(b, st, p, items, more)
	}
	b = append(b, ']')
	status := 200
	if len(missing) > 0 && c.sw.missing != MissingSilent {
		if c.sw.missing == MissingAs207 {
			status = 207
		}
		b = append(b, `,"numErrors":1,"errors":[{"status":"error","category":"OBJECT_NOT_FOUND","message":"Could not get some `...)
		b = append(b, st.sc.singular...)
		b = append(b, ` objects, they may be deleted or not exist. Check that ids are valid.","context":{"ids":[`...)
		for i, id := range missing {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendEscaped(append(b, '"'), id), '"')
		}
		b = append(b, `]}}]`...)
	}
	b = append(b, `,"startedAt":"`...)
	b = appendTime(b, c.now.UnixMilli())
	b = append(b, `","completedAt":"`...)
	b = appendTime(b, c.now.UnixMilli()+1)
	b = append(b, `"}`...)
	c.reply(status, b)
	c.s.recycle(buf, b)
}

func (c *call) properties(st *store) {
	q := c.r.URL.Query()
	sensitivity := q.Get("dataSensitivity")
	if sensitivity == "" {
		sensitivity = "non_sensitive"
	}
	b := c.definitions([]byte(`{"results":[`), st, q.Get("archived") == "true", sensitivity)
	c.reply(200, append(b, `]}`...))
}

func (c *call) account() {
	c.reply(200, fmt.Appendf(nil, `{"portalId":%d,"accountType":"STANDARD","timeZone":"UTC","companyCurrency":"EUR","additionalCurrencies":[],"utcOffset":"+00:00","utcOffsetMilliseconds":0,"uiDomain":"app.hubspot.com","dataHostingLocation":"eu1"}`, c.s.o.PortalID))
}
