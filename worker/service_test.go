package worker

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker"
)

// overBroker puts the ledger behind a real broker: what the worker says comes
// to it over MQTT, and its answers go the same way.
func overBroker(t *testing.T, l *ledger, socket string) *broker.Session {
	t.Helper()
	in := make(chan broker.Message, 1024)
	out := make(chan broker.Message, 1024)
	s, err := broker.NewSession(broker.SessionOptions{URL: "unix://" + socket, ClientID: l.top.DaemonClient(), Expiry: time.Hour,
		Subscriptions: []broker.Subscription{{Topic: l.top.Pages("+"), QoS: 1}, {Topic: l.top.Heartbeat("+"), QoS: 1}, {Topic: l.top.Worker("+"), QoS: 1}},
		OnMessage: func(topic string, payload []byte, _ broker.Properties) {
			in <- broker.Message{Topic: topic, Payload: payload}
		}})
	if err != nil {
		t.Fatal(err)
	}
	l.out = func(topic string, payload []byte) { out <- broker.Message{Topic: topic, Payload: payload, QoS: 1} }
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{}, 2)
	go func() {
		defer func() { ended <- struct{}{} }()
		for {
			select {
			case m := <-in:
				_ = l.take(m.Topic, m.Payload)
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		defer func() { ended <- struct{}{} }()
		for {
			select {
			case m := <-out:
				if err := s.Publish(ctx, m); err != nil && !errors.Is(err, context.Canceled) {
					t.Log("answer:", err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		<-ended
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(s.Start(ctx), s.AwaitUp(t.Context())); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServiceOverBroker(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "mqtt.sock")
	l, h := newLedger(t), newHub(150)
	b, err := broker.NewEmbedded(broker.EmbeddedOptions{Socket: socket, Prefix: l.top.Prefix})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	overBroker(t, l, socket)
	s, err := NewService(Options{Name: "w", Portals: map[string]Portal{"main": h.portal}, Topics: l.top, Codec: l.codec,
		HeartbeatEvery: 50 * time.Millisecond}, broker.SessionOptions{URL: "unix://" + socket})
	if err != nil {
		t.Fatal(err)
	}
	l.run(backfill())
	if err := errors.Join(s.Start(t.Context()), s.AwaitUp(t.Context())); err != nil {
		t.Fatal(err)
	}
	l.done()
	l.exact(h)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.await("the farewell", func() bool { return l.leaving > 0 })
}
