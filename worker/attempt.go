package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// attempt is one run in this process's hands.
type attempt struct {
	w      *Worker
	n      uint64
	store  string
	epoch  uint64
	fetch  protocol.Fetch
	object catalogue.Object
	client *hubspot.Client
	ctx    context.Context //nolint:containedctx // the attempt's own life; it ends with cancel
	cancel context.CancelFunc
	wg     sync.WaitGroup

	progress atomic.Uint64
	requests uint64 // of the client, when the attempt began

	// under w.mu
	ranges map[uint32]*rangeRun
	fresh  chan *rangeRun // ranges that came later

	mu      sync.Mutex
	began   int64
	account *protocol.Account
	wait    *protocol.Wait
	props   []string
	list    string
}

// rangeRun is a range and what answers its pages.
type rangeRun struct {
	protocol.Range
	answers chan protocol.Answer
	repeat  chan struct{}
	listed  []hubspot.Hit // found already, by the run's first search
	found   bool
}

func newRange(g protocol.Range) *rangeRun {
	return &rangeRun{Range: g, answers: make(chan protocol.Answer, 4), repeat: make(chan struct{}, 1)}
}

func newAttempt(w *Worker, c *protocol.Command, client *hubspot.Client) *attempt {
	a := &attempt{w: w, n: c.Attempt, store: c.Store, epoch: c.Epoch, fetch: *c.Fetch, began: c.Fetch.Began,
		requests: client.Requests(), ranges: map[uint32]*rangeRun{}, fresh: make(chan *rangeRun, 4096)}
	a.client = client.Reporting(a.waits)
	a.ctx, a.cancel = context.WithCancel(w.ctx)
	for _, g := range c.Fetch.Ranges {
		a.ranges[g.ID] = newRange(g)
	}
	return a
}

// add takes ranges that the attempt lacks; w.mu is held.
func (a *attempt) add(ranges []protocol.Range) {
	for _, g := range ranges {
		if a.ranges[g.ID] != nil {
			continue
		}
		r := newRange(g)
		select {
		case a.fresh <- r:
			a.ranges[g.ID] = r
		default: // the next heartbeat shows that it is missing
		}
	}
}

// report is what a heartbeat says of the attempt; w.mu is held.
func (a *attempt) report() protocol.AttemptReport {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := protocol.AttemptReport{Attempt: a.n, Began: a.began, Account: a.account, Progress: a.progress.Load(),
		Requests: a.client.Requests() - a.requests, Wait: a.wait}
	for id, g := range a.ranges {
		r.Ranges = append(r.Ranges, protocol.RangeReport{ID: id, Seq: g.Seq})
	}
	return r
}

// waits notes why HubSpot is not getting on.
func (a *attempt) waits(x hubspot.Wait) {
	a.mu.Lock()
	a.wait = nil
	if x.Kind != "" {
		a.wait = &protocol.Wait{Kind: x.Kind, Reason: x.Reason, Until: x.Until.UTC().Format(time.RFC3339)}
	}
	a.mu.Unlock()
	a.progress.Add(1)
	a.w.wake()
}

// errEnded says that the attempt is over without a fault of its own.
var errEnded = errors.New("the attempt has ended")

func (a *attempt) run() {
	err := a.work()
	a.cancel()
	a.wg.Wait()
	switch {
	case err == nil || errors.Is(err, errEnded):
		a.w.finish(a, nil)
	case a.w.ctx.Err() != nil:
	default:
		a.w.finish(a, a.problem(err))
	}
}

// problem turns an error into what a person reads.
func (a *attempt) problem(err error) *protocol.Problem {
	var b *hubspot.Blocked
	var p *refused
	switch {
	case errors.Is(err, context.Canceled):
		return nil
	case errors.As(err, &b):
		return &protocol.Problem{Type: b.Type, Title: "HubSpot refuses", Detail: b.Detail, Hint: b.Hint, Blocked: true}
	case errors.As(err, &p):
		return &protocol.Problem{Type: "page-refused", Title: "the daemon refused a page", Detail: p.reason,
			Hint: "worker and daemon may be of different versions"}
	}
	return &protocol.Problem{Type: "fetch-failed", Title: "the fetch failed", Detail: err.Error(), Hint: "it is tried again by itself"}
}

func (a *attempt) work() error {
	var ok bool
	if a.object, ok = catalogue.Lookup(a.fetch.Object); !ok {
		return fmt.Errorf("the worker knows no object %q; it may be older than the daemon", a.fetch.Object)
	}
	if err := a.contact(); err != nil {
		return err
	}
	ranges := a.first()
	if err := a.definitions(ranges[0]); err != nil {
		return err
	}
	if err := a.searchAll(ranges); err != nil {
		return err
	}
	errs := make(chan error, 1)
	begin := func(r *rangeRun) {
		a.wg.Go(func() {
			if err := a.rangeOf(r); err != nil {
				select {
				case errs <- err:
				default:
				}
			}
		})
	}
	for _, r := range ranges {
		begin(r)
	}
	for {
		select {
		case r := <-a.fresh:
			begin(r)
		case err := <-errs:
			return err
		case <-a.ctx.Done():
			return a.ctx.Err()
		}
	}
}

// first are the ranges that came with the fetch, in order.
func (a *attempt) first() []*rangeRun {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	out := make([]*rangeRun, 0, len(a.fetch.Ranges))
	for _, g := range a.fetch.Ranges {
		out = append(out, a.ranges[g.ID])
	}
	return out
}

