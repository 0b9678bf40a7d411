package worker

import (
	"context"
	"errors"
	"sync"
)

// Causes for which a call of HubSpot ends before its answer.
var (
	errSilent   = errors.New("the daemon was not heard")
	errStopping = errors.New("the worker stops")
)

// gate stands before HubSpot. While it is closed nobody enters, and closing it
// ends the calls of those who are inside.
type gate struct {
	mu      sync.Mutex
	open    bool
	shut    chan struct{} // closed for good
	changed chan struct{}
	period  context.Context //nolint:containedctx // ends when the daemon falls silent
	end     context.CancelCauseFunc
}

func newGate() *gate { return &gate{shut: make(chan struct{}), changed: make(chan struct{})} }

// set opens or closes the gate.
func (g *gate) set(open bool) { g.to(open, errSilent) }

// stop closes it for good.
func (g *gate) stop() {
	g.to(false, errStopping)
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isShut() {
		close(g.shut)
	}
}

// stopped is closed when the gate is closed for good.
func (g *gate) stopped() <-chan struct{} { return g.shut }

func (g *gate) isShut() bool {
	select {
	case <-g.shut:
		return true
	default:
		return false
	}
}

func (g *gate) to(open bool, cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isShut() || g.open == open {
		return
	}
	g.open = open
	if !open {
		g.end(cause)
		return
	}
	g.period, g.end = context.WithCancelCause(context.Background())
	close(g.changed)
	g.changed = make(chan struct{})
}

// enter waits until the gate is open. The context that it returns ends with
// ctx, and with errSilent or errStopping as its cause when the gate closes;
// leave has to be called.
func (g *gate) enter(ctx context.Context) (inside context.Context, leave func(), err error) {
	for {
		g.mu.Lock()
		open, shut, changed, period := g.open, g.isShut(), g.changed, g.period
		g.mu.Unlock()
		if shut {
			return nil, nil, errStopping
		}
		if open {
			inside, cancel := context.WithCancelCause(ctx)
			stop := context.AfterFunc(period, func() { cancel(context.Cause(period)) })
			return inside, func() { stop(); cancel(nil) }, nil
		}
		select {
		case <-changed:
		case <-g.shut:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}
