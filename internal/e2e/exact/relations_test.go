package exact

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// rowsEqual holds a stream of rows against the truth: each live row with what
// is in it, every other one purged and empty.
func (r *rig) rowsEqual(stream, object string) error {
	truth := r.sim.TruthSet(object)
	stored, err := r.stored(stream)
	if err != nil {
		return err
	}
	for _, want := range truth {
		got, ok := stored[want.ID]
		if want.State != "live" {
			continue // judged below, where it was ever seen
		}
		delete(stored, want.ID)
		b, err := json.Marshal(want.Properties)
		if err != nil {
			return err
		}
		var properties, wanted map[string]any
		if err := errors.Join(json.Unmarshal(b, &wanted), json.Unmarshal(got.Properties, &properties)); ok && err != nil {
			return fmt.Errorf("%s: %w", want.ID, err)
		}
		if !ok || got.State != "live" || !reflect.DeepEqual(properties, wanted) {
			return fmt.Errorf("%s %s is %q %v, in truth %v", stream, want.ID, got.State, properties, wanted)
		}
	}
	for id, got := range stored {
		if p := string(got.Properties); got.State != "purged" || p != "null" && p != "{}" && p != "" {
			return fmt.Errorf("%s %s is %s and there is none: %.200s", stream, id, got.State, p)
		}
	}
	return nil
}

// syncs makes a run and holds what is stored by its end against the truth.
// HubSpot says the time of a reading to the second, and of rows without a version
// only a later one replaces: so it reads in another second than the run before.
func (r *rig) syncs(stream, object, after string) {
	r.t.Helper()
	second := time.Now().Unix()
	until(r.t, "the next second", func() error {
		if time.Now().Unix() == second {
			return problem("it is still the same")
		}
		return nil
	})
	if run := r.sync(stream); run.Error != nil {
		r.t.Fatalf("after %s: %+v", after, run.Error)
	}
	if err := r.rowsEqual(stream, object); err != nil {
		r.t.Fatalf("after %s: %v", after, err)
	}
}

// within does something once, when records of a pair, or of deals, are asked
// for by their ids.
func within(path string, do func(ids []string)) front {
	var once sync.Once
	return func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, path) {
			var in struct{ Inputs []struct{ ID string } }
			_ = json.Unmarshal([]byte(body(q)), &in)
			ids := make([]string, len(in.Inputs))
			for i := range in.Inputs {
				ids[i] = in.Inputs[i].ID
			}
			once.Do(func() { do(ids) })
		}
		next.ServeHTTP(w, q)
	}
}

