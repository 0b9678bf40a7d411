package destination

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Bounds of a batch, and of how long one stream is written before the next has
// its turn.
const (
	batchRecords = 5000
	// What a batch costs PostgreSQL besides its rows (the commit, a new file for the
	// staging table) is spread over more of them than with 4 MiB; with 8 it gained
	// nothing more, and took memory.
	batchBytes = 6 << 20
	turn       = 2 * time.Second
	// gatherTurn is for those that want few and large files.
	gatherTurn = 15 * time.Second
)

// work is what is done in one session.
type work struct {
	r         *runner
	s         Session
	prepared  map[string]prepared
	described time.Time
	wrote     bool
	// due is when what is new of a stream is written, where it waits for more.
	due   map[string]time.Time
	hasty bool // nothing does, this time
}

// session connects and works until something fails or ctx ends.
func (w *work) session(ctx context.Context) error {
	src := w.r.src
	changed, stop := src.Watch()
	defer stop()
	s, err := w.r.spec.Engine.Connect(ctx, Origin{Store: src.ID(), Epoch: src.Epoch()})
	if err != nil {
		return err
	}
	defer s.Close()
	w.s = s
	w.r.connected()
	for {
		busy := false
		w.hasty = w.r.hurried()
		for _, x := range w.r.spec.Streams {
			if !w.r.due(x.Name, time.Now()) {
				continue
			}
			more, err := w.stream(ctx, x)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil && s.Broken() {
				return err
			}
			if err != nil {
				delete(w.prepared, x.Name)
				w.r.streamFailed(x.Name, err)
				continue
			}
			busy = busy || more
		}
		if err := w.describe(ctx); err != nil {
			return err
		}
		if busy {
			continue
		}
		latest := w.described.Add(w.r.m.o.Describe)
		for _, at := range w.due {
			if at.Before(latest) {
				latest = at
			}
		}
		t := time.NewTimer(time.Until(w.r.wakeAt(latest)))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-changed:
		case <-w.r.woken:
		case <-t.C:
		}
		t.Stop()
	}
}

// stream does what there is to do for a stream, for a turn, and says whether
// there is more.
func (w *work) stream(ctx context.Context, x Stream) (more bool, err error) {
	place, err := w.prepare(ctx, x)
	if err != nil {
		return false, err
	}
	if slices.Contains(w.r.m.resyncs(w.r.spec.Name), x.Name) {
		if place, err = w.s.Reread(ctx, x.Name, Reread{Reason: ReasonResync, Until: w.r.src.PositionOf(x.Name), Sweep: true}); err != nil {
			return false, err
		}
		if err := w.r.m.begun(w.r.spec.Name, x.Name); err != nil {
			return false, err
		}
		w.r.placed(x.Name, place)
	}
	end := time.Now().Add(turn)
	if w.r.spec.Gather > 0 {
		end = time.Now().Add(gatherTurn)
	}
	ends, err := w.ends(ctx, x.Name, &place)
	if err != nil {
		return false, err
	}
	waits, err := w.waits(ctx, x.Name, &place)
	if err != nil {
		return false, err
	}
	if !waits || ends {
		if place, more, err = w.drain(ctx, x, place, false, end); err != nil || more {
			return more, err
		}
	}
	switch {
	case place.Reread == nil:
		return w.tend(ctx, x.Name, place)
	case ends:
		return w.finish(ctx, x.Name, place)
	}
	// What ends is drained once more before: a record that was not found by the
	// rereading, since it had moved, has to be there when it ends.
	before := place.Reread.Position
	if place, more, err = w.drain(ctx, x, place, true, end); err != nil || more {
		return more, err
	}
	return place.Reread == nil || place.Reread.Position > before, nil
}

// ends tells whether a rereading has come to its end, and may be ended.
func (w *work) ends(ctx context.Context, name string, place *Place) (bool, error) {
	if place.Reread == nil || place.Reread.Position < place.Reread.Until {
		return false, nil
	}
	if place.Reread.Reason != ReasonEpoch {
		return true, nil
	}
	// What the store has lost comes back from HubSpot. Before it has, a row that
	// the store lacks proves nothing.
	st, err := w.r.m.o.Source.Standing(ctx, name)
	return err == nil && st.Settled, err
}

// waits tells whether what is new of a stream waits for more. It waits from when
// its oldest came, however often that changes meanwhile; the first rows do not.
func (w *work) waits(ctx context.Context, name string, place *Place) (bool, error) {
	src, gather := w.r.m.o.Source, w.r.spec.Gather
	if gather == 0 || w.hasty || place.Position == 0 {
		delete(w.due, name)
		return false, nil
	}
	if src.PositionOf(name) <= place.Position {
		delete(w.due, name)
		return true, nil // what comes from now on waits, too
	}
	at, ok := w.due[name]
	if !ok {
		oldest := time.Now()
		_, err := src.Changes(ctx, name, place.Position, 1, func(rec *stream.Record) error {
			if t := time.UnixMilli(rec.Synced); t.Before(oldest) {
				oldest = t
			}
			return nil
		})
		if err != nil {
			return false, fmt.Errorf("read the feed of %s: %w", name, err)
		}
		at = oldest.Add(gather)
		w.due[name] = at
	}
	if time.Now().Before(at) {
		return true, nil
	}
	delete(w.due, name)
	return false, nil
}

