// Package simulator is a HubSpot to develop, test and demo against. It is
// strict where HubSpot is strict: limits, late and unordered search, offsets
// that shift, replicas that lag, and faults.
package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say what the simulated account is like. Zero values are a quiet
// account without limits.
type Options struct {
	Token          string
	Seed           uint64
	Sizes          map[string]int // records by object
	Properties     int            // by object, the standard ones included (40)
	ChangeRate     float64        // changes a second over all objects
	Latency        time.Duration
	SearchLateness time.Duration // at most; drawn for each change
	FaultRate      float64       // share of requests that fail
	StaleReads     float64       // share of batch reads that come from a replica
	StaleFor       time.Duration
	Limits         bool
	BurstPer10s    int // 190
	SearchPerSec   int // 5
	Daily          int // 625,000
	MaxURL         int // 8,000
	PortalID       int64
	Now            func() time.Time
}

// Stats count what was asked and refused.
type Stats struct {
	Requests  map[string]int `json:"requests"`
	OverLimit int            `json:"over_limit"`
	Faults    int            `json:"faults"`
}

// record is one simulated object.
type record struct {
	id       uint64
	created  int64
	modified int64
	values   []string // by property; "\x00" is null
	state    string
	// what search and a lagging replica still see
	old      *record
	seenAt   int64 // when search sees this version
	replicaT int64 // when replicas have it
}

type object struct {
	name    string
	cursor  string
	props   []property
	records map[uint64]*record
	ids     []uint64 // sorted
	nextID  uint64
}

type property struct {
	Name      string `json:"name"`
	Label     string `json:"label"`
	Type      string `json:"type"`
	FieldType string `json:"fieldType"`
	Group     string `json:"groupName"`
}

const null = "\x00"

