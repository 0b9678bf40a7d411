package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// change asks the simulator for changes and gives the ids.
func (s *system) change(object, body string) []string {
	s.t.Helper()
	code, text := fetch(s.t, http.MethodPost, s.sim+"/_simulator/"+object, body, "")
	if code != http.StatusOK {
		s.t.Fatalf("change: %d %s", code, text)
	}
	return decode[struct{ IDs []string }](s.t, text).IDs
}

// stats are what the simulator counted.
func (s *system) stats() simulator.Stats {
	s.t.Helper()
	_, text := fetch(s.t, http.MethodGet, s.sim+"/_simulator/stats", "", "")
	return decode[simulator.Stats](s.t, text)
}

type row struct {
	ID         string             `json:"id"`
	State      string             `json:"state"`
	Properties map[string]*string `json:"properties"`
}

// truth is what HubSpot has, by id.
func (s *system) truth(object string) (map[string]row, error) {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.sim+"/_simulator/truth/"+object, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	rows := map[string]row{}
	for dec := json.NewDecoder(resp.Body); dec.More(); {
		var r row
		if err := dec.Decode(&r); err != nil {
			return nil, err
		}
		rows[r.ID] = r
	}
	return rows, nil
}

// stored is what the daemon has, each record once.
func (s *system) stored(object string) (map[string]row, error) {
	out, err := s.hubpipe("records", object, "--state", "all")
	if err != nil {
		return nil, err
	}
	rows := map[string]row{}
	for line := range strings.Lines(out) {
		var r row
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("a record does not decode: %w", err)
		}
		if _, twice := rows[r.ID]; twice {
			return nil, fmt.Errorf("record %s stands twice", r.ID)
		}
		rows[r.ID] = r
	}
	return rows, nil
}

// equal holds the store against the truth: each record once, with its content.
// Those named in except are left out.
func (s *system) equal(object string, except ...string) error {
	stored, err := s.stored(object)
	if err != nil {
		return err
	}
	truth, err := s.truth(object)
	if err != nil {
		return err
	}
	for _, id := range except {
		delete(stored, id)
		delete(truth, id)
	}
	for id, want := range truth {
		got, ok := stored[id]
		if !ok || got.State != want.State {
			return fmt.Errorf("record %s of %d is missing or %q", id, len(stored), got.State)
		}
		for p, v := range want.Properties {
			if h := got.Properties[p]; (h == nil) != (v == nil) || v != nil && *h != *v {
				return fmt.Errorf("record %s: property %s differs", id, p)
			}
		}
	}
	if len(truth) != len(stored) {
		return fmt.Errorf("%d are stored, HubSpot has %d", len(stored), len(truth))
	}
	return nil
}

// becomesEqual waits for it.
func (s *system) becomesEqual(objects ...string) {
	s.t.Helper()
	for _, o := range objects {
		until(s.t, o+" equal the truth", func() error { return s.equal(o) })
	}
}