// tend lets a session do what is due of itself.
func (w *work) tend(ctx context.Context, name string, place Place) (more bool, err error) {
	g, ok := w.s.(Gatherer)
	if !ok {
		return false, nil
	}
	p, err := g.Tend(ctx, name, w.r.m.o.Source.PositionOf(name))
	if err != nil {
		return false, err
	}
	if !reflect.DeepEqual(p, place) {
		w.r.placed(name, p)
	}
	return p.Reread != nil, nil
}

// prepared is what a stream's tables were made of, and when that was looked at.
type prepared struct {
	definitions []stream.Property
	at          time.Time
}

// prepare makes the tables fit, where they may not. The definitions are looked
// at when there is something to write, and now and then.
func (w *work) prepare(ctx context.Context, x Stream) (Place, error) {
	src := w.r.src
	w.r.mu.Lock()
	place, known := w.r.streams[x.Name].place, w.r.streams[x.Name].known
	w.r.mu.Unlock()
	head := src.PositionOf(x.Name)
	was, ok := w.prepared[x.Name]
	if ok = ok && known; ok && head <= place.Position && time.Since(was.at) < w.r.m.o.Describe {
		return place, nil
	}
	definitions, err := src.Definitions(x.Name)
	if err != nil {
		return Place{}, err
	}
	now := prepared{definitions, time.Now()}
	if ok && reflect.DeepEqual(was.definitions, definitions) {
		w.prepared[x.Name] = now
		return place, nil
	}
	rules, err := rulesOf(src, x.Name)
	if err != nil {
		return Place{}, err
	}
	if place, err = w.s.Prepare(ctx, Table{Stream: x, Definitions: definitions, Rules: rules, Head: head}); err != nil {
		return Place{}, err
	}
	w.prepared[x.Name] = now
	w.r.placed(x.Name, place)
	return place, nil
}

// piece is a batch that was read ahead; none where nothing follows.
type piece struct {
	batch *Batch
	full  bool
	err   error
}