// Associations as a stream of their own are the truth after every run: through
// storms, over more than a page of one record, when they are parted, when either
// end is archived, merged, erased or restored, when records go away between their
// list and their associations, and when the daemon starts anew.
func TestAssociationsAreRows(t *testing.T) {
	t.Parallel()
	for _, missing := range []simulator.Missing{simulator.MissingAs207, simulator.MissingAs200, simulator.MissingSilent} {
		t.Run(string(missing), func(t *testing.T) {
			t.Parallel()
			if missing != simulator.MissingAs207 {
				ordinarily(t)
			}
			r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 1250, "companies": 60, "p_cars": 30}, Properties: 4, Missing: missing,
				Associations: map[string]float64{"contacts-companies": 1.2, "p_cars-contacts": 1}, AssociationPage: 40, FaultRate: 0.01},
				`stream "links" {
  object       = "associations"
  interval     = "1h"
  associations = ["companies/contacts", "contacts/companies", "contacts/p_cars", "p_cars/contacts"]
}
`).start()
			until(t, "the first reading", func() error { return r.rowsEqual("links", "associations") })
			change := func(c simulator.AssociationChange) {
				t.Helper()
				if _, _, err := r.sim.ChangeAssociations("contacts", "companies", c); err != nil {
					t.Fatal(err)
				}
			}
			company := r.live("companies")[3]
			if _, _, err := r.sim.ChangeAssociations("companies", "contacts", simulator.AssociationChange{Storm: 600, StormFrom: company}); err != nil {
				t.Fatal(err)
			}
			change(simulator.AssociationChange{Storm: 800})
			r.syncs("links", "associations", "storms")
			position := r.position("links")
			r.syncs("links", "associations", "nothing")
			if now := r.position("links"); now != position {
				t.Errorf("the feed went from %d to %d, and nothing changed", position, now)
			}

			var parted simulator.AssociationChange
			for _, a := range r.sim.TruthAssociations("contacts", "companies")[:40] {
				parted.Dissociate = append(parted.Dissociate, simulator.Link{From: a.From, To: a.To})
			}
			change(parted)
			r.syncs("links", "associations", "some were parted")
			first := parted.Dissociate[0]
			change(simulator.AssociationChange{Associate: []simulator.Link{{From: first.From, To: first.To, Label: "Billing; accounts"}}})
			r.syncs("links", "associations", "one is back, with a label")

			contacts := r.live("contacts")
			r.change("contacts", simulator.Change{Archive: contacts[:10], Delete: contacts[10:15], Merge: []simulator.Merge{
				{Into: contacts[20], From: contacts[21:22]}, {Into: contacts[30], From: contacts[31:32], NewID: true}}})
			r.syncs("links", "associations", "one end of some is gone")

			r.between(within("/contacts/companies/", func(ids []string) {
				r.change("contacts", simulator.Change{Archive: ids[40:50], Delete: ids[50:55]})
			}))
			r.sync("links")
			r.between(nil)
			r.syncs("links", "associations", "some went away while they were read")

			r.change("contacts", simulator.Change{Restore: contacts[:10]})
			r.syncs("links", "associations", "some were restored")

			r.stopWorker()
			r.stopDaemon()
			r.start()
			change(simulator.AssociationChange{Storm: 50})
			r.syncs("links", "associations", "a restart")
		})
	}
}

// More associations than may end at once are kept until a person says so, and
// what is new comes all the same.
func TestManyAssociationsEndWithABrake(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 500, "companies": 20}, Properties: 4,
		Associations: map[string]float64{"contacts-companies": 1.5}},
		`stream "associations" {
  interval     = "1h"
  associations = ["contacts/companies"]
}
`).start()
	equal := func() error { return r.onlyPair("associations", "contacts", "companies") }
	until(t, "the first reading", equal)
	had := r.status("associations").Records
	var parted simulator.AssociationChange
	all := r.sim.TruthAssociations("contacts", "companies")
	for _, a := range all[:300] {
		parted.Dissociate = append(parted.Dissociate, simulator.Link{From: a.From, To: a.To})
	}
	if _, _, err := r.sim.ChangeAssociations("contacts", "companies", parted); err != nil {
		t.Fatal(err)
	}
	made := r.change("companies", simulator.Change{Create: 1})[0]
	if _, _, err := r.sim.ChangeAssociations("contacts", "companies", simulator.AssociationChange{Associate: []simulator.Link{{From: all[0].From, To: made}}}); err != nil {
		t.Fatal(err)
	}
	r.sync("associations")
	st := r.status("associations")
	if st.State != client.StateBlocked || st.Error == nil || st.Error.Type != "too-many-deletes" || st.Records != had+1 {
		t.Errorf("%d records of %d: %+v %+v", st.Records, had, st, st.Error)
	}
	id, err := r.api.Reconcile(t.Context(), "associations", true)
	if err != nil {
		t.Fatal(err)
	}
	r.ended(id)
	if err := equal(); err != nil {
		t.Error(err)
	}
	if st := r.status("associations"); st.Error != nil {
		t.Errorf("%+v", st.Error)
	}
}

// onlyPair holds the rows of one pair against the truth.
func (r *rig) onlyPair(stream, from, to string) error {
	stored, err := r.stored(stream)
	if err != nil {
		return err
	}
	var got, want []string
	for id, rec := range stored {
		if rec.State == "live" {
			got = append(got, id)
		}
	}
	for _, a := range r.sim.TruthAssociations(from, to) {
		want = append(want, from+"/"+to+"/"+a.From+"/"+a.To)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("%d associations, %d in truth", len(got), len(want))
	}
	return nil
}

