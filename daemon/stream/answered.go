package stream

import (
	"encoding/json"
	"time"
)

// Bounds of the answers that are kept for repeats, of each door: how many, for
// how long, and of which size. One of up to SmallAnswer bytes is kept as long as
// its command is known; larger ones together have LargeAnswers, and the oldest
// are let go of; one above LargestAnswer is not kept at all. Of what was let go
// of it is still known that it was done.
const (
	MostAnswers   = 1000
	AnswersFor    = 24 * time.Hour
	SmallAnswer   = 4 << 10
	LargestAnswer = 256 << 10
	LargeAnswers  = 4 << 20
)

// Answered is a command that was done, with its answer as it was sent: the same
// command under the same id is answered again and not done again. Digest names
// the command; "" is one that was kept before there were digests. Door is where
// it came in: "" is the control topic. Gone says that the answer itself was too
// large to be kept.
type Answered struct {
	ID     string          `json:"id"`
	Door   string          `json:"door,omitempty"`
	Digest string          `json:"digest,omitempty"`
	At     time.Time       `json:"at"`
	Answer json.RawMessage `json:"answer"`
	Gone   bool            `json:"gone,omitempty"`
}

// Large is what an answer of so many bytes takes of LargeAnswers.
func Large(n int) int {
	if n <= SmallAnswer {
		return 0
	}
	return n
}
