package simulator

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	maxAssociations = 1000
	// maxLinked is the largest page of one record's associations.
	maxLinked = 500
	// maxInline is how many associations of an object a list shows in a record.
	maxInline = 100
)

// associationRoute reads the addresses of associations: of many records, of
// one, and of the labels of a pair.
func (s *Simulator) associationRoute(p []string, w *switches) (route, bool) {
	if len(p) < 6 || p[0] != "crm" {
		return route{}, false
	}
	if p[1] == "v4" {
		p[1], p[2] = p[2], p[1]
	}
	v4 := p[2] == "v4" && slices.Contains(w.versions, "v3")
	rt := route{st: s.object(p[3]), known: true, method: http.MethodGet}
	var to *store
	switch rest := strings.Join(p[5:], "/"); {
	case p[1] == "associations" && (v4 || p[2] != "v3" && slices.Contains(w.versions, p[2])):
		to = s.object(p[4])
		rt.kind = kindOfAssociations
		switch rest {
		case "batch/read":
			rt.method = http.MethodPost
			rt.do = func(c *call) { c.associations(rt.st, to, v4) }
		case "labels":
			rt.do = func(c *call) { c.labels(rt.st, to) }
		default:
			return route{}, false
		}
	case p[1] == "objects" && (v4 || w.serves(p[2], "2026-03")) && len(p) == 7 && p[5] == "associations":
		to = s.object(p[6])
		rt.kind, rt.id = kindOfLinked, p[4]
		rt.do = func(c *call) { c.linked(rt.st, to, rt.id, v4) }
	}
	return rt, rt.do != nil && rt.st != nil && to != nil
}

// token is the place in a record's associations: opaque, and to be sent back
// as it is, the escape included.
func token(to *store, id uint64) string {
	return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(to.sc.typeID + "-" + strconv.FormatUint(id, 10))))
}

func readToken(to *store, v string) (uint64, bool) {
	if v == "" {
		return 0, true
	}
	raw, err := url.QueryUnescape(v)
	if err != nil || raw == v && strings.HasSuffix(v, "=") {
		return 0, false // it was unescaped on its way
	}
	b, err := base64.StdEncoding.DecodeString(raw)
	id, ok := strings.CutPrefix(string(b), to.sc.typeID+"-")
	n, bad := strconv.ParseUint(id, 10, 64)
	return n, ok && err == nil && bad == nil
}

