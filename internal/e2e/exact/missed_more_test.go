package exact

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

func problem(format string, a ...any) error { return fmt.Errorf(format, a...) }

// Two streams of one object, one with a start date: what the second has is what
// the first has of that time, to the last association.
func missedStartDate(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 800, "companies": 100}, Associations: map[string]float64{"contacts-companies": 1.5}},
		pace+`stream "contacts" { associations = ["companies"] }
stream "recent" {
  object       = "contacts"
  start_date   = "`+time.Now().UTC().Format(time.DateOnly)+`"
  associations = ["companies"]
}
`)
	r.change("contacts", simulator.Change{Change: 150})
	r.start()
	r.becomesEqual("contacts")
	r.change("contacts", simulator.Change{Change: 50, Create: 10})
	r.settles("contacts")
	until(t, "both streams", func() error {
		all, err := r.stored("contacts")
		if err != nil {
			return err
		}
		recent, err := r.stored("recent")
		if err != nil {
			return err
		}
		today := time.Now().UTC().Truncate(24 * time.Hour)
		for id, rec := range all {
			got, ok := recent[id]
			if want := !moment(rec.UpdatedAt).Before(today); ok != want {
				return problem("record %s of %s: in the recent ones %t", id, text(rec.UpdatedAt), ok)
			}
			if ok && (string(got.Properties) != string(rec.Properties) || string(got.Associations) != string(rec.Associations)) {
				return problem("record %s differs", id)
			}
		}
		if len(recent) < 150 || len(recent) == len(all) {
			return problem("%d of %d are recent", len(recent), len(all))
		}
		return nil
	})
}

func missedTooLong(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 250}, Properties: 900}, alone).start()
	r.becomesEqual("contacts")
	r.change("contacts", simulator.Change{Change: 120})
	r.becomesEqual("contacts")
	var properties map[string]*string
	rec, err := r.api.Record(t.Context(), "contacts", r.live("contacts")[0])
	if err != nil || json.Unmarshal(rec.Properties, &properties) != nil || len(properties) < 500 {
		t.Errorf("%d properties: %v", len(properties), err)
	}
}

// A deal is made and associated two seconds later, with search on time: the
// settle pass brings it. What is associated and parted without anything else is
// brought when the associations of all are read.
func missedAssociated(t scene) {
	streams := pace + `stream "deals" { associations = ["contacts"] }
stream "contacts" {}
`
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 60, "deals": 200}, Associations: map[string]float64{"deals-contacts": 1}}, streams).start()
	r.becomesEqual("deals", "contacts")
	until(t, "associations", func() error { return r.linked("deals", "contacts") })
	made := r.change("deals", simulator.Change{Create: 4})
	until(t, "the deals", func() error { _, err := r.api.Record(t.Context(), "deals", made[3]); return err })
	people := r.live("contacts")
	for _, id := range made[:2] {
		r.associate("deals", "contacts", simulator.AssociationChange{Associate: []simulator.Link{{From: id, To: people[3]}}})
	}
	r.settles("deals")
	if err := r.linked("deals", "contacts"); err != nil {
		t.Error(err)
	}
	all := r.sim.TruthAssociations("deals", "contacts")
	r.associate("deals", "contacts", simulator.AssociationChange{
		Associate:  []simulator.Link{{From: r.live("deals")[5], To: people[7]}},
		Dissociate: []simulator.Link{{From: all[0].From, To: all[0].To}},
	})
	// Other objects are chosen: the associations of all records are read.
	r.reload(strings.Replace(streams, `["contacts"]`, `["contacts", "companies"]`, 1))
	until(t, "associations", func() error { return r.linked("deals", "contacts") })
}

func (r *rig) associate(from, to string, c simulator.AssociationChange) {
	r.t.Helper()
	if _, _, err := r.sim.ChangeAssociations(from, to, c); err != nil {
		r.t.Fatal(err)
	}
}

// A company has six hundred contacts, which HubSpot gives by pages.
func missedManyAssociated(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 700, "companies": 20}, AssociationPage: 100},
		pace+"stream \"companies\" { associations = [\"contacts\"] }\n")
	c := simulator.AssociationChange{}
	for _, id := range r.live("contacts")[:600] {
		c.Associate = append(c.Associate, simulator.Link{From: r.live("companies")[0], To: id})
	}
	r.associate("companies", "contacts", c)
	r.start()
	r.becomesEqual("companies")
	until(t, "associations", func() error { return r.linked("companies", "contacts") })
}

