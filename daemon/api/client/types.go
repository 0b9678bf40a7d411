// Package client is the typed client of the daemon's HTTP API, and the shapes
// that travel over it.
package client

import (
	"encoding/json"
	"time"
)

// Problem is an error as the API gives it (problem+json).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status,omitempty"`
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// Error is the title and the detail.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}

// Status is how a stream stands.
type Status struct {
	Name              string     `json:"name"`
	Portal            string     `json:"portal"`
	Object            string     `json:"object"`
	State             string     `json:"state"`
	Interval          string     `json:"interval"`
	EffectiveInterval string     `json:"effective_interval"`
	SetBy             string     `json:"set_by"`
	Records           uint64     `json:"records"`
	Tombstones        uint64     `json:"tombstones"`
	LagSeconds        *int64     `json:"lag_seconds"`
	CompleteUntil     *time.Time `json:"complete_until"`
	OpenIDs           int        `json:"open_ids"`
	NextRun           *time.Time `json:"next_run"`
	Run               *Run       `json:"run"`
	LastRun           *Run       `json:"last_run"`
	Error             *Problem   `json:"error"`
}

// Run is one fetch of a stream.
type Run struct {
	ID       string          `json:"id"`
	Stream   string          `json:"stream"`
	Kind     string          `json:"kind"`
	State    string          `json:"state"`
	Started  time.Time       `json:"started"`
	Ended    *time.Time      `json:"ended"`
	Records  uint64          `json:"records"`
	Pages    uint64          `json:"pages"`
	Requests uint64          `json:"requests"`
	Report   json.RawMessage `json:"report"`
	Error    *Problem        `json:"error"`
}

// Worker is how a worker stands.
type Worker struct {
	ID       string    `json:"id"`
	Process  string    `json:"process"`
	Version  string    `json:"version"`
	State    string    `json:"state"`
	Portals  []string  `json:"portals"`
	Capacity int       `json:"capacity"`
	LastSeen time.Time `json:"last_seen"`
	Runs     []string  `json:"runs"`
}

// Portal is a HubSpot account that data was read from.
type Portal struct {
	Name     string `json:"name"`
	Account  int64  `json:"account"`
	TimeZone string `json:"time_zone"`
	Currency string `json:"currency"`
}

// Record is one record.
type Record struct {
	ID           string          `json:"id"`
	Seq          uint64          `json:"seq"`
	State        string          `json:"state"`
	CreatedAt    string          `json:"createdAt"`
	UpdatedAt    string          `json:"updatedAt"`
	ArchivedAt   *string         `json:"archivedAt"`
	MergedInto   *string         `json:"mergedInto"`
	Properties   json.RawMessage `json:"properties"`
	Associations json.RawMessage `json:"associations"`
}
