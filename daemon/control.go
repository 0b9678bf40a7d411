package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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

	// keep makes answers durable; nil keeps them in memory alone.
	keep func(ctx context.Context, answers []*stream.Answered, forget []string) error
	// answered and what follows are used by the one goroutine that serves. Large is
	// what the answers that are not small have in all.
	answered map[string]*stream.Answered
	order    []string
	large    int
	// forgotten and lost are the ids of commands that are known no more, and of those
	// whose answers were let go of, since answers were made durable last.
	forgotten, lost []string
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
	if old := c.answered[cmd.ID]; cmd.ID != "" && old != nil && c.now().Sub(old.At) < stream.AnswersFor {
		same := old.Digest == digest || old.Digest == ""
		switch {
		case same && !old.Gone:
			return old.Answer, nil
		case same:
			a.Error = &client.Problem{Type: client.TypeAnswerGone, Title: "this was answered before, and the answer is not kept any more", Status: 410,
				Detail: fmt.Sprintf("%q came before and was answered at %s; nothing was done again", api.Clip(cmd.ID), old.At.UTC().Format(time.RFC3339)),
				Hint:   "see how it stands with `status`; what is to be done once more takes a new id"}
			return json.Marshal(a)
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
		c.note(a)
	}
}

// note takes an answer in, and lets the oldest go where there are too many, or
// too large ones. Of those it is still known that they were given.
func (c *control) note(a *stream.Answered) {
	if old := c.answered[a.ID]; old != nil { // it is too old: its place is at the end now
		c.large -= stream.Large(len(old.Answer))
		c.order = slices.DeleteFunc(c.order, func(id string) bool { return id == a.ID })
	}
	c.answered[a.ID] = a
	c.order = append(c.order, a.ID)
	c.large += stream.Large(len(a.Answer))
	if len(a.Answer) > stream.LargestAnswer {
		c.lose(a)
	}
	if n := len(c.order) - stream.MostAnswers; n > 0 {
		for _, id := range c.order[:n] {
			c.large -= stream.Large(len(c.answered[id].Answer))
			delete(c.answered, id)
		}
		c.forgotten = append(c.forgotten, c.order[:n]...)
		c.order = c.order[n:]
	}
	for _, id := range c.order {
		if c.large <= stream.LargeAnswers {
			break
		}
		if x := c.answered[id]; stream.Large(len(x.Answer)) > 0 {
			c.lose(x)
		}
	}
}

// lose lets an answer go. What keeps it elsewhere may be reading it: it is not
// changed in place.
func (c *control) lose(a *stream.Answered) {
	c.large -= stream.Large(len(a.Answer))
	gone := *a
	gone.Answer, gone.Gone = nil, true
	c.answered[a.ID] = &gone
	c.lost = append(c.lost, a.ID)
}

// remember keeps an answer here and in the store, which lets go of what is let
// go of here.
func (c *control) remember(ctx context.Context, a *stream.Answered) {
	c.note(a)
	answers, forget := []*stream.Answered{c.answered[a.ID]}, c.forgotten
	for _, id := range c.lost {
		if x := c.answered[id]; x != nil && x.Gone && id != a.ID {
			answers = append(answers, x)
		}
	}
	c.forgotten, c.lost = nil, nil
	if c.keep == nil {
		return
	}
	if err := c.keep(ctx, answers, forget); err != nil {
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
