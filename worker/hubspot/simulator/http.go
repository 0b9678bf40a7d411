package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// ServeHTTP answers as HubSpot does; routes below /_simulator are its own and
// count against nothing.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if rest, ok := strings.CutPrefix(r.URL.Path, "/_simulator/"); ok {
		s.own(w, r, rest)
		return
	}
	w.Header().Set("Date", s.o.Now().UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	if s.o.Latency > 0 {
		t := time.NewTimer(s.o.Latency)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
			return
		}
	}
	if len(r.URL.RequestURI()) > s.o.MaxURL {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusRequestURITooLong)
		_, _ = io.WriteString(w, "<html><head><title>414 Request-URI Too Large</title></head></html>")
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+s.o.Token {
		problem(w, http.StatusUnauthorized, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
		return
	}
	search := strings.HasSuffix(r.URL.Path, "/search")
	if !s.allowed(w, search) || s.fault(w) {
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		problem(w, http.StatusBadRequest, "VALIDATION_ERROR", "unreadable body")
		return
	}
	s.route(w, r, body)
}

func problem(w http.ResponseWriter, status int, category, message string) {
	w.WriteHeader(status)
	b, err := json.Marshal(map[string]string{"status": "error", "message": message, "category": category,
		"correlationId": "00000000-0000-0000-0000-000000000000"})
	if err == nil {
		_, _ = w.Write(b)
	}
}

// allowed counts a request against the limits of the account.
func (s *Simulator) allowed(w http.ResponseWriter, search bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now().UnixMilli()
	s.day++
	if !s.o.Limits {
		return true
	}
	refuse := func(policy, message string) bool {
		s.stats.OverLimit++
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = fmt.Fprintf(w, `{"status":"error","message":%q,"errorType":"RATE_LIMIT","policyName":%q}`, message, policy)
		return false
	}
	if s.day > s.o.Daily {
		return refuse("DAILY", "You have reached your daily limit.")
	}
	if search {
		s.search = window(s.search, now-1000)
		if len(s.search) >= s.o.SearchPerSec {
			return refuse("SECONDLY", "You have reached your secondly limit.")
		}
		s.search = append(s.search, now)
		return true
	}
	s.burst = window(s.burst, now-10_000)
	h := w.Header()
	h.Set("X-HubSpot-RateLimit-Max", strconv.Itoa(s.o.BurstPer10s))
	h.Set("X-HubSpot-RateLimit-Interval-Milliseconds", "10000")
	h.Set("X-HubSpot-RateLimit-Remaining", strconv.Itoa(max(0, s.o.BurstPer10s-len(s.burst)-1)))
	h.Set("X-HubSpot-RateLimit-Daily", strconv.Itoa(s.o.Daily))
	h.Set("X-HubSpot-RateLimit-Daily-Remaining", strconv.Itoa(s.o.Daily-s.day))
	if len(s.burst) >= s.o.BurstPer10s {
		return refuse("TEN_SECONDLY_ROLLING", "You have reached your ten_secondly_rolling limit.")
	}
	s.burst = append(s.burst, now)
	return true
}

func window(times []int64, from int64) []int64 {
	i := sort.Search(len(times), func(i int) bool { return times[i] > from })
	return times[i:]
}

