package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// twoLogs makes of a killed store one with two memtables' logs: what a kill
// leaves between the moment at which a memtable was full and the one at which
// it is in a table. It returns the paths, older first, and the commits in each.
func twoLogs(t *testing.T, dir string) (paths [2]string, logs [2][]byte, commits [2][]walCommit) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "badger", "*.mem"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the store has the logs %q %v", found, err)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	all := walCommits(b)
	if len(all) < 10 {
		t.Fatalf("%d commits are too few", len(all))
	}
	cut, end := all[len(all)/2].end, all[len(all)-1].end
	if rest := bytes.TrimRight(b[end:], "\x00"); len(rest) > 0 {
		t.Fatalf("%d bytes of the log make no sense", len(rest))
	}
	var id int
	if _, err := fmt.Sscanf(filepath.Base(found[0]), "%d.mem", &id); err != nil {
		t.Fatal(err)
	}
	paths = [2]string{found[0], filepath.Join(filepath.Dir(found[0]), fmt.Sprintf("%05d.mem", id+1))}
	older := append(slices.Clone(b[:cut]), make([]byte, len(b)-cut)...)
	newer := append(slices.Clone(b[:logHeader]), b[cut:end]...)
	logs = [2][]byte{older, append(newer, make([]byte, len(b)-len(newer))...)}
	for i, path := range paths {
		if err := os.WriteFile(path, logs[i], 0o600); err != nil {
			t.Fatal(err)
		}
		commits[i] = walCommits(logs[i])
	}
	return paths, logs, commits
}

// What an opening reads of a log by itself is what Badger reads of it.
func TestLogsReadAsBadgerDoes(t *testing.T) {
	t.Parallel()
	dir, _ := soiled(t, true)
	_, _, commits := twoLogs(t, dir)
	if n := len(commits[0]) + len(commits[1]); n < 10 {
		t.Fatalf("%d commits", n)
	}
	for i := 1; i < len(commits[1]); i++ {
		if commits[1][i].version != commits[1][i-1].version+1 {
			t.Fatalf("after transaction %d comes %d", commits[1][i-1].version, commits[1][i].version)
		}
	}
	db, err := badger.Open(badgerOptions(filepath.Join(dir, "badger"), &badgerLog{log: Options{}.withDefaults().Logger}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if got, want := db.MaxVersion(), commits[1][len(commits[1])-1].version; got != want {
		t.Errorf("Badger's newest transaction is %d, read was %d", got, want)
	}
}

// A kill between two memtables, and the older one's log is damaged, cut or gone:
// what stood before it shows again between newer commits. That is noticed,
// however it came, and everything is held against HubSpot, in another epoch.
func TestDamageBetweenMemtables(t *testing.T) {
	t.Parallel()
	whole, want := soiled(t, true)
	paths, logs, commits := twoLogs(t, whole)
	for _, p := range paths {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a seed
	cases := map[string]func() []byte{
		"whole": func() []byte { return logs[0] },
		"gone":  func() []byte { return nil },
		"begins": func() []byte {
			return append(append(slices.Clone(logs[0][:logHeader]), 0xff), logs[0][logHeader+1:]...)
		},
	}
	for n := range 12 {
		at := logHeader + random.IntN(commits[0][len(commits[0])-1].end-logHeader)
		cases[fmt.Sprintf("flipped %d at %d", n, at)] = func() []byte {
			b := slices.Clone(logs[0])
			b[at] ^= 1 << random.IntN(8)
			return b
		}
		cases[fmt.Sprintf("cut %d at %d", n, at)] = func() []byte { return logs[0][:at] }
	}
	for name, harm := range cases {
		dir := copyOf(t, whole)
		here := func(path string) string { return filepath.Join(dir, "badger", filepath.Base(path)) }
		if b := harm(); b != nil {
			if err := os.WriteFile(here(paths[0]), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(here(paths[1]), logs[1], 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			was, err := readAnchor(filepath.Join(dir, "anchor.json"))
			if err != nil {
				t.Fatal(err)
			}
			s := open(t, dir)
			defer func() { _ = s.Close() }()
			st := s.Status()
			if name == "whole" {
				if d := shows(s, want); d != "" || st.LostBetween != 0 || s.Epoch() != was.Epoch {
					t.Errorf("of a store that is whole %d commits are lost, epoch %d was %d: %s", st.LostBetween, s.Epoch(), was.Epoch, d)
				}
				return
			}
			if d := shows(s, want); d == "" {
				return // the damage is where nothing is
			}
			if st.LostBetween == 0 || s.Epoch() <= was.Epoch || st.Missing["contacts"] == 0 {
				t.Errorf("older versions show, and it is not said: %+v, epoch %d was %d", st, s.Epoch(), was.Epoch)
			}
			commit(t, s, func(tx *Tx) error { return tx.Put("contacts", record("1", 1<<40, stream.Live)) })
			if p := s.Position(); p <= was.Ceiling.Seq {
				t.Errorf("position %d was given before, up to %d", p, was.Ceiling.Seq)
			}
		})
	}
}

// The doctor says it, too, and leaves a store that opens well.
func TestDoctorBetweenMemtables(t *testing.T) {
	t.Parallel()
	dir, _ := soiled(t, true)
	paths, logs, _ := twoLogs(t, dir)
	logs[0][len(bytes.TrimRight(logs[0], "\x00"))-40] ^= 4
	if err := os.WriteFile(paths[0], logs[0], 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Examine(t.Context(), testOptions(dir), true)
	if err != nil || !strings.Contains(d.String(), "lost between others") {
		t.Fatalf("%v: %s", err, d)
	}
	s := open(t, dir)
	if ok, err := owes(s); !ok || err != nil {
		t.Errorf("the stream is not held against HubSpot: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err := Examine(t.Context(), testOptions(dir), false); err != nil || d.String() != "" {
		t.Errorf("in the end: %v %s", err, d)
	}
}
