package daemon

import (
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/notify"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// People are told of a destination that waits for them or fails, by its own
// words, and of none that works or is paused.
func TestWhatIsWrongWithDestinations(t *testing.T) {
	t.Parallel()
	refused := &stream.Problem{Title: "the password is wrong", Detail: "28P01", Hint: "set it"}
	for _, c := range []struct {
		status destination.Status
		says   string // "" for nothing
	}{
		{destination.Status{Name: "dw", State: destination.Current}, ""},
		{destination.Status{Name: "dw", State: destination.Running}, ""},
		{destination.Status{Name: "dw", State: destination.Paused, Error: refused}, ""},
		{destination.Status{Name: "dw", State: destination.Blocked, Error: refused}, "destination dw the password is wrong 28P01 set it"},
		{destination.Status{Name: "dw", State: destination.Failing, Streams: []destination.StreamStatus{{Stream: "deals"}, {Stream: "contacts", Error: refused}}},
			"destination dw contacts: the password is wrong 28P01 set it"},
		{destination.Status{Name: "dw", State: destination.Failing}, "destination dw the destination is failing  see `hubpipe destinations`"},
	} {
		got := ""
		for _, x := range wrongWithDestination(c.status) {
			got = strings.Join([]string{x.Kind, x.Subject, x.Title, x.Detail, x.Hint}, " ")
		}
		if got != c.says {
			t.Errorf("%+v: %q, want %q", c.status, got, c.says)
		}
	}
	if kinds := strings.Join(notify.Kinds(), " "); !strings.Contains(kinds, notify.Destination) {
		t.Errorf("it is none of the kinds %s", kinds)
	}
}
