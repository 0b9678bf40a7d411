package daemon

import (
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Rows that the store lacks end in a warehouse when a stream is settled. A run that
// failed, or was stopped, has brought nothing back.
func TestSettled(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return began.Add(time.Duration(minutes) * time.Minute) }
	for _, tt := range []struct {
		name string
		s    stream.Stream
		want bool
	}{
		{"an incremental run has ended", stream.Stream{Backfilled: true, LastStarted: at(1), CursorAt: at(2)}, true},
		{"none has begun since the start", stream.Stream{Backfilled: true, LastStarted: at(-1), CursorAt: at(2)}, false},
		{"the one that began has not ended well", stream.Stream{Backfilled: true, LastStarted: at(1), CursorAt: at(-5)}, false},
		{"nor has the one behind it", stream.Stream{Backfilled: true, LastStarted: at(3), CursorAt: at(2)}, false},
		{"a reconcile has read everything since", stream.Stream{Backfilled: true, LastStarted: at(3), CursorAt: at(2), ReconciledAt: at(3)}, true},
		{"it has failed", stream.Stream{Backfilled: true, LastStarted: at(3), CursorAt: at(2), ReconciledAt: at(3), ReconcileOwed: true}, false},
		{"one is owed", stream.Stream{Backfilled: true, LastStarted: at(1), CursorAt: at(2), ReconcileNow: true}, false},
		{"records are missing", stream.Stream{Backfilled: true, LastStarted: at(1), CursorAt: at(2), Missing: 1}, false},
		{"the first load goes on", stream.Stream{LastStarted: at(1), CursorAt: at(2)}, false},
	} {
		if got := settledSince(&tt.s, began); got != tt.want {
			t.Errorf("%s: settled %t", tt.name, got)
		}
	}
}
