package destination

import "time"

// Keep says for how long superseded versions of a stream are kept at most, and
// for whom: by the destination's name, the place up to which it has them.
type Keep struct {
	For     time.Duration
	Readers map[string]uint64
}

// Keeps says what destinations of which nothing is known yet want kept, by
// stream.
func Keeps(specs []Spec) map[string]Keep {
	out := map[string]Keep{}
	for i := range specs {
		keep(out, &specs[i], func(string) uint64 { return 0 })
	}
	return out
}

// Keeps says what the destinations want kept, by stream.
func (m *Manager) Keeps() map[string]Keep {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]Keep{}
	for _, r := range m.runners {
		r.mu.Lock()
		// Of one that was not reached yet nobody knows what it has.
		keep(out, &r.spec, func(name string) uint64 {
			p := r.streams[name].place
			switch re := p.Reread; {
			case re != nil && re.Every:
				return 0 // of what was read nothing is there before the end
			case re != nil && re.Position < re.Until:
				return min(p.Position, re.Position) // its table of versions may be new, whatever else it is for
			}
			return p.Position
		})
		r.mu.Unlock()
	}
	return out
}

func keep(out map[string]Keep, spec *Spec, at func(streamName string) uint64) {
	for _, x := range spec.Streams {
		if x.Versions <= 0 {
			continue
		}
		k, ok := out[x.Name]
		if !ok {
			k.Readers = map[string]uint64{}
		}
		k.For, k.Readers[spec.Name] = max(k.For, x.Versions), at(x.Name)
		out[x.Name] = k
	}
}
