package simulator

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fields are the members of a row as HubSpot writes them.
type fields map[string]any

// pageStyle says how a set's replies go on.
type pageStyle int

const (
	pageNone   pageStyle = iota // all in one reply
	pageAfter                   // paging.next.after
	pageOffset                  // offset and hasMore
)

// setSpec says what a stream outside the CRM's contract holds and how it is
// asked for.
type setSpec struct {
	name string
	// paths are its addresses without the first slash; {p} stands for the
	// parent. "=x" behind one names the member of the reply that has the rows
	// there, "!" a page of its own style: all in one.
	paths    []string
	results  string // "" where the reply is the one row
	style    pageStyle
	def, max int
	key      string
	parent   string // the set whose rows these belong to
	objects  bool   // they belong to objects of the CRM instead
	records  string // they belong to records of this object instead
	size     int    // at the start, of each parent
	post     bool
	archived bool // archived=true gives the archived ones
	newest   bool // newest first
	joined   bool // oldest first, at an address that ends in join-order
	// time is the member that says when a row changed, in ms where milli says so.
	time     string
	milli    bool
	from, to string // parameters that bound the time, both inclusive
	mutable  string // the member that a change changes
	make     func(i int, h uint64, parent string) fields
	// answer makes another reply than the usual one.
	answer func(c *call, set *set, parent string)
	// shown leaves rows out, or changes how they show; nil shows all.
	shown func(c *call, f fields) (fields, bool)
}

// setRow is a row. All is guarded by its set.
type setRow struct {
	seq    uint64
	id     string // with the parent's in front, where there is one
	parent string
	state  state
	at     int64
	gone   int64 // when it was archived or deleted, ms
	fields fields
}

// set holds the rows of a stream.
type set struct {
	setSpec
	mu    sync.RWMutex // guards all below
	rows  []*setRow
	drawn uint64
}

// sets are made when the first of them is asked for.
type sets struct {
	once  sync.Once
	all   map[string]*set
	order []*set
}

func (s *Simulator) set(name string) *set {
	s.allSets()
	return s.sets.all[name]
}

func (s *Simulator) allSets() []*set {
	s.sets.once.Do(func() {
		s.sets.all = map[string]*set{}
		for _, spec := range s.setSpecs() {
			st := &set{setSpec: spec}
			s.sets.all[spec.name] = st
			s.sets.order = append(s.sets.order, st)
			for _, parent := range s.parentsOf(st) {
				for range spec.size {
					end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
					h := mix(uint64(s.o.Seed) ^ hashString(spec.name) + st.drawn)
					st.add(s, parent, end-int64(h%(200*dayMS)))
				}
			}
		}
	})
	return s.sets.order
}

// manyParents bounds the records that have rows of a set at the start.
const manyParents = 100

// parentsOf are the ids that a set is read by; one empty one where it is not.
func (s *Simulator) parentsOf(st *set) []string {
	switch {
	case st.objects:
		return []string{"contacts", "companies", "deals", "tickets"}
	case st.records != "":
		ids := s.recordIDs(st.records)
		return ids[:min(len(ids), manyParents)]
	case st.parent == "":
		return []string{""}
	}
	var ids []string
	for _, r := range s.sets.all[st.parent].rows {
		ids = append(ids, r.id)
	}
	return ids
}

// add makes a new row. The set is locked, or nobody else has it yet.
func (st *set) add(s *Simulator, parent string, at int64) *setRow {
	i := st.drawn
	st.drawn++
	f := st.make(int(i), mix(uint64(s.o.Seed)^hashString(st.name+parent)+i), parent)
	r := &setRow{seq: i, id: fmt.Sprint(f[st.key]), parent: parent, at: at, fields: f}
	if parent != "" {
		r.id = parent + "/" + r.id
	}
	st.stamp(r, at)
	st.rows = append(st.rows, r)
	return r
}

