// Package enginetest is what tests of the kinds of destinations have in common: a
// real store, and a manager that copies it with the engine that is tested.
package enginetest

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Patience is how long a test waits for what has to come.
const Patience = 2 * time.Minute

// Rig is a store and a manager with one destination. Its methods are called by
// one goroutine, Put apart.
type Rig struct {
	t testing.TB
	// Name is the destination's, Engine makes of the test's options what is tested;
	// what it returns besides differs where those do.
	Name   string
	Engine func() (e destination.Engine, key string)

	Src     *Source
	M       *destination.Manager // nil before the first Start
	Streams []destination.Stream
	Choice  destination.Choice
	Gather  time.Duration
	Path    string // of what the manager notes
}

// New is a rig with the stream contacts, which copies nothing yet.
func New(t testing.TB, name string, engine func() (destination.Engine, string)) *Rig {
	t.Helper()
	dir := t.TempDir()
	return &Rig{t: t, Name: name, Engine: engine, Path: filepath.Join(dir, "destinations.json"),
		Src:     &Source{Store: OpenStore(t, filepath.Join(dir, "store")), definitions: map[string][]stream.Property{}},
		Streams: []destination.Stream{{Name: "contacts", Object: "contacts"}}}
}

// Beside is another manager with the same store, as a second daemon has it.
func (r *Rig) Beside() *Rig {
	other := *r
	other.Path, other.M = r.Path+"2", nil
	return &other
}

// OpenStore opens a store until the test ends.
func OpenStore(t testing.TB, dir string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{Dir: dir, FreeMark: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// Start begins to copy.
func (r *Rig) Start() {
	r.t.Helper()
	m, err := destination.New(context.WithoutCancel(r.t.Context()), destination.Options{Source: r.Src, Path: r.Path, Salt: r.Src.Salt,
		Retry: 20 * time.Millisecond, RetryMost: 200 * time.Millisecond, Describe: 50 * time.Millisecond})
	if err != nil {
		r.t.Fatal(err)
	}
	r.M = m
	r.t.Cleanup(m.Stop)
	engine, key := r.Engine()
	m.Set([]destination.Spec{{Name: r.Name, Kind: r.Name, Engine: engine, Streams: r.Streams, Choice: r.Choice, Gather: r.Gather, Key: key}})
}

// Stop ends the copying.
func (r *Rig) Stop() { r.M.Stop() }

// Define sets a stream's definitions, each "name type [fieldType]".
func (r *Rig) Define(name string, properties ...string) {
	list := []stream.Property{}
	for _, p := range properties {
		f := append(strings.Fields(p), "", "")
		list = append(list, stream.Property{Name: f[0], Type: f[1], FieldType: f[2], Label: "The " + f[0]})
	}
	r.Src.Define(name, list)
}

// Put commits records.
func (r *Rig) Put(name string, records ...*stream.Record) {
	r.t.Helper()
	for part := range slices.Chunk(records, 400) {
		tx, err := r.Src.Begin()
		if err != nil {
			r.t.Fatal(err)
		}
		for _, rec := range part {
			if err := tx.Put(name, rec); err != nil {
				r.t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// Record is a live record; properties are JSON.
func Record(id, properties string) *stream.Record {
	return &stream.Record{Head: stream.Head{ID: id, State: stream.Live, Version: 1, UpdatedAt: "2026-01-02T03:04:05.678Z", CreatedAt: "2026-01-01T00:00:00Z"}, Properties: []byte(properties)}
}

// Ended is a record that was archived or purged.
func Ended(id string, s stream.State) *stream.Record {
	return &stream.Record{Head: stream.Head{ID: id, State: s, CreatedAt: "2026-01-01T00:00:00Z"}}
}

// Erased is a record as `hubpipe erase` leaves it.
func Erased(id string) *stream.Record {
	return &stream.Record{Head: stream.Head{ID: id, State: stream.Purged}}
}

// Current waits until the destination has everything.
func (r *Rig) Current() destination.Status {
	r.t.Helper()
	return r.Until(func(s destination.Status) bool { return s.State == destination.Current })
}

// Until waits until the destination stands as it should.
func (r *Rig) Until(good func(destination.Status) bool) destination.Status {
	r.t.Helper()
	return r.UntilWithin(Patience, good)
}

// UntilWithin is Until with another patience.
func (r *Rig) UntilWithin(d time.Duration, good func(destination.Status) bool) destination.Status {
	r.t.Helper()
	end := time.Now().Add(d)
	for {
		s, err := r.M.One(r.t.Context(), r.Name)
		if err != nil {
			r.t.Fatal(err)
		}
		if good(s) {
			return s
		}
		if time.Now().After(end) {
			r.t.Fatalf("it stands at %+v, error %v", s, s.Error)
		}
		r.Moment()
	}
}

// Moment is between two looks at what has to come.
func (r *Rig) Moment() {
	select {
	case <-time.After(5 * time.Millisecond):
	case <-r.t.Context().Done():
	}
}

// Eventually waits for something that no status shows.
func (r *Rig) Eventually(what string, is func() bool) {
	r.t.Helper()
	for end := time.Now().Add(Patience); !is(); r.Moment() {
		if time.Now().After(end) {
			r.t.Fatal("it does not come to ", what)
		}
	}
}

// KeepFor tells the store what a destination of which nothing is known yet wants
// kept, as the daemon does before it starts one.
func (r *Rig) KeepFor() {
	r.keep(destination.Keeps([]destination.Spec{{Name: r.Name, Streams: r.Streams}}))
}

func (r *Rig) keep(wanted map[string]destination.Keep) {
	out := map[string]store.Keep{}
	for name, k := range wanted {
		out[name] = store.Keep{For: k.For, Readers: k.Readers}
	}
	r.Src.KeepVersions(out)
}

// Sweep drops the versions that a manager's destination has. Nothing else may
// write meanwhile.
func (r *Rig) Sweep(m *destination.Manager) {
	r.t.Helper()
	r.keep(m.Keeps())
	due, err := r.Src.DueVersions(context.WithoutCancel(r.t.Context()), 500)
	if err != nil {
		r.t.Error(err)
		return
	}
	tx, err := r.Src.Begin()
	if err == nil {
		if err = tx.DropVersions(due); err == nil {
			err = tx.Commit()
		}
		tx.Discard()
	}
	if err != nil {
		r.t.Error(err)
	}
}
