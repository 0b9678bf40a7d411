package api

import (
	"encoding/json"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// RunOf gives a run as it is shown; nil for nil.
func RunOf(r *stream.Run) *client.Run {
	if r == nil {
		return nil
	}
	out := &client.Run{ID: r.ID, Stream: r.Stream, Kind: string(r.Kind), State: string(r.State),
		Started: r.Started.UTC(), Ended: TimeOf(r.Ended), Records: r.Records, Pages: r.Pages,
		Requests: r.Requests, Error: ProblemOf(r.Error)}
	if r.Report != nil || r.Pass != nil || r.ByList != "" {
		// Of each of them the members; numbers, flags and text always encode.
		out.Report, _ = json.Marshal(struct {
			*stream.Report
			*stream.Pass
			Properties []string `json:"properties,omitempty"`
			ByList     string   `json:"by_list,omitempty"`
		}{r.Report, r.Pass, r.Fill, r.ByList})
	}
	return out
}

// ProblemOf gives a problem as it is shown; nil for nil.
func ProblemOf(p *stream.Problem) *client.Problem {
	if p == nil {
		return nil
	}
	return &client.Problem{Type: p.Type, Title: p.Title, Status: p.Status, Detail: p.Detail, Hint: p.Hint}
}

// TimeOf gives a time as it is shown: in UTC, nil (null) for the zero time.
func TimeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	u := t.UTC()
	return &u
}

// MillisOf gives milliseconds since 1970 as a time in UTC, nil (null) for 0.
func MillisOf(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	u := time.UnixMilli(ms).UTC()
	return &u
}
