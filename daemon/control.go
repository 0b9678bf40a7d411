package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Answer is what becomes of a command of the control topic.
type Answer struct {
	OK     bool   `json:"ok"`
	ID     string `json:"id,omitempty"`
	Action string `json:"action,omitempty"`
	Stream string `json:"stream,omitempty"`
	// Run is the run that began or was joined.
	Run string `json:"run,omitempty"`
	// Status is a client.Status, or for all streams a list of them; it is in every
	// good answer and in no other.
	Status any `json:"status,omitempty"`
	// Failed are those of all streams for which the command did not work.
	Failed []client.Failure `json:"failed,omitempty"`
	Error  *client.Problem  `json:"error,omitempty"`
}

// outcome is what a command that was done came to.
type outcome struct {
	run    string
	status any
	failed []client.Failure
}

// rememberedCommands and rememberFor bound the command ids that are answered
// again and not done again.
const (
	rememberedCommands = 1000
	rememberFor        = 24 * time.Hour
)

// control answers the control topic over a connection of its own without a
// persistent session: no answer means not done.
type control struct {
	topics  protocol.Topics
	do      func(ctx context.Context, c Command) (outcome, error)
	now     func() time.Time
	log     hclog.Logger
	session *broker.Session

	queue chan request
	quit  chan struct{}
	wg    sync.WaitGroup

	// keep makes an answer durable; nil keeps it in memory alone.
	keep func(ctx context.Context, a *stream.Answered, forget []string) error
	// answered is used by the one goroutine that serves.
	answered map[string]*stream.Answered
	order    []string
}

type request struct {
	payload     []byte
	response    string
	correlation []byte
	retained    bool
}

func newControl(topics protocol.Topics, do func(context.Context, Command) (outcome, error), now func() time.Time, log hclog.Logger) *control {
	return &control{topics: topics, do: do, now: now, log: log,
		queue: make(chan request, 64), quit: make(chan struct{}), answered: map[string]*stream.Answered{}}
}

func (c *control) start(ctx context.Context) {
	c.wg.Go(func() {
		for {
			select {
			case r := <-c.queue:
				c.serve(ctx, r)
			case <-c.quit:
				return
			}
		}
	})
}

func (c *control) stop() {
	close(c.quit)
	c.wg.Wait()
}

// message takes a command in; it never blocks. A retained one is refused: it
// would be done again at every start.
func (c *control) message(_ string, payload []byte, p broker.Properties) {
	if p.Retain && len(payload) == 0 {
		return // that is how one is cleared
	}
	select {
	case c.queue <- request{payload: payload, response: p.ResponseTopic, correlation: p.CorrelationData, retained: p.Retain}:
	default:
		c.log.Warn("too many commands at once; one was dropped without an answer")
	}
}

func (c *control) serve(ctx context.Context, r request) {
	topic, ok := c.responseTopic(r.response)
	if !ok {
		c.log.Warn("a command wants its answer where no answer may go", "topic", r.response)
		return
	}
	payload, err := c.answer(ctx, r)
	if err != nil {
		c.log.Error("encode an answer", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m := broker.Message{Topic: topic, Payload: payload, QoS: 1, Expiry: time.Minute, CorrelationData: r.correlation}
	if err := c.session.Publish(ctx, m); err != nil {
		c.log.Warn("an answer could not be sent", "topic", topic, "error", err)
	}
}

// responseTopic is where an answer goes: the default, a topic below it, or one
// outside the prefix; never to wildcards, $ topics or another topic of ours.
func (c *control) responseTopic(asked string) (string, bool) {
	def := c.topics.ControlResponse()
	switch {
	case asked == "" || asked == def:
		return def, true
	case strings.ContainsAny(asked, "+#\x00") || strings.HasPrefix(asked, "$"):
		return "", false
	case strings.HasPrefix(asked, def+"/"):
		return asked, true
	case asked == c.topics.Prefix || strings.HasPrefix(asked, c.topics.Prefix+"/"):
		return "", false
	}
	return asked, true
}

// refuse answers a retained command, which is not done and not remembered: the
// same command may come again as it should.
func (c *control) refuse(payload []byte) Answer {
	c.log.Warn("a retained command was refused; clear it with an empty retained message")
	cmd, _ := ParseCommand(payload) // for the answer's names alone
	return Answer{ID: cmd.ID, Action: cmd.Action, Stream: cmd.Stream, Error: &client.Problem{Type: client.TypeBadCommand,
		Title: "a retained command is refused", Status: 400, Detail: "a command that the broker keeps would be done again at every start",
		Hint: "send it without the retain flag, and clear the one that is kept with an empty retained message"}}
}

// answer does a command, or says again what became of one that was done. What
// is no command does nothing, and leaves its id to the one that is meant.
func (c *control) answer(ctx context.Context, r request) ([]byte, error) {
	if r.retained {
		return json.Marshal(c.refuse(r.payload))
	}
	cmd, err := ParseCommand(r.payload)
	a := Answer{ID: cmd.ID, Action: cmd.Action, Stream: cmd.Stream}
	if err != nil {
		a.Error = c.problem(cmd, err)
		return json.Marshal(a)
	}
	digest, err := cmd.digest()
	if err != nil {
		return nil, err
	}
	if old := c.answered[cmd.ID]; cmd.ID != "" && old != nil && c.now().Sub(old.At) < rememberFor {
		if old.Digest == digest || old.Digest == "" {
			return old.Answer, nil
		}
		a.Error = &client.Problem{Type: client.TypeIDUsed, Title: "this id was used for another command", Status: 409,
			Detail: fmt.Sprintf("%q named another command less than a day ago; this one was not done", api.Clip(cmd.ID)),
			Hint:   "give each command an id of its own; a repeat of the same command keeps its id"}
		return json.Marshal(a)
	}
	done, err := c.do(ctx, cmd)
	if a.OK = err == nil; a.OK {
		a.Run, a.Status, a.Failed = done.run, done.status, done.failed
	} else {
		a.Error = c.problem(cmd, err)
	}
	payload, err := json.Marshal(a)
	if err == nil && cmd.ID != "" && cmd.changes() && (a.OK || a.Error.Status < 500) {
		c.remember(ctx, &stream.Answered{ID: cmd.ID, Digest: digest, At: c.now().Round(0), Answer: payload})
	}
	return payload, err
}

// recall takes over what the store remembers, oldest first.
func (c *control) recall(answers []*stream.Answered) {
	for _, a := range answers {
		c.answered[a.ID] = a
		c.order = append(c.order, a.ID)
	}
}

// remember keeps an answer, and lets the oldest go where there are too many.
func (c *control) remember(ctx context.Context, a *stream.Answered) {
	if c.answered[a.ID] == nil {
		c.order = append(c.order, a.ID)
	}
	c.answered[a.ID] = a
	var forget []string
	if n := len(c.order) - rememberedCommands; n > 0 {
		forget, c.order = c.order[:n:n], c.order[n:]
		for _, id := range forget {
			delete(c.answered, id)
		}
	}
	if c.keep == nil {
		return
	}
	if err := c.keep(ctx, a, forget); err != nil {
		c.log.Warn("a command's answer is remembered until the next start only", "id", a.ID, "error", err)
	}
}

// problem is an error as it is over HTTP, too.
func (c *control) problem(cmd Command, err error) *client.Problem {
	p, expected := api.Describe(err, knownErrors())
	if !expected {
		c.log.Error("a command failed", "action", cmd.Action, "stream", cmd.Stream, "error", err)
	}
	return p
}
