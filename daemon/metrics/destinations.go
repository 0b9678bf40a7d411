package metrics

import "github.com/hubpipe/hubpipe/daemon/destination"

func destinationRows() []row {
	// each reads one value of every destination; ok false leaves it out.
	each := func(f func(*destination.Status) (value float64, ok bool)) func(*Reading, func(float64, ...string)) {
		return func(r *Reading, put func(float64, ...string)) {
			for i := range r.Destinations {
				if v, ok := f(&r.Destinations[i]); ok {
					put(v, r.Destinations[i].Name)
				}
			}
		}
	}
	streams := func(f func(*destination.StreamStatus) float64) func(*Reading, func(float64, ...string)) {
		return func(r *Reading, put func(float64, ...string)) {
			for _, d := range r.Destinations {
				for i := range d.Streams {
					put(f(&d.Streams[i]), d.Name, d.Streams[i].Stream)
				}
			}
		}
	}
	one, both := []string{"destination"}, []string{"destination", "stream"}
	return []row{
		{"hubpipe_destination_state", gauge, "1 for the state that a destination shows: paused, blocked, failing, running or current; 0 for the others.", []string{"destination", "state"},
			func(r *Reading, put func(float64, ...string)) {
				for _, d := range r.Destinations {
					for _, state := range []string{destination.Paused, destination.Blocked, destination.Failing, destination.Running, destination.Current} {
						put(bit(d.State == state), d.Name, state)
					}
				}
			}},
		{"hubpipe_destination_lag_seconds", gauge, "Age of the oldest change that a destination has not written; 0 where it has all. Absent before it was first reached.", one,
			each(func(d *destination.Status) (float64, bool) { return d.Lag.Seconds(), d.Reached })},
		{"hubpipe_destination_behind", gauge, "Changes that a destination has not written.", both,
			streams(func(s *destination.StreamStatus) float64 { return float64(s.Behind) })},
		{"hubpipe_destination_position", gauge, "Place of a destination in a stream's change feed.", both,
			streams(func(s *destination.StreamStatus) float64 { return float64(s.Place.Position) })},
		{"hubpipe_destination_rows_total", counter, "Rows that a destination has ever written; it is kept over restarts, with the rows.", both,
			streams(func(s *destination.StreamStatus) float64 { return float64(s.Place.Rows) })},
		{"hubpipe_destination_unparsed_total", counter, "Values that were no value of their column's type, and were written as null.", both,
			streams(func(s *destination.StreamStatus) float64 { return float64(s.Place.Unparsed) })},
		{"hubpipe_destination_versions_lost_total", counter, "Versions that were dropped before a destination had written them; it is kept over restarts, in the store.", both,
			streams(func(s *destination.StreamStatus) float64 { return float64(s.Lost) })},
		{"hubpipe_destination_last_commit_timestamp_seconds", gauge, "When a destination last wrote something. Absent before.", one,
			each(func(d *destination.Status) (float64, bool) { return unix(d.LastCommit), !d.LastCommit.IsZero() })},
		{"hubpipe_destination_failures_total", counter, "Attempts to write to a destination that failed.", one,
			each(func(d *destination.Status) (float64, bool) { return float64(d.Failures), true })},
	}
}