func (st *set) stamp(r *setRow, at int64) {
	r.at = at
	f := maps.Clone(r.fields)
	switch {
	case st.time == "":
	case st.milli:
		f[st.time] = at
	default:
		f[st.time] = string(appendTime(nil, at))
		if _, ok := f["createdAt"]; !ok && st.time == "updatedAt" {
			f["createdAt"] = string(appendTime(nil, at-30*dayMS))
		}
	}
	r.fields = f
}

// setRoute reads the addresses of the sets.
func (s *Simulator) setRoute(p []string, w *switches) (route, bool) {
	for _, st := range s.allSets() {
		for _, path := range st.paths {
			path, results, _ := strings.Cut(path, "=")
			parent, ok := matchPath(strings.Split(path, "/"), p, w, len(st.paths) > 1)
			if !ok {
				continue
			}
			if results == "" {
				results = st.results
			}
			rt := route{kind: kindOfSet, known: true, method: http.MethodGet}
			if st.post {
				rt.method = http.MethodPost
			}
			rt.do = func(c *call) { c.serveSet(st, parent, results) }
			return rt, true
		}
	}
	return route{}, false
}

// matchPath holds an address against a pattern. Where there are several
// versions of an address the switches say which of them exist.
func matchPath(pattern, p []string, w *switches, several bool) (parent string, ok bool) {
	if len(pattern) != len(p) {
		return "", false
	}
	for i, want := range pattern {
		switch {
		case want == "{p}":
			parent = p[i]
		case want != p[i]:
			return "", false
		case strings.HasPrefix(want, "20") && !w.dated(want):
			return "", false
		case want == "v3" && several && !slices.Contains(w.versions, "v3"):
			return "", false
		}
	}
	return parent, true
}

// serveSet answers for a set.
func (c *call) serveSet(st *set, parent, results string) {
	if !c.allowed(st.name) {
		return
	}
	if st.objects {
		if c.s.object(parent) == nil {
			c.fail(404, "", "resource not found", "")
			return
		}
		parent = c.s.object(parent).sc.name // others have none, and say so
	}
	if st.parent != "" && !slices.Contains(c.s.liveParents(st), parent) && st.answer == nil {
		c.fail(404, "OBJECT_NOT_FOUND", "resource not found", "")
		return
	}
	if st.answer != nil {
		st.answer(c, st, parent)
		return
	}
	rows, ok := c.rowsOf(st, parent)
	if !ok {
		return
	}
	style := st.style
	if results != st.results {
		style = pageNone // the old address has all in one
	}
	switch {
	case results == "":
		if len(rows) == 0 {
			c.fail(404, "", "resource not found", "")
			return
		}
		c.replyJSON(rows[0].fields)
	case style == pageAfter:
		c.pageAfter(st, rows, results)
	case style == pageOffset:
		c.pageOffset(st, rows, results)
	default:
		c.replyJSON(map[string]any{results: shownFields(c, st, c.unordered(rows))})
	}
}

// rowsOf are the rows that a request asks for, in the set's order.
func (c *call) rowsOf(st *set, parent string) ([]setRow, bool) {
	q := c.r.URL.Query()
	want := live
	if st.archived && q.Get("archived") == "true" {
		want = archived
	}
	lo, hi := int64(0), int64(never)
	for name, to := range map[string]*int64{st.from: &lo, st.to: &hi} {
		if v := q.Get(name); name != "" && v != "" {
			t, ok := parseMoment(v)
			if !ok {
				c.invalid("Invalid input: " + name + " is not a time")
				return nil, false
			}
			*to = t
		}
	}
	st.mu.RLock()
	defer st.mu.RUnlock()
	var out []setRow
	for _, r := range st.rows {
		if r.state == want && r.parent == parent && r.at >= lo && r.at <= hi {
			out = append(out, *r)
		}
	}
	slices.SortFunc(out, c.orderOf(st))
	return out, true
}

