package enginetest

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Source is a real store with what the daemon adds to it.
type Source struct {
	*store.Store

	mu          sync.Mutex
	definitions map[string][]stream.Property
	unsettled   bool
	later       uint64 // than the store's own epoch
	id          string // in place of the store's own
}

var _ destination.Source = (*Source)(nil)

// Define sets a stream's definitions.
func (s *Source) Define(name string, list []stream.Property) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.definitions[name] = slices.Clone(list)
}

// DefineMore adds to a stream's definitions.
func (s *Source) DefineMore(name string, more ...stream.Property) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.definitions[name] = slices.Concat(s.definitions[name], more)
}

// Definitions are those that were set.
func (s *Source) Definitions(name string) ([]stream.Property, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.definitions[name]), nil
}

// Settle says whether nothing is owed that was lost or restored, as it is at
// first.
func (s *Source) Settle(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsettled = !is
}

// Standing is that of a stream that waits.
func (s *Source) Standing(_ context.Context, name string) (destination.Standing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lag := int64(3)
	return destination.Standing{Stream: name, Object: name, Portal: "main", State: "waiting", LagSeconds: &lag, TimeZone: "Europe/Berlin", Currency: "EUR", Settled: !s.unsettled}, nil
}

// Become makes it pass for a later life of another store.
func (s *Source) Become(id string, later uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.later = id, later
}

// ID is the store's, or that which it passes for.
func (s *Source) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.id, s.Store.ID())
}

// Epoch is the store's, or the one that it passes for.
func (s *Source) Epoch() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Store.Epoch() + s.later
}
