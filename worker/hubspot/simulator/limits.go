package simulator

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// window counts what happened in the last span, strictly: the oldest of n
// entries has to be span old before another one fits.
type window struct{ times []time.Time }

func (w *window) used(now time.Time, span time.Duration) int {
	i := 0
	for i < len(w.times) && now.Sub(w.times[i]) >= span {
		i++
	}
	w.times = w.times[i:]
	return len(w.times)
}

// limits are the account's. A refused request uses nothing.
type limits struct {
	mu     sync.Mutex // guards all
	burst  window
	search window
	day    int64 // days since 1970, UTC
	used   int   // requests of the day
}

func dayOf(t time.Time) int64 { return t.Unix() / 86400 }

const (
	burstSpan  = 10 * time.Second
	searchSpan = time.Second
)

type refusal int

const (
	admitted refusal = iota
	overDaily
	overBurst
	overSearch
)

// usage is what the headers tell.
type usage struct{ daily, dailyLeft, burst, burstLeft int }

// admit takes a request's share of the limits that bind its kind.
func (s *Simulator) admit(k requestKind) (refusal, usage) {
	l, now := &s.limits, s.o.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := dayOf(now); d != l.day {
		l.day, l.used = d, 0
	}
	verdict := admitted
	switch {
	case l.used >= s.o.Daily:
		verdict = overDaily
	case k == kindOfSearch && l.search.used(now, searchSpan) >= s.o.SearchPerSecond:
		verdict = overSearch
	case k.burst() && l.burst.used(now, burstSpan) >= s.o.BurstPer10s:
		verdict = overBurst
	}
	if verdict == admitted {
		l.used++
		if k == kindOfSearch {
			l.search.times = append(l.search.times, now)
		}
		if k.burst() {
			l.burst.times = append(l.burst.times, now)
		}
	}
	return verdict, usage{
		daily: s.o.Daily, dailyLeft: max(0, s.o.Daily-l.used),
		burst: s.o.BurstPer10s, burstLeft: max(0, s.o.BurstPer10s-l.burst.used(now, burstSpan)),
	}
}

// setDailyRemaining leaves n requests of the day.
func (s *Simulator) setDailyRemaining(n int) {
	s.limits.mu.Lock()
	defer s.limits.mu.Unlock()
	s.limits.day = dayOf(s.o.Now())
	s.limits.used = s.o.Daily - n
}

// headers tells the limits as HubSpot does: a search nothing, associations the
// day only.
func (u usage) headers(h http.Header, k requestKind) {
	if k == kindOfSearch {
		return
	}
	set := func(name string, n int) { h.Set("X-HubSpot-RateLimit-"+name, strconv.Itoa(n)) }
	set("Daily", u.daily)
	set("Daily-Remaining", u.dailyLeft)
	if k.burst() {
		set("Interval-Milliseconds", int(burstSpan.Milliseconds()))
		set("Max", u.burst)
		set("Remaining", u.burstLeft)
		// Deprecated and not enforced, and still sent.
		set("Secondly", u.burst/10)
		set("Secondly-Remaining", u.burst/10)
	}
}

// refuse answers 429. HubSpot rarely says when to come back.
func (s *Simulator) refuse(c *call, r refusal) {
	switch r {
	case overDaily:
		s.count.overDaily.Add(1)
		c.fail(429, "RATE_LIMITS", "You have reached your daily limit.", `"errorType":"RATE_LIMIT","policyName":"DAILY"`)
	case overSearch:
		s.count.overSearch.Add(1)
		c.fail(429, "RATE_LIMITS", "You have reached your secondly limit.", `"errorType":"RATE_LIMIT","policyName":"SECONDLY"`)
	default:
		s.count.overBurst.Add(1)
		if c.draw%10 == 0 {
			c.header().Set("Retry-After", "10")
		}
		c.fail(429, "RATE_LIMITS", "You have reached your ten_secondly_rolling limit.", `"errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"`)
	}
}
