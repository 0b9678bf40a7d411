package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/internal/failpoint"
)

// Bounds of what waits between the bus and the ledger. What exceeds them is
// dropped: a page comes again, a command is made anew by the next heartbeat.
const (
	intakeQueue  = 256
	busyQueue    = 64
	outboxQueue  = 1024
	intakeActors = 2
	outboxActors = 4
)

// Why the bus lets something go that comes again.
const (
	dropBusy    = "busy"       // the ledger has too much to do; the worker is told
	dropQueue   = "queue_full" // so much that nobody is told
	dropDecode  = "undecodable"
	dropMessage = "outbox_full" // an answer, a command or a status
)

// bus is the daemon's connection to the workers: pages and heartbeats in,
// commands and answers out. Its handlers never wait.
type bus struct {
	topics protocol.Topics
	codec  *protocol.Codec
	loop   *dispatch.Loop
	lease  time.Duration
	log    hclog.Logger

	session *broker.Session
	post    func(context.Context, outMessage) error
	intake  chan rawPage
	busy    chan rawPage // found the intake full
	outbox  chan outMessage
	quit    chan struct{}
	cut     context.CancelFunc // of what is on its way
	wg      sync.WaitGroup

	mu     sync.Mutex
	unread map[string]uint64 // pages in a row that did not decode, by worker
	// joins are the messages that come in pieces, by topic.
	joins map[string]*protocol.Joiner
	// dropped counts what was turned away, by reason: see the constants.
	dropped map[string]uint64
}

type rawPage struct {
	worker  string
	payload []byte
	name    []byte // what it says of itself beside its bytes
	at      time.Time
}

type outMessage struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool
	expiry  time.Duration
}

func newBus(topics protocol.Topics, codec *protocol.Codec, lease time.Duration, log hclog.Logger) *bus {
	b := &bus{topics: topics, codec: codec, lease: lease, log: log,
		intake: make(chan rawPage, intakeQueue), busy: make(chan rawPage, busyQueue),
		outbox: make(chan outMessage, outboxQueue), quit: make(chan struct{}),
		unread: map[string]uint64{}, joins: map[string]*protocol.Joiner{}, dropped: map[string]uint64{}}
	b.post = b.overSession
	return b
}

// subscriptions are what the daemon hears of its workers.
func (b *bus) subscriptions() []broker.Subscription {
	return []broker.Subscription{{Topic: b.topics.Pages("+"), QoS: 1}, {Topic: b.topics.Heartbeat("+"), QoS: 1}}
}

// start begins the goroutines that decode and publish.
func (b *bus) start(ctx context.Context) {
	ctx, b.cut = context.WithCancel(ctx)
	for range intakeActors {
		b.wg.Go(func() { b.each(b.intake, b.page) })
	}
	b.wg.Go(func() { b.each(b.busy, b.turnAway) })
	for range outboxActors {
		b.wg.Go(func() { b.publish(ctx) })
	}
}

// lastWords is how long what is on its way, and the last answers, may take to
// leave.
const lastWords = time.Second

// stop ends them; what waits then is dropped, since all of it is said again.
func (b *bus) stop() {
	close(b.quit)
	late := time.AfterFunc(lastWords, b.cut)
	b.wg.Wait()
	late.Stop()
	b.cut()
}

// message hands over what came in; it never blocks.
func (b *bus) message(topic string, payload, name []byte) {
	id, rest, ok := b.topics.ParseWorker(topic)
	if !ok {
		return
	}
	whole := b.join(topic, payload)
	if whole == nil && len(payload) > 0 {
		return // a part of something
	}
	payload = whole
	switch rest {
	case "heartbeat":
		hb, err := protocol.Unmarshal[protocol.Heartbeat](payload)
		if err != nil || hb.Worker != id {
			b.log.Warn("a heartbeat does not decode or names another worker", "worker", id, "error", err)
			return
		}
		b.loop.Heartbeat(&hb)
	case "pages":
		raw := rawPage{id, payload, name, time.Now()}
		// Before any queue: while it waits, its worker's lease does not end.
		b.loop.Received(id)
		select {
		case b.intake <- raw:
			return
		default:
		}
		select {
		case b.busy <- raw:
		default:
			b.loop.Lost(id) // nobody can be told; it comes again
			b.drops(dropQueue)
		}
	}
}

// joinedTopics bounds how many senders have something in pieces at once. Where
// there are more one gives way, which may be one that sends no more; what is
// dropped comes again.
const joinedTopics = 32

// join gives a whole message, or nil while pieces of it are missing.
func (b *bus) join(topic string, payload []byte) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.joins[topic]
	if j == nil {
		j = &protocol.Joiner{}
	}
	whole := j.Add(payload)
	switch {
	case j.Empty():
		delete(b.joins, topic)
	case b.joins[topic] == nil:
		for other := range b.joins {
			if len(b.joins) < joinedTopics {
				break
			}
			delete(b.joins, other)
		}
		b.joins[topic] = j
	}
	return whole
}

