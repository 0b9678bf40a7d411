package exact

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

const journalSecret = "journal-canary-secret"

// journaled is a rig whose worker reads the journal of HubSpot. Nothing else would
// find soon what changes: searches, sweeps and settle passes are a day apart.
func journaled(t *testing.T, o simulator.Options, streams string) *rig {
	t.Helper()
	if o.Journal == nil {
		o.Journal = &simulator.Journal{ClientID: "app", ClientSecret: journalSecret, Every: 200 * time.Millisecond}
	}
	r := newRig(t, o, "defaults {\n  interval = \"24h\"\n  archived_interval = \"24h\"\n  reconcile_interval = \"24h\"\n}\n"+streams)
	r.portal = "  journal {\n    client_id = \"app\"\n    client_secret = env(\"JOURNAL\")\n  }\n"
	r.journal = hubspot.JournalApp{ClientID: "app", ClientSecret: func() string { return journalSecret }}
	t.Cleanup(func() {
		if strings.Contains(r.log.String(), journalSecret) || strings.Contains(r.log.String(), "signature=") {
			t.Error("the log holds a secret")
		}
	})
	return r
}

func (r *rig) journalView() client.Journal {
	r.t.Helper()
	ps, err := r.api.Portals(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if len(ps) != 1 || ps[0].Journal == nil {
		return client.Journal{}
	}
	return *ps[0].Journal
}

// pulled waits until HubSpot has answered for its journal: what changes from then
// on stands behind the place that is known.
func (r *rig) pulled() {
	r.t.Helper()
	until(r.t, "the journal is read", func() error {
		if j := r.journalView(); j.PulledAt == nil || j.Error != nil {
			return problem("%+v", j)
		}
		return nil
	})
}

// All that the journal tells is read at once, and each stream is equal to the
// truth long before anything else would have looked.
func TestJournal(t *testing.T) {
	t.Parallel()
	r := journaled(t, simulator.Options{Limits: true, Sizes: map[string]int{"contacts": 300, "companies": 120, "p_cars": 40},
		Associations: map[string]float64{"contacts-companies": 1}},
		"stream \"contacts\" { associations = [\"companies\"] }\nstream \"companies\" {}\nstream \"cars\" { object = \"2-4700001\" }\n").start()
	r.becomesEqual("contacts", "companies")
	r.pulled()
	live := r.live("contacts")
	for _, c := range []simulator.Change{
		{Create: 5},
		{IDs: live[:30]},
		{Archive: live[30:40]},
		{Archive: live[40:45]},
		{Restore: live[30:35]},
		{Delete: live[40:43]},
		{Merge: []simulator.Merge{{Into: live[50], From: live[51:53]}, {Into: live[60], From: live[61:62], NewID: true}}},
	} {
		r.change("contacts", c)
		r.becomesEqual("contacts")
	}
	r.change("companies", simulator.Change{Create: 130, Change: 110}) // more than one run takes
	others := r.live("companies")
	r.associate("contacts", "companies", simulator.AssociationChange{Associate: []simulator.Link{{From: live[100], To: others[3]}, {From: live[101], To: others[3]}}})
	r.change("p_cars", simulator.Change{Create: 3})
	r.becomesEqual("contacts", "companies")
	until(t, "the associations", func() error { return r.linked("contacts", "companies") })
	until(t, "a custom object", func() error {
		if n := r.status("cars").Records; n != 43 {
			return problem("%d cars", n)
		}
		return nil
	})
	runs := r.runsOf("contacts", "hint")
	if len(runs) == 0 || slices.ContainsFunc(runs, func(run client.Run) bool { return run.State != "done" }) {
		t.Errorf("runs: %+v", runs)
	}
	if again := r.runsOf("contacts", "incremental"); len(again) > 1 { // there is one after the first load
		t.Errorf("something else has looked: %+v", again)
	}
	if st := r.status("contacts"); st.OpenIDs != 0 || st.Error != nil {
		t.Errorf("%+v", st)
	}
	if j := r.journalView(); j.Gap != nil || j.Error != nil {
		t.Errorf("%+v", j)
	}
	if n := r.sim.JournalStats(); n.Files == 0 || n.Tokens != 1 || n.Lost != 0 {
		t.Errorf("%+v", n)
	}
}

// What changes while worker or daemon are away is read when they are back: the
// place is the ledger's.
func TestJournalAcrossRestarts(t *testing.T) {
	t.Parallel()
	each := &simulator.Journal{ClientID: "app", ClientSecret: journalSecret, Every: time.Nanosecond} // each change is an entry
	r := journaled(t, simulator.Options{Sizes: map[string]int{"contacts": 200}, Journal: each}, "stream \"contacts\" {}\n").start()
	r.becomesEqual("contacts")
	r.pulled()
	live := r.live("contacts")
	r.change("contacts", simulator.Change{IDs: live[:5]})
	r.becomesEqual("contacts")
	for _, both := range []bool{false, true} {
		r.stopWorker()
		if both {
			r.stopDaemon()
		}
		for i := range 3 {
			r.change("contacts", simulator.Change{IDs: live[10*i : 10*i+10], Create: 1})
		}
		if both {
			r.startDaemon()
		}
		r.startWorker()
		r.becomesEqual("contacts")
	}
	if again := r.runsOf("contacts", "incremental"); len(again) > 1 {
		t.Errorf("something else has looked: %+v", again)
	}
	if n := r.sim.JournalStats(); n.Lost != 0 || n.Entries < 7 {
		t.Errorf("%+v", n)
	}
}

// A place that HubSpot does not know any more is a gap: the streams are asked for
// all that has changed, and the journal is read on.
func TestJournalGap(t *testing.T) {
	t.Parallel()
	r := journaled(t, simulator.Options{Sizes: map[string]int{"contacts": 200, "companies": 50}}, "stream \"contacts\" {}\nstream \"companies\" {}\n").start()
	r.becomesEqual("contacts", "companies")
	r.pulled()
	live := r.live("contacts")
	r.change("contacts", simulator.Change{IDs: live[:5]})
	r.becomesEqual("contacts")
	r.stopWorker()
	r.change("contacts", simulator.Change{IDs: live[20:30], Create: 4})
	r.change("companies", simulator.Change{Create: 4})
	r.turn(`{"lose_journal":true}`)
	r.startWorker()
	r.becomesEqual("contacts", "companies")
	if again := r.runsOf("companies", "incremental"); len(again) != 2 {
		t.Errorf("the gap was made good by %+v", again)
	}
	until(t, "the gap is shown", func() error {
		if j := r.journalView(); j.Gap == nil || j.GapAt == nil || !strings.Contains(*j.Gap, "three days") {
			return problem("%+v", j)
		}
		return nil
	})
	if !strings.Contains(r.log.String(), "the journal has a gap") {
		t.Error("the log does not say so")
	}
	r.change("contacts", simulator.Change{IDs: live[40:45]})
	r.becomesEqual("contacts")
	if again := r.runsOf("contacts", "incremental"); len(again) != 2 {
		t.Errorf("after the gap: %+v", again)
	}
}

// An import is more than waits to be read by name: its stream asks for all that
// has changed.
func TestJournalOfAnImport(t *testing.T) {
	t.Parallel()
	r := journaled(t, simulator.Options{Sizes: map[string]int{"contacts": 50, "companies": 50}}, "stream \"contacts\" {}\nstream \"companies\" {}\n").start()
	r.becomesEqual("contacts", "companies")
	r.pulled()
	r.change("contacts", simulator.Change{Create: 2300})
	r.change("companies", simulator.Change{Create: 5})
	r.becomesEqual("contacts", "companies")
	if again := r.runsOf("contacts", "incremental"); len(again) != 2 {
		t.Errorf("the import was read by %+v", again)
	}
	if again := r.runsOf("companies", "incremental"); len(again) != 1 {
		t.Errorf("nothing was imported, and there are %+v", again)
	}
	if j := r.journalView(); j.Gap != nil {
		t.Errorf("%+v", j)
	}
}

// Credentials that HubSpot refuses are shown with what to do, hold nothing else
// up, and are tried until they are right.
func TestJournalRefused(t *testing.T) {
	t.Parallel()
	r := journaled(t, simulator.Options{Sizes: map[string]int{"contacts": 50}}, "stream \"contacts\" {}\n")
	r.turn(`{"journal_secret":"another"}`)
	r.start()
	r.becomesEqual("contacts")
	until(t, "the refusal is shown", func() error {
		if j := r.journalView(); j.Error == nil || !strings.Contains(j.Error.Hint, "client_secret") {
			return problem("%+v", j)
		}
		return nil
	})
	if st := r.status("contacts"); st.Error != nil || st.State == "blocked" {
		t.Errorf("%+v", st)
	}
	r.turn(`{"journal_secret":"` + journalSecret + `"}`)
	r.pulled()
	r.change("contacts", simulator.Change{Create: 3})
	r.becomesEqual("contacts")
	r.sim.LoseJournal() // its token is void, too
	r.change("contacts", simulator.Change{Create: 3})
	r.becomesEqual("contacts")
	if n := r.sim.JournalStats(); n.Tokens != 2 {
		t.Errorf("%+v", n)
	}
}

// A file that cannot be used is asked for again, and left out as a gap where that
// does not help.
func TestJournalFiles(t *testing.T) {
	t.Parallel()
	r := journaled(t, simulator.Options{Sizes: map[string]int{"contacts": 100}}, "stream \"contacts\" {}\n")
	var spoilt, asked atomic.Int64
	r.between(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.HasPrefix(q.URL.Path, "/_storage/") {
			asked.Add(1)
			if q.Header.Get("Authorization") != "" {
				t.Error("storage is shown the token")
			}
			switch n := spoilt.Add(-1); {
			case n < 0:
			case n%3 == 0:
				_, _ = w.Write([]byte(`{"journalEvents":`))
				return
			case n%3 == 1:
				w.WriteHeader(http.StatusForbidden)
				return
			default:
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(http.StatusFound)
				return
			}
		}
		next.ServeHTTP(w, q)
	})
	r.start()
	r.becomesEqual("contacts")
	r.pulled()
	spoilt.Store(3)
	r.change("contacts", simulator.Change{Create: 3})
	r.becomesEqual("contacts")
	if j := r.journalView(); j.Gap != nil {
		t.Errorf("%+v", j)
	}
	before := len(r.runsOf("contacts", "incremental"))
	spoilt.Store(5)
	r.change("contacts", simulator.Change{Create: 3})
	r.becomesEqual("contacts")
	until(t, "the file is a gap", func() error {
		if j := r.journalView(); j.Gap == nil || !strings.Contains(*j.Gap, "cannot be read") {
			return problem("%+v", j)
		}
		return nil
	})
	if n := len(r.runsOf("contacts", "incremental")); n != before+1 {
		t.Errorf("%d incremental runs, before the gap %d", n, before)
	}
	r.change("contacts", simulator.Change{Create: 3})
	r.becomesEqual("contacts")
}
