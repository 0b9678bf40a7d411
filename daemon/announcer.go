package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/durable"
)

const (
	// announceBatch is how many changes are read from one snapshot.
	announceBatch = 500
	// announceAgain is how long a broker that takes nothing is left alone.
	announceAgain = time.Second
	// keepPlacesEvery bounds how much is said twice after a process that died.
	keepPlacesEvery = time.Second
)

// announcer says every committed change on the bus, for those who want HubSpot
// there. It is one more reader of the feed: what it could not say it says
// later, and after a restart it goes on where it was, so that a change may come
// twice and none is left out.
type announcer struct {
	topic   func(stream string) string
	streams func() []string
	read    func(ctx context.Context, name string, since uint64, limit int, fn func(*stream.Record) error) (uint64, error)
	publish func(context.Context, broker.Message) error
	watch   func() (<-chan struct{}, func())
	path    string
	log     hclog.Logger

	places places
	kept   time.Time
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// places are how far the announcer has come: positions of the feed by stream,
// and Base for a stream that is not there.
type places struct {
	Base    uint64            `json:"base"`
	Streams map[string]uint64 `json:"streams"`
}

// open reads the places of before; where there are none, it begins with what is
// committed from now on.
func (a *announcer) open(now uint64) error {
	a.places = places{Base: now, Streams: map[string]uint64{}}
	b, err := os.ReadFile(a.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return a.keep()
	case err != nil:
		return fmt.Errorf("read the places of the changes on the bus: %w", err)
	}
	var p places
	if err := json.Unmarshal(b, &p); err != nil {
		a.log.Warn("how far the changes on the bus had come cannot be read; they begin with the next commit", "file", a.path, "error", err)
		return a.keep()
	}
	a.places.Base = p.Base
	maps.Copy(a.places.Streams, p.Streams)
	return nil
}

// keep writes the places down.
func (a *announcer) keep() error {
	a.kept = time.Now()
	b, err := json.Marshal(a.places)
	if err == nil {
		err = durable.Replace(a.path, b)
	}
	if err != nil {
		return fmt.Errorf("keep the places of the changes on the bus: %w", err)
	}
	return nil
}

func (a *announcer) start(ctx context.Context) {
	ctx, a.cancel = context.WithCancel(ctx)
	a.wg.Go(func() { a.run(ctx) })
}

func (a *announcer) stop(context.Context) error {
	a.cancel()
	a.wg.Wait()
	return a.keep()
}

func (a *announcer) run(ctx context.Context) {
	changed, unwatch := a.watch()
	defer unwatch()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return
		}
		if err := a.catchUp(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			a.log.Debug("the changes wait for the bus", "error", err)
			again.Reset(announceAgain)
		}
	}
}

// catchUp says all that has not been said.
func (a *announcer) catchUp(ctx context.Context) error {
	for _, name := range a.streams() {
		for n := announceBatch; n == announceBatch; {
			n = 0
			since := max(a.places.Base, a.places.Streams[name])
			_, err := a.read(ctx, name, since, announceBatch, func(r *stream.Record) error {
				n++
				return a.say(ctx, name, r)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// say publishes one change and moves its stream's place behind it.
func (a *announcer) say(ctx context.Context, name string, r *stream.Record) error {
	payload, err := api.AppendRecord(nil, r, nil)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = a.publish(wait, broker.Message{Topic: a.topic(name), Payload: payload, QoS: 1})
	if large, ok := errors.AsType[broker.ErrTooLarge](err); ok {
		a.log.Warn("a change is larger than the broker takes and is not said on the bus; raise broker { max_packet }",
			"stream", name, "record", r.ID, "bytes", large.Size, "limit", large.Limit)
		err = nil
	}
	if err != nil {
		return err
	}
	a.places.Streams[name] = r.Seq
	if time.Since(a.kept) > keepPlacesEvery {
		if err := a.keep(); err != nil {
			a.log.Warn("after an end that is not clean changes come twice on the bus", "error", err)
		}
	}
	return nil
}

// announce says changes on the bus where the configuration wants it.
func (d *Daemon) announce(_, own context.Context) error {
	path := d.socket("changes.json")
	if !d.o.Config.Broker.Changes {
		// Switched on again, it begins anew.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget the places of the changes on the bus: %w", err)
		}
		return nil
	}
	a := &announcer{topic: d.topics.Changes, streams: d.shown.names, read: dataAdapter{Store: d.store, shown: &d.shown}.Changes,
		publish: d.bus.session.Publish, watch: d.store.Watch, path: path, log: d.log.Named("changes")}
	if err := a.open(d.store.Position()); err != nil {
		return err
	}
	a.start(own)
	d.onClose("changes on the bus", a.stop)
	return nil
}

// names are the streams that are configured now.
func (x *shown) names() []string {
	m := x.streams.Load()
	if m == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(*m))
}
