package daemon

import (
	"fmt"
	"sync/atomic"

	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// shown is what readers see of the records' history: what the configuration
// chooses now, whatever is still stored. It is safe for concurrent use.
type shown struct {
	streams atomic.Pointer[map[string]*dispatch.StreamConfig]
}

// choose takes over a configuration that the dispatcher has taken.
func (x *shown) choose(streams []dispatch.StreamConfig) {
	m := make(map[string]*dispatch.StreamConfig, len(streams))
	for i := range streams {
		m[streams[i].Name] = &streams[i]
	}
	x.streams.Store(&m)
}

// key differs where records of a stream are shown otherwise.
func (x *shown) key(name string) string {
	m := x.streams.Load()
	if m == nil || (*m)[name] == nil {
		return ""
	}
	c := (*m)[name]
	if len(c.History) == 0 {
		return ""
	}
	return fmt.Sprintf("%q %q %q", c.History, c.Properties, c.Exclude)
}

// of leaves out of a record what is not chosen.
func (x *shown) of(name string, r *stream.Record) {
	if len(r.History) == 0 {
		return
	}
	if m := x.streams.Load(); m != nil && (*m)[name] != nil {
		r.History = (*m)[name].ShowHistory(r.History)
	}
}

// each does that to every record that is given to fn.
func (x *shown) each(name string, fn func(*stream.Record) error) func(*stream.Record) error {
	return func(r *stream.Record) error {
		x.of(name, r)
		return fn(r)
	}
}

// chooses tells whether a property of a stream is copied.
func (x *shown) chooses(name, property string) bool {
	m := x.streams.Load()
	return m == nil || (*m)[name] == nil || (*m)[name].Chooses(property)
}
