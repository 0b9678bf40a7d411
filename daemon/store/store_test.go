package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(context.Background(), Options{Dir: dir, FreeMark: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func record(id string, version int64, state stream.State) *stream.Record {
	return &stream.Record{Head: stream.Head{ID: id, Version: version, AsOf: version + 1, State: state, Digest: [16]byte{byte(version)},
		CreatedAt: "2026-01-01T00:00:00Z", UpdatedAt: "2026-01-02T00:00:00Z"},
		Properties: []byte(fmt.Sprintf(`{"email":"%s@example.com","firstname":"A","version":"%d","lastname":null}`, id, version))}
}

func commit(t testing.TB, s *Store, f func(*Tx) error) {
	t.Helper()
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := f(tx); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func feed(t testing.TB, s *Store, name string) []*stream.Record {
	t.Helper()
	var out []*stream.Record
	if _, err := s.Changes(context.Background(), name, 0, 0, func(r *stream.Record) error { out = append(out, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// Whatever is written, in whatever order, reopened or not: a record stands in
// the feed once, at its newest place, and the counts are right.
func TestStoreAgainstAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "store") //nolint:usetesting // rapid's T has no TempDir
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		reopen := func() *Store {
			s, err := Open(context.Background(), Options{Dir: dir, FreeMark: 1})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := reopen()
		defer func() { _ = s.Close() }()
		want := map[string]*stream.Record{}
		last := uint64(0)
		for range rapid.IntRange(1, 12).Draw(t, "commits") {
			if rapid.IntRange(0, 9).Draw(t, "reopen") == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = reopen()
			}
			tx, err := s.Begin()
			if err != nil {
				t.Fatal(err)
			}
			staged := map[string]*stream.Record{}
			for range rapid.IntRange(0, 10).Draw(t, "records") {
				id := rapid.SampledFrom([]string{"1", "2", "10", "007", "x", "9999999999", "a/b"}).Draw(t, "id")
				r := record(id, rapid.Int64Range(1, 9).Draw(t, "version"), rapid.SampledFrom(states[:]).Draw(t, "state"))
				if err := tx.Put("contacts", r); err != nil {
					t.Fatal(err)
				}
				staged[id] = r
			}
			if rapid.IntRange(0, 4).Draw(t, "discard") == 0 {
				tx.Discard()
				continue
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			for id, r := range staged {
				want[id] = r
				last = max(last, r.Seq)
			}
		}
		live := uint64(0)
		for id, w := range want {
			got, err := s.Record("contacts", id)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(w, got); diff != "" {
				t.Fatalf("record %s (-put +got):\n%s", id, diff)
			}
			if w.State == stream.Live {
				live++
			}
		}
		seq, n := uint64(0), 0
		_, err = s.Changes(context.Background(), "contacts", 0, 0, func(r *stream.Record) error {
			if r.Seq <= seq || want[r.ID] == nil || want[r.ID].Seq != r.Seq {
				t.Fatalf("the feed holds %s at %d after %d", r.ID, r.Seq, seq)
			}
			seq = r.Seq
			n++
			return nil
		})
		if err != nil || n != len(want) || last != 0 && seq != last {
			t.Fatalf("the feed has %d of %d records, to %d: %v", n, len(want), seq, err)
		}
		if c := s.Counts("contacts"); c.Live != live || c.Live+c.Tombstones != uint64(len(want)) {
			t.Fatalf("counted %+v, have %d live of %d", c, live, len(want))
		}
	})
}

func TestRecordsPageInTheOrderOfIDs(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	commit(t, s, func(tx *Tx) error {
		for _, id := range []string{"20", "3", "100", "x", "a"} {
			if err := tx.Put("contacts", record(id, 1, stream.Live)); err != nil {
				return err
			}
		}
		if err := tx.Put("contacts", record("4", 1, stream.Merged)); err != nil {
			return err
		}
		return tx.Put("contacts2", record("1", 1, stream.Live)) // a name that begins with another
	})
	var got []string
	after := ""
	for {
		next, err := s.Records(context.Background(), "contacts", Query{After: after, Limit: 2, States: []stream.State{stream.Live}},
			func(r *stream.Record) error { got = append(got, r.ID); return nil })
		if err != nil {
			t.Fatal(err)
		}
		if next == "" {
			break
		}
		after = next
	}
	if want := "3 20 100 a x"; strings.Join(got, " ") != want {
		t.Fatalf("got %v, want %s", got, want)
	}
	if r, err := s.Record("contacts", "4"); err != nil || r.Properties != nil {
		t.Fatalf("a merged record keeps its properties: %v %v", r, err)
	}
	if _, err := s.Record("contacts", "5"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("an unknown id: %v", err)
	}
}

func TestLedgerSurvives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	var run string
	commit(t, s, func(tx *Tx) error {
		var err error
		if run, err = tx.NextRun(); err != nil {
			return err
		}
		if _, err = tx.NextAttempt(); err != nil {
			return err
		}
		return errors.Join(
			tx.PutStream(&stream.Stream{Name: "contacts", Cursor: 5}), tx.PutWorker(&stream.Worker{ID: "w", Process: "p"}),
			tx.PutPortal(&stream.Portal{Name: "main", Account: 7}), tx.PutSchema("contacts", []byte(`[]`)),
			tx.PutRun(&stream.Run{ID: run, Stream: "contacts", State: stream.Running}),
			tx.PutRange(run, &stream.Range{ID: 0, Cursor: "a"}), tx.PutRange(run, &stream.Range{ID: 1, Cursor: "b"}))
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	l, err := s.Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Streams) != 1 || l.Streams[0].Cursor != 5 || len(l.Runs) != 1 || len(l.Ranges[run]) != 2 ||
		len(l.Workers) != 1 || len(l.Portals) != 1 {
		t.Fatalf("came back as %+v", l)
	}
	commit(t, s, func(tx *Tx) error {
		n, err := tx.NextAttempt()
		if err != nil || n != 2 {
			t.Errorf("the attempt after 1 is %d: %v", n, err)
		}
		return tx.DropRanges(run)
	})
	if l, err := s.Load(context.Background()); err != nil || len(l.Ranges[run]) != 0 {
		t.Fatalf("dropped ranges are there: %+v %v", l.Ranges, err)
	}
	if runs, err := s.Runs(context.Background(), "contacts", "", 10, ""); err != nil || len(runs) != 1 {
		t.Fatalf("runs: %v %v", runs, err)
	}
	if b, err := s.Schema("contacts"); err != nil || string(b) != "[]" {
		t.Fatalf("schema: %s %v", b, err)
	}
}

func TestOneDaemonAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir)
	_, err := Open(context.Background(), Options{Dir: dir})
	var locked *LockedError
	if !errors.As(err, &locked) || !strings.Contains(err.Error(), "process") {
		t.Fatalf("a second daemon gets %v", err)
	}
}

func TestAnEmptiedStoreIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	commit(t, s, func(tx *Tx) error { return tx.Put("contacts", record("1", 1, stream.Live)) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func(string) error{
		"manifest": func(d string) error { return os.Remove(filepath.Join(d, "badger", "MANIFEST")) },
		"all":      func(d string) error { return os.RemoveAll(filepath.Join(d, "badger")) },
	} {
		broken := filepath.Join(t.TempDir(), name)
		if err := os.CopyFS(broken, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := harm(broken); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(context.Background(), Options{Dir: broken}); err == nil || !strings.Contains(err.Error(), "held records") {
			t.Errorf("%s: opened as if nothing were missing: %v", name, err)
		}
	}
}

// A store that lost its tail begins another epoch, and gives no position twice.
func TestALostTailBeginsAnEpoch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	commit(t, s, func(tx *Tx) error { return tx.Put("contacts", record("1", 1, stream.Live)) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	commit(t, s, func(tx *Tx) error { return tx.Put("contacts", record("2", 1, stream.Live)) })
	lost, epoch := s.Position(), s.Epoch()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Badger of before, anchor of after: the tail is lost.
	anchor, err := os.ReadFile(filepath.Join(dir, "anchor.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(old, "anchor.json"), anchor, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, old)
	if s.Epoch() != epoch+1 {
		t.Fatalf("epoch %d after %d", s.Epoch(), epoch)
	}
	commit(t, s, func(tx *Tx) error { return tx.Put("contacts", record("3", 1, stream.Live)) })
	if s.Position() <= lost {
		t.Fatalf("position %d was given before (%d)", s.Position(), lost)
	}
}

func TestAFullDiskStopsTheIntake(t *testing.T) {
	t.Parallel()
	s, err := Open(context.Background(), Options{Dir: t.TempDir(), FreeMark: 1 << 62})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Begin(); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v", err)
	}
}

func TestWatchersAreWoken(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ch, stop := s.Watch()
	commit(t, s, func(tx *Tx) error { return tx.Put("contacts", record("1", 1, stream.Live)) })
	select {
	case <-ch:
	default:
		t.Fatal("not woken by a commit")
	}
	stop()
	if got := len(feed(t, s, "contacts")); got != 1 {
		t.Fatalf("%d in the feed", got)
	}
}

func FuzzHead(f *testing.F) {
	f.Add(appendHead(nil, &record("1", 5, stream.Archived).Head))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h stream.Head
		rest, err := readHead(b, &h)
		if err != nil {
			return
		}
		var again stream.Head
		if _, err := readHead(append(appendHead(nil, &h), rest...), &again); err != nil || again != h {
			t.Fatalf("%+v became %+v: %v", h, again, err)
		}
	})
}

func BenchmarkCommit(b *testing.B) {
	s := open(b, b.TempDir())
	props := `{` + strings.Repeat(`"some_property_name":"a value of it",`, 40) + `"last":null}`
	n := 0
	for b.Loop() {
		commit(b, s, func(tx *Tx) error {
			for range 400 {
				n++
				r := record(fmt.Sprint(n), int64(n), stream.Live)
				r.Properties = []byte(props)
				if err := tx.Put("contacts", r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