// Simulator is one account.
type Simulator struct {
	o Options

	mu      sync.Mutex
	rng     *rand.Rand
	objects map[string]*object
	stats   Stats
	burst   []int64
	search  []int64
	day     int

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// New makes an account with its records; the same options give the same one.
func New(o Options) *Simulator {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Properties, 40)
	def(&o.BurstPer10s, 190)
	def(&o.SearchPerSec, 5)
	def(&o.Daily, 625000)
	def(&o.MaxURL, 8000)
	if o.PortalID == 0 {
		o.PortalID = 62515
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.StaleFor == 0 {
		o.StaleFor = 3 * time.Second
	}
	s := &Simulator{o: o, rng: rand.New(rand.NewPCG(o.Seed, 1)), objects: map[string]*object{}, stats: Stats{Requests: map[string]int{}}}
	now := o.Now().UnixMilli()
	for _, name := range []string{"contacts", "companies", "deals", "tickets"} {
		ob := newObject(name, o.Properties)
		s.objects[name] = ob
		for range o.Sizes[name] {
			age := 600_000 + s.rng.Int64N(90*24*3600*1000)
			// Ties: HubSpot stamps many records of a batch alike.
			s.create(ob, (now-age)/50*50)
		}
		for _, r := range ob.records {
			r.old, r.seenAt, r.replicaT = nil, 0, 0
		}
	}
	return s
}

func newObject(name string, n int) *object {
	ob := &object{name: name, cursor: "hs_lastmodifieddate", records: map[uint64]*record{}, nextID: 95}
	std := []string{"name", "hs_object_id", "createdate", "hs_lastmodifieddate"}
	if name == "contacts" {
		ob.cursor = "lastmodifieddate"
		std = []string{"email", "hs_object_id", "createdate", "lastmodifieddate"}
	}
	for i := range max(n, len(std)) {
		p := property{Name: fmt.Sprintf("custom_property_%03d", i), Type: "string", FieldType: "text", Group: name + "information"}
		switch {
		case i < len(std):
			p.Name = std[i]
			if strings.HasSuffix(p.Name, "date") {
				p.Type, p.FieldType = "datetime", "date"
			}
		case i%5 == 1:
			p.Type, p.FieldType = "number", "number"
		case i%5 == 2:
			p.Type, p.FieldType = "enumeration", "checkbox"
		}
		p.Label = strings.ReplaceAll(p.Name, "_", " ")
		ob.props = append(ob.props, p)
	}
	return ob
}

// create adds a record; s.mu is held, or nobody else knows of s yet.
func (s *Simulator) create(ob *object, at int64) *record {
	ob.nextID += 1 + s.rng.Uint64N(40)
	r := &record{id: ob.nextID, created: at, modified: at, state: "live", values: make([]string, len(ob.props))}
	for i := range ob.props {
		r.values[i] = s.value(ob, i, r.id)
	}
	s.shown(r, nil)
	ob.records[r.id] = r
	ob.ids = append(ob.ids, r.id)
	return r
}

// value draws one as HubSpot has them: text, numbers with junk among them,
// lists, empty strings and nothing.
func (s *Simulator) value(ob *object, i int, id uint64) string {
	switch n := s.rng.IntN(100); {
	case i == 0:
		return fmt.Sprintf("%s-%d-%d@example.com", ob.name, id, n)
	case n < 20:
		return null
	case n < 23:
		return ""
	case ob.props[i].Type == "number":
		if n < 25 {
			return "N/A"
		}
		return strconv.FormatUint(s.rng.Uint64N(1e6), 10)
	case ob.props[i].Type == "enumeration":
		return "blau;grün;rot"
	case n < 26:
		return "tab\tquote\"back\\slash\nnew line ünïcödé"
	}
	return "value " + strconv.FormatUint(s.rng.Uint64(), 36)
}

// shown decides when a version becomes visible to search and to replicas.
func (s *Simulator) shown(r, old *record) {
	now := s.o.Now().UnixMilli()
	r.old = old
	if s.o.SearchLateness > 0 {
		r.seenAt = now + s.rng.Int64N(s.o.SearchLateness.Milliseconds()+1)
	}
	if s.rng.Float64() < s.o.StaleReads {
		r.replicaT = now + s.rng.Int64N(s.o.StaleFor.Milliseconds()+1)
	}
}

// change edits a record at a time; s.mu is held.
func (s *Simulator) change(ob *object, id uint64, at int64, set map[string]string) {
	old := ob.records[id]
	if old == nil {
		return
	}
	r := &record{id: id, created: old.created, modified: max(at, old.modified), state: old.state, values: slices.Clone(old.values)}
	if len(set) == 0 {
		i := s.rng.IntN(len(ob.props))
		r.values[i] = s.value(ob, i, id)
	}
	for i, p := range ob.props {
		if v, ok := set[p.Name]; ok {
			r.values[i] = v
		}
	}
	was := *old
	was.old = nil
	s.shown(r, &was)
	ob.records[id] = r
}

// Start begins the changes that the options ask for.
func (s *Simulator) Start(ctx context.Context) {
	ctx, s.cancel = context.WithCancel(ctx)
	if s.o.ChangeRate <= 0 {
		return
	}
	s.wg.Go(func() {
		t := time.NewTicker(time.Duration(float64(time.Second) / s.o.ChangeRate))
		defer t.Stop()
		for {
			select {
			case <-t.C:
				s.drift()
			case <-ctx.Done():
				return
			}
		}
	})
}

// Stop ends the changes.
func (s *Simulator) Stop() {
	if s.cancel != nil {
		s.cancel()
	}
	s.wg.Wait()
}

// drift makes one change somewhere.
func (s *Simulator) drift() {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := []string{}
	for n, ob := range s.objects {
		if len(ob.ids) > 0 {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return
	}
	sort.Strings(names)
	ob := s.objects[names[s.rng.IntN(len(names))]]
	now := s.o.Now().UnixMilli()
	if s.rng.IntN(5) == 0 {
		s.create(ob, now)
		return
	}
	s.change(ob, ob.ids[s.rng.IntN(len(ob.ids))], now, nil)
}

// Object is a record of the truth.
type Object struct {
	ID         string             `json:"id"`
	State      string             `json:"state"`
	UpdatedAt  string             `json:"updatedAt"`
	Properties map[string]*string `json:"properties"`
}

// Truth is what the account holds, in the order of the ids.
func (s *Simulator) Truth(name string) []Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	ob := s.objects[name]
	if ob == nil {
		return nil
	}
	out := make([]Object, 0, len(ob.ids))
	for _, id := range ob.ids {
		r := ob.records[id]
		o := Object{ID: strconv.FormatUint(id, 10), State: r.state, UpdatedAt: iso(r.modified), Properties: map[string]*string{}}
		for i, p := range ob.props {
			if v := r.get(ob, i); v != null {
				o.Properties[p.Name] = &v
			} else {
				o.Properties[p.Name] = nil
			}
		}
		out = append(out, o)
	}
	return out
}

// Stats returns what was counted so far.
func (s *Simulator) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.stats
	c.Requests = map[string]int{}
	maps.Copy(c.Requests, s.stats.Requests)
	return c
}

// get is a property's value; those that HubSpot keeps itself are derived.
func (r *record) get(ob *object, i int) string {
	switch ob.props[i].Name {
	case "hs_object_id":
		return strconv.FormatUint(r.id, 10)
	case "createdate":
		return iso(r.created)
	case ob.cursor:
		return iso(r.modified)
	}
	return r.values[i]
}

// iso is a time as HubSpot prints it: without a fraction where there is none.
func iso(ms int64) string {
	t := time.UnixMilli(ms).UTC()
	if ms%1000 == 0 {
		return t.Format("2006-01-02T15:04:05Z")
	}
	return t.Format("2006-01-02T15:04:05.000Z")
}

func (r *record) appendJSON(b []byte, ob *object, want []int) []byte {
	b = append(b, `{"id":"`...)
	b = strconv.AppendUint(b, r.id, 10)
	b = append(b, `","properties":{`...)
	for n, i := range want {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, ob.props[i].Name...)
		b = append(b, `":`...)
		if v := r.get(ob, i); v == null {
			b = append(b, "null"...)
		} else {
			b = appendString(b, v)
		}
	}
	b = append(b, `},"createdAt":"`...)
	b = append(b, iso(r.created)...)
	b = append(b, `","updatedAt":"`...)
	b = append(b, iso(r.modified)...)
	return append(b, `","archived":false}`...)
}

func appendString(b []byte, v string) []byte {
	for i := range len(v) {
		if v[i] < ' ' || v[i] == '"' || v[i] == '\\' || v[i] >= 0x80 {
			q, err := json.Marshal(v)
			if err != nil {
				return append(b, `""`...)
			}
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, v...)
	return append(b, '"')
}
