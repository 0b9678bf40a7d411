package simulator

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// edge is one end of an association: the record at the other end, and which of
// the pair's labels it has, a bit each.
type edge struct {
	to     uint64
	labels uint8
}

// edges are associations by the record that they belong to, each ascending.
type edges map[uint64][]edge

// graph holds the associations of a pair of objects, in both directions. It
// knows nothing of states: whoever reads leaves out what is not live.
type graph struct {
	from, to *store

	mu      sync.RWMutex // guards out and in, which are one where a pair is of one object
	out, in edges
}

// graphs are those of all pairs that have any.
type graphs struct {
	mu     sync.RWMutex // guards all below
	all    []*graph
	labels map[[2]*store][]string // those that the portal has made besides
}

// side is a graph seen from one of its objects.
type side struct {
	*graph
	reversed bool
}

// side finds the graph of a pair; with create it makes one that is empty.
func (s *Simulator) side(from, to *store, create bool) (side, bool) {
	s.graphs.mu.RLock()
	found, ok := s.graphs.find(from, to)
	s.graphs.mu.RUnlock()
	if ok || !create {
		return found, ok
	}
	s.graphs.mu.Lock()
	defer s.graphs.mu.Unlock()
	if found, ok := s.graphs.find(from, to); ok {
		return found, true
	}
	g := &graph{from: from, to: to, out: edges{}, in: edges{}}
	if from == to {
		g.in = g.out
	}
	s.graphs.all = append(s.graphs.all, g)
	return side{g, false}, true
}

func (gs *graphs) find(from, to *store) (side, bool) {
	for _, g := range gs.all {
		if g.from == from && g.to == to {
			return side{g, false}, true
		}
		if g.from == to && g.to == from {
			return side{g, true}, true
		}
	}
	return side{}, false
}

// heavy is how many records there are for one that has many times as many
// associations as the others.
const heavy, heavyTimes = 200, 20

// populate draws the associations that the options ask for. The same seed and
// sizes give the same ones.
func (s *Simulator) populate(averages map[string]float64) {
	for _, a := range s.names {
		for _, b := range s.names {
			average, ok := averages[a+"-"+b]
			from, to := s.stores[a], s.stores[b]
			if !ok || average <= 0 || len(to.order) == 0 {
				continue
			}
			g, _ := s.side(from, to, true)
			salt := mix(from.sc.salt ^ to.sc.salt<<1)
			for _, r := range from.order {
				h := mix(r.id ^ salt)
				mean := average / (1 + (heavyTimes-1)/float64(heavy))
				if h%heavy == 0 {
					mean *= heavyTimes
				}
				n := int(mean + float64(mix(h)>>11)/(1<<53))
				for k := range min(n, len(to.order)) {
					d := mix(h + uint64(k))
					g.link(r.id, to.order[d%uint64(len(to.order))].id, drawLabels(d>>40, k))
				}
			}
		}
	}
}

// drawLabels makes the first association the primary one, and gives some a
// label that people have made.
func drawLabels(d uint64, place int) uint8 {
	labels := uint8(1)
	if place == 0 {
		labels |= 2
	}
	if d%4 == 0 {
		labels |= 4
	}
	if d%11 == 0 {
		labels |= 8
	}
	return labels
}

func (e edges) put(from, to uint64, labels uint8) {
	es := e[from]
	i, ok := slices.BinarySearchFunc(es, to, func(x edge, to uint64) int { return cmp.Compare(x.to, to) })
	if ok {
		es[i].labels |= labels
		return
	}
	e[from] = slices.Insert(es, i, edge{to, labels})
}

func (e edges) drop(from, to uint64) (uint8, bool) {
	es := e[from]
	i, ok := slices.BinarySearchFunc(es, to, func(x edge, to uint64) int { return cmp.Compare(x.to, to) })
	if !ok {
		return 0, false
	}
	labels := es[i].labels
	if e[from] = slices.Delete(es, i, i+1); len(es) == 1 {
		delete(e, from)
	}
	return labels, true
}

func (v side) ends(from, to uint64) (uint64, uint64) {
	if v.reversed {
		return to, from
	}
	return from, to
}

// link associates two records; labels add to those that there are.
func (v side) link(from, to uint64, labels uint8) {
	from, to = v.ends(from, to)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.out.put(from, to, labels)
	v.in.put(to, from, labels)
}

// unlink says whether there was an association to end.
func (v side) unlink(from, to uint64) bool {
	from, to = v.ends(from, to)
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.out.drop(from, to)
	v.in.drop(to, from)
	return ok
}

