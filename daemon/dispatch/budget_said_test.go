package dispatch

import (
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// A run whose share of the day is used says why it waits and until when, one that
// goes on, one that is held back, and one that has not begun for it.
func TestAShareThatIsUsedIsSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		begun bool
		owes  func(b *bench)
		kind  string
	}{
		"history under way": {true, func(b *bench) { b.d.config[modelStream].History = []string{"*"} }, "history"},
		"history owed":      {false, func(b *bench) { b.d.config[modelStream].History = []string{"*"} }, "history"},
		"a property owed":   {false, func(b *bench) { b.d.streams[modelStream].Fill = []string{"n"} }, "fill"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := filled(t, 600)
			beat := func(history uint64) []Out {
				b.now = b.now.Add(5 * time.Second)
				return b.beat(protocol.Heartbeat{Usage: []protocol.PortalUsage{{Portal: "main", Day: b.now.Format(time.DateOnly), Daily: 10_000, Remaining: 9000,
					Requests: map[string]map[string]uint64{modelStream: {"history": history}}}}})
			}
			if !c.begun {
				beat(1000)
			}
			c.owes(b)
			outs := beat(0)
			if got := fetched(outs, stream.History) != nil; got != c.begun {
				t.Fatalf("a run began: %v", got)
			}
			if c.begun {
				outs = beat(1000)
				beat(1000)
			}
			if run := b.d.runOf(modelStream, true); (run != nil) != c.begun || run != nil && run.Attempt != 0 {
				t.Fatalf("%+v, %v", run, outs)
			}
			v := b.view()
			if v.State != StateThrottled || v.Wait == nil || !strings.Contains(v.Wait.Reason, c.kind+" waits") || v.Wait.Until == "" {
				t.Errorf("it is %s: %+v", v.State, v.Wait)
			}
		})
	}
}