// fault answers badly, now and then.
func (s *Simulator) fault(w http.ResponseWriter) bool {
	s.mu.Lock()
	bad, kind := s.rng.Float64() < s.o.FaultRate, s.rng.IntN(8)
	if bad {
		s.stats.Faults++
	}
	s.mu.Unlock()
	if !bad {
		return false
	}
	switch kind {
	case 0:
		problem(w, http.StatusInternalServerError, "INTERNAL_ERROR", "internal error")
	case 1:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "<html>502 Bad Gateway</html>")
	case 2:
		problem(w, http.StatusServiceUnavailable, "", "unavailable")
	case 3:
		problem(w, http.StatusLocked, "", "locked")
	case 4:
		w.Header().Set("Retry-After", "1")
		problem(w, 477, "", "migration in progress")
	case 5:
		_, _ = io.WriteString(w, `{"results":[{"id":"1","properties":`)
	case 6:
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"results":[`)
	case 7:
		if h, ok := w.(http.Hijacker); ok {
			if c, _, err := h.Hijack(); err == nil {
				_ = c.Close()
			}
		}
	}
	return true
}

// route finds the endpoint. Paths are /crm/objects/{version}/{object}…
func (s *Simulator) route(w http.ResponseWriter, r *http.Request, body []byte) {
	part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	var ob *object
	if len(part) >= 4 {
		ob = s.objects[part[3]]
	}
	switch {
	case len(part) == 3 && part[0] == "account-info" && part[2] == "details":
		s.stats.Requests["account"]++
		_, _ = fmt.Fprintf(w, `{"portalId":%d,"timeZone":"Europe/Berlin","companyCurrency":"EUR"}`, s.o.PortalID)
	case len(part) == 4 && part[1] == "properties" && ob != nil:
		s.stats.Requests["properties"]++
		_ = json.NewEncoder(w).Encode(map[string]any{"results": ob.props})
	case len(part) >= 4 && part[1] == "objects" && ob != nil:
		s.objectRoute(w, r, ob, part[4:], body)
	default:
		problem(w, http.StatusNotFound, "OBJECT_NOT_FOUND", "no such resource")
	}
}

func (s *Simulator) objectRoute(w http.ResponseWriter, r *http.Request, ob *object, rest []string, body []byte) {
	switch path := strings.Join(rest, "/"); {
	case path == "" && r.Method == http.MethodGet:
		s.stats.Requests["list"]++
		s.list(w, r, ob)
	case path == "batch/read" && r.Method == http.MethodPost:
		s.stats.Requests["batch"]++
		s.batch(w, r, ob, body)
	case path == "search" && r.Method == http.MethodPost:
		s.stats.Requests["search"]++
		s.find(w, ob, body)
	case len(rest) == 1 && r.Method == http.MethodGet:
		s.stats.Requests["get"]++
		id, _ := strconv.ParseUint(rest[0], 10, 64)
		rec := ob.records[id]
		if rec == nil {
			problem(w, http.StatusNotFound, "OBJECT_NOT_FOUND", "Object not found.")
			return
		}
		_, _ = w.Write(rec.appendJSON(nil, ob, ob.wanted(strings.Split(r.URL.Query().Get("properties"), ","))))
	default:
		problem(w, http.StatusMethodNotAllowed, "", "method not allowed")
	}
}

// wanted are the indexes of the properties asked for; unknown names are
// ignored, and the standard three always come.
func (ob *object) wanted(names []string) []int {
	ask := make(map[string]bool, len(names)+3)
	for _, n := range append(names, "hs_object_id", "createdate", ob.cursor) {
		ask[n] = true
	}
	out := make([]int, 0, len(ask))
	for i, p := range ob.props {
		if ask[p.Name] {
			out = append(out, i)
		}
	}
	return out
}

func (s *Simulator) list(w http.ResponseWriter, r *http.Request, ob *object) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 || limit > 100 {
		problem(w, http.StatusBadRequest, "VALIDATION_ERROR", "limit must be between 1 and 100")
		return
	}
	from, _ := strconv.ParseUint(q.Get("after"), 10, 64)
	want := ob.wanted(strings.Split(q.Get("properties"), ","))
	if q.Get("archived") == "true" {
		_, _ = io.WriteString(w, `{"results":[]}`)
		return
	}
	i := sort.Search(len(ob.ids), func(i int) bool { return ob.ids[i] >= from })
	end := min(len(ob.ids), i+limit)
	b := append(make([]byte, 0, 1<<18), `{"results":[`...)
	for n, id := range ob.ids[i:end] {
		if n > 0 {
			b = append(b, ',')
		}
		b = ob.records[id].appendJSON(b, ob, want)
	}
	b = append(b, ']')
	if end < len(ob.ids) {
		b = fmt.Appendf(b, `,"paging":{"next":{"after":"%d","link":"https://api.example.com/"}}`, ob.ids[end])
	}
	_, _ = w.Write(append(b, '}'))
}

func (s *Simulator) batch(w http.ResponseWriter, r *http.Request, ob *object, body []byte) {
	var q struct {
		Inputs []struct {
			ID string `json:"id"`
		} `json:"inputs"`
		Properties []string `json:"properties"`
		History    []string `json:"propertiesWithHistory"`
	}
	if err := json.Unmarshal(body, &q); err != nil || len(q.Inputs) == 0 || len(q.Inputs) > 100 || q.Properties == nil || q.History == nil {
		problem(w, http.StatusBadRequest, "VALIDATION_ERROR", "inputs (1 to 100), properties and propertiesWithHistory are required")
		return
	}
	want := ob.wanted(q.Properties)
	now := s.o.Now().UnixMilli()
	b := append(make([]byte, 0, 1<<18), `{"status":"COMPLETE","results":[`...)
	n := 0
	var missing []string
	for _, in := range q.Inputs {
		id, _ := strconv.ParseUint(in.ID, 10, 64)
		rec := ob.records[id]
		if rec != nil && rec.replicaT > now {
			rec = rec.old
		}
		if rec == nil || r.URL.Query().Get("archived") == "true" {
			missing = append(missing, in.ID)
			continue
		}
		if n++; n > 1 {
			b = append(b, ',')
		}
		b = rec.appendJSON(b, ob, want)
	}
	b = append(b, ']')
	if len(missing) > 0 {
		w.WriteHeader(http.StatusMultiStatus)
		e, _ := json.Marshal([]any{map[string]any{"status": "error", "category": "OBJECT_NOT_FOUND", "context": map[string][]string{"ids": missing}}})
		b = append(append(b, `,"numErrors":1,"errors":`...), e...)
	}
	_, _ = w.Write(append(b, '}'))
}

type searchQuery struct {
	Groups []struct {
		Filters []struct {
			Property string `json:"propertyName"`
			Operator string `json:"operator"`
			Value    string `json:"value"`
		} `json:"filters"`
	} `json:"filterGroups"`
	Properties []string `json:"properties"`
	Sorts      []string `json:"sorts"`
	Limit      int      `json:"limit"`
	After      string   `json:"after"`
}

// find searches what the index has seen so far; its order is not strict, and
// its offsets shift when a record leaves the result.
func (s *Simulator) find(w http.ResponseWriter, ob *object, body []byte) {
	bad := func(message string) { problem(w, http.StatusBadRequest, "VALIDATION_ERROR", message) }
	var q searchQuery
	if len(body) > 3000 {
		bad("the request body is too long: the maximum is 3000 characters")
		return
	}
	if err := json.Unmarshal(body, &q); err != nil || q.Properties == nil || q.Sorts == nil {
		bad("filterGroups, properties, sorts, limit and after are required")
		return
	}
	after, err := strconv.Atoi(q.After)
	if err != nil || q.Limit < 1 || q.Limit > 200 || len(q.Groups) > 5 || len(q.Sorts) > 1 {
		bad("limit must be 1 to 200, after a number, with at most 5 groups and one sort")
		return
	}
	if after+q.Limit > 10000 {
		bad("Cannot fetch more than 10000 total records")
		return
	}
	hits, status := s.match(ob, q)
	if status != 0 {
		problem(w, status, "VALIDATION_ERROR", "a filter is not understood")
		return
	}
	byID := len(q.Sorts) == 1 && strings.TrimPrefix(q.Sorts[0], "-") == "hs_object_id"
	slices.SortFunc(hits, func(a, b *record) int {
		if !byID {
			// Neighbours change places: the index does not keep its order.
			if d := int(a.modified/200 - b.modified/200); d != 0 {
				return d
			}
			return int((a.id*2654435761)%1009) - int((b.id*2654435761)%1009)
		}
		return int(a.id) - int(b.id)
	})
	want := ob.wanted(q.Properties)
	b := fmt.Appendf(nil, `{"total":%d,"results":[`, len(hits))
	end := min(len(hits), after+q.Limit)
	for i := after; i < end; i++ {
		if i > after {
			b = append(b, ',')
		}
		b = hits[i].appendJSON(b, ob, want)
	}
	b = append(b, ']')
	if end < len(hits) && end > after {
		b = fmt.Appendf(b, `,"paging":{"next":{"after":"%d"}}`, end)
	}
	_, _ = w.Write(append(b, '}'))
}

func (s *Simulator) match(ob *object, q searchQuery) (hits []*record, status int) {
	type test struct {
		id  bool
		op  string
		val int64
	}
	var groups [][]test
	for _, g := range q.Groups {
		if len(g.Filters) > 6 {
			return nil, http.StatusBadRequest
		}
		var ts []test
		for _, f := range g.Filters {
			v, err := strconv.ParseInt(f.Value, 10, 64)
			if err != nil || f.Property != ob.cursor && f.Property != "hs_object_id" {
				return nil, http.StatusBadRequest
			}
			if v == 0 && f.Property == ob.cursor {
				return nil, http.StatusInternalServerError
			}
			if !slices.Contains([]string{"GTE", "LT", "GT", "LTE", "EQ"}, f.Operator) {
				return nil, http.StatusBadRequest
			}
			ts = append(ts, test{f.Property == "hs_object_id", f.Operator, v})
		}
		groups = append(groups, ts)
	}
	now := s.o.Now().UnixMilli()
	for _, id := range ob.ids {
		r := ob.records[id]
		for r != nil && r.seenAt > now {
			r = r.old
		}
		if r == nil {
			continue
		}
		ok := slices.ContainsFunc(groups, func(ts []test) bool {
			for _, t := range ts {
				x := r.modified
				if t.id {
					x = int64(r.id)
				}
				good := false
				switch t.op {
				case "GTE":
					good = x >= t.val
				case "LT":
					good = x < t.val
				case "GT":
					good = x > t.val
				case "LTE":
					good = x <= t.val
				case "EQ":
					good = x == t.val
				}
				if !good {
					return false
				}
			}
			return true
		})
		if ok {
			hits = append(hits, r)
		}
	}
	return hits, 0
}

// own are the simulator's own routes: the truth, and changes.
func (s *Simulator) own(w http.ResponseWriter, r *http.Request, path string) {
	if path == "stats" {
		_ = json.NewEncoder(w).Encode(s.Stats())
		return
	}
	if name, ok := strings.CutPrefix(path, "truth/"); ok && r.Method == http.MethodGet {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		for _, o := range s.Truth(name) {
			_ = enc.Encode(o)
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = w.Write(b.Bytes())
		return
	}
	ob := s.objects[path]
	if ob == nil || r.Method != http.MethodPost {
		problem(w, http.StatusNotFound, "", "truth/{object}, {object} and stats are what there is")
		return
	}
	var q struct {
		Create     int               `json:"create"`
		Change     int               `json:"change"`
		At         int64             `json:"at"`
		IDs        []string          `json:"ids"`
		Properties map[string]string `json:"properties"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&q); err != nil {
		problem(w, http.StatusBadRequest, "VALIDATION_ERROR", err.Error())
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"ids": s.apply(ob, q.Create, q.Change, q.At, q.IDs, q.Properties)})
}

func (s *Simulator) apply(ob *object, create, change int, at int64, ids []string, set map[string]string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at == 0 {
		at = s.o.Now().UnixMilli()
	}
	out := []string{}
	for range create {
		out = append(out, strconv.FormatUint(s.create(ob, at).id, 10))
	}
	for _, i := range s.rng.Perm(len(ob.ids))[:min(change, len(ob.ids))] {
		s.change(ob, ob.ids[i], at, nil)
		out = append(out, strconv.FormatUint(ob.ids[i], 10))
	}
	for _, id := range ids {
		n, _ := strconv.ParseUint(id, 10, 64)
		s.change(ob, n, at, set)
		out = append(out, id)
	}
	return out
}
