package simulator

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

type state uint8

const (
	live state = iota
	archived
	purged
	merged
)

func (s state) String() string {
	return [...]string{"live", "archived", "purged", "merged"}[s]
}

// override is a value that was changed after the record was made.
type override struct {
	prop  int
	value *string
}

// version is a record at a time. Only prev is ever written again, under the
// store's lock.
type version struct {
	at      int64 // modification time, ms
	made    int64 // when it was made by the simulator's clock, ms
	visible int64 // from when on search sees it, ms
	first   bool  // as the simulator made it at the start
	over    []override
	prev    *version
}

func (v *version) override(prop int) (*string, bool) {
	for i := range v.over {
		if v.over[i].prop == prop {
			return v.over[i].value, true
		}
	}
	return nil, false
}

// record is one record. id, seed and created never change.
type record struct {
	id, seed uint64
	created  int64
	cur      *version
	state    state
	gone     int64 // when it was archived, purged or merged, ms
}

// item is the newest version.
func (r *record) item() item {
	it := item{rec: r, ver: r.cur}
	if r.state != live {
		it.goneAt = r.gone
	}
	return it
}

// searched is the version that search sees at a time; nil while it sees none.
func (r *record) searched(now int64) *version {
	v := r.cur
	for v != nil && v.visible > now {
		v = v.prev
	}
	return v
}

// stale is the version that a replica which lags may still have, or the oldest;
// made says whether it has the record at all.
func (r *record) stale(now, staleFor int64) (v *version, made bool) {
	v = r.cur
	for v.prev != nil && now-v.made < staleFor {
		v = v.prev
	}
	return v, now-v.made >= staleFor
}

// store holds the records of an object.
type store struct {
	sc          *schema
	now         func() time.Time
	staleFor    int64
	preRendered bool

	mu    sync.RWMutex // guards all below and what the records point to
	order []*record    // by id
	size0 int          // how many there were at the start
	drawn uint64       // records made so far
	// merges says what each record that was merged has become.
	merges map[uint64]uint64
	unseen map[uint64]bool // what search never shows

	neverShare float64
	past       map[uint64][]pastValue // of each record, what its properties were given

	plansMu sync.Mutex // guards plans
	plans   map[string]*plan
}

// templates is how many different records there are in pre-rendered mode.
const templates = 256

func newStore(d definition, o Options) *store {
	st := &store{
		sc: newSchema(d, o), now: o.Now, staleFor: o.StaleFor.Milliseconds(),
		preRendered: o.PreRendered, plans: make(map[string]*plan), merges: make(map[uint64]uint64),
		unseen: make(map[uint64]bool), past: make(map[uint64][]pastValue), neverShare: o.SearchNever,
	}
	n := o.Sizes[d.name]
	st.size0 = n
	// The past ends on a fixed day, so that a seed means the same records on
	// every day.
	end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	if now := o.Now().UnixMilli(); now-3600_000 < end {
		end = now - 3600_000
	}
	recs, vers := make([]record, n), make([]version, n)
	st.order = make([]*record, n, n+n/8+16)
	for i := range n {
		r := &recs[i]
		st.identify(r)
		h := mix(r.seed ^ st.sc.salt)
		at := end - int64(h%(365*dayMS))
		if h>>50%8 == 0 {
			// Jobs and bulk edits stamp many records with one millisecond.
			at = end - int64(1+h>>32%5)*11*dayMS
		}
		r.created = at - int64(mix(h)%(700*dayMS))
		vers[i] = version{at: at, made: at, visible: at, first: true}
		if st.unseeable(r) {
			vers[i].visible = never
		}
		r.cur = &vers[i]
		st.order[i] = r
	}
	return st
}

// identify gives the next record its id and seed: ids grow, are sparse, and
// become longer twice on the way through a store.
func (st *store) identify(r *record) {
	i := st.drawn
	st.drawn++
	last := uint64(50)
	if i > 0 {
		last = st.last(i)
	}
	r.id = last + 1 + mix(st.sc.salt+i)%9
	switch n := uint64(st.size0); {
	case i == n/4 && n >= 4:
		r.id += 400_000
	case i == n/2 && n >= 4:
		r.id += 12_000_000_000
	}
	r.seed = mix(st.sc.salt ^ r.id)
	if st.preRendered && i < uint64(st.size0) {
		r.seed = i % templates
	}
}

func (st *store) last(i uint64) uint64 {
	if r := st.order[i-1]; r != nil {
		return r.id
	}
	return 0
}

func (st *store) size() int {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return len(st.order)
}

// from is the place of the first record with this id or a greater one.
func (st *store) from(id uint64) int {
	i, _ := slices.BinarySearchFunc(st.order, id, func(r *record, id uint64) int {
		switch {
		case r.id < id:
			return -1
		case r.id > id:
			return 1
		}
		return 0
	})
	return i
}

func (st *store) find(id uint64) *record {
	if i := st.from(id); i < len(st.order) && st.order[i].id == id {
		return st.order[i]
	}
	return nil
}

func (st *store) visible(s *Simulator, r *record, now int64, after *time.Duration) int64 {
	if st.unseeable(r) {
		return never
	}
	if after != nil {
		return now + after.Milliseconds()
	}
	return now + s.lateness().Milliseconds()
}