// of returns a record's associations with live records, from an id on.
func (v side) of(id, after uint64) []edge {
	if v.graph == nil {
		return nil
	}
	v.mu.RLock()
	es := v.out[id]
	other := v.to
	if v.reversed {
		es, other = v.in[id], v.from
	}
	es = slices.Clone(es)
	v.mu.RUnlock()
	other.mu.RLock()
	defer other.mu.RUnlock()
	return slices.DeleteFunc(es, func(e edge) bool {
		r := other.find(e.to)
		return e.to < after || r == nil || r.state != live
	})
}

// moved gives the survivor of a merge what its losers were associated with.
func (s *Simulator) moved(st *store, survivor uint64, losers []uint64) {
	s.graphs.mu.RLock()
	all := slices.Clone(s.graphs.all)
	s.graphs.mu.RUnlock()
	for _, g := range all {
		for _, v := range []side{{g, false}, {g, true}} {
			if v.reversed && g.to != st || !v.reversed && g.from != st {
				continue
			}
			for _, loser := range losers {
				v.move(loser, survivor)
			}
		}
	}
}

func (v side) move(from, to uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	mine, theirs := v.out, v.in
	if v.reversed {
		mine, theirs = theirs, mine
	}
	for _, e := range slices.Clone(mine[from]) {
		mine.drop(from, e.to)
		theirs.drop(e.to, from)
		if e.to != to {
			mine.put(to, e.to, e.labels)
			theirs.put(e.to, to, e.labels)
		}
	}
}

// AssociationType is a label of an association, as HubSpot writes it.
type AssociationType struct {
	Category string  `json:"category"`
	TypeID   int     `json:"typeId"`
	Label    *string `json:"label"` // null for the one that every association has
}

// associationTypes are the labels of a pair, in the order of an edge's bits.
// A direction has numbers of its own.
func associationTypes(from, to *store) []AssociationType {
	base := int(hashString(from.sc.name+">"+to.sc.name) % 9000)
	label := func(s string) *string { return &s }
	return []AssociationType{
		{"HUBSPOT_DEFINED", 1000 + base, nil},
		{"HUBSPOT_DEFINED", 11000 + base, label("Primary")},
		{"USER_DEFINED", 21 + base%50, label(`Decision maker, "final" say`)},
		{"USER_DEFINED", 81 + base%50, label("Billing; accounts")},
	}
}

// madeLabel is the number of the first label that a portal makes.
const madeLabel = 501

// labelsOf are the labels of a pair with those that the portal has made. The
// graphs are locked, for reading at least.
func (gs *graphs) labelsOf(from, to *store) []AssociationType {
	all := associationTypes(from, to)
	for i, name := range gs.labels[[2]*store{from, to}] {
		if name != "" {
			all = append(all, AssociationType{"USER_DEFINED", madeLabel + i, &name})
		}
	}
	return all
}

// ChangeLabels makes a label of a pair of objects, gives it another name, or
// takes it away, which an empty name does; n counts those that were made, from
// 0. No record has such a label.
func (s *Simulator) ChangeLabels(from, to string, n int, name string) error {
	a, b := s.stores[from], s.stores[to]
	if a == nil || b == nil {
		return fmt.Errorf("change labels of %s and %s: %w", from, to, ErrUnknownObject)
	}
	s.graphs.mu.Lock()
	defer s.graphs.mu.Unlock()
	pair := [2]*store{a, b}
	if s.graphs.labels == nil {
		s.graphs.labels = map[[2]*store][]string{}
	}
	for len(s.graphs.labels[pair]) <= n {
		s.graphs.labels[pair] = append(s.graphs.labels[pair], "")
	}
	s.graphs.labels[pair][n] = name
	return nil
}

func (e edge) types(all []AssociationType) []AssociationType {
	var out []AssociationType
	for i, t := range all {
		if e.labels>>i&1 == 1 {
			out = append(out, t)
		}
	}
	return out
}

// Link names two records, and a label of their pair.
type Link struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Label string `json:"label,omitempty"`
}

// AssociationChange says which records are linked and which are not any more;
// the parts are done in the order of the fields. No modification time changes.
type AssociationChange struct {
	Associate  []Link `json:"associate"`
	Dissociate []Link `json:"dissociate"`
	Storm      int    `json:"storm"`      // so many links between drawn live records
	StormFrom  string `json:"storm_from"` // all of the storm from this record
}

// ErrUnknownLabel says that a pair has no such label.
var ErrUnknownLabel = errors.New("no such label")

