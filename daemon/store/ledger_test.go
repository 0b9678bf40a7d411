package store

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

func TestLedgerSurvives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	want := Ledger{
		Streams: []*stream.Stream{{Name: "contacts", Cursor: 5, LastStarted: at, Unfinished: "r000000000002"}, {Name: "deals"}},
		Ranges:  map[string][]*stream.Range{"r000000000001": {{ID: 0, Cursor: "a"}, {ID: 1, Cursor: "b"}}, "r000000000002": {{ID: 7}}},
		Workers: []*stream.Worker{{ID: "w", Process: "p", Displaced: []string{"o"}}},
		Portals: []*stream.Portal{{Name: "main", Account: 7}},
		Counts:  map[string]Counts{"contacts": {Live: 1}},
	}
	runs := []*stream.Run{{Stream: "contacts", State: stream.Running}, {Stream: "contacts", State: stream.Stopped}, {Stream: "deals", State: stream.Done}}
	commit(t, s, func(tx *Tx) error {
		for _, r := range runs {
			id, err := tx.NextRun()
			if err != nil {
				return err
			}
			r.ID = id
			if err := tx.PutRun(r); err != nil {
				return err
			}
			if err := tx.PutRange(id, &stream.Range{ID: 99}); err != nil {
				return err
			}
			if err := tx.DropRanges(id); err != nil {
				return err
			}
			for _, g := range want.Ranges[id] {
				if err := tx.PutRange(id, g); err != nil {
					return err
				}
			}
		}
		for _, st := range want.Streams {
			if err := tx.PutStream(st); err != nil {
				return err
			}
		}
		if _, err := tx.NextAttempt(); err != nil {
			return err
		}
		return errors.Join(tx.PutWorker(want.Workers[0]), tx.PutPortal(want.Portals[0]),
			tx.PutSchema("contacts", []byte(`[]`)), tx.Put("contacts", record("1", 1, stream.Live)))
	})
	want.Runs = []*stream.Run{runs[1], runs[0]}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	got, err := s.Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("the ledger (-written +read):\n%s", diff)
	}
	commit(t, s, func(tx *Tx) error {
		n, err := tx.NextAttempt()
		if err != nil || n != 2 {
			t.Errorf("the attempt after 1 is %d: %v", n, err)
		}
		id, err := tx.NextRun()
		if err != nil || id != "r000000000004" {
			t.Errorf("the run after the third is %s: %v", id, err)
		}
		runs[0].State = stream.Failed
		return errors.Join(tx.PutRun(runs[0]), tx.DropRanges(runs[0].ID))
	})
	got, err = s.Load(context.Background())
	if err != nil || len(got.Runs) != 1 || got.Runs[0].ID != "r000000000002" {
		t.Fatalf("runs that ended are there: %+v %v", got.Runs, err)
	}
	if b, err := s.Schema("contacts"); err != nil || string(b) != "[]" {
		t.Fatalf("schema: %s %v", b, err)
	}
	if _, err := s.Schema("deals"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("no schema: %v", err)
	}
	if r, err := s.Run("r000000000001"); err != nil || r.State != stream.Failed {
		t.Fatalf("run: %+v %v", r, err)
	}
	if _, err := s.Run("r9"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("no run: %v", err)
	}
}

