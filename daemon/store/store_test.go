package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(dir)
		return
	}
	// Badger leaves these behind when it cannot open; a store that is not
	// closed leaves others too.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).updateSize"))
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(context.Background(), testOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func testOptions(dir string) Options { return Options{Dir: dir, FreeMark: 1, KeepRuns: 20} }

func record(id string, version int64, state stream.State) *stream.Record {
	return &stream.Record{Head: stream.Head{ID: id, Version: version, AsOf: version + 1, State: state, Digest: [16]byte{byte(version)},
		CreatedAt: "2026-01-01T00:00:00Z", UpdatedAt: "2026-01-02T00:00:00.250Z"},
		Properties: []byte(fmt.Sprintf(`{"email":"%s@example.com","firstname":"A","version":"%d","lastname":null}`, id, version))}
}

func begin(t testing.TB, s *Store) *Tx {
	t.Helper()
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tx.Discard)
	return tx
}

func commit(t testing.TB, s *Store, f func(*Tx) error) {
	t.Helper()
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Discard()
	if err := f(tx); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// put commits live records with these ids.
func put(t testing.TB, s *Store, name string, ids ...string) {
	t.Helper()
	commit(t, s, func(tx *Tx) error {
		for _, id := range ids {
			if err := tx.Put(name, record(id, 1, stream.Live)); err != nil {
				return err
			}
		}
		return nil
	})
}

func feed(t testing.TB, s *Store, name string, since uint64) (out []*stream.Record) {
	t.Helper()
	if _, err := s.Changes(context.Background(), name, since, 0, func(r *stream.Record) error { out = append(out, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func verified(t testing.TB, s *Store) {
	t.Helper()
	report, err := s.Verify(context.Background())
	if err != nil || !report.OK() {
		t.Fatalf("the store is not whole: %+v %v", report, err)
	}
}

// Whatever is written, in whatever order, reopened or not: a record stands in
// the feed once, at its newest place, reads give what was put, and the counts
// are right.
func TestStoreAgainstAMap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	defer func() { _ = s.Close() }()
	stage := 0
	rapid.Check(t, func(t *rapid.T) {
		stage++
		name := fmt.Sprintf("s%d", stage)
		want := map[string]*stream.Record{}
		before := s.Position()
		for range rapid.IntRange(1, 8).Draw(t, "commits") {
			if stage%10 == 0 && rapid.IntRange(0, 5).Draw(t, "reopen") == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				var err error
				if s, err = Open(context.Background(), testOptions(dir)); err != nil {
					t.Fatal(err)
				}
			}
			tx, err := s.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Discard() // Close waits for it, where a draw fails
			staged := map[string]*stream.Record{}
			ids := rapid.SampledFrom([]string{"1", "2", "10", "007", "x", "9999999999", "a/b", ""})
			if ahead := rapid.SliceOfN(ids, 0, 6).Draw(t, "ahead"); len(ahead) > 0 {
				if err := tx.Ahead(name, ahead); err != nil {
					t.Fatal(err)
				}
				for _, id := range ahead {
					h, err := tx.Head(name, id)
					if w := want[id]; err != nil || (h == nil) != (w == nil) || w != nil && *h != w.Head {
						t.Fatalf("looked up ahead: %+v of %+v: %v", h, w, err)
					}
				}
			}
			for range rapid.IntRange(0, 10).Draw(t, "records") {
				id := ids.Draw(t, "id")
				r := record(id, rapid.Int64Range(1, 9).Draw(t, "version"), rapid.SampledFrom([]stream.State{stream.Live, stream.Archived, stream.Purged, stream.Merged}).Draw(t, "state"))
				r.List = rapid.Uint32Range(0, 2).Draw(t, "list")
				r.ArchivedAt = rapid.SampledFrom([]string{"", "2026-02-30", "2026-02-03T04:05:06.7Z", "1969-12-31T23:59:59.999Z"}).Draw(t, "archived")
				if err := tx.Put(name, r); err != nil {
					t.Fatal(err)
				}
				if h, err := tx.Head(name, id); err != nil || *h != r.Head {
					t.Fatalf("the transaction sees %+v of %+v: %v", h, r.Head, err)
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
			maps.Copy(want, staged)
		}
		var live uint64
		for id, w := range want {
			got, err := s.Record(name, id)
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
		seq, n := before, 0
		last, err := s.Changes(context.Background(), name, 0, 0, func(r *stream.Record) error {
			if r.Seq <= seq || want[r.ID] == nil || want[r.ID].Seq != r.Seq {
				t.Fatalf("the feed holds %s at %d after %d", r.ID, r.Seq, seq)
			}
			seq = r.Seq
			n++
			return nil
		})
		if err != nil || n != len(want) || n > 0 && last != seq || seq > s.Position() {
			t.Fatalf("the feed has %d of %d records, to %d: %v", n, len(want), seq, err)
		}
		if c := s.Counts(name); c.Live != live || c.All() != uint64(len(want)) {
			t.Fatalf("counted %+v, have %d live of %d", c, live, len(want))
		}
	})
	verified(t, s)
}

// TestAheadOfFarIDs looks up what stands far apart in the index, and what would
// stand between, before and behind.
func TestAheadOfFarIDs(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	var stored []string
	for n := range 300 {
		stored = append(stored, fmt.Sprint(1000+2*n))
	}
	put(t, s, "contacts", stored...)
	tx := begin(t, s)
	ids := []string{"x", "1100", "1", "1101", "1200", "1202", "1000", "1500", "1501", "9999"}
	if err := tx.Ahead("contacts", ids); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		h, err := tx.Head("contacts", id)
		if is := slices.Contains(stored, id); err != nil || (h != nil) != is || is && h.ID != id {
			t.Errorf("%s: %+v %v", id, h, err)
		}
	}
}

func TestRecordsPageInTheOrderOfIDs(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, "contacts", "20", "3", "100", "x", "a")
	commit(t, s, func(tx *Tx) error {
		return errors.Join(tx.Put("contacts", record("4", 1, stream.Merged)), tx.Put("contacts", record("100", 7, stream.Live)),
			tx.Put("contacts2", record("1", 1, stream.Live)), // a name that begins with another
			tx.Put("contact", record("1", 1, stream.Live)))
	})
	for _, c := range []struct {
		name string
		q    Query
		want string
	}{
		{"live", Query{Limit: 2, States: []stream.State{stream.Live}}, "3 20 100 a x"},
		{"all", Query{Limit: 1}, "3 4 20 100 a x"},
		{"modified", Query{Limit: 2, ModifiedSince: 2}, "100"},
		{"unlimited", Query{}, "3 4 20 100 a x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for q := c.q; ; {
				next, err := s.Records(context.Background(), "contacts", q, func(r *stream.Record) error { got = append(got, r.ID); return nil })
				if err != nil {
					t.Fatal(err)
				}
				if next == "" {
					break
				}
				q.After = next
			}
			if strings.Join(got, " ") != c.want {
				t.Fatalf("got %v, want %s", got, c.want)
			}
		})
	}
	if r, err := s.Record("contacts", "4"); err != nil || r.Properties != nil {
		t.Fatalf("a merged record keeps its properties: %v %v", r, err)
	}
	if _, err := s.Record("contacts", "5"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("an unknown id: %v", err)
	}
}

func TestChangesResume(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, "contacts", "1", "2", "3")
	put(t, s, "deals", "9")
	put(t, s, "contacts", "1", "4")
	var got []string
	since := uint64(0)
	for {
		last, err := s.Changes(context.Background(), "contacts", since, 2, func(r *stream.Record) error {
			got = append(got, fmt.Sprint(r.ID, "@", r.Seq))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if last == since {
			break
		}
		since = last
	}
	if want := []string{"2@2", "3@3", "1@5", "4@6"}; !cmp.Equal(got, want) {
		t.Fatalf("read %v, want %v", got, want)
	}
	if got := feed(t, s, "contacts", 1<<64-1); len(got) != 0 {
		t.Fatalf("behind the last position: %v", got)
	}
	stop := errors.New("enough")
	last, err := s.Changes(context.Background(), "contacts", 0, 0, func(r *stream.Record) error {
		if r.Seq == 3 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || last != 2 {
		t.Fatalf("stopped at %d: %v", last, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Changes(ctx, "contacts", 0, 0, func(*stream.Record) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled reader gets %v", err)
	}
}

// A transaction that is not committed leaves nothing, and its numbers are
// given again.
func TestNothingOfADiscardedTransaction(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, "contacts", "1")
	tx := begin(t, s)
	if err := errors.Join(tx.Put("contacts", record("1", 2, stream.Archived)), tx.Put("contacts", record("2", 1, stream.Live))); err != nil {
		t.Fatal(err)
	}
	if len(feed(t, s, "contacts", 0)) != 1 || s.Counts("contacts") != (Counts{Live: 1}) {
		t.Fatal("readers see what is not committed")
	}
	tx.Discard()
	if err := tx.Commit(); err == nil {
		t.Fatal("a discarded transaction can be committed")
	}
	put(t, s, "contacts", "3")
	want := []*stream.Record{record("1", 1, stream.Live), record("3", 1, stream.Live)}
	if diff := cmp.Diff(want, feed(t, s, "contacts", 0), cmpopts.IgnoreFields(stream.Head{}, "Seq", "Synced")); diff != "" {
		t.Fatalf("the feed (-want +got):\n%s", diff)
	}
	if s.Counts("contacts") != (Counts{Live: 2}) || s.Position() != 2 {
		t.Fatalf("counts %+v, position %d", s.Counts("contacts"), s.Position())
	}
	bad := record("4", 1, "lost")
	if err := begin(t, s).Put("contacts", bad); err == nil {
		t.Fatal("a record in no known state is stored")
	}
	verified(t, s)
}

// Numbers above the ceiling are used only after it was raised, on disk.
func TestTheCeilingIsRaisedFirst(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ceiling := s.ceiling
	tx := begin(t, s)
	for range ceiling.Run + 1 {
		if _, err := tx.NextRun(); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	a, err := readAnchor(s.anchorPath())
	if err != nil || !s.last.atMost(a.Ceiling) || a.Ceiling.Run <= ceiling.Run {
		t.Fatalf("handed out %+v, the ceiling is %+v: %v", s.last, a.Ceiling, err)
	}
	// Where the anchor cannot be written, nothing is committed.
	if err := os.Mkdir(s.anchorPath()+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	tx = begin(t, s)
	tx.next.Attempt = a.Ceiling.Attempt + 1
	if err := tx.Put("contacts", record("1", 1, stream.Live)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err == nil || s.Position() != 0 || s.Counts("contacts") != (Counts{}) {
		t.Fatalf("committed above the ceiling: %v", err)
	}
	remove(t, s.anchorPath()+".new")
	put(t, s, "contacts", "1")
}

// What HasRoom admits is committed: it never says yes to what does not fit.
func TestHasRoom(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2 { // the second time each record replaces one
		tx := begin(t, s)
		n := 0
		for ; tx.HasRoom(100, 200_000); n += 100 {
			for i := range 100 {
				r := record(fmt.Sprint(n+i), 1, stream.Live)
				r.Properties = randomProperties(rng)
				if err := tx.Put("contacts", r); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := tx.PutRange("r1", &stream.Range{Cursor: strings.Repeat("x", 10_000)}); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if n < 800 {
			t.Fatalf("a transaction takes only %d records", n)
		}
	}
}

func TestWatchersAreWoken(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ch, stop := s.Watch()
	put(t, s, "contacts", "1")
	put(t, s, "contacts", "2")
	select {
	case <-ch:
	default:
		t.Fatal("not woken by a commit")
	}
	select {
	case <-ch:
		t.Fatal("woken twice for commits that came before")
	default:
	}
	stop()
	put(t, s, "contacts", "3")
	select {
	case <-ch:
		t.Fatal("woken after stop")
	default:
	}
}

// Closing waits for readers, stops their scans, and lets nobody in after.
func TestCloseStopsReaders(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, "contacts", "1", "2", "3")
	inside, closed := make(chan struct{}), make(chan error, 1)
	go func() {
		<-inside
		closed <- s.Close()
	}()
	_, err := s.Changes(context.Background(), "contacts", 0, 0, func(r *stream.Record) error {
		if r.Seq == 1 {
			close(inside)
			<-s.alive.Done()
		}
		return nil
	})
	if !errors.Is(err, ErrClosed) {
		t.Errorf("a reader gets %v", err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Record("contacts", "1"); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := s.Begin(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}
