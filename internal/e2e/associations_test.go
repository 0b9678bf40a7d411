package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// linksOf is with whom the records of a stream are associated, by the store.
func (s *system) linksOf(stream, with string) (map[string][]string, error) {
	out, err := s.hubpipe("records", stream)
	if err != nil {
		return nil, err
	}
	links := map[string][]string{}
	for line := range strings.Lines(out) {
		var r struct {
			ID           string
			Associations map[string][]struct {
				ID    string
				Types []struct{ Category string }
			}
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, err
		}
		if _, ok := r.Associations[with]; !ok {
			return nil, fmt.Errorf("%s has no associations with %s", r.ID, with)
		}
		for _, l := range r.Associations[with] {
			if len(l.Types) == 0 {
				return nil, fmt.Errorf("%s is associated with %s without a word how", r.ID, l.ID)
			}
			links[r.ID] = append(links[r.ID], l.ID)
		}
	}
	return links, nil
}

// linked holds the associations of a pair against the truth.
func (s *system) linked(from, to string) error {
	got, err := s.linksOf(from, to)
	if err != nil {
		return err
	}
	_, text := fetch(s.t, http.MethodGet, s.sim+"/_simulator/truth/associations/"+from+"/"+to, "", "")
	want := map[string][]string{}
	for line := range strings.Lines(text) {
		a := decode[struct{ From, To string }](s.t, line)
		want[a.From] = append(want[a.From], a.To)
	}
	for _, m := range []map[string][]string{got, want} {
		for id := range m {
			slices.Sort(m[id])
			m[id] = slices.Compact(m[id])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("associations of %s with %s differ (-truth +store):\n%.500s", from, to, diff)
	}
	return nil
}

// Associations are read with the backfill, with what changes, and again in the
// settle passes: to associate changes no time, and who has just been made is
// associated a moment later.
func TestAssociations(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "1300", "--companies", "400", "--deals", "300", "--limits=false", "--fault-rate", "0.01",
		"--associations", "contacts-companies=1.2,deals-contacts=2,contacts-deals=0.5")
	s.configure(settings{defaults: "associations = []"})
	s.more(`stream "companies" {}
`)
	s.replace(`stream "contacts" {}`, `stream "contacts" { associations = ["companies", "deals"] }`)
	s.replace(`stream "deals" {}`, `stream "deals" { associations = ["contacts"] }`)
	s.daemon()
	s.worker()
	all := func() error {
		for _, pair := range [][2]string{{"contacts", "companies"}, {"contacts", "deals"}, {"deals", "contacts"}} {
			if err := s.linked(pair[0], pair[1]); err != nil {
				return err
			}
		}
		return nil
	}
	until(t, "the associations", all)
	s.becomesEqual("contacts", "companies", "deals")
	made := s.change("deals", `{"create":5}`)
	until(t, "what is new", func() error {
		code, _ := s.curl(http.MethodGet, "/v1/streams/deals/records/"+made[4], "")
		if code != http.StatusOK {
			return fmt.Errorf("status %d", code)
		}
		return nil
	})
	contact := s.live("contacts")[7]
	code, text := fetch(t, http.MethodPost, s.sim+"/_simulator/associations/deals/contacts", fmt.Sprintf(`{"associate":[{"from":%q,"to":%q},{"from":%q,"to":%q}]}`, made[0], contact, made[4], contact), "")
	if code != http.StatusOK {
		t.Fatal(text)
	}
	// The contact itself has not changed: its side comes with the next sweep.
	until(t, "who was associated later", func() error { return s.linked("deals", "contacts") })
	if last := decode[struct{ Records uint64 }](t, s.get("/v1/streams/deals")); last.Records != 305 {
		t.Errorf("%d deals", last.Records)
	}
}
