package destination

import (
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// The states of a destination: the first that is so, Current where none is.
const (
	Paused  = "paused"
	Blocked = "blocked" // needs a person
	Failing = "failing" // is tried again
	Running = "running" // has something to write
	Current = "current"
)

// Status is how a destination stands.
type Status struct {
	Name, Kind, Target, State string
	Streams                   []StreamStatus
	// Reached says that the places are known; until then Behind is none.
	Reached      bool
	Lag          time.Duration
	Behind, Rows uint64
	LastCommit   time.Time
	Error        *stream.Problem
	NextTry      time.Time
	Failures     uint64
}

// StreamStatus is how it stands with one stream.
type StreamStatus struct {
	Stream string
	Place  Place
	Head   uint64
	Behind uint64
	// Lost counts the versions that were let go before they were read.
	Lost  uint64
	Error *stream.Problem
}
