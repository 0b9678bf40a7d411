package metrics

import (
	"maps"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// states are all that a stream can show.
func states() []string {
	return []string{dispatch.StateBlocked, dispatch.StateFailing, dispatch.StateThrottled, dispatch.StateRunning,
		dispatch.StateWaiting, dispatch.StateStopped}
}

// each reads one value of every stream; ok false leaves it out.
func each(f func(r *Reading, s *Stream) (value float64, ok bool)) func(*Reading, func(float64, ...string)) {
	return func(r *Reading, put func(float64, ...string)) {
		for i := range r.Streams {
			s := &r.Streams[i]
			if v, ok := f(r, s); ok {
				put(v, s.Config.Name)
			}
		}
	}
}

func streamRows() []row {
	one := []string{"stream"}
	return []row{
		{"hubpipe_stream_info", gauge, "What a stream reads, always 1: portal and object stand here alone.", []string{"stream", "portal", "object"},
			func(r *Reading, put func(float64, ...string)) {
				for _, s := range r.Streams {
					put(1, s.Config.Name, s.Config.Portal, s.Config.Object)
				}
			}},
		{"hubpipe_stream_state", gauge, "1 for the state that a stream shows: blocked, failing, throttled, running, waiting or stopped; 0 for the others.", []string{"stream", "state"},
			func(r *Reading, put func(float64, ...string)) {
				for _, s := range r.Streams {
					for _, state := range states() {
						put(bit(s.State == state), s.Config.Name, state)
					}
				}
			}},
		{"hubpipe_stream_records", gauge, "Records in the store by their state: live, archived, purged or merged.", []string{"stream", "state"},
			func(r *Reading, put func(float64, ...string)) {
				for _, s := range r.Streams {
					for state, n := range map[stream.State]uint64{stream.Live: s.Records.Live, stream.Archived: s.Records.Archived,
						stream.Purged: s.Records.Purged, stream.Merged: s.Records.Merged} {
						put(float64(n), s.Config.Name, string(state))
					}
				}
			}},
		{"hubpipe_stream_lag_seconds", gauge, "Time since the cursor: how old the newest reading of what changed is. Absent before the first one.", one,
			each(func(r *Reading, s *Stream) (float64, bool) {
				return float64(max(0, r.At.UnixMilli()-s.Stream.Cursor)) / 1000, s.Stream.Cursor > 0
			})},
		{"hubpipe_stream_complete_until_timestamp_seconds", gauge, "HubSpot's time up to which every change is here for certain. Absent before the first backfill has ended.", one,
			each(func(_ *Reading, s *Stream) (float64, bool) {
				until := s.Stream.CompleteUntil()
				return float64(until) / 1000, until > 0
			})},
		{"hubpipe_stream_open_ids", gauge, "Records that HubSpot named and would not hand out; they are asked for again and again.", one,
			each(func(_ *Reading, s *Stream) (float64, bool) { return float64(len(s.Stream.Open)), true })},
		{"hubpipe_stream_interval_seconds", gauge, "Time between two incremental runs, as the budget leaves it. Absent where nobody can tell.", one,
			each(func(_ *Reading, s *Stream) (float64, bool) { return s.Every.Seconds(), s.Every > 0 })},
		{"hubpipe_stream_next_run_timestamp_seconds", gauge, "When the next run is due. Absent where none is.", one,
			each(func(_ *Reading, s *Stream) (float64, bool) { return unix(s.Next), !s.Next.IsZero() })},
		{"hubpipe_stream_bytes", gauge, "What the records of a stream take in the store, packed and without their index. Absent before that was counted.", one,
			each(func(_ *Reading, s *Stream) (float64, bool) { return float64(s.Bytes), s.Measured })},
		{"hubpipe_stream_failures", gauge, "Runs in a row that have failed.", one,
			each(func(_ *Reading, s *Stream) (float64, bool) { return float64(s.Stream.Fails), true })},
		{"hubpipe_stream_brake", gauge, "1 while the brake holds: more records were absent than may end without a person's word.", one,
			each(func(_ *Reading, s *Stream) (float64, bool) { return bit(s.Stream.Brake != nil), true })},
		{"hubpipe_stream_lost_records", gauge, "Records that the store has lost and that no reconcile has brought back yet.", one,
			each(func(_ *Reading, s *Stream) (float64, bool) { return float64(s.Stream.Missing), true })},
		{"hubpipe_stream_position", gauge, "The newest place of the stream in the change feed. Absent before the first.", one,
			each(func(_ *Reading, s *Stream) (float64, bool) { return float64(s.Position), s.Position > 0 })},
	}
}

// runStates are how a run can end.
func runStates() []stream.RunState {
	return []stream.RunState{stream.Done, stream.Failed, stream.Stopped}
}

// kinds reads one value of each kind of run of each stream that has ended.
func kinds(f func(dispatch.Ended) float64) func(*Reading, func(float64, ...string)) {
	return func(r *Reading, put func(float64, ...string)) {
		for _, w := range sorted(r.Counts.Runs) {
			put(f(r.Counts.Runs[w]), w.Stream, string(w.Kind))
		}
	}
}

func sorted(runs map[dispatch.RunKind]dispatch.Ended) []dispatch.RunKind {
	return slices.SortedFunc(maps.Keys(runs), func(a, b dispatch.RunKind) int {
		return strings.Compare(a.Stream+" "+string(a.Kind), b.Stream+" "+string(b.Kind))
	})
}

func runRows() []row {
	two := []string{"stream", "kind"}
	return []row{
		{"hubpipe_runs_running", gauge, "1 for each run that goes on, by its kind: incremental, backfill, archived, reconcile, associations, history, fill or record.", two,
			func(r *Reading, put func(float64, ...string)) {
				for _, s := range r.Streams {
					for _, run := range []*stream.Run{s.Incremental, s.Walk} {
						if run != nil {
							put(1, s.Config.Name, string(run.Kind))
						}
					}
				}
			}},
		{"hubpipe_runs_total", counter, "Runs that have ended, by kind and outcome: done, failed or stopped.", []string{"stream", "kind", "outcome"},
			func(r *Reading, put func(float64, ...string)) {
				for _, w := range sorted(r.Counts.Runs) {
					for _, state := range runStates() {
						put(float64(r.Counts.Runs[w].By[state]), w.Stream, string(w.Kind), string(state))
					}
				}
			}},
		{"hubpipe_run_duration_seconds_total", counter, "Time from beginning to end of all runs that have ended.", two,
			kinds(func(e dispatch.Ended) float64 { return e.Seconds })},
		{"hubpipe_run_requests_total", counter, "Requests to HubSpot of all runs that have ended.", two,
			kinds(func(e dispatch.Ended) float64 { return float64(e.Requests) })},
		{"hubpipe_run_records_total", counter, "Records that were written by all runs that have ended.", two,
			kinds(func(e dispatch.Ended) float64 { return float64(e.Records) })},
		{"hubpipe_last_run_duration_seconds", gauge, "Time from beginning to end of the last run that has ended.", two,
			kinds(func(e dispatch.Ended) float64 { return max(0, e.Last.Ended.Sub(e.Last.Started)).Seconds() })},
		{"hubpipe_last_run_requests", gauge, "Requests to HubSpot of the last run that has ended.", two,
			kinds(func(e dispatch.Ended) float64 { return float64(e.Last.Requests) })},
		{"hubpipe_last_run_records", gauge, "Records that the last run that has ended has written.", two,
			kinds(func(e dispatch.Ended) float64 { return float64(e.Last.Records) })},
		{"hubpipe_last_run_ended_timestamp_seconds", gauge, "When the last run has ended.", two,
			kinds(func(e dispatch.Ended) float64 { return unix(e.Last.Ended) })},
	}
}

func reconcileRows() []row {
	one := []string{"stream"}
	of := func(f func(*stream.Report) float64) func(*Reading, func(float64, ...string)) {
		return each(func(_ *Reading, s *Stream) (float64, bool) {
			if s.Stream.LastReport == nil {
				return 0, false
			}
			return f(s.Stream.LastReport), true
		})
	}
	return []row{
		{"hubpipe_reconcile_records", gauge, "What the last reconcile found: checked, missing, stale, candidates, gone, merged, restored, archived and repaired records.", []string{"stream", "result"},
			func(r *Reading, put func(float64, ...string)) {
				for _, s := range r.Streams {
					p := s.Stream.LastReport
					if p == nil {
						continue
					}
					for result, n := range map[string]uint64{"checked": p.Checked, "missing": p.Missing, "stale": p.Stale, "candidates": p.Candidates,
						"gone": p.Gone, "merged": p.Merged, "restored": p.Restored, "archived": p.Archived, "repaired": p.Repaired} {
						put(float64(n), s.Config.Name, result)
					}
				}
			}},
		{"hubpipe_reconcile_untyped_values", gauge, "Values that the last reconcile found not to be of their property's type; its report has them by property.", one,
			of(func(p *stream.Report) (n float64) {
				for _, k := range p.Untyped {
					n += float64(k)
				}
				return n
			})},
		{"hubpipe_reconcile_requests", gauge, "Requests to HubSpot of the last reconcile.", one,
			of(func(p *stream.Report) float64 { return float64(p.Requests) })},
		{"hubpipe_reconcile_duration_seconds", gauge, "Time from beginning to end of the last reconcile, in whole seconds.", one,
			of(func(p *stream.Report) float64 { return float64(p.Seconds) })},
		{"hubpipe_reconcile_ended_timestamp_seconds", gauge, "When the last reconcile has ended.", one,
			each(func(_ *Reading, s *Stream) (float64, bool) {
				return unix(s.Stream.ReportedAt), s.Stream.LastReport != nil
			})},
	}
}
