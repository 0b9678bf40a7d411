package daemon

import (
	"context"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/store"
)

// versionsEvery is how often the store is told how far the destinations have come
// that want every version, and drops what none of them needs. Those are looked
// for versionsAtOnce, some MB of keys, since each look passes by what was dropped
// before; versionsInOne go in one commit.
const (
	versionsEvery  = 10 * time.Second
	versionsAtOnce = 20_000
	versionsInOne  = 200
)

// tellKept tells the store which versions are wanted.
func (d *Daemon) tellKept(wanted map[string]destination.Keep) {
	keep := make(map[string]store.Keep, len(wanted))
	for name, k := range wanted {
		keep[name] = store.Keep{For: k.For, Readers: k.Readers}
	}
	d.store.KeepVersions(keep)
}

// keepVersions has the store let go of the versions that nobody needs any more.
func (d *Daemon) keepVersions(ctx context.Context) {
	tick := time.NewTicker(versionsEvery)
	defer tick.Stop()
	for said := ""; ; {
		d.tellKept(d.destinations.Keeps())
		switch err := d.dropVersions(ctx); {
		case ctx.Err() != nil:
			return
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			d.log.Warn("versions that nobody needs any more cannot be dropped", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (d *Daemon) dropVersions(ctx context.Context) error {
	return dropDue(ctx, d.store.DueVersions, func(due [][]byte) error {
		return d.loop.Do(ctx, func(x *dispatch.Dispatcher, now time.Time) ([]dispatch.Out, error) { return x.DropVersions(now, due) })
	})
}

// dropDue drops all that is due, a little in each commit.
func dropDue(ctx context.Context, look func(ctx context.Context, limit int) ([][]byte, error), drop func(due [][]byte) error) error {
	for {
		due, err := look(ctx, versionsAtOnce)
		if err != nil || len(due) == 0 {
			return err
		}
		for part := range slices.Chunk(due, versionsInOne) {
			if err := drop(part); err != nil {
				return err
			}
		}
	}
}
