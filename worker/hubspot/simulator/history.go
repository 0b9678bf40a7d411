package simulator

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxWithHistory bounds a page of records with the history of properties.
const maxWithHistory = 50

// maxPast is how many changes of a record are remembered.
const maxPast = 200

// pastValue is a value that a property was given.
type pastValue struct {
	prop  int
	value *string
	at    int64
}

// remember keeps what a new version changes, for its history. The store is
// locked.
func (st *store) remember(r *record, next *version) {
	for _, o := range next.over {
		if before, ok := r.cur.override(o.prop); ok && before == o.value {
			continue
		}
		past := append(st.past[r.id], pastValue{o.prop, o.value, next.at})
		st.past[r.id] = past[max(0, len(past)-maxPast):]
	}
}

// historyOf are the properties whose history is asked for; unknown ones are
// ignored.
func (st *store) historyOf(names string) []int {
	var out []int
	for n := range strings.SplitSeq(names, ",") {
		if i, ok := st.sc.index[n]; ok && !slices.Contains(out, i) {
			out = append(out, i)
		}
	}
	return out
}

// appendHistory appends the values that properties have had, newest first.
// What is calculated was always calculated just now.
func (st *store) appendHistory(b []byte, it item, props []int, now int64) []byte {
	st.mu.RLock()
	past := slices.Clone(st.past[it.rec.id])
	st.mu.RUnlock()
	b = append(b, `"propertiesWithHistory":{`...)
	for k, i := range props {
		p := &st.sc.props[i]
		if k > 0 {
			b = append(b, ',')
		}
		b = append(append(b, p.key[1:]...), '[')
		n := 0
		entry := func(value *string, at int64, source string) {
			if n++; n > 1 {
				b = append(b, ',')
			}
			v := ""
			if value != nil {
				v = *value
			}
			b = append(appendEscaped(append(b, `{"value":"`...), v), `","timestamp":"`...)
			b = append(appendTime(b, at), `","sourceType":"`+source+`","sourceId":"userId:7","updatedByUserId":7}`...)
		}
		switch {
		case p.fixed || p.calculated:
			entry(st.sc.text(it.rec, it.ver, i), now, "CALCULATED")
		case i < trio:
			entry(st.sc.text(it.rec, it.ver, i), it.ver.at, "CRM_UI")
		default:
			for _, v := range slices.Backward(past) {
				if v.prop == i && v.at <= it.ver.at {
					entry(v.value, v.at, "CRM_UI")
				}
			}
			if first, ok := st.sc.value(nil, it.rec.seed, i); ok {
				value := string(first)
				entry(&value, it.rec.created, "IMPORT")
			}
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// rich is what a record may show beside its properties.
type rich struct {
	with    []*store // objects whose associations are shown
	history []int    // properties whose history is shown
}

// asked reads what a list or a single read is to show.
func (c *call) asked(st *store, associations, history string) rich {
	return rich{c.inline(associations), st.historyOf(history)}
}

func (r rich) plain() bool { return len(r.with)+len(r.history) == 0 }

// appendRich appends records with their associations and history in them.
func (c *call) appendRich(b []byte, st *store, p *plan, items []item, r rich) []byte {
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = p.appendItem(b, it)
		b = b[:len(b)-1]
		if len(r.history) > 0 {
			b = st.appendHistory(append(b, ','), it, r.history, c.now.UnixMilli())
		}
		if len(r.with) > 0 {
			b = c.appendInlines(append(b, ','), st, it, r.with)
		}
		b = append(b, '}')
	}
	return b
}

// truthOfHistory writes what the properties of all records that are still
// there have been, one record a line.
func (c *call) truthOfHistory(object string) {
	st := c.s.stores[object]
	if st == nil {
		c.json(404, map[string]string{"message": "no such object"})
		return
	}
	c.header().Set("Content-Type", "application/x-ndjson")
	w := bufio.NewWriter(c.w)
	c.s.schemaMu.RLock()
	defer c.s.schemaMu.RUnlock()
	props := st.historyOf(names(c.r.URL.Query(), "properties"))
	for from := uint64(0); ; {
		items, next := st.list(from, 500, live, archived)
		for _, it := range items {
			b := fmt.Appendf(nil, `{"id":%q,`, strconv.FormatUint(it.rec.id, 10))
			b = st.appendHistory(b, it, props, c.now.UnixMilli())
			_, _ = w.Write(append(b, "}\n"...))
		}
		if from = next; next == 0 {
			break
		}
	}
	_ = w.Flush()
}
