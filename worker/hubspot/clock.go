package hubspot

import (
	"context"
	"sync"
	"time"
)

// dateDoubt is by how much the clocks of HubSpot's servers may differ.
const dateDoubt = 2 * time.Second

// skewWarning is the difference to HubSpot's time above which an operator
// should look at this machine's clock.
const skewWarning = 30 * time.Second

// serverClock follows HubSpot's time by the Date of its replies. Between two
// of them it goes by the monotonic clock, so that a jump of this machine's
// clock does not show.
type serverClock struct {
	mu     sync.Mutex
	date   time.Time // as HubSpot said
	at     time.Time // when that was heard, monotonic
	warned bool

	// ahead and aheadAt are the Date that put HubSpot's clock furthest on.
	ahead, aheadAt time.Time
}

// reading is HubSpot's time by which readings are put in their order, zero
// before the first Date. A Date names no more than the second, so that of two
// readings within one the later may have the earlier time, and would be taken
// for the older. This goes on from the Date that was furthest ahead, and of two
// times of one process the later is the greater, unless a Date shows that the
// one it goes by was wrong.
func (c *serverClock) reading() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ahead.IsZero() {
		return time.Time{}
	}
	return c.ahead.Add(time.Since(c.aheadAt))
}

func (c *serverClock) now() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.date.IsZero() {
		return time.Time{}, false
	}
	return c.date.Add(time.Since(c.at)), true
}

// hear notes a Date. It returns the skew of this machine's clock when that is
// worth a warning, which it is once until the clocks agree again.
func (c *serverClock) hear(date time.Time) (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.date, c.at = date, time.Now()
	if known := c.ahead.Add(c.at.Sub(c.aheadAt)); c.ahead.IsZero() || date.After(known) || known.Sub(date) > dateDoubt+time.Second {
		c.ahead, c.aheadAt = date, c.at
	}
	skew := c.at.Sub(date)
	if skew.Abs() <= skewWarning {
		c.warned = false
		return skew, false
	}
	first := !c.warned
	c.warned = true
	return skew, first
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
