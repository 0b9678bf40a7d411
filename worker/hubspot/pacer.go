package hubspot

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// useOfCeiling is the share of a limit that is used: what is left covers
	// requests that arrive in another rhythm than they were sent.
	useOfCeiling = 0.95
	// leastShare of a ceiling is used, however busy others are.
	leastShare = 0.05
	// noise is the share of a ceiling below which others are not seen: ours
	// and HubSpot's windows do not begin at the same moment.
	noise = 0.03
)

// pacer spreads requests evenly and holds all of them back while HubSpot
// wants none.
type pacer struct {
	unpaced  bool
	mu       sync.Mutex
	rate     float64       // requests a second
	grace    time.Duration // how far a request may be ahead of the rhythm
	most     int           // requests of about a second, 0 for any number
	next     time.Time     // when the rhythm has its next request
	until    time.Time     // nothing before this moment
	sent     []time.Time   // requests of the last window
	window   time.Duration // of the ceiling, as HubSpot named it
	ceiling  int64         // requests in a window, as HubSpot named it
	daily    int64
	dailyRem int64
	learned  time.Time // when dailyRem was said
	others   int64     // requests of others in the window, as of heard
	heard    time.Time // when HubSpot said what remains of it
}

// newPacer returns a pacer of rate requests a second, burst of which may be
// made at once after a rest. Without a burst the limit is one of each second,
// and those that a busy machine held up do not come with the ones after them.
func newPacer(rate, burst float64) *pacer {
	p := &pacer{rate: rate, grace: seconds(burst / rate), window: 10 * time.Second}
	if burst == 0 {
		p.most = int(rate) + 1
	}
	return p
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// wait returns when the next request may be made; outlast waits for the end of a
// pause.
func (p *pacer) wait(ctx context.Context, outlast func(context.Context, time.Duration) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		d, reserved := p.reserve()
		wait := sleep
		if !reserved {
			wait = outlast
		}
		if err := wait(ctx, d); err != nil {
			return err
		}
		if reserved && p.granted() {
			return nil
		}
	}
}

// reserve takes the next place in the rhythm and says how long to wait for
// it; in a pause it says how long that lasts, and takes none.
func (p *pacer) reserve() (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.until.After(now) {
		// A place is taken when the pause is over: those who waited must not
		// come all at once.
		return p.until.Sub(now), false
	}
	if p.unpaced {
		return 0, true
	}
	slot := p.next
	if earliest := now.Add(-p.grace); slot.Before(earliest) {
		slot = earliest
	}
	p.next = slot.Add(seconds(1 / p.rate))
	return slot.Sub(now), true
}

// granted says whether the place may be used, and notes that it is.
func (p *pacer) granted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.until.After(now) {
		return false
	}
	sent := p.recent(now)
	if n := len(sent) - p.most; p.most > 0 && n >= 0 && !p.unpaced && now.Sub(sent[n]) < time.Second+seconds(0.5/p.rate) {
		return false // a later place is taken
	}
	p.sent = append(sent, now)
	return true
}

func (p *pacer) recent(now time.Time) []time.Time {
	old, edge := 0, now.Add(-p.window)
	for old < len(p.sent) && p.sent[old].Before(edge) {
		old++
	}
	if old > 0 {
		p.sent = append(p.sent[:0], p.sent[old:]...)
	}
	return p.sent
}

// pause holds every request back until a moment; an earlier one than is known
// changes nothing.
func (p *pacer) pause(until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until.After(p.until) {
		p.until = until
	}
}

// crowded tells whether requests wait for their places: the rhythm, and not how
// many ask at once, is what bounds them.
func (p *pacer) crowded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	return !p.unpaced && (p.next.After(now) || p.until.After(now))
}

// known returns the rate now and the day's limit and rest.
func (p *pacer) known() (rate float64, daily, remaining int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate, p.daily, p.dailyRem
}

// named returns the ceiling of a window, 0 before HubSpot named it, and when it
// named the rest of the day.
func (p *pacer) named() (ceiling int64, window time.Duration, rest time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ceiling == 0 {
		return 0, 0, p.learned
	}
	return p.ceiling, p.window, p.learned
}

// used is how many requests of the ceiling are used of the window until now: our
// own, and those of others that HubSpot has told of within it. Beyond the ceiling
// there is nothing to use: what is sent then is refused.
func (p *pacer) used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ceiling == 0 {
		return 0
	}
	now := time.Now()
	n := int64(len(p.recent(now)))
	if now.Sub(p.heard) < p.window {
		n += p.others
	}
	return min(n, p.ceiling)
}

// spent notes that nothing of the day is left.
func (p *pacer) spent() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dailyRem, p.learned = 0, time.Now()
}

// learn takes the ceiling from a reply's headers. What others of the account
// use of it is left to them.
func (p *pacer) learn(h http.Header) {
	ceiling, interval := number(h, "X-Hubspot-Ratelimit-Max"), number(h, "X-Hubspot-Ratelimit-Interval-Milliseconds")
	remaining := number(h, "X-Hubspot-Ratelimit-Remaining")
	p.mu.Lock()
	defer p.mu.Unlock()
	if daily := number(h, "X-Hubspot-Ratelimit-Daily"); daily > 0 {
		p.daily = daily
	}
	if rest := number(h, "X-Hubspot-Ratelimit-Daily-Remaining"); rest >= 0 {
		p.dailyRem, p.learned = rest, time.Now()
	}
	if ceiling <= 0 || interval < 100 || interval > 3600_000 {
		return
	}
	now := time.Now()
	p.window, p.ceiling = time.Duration(interval)*time.Millisecond, ceiling
	var others float64
	if remaining >= 0 {
		others = float64(ceiling-remaining) - float64(len(p.recent(now)))
		p.others, p.heard = max(int64(others), 0), now
	}
	if others < noise*float64(ceiling) {
		others = 0
	}
	share := max(float64(ceiling)-others, leastShare*float64(ceiling))
	p.rate = useOfCeiling * share / p.window.Seconds()
	p.grace = min(time.Second, p.window/40) // a quarter of a second in ten
	if remaining == 0 {
		// The window is used up, by whomever: wait for a part of it to pass.
		if until := now.Add(p.window / 10); until.After(p.until) {
			p.until = until
		}
	}
}

// number reads a header as a number, -1 where there is none.
func number(h http.Header, name string) int64 {
	n, err := strconv.ParseInt(h.Get(name), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
