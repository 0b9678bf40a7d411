package worker

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// before puts something before requests for associations; what it answers with
// true goes no further.
func before(f func(w http.ResponseWriter, r *http.Request, pair string, inputs []string) bool) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, rest, ok := strings.Cut(r.URL.Path, "/crm/associations/2026-09/")
			pair, batch := strings.CutSuffix(rest, "/batch/read")
			if !ok || !batch {
				h.ServeHTTP(w, r)
				return
			}
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			var in struct{ Inputs []struct{ ID string } }
			_ = json.Unmarshal(body, &in)
			inputs := make([]string, len(in.Inputs))
			for i := range in.Inputs {
				inputs[i] = in.Inputs[i].ID
			}
			w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
			if !f(w, r, pair, inputs) {
				h.ServeHTTP(w, r)
			}
		})
	}
}

func (r *rowRig) links(from, to string, c simulator.AssociationChange) {
	r.t.Helper()
	if _, _, err := r.sim.ChangeAssociations(from, to, c); err != nil {
		r.t.Fatal(err)
	}
}

// TestAssociations follows what is associated, parted, archived and gone, over
// more associations than a page has, and more records than a request names.
func TestAssociations(t *testing.T) {
	t.Parallel()
	row, _ := catalogue.Lookup("associations")
	var most, requests atomic.Int64
	o := simulator.Options{Sizes: map[string]int{"contacts": 2300, "companies": 30}, Associations: map[string]float64{"contacts-companies": 1}, AssociationPage: 50}
	r := newRowRig(t, row, o, before(func(_ http.ResponseWriter, _ *http.Request, _ string, inputs []string) bool {
		most.Store(max(most.Load(), int64(len(inputs))))
		requests.Add(1)
		return false
	}))
	r.must("backfill")
	r.equal("at first")
	if n := r.must("incremental"); n != 0 {
		t.Errorf("%d changes where nothing changed", n)
	}
	if most.Load() != 1000 {
		t.Errorf("a request names %d records at most", most.Load())
	}
	companies, contacts := r.sim.Truth("companies"), r.sim.Truth("contacts")
	r.links("companies", "contacts", simulator.AssociationChange{Storm: 800, StormFrom: companies[0].ID})
	r.must("incremental")
	r.equal("after a storm over one company")
	var parted simulator.AssociationChange
	for _, a := range r.sim.TruthAssociations("companies", "contacts")[:500] {
		parted.Dissociate = append(parted.Dissociate, simulator.Link{From: a.From, To: a.To})
	}
	r.links("companies", "contacts", parted)
	if _, err := r.sim.Change("contacts", simulator.Change{Archive: []string{contacts[5].ID}, Delete: []string{contacts[7].ID, contacts[2000].ID}}); err != nil {
		t.Fatal(err)
	}
	requests.Store(0)
	r.must("incremental")
	r.equal("after many were parted")
	if n := requests.Load(); n > 40 {
		t.Errorf("%d requests to read and to look again for what is missing", n)
	}
	label := `Decision maker, "final" say`
	r.links("companies", "contacts", simulator.AssociationChange{Associate: []simulator.Link{parted.Dissociate[0], {From: parted.Dissociate[1].From, To: parted.Dissociate[1].To, Label: label}}})
	if _, err := r.sim.Change("contacts", simulator.Change{Restore: []string{contacts[5].ID}}); err != nil {
		t.Fatal(err)
	}
	r.must("incremental")
	r.equal("after some are back, with labels")
}

// TestAssociationsOfWhatGoesAway has records archived between their list and
// their associations, however HubSpot tells of it.
func TestAssociationsOfWhatGoesAway(t *testing.T) {
	t.Parallel()
	for _, missing := range []simulator.Missing{simulator.MissingAs207, simulator.MissingAs200, simulator.MissingSilent} {
		t.Run(string(missing), func(t *testing.T) {
			t.Parallel()
			row, _ := catalogue.Lookup("associations")
			var r *rowRig
			var once sync.Once
			r = newRowRig(t, row, simulator.Options{Missing: missing}, before(func(_ http.ResponseWriter, _ *http.Request, pair string, inputs []string) bool {
				if pair == "contacts/companies" && len(r.have()) > 0 {
					once.Do(func() {
						if _, err := r.sim.Change("contacts", simulator.Change{Archive: inputs[:20], Delete: inputs[20:30]}); err != nil {
							t.Error(err)
						}
					})
				}
				return false
			}))
			r.must("backfill")
			r.equal("at first")
			r.must("incremental") // companies/contacts are read before
			r.must("incremental")
			r.equal("after some went away while they were read")
		})
	}
}

