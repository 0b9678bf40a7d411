package daemon

import (
	"context"
	"time"

	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/metrics"
)

// reading is all that GET /metrics tells, as of one moment of the ledger.
func (d *Daemon) reading(ctx context.Context) (*metrics.Reading, error) {
	r := &metrics.Reading{Version: d.o.Version}
	err := d.ask(ctx, func(x *dispatch.Dispatcher, now time.Time) error {
		r.At, r.Portals, r.Workers, r.Leases, r.Counts = now, x.Portals(now), x.Workers(), x.Leases(), x.Counts()
		for _, name := range x.Names() {
			v, err := x.View(now, name)
			if err != nil {
				return err
			}
			s := metrics.Stream{View: v, Records: d.store.Counts(name), Position: d.store.PositionOf(name)}
			s.Bytes, s.Measured = d.store.Bytes(name)
			r.Streams = append(r.Streams, s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.Ready = d.Ready() == nil
	r.Destinations = d.destinations.Status(ctx)
	r.Unread, r.Queued = d.loop.Waiting()
	r.Dropped = d.bus.lost()
	r.Commits, r.Position, r.Epoch = d.store.Commits(), d.store.Position(), d.store.Epoch()
	if disk, err := d.store.Disk(); err == nil {
		r.Disk = &disk
	}
	r.Connected = d.bus.session.Connected()
	if d.embedded != nil {
		stats := d.embedded.Stats()
		r.Broker = &stats
	}
	return r, nil
}
