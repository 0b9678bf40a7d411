package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// Presence is the payload of the worker's retained topic: "online", or
// "offline" as its last will.
func (w *Worker) Presence(state string) ([]byte, error) {
	b, err := json.Marshal(protocol.Presence{State: state, Process: w.o.Process, Version: w.o.Version,
		Portals: slices.Sorted(maps.Keys(w.o.Portals)), Capacity: w.o.Concurrency, Time: time.Now().UTC().Format(time.RFC3339)})
	if err != nil {
		return nil, fmt.Errorf("encode presence: %w", err)
	}
	return b, nil
}

func (w *Worker) presence(ctx context.Context, state string) {
	payload, err := w.Presence(state)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, publishBound)
		defer cancel()
		err = w.o.Bus.Publish(ctx, w.o.Topics.Worker(w.o.Name), payload, nil, 1, true, 0)
	}
	if err != nil {
		w.log.Debug("publish presence", "state", state, "error", err)
	}
}

func (w *Worker) heartbeat(ctx context.Context, qos byte) {
	w.mu.Lock()
	hb := w.core.Heartbeat(time.Now())
	hb.Usage, hb.Journals = w.use.report(), w.pulling()
	w.mu.Unlock()
	payload, err := json.Marshal(hb)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, w.o.HeartbeatEvery)
		defer cancel()
		err = w.o.Bus.Publish(ctx, w.o.Topics.Heartbeat(w.o.Name), payload, nil, qos, false, w.o.HeartbeatEvery)
	}
	if err != nil {
		w.log.Debug("send a heartbeat", "error", err)
	}
}
