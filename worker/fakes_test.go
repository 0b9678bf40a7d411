package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hub is a HubSpot in memory: ids with versions, and a few habits of the real
// one that a test can switch on.
type hub struct {
	mu      sync.Mutex
	account int64
	now     int64
	records map[int]int64 // id: version
	names   []string
	big     map[int]int  // bytes of a record's text
	pasts   map[int]int  // how long a record's history is besides
	noise   map[int]int  // the same, of what does not pack
	missing map[int]bool // listed, and not handed out
	took    map[int]int  // how many others each says were merged into it
	lag     map[int]int  // so many reads still give the version less 5
	page    int
	onePage int                          // what one search shows
	has     map[string]func(id int) bool // who has a value of a property
	split   int                          // a window above it is split
	broken  int                          // so many windows do not add up
	// How places in the list are to be understood: as the next id, the last
	// one, or not at all; and from which page on ids are shuffled (0: never).
	exclusive, opaque bool
	round             int           // the id that the list leads to at its end, 0 for none
	old               map[int]int64 // the version that reads give, where it is an old one
	twice             bool          // search names what it has shown once more
	crowded           bool          // requests wait for the limit
	links             map[int]int   // with what each is associated
	untold            map[int]bool  // and of whom that is not told
	quiet             []string
	asks              bool // what it has not is gone for good
	shuffled          int
	listed            int
	calls             map[string]int
	fail              func(call string) error
	enter             func(ctx context.Context, call string)
}

func newHub(n int) *hub {
	h := &hub{account: 7, now: 1_000_000, records: map[int]int64{}, names: []string{"b", "a", "secret_x"},
		page: 10, onePage: 20, split: 1 << 30, calls: map[string]int{}}
	for i := range n {
		h.records[i+1] = int64(1000 + i)
	}
	return h
}

func (h *hub) change(id int, version int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records[id] = version
}

func (h *hub) called(call string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls[call]
}

// view is a Source of the hub for one attempt.
type view struct {
	h *hub
	n uint64
}

func (h *hub) portal(func(*protocol.Wait), func()) Source { return &view{h: h} }

