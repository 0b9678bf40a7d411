package destination

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/durable"
)

// Options are what a manager is made of.
type Options struct {
	Source Source
	// Path is the file in which it is kept what people asked for: a destination
	// may be down when they do.
	Path   string
	Logger hclog.Logger
	// Salt is what hashes of values are made with: the same for all destinations,
	// so that they join. It is asked for when something is hashed.
	Salt func() ([]byte, error)
	// Changed is called when a destination stands otherwise than before; it must
	// not block.
	Changed func()
	// Retry is the first wait after a failure (1 s), which doubles up to RetryMost
	// (1 min); Describe is how often the streams are described (1 min).
	Retry, RetryMost, Describe time.Duration
}

// Manager has all destinations. Its methods may be called from any goroutine.
type Manager struct {
	o    Options
	log  hclog.Logger
	life context.Context //nolint:containedctx // the manager's own; Stop ends what runs in it

	commands sync.Mutex // one change at a time

	mu      sync.Mutex
	runners []*runner
	wishes  wishes
	closed  bool
}

// wishes are what people asked for, by destination.
type wishes struct {
	Paused []string            `json:"paused,omitempty"`
	Resync map[string][]string `json:"resync,omitempty"` // streams
}

// New returns a manager without destinations. Those that it gets end with ctx,
// and Stop waits for them.
func New(ctx context.Context, o Options) (*Manager, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	for d, def := range map[*time.Duration]time.Duration{&o.Retry: time.Second, &o.RetryMost: time.Minute, &o.Describe: time.Minute} {
		if *d == 0 {
			*d = def
		}
	}
	m := &Manager{o: o, log: o.Logger, life: ctx, wishes: wishes{Resync: map[string][]string{}}}
	b, err := os.ReadFile(o.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, nil
	case err != nil:
		return nil, fmt.Errorf("read what is asked of destinations: %w", err)
	}
	if err := json.Unmarshal(b, &m.wishes); err != nil {
		return nil, fmt.Errorf("read what is asked of destinations: %s: %w (remove the file to forget which are paused)", o.Path, err)
	}
	if m.wishes.Resync == nil {
		m.wishes.Resync = map[string][]string{}
	}
	return m, nil
}

// Set takes over a configuration: what is new begins, what is gone ends, and
// what is otherwise begins anew.
func (m *Manager) Set(specs []Spec) {
	m.commands.Lock()
	defer m.commands.Unlock()
	m.mu.Lock()
	was := m.runners
	m.mu.Unlock()
	next := make([]*runner, 0, len(specs))
	for _, s := range specs {
		i := slices.IndexFunc(was, func(r *runner) bool { return r.spec.Name == s.Name && r.spec.Key == s.Key })
		if i >= 0 {
			next = append(next, was[i])
			continue
		}
		next = append(next, newRunner(m, s))
	}
	for _, r := range was {
		if !slices.Contains(next, r) {
			r.stop()
		}
	}
	m.mu.Lock()
	m.runners = next
	m.mu.Unlock()
	for _, r := range next {
		if !slices.Contains(was, r) && !m.paused(r.spec.Name) {
			r.start()
		}
	}
	m.o.Changed()
}

// Stop ends all of them, and returns when none works any more.
func (m *Manager) Stop() {
	m.commands.Lock()
	defer m.commands.Unlock()
	m.mu.Lock()
	all := m.runners
	m.closed = true
	m.mu.Unlock()
	var wg sync.WaitGroup
	for _, r := range all {
		wg.Go(r.stop)
	}
	wg.Wait()
}

// Status is how all stand, in the order of the configuration.
func (m *Manager) Status(ctx context.Context) []Status {
	m.mu.Lock()
	all := slices.Clone(m.runners)
	m.mu.Unlock()
	out := make([]Status, len(all))
	for i, r := range all {
		out[i] = r.status(ctx)
	}
	return out
}

// One is how one stands.
func (m *Manager) One(ctx context.Context, name string) (Status, error) {
	r, err := m.find(name)
	if err != nil {
		return Status{}, err
	}
	return r.status(ctx), nil
}

// Pause ends a destination's work until Resume, over restarts too.
func (m *Manager) Pause(name string) error {
	return m.command(name, func(r *runner) error {
		if err := m.wish(func(w *wishes) {
			if !slices.Contains(w.Paused, name) {
				w.Paused = append(w.Paused, name)
			}
		}); err != nil {
			return err
		}
		r.stop()
		m.log.Info("a destination is paused", "destination", name)
		return nil
	})
}

