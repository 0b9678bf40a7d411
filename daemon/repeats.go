package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// doorHTTP marks the answers that the store keeps for HTTP. Their ids begin with
// it, beside those that people give their commands on the control topic.
const doorHTTP = "http"

// sentOverHTTP is an answer as the store keeps it; one that is gone has no body.
type sentOverHTTP struct {
	Status int    `json:"status"`
	Media  string `json:"media,omitempty"`
	Body   []byte `json:"body,omitempty"`
}

// remember makes the answers to commands durable, in place of those to forget.
func (d *Daemon) remember(ctx context.Context, answers []*stream.Answered, forget []string) error {
	return d.loop.Do(ctx, func(x *dispatch.Dispatcher, now time.Time) ([]dispatch.Out, error) {
		return x.Remember(now, answers, forget)
	})
}

// keepRepeated makes the answers to requests with a key durable.
func (d *Daemon) keepRepeated(ctx context.Context, repeated []api.Repeated, forget []string) error {
	answers := make([]*stream.Answered, len(repeated))
	for i, r := range repeated {
		answer, err := json.Marshal(sentOverHTTP{Status: r.Status, Media: r.Media, Body: r.Body})
		if err != nil {
			return fmt.Errorf("encode an answer: %w", err)
		}
		answers[i] = &stream.Answered{ID: doorHTTP + ":" + r.Key, Door: doorHTTP, Digest: r.Digest, At: r.At, Answer: answer, Gone: r.Gone}
	}
	ids := make([]string, len(forget))
	for i, key := range forget {
		ids[i] = doorHTTP + ":" + key
	}
	return d.remember(ctx, answers, ids)
}

// repeated are the answers that the store keeps for HTTP, oldest first. One that
// cannot be read is as one that was never there.
func repeated(answers []*stream.Answered) (out []api.Repeated) {
	for _, a := range answers {
		var sent sentOverHTTP
		if a.Door != doorHTTP || json.Unmarshal(a.Answer, &sent) != nil || sent.Status == 0 {
			continue
		}
		out = append(out, api.Repeated{Key: a.ID[min(len(a.ID), len(doorHTTP)+1):], Digest: a.Digest, At: a.At, Status: sent.Status, Media: sent.Media, Body: sent.Body, Gone: a.Gone})
	}
	return out
}