func TestRunsNewestFirstAndOldOnesGo(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	const all = 100
	var unfinished, running string
	for i := range all {
		commit(t, s, func(tx *Tx) error {
			id, err := tx.NextRun()
			if err != nil {
				return err
			}
			r := &stream.Run{ID: id, Stream: "contacts", State: stream.Done}
			switch i {
			case 1:
				unfinished = id
				r.State = stream.Stopped
				if err := tx.PutStream(&stream.Stream{Name: "contacts", Unfinished: id}); err != nil {
					return err
				}
			case 2:
				running = id
				r.State = stream.Running
			}
			other, err := tx.NextRun()
			if err != nil {
				return err
			}
			return errors.Join(tx.PutRun(r), tx.PutRange(id, &stream.Range{}), tx.PutRun(r),
				tx.PutRun(&stream.Run{ID: other, Stream: "deals", State: stream.Failed}))
		})
	}
	ctx := context.Background()
	list := func(name string, state stream.RunState, limit int, before string) []*stream.Run {
		t.Helper()
		runs, err := s.Runs(ctx, name, state, limit, before)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range runs {
			if before != "" && r.ID >= before || i > 0 && r.ID >= runs[i-1].ID || name != "" && r.Stream != name {
				t.Fatalf("run %s of %s in the list of %s after %s", r.ID, r.Stream, name, before)
			}
		}
		return runs
	}
	runs := list("contacts", "", 0, "")
	if n := len(runs); n < 20 || n > 20+pruneEvery+2 {
		t.Errorf("%d of %d runs are kept", n, all)
	}
	if n := len(runs); runs[n-1].ID != unfinished || runs[n-2].ID != running {
		t.Errorf("the unfinished run and the running one went: %s %s", runs[n-1].ID, runs[n-2].ID)
	}
	if got := list("contacts", stream.Running, 0, ""); len(got) != 1 || got[0].ID != running {
		t.Errorf("running: %v", got)
	}
	if page := list("contacts", "", 5, runs[4].ID); len(page) != 5 || page[0].ID != runs[5].ID {
		t.Errorf("the second page begins with %v", page)
	}
	if got := list("", "", 3, ""); len(got) != 3 || got[0].Stream != "deals" || got[1].Stream != "contacts" {
		t.Errorf("of all streams: %v", got)
	}
	l, err := s.Load(ctx)
	if err != nil || len(l.Runs) != 2 {
		t.Errorf("loaded %v: %v", l.Runs, err)
	}
	for _, id := range []string{unfinished, running} {
		if len(l.Ranges[id]) != 1 {
			t.Errorf("run %s lost its ranges", id)
		}
	}
}

// A thousand runs for hints do not take the place of the others.
func TestRunsOfHintsGoFirst(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put := func(kind stream.Kind) (id string) {
		commit(t, s, func(tx *Tx) (err error) {
			if id, err = tx.NextRun(); err != nil {
				return err
			}
			return tx.PutRun(&stream.Run{ID: id, Stream: "contacts", Kind: kind, State: stream.Done})
		})
		return id
	}
	var others []string
	for range 15 {
		others = append(others, put(stream.Incremental))
	}
	for range 100 {
		put(stream.Hinted)
	}
	runs, err := s.Runs(context.Background(), "contacts", "", 0, "")
	if err != nil || len(runs) > 20+pruneEvery || len(runs) < 20 {
		t.Fatalf("%d runs are kept: %v", len(runs), err)
	}
	left := 0
	for _, r := range runs {
		if slices.Contains(others, r.ID) {
			left++
		}
	}
	if left != len(others) {
		t.Errorf("%d of %d other runs are kept", left, len(others))
	}
}

func TestPositionAt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := testOptions(dir)
	o.Now = func() time.Time { return now }
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	type point struct {
		at  time.Time
		seq uint64
	}
	var points []point
	for range 50 {
		points = append(points, point{now, s.Position()})
		put(t, s, "contacts", "1", "2")
		commit(t, s, func(tx *Tx) error { return tx.Put("contacts", record("x"+now.String(), 1, stream.Live)) })
		now = now.Add(17 * time.Second)
	}
	for _, p := range points {
		got, err := s.PositionAt(context.Background(), "contacts", p.at)
		if err != nil {
			t.Fatal(err)
		}
		// The places of records that changed since are empty, so that the
		// position may be the one before.
		if got > p.seq || got+2 < p.seq {
			t.Fatalf("before %s: %d, want %d", p.at, got, p.seq)
		}
	}
	if got, err := s.PositionAt(context.Background(), "contacts", now.Add(time.Hour)); err != nil || got != s.Position() {
		t.Fatalf("in the future: %d of %d: %v", got, s.Position(), err)
	}
	if got, err := s.PositionAt(context.Background(), "contacts", points[0].at.Add(-time.Hour)); err != nil || got != 0 {
		t.Fatalf("before all: %d %v", got, err)
	}
}
