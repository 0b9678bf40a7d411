package client

import "testing"

// What has a share of the day that is less than it needs takes days, however fast
// the portal is.
func TestPlannedWorkTakesDays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		requests, daily int64
		share, days     float64
	}{
		"within its share": {requests: 900, daily: 10_000, share: 0.1},
		"ten times it":     {requests: 10_000, daily: 10_000, share: 0.1, days: 10},
		"without a share":  {requests: 100_000, daily: 10_000},
		"without a limit":  {requests: 100_000, share: 0.1},
	} {
		w := PlannedWork{Requests: &c.requests}
		w.Cost(10, c.daily, c.share)
		if got := w.Days; (got != nil) != (c.days != 0) || got != nil && *got != c.days {
			t.Errorf("%s: %v", name, got)
		}
	}
}
