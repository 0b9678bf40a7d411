package simulator

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Merge says which records become one.
type Merge struct {
	Into  string   `json:"into"`   // the record whose values stay
	From  []string `json:"from"`   // those that are merged into it
	NewID bool     `json:"new_id"` // the survivor gets an id of its own, and Into is a loser too
}

// The properties in which a survivor names its losers; the second one is of
// contacts, with the time of each merge.
const (
	mergedIDs  = "hs_merged_object_ids"
	mergedVids = "hs_calculated_merged_vids"
)

// withMerges gives a schema of n properties those that tell of merges: in the
// place of made-up ones where there is room, else on top.
func withMerges(ps []property, n int, d definition) []property {
	tell := []property{{name: mergedIDs, kind: kindWord, fixed: true}}
	if d.name == "contacts" {
		tell = append(tell, property{name: mergedVids, kind: kindWord, fixed: true})
	}
	ps = ps[:n]
	if n >= trio+len(d.props)+8 {
		ps = ps[:n-len(tell)]
	}
	return append(ps, tell...)
}

// merge makes one record of several and returns the survivor's id, then the
// losers'.
func (st *store) merge(s *Simulator, m Merge, at int64, after *time.Duration) ([]string, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	names := append([]string{m.Into}, m.From...)
	recs := make([]*record, 0, len(names))
	for _, id := range names {
		n, err := strconv.ParseUint(id, 10, 64)
		r := st.find(n)
		if err != nil || r == nil || r.state != live || slices.Contains(recs, r) {
			return nil, fmt.Errorf("merge record %q: %w", id, ErrUnknownRecord)
		}
		recs = append(recs, r)
	}
	if len(m.From) == 0 {
		return nil, fmt.Errorf("merge nothing into record %q: %w", m.Into, ErrUnknownRecord)
	}
	survivor, losers := recs[0], recs[1:]
	if m.NewID {
		losers = recs
		survivor = &record{}
		st.identify(survivor)
		survivor.seed, survivor.created = recs[0].seed, recs[0].created
		survivor.cur = &version{over: slices.Clone(recs[0].cur.over), at: recs[0].cur.at}
		st.order = append(st.order, survivor)
	}
	now := st.now().UnixMilli()
	over := slices.Clone(survivor.cur.over)
	for _, r := range losers {
		if m.NewID { // others may be reading what it was made at
			survivor.created = min(survivor.created, r.created)
		}
		r.state, r.gone = merged, now
		st.merges[r.id] = survivor.id
		id := strconv.FormatUint(r.id, 10)
		over = st.tell(over, mergedIDs, id)
		over = st.tell(over, mergedVids, id+":"+strconv.FormatInt(now, 10))
	}
	st.push(s, survivor, over, at, after)
	if m.NewID {
		survivor.cur.prev = nil
	}
	ids := []string{strconv.FormatUint(survivor.id, 10)}
	for _, r := range losers {
		ids = append(ids, strconv.FormatUint(r.id, 10))
	}
	return ids, nil
}

// tell adds an entry to a property that is a list with semicolons, where the
// object has it.
func (st *store) tell(over []override, property, entry string) []override {
	i, ok := st.sc.index[property]
	if !ok {
		return over
	}
	v := entry
	for _, o := range over {
		if o.prop == i && o.value != nil && *o.value != "" {
			v = *o.value + ";" + entry
		}
	}
	return setOverride(over, i, &v)
}

// survivor is the record that an id stands for now: itself, or what the chain
// of its merges ends in. The store is locked.
func (st *store) survivor(id uint64) uint64 {
	for {
		next, ok := st.merges[id]
		if !ok {
			return id
		}
		id = next
	}
}

// survivorOf is the survivor of a record that was merged; "" for any other.
func (st *store) survivorOf(id string) string {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return ""
	}
	st.mu.RLock()
	defer st.mu.RUnlock()
	if s := st.survivor(n); s != n {
		return strconv.FormatUint(s, 10)
	}
	return ""
}

// withSurvivors puts survivors in the place of losers.
func (st *store) withSurvivors(ids []string) []string {
	out := slices.Clone(ids)
	for i, id := range ids {
		if s := st.survivorOf(id); s != "" {
			out[i] = s
		}
	}
	return out
}

// end archives, restores, purges or merges something, drawn.
func (st *store) end(s *Simulator) {
	move := func(what string, from, to state) {
		ids, _ := st.each(st.some(s, from, 1), st.mover(s, to))
		s.tell(st, what, ids, nil)
	}
	switch s.intN(4) {
	case 0:
		move("deletion", live, archived)
	case 1:
		move("restore", archived, live)
	case 2:
		move(st.purging(), archived, purged)
	default:
		if two := st.some(s, live, 2); len(two) == 2 {
			_, _ = s.merge(st, Merge{Into: two[0], From: two[1:], NewID: s.intN(2) == 0}, 0, nil)
		}
	}
}

// merge merges, and hands the losers' associations to the survivor.
func (s *Simulator) merge(st *store, m Merge, at int64, after *time.Duration) ([]string, error) {
	ids, err := st.merge(s, m, at, after)
	if err != nil {
		return nil, err
	}
	nums := make([]uint64, len(ids))
	for i, id := range ids {
		nums[i], _ = strconv.ParseUint(id, 10, 64) // written by the merge
	}
	s.moved(st, nums[0], nums[1:])
	s.tellMerge(st, ids)
	return ids, nil
}

// purging is the event of a record that goes for good: of a contact, that its
// privacy was asked for; of others HubSpot has none but that of the recycle bin.
func (st *store) purging() string {
	if st.sc.name == "contacts" {
		return "privacyDeletion"
	}
	return "deletion"
}

// some are up to n records in a state, drawn; fewer where they are rare.
func (st *store) some(s *Simulator, want state, n int) []string {
	st.mu.RLock()
	defer st.mu.RUnlock()
	var ids []string
	if len(st.order) == 0 {
		return nil
	}
	at := s.intN(len(st.order))
	for i := 0; i < len(st.order) && len(ids) < n; i++ {
		if r := st.order[(at+i*i)%len(st.order)]; r.state == want {
			if id := strconv.FormatUint(r.id, 10); !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