func missedArchived(t scene) {
	t.Run("and is restored, or gone", func(t *testing.T) { t.Parallel(); archivedAndRestored(scene{t}) })
	t.Run("and is archived again", func(t *testing.T) { t.Parallel(); archivedAgain(scene{t}) })
}

func archivedAndRestored(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 400}}, pace+"stream \"contacts\" {}\n").start()
	r.becomesEqual("contacts")
	live := r.live("contacts")
	r.change("contacts", simulator.Change{Archive: live[:30]})
	r.becomesEqual("contacts")
	r.change("contacts", simulator.Change{Restore: live[:10], Delete: live[10:15]})
	r.becomesEqual("contacts")
	// Gone without having been archived: only who looks for it can know.
	r.change("contacts", simulator.Change{Delete: live[40:50]})
	if _, rep := r.reconcile("contacts"); rep.Gone != 10 {
		t.Errorf("%+v", rep)
	}
	r.becomesEqual("contacts")
	if err := r.indexed("contacts"); err != nil {
		t.Error(err)
	}
}

// Restored and archived again while nobody looks, with the modification time
// that it had: since when it is archived is all that moved.
func archivedAgain(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 200}, RestoreKeepsTime: true}, pace+"stream \"contacts\" {}\n").start()
	r.becomesEqual("contacts")
	live := r.live("contacts")[:20]
	r.change("contacts", simulator.Change{Archive: live})
	r.becomesEqual("contacts")
	r.stopWorker()
	r.change("contacts", simulator.Change{Restore: live[:12]})
	r.change("contacts", simulator.Change{Archive: live[:10]})
	position := r.position("contacts")
	r.startWorker()
	r.becomesEqual("contacts")
	if got := r.position("contacts") - position; got > 12 {
		t.Errorf("%d records were written, of whom ten were archived again and two restored", got)
	}
}

// Both kinds of merge, a chain of them, and losers that nobody ever saw.
func missedMerged(t scene) {
	t.Run("and nowhere to be seen", func(t *testing.T) { t.Parallel(); merged(scene{t}, false) })
	t.Run("with a survivor that is archived", func(t *testing.T) { t.Parallel(); mergedAndArchived(scene{t}) })
	t.Run("and listed as archived", func(t *testing.T) { t.Parallel(); merged(scene{t}, true) })
}

// A survivor is archived before anybody has read it; whom it took in is told by
// it all the same.
func mergedAndArchived(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 300}}, pace+"stream \"contacts\" {}\n").start()
	r.becomesEqual("contacts")
	r.stopWorker()
	live := r.live("contacts")
	for i := range 4 {
		ids := r.change("contacts", simulator.Change{Merge: []simulator.Merge{{Into: live[i], From: live[50+i : 51+i], NewID: i%2 == 0}}})
		r.change("contacts", simulator.Change{Archive: ids[:1]})
	}
	r.startWorker()
	r.settles("contacts")
}

func merged(t scene, archived bool) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 300, "companies": 300}, MergedArchived: archived, BatchGivesSurvivor: archived},
		pace+"stream \"contacts\" {}\nstream \"companies\" {}\n").start()
	r.becomesEqual("contacts", "companies")
	for _, object := range []string{"contacts", "companies"} {
		live := r.live(object)
		for i := range 6 {
			r.change(object, simulator.Change{Merge: []simulator.Merge{{Into: live[i], From: live[50+2*i : 52+2*i], NewID: i%2 == 0}}})
		}
		unseen := r.change(object, simulator.Change{Create: 2})
		r.change(object, simulator.Change{Merge: []simulator.Merge{{Into: live[20], From: unseen}}})
		r.change(object, simulator.Change{Merge: []simulator.Merge{{Into: live[21], From: live[20:21], NewID: true}}})
	}
	if archived {
		// Who took in those that nobody saw was merged away before anybody read
		// that: among the archived it still says so, to a reconcile.
		r.complete("contacts", "companies")
		r.reconcile("contacts")
		r.reconcile("companies")
	}
	r.settles("contacts", "companies")
}