func (v *view) call(ctx context.Context, name string) error {
	v.h.mu.Lock()
	v.h.calls[name]++
	v.n++
	fail, enter := v.h.fail, v.h.enter
	v.h.mu.Unlock()
	if enter != nil {
		enter(ctx, name)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if fail != nil {
		return fail(name)
	}
	return nil
}

func (v *view) Account(ctx context.Context) (protocol.Account, error) {
	return protocol.Account{ID: v.h.account}, v.call(ctx, "account")
}

func (v *view) Definitions(ctx context.Context, _ string) (Definitions, error) {
	err := v.call(ctx, "definitions")
	v.h.mu.Lock()
	defer v.h.mu.Unlock()
	return Definitions{Names: v.h.names, JSON: []byte(`[]`), AsOf: v.h.now}, err
}

func (v *view) record(id int, names []string) protocol.Record {
	r := protocol.Record{ID: strconv.Itoa(id), State: "live", Version: v.h.records[id], AsOf: v.h.now}
	if v.h.lag[id] > 0 {
		v.h.lag[id]--
		r.Version -= 5
	}
	text := strings.Join(names, ",")
	if n := v.h.big[id]; n > 0 {
		text = noise(id, n)
	}
	for i := range v.h.took[id] {
		r.Merged = append(r.Merged, strconv.Itoa(1000*id+i))
	}
	r.Properties, _ = json.Marshal(map[string]string{"text": text})
	r.Digest[0], r.Digest[1] = byte(r.Version), byte(r.Version>>8)
	return r
}

// noise is a text that does not pack.
func noise(id, n int) string {
	rng := rand.New(rand.NewPCG(1, uint64(id)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + rng.IntN(26))
	}
	return string(b)
}

// past is as long as the hub says, and names the version that it is of.
func (v *view) past(rec *protocol.Record, names []string) protocol.Part {
	id, _ := strconv.Atoi(rec.ID)
	text := strings.Repeat("x", v.h.pasts[id]) + strconv.FormatInt(rec.Version, 10)
	p := protocol.Part{ID: rec.ID, AsOf: rec.AsOf, Digest: [16]byte{2, byte(rec.Version)}}
	if n := v.h.noise[id]; n > 0 {
		text = noise(id, n)
	}
	p.Body, _ = json.Marshal(map[string]string{strings.Join(names, ","): text})
	return p
}

func (v *view) List(ctx context.Context, _, after string, names []string, archived bool) (ListPage, error) {
	if err := v.call(ctx, "list"); err != nil || archived {
		return ListPage{}, err
	}
	v.h.mu.Lock()
	defer v.h.mu.Unlock()
	from, _ := strconv.Atoi(strings.TrimPrefix(after, "o"))
	var p ListPage
	last := 0
	for _, id := range slices.Sorted(maps.Keys(v.h.records)) {
		if id < from || v.h.exclusive && id == from {
			continue
		}
		if len(p.Records) == v.h.page {
			p.Next = strconv.Itoa(id)
			if v.h.exclusive {
				p.Next = strconv.Itoa(last)
			}
			break
		}
		last = id
		if v.h.missing[id] && len(names) > 0 {
			p.Open = append(p.Open, protocol.OpenID{ID: strconv.Itoa(id), Version: v.h.records[id], Reason: "not handed out"})
			continue
		}
		p.Records = append(p.Records, v.record(id, names))
	}
	if p.Next == "" && v.h.round > 0 {
		p.Next = strconv.Itoa(v.h.round)
	}
	if v.h.opaque && p.Next != "" {
		p.Next = "o" + p.Next
	}
	if v.h.listed++; v.h.shuffled > 0 && v.h.listed >= v.h.shuffled {
		slices.Reverse(p.Records)
	}
	return p, nil
}

func (v *view) hits(w Window) []protocol.Listed {
	var out []protocol.Listed
	for _, id := range slices.Sorted(maps.Keys(v.h.records)) {
		has := len(w.Has) == 0 || slices.ContainsFunc(w.Has, func(name string) bool { return v.h.has[name] != nil && v.h.has[name](id) })
		if l := (protocol.Listed{ID: strconv.Itoa(id), Version: v.h.records[id]}); w.holds(l) && has {
			out = append(out, l)
		}
	}
	return out
}

func (v *view) SearchNewest(ctx context.Context, _ string, windows []Window) (Newest, error) {
	if err := v.call(ctx, "newest"); err != nil {
		return Newest{}, err
	}
	v.h.mu.Lock()
	defer v.h.mu.Unlock()
	n := Newest{Began: v.h.now - clockSlack}
	seen := map[string]bool{}
	for _, w := range windows {
		for _, l := range v.hits(w) {
			if !seen[l.ID] {
				seen[l.ID] = true
				n.Hits = append(n.Hits, l)
			}
		}
	}
	n.Total, n.Proved = len(n.Hits), len(n.Hits) <= v.h.onePage
	return n, nil
}

func (v *view) Count(ctx context.Context, _ string, w Window) (int, error) {
	if err := v.call(ctx, "count"); err != nil {
		return 0, err
	}
	v.h.mu.Lock()
	defer v.h.mu.Unlock()
	return len(v.hits(w)), nil
}

func (v *view) ProveWindow(ctx context.Context, _ string, w Window, emit func([]protocol.Listed) error) (*Split, error) {
	if err := v.call(ctx, "prove"); err != nil {
		return nil, err
	}
	hits, split, err := v.proof(w)
	for part := range slices.Chunk(hits, 50) {
		if v.h.twice {
			part = slices.Concat(part, part)
		}
		if err := emit(part); err != nil {
			return nil, err
		}
	}
	return split, err
}

// proof is what search says to a window: a part of it before it has to be
// split, or turns out to contradict itself.
func (v *view) proof(w Window) ([]protocol.Listed, *Split, error) {
	v.h.mu.Lock()
	defer v.h.mu.Unlock()
	hits := v.hits(w)
	if v.h.broken > 0 {
		v.h.broken--
		return hits[:len(hits)/2], nil, ErrDoesNotAddUp
	}
	if len(hits) <= v.h.split {
		return hits, nil, nil
	}
	some := slices.Clone(hits[:len(hits)/3])
	slices.SortFunc(hits, func(a, b protocol.Listed) int { return int(a.Version - b.Version) })
	if at := hits[len(hits)/2].Version; at > w.Lo {
		return some, &Split{At: at}, nil
	}
	id, _ := strconv.ParseUint(hits[len(hits)/2].ID, 10, 64)
	return some, &Split{ID: id}, nil
}

func (v *view) ReadAll(ctx context.Context, _ string, want []protocol.Listed, req ReadRequest, emit func([]protocol.Record, []protocol.Part) error) (Unread, error) {
	var open []protocol.OpenID
	var old []protocol.Record
	for part := range slices.Chunk(want, v.h.page) {
		if err := v.call(ctx, "read"); err != nil {
			return Unread{}, err
		}
		var out []protocol.Record
		var past []protocol.Part
		v.h.mu.Lock()
		for _, l := range part {
			id, _ := strconv.Atoi(l.ID)
			if _, ok := v.h.records[id]; !ok || v.h.missing[id] {
				open = append(open, protocol.OpenID{ID: l.ID, Version: l.Version, Reason: "not handed out"})
				continue
			}
			if at := v.h.old[id]; at != 0 {
				rec := v.record(id, req.Properties)
				if rec.Version = at; l.Version <= at {
					out = append(out, rec)
					continue
				}
				open = append(open, protocol.OpenID{ID: l.ID, Version: l.Version, Reason: "older than it was named"})
				old = append(old, rec)
				continue
			}
			out = append(out, v.record(id, req.Properties))
			if rec := &out[len(out)-1]; len(req.History) > 0 && rec.Version >= l.Version {
				past = append(past, v.past(rec, req.History))
			}
		}
		v.h.mu.Unlock()
		if err := emit(out, past); err != nil {
			return Unread{}, err
		}
	}
	if v.h.asks {
		return Unread{Gone: open}, nil
	}
	return Unread{Open: open, Old: old}, nil
}

func (v *view) Newest(context.Context, string) (uint64, error) {
	v.h.mu.Lock()
	defer v.h.mu.Unlock()
	return uint64(slices.Max(append(slices.Collect(maps.Keys(v.h.records)), 0))), nil
}

func (v *view) Associations(ctx context.Context, _ string, with, ids []string) ([]protocol.Part, error) {
	if err := v.call(ctx, "associations"); err != nil {
		return nil, err
	}
	v.h.mu.Lock()
	defer v.h.mu.Unlock()
	var out []protocol.Part
	for _, id := range ids {
		n, _ := strconv.Atoi(id)
		if v.h.untold[n] {
			continue
		}
		out = append(out, protocol.Part{ID: id, AsOf: v.h.now, Digest: [16]byte{1, byte(v.h.links[n])},
			Body: fmt.Appendf(nil, `{%q:[{"id":"%d"}]}`, with[0], v.h.links[n])})
	}
	return out, nil
}

func (v *view) Quiet(names []string) {
	v.h.mu.Lock()
	defer v.h.mu.Unlock()
	v.h.quiet = names
}

func (v *view) Rows(context.Context, string, RowsRequest) (RowsPage, error) {
	return RowsPage{}, errors.New("the hub has no rows")
}

func (v *view) Now() int64 {
	v.h.mu.Lock()
	defer v.h.mu.Unlock()
	return v.h.now
}

func (v *view) Crowded() bool { return v.h.crowded }

func (v *view) Requests() uint64 {
	v.h.mu.Lock()
	defer v.h.mu.Unlock()
	return v.n
}
