package dispatch

import (
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// A run that waited for a worker begins long after it was made; its window is
// no older for that. The meeting lost a record by it with seed 44.
func TestWindowsSettleByWhatIsKnownOfTheClock(t *testing.T) {
	t.Parallel()
	known := epochStart
	s := &stream.Stream{Cursor: 100_000, CursorAt: known, LastStarted: known.Add(-70 * time.Second),
		Windows: []stream.Window{{Lo: 50_000, Hi: 100_000}}}
	settle := []time.Duration{30 * time.Second}
	if got := dueWindows(s, settle, known.Add(29*time.Second)); len(got) != 0 {
		t.Fatalf("a window of 29 s settles after 30: %v", got)
	}
	if got := dueWindows(s, settle, known.Add(30*time.Second)); len(got) != 1 {
		t.Fatalf("a window of 30 s does not settle after 30: %v", got)
	}
}