// While the first list is read, records change that it has passed, is at, and
// has not reached.
func missedMeanwhile(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 2000}}, alone)
	var lists atomic.Int64
	r.between(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		next.ServeHTTP(w, q)
		if kind(q) == "list" && lists.Add(1)%4 == 0 {
			_, _ = r.sim.Change("contacts", simulator.Change{Change: 60, Create: 3}) // of an object that there is
		}
	})
	r.start()
	until(t, "the list", func() error {
		if st := r.status("contacts"); st.CompleteUntil == nil && st.LagSeconds == nil {
			return problem("%+v", st)
		}
		return nil
	})
	r.between(nil)
	r.becomesEqual("contacts")
}

// Both processes end, and begin with what they left: nothing is listed again,
// and nothing is written.
func missedUpgrade(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 800}}, alone).start()
	r.becomesEqual("contacts")
	r.sync("contacts")
	r.stopWorker()
	r.stopDaemon()
	lists := r.sim.Stats().Requests["list"]
	r.startDaemon()
	position := r.position("contacts")
	r.startWorker()
	r.sync("contacts")
	if got := r.position("contacts"); got != position {
		t.Errorf("%d records were written again", got-position)
	}
	r.change("contacts", simulator.Change{Change: 20})
	r.becomesEqual("contacts")
	if got := r.sim.Stats().Requests["list"]; got != lists {
		t.Errorf("%d lists after the start", got-lists)
	}
}

// Numbers that are none, dates in five ways, and text of every kind are kept as
// they are sent.
func missedBadValue(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"deals": 300}}, strings.ReplaceAll(alone, "contacts", "deals")).start()
	r.becomesEqual("deals")
	live := r.live("deals")
	for i, v := range []string{"134376773869;137654776000", "1,5", "NaN", "", "1764028800000", "2026-11-25", "25.11.2026", "\u0000", "\u2028\"\\", "😀", "-0", "1e400", strings.Repeat("x", 65536)} {
		r.change("deals", simulator.Change{IDs: live[i : i+1], Properties: map[string]*string{"amount": &v, "closedate": &v, "dealname": &v}})
	}
	r.change("deals", simulator.Change{Create: 5})
	r.becomesEqual("deals")
	if st := r.status("deals"); st.Error != nil || st.OpenIDs != 0 {
		t.Errorf("%+v", st)
	}
	// They are kept as they are, and counted.
	if _, rep := r.reconcile("deals"); rep.Untyped["amount"] < 10 || rep.Untyped["closedate"] != 9 || rep.Untyped["dealname"] != 0 {
		t.Errorf("%+v", rep)
	}
}

// A portal has an object "contacts" of its own beside HubSpot's.
func missedOwnName(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 120, "p_contacts": 90}},
		pace+"stream \"contacts\" {}\nstream \"own\" { object = \"p_contacts\" }\n").start()
	both := func() error {
		if err := r.equal("contacts"); err != nil {
			return err
		}
		return r.same("own", "p_contacts")
	}
	until(t, "both", both)
	r.change("contacts", simulator.Change{Change: 20})
	r.change("p_contacts", simulator.Change{Change: 30, Create: 4})
	until(t, "both", both)
}

// Named properties are copied and no others, whatever is added; of all but some,
// what is added comes and those do not.
func missedSchemaPolicy(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 200}}, pace+`stream "named" {
  object     = "contacts"
  properties = ["firstname", "email"]
}
stream "others" {
  object  = "contacts"
  exclude = ["city", "new_secret*"]
}
`).start()
	add := []simulator.NewProperty{{Name: "new_open", Kind: "text", Fill: 100}, {Name: "new_secret_one", Kind: "text", Fill: 100}}
	until(t, "both streams", func() error {
		if a, b := r.status("named"), r.status("others"); a.Records != 200 || b.Records != 200 {
			return problem("%d and %d", a.Records, b.Records)
		}
		return nil
	})
	if err := r.sim.ChangeProperties("contacts", simulator.PropertyChange{Add: add}); err != nil {
		t.Fatal(err)
	}
	id := r.live("contacts")[3]
	until(t, "what is new", func() error {
		r.change("contacts", simulator.Change{IDs: []string{id}})
		rec, err := r.api.Record(t.Context(), "others", id)
		if err == nil && !strings.Contains(string(rec.Properties), `"new_open":`) {
			err = problem("%s", rec.Properties)
		}
		return err
	})
	r.complete("named", "others")
	for stream, never := range map[string][]string{"named": {"city", "new_open", "new_secret_one", "lastname"}, "others": {`"city"`, "new_secret_one"}} {
		stored, err := r.stored(stream)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range stored {
			for _, p := range never {
				if strings.Contains(string(rec.Properties), p) {
					t.Fatalf("%s has %s: %s", stream, p, rec.Properties)
				}
			}
		}
	}
}

