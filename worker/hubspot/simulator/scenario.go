package simulator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Scenario is a named sequence of events that hurt. The same seed gives the
// same ones.
type Scenario struct {
	Name  string
	About string // one line
	// Midnight says that what it does is mended at the end of the portal's day
	// alone, for who has heard that nothing is left of it.
	Midnight bool

	prepare func(*Options)
	setup   []step // before the first request
	steps   []step // one after the other, by NextStep
}

type step struct {
	about string
	do    func(*Simulator) error
}

// ErrNoScenario says that there is none of a name.
var ErrNoScenario = errors.New("no such scenario")

// FindScenario returns the scenario of a name.
func FindScenario(name string) (Scenario, error) {
	all := Scenarios()
	i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
	if i < 0 {
		var names []string
		for _, s := range all {
			names = append(names, s.Name)
		}
		return Scenario{}, fmt.Errorf("%w: %q; there are %s", ErrNoScenario, name, strings.Join(names, ", "))
	}
	return all[i], nil
}

// Apply sets what the scenario needs of the options, over what they are: sizes
// only grow. Options.Scenario is the scenario then.
func (sc Scenario) Apply(o *Options) {
	if sc.prepare != nil {
		sc.prepare(o)
	}
	o.Scenario = &sc
}

// Steps returns what the scenario does, a line a step.
func (sc Scenario) Steps() []string {
	out := make([]string, len(sc.steps))
	for i, s := range sc.steps {
		out[i] = s.about
	}
	return out
}

// progress is how far the scenario is.
type progress struct {
	mu   sync.Mutex // guards done, and is held while a step is done
	done int
}

// NextStep does the next step of the scenario and says what it did; "" when
// there are no more.
func (s *Simulator) NextStep() (string, error) {
	if s.o.Scenario == nil {
		return "", nil
	}
	s.progress.mu.Lock()
	defer s.progress.mu.Unlock()
	steps := s.o.Scenario.steps
	if s.progress.done >= len(steps) {
		return "", nil
	}
	st := steps[s.progress.done]
	s.progress.done++
	if err := st.do(s); err != nil {
		return st.about, fmt.Errorf("scenario %s: %s: %w", s.o.Scenario.Name, st.about, err)
	}
	return st.about, nil
}

// setUp does what a scenario does before the first request. What cannot be
// done with the sizes that were chosen is left out.
func (s *Simulator) setUp() {
	if s.o.Scenario == nil {
		return
	}
	for _, st := range s.o.Scenario.setup {
		_ = st.do(s)
	}
}

// tellScenario is the control address of the scenario: GET says what there is,
// POST does the next step.
func (c *call) tellScenario(next bool) {
	out := map[string]any{}
	if next {
		about, err := c.s.NextStep()
		if out["did"] = about; err != nil {
			out["message"] = err.Error()
			c.json(500, out)
			return
		}
	}
	if sc := c.s.o.Scenario; sc != nil {
		c.s.progress.mu.Lock()
		out["name"], out["steps"], out["done"] = sc.Name, sc.Steps(), c.s.progress.done
		c.s.progress.mu.Unlock()
	}
	c.json(200, out)
}

// Drifting returns the properties of an object whose values change without the
// record: calculated ones when HubSpot says so, volatile ones with the clock.
func (s *Simulator) Drifting(object string) (calculated, volatile []string) {
	st, ok := s.stores[object]
	if !ok {
		return nil, nil
	}
	s.schemaMu.RLock()
	defer s.schemaMu.RUnlock()
	for i := range st.sc.props {
		switch p := &st.sc.props[i]; {
		case p.kind >= kindDays:
			volatile = append(volatile, p.name)
		case p.calculated:
			calculated = append(calculated, p.name)
		}
	}
	return calculated, volatile
}

// grow makes a size at least n.
func (o *Options) grow(n int, names ...string) {
	if o.Sizes == nil {
		o.Sizes = map[string]int{}
	}
	for _, name := range names {
		o.Sizes[name] = max(o.Sizes[name], n)
	}
}

func (o *Options) link(average float64, pairs ...string) {
	if o.Associations == nil {
		o.Associations = map[string]float64{}
	}
	for _, p := range pairs {
		if o.Associations[p] == 0 {
			o.Associations[p] = average
		}
	}
}

// duePlay does the steps whose time has come.
func (s *Simulator) duePlay(since time.Duration) {
	if s.o.ScenarioEvery <= 0 {
		return
	}
	s.progress.mu.Lock()
	due := int(since/s.o.ScenarioEvery) > s.progress.done
	s.progress.mu.Unlock()
	if due {
		_, _ = s.NextStep() // the control address tells of errors; here nobody asks
	}
}
