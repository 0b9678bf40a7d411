package exact

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// Search shows each change after a time of its own, from none to almost the age
// of the last settle pass, a few seconds for the hour and more of a real one.
// What comes later than that is a reconcile's.
func TestLateness(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 900}}, `defaults {
  interval = "1s"
  tail     = "1s"
  settle   = ["3s", "10s"]
  reconcile_interval = "24h"
}
stream "contacts" {}
`).start()
	r.becomesEqual("contacts")
	live := r.live("contacts")
	for i := range 40 {
		late := time.Duration(i) * 190 * time.Millisecond // to 7.4 s, the last pass is at 10
		r.change("contacts", simulator.Change{IDs: live[i*20 : (i+1)*20], VisibleAfter: &late})
		r.change("contacts", simulator.Change{Create: 1, VisibleAfter: &late})
	}
	r.settles("contacts")
	beyond := 40 * time.Second
	r.change("contacts", simulator.Change{IDs: live[850:860], Create: 2, VisibleAfter: &beyond})
	r.complete("contacts")
	if r.equal("contacts") == nil {
		t.Fatal("nothing was too late: the passes are not what finds it")
	}
	if _, rep := r.reconcile("contacts"); rep.Missing != 2 || rep.Stale != 10 {
		t.Errorf("%+v", rep)
	}
	if err := r.equal("contacts"); err != nil {
		t.Error(err)
	}
}

var idInBody = regexp.MustCompile(`"id":"(\d+)"`)

// meddler changes records at the moments at which that is worst.
type meddler struct {
	mu              sync.Mutex
	r               *rig
	pages, reads    int
	spare           []string // who others are merged into
	touched         map[string]bool
	changed, moved  int
	archived, taken int
}

func (m *meddler) between(w http.ResponseWriter, q *http.Request, next http.Handler) {
	switch kind(q) {
	case "search":
		answering(func(*http.Request) bool { return true }, func(_ *http.Request, reply map[string]any) {
			rows, _ := reply["results"].([]any)
			if total, _ := reply["total"].(float64); len(rows) > 100 && int(total) > len(rows) {
				m.searched() // and it is asked for more
			}
		})(w, q, next)
		return
	case "batch":
		if !strings.Contains(q.URL.RawQuery, "archived=true") {
			m.read(idInBody.FindAllStringSubmatch(body(q), -1))
		}
	}
	next.ServeHTTP(w, q)
}

// searched lets records leave the window, and enter it, between two pages.
func (m *meddler) searched() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pages++; m.pages > 5 {
		return
	}
	_, _ = m.r.sim.Change("contacts", simulator.Change{Change: 30, Create: 2}) // there are enough of them
	m.moved++
}

// read lets what is about to be read change, be archived, or be merged.
func (m *meddler) read(ids [][]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reads++; m.reads > 8 {
		return
	}
	for n, match := range ids[:min(len(ids), 9)] {
		id, c := match[1], simulator.Change{}
		if m.touched[id] {
			continue
		}
		m.touched[id] = true
		switch {
		case n < 3:
			c.IDs = []string{id}
			m.changed++
		case n < 6:
			c.Archive = []string{id}
			m.archived++
		case len(m.spare) > 0 && m.spare[0] != id:
			c.Merge = []simulator.Merge{{Into: m.spare[0], From: []string{id}, NewID: n == 8}}
			m.touched[m.spare[0]] = true
			m.spare = m.spare[1:]
			m.taken++
		}
		_, _ = m.r.sim.Change("contacts", c) // one that has gone by then stays as it is
	}
}

// Records change between two pages of a search and between search and batch
// read, are archived and merged there, and deals are associated two seconds
// after they were made, with nothing but windows and sweeps to find it.
func TestMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 1500, "deals": 100},
		SearchLateness: time.Second, StaleReads: 0.1, StaleFor: time.Second},
		// With a start date it is search that looks, however much has changed.
		strings.Replace(pace, "defaults {", "defaults {\n  start_date = \"2000-01-01\"", 1)+`stream "contacts" {}
stream "deals" { associations = ["contacts"] }
`).start()
	r.becomesEqual("contacts", "deals")
	live := r.live("contacts")
	m := &meddler{r: r, spare: live[:40], touched: map[string]bool{live[60]: true}}
	r.between(m.between)
	made := r.change("deals", simulator.Change{Create: 6})
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for i := range 6 {
		at := time.Now().UnixMilli()
		for j := range 5 { // too many for one page, at few times
			ids := live[100+200*i+40*j:][:40]
			_, _ = r.sim.Change("contacts", simulator.Change{IDs: ids, At: at + int64(j)}) // those that are left
			_, _ = r.sim.Change("contacts", simulator.Change{Change: 60, At: at + int64(j)})
		}
		<-tick.C
		if i == 4 {
			for _, d := range made {
				r.associate("deals", "contacts", simulator.AssociationChange{Associate: []simulator.Link{{From: d, To: live[60]}}})
			}
		}
	}
	r.complete("contacts", "deals")
	r.between(nil)
	r.settles("contacts", "deals")
	if err := r.linked("deals", "contacts"); err != nil {
		t.Error(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.moved == 0 || m.changed < 10 || m.archived < 5 || m.taken < 5 {
		t.Errorf("too little happened in between: %d pages, %d changed, %d archived, %d merged", m.moved, m.changed, m.archived, m.taken)
	}
}