// read reads and packs what follows a place, up to another where that is not 0. A
// Gatherer writes everything anew without what was superseded, but for every.
func (w *work) read(ctx context.Context, x Stream, since uint64, until uint64, mode Mode, every bool) piece {
	name, changes := x.Name, w.r.src.Changes
	_, snapshots := w.s.(Gatherer)
	every = every && x.Versions > 0 && mode == Again && snapshots
	if x.Versions > 0 && (every || mode != Again || !snapshots) {
		changes = w.r.src.Versions
	}
	var records []*stream.Record
	size, full := 0, false
	errEnough := errors.New("enough")
	last, err := changes(ctx, name, since, batchRecords, func(rec *stream.Record) error {
		if until > 0 && rec.Seq > until {
			return errEnough
		}
		records = append(records, rec)
		if size += len(rec.Properties) + len(rec.Associations) + len(rec.History); size >= batchBytes {
			full = true
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return piece{err: fmt.Errorf("read the feed of %s: %w", name, err)}
	}
	full = full || len(records) == batchRecords
	if n := len(records); n > 0 {
		last = records[n-1].Seq
	}
	if !full && until > 0 {
		last = until
	}
	if len(records) == 0 && last <= since {
		return piece{}
	}
	b := &Batch{Count: len(records), Mode: mode, To: last}
	if every {
		b.Every = w.s.Pack(name, records)
		if records, err = w.newest(ctx, name, since, records); err != nil {
			return piece{err: fmt.Errorf("read the feed of %s: %w", name, err)}
		}
	}
	b.Packed = w.s.Pack(name, records)
	return piece{batch: b, full: full}
}

// newest are those of some records behind a place that are not superseded.
func (w *work) newest(ctx context.Context, name string, since uint64, records []*stream.Record) ([]*stream.Record, error) {
	if len(records) == 0 {
		return nil, nil
	}
	at, errEnough := make(map[uint64]bool, len(records)), errors.New("enough")
	if _, err := w.r.src.Changes(ctx, name, since, len(records), func(rec *stream.Record) error {
		if rec.Seq > records[len(records)-1].Seq {
			return errEnough
		}
		at[rec.Seq] = true
		return nil
	}); err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(records), func(rec *stream.Record) bool { return !at[rec.Seq] }), nil
}

// drain writes what follows the place, or the place of the rereading, until
// there is nothing more or the turn ends. What was taken in by then is committed.
func (w *work) drain(ctx context.Context, x Stream, place Place, again bool, end time.Time) (_ Place, more bool, err error) {
	name := x.Name
	place, more, err = w.follow(ctx, x, place, again, end)
	if err != nil || place.Held == 0 {
		return place, more, err
	}
	g, ok := w.s.(Gatherer)
	if !ok {
		return place, false, fmt.Errorf("%s holds what nobody can have committed", name)
	}
	if place, err = g.Flush(ctx, name); err != nil {
		return place, false, err
	}
	w.r.placed(name, place)
	return place, more, nil
}

// follow writes batch by batch. The next one is read and packed while one is
// written.
func (w *work) follow(ctx context.Context, x Stream, place Place, again bool, end time.Time) (Place, bool, error) {
	name := x.Name
	since, until, mode, every := place.Position, uint64(0), Newer, false
	if again {
		since, until, mode, every = place.Reread.Position, place.Reread.Until, Again, place.Reread.Every
		if since >= until {
			return place, false, nil
		}
	}
	next := w.read(ctx, x, since, until, mode, every)
	for next.err == nil && next.batch != nil {
		b := next.batch
		b.Place, b.Reread = place, again
		next = piece{}
		var ahead chan piece
		if w.full(b, until) {
			ahead = make(chan piece, 1)
			go func() { ahead <- w.read(ctx, x, b.To, until, mode, every) }()
		}
		p, err := w.s.Write(ctx, name, b)
		if ahead != nil {
			next = <-ahead // also where the write failed: nobody reads behind us
		}
		if err != nil {
			return place, false, err
		}
		place, w.wrote = p, true
		w.r.placed(name, place)
		if at, ok := place.at(again); !ok || at != b.To {
			// It has come to its end, or begins anew: what was read ahead is not what
			// follows.
			return place, true, next.err
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return place, true, ctx.Err()
		}
	}
	return place, false, next.err
}

// at is how far was read: the place itself, or that of its rereading where there
// is one.
func (p *Place) at(again bool) (uint64, bool) {
	if p.Held > 0 {
		return p.Held, true
	}
	if !again {
		return p.Position, true
	}
	if p.Reread == nil {
		return 0, false
	}
	return p.Reread.Position, true
}

// full tells whether more may follow a batch.
func (w *work) full(b *Batch, until uint64) bool {
	return b.Count > 0 && (until == 0 || b.To < until)
}

// finish sweeps what a rereading leaves, where that may be done already.
func (w *work) finish(ctx context.Context, name string, place Place) (more bool, err error) {
	src := w.r.src
	if place.Reread.Position < place.Reread.Until || place.Reread.Reason == ReasonEpoch && src.PositionOf(name) > place.Position {
		return false, nil // it has begun anew, or what has come since may have been lost before
	}
	at := src.Position()
	seqs := func(ids []string) ([]uint64, error) { return src.Seqs(ctx, name, ids) }
	for after := ""; ; {
		next, ahead, err := w.s.Sweep(ctx, name, after, at, seqs)
		if err != nil {
			return false, err
		}
		if place, err = w.force(ctx, name, place, ahead); err != nil {
			return false, err
		}
		if after = next; after == "" {
			break
		}
	}
	if place, err = w.s.Swept(ctx, name); err != nil {
		return false, err
	}
	w.r.placed(name, place)
	return true, nil
}

// force writes rows as the store has them, whatever the warehouse has.
func (w *work) force(ctx context.Context, name string, place Place, ids []string) (Place, error) {
	for part := range slices.Chunk(ids, batchRecords/10) {
		records := make([]*stream.Record, 0, len(part))
		for _, id := range part {
			rec, err := w.r.src.Record(name, id)
			if err != nil {
				return place, fmt.Errorf("read record %s of %s: %w", id, name, err)
			}
			records = append(records, rec)
		}
		p, err := w.s.Write(ctx, name, &Batch{Packed: w.s.Pack(name, records), Count: len(records), Mode: Force, Place: place, To: place.Position})
		if err != nil {
			return place, err
		}
		place = p
	}
	return place, nil
}

// describe tells the warehouse's readers how the streams stand, now and then.
func (w *work) describe(ctx context.Context) error {
	if time.Since(w.described) < w.r.m.o.Describe {
		return nil
	}
	list := make([]Standing, 0, len(w.r.spec.Streams))
	for _, x := range w.r.spec.Streams {
		if _, ok := w.prepared[x.Name]; !ok {
			continue
		}
		st, err := w.r.src.Standing(ctx, x.Name)
		if err != nil {
			return err
		}
		list = append(list, st)
	}
	w.described = time.Now()
	return w.s.Describe(ctx, list)
}
