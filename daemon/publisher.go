package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// publishEvery bounds how often a stream's retained status is sent.
const publishEvery = 500 * time.Millisecond

// publisher keeps the retained topics true: the daemon's status and those of
// the streams. They are for people; nothing decides by them.
type publisher struct {
	d      *Daemon
	list   func(context.Context) ([]client.Status, error)
	send   func(context.Context, broker.Message) error
	self   func(state string) []byte // the daemon's own status
	woken  chan struct{}
	again  chan struct{}
	cancel context.CancelFunc
	wg     sync.WaitGroup
	sent   map[string][]byte // by stream; used by the one goroutine

	mu    sync.Mutex
	names map[string]bool // the streams that there are
}

func newPublisher(d *Daemon, names []string) *publisher {
	known := make(map[string]bool, len(names))
	for _, n := range names {
		known[n] = true
	}
	return &publisher{d: d, names: known, list: d.Streams, self: d.statusPayload, woken: make(chan struct{}, 1), again: make(chan struct{}, 1),
		send: func(ctx context.Context, m broker.Message) error { return d.bus.session.Publish(ctx, m) }, sent: map[string][]byte{}}
}

// wake says that something may have changed; it never blocks.
func (p *publisher) wake() { poke(p.woken) }

// reconnected says that all is to be sent again.
func (p *publisher) reconnected() { poke(p.again) }

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (p *publisher) start(ctx context.Context) {
	poke(p.again)
	ctx, p.cancel = context.WithCancel(ctx)
	p.wg.Go(func() {
		t := time.NewTicker(publishEvery)
		defer t.Stop()
		presence := time.NewTicker(presenceEvery)
		defer presence.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-p.again:
				p.sent = map[string][]byte{}
				p.retained(ctx, p.d.topics.Status(), p.self("online"))
				p.streams(ctx)
			case <-presence.C:
				p.d.correctPresences(ctx)
			case <-t.C:
				select {
				case <-p.woken:
					p.streams(ctx)
				default:
				}
			}
		}
	})
}

// stop says that the daemon is gone, as its will would. What is on its way gives
// way to that: a broker that has gone silent would hold it up for each stream.
func (p *publisher) stop(ctx context.Context) error {
	p.cancel()
	p.wg.Wait()
	p.retained(ctx, p.d.topics.Status(), p.self("offline"))
	return nil
}

func (p *publisher) streams(ctx context.Context) {
	streams, err := p.list(ctx)
	if err != nil {
		return
	}
	names := make(map[string]bool, len(streams))
	for _, s := range streams {
		names[s.Name] = true
	}
	p.mu.Lock()
	p.names = names
	p.mu.Unlock()
	for name := range p.sent {
		if !names[name] {
			p.d.bus.clear(p.d.topics.Stream(name))
			delete(p.sent, name)
		}
	}
	for _, s := range streams {
		if ctx.Err() != nil {
			return
		}
		s.LagSeconds = coarse(s.LagSeconds)
		payload, err := json.Marshal(s)
		if err != nil || bytes.Equal(payload, p.sent[s.Name]) {
			continue
		}
		if p.retained(ctx, p.d.topics.Stream(s.Name), payload) {
			p.sent[s.Name] = payload
		}
	}
}

// coarse rounds the lag to ten seconds: a retained message a second for each
// stream tells nobody more.
func coarse(lag *int64) *int64 {
	if lag == nil {
		return nil
	}
	v := *lag / 10 * 10
	return &v
}

// knows tells whether there is a stream of that name.
func (p *publisher) knows(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names[name]
}

func (p *publisher) retained(ctx context.Context, topic string, payload []byte) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := p.send(ctx, broker.Message{Topic: topic, Payload: payload, QoS: 1, Retain: true})
	if err != nil {
		p.d.log.Debug("publish a status", "topic", topic, "error", err)
	}
	return err == nil
}
