// Package notify tells people elsewhere what is wrong: once when it begins, once
// when it ends, several things in one message, and not more often than they can
// read.
package notify

import (
	"cmp"
	"slices"
	"time"
)

// Kinds of what can be wrong, as a target's On names them.
const (
	Blocked = "blocked" // a stream waits for somebody: a token, a scope, a variable
	Failing = "failing" // a stream fails and is tried again
	Stale   = "stale"   // a stream's lag is above its bound
	Brake   = "brake"   // more records would end than max_deletes allows
	Schema  = "schema"  // properties have vanished from HubSpot's definitions
	Disk    = "disk"    // the daemon cannot write
	// Destination is of a warehouse that waits for somebody, or fails and is
	// tried again.
	Destination = "destination"
)

// Kinds are all of them.
func Kinds() []string { return []string{Blocked, Failing, Stale, Brake, Schema, Destination, Disk} }

// Condition is one thing that is wrong now.
type Condition struct {
	Kind    string `json:"kind"`    // one of Kinds
	Subject string `json:"subject"` // the stream's name or the destination's; "daemon" for Disk
	Title   string `json:"title"`
	Detail  string `json:"detail,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

func (c Condition) key() string { return c.Kind + " " + c.Subject }

// Event is a condition with its times.
type Event struct {
	Condition
	Since time.Time  `json:"since"`
	Until *time.Time `json:"until,omitempty"` // when it ended
}

// Message is what a target is sent.
type Message struct {
	Target string  `json:"target"`
	Test   bool    `json:"test,omitempty"`
	Began  []Event `json:"began"`
	Ended  []Event `json:"ended"`
}

// Between is the shortest time from one message of a target to the next.
const Between = 5 * time.Minute

// settled is how long at most a condition must have been away for its end to be
// told: behind a restart it takes a moment until what is still wrong shows again.
const settled = time.Minute

// Rule is what a target wants to hear.
type Rule struct {
	On    []string      // kinds; none are all
	After time.Duration // how long it must have been so; and away, for up to a minute
}

func (r Rule) wants(kind string) bool { return len(r.On) == 0 || slices.Contains(r.On, kind) }

// State is what is known of a target's conditions; it is kept through restarts,
// so that what was told is not told again. The zero value knows nothing.
type State struct {
	Open   map[string]*Open `json:"open,omitempty"` // by kind and subject
	Sent   time.Time        `json:"sent,omitzero"`  // when the last message arrived
	Failed int              `json:"failed,omitempty"`
	Tried  time.Time        `json:"tried,omitzero"`
}

// Open is a condition that has begun and whose end was not told.
type Open struct {
	Condition
	Since time.Time  `json:"since"`
	Told  bool       `json:"told,omitempty"`
	Until *time.Time `json:"until,omitempty"` // nil while it goes on
}

// Step takes what is wrong now and returns the message that is due, nil where
// none is. The message counts as told only when Delivered says so.
func (s *State) Step(now time.Time, rule Rule, wrong []Condition) *Message {
	if s.Open == nil {
		s.Open = map[string]*Open{}
	}
	s.follow(now)
	is := make(map[string]bool, len(wrong))
	for _, c := range wrong {
		if !rule.wants(c.Kind) {
			continue
		}
		is[c.key()] = true
		o := s.Open[c.key()]
		if o == nil {
			o = &Open{Since: now}
			s.Open[c.key()] = o
		}
		o.Condition, o.Until = c, nil // one that comes back before its end was told never ended
	}
	m := &Message{}
	for key, o := range s.Open {
		switch {
		case is[key] && !o.Told && now.Sub(o.Since) >= rule.After:
			m.Began = append(m.Began, Event{Condition: o.Condition, Since: o.Since})
		case is[key]:
		case !o.Told || !rule.wants(o.Kind):
			delete(s.Open, key) // nobody has heard of it, or wants to any more: it may well go on
		default:
			if o.Until == nil {
				at := now
				o.Until = &at
			}
			if now.Sub(*o.Until) >= min(rule.After, settled) {
				m.Ended = append(m.Ended, Event{Condition: o.Condition, Since: o.Since, Until: o.Until})
			}
		}
	}
	if len(m.Began)+len(m.Ended) == 0 || now.Before(s.next()) {
		return nil
	}
	for _, list := range [][]Event{m.Began, m.Ended} {
		slices.SortFunc(list, func(a, b Event) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject))
		})
	}
	return m
}

// follow has no time lie ahead of a clock that was set back: until it had caught
// up, nothing would be told.
func (s *State) follow(now time.Time) {
	times := []*time.Time{&s.Sent, &s.Tried}
	for _, o := range s.Open {
		times = append(times, &o.Since)
		if o.Until != nil {
			times = append(times, o.Until)
		}
	}
	for _, t := range times {
		if t.After(now) {
			*t = now
		}
	}
}

// next is when a message may leave: after the last one that arrived, and after
// failures later each time.
func (s *State) next() time.Time {
	next := time.Time{}
	if !s.Sent.IsZero() {
		next = s.Sent.Add(Between)
	}
	if s.Failed > 0 {
		if retry := s.Tried.Add(min(10*time.Second<<min(s.Failed, 10), time.Hour)); retry.After(next) {
			next = retry
		}
	}
	return next
}

// Delivered notes how the message went: what it told is told, or will be tried
// again.
func (s *State) Delivered(now time.Time, m *Message, err error) {
	s.Tried = now
	if err != nil {
		s.Failed++
		return
	}
	s.Sent, s.Failed = now, 0
	for _, e := range m.Began {
		if o := s.Open[e.key()]; o != nil {
			o.Told = true
		}
	}
	for _, e := range m.Ended {
		// It may have come back meanwhile; then it began anew.
		if o := s.Open[e.key()]; o != nil {
			if o.Until != nil {
				delete(s.Open, e.key())
			} else {
				o.Told, o.Since = false, now
			}
		}
	}
}
