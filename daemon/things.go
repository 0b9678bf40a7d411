package daemon

import (
	"context"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// things is all that events tell of, as its routes give it.
func (d *Daemon) things(ctx context.Context) ([]thing, error) {
	streams, err := d.Streams(ctx)
	if err != nil {
		return nil, err
	}
	workers, err := d.Workers(ctx)
	if err != nil {
		return nil, err
	}
	portals, err := d.Portals(ctx)
	if err != nil {
		return nil, err
	}
	address := ""
	if a := d.address.Load(); a != nil {
		address = *a
	}
	self := client.Daemon{State: "online", Version: d.o.Version, Address: address, Store: d.store.ID(), Epoch: d.store.Epoch(),
		Process: d.process, Started: d.began.UTC().Truncate(time.Second)}
	out := []thing{{kind: client.EventDaemon, value: self, same: self}}
	now := time.Now()
	for _, s := range streams {
		out = append(out, streamThing(s, now))
		for _, r := range []struct {
			place string
			run   *client.Run
		}{{"now", s.Run}, {"last", s.LastRun}} {
			if r.run != nil {
				out = append(out, thing{kind: client.EventRun, name: s.Name + "/" + r.place, value: r.run, same: r.run})
			}
		}
	}
	for _, w := range workers {
		same := w
		same.LastSeen = time.Time{}
		out = append(out, thing{kind: client.EventWorker, name: w.ID, value: w, same: same})
	}
	destinations, err := d.Destinations(ctx)
	if err != nil {
		return nil, err
	}
	for _, x := range destinations {
		out = append(out, destinationThing(x))
	}
	if figures := d.toldFigures(ctx); figures != nil {
		out = append(out, thing{kind: client.EventFigures, value: *figures, same: *figures})
	}
	for _, p := range portals {
		out = append(out, thing{kind: client.EventPortal, name: p.Name, value: p, same: p})
	}
	return out, nil
}

// seenStream is a status with the second at which it was so.
type seenStream struct {
	client.Status
	at time.Time
}

// streamThing is a stream, whose lag grows all the time: that is no change as
// long as its cursor stands.
func streamThing(s client.Status, now time.Time) thing {
	same := s
	same.LagSeconds = nil
	return thing{kind: client.EventStream, name: s.Name, value: seenStream{s, now}, same: same, moved: func(was any) bool {
		w, ok := was.(seenStream)
		if !ok || (w.LagSeconds == nil) != (s.LagSeconds == nil) {
			return true
		}
		if s.LagSeconds == nil {
			return false
		}
		grown := time.Duration(*s.LagSeconds-*w.LagSeconds)*time.Second - now.Sub(w.at)
		return grown.Abs() >= 2*time.Second // whole seconds are one off at times
	}}
}
