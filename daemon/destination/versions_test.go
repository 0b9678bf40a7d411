package destination

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is kept is what may still be read: from the place of a rereading on,
// whatever it is called. One that was wanted for new columns may go on under
// another reason.
func TestKeepsFromARereading(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		reread *Reread
		want   uint64
	}{
		{nil, 90},
		{&Reread{Reason: ReasonColumns, Position: 10, Until: 80}, 10},
		{&Reread{Reason: ReasonResync, Position: 10, Until: 80}, 10},
		{&Reread{Reason: ReasonEpoch, Position: 10, Until: 80}, 10},
		{&Reread{Reason: ReasonEpoch, Position: 80, Until: 80}, 90}, // it waits for its sweep
		// Until it has ended nothing of it is there: it may have to be read once more.
		{&Reread{Reason: ReasonColumns, Position: 10, Until: 80, Every: true}, 0},
		{&Reread{Reason: ReasonEpoch, Position: 80, Until: 80, Every: true}, 0},
	} {
		m := &Manager{log: hclog.NewNullLogger()}
		r := newRunner(m, Spec{Name: "warehouse", Streams: []Stream{{Name: "contacts", Versions: time.Hour}, {Name: "deals"}}})
		r.streams["contacts"].place = Place{Position: 90, Reread: x.reread}
		m.runners = append(m.runners, r)
		if diff := cmp.Diff(map[string]Keep{"contacts": {For: time.Hour, Readers: map[string]uint64{"warehouse": x.want}}}, m.Keeps()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", x.reread, diff)
		}
	}
}

// What takes long to count is counted the less often.
func TestCountedByWhatItTakes(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, x := range []struct {
		s    standing
		want bool
	}{
		{standing{behind: 1, counted: now.Add(-countEvery / 2)}, false},
		{standing{behind: 1, counted: now.Add(-2 * countEvery)}, true},
		{standing{behind: 1, counted: now.Add(-9 * time.Second), took: time.Second}, false},
		{standing{behind: 1, counted: now.Add(-time.Minute), took: time.Second}, true},
		{standing{counted: now, took: time.Second}, true},
	} {
		if got := x.s.stale(now); got != x.want {
			t.Errorf("%+v is stale: %t", x.s, got)
		}
	}
}
