package daemon

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What a destination wants of versions is kept from before the first commit on,
// for as long as is set, and it is said what it has not got.
func TestVersionsAreKept(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Now()
	d := offlineDaemon(t, store.Options{FreeMark: 1, Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	c := &config.Config{Streams: []config.Stream{{Name: "contacts", Object: "contacts", KeepVersions: time.Hour}, {Name: "deals", Object: "deals"}},
		Destinations: []config.Destination{{Type: config.TypePostgres, Name: "warehouse", Versions: true, Problem: "its url is missing"},
			{Type: config.TypePostgres, Name: "other", Problem: "its url is missing"}}}
	specs := destinationSpecs(c)
	d.tellKept(destination.Keeps(specs))
	put := func() {
		t.Helper()
		if err := d.loop.Do(t.Context(), func(*dispatch.Dispatcher, time.Time) ([]dispatch.Out, error) {
			tx, err := d.store.Begin()
			if err != nil {
				return nil, err
			}
			defer tx.Discard()
			for _, name := range []string{"contacts", "deals"} {
				if err := tx.Put(name, &stream.Record{Head: stream.Head{ID: "1", State: stream.Live}, Properties: []byte("{}")}); err != nil {
					return nil, err
				}
			}
			return nil, tx.Commit()
		}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	put()
	m, err := destination.New(t.Context(), destination.Options{Source: &feed{Store: d.store, d: d, began: now}, Path: filepath.Join(t.TempDir(), "destinations.json")})
	if err != nil {
		t.Fatal(err)
	}
	d.destinations = m
	t.Cleanup(m.Stop)
	m.Set(specs)
	d.tellKept(m.Keeps())
	put()
	kept := func(want uint64) {
		t.Helper()
		if err := d.dropVersions(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, err := d.store.VersionsBehind(t.Context(), "contacts", 0); err != nil || n != want {
			t.Errorf("%d versions are kept, not %d: %v", n, want, err)
		}
		if n, err := d.store.VersionsBehind(t.Context(), "deals", 0); err != nil || n != 0 {
			t.Errorf("%d versions are kept of what nobody wants: %v", n, err)
		}
	}
	kept(2)
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	kept(0)
	for name, want := range map[string]uint64{"warehouse": 2, "other": 0} {
		x, err := d.Destination(t.Context(), name)
		if err != nil || len(x.Streams) != 2 || x.Streams[0].VersionsLost != want || x.Streams[1].VersionsLost != 0 {
			t.Errorf("%s says %+v: %v", name, x.Streams, err)
		}
	}
	// The sweep ends with its context.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.keepVersions(ctx)
}

// However much is due: it is looked for a few times, and goes in small commits.
func TestMuchIsDropped(t *testing.T) {
	t.Parallel()
	left, looks := make([][]byte, 30_001), 0
	if err := dropDue(t.Context(), func(_ context.Context, limit int) ([][]byte, error) {
		looks++
		return left[:min(limit, len(left))], nil
	}, func(due [][]byte) error {
		if len(due) > 200 {
			t.Errorf("%d go in one commit", len(due))
		}
		left = left[len(due):]
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 || looks > 3 {
		t.Errorf("%d are left, after %d looks", len(left), looks)
	}
}
