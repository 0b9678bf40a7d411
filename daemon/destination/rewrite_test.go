package destination

import "testing"

// A rereading that begins anew is for whatever asks most of it: after a restore it
// waits for HubSpot, also where something was erased meanwhile.
func TestWeightier(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ was, now, want string }{
		{ReasonSnapshot, ReasonColumns, ReasonColumns},
		{ReasonErasure, ReasonColumns, ReasonErasure},
		{ReasonEpoch, ReasonErasure, ReasonEpoch},
		{ReasonErasure, ReasonEpoch, ReasonEpoch},
		{ReasonResync, ReasonResync, ReasonResync},
	} {
		if got := Weightier(x.was, x.now); got != x.want {
			t.Errorf("%s, then %s: it goes on for %s", x.was, x.now, got)
		}
	}
}
