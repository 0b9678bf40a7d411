package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Any things begin and end at any time, messages fail, the process restarts:
// what lasts is told once when it begins and once when it ends, messages keep
// their distance, and what is short is not told.
func TestToldOnceEach(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable
		now := time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC)
		rule := Rule{After: time.Duration(rng.IntN(20)) * time.Minute}
		if rng.IntN(2) == 0 {
			rule.On = []string{Blocked, Stale}
		}
		state := &State{}
		since := map[string]time.Time{} // what is wrong, in truth
		told := map[string]bool{}       // what people believe is wrong
		var last time.Time
		fails := true
		step := func() {
			var wrong []Condition
			for key := range since {
				var c Condition
				if _, err := fmt.Sscan(key, &c.Kind, &c.Subject); err != nil {
					t.Fatal(err)
				}
				wrong = append(wrong, c)
			}
			m := state.Step(now, rule, wrong)
			if m == nil {
				return
			}
			if fails && rng.IntN(4) == 0 {
				state.Delivered(now, m, errors.New("no"))
				return
			}
			if !last.IsZero() && now.Sub(last) < Between {
				t.Fatalf("seed %d: a message %s after the last", seed, now.Sub(last))
			}
			last = now
			for _, e := range m.Began {
				if told[e.key()] || since[e.key()].IsZero() || now.Sub(since[e.key()]) < rule.After || !rule.wants(e.Kind) {
					t.Fatalf("seed %d: %s was told at %s, wrong since %s", seed, e.key(), now, since[e.key()])
				}
				told[e.key()] = true
			}
			for _, e := range m.Ended {
				if !told[e.key()] || !since[e.key()].IsZero() {
					t.Fatalf("seed %d: the end of %s was told", seed, e.key())
				}
				delete(told, e.key())
			}
			state.Delivered(now, m, nil)
		}
		for range 400 {
			now = now.Add(time.Duration(rng.IntN(120)) * time.Second)
			key := Kinds()[rng.IntN(len(Kinds()))] + " " + []string{"contacts", "deals"}[rng.IntN(2)]
			if since[key].IsZero() {
				since[key] = now
			} else if rng.IntN(3) == 0 {
				delete(since, key)
			}
			step()
			if rng.IntN(30) == 0 { // a restart
				b, err := json.Marshal(state)
				if err != nil {
					t.Fatal(err)
				}
				state = &State{}
				if err := json.Unmarshal(b, state); err != nil {
					t.Fatal(err)
				}
			}
		}
		// Then nothing changes any more, and messages arrive.
		fails = false
		for range 100 {
			now = now.Add(time.Minute)
			step()
		}
		for key := range since {
			var kind, subject string
			_, _ = fmt.Sscan(key, &kind, &subject)
			if rule.wants(kind) != told[key] {
				t.Errorf("seed %d: %s is wrong, told %t", seed, key, told[key])
			}
		}
		for key := range told {
			if since[key].IsZero() {
				t.Errorf("seed %d: people still believe %s", seed, key)
			}
		}
	}
}

func TestGrouped(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &State{}
	wrong := []Condition{{Kind: Failing, Subject: "b"}, {Kind: Failing, Subject: "a"}, {Kind: Disk, Subject: "daemon"}}
	m := s.Step(now, Rule{}, wrong)
	if m == nil || len(m.Began) != 3 || m.Began[0].Kind != Disk || m.Began[1].Subject != "a" {
		t.Fatalf("%+v", m)
	}
	s.Delivered(now, m, nil)
	if m := s.Step(now.Add(time.Minute), Rule{}, nil); m != nil {
		t.Errorf("a minute later: %+v", m)
	}
	m = s.Step(now.Add(Between), Rule{}, nil)
	if m == nil || len(m.Ended) != 3 {
		t.Fatalf("%+v", m)
	}
	if at := m.Ended[0].Until; at == nil || !at.Equal(now.Add(time.Minute)) {
		t.Errorf("it ended at %v", at)
	}
}

// What a target does not want to hear of any more has not ended by that.
func TestWhatIsNotWantedHasNotEnded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC)
	wrong := []Condition{{Kind: Failing, Subject: "deals"}, {Kind: Blocked, Subject: "calls"}}
	s := &State{}
	s.Delivered(now, s.Step(now, Rule{}, wrong), nil)
	now = now.Add(time.Hour)
	if m := s.Step(now, Rule{On: []string{Blocked}}, wrong); m != nil {
		t.Errorf("%s", m.Text())
	}
	m := s.Step(now, Rule{On: []string{Blocked}}, nil)
	if m == nil || len(m.Ended) != 1 || m.Ended[0].Subject != "calls" {
		t.Errorf("of the end of what is wanted: %+v", m)
	}
}

// What is away for a moment, as it is while a daemon is started anew, has not
// ended; what stays away has, since it went.
func TestAnEndHasToLast(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC)
	rule, wrong := Rule{After: 10 * time.Minute}, []Condition{{Kind: Failing, Subject: "deals"}}
	s := &State{}
	s.Step(began, rule, wrong)
	now := began.Add(rule.After)
	s.Delivered(now, s.Step(now, rule, wrong), nil)
	now = now.Add(time.Hour)
	for i, is := range []bool{false, false, true, false} {
		c := wrong
		if !is {
			c = nil
		}
		if m := s.Step(now.Add(time.Duration(i)*20*time.Second), rule, c); m != nil {
			t.Errorf("look %d: %s", i, m.Text())
		}
	}
	m := s.Step(now.Add(2*time.Minute), rule, nil)
	if m == nil || len(m.Ended) != 1 || !m.Ended[0].Until.Equal(now.Add(time.Minute)) {
		t.Errorf("it is over: %+v", m)
	}
}

// A clock that was set back holds up what is wrong now by no more than it would
// have waited anyway.
func TestClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	wrong := []Condition{{Kind: Failing, Subject: "deals"}}
	for name, err := range map[string]error{"after one that arrived": nil, "after one that did not": errors.New("no")} {
		ahead := time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC)
		s := &State{}
		s.Delivered(ahead, s.Step(ahead, Rule{}, wrong), err)
		s.Step(ahead, Rule{After: Between}, append(wrong, Condition{Kind: Blocked, Subject: "calls"}))
		now := ahead.Add(-6 * time.Hour)
		s.Step(now, Rule{After: Between}, append(wrong, Condition{Kind: Blocked, Subject: "calls"}))
		m := s.Step(now.Add(Between), Rule{After: Between}, append(wrong, Condition{Kind: Blocked, Subject: "calls"}))
		if m == nil || !slices.ContainsFunc(m.Began, func(e Event) bool { return e.Subject == "calls" }) {
			t.Errorf("%s: %+v", name, m)
		}
	}
}