// Resume lets a destination work again; one that waits tries at once.
func (m *Manager) Resume(name string) error {
	return m.command(name, func(r *runner) error {
		was := m.paused(name)
		if err := m.wish(func(w *wishes) {
			w.Paused = slices.DeleteFunc(w.Paused, func(n string) bool { return n == name })
		}); err != nil {
			return err
		}
		if was {
			m.log.Info("a destination goes on", "destination", name)
			r.start()
		}
		r.hurry()
		return nil
	})
}

// Resync has every row of a stream written again, "" for all streams.
func (m *Manager) Resync(name, streamName string) error {
	return m.command(name, func(r *runner) error {
		names := []string{streamName}
		if streamName == "" {
			names = names[:0]
			for _, s := range r.spec.Streams {
				names = append(names, s.Name)
			}
		} else if err := r.follows(streamName); err != nil {
			return err
		}
		if err := m.wish(func(w *wishes) {
			for _, n := range names {
				if !slices.Contains(w.Resync[name], n) {
					w.Resync[name] = append(w.Resync[name], n)
				}
			}
		}); err != nil {
			return err
		}
		r.hurry()
		return nil
	})
}

// View is a stream as a destination gets it, beside what it does itself.
func (m *Manager) View(name, streamName string) (Source, error) {
	r, err := m.find(name)
	if err != nil {
		return nil, err
	}
	if err := r.follows(streamName); err != nil {
		return nil, err
	}
	return choose(m.o.Source, r.spec, m.o.Salt), nil
}

// follows is the problem of a stream that the destination does not have.
func (r *runner) follows(streamName string) error {
	if slices.ContainsFunc(r.spec.Streams, func(s Stream) bool { return s.Name == streamName }) {
		return nil
	}
	return &stream.Problem{Type: "unknown-stream", Title: "the destination has no such stream", Status: 404,
		Detail: fmt.Sprintf("destination %s does not follow a stream %q", r.spec.Name, streamName), Hint: "`hubpipe destinations NAME` lists those that it follows"}
}

// resyncs are the streams that wait for it.
func (m *Manager) resyncs(name string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.wishes.Resync[name])
}

// begun notes that the resync of a stream has begun: from here on the warehouse
// itself remembers it.
func (m *Manager) begun(name, streamName string) error {
	return m.wish(func(w *wishes) {
		w.Resync[name] = slices.DeleteFunc(w.Resync[name], func(n string) bool { return n == streamName })
		if len(w.Resync[name]) == 0 {
			delete(w.Resync, name)
		}
	})
}

func (m *Manager) paused(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.wishes.Paused, name)
}

func (m *Manager) command(name string, f func(*runner) error) error {
	m.commands.Lock()
	defer m.commands.Unlock()
	r, err := m.find(name)
	if err != nil {
		return err
	}
	if m.isClosed() {
		return &stream.Problem{Type: "stopping", Title: "the daemon is stopping", Status: 503}
	}
	defer m.o.Changed()
	return f(r)
}

func (m *Manager) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

func (m *Manager) find(name string) (*runner, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, len(m.runners))
	for _, r := range m.runners {
		if r.spec.Name == name {
			return r, nil
		}
		names = append(names, r.spec.Name)
	}
	hint := `the configuration has none: add destination "postgres" "warehouse" { … }`
	if len(names) > 0 {
		hint = "there are " + strings.Join(names, ", ")
	}
	return nil, &stream.Problem{Type: "unknown-destination", Title: "unknown destination", Status: 404,
		Detail: fmt.Sprintf("there is no destination %q", name), Hint: hint}
}

// wish changes what is asked for, on disk first.
func (m *Manager) wish(change func(*wishes)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := wishes{Paused: slices.Clone(m.wishes.Paused), Resync: map[string][]string{}}
	for k, v := range m.wishes.Resync {
		next.Resync[k] = slices.Clone(v)
	}
	change(&next)
	b, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("write what is asked of destinations: %w", err)
	}
	if err := durable.Replace(m.o.Path, b); err != nil {
		return fmt.Errorf("write what is asked of destinations: %w", err)
	}
	m.wishes = next
	return nil
}
