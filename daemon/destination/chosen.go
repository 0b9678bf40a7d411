package destination

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// chosen is the store as one destination gets it: what is not chosen has not
// left it. Whatever an engine writes comes through here.
type chosen struct {
	Source

	choice  Choice
	streams map[string]Stream
	salt    func() ([]byte, error)

	mu    sync.Mutex
	rules map[string]*Rules
}

// choose wraps a source for a destination; where everything is as it is, it is
// the source itself.
func choose(src Source, s Spec, salt func() ([]byte, error)) Source {
	if s.Choice.all() {
		return src
	}
	c := &chosen{Source: src, choice: s.Choice, streams: map[string]Stream{}, salt: salt, rules: map[string]*Rules{}}
	for _, x := range s.Streams {
		c.streams[x.Name] = x
	}
	return c
}

// rulesOf are those of a stream by the definitions that were read last, nil
// where everything is as it is.
func rulesOf(src Source, name string) (*Rules, error) {
	c, ok := src.(*chosen)
	if !ok {
		return nil, nil
	}
	c.mu.Lock()
	r := c.rules[name]
	c.mu.Unlock()
	if r != nil {
		return r, nil
	}
	_, err := c.Definitions(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rules[name], err
}

// Definitions are those of the properties that are chosen. What comes of the
// stream from now on goes by them.
func (c *chosen) Definitions(name string) ([]stream.Property, error) {
	salt, err := c.salt()
	if err != nil {
		return nil, fmt.Errorf("read the salt of hashes: %w", err)
	}
	list, err := c.Source.Definitions(name)
	if err != nil {
		return nil, err
	}
	r := newRules(&c.choice, c.streams[name], salt, list)
	c.mu.Lock()
	c.rules[name] = r
	c.mu.Unlock()
	return r.define(list), nil
}

func (c *chosen) Changes(ctx context.Context, name string, since uint64, limit int, fn func(*stream.Record) error) (uint64, error) {
	r, err := rulesOf(c, name)
	if err != nil {
		return 0, err
	}
	return c.Source.Changes(ctx, name, since, limit, func(rec *stream.Record) error {
		r.apply(rec)
		return fn(rec)
	})
}

// Versions is Changes with every superseded version that is kept: what those
// were is no less personal.
func (c *chosen) Versions(ctx context.Context, name string, since uint64, limit int, fn func(*stream.Record) error) (uint64, error) {
	r, err := rulesOf(c, name)
	if err != nil {
		return 0, err
	}
	return c.Source.Versions(ctx, name, since, limit, func(rec *stream.Record) error {
		r.apply(rec)
		return fn(rec)
	})
}

// Record returns a record by the id that the destination knows.
func (c *chosen) Record(name, id string) (*stream.Record, error) {
	r, err := rulesOf(c, name)
	if err != nil {
		return nil, err
	}
	if r.IDs() == "" {
		rec, err := c.Source.Record(name, id)
		if err == nil {
			r.apply(rec)
		}
		return rec, err
	}
	var found *stream.Record
	errFound := errors.New("found")
	_, err = c.Changes(context.Background(), name, 0, 0, func(rec *stream.Record) error {
		if rec.ID != id {
			return nil
		}
		found = rec
		return errFound
	})
	switch {
	case found != nil:
		return found, nil
	case err == nil:
		err = fmt.Errorf("%s has no record whose id is hashed to %s", name, id)
	}
	return nil, err
}

// Seqs gives the places of ids that the destination knows. What a hash was made
// of only the whole stream tells.
func (c *chosen) Seqs(ctx context.Context, name string, ids []string) ([]uint64, error) {
	r, err := rulesOf(c, name)
	if err != nil || r.IDs() == "" {
		if err != nil {
			return nil, err
		}
		return c.Source.Seqs(ctx, name, ids)
	}
	out, at := make([]uint64, len(ids)), make(map[string]int, len(ids))
	for i, id := range ids {
		at[id] = i
	}
	_, err = c.Source.Changes(ctx, name, 0, 0, func(rec *stream.Record) error {
		if i, ok := at[r.id(rec.ID)]; ok {
			out[i] = rec.Seq
		}
		return nil
	})
	return out, err
}
