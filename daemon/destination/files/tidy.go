package files

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"
)

// tidyEvery is how often it is looked for what nobody has named, as a process
// leaves it that ended in the middle.
const tidyEvery = time.Hour

// tidy takes away files that left the manifest a while ago, those that were never
// in one, and the manifests before.
func (s *session) tidy(ctx context.Context, t *table) error {
	now := time.Now()
	old := func(at time.Time) bool { return now.Sub(at) >= s.e.o.Keep }
	due := false
	for _, r := range t.m.Removed {
		due = due || old(r.At)
	}
	if !due && !t.tidied.IsZero() && now.Sub(t.tidied) < tidyEvery {
		return nil
	}
	// Whoever is behind does not know what is valid.
	n, err := s.newestNumber(ctx, t.m.Stream)
	if err != nil {
		return err
	}
	if n != t.m.Number {
		return othersWrote(t.m.Stream, n)
	}
	named := map[string]bool{} // and when it may go
	for _, f := range t.m.Files {
		named[f.Path] = true
	}
	for _, f := range t.m.Versions {
		named[f.Path] = true
	}
	for _, f := range t.m.Building {
		named[f.Path] = true
	}
	for _, r := range t.m.Removed {
		named[r.Path] = !old(r.At)
	}
	data := dataName(t.m.Stream)
	var gone []string
	if err := s.bucket.list(ctx, t.m.Stream+"/", func(e entry) error {
		if n, ok := numberOf(e.key); ok {
			if n < t.m.Number && old(e.modified) {
				gone = append(gone, e.key)
			}
			return nil
		}
		if strings.HasPrefix(path.Base(e.key), unfinished) && old(e.modified) {
			gone = append(gone, e.key)
			return nil
		}
		stays, ok := named[e.key]
		if data.MatchString(e.key) && !stays && (ok || old(e.modified)) {
			gone = append(gone, e.key)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, key := range gone {
		if err := s.bucket.remove(ctx, key); err != nil {
			return err
		}
	}
	t.tidied = now
	t.published = 0 // one who is behind may have shown readers its own since
	if !due {
		return nil
	}
	m := s.next(t.m)
	m.Removed = nil
	for _, r := range t.m.Removed {
		if !old(r.At) {
			m.Removed = append(m.Removed, r)
		}
	}
	switch {
	case len(m.Removed) == 0 && !m.Erase:
		m.Owed, m.Clean = nil, nil
	case m.Clean != nil && !slices.ContainsFunc(m.Removed, func(r Removed) bool { return !r.At.After(m.Clean.At) }):
		m.Owed, m.Clean = &m.Clean.Position, nil
	}
	return s.commit(ctx, t, m)
}