// ChangeAssociations changes the associations of a pair of objects and returns
// how many links were made and ended. Where a record or label does not exist it
// stops there, and what came before stays done.
func (s *Simulator) ChangeAssociations(from, to string, c AssociationChange) (made, ended int, err error) {
	a, b := s.object(from), s.object(to)
	if a == nil || b == nil {
		return 0, 0, fmt.Errorf("associate %q with %q: %w", from, to, ErrUnknownObject)
	}
	v, _ := s.side(a, b, true)
	for _, l := range c.Associate {
		x, y, labels, err := readLink(a, b, l)
		if err != nil {
			return made, ended, err
		}
		v.link(x, y, labels)
		s.tellLink(a, b, x, y, false)
		made++
	}
	for _, l := range c.Dissociate {
		x, y, _, err := readLink(a, b, l)
		if err != nil {
			return made, ended, err
		}
		if v.unlink(x, y) {
			s.tellLink(a, b, x, y, true)
			ended++
		}
	}
	n, err := s.storm(v, a, b, c)
	return made + n, ended, err
}

func readLink(a, b *store, l Link) (from, to uint64, labels uint8, err error) {
	if from, err = a.existing(l.From); err != nil {
		return
	}
	if to, err = b.existing(l.To); err != nil {
		return
	}
	labels = 1
	if l.Label == "" {
		return
	}
	for i, t := range associationTypes(a, b) {
		if t.Label != nil && strings.EqualFold(*t.Label, l.Label) {
			return from, to, labels | 1<<i, nil
		}
	}
	return from, to, 0, fmt.Errorf("label %q: %w", l.Label, ErrUnknownLabel)
}

// existing is the id of a record that has neither been purged nor merged.
func (st *store) existing(id string) (uint64, error) {
	n, err := strconv.ParseUint(id, 10, 64)
	st.mu.RLock()
	defer st.mu.RUnlock()
	if r := st.find(n); err != nil || r == nil || r.state >= purged {
		return 0, fmt.Errorf("record %q: %w", id, ErrUnknownRecord)
	}
	return n, nil
}

// storm links drawn records.
func (s *Simulator) storm(v side, a, b *store, c AssociationChange) (int, error) {
	made := 0
	for i := range c.Storm {
		from := []string{c.StormFrom}
		if c.StormFrom == "" {
			from = a.some(s, live, 1)
		}
		to := b.some(s, live, 1)
		if len(from) == 0 || len(to) == 0 {
			break
		}
		x, y, _, err := readLink(a, b, Link{From: from[0], To: to[0]})
		if err != nil {
			return made, err
		}
		v.link(x, y, drawLabels(uint64(i), 1))
		s.tellLink(a, b, x, y, false)
		made++
	}
	return made, nil
}

// relink makes or ends one association of a drawn pair.
func (s *Simulator) relink() {
	s.graphs.mu.RLock()
	all := s.graphs.all
	s.graphs.mu.RUnlock()
	if len(all) == 0 {
		return
	}
	g := all[s.intN(len(all))]
	v := side{g, false}
	if from := g.from.some(s, live, 1); s.intN(2) == 0 && len(from) == 1 {
		n, _ := strconv.ParseUint(from[0], 10, 64)
		if es := v.of(n, 0); len(es) > 0 {
			to := es[s.intN(len(es))].to
			v.unlink(n, to)
			s.tellLink(g.from, g.to, n, to, true)
			return
		}
	}
	_, _ = s.storm(v, g.from, g.to, AssociationChange{Storm: 1})
}

// Association is a link between two live records as it truly is.
type Association struct {
	From  string            `json:"from"`
	To    string            `json:"to"`
	Types []AssociationType `json:"types"`
}

// TruthAssociations returns the links of a pair whose records are both live,
// in the order of ids; nil for objects that do not exist.
func (s *Simulator) TruthAssociations(from, to string) []Association {
	a, b := s.object(from), s.object(to)
	if a == nil || b == nil {
		return nil
	}
	out := []Association{}
	v, ok := s.side(a, b, false)
	if !ok {
		return out
	}
	types := associationTypes(a, b)
	for _, id := range a.liveIDs() {
		for _, e := range v.of(id, 0) {
			out = append(out, Association{From: strconv.FormatUint(id, 10), To: strconv.FormatUint(e.to, 10), Types: e.types(types)})
		}
	}
	return out
}

func (st *store) liveIDs() []uint64 {
	st.mu.RLock()
	defer st.mu.RUnlock()
	ids := make([]uint64, 0, len(st.order))
	for _, r := range st.order {
		if r.state == live {
			ids = append(ids, r.id)
		}
	}
	return ids
}