// orderOf is the order in which a set is given.
func (c *call) orderOf(st *set) func(a, b setRow) int {
	older := func(a, b setRow) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq)) }
	newer := func(a, b setRow) int { return older(b, a) }
	switch byTime := st.joined && strings.HasSuffix(c.r.URL.Path, "/join-order"); {
	case st.newest || byTime && c.sw.newestJoinedFirst:
		return newer
	case byTime:
		return older
	}
	return func(a, b setRow) int { return cmp.Compare(a.seq, b.seq) }
}

func shownFields(c *call, st *set, rows []setRow) []fields {
	out := make([]fields, 0, len(rows))
	for _, r := range rows {
		if st.shown == nil {
			out = append(out, r.fields)
		} else if f, ok := st.shown(c, r.fields); ok {
			out = append(out, f)
		}
	}
	return out
}

// pageSize reads the limit of a request.
func (c *call) pageSize(st *set) (int, bool) {
	v := c.r.URL.Query().Get("limit")
	if v == "" {
		return st.def, true
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > st.max {
		c.invalid(fmt.Sprintf("Invalid input: limit has to be between 1 and %d", st.max))
		return 0, false
	}
	return n, true
}

// pageAfter answers with a page that names the row which follows it.
func (c *call) pageAfter(st *set, rows []setRow, results string) {
	n, ok := c.pageSize(st)
	if !ok {
		return
	}
	v := c.r.URL.Query().Get("after")
	if v != "" {
		raw, err := base64.URLEncoding.DecodeString(v)
		place := strings.Split(string(raw), ":")
		var from setRow
		var bad error
		if len(place) == 2 {
			from.at, bad = strconv.ParseInt(place[0], 10, 64)
			from.seq, err = strconv.ParseUint(place[1], 10, 64)
		}
		if err != nil || bad != nil || len(place) != 2 {
			c.invalid("Invalid input: after is not a cursor of this list")
			return
		}
		order := c.orderOf(st)
		rows = slices.DeleteFunc(rows, func(r setRow) bool { return order(r, from) < 0 })
	}
	page := rows[:min(c.short(n, v == ""), len(rows))]
	out := map[string]any{results: shownFields(c, st, c.unordered(page))}
	if len(page) < len(rows) {
		next := rows[len(page)]
		after := base64.URLEncoding.EncodeToString(fmt.Appendf(nil, "%d:%d", next.at, next.seq))
		if v != "" && c.repeats() {
			after = v
		}
		out["paging"] = map[string]any{"next": map[string]string{"after": after, "link": "https://api.hubapi.com" + c.r.URL.Path + "?after=" + after}}
	}
	c.replyJSON(out)
}

// pageOffset answers with a page and the place behind it, as text.
func (c *call) pageOffset(st *set, rows []setRow, results string) {
	n, ok := c.pageSize(st)
	if !ok {
		return
	}
	from, v := 0, c.r.URL.Query().Get("offset")
	if v != "" {
		raw, err := base64.URLEncoding.DecodeString(v)
		if from, ok = parseCount(string(raw)); err != nil || !ok {
			c.invalid("Invalid input: offset is not a place in this list")
			return
		}
	}
	from = min(from, len(rows))
	page := rows[from:min(from+c.short(n, v == ""), len(rows))]
	offset := base64.URLEncoding.EncodeToString(strconv.AppendInt(nil, int64(from+len(page)), 10))
	if v != "" && c.repeats() {
		offset = v
	}
	c.replyJSON(map[string]any{results: shownFields(c, st, c.unordered(page)), "hasMore": from+len(page) < len(rows), "offset": offset})
}

func parseCount(v string) (int, bool) {
	n, err := strconv.Atoi(v)
	return n, err == nil && n >= 0
}

func (c *call) replyJSON(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		c.fail(500, "", "internal error", "")
		return
	}
	c.reply(200, b)
}