// The first request of each kind is refused, those for the account and the
// definitions too.
func missedRefusal(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 200}}, alone)
	var mu sync.Mutex
	seen := map[string]int{}
	r.between(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		mu.Lock()
		seen[q.URL.Path]++
		n := seen[q.URL.Path]
		mu.Unlock()
		if n == 1 {
			w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = w.Write([]byte(`{"status":"error","message":"You have reached your secondly limit.","errorType":"RATE_LIMIT","policyName":"SECONDLY"}`))
			return
		}
		next.ServeHTTP(w, q)
	})
	r.start()
	r.becomesEqual("contacts")
	r.change("contacts", simulator.Change{Change: 30})
	r.becomesEqual("contacts")
	mu.Lock()
	defer mu.Unlock()
	if len(seen) < 4 {
		t.Errorf("only %v were refused", seen)
	}
}

// The day's requests are spent: the stream says so and asks no more.
func missedDaily(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 200}, Limits: true}, alone).start()
	r.becomesEqual("contacts")
	r.turn(`{"daily_remaining":0}`)
	until(t, "the limit", func() error {
		if st := r.status("contacts"); st.State != client.StateThrottled || st.Until == nil {
			return problem("%+v", st)
		}
		return nil
	})
	total := r.sim.Stats().Total
	r.change("contacts", simulator.Change{Change: 10})
	wait := time.NewTimer(3 * time.Second)
	defer wait.Stop()
	<-wait.C
	if got := r.sim.Stats().Total - total; got > 3 {
		t.Errorf("%d requests in three seconds of a day that is spent", got)
	}
	if st := r.status("contacts"); st.State != client.StateThrottled || st.Records != 200 {
		t.Errorf("%+v", st)
	}
	// What is spent ends with the day; who begins anew asks once.
	r.turn(`{"daily_remaining":600000}`)
	r.stopWorker()
	r.startWorker()
	r.becomesEqual("contacts")
}

// A portal grants two hundred requests a second; until it says so it is asked
// nine a second. How fast that is on a machine that is busy is no matter.
func missedHigherLimit(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 3000}, Properties: 8, Limits: true, BurstPer10s: 2000}, alone).start()
	r.becomesEqual("contacts")
	if u := r.hubspot.Usage(); u.BurstRate < 100 {
		t.Errorf("%.0f requests a second of two hundred", u.BurstRate)
	}
	if n := r.sim.Stats().Refused.Burst; n > 0 {
		t.Errorf("%d requests over the limit", n)
	}
}

// Two records change, and become one between the search that names both and the
// reading: the survivor's page says what became of the other, and nothing more
// is sent of it, nor is the run refused.
func missedMergedMeanwhile(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 300}}, alone).start()
	r.becomesEqual("contacts")
	live := r.live("contacts")
	var once sync.Once
	r.between(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if kind(q) == "batch" {
			once.Do(func() {
				r.change("contacts", simulator.Change{Merge: []simulator.Merge{{Into: live[3], From: live[4:5]}}})
			})
		}
		next.ServeHTTP(w, q)
	})
	value := "both"
	r.change("contacts", simulator.Change{IDs: live[3:5], Properties: map[string]*string{"firstname": &value}})
	r.becomesEqual("contacts")
	runs, err := r.api.Runs(t.Context(), client.RunQuery{Stream: "contacts", State: client.RunFailed, Limit: 10})
	if err != nil || len(runs) > 0 {
		t.Errorf("%v: failed %+v", err, runs)
	}
}

// HubSpot hands out an old version for longer than anybody asks again: it is
// taken, the id is open, and no run fails of it.
func missedOldReading(t scene) {
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 300}, StaleReads: 1, StaleFor: time.Hour}, alone).start()
	r.becomesEqual("contacts")
	changed := r.change("contacts", simulator.Change{Change: 3})
	until(t, "the open ids", func() error {
		if st := r.status("contacts"); st.OpenIDs != len(changed) {
			return problem("%d open ids, %d records have changed", st.OpenIDs, len(changed))
		}
		return nil
	})
	runs, err := r.api.Runs(t.Context(), client.RunQuery{Stream: "contacts", State: client.RunFailed, Limit: 10})
	if err != nil || len(runs) > 0 {
		t.Errorf("%v: failed %+v", err, runs)
	}
}