// A pair that HubSpot refuses is in the status; the other pairs go on, and so
// does it when it is refused no more.
func TestAPairIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulator.Options{Sizes: map[string]int{"contacts": 120, "companies": 20}, Properties: 4,
		Associations: map[string]float64{"contacts-companies": 1}},
		`stream "associations" {
  interval     = "1h"
  associations = ["companies/contacts", "contacts/companies"]
}
`)
	refuse := front(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/contacts/companies/") {
			http.Error(w, `{"message":"resource not found"}`, http.StatusNotFound)
			return
		}
		next.ServeHTTP(w, q)
	})
	r.between(refuse)
	r.start()
	until(t, "a word about the pair", func() error {
		st := r.status("associations")
		if st.Error == nil || st.Error.Type != "pair-refused" || !strings.Contains(st.Error.Detail, "contacts/companies: HubSpot knows no associations") || st.State == client.StateBlocked {
			return fmt.Errorf("it is %s, its pair is not named", st.State)
		}
		return nil
	})
	until(t, "the other pair", func() error { return r.onlyPair("associations", "companies", "contacts") })
	links := r.sim.TruthAssociations("companies", "contacts")
	if _, _, err := r.sim.ChangeAssociations("companies", "contacts", simulator.AssociationChange{Dissociate: []simulator.Link{{From: links[0].From, To: links[0].To}}}); err != nil {
		t.Fatal(err)
	}
	r.sync("associations")
	if err := r.onlyPair("associations", "companies", "contacts"); err != nil {
		t.Error(err)
	}
	r.between(nil)
	r.syncs("associations", "associations", "the pair is refused no more")
	if st := r.status("associations"); st.Error != nil || st.OpenIDs != 0 {
		t.Errorf("%+v", st)
	}
	r.between(refuse)
	r.sync("associations")
	if err := r.rowsEqual("associations", "associations"); err != nil {
		t.Errorf("refused again, the rows of the pair have to stay: %v", err)
	}
}

// Deal splits are the truth after every run: made, changed, taken away, their
// deals archived and gone, some of them between the list and the splits.
func TestDealSplits(t *testing.T) {
	t.Parallel()
	for _, missing := range []simulator.Missing{simulator.MissingAs207, simulator.MissingAs200, simulator.MissingSilent} {
		t.Run(string(missing), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simulator.Options{Sizes: map[string]int{"deals": 330}, Properties: 4, Missing: missing, FaultRate: 0.01},
				`stream "deal_splits" { interval = "1h" }
`).start()
			until(t, "the first reading", func() error { return r.rowsEqual("deal_splits", "deal_splits") })
			split := func(c simulator.SetChange) {
				t.Helper()
				if _, err := r.sim.ChangeSet("deal_splits", c); err != nil {
					t.Fatal(err)
				}
			}
			rows, deals := r.sim.TruthSet("deal_splits"), r.live("deals")
			split(simulator.SetChange{Create: 60, Change: 20, Delete: []string{rows[0].ID, rows[7].ID, rows[90].ID}})
			r.syncs("deal_splits", "deal_splits", "changes")
			r.change("deals", simulator.Change{Archive: deals[5:8], Delete: deals[8:10]})
			r.syncs("deal_splits", "deal_splits", "some deals are gone")
			r.between(within("/deal-splits/", func(ids []string) {
				r.change("deals", simulator.Change{Archive: ids[20:24], Delete: ids[24:26]})
			}))
			r.sync("deal_splits")
			r.between(nil)
			r.syncs("deal_splits", "deal_splits", "some deals went away while they were read")
			r.change("deals", simulator.Change{Restore: deals[5:8]})
			r.syncs("deal_splits", "deal_splits", "some deals are restored")
			position := r.position("deal_splits")
			r.syncs("deal_splits", "deal_splits", "nothing")
			if now := r.position("deal_splits"); now != position {
				t.Errorf("the feed went from %d to %d, and nothing changed", position, now)
			}
		})
	}
}