func (b *bus) each(queue chan rawPage, f func(rawPage)) {
	for {
		select {
		case raw := <-queue:
			f(raw)
		case <-b.quit:
			return
		}
	}
}

// read decodes a page, which names its sender. Where its bytes do not, what came
// beside them does. One that nothing names can be answered to nobody: the worker
// repeats it until its attempt ends for making no progress.
func (b *bus) read(raw rawPage) (*protocol.Page, error) {
	p, err := b.codec.Decode(raw.payload)
	if p == nil {
		p = protocol.Named(raw.name)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.unread[raw.worker]
	switch {
	case p == nil:
		b.loop.Lost(raw.worker)
		b.dropped[dropDecode]++
		if b.unread[raw.worker] = n + 1; n == 0 {
			b.log.Warn("a page does not decode; worker and daemon may be of different versions", "worker", raw.worker,
				"bytes", len(raw.payload), "error", err)
		}
	case n > 0:
		delete(b.unread, raw.worker)
		b.log.Warn("pages decode again", "worker", raw.worker, "lost", n)
	}
	return p, err
}

func (b *bus) page(raw rawPage) {
	p, err := b.read(raw)
	if p == nil {
		return
	}
	failpoint.Hit(failpoint.Received)
	in := dispatch.Incoming{Worker: raw.worker, Page: p, Digest: protocol.Digest(raw.payload), Bytes: len(raw.payload), Err: err}
	for _, r := range p.Records {
		in.Bytes += len(r.Properties)
	}
	if !b.loop.Page(in, raw.at) {
		b.sayBusy(raw.worker, p)
	}
}

// turnAway answers a page that found the intake full.
func (b *bus) turnAway(raw rawPage) {
	if p, _ := b.read(raw); p != nil {
		b.loop.Heard(raw.worker, p.Process, raw.at)
		b.sayBusy(raw.worker, p)
	}
}

// drops counts something that is let go.
func (b *bus) drops(reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropped[reason]++
}

// lost is what was let go so far, by reason.
func (b *bus) lost() map[string]uint64 {
	out := map[string]uint64{dropBusy: 0, dropQueue: 0, dropDecode: 0, dropMessage: 0}
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.Copy(out, b.dropped)
	return out
}

func (b *bus) sayBusy(worker string, p *protocol.Page) {
	b.drops(dropBusy)
	b.send(dispatch.Out{Worker: worker, Answer: &protocol.Answer{Type: protocol.Busy, Store: p.Store,
		Epoch: p.Epoch, Process: p.Process, Attempt: p.Attempt, Range: p.Range, Seq: p.Seq}})
}

// send queues a message of the dispatcher; it never blocks.
func (b *bus) send(o dispatch.Out) {
	m := outMessage{qos: 1, expiry: b.lease}
	var v any
	switch {
	case o.Command != nil:
		m.topic, v = b.topics.Commands(o.Worker), o.Command
	case o.Answer != nil:
		m.topic, v = b.topics.Answers(o.Worker), o.Answer
		if o.Answer.Type == protocol.Seen {
			m.qos, m.expiry = 0, b.lease/5
		}
	}
	payload, err := json.Marshal(v)
	if err != nil {
		b.log.Error("encode a message", "worker", o.Worker, "error", err)
		return
	}
	m.payload = payload
	select {
	case b.outbox <- m:
	default:
		b.drops(dropMessage)
		b.log.Debug("outbox is full, a message was dropped", "topic", m.topic)
	}
}

// clear queues the end of a retained message; it never blocks.
func (b *bus) clear(topic string) { b.keep(topic, nil) }

// keep queues a retained message; it never blocks.
func (b *bus) keep(topic string, payload []byte) {
	select {
	case b.outbox <- outMessage{topic: topic, payload: payload, qos: 1, retain: true}:
	default: // what it puts right is found wrong again
	}
}

func (b *bus) publish(ctx context.Context) {
	for {
		select {
		case m := <-b.outbox:
			b.publishOne(ctx, m)
		case <-b.quit:
			b.flush(ctx)
			return
		}
	}
}

// flush sends the last answers.
func (b *bus) flush(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case m := <-b.outbox:
			b.publishOne(ctx, m)
		default:
			return
		}
	}
}

func (b *bus) publishOne(ctx context.Context, m outMessage) {
	ctx, cancel := context.WithTimeout(ctx, b.lease/3)
	defer cancel()
	err := b.post(ctx, m)
	if err == nil {
		failpoint.Hit(failpoint.Answered)
	}
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	b.log.Debug("publish", "topic", m.topic, "error", err)
}

func (b *bus) overSession(ctx context.Context, m outMessage) error {
	publish := b.session.PublishWhole
	if m.retain {
		publish = b.session.Publish // whoever reads it knows of no pieces
	}
	return publish(ctx, broker.Message{Topic: m.topic, Payload: m.payload, QoS: m.qos, Retain: m.retain, Expiry: m.expiry})
}
