package stream

import "time"

// Worker is what the ledger durably knows of a worker id: the process that
// has it, and those that lost it.
type Worker struct {
	ID        string   `json:"id"`
	Process   string   `json:"process"`
	Displaced []string `json:"displaced,omitempty"`
}

// Erasure is a record that a person had erased: all that was held of it but its
// id has gone, and what HubSpot may still have of it is not taken in again.
type Erasure struct {
	Stream string    `json:"stream"`
	Record string    `json:"record"`
	At     time.Time `json:"at"`
}

// Portal is what the ledger durably knows of a portal.
type Portal struct {
	Name     string `json:"name"`
	Account  int64  `json:"account"` // HubSpot's portal id; 0 until first contact
	TimeZone string `json:"time_zone,omitempty"`
	Currency string `json:"currency,omitempty"`
	// Usage is replaced, never changed in place; nil before the first report.
	Usage *Usage `json:"usage,omitempty"`
	// Journal likewise; nil before one was read.
	Journal *Journal `json:"journal,omitempty"`
}

// Journal is how far HubSpot's journal of changes has been read.
type Journal struct {
	Place string `json:"place,omitempty"`
	// PulledAt is when HubSpot last said what lies behind Place, by our clock and
	// some minutes late.
	PulledAt time.Time `json:"pulled_at,omitzero"`
	// Gap is why something was missing last, and GapAt when that was seen.
	Gap   string    `json:"gap,omitempty"`
	GapAt time.Time `json:"gap_at,omitzero"`
}
