package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// Publish sends a message and, for QoS 1, returns when the broker has
// acknowledged it. It never blocks longer than its context. After an error
// other than ErrTooLarge and ErrNotConnected the message may still arrive, even
// later. A broker without retained messages gets it without the flag, one with
// less QoS with what it has.
func (s *Session) Publish(ctx context.Context, m Message) error {
	s.mu.Lock()
	c, info, limit, stopped := s.conn, s.info, s.maxPacket(), s.stopped
	if !stopped {
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if stopped {
		return ErrStopped
	}
	release := s.wg.Done
	defer func() {
		if release != nil {
			release()
		}
	}()
	if !validTopic(m.Topic, false) {
		return fmt.Errorf("publish: %q is not a topic", m.Topic)
	}
	if size := packetSize(m); limit > 0 && size > limit {
		return fmt.Errorf("publish to %s: %w", m.Topic, ErrTooLarge{Size: size, Limit: limit})
	}
	if c == nil {
		return ErrNotConnected
	}
	// A publish that waits for an acknowledgement ends with its connection.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	//nolint:contextcheck // the end of the connection ends the call too
	defer context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })()
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("publish to %s: %w", m.Topic, context.Cause(ctx))
	}
	m.QoS = min(m.QoS, info.MaxQoS)
	m.Retain = m.Retain && info.RetainAvailable
	// The write itself knows no context, so it may outlive this call; it ends
	// at the latest with the connection, which a missing ping response ends.
	sent := make(chan error, 1)
	done := release
	release = nil
	go func() {
		defer done()
		defer func() { <-s.slots }()
		sent <- publishError(c.client.Publish(ctx, pahoPublish(m)))
	}()
	select {
	case err := <-sent:
		if err != nil {
			return fmt.Errorf("publish to %s: %w", m.Topic, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("publish to %s: %w", m.Topic, context.Cause(ctx))
	}
}

// PublishWhole is Publish of a message that may be larger than the broker takes:
// it leaves in pieces then, which a protocol.Joiner at the other end puts
// together. Where one of them fails, those before may have arrived.
func (s *Session) PublishWhole(ctx context.Context, m Message) error {
	limit := s.MaxPacket()
	size := packetSize(m)
	if limit == 0 || size <= limit {
		return s.Publish(ctx, m)
	}
	payload := m.Payload
	m.Payload = nil
	// The packet's length takes up to four bytes, of which an empty one has one.
	pieces := protocol.Cut(payload, limit-packetSize(m)-3)
	if pieces == nil {
		return fmt.Errorf("publish to %s: %w", m.Topic, ErrTooLarge{Size: size, Limit: limit})
	}
	for _, m.Payload = range pieces {
		if err := s.Publish(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// publishError says what paho's answer means.
func publishError(r *paho.PublishResponse, err error) error {
	if r != nil && r.ReasonCode >= 0x80 {
		return fmt.Errorf("the broker refused it: reason 0x%02x", r.ReasonCode)
	}
	return err
}

func pahoPublish(m Message) *paho.Publish {
	p := &paho.Publish{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain}
	if m.Expiry > 0 || m.ResponseTopic != "" || len(m.CorrelationData) > 0 {
		p.Properties = &paho.PublishProperties{ResponseTopic: m.ResponseTopic, CorrelationData: m.CorrelationData}
		if m.Expiry > 0 {
			e := seconds(m.Expiry)
			p.Properties.MessageExpiry = &e
		}
	}
	return p
}

// packetSize is the size in bytes of the whole MQTT 5 packet of a message.
func packetSize(m Message) int {
	props := 0
	if m.Expiry > 0 {
		props += 1 + 4
	}
	for _, n := range []int{len(m.ResponseTopic), len(m.CorrelationData)} {
		if n > 0 {
			props += 1 + 2 + n
		}
	}
	n := 2 + len(m.Topic) + varintSize(props) + props + len(m.Payload)
	if m.QoS > 0 {
		n += 2
	}
	return 1 + varintSize(n) + n
}

// varintSize is how many bytes MQTT's variable length takes for n.
func varintSize(n int) int {
	size := 1
	for n >>= 7; n > 0; n >>= 7 {
		size++
	}
	return size
}

// seconds is a duration in whole seconds, rounded up.
func seconds(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min((d+time.Second-1)/time.Second, 1<<32-1))
}

// Stop says goodbye to the broker, so that the last will is not sent, and
// waits until everything of the session has ended. Where ctx ends before, the
// connection is cut. It may be called more than once, and without Start.
func (s *Session) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	cancel, done := s.cancel, s.done
	s.mu.Unlock()
	if done == nil {
		return nil
	}
	cancel(ErrStopped)
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("leave the broker: %w", ctx.Err())
		s.mu.Lock()
		if s.raw != nil {
			_ = s.raw.Close()
		}
		s.mu.Unlock()
		<-done
	}
	s.wg.Wait()
	return err
}
