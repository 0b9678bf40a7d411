package store

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hubpipe/hubpipe/internal/durable"
)

// format is the layout of the data folder. One of oldest or later is taken over
// when it is opened, and an older hubpipe refuses it from then on: since 3 blocks
// say who brought their records.
const (
	format = 3
	oldest = 2
)

// counters are numbers that are handed out, each once.
type counters struct {
	Seq     uint64 `json:"seq"`
	Attempt uint64 `json:"attempt"`
	Run     uint64 `json:"run"`
}

// step is how far the ceiling is raised at once.
func step() counters { return counters{Seq: 1 << 20, Attempt: 1 << 16, Run: 1000} }

func (c counters) plus(d counters) counters {
	return counters{Seq: c.Seq + d.Seq, Attempt: c.Attempt + d.Attempt, Run: c.Run + d.Run}
}

func (c counters) max(d counters) counters {
	return counters{Seq: max(c.Seq, d.Seq), Attempt: max(c.Attempt, d.Attempt), Run: max(c.Run, d.Run)}
}

// atMost tells whether no number of c is above that of d.
func (c counters) atMost(d counters) bool {
	return c.Seq <= d.Seq && c.Attempt <= d.Attempt && c.Run <= d.Run
}

// anchor is what is kept outside Badger: who the store is, and bounds that
// prove whether anything of it is lost.
type anchor struct {
	Format int    `json:"format"`
	Store  string `json:"store"`
	Epoch  uint64 `json:"epoch"`
	// Ceiling is at or above every number that was ever handed out; it is on
	// disk before one of them is used.
	Ceiling counters `json:"ceiling"`
	// Floor counts the commits that are known to be on disk, written behind.
	Floor uint64 `json:"floor"`
	// Written says that something was committed, Clean that the store was
	// closed in order; Files are Badger's files and their sizes then.
	Written bool             `json:"written"`
	Clean   bool             `json:"clean"`
	Files   map[string]int64 `json:"files,omitempty"`
	// Manifest is how long Badger's list of tables was when the floor was
	// written; it only grows, but for being written anew, seldom.
	Manifest int64 `json:"manifest,omitempty"`
}

// meta is what each commit leaves in Badger: the numbers in use, and enough to
// make a new anchor.
type meta struct {
	Format  int      `json:"format"`
	Store   string   `json:"store"`
	Epoch   uint64   `json:"epoch"`
	Commits uint64   `json:"commits"`
	Last    counters `json:"last"`
	Ceiling counters `json:"ceiling"`
	// Position is the newest place in the feed; Last.Seq is above it after an
	// end that was not clean.
	Position uint64 `json:"position"`
}

func newAnchor() anchor {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails, by its own documentation
	return anchor{Format: format, Store: hex.EncodeToString(b[:]), Epoch: 1}
}

var errAnchor = errors.New("the anchor does not decode")

// readAnchor returns fs.ErrNotExist where there is none, and errAnchor where
// it is damaged.
func readAnchor(path string) (anchor, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return anchor{}, fs.ErrNotExist
	}
	if err != nil {
		return anchor{}, fmt.Errorf("read the anchor: %w", err)
	}
	line, sum, _ := bytes.Cut(b, []byte("\n"))
	if sum = bytes.TrimSpace(sum); len(sum) > 0 && string(sum) != anchorSum(line) {
		return anchor{}, errAnchor
	}
	var a anchor
	if err := json.Unmarshal(line, &a); err != nil || a.Store == "" || a.Epoch == 0 || a.Format == 0 {
		return anchor{}, errAnchor
	}
	if a.Format < oldest {
		return anchor{}, oldFormat(path, a.Format)
	}
	if a.Format > format {
		return anchor{}, newFormat(path)
	}
	return a, nil
}

func newFormat(path string) error {
	return fmt.Errorf("%s was written by a newer hubpipe: use that one", path)
}

func oldFormat(path string, was int) error {
	return fmt.Errorf("%s was written by an older hubpipe (format %d, this one has %d): move the data folder away to fetch everything anew, "+
		"or go on with the older one", path, max(was, 1), format)
}

// writeAnchor replaces the anchor; it is on disk when nil is returned.
func writeAnchor(path string, a anchor) error {
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode the anchor: %w", err)
	}
	if err := durable.Replace(path, append(b, "\n"+anchorSum(b)+"\n"...)); err != nil {
		return fmt.Errorf("write the anchor: %w", err)
	}
	return nil
}

// anchorSum is the anchor's second line: one wrong digit in a ceiling would
// have numbers given twice.
func anchorSum(line []byte) string { return fmt.Sprintf("%08x", castagnoli(line)) }

func (s *Store) anchorPath() string { return filepath.Join(s.o.Dir, "anchor.json") }
func (s *Store) badgerDir() string  { return filepath.Join(s.o.Dir, "badger") }

// moveAnchor changes the anchor on disk, then in memory.
func (s *Store) moveAnchor(change func(*anchor)) error {
	s.anchorMu.Lock()
	defer s.anchorMu.Unlock()
	a := s.anchor
	change(&a)
	if err := writeAnchor(s.anchorPath(), a); err != nil {
		return err
	}
	s.anchor = a
	return nil
}

// raiseTo makes sure that numbers up to next may be used. Only the writer
// moves the ceiling.
func (s *Store) raiseTo(next counters) error {
	if next.atMost(s.ceiling) {
		return nil
	}
	ceiling := next.plus(step())
	if err := s.moveAnchor(func(a *anchor) { a.Ceiling = ceiling }); err != nil {
		return err
	}
	s.ceiling = ceiling
	return nil
}

// tableFiles lists the files of Badger that hold data, with their sizes.
func tableFiles(dir string) (map[string]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the store's files: %w", err)
	}
	files := map[string]int64{}
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".sst", ".vlog", ".mem":
		default:
			if e.Name() != "MANIFEST" {
				continue
			}
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("list the store's files: %w", err)
		}
		files[e.Name()] = info.Size()
	}
	return files, nil
}