// associations answers for up to a thousand records.
func (c *call) associations(from, to *store, v4 bool) {
	body, ok := c.body()
	if !ok || !c.allowed(to.sc.name) {
		return
	}
	if slices.Contains(c.s.o.NoAssociations, from.sc.name+"-"+to.sc.name) || slices.Contains(c.s.o.NoAssociations, to.sc.name+"-"+from.sc.name) {
		c.invalid(fmt.Sprintf("There are no associations between %s and %s", from.sc.singular, to.sc.singular))
		return
	}
	var in struct {
		Inputs []struct {
			ID    string `json:"id"`
			After string `json:"after"`
		} `json:"inputs"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		c.invalid("Invalid input JSON on line 1: " + err.Error())
		return
	}
	if len(in.Inputs) > maxAssociations {
		c.invalid(fmt.Sprintf("The maximum number of inputs supported is %d", maxAssociations))
		return
	}
	v, _ := c.s.side(from, to, false)
	types := associationTypes(from, to)
	var results [][]byte
	var missing []string
	for _, one := range in.Inputs {
		after, ok := readToken(to, one.After)
		if !ok {
			c.invalid("Invalid input: after is not a place in the associations of " + one.ID)
			return
		}
		id, state := from.stateOf(one.ID)
		es := v.of(id, after)
		if state != live && state != merged || len(es) == 0 && state != merged {
			missing = append(missing, one.ID)
			continue
		}
		if state == merged {
			es = nil
		}
		results = append(results, c.appendLinks(nil, to, one.ID, es, types, v4))
	}
	slices.SortFunc(results, func(a, b []byte) int {
		return cmp.Compare(mix(hashString(string(a[:min(len(a), 40)]))^c.draw), mix(hashString(string(b[:min(len(b), 40)]))^c.draw))
	})
	b := []byte(`{"status":"COMPLETE","results":[`)
	for i, r := range results {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, r...)
	}
	b = append(b, ']')
	status := 200
	if len(missing) > 0 && c.sw.missing != MissingSilent {
		if c.sw.missing == MissingAs207 {
			status = 207
		}
		b = c.appendUnlinked(b, from, to, missing)
	}
	at := string(appendTime(nil, c.now.UnixMilli()))
	c.reply(status, append(b, `,"startedAt":"`+at+`","completedAt":"`+at+`"}`...))
}

// appendLinks appends the associations of one record, a page of them.
func (c *call) appendLinks(b []byte, to *store, id string, es []edge, types []AssociationType, v4 bool) []byte {
	b = append(appendEscaped(append(b, `{"from":{"id":"`...), id), `"},"to":[`...)
	page := es[:min(len(es), c.s.o.AssociationPage)]
	b = append(appendEdges(b, page, types, v4), ']')
	if len(page) < len(es) {
		next := token(to, es[len(page)].to)
		b = append(b, `,"paging":{"next":{"after":"`+next+`","link":"https://api.hubapi.com/crm/v4/objects/?after=`+url.QueryEscape(next)+`"}}`...)
	}
	return append(b, '}')
}

func appendEdges(b []byte, es []edge, types []AssociationType, v4 bool) []byte {
	for i, e := range es {
		if i > 0 {
			b = append(b, ',')
		}
		if v4 {
			b = fmt.Appendf(b, `{"toObjectId":%d,"associationTypes":`, e.to)
		} else {
			b = fmt.Appendf(b, `{"toObjectId":"%d","associationTypes":`, e.to)
		}
		b = append(appendTypes(b, e.types(types)), '}')
	}
	return b
}

func appendTypes(b []byte, types []AssociationType) []byte {
	raw, _ := json.Marshal(types) // texts and numbers
	return append(b, raw...)
}

// appendUnlinked tells of the records that have none, an error each.
func (c *call) appendUnlinked(b []byte, from, to *store, ids []string) []byte {
	b = fmt.Appendf(b, `,"numErrors":%d,"errors":[`, len(ids))
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		f, t := strings.ToLower(from.sc.singular), strings.ToLower(to.sc.singular)
		b = append(b, `{"status":"error","category":"OBJECT_NOT_FOUND","subCategory":"crm.associations.NO_ASSOCIATIONS_FOUND","message":"No `+t+` is associated with `+f+` `...)
		b = append(appendEscaped(b, id), `.","context":{"fromObjectId":["`...)
		b = append(appendEscaped(b, id), `"],"fromObjectType":["`+f+`"],"toObjectType":["`+t+`"]}}`...)
	}
	return append(b, ']')
}

// stateOf is a record's number and state; purged for what there never was.
func (st *store) stateOf(id string) (uint64, state) {
	n, err := strconv.ParseUint(id, 10, 64)
	st.mu.RLock()
	defer st.mu.RUnlock()
	if r := st.find(n); err == nil && r != nil {
		return n, r.state
	}
	return n, purged
}

// allowed says whether the token may read something, and refuses if it may not.
func (c *call) allowed(what string) bool {
	scopes := c.sw.scopesMissing[what]
	if len(scopes) == 0 {
		return true
	}
	c.s.count.forbidden.Add(1)
	c.missingScopes(scopes)
	return false
}

// labels answers which labels a pair has.
func (c *call) labels(from, to *store) {
	if c.allowed(to.sc.name) {
		c.s.graphs.mu.RLock()
		all := c.s.graphs.labelsOf(from, to)
		c.s.graphs.mu.RUnlock()
		c.reply(200, append(appendTypes([]byte(`{"results":`), all), '}'))
	}
}

// linked answers for one record.
func (c *call) linked(from, to *store, id string, v4 bool) {
	q := c.r.URL.Query()
	n, err := maxLinked, error(nil)
	if v := q.Get("limit"); v != "" {
		n, err = strconv.Atoi(v)
	}
	after, ok := readToken(to, q.Get("after"))
	switch {
	case err != nil || n < 1 || n > maxLinked:
		c.invalid("Invalid input: limit has to be between 1 and 500")
		return
	case !ok:
		c.invalid("Invalid input: after is not a place in these associations")
		return
	case !c.allowed(to.sc.name):
		return
	}
	num, state := from.stateOf(id)
	if state == purged || state == archived {
		c.fail(404, "OBJECT_NOT_FOUND", "resource not found", "")
		return
	}
	v, _ := c.s.side(from, to, false)
	es := v.of(num, after)
	if state == merged {
		es = nil
	}
	page := es[:min(len(es), n)]
	b := append(appendEdges([]byte(`{"results":[`), page, associationTypes(from, to), v4), ']')
	if len(page) < len(es) {
		next := token(to, es[len(page)].to)
		b = append(b, `,"paging":{"next":{"after":"`+next+`","link":"https://api.hubapi.com`+c.r.URL.Path+`?after=`+url.QueryEscape(next)+`"}}`...)
	}
	c.reply(200, append(b, '}'))
}

// inline are the objects whose associations a list is to show; unknown ones
// are ignored.
func (c *call) inline(asked string) []*store {
	var out []*store
	for name := range strings.SplitSeq(asked, ",") {
		if st := c.s.object(strings.TrimSpace(name)); st != nil && !slices.Contains(out, st) {
			out = append(out, st)
		}
	}
	return out
}

// appendInlines appends the associations of a record as they stand in it: once
// for each label.
func (c *call) appendInlines(b []byte, st *store, it item, with []*store) []byte {
	b = append(b, `"associations":{`...)
	shown := 0
	for _, to := range with {
		v, _ := c.s.side(st, to, false)
		es := v.of(it.rec.id, 0)
		if len(es) == 0 || it.goneAt != 0 {
			continue
		}
		if shown++; shown > 1 {
			b = append(b, ',')
		}
		b = appendInline(b, st, to, it.rec.id, es)
	}
	return append(b, '}')
}

func appendInline(b []byte, from, to *store, id uint64, es []edge) []byte {
	name := to.sc.name
	if len(to.sc.paths) > 0 {
		name = to.sc.paths[len(to.sc.paths)-1]
	}
	b = append(b, `"`+name+`":{"results":[`...)
	page := es[:min(len(es), maxInline)]
	n := 0
	for _, e := range page {
		for bits := e.labels; bits != 0; bits &= bits - 1 {
			if n++; n > 1 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, `{"id":"%d","type":"%s_to_%s"}`, e.to, strings.ToLower(from.sc.singular), strings.ToLower(to.sc.singular))
		}
	}
	b = append(b, ']')
	if len(page) < len(es) {
		next := token(to, es[len(page)].to)
		b = fmt.Appendf(b, `,"paging":{"next":{"after":"%s","link":"https://api.hubapi.com/crm/v4/objects/%s/%d/associations/%s?after=%s"}}`,
			next, from.sc.name, id, name, url.QueryEscape(next))
	}
	return append(b, '}')
}

// changeAssociations is the control address of a pair.
func (c *call) changeAssociations(pair string) {
	var in AssociationChange
	if !c.decode(&in) {
		return
	}
	from, to, _ := strings.Cut(pair, "/")
	made, ended, err := c.s.ChangeAssociations(from, to, in)
	out := map[string]any{"associated": made, "dissociated": ended}
	switch {
	case errors.Is(err, ErrUnknownObject):
		c.json(404, map[string]string{"message": err.Error()})
	case err != nil:
		out["message"] = err.Error()
		c.json(400, out)
	default:
		c.json(200, out)
	}
}

// truthAssociations writes one association a line.
func (c *call) truthAssociations(pair string) {
	from, to, _ := strings.Cut(pair, "/")
	all := c.s.TruthAssociations(from, to)
	if all == nil {
		c.json(404, map[string]string{"message": "no such object"})
		return
	}
	writeLines(c, all)
}

// writeLines writes JSON, one value a line.
func writeLines[T any](c *call, all []T) {
	c.header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(c.w)
	for _, v := range all {
		if enc.Encode(v) != nil {
			return
		}
	}
}
