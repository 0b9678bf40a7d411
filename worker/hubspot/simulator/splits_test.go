package simulator

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
)

// TestDealSplits asks as strictly as the specification has it, and gets what the
// truth says.
func TestDealSplits(t *testing.T) {
	t.Parallel()
	for missing, status := range map[Missing]int{MissingAs207: 207, MissingAs200: 200, MissingSilent: 200} {
		t.Run(string(missing), func(t *testing.T) {
			t.Parallel()
			p := newPortal(t, Options{Sizes: map[string]int{"deals": 5}, Missing: missing})
			deals := p.Simulator.Truth("deals")
			gone := deals[1].ID
			if _, err := p.Simulator.Change("deals", Change{Archive: []string{gone}}); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Simulator.ChangeSet("deal_splits", SetChange{Create: 3, Parent: deals[2].ID, Change: 2}); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Simulator.ChangeSet("deal_splits", SetChange{Create: 1, Parent: gone}); err == nil {
				t.Error("a deal that is archived gets a split")
			}
			inputs := []map[string]string{{"id": "77"}}
			for _, d := range deals {
				inputs = append(inputs, map[string]string{"id": d.ID})
			}
			const path = "/deal-splits/2026-09/batch/read"
			got := p.do("POST", path, map[string]any{"inputs": inputs})
			var reply struct {
				Results []struct {
					ID     string
					Splits []map[string]any
				}
				Errors []struct {
					Category string
					Context  struct{ IDs []string }
				}
			}
			if err := json.Unmarshal(got.body, &reply); err != nil || got.status != status || len(reply.Results) != 4 {
				t.Fatalf("%d: %v: %s", got.status, err, got.body)
			}
			if missing != MissingSilent && (len(reply.Errors) != 2 || reply.Errors[1].Context.IDs[0] != gone) {
				t.Errorf("%+v", reply.Errors)
			}
			there := map[string]string{}
			for _, r := range reply.Results {
				for _, split := range r.Splits {
					there[fmt.Sprint(r.ID, "/", split["id"])] = fmt.Sprint(split["properties"])
				}
			}
			live := 0
			for _, o := range p.Simulator.TruthSet("deal_splits") {
				if o.State != "live" {
					continue
				}
				live++
				b, _ := json.Marshal(o.Properties["properties"])
				var want map[string]any
				_ = json.Unmarshal(b, &want)
				if there[o.ID] != fmt.Sprint(want) || o.Properties["dealId"] == gone {
					t.Errorf("%s is %q, in truth %v", o.ID, there[o.ID], o.Properties)
				}
			}
			if live != 11 || len(there) != live {
				t.Errorf("%d splits, %d in truth", len(there), live)
			}
			for i := range 96 {
				inputs = append(inputs, map[string]string{"id": strconv.Itoa(i + 1)})
			}
			for _, bad := range []any{map[string]any{"inputs": inputs}, map[string]any{"inputs": []string{gone}}, map[string]any{}, map[string]any{"inputs": []map[string]string{{}}}} {
				if got := p.do("POST", path, bad); got.status != 400 {
					t.Errorf("status %d for %.80v", got.status, bad)
				}
			}
			if got := p.do("GET", path, nil); got.status != 405 {
				t.Errorf("status %d for GET", got.status)
			}
		})
	}
}