// contact makes sure, before one record is read, that the token is of the
// account that the stream's data came from.
func (a *attempt) contact() error {
	acc, err := a.client.Account(a.ctx)
	if err != nil {
		return err
	}
	if a.fetch.Account != 0 && a.fetch.Account != acc.PortalID {
		return &hubspot.Blocked{Type: "account",
			Detail: fmt.Sprintf("the token of portal %s is of HubSpot account %d, and the data here of account %d", a.fetch.Portal, acc.PortalID, a.fetch.Account),
			Hint:   "give the portal a token of the account that it had, or name a new portal"}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.account = &protocol.Account{ID: acc.PortalID, TimeZone: acc.TimeZone, Currency: acc.Currency}
	if a.began == 0 && a.fetch.Kind != "incremental" {
		a.began = acc.Date - 2000
	}
	return nil
}

// definitions reads what properties there are, at the latest an hour after the
// last time, and sends them where the list has changed.
func (a *attempt) definitions(r *rangeRun) error {
	ps, asOf, err := a.client.Properties(a.ctx, a.object)
	if err != nil {
		return err
	}
	for _, p := range ps {
		if matches(a.fetch.Properties, p.Name) && !matches(a.fetch.Exclude, p.Name) || p.Name == a.object.Cursor {
			a.props = append(a.props, p.Name)
		}
	}
	slices.Sort(a.props)
	h := sha256.New()
	for _, n := range a.props {
		h.Write([]byte(n + "\n"))
	}
	a.list = hex.EncodeToString(h.Sum(nil)[:8])
	if a.list == a.fetch.SchemaHash {
		return nil
	}
	b, err := json.Marshal(ps)
	if err != nil {
		return fmt.Errorf("encode the definitions: %w", err)
	}
	if a.began == 0 {
		a.began = asOf - 2000
	}
	_, err = a.send(r, &protocol.Page{Kind: protocol.SchemaPage, To: r.Cursor, List: a.list, AsOf: asOf, Schema: b})
	return err
}

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); ok && err == nil {
			return true
		}
	}
	return false
}

// refused is a page that the daemon will never take.
type refused struct{ reason string }

func (e *refused) Error() string { return "the daemon refused a page: " + e.reason }

// send puts a page in flight and repeats it until it is answered: on a timer
// that backs off, and when the connection is up again.
func (a *attempt) send(r *rangeRun, p *protocol.Page) (protocol.Answer, error) {
	a.mu.Lock()
	p.Store, p.Epoch, p.Process, p.Attempt = a.store, a.epoch, a.w.process, a.n
	p.Range, p.Seq, p.From = r.ID, r.Seq, r.Cursor
	p.Began, p.Account, p.Requests = a.began, a.account, a.client.Requests()-a.requests
	if p.List == "" {
		p.List = a.list
	}
	a.mu.Unlock()
	encoded, err := a.w.o.Codec.Encode(p)
	if err != nil {
		return protocol.Answer{}, err
	}
	wait := a.w.o.Repeat
	for {
		a.publish(encoded)
		t := time.NewTimer(wait)
		got, err := a.await(r, t)
		t.Stop()
		if err != nil || got != nil {
			if got == nil {
				return protocol.Answer{}, err
			}
			return a.take(r, *got)
		}
		wait = min(a.w.o.Lease, wait*2)
	}
}

func (a *attempt) publish(encoded []byte) {
	if !a.w.o.Bus.Connected() {
		return
	}
	ctx, cancel := context.WithTimeout(a.ctx, a.w.o.Lease)
	defer cancel()
	if err := a.w.o.Bus.Publish(ctx, a.w.o.Topics.Pages(a.w.o.Name), encoded, 1, false, a.w.o.Lease); err != nil && a.ctx.Err() == nil {
		a.w.log.Debug("send a page", "error", err)
	}
}

// await returns the answer to the page in flight, or nothing when it is time
// to send it again.
func (a *attempt) await(r *rangeRun, t *time.Timer) (*protocol.Answer, error) {
	for {
		select {
		case got := <-r.answers:
			if got.Seq == r.Seq {
				return &got, nil
			}
		case <-r.repeat:
			return nil, nil
		case <-t.C:
			return nil, nil
		case <-a.ctx.Done():
			return nil, a.ctx.Err()
		}
	}
}

func (a *attempt) take(r *rangeRun, got protocol.Answer) (protocol.Answer, error) {
	a.progress.Add(1)
	switch got.Type {
	case protocol.Committed:
		a.w.mu.Lock()
		r.Seq, r.Cursor = got.Seq+1, got.Cursor
		if got.RangeEnded {
			delete(a.ranges, r.ID)
		}
		a.w.mu.Unlock()
		if got.RunEnded {
			return got, errEnded
		}
		return got, nil
	case protocol.Busy:
		// Not this page's fault: it is sent again after a moment.
		if err := pause(a.ctx, a.w.o.Repeat/2); err != nil {
			return got, err
		}
		return got, errBusy
	}
	return got, &refused{got.Reason}
}

var errBusy = errors.New("the daemon is busy")

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ready waits until the worker may ask HubSpot.
func (a *attempt) ready() error {
	for !a.w.mayFetch() {
		if err := pause(a.ctx, a.w.o.Heartbeat/3); err != nil {
			return err
		}
	}
	a.progress.Add(1)
	return nil
}
