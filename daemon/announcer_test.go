package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// A broker that takes nothing for a while, and a process that ends between two
// changes, cost no change; each comes in the order of the feed.
func TestNoChangeIsLeftOutOnTheBus(t *testing.T) {
	t.Parallel()
	feed := []uint64{3, 5, 9, 12}
	var said []string
	refuse := 0
	path := filepath.Join(t.TempDir(), "changes.json")
	begin := func() *announcer {
		return &announcer{topic: func(s string) string { return "hubpipe/changes/" + s }, streams: func() []string { return []string{"contacts"} },
			read: func(_ context.Context, _ string, since uint64, _ int, fn func(*stream.Record) error) (uint64, error) {
				for _, seq := range feed {
					if seq <= since {
						continue
					}
					if err := fn(&stream.Record{Head: stream.Head{ID: "1", Seq: seq, State: stream.Live}}); err != nil {
						return 0, err
					}
				}
				return 0, nil
			},
			publish: func(_ context.Context, m broker.Message) error {
				if refuse--; refuse == 0 {
					return errors.New("not connected")
				}
				said = append(said, fmt.Sprintf("%s %s", m.Topic, m.Payload))
				return nil
			}, path: path, log: hclog.NewNullLogger()}
	}
	a := begin()
	if err := a.open(3); err != nil { // what was committed before is not said
		t.Fatal(err)
	}
	refuse = 2
	if err := a.catchUp(t.Context()); err == nil {
		t.Fatal("a broker that refuses is no error")
	}
	if err := a.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.keep(); err != nil {
		t.Fatal(err)
	}
	feed = append(feed, 20)
	b := begin()
	if err := b.open(20); err != nil {
		t.Fatal(err)
	}
	if err := b.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, seq := range []uint64{5, 9, 12, 20} {
		line, err := api.AppendRecord(nil, &stream.Record{Head: stream.Head{ID: "1", Seq: seq, State: stream.Live}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("hubpipe/changes/contacts %s", line))
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Error(diff)
	}
}

// What the broker cannot carry holds nothing up.
func TestAChangeThatIsTooLargeIsPassedOver(t *testing.T) {
	t.Parallel()
	var said int
	a := &announcer{topic: func(s string) string { return s }, streams: func() []string { return []string{"c"} },
		read: func(_ context.Context, _ string, since uint64, _ int, fn func(*stream.Record) error) (uint64, error) {
			for seq := since + 1; seq <= 3; seq++ {
				if err := fn(&stream.Record{Head: stream.Head{ID: "1", Seq: seq}}); err != nil {
					return 0, err
				}
			}
			return 0, nil
		},
		publish: func(context.Context, broker.Message) error {
			if said++; said == 2 {
				return fmt.Errorf("publish: %w", broker.ErrTooLarge{Size: 2, Limit: 1})
			}
			return nil
		}, path: filepath.Join(t.TempDir(), "changes.json"), log: hclog.NewNullLogger()}
	if err := a.open(0); err != nil {
		t.Fatal(err)
	}
	if err := a.catchUp(t.Context()); err != nil || said != 3 || a.places.Streams["c"] != 3 {
		t.Errorf("%v, %d said, %+v", err, said, a.places)
	}
}
