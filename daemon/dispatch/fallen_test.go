package dispatch

import (
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Live records are counted now and then; where they have become fewer than before
// and than are stored, the archived ones are read early.
func TestTheBinIsReadEarly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		counts []int64
		start  int64
		early  bool
	}{
		"fewer":                        {counts: []int64{600, 590}, early: true},
		"as many":                      {counts: []int64{600, 600}},
		"one count alone":              {counts: []int64{590}},
		"fewer, of what is not stored": {counts: []int64{900, 700}},
		"fewer, with a start date":     {counts: []int64{900, 700}, start: 1, early: true},
		"more after fewer":             {counts: []int64{600, 590, 595}, early: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := filled(t, 600)
			cfg := b.d.config[modelStream]
			cfg.ArchivedEvery, cfg.ReconcileEvery, cfg.StartDate, cfg.Settle = 6*time.Hour, 24*time.Hour, c.start, nil
			beat := func() []Out {
				return b.beat(protocol.Heartbeat{})
			}
			began := b.now
			for _, n := range c.counts {
				b.now = b.now.Add(31 * time.Minute)
				cmd := fetched(beat(), stream.Incremental)
				if cmd == nil || !cmd.Fetch.Count {
					t.Fatalf("it is not counted: %+v", cmd)
				}
				if a := b.page(protocol.Page{Attempt: cmd.Attempt, Kind: protocol.ListingPage, To: "x", Last: true, Live: &n}); !a.RunEnded {
					t.Fatalf("%+v", a)
				}
				b.now = b.now.Add(time.Minute)
				if cmd = fetched(beat(), stream.Incremental); cmd == nil || cmd.Fetch.Count {
					t.Fatalf("it is counted again at once: %+v", cmd)
				}
				b.page(protocol.Page{Attempt: cmd.Attempt, Kind: protocol.ListingPage, To: "x", Last: true})
			}
			var cmd *protocol.Command
			for b.now.Before(began.Add(3*time.Hour)) && cmd == nil {
				b.now = b.now.Add(20 * time.Second)
				outs := beat()
				if run := fetched(outs, stream.Incremental); run != nil {
					b.page(protocol.Page{Attempt: run.Attempt, Kind: protocol.ListingPage, To: "x", Last: true})
				}
				cmd = fetched(outs, stream.ArchivedSweep)
			}
			if (cmd != nil) != c.early {
				t.Fatalf("the bin is read: %v, after %s", cmd != nil, b.now.Sub(began))
			}
			if after := b.now.Sub(began); c.early && after < time.Hour {
				t.Errorf("the bin is read after %s", after)
			}
			if c.early && b.store.streams[modelStream].Fallen {
				t.Error("that there are fewer is not forgotten when the bin is read")
			}
		})
	}
}

// How early it is read depends on what the share of archived sweeps pays for.
func TestTheBinIsReadAsEarlyAsItsSharePays(t *testing.T) {
	t.Parallel()
	for daily, want := range map[int64]time.Duration{1_000_000: time.Hour, 625_000: 85 * time.Minute, 250_000: 213 * time.Minute, 100_000: 6 * time.Hour, 0: time.Hour} {
		w := newWorks(t, daily, 5*time.Minute)
		w.live(workStep)
		cfg, s := w.d.config["contacts"], w.d.streams["contacts"].Clone()
		if got := w.d.archivedEvery(s, cfg, w.now); got != cfg.ArchivedEvery {
			t.Errorf("%d a day: every %s though nothing has fallen", daily, got)
		}
		s.Fallen = true
		if got := w.d.archivedEvery(s, cfg, w.now); (got - want).Abs() > time.Minute {
			t.Errorf("%d a day: after %s, want %s", daily, got, want)
		}
	}
}