// TestAPairThatIsRefused keeps the pair's rows, says so, and holds up no other
// pair; refused records hold up no other record.
func TestAPairThatIsRefused(t *testing.T) {
	t.Parallel()
	row, _ := catalogue.Lookup("associations")
	refusals := map[string]func(w http.ResponseWriter){
		"unknown": func(w http.ResponseWriter) { http.Error(w, `{"message":"resource not found"}`, http.StatusNotFound) },
		"invalid": func(w http.ResponseWriter) {
			http.Error(w, `{"message":"these objects have no associations"}`, http.StatusBadRequest)
		},
		"a scope": func(w http.ResponseWriter) {
			http.Error(w, `{"category":"MISSING_SCOPES","errors":[{"context":{"requiredGranularScopes":["crm.objects.companies.read"]}}]}`, http.StatusForbidden)
		},
	}
	for name, refuse := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var on, all atomic.Bool
			var asked atomic.Int64
			r := newRowRig(t, row, simulator.Options{}, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
					if strings.Contains(q.URL.Path, "associations/") && on.Load() && (all.Load() || strings.Contains(q.URL.Path, "/contacts/companies/")) {
						asked.Add(1)
						w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
						refuse(w)
						return
					}
					h.ServeHTTP(w, q)
				})
			})
			r.must("backfill")
			kept := len(r.have())
			on.Store(true)
			r.links("contacts", "companies", simulator.AssociationChange{Dissociate: []simulator.Link{linkOf(r.sim.TruthAssociations("contacts", "companies")[0])}})
			r.must("incremental")
			if n := len(r.have()); n != kept-1 {
				t.Errorf("%d rows of %d: only the pair that is read loses one", n, kept)
			}
			if r.open["contacts/companies/"] == "" || len(r.open) != 1 {
				t.Errorf("open: %v", r.open)
			}
			if n := asked.Load(); n > 6 { // three tries, in two versions
				t.Errorf("a refused pair takes %d requests", n)
			}
			all.Store(true)
			if _, problem := r.read("incremental"); problem == nil || problem.Detail == "" {
				t.Errorf("all pairs are refused: %+v", problem)
			}
			on.Store(false)
			r.must("incremental")
			r.equal("when it is not refused any more")
		})
	}
}

func linkOf(a simulator.Association) simulator.Link { return simulator.Link{From: a.From, To: a.To} }

// TestARecordWithAnError keeps its rows, be it that HubSpot refuses the request
// that names it, or answers with an error of its own beside the others.
func TestARecordWithAnError(t *testing.T) {
	t.Parallel()
	row, _ := catalogue.Lookup("associations")
	var refuse atomic.Bool
	var bad atomic.Value
	bad.Store("none")
	var r *rowRig
	r = newRowRig(t, row, simulator.Options{}, before(func(w http.ResponseWriter, q *http.Request, pair string, inputs []string) bool {
		id := bad.Load().(string)
		if pair != "contacts/companies" || !strings.Contains(" "+strings.Join(inputs, " ")+" ", " "+id+" ") {
			return false
		}
		if refuse.Load() {
			http.Error(w, `{"message":"not this one"}`, http.StatusBadRequest)
			return true
		}
		q.Header.Del("Accept-Encoding")
		answer := httptest.NewRecorder()
		r.sim.ServeHTTP(answer, q)
		var reply map[string]any
		_ = json.Unmarshal(answer.Body.Bytes(), &reply)
		kept := []any{}
		for _, one := range reply["results"].([]any) {
			if one.(map[string]any)["from"].(map[string]any)["id"] != id {
				kept = append(kept, one)
			}
		}
		reply["results"] = kept
		reply["errors"] = []any{map[string]any{"status": "error", "category": "INTERNAL_ERROR", "message": "try again", "context": map[string]any{"fromObjectId": []string{id}}}}
		b, _ := json.Marshal(reply)
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = w.Write(b)
		return true
	}))
	r.must("backfill")
	kept := len(r.have())
	links := r.sim.TruthAssociations("contacts", "companies")
	first, other := links[3], links[40]
	for _, how := range []bool{false, true} {
		refuse.Store(how)
		bad.Store(first.From)
		r.links("contacts", "companies", simulator.AssociationChange{Dissociate: []simulator.Link{linkOf(other)}})
		r.must("incremental")
		if n := len(r.have()); n != kept-2 {
			t.Errorf("refused %t: %d rows of %d", how, n, kept)
		}
		r.equal(fmt.Sprintf("with a record that has an error, refused %t", how))
		r.links("contacts", "companies", simulator.AssociationChange{Associate: []simulator.Link{linkOf(other)}, Dissociate: []simulator.Link{linkOf(first)}})
		r.must("incremental")
		r.mu.Lock()
		_, there := r.records["contacts/companies/"+first.From+"/"+first.To]
		r.mu.Unlock()
		if !there {
			t.Errorf("refused %t: a row of a record that was not read is gone", how)
		}
		bad.Store("none")
		r.must("incremental")
		r.equal("when the record is read again")
		r.links("contacts", "companies", simulator.AssociationChange{Associate: []simulator.Link{linkOf(first)}})
		r.must("incremental")
	}
}

// TestDealSplits follows splits that are made, changed and taken away, and the
// end of a deal.
func TestDealSplits(t *testing.T) {
	t.Parallel()
	row, _ := catalogue.Lookup("deal_splits")
	for _, missing := range []simulator.Missing{simulator.MissingAs207, simulator.MissingAs200, simulator.MissingSilent} {
		t.Run(string(missing), func(t *testing.T) {
			t.Parallel()
			r := newRowRig(t, row, simulator.Options{Sizes: map[string]int{"deals": 260}, Missing: missing, FaultRate: 0.05}, nil)
			r.must("backfill")
			r.equal("at first")
			rows, deals := r.sim.TruthSet("deal_splits"), r.sim.Truth("deals")
			r.change("deal_splits", simulator.SetChange{Create: 40, Change: 10, Delete: []string{rows[0].ID, rows[1].ID, rows[50].ID}})
			if _, err := r.sim.Change("deals", simulator.Change{Archive: []string{deals[9].ID}, Delete: []string{deals[12].ID}}); err != nil {
				t.Fatal(err)
			}
			r.must("incremental")
			r.equal("after changes")
			if n := r.must("incremental"); n != 0 {
				t.Errorf("%d changes where nothing changed", n)
			}
		})
	}
}