func (st *store) create(s *Simulator, n int, at int64, after *time.Duration) []string {
	st.mu.Lock()
	defer st.mu.Unlock()
	ids := make([]string, 0, n)
	for range n {
		now := st.now().UnixMilli()
		r := &record{}
		st.identify(r)
		r.created = now
		if at != 0 {
			r.created = min(now, at)
		}
		r.cur = &version{at: max(at, r.created), made: now, visible: st.visible(s, r, now, after)}
		st.order = append(st.order, r)
		ids = append(ids, strconv.FormatUint(r.id, 10))
	}
	return ids
}

// changeRandom changes a few values of n live records; n above the number of
// live records changes each of them once.
func (st *store) changeRandom(s *Simulator, n int, at int64, after *time.Duration) []string {
	st.mu.Lock()
	defer st.mu.Unlock()
	var ids []string
	done := make(map[*record]bool, min(n, len(st.order)))
	for try := 0; len(ids) < n && try < 20*n && len(done) < len(st.order); try++ {
		r := st.order[s.intN(len(st.order))]
		if done[r] {
			continue
		}
		done[r] = true
		if r.state != live {
			continue
		}
		st.redraw(s, r, at, after)
		ids = append(ids, strconv.FormatUint(r.id, 10))
	}
	for _, r := range st.order {
		if len(ids) >= n {
			break
		}
		if r.state == live && !done[r] {
			st.redraw(s, r, at, after)
			ids = append(ids, strconv.FormatUint(r.id, 10))
		}
	}
	return ids
}

func (st *store) redraw(s *Simulator, r *record, at int64, after *time.Duration) {
	over := slices.Clone(r.cur.over)
	if free := len(st.sc.props) - trio; free > 0 {
		for range 1 + s.intN(3) {
			i := trio + s.intN(free)
			if st.sc.props[i].fixed {
				continue
			}
			v := string(appendDrawn(nil, st.sc.props[i].kind, mix(uint64(s.intN(1<<62)))))
			over = setOverride(over, i, &v)
		}
	}
	st.push(s, r, over, at, after)
}

func setOverride(over []override, prop int, v *string) []override {
	for i := range over {
		if over[i].prop == prop {
			over[i].value = v
			return over
		}
	}
	return append(over, override{prop, v})
}

// push makes a new version and drops those that nobody can see any more.
func (st *store) push(s *Simulator, r *record, over []override, at int64, after *time.Duration) {
	now := st.now().UnixMilli()
	if at == 0 {
		at = max(now, r.cur.at+1)
	}
	next := &version{at: at, made: now, visible: st.visible(s, r, now, after), over: over, prev: r.cur}
	st.remember(r, next)
	r.cur = next
	for v := r.cur; v.prev != nil; v = v.prev {
		if v.visible <= now && now-v.made >= st.staleFor {
			v.prev = nil
			break
		}
	}
}

// each does something to the records with these ids.
func (st *store) each(ids []string, do func(*record) error) ([]string, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	var out []string
	for _, id := range ids {
		n, err := strconv.ParseUint(id, 10, 64)
		r := st.find(n)
		if err != nil || r == nil || r.state >= purged {
			return out, fmt.Errorf("record %q: %w", id, ErrUnknownRecord)
		}
		if err := do(r); err != nil {
			return out, err
		}
		out = append(out, id)
	}
	return out, nil
}

// setter returns what gives a record the properties of a change; without any
// it draws some.
func (st *store) setter(s *Simulator, c Change) func(*record) error {
	return func(r *record) error {
		if len(c.Properties) == 0 {
			st.redraw(s, r, c.At, c.VisibleAfter)
			return nil
		}
		over := slices.Clone(r.cur.over)
		for name, v := range c.Properties {
			i, ok := st.sc.index[name]
			if !ok || i < trio {
				return fmt.Errorf("property %q: %w", name, ErrUnknownProperty)
			}
			over = setOverride(over, i, v)
		}
		st.push(s, r, over, c.At, c.VisibleAfter)
		return nil
	}
}

func (st *store) mover(s *Simulator, to state) func(*record) error {
	return func(r *record) error {
		if r.state == to {
			return nil
		}
		r.state, r.gone = to, st.now().UnixMilli()
		if to == live && !s.switches.Load().restoreKeepsTime {
			st.push(s, r, r.cur.over, 0, nil)
		}
		return nil
	}
}

func (st *store) truth() []Object {
	st.mu.RLock()
	defer st.mu.RUnlock()
	out := make([]Object, 0, len(st.order))
	for _, r := range st.order {
		o := Object{
			ID: strconv.FormatUint(r.id, 10), State: r.state.String(),
			UpdatedAt: time.UnixMilli(r.cur.at).UTC(), Properties: map[string]*string{},
		}
		if r.state == merged {
			o.MergedInto = strconv.FormatUint(st.merges[r.id], 10)
		}
		if r.state == archived {
			gone := time.UnixMilli(r.gone).UTC()
			o.ArchivedAt = &gone
		}
		for i := range st.sc.props {
			if r.state < purged && !st.sc.props[i].hidden {
				o.Properties[st.sc.props[i].name] = st.sc.text(r, r.cur, i)
			}
		}
		out = append(out, o)
	}
	return out
}

// list is up to n records from an id on, and the id of the one that follows.
// Records in the other state are given as well.
func (st *store) list(from uint64, n int, want, other state) (items []item, next uint64) {
	st.mu.RLock()
	defer st.mu.RUnlock()
	items = make([]item, 0, n)
	for _, r := range st.order[st.from(from):] {
		if r.state != want && r.state != other {
			continue
		}
		if len(items) == n {
			return items, r.id
		}
		items = append(items, r.item())
	}
	return items, 0
}
