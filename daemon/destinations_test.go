package daemon

import (
	"slices"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/destination"
)

// An erasure is pending where a destination follows the stream and has not come
// past it; of one that was not reached nobody knows.
func TestPending(t *testing.T) {
	t.Parallel()
	at := func(name, streamName string, cleared uint64) destination.Status {
		return destination.Status{Name: name, Streams: []destination.StreamStatus{{Stream: streamName, Place: destination.Place{Cleared: cleared}}}}
	}
	list := []destination.Status{at("behind", "contacts", 6), at("there", "contacts", 7), at("other", "deals", 1), at("unknown", "contacts", 0)}
	if got := pending(list, "contacts", 7); !slices.Equal(got, []string{"behind", "unknown"}) {
		t.Errorf("pending are %v", got)
	}
}
