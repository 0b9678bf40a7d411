package destination

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What becomes of a stream besides that more of it is written is said once each:
// that everything is written anew, and again from the beginning, and that what was
// replaced stays.
func TestTold(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	r := newRunner(&Manager{log: hclog.New(&hclog.LoggerOptions{Output: &b}), o: Options{Changed: func() {}}}, Spec{Name: "lake", Streams: []Stream{{Name: "contacts"}}})
	untidy := &stream.Problem{Title: "it stays", Detail: "the key may not delete"}
	for _, x := range []struct {
		place Place
		want  string
	}{
		{Place{Position: 50}, ""},
		{Place{Position: 50, Reread: &Reread{Reason: ReasonSnapshot, Until: 50}}, `everything is written anew: destination=lake stream=contacts reason=snapshot from=0 until=50`},
		{Place{Position: 50, Reread: &Reread{Reason: ReasonSnapshot, Position: 40, Until: 50}}, ""},
		{Place{Position: 60, Reread: &Reread{Reason: ReasonSnapshot, Until: 60, Anew: 1, Why: "others"}}, `from the beginning once more: destination=lake stream=contacts reason=snapshot why=others times=1 until=60`},
		{Place{Position: 60, Reread: &Reread{Reason: ReasonErasure, Until: 60, Anew: 2}}, `once more: destination=lake stream=contacts reason=erasure why=erasure times=2 until=60`},
		{Place{Position: 60, Reread: &Reread{Reason: ReasonErasure, Position: 50, Until: 60, Anew: 2}}, ""},
		{Place{Position: 60, Untidy: untidy}, "everything was written anew: destination=lake stream=contacts reason=erasure\nnot taken away: destination=lake stream=contacts error=\"it stays"},
		{Place{Position: 70, Untidy: &stream.Problem{Title: "it stays", Detail: "the key may not delete"}}, ""},
		{Place{Position: 80}, "is taken away again: destination=lake stream=contacts"},
	} {
		b.Reset()
		r.placed("contacts", x.place)
		said := b.String()
		if x.want == "" && said != "" {
			t.Errorf("of %+v it says %s", x.place, said)
		}
		for line := range strings.Lines(x.want) {
			if !strings.Contains(said, strings.TrimSpace(line)) {
				t.Errorf("of %+v it says %s", x.place, said)
			}
		}
	}
}

// What stays where nothing should is nobody's trouble, unless something that was
// erased is part of it.
func TestUntidyIsSaid(t *testing.T) {
	t.Parallel()
	untidy := &stream.Problem{Title: "it stays"}
	for cleared, state := range map[uint64]string{50: Current, 40: Failing} {
		m := &Manager{log: hclog.NewNullLogger(), o: Options{Changed: func() {}, Source: at{place: 50}}}
		r := newRunner(m, Spec{Name: "lake", Streams: []Stream{{Name: "contacts"}}})
		r.on = true
		r.placed("contacts", Place{Position: 50, Cleared: cleared, Untidy: untidy})
		s := r.status(t.Context())
		if s.State != state || (s.Error == untidy) != (state == Failing) || s.Streams[0].Place.Untidy != untidy {
			t.Errorf("clear up to %d it is %+v", cleared, s)
		}
	}
}

// at is a store at a place.
type at struct {
	Source

	place uint64
}

func (a at) PositionOf(string) uint64 { return a.place }
