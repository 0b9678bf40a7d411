package daemon

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// A broker that has gone silent holds up a stop for one message, however many
// streams have something to say.
func TestASilentBrokerHoldsUpNoStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &Daemon{log: hclog.NewNullLogger(), topics: protocol.Topics{Prefix: "hubpipe"}}
		p := newPublisher(d, nil)
		p.self = func(state string) []byte { return []byte(state) }
		p.list = func(context.Context) ([]client.Status, error) {
			out := make([]client.Status, 20)
			for i := range out {
				out[i].Name = fmt.Sprint("s", i)
			}
			return out, nil
		}
		tried, last := make(chan struct{}, 1), ""
		p.send = func(ctx context.Context, m broker.Message) error {
			if last = string(m.Payload); m.Topic == d.topics.Stream("s1") {
				poke(tried)
			}
			<-ctx.Done()
			return ctx.Err()
		}
		p.start(t.Context())
		<-tried
		began := time.Now()
		if err := p.stop(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 3*time.Second || last != "offline" {
			t.Errorf("it took %s of the bubble's clock, and said %s last", took, last)
		}
	})
}

// And the last answers for a second, whatever is on its way.
func TestASilentBrokerTakesNoLastAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := testBus(t)
		tried := make(chan struct{}, 1)
		b.post = func(ctx context.Context, _ outMessage) error {
			poke(tried)
			<-ctx.Done()
			return ctx.Err()
		}
		b.start(t.Context())
		for range 10 {
			b.keep("hubpipe/workers/w", nil)
		}
		<-tried
		began := time.Now()
		b.stop()
		if took := time.Since(began); took > lastWords {
			t.Errorf("it took %s of the bubble's clock", took)
		}
	})
}
