package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
)

// sessionExpiry is how long the broker keeps what waits for a worker that lost
// its connection.
const sessionExpiry = time.Hour

var _ Bus = (*link)(nil)

// Service is a Worker with its connection to the broker.
type Service struct {
	*Worker
	session *broker.Session
}

// NewService makes a worker and its session. Of the session's options it sets
// client id, will, subscriptions, expiry and callbacks; where the broker is and
// who comes is the caller's. Options.Bus is ignored.
func NewService(o Options, s broker.SessionOptions) (*Service, error) {
	l := &link{}
	o.Bus = l
	w, err := New(o)
	if err != nil {
		return nil, err
	}
	offline, err := w.Presence("offline")
	if err != nil {
		return nil, err
	}
	t, name := o.Topics, o.Name
	s.ClientID, s.CleanStart, s.Expiry = t.WorkerClient(name), false, sessionExpiry
	s.Will = &broker.Message{Topic: t.Worker(name), Payload: offline, QoS: 1, Retain: true}
	s.Subscriptions = []broker.Subscription{{Topic: t.Commands(name), QoS: 1}, {Topic: t.Answers(name), QoS: 1}, {Topic: t.Worker(name), QoS: 1}}
	s.OnUp = func(info broker.ConnInfo) {
		w.suits(info)
		w.Up()
	}
	s.OnDown = func(err error) { w.log.Warn("lost the broker", "error", err) }
	s.OnMessage = func(topic string, payload []byte, _ broker.Properties) { w.Message(topic, payload) }
	if l.session, err = broker.NewSession(s); err != nil {
		return nil, fmt.Errorf("make the worker's session: %w", err)
	}
	return &Service{Worker: w, session: l.session}, nil
}

// suits says what the broker lacks, on every connection.
func (w *Worker) suits(info broker.ConnInfo) {
	w.log.Info("connected to the broker", "max_packet", info.MaxPacket, "session_present", info.SessionPresent)
	if need := uint32(protocol.MaxPageBytes + envelope); info.MaxPacket != 0 && info.MaxPacket < need {
		w.log.Warn("the broker takes smaller packets than a full page may be; such pages are cut", "max_packet", info.MaxPacket, "full_page", need)
	}
}

// Start begins the worker and lets the session connect in the background.
func (s *Service) Start(ctx context.Context) error {
	if err := s.Worker.Start(ctx); err != nil {
		return err
	}
	if err := s.session.Start(context.WithoutCancel(ctx)); err != nil {
		return errors.Join(fmt.Errorf("start the worker's session: %w", err), s.Worker.Stop(ctx))
	}
	return nil
}

// AwaitUp returns when the broker is reached, or with the context's error.
func (s *Service) AwaitUp(ctx context.Context) error { return s.session.AwaitUp(ctx) }

// Stop lets go of the work, tells the daemon, and leaves the broker.
func (s *Service) Stop(ctx context.Context) error {
	return errors.Join(s.Worker.Stop(ctx), s.session.Stop(ctx))
}

// link is the Bus over a session.
type link struct{ session *broker.Session }

func (l *link) Publish(ctx context.Context, topic string, payload, name []byte, qos byte, retain bool, expiry time.Duration) error {
	publish := l.session.PublishWhole
	if retain {
		publish = l.session.Publish // whoever reads it knows of no pieces
	}
	return publish(ctx, broker.Message{Topic: topic, Payload: payload, QoS: qos, Retain: retain, Expiry: expiry, CorrelationData: name})
}

func (l *link) MaxPacket() int { return l.session.MaxPacket() }

func (l *link) Connected() bool { return l.session.Connected() }
