package daemon

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What HTTP was answered with comes back from the store, beside what the control
// topic was, and neither is taken for the other.
func TestRepeatsAreKept(t *testing.T) {
	t.Parallel()
	d := offlineDaemon(t, store.Options{})
	at := time.Now().UTC().Truncate(time.Millisecond)
	for i, key := range []string{"a", "b", "c"} {
		r := []api.Repeated{{Key: key, Digest: "d" + key, At: at.Add(time.Duration(i) * time.Second), Status: 202, Media: "application/json", Body: []byte(`{"run":"r1"}`)}}
		var forget []string
		if key == "c" {
			forget = []string{"a", "never"}
			r = append(r, api.Repeated{Key: "b", Digest: "db", At: at.Add(time.Second), Status: 202, Media: "application/json", Gone: true})
		}
		if err := d.keepRepeated(t.Context(), r, forget); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.remember(t.Context(), []*stream.Answered{{ID: "b", At: at, Answer: []byte(`{"status":202}`)}, {ID: "c", At: at.Add(time.Hour), Gone: true}}, nil); err != nil {
		t.Fatal(err)
	}
	l, err := d.store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []api.Repeated{
		{Key: "b", Digest: "db", At: at.Add(time.Second), Status: 202, Media: "application/json", Gone: true},
		{Key: "c", Digest: "dc", At: at.Add(2 * time.Second), Status: 202, Media: "application/json", Body: []byte(`{"run":"r1"}`)},
	}
	if got := repeated(l.Answers); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if len(l.Answers) != 4 || l.Answers[0].ID != "b" || l.Answers[0].Door != "" || l.Answers[0].Gone || !l.Answers[3].Gone {
		t.Errorf("the store has %+v", l.Answers)
	}
}
